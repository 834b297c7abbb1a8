"""Do right derivatives raise a false alarm in 10,000 examples of each operation?

Runs `tests/ops/test_numerical_derivatives.py` with hypothesis' profile `long`, one operation after the other, and notes
each result in `results/gradcheck_long_run.csv`. Interrupt it at will: the next run goes on where this one stopped.
After a change of an operation, delete its line there, and it is checked again.

    python benchmarks/gradcheck_long_run.py [--minutes 90] [--examples 10000]
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tinygrad_med.data.files import writing

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gradcheck_long_run.csv"
TEST = "tests/ops/test_numerical_derivatives.py::test_a_right_derivative_raises_no_alarm"


def operations() -> list[str]:
    """The ids of the tests, one per operation of the table."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", TEST]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if line.startswith(TEST)]


def done() -> dict[str, dict[str, str]]:
    """The results noted so far, by operation."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return {line["operation"]: line for line in csv.DictReader(file)}


def note(operation: str, examples: int, result: str, seconds: float) -> None:
    """Add a line to the file of results."""
    RESULTS.parent.mkdir(exist_ok=True)
    first = not RESULTS.exists()
    with RESULTS.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if first:
            writer.writerow(["operation", "examples", "result", "seconds"])
        writer.writerow([operation, examples, result, f"{seconds:.0f}"])


def summarize(total: int) -> None:
    """Print how many operations have been checked on how many examples, and write that beside the results."""
    lines = done().values()
    by_examples = Counter(int(line["examples"]) for line in lines)
    alarms = Counter(int(line["examples"]) for line in lines if line["result"] != "no alarm")
    table = ["| examples of each operation | operations | with a false alarm |", "|--:|--:|--:|"]
    table += [f"| {n:,} | {by_examples[n]} | {alarms[n]} |" for n in sorted(by_examples, reverse=True)]
    table += [f"| not yet checked | {total - len(lines)} | |"] if len(lines) < total else []
    text = "\n".join([f"# {__doc__.splitlines()[0]}", "", *table]) + "\n"
    print(text)
    with writing(RESULTS.with_suffix(".md")) as path:
        path.write_text(text, "utf-8")


def main() -> None:
    """Check one operation after the other until all are done or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no operation after them")
    parser.add_argument("--examples", type=int, default=10_000, help="of each operation")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    finished, tests = done(), operations()
    for test in tests:
        name = test.partition("[")[2].removesuffix("]")
        if name in finished:
            continue
        if time.monotonic() > end:
            break
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=long", test]
        options = {**os.environ, "TINYGRAD_MED_LONG_EXAMPLES": str(args.examples)}
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=options)
        result = "no alarm" if run.returncode == 0 else "alarm"
        note(name, args.examples, result, time.monotonic() - start)
        print(f"{name}: {result}, {time.monotonic() - start:.0f} s", flush=True)
        if result == "alarm":
            print(run.stdout)
    summarize(len(tests))


if __name__ == "__main__":
    main()
