"""Medians, quantiles, counts and searches where NaN, integers or float16 make a difference."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as tg

NAN = float("nan")


@pytest.mark.parametrize(
    "call",
    [
        lambda lib: lib.bucketize(lib.tensor([1.0, NAN, 3.0]), lib.tensor([0.0, 2.0])),
        lambda lib: lib.bucketize(lib.tensor([1.0, NAN, 2.0]), lib.tensor([0.0, 2.0]), right=True),
        lambda lib: lib.searchsorted(lib.tensor([[1.0, 2.0], [3.0, 4.0]]), lib.tensor([[NAN, 2.0], [3.0, 9.0]])),
        lambda lib: lib.searchsorted(lib.tensor([1, 3, 5]), lib.tensor(2.5)),
        lambda lib: lib.searchsorted(lib.tensor([1, 3, 5]), 3, right=True),
        lambda lib: lib.searchsorted(lib.tensor([1, 3, 5]), lib.tensor([[5, 0]]), out_int32=True),
        lambda lib: lib.mode(lib.tensor([NAN, NAN, 1.0])).values,
        lambda lib: lib.mode(lib.tensor([[NAN, NAN, 3.0], [NAN, float("inf"), float("inf")]]), 1).values,
        lambda lib: lib.mode(lib.tensor([2**60 + 1, 2**60, 2**60 + 1, 2**60])),
        lambda lib: lib.cov(lib.tensor([[1, 2, 4], [0, 3, 1]])),
        lambda lib: lib.repeat_interleave(lib.tensor([1, 2]), lib.tensor([3])),
    ],
)
def test_as_in_pytorch(call, torch):
    ours, theirs = call(tg), call(torch)
    pairs = [(ours, theirs)] if isinstance(ours, tg.Tensor) else list(zip(ours, theirs, strict=True))
    for a, b in pairs:
        assert f"torch.{a.dtype}" == str(b.dtype)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_the_largest_integers_are_told_apart():
    assert tg.mode(tg.tensor([2**60 + 1, 2**60, 2**60 + 1, 2**60])).values.item() == 2**60


def test_places_and_counts_of_float16_are_not_its_own():
    x = tg.arange(5000).half().requires_grad_()
    assert x.quantile(0.5).item() == np.float16(2499.5) and x.quantile(tg.tensor(1.0).half()).item() == 5000
    assert tg.full((100_000,), 1.0).half().nanmean().item() == 1
    (g,) = tg.grad(x.nanquantile(0.3), x)
    assert g.dtype == tg.float16 and g.sum().item() == 1


def test_a_histogram_of_nan_says_what_to_give():
    with pytest.raises(ValueError, match="histc: the range from nan to nan is not finite; give min and max"):
        tg.tensor([1.0, NAN]).histc()
