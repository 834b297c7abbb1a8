"""PyTorch's `.pth` files, read without PyTorch and without running what they say.

Such a file is a pickle, and unpickling is running a program: Python's unpickler imports and calls whatever the file
names, `os.system` too. The one here knows the few names that a state dict needs (`_FUNCTIONS`, `_STORAGES`), each
standing for something of this file; at any other it stops and says what the file wanted.

A tensor stands in the pickle as a *storage*, a flat run of numbers, with an offset, a shape and strides; tensors may
share a storage. There are two formats:

- since PyTorch 1.6 a zip archive: the pickle is `<name>/data.pkl`, the storage k is `<name>/data/k`;
- before, a sequence of pickles (a magic number, a version, facts about the machine, the object itself, the keys of its
  storages), and after these the storages, the length of each before its numbers.
"""

from __future__ import annotations

import collections
import functools
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy

from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.serialization.arrays import from_bytes, itemsize

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # what the older format begins with


class RefusedError(Exception):
    """The pickle names something that a state dict does not need."""


class StorageType(NamedTuple):
    """The dtype of a storage, such as `torch.FloatStorage` stands for."""

    dtype: str


# The names that are admitted ----------------------------------------------------------------------------------------


def _rebuild_tensor(storage: numpy.ndarray, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage; NumPy refuses one that would leave it."""
    strides = [n * storage.itemsize for n in stride]
    return wrap(numpy.ndarray(tuple(size), storage.dtype, storage, offset * storage.itemsize, strides))


def _rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    return data


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": tuple,
}
_STORAGES = {
    "torch.DoubleStorage": StorageType("float64"),
    "torch.FloatStorage": StorageType("float32"),
    "torch.HalfStorage": StorageType("float16"),
    "torch.BFloat16Storage": StorageType("bfloat16"),
    "torch.LongStorage": StorageType("int64"),
    "torch.IntStorage": StorageType("int32"),
    "torch.ShortStorage": StorageType("int16"),
    "torch.CharStorage": StorageType("int8"),
    "torch.ByteStorage": StorageType("uint8"),
    "torch.BoolStorage": StorageType("bool"),
}


class _Unpickler(pickle.Unpickler):
    """Knows the admitted names only; `storage(type, key, count)` gives the storages."""

    def __init__(self, file: BinaryIO, storage: Callable[[StorageType, str, int], Any]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted == "collections.OrderedDict":
            return collections.OrderedDict
        if wanted in _STORAGES:
            return _STORAGES[wanted]
        if wanted in _FUNCTIONS:
            return functools.partial(_FUNCTIONS[wanted])  # a new object: a pickle can set attributes of what it gets
        raise RefusedError(
            f"asks for {wanted}, which no state dict needs, so it was not read any further; if you trust where it "
            "comes from, open it with PyTorch and save its state_dict() with safetensors.torch.save_file"
        )

    def persistent_load(self, identity: Any) -> Any:
        kind, storage_type, key, _location, count, *_view = identity
        if kind != "storage" or not isinstance(storage_type, StorageType):
            raise ValueError(f"it refers to a {kind!r}, not to a storage")
        return self._storage(storage_type, key, count)


# The two formats ----------------------------------------------------------------------------------------------------


def load_archive(archive: zipfile.ZipFile) -> Any:
    """The object in a file of the newer format."""
    root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
    little_endian = f"{root}byteorder" not in archive.namelist() or archive.read(f"{root}byteorder") == b"little"
    storages: dict[str, numpy.ndarray] = {}

    def storage(kind: StorageType, key: str, count: int) -> numpy.ndarray:
        if key not in storages:
            entry = archive.getinfo(f"{root}data/{key}")
            if entry.file_size != count * itemsize(kind.dtype):
                raise ValueError(f"storage {key} has {entry.file_size} bytes for {count} numbers of {kind.dtype}")
            storages[key] = from_bytes(archive.read(entry), kind.dtype, little_endian)
        return storages[key]

    with archive.open(f"{root}data.pkl") as file:
        return _Unpickler(file, storage).load()  # type: ignore[arg-type]


def load_legacy(path: Path) -> Any:
    """The object in a file of the older format."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        kinds: dict[str, StorageType] = {}
        storages: dict[str, numpy.ndarray] = {}

        def storage(kind: StorageType, key: str, count: int) -> numpy.ndarray:  # numbers follow later
            if key not in storages:
                if not 0 <= count * itemsize(kind.dtype) <= size:
                    raise ValueError(f"storage {key} should have {count} numbers, the whole file has {size} bytes")
                kinds[key], storages[key] = kind, from_bytes(bytes(count * itemsize(kind.dtype)), kind.dtype)
            return storages[key]

        magic, version, facts, found, keys = (_Unpickler(file, storage).load() for _ in range(5))
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError("it is a pickle, but not one of PyTorch's")
        for key in keys:
            (count,) = struct.unpack("<q" if facts["little_endian"] else ">q", file.read(8))
            length = count * itemsize(kinds[key].dtype)
            data = file.read(length)
            if count != len(storages[key]) or len(data) != length:
                raise ValueError(f"storage {key} of {len(storages[key])} numbers is cut short")
            storages[key][:] = from_bytes(data, kinds[key].dtype, facts["little_endian"])
        if len(keys) != len(storages):
            raise ValueError(f"it refers to {len(storages)} storages and has {len(keys)}")
        return found
