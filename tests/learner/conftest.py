"""Two classes of points, easy to tell apart, and a small network with everything that training can change."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med import nn
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.learner import Learner, accuracy


class Points:
    """(x, y): 4 numbers around −1 or around 1; with a generator, shaken."""

    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.y = np.arange(n) % 2
        self.x = (rng.normal(size=(n, 4)) + 2 * self.y[:, None] - 1).astype(np.float32)

    def __len__(self):
        return len(self.y)

    def item(self, i, rng):
        shaken = self.x[i] if rng is None else self.x[i] + 0.1 * rng.normal(size=4)
        return shaken.astype(np.float32), self.y[i]


def network():
    body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
    return nn.Sequential(body, nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 2)))


@pytest.fixture
def new_learner():
    """A function that makes the same learner again and again."""

    def make(**options):
        torch.manual_seed(0)
        dls = SimpleNamespace(
            train=DataLoader(Points(40, 0), 8, shuffle=True), valid=DataLoader(Points(20, 1), 8), vocab=["low", "high"]
        )
        options = {"metrics": accuracy, "lr": 1e-2, "progress": False, "splitter": lambda m: [[m[0]], [m[1]]]} | options
        return Learner(dls, network(), **options)

    return make


@pytest.fixture
def state_of():
    """A function: all that a learner's training has led to, as arrays by name."""
    from tinygrad_med.learner.state import snapshot

    def state(learn):
        return {name: value.numpy().copy() for name, value in snapshot(learn.model, learn.optimizer).items()}

    return state


@pytest.fixture
def same():
    """A function: whether two states are equal, bit for bit."""
    return lambda a, b: a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
