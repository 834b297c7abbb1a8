"""A user's own program passes `mypy --strict`, with the package's types as an installed wheel gives them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import tinygrad_med as torch
import tinygrad_med.nn.functional as F
from tinygrad_med import nn, optim


class Net(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Dropout(0.1))
        self.last = nn.Linear(hidden, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layers(x)
        return F.log_softmax(self.last(hidden), 1)


def train(steps: int) -> list[float]:
    torch.manual_seed(0)
    x = torch.randn(64, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    net = Net(8).to(device="cpu")
    optimizer = optim.Adam(net.parameters(), lr=0.05)
    losses: list[float] = []
    for _ in range(steps):
        loss = F.nll_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        right = (net(x).argmax(1) == y).float().mean()
    print(f"{right.item():.0%}", x.shape, torch.grad((-x.requires_grad_()).exp().sum(), x)[0])
    return losses


def spread(x: torch.Tensor) -> float:
    return x.std().item()


train(10)
spread(torch.randn(3))
"""


def checked(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What mypy says to it; `silent`, as of what is installed, not of the package's own code."""
    (folder / "program.py").write_text(program, "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "program.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=environment)


def test_a_program_of_tensors_layers_and_an_optimizer(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed: pip install mypy")
    exec(PROGRAM, {"__name__": "program"})  # it is not only well typed
    found = checked(PROGRAM, tmp_path)
    assert found.returncode == 0, found.stdout

    wrong = PROGRAM.replace("train(10)", "train(10)\ntorch.ones(3).relu().no_such()\nsteps: str = torch.ones(3).sum()")
    found = checked(wrong, tmp_path)
    assert found.stdout.count("error:") == 2, found.stdout  # the tensors are no Any
