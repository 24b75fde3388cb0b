"""`python -m endostream.cli` is the same as `endostream`."""

import sys

from endostream.cli import main

sys.exit(main())
