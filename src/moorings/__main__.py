"""`python -m moorings` is the `moorings` command."""

import sys

from moorings.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
