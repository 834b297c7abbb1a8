"""A run's state in a file: its numbers and its facts come back, and another run's are refused."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn, optim
from tinygrad_med.learner.state import Checkpoint, facts_of, restore, snapshot

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
    assert before.keys() == after.keys() == state.keys() - {"facts"} and len(before) > 5
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


class Odd:
    """A part whose state has everything that a state may have."""

    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def test_a_state_comes_back_as_it_was():
    odd = {
        "numbers": [1, 2.5, math.inf, True, None, "ä"],
        3: (tg.arange(4), [tg.tensor(1.5, dtype=tg.float64)]),
        "nested": {"tensor": {"dict": []}, "array": np.eye(2), "scalar": np.float64(2.5)},
    }
    state = snapshot(nn.Linear(1, 1), odd=Odd(odd))
    back = Odd()
    restore(state, nn.Linear(1, 1), odd=back)
    assert back.state["numbers"] == odd["numbers"] and type(back.state["numbers"][3]) is bool
    integers, (half,) = back.state[3]
    assert integers.tolist() == [0, 1, 2, 3] and half.dtype == tg.float64 and isinstance(back.state[3], tuple)
    assert back.state["nested"]["tensor"] == {"dict": []} and back.state["nested"]["scalar"] == 2.5
    np.testing.assert_array_equal(back.state["nested"]["array"].numpy(), np.eye(2))
    with pytest.raises(TypeError, match=r"snapshot: odd.a.1 is a set; states are of tensors"):
        snapshot(nn.Linear(1, 1), odd=Odd({"a": [1, {2}]}))


def test_the_optimizers_options_come_back():
    model, optimizer = trained()
    optimizer.param_groups[0] |= {"lr": 0.5, "betas": (0.7, 0.8)}
    other, its_optimizer = trained()
    restore(snapshot(model, optimizer), other, its_optimizer)
    assert its_optimizer.param_groups[0]["lr"] == 0.5 and its_optimizer.param_groups[0]["betas"] == (0.7, 0.8)


def loop(folder, steps, resume=False, stop=None):
    """A loop of one's own, with momentum, a schedule, random numbers; it may be stopped before a step's end."""
    tg.manual_seed(0 if not resume else 7)
    model = nn.Linear(3, 2)
    if not resume:
        nn.init.ones_(model.weight), nn.init.zeros_(model.bias)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    checkpoint = Checkpoint(
        folder / "x.safetensors", {"lr": 0.1}, model=model, optimizer=optimizer, scheduler=scheduler
    )
    history = checkpoint.load()["history"] if resume else []
    for step in range(len(history), steps):
        optimizer.zero_grad()
        loss = (model(tg.randn(4, 3)) ** 2).sum()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step == stop:
            raise KeyboardInterrupt
        history.append(loss.item())
        checkpoint.save(history=history)
    return history, model.state_dict()


@pytest.mark.parametrize("stop", [1, 4, 7])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_loop_goes_on_from_a_checkpoint(tmp_path: Path, capsys, stop: int, damaged: bool):
    expected, weights = loop(tmp_path / "whole", 9)
    with pytest.raises(KeyboardInterrupt):
        loop(tmp_path / "x", 9, stop=stop)
    if damaged and stop > 1:
        file = tmp_path / "x" / "x.safetensors"
        file.write_bytes(file.read_bytes()[:-50])
    found, its_weights = loop(tmp_path / "x", 9, resume=True)
    assert found == expected
    assert all(np.array_equal(weights[name].numpy(), its_weights[name].numpy()) for name in weights)
    assert ("going on from the checkpoint before it, x-before" in capsys.readouterr().out) == (damaged and stop > 1)
    assert sorted(file.name for file in (tmp_path / "x").iterdir()) == ["x-before.safetensors", "x.safetensors"]


def test_where_both_checkpoints_are_damaged_both_are_named(tmp_path: Path):
    loop(tmp_path, 2)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"x.safetensors can't be read.*nor can x-before.safetensors, .*begin without"):
        loop(tmp_path, 2, resume=True)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch):
    model, optimizer = trained()
    checkpoint = Checkpoint(tmp_path / "x.safetensors", model=model, optimizer=optimizer)
    checkpoint.save(step=1)
    before = (tmp_path / "x.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(step=2)
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]
    assert (tmp_path / "x.safetensors").read_bytes() == before and checkpoint.load()["step"] == 1


FULL = """
import resource, sys
from pathlib import Path
from tinygrad_med import nn
from tinygrad_med.learner.state import Checkpoint

checkpoint = Checkpoint(Path(sys.argv[1]) / "x.safetensors", model=nn.Linear(100, 100))
checkpoint.save(step=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))  # a disk with room for a part of it
try:
    checkpoint.save(step=2)
except OSError as error:
    print(error)
print(checkpoint.load()["step"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_disk_that_is_full_in_the_middle_leaves_the_old_checkpoint(tmp_path: Path):
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[0].startswith("[Errno 27] File too large") and run.stdout.endswith("\n1\n")
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_run_killed_while_it_wrote_goes_on(tmp_path: Path):
    """Between the two renames there is only the checkpoint before."""
    model, optimizer = trained()
    checkpoint = Checkpoint(tmp_path / "x.safetensors", model=model, optimizer=optimizer)
    assert not checkpoint.exists()
    checkpoint.save(step=1)
    (tmp_path / "x.safetensors").rename(tmp_path / "x-before.safetensors")
    assert checkpoint.exists() and checkpoint.load()["step"] == 1
    checkpoint.remove()
    assert not checkpoint.exists()


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path):
    model, optimizer = trained()
    Checkpoint(tmp_path / "x.safetensors", {"lr": 1}, model=model, optimizer=optimizer).save()
    with pytest.raises(ValueError, match="x.safetensors is of a run with lr=1 instead of 2"):
        Checkpoint(tmp_path / "x.safetensors", {"lr": 2}, model=model, optimizer=optimizer).load()
    with pytest.raises(ValueError, match="x.safetensors is of another model or version of this program"):
        Checkpoint(tmp_path / "x.safetensors", {"lr": 1}, model=nn.Linear(5, 5)).load()
    with pytest.raises(ValueError, match="it holds nothing of scheduler"):
        Checkpoint(tmp_path / "x.safetensors", {"lr": 1}, model=model, scheduler=Odd()).load()
    tg.save(model.state_dict(), tmp_path / "y.safetensors")
    with pytest.raises(ValueError, match="y.safetensors doesn't say lr of its run; another version"):
        Checkpoint(tmp_path / "y.safetensors", {"lr": 1}, model=model).load()
    with pytest.raises(ValueError, match="x.pth must end with .safetensors"):
        Checkpoint(tmp_path / "x.pth", model=model)


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    left_behind = tmp_path / "last-fresh.safetensors.0123abcd.partial"
    for go_on in ("save", "load"):
        checkpoint = Checkpoint(tmp_path / "last.safetensors", {}, model=nn.Linear(1, 1))
        left_behind.write_bytes(b"half")
        getattr(checkpoint, go_on)()
        assert not left_behind.exists() and (tmp_path / "last.safetensors").exists()
