"""Sums over any dims of arrays in any memory order: as exact as their dtype."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tinygrad_med.backend import cpu, gpu

SHAPE = (700, 3, 5, 4)
X = np.random.default_rng(0).random(SHAPE) + 10
LAYOUTS = {
    "in order": lambda a: a,
    "the last dim slowest": lambda a: np.ascontiguousarray(a.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0),
    "columns first": np.asfortranarray,
    "with gaps": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "reversed": lambda a: a[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], SHAPE),
}
DIMS = [dims for n in range(5) for dims in itertools.combinations(range(4), n)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_over_any_dims(layout, dtype, keepdims):
    x = LAYOUTS[layout](X.astype(dtype))
    for dims in DIMS:
        exact = x.sum(dims, dtype="float64", keepdims=keepdims)
        with np.errstate(over="ignore"):  # float16 ends at 65,504
            exact = exact.astype(dtype)
            ours, theirs = (library.sum(x, dims, keepdims) for library in (cpu, gpu))
        assert ours.shape == theirs.shape == exact.shape
        assert ours.dtype == theirs.dtype == dtype
        assert not any(np.may_share_memory(z, x) for z in (ours, theirs))
        np.testing.assert_allclose(ours, exact, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3)])
def test_of_few_or_none(shape):
    x = np.ones(shape, "float32")
    np.testing.assert_array_equal(cpu.sum(x, tuple(range(x.ndim))), x.sum())
    assert isinstance(cpu.sum(np.float32(2), ()), np.float32)


@pytest.mark.parametrize("rows", [255, 256, 257, 40_000])
def test_infinities_stay_in_their_column(rows):
    x = np.ones((rows, 20), "float32")
    x[rows // 2, 3] = np.inf
    expected = np.full(20, rows, "float32")
    expected[3] = np.inf
    np.testing.assert_array_equal(cpu.sum(x, (0,)), expected)


@pytest.mark.parametrize("library", [cpu, gpu])
def test_numbers_are_spread_as_numpy_does_it(library):
    for x in (np.float32(2), np.full((1, 1), 3.0), np.array(4), np.arange(3.0)):
        for shape in ((2, 3), (0, 3), (1, 3), (2, 1, 3)):
            expected = np.broadcast_to(x, shape)
            z = library.broadcast_to(x, shape)
            assert (z.dtype, z.shape, z.tolist()) == (expected.dtype, shape, expected.tolist())
            assert not z.flags.writeable
    for x, shape in ((np.ones((1, 1)), (3,)), (np.ones(2), (3,)), (np.ones(1), (-1,))):
        with pytest.raises(ValueError, match=r"broadcast|negative|more dimensions"):
            library.broadcast_to(x, shape)
