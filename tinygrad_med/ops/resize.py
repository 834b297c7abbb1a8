"""Images in another size, over one, two or three spatial dims.

Interpolation works on each spatial dim separately, and there each place of the output is a mixture of places of the
input. So it is a matrix for each dim (`resample`), and its transpose is the transposed matrices. (An infinity or NaN
therefore reaches its whole row and column: 0 · ∞ is NaN.) The nearest neighbours are an index.

Where a place of the output lies in the input is a fraction, and is computed as one: in floating point
⌊41 · (2 / 82)⌋ is 0, not 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from tinygrad_med import backend
from tinygrad_med.backend.geometry import Ints
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.indexing import index

__all__ = ["interpolate"]


@primitive(single=True)
def resample(xp, x, *, matrices):
    """z[…,o,p] = Σ A[o,i] · B[p,j] · x[…,i,j], a matrix for each of the last dims: A (OH, H), B (OW, W)

    ∂x: g resampled with the transposed matrices
    """
    z = x
    for axis, matrix in zip(range(-len(matrices), 0), matrices, strict=True):
        matrix = xp.asarray(matrix, dtype=x.dtype)
        z = z @ matrix.T if axis == -1 else (matrix @ z.swapaxes(axis, -2)).swapaxes(axis, -2)
    return z


resample.vjp(x=lambda g, matrices: resample(g, matrices=tuple(matrix.T for matrix in matrices)))


MODES: dict[str, tuple[int, ...]] = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3)}
MODES |= {"linear": (1,), "bilinear": (2,), "bicubic": (2,), "trilinear": (3,)}  # the spatial dims that they work on
CUBIC = -0.75  # the slope of the cubic's outer pieces, that of PyTorch and OpenCV


def interpolate(
    x: Tensor,
    size: Ints | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images in another size.

    Args:
        x: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        size: the new spatial sizes, or one number for all.
        scale_factor: instead of `size`: a new size is ⌊scale_factor · old size⌋. The places of the output are then
            1 / scale_factor apart in the input, whatever the rounding did to the size.
        mode: `"nearest"` (the input at ⌊o · step⌋), `"nearest-exact"` (at ⌊(o + ½) · step⌋), `"area"` (the mean of the
            pixels, as `adaptive_avg_pool2d` has it), `"linear"` in one dim, `"bilinear"` or `"bicubic"` (Keys's
            piecewise cubic with a = −¾) in two, `"trilinear"` in three.
        align_corners: for the modes with "linear" or "cubic": whether the centres of the outermost pixels keep their
            place. Otherwise pixels are areas whose centres lie at half-integers, and beyond the outermost centres the
            image is constant.
        recompute_scale_factor: take the distance of the places from the sizes, though `scale_factor` is given.
        antialias: for `"bilinear"` and `"bicubic"`: where the image shrinks, let an output mix all pixels that fall
            together, as Pillow does, by a filter that is wider by the same factor; the cubic is then that with a = −½.

    Returns:
        (N, C, *size). As in PyTorch a `scale_factor` that changes no size changes nothing in the linear modes and, in
        two dims, in `"nearest"`, which there also repeats each pixel where the size doubles. Where PyTorch's
        `"nearest"` differs, it has rounded.
    """
    spatial = tuple(x.shape[2:])
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"interpolate: expects (N, C, L), (N, C, H, W) or (N, C, D, H, W), got shape {x.shape}")
    if mode not in MODES:
        raise ValueError(f"interpolate: mode={mode!r} is unknown; give one of {', '.join(map(repr, MODES))}")
    if len(spatial) not in MODES[mode]:
        expected = f"{MODES[mode][0]} spatial dims, x of {MODES[mode][0] + 2} dims"
        hint = "; add the batch dim with x.unsqueeze(0)" if MODES[mode] == (len(spatial) + 1,) else ""
        raise ValueError(f"interpolate: mode={mode!r} works on {expected}, got shape {x.shape}{hint}")
    if align_corners is not None and ("nearest" in mode or mode == "area"):
        raise ValueError(f"interpolate: align_corners says nothing to mode={mode!r}; leave it out")
    if antialias and mode not in FILTERS:
        raise ValueError(f"interpolate: antialias=True goes with {' or '.join(map(repr, FILTERS))}, not {mode!r}")
    axes = _axes(spatial, size, scale_factor, bool(recompute_scale_factor))
    xp = backend.array_module(getattr(x, "array", x))
    if "nearest" in mode:
        if mode == "nearest" and len(axes) == 2:  # as PyTorch has it, in two dims only
            axes = [
                a._replace(step=Fraction(a.length, a.out)) if a.out in (a.length, 2 * a.length) else a for a in axes
            ]
        half = Fraction(1, 2) if mode == "nearest-exact" else Fraction(0)
        shapes = [(-1,) + (1,) * i for i in reversed(range(len(axes)))]
        places = (xp.asarray(_nearest(axis, half)).reshape(s) for axis, s in zip(axes, shapes, strict=True))
        return index(x, key=(slice(None), slice(None), *places))
    if mode == "area":
        return resample(x, matrices=tuple(mean_matrix(xp, axis.length, axis.out) for axis in axes))
    mixture: Any = _cubic if mode == "bicubic" else _linear
    if antialias:
        mixture = functools.partial(_filtered, mode)
    return resample(x, matrices=tuple(_matrix(xp, axis.length, *mixture(axis, bool(align_corners))) for axis in axes))


