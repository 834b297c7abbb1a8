"""Numbers as files hold them, made into arrays of the supported dtypes."""

from __future__ import annotations

from typing import Any, Literal

import numpy

from tinygrad_med.dtypes import DTYPES

BFLOAT16 = "bfloat16"  # the upper half of a float32; NumPy has no such dtype


def from_bytes(data: bytes | bytearray, dtype: str, little_endian: bool = True) -> numpy.ndarray:
    """A flat array, with memory of its own, of the numbers in `data`."""
    order: Literal["<", ">"] = "<" if little_endian else ">"
    if dtype != BFLOAT16:
        return as_supported(numpy.frombuffer(data, numpy.dtype(dtype).newbyteorder(order)).copy())
    halves = numpy.frombuffer(data, f"{order}u2")
    return (halves.astype("uint32") << 16).view("float32")


def itemsize(dtype: str) -> int:
    """Bytes per number in a file."""
    return 2 if dtype == BFLOAT16 else numpy.dtype(dtype).itemsize


def as_supported(array: numpy.ndarray) -> Any:
    """`array` in the machine's byte order, and in a supported dtype: other integers as int32, or as int64."""
    if array.dtype.newbyteorder("=") in DTYPES:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind not in "iu" or array.dtype == "uint64":
        raise ValueError(f"{array.dtype} numbers are not supported")
    return array.astype("int32" if array.itemsize < 4 else "int64")


def to_bytes(array: numpy.ndarray) -> bytes:
    """The numbers in order, the lowest byte of each first."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
