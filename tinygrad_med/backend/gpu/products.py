"""Products of matrices; also while a CUDA graph is captured, when CuPy refuses them.

CuPy asks of every call to cuBLAS whether the stream captures, and raises, since some of them can't be captured. Those
for products can. So they are called past CuPy then, with the arguments that CuPy gives, and have the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import sys
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.backend import Array, array_module

CUDA_TYPES = {"float32": 0, "float64": 1, "float16": 2}
COMPUTE_32F, COMPUTE_64F, COMPUTE_TF32 = 68, 70, 77
DEFAULT, TENSOR_OP = -1, 99
WORKSPACE = 32 << 20
"""Bytes: as much as cuBLAS takes for itself on the cards that take most."""


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """As `cpu.linear`."""
    z = matmul(x, weight.T)
    z += bias
    return z


def matmul(x: Array, y: Array, out: Array | None = None) -> Array:
    """x @ y for matrices, or stacks of them."""
    xp = array_module(x, y)
    if backend.captured.graph is None or not _is_cublas(xp, x, y):
        return x @ y if out is None else xp.matmul(x, y, out=out)
    z = _product(xp, x, y) if x.ndim == y.ndim == 2 else _products(xp, x, y)
    if out is None:
        return z
    out[...] = z
    return out


def _is_cublas(xp: Any, x: Array, y: Array) -> bool:
    """Whether CuPy has cuBLAS compute the product: not of integers, of nothing, or to a single number."""
    one = x.ndim == y.ndim == 2 and x.shape[0] == y.shape[1] == 1
    return xp.result_type(x, y).name in CUDA_TYPES and bool(x.size and y.size) and not one


def _product(xp: Any, x: Array, y: Array) -> Array:
    """As CuPy's `tensordot_core`: cuBLAS has columns where we have rows, so zᵀ = yᵀ · xᵀ."""
    routines = importlib.import_module("cupy._core._routines_linalg")
    dtype = xp.result_type(x, y)
    (n, k), m = x.shape, y.shape[1]
    left, left_turned, left_step = routines._mat_to_cublas_contiguous(x.astype(dtype, copy=False).T, 0)
    right, right_turned, right_step = routines._mat_to_cublas_contiguous(y.astype(dtype, copy=False), 1)
    z = xp.empty((n, m), dtype)
    compute = (
        COMPUTE_64F if dtype == "float64" else COMPUTE_TF32 if backend.tf32 and dtype == "float32" else COMPUTE_32F
    )
    capability = int(xp.cuda.Device().compute_capability)
    algorithm = TENSOR_OP if capability >= 80 or (capability >= 70 and dtype == "float16") else DEFAULT
    kind, (one, zero) = CUDA_TYPES[dtype.name], _factors(dtype.name)
    _call(
        *("cublasGemmEx", right_turned, left_turned, m, n, k, one, _at(right), kind, right_step),
        *(_at(left), kind, left_step, zero, _at(z), kind, m, compute, algorithm),
    )
    return z


def _products(xp: Any, x: Array, y: Array) -> Array:
    """As CuPy's `matmul` of stacks, which computes float16 in float32; a stack that is broadcast is copied."""
    dtype = xp.result_type(x, y)
    wide = numpy.dtype("float32") if dtype == "float16" else dtype
    stack = numpy.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (xp.ascontiguousarray(xp.broadcast_to(a, (*stack, *a.shape[-2:])), wide) for a in (x, y))
    (n, k), m = x.shape[-2:], y.shape[-1]
    z = xp.empty((*stack, n, m), wide)
    kind, (one, zero), count = CUDA_TYPES[wide.name], _factors(wide.name), z.size // (n * m)
    compute = COMPUTE_64F if wide == "float64" else COMPUTE_32F
    left, right, result = (_at(a) for a in (x, y, z))
    step = ctypes.c_longlong
    _call(
        *("cublasGemmStridedBatchedEx", 0, 0, m, n, k, one, right, kind, m, step(k * m), left, kind, k, step(n * k)),
        *(zero, result, kind, m, step(n * m), count, compute, DEFAULT),
    )
    return z.astype(dtype, copy=False)


# cuBLAS ---------------------------------------------------------------------------------------------------------------


def begin_capture(stream: Any) -> Array:
    """Let cuBLAS work on a stream that is to capture; returns the memory that it works in, which the graph must keep.

    Without memory of ours cuBLAS would allocate in the graph.
    """
    cupy = importlib.import_module("cupy")
    memory = cupy.empty(WORKSPACE, "uint8")
    _call("cublasSetStream_v2", ctypes.c_void_p(stream.ptr))
    _call("cublasSetWorkspace_v2", _at(memory), ctypes.c_size_t(WORKSPACE))
    return memory


def _call(name: str, *arguments: Any) -> None:
    cupy = importlib.import_module("cupy")
    handle = ctypes.c_void_p(cupy.cuda.device.get_cublas_handle())
    status = getattr(_cublas(), name)(handle, *arguments)
    if status:
        raise RuntimeError(f"CUDA graph: {name} failed with cuBLAS's status {status}")


@functools.cache
def _cublas() -> ctypes.CDLL:
    """The library, which CuPy has loaded."""
    cublas = importlib.import_module("cupy_backends.cuda.libs.cublas")
    version = cublas.getVersion(importlib.import_module("cupy").cuda.device.get_cublas_handle()) // 10000
    return ctypes.CDLL(f"cublas64_{version}.dll" if sys.platform == "win32" else f"libcublas.so.{version}")


def _at(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.data.ptr)


@functools.cache
def _factors(dtype: str) -> tuple[Any, Any]:
    """1 and 0, in what is computed in."""
    kind = ctypes.c_double if dtype == "float64" else ctypes.c_float
    return ctypes.byref(kind(1)), ctypes.byref(kind(0))
