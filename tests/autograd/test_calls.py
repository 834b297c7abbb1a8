"""`autograd.grad` and `autograd.backward` beside PyTorch's."""

from __future__ import annotations

import pytest

import tinygrad_med as tg


def test_zeros_for_what_is_unused(torch):
    for lib in (tg, torch):
        x, w = (lib.ones(2, dtype=lib.float64, requires_grad=True) for _ in range(2))
        found = lib.autograd.grad((x * x).sum(), [x, w], materialize_grads=True)
        assert [g.tolist() for g in found] == [[2.0, 2.0], [0.0, 0.0]] and found[1].dtype == lib.float64
        assert lib.autograd.grad((x * x).sum(), [x, w], allow_unused=True)[1] is None
        with pytest.raises(RuntimeError):
            lib.autograd.grad((x * x).sum(), [x, w])
        with pytest.raises(ValueError, match="allow_unused"):
            lib.autograd.grad((x * x).sum(), [x, w], allow_unused=False, materialize_grads=True)


def test_backward_of_several_results(torch):
    for lib in (tg, torch):
        x, seen = lib.tensor([1.0, 2.0], requires_grad=True), []
        x.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
        vector, number = x * x, (3 * x).sum()
        lib.autograd.backward([vector, number], [lib.tensor([1.0, 10.0]), None])
        assert x.grad.tolist() == [5.0, 43.0] and seen == [[5.0, 43.0]]
        lib.autograd.backward((2 * x).sum())
        assert x.grad.tolist() == [7.0, 45.0]
        (2 * x).sum().backward(inputs=x)
        assert x.grad.tolist() == [9.0, 47.0]
        with pytest.raises((ValueError, RuntimeError), match="2 tensors"):
            lib.autograd.backward([x.sum(), x.sum()], [None])
