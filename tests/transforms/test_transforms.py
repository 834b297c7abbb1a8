"""Transforms: torchvision's numbers, as its documentation states them and as Pillow makes them; the same for tensors.

torchvision is not among what the tests install: what it does is written out here, in NumPy and Pillow.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med import transforms
from tinygrad_med.transforms import InterpolationMode, functional as F
from tinygrad_med.utils.data import DataLoader

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")


def picture(height=6, width=9, mode="RGB"):
    rng = np.random.default_rng(0)
    shape = (height, width, {"RGB": 3, "RGBA": 4, "LA": 2}[mode]) if mode != "L" else (height, width)
    return pillow.fromarray(rng.integers(0, 256, shape).astype(np.uint8))


def pixels(image):
    """(C, H, W), of a picture or a tensor."""
    if isinstance(image, tinygrad_med.Tensor):
        return image.numpy()
    array = np.asarray(image)
    return (array[..., None] if array.ndim == 2 else array).transpose(2, 0, 1)


# ---------------------------------------------------------------- to numbers and back


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_to_tensor(mode):
    image = picture(mode=mode)
    x = transforms.ToTensor()(image)
    assert x.dtype == tinygrad_med.float32 and x.is_contiguous()
    np.testing.assert_array_equal(x.numpy(), pixels(image).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(F.to_tensor(np.asarray(image)).numpy(), x.numpy())
    np.testing.assert_array_equal(transforms.PILToTensor()(image).numpy(), pixels(image))
    assert transforms.ToPILImage()(x).mode == mode
    np.testing.assert_allclose(pixels(F.to_pil_image(x)), pixels(image), atol=1)  # cut, not rounded, as torchvision's
    np.testing.assert_array_equal(pixels(F.to_pil_image(F.pil_to_tensor(image))), pixels(image))


def test_to_tensor_follows_the_default_dtype():
    tinygrad_med.set_default_dtype("float64")
    try:
        assert F.to_tensor(picture()).dtype == tinygrad_med.float64
    finally:
        tinygrad_med.set_default_dtype("float32")


def test_to_tensor_keeps_other_numbers_than_bytes():
    deep = pillow.fromarray(np.array([[0, 40000], [65535, 1]], np.uint16))
    x = F.to_tensor(deep)
    assert (x.tolist(), x.dtype) == ([[[0, 40000], [65535, 1]]], "int32")
    assert F.to_tensor(np.ones((2, 3), np.float64)).dtype == tinygrad_med.float64
    assert F.to_tensor(picture(mode="L").convert("1")).numpy().max() == 1
    for bad in (tinygrad_med.ones(2), "a.png"):
        with pytest.raises(TypeError, match="to_tensor: needs a picture of Pillow's or an array"):
            F.to_tensor(bad)
    with pytest.raises(ValueError, match=r"to_tensor: an array of shape \(2,\)"):
        F.to_tensor(np.ones(2))


def test_to_pil_image_refuses():
    with pytest.raises(TypeError, match="no kind of picture for 5 channels of uint8"):
        F.to_pil_image(np.zeros((2, 2, 5), np.uint8))
    with pytest.raises(ValueError, match="mode 'RGB' does not fit 1 channels"):
        F.to_pil_image(np.zeros((2, 2), np.uint8), "RGB")


def test_normalize():
    x = F.to_tensor(picture())
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    expected = (x.numpy() - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    np.testing.assert_allclose(transforms.Normalize(mean, std)(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(F.normalize(x[None], [0.5], [0.5]).numpy(), 2 * x.numpy()[None] - 1, atol=1e-6)
    y = x.clone()
    assert F.normalize(y, mean, std, inplace=True) is y and np.allclose(y.numpy(), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"normalize: std=\[1, 0, 1\] has a 0"):
        F.normalize(x, mean, [1, 0, 1])
    with pytest.raises(ValueError, match="2 means and 2 deviations for an image of 3 channels"):
        F.normalize(x, mean[:2], std[:2])
    for bad in (F.pil_to_tensor(picture()), picture()):
        with pytest.raises(TypeError, match="put ToTensor\\(\\) before it"):
            F.normalize(bad, mean, std)


@pytest.mark.parametrize(
    ("kind", "value", "dtype", "expected"),
    [
        ("uint8", 51, "float32", 0.2),
        ("float32", 1.0, "uint8", 255),
        ("float32", 0.5, "uint8", 127),  # ⌊0.5 · 255.999⌋
        ("uint8", 3, "int32", 3 * 2**23),
        ("int32", 3 * 2**23 + 5, "uint8", 3),
        ("uint8", 3, "uint8", 3),
        ("float32", 0.3, "float64", np.float32(0.3)),
        ("float16", 1.0, "uint8", 255),
        ("float16", 1.0, "int16", 32767),
        ("float64", 1.0, "int32", 2**31 - 1),
    ],
)
def test_convert_image_dtype(kind, value, dtype, expected):
    x = tinygrad_med.tensor([[[value]]], dtype=kind)
    y = transforms.ConvertImageDtype(dtype)(x)
    assert y.dtype == dtype and y.item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("kinds", [("float32", "int32"), ("float16", "int32"), ("float64", "int64")])
def test_floats_that_can_not_tell_integers_apart_are_refused(kinds):
    with pytest.raises(ValueError, match=f"{kinds[0]} can't tell the numbers of {kinds[1]} apart"):
        F.convert_image_dtype(tinygrad_med.ones(1, 2, 2, dtype=kinds[0]), kinds[1])
    with pytest.raises(TypeError, match="bools have no scale"):
        F.convert_image_dtype(tinygrad_med.ones(1, 2, 2).bool())


# ---------------------------------------------------------------- size and place


@pytest.mark.parametrize(
    ("size", "options", "height", "width"),
    [
        (4, {}, 4, 6),
        (5, {}, 5, 7),  # 7.5, rounded down
        ([4], {}, 4, 6),
        ((3, 7), {}, 3, 7),
        (4, {"max_size": 5}, 3, 5),
        (12, {}, 12, 18),
    ],
)
def test_resize(size, options, height, width):
    image = picture(6, 9)
    done = transforms.Resize(size, **options)(image)
    np.testing.assert_array_equal(pixels(done), pixels(image.resize((width, height), pillow.Resampling.BILINEAR)))
    turned = transforms.Resize(size, **options)(image.transpose(pillow.Transpose.TRANSPOSE))
    expected = (height, width) if not isinstance(size, tuple) else (width, height)
    assert turned.size == expected
    x = F.to_tensor(image)
    assert F.resize(x, size, antialias=False, **options).shape == (3, height, width)


def test_resize_has_pillows_interpolations():
    image = picture()
    for mode in InterpolationMode:
        name = {"nearest-exact": "NEAREST"}.get(mode.value, mode.value.upper())
        expected = pixels(image.resize((8, 5), pillow.Resampling[name]))
        np.testing.assert_array_equal(pixels(F.resize(image, (5, 8), mode)), expected)
    np.testing.assert_array_equal(pixels(F.resize(image, (5, 8), 3)), pixels(image.resize((8, 5), 3)))
    assert F.resize(image, 6) is image


def test_a_tensor_is_enlarged_as_its_picture():
    """Pillow rounds to bytes; the numbers themselves are the same."""
    image = picture()
    enlarged = F.resize(F.pil_to_tensor(image), 13)
    assert enlarged.dtype == "uint8"
    assert np.abs(enlarged.numpy().astype(int) - pixels(F.resize(image, 13)).astype(int)).max() <= 1


@pytest.mark.parametrize("mode", [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC])
@pytest.mark.parametrize("size", [(11, 7), (5, 40), (40, 40), (30, 3)])
def test_a_tensor_is_shrunk_as_its_picture(size, mode):
    """Pillow computes in whole numbers, and rounds twice; without `antialias` pixels are left out."""
    image = picture(31, 40)
    expected = pixels(F.resize(image, size, mode)).astype(float)
    done = F.resize(F.pil_to_tensor(image), size, mode)
    assert done.dtype == "uint8" and np.abs(done.numpy().astype(float) - expected).max() <= 1
    done = F.resize(F.to_tensor(image), size, mode).numpy() * 255
    assert np.abs(done.clip(0, 255) - expected).max() <= 1.6
    if size[0] < 30:
        jagged = F.resize(F.to_tensor(image), size, mode, antialias=False).numpy() * 255
        assert np.abs(jagged - expected).max() > 20


@pytest.mark.parametrize("size", [3, 4, (2, 9), (8, 4), (7, 12), 1])
def test_center_crop(size):
    """Too small a picture gets its odd pixel of black to the right and below; half a pixel is rounded to even."""
    image = picture()
    h, w = (size, size) if isinstance(size, int) else size
    array = pixels(image)
    for axis, n in ((1, h), (2, w)):
        have = array.shape[axis]
        if n > have:
            edges = [(0, 0)] * 3
            edges[axis] = ((n - have) // 2, (n - have + 1) // 2)
            array = np.pad(array, edges)
        else:
            begin = round((have - n) / 2)
            array = np.take(array, range(begin, begin + n), axis)
    np.testing.assert_array_equal(pixels(transforms.CenterCrop(size)(image)), array)
    np.testing.assert_array_equal(pixels(transforms.CenterCrop(size)(F.pil_to_tensor(image))), array)


@pytest.mark.parametrize("place", [(1, 2, 3, 4), (-2, -1, 4, 5), (4, 7, 5, 6), (-1, -1, 9, 12)])
def test_crop_gives_0_outside(place):
    image = picture()
    top, left, h, w = place
    expected = np.pad(pixels(image), [(0, 0), (20, 20), (20, 20)])[
        :, 20 + top : 20 + top + h, 20 + left : 20 + left + w
    ]
    np.testing.assert_array_equal(pixels(F.crop(image, *place)), expected)
    np.testing.assert_array_equal(pixels(F.crop(F.pil_to_tensor(image), *place)), expected)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", [2, (1, 3), (1, 2, 3, 4)])
def test_pad(padding, mode):
    left, top, right, bottom = {2: (2,) * 4, (1, 3): (1, 3, 1, 3)}.get(padding, padding)
    image = picture()
    expected = np.pad(pixels(image), [(0, 0), (top, bottom), (left, right)], mode)
    np.testing.assert_array_equal(pixels(transforms.Pad(padding, padding_mode=mode)(image)), expected)
    if mode != "symmetric":
        x = F.to_tensor(image)
        assert np.allclose(F.pad(x, padding, padding_mode=mode).numpy() * 255, expected, atol=1e-4)
    if mode == "constant":
        assert np.asarray(F.pad(image, padding, (1, 2, 3)))[0, 0].tolist() == [1, 2, 3]
        assert np.asarray(F.pad(image, padding, 9))[0, 0].tolist() == [9, 9, 9]


def test_pad_keeps_the_meaning_of_the_numbers():
    image = picture().quantize(5)
    padded = F.pad(image, 1, padding_mode="edge")
    assert padded.mode == "P" and F.crop(padded, 1, 1, 6, 9).convert("RGB").tobytes() == image.convert("RGB").tobytes()
    assert F.pad(picture().convert("CMYK"), 1, padding_mode="reflect").mode == "CMYK"


def test_a_matrix_is_resized_as_an_image_of_one_channel():
    x = tinygrad_med.rand(6, 9)
    assert F.resize(x, (3, 4)).tolist() == F.resize(x.unsqueeze(0), (3, 4))[0].tolist()


def test_flips():
    image = picture()
    for flip, slices in ((F.hflip, np.s_[:, :, ::-1]), (F.vflip, np.s_[:, ::-1])):
        np.testing.assert_array_equal(pixels(flip(image)), pixels(image)[slices])
        np.testing.assert_array_equal(flip(F.pil_to_tensor(image)).numpy(), pixels(image)[slices])


def test_rotate():
    image = picture(7, 7)
    np.testing.assert_array_equal(pixels(F.rotate(image, 90)), np.rot90(pixels(image), 1, (1, 2)))  # counter-clockwise
    turned = F.rotate(image, 30, InterpolationMode.BILINEAR, fill=7)
    np.testing.assert_array_equal(pixels(turned), pixels(image.rotate(30, 2, fillcolor=(7, 7, 7))))
    assert F.rotate(image, 45, expand=True).size > image.size


# ---------------------------------------------------------------- colour


def test_grey():
    image = picture()
    np.testing.assert_array_equal(pixels(transforms.Grayscale()(image)), pixels(image.convert("L")))
    three = transforms.Grayscale(3)(image)
    np.testing.assert_array_equal(pixels(three), pixels(image.convert("L")).repeat(3, 0))
    x = F.to_tensor(image)
    expected = np.tensordot([0.2989, 0.587, 0.114], x.numpy(), 1)[None]
    np.testing.assert_allclose(transforms.Grayscale()(x).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(F.rgb_to_grayscale(x, 3).numpy(), expected.repeat(3, 0), rtol=1e-5)
    with pytest.raises(ValueError, match="num_output_channels=2; give 1 or 3"):
        F.to_grayscale(image, 2)


def test_adjustments_are_pillows():
    enhance = pytest.importorskip("PIL.ImageEnhance")
    image = picture()
    for ours, kind in (("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color")):
        adjust = getattr(F, f"adjust_{ours}")
        np.testing.assert_array_equal(pixels(adjust(image, 1.5)), pixels(getattr(enhance, kind)(image).enhance(1.5)))
        with pytest.raises(ValueError, match="must not be negative"):
            adjust(image, -1)
    red = pillow.new("RGB", (1, 1), (255, 0, 0))
    assert np.abs(np.asarray(F.adjust_hue(red, 1 / 3)).astype(int) - [0, 255, 0]).max() <= 6
    assert F.adjust_hue(picture(mode="L"), 0.3).mode == "L"
    with pytest.raises(ValueError, match="from −0.5 to 0.5"):
        F.adjust_hue(red, 0.6)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_numbers_beyond_bytes_are_never_cut(mode):
    kind = {"I;16": "uint16", "I": "int32", "F": "float32"}[mode]
    image = pillow.fromarray((np.arange(30).reshape(5, 6) * 2000).astype(kind))
    assert image.mode == mode
    changes = [transforms.Grayscale(), transforms.RandomGrayscale(1.0), transforms.ColorJitter(0.3)]
    for change in (*changes, lambda i: F.adjust_gamma(i, 2.0), lambda i: F.adjust_sharpness(i, 2.0)):
        with pytest.raises(ValueError, match=f"would cut the numbers of a picture of mode {mode} at 255"):
            change(image)
    assert F.adjust_hue(image, 0.2) is image
    blurred = F.gaussian_blur(image, 3)
    expected = F.gaussian_blur(F.pil_to_tensor(image).to(tinygrad_med.float32), 3).numpy()
    assert blurred.mode == mode and np.abs(pixels(blurred) - expected).max() <= 0.5 + 1e-2


# ---------------------------------------------------------------- at random


def often(transform, image, happened, n=400):
    tinygrad_med.manual_seed(1)
    return sum(happened(transform(image)) for _ in range(n)) / n


def test_probabilities():
    image = picture()
    flipped, upside = pixels(F.hflip(image)), pixels(F.vflip(image))
    is_flipped = lambda y: np.array_equal(pixels(y), flipped)  # noqa: E731
    assert 0.4 < often(transforms.RandomHorizontalFlip(), image, is_flipped) < 0.6
    assert 0.15 < often(transforms.RandomHorizontalFlip(0.25), image, is_flipped) < 0.35
    assert 0.4 < often(transforms.RandomVerticalFlip(), image, lambda y: np.array_equal(pixels(y), upside)) < 0.6
    assert 0.4 < often(transforms.RandomApply([F.hflip]), image, is_flipped) < 0.6
    assert 0.4 < often(transforms.RandomChoice([F.hflip, F.vflip]), image, is_flipped) < 0.6
    assert 0.15 < often(transforms.RandomChoice([F.hflip, F.vflip], p=[1, 3]), image, is_flipped) < 0.35
    grey = transforms.RandomGrayscale(0.5)
    assert 0.4 < often(grey, image, lambda y: np.ptp(pixels(y), 0).max() == 0) < 0.6
    order = transforms.RandomOrder([lambda s: s + "a", lambda s: s + "b"])
    assert 0.4 < often(order, "", lambda y: y == "ab") < 0.6
    with pytest.raises(ValueError, match="p=2 is not a probability"):
        transforms.RandomHorizontalFlip(2)


def test_random_crops_are_everywhere():
    """Each of the places equally often: a picture whose pixels say where they are."""
    image = pillow.fromarray(np.arange(4 * 5, dtype=np.uint8).reshape(4, 5))
    tinygrad_med.manual_seed(0)
    firsts = [int(pixels(transforms.RandomCrop((3, 3))(image))[0, 0, 0]) for _ in range(600)]
    assert {n: 60 < firsts.count(n) < 140 for n in (0, 1, 2, 5, 6, 7)} == dict.fromkeys((0, 1, 2, 5, 6, 7), True)
    assert transforms.RandomCrop(5, padding=1)(image).size == (5, 5)
    assert transforms.RandomCrop(9, pad_if_needed=True)(image).size == (9, 9)
    with pytest.raises(ValueError, match="the picture of 4×5 pixels is smaller than the part of 5×5"):
        transforms.RandomCrop(5)(image)


def test_random_resized_crop():
    crop = transforms.RandomResizedCrop(8, scale=(0.25, 0.5), ratio=(0.5, 2))
    tinygrad_med.manual_seed(0)
    for top, left, h, w in (crop.place(100, 200) for _ in range(200)):
        assert 0 <= top <= 100 - h and 0 <= left <= 200 - w
        assert 0.24 < h * w / 20000 < 0.51 and 0.49 < w / h < 2.05
    assert crop(picture(50, 40)).size == (8, 8)
    assert transforms.RandomResizedCrop(8, scale=(1, 1), ratio=(1, 1)).place(10, 30) == (0, 10, 10, 10)  # none fits
    assert transforms.RandomResizedCrop(8, scale=(1, 1), ratio=(1, 1)).place(30, 10) == (10, 0, 10, 10)


def test_random_rotation_and_colours_stay_in_their_bounds(monkeypatch):
    seen = []
    monkeypatch.setattr(F, "rotate", lambda img, angle, *rest: seen.append(angle) or img)
    monkeypatch.setattr(F, "adjust_brightness", lambda img, factor: seen.append(factor) or img)
    for transform, low, high in (
        (transforms.RandomRotation(10), -10, 10),
        (transforms.RandomRotation((20, 30)), 20, 30),
        (transforms.ColorJitter(brightness=0.2), 0.8, 1.2),
        (transforms.ColorJitter(brightness=3), 0, 4),
        (transforms.ColorJitter(brightness=(0.5, 0.6)), 0.5, 0.6),
    ):
        seen.clear()
        for _ in range(200):
            transform("picture")
        span = high - low
        assert len(seen) == 200 and low <= min(seen) < low + span / 10 and high - span / 10 < max(seen) <= high
    for bad in ({"degrees": -1}, {"degrees": (1, 2, 3)}):
        with pytest.raises(ValueError, match="RandomRotation: "):
            transforms.RandomRotation(**bad)
    for bad in ({"hue": 0.6}, {"brightness": -1}, {"contrast": (2, 1)}):
        with pytest.raises(ValueError, match="ColorJitter: "):
            transforms.ColorJitter(**bad)


def test_workers_change_no_bit_of_random_transforms():
    """A whole recipe, as tutorials have it, over pictures of several sizes."""
    recipe = transforms.Compose(
        [
            transforms.RandomResizedCrop(8),
            transforms.RandomRotation(15),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.1),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )

    class Pictures:
        def __len__(self):
            return 12

        def __getitem__(self, i):
            return recipe(picture(20 + i, 30)), i % 2

    found = []
    for workers in (0, 3):
        tinygrad_med.manual_seed(4)
        found.append([x.numpy() for x, _ in DataLoader(Pictures(), 5, shuffle=True, num_workers=workers)])
    assert [x.shape for x in found[0]] == [(5, 3, 8, 8), (5, 3, 8, 8), (2, 3, 8, 8)]
    assert all(map(np.array_equal, *found))


def test_they_print_what_they_do():
    text = repr(transforms.Compose([transforms.Resize(4), transforms.ToTensor()]))
    assert re.fullmatch(r"Compose\(transforms=\[Resize\(size=4, .*\), ToTensor\(\)\]\)", text)


def test_what_is_no_image_is_refused():
    for call in (F.hflip, lambda x: F.resize(x, 3), lambda x: F.center_crop(x, 3), lambda x: F.pad(x, 1)):
        for bad in (np.ones((3, 4, 4)), tinygrad_med.ones(3)):
            with pytest.raises(TypeError, match=r"\w+: needs a picture of Pillow's, or a tensor \(…, H, W\), got"):
                call(bad)
    with pytest.raises(ValueError, match="size=0; give one positive integer"):
        F.resize(picture(), 0)
    with pytest.raises(TypeError, match="Lambda: needs a function, got int"):
        transforms.Lambda(3)
