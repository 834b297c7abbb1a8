"""What a step may cost on a GPU, in what can be counted without one (dry.py): ceilings, and where they should go.

Whoever makes a step cheaper lowers its ceiling here; a ceiling is the number of today, in float32 and in TF32.
`python -m tests.gpu_on_cpu run -m tests.gpu_on_cpu.budget` prints what is counted, kernel by kernel with `--kernels`,
in TF32 with `--tf32`.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import tinygrad_med as tm
from tests.gpu_on_cpu.dry import Counts, counted
from tinygrad_med import backend, models, nn, optim
from tinygrad_med.backend import gpu
from tinygrad_med.models.linear import log_softmax
from tinygrad_med.models.mrnet import MRNet
from tinygrad_med.nn import functional as F


class Cost(NamedTuple):
    """Of one step."""

    launches: int  # kernels and matrix products
    gigabytes: float  # moved by them, by copies on the device and by memsets: each array whole, once per launch
    waits: int  # how often the host waits for the GPU
    narrow: int  # kernels that move over a megabyte in fewer blocks than the card has units


CEILINGS = {
    "resnet18": Cost(294, 12.78, 0, 0),
    "mrnet": Cost(271, 2.79, 0, 0),
    "linear": Cost(32, 0.004, 0, 0),
}
BARS = {  # of the issue: 20 GB without cuDNN, 15 with it
    "resnet18": Cost(300, 20.0, 0, 0),
}


def resnet18() -> Callable[[], Any]:
    """A step of SGD with momentum and weight decay, of 64 images of 224², with cross entropy."""
    model = models.resnet18().cuda()
    steps = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    x, y = tm.zeros(64, 3, 224, 224, device="cuda"), tm.zeros(64, dtype=tm.int64, device="cuda")

    def step() -> None:
        loss = F.cross_entropy(model(x), y)
        steps.zero_grad()
        loss.backward()
        steps.step()

    return step


def mrnet() -> Callable[[], Any]:
    """A step of Adam, of one exam of three series of 24 slices of 224²."""
    model = MRNet(3).cuda()
    steps = optim.Adam(model.parameters(), lr=1e-5, weight_decay=0.01)
    exam, y = [tm.zeros(24, 3, 224, 224, device="cuda") for _ in range(3)], tm.tensor([[1.0, 0.0, 1.0]], device="cuda")
    criterion = nn.BCEWithLogitsLoss(pos_weight=tm.tensor([0.24, 4.4, 1.8], device="cuda"))

    def step() -> None:
        steps.zero_grad()
        criterion(model(exam), y).backward()
        steps.step()

    return step


def linear() -> Callable[[], Any]:
    """The loop of examples/medical_mnist.py: 64 images of 64², and weights that step against their gradients."""
    model = models.LinearModel(log_softmax).cuda()
    parameters = list(model.parameters())
    x, y = tm.zeros(64, 4096, device="cuda"), tm.zeros(64, dtype=tm.int64, device="cuda")

    def step() -> None:
        loss = -model(x)[range(64), y].mean()
        loss.backward()
        with tm.no_grad():
            for p in parameters:
                p -= p.grad * 0.1
                p.grad.zero_()

    return step


STEPS = {"resnet18": resnet18, "mrnet": mrnet, "linear": linear}


def count(name: str, tf32: bool = False, kernels: bool = True) -> Counts:
    """Of the third step: by then there are momenta, and nothing is made for the first time.

    Args:
        name: of the step.
        tf32: whether products may be of TF32.
        kernels: whether there are kernels of our own.
    """
    before = backend.tf32
    backend.allow_tf32(tf32)
    gpu.set_compiled(kernels)
    try:
        with counted():
            step = STEPS[name]()
            step()
            step()
        with counted() as counts:
            step()
        return counts
    finally:
        backend.allow_tf32(before)
        gpu.set_compiled(True)


def captured(name: str) -> Callable[[], Any]:
    """A step as a CUDA graph, which is captured; its replay is one launch."""
    step = tm.cuda.capture(STEPS[name](), warmup=1)
    step()
    step()
    return step


def cost(counts: Counts) -> Cost:
    """What is held against the ceilings."""
    return Cost(counts.launches, round(counts.gigabytes, 3), counts.synchronisations, len(counts.narrow()))


def _print(name: str) -> None:
    counts = count(name, tf32="--tf32" in sys.argv)
    found = cost(counts)
    print(f"{name}: {found}; ceiling {tuple(CEILINGS[name])}, bar {tuple(BARS.get(name, ()))}")  # noqa: T201
    if "--kernels" in sys.argv:
        rows: dict[tuple[str, str], list[int]] = collections.defaultdict(lambda: [0, 0])
        for w in counts.work:
            row = rows[w.kind, w.name.split("__")[0]]
            row[0], row[1] = row[0] + 1, row[1] + w.bytes
        for (kind, kernel), (times, moved) in sorted(rows.items(), key=lambda row: -row[1][1]):
            print(f"  {kind:8} {kernel:40} {times:5} × {moved / 1e9:8.3f} GB")  # noqa: T201


if __name__ == "__main__":
    for name in [a for a in sys.argv[1:] if a in STEPS] or STEPS:
        _print(name)
