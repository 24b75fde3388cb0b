"""Running a pack's networks: pictures in, numbers out, one lane per network.

Owns what other floors may use of the engines. Importing it imports neither torch nor OpenVINO.
"""

from __future__ import annotations

from endostream.engines.choose import Choice, PackNetworks, choose, open_networks
from endostream.engines.preprocess import Preprocessor

__all__ = ["Choice", "PackNetworks", "Preprocessor", "choose", "open_networks"]
