"""Do random programs of tensors give the same here as in PyTorch?

A program (`programs.py`) is 3 to 14 steps on a pool of float64 tensors: operations, with a graph, without one and
inside of a checkpoint; views; writes in place; hooks, `retain_grad`, detached and new leaves; gradients of first and
second order. Each value that it makes or changes, each gradient, what every hook is given, and whether a step is
refused, are compared at once. Any difference is a failure, but for what we alone refuse, with an error that says why;
it is counted by kind.

    python benchmarks/random_programs.py [--programs 2000] [--first 0]

Prints the programs that fail, each without the steps that it doesn't need, and writes `results/random_programs.md`.
Programs run in processes of their own, some thousand each: PyTorch has one bug that ends the process (a hook on a view
whose base was written after its graph had been freed), which is counted too.
"""

from __future__ import annotations

import argparse
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
BATCH = 2000  # programs of one process
DIED = "ended the process, in PyTorch"
STEPS = "compared, a"


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


def run_apart(first: int, count: int) -> Counter[str]:
    """Run programs in processes of their own; one that PyTorch ends is left out, and the rest is run again."""
    counts: Counter[str] = Counter()
    ranges = [range(k, min(k + BATCH, first + count)) for k in range(first, first + count, BATCH)]
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
    compared = {name.partition(": ")[2]: n for name, n in counts.items() if name.startswith("compared: ")}
    refused = {name.partition(": ")[2]: n for name, n in counts.items() if name.startswith("refused here alone: ")}
    lines = ["| | how many |", "|---|--:|", f"| programs | {programs:,} |", f"| steps | {counts['steps']:,} |"]
    lines += [f"| {STEPS} {name} | {n:,} |" for name, n in sorted(compared.items())]
    lines += [f"| **differences** | {counts['differ']:,} |"]
    lines += [f"| steps that both refuse | {counts['refused by both']:,} |"]
    lines += [f"| steps that PyTorch alone refuses | {counts['refused by PyTorch alone']:,} |"]
    lines += [f'| programs that we alone refuse: "… {name} …" | {n:,} |' for name, n in sorted(refused.items())]
    lines += [f"| programs that {DIED} | {counts[DIED]:,} |"]
    about = (
        f"`python benchmarks/random_programs.py --programs {programs + counts[DIED]}`, in {seconds / 60:.0f} minutes:"
    )
    return "\n".join(["# Do random programs give the same as in PyTorch?", "", about, "", *lines, ""])


def main() -> int:
    """Run the programs and write the table; 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first program")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(range(*args.child))
        return 0
    begin = time.monotonic()
    counts = run_apart(args.first, args.programs)
    text = table(counts, time.monotonic() - begin)
    with writing(RESULTS) as temporary:
        temporary.write_text(text, "utf-8")
    print(text)
    return int(counts["differ"] > 0)


if __name__ == "__main__":
    sys.exit(main())
