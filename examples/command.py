"""What all examples do alike: their options, the folder of a run and its checkpoint, and how a mistake or Ctrl-C ends.

An example's `main` is `return command.run(story, arguments)`; the story opens a `Run`, which

- begins a folder anew, after it has moved an earlier run's out of the way, or with `--resume` goes on with that one;
- keeps a checkpoint, `last.safetensors`, from which the run goes on as if nothing had happened;
- turns Ctrl-C into an early end: the story's pictures are still drawn, of what was reached, and the last line is the
  command that goes on.

With `--data-parallel`, which some examples have, `mpirun` runs the story on several ranks, processes that share the
work: see `tinygrad_med/parallel.py`. Rank 0 alone prints and writes; all read the checkpoint, of whatever number of
ranks it is; an error ends all.

A mistake of the user's is answered with one line, and exit status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_med import parallel
from tinygrad_med._files import writing
from tinygrad_med.learner import DivergedError
from tinygrad_med.learner.state import Checkpoint
from tinygrad_med.nn import Module

MISTAKE, INTERRUPTED = 2, 130  # exit statuses; the second is what shells give to what Ctrl-C ended
MISTAKES = (OSError, ValueError, RuntimeError, ImportError, DivergedError)
"""The errors that are answered with one line: they say what to do."""
NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
CHECKPOINT = "last.safetensors"
MARK = "run.txt"  # the command that began a run; a folder that holds this file is a run's


def parser(doc: str, out: str, epilog: str = "", trains: bool = True) -> argparse.ArgumentParser:
    """The options that all examples have; `doc` is the story's docstring, whose first line says what it does.

    One that trains nothing has no `--device`, and nothing to go on with.
    """
    made = argparse.ArgumentParser(
        description=doc.splitlines()[0], epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--seed", type=int, default=0, help="of the first weights and of every random choice; default: 0")
    if trains:
        made.add_argument("--device", default="cpu", help="cpu, or cuda with CuPy installed; default: cpu")
    made.add_argument("--out", type=Path, help=f"the folder for the results; default: {out}")
    if trains:
        made.add_argument("--resume", action="store_true", help="go on with the run in --out, from its last checkpoint")
    made.add_argument("--debug", action="store_true", help="show the traceback of an error instead of one line")
    made.set_defaults(ranks=parallel.Ranks(), data_parallel=False, resume=False)
    return made


def add_data_parallel(parser: argparse.ArgumentParser, batchnorm: bool = False) -> None:
    """The option of the examples that can train on several ranks, and of those with batch-norm its way to take it."""
    parser.add_argument(
        "--data-parallel",
        action="store_true",
        help="several processes share each batch: mpirun -n 4 python … --data-parallel",
    )
    if batchnorm:
        parser.add_argument(
            "--sync-batchnorm",
            action="store_true",
            help="with --data-parallel: batch-norm over the whole batch, as one process has it",
        )


@contextlib.contextmanager
def advising(option: str, argument: str) -> Iterator[None]:
    """Within the block, an error whose advice is to pass this argument of the package advises to say the option."""
    try:
        yield
    except ValueError as error:
        advice = str(error).replace(f"pass {argument}", f"say {option}").replace(argument, option)
        raise ValueError(advice) from error


def demand_work(options: argparse.Namespace, count: int, what: str) -> None:
    """There must be something for each rank to do.

    Raises:
        ValueError: there are fewer, such as images in a batch, than ranks.
    """
    if count < (size := options.ranks.size):
        raise ValueError(f"--data-parallel: {count} {what}, too few for {size} processes; say mpirun -n {count}")


BOUND = 50.0  # a mean loss beyond is that of a training that has gone wrong: to guess costs about 1


def demand_bounded(losses: Sequence[float], place: str, rate: float, *arrays: Any) -> None:
    """Stop a training with a loop of its own that has gone wrong; a `Learner` does it by a callback.

    Args:
        losses: of the last steps.
        place: the step, in words.
        rate: the learning rate.
        arrays: tensors, what the last step learned from.

    Raises:
        DivergedError: names the cause: numbers in the data, or the rate.
    """
    loss = losses[-1] if not math.isfinite(losses[-1]) else sum(losses) / len(losses)
    if math.isfinite(loss) and loss <= BOUND:
        return
    if not all(np.isfinite(x.detach().cpu().numpy()).all() for x in arrays):
        raise DivergedError(f"{place}: the loss is {loss:.4g}, because of the data: not all of its numbers are finite")
    raise DivergedError(
        f"{place}: the loss is {loss:.4g}; the learning rate, {rate:.2g}, is too high. Say a tenth of it by --lr"
    )


def a_rate(text: str) -> float:
    """A type for options: a learning rate, a finite number above 0."""
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no learning rate; it is a number above 0")
    return float(text)


def at_least(least: int) -> Callable[[str], int]:
    """A type for options: a whole number, not below `least`."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


