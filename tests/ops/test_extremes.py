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


CHOICES = {
    "relu": lambda lib, x: lib.relu(x),
    "relu of many": lambda lib, x: lib.relu(lib.tile(x, (30_000,)) if lib is not tg else x.repeat(30_000)),
    "clamp": lambda lib, x: lib.clamp(x, -1.0, 1.0),
    "clamp below": lambda lib, x: lib.clamp(x, min=0.0),
    "clamp to a tensor": lambda lib, x: lib.clamp(lib.ones_like(x), min=x),
    "maximum": lambda lib, x: lib.maximum(x, lib.ones_like(x)),
    "minimum": lambda lib, x: lib.minimum(lib.ones_like(x), x),
    "where": lambda lib, x: lib.where(x > 0, x, 1.0),
    "where not": lambda lib, x: lib.where(x > 0, 1.0, x),
    "masked_fill": lambda lib, x: x.masked_fill(x > 0, 1.0),
    "tril": lambda lib, x: lib.tril(x.reshape(2, 2)),
    "triu": lambda lib, x: lib.triu(x.reshape(2, 2)),
    "sign": lambda lib, x: lib.sign(x),
    "floor": lambda lib, x: lib.floor(x),
    "round": lambda lib, x: lib.round(x),
    "max": lambda lib, x: lib.max(x),
    "amax": lambda lib, x: lib.amax(x * lib.ones_like(x)) if lib is tg else lib.max(x),  # its amax gives NaN here
    "max_pool2d": lambda lib, x: functional(lib).max_pool2d(x.reshape(1, 1, 2, 2), 2),
    "leaky_relu": lambda lib, x: functional(lib).leaky_relu(x, 0.5),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("create_graph", [False, True], ids=["on arrays", "on tensors"])
@pytest.mark.parametrize("name", CHOICES)
def test_what_was_not_chosen_gets_nothing_of_an_infinite_gradient(name, create_graph, dtype, torch):
    found = []
    for lib in (tg, torch):
        x = lib.tensor([-1.0, 4.0, 0.0, 2.0], dtype=getattr(lib, dtype), requires_grad=True)
        z = CHOICES[name](lib, x)
        (g,) = lib.autograd.grad(z, x, lib.full_like(z, np.inf), create_graph=create_graph)
        found.append(g.detach().numpy())
    assert not np.isnan(found[0]).any()
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("choose", ["relu", "clamp below", "where"])
def test_a_root_behind_a_choice(choose, torch):
    found = []
    for lib in (tg, torch):
        x = lib.tensor([-1.0, 4.0], requires_grad=True)
        with np.errstate(divide="ignore"):
            (g,) = lib.autograd.grad(lib.sqrt(CHOICES[choose](lib, x)).sum(), x)
        found.append(g.tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["tril", "triu"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_triangles_of_infinities_and_of_every_dtype(name, dtype, torch):
    x = np.full((3, 3), -np.inf if dtype == "float32" else 1).astype(dtype)
    ours, theirs = (getattr(lib, name)(lib.tensor(x), 1).numpy() for lib in (tg, torch))
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype


def test_an_ignored_target_may_be_impossible(torch):
    scores = np.array([[-np.inf, 0.0], [0.0, -1.0]])
    for smoothing in (0.0, 0.1):
        losses = [
            functional(lib).cross_entropy(
                lib.tensor(scores), lib.tensor([-100, 1]), ignore_index=-100, label_smoothing=smoothing
            )
            for lib in (tg, torch)
        ]
        assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-15)


# Long sums ----------------------------------------------------------------------------------------------------------

LONG_SUMS = {
    "sum": lambda x: x.sum(0),
    "sum of a middle dim": lambda x: x.reshape(2, -1, 4).sum(1),
    "sum over several dims": lambda x: x.reshape(-1, 2, 4, 1).sum((0, 1)),
    "sum of columns": lambda x: tg.tensor(np.asfortranarray(x.numpy())).sum(1),
    "sum of every other": lambda x: x[::2].sum(0),
    "mean": lambda x: x.mean(0),
    "var": lambda x: x.var(0),
    "cumsum": lambda x: x.cumsum(0)[-1],
    "logsumexp": lambda x: x.logsumexp(0),
    "softmax": lambda x: x.softmax(0)[0],
    "log_softmax": lambda x: x.log_softmax(0)[0],
    "gradient of a broadcast": lambda x: _gradient(lambda y: y * x, tg.ones(4)),
    "gradient of a bias": lambda x: _gradient(
        lambda b: tg.nn.functional.linear(tg.zeros(len(x), 1), tg.zeros(4, 1), b), tg.ones(4), x
    ),
}


def _gradient(function, y, upstream=None):
    y.requires_grad_()
    z = function(y)
    return tg.autograd.grad(z, y, tg.ones_like(z) if upstream is None else upstream)[0]


@pytest.mark.parametrize("rows", [60_000, 60_002])
@pytest.mark.parametrize("name", LONG_SUMS)
def test_a_sum_is_as_exact_as_its_dtype(name, rows):
    x = np.random.default_rng(0).random((rows, 4), "float32") + 10
    ours = LONG_SUMS[name](tg.tensor(x)).numpy()
    exact = LONG_SUMS[name](tg.tensor(x, dtype=tg.float64)).numpy() if "gradient" not in name else x.sum(0, dtype=float)
    assert ours.dtype == "float32"
    np.testing.assert_allclose(ours, exact, rtol=3e-7)


HALVES = {
    "mean": lambda lib, x: x.expand(300, 300).mean(),
    "softmax": lambda lib, x: lib.softmax((x * 0).repeat(300), 0),
    "log_softmax": lambda lib, x: lib.log_softmax((x * 0).repeat(300), 0),
    "logsumexp": lambda lib, x: lib.logsumexp((x * 0).repeat(300), 0),
    "norm": lambda lib, x: lib.norm(x),
    "norm, p=3": lambda lib, x: lib.norm(x, 3),
    "var": lambda lib, x: x.var(),
    "std": lambda lib, x: x.std(),
    "sum": lambda lib, x: x.sum(0),
    "cumsum": lambda lib, x: x.cumsum(0),
    "prod": lambda lib, x: (x[[299, 298, 1]] / lib.tensor([1, 1, 100], dtype=x.dtype)).prod(),
    "layer_norm": lambda lib, x: functional(lib).layer_norm(x, (300,)),
    "group_norm": lambda lib, x: functional(lib).group_norm(x.reshape(1, 2, 150), 1),
    "batch_norm": lambda lib, x: functional(lib).batch_norm(x.reshape(150, 2), None, None, training=True),
}


@pytest.mark.parametrize("name", HALVES)
def test_float16_is_summed_in_float32(name, torch):
    ours = HALVES[name](tg, tg.arange(300).half()).numpy()
    exact = HALVES[name](torch, torch.arange(300).double()).numpy()  # PyTorch's own are infinite here and there
    assert ours.dtype == "float16"
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours, exact, rtol=1e-3, atol=1e-6)


# No elements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "empty",
    [
        lambda lib, x: x.sum(0),
        lambda lib, x: x.sum(),
        lambda lib, x: x.prod(0),
        lambda lib, x: lib.logsumexp(x, 0),
        lambda lib, x: lib.logsumexp(x, (0, 1)),
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

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "uint8", "bool")
OPERATIONS = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "maximum": lambda x, y: x.maximum(y),
    "gt": lambda x, y: x > y,
    "clamp, min": lambda x, y: x.clamp(min=y),
    "clamp, max": lambda x, y: x.clamp(max=y),
    "logical_and": lambda x, y: x.logical_and(y),
    "logical_xor": lambda x, y: x.logical_xor(y),
}
ALONE = {
    "sum": lambda x: x.sum(0),
    "cumsum": lambda x: x.cumsum(0),
    "prod": lambda x: x.prod(0),
    "prod of all": lambda x: x.prod(),
    "logical_not": lambda x: x.logical_not(),
}


