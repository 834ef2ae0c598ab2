"""`python benchmarks/peers`: see cli.py."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # benchmarks/: the folders of the peers bear names of packages
    from peers.cli import main

    raise SystemExit(main())
