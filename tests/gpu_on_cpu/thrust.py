"""In the place of `cupy.cuda.thrust`, whose wheel holds it as compiled code for GPUs: the same functions, by NumPy."""

from __future__ import annotations

import ctypes
import math

import numpy as np

available = True


def get_build_version() -> int:
    """As CuPy's."""
    return 0


def _view(address: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    ctypes.CDLL("libcuda.so.1").gpu_finish()
    size = math.prod(shape)
    memory = (ctypes.c_char * max(size * np.dtype(dtype).itemsize, 1)).from_address(address)
    return np.frombuffer(memory, dtype, size).reshape(shape)


def sort(dtype: np.dtype, data: int, keys: int, shape: tuple[int, ...]) -> None:
    """Sort along the last dim, in place. `keys` is memory that Thrust works in."""
    _view(data, dtype, shape).sort(-1, kind="stable")


def argsort(dtype: np.dtype, indices: int, data: int, keys: int, shape: tuple[int, ...]) -> None:
    """Write into `indices` the order along the last dim."""
    _view(indices, np.intp, shape)[...] = _view(data, dtype, shape).argsort(-1, kind="stable")


def lexsort(dtype: np.dtype, indices: int, keys: int, k: int, n: int) -> None:
    """Write into `indices` the order of n columns of k keys, of which the last one counts most."""
    _view(indices, np.intp, (n,))[...] = np.lexsort(_view(keys, dtype, (k, n)))
