"""Where numbers are awkward: ±1e4 in float32, infinities, NaN, no elements at all, and several dtypes at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tinygrad_med as tg

EXTREME = np.float32([-1e4, -100, -1, -0.0, 0.0, 1, 100, 1e4])

STABLE = {
    "sigmoid": lambda lib, x: lib.sigmoid(x),
    "tanh": lambda lib, x: lib.tanh(x),
    "softplus": lambda lib, x: functional(lib).softplus(x),
    "logsigmoid": lambda lib, x: functional(lib).logsigmoid(x),
    "gelu": lambda lib, x: functional(lib).gelu(x),
    "softmax": lambda lib, x: lib.softmax(x, 0),
    "log_softmax": lambda lib, x: lib.log_softmax(x, 0),
    "logsumexp": lambda lib, x: lib.logsumexp(x, 0),
    "cross_entropy": lambda lib, x: functional(lib).cross_entropy(x, lib.tensor(2)),
    "bce_with_logits, 1": lambda lib, x: functional(lib).binary_cross_entropy_with_logits(x, lib.ones_like(x)),
    "bce_with_logits, 0": lambda lib, x: functional(lib).binary_cross_entropy_with_logits(x, lib.zeros_like(x)),
}


def functional(lib):
    return tg.nn.functional if lib is tg else lib.nn.functional


@pytest.mark.parametrize("name", STABLE)
def test_finite_at_ten_thousand(name, torch):
    found = []
    for lib in (tg, torch):
        x = lib.tensor(EXTREME, requires_grad=True)
        z = STABLE[name](lib, x)
        upstream = lib.tensor(np.linspace(0.5, 1.5, z.numel(), dtype="float32").reshape(tuple(z.shape)))
        (g,) = lib.autograd.grad(z, x, upstream)
        found.append([z.detach().numpy(), g.numpy()])
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype == "float32"
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["exp", "expm1", "sqrt", "log", "log1p", "abs", "relu", "floor", "amax", "sum"])
def test_infinities_and_nan_as_pytorch(name, torch):
    x = np.array([-np.inf, np.inf, np.nan, -0.0, -2.0])
    with np.errstate(all="ignore"):
        ours = getattr(tg, name)(tg.tensor(x, dtype=tg.float64)).numpy()
    theirs = getattr(torch, name)(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "empty",
    [
        lambda lib, x: x.sum(0),
        lambda lib, x: x.sum(),
        lambda lib, x: x.prod(0),
        lambda lib, x: lib.softmax(x, 1),
        lambda lib, x: lib.cat([x, x + 1], 0),
        lambda lib, x: x @ lib.ones((3, 2), dtype=lib.float64),
        lambda lib, x: lib.ones((2, 0), dtype=lib.float64) @ x,
        lambda lib, x: x.reshape(3, 0).cumsum(1),
        lambda lib, x: x[x > 0],
        lambda lib, x: x.flatten(),
    ],
)
def test_no_elements_as_pytorch(empty, torch):
    found = []
    for lib in (tg, torch):
        x = lib.zeros((0, 3), dtype=lib.float64, requires_grad=True)
        z = empty(lib, x)
        (g,) = lib.autograd.grad(z, x, lib.ones_like(z))
        found.append((z.detach().numpy(), g.numpy()))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape == theirs.shape


def test_a_place_read_twice_receives_both():
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[[0, 0, 2, 0]].backward(tg.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert x.grad.tolist() == [1011.0, 0.0, 100.0]


# Dtypes -------------------------------------------------------------------------------------------------------------

DTYPES = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")
OPERATIONS = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "maximum": lambda x, y: x.maximum(y),
    "gt": lambda x, y: x > y,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2,), ()), ((), (2,))])
def test_dtypes_promote_as_pytorchs(operation, shapes, torch):
    for first, second in itertools.product(DTYPES, DTYPES):
        names = []
        for lib in (tg, torch):
            x, y = (lib.ones(s, dtype=getattr(lib, d)) for s, d in zip(shapes, (first, second), strict=True))
            names.append(str(OPERATIONS[operation](x, y).dtype).removeprefix("torch."))
        assert names[0] == names[1], (first, second)


@pytest.mark.parametrize("operation", ["add", "mul", "div", "gt"])
@pytest.mark.parametrize("number", [2, 2.5])
def test_numbers_promote_as_pytorchs(operation, number, torch):
    for dtype in DTYPES:
        names = []
        for lib in (tg, torch):
            z = OPERATIONS[operation](lib.ones(2, dtype=getattr(lib, dtype)), number)
            names.append(str(z.dtype).removeprefix("torch."))
        assert names[0] == names[1], dtype
