"""Transforms of images: each one alone against what it must do to a picture, and the ranges of the random ones."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_med.data import transforms as tf

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")


def picture(size=64):
    """Smooth, and different in all corners and channels."""
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    pixels = np.stack([x, y, (x + y) / 2], -1) * 200 + 20
    return pillow.fromarray(pixels.astype(np.uint8))


def resampled(matrix, size=64):
    return np.asarray(tf.resample(picture(), matrix, size)).astype(float)


def test_the_identity_changes_nothing():
    np.testing.assert_array_equal(resampled(np.eye(3)), np.asarray(picture()))


def test_a_flip_mirrors():
    np.testing.assert_array_equal(resampled(np.diag([-1.0, 1, 1])), np.asarray(picture())[:, ::-1])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_right_angle_turns_the_picture(quarters):
    np.testing.assert_allclose(
        resampled(tf.rotation(90 * quarters)), np.rot90(np.asarray(picture()), -quarters), atol=1
    )


def test_a_window_is_a_crop():
    whole = np.asarray(picture()).astype(float)
    np.testing.assert_allclose(resampled(tf.window(0.5, -1, -1), 32), whole[:32, :32], atol=1)
    np.testing.assert_allclose(resampled(tf.window(0.5, 1, -1), 32), whole[:32, 32:], atol=1)
    np.testing.assert_allclose(resampled(tf.window(0.5, 0, 0), 32), whole[16:48, 16:48], atol=1)


def test_a_warp_takes_corners_where_it_says():
    trapezium = np.array([[-0.8, -1, 1], [0.8, -1, 1], [-1.2, 1, 1], [1.2, 1, 1]])
    taken = trapezium @ tf.warp(0.2, 0.0).T
    np.testing.assert_allclose(taken[:, :2] / taken[:, 2:], tf.CORNERS, atol=1e-12)
    np.testing.assert_allclose(tf.warp(0, 0), np.eye(3), atol=1e-12)


def test_beyond_the_edge_the_picture_is_mirrored():
    shifted = np.array([[1, 0, 0.5], [0, 1, 0], [0, 0, 1]])  # a quarter of the side to the right
    whole = np.asarray(picture()).astype(float)
    np.testing.assert_allclose(resampled(shifted)[:, 48:-1], whole[:, -2:-17:-1], atol=1)


def test_what_is_done_in_one_resampling_is_what_is_done_in_several():
    matrices = [tf.rotation(8), tf.window(0.8, 0.3, -0.2)]
    at_once = resampled(matrices[0] @ matrices[1])
    in_turn = np.asarray(tf.resample(tf.resample(picture(), matrices[0], 64), matrices[1], 64)).astype(float)
    assert np.abs(at_once - in_turn)[8:-8, 8:-8].max() < 3


def test_random_changes_stay_in_their_ranges():
    rng = np.random.default_rng(0)
    corner, centre = np.array([1.0, 1, 1]), np.array([0.0, 0, 1])
    crops = tf.aug_transforms(do_flip=False, max_rotate=0, max_warp=0, max_zoom=1, min_scale=0.75)
    areas = [np.linalg.det(crops.geometry(rng)) for _ in range(300)]
    assert 0.75 <= min(areas) < 0.77 and 0.98 < max(areas) <= 1
    turns = tf.aug_transforms(do_flip=False, max_rotate=10, max_warp=0, max_zoom=1)
    angles = [np.degrees(np.arcsin(turns.geometry(rng)[0, 1])) for _ in range(300)]
    assert np.abs(angles).max() <= 10 and np.ptp(angles) > 19 and 50 < sum(a == 0 for a in angles) < 100
    flips = tf.aug_transforms(max_rotate=0, max_warp=0, max_zoom=1)
    assert 120 < sum(flips.geometry(rng)[0, 0] < 0 for _ in range(300)) < 180
    for _ in range(100):
        m = tf.aug_transforms(min_scale=0.75).geometry(rng)
        for point in (corner, centre):
            u, v, w = m @ point
            assert max(abs(u / w), abs(v / w)) < 1.9


def test_nothing_asked_for_changes_only_the_size():
    still = tf.aug_transforms(do_flip=False, max_rotate=0, max_warp=0, max_zoom=1, max_lighting=0, size=32)
    changed, values = still(picture(), np.random.default_rng(0))
    plain, none = tf.aug_transforms(size=64)(picture())
    assert changed.size == (32, 32) and np.allclose(values, np.linspace(0, 1, 256)) and none is None
    np.testing.assert_array_equal(np.asarray(plain), np.asarray(picture()))


def test_lighting_is_fastais_formula():
    augment = tf.aug_transforms(p_lighting=1.0)
    value = np.linspace(0, 1, 256)[1:-1]
    logit = np.log(value / (1 - value))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        rng.random(), (change := rng.uniform(-0.2, 0.2)), rng.random()
        scale = np.exp(rng.uniform(np.log(1 - 0.2), -np.log(1 - 0.2)) * 1)
        centre = 0.5 + 0.5 * change
        expected = 1 / (1 + np.exp(-(logit + np.log(centre / (1 - centre))) * scale))
        np.testing.assert_allclose(augment.lighting(np.random.default_rng(seed))[1:-1], expected, rtol=1e-4)


@pytest.mark.parametrize(("size", "left"), [((90, 60), True), ((60, 90), False)])
def test_resize_crops_the_longer_side(size, left):
    pixels = np.zeros((*size[::-1], 3), np.uint8)
    (pixels[:, :15] if left else pixels[:15])[:] = 255  # is cut off in the centre crop
    image = pillow.fromarray(pixels)
    assert not np.asarray(tf.Resize(60)(image)).any()
    places = [np.asarray(tf.Resize(60)(image, np.random.default_rng(seed))).any() for seed in range(20)]
    assert any(places) and not all(places)
    padded = np.asarray(tf.Resize(60, "pad")(pillow.fromarray(np.full_like(pixels, 255))))
    assert padded.shape == (60, 60, 3) and 0.6 < (padded > 0).mean() < 0.7
    assert np.asarray(tf.Resize(60, "squish")(image)).any()
    with pytest.raises(ValueError, match="method='zoom' is unknown; give one of crop, pad, squish"):
        tf.Resize(60, "zoom")


def test_normalize_and_back():
    x = tf.Normalize()(picture())
    mean, std = np.array(tf.IMAGENET_MEAN)[:, None, None], np.array(tf.IMAGENET_STD)[:, None, None]
    pixels = np.asarray(picture()).transpose(2, 0, 1) / 255
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, (pixels - mean) / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tf.Normalize().decode(x), pixels, atol=1e-6)
    with pytest.raises(ValueError, match="the picture has 3 channels, the mean 1 numbers"):
        tf.Normalize((0.5,), (0.2,))(picture())


def test_equalizing_undoes_an_exposure():
    dark = picture().point(lambda value: int(255 * (value / 255) ** 1.5))
    plain, equal = (lambda image: np.asarray(tf.Resize(64)(image)).astype(int)), tf.Resize(64, equalize=True)
    assert np.abs(plain(picture()) - plain(dark)).mean() > 20
    assert np.abs(np.asarray(equal(picture())).astype(int) - np.asarray(equal(dark))).mean() < 3
