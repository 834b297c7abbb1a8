"""From a picture to the numbers that a network gets: cut to size, changed at random, normalized.

All that moves pixels (flip, warp, rotation, zoom, crop) is multiplied into one 3×3 matrix, which says for every point
of the result where in the picture it comes from; so a picture is resampled once, and loses sharpness once. Points have
coordinates from −1 to 1, whatever the size. Brightness and contrast change a pixel regardless of its place, so they are
one table of 256 entries. Resampling is Pillow's.

The changes, their ranges and their probabilities are fastai's (docs.fast.ai/vision.augment).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinygrad_med._files import optional

if TYPE_CHECKING:
    from PIL.Image import Image

Rng = np.random.Generator
Matrix = NDArray[np.float64]

# The means and standard deviations of ImageNet's red, green and blue, between 0 and 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET_GREY = ((0.449,), (0.226,))  # both, the mean of the three
METHODS = ("crop", "pad", "squish")
CORNERS = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float64)


@dataclass(frozen=True)
class Resize:
    """A square of `size`.

    Args:
        size: in pixels.
        method: "crop": scale the shorter side to `size` and cut off the rest of the longer one, in training at a random
            place, else on both sides equally; "pad": scale the longer side and fill up with black; "squish": scale each
            side as it needs.
        equalize: spread the values of each channel evenly afterwards, so that it no longer matters how a film was
            exposed.
    """

    size: int
    method: str = "crop"
    equalize: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Resize: method={self.method!r} is unknown; give one of {', '.join(METHODS)}")

    def __call__(self, image: Image, rng: Rng | None = None) -> Image:
        """The picture cut to size; with a generator, at a random place."""
        square = self._square(image, rng)
        return optional("PIL.ImageOps", "equalizing").equalize(square) if self.equalize else square

    def _square(self, image: Image, rng: Rng | None) -> Image:
        bilinear = optional("PIL.Image", "resizing").Resampling.BILINEAR
        square = (self.size, self.size)
        if self.method == "squish":
            return image.resize(square, bilinear)
        if self.method == "pad":
            return optional("PIL.ImageOps", "resizing").pad(image, square, bilinear)
        side, place = min(image.size), 0.5 if rng is None else rng.random()
        left, top = ((length - side) * place for length in image.size)
        return image.resize(square, bilinear, box=(left, top, left + side, top + side))


@dataclass(frozen=True)
class Augment:
    """Random changes of a square picture, such that it still shows the same; without a generator, only its size.

    Args:
        size: of the result, in pixels; `None`: as it comes.
        do_flip: left and right change places, every second time.
        max_rotate: degrees.
        min_zoom, max_zoom: how much is magnified, about a random point.
        max_warp: how far the corners move when the picture is seen from aside or from above, 1 is half a side.
        max_lighting: how much brightness and contrast change.
        p_affine, p_lighting: the probability of each change of place, and of brightness and contrast.
        min_scale: of a random crop, the smallest share of the area.
    """

    size: int | None = None
    do_flip: bool = True
    max_rotate: float = 10.0
    min_zoom: float = 1.0
    max_zoom: float = 1.1
    max_warp: float = 0.2
    max_lighting: float = 0.2
    p_affine: float = 0.75
    p_lighting: float = 0.75
    min_scale: float = 1.0

    def geometry(self, rng: Rng) -> Matrix:
        """Where a point of the result comes from: crop, zoom, rotation, warp and flip, the last one applied first."""
        matrix = np.eye(3)
        if self.do_flip and rng.random() < 0.5:
            matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
        if self.max_warp and rng.random() < self.p_affine:
            matrix = matrix @ warp(*rng.uniform(-self.max_warp, self.max_warp, 2))
        if self.max_rotate and rng.random() < self.p_affine:
            matrix = matrix @ rotation(rng.uniform(-self.max_rotate, self.max_rotate))
        if (self.min_zoom, self.max_zoom) != (1, 1) and rng.random() < self.p_affine:
            matrix = matrix @ window(1 / rng.uniform(self.min_zoom, self.max_zoom), *rng.uniform(-1, 1, 2))
        if self.min_scale < 1:
            matrix = matrix @ window(math.sqrt(rng.uniform(self.min_scale, 1)), *rng.uniform(-1, 1, 2))
        return matrix

    def lighting(self, rng: Rng) -> NDArray[np.float32]:
        """What the 256 values of a pixel become, between 0 and 1: σ(contrast · (σ⁻¹(value) + brightness))."""
        value = np.linspace(0, 1, 256)
        brightness, contrast = 0.0, 1.0
        if self.max_lighting and rng.random() < self.p_lighting:
            centre = 0.5 * (1 + rng.uniform(-self.max_lighting, self.max_lighting))
            brightness = math.log(centre / (1 - centre))
        if self.max_lighting and rng.random() < self.p_lighting:
            most = -math.log(1 - self.max_lighting)
            contrast = math.exp(rng.uniform(-most, most))
        if (brightness, contrast) == (0, 1):
            return value.astype(np.float32)
        value = value.clip(1e-7, 1 - 1e-7)
        logit = contrast * (np.log(value / (1 - value)) + brightness)
        return (1 / (1 + np.exp(-logit))).astype(np.float32)

    def __call__(self, image: Image, rng: Rng | None = None) -> tuple[Image, NDArray[np.float32] | None]:
        """The changed picture, and what the 256 values of its pixels become (`None`: themselves)."""
        size = self.size or image.width
        if rng is None:
            bilinear = optional("PIL.Image", "resizing").Resampling.BILINEAR
            return (image if image.size == (size, size) else image.resize((size, size), bilinear)), None
        return resample(image, self.geometry(rng), size), self.lighting(rng)


def aug_transforms(
    mult: float = 1.0,
    do_flip: bool = True,
    max_rotate: float = 10.0,
    min_zoom: float = 1.0,
    max_zoom: float = 1.1,
    max_lighting: float = 0.2,
    max_warp: float = 0.2,
    p_affine: float = 0.75,
    p_lighting: float = 0.75,
    size: int | None = None,
    min_scale: float = 1.0,
) -> Augment:
    """fastai's name and arguments for `Augment`; `mult` multiplies rotation, lighting and warp."""
    return Augment(
        *(size, do_flip, mult * max_rotate, min_zoom, max_zoom, mult * max_warp, mult * max_lighting),
        *(p_affine, p_lighting, min_scale),
    )


