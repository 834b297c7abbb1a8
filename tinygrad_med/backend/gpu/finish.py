"""What follows a convolution: a scale and a shift per channel, a sum, relu."""

from __future__ import annotations

import functools

from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry

from .compiled import compiles
from .convolution import conv
from .layout import rows
from .norm import Each


def conv_finished(
    x: Array,
    w: Array,
    *,
    geometry: Geometry,
    scale: Array | None = None,
    shift: Array | None = None,
    plus: Array | None = None,
    relu: bool = False,
) -> Array:
    """As `cpu.conv_finished`: the convolution, then all that follows in one pass."""
    y = conv(x, w, geometry=geometry)
    given = {name: v for name, v in (("scale", scale), ("shift", shift), ("plus", plus)) if v is not None}
    if not (given or relu):
        return y
    if compiles(y, *given.values()):
        return _finish(relu, *given)(y, *(rows(v) if name == "plus" else v for name, v in given.items()))
    per_channel = (-1, *(1,) * (y.ndim - 2))
    if scale is not None:
        y *= scale.reshape(per_channel)
    if shift is not None:
        y += shift.reshape(per_channel)
    if plus is not None:
        y += plus
    return array_module(y).maximum(y, 0) if relu else y


@functools.cache
def _finish(relu: bool, *given: str) -> Each:
    """The kernel for what is given, of scale, shift and plus."""
    terms = {"scale": " * A(scale[channel])", "shift": " + A(shift[channel])", "plus": " + A(plus[i])"}
    return Each(
        " ".join(f"const T* {name}," for name in given),
        "",
        "v < 0 ? A(0) : v" if relu else "v",
        f"A v = A(x[i]){''.join(terms[name] for name in given)};",
    )
