"""Does a training that is killed again and again end with the same bits?

Each example that trains runs in its shortest form, whole, and then again, ended by SIGKILL at random moments: half of
the time whenever it may be, half of the time while a file is being written. After each kill it goes on with `--resume`,
or begins anew where nothing had been saved; when it comes to its end, the next one begins. At every end, all files are
compared with those of a run without a kill, byte for byte; so are those of a second run without one. Only the
checkpoint before the last, which depends on the kills, is left out. The clock stands still, for some files say how long
something took.

    python benchmarks/kills.py [--kills 30] [--minutes 60] [--example mrnet …] [--seed 0]

The examples are imported once, and each run is a fork of that process. Writes `results/kills.md`. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinygrad_med._files import writing

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "kills.csv"
COLUMNS = ("example", "kills", "while it wrote", "ends", "files of an end", "compared", "different")
TITLE = "# Does a training that is killed again and again end with the same bits?"


# The examples, in short ----------------------------------------------------------------------------------------------


def medical_mnist(folder: Path) -> list[str]:
    """Phantoms, an MLP, a few epochs."""
    del folder
    return ["--phantoms", "30", "--model", "mlp", "--epochs", "6"]


def pretrain(folder: Path) -> list[str]:
    """Phantoms for images; a checkpoint after every second step."""
    module = importlib.import_module("pretrain")
    phantoms = importlib.import_module("tinygrad_med.data.phantoms")
    data = importlib.import_module("tinygrad_med.data.medical_mnist")
    images, labels = phantoms.generate(8, 0)
    found = data.Images(images, labels, data.CLASSES, "phantoms", is_phantom=True)
    data.load, module.SAVE_EVERY = lambda _: found, 2
    return ["--steps", "8", "--batch-size", "4", "--weights", str(folder / "out" / "w.safetensors")]


def radiographs(folder: Path) -> list[str]:
    """A dozen small pictures; the search for a rate has 8 steps."""
    from PIL import Image

    from tinygrad_med.learner import Learner

    Learner.lr_find.__defaults__ = (1e-7, 10.0, 8, True, True)
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for k, name in enumerate(("abd", "chest")):
            for i in range(count):
                file = folder / "data" / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(80 * k, 100 + 80 * k, (48, 44)).astype(np.uint8)).save(file)
    surprise = folder / "data" / "test" / "abd" / "0.png"
    given = ["--data", str(folder / "data"), "--surprise", str(surprise), "--weights", "none"]
    return [*given, "--size", "32", "--epochs", "3"]


KNEES = ((1, 0, 1), (0, 0, 0), (1, 1, 0))  # labels of three exams


def mrnet(folder: Path) -> list[str]:
    """Three exams of one or two slices, taken for a whole data set."""
    from tinygrad_med.data.mrnet import LABELS, PLANES, Exams

    begin = Exams.__init__
    Exams.__init__ = lambda *a, **k: begin(*a, **{**k, "check_counts": False})  # type: ignore[method-assign]
    root, rng = folder / "MRNet-v1.0", np.random.default_rng(0)
    for split in ("train", "valid"):
        for k, plane in enumerate(PLANES):
            (root / split / plane).mkdir(parents=True)
            for i in range(3):
                volume = rng.integers(0, 255, ((i + k) % 2 + 1, 256, 256), dtype=np.uint8)
                np.save(root / split / plane / f"000{i}.npy", volume)
        for j, name in enumerate(LABELS):
            (root / f"{split}-{name}.csv").write_text("".join(f"000{i},{row[j]}\n" for i, row in enumerate(KNEES)))
    (root / "lesions.csv").touch()
    quick = ["--backbone", "squeezenet", "--weights", "random", "--lr", "1e-3", "--shrink", "2", "--explain", "1"]
    return ["--data", str(root), *quick, "--quiet", "--epochs", "4"]


EXAMPLES: dict[str, Callable[[Path], list[str]]] = {
    f.__name__: f for f in (medical_mnist, pretrain, radiographs, mrnet)
}


# Runs and kills ------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A process that tells an example's story."""

    pid: int
    said: Path

    @classmethod
    def start(cls, example: str, arguments: list[str], said: Path) -> Run:
        """Fork this process, which has imported the example; what it prints goes into the file `said`."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return cls(pid, said)
        status = 70
        try:
            printed = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            sys.argv = [f"{example}.py", *arguments]
            time.perf_counter = lambda: 0.0
            status = importlib.import_module(example).main(arguments)
        finally:
            os._exit(status)

    def wait(self) -> int:
        """The exit status."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def wait_until(self, true: Callable[[], bool]) -> int | None:
        """The exit status, or `None` if something came true before."""
        while not true():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.0005)
        return None

    def demand_success(self, status: int) -> None:
        """A run that ended itself has ended well, or that is the result."""
        if status:
            raise SystemExit(f"a run ended with {status}; it said:\n{self.said.read_text('utf-8', 'replace')[-3000:]}")

    def kill(self) -> None:
        """Without a warning."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()


def unfinished(out: Path) -> set[tuple[str, int]]:
    """The files that are being written, or were when a run was killed."""
    found = set()
    for path in out.glob("*"):
        if path.name.endswith(".partial") or "-fresh" in path.name:
            with contextlib.suppress(FileNotFoundError):  # it has its name by now
                found.add((path.name, path.stat().st_ino))
    return found


def contents(out: Path) -> dict[str, bytes]:
    """What a run has left, but for the checkpoint before the last, and for what kills left half-written."""
    left = (path for path in out.rglob("*") if path.is_file() and "-before" not in path.name)
    return {str(path.relative_to(out)): path.read_bytes() for path in left if path.suffix != ".partial"}


def others(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """The files that differ, or that only one of both has."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def kill_again_and_again(example: str, kills: int, seed: int, minutes: float) -> list[object]:
    """A row of the table."""
    rng, end = random.Random(seed), time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        out = folder / "out"
        arguments = [*EXAMPLES[example](folder), "--out", str(out)]
        importlib.import_module(example)
        wholes: list[dict[str, bytes]] = []
        seconds = 0.0
        for _ in range(2):
            begin = time.monotonic()
            whole = Run.start(example, arguments, folder / "said.txt")
            whole.demand_success(whole.wait())
            seconds = time.monotonic() - begin
            wholes.append(contents(out))
            shutil.rmtree(out)
        expected, twice = wholes
        if unlike := others(twice, expected):
            print(f"{example}: two runs without a kill differ in {', '.join(unlike)}", flush=True)
        killed = wrote = ended = 0
        different = len(unlike)
        while killed < kills or not ended or out.exists():  # what the last kill ended is gone on with, too
            kills = killed if time.monotonic() > end else kills
            saved = any(out.glob("last*.safetensors"))
            if not saved:
                shutil.rmtree(out, ignore_errors=True)
            run = Run.start(example, [*arguments, "--resume"] if saved else arguments, folder / "said.txt")
            left, status = unfinished(out), None  # an earlier kill has left files, too
            if killed == kills:
                status = run.wait()
            elif rng.random() < 0.5:
                moment = time.monotonic() + rng.uniform(0, seconds)
                status = run.wait_until(lambda moment=moment: time.monotonic() > moment)  # type: ignore[misc]
            else:
                skipped = time.monotonic() + rng.uniform(0, seconds / 2)
                status = run.wait_until(
                    lambda after=skipped, left=left: (
                        time.monotonic() > after  # type: ignore[misc]
                        and bool(unfinished(out) - left)
                    )
                )
            if status is None:
                run.kill()
                killed += 1
                wrote += bool(unfinished(out) - left)
                continue
            run.demand_success(status)
            unlike = others(contents(out), expected)
            print(f"{example}: an end after {killed} kills, different: {', '.join(unlike) or 'nothing'}", flush=True)
            different += len(unlike)
            ended += 1
            shutil.rmtree(out)
    return [example, killed, wrote, ended, len(expected), (ended + 1) * len(expected), different]


def main() -> int:
    """Kill the examples and write the table; 1 if anything was different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="of each example; default: 30")
    parser.add_argument("--example", action="append", choices=EXAMPLES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="after which an example is killed no more")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "examples"))
    rows: dict[str, list[object]] = {}
    if RESULTS.exists():
        with RESULTS.open(encoding="utf-8", newline="") as file:
            rows = {row[0]: list(row) for row in list(csv.reader(file))[1:]}
    for example in args.example or EXAMPLES:
        rows[example] = kill_again_and_again(example, args.kills, args.seed, args.minutes)
        print(*rows[example], flush=True)
        known = [rows[name] for name in EXAMPLES if name in rows]
        with writing(RESULTS) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *known])
        table = [COLUMNS, ("---", *["--:"] * (len(COLUMNS) - 1)), *known]
        lines = [f"| {' | '.join(map(str, row))} |" for row in table]
        with writing(RESULTS.with_suffix(".md")) as temporary:
            temporary.write_text("\n".join([TITLE, "", *lines, ""]), "utf-8")
    return int(any(int(str(row[-1])) for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
