"""Do random programs of tensors give the same here as in PyTorch?

A program (`programs.py`) is 3 to 14 steps on a pool of float64 tensors: operations, with a graph, without one and
inside of a checkpoint; views; writes in place; hooks, `retain_grad`, detached and new leaves; gradients of first and
second order. Each value that it makes or changes, each gradient, what every hook is given, and whether a step is
refused, are compared at once. Any difference is a failure, but for the kinds of refusals and of steps left out that
`programs.py` names, each with its reason; these are counted.

    python benchmarks/random_programs.py [--programs 2000] [--anew]

Prints the programs that fail, each without the steps that it doesn't need. Programs run in processes of their own, some
thousand each: PyTorch has one bug that ends the process (a hook on a view whose base was written after its graph had
been freed), which is counted too. After each process `results/random_programs.json` has the counts and
`results/random_programs.md` the table, and the same command goes on from there, unless `programs.py` has changed
meanwhile, or `--anew` is given.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tinygrad_med._files import writing

RESULTS = Path(__file__).parent / "results" / "random_programs.md"
KEPT = RESULTS.with_suffix(".json")
BATCH = 2000  # programs of one process
DIED = "ended the process, in PyTorch"


def child(seeds: range) -> None:
    """Run programs; prints the seed before each, and at last the counts as JSON."""
    import faulthandler

    import programs
    import torch

    faulthandler.enable()
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    for seed in seeds:
        os.pwrite(1, b"%d\n" % seed, 0)
        program = programs.drawn(seed)
        try:
            counts.update(programs.run(torch, program))
        except AssertionError as error:
            counts["differ"] += 1
            steps = "".join(f"    {step}\n" for step in programs.smaller(torch, program))
            print(f"program {seed}: {' '.join(str(error).split())}\n{steps}", file=sys.stderr, flush=True)
        counts["programs"] += 1
        counts["steps"] += len(program)
    os.pwrite(1, json.dumps(counts).encode() + b"\n", 0)


def run_apart(seeds: range) -> Counter[str]:
    """Run programs in processes of their own; one that PyTorch ends is left out, and the rest is run again."""
    counts: Counter[str] = Counter()
    ranges = [seeds]
    while ranges:
        seeds = ranges.pop(0)
        with tempfile.TemporaryFile() as told, tempfile.TemporaryFile("w+") as errors:
            command = [sys.executable, __file__, "--child", str(seeds.start), str(seeds.stop)]
            run = subprocess.run(command, stdout=told, stderr=errors, check=False)
            told.seek(0)
            errors.seek(0)
            answer, said = json.loads(told.readline()), errors.read()
        if run.returncode == 0:
            sys.stderr.write(said)
            counts.update(answer)
            continue
        top = next((line for line in said.splitlines() if line.startswith("  File ")), "")
        if "/torch/" not in top:
            raise SystemExit(f"program {answer} ended the process with {run.returncode}:\n{said}")
        counts[DIED] += 1
        ranges[:0] = [part for part in (range(seeds.start, answer), range(answer + 1, seeds.stop)) if part]
    return counts


def table(counts: Counter[str], seconds: float) -> str:
    """The result as Markdown."""
    programs = counts["programs"]

    def rows(before: str, row: str) -> list[str]:
        named = {name.removeprefix(before): n for name, n in counts.items() if name.startswith(before)}
        return [f"| {row.format(name)} | {n:,} |" for name, n in sorted(named.items())]

    lines = ["| | how many |", "|---|--:|", f"| programs | {programs:,} |", f"| steps | {counts['steps']:,} |"]
    lines += rows("compared: ", "compared, a {}")
    lines += [f"| **differences** | {counts['differ']:,} |"]
    lines += [f"| steps that both refuse | {counts['refused by both']:,} |"]
    lines += rows("refused by PyTorch alone: ", 'steps that PyTorch alone refuses: "… {} …"')
    lines += rows("refused here alone: ", 'steps that we alone refuse: "… {} …"')
    lines += rows("left out: ", "left out: {}")
    lines += [f"| programs that {DIED} | {counts[DIED]:,} |"]
    about = (
        f"`python benchmarks/random_programs.py --programs {programs + counts[DIED]}`, in {seconds / 60:.0f} minutes, "
        f"{programs / seconds:.0f} programs a second on a machine that did other work too:"
    )
    return "\n".join(["# Do random programs give the same as in PyTorch?", "", about, "", *lines, ""])


def earlier() -> tuple[Counter[str], float]:
    """The counts of the programs that were run already, and their seconds."""
    if KEPT.exists():
        kept = json.loads(KEPT.read_text("utf-8"))
        if kept["of"] == version():
            return Counter(kept["counts"]), kept["seconds"]
    return Counter(), 0.0


def version() -> str:
    """Of the programs: another one draws others, or compares them otherwise."""
    return hashlib.sha256(Path(__file__).with_name("programs.py").read_bytes()).hexdigest()


def write(counts: Counter[str], seconds: float) -> None:
    """The counts, and the table."""
    kept = {"of": version(), "seconds": round(seconds, 1), "counts": dict(sorted(counts.items()))}
    for path, text in ((KEPT, json.dumps(kept, indent=1) + "\n"), (RESULTS, table(counts, seconds))):
        with writing(path) as temporary:
            temporary.write_text(text, "utf-8")


def main() -> int:
    """Run the programs and write the table; 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=2000, help="with those that were run already")
    parser.add_argument("--anew", action="store_true", help="begin with the first program")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(range(*args.child))
        return 0
    counts, seconds = (Counter[str](), 0.0) if args.anew else earlier()
    while (done := counts["programs"] + counts[DIED]) < args.programs:
        begin = time.monotonic()
        counts.update(run_apart(range(done, min(done + BATCH, args.programs))))
        seconds += time.monotonic() - begin
        write(counts, seconds)
    print(table(counts, seconds))
    return int(counts["differ"] > 0)


if __name__ == "__main__":
    sys.exit(main())
