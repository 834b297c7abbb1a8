"""Images read at places of one's own: what a spatial transformer or a registration does.

A place between pixels is a mixture of its neighbours, so this is an index and a few products; every derivative, also
with respect to the places, follows from theirs.
"""

from __future__ import annotations

import itertools
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.elementwise import clamp
from tinygrad_med.ops.indexing import index
from tinygrad_med.ops.shape import permute

__all__ = ["grid_sample"]


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
        mode: `"bilinear"` (also for volumes), or `"nearest"`, through which no gradient flows to the grid.
        padding_mode: what lies outside: `"zeros"`, or with `"border"` the outermost pixels.
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
    if mode not in ("bilinear", "nearest"):
        raise NotImplementedError(f"grid_sample: mode={mode!r} is not supported; give 'bilinear' or 'nearest'")
    if padding_mode not in ("zeros", "border"):
        raise NotImplementedError(
            f"grid_sample: padding_mode={padding_mode!r} is not supported, 'zeros' or 'border' is"
        )
    if 0 in input.shape[2:]:
        raise ValueError(f"grid_sample: the images have no pixels, {input.shape}")
    xp = backend.array_module(input.array)
    places = []
    for axis, n in enumerate(input.shape[2:]):
        g = grid[..., axes - 1 - axis]  # x, the first number, is the place in the last dim
        place = (g + 1) * ((n - 1) / 2) if align_corners else ((g + 1) * n - 1) / 2
        places.append(clamp(place, 0, n - 1) if padding_mode == "border" else place)

    images = xp.arange(len(input)).reshape((-1,) + (1,) * axes)
    total: Any = 0
    for corner in itertools.product((0, 1) if mode == "bilinear" else (None,), repeat=axes):
        cells: list[Any] = []
        inside: Any = True
        share: Any = None
        for place, side, n in zip(places, corner, input.shape[2:], strict=True):
            p = place.array
            cell = xp.rint(p) if side is None else xp.floor(p) + side
            inside = inside & (cell >= 0) & (cell < n)
            cells.append(xp.nan_to_num(cell).clip(0, n - 1).astype("int64"))
            if side is not None:
                along = place - (cell - 1) if side else (cell + 1) - place
                share = along if share is None else share * along
        values = index(input, key=(images, slice(None), *cells))  # (N, OH, OW, C)
        weight = Tensor(inside.astype(input.array.dtype))
        weight = weight if share is None else share * weight
        total = total + values * weight.reshape(*weight.shape, 1)
    return permute(total, 0, axes + 1, *range(1, axes + 1))
