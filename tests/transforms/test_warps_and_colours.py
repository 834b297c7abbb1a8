"""Maps of the plane, blurring and colours: of tensors as of pictures, and both as torchvision's documentation has them.

Pillow rounds colours to bytes and computes hues in 256 steps, and reads places by a rule of its own at edges: so where
tensors are held to pictures, it says how far apart they may be.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest

import tinygrad_med as tg
from tests.transforms.test_transforms import picture, pixels
from tinygrad_med import transforms
from tinygrad_med.transforms import InterpolationMode, functional as F

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")
ops = pytest.importorskip("PIL.ImageOps")


def smooth(n: int = 41):
    """A picture whose neighbours differ little, so that half a pixel does not matter."""
    y, x = np.mgrid[:n, :n] / n
    waves = np.stack([np.sin(3 * x + y), np.cos(2 * y), np.sin(2 * x * y + 1)], -1)
    return pillow.fromarray((110 + 90 * waves).astype(np.uint8))


def matrix_by_hand(center, angle, translate, scale, shear):
    """T · C · R · shear · scale · C⁻¹, as 3×3 matrices."""
    a, sx, sy = np.radians([angle, *shear])
    move = lambda x, y: np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])  # noqa: E731
    turned = np.array(
        [
            [np.cos(a - sy) / np.cos(sy), -np.cos(a - sy) * np.tan(sx) / np.cos(sy) - np.sin(a), 0],
            [np.sin(a - sy) / np.cos(sy), -np.sin(a - sy) * np.tan(sx) / np.cos(sy) + np.cos(a), 0],
            [0, 0, 1],
        ]
    )
    scaled = np.diag([scale, scale, 1])
    return move(*translate) @ move(*center) @ turned @ scaled @ move(*(-v for v in center))


MAPS = [
    {"angle": 30, "translate": (0, 0), "scale": 1.0, "shear": 0},
    {"angle": -20, "translate": (4, -3), "scale": 0.8, "shear": 10},
    {"angle": 5, "translate": (0, 2), "scale": 1.3, "shear": (10, -5)},
    {"angle": 0, "translate": (-2, 1), "scale": 0.5, "shear": (0, 20), "center": (3, 7)},
]


@pytest.mark.parametrize("options", MAPS)
def test_affine_is_the_inverse_of_the_map(options):
    image = smooth()
    center = options.get("center", (20.5, 20.5))
    shear = options["shear"] if isinstance(options["shear"], tuple) else (options["shear"], 0)
    forward = matrix_by_hand(center, options["angle"], options["translate"], options["scale"], shear)
    inverse = np.linalg.inv(forward)[:2].ravel()
    kind, mode = pillow.Transform.AFFINE, pillow.Resampling.BILINEAR
    expected = pixels(image.transform(image.size, kind, tuple(inverse), mode, fillcolor=(9, 9, 9)))
    done = F.affine(image, **options, interpolation=InterpolationMode.BILINEAR, fill=9)
    assert np.abs(pixels(done).astype(int) - expected).max() <= 1
    tensor = F.affine(F.pil_to_tensor(image), **options, interpolation=InterpolationMode.BILINEAR, fill=9)
    white = pillow.fromarray(np.pad(np.full((37, 37), 255, np.uint8), 2))  # within edges, where Pillow mixes nothing
    inner = pixels(F.affine(white, **options, interpolation=InterpolationMode.BILINEAR))[0] == 255
    assert tensor.dtype == "uint8" and inner.mean() > 0.1
    assert np.abs(tensor.numpy().astype(int) - expected)[:, inner].max() <= 1
    outside = pixels(F.affine(pillow.new("L", image.size, 255), **options))[0] == 0
    nearest = F.affine(F.pil_to_tensor(image), **options, fill=9).numpy()
    assert not outside.any() or (nearest[:, outside] == 9).mean() > 0.99


def test_a_warped_tensor_is_that_of_pytorch(torch):
    """What torchvision computes: PyTorch's grid_sample at the places of the matrix."""
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 8))
    a, b, c, d, e, f = np.linalg.inv(matrix_by_hand((0, 0), 33, (1, -1), 1.2, (7, 4)))[:2].ravel()
    theta = torch.tensor([[[a, b * 5 / 8, c * 2 / 8], [d * 8 / 5, e, f * 2 / 5]]], dtype=torch.float64)
    grid = torch.nn.functional.affine_grid(theta, (1, 3, 5, 8), align_corners=False).expand(2, -1, -1, -1)
    for mode in ("bilinear", "nearest"):
        expected = torch.nn.functional.grid_sample(torch.tensor(x), grid, mode, align_corners=False).numpy()
        done = F.affine(tg.tensor(x), 33, (1, -1), 1.2, (7, 4), InterpolationMode(mode))
        np.testing.assert_allclose(done.numpy(), expected, atol=1e-10)


