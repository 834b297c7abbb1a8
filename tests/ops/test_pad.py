"""Padding with one's own elements: against PyTorch over drawn widths, also those that crop, to second order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as tg
from tests.parity import assert_parity


@given(
    mode=st.sampled_from(["reflect", "replicate", "circular"]),
    axes=st.integers(1, 3),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_padding_with_ones_own_elements_is_pytorchs(torch, mode, axes, seed, data):
    x = np.random.default_rng(seed).standard_normal((2, 1, *(4, 5, 3)[:axes]))
    widths = []
    for n in reversed(x.shape[2:]):
        before, after = data.draw(st.integers(-1, n - 1)), data.draw(st.integers(-1, n - 1))
        most = n + min(before, 0) + min(after, 0) - (mode == "reflect")  # what is left after cropping, to pad with
        widths += [min(before, most), min(after, most)]
    try:
        torch.nn.functional.pad(torch.tensor(x), widths, mode=mode)
    except RuntimeError:
        return  # PyTorch counts what it would crop, and refuses some margins that are possible
    theirs = torch.nn.functional.pad
    assert_parity(torch, lambda x: tg.pad(x, widths, mode=mode), lambda x: theirs(x, widths, mode=mode), x)


def test_circular_padding_goes_around_what_was_not_cropped(torch):
    x = np.arange(6.0).reshape(1, 1, 6)
    for widths in ((-1, 2), (2, -1), (-1, -1), (-2, 3)):
        expected = torch.nn.functional.pad(torch.tensor(x), widths, mode="circular").numpy()
        np.testing.assert_array_equal(tg.pad(tg.tensor(x), widths, mode="circular").numpy(), expected)


def test_replicated_nothing_repeats_what_was_cropped_last(torch):
    x = np.arange(4.0).reshape(1, 1, 4)
    for widths in ((-4, 5), (2, -4), (-2, 3)):
        expected = torch.nn.functional.pad(torch.tensor(x), widths, mode="replicate").numpy()
        np.testing.assert_array_equal(tg.pad(tg.tensor(x), widths, mode="replicate").numpy(), expected)


def test_refusals():
    x = tg.ones(1, 1, 3)
    with pytest.raises(ValueError, match="pad: mode='mirror' is unknown; give one of 'constant', 'reflect'"):
        tg.pad(x, (1, 1), mode="mirror")
    with pytest.raises(ValueError, match="pad: value=2.0 means nothing in mode='reflect'"):
        tg.pad(x, (1, 1), mode="reflect", value=2.0)
    with pytest.raises(ValueError, match="pad: mode='circular' can make a margin of at most 3 from the 3 elements"):
        tg.pad(x, (4, 0), mode="circular")
