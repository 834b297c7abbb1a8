"""Hypothesis strategies for tests of operations: shapes, dims, windows, and arrays in every condition.

    from hypothesis import given
    from tinygrad_med.testing import check_op, strategies as st

    @given(st.arrays(st.shapes(), away_from=(-1, 1)))
    def test_huber(x):
        check_op(huber, x)

Shapes shrink to few and short dims. The numbers of an array come from one drawn seed, so that a large array costs no
more to draw than a small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from tinygrad_med.dtypes import DTYPES
from tinygrad_med.testing.layouts import LAYOUTS, laid_out

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hypothesis_numpy
except ImportError:
    raise ImportError(
        "tinygrad_med.testing.strategies needs hypothesis, which comes with the test extra: "
        'pip install "tinygrad_med[test]"'
    ) from None

Shape = tuple[int, ...]
Strategy = st.SearchStrategy


class Call(NamedTuple):
    """The arguments of one call of an operation: the operands, and the constants by name."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def calls(*operands: Any, **constants: Any) -> Strategy[Call]:
    """Calls whose operands and constants are drawn one by one; what is not a strategy is given as it is."""
    args = [_as_strategy(x) for x in operands]
    kwargs = {name: _as_strategy(c) for name, c in constants.items()}
    return st.builds(Call, st.tuples(*args), st.fixed_dictionaries(kwargs))


def _as_strategy(x: Any) -> Strategy[Any]:
    return x if isinstance(x, Strategy) else st.just(x)


# Shapes and dims ----------------------------------------------------------------------------------------------------


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4) -> Strategy[Shape]:
    """Shapes of `min_dims` to `max_dims` dims; with `min_side=0` also those of empty tensors."""
    return st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


def broadcastable_shapes(
    count: int = 2, min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4
) -> Strategy[tuple[Shape, ...]]:
    """So many shapes that broadcast with each other: dims of length 1 and missing dims come up often."""
    mutually = hypothesis_numpy.mutually_broadcastable_shapes(
        num_shapes=count, min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side
    )
    return mutually.map(lambda found: tuple(found.input_shapes))


def dims(shape: Sequence[int]) -> Strategy[int]:
    """A dim of `shape`, counted from the front or from the back; 0 or −1 for a 0-d shape."""
    count = max(len(shape), 1)
    return st.integers(-count, count - 1)


def several_dims(shape: Sequence[int], min_size: int = 1) -> Strategy[tuple[int, ...]]:
    """Different dims of `shape`, in any order, each counted from the front or from the back."""
    count = len(shape)

    @st.composite
    def draw_dims(draw: Any) -> tuple[int, ...]:
        order = draw(st.permutations(range(count)))
        chosen = order[: draw(st.integers(min(min_size, count), count))]
        return tuple(d - count if draw(st.booleans()) else d for d in chosen)

    return draw_dims()


# Windows ------------------------------------------------------------------------------------------------------------


