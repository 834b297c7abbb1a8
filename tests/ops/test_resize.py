"""Interpolation: against PyTorch over drawn sizes, against integers where PyTorch rounds, and its errors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as tg
from tests.parity import assert_parity

X = np.random.default_rng(0).standard_normal((2, 2, 5, 7))
OF_DIMS = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}
# Near 1 and 2 a factor leaves the size as it is or doubles it; 1.2 and 2.1 are no binary fractions.
FACTORS = [0.3, 1 / 3, 0.5, 0.7, 0.999, 1.0, 1.00001, 1.1, 1.2, 1 / 0.7, 1.5, 1.999, 2, 2.0001, 2.1, 3]


@st.composite
def resizings(draw):
    """An image of one to three dims, and the arguments that say how it is resized."""
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3).filter(lambda s: np.prod(s) < 100))
    dims = len(shape)
    options = {"mode": draw(st.sampled_from(["nearest", "nearest-exact", "area", *OF_DIMS[dims]]))}
    if options["mode"] in OF_DIMS[dims]:
        options["align_corners"] = draw(st.sampled_from([None, False, True]))
    if draw(st.booleans()):
        options["size"] = draw(st.integers(1, 9) | st.tuples(*[st.integers(1, 9)] * dims))
    else:
        usable = [f for f in FACTORS if f * min(shape) >= 1]
        options["scale_factor"] = draw(st.sampled_from(usable) | st.tuples(*[st.sampled_from(usable)] * dims))
        options["recompute_scale_factor"] = draw(st.sampled_from([None, False, True]))
    return np.random.default_rng(0).standard_normal((2, 1, *shape)), options


@given(drawn=resizings())
def test_interpolate_is_pytorchs(torch, drawn):
    x, options = drawn
    theirs = torch.nn.functional.interpolate
    if "scale_factor" in options and (options["mode"], x.ndim) in (("nearest", 3), ("nearest", 5), ("bicubic", 4)):
        # There PyTorch's gradient is not that of its own value: where the size stays (or doubles) it forgets the factor
        expected = theirs(torch.tensor(x), **options).numpy()
        np.testing.assert_allclose(tg.interpolate(tg.tensor(x), **options).numpy(), expected, rtol=0, atol=1e-10)
        return
    assert_parity(torch, lambda x: tg.interpolate(x, **options), lambda x: theirs(x, **options), x)


def test_the_nearest_is_the_integer_for_all_sizes():
    """⌊o · n / out⌋, at which floating point errs in 1,574 of the pairs up to 299 (and PyTorch in 531)."""
    for n in range(1, 300):
        x = tg.arange(n).reshape(1, 1, n)
        for out in range(1, 300, 1 if n in (2, 136) else 7):
            np.testing.assert_array_equal(tg.interpolate(x, out).numpy()[0, 0], np.arange(out) * n // out)
    assert tg.interpolate(tg.arange(2).reshape(1, 1, 2), 98)[0, 0, 49] == 1
    assert tg.interpolate(tg.arange(136).reshape(1, 1, 136), 112)[0, 0, 14] == 17


@given(n=st.integers(1, 300), factor=st.fractions(0, 4, max_denominator=50).filter(lambda f: f > 0))
def test_the_nearest_by_a_factor_is_the_integer(n, factor):
    if (out := int(n * float(factor))) < 1:
        return
    found = tg.interpolate(tg.arange(n).reshape(1, 1, n), scale_factor=float(factor)).numpy()[0, 0]
    np.testing.assert_array_equal(found, [min(int(o / factor), n - 1) for o in range(out)])


@given(
    n=st.integers(1, 40),
    numerator=st.integers(1, 40),
    exact=st.booleans(),
    denominator=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_the_nearest_by_a_binary_fraction_is_pytorchs(torch, n, numerator, exact, denominator):
    factor = numerator / denominator
    if n * factor < 1:
        return
    mode = "nearest-exact" if exact else "nearest"
    step = Fraction(denominator, numerator)
    if step.denominator & (step.denominator - 1):  # 1 / factor, with which PyTorch computes, would be rounded
        return
    x = np.arange(float(n)).reshape(1, 1, n)
    found = tg.interpolate(tg.tensor(x), scale_factor=factor, mode=mode).numpy()
    expected = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=factor, mode=mode).numpy()
    np.testing.assert_array_equal(found, expected)


def test_a_factor_near_one_changes_nothing():
    for mode in ("nearest", "bilinear"):
        z = tg.interpolate(tg.tensor(X), scale_factor=(1.1, 1.00001), mode=mode)
        np.testing.assert_array_equal(z.numpy(), tg.tensor(X).numpy())


def test_a_constant_image_stays_constant():
    x = tg.ones(1, 1, 3, 4)
    for mode in ("bilinear", "bicubic", "area"):
        np.testing.assert_allclose(tg.interpolate(x, (11, 5), mode=mode).numpy(), 1, rtol=1e-6)


def test_float16_is_mixed_in_float32(torch):
    x = np.full((1, 1, 3, 3), 60000, "float16")
    assert tg.interpolate(tg.tensor(x), 5, mode="bicubic").dtype == tg.float16
    np.testing.assert_array_equal(tg.interpolate(tg.tensor(x), 5, mode="bilinear").numpy(), np.float16(60000))


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_an_empty_batch_has_gradients(mode):
    x = tg.zeros(0, 2, 4, 4, requires_grad=True)
    tg.interpolate(x, 7, mode=mode).sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "give one of size and scale_factor"),
        ({"size": 3, "scale_factor": 2}, ValueError, "give one of size and scale_factor"),
        ({"size": 0}, ValueError, r"from \(5, 7\) to \(0, 0\): every size must be at least 1"),
        ({"size": (1, 2, 3)}, ValueError, r"size=\(1, 2, 3\) must be one number, or one for each of 2 dims"),
        ({"scale_factor": 0.01}, ValueError, r"from \(5, 7\) to \(0, 0\): every size must be at least 1"),
        ({"scale_factor": -1.0}, ValueError, "scale_factor=-1.0 must be positive"),
        ({"size": 3, "mode": "cubic"}, ValueError, "mode='cubic' is unknown; give one of 'nearest'"),
        ({"size": 3, "mode": "linear"}, ValueError, "mode='linear' works on 1 spatial dims, x of 3 dims"),
        ({"size": 3, "mode": "area", "align_corners": True}, ValueError, "align_corners says nothing to mode='area'"),
        ({"size": 3, "recompute_scale_factor": True}, ValueError, "recompute_scale_factor means nothing without"),
        (
            {"size": 3, "mode": "area", "antialias": True},
            ValueError,
            "antialias=True goes with 'bilinear' or 'bicubic'",
        ),
    ],
)
def test_refusals(arguments, error, text):
    with pytest.raises(error, match=f"^interpolate: {text}"):
        tg.interpolate(tg.tensor(X), **arguments)


def test_refuses_a_single_image():
    with pytest.raises(ValueError, match=r"got shape \(2, 5, 7\); add the batch dim with x.unsqueeze\(0\)"):
        tg.interpolate(tg.tensor(X[0]), 3, mode="bilinear")
    with pytest.raises(ValueError, match=r"interpolate: expects \(N, C, L\), .* got shape \(5, 7\)"):
        tg.interpolate(tg.tensor(X[0, 0]), 3)