@pytest.mark.parametrize("operation", ALONE)
def test_dtypes_of_one_operand_are_pytorchs(operation, torch):
    for dtype in DTYPES:
        ours, theirs = (ALONE[operation](lib.ones(3, dtype=getattr(lib, dtype))) for lib in (tg, torch))
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch."), dtype
        assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "uint8", "bool"])
@pytest.mark.parametrize("default", ["float32", "float64"])
def test_floats_of_integers_are_of_the_default_dtype_and_exact(dtype, default, torch):
    """NumPy computes them in half precision, of bytes."""
    values, found = [0, 1, 1, 1] if dtype == "bool" else [0, 1, 7, 11], []
    for lib in (tg, torch):
        lib.set_default_dtype(getattr(lib, default))
        try:
            x = lib.tensor(values, dtype=getattr(lib, dtype))
            one = lib.ones(4, dtype=getattr(lib, dtype))
            results = [x.exp(), x.sin(), x.sqrt(), x.sigmoid(), x.tanh(), x.log1p(), x / (one + one), x.atan2(one)]
            found.append([*results, lib.hypot(x.float(), one.float())])
        finally:
            lib.set_default_dtype(lib.float32)
    for ours, theirs in zip(*found, strict=True):
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("operation", ["and", "or", "xor"])
def test_operators_are_bitwise_and_functions_logical(operation, torch):
    for name in (f"__{operation}__", f"bitwise_{operation}", f"logical_{operation}"):
        ours, theirs = (getattr(lib.tensor([1, 2, 0]), name)(lib.tensor([2, 2, 4])) for lib in (tg, torch))
        assert ours.tolist() == theirs.tolist()
    assert (~tg.tensor([1, 0])).tolist() == (~torch.tensor([1, 0])).tolist() == [-2, -1]
    assert tg.logical_not(tg.tensor([1.0, 0.0])).tolist() == [False, True]


