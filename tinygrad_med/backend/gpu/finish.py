"""What follows a convolution: a scale and a shift per channel, a sum, relu."""

from __future__ import annotations

from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry

from .convolution import conv


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
    """As `cpu.conv_finished`, one after the other."""
    y = conv(x, w, geometry=geometry)
    per_channel = (-1, *(1,) * (y.ndim - 2))
    if scale is not None:
        y *= scale.reshape(per_channel)
    if shift is not None:
        y += shift.reshape(per_channel)
    if plus is not None:
        y += plus
    return array_module(y).maximum(y, 0) if relu else y
