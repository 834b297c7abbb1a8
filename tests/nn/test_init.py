"""First numbers: their bounds and variances as in the papers, for every shape of weight, from any generator.

Glorot and Bengio 2010, equations 12 and 16; He et al. 2015 (arXiv:1502.01852), equations 10 and 14.
"""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn
from tinygrad_med.nn import init

WEIGHTS = {(300, 500): (500, 300), (64, 32, 7, 5): (32 * 35, 64 * 35)}  # shape: (fan_in, fan_out)


def assert_uniform(x, bound):
    """Within ±bound and close to it, with the variance and the kurtosis of a uniform distribution."""
    assert abs(x).max() <= bound
    assert abs(x).max() > 0.999 * bound
    assert abs(x.mean()) < 4 * bound / math.sqrt(3 * x.size)
    assert x.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert (x**4).mean() / x.var() ** 2 == pytest.approx(1.8, rel=0.02)


def assert_normal(x, std):
    assert abs(x.mean()) < 4 * std / math.sqrt(x.size)
    assert x.std() == pytest.approx(std, rel=0.01)
    assert (x**4).mean() / x.var() ** 2 == pytest.approx(3, rel=0.05)


@pytest.fixture(params=WEIGHTS, ids=str)
def weight(request):
    tg.manual_seed(0)
    return nn.Parameter(tg.zeros(request.param, dtype=tg.float64))


def test_fans(weight, torch):
    assert init.fans(weight) == WEIGHTS[weight.shape]
    assert init.fans(weight) == torch.nn.init._calculate_fan_in_and_fan_out(torch.zeros(weight.shape))


@pytest.mark.parametrize("gain", [1.0, 5 / 3])
def test_xavier(weight, gain):
    std = gain * math.sqrt(2 / sum(WEIGHTS[weight.shape]))
    assert init.xavier_uniform_(weight, gain) is weight
    assert_uniform(weight.detach().numpy(), math.sqrt(3) * std)
    assert_normal(init.xavier_normal_(weight, gain).detach().numpy(), std)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize(
    ("nonlinearity", "a", "gain"), [("relu", 0, math.sqrt(2)), ("leaky_relu", 0.5, math.sqrt(1.6))]
)
def test_kaiming(weight, mode, nonlinearity, a, gain):
    std = gain / math.sqrt(WEIGHTS[weight.shape][mode == "fan_out"])
    assert init.kaiming_uniform_(weight, a, mode, nonlinearity) is weight
    assert_uniform(weight.detach().numpy(), math.sqrt(3) * std)
    assert_normal(init.kaiming_normal_(weight, a, mode, nonlinearity).detach().numpy(), std)


def test_kaiming_keeps_the_size_of_a_signal_through_many_layers():
    """What it is for: 30 layers of relus neither explode nor die, with fan_in; Xavier's lose half of it in each."""
    tg.manual_seed(0)
    sizes = {}
    for fill in (init.kaiming_normal_, init.xavier_normal_):
        x = tg.randn(64, 256)
        for _ in range(30):
            x = (x @ fill(tg.zeros(256, 256)).T).relu()
        sizes[fill] = (x * x).mean().item()
    assert 0.1 < sizes[init.kaiming_normal_] < 10
    assert sizes[init.xavier_normal_] < 1e-6


def test_uniform_normal_and_constants():
    tg.manual_seed(0)
    x = tg.zeros(100_000, dtype=tg.float64)
    assert_uniform(init.uniform_(x, -2, 4).numpy() - 1, 3)
    assert_normal(init.normal_(x, 3.0, 0.5).numpy() - 3, 0.5)
    p = nn.Parameter(tg.randn(2, 3))
    assert init.constant_(p, 7).tolist() == [[7] * 3] * 2
    assert init.zeros_(p).tolist() == [[0] * 3] * 2
    assert init.ones_(p) is p
    assert p.tolist() == [[1] * 3] * 2


@pytest.mark.parametrize(("a", "b"), [(-2.0, 2.0), (-0.3, 5.0), (1.0, 1.5), (4.0, 6.0), (-9.0, -5.0)])
def test_cut_off_normal_numbers(a, b):
    """Their quantiles are those of the numbers that lie in [a, b], by the inverse of the distribution function."""
    tg.manual_seed(0)
    x = init.trunc_normal_(nn.Parameter(tg.zeros(200, 250, dtype=tg.float64)), 0.5, 1.5, a, b).detach().numpy()
    assert a <= x.min() and x.max() <= b
    normal = statistics.NormalDist(0.5, 1.5)
    low, high = normal.cdf(a), normal.cdf(b)
    q = np.linspace(0.02, 0.98, 25)
    wanted = [normal.inv_cdf(low + (high - low) * p) for p in q]
    np.testing.assert_allclose(np.quantile(x, q), wanted, atol=0.015 * (wanted[-1] - wanted[0]))
    with pytest.raises(ValueError, match="needs std > 0 and a < b, got std=1.0, a=2 and b=1"):
        init.trunc_normal_(tg.zeros(3), a=2, b=1)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 3), (12, 1, 3)])
