"""Do right derivatives raise a false alarm in 10,000 examples of each operation?

Runs `tests/ops/test_numerical_derivatives.py` with hypothesis' profile `long`, one operation after the other:
`gradcheck` to order 2 on 10,000 examples, then `check_op`, which takes longer, on 500. Each result is noted in
`results/gradcheck_long_run.csv`, with a digest of the tester that judged. Interrupt it at will: the next run goes on
where this one stopped: with the operations that no tester has judged, then those that got fewer examples than asked
for, then those of an earlier tester, but for those that it tried on more examples. After a change of an operation,
delete its lines, and it is checked again.

    python benchmarks/gradcheck_long_run.py [--minutes 90] [--examples 10000] [--check gradcheck]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from tinygrad_med._files import writing

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gradcheck_long_run.csv"
FILE = "tests/ops/test_numerical_derivatives.py"
TESTS = {"gradcheck": "test_a_right_derivative_raises_no_alarm", "check_op": "test_every_promise_of_an_operation"}
SHARE = {"gradcheck": 1, "check_op": 20}  # of the examples, the part that the test takes
COLUMNS = ["check", "operation", "examples", "result", "seconds", "tester"]


def tester() -> str:
    """A digest of the tester's source: whether two results are of the same one."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tinygrad_med" / "testing").glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


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
    """Enter a result, in the place of an earlier one."""
    found = [check, operation, str(examples), result, f"{seconds:.0f}", tester()]
    lines = {**done(), (check, operation): dict(zip(COLUMNS, found, strict=True))}
    RESULTS.parent.mkdir(exist_ok=True)
    with writing(RESULTS) as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines.values())


def summarize(tests: dict[str, dict[str, str]]) -> None:
    """Print how many operations have been checked on how many examples, and write that beside the results."""
    lines = [line for (check, name), line in done().items() if name in tests[check]]
    table = ["| check | examples of each operation | operations | with a false alarm | by an earlier tester |"]
    table += ["|---|--:|--:|--:|--:|"]
    for check, examples in sorted({(line["check"], int(line["examples"])) for line in lines}, key=lambda x: -x[1]):
        these = [line for line in lines if (line["check"], int(line["examples"])) == (check, examples)]
        alarms = sum(line["result"] != "no alarm" for line in these)
        earlier = sum(line["tester"] != tester() for line in these)
        table += [f"| `{check}` | {examples:,} | {len(these)} | {alarms} | {earlier} |"]
    total = sum(map(len, tests.values()))
    table += [f"| not yet run | | {total - len(lines)} | | |"] if len(lines) < total else []
    text = "\n".join([f"# {__doc__.splitlines()[0]}", "", *table]) + "\n"
    print(text)
    with writing(RESULTS.with_suffix(".md")) as path:
        path.write_text(text, "utf-8")


def order(tests: dict[str, dict[str, str]], examples: int) -> list[tuple[str, str]]:
    """What is left to run, by check and operation: the new ones, those with few examples, those of another tester."""
    finished, now = done(), tester()
    every = [(check, name) for check, found in tests.items() for name in found]
    less = {key: int(finished[key]["examples"]) - examples // SHARE[key[0]] for key in every if key in finished}
    few = [key for key in less if less[key] < 0]
    earlier = [key for key in less if less[key] == 0 and finished[key]["tester"] != now]  # none is replaced by less
    return [key for key in every if key not in finished] + few + earlier


def main() -> None:
    """Check one operation after the other until all are done or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no operation after them")
    parser.add_argument("--examples", type=int, default=10_000, help="of each operation; check_op takes a twentieth")
    parser.add_argument("--check", choices=TESTS, help="run this one alone")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    tests = {check: operations(check) for check in TESTS}
    for check, name in order(tests, args.examples):
        if time.monotonic() > end:
            break
        if args.check not in (None, check):
            continue
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=long", tests[check][name]]
        options = {**os.environ, "TINYGRAD_MED_LONG_EXAMPLES": str(args.examples)}
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=options)
        result = "no alarm" if run.returncode == 0 else "alarm"
        note(check, name, args.examples // SHARE[check], result, time.monotonic() - start)
        print(f"{check} {name}: {result}, {time.monotonic() - start:.0f} s", flush=True)
        if result == "alarm":
            print(run.stdout)
    summarize(tests)


if __name__ == "__main__":
    main()
