"""Images in another size.

Bilinear interpolation works on rows and columns separately, each output line being a mixture of input lines. So it is a
matrix on the left and a matrix on the right, and its transpose is the transposed matrices. (An infinity or NaN
therefore reaches its whole row and column: 0 · ∞ is NaN.) Nearest neighbours are an index.
"""

from __future__ import annotations

from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.geometry import Pair
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.indexing import index


@primitive
def resample(xp, x, *, rows, columns):
    """z = R · x · Cᵀ in the last two dims, for matrices R (OH, H) and C (OW, W)

    ∂x: Rᵀ · g · C
    """
    return xp.asarray(rows, dtype=x.dtype) @ x @ xp.asarray(columns, dtype=x.dtype).T


resample.vjp(x=lambda g, rows, columns: resample(g, rows=rows.T, columns=columns.T))


def interpolate(
    x: Tensor,
    size: int | Pair | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Images in another size.

    Args:
        x: (N, C, H, W).
        size: the new (H, W), or one number for both.
        scale_factor: instead of `size`: the new size is ⌊scale_factor · old size⌋.
        mode: `"nearest"`, or `"bilinear"` (pixels are areas: centres lie at half-integers, and beyond the outermost
            centres the image is constant).
        align_corners: only `False`, for `"bilinear"`.

    Returns:
        (N, C, *size).
    """
    if x.ndim != 4:
        raise ValueError(f"interpolate: expects (N, C, H, W), got shape {x.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give one of size and scale_factor")
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"interpolate: mode={mode!r} is unknown; give 'nearest' or 'bilinear'")
    if align_corners:
        raise NotImplementedError("interpolate: align_corners=True is not supported, only False")
    factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor, scale_factor)
    if size is None:
        size = tuple(int(n * factor) for n, factor in zip(x.shape[2:], factors, strict=True))  # type: ignore[assignment]
    height, width = (size, size) if isinstance(size, int) else size  # type: ignore[misc]
    if min(height, width) < 1 or 0 in x.shape[2:]:
        raise ValueError(f"interpolate: from {x.shape[2:]} to ({height}, {width}): every size must be at least 1")
    # Steps in the input per pixel of the output; with scale_factor it is that factor's, though the size was rounded.
    steps = [
        n / out if factor is None else 1 / factor
        for n, out, factor in zip(x.shape[2:], (height, width), factors, strict=True)
    ]
    xp = backend.array_module(x.array)
    axes = zip(x.shape[2:], (height, width), steps, strict=True)
    if mode == "nearest":
        rows, columns = ((xp.arange(out) * step).astype("int64").clip(0, n - 1) for n, out, step in axes)
        return index(x, key=(slice(None), slice(None), rows[:, None], columns))
    rows, columns = (_linear_matrix(xp, n, out, step) for n, out, step in axes)
    return resample(x, rows=rows, columns=columns)


def _linear_matrix(xp: Any, length: int, out: int, step: float) -> Any:
    """(out, length): row i mixes the two inputs between whose centres the centre of output i lies."""
    position = ((xp.arange(out) + 0.5) * step - 0.5).clip(0, length - 1)
    before = position.astype("int64")
    after = (before + 1).clip(0, length - 1)
    share = (position - before)[:, None]
    inputs = xp.arange(length)
    return (1 - share) * (inputs == before[:, None]) + share * (inputs == after[:, None])
