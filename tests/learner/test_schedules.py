"""The schedules equal fastai's, step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_med.learner.schedules import combined_cos, cosine, even_mults, exponential, group_rates, one_cycle


def test_the_values_that_fastais_documentation_states():
    at = [0.0, 0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose([cosine(0, 2)(p) for p in at], [0, 0.29289, 1, 1.70711, 2], atol=1e-5)
    np.testing.assert_allclose([exponential(1, 100)(p) for p in [0, 0.5, 1]], [1, 10, 100])
    np.testing.assert_allclose(even_mults(2, 8, 3), [2, 4, 8])


@pytest.mark.parametrize("pct", [0.25, 0.3, 0.99])
@pytest.mark.parametrize("steps", [1, 4, 20, 97])
def test_one_cycle_is_two_half_cosines(pct, steps):
    p = np.arange(steps) / steps
    up = 4e-5 + (1e-3 - 4e-5) * (1 + np.cos(math.pi * (1 - p / pct))) / 2
    down = 1e-3 + (1e-8 - 1e-3) * (1 + np.cos(math.pi * (1 - (p - pct) / (1 - pct)))) / 2
    rate = one_cycle(1e-3, pct_start=pct)
    np.testing.assert_allclose([rate(x) for x in p], np.where(p < pct, up, down), rtol=1e-9)


def test_the_momentum_falls_and_rises():
    momentum = combined_cos(0.25, 0.95, 0.85, 0.95)
    np.testing.assert_allclose([momentum(p) for p in (0, 0.125, 0.25, 0.625, 1)], [0.95, 0.9, 0.85, 0.9, 0.95])


def test_rates_of_layer_groups():
    np.testing.assert_allclose(group_rates(slice(1e-5, 1e-3), 3), [1e-5, 1e-4, 1e-3])
    np.testing.assert_allclose(group_rates(slice(1e-3), 3), [1e-4, 1e-4, 1e-3])
    assert group_rates(1e-3, 2) == [1e-3, 1e-3] and group_rates([1.0, 2.0], 2) == [1.0, 2.0]
    assert group_rates(slice(1e-5, 1e-3), 1) == [1e-3]


def test_what_makes_no_sense():
    with pytest.raises(ValueError, match="pct=1 must lie between 0 and 1"):
        combined_cos(1, 0, 1, 0)
    with pytest.raises(ValueError, match="3 numbers for 2 layer groups"):
        group_rates([1.0, 2.0, 3.0], 2)
    with pytest.raises(ValueError, match=r"slice\(0.1, None, None\) has no end"):
        group_rates(slice(0.1, None), 2)
