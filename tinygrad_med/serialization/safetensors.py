"""The .safetensors format: a header that says where each tensor's numbers are, and the numbers.

    8 bytes     length of the header, little-endian
    header      JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …}
    numbers     each tensor's from begin to end, in order of the dims, little-endian, without gaps and overlaps

The name `__metadata__` is not a tensor's: under it stand texts by name.

Written out here rather than left to the package of this name, because the core needs NumPy alone, and because that
package does not give NumPy bfloat16. Described at https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import os
import struct
from typing import Any, BinaryIO

import numpy

from tinygrad_med.serialization.arrays import BFLOAT16, from_bytes, itemsize, to_bytes

METADATA = "__metadata__"
MAX_HEADER = 100_000_000  # bytes; as the format has it
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "F16": "float16",
    "BF16": BFLOAT16,
    "F32": "float32",
    "F64": "float64",
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


def load(file: BinaryIO) -> dict[str, numpy.ndarray]:
    """The arrays of a file by name.

    Raises:
        ValueError: where the header and the numbers do not fit.
    """
    (length,) = struct.unpack("<Q", file.read(8))
    size = file.seek(0, os.SEEK_END) - 8 - length
    if size < 0 or length > MAX_HEADER:
        raise ValueError(f"its header should have {length} bytes, which is more than the file, or the format, has")
    file.seek(8)
    header = _header(file.read(length))
    arrays = {}
    at = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{name} is of {entry['dtype']}, which is not supported")
        dtype, shape, (begin, end) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        if begin != at:
            raise ValueError(f"{name} begins at byte {begin}, but the one before it ends at {at}: a gap, or an overlap")
        if any(type(n) is not int or n < 0 for n in (begin, end, *shape)) or end > size:
            raise ValueError(f"{name}, {entry['dtype']} {shape}, can't be the bytes {begin} to {end} of {size}")
        if end - begin != math.prod(shape) * itemsize(dtype):
            raise ValueError(f"{name}, {entry['dtype']} {shape}, can't have {end - begin} bytes")
        arrays[name] = from_bytes(file.read(end - begin), dtype).reshape(shape)
        at = end
    if at != size:
        raise ValueError(f"its header tells of {at} bytes of numbers, {size} follow")
    return {name: arrays[name] for name in header}


def _header(text: bytes) -> dict[str, Any]:
    """What stands in the header, without the metadata."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("its header has a name twice")
        return found

    def number(digits: str) -> int:
        if len(digits) > 20:
            raise ValueError("its header has a number that no file could be as long as")
        return int(digits)

    header = json.loads(text, object_pairs_hook=once, parse_int=number)
    metadata = header.pop(METADATA, {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"its {METADATA} is not a dict of texts: no tensor can have this name")
    return header


def save(arrays: dict[str, numpy.ndarray], file: BinaryIO) -> None:
    """Write arrays by name.

    Raises:
        ValueError: for an array called `__metadata__`, which whoever reads it would take for something else.
        TypeError: for an array of a dtype that the format doesn't have.
    """
    if METADATA in arrays:
        raise ValueError(f"save: a .safetensors file can't hold a tensor called {METADATA}; give it another name")
    header, begin = {}, 0
    for name, array in arrays.items():
        if array.dtype.name not in CODES:
            raise TypeError(f"save: {name!r} holds {array.dtype} numbers, which .safetensors has no code for")
        end = begin + array.nbytes
        header[name] = {"dtype": CODES[array.dtype.name], "shape": array.shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8, as whoever maps the file wants it
    file.write(struct.pack("<Q", len(text)) + text)
    for array in arrays.values():
        file.write(to_bytes(array))
