"""Numbers as files hold them, made into arrays of the supported dtypes."""

from __future__ import annotations

import math
from typing import Any, BinaryIO, Literal

import numpy
import numpy.lib.format

from tinygrad_med.dtypes import DTYPES

BFLOAT16 = "bfloat16"  # the upper half of a float32; NumPy has no such dtype


def from_bytes(data: bytes | bytearray, dtype: str, little_endian: bool = True) -> numpy.ndarray:
    """A flat array, with memory of its own, of the numbers in `data`."""
    order: Literal["<", ">"] = "<" if little_endian else ">"
    if dtype != BFLOAT16:
        return as_supported(numpy.frombuffer(data, numpy.dtype(dtype).newbyteorder(order)).copy())
    halves = numpy.frombuffer(data, f"{order}u2")
    return (halves.astype("uint32") << 16).view("float32")


def read_npy(file: BinaryIO, size: int) -> numpy.ndarray:
    """The array in a .npy file of `size` bytes; NumPy's own reader makes the memory ready before it looks at the size.

    Raises:
        ValueError and others: for what is not such a file, or has objects in it.
    """
    version = numpy.lib.format.read_magic(file)
    readers = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"an array is of .npy's version {version}, with columns of different kinds")
    shape, is_fortran, dtype = readers[version](file)
    length = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0 or length != size - file.tell():
        raise ValueError(f"an array of {dtype} {shape} can't have {size - file.tell()} bytes")
    return numpy.frombuffer(file.read(length), dtype).reshape(shape, order="F" if is_fortran else "C").copy()


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
