"""Interpolation: against PyTorch over drawn sizes, and its errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as tg
from tests.parity import assert_parity

modes = st.sampled_from(["nearest", "bilinear"])
X = np.random.default_rng(0).standard_normal((2, 2, 5, 7))


@given(size=st.integers(1, 12) | st.tuples(st.integers(1, 12), st.integers(1, 12)), mode=modes)
def test_interpolate_to_a_size_is_pytorchs(torch, size, mode):
    theirs = torch.nn.functional.interpolate
    assert_parity(torch, lambda x: tg.interpolate(x, size, mode=mode), lambda x: theirs(x, size, mode=mode), X)


@given(factor=st.sampled_from([0.3, 0.5, 1.0, 1.3, 2, 2.5, (2.0, 3.0), (0.7, 1.9)]), mode=modes)
def test_interpolate_by_a_factor_is_pytorchs(torch, factor, mode):
    theirs = torch.nn.functional.interpolate
    assert_parity(
        torch,
        lambda x: tg.interpolate(x, scale_factor=factor, mode=mode),
        lambda x: theirs(x, scale_factor=factor, mode=mode),
        X,
    )


def test_a_constant_image_stays_constant():
    x = tg.ones(1, 1, 3, 4)
    np.testing.assert_allclose(tg.interpolate(x, (11, 5), mode="bilinear").numpy(), 1, rtol=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
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
        ({"scale_factor": 0.01}, ValueError, r"from \(5, 7\) to \(0, 0\): every size must be at least 1"),
        ({"size": 3, "mode": "bicubic"}, ValueError, "mode='bicubic' is unknown; give 'nearest' or 'bilinear'"),
        (
            {"size": 3, "mode": "bilinear", "align_corners": True},
            NotImplementedError,
            "align_corners=True is not supported",
        ),
    ],
)
def test_refusals(arguments, error, text):
    with pytest.raises(error, match=f"^interpolate: {text}"):
        tg.interpolate(tg.tensor(X), **arguments)


def test_refuses_a_single_image():
    with pytest.raises(ValueError, match=r"interpolate: expects \(N, C, H, W\), got shape \(2, 5, 7\)"):
        tg.interpolate(tg.tensor(X[0]), 3)