def test_an_integer_clamped_to_a_fraction(torch):
    for lib in (tg, torch):
        assert lib.tensor([1, 2, 3]).clamp(min=1.5).tolist() == [1.5, 2.0, 3.0]


def test_a_byte_mask_is_a_mask():
    x = tg.tensor([10, 20, 30])
    assert x[tg.tensor([1, 0, 1]).byte()].tolist() == [10, 30]  # as positions: 20, 10, 20


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2,), ()), ((), (2,))])
def test_dtypes_promote_as_pytorchs(operation, shapes, torch):
    for first, second in itertools.product(DTYPES, DTYPES):
        names = []
        for lib in (tg, torch):
            x, y = (lib.ones(s, dtype=getattr(lib, d)) for s, d in zip(shapes, (first, second), strict=True))
            names.append(str(OPERATIONS[operation](x, y).dtype).removeprefix("torch."))
        assert names[0] == names[1], (first, second)


@pytest.mark.parametrize("operation", ["add", "mul", "div", "gt", "clamp, min", "clamp, max"])
@pytest.mark.parametrize("number", [2, 2.5])
def test_numbers_promote_as_pytorchs(operation, number, torch):
    for dtype in DTYPES:
        names = []
        for lib in (tg, torch):
            z = OPERATIONS[operation](lib.ones(2, dtype=getattr(lib, dtype)), number)
            names.append(str(z.dtype).removeprefix("torch."))
        assert names[0] == names[1], dtype


@pytest.mark.parametrize("size", [1e20, 1e-30])
def test_std_of_squares_that_leave_float32(torch, size):
    found = []
    for lib in (tg, torch):
        x = lib.tensor([size, 2 * size, -size], dtype=lib.float32, requires_grad=True)
        z = x.std()
        z.backward()
        found.append([z.item(), *x.grad.tolist()])
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_gelu_of_float16_has_gradients_where_its_cube_has_left_it(torch):
    def gradient(lib):
        x = lib.tensor([-60000.0, -300.0, 0.5, 300.0, 60000.0], dtype=lib.float16, requires_grad=True)
        lib.nn.functional.gelu(x, approximate="tanh").sum().backward()
        return x.grad.tolist()

    assert gradient(tg) == pytest.approx(gradient(torch), rel=2e-3)


@pytest.mark.parametrize("eps", [None, 0.0, 1e-6, 0.1])
def test_logit_outside_of_its_range_is_pytorchs(torch, eps):
    found = []
    for lib in (tg, torch):
        x = lib.tensor([-0.5, 0.0, 0.05, 0.1, 0.5, 0.95, 1.0, 1.5], dtype=lib.float64, requires_grad=True)
        with np.errstate(all="ignore"):
            z = lib.logit(x, eps)
            z.sum().backward()
        found.append((z.detach().numpy(), x.grad.numpy()))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_a_norm_of_zeros_has_a_gradient_of_zeros_and_so_has_that(torch):
    for lib, second in ((tg, 0.0), (torch, np.nan)):
        x = lib.zeros(3, dtype=lib.float64, requires_grad=True)
        (g,) = lib.autograd.grad(x.norm(), x, create_graph=True)
        (h,) = lib.autograd.grad(g.sum(), x)
        assert g.tolist() == [0.0] * 3
        np.testing.assert_array_equal(h.numpy(), [second] * 3)
