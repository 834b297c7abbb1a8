"""The losses of distances and divergences as modules, beside PyTorch's: values, gradients, what they print."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_med as tg

RNG = np.random.default_rng(0)
X, Y, Z = RNG.standard_normal((3, 4, 5))
P, V, SIGNS = RNG.uniform(0.1, 0.9, (4, 5)), RNG.uniform(0.5, 2, (4, 1)), np.array([1, -1, -1, 1])

LOSSES = {
    "SmoothL1Loss": ({"beta": 0.5}, (X, Y)),
    "HuberLoss": ({"delta": 0.7, "reduction": "sum"}, (X, Y)),
    "KLDivLoss": ({"reduction": "batchmean"}, (X, P)),
    "GaussianNLLLoss": ({"full": True}, (X, Y, V)),
    "SoftMarginLoss": ({}, (X[:, 0], SIGNS)),
    "MarginRankingLoss": ({"margin": 0.3}, (X[:, 0], Y[:, 0], SIGNS)),
    "CosineEmbeddingLoss": ({"margin": 0.1}, (X, Y, SIGNS)),
    "TripletMarginLoss": ({"swap": True, "reduction": "none"}, (X, Y, Z)),
    "CosineSimilarity": ({"dim": 0}, (X, Y)),
    "PairwiseDistance": ({"p": 3.0}, (X, Y)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_modules_are_pytorchs(torch: Any, name: str) -> None:
    settings, arrays = LOSSES[name]
    found = []
    for lib in (tg, torch):
        tensors = [lib.tensor(a, requires_grad=a.dtype.kind == "f" and a is not P) for a in arrays]
        z = getattr(lib.nn, name)(**settings)(*tensors)
        weights = lib.tensor(np.linspace(0.5, 1.5, z.numel()).reshape(tuple(z.shape)))
        (z * weights).sum().backward()
        found.append([z.detach().numpy(), *(x.grad.numpy() for x in tensors if x.requires_grad)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


def test_cross_entropy_of_probabilities_is_that_of_classes_where_they_are_sure() -> None:
    logits, classes = tg.tensor(X), tg.tensor([0, 3, 2, 2])
    sure = tg.tensor(np.eye(5)[[0, 3, 2, 2]])
    loss = tg.nn.CrossEntropyLoss(label_smoothing=0.1)
    assert loss(logits, sure).item() == pytest.approx(loss(logits, classes).item(), rel=1e-12)


def test_settings_are_refused() -> None:
    x = tg.tensor(X)
    with pytest.raises(ValueError, match="HuberLoss: reduction='batchmean' is unknown; give 'mean', 'sum' or 'none'"):
        tg.nn.HuberLoss("batchmean")
    with pytest.raises(ValueError, match=r"huber_loss: delta=0 must be greater than 0"):
        tg.nn.functional.huber_loss(x, x, delta=0)
    with pytest.raises(ValueError, match=r"needs \(N, D\), \(N, D\) and \(N,\)"):
        tg.nn.functional.cosine_embedding_loss(x, x, x)
    with pytest.raises(ValueError, match="a variance must not be negative"):
        tg.nn.functional.gaussian_nll_loss(x, x, -1.0)


def test_a_variance_for_each_row_is_none_for_each_column(torch):
    x, y, var = np.random.default_rng(0).standard_normal((4, 4)), np.ones((4, 4)), np.array([0.5, 1.0, 2.0, 4.0])
    expected = torch.nn.functional.gaussian_nll_loss(*map(torch.tensor, (x, y, var)), reduction="none").numpy()
    found = tg.nn.functional.gaussian_nll_loss(*map(tg.tensor, (x, y, var)), reduction="none").numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"gaussian_nll_loss: var \(3,\) must be of input's shape \(4, 4\)"):
        tg.nn.functional.gaussian_nll_loss(tg.tensor(x), tg.tensor(y), tg.ones(3))
