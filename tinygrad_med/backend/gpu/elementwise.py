"""What is done with each number by itself."""

from __future__ import annotations

from types import ModuleType

from tinygrad_med.backend import Array, array_module

from .compiled import MANY_BLOCKS, Kernel, compiles
from .layout import as_it_lies, in_memory_order


def plus(x: Array, y: Array) -> Array:
    """As `cpu.plus`: x + y, which lies in memory as the two do if they lie alike."""
    if not (hasattr(x, "shape") and hasattr(y, "shape")):
        return x + y
    return in_memory_order(lambda x, y: x + y, x, y)


def relu(x: Array) -> Array:
    """As `cpu.relu`: max(x, 0)"""
    return in_memory_order(lambda x: array_module(x).maximum(x, 0), x)


def relu_backward(g: Array, y: Array) -> Array:
    """As `cpu.relu_backward`: g where y > 0, else 0."""
    return in_memory_order(_relu_backward, as_it_lies(g, y), y)


def _relu_backward(g: Array, y: Array) -> Array:
    if not compiles(g, y) or not (g.flags.c_contiguous and y.flags.c_contiguous and g.shape == y.shape):
        return array_module(g).where(y > 0, g, 0)
    dx = array_module(g).empty_like(g)
    blocks = min(-(-g.size // 256), 8 * MANY_BLOCKS)
    _where_positive((blocks,), (256,), g, y, dx, g.size, T=g.dtype.name)
    return dx


_where_positive = Kernel(
    "where_positive",
    """
extern "C" __global__ void where_positive(const T* g, const T* y, T* dx, long long size) {
  for (long long i = blockIdx.x * 256LL + threadIdx.x; i < size; i += gridDim.x * 256LL)
    dx[i] = A(y[i]) > 0 ? g[i] : T(0);
}
""",
)


def keep(x: Array, mask: Array) -> Array:
    """As `cpu.keep`: x where the mask holds, else 0."""
    return array_module(x).where(mask, x, x.dtype.type(0))


def floor_divide(x: Array, y: Array) -> Array:
    """As `cpu.floor_divide`: ⌊x / y⌋, exact. CuPy's `//` rounds the quotient first: 1 // 0.1 is 10.

    Of integers by 0 it is 0, as with `remainder` and `fmod`: an error would take a look at y, which waits for the GPU.
    """
    xp = array_module(x, y)
    if _integral(xp, x, y):
        return x // y
    rest = xp.fmod(x, y)  # exact
    y = y if hasattr(y, "dtype") else rest.dtype.type(y)
    quotient = xp.subtract(x, rest, dtype="float32" if rest.dtype == "float16" else rest.dtype) / y
    quotient = quotient - ((rest != 0) & ((rest < 0) != (y < 0)))
    z = xp.floor(quotient)
    z = (z + (quotient - z > 0.5)).astype(rest.dtype)
    return xp.where(xp.equal(y, 0), x / y, xp.where(z == 0, xp.copysign(z, x / y), z))


def remainder(x: Array, y: Array) -> Array:
    """As `cpu.remainder`: x − y ⌊x / y⌋ with the sign of y, exact. CuPy's `%` has the error of its `//`."""
    xp = array_module(x, y)
    if _integral(xp, x, y):
        return x % y
    rest = xp.fmod(x, y)
    moved = xp.where((rest < 0) != (y < 0), rest + y, rest)
    return xp.where(rest == 0, xp.copysign(rest, y), moved)


def fmod(x: Array, y: Array) -> Array:
    """As `cpu.fmod`: x − y · trunc(x / y), with the sign of x."""
    return array_module(x, y).fmod(x, y)


def _integral(xp: ModuleType, x: Array, y: Array) -> bool:
    return bool(xp.result_type(x, y).kind != "f")
