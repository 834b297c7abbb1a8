"""An example as `test_data_parallel.py` runs it, on one or several ranks: `ranks.py WAY EXAMPLE OPTIONS…`.

float64: in float64, where what several ranks compute must be what one does, to rounding; without dropouts, which draw
for each rank's own part. dying: rank 1 is killed in its second pass back. Either ends when the training has, without
the example's pages.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT)]

import command  # noqa: E402

import tinygrad_med as torch  # noqa: E402
from tinygrad_med import nn  # noqa: E402
from tinygrad_med.data import medical_mnist, phantoms  # noqa: E402


def in_float64() -> None:
    """Parameters are made so, and what a module is given is turned into it."""
    torch.set_default_dtype(torch.float64)
    call = nn.Module.__call__

    def widened(value: Any) -> Any:
        if isinstance(value, list):
            return [widened(part) for part in value]
        return value.to(dtype=torch.float64) if getattr(value, "dtype", None) == torch.float32 else value

    nn.Module.__call__ = lambda self, *args, **named: call(self, *map(widened, args), **named)
    nn.Dropout.forward = lambda self, x: x


def dying(process: int, out: Path) -> None:
    """If this process is rank 1, kill it in its second pass back; when, `out / "died"` says."""
    backward, passes = torch.Tensor.backward, []

    def pass_back(self: torch.Tensor, *args: Any, **named: Any) -> None:
        passes.append(self)
        if len(passes) == 2 and process == 1:
            (out / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        backward(self, *args, **named)

    torch.Tensor.backward = pass_back


def few_scans(path: Path | None = None, **options: Any) -> medical_mnist.Images:
    """Phantoms, whatever is asked for."""
    images, labels = phantoms.generate(8, 0)
    return medical_mnist.Images(images, labels, medical_mnist.CLASSES, "a zip", is_phantom=False)


@contextlib.contextmanager
def and_no_more(run: command.Run) -> Iterator[None]:
    """In place of `Run.until_interrupted`: the block, and then the end."""
    yield
    run.options.ranks.barrier()
    sys.exit()


def trainings(options: Namespace) -> command.Run:
    """All trainings of the radiographs' story, without its pictures."""
    import radiographs

    dls = radiographs.make_loaders(options.data, options)
    run = command.Run(options, {})
    return radiographs.learn_along(dls, options, run, options.data, equalized=False)


def main(way: str, example: str, *options: str) -> int:
    """Run it."""
    module = importlib.import_module(example)
    medical_mnist.load, command.Run.until_interrupted = few_scans, and_no_more
    if example == "radiographs":
        module.story = trainings
        module.Learner.lr_find = lambda *_, **__: None  # `test_parallel.py` has it on several ranks
    if way == "float64":
        in_float64()
    else:
        from mpi4py import MPI

        dying(MPI.COMM_WORLD.Get_rank(), Path(options[options.index("--out") + 1]))
    return int(module.main(list(options)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
