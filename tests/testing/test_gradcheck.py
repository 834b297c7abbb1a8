"""gradcheck and gradgradcheck: PyTorch's arguments, PyTorch's verdict, and errors that name the remedy."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med.testing import GradcheckError, gradcheck, gradgradcheck

COUNTER = itertools.count(1)


def leaf(*shape: int, seed: int = 0) -> tg.Tensor:
    return tg.Tensor(np.random.default_rng(seed).uniform(0.5, 2, shape), requires_grad=True)


def wrong(rule: Any) -> Any:
    @tg.primitive
    def square(xp, x):
        return x * x

    square.vjp(x=rule)
    return square


# PyTorch's meaning --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [gradcheck, gradgradcheck])
def test_the_arguments_are_pytorchs(torch, ours):
    theirs = inspect.signature(getattr(torch.autograd, ours.__name__)).parameters
    missing = set(theirs) - set(inspect.signature(ours).parameters)
    assert missing == {"func"}  # ours is called fn; both take it by position


def as_torch_function(torch: Any, rule: Any) -> Any:
    """The square of a mutant, in PyTorch."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return rule(g, *ctx.saved_tensors)

    return Square.apply


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        (lambda g, x: 2 * g * x, True, True),
        (lambda g, x: -2 * g * x, False, True),
        (lambda g, x: g * x, False, True),
        (lambda g, x: 2 * g, False, True),
        (lambda g, x: 2 * g * (x.detach() if hasattr(x, "detach") else x), True, False),
        (lambda g, x: g * (x + (x.detach() if hasattr(x, "detach") else x)), True, False),
        (lambda g, x: 2 * g * x * (x > 1), False, True),
        (lambda g, x: 2.0001 * g * x, True, True),  # within rtol
        (lambda g, x: 2.02 * g * x, False, True),
    ],
)
@pytest.mark.parametrize("fast_mode", [False, True])
def test_the_same_verdict_as_pytorch(torch, rule, first, second, fast_mode):
    x = np.array([[0.6, 1.7, 1.2], [0.9, 1.4, 2.0]])
    fn = wrong(rule)
    theirs = as_torch_function(torch, rule)
    a, b = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    options = {"raise_exception": False, "fast_mode": fast_mode}
    assert gradcheck(fn, a, **options) == torch.autograd.gradcheck(theirs, b, **options) == first
    assert gradgradcheck(fn, a, **options) == torch.autograd.gradgradcheck(theirs, b, **options) == second


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "sqrt", "relu", "abs", "cumsum", "softmax"])
def test_the_same_verdict_as_pytorch_on_operations(torch, name):
    def call(lib, x):
        return getattr(lib, name)(x, *((0,) if name in ("cumsum", "softmax") else ()))

    for values in ([0.5, 1.5, 1.0], [0.0, 1.0, 1.0]):  # at 0 some have a kink or a pole
        verdicts = []
        for lib, check in ((tg, gradcheck), (torch, torch.autograd.gradcheck)):
            x = lib.tensor(values, dtype=lib.float64, requires_grad=True)
            with np.errstate(all="ignore"):
                verdicts.append(check(partial(call, lib), x, raise_exception=False))
        assert verdicts[0] == verdicts[1], values


def test_orders():
    x = leaf(2, 2)
    assert gradcheck(tg.exp, x, order=4)
    half = wrong(lambda g, x: g * (x + (x.detach() if isinstance(x, tg.Tensor) else x)))
    assert gradcheck(half, x)
    with pytest.raises(GradcheckError, match="square, derivative of order 2 with respect to x: detached"):
        gradcheck(half, x, order=2)
    assert gradgradcheck(tg.mul, (leaf(2), leaf(2, seed=1)), grad_outputs=leaf(2, seed=2))
    assert gradgradcheck(tg.tanh, x, gen_non_contig_grad_outputs=True)


def test_several_results_and_constants():
    def both(x: Any, n: int, y: Any) -> Any:
        return x * y, (x + y) ** n, tg.argmax(x)

    assert gradcheck(both, (leaf(3), 2, leaf(3, seed=1)), order=2)


def test_large_inputs_are_checked_by_projections():
    @tg.primitive
    def sine(xp, x):
        return xp.sin(x)

    sine.vjp(x=lambda g, x: g * tg.cos(x) * (x != x.max() if isinstance(x, np.ndarray) else 1))
    x = leaf(60, 70)
    assert gradcheck(tg.sin, x)
    with pytest.raises(GradcheckError) as caught:
        gradcheck(sine, x)
    place = np.unravel_index(x.array.argmax(), x.shape)
    assert f"x[{place[0]}, {place[1]}]" in str(caught.value)  # one wrong element among 4,200


def test_float32_if_said():
    x = tg.Tensor(np.float32([0.5, 1.5]), requires_grad=True)
    assert gradcheck(tg.exp, x, allow_float32=True)
    with pytest.raises(GradcheckError, match="factor"):
        gradcheck(wrong(lambda g, x: g * x), x, allow_float32=True)


# Mistakes in use ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "x", "error"),
    [
        (tg.exp, tg.ones(3), "no input requires a gradient; make one with requires_grad=True"),
        (tg.exp, tg.ones(3, requires_grad=True), r"an input is float32, .* or say allow_float32=True"),
        (lambda x: x.detach(), leaf(3), "no result of <lambda> requires a gradient: it left the graph, by detach"),
        (tg.argmax, leaf(3), "argmax returned no float tensor"),
        (
            lambda x: x * next(COUNTER),
            leaf(3),
            "not deterministic, two runs .* gave different results; fix its seed",
        ),
    ],
)
def test_mistakes_in_use(fn, x, error):
    with pytest.raises(ValueError, match=error):
        gradcheck(fn, x)


def test_a_function_must_return_tensors():
    with pytest.raises(TypeError, match="must return a tensor or a tuple of tensors, got float"):
        gradcheck(lambda x: 1.0, leaf(3))


@pytest.mark.parametrize("option", ["check_batched_grad", "check_forward_ad"])
def test_what_is_not_supported_says_so(option):
    with pytest.raises(NotImplementedError, match="leave these checks off"):
        gradcheck(tg.exp, leaf(2), **{option: True})


def test_nondeterminism_within_the_tolerance():
    noise = iter(np.linspace(0, 1e-9, 10_000))
    assert gradcheck(lambda x: x * (1 + next(noise)), leaf(2), nondet_tol=1e-6)


def test_needs_numpy_alone():
    code = (
        "import sys\n"
        "for name in ('hypothesis', 'torch', 'matplotlib', 'pytest'): sys.modules[name] = None\n"
        "import tinygrad_med as tg\n"
        "from tinygrad_med.testing import gradcheck, check_op\n"
        "import numpy\n"
        "assert check_op(tg.exp, numpy.ones(2)).ok\n"
        "try:\n"
        "    from tinygrad_med.testing import strategies\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert 'needs hypothesis, which comes with the test extra: pip install "tinygrad_med[test]"' in result.stdout