class _Axis(NamedTuple):
    """One spatial dim: its length, that of the result, and how far apart places of the result are in the input."""

    length: int
    out: int
    step: Fraction

    def whole(self) -> _Axis:
        """The same with the distance that follows from the lengths."""
        return self._replace(step=Fraction(self.length, self.out))

    def place(self, o: int, align_corners: bool) -> Fraction:
        """Where the centre of output o lies, the centre of the first input being 0."""
        if align_corners:
            return Fraction(o * (self.length - 1), max(1, self.out - 1))
        return (o + Fraction(1, 2)) * self.step - Fraction(1, 2)


def _axes(spatial: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool) -> list[_Axis]:
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give one of size and scale_factor")
    if size is not None and recompute:
        raise ValueError("interpolate: recompute_scale_factor means nothing without scale_factor")
    given = scale_factor if size is None else size
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * len(spatial)
    if len(values) != len(spatial):
        what = "scale_factor" if size is None else "size"
        raise ValueError(f"interpolate: {what}={given!r} must be one number, or one for each of {len(spatial)} dims")
    if size is None and not all(0 < factor < math.inf for factor in values):
        raise ValueError(f"interpolate: scale_factor={given!r} must be positive")
    out = tuple(int(n * v) for n, v in zip(spatial, values, strict=True)) if size is None else tuple(map(int, values))
    if min(out) < 1 or 0 in spatial:
        raise ValueError(f"interpolate: from {spatial} to {out}: every size must be at least 1")
    if size is None and not recompute:
        return [_Axis(n, o, 1 / _meant(factor)) for n, o, factor in zip(spatial, out, values, strict=True)]
    return [_Axis(n, o, Fraction(n, o)) for n, o in zip(spatial, out, strict=True)]


def _meant(number: float) -> Fraction:
    """The simplest fraction that rounds to the number: 6/5 for 1.2, which itself is a little smaller."""
    exact = Fraction(number)
    simple = exact.limit_denominator(1 << 20)
    return simple if float(simple) == float(number) else exact


# Places and shares, which depend on sizes only; computed once for each ------------------------------------------------


@functools.lru_cache(256)
def _nearest(axis: _Axis, half: Fraction) -> list[int]:
    """For each output the input that is nearest."""
    return [min(int((o + half) * axis.step), axis.length - 1) for o in range(axis.out)]


Mixture = tuple[list[list[int]], list[list[float]]]  # for each output the inputs that it mixes, and their shares


