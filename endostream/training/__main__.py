"""`python -m endostream.training`: the training commands without the rest of the command line."""

from __future__ import annotations

import sys

from endostream.errors import EndostreamError
from endostream.training.commands import train

if __name__ == "__main__":
    try:
        train()
    except EndostreamError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
