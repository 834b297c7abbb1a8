"""Copies the tables of `results/` into the README, between the comments that name them.

    python benchmarks/readme.py          # write
    python benchmarks/readme.py --check  # only say whether the README is up to date

In the README, `<!-- results/NAME.md -->` begins a place that belongs to `results/NAME.md`, and `<!-- end -->` ends it.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = re.compile(r"(<!-- (results/[\w.-]+\.md) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables(markdown: str) -> str:
    """The tables of a results file, each line as it stands there."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown + "\n", re.MULTILINE)
    return "\n".join(blocks)


def filled(readme: str) -> str:
    """The README's text with every place filled from its file."""

    def fill(place: re.Match[str]) -> str:
        source = ROOT / "benchmarks" / place[2]
        if not source.is_file():
            raise SystemExit(
                f"README.md names benchmarks/{place[2]}, which is not there; run the script that writes it"
            )
        return f"{place[1]}\n{tables(source.read_text('utf-8'))}\n{place[3]}"

    return PLACE.sub(fill, readme)


def main() -> int:
    """Write the README, or check it; 1 if it was out of date and only checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a table is out of date")
    check = parser.parse_args().check
    path = ROOT / "README.md"
    before = path.read_text("utf-8")
    after = filled(before)
    if check:
        return int(before != after)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(after, "utf-8")
    temporary.replace(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
