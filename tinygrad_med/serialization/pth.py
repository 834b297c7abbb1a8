"""PyTorch's `.pth` files, read and written without PyTorch and without running what they say.

Such a file is a pickle, and unpickling is running a program (see `pickles`). The names that the program may use stand
here (`NAMES`), each for something of this file; at any other the reader stops and says what the file wanted.

A tensor stands in the pickle as a *storage*, a flat run of numbers, with an offset, a shape and strides; tensors may
share a storage. There are two formats:

- since PyTorch 1.6 a zip archive: the pickle is `<name>/data.pkl`, the storage k is `<name>/data/k`;
- before, a sequence of pickles (a magic number, a version, facts about the machine, the object itself, the keys of its
  storages), and after these the storages, the length of each before its numbers.
"""

from __future__ import annotations

import codecs
import collections
import math
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.dtypes import DTYPES
from tinygrad_med.serialization import pickles
from tinygrad_med.serialization.arrays import from_bytes, itemsize, to_bytes
from tinygrad_med.serialization.pickles import Call, Function, Global, Persistent, RefusedError as RefusedError

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # what the older format begins with
MAX_DIMS = 64  # NumPy's
ALIGNMENT = 64  # of the storages in an archive, for those who map it into memory
LEAVES = (Tensor, numpy.dtype, backend.Device)  # of what a file may hold, beside numbers and texts


class StorageType(NamedTuple):
    """The dtype of a storage, such as `torch.FloatStorage` stands for."""

    dtype: str


Storage = Callable[[StorageType, str, int, Any], numpy.ndarray]


