"""`python -m tinygrad_med.as_torch tutorial.py arguments…`: run a program with this package as its `torch`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

USAGE = "usage: python -m tinygrad_med.as_torch tutorial.py [argument …]"


def main() -> None:
    """Run the file that the command line names, as `python tutorial.py` would."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(USAGE)
    file = Path(sys.argv[1])
    if not file.is_file():
        sys.exit(f"as_torch: there is no file {file}")
    if file.suffix == ".ipynb":
        sys.exit(f"as_torch: {file.name} is a notebook; give it a first cell with: import tinygrad_med.as_torch")
    sys.argv = sys.argv[1:]
    sys.path[0] = str(file.resolve().parent)
    runpy.run_path(str(file), run_name="__main__")


if __name__ == "__main__":
    main()
