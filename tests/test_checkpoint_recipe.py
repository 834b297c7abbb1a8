"""PyTorch's recipe for a checkpoint: a dict of states and numbers, from which a training goes on in either library."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((24, 3)).astype(np.float32), rng.integers(0, 2, 24)


class Training:
    """A small network with a batch norm, Adam, and a falling rate, in either library."""

    def __init__(self, library):
        self.library, nn = library, library.nn
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        optim = importlib.import_module(f"{library.__name__}.optim")
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.01, weight_decay=0.1)
        self.scheduler = optim.lr_scheduler.StepLR(self.optimizer, 2, gamma=0.5)
        self.loss = None

    def epoch(self, batches):
        for x, y in batches:
            self.optimizer.zero_grad()
            loss = self.library.nn.CrossEntropyLoss()(self.model(x), y)
            loss.backward()
            self.optimizer.step()
        self.scheduler.step()
        self.loss = loss.item()

    def save(self, file, epoch, **more):
        state = {
            "epoch": epoch,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.scheduler.state_dict(),
            "loss": self.loss,
        }
        self.library.save(state | more, file)

    def load(self, file):
        checkpoint = self.library.load(file, weights_only=True)
        self.model.load_state_dict(checkpoint["model_state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        self.scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
        self.model.train()
        return checkpoint

    def numbers(self):
        return {name: value.detach().numpy().copy() for name, value in self.model.state_dict().items()}


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint.pth"])
def test_a_training_goes_on_with_the_same_bits(tmp_path, name):
    dataset = TensorDataset(tinygrad_med.tensor(X), tinygrad_med.tensor(Y))

    def begin(seed):
        tinygrad_med.manual_seed(seed)
        return Training(tinygrad_med), DataLoader(dataset, 8, shuffle=True, generator=tinygrad_med.Generator(seed))

    whole, loader = begin(0)
    for _ in range(4):
        whole.epoch(loader)
    first, loader = begin(0)
    for _ in range(2):
        first.epoch(loader)
    first.save(tmp_path / name, 2, order=loader.generator.get_state())

    second, loader = begin(1)
    checkpoint = second.load(tmp_path / name)
    loader.generator.set_state(checkpoint["order"])
    assert (checkpoint["epoch"], checkpoint["loss"]) == (2, first.loss)
    for _ in range(checkpoint["epoch"], 4):
        second.epoch(loader)
    a, b = whole.numbers(), second.numbers()
    assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
    assert whole.scheduler.get_last_lr() == second.scheduler.get_last_lr() == [0.0025]
    assert not np.array_equal(a["0.weight"], first.numbers()["0.weight"])


@pytest.mark.parametrize("begun_here", [True, False], ids=["from here to PyTorch", "from PyTorch to here"])
def test_a_training_goes_on_in_the_other_library(tmp_path, torch, begun_here):
    def batches(library):
        return [(library.tensor(X[i : i + 8]), library.tensor(Y[i : i + 8])) for i in range(0, 24, 8)]

    one, other = (tinygrad_med, torch) if begun_here else (torch, tinygrad_med)
    tinygrad_med.manual_seed(0)
    torch.manual_seed(0)
    first, second = Training(one), Training(other)
    for _ in range(2):
        first.epoch(batches(one))
    first.save(tmp_path / "checkpoint.pt", 2)
    assert second.load(tmp_path / "checkpoint.pt")["loss"] == first.loss
    for _ in range(2):
        first.epoch(batches(one))
        second.epoch(batches(other))
    theirs = second.numbers()
    for name, value in first.numbers().items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-4, atol=1e-6)
    assert first.scheduler.get_last_lr() == second.scheduler.get_last_lr()
