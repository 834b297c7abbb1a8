"""The tutorials' models: their shapes, and why the first learns without the logarithm."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med import models
from tinygrad_med.models.linear import log_softmax, unnormalised_softmax


def scores(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((50, 6)) * 3)


def test_without_the_logarithm_the_loss_is_at_least_1_more():
    x = scores()
    loss, cross_entropy = -unnormalised_softmax(x), -log_softmax(x)  # for each class that the image may be of
    np.testing.assert_array_less(-1e-12, (loss - (1 + cross_entropy)).numpy())
    on_the_bound = log_softmax(x)  # where the sum of exp x is 1
    np.testing.assert_allclose(unnormalised_softmax(on_the_bound), log_softmax(on_the_bound) - 1, atol=1e-12)


def test_both_losses_are_least_at_the_logarithm_of_the_shares():
    p = np.random.default_rng(1).dirichlet(np.ones(6))
    best = torch.tensor(np.log(p), requires_grad=True)
    entropy = -(p * np.log(p)).sum()
    for softmax, least in ((log_softmax, entropy), (unnormalised_softmax, 1 + entropy)):
        loss = -(torch.tensor(p) * softmax(best)).sum()
        assert loss.item() == pytest.approx(least)
        (gradient,) = torch.autograd.grad(loss, best)
        np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize(("softmax", "first_loss"), [(log_softmax, np.log(10)), (unnormalised_softmax, 10)])
def test_linear_model_starts_at_zero(softmax, first_loss):
    model = models.LinearModel(softmax)
    preds = model(torch.rand(3, 4096))
    assert preds.shape == (3, 10)
    np.testing.assert_allclose(-preds.detach().numpy(), first_loss, rtol=1e-6)
    assert [(name, p.shape) for name, p in model.named_parameters()] == [("weights", (4096, 10)), ("bias", (10,))]


def test_mlp_gives_logarithms_of_probabilities():
    torch.manual_seed(0)
    model = models.mlp(pixels=20, hidden=8, outputs=3)
    preds = model(torch.randn(5, 20))
    np.testing.assert_allclose(preds.exp().sum(-1).detach(), 1, rtol=1e-6)
    assert sum(p.numel() for p in model.parameters()) == 20 * 8 + 8 + 8 * 3 + 3
