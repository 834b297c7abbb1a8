"""Do right derivatives raise a false alarm in 10,000 examples of each operation?

Runs `tests/ops/test_numerical_derivatives.py` with hypothesis' profile `long`, one operation after the other:
`gradcheck` to order 2 on 10,000 examples, then `check_op`, which takes longer, on 500. Each result is noted in
`results/gradcheck_long_run.csv`. Interrupt it at will: the next run goes on where this one stopped. After a change of
an operation, delete its lines there, and it is checked again; after a change of the tester, the file.

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

from tinygrad_med._files import writing

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gradcheck_long_run.csv"
FILE = "tests/ops/test_numerical_derivatives.py"
TESTS = {"gradcheck": "test_a_right_derivative_raises_no_alarm", "check_op": "test_every_promise_of_an_operation"}
SHARE = {"gradcheck": 1, "check_op": 20}  # of the examples, the part that the test takes


def operations(check: str) -> dict[str, str]:
    """The tests of one check, their ids by the operation's name."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", f"{FILE}::{TESTS[check]}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tests = [line for line in found.splitlines() if line.startswith(FILE)]
    return {test.partition("[")[2].removesuffix("]"): test for test in tests}


def done() -> dict[tuple[str, str], dict[str, str]]:
    """The results noted so far, by check and operation."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return {(line["check"], line["operation"]): line for line in csv.DictReader(file)}


def note(check: str, operation: str, examples: int, result: str, seconds: float) -> None:
    """Add a line to the file of results."""
    RESULTS.parent.mkdir(exist_ok=True)
    first = not RESULTS.exists()
    with RESULTS.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if first:
            writer.writerow(["check", "operation", "examples", "result", "seconds"])
        writer.writerow([check, operation, examples, result, f"{seconds:.0f}"])


def summarize(total: int) -> None:
    """Print how many operations have been checked on how many examples, and write that beside the results."""
    lines = done().values()
    found = Counter((line["check"], int(line["examples"])) for line in lines)
    alarms = Counter((line["check"], int(line["examples"])) for line in lines if line["result"] != "no alarm")
    table = ["| check | examples of each operation | operations | with a false alarm |", "|---|--:|--:|--:|"]
    table += [f"| `{c}` | {n:,} | {found[c, n]} | {alarms[c, n]} |" for c, n in sorted(found, key=lambda x: -x[1])]
    table += [f"| not yet run | | {total - len(lines)} | |"] if len(lines) < total else []
    text = "\n".join([f"# {__doc__.splitlines()[0]}", "", *table]) + "\n"
    print(text)
    with writing(RESULTS.with_suffix(".md")) as path:
        path.write_text(text, "utf-8")


def main() -> None:
    """Check one operation after the other until all are done or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no operation after them")
    parser.add_argument("--examples", type=int, default=10_000, help="of each operation; check_op takes a twentieth")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    finished, tests = done(), {check: operations(check) for check in TESTS}
    for check, name in [(check, name) for check, found in tests.items() for name in found]:
        if (check, name) in finished:
            continue
        if time.monotonic() > end:
            break
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=long", tests[check][name]]
        options = {**os.environ, "TINYGRAD_MED_LONG_EXAMPLES": str(args.examples)}
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=options)
        result = "no alarm" if run.returncode == 0 else "alarm"
        note(check, name, args.examples // SHARE[check], result, time.monotonic() - start)
        print(f"{check} {name}: {result}, {time.monotonic() - start:.0f} s", flush=True)
        if result == "alarm":
            print(run.stdout)
    summarize(sum(map(len, tests.values())))


if __name__ == "__main__":
    main()