# The names that are admitted ----------------------------------------------------------------------------------------


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage."""
    numbers = (offset, *size[: MAX_DIMS + 1], *stride[: MAX_DIMS + 1])
    if not isinstance(storage, numpy.ndarray) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("its pickle has a tensor without a storage, or with a strange shape")
    if len(size) != len(stride) or len(size) > MAX_DIMS:
        raise ValueError(f"its pickle has a tensor with {len(size)} dims and {len(stride)} strides")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and last >= storage.size:
        raise ValueError(f"its pickle has a tensor {tuple(size)} that leaves its storage of {storage.size} numbers")
    if count > (1 << 20) + 64 * storage.size:
        raise ValueError(f"its pickle has a tensor {tuple(size)}, {count:,} times the same {storage.size} numbers")
    strides = [n * storage.itemsize for n in stride]
    return wrap(numpy.ndarray(tuple(size), storage.dtype, storage, offset * storage.itemsize if count else 0, strides))


def _rebuild_tensor_v3(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """A view of a storage of bytes, for the dtypes that have no storage of their own."""
    if not isinstance(storage, numpy.ndarray) or storage.dtype != "uint8" or len(rest) < 3:
        raise ValueError("its pickle has a tensor without a storage")
    _requires_grad, _hooks, dtype, *_ = rest
    if not isinstance(dtype, _FileDtype):
        raise ValueError("its pickle has a tensor without a dtype")
    return _rebuild_tensor(from_bytes(storage.tobytes(), dtype.name), offset, size, stride)


class _FileDtype(NamedTuple):
    """A dtype that a tensor in a file has, and none here."""

    name: str


def _first(value: Any, *_: Any) -> Any:
    return value


def _typed(function: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    """A tensor of a subclass, or with attributes: only the tensor."""
    if type(function) is not Function or type(arguments) is not tuple:
        raise ValueError("its pickle calls what is no function")
    return function.call(*arguments)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"its pickle has bytes in {encoding!r}")
    return codecs.latin_1_encode(text)[0]


def _ordered(pairs: Any = ()) -> Any:
    return collections.OrderedDict((pickles.checked_key(key), value) for key, value in pairs)


def _counter(counts: Any = None) -> Any:
    if type(counts) is not dict and counts is not None:
        raise ValueError("its pickle counts what is no dict")
    return collections.Counter(counts)


_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_OTHER_DTYPES = {"int8": "int32", "bfloat16": "float32"}  # as what tensors of these are read
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.nn.parameter.Parameter": _first,
    "torch.Tensor": _first,
    "torch.Size": tuple,
    "torch.device": lambda kind, index=None: backend.Device(str(kind), index) if kind != "meta" else backend.CPU,
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "builtins.set": lambda items=(): set(map(pickles.checked_key, items)),
    "builtins.complex": lambda real, imaginary=0.0: complex(float(real), float(imaginary)),
    "builtins.bytearray": lambda data, *encoding: bytearray(_encode(data, *encoding) if encoding else bytes(data)),
    "_codecs.encode": _encode,
}
NAMES: dict[str, Any] = {
    **{name: Function(name, call) for name, call in _FUNCTIONS.items()},
    **{f"torch.{name}": StorageType(dtype) for name, dtype in _STORAGES.items()},
    "torch.storage.UntypedStorage": StorageType("uint8"),
    **{f"torch.{dtype.name}": dtype for dtype in DTYPES},
    **{f"torch.{name}": numpy.dtype(dtype) for name, dtype in _OTHER_DTYPES.items()},
    **{f"torch.{name}": _FileDtype(name) for name in ("uint16", "uint32")},
}


def _storages(storage: Storage) -> Callable[[Any], numpy.ndarray]:
    """What gives the storage that a reference in a pickle means."""

    def find(identity: Any) -> numpy.ndarray:
        kind, storage_type, key, _location, count, *view = identity
        if kind != "storage" or type(storage_type) is not StorageType:
            raise ValueError(f"it refers to a {kind!r}, not to a storage")
        if type(key) is not str or type(count) is not int or count < 0:
            raise ValueError(f"its storage {key!r} should have {count!r} numbers")
        return storage(storage_type, key, count, view[0] if view else None)

    return find


# The two formats ----------------------------------------------------------------------------------------------------


def load_archive(archive: zipfile.ZipFile) -> Any:
    """The object in a file of the newer format."""
    root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
    little_endian = f"{root}byteorder" not in archive.namelist() or archive.read(f"{root}byteorder") == b"little"
    kinds: dict[str, tuple[StorageType, int]] = {}
    storages: dict[str, numpy.ndarray] = {}

    def storage(kind: StorageType, key: str, count: int, _view: Any) -> numpy.ndarray:
        if key not in storages:
            entry = archive.getinfo(f"{root}data/{key}")
            if entry.file_size != count * itemsize(kind.dtype):
                raise ValueError(f"storage {key} has {entry.file_size} bytes for {count} numbers of {kind.dtype}")
            kinds[key] = kind, count
            storages[key] = from_bytes(archive.read(entry), kind.dtype, little_endian)
        if kinds[key] != (kind, count):
            raise ValueError(f"its storage {key} is of two kinds")
        return storages[key]

    found, _ = pickles.load(archive.read(f"{root}data.pkl"), NAMES, _storages(storage), LEAVES)
    return found


def load_legacy(data: Any) -> Any:
    """The object in a file of the older format, whose bytes are `data`."""
    at = 0
    kinds: dict[str, tuple[StorageType, int]] = {}
    storages: dict[str, numpy.ndarray] = {}
    views: dict[str, numpy.ndarray] = {}
    claimed = 0

    def storage(kind: StorageType, key: str, count: int, view: Any) -> numpy.ndarray:  # numbers follow later
        nonlocal claimed
        if key not in storages:
            claimed += count * itemsize(kind.dtype)
            if claimed > len(data):
                raise ValueError(f"its storages should have {claimed} bytes, the whole file has {len(data)}")
            kinds[key] = kind, count
            storages[key] = numpy.zeros(count, from_bytes(b"", kind.dtype).dtype)
        if kinds[key] != (kind, count):
            raise ValueError(f"its storage {key} is of two kinds")
        if view is None:
            return storages[key]
        view_key, offset, size = view
        if type(offset) is not int or type(size) is not int or not 0 <= offset <= offset + size <= count:
            raise ValueError(f"a view of storage {key} leaves it")
        return views.setdefault(str(view_key), storages[key][offset : offset + size])

    def following() -> Any:
        nonlocal at
        found, at = pickles.load(data, NAMES, _storages(storage), LEAVES, at)
        return found

    magic, version, facts, found, keys = (following() for _ in range(5))
    if (magic, version) != (_MAGIC, _VERSION):
        raise ValueError("it is a pickle, but not one of PyTorch's")
    little_endian = bool(facts["little_endian"])
    if sorted(keys) != sorted(storages):
        raise ValueError(f"it refers to {len(storages)} storages and has {len(keys)}")
    for key in keys:
        kind, expected = kinds[key]
        (count,) = struct.unpack("<q" if little_endian else ">q", data[at : at + 8])
        numbers = data[at + 8 : at + 8 + expected * itemsize(kind.dtype)]
        if count != expected or len(numbers) != expected * itemsize(kind.dtype):
            raise ValueError(f"storage {key} of {expected} numbers is cut short")
        storages[key][:] = from_bytes(numbers, kind.dtype, little_endian)
        at += 8 + len(numbers)
    return found


def save(value: Any, file: Any) -> None:
    """Write an object in the newer format, so that `torch.load(file, weights_only=True)` reads it.

    Args:
        value: tensors, arrays, numbers, texts, and dicts, lists, tuples and sets of them. Tensors with the same memory
            and shape are written once, and are the same memory again when they are read.
        file: open, for bytes.

    Raises:
        TypeError: for anything else in it.
    """
    storages: dict[Any, tuple[str, numpy.ndarray]] = {}
    codes = {dtype: name for name, dtype in _STORAGES.items()}

    def translate(part: Any) -> Any:
        if isinstance(part, backend.Device):
            return Call(Global("torch", "device"), (part.type, *([] if part.index is None else [part.index])))
        if isinstance(part, numpy.dtype) and part in DTYPES:
            return Global("torch", part.name)
        if isinstance(part, numpy.generic) and part.dtype.kind in "biuf":
            return part.item()
        array = part.array if isinstance(part, Tensor) else part
        if not backend.is_array(array) or array.dtype.name not in codes:
            kind = f"{array.dtype} array" if backend.is_array(array) else type(part).__name__
            raise TypeError(
                f"save: can't write a {kind}; a .pth file holds tensors, numbers, texts, and dicts and lists of them"
            )
        array = numpy.asarray(backend.to_numpy(array))
        memory = (array.__array_interface__["data"][0], array.dtype, array.shape, array.strides)
        key, array = storages.setdefault(
            memory, (str(len(storages)), numpy.ascontiguousarray(array).reshape(array.shape))
        )
        steps = [math.prod(array.shape[k + 1 :]) for k in range(array.ndim)]
        reference = ("storage", Global("torch", codes[array.dtype.name]), key, "cpu", array.size)
        details = (Persistent(reference), 0, array.shape, tuple(steps), False, collections.OrderedDict[str, Any]())
        return Call(Global("torch._utils", "_rebuild_tensor_v2"), details)

    program = pickles.dump(value, translate)
    members = {"data.pkl": program, ".format_version": b"1", ".storage_alignment": str(ALIGNMENT).encode()}
    members |= {"byteorder": b"little", "version": b"3\n"}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
        for key, array in storages.values():
            entry = zipfile.ZipInfo(f"archive/data/{key}")
            content = to_bytes(array)
            begin = archive.fp.tell() + 30 + len(entry.filename) + (20 if len(content) * 1.05 > 2**31 - 1 else 0)  # type: ignore[union-attr]
            gap = -(begin + 4) % ALIGNMENT
            entry.extra = struct.pack("<2sH", b"FB", gap) + bytes(gap)
            archive.writestr(entry, content)
