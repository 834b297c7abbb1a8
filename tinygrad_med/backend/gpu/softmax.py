"""log softmax: one block for each row, which stays in the cache from its maximum to its result."""

from __future__ import annotations

from tinygrad_med.backend import Array, array_module

from .compiled import Kernel, compiles
from .sums import sum

ROW = """
// What the threads of a block have, added up or the largest of it.
__device__ A of_block(A value, bool add) {
  __shared__ A of_thread[128];
  of_thread[threadIdx.x] = value;
  __syncthreads();
  for (int half = 64; half; half /= 2) {
    if (threadIdx.x < half) {
      A other = of_thread[threadIdx.x + half], mine = of_thread[threadIdx.x];
      of_thread[threadIdx.x] = add ? mine + other : other > mine || other != other ? other : mine;
    }
    __syncthreads();
  }
  A result = of_thread[0];
  __syncthreads();
  return result;
}
"""


def log_softmax(x: Array, dims: tuple[int, ...]) -> Array:
    """As `cpu.log_softmax`: xᵢ − log Σⱼ eˣⱼ over `dims`, of what is not empty."""
    if not _rows(x, dims):
        xp = array_module(x)
        shifted = x - x.max(dims, keepdims=True)
        return shifted - xp.log(sum(xp.exp(shifted), dims, keepdims=True))
    z = array_module(x).empty_like(x)
    _log_softmax((len(x),), (128,), x, z, x.shape[1], T=x.dtype.name)
    return z


_log_softmax = Kernel(
    "log_softmax",
    ROW
    + """
extern "C" __global__ void log_softmax(const T* x, T* z, long long length) {
  x += blockIdx.x * length; z += blockIdx.x * length;
  A most = A(x[0]), total = 0;
  for (long long i = threadIdx.x; i < length; i += 128) {
    A value = A(x[i]);
    if (value > most || value != value) most = value;
  }
  most = of_block(most, false);
  for (long long i = threadIdx.x; i < length; i += 128) total += exp(A(x[i]) - most);
  A logarithm = log(of_block(total, true));
  for (long long i = threadIdx.x; i < length; i += 128) z[i] = T(A(x[i]) - most - logarithm);
}
""",
)


def log_softmax_backward(g: Array, z: Array, dims: tuple[int, ...]) -> Array:
    """As `cpu.log_softmax_backward`: g − eᶻ Σ g over `dims`."""
    if not (_rows(z, dims) and compiles(g, z) and g.shape == z.shape):
        return g - array_module(z).exp(z) * sum(g, dims, keepdims=True)
    xp = array_module(z)
    dx = xp.empty_like(z)
    _log_softmax_backward((len(z),), (128,), xp.ascontiguousarray(g), z, dx, z.shape[1], T=z.dtype.name)
    return dx


_log_softmax_backward = Kernel(
    "log_softmax_backward",
    ROW
    + """
extern "C" __global__ void log_softmax_backward(const T* g, const T* z, T* dx, long long length) {
  g += blockIdx.x * length; z += blockIdx.x * length; dx += blockIdx.x * length;
  A total = 0;
  for (long long i = threadIdx.x; i < length; i += 128) total += A(g[i]);
  total = of_block(total, true);
  for (long long i = threadIdx.x; i < length; i += 128) dx[i] = T(A(g[i]) - exp(A(z[i])) * total);
}
""",
)


def _rows(x: Array, dims: tuple[int, ...]) -> bool:
    """Whether it is one of the rows of a matrix that a kernel can take."""
    return x.ndim == 2 and tuple(dims) in ((1,), (-1,)) and compiles(x) and bool(x.flags.c_contiguous)
