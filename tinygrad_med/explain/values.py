"""From an array to what a trace keeps of it: all numbers of a small one; of a large one a summary and a picture."""

from __future__ import annotations

import math
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.explain.trace import SMALL, Picture, Summary, Values

CELLS = 28
"""The longest side of a picture. An image of 224 pixels, and each of ResNet's feature maps, divides into it evenly."""


def values_of(array: Any, cells: int = CELLS, image: bool = False) -> Values:
    """What is kept of an array or a tensor.

    Args:
        array: of any library.
        cells: the longest side of its picture.
        image: whether it may be an image; a gradient is none, though it has the shape of one.
    """
    a = numpy.asarray(backend.to_numpy(array.array if isinstance(array, Tensor) else array))
    if a.size > SMALL:
        return Values(list(a.shape), str(a.dtype), None, _summary(a), _picture(a, cells, image))
    numbers = shortest(a)
    return Values(list(a.shape), str(a.dtype), numbers, _summary_of_few(numbers), None)


def shortest(a: Any) -> list[Any]:
    """The elements as Python numbers, floats with just the digits that tell them from their neighbours."""
    flat = numpy.asarray(a).reshape(-1)
    if flat.dtype.kind == "f" and flat.dtype.itemsize < 8:
        return [float(str(v)) for v in flat]
    return flat.tolist()


def _summary_of_few(numbers: list[Any]) -> Summary:
    finite = [float(v) for v in numbers if math.isfinite(v)]
    if not finite:
        return Summary(None, None, None, None, 0.0, 0.0, 1.0 if numbers else 0.0)
    n = len(finite)
    mean = math.fsum(finite) / n
    std = math.hypot(*[v - mean for v in finite]) / math.sqrt(n)
    zeros = sum(v == 0 for v in finite) / len(numbers)
    return Summary(min(finite), max(finite), mean, std, math.hypot(*finite), zeros, 1 - n / len(numbers))


def _summary(a: Any) -> Summary:
    zeros = 1 - numpy.count_nonzero(a) / a.size
    if a.dtype.kind == "f":
        finite = numpy.isfinite(a)
        if not finite.all():
            a, size = a[finite], a.size
            if not a.size:
                return Summary(None, None, None, None, 0.0, 0.0, 1.0)
            return _of_finite(a, zeros, 1 - a.size / size)
    return _of_finite(a, zeros, 0.0)


def _of_finite(a: Any, zeros: float, nonfinite: float) -> Summary:
    largest = max(abs(float(a.min())), abs(float(a.max()))) or 1.0
    scaled = a.reshape(-1).astype("float64") / largest  # so that no square overflows
    mean = float(scaled.mean())
    squares = float(scaled @ scaled)
    std = math.sqrt(max(squares / a.size - mean * mean, 0.0))
    norm = math.sqrt(squares) * largest
    low, high = float(a.min()), float(a.max())
    return Summary(low, high, mean * largest, std * largest, norm, float(zeros), float(nonfinite))


def _picture(a: Any, cells: int, image: bool) -> Picture:
    parts = []
    spatial = a.ndim >= 2 and min(a.shape[-2:]) > 3 and (a.ndim == 2 or a.shape[-1] < 8 * a.shape[-2])
    if a.ndim > 2 and not spatial:
        a = a.reshape(len(a), -1)  # the weights of a convolution: one row per output channel
        parts.append("dims after the first in one row")
    image = image and spatial and a.ndim <= 4 and (a.ndim == 2 or a.shape[-3] in (1, 3) or a.ndim == 3)
    for dim in range(a.ndim - 3):
        a = a[0]
        parts.append(f"element 0 of dim {dim}")
    if a.ndim == 3:
        dim = len(parts)
        with numpy.errstate(all="ignore"):
            a = a.astype("float64").mean(0)
        parts.append(f"mean over dim {dim}")
    a = a.reshape(1, -1) if a.ndim < 2 else a
    with numpy.errstate(all="ignore"):
        small = _means(_means(a.astype("float64"), cells).T, cells).T
    numbers = [float(f"{v:.3g}") for v in small.reshape(-1)]
    rows, columns = small.shape
    return Picture(rows, columns, numbers, image, ", ".join(parts))


def _means(a: Any, cells: int) -> Any:
    """The rows of a, in at most so many groups of neighbours, by their means."""
    n = len(a)
    if n <= cells:
        return a
    starts = numpy.arange(cells) * n // cells
    return numpy.add.reduceat(a, starts, 0) / numpy.diff([*starts, n])[:, None]