def test_orthogonal(shape):
    tg.manual_seed(0)
    drawn = [init.orthogonal_(tg.zeros(shape, dtype=tg.float64), 2.0).numpy().reshape(shape[0], -1) for _ in range(200)]
    x = drawn[0] if drawn[0].shape[0] <= drawn[0].shape[1] else drawn[0].T
    np.testing.assert_allclose(x @ x.T, 4 * np.eye(len(x)), atol=1e-12)
    assert abs(np.mean(drawn, 0)).max() < 0.6  # of either sign, all of them: no element has a fixed one
    with pytest.raises(ValueError, match=r"needs at least 2 dims, got shape \(3,\)"):
        init.orthogonal_(tg.zeros(3))


@pytest.mark.parametrize(("shape", "groups"), [((4, 3, 3), 1), ((3, 5, 4, 3), 1), ((6, 2, 1, 2, 3), 3), ((4, 5, 3), 2)])
def test_dirac_and_eye_are_pytorchs(torch, shape, groups):
    theirs = torch.nn.init.dirac_(torch.ones(shape), groups)
    assert init.dirac_(tg.ones(shape), groups).tolist() == theirs.tolist()
    assert init.eye_(nn.Parameter(tg.zeros(2, 3))).tolist() == torch.nn.init.eye_(torch.zeros(2, 3)).tolist()
    with pytest.raises(ValueError, match="4 outputs don't divide into 3 groups"):
        init.dirac_(tg.zeros(4, 2, 3), 3)
    with pytest.raises(ValueError, match="needs 3, 4 or 5 dims"):
        init.dirac_(tg.zeros(4, 2))
    with pytest.raises(ValueError, match="needs 2 dims"):
        init.eye_(tg.zeros(4))


def test_a_generator_decides_and_the_dtype_stays():
    fills = [init.uniform_, init.normal_, init.xavier_uniform_, init.xavier_normal_, init.kaiming_uniform_]
    for fill in (*fills, init.trunc_normal_, init.orthogonal_):
        a, b, c = (fill(tg.zeros(3, 4), generator=tg.Generator(seed)) for seed in (1, 1, 2))
        assert a.tolist() == b.tolist() != c.tolist()
        assert a.dtype == tg.float32
    a, b, c = (nn.Linear(3, 4, generator=tg.Generator(seed)) for seed in (1, 1, 2))
    assert a.weight.tolist() == b.weight.tolist() != c.weight.tolist()
    assert a.bias.tolist() == b.bias.tolist() != c.bias.tolist()


def test_linear_starts_as_pytorchs():
    tg.manual_seed(0)
    layer = nn.Linear(2000, 400)
    for numbers in (layer.weight, layer.bias):
        x = numbers.detach().numpy().astype("float64")
        assert abs(x).max() <= 1 / math.sqrt(2000)
        assert x.std() == pytest.approx(1 / math.sqrt(3 * 2000), rel=0.06)
    before = layer.weight.tolist()
    layer.reset_parameters()
    assert layer.weight.tolist() != before


def test_linear_has_pytorchs_distribution(torch):
    """The quantiles of a large layer in both libraries."""
    tg.manual_seed(0)
    torch.manual_seed(0)
    q = np.linspace(0, 1, 21)
    for name in ("weight", "bias"):
        ours = getattr(nn.Linear(20, 20_000), name).detach().numpy()
        theirs = getattr(torch.nn.Linear(20, 20_000), name).detach().numpy()
        np.testing.assert_allclose(np.quantile(ours, q), np.quantile(theirs, q), atol=0.01)


@pytest.mark.parametrize(
    ("nonlinearity", "param"),
    [
        ("linear", None),
        ("conv2d", None),
        ("conv_transpose3d", None),
        ("selu", None),
        ("sigmoid", None),
        ("tanh", None),
        ("relu", None),
        ("leaky_relu", None),
        ("leaky_relu", 0.2),
    ],
)
def test_gains_are_pytorchs(torch, nonlinearity, param):
    assert init.calculate_gain(nonlinearity, param) == torch.nn.init.calculate_gain(nonlinearity, param)


def test_errors():
    with pytest.raises(ValueError, match=r"need a weight of at least 2 dims \(out, in, …\), got shape \(3,\)"):
        init.kaiming_normal_(tg.zeros(3))
    with pytest.raises(ValueError, match="mode='fan' is unknown; give 'fan_in' or 'fan_out'"):
        init.kaiming_uniform_(tg.zeros(3, 3), mode="fan")
    with pytest.raises(ValueError, match="calculate_gain: 'swish' is unknown; give linear, sigmoid"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match="uniform_: a=2 must not be greater than b=1"):
        init.uniform_(tg.zeros(3), 2, 1)
    with pytest.raises(ValueError, match="normal_: std=-1 must not be negative"):
        init.normal_(tg.zeros(3), std=-1)


def test_empty_weights_are_left_alone():
    assert init.kaiming_uniform_(tg.zeros(0, 3)).shape == (0, 3)
    assert init.xavier_normal_(tg.zeros(3, 0)).shape == (3, 0)
    assert init.trunc_normal_(tg.zeros(3, 0)).shape == (3, 0)
    assert init.orthogonal_(tg.zeros(0, 3)).shape == (0, 3)
    assert nn.Linear(0, 2).bias.shape == (2,)
