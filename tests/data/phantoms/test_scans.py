"""The phantoms: the same from the same seed, of the right make, told apart by more than their brightness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_med.data import medical_mnist, phantoms
from tinygrad_med.data.phantoms import generate
from tinygrad_med.data.phantoms.canvas import BLOCK, EVERYWHERE, PIXEL, SIZE, Canvas

EACH = 200


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    """(6, EACH, 64, 64), grey from 0 to 1."""
    return generate(EACH, seed=0)[0].reshape(6, EACH, SIZE, SIZE) / 255


def test_they_stand_in_for_the_real_images():
    images, labels = generate(3, seed=0)
    assert (images.shape, images.dtype) == ((18, 64, 64), np.uint8)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5])
    assert tuple(phantoms.PAINTERS) == medical_mnist.CLASSES
    assert medical_mnist.SIZE == SIZE


def test_same_seed_same_bits():
    images, _ = generate(BLOCK + 3, seed=5)
    np.testing.assert_array_equal(images, generate(BLOCK + 3, seed=5)[0])
    other, _ = generate(BLOCK + 3, seed=6)
    assert (images != other).any(axis=(1, 2)).all()


def test_the_first_phantoms_are_the_same_however_many_are_asked_for():
    many = generate(BLOCK + 3, seed=5)[0].reshape(6, BLOCK + 3, SIZE, SIZE)
    few = generate(2, seed=5)[0].reshape(6, 2, SIZE, SIZE)
    np.testing.assert_array_equal(few, many[:, :2])


def test_no_patient_comes_twice():
    images, _ = generate(BLOCK + 3, seed=0)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


@pytest.mark.parametrize("per_class", [0, -1])
def test_how_many(per_class):
    with pytest.raises(ValueError, match=f"per_class is {per_class}; ask for at least one phantom of each class"):
        generate(per_class)


# ---------------------------------------------------------------- the task


def ridge_accuracy(x: np.ndarray, labels: np.ndarray, training: np.ndarray) -> float:
    """How often a linear classifier, fitted by ridge regression on a part, is right on the others."""
    mean = x[training].mean(0)
    fitted = x[training] - mean
    targets = np.eye(6)[labels[training]] - 1 / 6
    weights = fitted.T @ np.linalg.solve(fitted @ fitted.T + np.eye(len(fitted)), targets)
    return ((x[~training] - mean) @ weights).argmax(1).__eq__(labels[~training]).mean()


def test_a_linear_model_learns_the_task_but_not_at_once(scans):
    """On 900 images: as on the real ones, where it reaches 86%."""
    labels, training = np.repeat(np.arange(6), EACH), np.tile(np.arange(EACH) < 150, 6)
    pixels = scans.reshape(6 * EACH, -1)
    assert 0.8 < ridge_accuracy(pixels, labels, training) < 0.97


def test_brightness_alone_does_not_tell_the_classes_apart(scans):
    brightness = scans.mean((2, 3))
    typical = brightness[:, :150].mean(1)
    guesses = np.abs(brightness[:, 150:, None] - typical).argmin(-1)
    assert (guesses == np.arange(6)[:, None]).mean() < 0.7


# ---------------------------------------------------------------- the anatomy, on the average patient


def test_the_greys_are_those_of_the_modality(scans):
    corner = dict(zip(phantoms.PAINTERS, np.median(scans[:, :, 0, 0], axis=1), strict=True))
    assert corner["BreastMRI"] < 0.05
    assert corner["HeadCT"] < 0.2
    assert 0.3 < corner["AbdomenCT"] < corner["ChestCT"] < 0.6
    assert (scans.max((2, 3)) > 0.4).all()


def test_the_heart_is_on_the_left_of_the_patient_and_the_liver_on_the_right(scans):
    """The patient faces us: left is right."""
    abdomen, _, cxr, chest, _, _ = scans.mean(1)
    assert cxr[32:42, 33:48].mean() > cxr[32:42, 16:31].mean() + 0.02
    assert chest[22:34, 33:44].mean() > chest[22:34, 20:31].mean() + 0.02
    assert abdomen[22:34, 12:28].mean() > abdomen[22:34, 36:52].mean() + 0.02


def test_the_skull_surrounds_the_brain(scans):
    left, brain, right = np.split(scans[5, :, 32], [24, 40], axis=1)  # along the middle row
    skull = np.minimum(left.max(1), right.max(1))
    assert (skull > np.median(brain, axis=1) + 0.2).mean() > 0.8


# ---------------------------------------------------------------- the brush

number = st.floats(-1.0, 1.0, width=32)
size = st.floats(0.0625, 1.0, width=32)


def brush(seed: int) -> Canvas:
    canvas = Canvas(np.random.default_rng(seed))
    canvas.pose(shift=0.2, turn=0.5, zoom=(0.7, 1.2))
    return canvas


@given(number, number, size, size, number, st.booleans(), st.integers(0, 99))
def test_an_ellipse_is_what_its_formula_says(x, y, a, b, turn, boxy, seed):
    """Full where the formula is well below 1, empty where it is well above; the pose is undone the other way round."""
    canvas = brush(seed)
    columns, rows = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE))
    anatomy = (columns + 1j * rows - canvas.shift) / canvas.spin
    local = (anatomy - (x + 1j * y)) * np.exp(-1j * turn)
    power = 4 if boxy else 2
    radius = ((local.real / a) ** power + (local.imag / b) ** power) ** (1 / power)
    rim = PIXEL / min(a, b)  # relative to the radius, generously
    shape = canvas.inside(x, y, a, b, turn, boxy=boxy)
    assert shape.dtype == np.float32
    assert (shape[radius < 1 - rim] > 0.9).all()
    assert (shape[radius > 1 + rim] < 0.01).all()
    assert ((shape > 0.5) == (radius < 1))[np.abs(radius - 1) > 1e-3].all()


@given(number, number, size, size, number, st.booleans(), st.integers(0, 99))
def test_an_ellipse_is_painted_whole_though_only_a_window_is_computed(x, y, a, b, turn, boxy, seed):
    windowed, full = brush(seed), brush(seed)
    windowed.ellipse(x, y, a, b, 0.7, turn, 0.5, boxy=boxy)
    full.paint(full.inside(x, y, a, b, turn, boxy=boxy), 0.7, 0.5, EVERYWHERE)
    np.testing.assert_allclose(windowed.pixels, full.pixels, atol=0.02)


def test_paint_covers():
    canvas = brush(0)
    canvas.pixels += 0.2
    shape = canvas.inside(0, 0, 0.5, 0.5)
    canvas.paint(shape, 0.8, opacity=0.5)
    np.testing.assert_allclose(canvas.pixels[shape == 1], 0.5, atol=1e-6)
    np.testing.assert_allclose(canvas.pixels[shape == 0], 0.2, atol=1e-6)
