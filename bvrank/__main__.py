"""`python -m bvrank` is `bvrank`."""

import sys

from bvrank.cli import main

if __name__ == "__main__":
    sys.exit(main())
