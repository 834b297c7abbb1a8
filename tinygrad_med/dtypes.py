"""The number types, and which one an operation on several of them computes in.

Python scalars never promote a tensor, and a 0-d tensor promotes one with dims only across categories
(bool < integer < float), as in PyTorch. NumPy alone would give float64 for float32 · int64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

float16 = numpy.dtype("float16")
float32 = numpy.dtype("float32")
float64 = numpy.dtype("float64")
int32 = numpy.dtype("int32")
int64 = numpy.dtype("int64")
uint8 = numpy.dtype("uint8")
bool_ = numpy.dtype("bool")

DTYPES = (float64, float32, float16, int64, int32, uint8, bool_)
"""Every number type that a tensor can have."""

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}  # complex only inside, for the complex-step check of derivatives
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
        found = numpy.dtype(dtype).newbyteorder("=")
    except TypeError:
        found = None
    if found is None or found not in DTYPES:
        names = ", ".join(d.name for d in DTYPES)
        raise TypeError(f"dtype {dtype!r} is not supported; choose one of {names}")
    return found


def result_dtype(operands: Iterable[Any]) -> numpy.dtype:
    """The dtype in which an operation on `operands` (arrays and Python scalars) computes, by PyTorch's rule.

    Among arrays with dims the largest of the highest category wins; 0-d arrays, and after them Python scalars, take
    part only if their category is higher than that of all before.
    """
    with_dims: list[numpy.dtype] = []
    zero_dim: list[numpy.dtype] = []
    scalars: list[numpy.dtype] = []
    for x in operands:
        if not hasattr(x, "dtype"):
            scalars.append(as_dtype(type(x)))
        else:
            (with_dims if x.ndim else zero_dim).append(x.dtype)
    result, reached = bool_, -1
    for level in (with_dims, zero_dim, scalars):
        highest = max((_CATEGORY[d.kind] for d in level), default=-1)
        if highest > reached:
            result, reached = numpy.result_type(*(d for d in level if _CATEGORY[d.kind] == highest)), highest
    return result
