"""What does a training step of MRNet cost, in time beside PyTorch, and in memory with and without chunks?

Time: 3 × 24 slices of 224×224, forward, backward and a step of Adam. Memory: 3 × 40 slices, the same work in a process
of its own, the most that it held at any time (Python and the libraries included).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from timing import RESULTS, alternate, own_peak, report

SIDE = 224
BAR_MIB = 3 * 1024
ROUNDS = 7


def series(slices: int) -> list[np.ndarray]:
    """Three series of noise."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((slices, 3, SIDE, SIDE), np.float32) for _ in range(3)]


def step(library: Any, optim: Any, model: Any, slices: int) -> Any:
    """One training step, as a function."""
    exam, y = [library.from_numpy(a) for a in series(slices)], library.tensor([[1.0, 0.0, 1.0]])
    optimizer = optim.Adam(model.parameters(), lr=1e-5, weight_decay=0.01)
    criterion = library.nn.BCEWithLogitsLoss(pos_weight=library.tensor([0.24, 4.4, 1.8]))

    def work() -> float:
        optimizer.zero_grad()
        loss = criterion(model(exam), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return work


def ours(slices: int, chunk: int | None = None) -> Any:
    """A step of tinygrad_med."""
    import tinygrad_med as tm
    from tinygrad_med import optim
    from tinygrad_med.models.mrnet import MRNet

    return step(tm, optim, MRNet(3, chunk=chunk), slices)


def pytorch_model() -> Any:
    """MRNet in PyTorch."""
    import torch
    from torch import nn
    from torch_networks import AlexNet

    class MRNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.planes = nn.ModuleList([AlexNet().features for _ in range(3)])
            self.fc = nn.Linear(3 * 256, 3)

        def forward(self, exam: list[Any]) -> Any:
            seen = [plane(x).mean((2, 3)).max(0, keepdim=True)[0] for plane, x in zip(self.planes, exam, strict=True)]
            return self.fc(torch.cat(seen, 1))

    return MRNet()


def pytorchs(slices: int) -> Any:
    """A step of PyTorch, eager, on the same model."""
    import torch

    return step(torch, torch.optim, pytorch_model(), slices)


MEMORY = {
    "ours": lambda: ours(40),
    "ours, --chunk 16": lambda: ours(40, 16),
    "ours, --chunk 8": lambda: ours(40, 8),
    "PyTorch": lambda: pytorchs(40),
}


def peak_mib(who: str) -> int:
    """The peak memory of two steps in a process of its own."""
    command = [sys.executable, __file__, who]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
    return int(done.stdout)


def memory() -> None:
    """Print the table of peaks, and write it."""
    lines = [
        f"# {__doc__.splitlines()[0]}",
        "",
        "| 3 × 40 slices of 224×224, a training step | peak memory |",
        "|---|--:|",
    ]
    for who in MEMORY:
        peak = peak_mib(who)
        verdict = "" if who == "PyTorch" else (", as asked" if peak < BAR_MIB else ", MISSED")
        lines.append(f"| {who} | {peak:,} MiB{verdict} |")
    lines += ["", f"Asked is less than {BAR_MIB:,} MiB. Python, the libraries and the slices are included."]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "mrnet_memory.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--compare-memory"]:
        memory()
    elif len(sys.argv) == 2:
        work = MEMORY[sys.argv[1]]()
        work()
        work()
        print(own_peak() >> 20)
    else:
        contenders = {"ours": ours(24), "PyTorch": pytorchs(24), "ours, --chunk 8": ours(24, 8)}
        what = "MRNet, training step, 3 × 24 slices of 224×224"
        result = alternate(what, contenders, rounds=ROUNDS, bar=("ours", "PyTorch", 0.95))
        report("mrnet_step", __doc__.splitlines()[0], [result], over="PyTorch")
        memory()
