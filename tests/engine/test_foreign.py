"""A tensor of PyTorch's among our operands is one clear error, wherever it comes in."""

from __future__ import annotations

import operator

import pytest

import tinygrad_med
from tinygrad_med import nn
from tinygrad_med.nn import functional as F

OURS = tinygrad_med.tensor([[1.0, 2.0], [3.0, 4.0]])
CALLS = {
    "ours + theirs": lambda theirs: OURS + theirs,
    "theirs + ours": lambda theirs: theirs + OURS,
    "theirs @ ours": lambda theirs: theirs @ OURS,
    "ours / theirs": lambda theirs: OURS / theirs,
    "ours == theirs": lambda theirs: theirs == OURS,
    "ours < theirs": lambda theirs: theirs > OURS,
    "a function of theirs alone": tinygrad_med.relu,
    "a function of both": lambda theirs: tinygrad_med.maximum(OURS, theirs),
    "by name": lambda theirs: tinygrad_med.exp(input=theirs),
    "in a list": lambda theirs: tinygrad_med.cat([OURS, theirs]),
    "theirs in a list": lambda theirs: tinygrad_med.stack([theirs, theirs]),
    "a layer": nn.Linear(2, 2),
    "as a weight": lambda theirs: F.linear(OURS, theirs),
    "as labels": lambda theirs: F.cross_entropy(OURS, theirs.long()[0]),
    "as a condition": lambda theirs: tinygrad_med.where(theirs > 0, OURS, OURS),
    "as an index": lambda theirs: OURS[theirs.long()],
    "written": lambda theirs: operator.setitem(OURS.clone(), 0, theirs[0]),
    "as a place to write to": lambda theirs: operator.setitem(OURS.clone(), theirs > 0, 1.0),
    "added in place": lambda theirs: OURS.clone().add_(theirs),
    "copied": lambda theirs: OURS.clone().copy_(theirs),
    "a new tensor": tinygrad_med.tensor,
    "a new tensor of a list": lambda theirs: tinygrad_med.tensor([theirs[0, 0], theirs[0, 1]]),
    "Tensor": tinygrad_med.Tensor,
    "a parameter": nn.Parameter,
    "an upstream gradient": (3 * OURS.clone().requires_grad_()).backward,
    "a state": lambda theirs: nn.Linear(2, 2).load_state_dict({"weight": theirs, "bias": theirs[0]}),
}


@pytest.mark.parametrize("name", CALLS)
def test_pytorchs_tensors_are_refused(name, torch):
    with pytest.raises(
        TypeError, match=r"\w+: got a tensor of PyTorch's, torch\.\w+ \([\d, ]*\), and PyTorch's and"
    ) as e:
        CALLS[name](torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert "tinygrad_med.tensor(x.detach().cpu().numpy())" in str(e.value)


def test_its_numbers_are_taken(torch):
    theirs = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert (OURS + tinygrad_med.tensor(theirs.detach().cpu().numpy())).tolist() == [[2, 4], [6, 8]]
    assert (OURS + theirs.detach().numpy()).tolist() == [[2, 4], [6, 8]]
