"""The ways in which the same numbers can lie in memory."""

from __future__ import annotations

from typing import Any

import numpy


def copied(array: Any) -> numpy.ndarray:
    """The numbers of `array` in memory of their own, with the strides that they have: also 0 and negative ones."""
    array = numpy.asarray(array)
    low, high = numpy.lib.array_utils.byte_bounds(array)
    block = numpy.empty(high - low, "uint8")
    start = array.__array_interface__["data"][0] - low
    view: numpy.ndarray = numpy.ndarray(array.shape, array.dtype, block, start, array.strides)
    view[...] = array
    return view


LAYOUTS = ("contiguous", "transposed", "strided", "reversed", "offset")
"""Every layout that `laid_out` knows."""


def laid_out(array: Any, layout: str) -> numpy.ndarray:
    """The numbers of `array` in memory of their own, laid out as `layout` says.

    Args:
        array: any NumPy array.
        layout: `"contiguous"`; `"transposed"`, the first dim varies fastest; `"strided"`, every second element of a
            larger block; `"reversed"`, negative strides; or `"offset"`, a block that starts in the middle of another.
    """
    array = numpy.asarray(array)
    if layout == "contiguous" or not array.ndim:
        return numpy.array(array, order="C")
    if layout == "transposed":
        return numpy.array(array, order="F")
    if layout == "strided":
        wide: Any = numpy.full([2 * n for n in array.shape], 99, array.dtype)
        view = wide[(slice(None, None, 2),) * array.ndim]
    elif layout == "reversed":
        view = numpy.empty(array.shape, array.dtype)[(slice(None, None, -1),) * array.ndim]
    elif layout == "offset":
        wide = numpy.full([n + 2 for n in array.shape], 99, array.dtype)
        view = wide[(slice(1, -1),) * array.ndim]
    else:
        raise ValueError(f"laid_out: layout {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    view[...] = array
    return view
