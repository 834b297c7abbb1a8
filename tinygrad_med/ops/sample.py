"""Images read at places of one's own: what a spatial transformer or a registration does.

A place between pixels is a mixture of its neighbours, so this is an index and a few products; every derivative, also
with respect to the places, follows from theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.elementwise import abs, clamp, remainder, where
from tinygrad_med.ops.indexing import index
from tinygrad_med.ops.matmul import matmul
from tinygrad_med.ops.shape import _reshape, permute, transpose

__all__ = ["affine_grid", "grid_sample"]


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The places that an affine map gives to the pixels of an image, for `grid_sample`.

    Args:
        theta: (N, 2, 3), or (N, 3, 4) for volumes: place = theta · (x, y (, z), 1), of coordinates from −1 to 1.
        size: of the images to be: (N, C, OH, OW), or (N, C, OD, OH, OW).
        align_corners: as for `grid_sample`.

    Returns:
        (N, OH, OW, 2), or (N, OD, OH, OW, 3).
    """
    size = tuple(map(int, size))
    axes = len(size) - 2
    if axes not in (2, 3) or theta.ndim != 3 or tuple(theta.shape) != (size[0], axes, axes + 1):
        raise ValueError(
            "affine_grid: expects theta (N, 2, 3) with a size (N, C, H, W), or (N, 3, 4) with (N, C, D, H, W), got "
            f"{theta.shape} and {size}"
        )
    if theta.dtype.kind != "f" or min(size) < 1:
        raise ValueError(f"affine_grid: expects a theta of floats and sizes of 1 or more, got {theta.dtype} and {size}")
    xp = backend.array_module(getattr(theta, "array", theta))
    along = []
    for n in size[2:]:
        centres = (2 * xp.arange(n) + 1) / n - 1
        along.append(2 * xp.arange(n) / max(1, n - 1) - (n > 1) if align_corners else centres)
    places = xp.meshgrid(*along, indexing="ij")[::-1]
    points = xp.stack([*places, xp.ones(size[2:])], -1).astype(theta.dtype)  # (OH, OW, 3)
    grid = matmul(points.reshape(-1, axes + 1), transpose(theta, 1, 2))
    return _reshape(grid, shape=(size[0], *size[2:], axes))


SIDES: dict[str, tuple[int | None, ...]] = {"bilinear": (0, 1), "nearest": (None,), "bicubic": (-1, 0, 1, 2)}
"""The neighbours that count along a dim, from the pixel before a place; `None` for the nearest one."""


def _inside(place: Tensor, n: int, padding_mode: str, align_corners: bool | None) -> Tensor:
    """Places brought back among n pixels."""
    if padding_mode == "zeros":
        return place
    if padding_mode == "reflection":
        first, length = (0.0, n - 1) if align_corners else (-0.5, n)
        if not length:
            return place * 0
        distance = remainder(abs(place - first), 2 * length)
        place = where(distance > length, 2 * length - distance, distance) + first
    return clamp(place, 0, n - 1)


def _cubic(t: Tensor, side: int) -> Tensor:
    """The share of a neighbour at a distance of t, as in `interpolate`."""
    t = abs(t)
    if side in (0, 1):
        return (1.25 * t - 2.25) * t * t + 1
    return ((-0.75 * t + 3.75) * t - 6) * t + 3


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The numbers of images at the places of a grid (Jaderberg et al. 2015, arXiv:1506.02025).

    Args:
        input: (N, C, H, W), or volumes (N, C, D, H, W).
        grid: (N, OH, OW, 2), or (N, OD, OH, OW, 3): for each output the place x, y (, z), from −1 to 1.
        mode: `"bilinear"` (also for volumes), `"bicubic"` (for images alone, Keys 1981 with a = −0.75), or `"nearest"`,
            through which no gradient flows to the grid.
        padding_mode: what lies outside: `"zeros"`, with `"border"` the outermost pixels, or with `"reflection"` the
            image seen in a mirror at its edge.
        align_corners: whether ±1 are the centres of the outermost pixels, and not their outer edges.

    Returns:
        (N, C, OH, OW), or (N, C, OD, OH, OW).
    """
    axes = input.ndim - 2
    if axes not in (2, 3) or grid.ndim != input.ndim or grid.shape[-1] != axes or len(grid) != len(input):
        raise ValueError(
            "grid_sample: expects (N, C, H, W) with a grid (N, OH, OW, 2), or (N, C, D, H, W) with (N, OD, OH, OW, 3), "
            f"got {input.shape} and {grid.shape}"
        )
    if mode not in SIDES or (mode == "bicubic" and axes == 3):
        raise ValueError(f"grid_sample: mode={mode!r} is not 'bilinear', 'nearest' or, for images alone, 'bicubic'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"grid_sample: padding_mode={padding_mode!r} is unknown; give 'zeros', 'border', 'reflection'")
    if 0 in input.shape[2:]:
        raise ValueError(f"grid_sample: the images have no pixels, {input.shape}")
    xp = backend.array_module(input.array)
    places = []
    for axis, n in enumerate(input.shape[2:]):
        g = grid[..., axes - 1 - axis]  # x, the first number, is the place in the last dim
        place = (g + 1) * ((n - 1) / 2) if align_corners else ((g + 1) * n - 1) / 2
        places.append(place if mode == "bicubic" else _inside(place, n, padding_mode, align_corners))

    images = xp.arange(len(input)).reshape((-1,) + (1,) * axes)
    total: Any = 0
    for corner in itertools.product(SIDES[mode], repeat=axes):
        cells: list[Any] = []
        inside: Any = True
        share: Any = None
        for place, side, n in zip(places, corner, input.shape[2:], strict=True):
            p = place.array
            cell = xp.rint(p) if side is None else xp.floor(p) + side
            if side is not None:
                linear = place - (cell - 1) if side == 1 else (cell + 1) - place
                along = _cubic(place - cell, side) if mode == "bicubic" else linear
                share = along if share is None else share * along
            if mode == "bicubic":  # whose neighbours may lie outside where the place does not
                cell = _inside(Tensor(cell), n, padding_mode, align_corners).array
            inside = inside & (cell >= 0) & (cell < n)
            cells.append(xp.nan_to_num(cell).clip(0, n - 1).astype("int64"))
        values = index(input, key=(images, slice(None), *cells))  # (N, OH, OW, C)
        weight = Tensor(inside.astype(input.array.dtype))
        weight = weight if share is None else share * weight
        total = total + values * weight.reshape(*weight.shape, 1)
    return permute(total, 0, axes + 1, *range(1, axes + 1))
