"""The published networks on the processor by our own kernels: Winograd convolutions and a vision transformer.

Owns the kernels (C++, `native/`), how they are found and called, and the networks made of them. Must not know
lanes, preprocessing or OpenVINO.
"""

from endostream.engines.kernels.choice import beats_int8, open_runner, serves

__all__ = ["beats_int8", "open_runner", "serves"]
