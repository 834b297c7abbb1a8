"""Jacobians, Hessians and their products beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med.autograd import functional

X, Y = np.random.default_rng(0).standard_normal((2, 3)), np.random.default_rng(1).standard_normal(3)

FUNCTIONS = {
    "a vector": (lambda x: (x**3).sum(0), (X,)),
    "two results": (lambda x, y: ((x * y).exp(), x @ y), (X, Y)),
    "a number": (lambda x: (x**4).sum(), (X,)),
    "a number of two": (lambda x, y: ((x * y) ** 3).sum(), (X, Y)),
    "one input without use": (lambda x, y: (x * x).sum(), (X, Y)),
}


def assert_same(ours: Any, theirs: Any) -> None:
    assert isinstance(ours, tuple) == isinstance(theirs, tuple)
    if isinstance(ours, tuple):
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    else:
        assert ours.shape == tuple(theirs.shape) and ours.requires_grad == theirs.requires_grad
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_pytorch(torch: Any, name: str, create_graph: bool) -> None:
    fn, arrays = FUNCTIONS[name]
    for as_tuple in (True, False) if len(arrays) == 1 else (True,):
        found = []
        for lib, theirs in ((tg, functional), (torch, torch.autograd.functional)):
            inputs = tuple(lib.tensor(a, requires_grad=create_graph) for a in arrays)
            results = fn(*inputs)
            left = tuple(z.detach() * 2 for z in (results if isinstance(results, tuple) else (results,)))
            left, right = left if isinstance(results, tuple) else left[0], tuple(x.detach() + 1 for x in inputs)
            if not as_tuple:
                inputs, right = inputs[0], right[0]
            options = {"create_graph": create_graph}
            answers = [theirs.jacobian(fn, inputs, **options), theirs.vjp(fn, inputs, left, **options)]
            answers.append(theirs.jvp(fn, inputs, right, **options))
            if not isinstance(results, tuple) and results.numel() == 1:
                answers += [theirs.hvp(fn, inputs, right, **options), theirs.vhp(fn, inputs, right, **options)]
                answers.append(theirs.hessian(fn, inputs, **options))
            found.append(tuple(answers))
        assert_same(*found)


def test_a_jacobian_of_nothing_and_a_hessian_of_the_hessian() -> None:
    x = tg.tensor(X, requires_grad=True)
    assert functional.jacobian(lambda x: x[:0], x).shape == (0, 3, 2, 3)
    h = functional.hessian(lambda x: (x**3).sum(), x, create_graph=True)
    (g,) = tg.grad(h.sum(), x)
    np.testing.assert_allclose(g.numpy(), np.full((2, 3), 6.0))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda x: functional.hessian(lambda x: x * 2, x),
            RuntimeError,
            "hessian: the function must return one",
        ),
        (lambda x: functional.hvp(lambda x: x * 2, x, x), RuntimeError, "hvp: the function must return one tensor of"),
        (lambda x: functional.vjp(lambda x: x * 2, x), RuntimeError, "vjp: give v, of the shape of the results"),
        (lambda x: functional.jvp(lambda x: x * 2, x, x[0]), RuntimeError, r"jvp: v must have .* inputs, \[\(2, 3\)\]"),
        (lambda x: functional.jacobian(lambda x: x * 2, [x]), TypeError, "inputs must be a tensor or a tuple"),
        (lambda x: functional.jacobian(lambda x: 2.0, x), TypeError, "must return a tensor or a tuple"),
        (lambda x: functional.jacobian(lambda x: x, x, strategy="forward-mode"), NotImplementedError, "backward alone"),
        (lambda x: functional.jacobian(lambda x, y: x * 2, (x, x), strict=True), RuntimeError, "does not depend"),
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(tg.tensor(X))
