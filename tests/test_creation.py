"""Every function that makes a tensor takes PyTorch's `dtype`, `device` and `requires_grad`."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med

CREATIONS = {
    "tensor": lambda t, **o: t.tensor([1, 2], **o),
    "scalar_tensor": lambda t, **o: t.scalar_tensor(3, **o),
    "zeros": lambda t, **o: t.zeros(2, 3, **o),
    "ones": lambda t, **o: t.ones((2, 3), **o),
    "empty": lambda t, **o: t.empty(2, **o),
    "full": lambda t, **o: t.full((2,), 7, **o),
    "arange": lambda t, **o: t.arange(5, **o),
    "linspace": lambda t, **o: t.linspace(0, 1, 5, **o),
    "logspace": lambda t, **o: t.logspace(0, 1, 5, **o),
    "eye": lambda t, **o: t.eye(3, **o),
    "rand": lambda t, **o: t.rand(2, **o),
    "randn": lambda t, **o: t.randn(2, **o),
    "randint": lambda t, **o: t.randint(0, 5, (2,), **o),
    "randperm": lambda t, **o: t.randperm(5, **o),
    **{f"{name}_like": lambda t, name=name, **o: getattr(t, f"{name}_like")(t.ones(2, dtype=t.float16), **o)
       for name in ("zeros", "ones", "empty", "rand", "randn")},
    "full_like": lambda t, **o: t.full_like(t.ones(2), 7, **o),
    "new_tensor": lambda t, **o: t.ones(2).new_tensor([1, 2], **o),
    "new_full": lambda t, **o: t.ones(2).new_full((3,), 7, **o),
    **{f"new_{name}": lambda t, name=name, **o: getattr(t.ones(2), f"new_{name}")(3, **o)
       for name in ("zeros", "ones", "empty")},
}  # fmt: skip


@pytest.mark.parametrize("name", CREATIONS)
def test_options(name, torch):
    for library in (tinygrad_med, torch):  # each of these calls is PyTorch's
        x = CREATIONS[name](library, dtype=library.float64, device="cpu", requires_grad=True)
        assert x.requires_grad and x.is_leaf and x.dtype == library.float64 and str(x.device) == "cpu"
        assert not CREATIONS[name](library).requires_grad
    assert tuple(x.shape) == CREATIONS[name](tinygrad_med).shape


@pytest.mark.parametrize("name", ["arange", "randint", "randperm", "tensor"])
def test_integers_carry_no_gradient(name):
    with pytest.raises(RuntimeError, match="requires_grad_: a int64 tensor can't carry a gradient"):
        CREATIONS[name](tinygrad_med, requires_grad=True)


def test_older_names_of_tensors_by_dtype(torch):
    for name in ("DoubleTensor", "FloatTensor", "LongTensor", "IntTensor", "ShortTensor", "ByteTensor", "BoolTensor"):
        ours, theirs = (getattr(lib, name)([1, 0, 3]) for lib in (tinygrad_med, torch))
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.") and ours.tolist() == theirs.tolist()


def test_random_numbers_of_a_distribution():
    tinygrad_med.manual_seed(0)
    means = tinygrad_med.arange(4.0).expand(20000, 4)
    x = tinygrad_med.normal(means, tinygrad_med.tensor([0.5, 1.0, 2.0, 0.0]))
    np.testing.assert_allclose(x.mean(0).numpy(), [0, 1, 2, 3], atol=0.06)
    np.testing.assert_allclose(x.std(0).numpy(), [0.5, 1, 2, 0], atol=0.06)
    assert tinygrad_med.normal(2.0, 0.0, size=(2, 3)).tolist() == [[2.0] * 3] * 2 and x.dtype == tinygrad_med.float32
    counts = tinygrad_med.poisson(tinygrad_med.full((20000,), 3.5))
    assert abs(float(counts.mean()) - 3.5) < 0.06 and abs(float(counts.var()) - 3.5) < 0.2
    integers = tinygrad_med.randint_like(tinygrad_med.zeros(1000), 3)
    assert set(integers.tolist()) == {0.0, 1.0, 2.0}
    for call in (lambda: tinygrad_med.normal(0.0, 1.0), lambda: tinygrad_med.normal(means, 1.0, size=(2,))):
        with pytest.raises(TypeError, match="normal: give means or deviations as a tensor, or two numbers and a size"):
            call()


def test_multinomial_draws_by_weight():
    tinygrad_med.manual_seed(0)
    weights = tinygrad_med.tensor([[1.0, 0.0, 3.0], [2.0, 2.0, 0.0]])
    found = tinygrad_med.multinomial(weights, 4000, replacement=True)
    shares = np.stack([np.bincount(row, minlength=3) for row in found.numpy()]) / 4000
    np.testing.assert_allclose(shares, [[0.25, 0, 0.75], [0.5, 0.5, 0]], atol=0.03)
    assert sorted(tinygrad_med.multinomial(weights[0], 2).tolist()) == [0, 2] and found.dtype == tinygrad_med.int64
    for bad, text in (
        ((weights, 3), "3 positions can't be drawn from 2"),
        ((-weights, 1), "must be finite, 0 or more"),
    ):
        with pytest.raises(ValueError, match=f"multinomial: .*{text}"):
            tinygrad_med.multinomial(*bad)


def test_the_state_of_random_numbers():
    tinygrad_med.manual_seed(5)
    state = tinygrad_med.get_rng_state()
    first = tinygrad_med.rand(3).tolist()
    tinygrad_med.set_rng_state(state)
    assert tinygrad_med.rand(3).tolist() == first and tinygrad_med.initial_seed() == 5
    chosen = tinygrad_med.seed()
    assert tinygrad_med.initial_seed() == chosen != 5


def test_small_questions():
    x = tinygrad_med.tensor([[0.0, 2.0], [3.0, 0.0]])
    assert tinygrad_med.argwhere(x).tolist() == x.argwhere().tolist() == [[0, 1], [1, 0]]
    assert tinygrad_med.is_tensor(x) and not tinygrad_med.is_tensor(x.numpy()) and tinygrad_med.numel(x) == 4
    assert (
        tinygrad_med.is_floating_point(x)
        and not tinygrad_med.is_floating_point(x.long())
        and tinygrad_med.is_nonzero(x[0, 1])
    )
    assert x[:, tinygrad_med.newaxis].shape == (2, 1, 2) and tinygrad_med.asarray(x.numpy()).tolist() == x.tolist()
