"""Run the command line by `python -m langchain_sea.cli`."""

from __future__ import annotations

import sys

from langchain_sea.cli import main

if __name__ == "__main__":
    sys.exit(main())
