"""`python -m gqn` runs the command line `gqn`."""

import sys

from gqn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