def test_rotated_tensors():
    image = picture(7, 7)
    x = F.pil_to_tensor(image)
    np.testing.assert_array_equal(F.rotate(x, 90).numpy(), np.rot90(pixels(image), 1, (1, 2)))
    np.testing.assert_array_equal(F.rotate(x, 180).numpy(), pixels(image)[:, ::-1, ::-1])
    wide = F.rotate(F.pil_to_tensor(picture(4, 6)), 90, expand=True)
    np.testing.assert_array_equal(wide.numpy(), np.rot90(pixels(picture(4, 6)), 1, (1, 2)))
    assert F.rotate(x, 45, expand=True, fill=3).numpy()[:, 0, 0].tolist() == [3, 3, 3]
    around = F.rotate(x, 180, center=(2, 2)).numpy()
    np.testing.assert_array_equal(around[:, :4, :4], pixels(image)[:, 3::-1, 3::-1])
    with pytest.raises(ValueError, match="rotate: of a tensor, interpolation is NEAREST or BILINEAR, not 'bicubic'"):
        F.rotate(x, 5, InterpolationMode.BICUBIC)


def test_gaussian_blur():
    image = picture(11, 12)
    bell = lambda n, s: np.exp(-0.5 * ((np.arange(n) - n // 2) / s) ** 2)  # noqa: E731
    rows, columns = bell(5, 0.7), bell(3, 1.2)
    expected = np.pad(pixels(image).astype(float), [(0, 0), (2, 2), (1, 1)], "reflect")
    for axis, weights in ((1, rows / rows.sum()), (2, columns / columns.sum())):
        n = expected.shape[axis] - len(weights) + 1
        expected = sum(w * expected.take(range(k, k + n), axis) for k, w in enumerate(weights))
    done = F.gaussian_blur(F.pil_to_tensor(image), (3, 5), (1.2, 0.7))
    assert done.dtype == "uint8" and np.abs(done.numpy() - expected).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(pixels(F.gaussian_blur(image, (3, 5), (1.2, 0.7))), done.numpy())
    np.testing.assert_allclose(
        F.gaussian_blur(F.to_tensor(image), [3, 5], [1.2, 0.7]).numpy() * 255, expected, atol=1e-3
    )
    np.testing.assert_array_equal(F.gaussian_blur(done, 5).numpy(), F.gaussian_blur(done, 5, 0.15 * 5 + 0.35).numpy())
    for size, sigma in ((4, 1.0), (3, 0.0)):
        with pytest.raises(ValueError, match="gaussian_blur: .* give odd sizes, and deviations above 0"):
            F.gaussian_blur(image, size, sigma)


# ---------------------------------------------------------------- colours


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_adjustments_of_tensors_are_those_of_pictures(name, factor):
    image = picture(9, 8)
    adjust = getattr(F, f"adjust_{name}")
    expected = pixels(adjust(image, factor)).astype(int)
    assert np.abs(adjust(F.pil_to_tensor(image), factor).numpy().astype(int) - expected).max() <= 1
    assert np.abs(adjust(F.to_tensor(image), factor).numpy() * 255 - expected).max() <= 2
    with pytest.raises(ValueError, match=f"adjust_{name}: the factor must not be negative"):
        adjust(F.to_tensor(image), -1)
    with pytest.raises(ValueError, match=f"adjust_{name}: needs an image .* of 1 or 3 channels"):
        adjust(tg.ones(2, 4, 4), 1)


@pytest.mark.parametrize("factor", [-0.5, -0.2, 0.0, 0.1, 0.5])
def test_hues_of_tensors(factor):
    x = F.to_tensor(picture(6, 7))
    x[:, 0, 0] = 0.3  # grey
    expected = np.empty(x.shape)
    for i, j in np.ndindex(6, 7):
        h, s, v = colorsys.rgb_to_hsv(*x.numpy()[:, i, j])
        expected[:, i, j] = colorsys.hsv_to_rgb((h + factor) % 1, s, v)
    np.testing.assert_allclose(F.adjust_hue(x, factor).numpy(), expected, atol=1e-5)
    assert F.adjust_hue(x[:1], factor).tolist() == x[:1].tolist()


def test_colours_at_their_ends():
    image = picture(8, 9)
    x, y = F.pil_to_tensor(image), F.to_tensor(image)
    for name, arguments in (("invert", ()), ("posterize", (3,)), ("solarize", (100,)), ("autocontrast", ())):
        expected = pixels(getattr(ops, name)(image, *arguments))
        np.testing.assert_array_equal(pixels(getattr(F, name)(image, *arguments)), expected)
        assert np.abs(getattr(F, name)(x, *arguments).numpy().astype(int) - expected).max() <= (name == "autocontrast")
        if name != "posterize":
            done = getattr(F, name)(y, *(a / 255 for a in arguments)).numpy()
            assert np.abs(done * 255 - expected).max() <= 1
    np.testing.assert_array_equal(pixels(F.equalize(image)), pixels(ops.equalize(image)))
    flat = tg.full((1, 2, 2), 0.5)
    assert F.autocontrast(flat).tolist() == flat.tolist()
    with pytest.raises(TypeError, match="posterize: needs bytes, got float32"):
        F.posterize(y, 3)


def test_gamma_and_sharpness():
    enhance = pytest.importorskip("PIL.ImageEnhance")
    image = picture(8, 9)
    expected = np.floor(255.999 * (pixels(image) / 255) ** 2.2)
    np.testing.assert_array_equal(pixels(F.adjust_gamma(image, 2.2)), expected)
    assert np.abs(F.adjust_gamma(F.pil_to_tensor(image), 2.2).numpy() - expected).max() <= 1
    np.testing.assert_array_equal(pixels(F.adjust_sharpness(image, 2)), pixels(enhance.Sharpness(image).enhance(2)))


# ---------------------------------------------------------------- parts, and at random


def test_five_and_ten_crops():
    image = picture(6, 9)
    x = F.pil_to_tensor(image)
    for image_or_tensor in (image, x):
        parts = transforms.FiveCrop((3, 4))(image_or_tensor)
        expected = [x[:, i : i + 3, j : j + 4] for i, j in ((0, 0), (0, 5), (3, 0), (3, 5), (2, 2))]
        assert all(np.array_equal(pixels(a), b.numpy()) for a, b in zip(parts, expected, strict=True))
        ten = transforms.TenCrop(3, vertical_flip=True)(image_or_tensor)
        assert len(ten) == 10 and np.array_equal(pixels(ten[5]), pixels(image)[:, ::-1][:, :3, :3])
    with pytest.raises(ValueError, match="five_crop: the picture of 6×9 pixels is smaller than the part of 7×7"):
        F.five_crop(image, 7)


def test_random_affine_stays_in_its_bounds(monkeypatch):
    seen = []
    monkeypatch.setattr(F, "affine", lambda img, *found: seen.append(found[:4]) or img)
    transform = transforms.RandomAffine(10, translate=(0.2, 0.1), scale=(0.5, 2), shear=(-3, 3, 20, 30))
    tg.manual_seed(0)
    for _ in range(300):
        transform(picture(40, 50))
    angles, moves, scales, shears = (np.array(column) for column in zip(*seen, strict=True))
    for values, low, high in (
        (angles, -10, 10),
        (moves[:, 0], -10, 10),
        (moves[:, 1], -4, 4),
        (scales, 0.5, 2),
        (shears[:, 0], -3, 3),
        (shears[:, 1], 20, 30),
    ):
        span = (high - low) / 10
        assert low <= values.min() <= low + span and high - span <= values.max() <= high
    assert moves.dtype.kind == "i"
    seen.clear()
    transforms.RandomAffine((5, 5))(picture())
    assert seen == [(5.0, (0, 0), 1.0, [0.0, 0.0])]
    refused = [{"translate": (2, 0)}, {"scale": (0, 1)}, {"shear": (1, 2, 3)}]
    for bad in ({"degrees": -1}, *({"degrees": 1, **options} for options in refused)):
        with pytest.raises(ValueError, match="RandomAffine: "):
            transforms.RandomAffine(**bad)


def test_random_erasing():
    x = F.to_tensor(picture(20, 30)) + 1
    tg.manual_seed(0)
    transform, happened = transforms.RandomErasing(0.7, scale=(0.1, 0.2), ratio=(0.5, 2)), 0
    for _ in range(200):
        y = transform(x)
        gone = (y.numpy() == 0).all(0)
        happened += bool(gone.any())
        if gone.any():
            rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
            h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert gone.sum() == h * w and 0.09 < h * w / 600 < 0.22 and 0.4 < h / w < 2.5
            assert np.array_equal(y.numpy()[:, ~gone], x.numpy()[:, ~gone])
    assert 0.6 < happened / 200 < 0.8 and (x.numpy() >= 1).all()
    colours = transforms.RandomErasing(1, value=(5, 6, 7))(x).numpy()
    assert set(colours[1][colours[0] == 5]) == {6}
    noise = transforms.RandomErasing(1, scale=(0.3, 0.3), value="random")(x).numpy()
    assert 0.7 < noise[noise != x.numpy()].std() < 1.3
    z = x.clone()
    assert transforms.RandomErasing(1, inplace=True)(z) is z and (z.numpy() == 0).any()
    for call, error in (
        (lambda: transforms.RandomErasing(value="red"), ValueError),
        (lambda: transforms.RandomErasing(1, value=(1, 2))(x), ValueError),
        (lambda: transforms.RandomErasing()(picture()), TypeError),
    ):
        with pytest.raises(error, match="RandomErasing: "):
            call()


@pytest.mark.parametrize(
    ("name", "arguments", "function"),
    [
        ("RandomInvert", (), F.invert),
        ("RandomAutocontrast", (), F.autocontrast),
        ("RandomEqualize", (), F.equalize),
        ("RandomPosterize", (2,), F.posterize),
        ("RandomSolarize", (90,), F.solarize),
        ("RandomAdjustSharpness", (2,), F.adjust_sharpness),
    ],
)
def test_changes_that_perhaps_happen(name, arguments, function):
    image = smooth() if name == "RandomEqualize" else picture(9, 9)
    transform = getattr(transforms, name)(*arguments, p=0.3)
    tg.manual_seed(0)
    changed = sum(np.array_equal(pixels(transform(image)), pixels(function(image, *arguments))) for _ in range(300))
    assert 0.2 < changed / 300 < 0.4
    with pytest.raises(ValueError, match=f"{name}: p=2 is n"):
        getattr(transforms, name)(*arguments, p=2)


def test_random_blur_and_colours_of_tensors():
    x = F.to_tensor(picture(9, 9))
    tg.manual_seed(0)
    spread = [float(transforms.GaussianBlur(5, (0.1, 3.0))(x).std()) for _ in range(20)]
    assert min(spread) < 0.5 * max(spread) and math.isclose(max(spread), float(x.std()), rel_tol=0.1)
    assert transforms.ColorJitter(0.5, 0.5, 0.5, 0.5)(x).shape == x.shape
    for bad in ({"kernel_size": 4}, {"kernel_size": 3, "sigma": (2, 1)}):
        with pytest.raises(ValueError, match="GaussianBlur: "):
            transforms.GaussianBlur(**bad)
