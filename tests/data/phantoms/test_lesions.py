"""Phantoms with a lesion: the truth that comes with the images is true."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_med.data.phantoms import lesions


@pytest.fixture(scope="module")
def data():
    return lesions.generate(200, seed=3)


def test_what_is_generated(data):
    assert (data.images.shape, data.images.dtype) == ((200, 64, 64), np.uint8)
    assert (data.masks.shape, data.masks.dtype) == ((200, 64, 64), np.bool_)
    assert data.labels.tolist() == [0, 1] * 100


def test_the_sick_have_one_lesion_and_the_healthy_none(data):
    area = data.masks.sum((1, 2))
    assert not area[data.labels == 0].any()
    sick = area[data.labels == 1]
    smallest, largest = (np.pi * (32 * radius) ** 2 for radius in lesions.RADIUS)
    assert sick.min() >= 0.9 * smallest and sick.max() <= 1.1 * largest


def test_the_lesion_is_the_only_difference(data, monkeypatch):
    monkeypatch.setattr(lesions, "CONTRAST", (0, 0))
    healthy = lesions.generate(200, seed=3).images.astype(int)
    change = data.images - healthy
    assert not change[data.labels == 0].any()
    for one, mask in zip(change[data.labels == 1], data.masks[data.labels == 1], strict=True):
        assert one.min() >= 0
        assert np.median(one[mask]) >= 0.9 * 255 * 0.2
        rolled = [np.roll(mask, (i, j), (0, 1)) for i in (-2, 0, 2) for j in (-2, 0, 2)]
        assert not one[~np.any(rolled, 0)].any()


def test_bright_pixels_are_no_answer(data):
    sick = data.labels == 1
    brightest = data.images[sick].reshape(100, -1).argmax(1)
    assert data.masks[sick].reshape(100, -1)[range(100), brightest].mean() < 0.2


def test_same_seed_same_bits_and_other_seed_other_patients(data):
    again = lesions.generate(200, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(data, again, strict=True))
    assert not np.array_equal(data.images[:64], lesions.generate(64, seed=4).images)


def test_no_images_is_refused():
    with pytest.raises(ValueError, match="lesions.generate: n is 0; ask for at least one image"):
        lesions.generate(0)
