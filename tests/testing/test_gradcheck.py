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
from tinygrad_med.testing import GradcheckError, check_op, gradcheck, gradgradcheck

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
    assert not missing


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
            verdicts.append(check(partial(call, lib), x, raise_exception=False))
        assert verdicts[0] == verdicts[1], values


@pytest.mark.parametrize(
    "fn",
    [
        lambda lib, x: (x * 2, x.detach() * 3),  # what requires no gradient is left out
        lambda lib, x: x.detach() * 3,
        lambda lib, x: x * next(COUNTER),
    ],
)
def test_the_same_answer_without_exceptions(torch, fn):
    answers = []
    for lib, check in ((tg, gradcheck), (torch, torch.autograd.gradcheck)):
        x = lib.tensor([0.5, 1.5], dtype=lib.float64, requires_grad=True)
        answers.append(check(partial(fn, lib), x, raise_exception=False))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("fast_mode", [False, True])
def test_a_rule_that_is_not_linear_in_the_upstream_gradient(fast_mode):
    squared = wrong(lambda g, x: 2 * g * g * x)
    with pytest.raises(GradcheckError, match="linearity"):
        gradcheck(squared, leaf(2, 3), fast_mode=fast_mode)


def test_upstream_gradients_that_do_not_fit_are_refused():
    assert gradgradcheck(tg.tanh, leaf(2), grad_outputs=np.ones(2))
    with pytest.raises(ValueError, match=r"grad_outputs have the shapes \[\(3,\)\], the results \[\(2,\)\]"):
        gradgradcheck(tg.tanh, leaf(2), grad_outputs=leaf(3))
    with pytest.raises(ValueError, match="grad_outputs have the shapes"):
        gradgradcheck(tg.tanh, leaf(2), grad_outputs=(leaf(2), leaf(2)))


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


# What is hard to tell -------------------------------------------------------------------------------------------------

FAR_OUT = {
    "logsigmoid": (tg.logsigmoid, [14.0, 15.0, 18.0]),
    "softplus": (tg.softplus, [-15.0, -18.0]),
    "erf": (tg.erf, [4.0, 4.5]),
    "gelu": (tg.gelu, [-6.0]),
    "silu": (lambda x: x * tg.sigmoid(x), [-24.0, -22.5]),
    "a small parabola": (lambda x: 1e-8 * x * tg.abs(x), [1.0, -2.0]),
    "sign": (tg.sign, [1e6]),
    "softsign": (lambda x: x / (1 + tg.abs(x)), [3e6]),
    "sine": (tg.sin, [1e6, 2e6]),
    "a peak": (lambda x: tg.exp(-((1e4 * x) ** 2)), [5e-5, 1e-5]),
    "a step": (lambda x: tg.sigmoid(1e5 * x), [1e-5, -2e-5]),
    "a sinc": (lambda x: tg.sin(x) / x, [3e-4, -2e-4, 1e-4, 5e-4]),
    "a sum that is 1": (lambda x: 1e5 * (tg.sin(x) ** 2 + tg.cos(x) ** 2), [0.5, 1.5]),
    "a probability": (lambda x: 1e5 * tg.softmax(x, 0).sum(), [0.5, 1.5, 2.0]),
}


@pytest.mark.parametrize("name", FAR_OUT)
@pytest.mark.parametrize("check", [partial(gradcheck, order=2), check_op])
def test_far_out_what_is_right_raises_no_alarm(name, check):
    fn, values = FAR_OUT[name]
    assert check(fn, tg.Tensor(np.array(values), requires_grad=True))


@pytest.mark.parametrize(
    ("forward", "rule", "values"),
    [
        (lambda xp, x: 1e-8 * x * xp.abs(x), lambda g, x: 1e-8 * g * tg.abs(x), [1.0, -2.0]),
        (tg.logsigmoid.forward, lambda g, x: g * tg.sigmoid(-x) * (x < 0), [14.0, 15.0, 18.0]),
        (lambda xp, x: xp.exp(-((1e4 * x) ** 2)), lambda g, x: 0 * g, [5e-5, 2e-5]),
        (lambda xp, x: xp.sin(2e4 * xp.pi * x), lambda g, x: 0 * g, [0.1, 0.2]),
    ],
)
def test_far_out_what_is_wrong_is_found(forward, rule, values):
    operation = tg.primitive(forward)
    operation.vjp(x=rule)
    assert not check_op(operation, np.array(values), raise_exception=False).ok


def test_a_rule_may_be_as_random_as_the_function():
    noise = np.random.default_rng(0)
    operation = tg.primitive(lambda xp, x: x * x)
    operation.vjp(x=lambda g, x: 2 * g * x + noise.uniform(-1e-7, 1e-7))
    assert gradcheck(operation, leaf(3), nondet_tol=1e-5)


def test_a_gradient_of_integers_is_no_gradient():
    total = tg.primitive(lambda xp, x: x.sum())
    total.vjp(x=lambda g, x_shape: np.ones(x_shape, int))
    x = tg.ones(3, dtype=tg.float64, requires_grad=True)
    with pytest.raises(GradcheckError, match="the rule forgets the upstream gradient"):
        gradcheck(total, x)


def test_beside_the_end_of_the_domain_a_factor_is_a_factor():
    operation = tg.primitive(lambda xp, x: xp.log(x))
    operation.vjp(x=lambda g, x: 2 * g / x)
    report = check_op(operation, np.array([1e-9]), raise_exception=False)
    assert report.verdict == "factor"
