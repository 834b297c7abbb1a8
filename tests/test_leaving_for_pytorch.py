"""A training that was begun here goes on in PyTorch from a file: the next step is the same, in float64."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import tinygrad_med
from tests import ranks as program
from tests.test_parallel import ROOT, mpirun, needs_mpi
from tinygrad_med.learner import Checkpoint, to_pth
from tinygrad_med.parallel import Ranks

rng = np.random.default_rng(0)
IMAGES, CLASSES = rng.standard_normal((4, 8, 1, 8, 8)), rng.integers(0, 3, (4, 8))  # four batches of eight


def network(library):
    """A convolution with batch-norm, and a classifier, in either library."""
    nn = library.nn
    layers = (nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    return nn.Sequential(*layers).to(dtype=library.float64)


def step(library, model, optimizer, x, y):
    """One step; its loss."""
    loss = library.nn.functional.cross_entropy(model(library.tensor(x)), library.tensor(y))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def assert_same(theirs, ours):
    """All parameters and buffers."""
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name].numpy(), value.numpy(), rtol=1e-12, atol=1e-14, err_msg=name)


OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
    "SGD with Nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 0.01, "weight_decay": 1e-3},
    "Adam with amsgrad": {"lr": 0.01, "amsgrad": True},
    "AdamW": {"lr": 0.01},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True},
}


@pytest.mark.parametrize("way", ["save", "Checkpoint and to_pth"])
@pytest.mark.parametrize("which", OPTIMIZERS)
def test_the_next_steps_are_the_same(which, way, tmp_path, torch):
    tinygrad_med.manual_seed(0)
    model, file = network(tinygrad_med), tmp_path / "last.pt"
    optimizer = getattr(tinygrad_med.optim, which.split()[0])(model.parameters(), **OPTIMIZERS[which])
    for x, y in zip(IMAGES[:2], CLASSES[:2], strict=True):
        step(tinygrad_med, model, optimizer, x, y)
    if way == "save":
        tinygrad_med.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    else:
        to_pth(Checkpoint(tmp_path / "last.safetensors", model=model, optimizer=optimizer).save(epoch=3), file)

    theirs = network(torch)
    their_optimizer = getattr(torch.optim, which.split()[0])(theirs.parameters(), lr=7.0)  # the file knows better
    state = torch.load(file, weights_only=True)
    theirs.load_state_dict(state["model"])
    their_optimizer.load_state_dict(state["optimizer"])
    assert way == "save" or state["facts"] == {"epoch": 3}
    for x, y in zip(IMAGES[2:], CLASSES[2:], strict=True):
        found = step(torch, theirs, their_optimizer, x, y)
        assert found == pytest.approx(step(tinygrad_med, model, optimizer, x, y), rel=1e-12)
        assert_same(theirs, model)


@needs_mpi
def test_what_three_ranks_began_one_process_of_pytorch_goes_on_with(tmp_path, torch):
    """A `Learner` with batch-norm over all ranks; its checkpoint of the epoch in which it was broken off."""
    ended = mpirun(3, ROOT / "tests" / "ranks.py", tmp_path, "broken_off")
    assert ended.returncode == 0, ended.stderr
    file = to_pth(tmp_path / "last.safetensors", tmp_path / "last.pt")
    ours = program.learner(Ranks()).load(tmp_path / "last.safetensors")

    nn = importlib.import_module("torch.nn")
    body = nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU())
    theirs = nn.Sequential(body, nn.Linear(8, 2)).double()
    groups = [[body[0].weight], [*body[1].parameters()], [theirs[1].weight], [theirs[1].bias]]
    optimizer = torch.optim.AdamW([{"params": group} for group in groups])
    state = torch.load(file, weights_only=True)
    theirs.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    assert state["optimizer"]["state"][0]["step"] > 5  # it is in the middle
    for x, y in list(ours.dls.train)[:2]:
        loss = ours.one_batch((x, y))
        assert step(torch, theirs, optimizer, x, y) == pytest.approx(loss, rel=1e-12)
        assert_same(theirs, ours.model)


def test_what_is_no_checkpoint_is_told(tmp_path):
    tinygrad_med.save({"x": tinygrad_med.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="x.safetensors is no checkpoint"):
        to_pth(tmp_path / "x.safetensors", tmp_path / "x.pt")
    with pytest.raises(ValueError, match="must end with .pt or .pth"):
        to_pth(tmp_path / "x.safetensors", tmp_path / "y.safetensors")