positive = at_least(1)


def run(story: Callable[[argparse.Namespace], Run | None], options: argparse.Namespace) -> int:
    """Tell the story, with `options.ranks`; the exit status."""
    warnings.filterwarnings("ignore", ".* encountered in ", RuntimeWarning)  # the line that ends such a run says more
    try:
        if options.data_parallel:
            options.ranks = parallel.join()
            if options.ranks.size == 1:
                raise ValueError(
                    "--data-parallel: this process is alone. Start several by mpirun -n 4 python … --data-parallel; if "
                    "you did, mpirun is of another MPI than mpi4py's: take the one beside this Python"
                )
            if options.device == "cuda":
                options.ranks.take_gpu()
            sys.stdout = sys.stdout if options.ranks.rank == 0 else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        told = story(options)
        return ended(options, told.status if told else 0)
    except KeyboardInterrupt:
        if options.ranks.rank == 0:
            how = f"to go on: {again(options)}" if saved(options.out) else "nothing was saved yet"
            print(f"\ninterrupted; {how}", file=sys.stderr)
        return ended(options, INTERRUPTED)
    except MISTAKES as error:
        if options.debug:
            raise
        if options.ranks.rank:
            time.sleep(1)  # what all ranks meet, rank 0 tells
        status = answer(error)
        if isinstance(error, OSError) and error.errno in NO_ROOM and saved(options.out):
            print(f"what was saved before is whole; with room again: {again(options)}", file=sys.stderr)
        if isinstance(error, DivergedError) and saved(options.out):
            print(f"what was good before is still in {options.out / CHECKPOINT}", file=sys.stderr)
        return ended(options, status)


