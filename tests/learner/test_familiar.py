"""Whether an image is like those that a network has learned from, by the angle between features."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

import tinygrad_med as torch
from tinygrad_med import nn
from tinygrad_med.learner.familiar import Familiar


def images(*vectors):
    """A loader whose features are these vectors."""
    return [(torch.from_numpy(np.array(vectors, np.float32).reshape(-1, 3, 1, 1)),)]


def familiar(known, valid):
    dls = SimpleNamespace(
        train=SimpleNamespace(dataset=SimpleNamespace(images=SimpleNamespace(files=images(*known)))),
        valid=images(*valid),
        test_dl=list,
    )
    return Familiar(SimpleNamespace(dls=dls, model=nn.Sequential(nn.Identity()), tensors=list))


def test_what_points_elsewhere_is_unfamiliar():
    """Features along two axes are known; one along a third is not, one between the two is."""
    rule = familiar([[1, 0.1, 0], [0.1, 1, 0]], [[1, 0.8, 0.2]])
    asked = images([5, 1, 0], [0, 0, 2])
    near, far = rule.distances(asked)
    assert near < rule.threshold < far
    np.testing.assert_array_equal(rule.is_familiar(asked), [True, False])


def test_the_distance_is_one_minus_the_cosine_to_the_nearest():
    rule = familiar([[1, 0, 0], [0, 2, 0]], [[1, 0, 0]])
    np.testing.assert_allclose(rule.distances(images([3, 4, 0])), [1 - 0.8], atol=1e-7)
    assert rule.threshold < 1e-6


def test_features_are_the_means_of_channels():
    rule = familiar([[1, 0, 0]], [[1, 0, 0]])
    x = torch.from_numpy(np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2))
    means = x.numpy().mean((2, 3))
    np.testing.assert_allclose(rule.features([(x,)]), means / np.linalg.norm(means), rtol=1e-6)
