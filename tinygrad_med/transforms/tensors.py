"""What Pillow does for pictures, done for images as tensors (…, C, H, W): maps of the plane, colours, and blurring.

The formulas are torchvision's. Values go from 0 to 1 in floats, and from 0 to 255 in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from tinygrad_med import ops
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import from_numpy
from tinygrad_med.dtypes import float32

# Maps of the plane --------------------------------------------------------------------------------------------------


def inverse_affine(
    center: Sequence[float], angle: float, translate: Sequence[float], scale: float, shear: Sequence[float]
) -> list[float]:
    """The six numbers a … f: output (x, y) shows the input at (ax + by + c, dx + ey + f).

    The map forward turns clockwise by `angle`, after shearing by the angles of `shear` (all in degrees) and scaling,
    around `center`, and then moves by `translate`: T · C · R(angle) · shear · scale · C⁻¹.
    """
    turn, sx, sy = (math.radians(v) for v in (angle, *shear))
    a = math.cos(turn - sy) / math.cos(sy)
    b = -math.cos(turn - sy) * math.tan(sx) / math.cos(sy) - math.sin(turn)
    c = math.sin(turn - sy) / math.cos(sy)
    d = -math.sin(turn - sy) * math.tan(sx) / math.cos(sy) + math.cos(turn)
    (cx, cy), (tx, ty) = center, translate
    rows = [(d / scale, -b / scale, cx), (-c / scale, a / scale, cy)]  # the determinant of the turn and shear is 1
    return [v for p, q, middle in rows for v in (p, q, middle - p * (cx + tx) - q * (cy + ty))]


def size_to_hold(matrix: Sequence[float], width: int, height: int) -> tuple[int, int]:
    """(height, width) of the smallest image that cuts nothing off; the matrix is around the middle of the image."""
    corners = numpy.array([[x * width / 2, y * height / 2] for x in (-1, 1) for y in (-1, 1)])
    points = corners @ numpy.array(matrix, "float64").reshape(2, 3)[:, :2].T + numpy.array([width, height]) / 2
    least, most = (numpy.trunc(f(points, axis=0) / 1e-4) * 1e-4 for f in (numpy.min, numpy.max))
    w, h = numpy.ceil(most) - numpy.floor(least)
    return int(h), int(w)


def warped(img: Tensor, matrix: Sequence[float], size: tuple[int, int], mode: str, fill: Any) -> Tensor:
    """An image read through `inverse_affine`, whose matrix is around the middle; what lies outside is `fill`."""
    height, width = img.shape[-2:]
    h, w = size
    x, y = numpy.meshgrid(numpy.arange(w) - (w - 1) / 2, numpy.arange(h) - (h - 1) / 2)
    points = numpy.stack([x, y, numpy.ones_like(x)], -1) @ numpy.array(matrix, "float64").reshape(2, 3).T
    batch = _floats(img).reshape(-1, img.shape[-3] if img.ndim > 2 else 1, height, width)
    grid = from_numpy((points / [width / 2, height / 2]).astype(batch.dtype)).to(batch.device)
    grid = ops.expand(grid, len(batch), h, w, 2)
    found = ops.grid_sample(batch, grid, mode, "zeros", False)
    values = [float(v) for v in (fill if isinstance(fill, Sequence) else [fill or 0])]
    if any(values):
        inside = ops.grid_sample(batch[:, :1] * 0 + 1, grid, mode, "zeros", False)
        outside = from_numpy(numpy.array(values, batch.dtype).reshape(-1, 1, 1)).to(batch.device)
        found = ops.where(inside < 0.5, outside, found) if mode == "nearest" else found + (1 - inside) * outside
    return _like(found.reshape(*img.shape[:-2], h, w), img)


def _floats(img: Tensor) -> Tensor:
    return img if img.is_floating_point() else img.to(float32)


def _like(x: Tensor, img: Tensor) -> Tensor:
    """Numbers in the dtype of an image; those of bytes are rounded."""
    return x if img.is_floating_point() else x.round().to(img.dtype)


# Blurring -----------------------------------------------------------------------------------------------------------


def gaussian_blur(img: Tensor, kernel_size: Sequence[int], sigma: Sequence[float]) -> Tensor:
    """Each pixel a mixture of those around it, by normal distributions; seen in a mirror beyond the edges."""
    batch = _floats(img)
    batch = batch.reshape(-1, 1, *img.shape[-2:])
    kernels = []
    for n, s in zip(kernel_size, sigma, strict=True):
        bell = numpy.exp(-0.5 * ((numpy.arange(n) - (n - 1) / 2) / s) ** 2)
        kernels.append((bell / bell.sum()).astype(batch.dtype))
    columns, rows = kernels  # the sizes are (x, y)
    kernel = from_numpy(numpy.outer(rows, columns)[None, None]).to(batch.device)
    half_x, half_y = (n // 2 for n in kernel_size)
    padded = ops.pad(batch, (half_x, half_x, half_y, half_y), mode="reflect")
    return _like(ops.conv2d(padded, kernel).reshape(*img.shape), img)


# Colours ------------------------------------------------------------------------------------------------------------


def bound(img: Tensor) -> float:
    """The value of white."""
    return 1.0 if img.is_floating_point() else float(numpy.iinfo(img.dtype).max)


def blend(img: Tensor, other: Tensor, factor: float) -> Tensor:
    """`other` for a factor of 0, the image for 1, and further on beyond; cut to what a value can be, not rounded."""
    mixed = factor * _floats(img) + (1 - factor) * _floats(other)
    return mixed.clamp(0, bound(img)).to(img.dtype)


def turned_hue(img: Tensor, factor: float) -> Tensor:
    """The image (…, 3, H, W) of floats with its hues turned; Smith 1978, SIGGRAPH: from RGB to HSV and back."""
    r, g, b = (img[..., c, :, :] for c in range(3))
    value = ops.maximum(ops.maximum(r, g), b)
    chroma = value - ops.minimum(ops.minimum(r, g), b)
    grey = chroma == 0
    saturation = chroma / ops.where(grey, 1.0, value)
    to_r, to_g, to_b = ((value - c) / ops.where(grey, 1.0, chroma) for c in (r, g, b))
    hue = ops.where(value == r, to_b - to_g, ops.where(value == g, 2 + to_r - to_b, 4 + to_g - to_r))
    hue = ops.remainder(hue / 6 + factor, 1.0) * 6
    sector = ops.floor(hue)
    part = hue - sector
    p, q, t = value * (1 - saturation), value * (1 - saturation * part), value * (1 - saturation * (1 - part))
    sector = ops.remainder(sector, 6)
    choices = ((value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q))
    found = []
    for channel in range(3):
        z = choices[5][channel]
        for k in range(5):
            z = ops.where(sector == k, choices[k][channel], z)
        found.append(z.clamp(0, 1))
    return ops.stack(found, -3)
