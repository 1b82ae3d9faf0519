"""`python -m gqn` is `gqn`."""

import sys

from gqn.cli import main

if __name__ == "__main__":
    sys.exit(main())