@functools.lru_cache(256)
def _linear(axis: _Axis, align_corners: bool) -> Mixture:
    """The two inputs between whose centres an output's centre lies."""
    inputs, shares = [], []
    for o in range(axis.out):
        place = o if axis.out == axis.length else max(Fraction(0), axis.place(o, align_corners))
        before = min(int(place), axis.length - 1)
        inputs.append([before, min(before + 1, axis.length - 1)])
        shares.append([float(1 - (place - before)), float(place - before)])
    return inputs, shares


@functools.lru_cache(256)
def _cubic(axis: _Axis, align_corners: bool) -> Mixture:
    """The four inputs around an output's centre (Keys 1981), the outermost pixels being repeated outwards."""
    inputs, shares = [], []
    for o in range(axis.out):
        place = axis.place(o, align_corners)
        before, t = math.floor(place), float(place - math.floor(place))
        inputs.append([min(max(before + k, 0), axis.length - 1) for k in (-1, 0, 1, 2)])
        shares.append([_outer(1 + t), _inner(t), _inner(1 - t), _outer(2 - t)])
    return inputs, shares


def _inner(d: float, a: float = CUBIC) -> float:
    return ((a + 2) * d - (a + 3)) * d * d + 1


def _outer(d: float, a: float = CUBIC) -> float:
    return ((d - 5) * d + 8) * d * a - 4 * a


def _triangle(d: float) -> float:
    return max(0.0, 1 - d)


def _pillows_cubic(d: float) -> float:
    return _inner(d, -0.5) if d < 1 else _outer(d, -0.5) if d < 2 else 0.0


FILTERS = {"bilinear": (_triangle, 1), "bicubic": (_pillows_cubic, 2)}
"""By mode the filter for `antialias`, a function of the distance, and where it ends."""


@functools.lru_cache(256)
def _filtered(mode: str, axis: _Axis, align_corners: bool) -> Mixture:
    """All inputs below the filter around an output's centre, which is widened where the image shrinks."""
    shape, end = FILTERS[mode]
    step = (
        Fraction(axis.length - 1, axis.out - 1) if align_corners and axis.out > 1 else axis.step * (not align_corners)
    )
    width = max(Fraction(1), step)
    inputs, shares = [], []
    for o in range(axis.out):
        centre = (o + Fraction(1, 2)) * step  # measured from the edge of the image
        first = max(math.floor(centre - end * width + Fraction(1, 2)), 0)
        last = min(math.floor(centre + end * width + Fraction(1, 2)), axis.length)
        weights = [shape(float(abs(i - centre + Fraction(1, 2)) / width)) for i in range(first, last)]
        inputs.append(list(range(first, last)))
        shares.append([w / sum(weights) for w in weights])
    longest = max(map(len, inputs))
    for row, weights in zip(inputs, shares, strict=True):
        weights += [0.0] * (longest - len(row))
        row += row[:1] * (longest - len(row))
    return inputs, shares


def _matrix(xp: Any, length: int, inputs: list[list[int]], shares: list[list[float]]) -> Any:
    """(out, length): the shares at their inputs; where an output mixes one input twice, both count."""
    at, weights = xp.asarray(inputs), xp.asarray(shares)
    columns = xp.arange(length)
    terms = (weights[:, k, None] * (columns == at[:, k, None]) for k in range(at.shape[1]))
    return functools.reduce(lambda a, b: a + b, terms)


def spans(length: int, count: int) -> list[tuple[int, int]]:
    """The `count` windows that cover one dim evenly: window i goes from ⌊i · length / count⌋ to the next one's end."""
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def mean_matrix(xp: Any, length: int, count: int) -> Any:
    """(count, length): row i has 1 / n in the n columns of window i."""
    start, stop = xp.asarray(spans(length, count)).T[:, :, None]
    columns = xp.arange(length)
    return ((columns >= start) & (columns < stop)) / (stop - start)
