"""Parameters in lists and dicts: PyTorch's names of the state, and what counts as a parameter."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn


def both(torch):
    """The same module in both libraries."""
    for library, tensors in ((nn, tg), (torch.nn, torch)):

        class Net(library.Module):
            def __init__(self, library=library, tensors=tensors):
                super().__init__()
                self.weights = library.ParameterList([library.Parameter(tensors.ones(2)), tensors.zeros(3)])
                self.named = library.ParameterDict({"left": library.Parameter(tensors.ones(1))})
                self.weights.append(tensors.ones(4))
                self.named["right"] = tensors.ones(2, 2)

        yield Net()


def test_the_state_is_pytorchs(torch):
    ours, theirs = both(torch)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    state = {key: np.full(value.shape, 7.0, "float32") for key, value in ours.state_dict().items()}
    ours.load_state_dict(state)
    assert all((p.detach().numpy() == 7).all() for p in ours.parameters())


def test_they_are_lists_and_dicts():
    first = nn.Parameter(tg.ones(2))
    values = nn.ParameterList([first, tg.zeros(3)])
    assert values[0] is first
    assert isinstance(values[-1], nn.Parameter)
    assert len(values) == len(list(values)) == 2
    assert [v.shape for v in values[1:]] == [(3,)]
    values[0] = tg.ones(5)
    assert values[0].shape == (5,)
    with pytest.raises(IndexError, match="ParameterList: index 2 is out of range for 2 parameters"):
        values[2]
    named = nn.ParameterDict({"a": first})
    named.update({"b": tg.ones(1)})
    assert "b" in named
    assert list(named) == list(named.keys()) == ["a", "b"]
    assert [name for name, _ in named.items()] == ["a", "b"]
    assert next(iter(named.values())) is first
    del named["a"]
    assert len(named) == 1
    with pytest.raises(KeyError):
        named["a"]
    with pytest.raises(KeyError, match="'forward' is the name of something that every module has"):
        named["forward"] = tg.ones(1)


def test_unflatten(torch):
    x = np.random.default_rng(0).standard_normal((2, 12, 3))
    for dim, sizes in ((1, (3, 4)), (-2, (2, -1)), (0, (1, 2)), (2, (3,))):
        found = nn.Unflatten(dim, sizes)(tg.tensor(x)).numpy()
        np.testing.assert_array_equal(found, torch.nn.Unflatten(dim, sizes)(torch.tensor(x)).numpy())
    for sizes in ((5, 2), (-1, -1), (5, -1)):
        with pytest.raises(ValueError, match="Unflatten: .* does not hold the 12 elements of dim 1"):
            nn.Unflatten(1, sizes)(tg.tensor(x))


def test_padding_refuses():
    with pytest.raises(ValueError, match=r"ZeroPad2d: padding=\(1, 2\) must be one width, or 4"):
        nn.ZeroPad2d((1, 2))
    with pytest.raises(ValueError, match=r"ReflectionPad1d: expects 3 dims, or 2 without the batch, got shape \(3,\)"):
        nn.ReflectionPad1d(1)(tg.ones(3))
    with pytest.raises(ValueError, match="pad: mode='reflect' can make a margin of at most 2 from the 3 elements"):
        nn.ReflectionPad1d(3)(tg.ones(2, 3))
