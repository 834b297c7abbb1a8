"""check_op: in a script, in a hypothesis test, from a strategy; its diagnosis, and what it reports besides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tg
from tests.stand_in import cupy
from tinygrad_med import backend
from tinygrad_med.testing import GradcheckError, Report, check_op, gradcheck, laid_out, strategies


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
    assert (report.analytic, report.numerical) == (1.0, pytest.approx(-1.0))
    assert not report.complex_step_agrees  # |x| is not analytic
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


def test_a_module_is_checked_in_float32_with_its_parameters():
    linear = tg.nn.Linear(3, 2).double()
    assert "float32" in check_op(linear, np.ones((2, 3))).passed
    assert linear.weight.dtype == "float64"


def test_a_function_that_holds_float64():
    weight = tg.ones(3, dtype=tg.float64)
    report = check_op(lambda x: x * weight, np.ones(3), raise_exception=False)
    assert report.verdict == "dtype"
    assert "pass check_float32=False" in str(report)


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


# What it promises ---------------------------------------------------------------------------------------------------


def made(forward, **rules):
    operation = tg.primitive(forward)
    operation.vjp(**rules)
    return operation


def verdict(fn, inputs, **options):
    return check_op(fn, inputs, raise_exception=False, **options).verdict


def test_operands_arrive_in_every_memory_layout():
    seen = set()

    def record(xp, x):
        seen.add(tuple(np.sign(x.strides)) if 0 in x.strides or min(x.strides) < 0 else x.strides)
        return x * 2

    check_op(made(record, x=lambda g: g * 2), np.ones((2, 3)))
    assert {(24, 8), (8, 16), (-1, -1), (96, 16), (40, 8), (0, 1)} <= seen  # the last a broadcast view


def test_a_layout_that_the_user_gives_is_kept():
    only_in_order = made(lambda xp, x: x if x.flags.c_contiguous else -x, x=lambda g: g)
    for layout in ("strided", "reversed", "transposed"):
        x = laid_out(np.ones((2, 3)), layout)
        assert verdict(only_in_order, x, reference=lambda x: x, view=True) == "value"
    assert verdict(only_in_order, np.ones((2, 3)), view=True) == "layout"


@pytest.mark.parametrize("bad", [lambda g: 0 in g.strides, lambda g: min(g.strides) < 0, lambda g: g.strides[-1] > 8])
def test_an_upstream_gradient_in_another_layout_makes_no_difference(bad):
    def rule(g):
        return g * (-2 if isinstance(g, np.ndarray) and bad(g) else 2)

    assert verdict(made(lambda xp, x: x * 2, x=rule), np.ones((2, 3))) == "layout"


@pytest.mark.parametrize("dim", [0, 1])
def test_a_view_that_is_broadcast_over_one_dim_makes_no_difference(dim):
    def stretched(a):
        return isinstance(a, np.ndarray) and a.ndim == 2 and a.strides[dim] == 0 and a.strides[1 - dim] != 0

    x = np.random.default_rng(0).random((3, 4)) + 0.5
    assert verdict(made(lambda xp, x: -x if stretched(x) else x * 1, x=lambda g: g), x) == "layout"
    report = check_op(made(lambda xp, x: x * 1, x=lambda g: -g if stretched(g) else g), x, raise_exception=False)
    assert report.verdict == "layout"
    assert f"a broadcast view over dim {dim}" in str(report)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_in_coarse_dtypes_layouts_round_otherwise(dtype):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(dtype) for shape in ((6, 60), (60, 5)))
    options = {"allow_float32": True, "fast_mode": True, "check_float32": dtype == "float32", "order": 1}
    assert check_op(tg.sum, x, **options).ok
    assert check_op(tg.exp, x[:, :3], **options).ok
    if dtype == "float32":
        assert check_op(tg.matmul, (x, y), **options).ok


def test_what_refuses_equal_rows_or_float32_is_not_wrong():
    def in_order(x):
        if not (x.array[1:] > x.array[:-1]).all():
            raise ValueError("x must increase")
        return x * x

    assert check_op(in_order, np.array([[1.0, 2.0], [3.0, 4.0]]), check_float32=False).ok

    def double(x):
        if x.dtype == "float32":
            raise TypeError("float64 only")
        return x * x

    report = check_op(double, np.array([1.0, 2.0]), raise_exception=False)
    assert report.verdict == "error"
    assert "TypeError for float32 operands (check_float32=False leaves them out): float64 only" in str(report)
    assert check_op(double, np.array([1.0, 2.0]), check_float32=False).ok


def test_a_tensor_by_name_that_asks_for_a_gradient_is_an_operand():
    w = tg.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    call = strategies.Call((np.array([1.0, 2.0]),), {"w": w})
    assert check_op(lambda x, w: x * w * w, call).ok
    report = check_op(lambda x, w: x * w * w.detach(), call, raise_exception=False)
    assert (report.verdict, report.operand) == ("factor", "w")


def test_no_argument_may_be_written_to():
    labels = np.array([0, 5, 1])

    def clips(x, labels):
        labels.array[...] = np.clip(labels.array, 0, 1)
        return x * labels

    report = check_op(clips, (np.array([1.0, 2.0, 3.0]), labels), raise_exception=False)
    assert (report.verdict, report.evidence[0]) == ("overwritten", "the function writes to its argument labels")
    assert labels.tolist() == [0, 5, 1]  # the user's own


def test_a_module_keeps_its_state():
    class Centre(tg.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", tg.zeros(3, dtype=tg.float64))

        def forward(self, x):
            mean = x.mean(0)
            self.mean = self.mean * 0.9 + mean.detach() * 0.1
            return x - mean

    centre = Centre()
    handle = centre.register_forward_hook(lambda *_: None)
    assert check_op(centre, np.random.default_rng(0).random((4, 3)), check_float32=False).ok
    assert centre.mean.dtype == tg.float64
    handle.remove()
    assert not centre._forward_hooks


def test_a_module_in_a_closure_keeps_its_state_too():
    class Average(tg.nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = tg.zeros(2, dtype=tg.float64)

        def forward(self, x):
            self.mean = 0.9 * self.mean + 0.1 * x.detach()
            return x * 2 + 0 * self.mean

    average = Average()
    assert check_op(lambda x: average(x) + 1, np.array([1.0, 2.0]), check_float32=False).ok
    assert check_op(average.forward, np.array([1.0, 2.0]), check_float32=False).ok
    assert average.mean.dtype == tg.float64


@pytest.mark.parametrize("options", [{}, {"fast_mode": True}])
@pytest.mark.parametrize("size", [12, 200])
def test_a_tiny_factor_counts(options, size):
    x = np.random.default_rng(0).random(size)
    tiny = made(lambda xp, x: 1e-8 * x * x, x=lambda g, x: 3e-8 * g * x)
    assert verdict(tiny, x, **options) == "factor"
    assert check_op(lambda x: 1e-8 * x * x, x, **options).ok


def test_a_tiny_derivative_counts():
    values = np.random.default_rng(0).standard_normal((1200, 120))

    def rule(g, x):
        return -2 * g * x * (1 / (x.size if isinstance(x, np.ndarray) else x.numel()))

    assert verdict(made(lambda xp, x: (x * x).mean(), x=rule), values, order=1) == "sign"
    tiny = made(lambda xp, x: x * x * 1e-6, x=lambda g, x: -2e-6 * g * x)
    assert verdict(tiny, np.array([1.0, 2.0])) == "sign"
    assert check_op(lambda x: x * x * 1e-6, np.array([1.0, 2.0])).ok
    assert verdict(lambda x: x * 2e-12, np.array([1.0]), reference=lambda x: x * 1e-12, order=0) == "value"


def test_a_constant_with_four_right_digits_does_not_pass():
    x, constant = np.array([[0.3, -1.2], [2.0, 0.7]]), 0.7978845608
    report = check_op(made(lambda xp, x: x * constant, x=lambda g: g * 0.7979), x, raise_exception=False)
    assert report.verdict == "factor"
    assert "analytic = 1.000019 · numerical" in str(report)
    assert "a constant with too few right digits" in str(report)
    swish = made(lambda xp, x: x / (1 + xp.exp(-x)), x=lambda g, x, z: g * (z + tg.sigmoid(x) * (0.99995 - z)))
    assert verdict(swish, x) == "term"
    assert gradcheck(swish, tg.tensor(x, requires_grad=True))  # as PyTorch's
    assert check_op(swish, x, rtol=1e-3).ok
    softmax = made(lambda xp, x: xp.exp(x) / xp.exp(x).sum(), x=lambda g, z: z * (g * 1.0001 - tg.sum(g * z)))
    assert verdict(softmax, x[0]) == "term"  # its Jacobian is symmetric, but not transposed


def test_next_to_zero_rounding_is_no_mistake():
    assert check_op(lambda x: tg.logsumexp(x, 0), np.array([-4767.7573, -4030.1771])).ok  # softmax: 5e-321


def test_the_examples_are_counted():
    from hypothesis import strategies as st

    assert check_op(right, st.just(np.array([0.5]))).passed[0] == "1 example"


def test_an_error_beside_a_failure_from_a_strategy():
    with pytest.raises((GradcheckError, ValueError)):  # one of the two, and no group of both
        check_op(lambda x: x * x.detach(), strategies.arrays(dtype=strategies.dtypes()))


@pytest.mark.parametrize("inputs", [[1.0, 2.0], 2.0, np.array([1, 2]), (strategies.arrays(), strategies.arrays())])
def test_without_an_operand_it_says_what_one_is(inputs):
    with pytest.raises(ValueError, match=r"an operand is a float array or tensor, and <lambda> got none among"):
        check_op(lambda *x: x[0], inputs)


# Diagnoses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "x", "where"),
    [
        (tg.sqrt, [0.0, 2.0], "beside x = 0"),
        (tg.log, [-1.0, 2.0], "at x = -1 itself"),
        (lambda x: x**1.5, [0.0, 1.0], "beside x = 0"),
    ],
)
def test_at_the_end_of_the_domain_nobody_is_to_blame(fn, x, where):
    report = check_op(fn, np.array(x), raise_exception=False)
    assert report.verdict == "domain"
    assert f"{where} the function is NaN or infinite" in str(report)


def test_near_the_end_of_the_domain_the_complex_step_decides():
    assert check_op(tg.sqrt, np.array([1e-6])).ok
    assert check_op(lambda x: tg.sigmoid((x - 0.3) * 1e6), np.array([0.3]), order=1).ok  # all of it within 1e-5
    halved = made(lambda xp, x: xp.sqrt(x), x=lambda g, z: g / z)
    assert verdict(halved, np.array([1e-5])) == "factor"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda g, y: g @ y, "transposed"),
        (lambda g, y: g @ tg.transpose(y, 0, 1) * 1.5, "factor"),
    ],
)
def test_matrices_that_are_not_square(rule, expected):
    product = made(lambda xp, x, y: x @ y, x=rule, y=lambda g, x: tg.transpose(x, 0, 1) @ g)
    assert (
        verdict(product, (np.random.default_rng(0).random((2, 3)), np.random.default_rng(1).random((3, 4)))) == expected
    )


def test_a_window_that_is_one_off_in_both_directions():
    kernel = np.random.default_rng(0).standard_normal((1, 1, 3, 3))

    def forward(xp, x):
        return tg.conv2d(tg.Tensor(x), tg.Tensor(kernel), padding=1).array

    def rule(g):
        padded = tg.conv_transpose2d(tg.Tensor(g), tg.Tensor(kernel)).array
        return padded[:, :, :5, :5]  # from the corner, where the middle belongs

    report = check_op(made(forward, x=rule), np.ones((1, 1, 5, 5)), raise_exception=False, order=1)
    assert (report.verdict, "along dim 2 of x and +1 along dim 3 of x, but for the edge" in str(report)) == (
        "shifted",
        True,
    )


def test_a_rule_that_stops_one_element_short():
    short = made(lambda xp, x: 2 * x, x=lambda g: 2 * tg.pad(g[:-1], (0, 1)))
    report = check_op(short, np.array([0.4, 1.1, -0.3, 0.2]), raise_exception=False)
    assert (report.verdict, "wrong only at the last index of dim 0 of x" in str(report)) == ("shifted", True)


def test_at_order_2_a_factor_is_a_factor():
    inner = made(lambda xp, x: xp.cos(x), x=lambda g, x: -2 * g * tg.sin(x))
    report = check_op(made(lambda xp, x: xp.sin(x), x=lambda g, x: g * inner(x)), np.array([0.5, 1.0, 2.0]),
                      raise_exception=False)  # fmt: skip
    assert (report.verdict, report.order) == ("factor", 2)


def test_a_rule_that_is_not_linear_in_g():
    report = check_op(made(lambda xp, x: xp.exp(x), x=lambda g, z: z * g * g), np.ones(3), raise_exception=False)
    assert report.verdict == "linearity"
    report = check_op(made(lambda xp, x: xp.exp(x), x=lambda g, z: z * 1.0), np.ones(3), raise_exception=False)
    assert "the rule forgets the upstream gradient" in str(report)


def test_a_large_input_is_told_to_be_large():
    halves = made(lambda xp, x, y: x @ y, x=lambda g, y: g @ y, y=lambda g, x: tg.transpose(x, 0, 1) @ g)
    x, y = np.random.default_rng(0).random((2, 12, 12))
    assert "a smaller one tells more" in str(check_op(halves, (x, y), raise_exception=False))


def test_a_level_error_looks_level():
    import matplotlib.pyplot

    cube = made(lambda xp, x: x**3, x=lambda g, x: g * x * x)
    axes = [check_op(cube, np.array([1.585]), raise_exception=False).plot()]
    axes.append(check_op(tg.log, np.array([-1.0]), raise_exception=False).plot())
    axes.append(Report("f", verdict="term", curve={1e-2: 1.0, 1e-3: 0.0}).plot())  # pytest makes a warning an error
    try:
        low, high = axes[0].get_ylim()
        errors = axes[0].lines[0].get_ydata()
        assert high / low >= 1e7 and max(errors) / min(errors) < 1.01 and errors.max() > high / 10
        assert axes[1].texts[0].get_text() == "no central difference is finite here"
        assert axes[2].get_ylim()[0] > 0
    finally:
        for ax in axes:
            matplotlib.pyplot.close(ax.figure)


# On a GPU, or what stands in for one --------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(backend, "_cupy", cupy)
    monkeypatch.setattr(backend, "cuda_in_use", True)
    monkeypatch.setattr(backend, "cuda_problem", lambda: None)
    monkeypatch.setattr(backend, "builtin_erf", lambda xp: None)


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_every_argument_goes_along():
    x = np.array([[1.0, 2.0]])
    assert check_op(lambda x, y: x * y, (x, np.array([1, 2]))).passed[-1] == "GPU"
    assert check_op(lambda x, w: x * w, strategies.Call((x,), {"w": np.array([1.0, 2.0])})).passed[-1] == "GPU"
    layer = tg.nn.Linear(2, 3)
    assert check_op(layer, x, check_float32=False).passed[-1] == "GPU"
    assert layer.weight.device == "cpu"
    held = tg.Tensor(np.array([1.0, 2.0]))
    report = check_op(lambda x: x * held, x, check_float32=False)
    assert "GPU" not in report.passed
    assert report.left_out == ["GPU: the function holds arrays of the CPU"]
    assert str(report).endswith("; left out: GPU: the function holds arrays of the CPU")
    assert "GPU" not in check_op(lambda x: x * held, x, check_float32=False, check_gpu=False).passed


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_another_result_is_found():
    other = made(lambda xp, x: x * (2 if xp is np else 3), x=lambda g, z: g * 2)
    assert verdict(other, np.array([1.0, 2.0])) == "device"


def parabola(size, factor):
    """z = size · x², its derivative wrong by a factor."""

    @tg.primitive
    def op(xp, x):
        """z = size · x²"""
        return size * x * x

    op.vjp(x=lambda g, x: g * x * (2 * size * factor))
    return op


@pytest.mark.parametrize("size", [1e-8, 1e-12, 1e-100, 1e-300])
def test_derivatives_of_any_size_count(size):
    x = np.array([1.3, -0.7, 2.1])
    assert check_op(parabola(size, 1.0), x)
    assert check_op(parabola(size, -1.0), x, raise_exception=False).verdict == "sign"
    assert check_op(parabola(size, 1.0001), x, raise_exception=False).verdict == "factor"


def test_a_tiny_rule_for_tensors_alone_must_be_right_too():
    op = parabola(1e-12, 1.0)
    op.vjp(x=lambda g, x: g * x * (2e-12 if isinstance(x, np.ndarray) else 2.002e-12))
    assert check_op(op, np.array([1.3, -0.7, 2.1]), raise_exception=False).verdict == "rules disagree"


@pytest.mark.parametrize("size", [1e5, 1.0, 1e-5])
def test_what_rounding_leaves_of_a_constant_raises_no_alarm(size):
    for values in ([0.5, 1.5], [0.1, 0.2, 0.7], [3.0]):
        x = np.array(values)
        assert check_op(lambda x: size * (tg.sin(x) ** 2 + tg.cos(x) ** 2 - 1), x)
        assert check_op(lambda x: size * (tg.softmax(x, 0).sum() - 1), x)
        assert check_op(lambda x: size * (tg.log(tg.exp(x)) - x), x)
