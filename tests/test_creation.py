"""Every function that makes a tensor takes PyTorch's `dtype`, `device` and `requires_grad`."""

from __future__ import annotations

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
