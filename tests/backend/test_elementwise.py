"""Elementwise kernels: the same bits as NumPy's own loops, whatever the order in memory."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_med.backend import cpu, gpu

SHAPE = (3, 5, 90, 70)  # several blocks
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal(SHAPE), RNG.standard_normal(SHAPE)
X[0, 0, 0, :3] = (0.0, -0.0, np.nan)
Y[0, 0, :4] = ([np.inf], [-np.inf], [np.nan], [-0.0])

LAYOUTS = {
    "in order": lambda a: a,
    "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "reversed": lambda a: a[::-1, :, ::-1],
    "with gaps": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "broadcast": lambda a: np.broadcast_to(a[:, :, :1, :1], SHAPE),
}


@pytest.mark.parametrize("library", [cpu, gpu])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x_layout", LAYOUTS)
@pytest.mark.parametrize("y_layout", LAYOUTS)
def test_as_the_formula_says(library, dtype, x_layout, y_layout):
    x, y = LAYOUTS[x_layout](X.astype(dtype)), LAYOUTS[y_layout](Y.astype(dtype))
    np.testing.assert_array_equal(library.relu(x), np.maximum(x, 0))
    np.testing.assert_array_equal(library.relu_backward(y, x), np.where(x > 0, y, 0))
    np.testing.assert_array_equal(library.keep(y, x > 0), np.where(x > 0, y, 0))
    assert library.relu(x).dtype == library.relu_backward(y, x).dtype == library.keep(y, x > 0).dtype == dtype


def test_the_order_in_memory_stays():
    x = LAYOUTS["channels last"](X)
    assert cpu.relu(x).strides == cpu.relu_backward(x, x).strides == x.strides


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow) encountered:RuntimeWarning")
def test_quotients_are_floored_as_numpy_does_it_to_the_bit(name, dtype):
    """Also where the rounded quotient is an integer and the exact one lies below it, as 1 // 0.1; zeros have signs."""
    special = [0.0, -0.0, 1, -1, 6, 0.1, -0.1, 3, 1e-4, -1e-4, 60000, np.inf, -np.inf, np.nan]
    values = np.array(special) if np.dtype(dtype).kind == "f" else np.array([0, 1, 2, 3, 7, 200])
    some = RNG.standard_normal(200) * 10.0 ** RNG.integers(-3, 4, 200)
    x = np.concatenate([values, np.round(some, 1) if np.dtype(dtype).kind == "f" else np.arange(200)]).astype(dtype)
    x, y = np.meshgrid(x, x[: len(values) + 40])
    found, expected = getattr(gpu, name)(x, y), getattr(np, name)(x, y)
    assert found.dtype == expected.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    if found.dtype.kind == "f":
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(expected)[known])
    for number in (3, 2) if found.dtype.kind != "f" else (0.1, -3, 0.0, np.inf):
        np.testing.assert_array_equal(getattr(gpu, name)(x, number), getattr(np, name)(x, number))
        assert getattr(gpu, name)(x, number).dtype == dtype


@pytest.mark.parametrize("library", [cpu, gpu])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "float64", "complex64", "complex128"])
def test_what_is_not_kept_is_zero(library, dtype):
    unlikely = [np.inf, np.nan] if np.dtype(dtype).kind in "fc" else [1, 0]
    x = np.array([[1, 0, *unlikely]]).astype(dtype)
    mask = np.array([[True], [False]])
    kept = library.keep(x, mask)
    np.testing.assert_array_equal(kept, np.concatenate([x, 0 * x[:, :1].repeat(4, 1)]))
    scalars = library.keep(x[0, 2], np.True_), library.keep(x[0, 2], np.False_)
    assert kept.dtype == dtype and all(z.dtype == dtype for z in scalars) and [*scalars] == [x[0, 2], 0]