# Matrices -----------------------------------------------------------------------------------------------------------


def rotation(degrees: float) -> Matrix:
    """About the centre."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def window(scale: float, x: float, y: float) -> Matrix:
    """A part of the picture, `scale` of its side, that touches the left edge at x = −1 and the right one at x = 1."""
    return np.array([[scale, 0, (1 - scale) * x], [0, scale, (1 - scale) * y], [0, 0, 1]])


def warp(across: float, down: float) -> Matrix:
    """As seen from above or below (`across`) and from aside (`down`): opposite sides grow and shrink by that much."""
    signs = CORNERS.prod(1, keepdims=True)
    return homography(CORNERS + signs * np.array([across, down]), CORNERS)


def homography(source: Matrix, target: Matrix) -> Matrix:
    """The matrix that takes four points to four others: (x, y, 1) ↦ (u, v, 1) up to a factor.

    u = (m₀x + m₁y + m₂) / (m₆x + m₇y + 1), and v likewise: two linear equations in m for each pair of points.
    """
    rows = [
        row
        for (x, y), (u, v) in zip(source, target, strict=True)
        for row in ([x, y, 1, 0, 0, 0, -x * u, -y * u], [0, 0, 0, x, y, 1, -x * v, -y * v])
    ]
    return np.append(np.linalg.solve(rows, target.reshape(8)), 1).reshape(3, 3)


def resample(image: Image, matrix: Matrix, size: int) -> Image:
    """A square picture of `size` whose points come from where `matrix` says; beyond its edges `image` is mirrored."""
    pillow = optional("PIL.Image", "resampling")
    side = np.array(image.size)
    corners = np.c_[CORNERS, np.ones(4)] @ matrix.T
    beyond = (np.abs(corners[:, :2] / corners[:, 2:]).max() - 1) / 2 * side.max()
    margin = int(np.clip(math.ceil(beyond) + 1, 0, side.min() - 1))
    if margin:
        edges = [(margin, margin), (margin, margin), (0, 0)]
        pixels = np.asarray(image)
        image = pillow.fromarray(np.pad(pixels, edges[: pixels.ndim], "reflect"))
    from_pixels = np.array([[2 / size, 0, -1], [0, 2 / size, -1], [0, 0, 1]])
    width, height = side / 2
    to_pixels = np.array([[width, 0, width + margin], [0, height, height + margin], [0, 0, 1]])
    m = to_pixels @ matrix @ from_pixels
    coefficients = (m / m[2, 2]).reshape(9)[:8].tolist()
    return image.transform((size, size), pillow.Transform.PERSPECTIVE, coefficients, pillow.Resampling.BILINEAR)


# Numbers ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Normalize:
    """Each channel less its mean, divided by its standard deviation, both of pixels between 0 and 1."""

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __call__(self, image: Image, values: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """A picture as (C, H, W), its pixels' values looked up in `values` before they are normalized."""
        values = np.linspace(0, 1, 256, dtype=np.float32) if values is None else values
        pixels = np.asarray(image)
        channels = [pixels] if pixels.ndim == 2 else [pixels[..., c] for c in range(pixels.shape[2])]
        if len(channels) != len(self.mean):
            raise ValueError(f"Normalize: the picture has {len(channels)} channels, the mean {len(self.mean)} numbers")
        tables = [(values - np.float32(m)) / np.float32(s) for m, s in zip(self.mean, self.std, strict=True)]
        return np.stack([table[channel] for table, channel in zip(tables, channels, strict=True)])

    def decode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(…, C, H, W) back to pixels between 0 and 1."""
        mean, std = (np.array(v, np.float32).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return (x * std + mean).clip(0, 1)
