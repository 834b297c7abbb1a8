"""Convolution, transposed convolution, unfold and fold: against PyTorch, over drawn geometries, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as tg
from tests.parity import assert_parity
from tinygrad_med.backend.geometry import conv_geometry
from tinygrad_med.ops.conv import _conv, _conv_input, _conv_weight

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    """A small convolution whose windows fit: shapes and how the windows lie."""
    groups = draw(st.integers(1, 3))
    channels, out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel, dilation = draw(pair), draw(pair)
    padding: Any = draw(st.sampled_from(["same", "valid", "numbers"]))
    stride = (1, 1) if padding == "same" else draw(pair)
    if padding == "numbers":
        padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    size = [d * (k - 1) + 1 + draw(st.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True)]
    return {
        "x": (draw(st.integers(1, 2)), channels, *size),
        "weight": (out, channels // groups, *kernel),
        "options": {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
    }


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch, on copies that it makes inside
@given(case=convolutions(), seed=st.integers(0, 99))
def test_conv2d_is_pytorchs(torch, case, seed):
    rng = np.random.default_rng(seed)
    operands = [rng.standard_normal(shape) for shape in (case["x"], case["weight"], case["weight"][:1])]
    options = case["options"]
    for count in (2, 3):
        assert_parity(
            torch,
            lambda *a: tg.conv2d(*a, **options),
            lambda *a: torch.nn.functional.conv2d(*a, **options),
            *operands[:count],
        )


@given(case=convolutions())
def test_three_faces_of_one_form(case):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(case["x"]), rng.standard_normal(case["weight"])
    at = {"geometry": conv_geometry(x.shape, w.shape, **case["options"])}
    z = _conv(x, w, **at)
    y = rng.standard_normal(z.shape)
    form = (z * y).sum()
    np.testing.assert_allclose((_conv_input(y, w, **at) * x).sum(), form, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose((_conv_weight(x, y, **at) * w).sum(), form, rtol=1e-10, atol=1e-10)


@given(
    groups=st.integers(1, 2),
    kernel=pair,
    stride=pair,
    dilation=pair,
    padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    extra=st.tuples(st.integers(0, 1), st.integers(0, 1)),
)
def test_conv_transpose2d_is_pytorchs(torch, groups, kernel, stride, dilation, padding, extra):
    extra = tuple(min(e, max(s, d) - 1) for e, s, d in zip(extra, stride, dilation, strict=True))
    rng = np.random.default_rng(0)
    operands = [rng.standard_normal(s) for s in ((2, 2 * groups, 4, 3), (2 * groups, 2, *kernel), (2 * groups,))]
    options = {"stride": stride, "padding": padding, "output_padding": extra, "groups": groups, "dilation": dilation}
    for count in (2, 3):
        assert_parity(
            torch,
            lambda *a: tg.conv_transpose2d(*a, **options),
            lambda *a: torch.nn.functional.conv_transpose2d(*a, **options),
            *operands[:count],
        )


@given(kernel=pair, stride=pair, dilation=pair, padding=st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_unfold_and_fold_are_pytorchs(torch, kernel, stride, dilation, padding):
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 8))
    options = {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}
    F = torch.nn.functional
    assert_parity(torch, lambda x: tg.unfold(x, **options), lambda x: F.unfold(x, **options), x)
    columns = tg.unfold(tg.tensor(x), **options).numpy()
    assert_parity(torch, lambda c: tg.fold(c, (7, 8), **options), lambda c: F.fold(c, (7, 8), **options), columns)


def test_convolution_is_unfold_then_matmul():
    rng = np.random.default_rng(0)
    x, w = tg.tensor(rng.standard_normal((2, 3, 6, 5))), tg.tensor(rng.standard_normal((4, 3, 3, 2)))
    product = (w.reshape(4, -1) @ tg.unfold(x, (3, 2))).reshape(2, 4, 4, 4)
    np.testing.assert_allclose(tg.conv2d(x, w).numpy(), product.numpy(), rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_an_empty_batch_has_gradients(groups):
    x = tg.zeros(0, 4, 6, 6, requires_grad=True)
    w, b = tg.ones(6, 4 // groups, 3, 3, requires_grad=True), tg.ones(6, requires_grad=True)
    z = tg.conv2d(x, w, b, stride=2, groups=groups)
    assert z.shape == (0, 6, 2, 2)
    z.sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.numpy().any()
    assert not b.grad.numpy().any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_layout_in_memory_does_not_matter(dtype, stride):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 9, 10)).astype(dtype), rng.standard_normal((4, 3, 3, 3)).astype(dtype)
    plain = tg.conv2d(tg.tensor(x), tg.tensor(w), stride=stride).numpy()
    wide = np.zeros((2, 6, 18, 10), dtype)
    wide[:, ::2, ::-2] = x
    layouts = [
        (wide[:, ::2, ::-2], w),
        (x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), w),
        (x.transpose(3, 2, 1, 0).copy().transpose(3, 2, 1, 0), w.transpose(3, 1, 0, 2).copy().transpose(2, 1, 3, 0)),
    ]
    for x_, w_ in layouts:
        np.testing.assert_array_equal(tg.conv2d(tg.tensor(x_), tg.tensor(w_), stride=stride).numpy(), plain)


# What is refused ----------------------------------------------------------------------------------------------------

X, W = (2, 3, 8, 8), (4, 3, 3, 3)


@pytest.mark.parametrize(
    ("x", "w", "options", "text"),
    [
        (
            (16, 3, 8, 8),
            (64, 1, 7, 7),
            {},
            r"conv2d: x has 3 channels \(16, 3, 8, 8\), weight expects 1 \(64, 1, 7, 7\)",
        ),
        (X, (4, 3, 9, 9), {}, r"conv2d: the kernel covers 9×9, more than the padded input 8×8.*larger input"),
        (X, W, {"stride": 0}, r"conv2d: stride=0 must be at least 1"),
        (X, W, {"stride": (1, -2)}, r"conv2d: stride=\(1, -2\) must be at least 1"),
        (X, W, {"padding": -1}, r"conv2d: padding=-1 must be at least 0"),
        (X, W, {"dilation": 0}, r"conv2d: dilation=0 must be at least 1"),
        (X, W, {"groups": 3}, r"conv2d: groups=3 doesn't divide the 4 output channels.*choose a divisor of 4"),
        (X, W, {"groups": 0}, r"conv2d: groups=0 must be at least 1"),
        (X, W, {"groups": 2}, r"conv2d: x has 3 channels .* 3 in each of 2 groups, 6.* give x 6 channels"),
        (X, W, {"padding": "full"}, r"conv2d: padding='full' is unknown; use 'same'"),
        (X, W, {"padding": "same", "stride": 2}, r"conv2d: padding='same' needs stride 1"),
        ((8, 8), W, {}, r"conv2d: x has 2 dims \(8, 8\), expected 4: \(N, C, H, W\), or 3 without the batch"),
        (X, (4, 3, 3), {}, r"conv2d: weight has 3 dims \(4, 3, 3\), expected 4"),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_conv2d_refuses(x, w, options, text, bias):
    b = tg.ones(w[0]) if bias else None
    with pytest.raises(ValueError, match=f"^{text}"):
        tg.conv2d(tg.ones(*x, requires_grad=True), tg.ones(*w), b, **options)


def test_conv2d_refuses_a_bias_of_another_length():
    with pytest.raises(ValueError, match=r"conv2d: bias \(3,\) must have one value for each output channel of weight"):
        tg.conv2d(tg.ones(*X), tg.ones(*W), tg.ones(3))


@pytest.mark.parametrize(
    ("x", "w", "options", "text"),
    [
        ((2, 3, 4, 4), (4, 2, 3, 3), {}, r"x has 3 channels \(2, 3, 4, 4\), weight expects 4 \(4, 2, 3, 3\)"),
        ((2, 4, 4, 4), (4, 2, 3, 3), {"groups": 3}, r"groups=3 doesn't divide the 4 input channels"),
        ((2, 4, 4, 4), (4, 2, 3, 3), {"output_padding": 1}, r"output_padding=\(1, 1\) must be less than stride"),
        ((2, 4, 1, 1), (4, 2, 3, 3), {"padding": 2}, r"gives an output of -1×-1; pad less"),
        (
            (2, 4, 4, 4),
            (4, 2, 3, 3),
            {"bias": (3,)},
            r"bias \(3,\) must have one value for each of the 2 output channels",
        ),
        ((4, 4), (4, 2, 3, 3), {}, r"must have 4 dims"),
    ],
)
def test_conv_transpose2d_refuses(x, w, options, text):
    if "bias" in options:
        options = {"bias": tg.ones(*options["bias"])}
    with pytest.raises(ValueError, match=f"^conv_transpose2d: .*{text}"):
        tg.conv_transpose2d(tg.ones(*x), tg.ones(*w), **options)


def test_unfold_and_fold_refuse():
    with pytest.raises(ValueError, match=r"unfold: expects \(N, C, H, W\) or \(C, H, W\), got shape \(8, 8\)"):
        tg.unfold(tg.ones(8, 8), 3)
    with pytest.raises(ValueError, match=r"unfold: the kernel covers 9×9, more than the padded input 8×8"):
        tg.unfold(tg.ones(*X), 9)
    with pytest.raises(
        ValueError, match=r"fold: expects \(N, C · 3 · 3, 36\) for an output of 8×8, got shape \(2, 27, 35\)"
    ):
        tg.fold(tg.ones(2, 27, 35), 8, 3)


AXES = {1: (9,), 2: (7, 8), 3: (5, 6, 4)}


@pytest.mark.parametrize("axes", AXES)
def test_one_image_without_a_batch_is_pytorchs(torch, axes):
    """The result is without it too; its gradients to second order are those of a batch of one."""
    F, rng = torch.nn.functional, np.random.default_rng(0)
    x = rng.standard_normal((4, *AXES[axes]))
    w, b = rng.standard_normal((6, 2, *[3] * axes)), rng.standard_normal(6)
    w_back, b_back = rng.standard_normal((4, 3, *[3] * axes)), rng.standard_normal(6)
    options = {"stride": 2, "padding": 1, "groups": 2}
    back = {**options, "output_padding": 1}
    for name, operands, arguments in [
        (f"conv{axes}d", (x, w, b), options),
        (f"conv_transpose{axes}d", (x, w_back, b_back), back),
    ]:
        ours, theirs = getattr(tg.nn.functional, name), getattr(F, name)
        assert_parity(
            torch, lambda *a, f=ours, o=arguments: f(*a, **o), lambda *a, f=theirs, o=arguments: f(*a, **o), *operands
        )
        assert ours(*map(tg.tensor, operands), **arguments).ndim == axes + 1
    if axes == 2:
        assert_parity(torch, lambda x: tg.unfold(x, 3), lambda x: F.unfold(x, 3), x)
        assert_parity(
            torch, lambda x: tg.fold(x, (3, 4), 2), lambda x: F.fold(x, (3, 4), 2), rng.standard_normal((8, 6))
        )


def test_pytorchs_name_of_the_first_argument():
    x, w = tg.ones(1, 1, 4, 4), tg.ones(1, 1, 3, 3)
    assert tg.conv2d(input=x, weight=w).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("axes", AXES)
def test_a_transposed_convolution_may_have_lines_that_no_window_reaches(torch, axes):
    """output_padding may exceed the stride where the dilation does."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 2, *[3] * axes)), rng.standard_normal((2, 3, *[2] * axes))
    name, options = f"conv_transpose{axes}d", {"dilation": 3, "output_padding": 2, "padding": 1}
    ours, theirs = getattr(tg.nn.functional, name), getattr(torch.nn.functional, name)
    assert_parity(torch, lambda x, w: ours(x, w, **options), lambda x, w: theirs(x, w, **options), x, w)