def answer(error: BaseException) -> int:
    """Say in one line what went wrong; the exit status."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return MISTAKE


def answer_mistakes(options: argparse.Namespace) -> None:
    """For a story that stands in a notebook's cells, outside of any function: end as `run` does.

    A notebook shows the traceback of a cell all the same.
    """

    def end(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if isinstance(error, KeyboardInterrupt):
            print("\ninterrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        if options.debug or not isinstance(error, MISTAKES):
            sys.__excepthook__(kind, error, traceback)
        else:
            sys.exit(answer(error))

    sys.excepthook = end


def ended(options: argparse.Namespace, status: int) -> int:
    """The exit status; if it says that something went wrong, no rank waits for this one for ever."""
    if status == INTERRUPTED and options.ranks.rank:
        return status  # rank 0 draws what was reached, and then ends all
    if status and options.ranks.size > 1:
        options.ranks.abort(status)
    return status


class Run:
    """A run's folder, its checkpoint, and whether it was interrupted.

    Args:
        options: those of `parser`; with `resume`, the folder's checkpoint must be of a run of the same plan.
        plan: what makes the training what it is: data, model, rate, seed …; anything that JSON holds.
        model: what is trained, if it is by a loop of one's own; a `Learner` keeps its checkpoint by a callback.
        parts: what else the checkpoint holds: optimizer, scheduler …

    Raises:
        FileNotFoundError: there is nothing to resume.
        FileExistsError: the folder holds other files than those of a run.
        ValueError: the checkpoint is damaged, or of another run.
    """

    def __init__(
        self, options: argparse.Namespace, plan: Mapping[str, Any], model: Module | None = None, **parts: Any
    ) -> None:
        self.options, self.folder = options, Path(options.out)
        self.plan, self.interrupted = dict(plan), False
        self.file = self.folder / CHECKPOINT
        self.resumed = options.resume
        if self.resumed and not saved(self.folder):
            raise FileNotFoundError(f"--resume: there is no {CHECKPOINT} in {self.folder}")
        if self.resumed:  # before anything is written: what can't be gone on with stays as it is
            Checkpoint(self.file, self.plan, model=model or Module()).demand_usable()
        if options.ranks.rank == 0:
            begin(options)
        options.ranks.barrier()
        if model is not None:
            self.checkpoint = Checkpoint(self.file, self.plan, model=model, **parts)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files: rank 0."""
        return self.options.ranks.rank == 0

    @property
    def status(self) -> int:
        """The exit status."""
        return INTERRUPTED if self.interrupted else 0

    def save(self, **facts: Any) -> None:
        """Write the checkpoint, whole or not at all; the one before stays beside it."""
        if self.writes:
            self.checkpoint.save(**facts)

    def load(self) -> dict[str, Any]:
        """Put model and parts where the checkpoint has them; its facts, or none where there is no checkpoint yet.

        Raises:
            ValueError: the checkpoint is of another run.
        """
        return self.checkpoint.load() if self.checkpoint.exists() else {}

    @contextlib.contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """Ctrl-C ends this block, and not the program; where nothing has been saved yet, the program too."""
        try:
            yield
        except KeyboardInterrupt:
            if not saved(self.folder):
                raise
            self.interrupted = True
            print("\ninterrupted; what follows is about what was reached")

    def end(self, results: Path, *more: str) -> Run:
        """Say where the results are, what else there is, and how an interrupted run goes on."""
        print(f"The results: {results}", *more, sep="\n")
        if self.interrupted:
            print(f"To go on: {again(self.options)}")
        return self


def begin(options: argparse.Namespace) -> None:
    """Make the folder of a run, empty unless it is gone on with."""
    if not options.resume:
        make_way(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    with writing(options.out / MARK) as path:  # before any work: it fails where the folder can't be written
        path.write_text(command_line(options) + "\n", "utf-8")


def saved(folder: Path) -> bool:
    """Whether there is a checkpoint; a kill while the last one is written leaves the one before it."""
    return any(folder.glob(f"{Path(CHECKPOINT).stem}*.safetensors"))


def again(options: argparse.Namespace) -> str:
    """The command that goes on with this run."""
    return f"{command_line(options)} --resume"


def command_line(options: argparse.Namespace) -> str:
    """The command of this run; one that was gone on with by `--resume` ends like one that was never broken off."""
    return started_by(options, *(word for word in sys.argv if word != "--resume"))


def started_by(options: argparse.Namespace, *words: str) -> str:
    """A command, by `mpirun` where there are several ranks."""
    several = ["mpirun", "-n", str(options.ranks.size)] if options.ranks.size > 1 else []
    return shlex.join([*several, "python", *words])


def make_way(folder: Path) -> None:
    """Move an earlier run's folder aside, so that nothing is lost and nothing is mixed.

    Raises:
        FileExistsError: what the folder holds is not a run's.
    """
    there = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    if not there - {MARK}:
        return
    if MARK not in there:
        raise FileExistsError(f"--out {folder} holds other files; choose a folder that is empty or not there yet")
    number = next(n for n in range(1, sys.maxsize) if not folder.with_name(f"{folder.name}-{n}").exists())
    aside = folder.with_name(f"{folder.name}-{number}")
    folder.rename(aside)
    print(f"{folder} held an earlier run, which is now {aside} (--resume would have gone on with it)")