class Convolution(NamedTuple):
    """A legal geometry of a convolution.

    Attributes:
        x_shape: (N, C, L₁, …).
        weight_shape: (K, C / groups, k₁, …).
        stride, padding, dilation: per spatial dim.
        groups: divides C and K.
        out_shape: (N, K, …), the shape of the result.
    """

    x_shape: Shape
    weight_shape: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int
    out_shape: Shape

    @property
    def constants(self) -> dict[str, Any]:
        """What a convolution takes besides its operands."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


class Pooling(NamedTuple):
    """A legal geometry of a pooling.

    Attributes:
        x_shape: (N, C, L₁, …).
        kernel_size, stride, padding, dilation: per spatial dim; the padding is at most half the kernel.
        out_shape: (N, C, …), the shape of the result.
    """

    x_shape: Shape
    kernel_size: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    out_shape: Shape

    @property
    def constants(self) -> dict[str, Any]:
        """What a pooling takes besides its operand."""
        return {name: getattr(self, name) for name in ("kernel_size", "stride", "padding", "dilation")}


class _Window(NamedTuple):
    """One spatial dim: `out` windows of `kernel` taps over `length` elements."""

    length: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    out: int


def _windows(max_kernel: int, max_out: int, dilated: bool, pooling: bool) -> Strategy[_Window]:
    @st.composite
    def draw_window(draw: Any) -> _Window:
        kernel, stride = draw(st.integers(1, max_kernel)), draw(st.integers(1, 3))
        dilation = draw(st.integers(1, 2)) if dilated else 1
        padding = draw(st.integers(0, kernel // 2 if pooling else kernel))
        extent = dilation * (kernel - 1) + 1
        # Elements after the last window, which no window reads, are legal too.
        length = extent + stride * (draw(st.integers(1, max_out)) - 1) + draw(st.integers(0, stride - 1))
        if not (pooling and dilation > 1):  # there every tap of a window over fewer elements could lie in the padding
            length = max(length - 2 * padding, 1)
        out = (length + 2 * padding - extent) // stride + 1
        return _Window(length, kernel, stride, padding, dilation, out)

    return draw_window()


def convolutions(
    spatial_dims: int = 2, max_channels: int = 2, max_groups: int = 2, max_kernel: int = 3, max_out: int = 3
) -> Strategy[Convolution]:
    """Legal geometries of convolutions, with stride, padding, dilation and groups.

    Args:
        spatial_dims: 1, 2 or 3.
        max_channels: of one group, in and out.
        max_groups, max_kernel, max_out: the most groups, taps and results per spatial dim.
    """
    window = _windows(max_kernel, max_out, dilated=True, pooling=False)

    @st.composite
    def draw_convolution(draw: Any) -> Convolution:
        n, groups = draw(st.integers(1, 2)), draw(st.integers(1, max_groups))
        c, k = (groups * draw(st.integers(1, max_channels)) for _ in range(2))
        length, kernel, stride, padding, dilation, out = zip(*(draw(window) for _ in range(spatial_dims)), strict=True)
        weight_shape = (k, c // groups, *kernel)
        return Convolution((n, c, *length), weight_shape, stride, padding, dilation, groups, (n, k, *out))

    return draw_convolution()


def poolings(
    spatial_dims: int = 2, max_channels: int = 2, max_kernel: int = 3, max_out: int = 3, dilated: bool = True
) -> Strategy[Pooling]:
    """Legal geometries of poolings; with `dilated=False` (for average pooling) the dilation is 1.

    Every window reads at least one element that is not padding.
    """
    window = _windows(max_kernel, max_out, dilated, pooling=True)

    @st.composite
    def draw_pooling(draw: Any) -> Pooling:
        n, c = draw(st.integers(1, 2)), draw(st.integers(1, max_channels))
        length, kernel, stride, padding, dilation, out = zip(*(draw(window) for _ in range(spatial_dims)), strict=True)
        return Pooling((n, c, *length), kernel, stride, padding, dilation, (n, c, *out))

    return draw_pooling()


# Arrays -------------------------------------------------------------------------------------------------------------


def dtypes(kinds: str = "f") -> Strategy[numpy.dtype]:
    """The package's dtypes of the kinds in `kinds`: `f` floats, `i` signed and `u` unsigned integers, `b` bool."""
    found = [dtype for dtype in DTYPES if dtype.kind in kinds]
    if not found:
        raise ValueError(f"dtypes: no dtype is of the kinds {kinds!r}; choose among the letters f, i, u and b")
    return st.sampled_from(found)


def layouts() -> Strategy[str]:
    """The names of memory layouts, for `tinygrad_med.testing.laid_out`."""
    return st.sampled_from(LAYOUTS)


