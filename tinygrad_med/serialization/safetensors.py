"""The .safetensors format: a header that says where each tensor's numbers are, and the numbers.

    8 bytes     length of the header, little-endian
    header      JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …}
    numbers     each tensor's from begin to end, in order of the dims, little-endian, without gaps

Written out here rather than left to the package of this name, because the core needs NumPy alone, and because that
package does not give NumPy bfloat16. Described at https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path

import numpy

from tinygrad_med.serialization.arrays import BFLOAT16, from_bytes, itemsize, to_bytes

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


def load(path: Path) -> dict[str, numpy.ndarray]:
    """The arrays of a file by name.

    Raises:
        ValueError: where the header and the numbers do not fit.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        size = os.fstat(file.fileno()).st_size - 8 - length
        if size < 0:
            raise ValueError(f"its header should have {length} bytes, which the file doesn't")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if end != size:
            raise ValueError(f"its header tells of {end} bytes of numbers, {size} follow")
        arrays = {}
        for name, entry in header.items():
            if entry["dtype"] not in DTYPES:
                raise ValueError(f"{name} is of {entry['dtype']}, which is not supported")
            dtype, shape, (begin, end) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            if not 0 <= begin <= end <= size or end - begin != math.prod(shape) * itemsize(dtype):
                raise ValueError(f"{name}, {entry['dtype']} {shape}, can't be the bytes {begin} to {end} of {size}")
            file.seek(8 + length + begin)
            arrays[name] = from_bytes(file.read(end - begin), dtype).reshape(shape)
        return arrays


def save(arrays: dict[str, numpy.ndarray], path: Path) -> None:
    """Write arrays by name."""
    header, begin = {}, 0
    for name, array in arrays.items():
        end = begin + array.nbytes
        header[name] = {"dtype": CODES[array.dtype.name], "shape": array.shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8, as whoever maps the file wants it
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(to_bytes(array))
