"""Do right derivatives raise a false alarm in 10,000 examples of each operation?

Runs `tests/ops/test_numerical_derivatives.py` with hypothesis' profile `long`, one operation after the other, and notes
each result in `results/gradcheck_long_run.csv`. Interrupt it at will: the next run goes on where this one stopped.
After a change of the code, delete that file to begin anew.

    python benchmarks/gradcheck_long_run.py [minutes]
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gradcheck_long_run.csv"
TEST = "tests/ops/test_numerical_derivatives.py::test_a_right_derivative_raises_no_alarm"
EXAMPLES = 10_000


def operations() -> list[str]:
    """The ids of the tests, one per operation of the table."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", TEST]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if line.startswith(TEST)]


def done() -> dict[str, str]:
    """The results noted so far."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return {line["operation"]: line["result"] for line in csv.DictReader(file)}


def note(operation: str, result: str, seconds: float) -> None:
    """Add a line to the file of results."""
    RESULTS.parent.mkdir(exist_ok=True)
    first = not RESULTS.exists()
    with RESULTS.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if first:
            writer.writerow(["operation", "examples", "result", "seconds"])
        writer.writerow([operation, EXAMPLES, result, f"{seconds:.0f}"])


def main(minutes: float) -> None:
    """Check one operation after the other until all are done or the time is up."""
    end = time.monotonic() + 60 * minutes
    finished = done()
    for test in operations():
        name = test.partition("[")[2].removesuffix("]")
        if name in finished:
            continue
        if time.monotonic() > end:
            break
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=long", test]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        result = "no alarm" if run.returncode == 0 else "alarm"
        note(name, result, time.monotonic() - start)
        print(f"{name}: {result}, {time.monotonic() - start:.0f} s", flush=True)
        if result == "alarm":
            print(run.stdout)
    results = list(done().values())
    print(f"{results.count('no alarm')} operations without an alarm, {results.count('alarm')} with one")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else float("inf"))