def arrays(
    shape: Any = None,
    dtype: Any = "float64",
    *,
    low: float = -3.0,
    high: float = 3.0,
    away_from: Sequence[float] = (),
    margin: float = 0.1,
    distinct: bool = False,
    extreme: bool = False,
    layout: Any = None,
) -> Strategy[numpy.ndarray]:
    """Arrays of random numbers.

    Args:
        shape: a shape, or a strategy of shapes; by default any small one, also 0-d.
        dtype: a dtype, or a strategy of dtypes; integers and bools are drawn uniformly.
        low, high: the numbers lie between them.
        away_from: points from which every number keeps a distance of `margin`: kinks, poles, ends of a domain.
        margin: that distance, and with `distinct` the smallest between two numbers.
        distinct: no two numbers of the array are closer than `margin` (the range grows as needed), so that small steps
            don't change which one is the largest; not with `away_from`.
        extreme: scale each array by a power of ten between 1e-4 and 1e4; not with `away_from`.
        layout: a memory layout, or a strategy of them; by default all of them.

    Raises:
        ValueError: if no number between `low` and `high` is as far from `away_from` as `margin`.
    """
    excluded = [(start, end) for start, end in _merged(away_from, margin) if start < high and end > low]
    if low > high or (excluded and _free_length(low, high, excluded) <= 0):
        raise ValueError(f"arrays: no number between {low} and {high} keeps {margin} away from {tuple(away_from)}")
    if away_from and (extreme or distinct):
        raise ValueError("arrays: away_from can't be held with extreme=True or distinct=True, which move the numbers")

    lengths = shapes() if shape is None else _as_strategy(shape)
    layout = layouts() if layout is None else _as_strategy(layout)
    return _draw_array(lengths, _as_strategy(dtype), layout, low, high, margin if distinct else None, excluded, extreme)


@st.composite
def _draw_array(
    draw: Any,
    shape: Strategy[Shape],
    dtype: Strategy[Any],
    layout: Strategy[Any],
    low: float,
    high: float,
    apart: float | None,
    excluded: list[tuple[float, float]],
    extreme: bool,
) -> numpy.ndarray:
    """What `arrays` describes. Not inside of it: hypothesis reads the source of a composite function anew each time."""
    lengths, kind = draw(shape), numpy.dtype(draw(dtype))
    rng = numpy.random.default_rng(draw(st.integers(0, 2**20)))
    if kind.kind == "f":
        numbers = rng.uniform(low, high, lengths) if apart is None else _distinct(rng, lengths, low, high, apart)
        numbers = numpy.asarray(_avoid(numbers, low, high, excluded) if excluded else numbers)
        numbers = numbers * 10.0 ** draw(st.integers(-4, 4)) if extreme else numbers
    else:
        first, last = (0, 1) if kind.kind == "b" else (int(max(low, 0)) if kind.kind == "u" else int(low), int(high))
        numbers = rng.integers(first, last, lengths, endpoint=True)
    return laid_out(numpy.asarray(numbers).astype(kind), draw(layout))


def _merged(points: Sequence[float], margin: float) -> list[tuple[float, float]]:
    """The intervals of `margin` around the points, in order, overlapping ones run together."""
    merged: list[tuple[float, float]] = []
    for point in sorted(points):
        start, end = point - margin, point + margin
        if merged and start <= merged[-1][1]:
            start = merged.pop()[0]
        merged.append((start, end))
    return merged


def _free_length(low: float, high: float, excluded: list[tuple[float, float]]) -> float:
    return high - low - sum(max(0.0, min(end, high) - max(start, low)) for start, end in excluded)


def _avoid(numbers: Any, low: float, high: float, excluded: list[tuple[float, float]]) -> Any:
    """Numbers of [low, high], squeezed into what the excluded intervals leave of it; their order stays."""
    numbers = low + (numbers - low) * (_free_length(low, high, excluded) / (high - low))
    for start, end in excluded:
        if end > low and start < high:
            numbers = numpy.where(numbers >= max(start, low), numbers + (min(end, high) - max(start, low)), numbers)
    return numbers


def _distinct(rng: numpy.random.Generator, shape: Shape, low: float, high: float, margin: float) -> Any:
    """A random order of numbers at least `margin` apart, around the middle of [low, high]."""
    count = int(numpy.prod(shape))
    spacing = max((high - low) / max(count, 1), 2 * margin)
    grid = (numpy.arange(count) - (count - 1) / 2) * spacing + rng.uniform(-0.25, 0.25, count) * spacing
    return rng.permutation((low + high) / 2 + grid).reshape(shape)
