"""The number types. `engine/promotion.py` says which one an operation on several of them computes in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy

float16 = numpy.dtype("float16")
float32 = numpy.dtype("float32")
float64 = numpy.dtype("float64")
int16 = numpy.dtype("int16")
int32 = numpy.dtype("int32")
int64 = numpy.dtype("int64")
uint8 = numpy.dtype("uint8")
bool_ = numpy.dtype("bool")

DTYPES = (float64, float32, float16, int64, int32, int16, uint8, bool_)
"""Every number type that a tensor can have."""

_SAME = {dtype: dtype for dtype in DTYPES}
"""By a dtype that equals one of them that one, so that `x.dtype is float32` holds."""

_default = float32


def get_default_dtype() -> numpy.dtype:
    """The dtype of float tensors made from Python numbers: float32 unless `set_default_dtype` changed it."""
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Let float tensors made from Python numbers have `dtype` (a float type) from now on."""
    global _default
    if as_dtype(dtype).kind != "f":
        raise TypeError(f"set_default_dtype: got {as_dtype(dtype)}; give float32 or float64")
    _default = as_dtype(dtype)


def as_dtype(dtype: Any) -> numpy.dtype:
    """`dtype` as one of `DTYPES`, whatever its byte order; Python's own `float` means the default dtype."""
    if dtype is float:
        return _default
    try:
        found = _SAME.get(numpy.dtype(dtype).newbyteorder("="))
    except TypeError:
        found = None
    if found is None:
        names = ", ".join(d.name for d in DTYPES)
        raise TypeError(f"dtype {dtype!r} is not supported; choose one of {names}")
    return found


class FloatInfo(NamedTuple):
    """What `finfo` returns."""

    bits: int
    dtype: str
    resolution: float
    eps: float
    max: float
    min: float
    smallest_normal: float
    tiny: float


def finfo(dtype: Any = None) -> FloatInfo:
    """The limits of a dtype, by default the default one: Python numbers, which go beyond those of float16."""
    found = numpy.finfo(_default if dtype is None else as_dtype(dtype))
    eps, largest, smallest = float(found.eps), float(found.max), float(found.tiny)
    resolution = 10.0**-found.precision
    return FloatInfo(found.bits, found.dtype.name, resolution, eps, largest, -largest, smallest, smallest)
