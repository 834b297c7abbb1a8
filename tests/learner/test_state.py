"""A run's state in a file: its numbers and its facts come back, and another run's are refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn, optim
from tinygrad_med.learner.state import facts_of, restore, snapshot

RUN = {"data": "Füße.zip", "lr": 0.1, "slices": (20, 32)}


def trained(steps: int = 1) -> tuple[nn.Module, optim.Optimizer]:
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        model(tg.ones(4, 3)).sum().backward()
        optimizer.step()
    return model, optimizer


def test_facts_travel_with_the_numbers(tmp_path: Path):
    model, optimizer = trained()
    tg.save(snapshot(model, optimizer, {**RUN, "step": 7, "best": math.inf}), tmp_path / "x.safetensors")
    state = tg.load(tmp_path / "x.safetensors")
    assert state["facts"].dtype == np.uint8
    facts = facts_of(state, RUN, tmp_path / "x.safetensors")
    assert facts == {"data": "Füße.zip", "lr": 0.1, "slices": [20, 32], "step": 7, "best": math.inf}
    other, its_optimizer = trained(3)
    restore(state, other, its_optimizer)
    before, after = snapshot(model, optimizer), snapshot(other, its_optimizer)
    assert before.keys() == after.keys() == state.keys() - {"facts"} and len(before) > 4
    assert all(np.array_equal(before[name].numpy(), after[name].numpy()) for name in before)


def test_another_runs_facts_are_refused():
    state = snapshot(nn.Linear(1, 1), facts=RUN)
    text = r"x is of a run with lr=0.1 instead of 0.2, slices=\[20, 32\] instead of \[20, 33\]; finish that one"
    with pytest.raises(ValueError, match=text):
        facts_of(state, RUN | {"lr": 0.2, "slices": (20, 33)}, Path("x"))


@pytest.mark.parametrize(("facts", "missing"), [(None, "data, lr, slices"), ({"lr": 0.1, "step": 7}, "data, slices")])
def test_facts_that_say_too_little_are_refused(facts: dict[str, float] | None, missing: str):
    state = snapshot(nn.Linear(1, 1), facts=facts)
    with pytest.raises(ValueError, match=f"x doesn't say {missing} of its run; another version of this program"):
        facts_of(state, RUN, Path("x"))
