"""check_op: in a script, in a hypothesis test, from a strategy; its diagnosis, and what it reports besides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tg
from tinygrad_med.testing import GradcheckError, check_op, strategies


@tg.primitive
def huber(xp, x, *, delta=1.0):
    """z = x²/2 where |x| ≤ δ, else δ·(|x| − δ/2)

    ∂x: g · clip(x, −δ, δ), here with a mistake: the sign of x is lost outside
    """
    return xp.where(abs(x) <= delta, x * x / 2, delta * (abs(x) - delta / 2))


huber.vjp(x=lambda g, x, delta: g * tg.where(abs(x) <= delta, x, delta))

right = tg.primitive(huber.forward)
right.vjp(x=lambda g, x, delta: g * tg.clip(x, -delta, delta))


def test_in_a_script():
    report = check_op(right, np.array([0.3, -2.0, 4.0]), reference=right)
    assert report.ok
    assert report.passed[:3] == ["value", "nothing overwritten", "order 1"]
    assert str(report).startswith(
        "huber: ok (value, nothing overwritten, order 1, order 2, linear in g, float32, memory"
    )


def test_the_diagnosis():
    with pytest.raises(GradcheckError) as caught:
        check_op(huber, np.array([0.3, -2.0, 4.0]))
    report = caught.value.report
    assert (report.verdict, report.order, report.operand, report.element) == ("mask", 1, "x", "x[1] → z[1]")
    assert (report.analytic, report.numerical, report.complex_step) == (1.0, pytest.approx(-1.0), None)
    assert len(report.curve) == 6
    assert min(report.curve.values()) == pytest.approx(2)  # level: the error is not the step's
    text = str(report)
    assert "wrong only where -2 ≤ x ≤ -2 (1 elements), right elsewhere" in text
    assert "|analytic − central difference| over the step size\n    2e-02  ▪▪▪▪▪▪" in text


def test_the_plot():
    report = check_op(huber, np.array([-2.0]), raise_exception=False)
    ax = report.plot()
    try:
        assert ax.get_xlabel() == "step size"
        assert len(ax.lines[0].get_xdata()) == 6
    finally:
        import matplotlib.pyplot

        matplotlib.pyplot.close(ax.figure)
    with pytest.raises(ValueError, match="no curve to draw; the report is: huber: ok"):
        check_op(right, np.array([0.5])).plot()


def test_a_strategy_shrinks_to_a_small_example():
    with pytest.raises(GradcheckError) as caught:
        check_op(huber, strategies.arrays(strategies.shapes(1, 3), away_from=(-1, 1)))
    assert caught.value.report.example.count("[") == 1  # one dim
    assert "huber([" in str(caught.value)


def test_a_strategy_that_all_pass():
    report = check_op(right, strategies.arrays(away_from=(-1, 1)), max_examples=15, fast_mode=True)
    assert report.passed[0] == "15 examples"


@settings(max_examples=10)
@given(strategies.arrays(away_from=(-1, 1)))
def test_in_a_hypothesis_test(x):
    check_op(right, x, fast_mode=True)


def test_constants_by_name():
    check_op(right, strategies.Call((np.array([0.3, -2.5]),), {"delta": 2.0}))


def test_a_strategy_without_a_valid_example():
    never = strategies.arrays((2,)).filter(lambda x: False)
    with pytest.raises(ValueError, match="the strategy for huber yields no valid example"):
        check_op(right, never)


def test_a_kink_is_named_and_can_be_stated():
    with pytest.raises(GradcheckError, match="a kink or tie at the point") as caught:
        check_op(tg.relu, np.array([0.0, 1.0]))
    assert "the gradient lies between them, so it may be right" in str(caught.value)
    with pytest.raises(GradcheckError, match="the derivative of order 1 jumps"):
        check_op(tg.abs, np.array([0.0, 1.0]))  # at order 1 the slopes −1 and 1 have the right mean
    check_op(tg.abs, np.array([2.0, 1.0]), at_kinks=[(np.array([0.0, 3.0]), np.array([0.0, 1.0]))])
    with pytest.raises(GradcheckError, match="wrong at a kink"):
        check_op(tg.abs, np.array([2.0, 1.0]), at_kinks=[(np.array([0.0, 3.0]), np.array([1.0, 1.0]))])


def test_a_tie_with_too_much_gradient_is_wrong_whatever_one_states():
    @tg.primitive
    def largest(xp, x):
        return x.max()

    largest.vjp(x=lambda g, x, z: g * (x == z))
    with pytest.raises(GradcheckError, match="moving 2 elements equal to 3 changes the result at a rate"):
        check_op(largest, np.array([3.0, 1.0, 3.0]))


def test_lack_of_precision_is_not_taken_for_a_mistake():
    def rough(x):
        return tg.abs(x + 1e9) - 1e9  # loses nine of sixteen digits

    report = check_op(rough, np.array([0.5, 1.5]), order=1, atol=1e-9, rtol=1e-9, raise_exception=False)
    assert report.verdict == "precision"


def test_an_error_in_a_rule_is_a_report():
    @tg.primitive
    def square(xp, x):
        return x * x

    square.vjp(x=lambda g, x: g @ x)
    report = check_op(square, np.ones((2, 3)), raise_exception=False)
    assert report.verdict in ("transposed", "error")
    assert "square" in str(report)


def test_a_rule_for_arrays_alone_is_right_at_order_1():
    @tg.primitive
    def sine(xp, x):
        return xp.sin(x)

    sine.vjp(x=lambda g, x: g * np.cos(x))
    assert check_op(sine, np.array([1.0, 2.0]), order=1)
    report = check_op(sine, np.array([1.0, 2.0]), order=2, raise_exception=False)
    assert (report.verdict, report.order) == ("error", 1)
    assert "sine" in report.evidence[0]


@pytest.mark.parametrize("order", [0, 1])
def test_a_value_against_a_reference(order):
    report = check_op(
        lambda x: x * 1.001, np.array([[1.0, 2.0]]), reference=lambda x: x, order=order, raise_exception=False
    )
    assert (report.verdict, report.evidence) == (
        "value",
        ["2 of 2 elements differ; at [0, 0] 1.001, the reference gives 1"],
    )


@pytest.mark.cuda
def test_cpu_against_gpu():
    assert "GPU" in check_op(right, np.array([0.3, -2.0])).passed
