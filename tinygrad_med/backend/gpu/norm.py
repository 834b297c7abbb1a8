"""Per-channel sums and scaling, and batch normalization made of them, each in one or two passes over memory.

    y = γ · (x − μ) / √(σ² + ε) + β,        μ, σ²: mean and (biased) variance of each channel over (N, H, W)

The sums are taken in two stages, since one block per channel would leave most of a card idle: first many blocks add up
a share of the rows each, then a few add up the shares. Sixteen numbers at a time are added in the dtype of x (float16
in float32), these sums in float64. Nothing is added atomically, so the same inputs give the same bits.

The array code above each kernel's use says what it computes.
"""

from __future__ import annotations

from typing import Any

from tinygrad_med.backend import Array, array_module

from .compiled import MANY_BLOCKS, Kernel, compiles
from .elementwise import relu, relu_backward
from .layout import empty_like, pixels, rows
from .sums import sum

# What is done with each number --------------------------------------------------------------------------------------

EACH = """
// Rows of `width` numbers are one pixel of `channels` numbers, or several side by side. A thread stays in its column.
extern "C" __global__ void each(const T* x, PARAMETERS T* y, long long rows, long long width, long long channels) {
  long long column = blockIdx.y * 32 + threadIdx.x, step = gridDim.x * 8LL;
  if (column >= width) return;
  long long channel = column % channels;
  CONSTANTS
  #pragma unroll 4
  for (long long row = blockIdx.x * 8LL + threadIdx.y; row < rows; row += step) {
    long long i = row * width + column;
    INSIDE
    y[i] = T(VALUE);
  }
}
"""


class Each:
    """A kernel that makes of every number another one, with constants per channel: y = value(x, constants).

    Args:
        parameters: those beside x and y.
        constants: the statements for a channel.
        value: the expression for a number.
        inside: statements before it.
    """

    def __init__(self, parameters: str, constants: str, value: str, inside: str = "") -> None:
        text = EACH.replace("PARAMETERS", parameters).replace("CONSTANTS", constants)
        text = text.replace("VALUE", value).replace("INSIDE", inside)
        self.kernel = Kernel("each", text)

    def __call__(self, x: Array, *parameters: Array) -> Array:
        """x and y (N, C, *size), other parameters as large as x already in its rows, or (C,)."""
        folded, y = _folded(rows(x), x.shape[1]), empty_like(x)
        blocks = _blocks(folded, 8 * MANY_BLOCKS)
        parameters = tuple(array_module(x).ascontiguousarray(p) for p in parameters)
        self.kernel(blocks, (32, 8), folded, *parameters, rows(y), *folded.shape, x.shape[1], T=x.dtype.name)
        return y


# Sums over rows -------------------------------------------------------------------------------------------------------

SHARES = """
// Each block adds up a share of the rows for 32 columns; of several sums side by side, one row of `shares` each.
extern "C" __global__ void shares(
    const T* x, PARAMETERS double* shares, long long rows, long long width, long long channels) {
  __shared__ double of_block[SUMS][8][33];
  long long column = blockIdx.y * 32 + threadIdx.x, step = gridDim.x * 8LL;
  double total[SUMS] = {};
  if (column < width) {
    long long channel = column % channels;
    CONSTANTS
    for (long long first = blockIdx.x * 8LL + threadIdx.y; first < rows; first += 16 * step) {
      A sum[SUMS] = {};
      #pragma unroll
      for (int k = 0; k < 16; k++) {
        long long row = first + k * step, i = row * width + column;
        if (row < rows) { ADD }
      }
      for (int s = 0; s < SUMS; s++) total[s] += sum[s];
    }
  }
  for (int s = 0; s < SUMS; s++) of_block[s][threadIdx.y][threadIdx.x] = total[s];
  __syncthreads();
  if (threadIdx.y < SUMS && column < width) {
    double sum = 0;
    for (int k = 0; k < 8; k++) sum += of_block[threadIdx.y][k][threadIdx.x];
    shares[(blockIdx.x * SUMS + threadIdx.y) * width + column] = sum;
  }
}
"""

TOTALS = """
// The shares of 8 channels, added up by 32 threads each; the first of them finishes the channel.
extern "C" __global__ void totals(
    const double* shares, PARAMETERS long long blocks, long long width, long long channels) {
  __shared__ double of_thread[SUMS][32][8];
  long long channel = blockIdx.x * 8 + threadIdx.x;
  double total[SUMS] = {};
  if (channel < channels)
    for (long long block = threadIdx.y; block < blocks; block += 32)
      for (long long column = channel; column < width; column += channels)
        for (int s = 0; s < SUMS; s++) total[s] += shares[(block * SUMS + s) * width + column];
  for (int s = 0; s < SUMS; s++) of_thread[s][threadIdx.y][threadIdx.x] = total[s];
  __syncthreads();
  if (threadIdx.y || channel >= channels) return;
  for (int s = 0; s < SUMS; s++) {
    total[s] = 0;
    for (int k = 0; k < 32; k++) total[s] += of_thread[s][k][threadIdx.x];
  }
  FINISH
}
"""


class Sums:
    """Two kernels that take sums over the rows, and make something of them: many blocks, then a few.

    Args:
        sums: how many sums are taken side by side.
        add: the statement that adds to sum[0], sum[1], …
        finish: the statements that use total[0], total[1], …
        parameters, constants: of the first kernel, beside x.
        results: the parameters of the second kernel.
    """

    def __init__(
        self, sums: int, add: str, finish: str, results: str, parameters: str = "", constants: str = ""
    ) -> None:
        shares = SHARES.replace("PARAMETERS", parameters).replace("CONSTANTS", constants).replace("ADD", add)
        self.shares = Kernel("shares", shares)
        self.totals = Kernel("totals", TOTALS.replace("PARAMETERS", results).replace("FINISH", finish))
        self.sums = sums

    def __call__(self, x: Array, parameters: tuple[Array, ...], results: tuple[Any, ...]) -> None:
        """x (N, C, *size), parameters as large as x already in its rows."""
        channels = x.shape[1]
        folded, T = _folded(rows(x), channels), x.dtype.name
        blocks = _blocks(folded, MANY_BLOCKS)
        shares = array_module(x).empty((blocks[0] * self.sums + 1, folded.shape[1]))  # and a row for the constants
        self.shares(blocks, (32, 8), folded, *parameters, shares, *folded.shape, channels, T=T, SUMS=self.sums)
        self.totals(
            (-(-channels // 8),), (8, 32), shares, *results, blocks[0], folded.shape[1], channels, T=T, SUMS=self.sums
        )


def _folded(x: Array, channels: int) -> Array:
    """(pixels, C) → (rows, repeats · C): pixels side by side until there is a number for each of 32 threads."""
    repeats = 1
    while repeats * channels < 32 and len(x) % (2 * repeats) == 0:
        repeats *= 2
    return x.reshape(len(x) // repeats, repeats * channels)


def _blocks(x: Array, most: int) -> tuple[int, int]:
    """How many blocks of 8 rows and 32 columns: down, at most about `most` in all, and across."""
    across = -(-x.shape[1] // 32)
    return min(-(-len(x) // 8), max(1, most // across)), across


# The functions ------------------------------------------------------------------------------------------------------


def channel_sum(x: Array) -> Array:
    """As `cpu.channel_sum`: Σ x over all dims but the channels."""
    if not compiles(x):
        return sum(x, _all_but_channels(x))
    z = array_module(x).empty(x.shape[1], x.dtype)
    _channel_sum(x, (), (z,))
    return z


_channel_sum = Sums(1, add="sum[0] += A(x[i]);", results="T* z,", finish="z[channel] = T(total[0]);")


def scale_shift(x: Array, scale: Array, shift: Array) -> Array:
    """As `cpu.scale_shift`: x · scale + shift, with one scale and one shift per channel."""
    scale, shift = scale.astype(x.dtype, copy=False), shift.astype(x.dtype, copy=False)
    if not compiles(x):
        return x * _per_channel(scale, x) + _per_channel(shift, x)
    return _scale_shift(x, scale, shift)


_scale_shift = Each(
    "const T* scale, const T* shift,", "A a = A(scale[channel]), b = A(shift[channel]);", "A(x[i]) * a + b"
)


def batch_norm(x: Array, weight: Array, bias: Array, mean: Array, invstd: Array) -> Array:
    """As `cpu.batch_norm`: weight · (x − mean) · invstd + bias, with one of each per channel."""
    if not compiles(x, weight, bias):
        scale = weight * invstd
        return scale_shift(x, scale, bias - mean * scale)
    return _batch_norm(x, weight, bias, mean, invstd)


WITH_STATISTICS = "const T* weight, const T* bias, const double* mean, const double* invstd,"
A_AND_B = """double scale = double(weight[channel]) * invstd[channel];
  A a = A(scale), b = A(double(bias[channel]) - mean[channel] * scale);"""
_batch_norm = Each(WITH_STATISTICS, A_AND_B, "A(x[i]) * a + b")


def batch_norm_relu(
    x: Array, weight: Array, bias: Array, mean: Array, invstd: Array, plus: Array | None = None
) -> Array:
    """As `cpu.batch_norm_relu`: max(weight · (x − mean) · invstd + bias + plus, 0), with one of each per channel."""
    if not compiles(x, weight, bias, *([] if plus is None else [plus])):
        y = batch_norm(x, weight, bias, mean, invstd)
        return relu(y if plus is None else y + plus)
    if plus is None:
        return _batch_norm_relu(x, weight, bias, mean, invstd)
    return _batch_norm_plus_relu(x, weight, bias, mean, invstd, rows(plus))


_batch_norm_relu = Each(WITH_STATISTICS, A_AND_B, "v < 0 ? A(0) : v", "A v = A(x[i]) * a + b;")
_batch_norm_plus_relu = Each(
    WITH_STATISTICS + "const T* plus,", A_AND_B, "v < 0 ? A(0) : v", "A v = A(x[i]) * a + b + A(plus[i]);"
)


def batch_norm_stats(x: Array) -> tuple[Array, Array]:
    """As `cpu.batch_norm_stats`: mean and biased variance of each channel in float64."""
    dims = _all_but_channels(x)
    mean = x.mean(dims, dtype="float64")
    deviation = x - _per_channel(mean, x)
    return mean, (deviation * deviation).mean(dims, dtype="float64")


def batch_norm_update(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    momentum: float,
    eps: float,
    batches: Array | None = None,
) -> tuple[Array, Array]:
    """As `cpu.batch_norm_update`: mean and 1/√(σ² + ε) of each channel; running statistics move towards them."""
    xp, count = array_module(x), pixels(x)
    running = [v for v in (running_mean, running_var) if v is not None]
    if not compiles(x, *running) or not all(v.flags.c_contiguous for v in running):
        mean, var = batch_norm_stats(x)
        _move(running_mean, mean, momentum)
        _move(running_var, var * (count / (count - 1)), momentum)
        if batches is not None:
            batches += 1
        return mean, 1 / xp.sqrt(var + eps)
    mean, invstd = xp.empty((2, x.shape[1]))
    r_mean, r_var = (xp.empty(x.shape[1], x.dtype) if v is None else v for v in (running_mean, running_var))
    batches = xp.empty((), "int64") if batches is None else batches
    numbers = float(count), float(momentum), float(eps)
    _batch_norm_update(x, (), (mean, invstd, r_mean, r_var, batches, *numbers))
    return mean, invstd


def _move(running: Array | None, to: Array, momentum: float) -> None:
    if running is not None:
        running += (momentum * (to - running)).astype(running.dtype)


# With d = x − s:  μ = s + ⟨d⟩ and σ² = ⟨d²⟩ − ⟨d⟩² for any s, but digits are lost unless s is near μ (Chan, Golub,
# LeVeque 1983). A number of the channel itself, its first, is near enough.
_batch_norm_update = Sums(
    2,
    constants="""A s = A(x[channel]);
    if (blockIdx.x == 0 && threadIdx.y == 0) shares[gridDim.x * SUMS * width + column] = double(s);""",
    add="A d = A(x[i]) - s; sum[0] += d; sum[1] += d * d;",
    results="""double* mean, double* invstd, T* running_mean, T* running_var, long long* batches,
    double count, double momentum, double eps,""",
    finish="""
  double d = total[0] / count, var = total[1] / count - d * d;
  if (var < 0) var = 0;
  mean[channel] = shares[blocks * SUMS * width + channel] + d;
  invstd[channel] = 1 / sqrt(var + eps);
  var *= count / (count - 1);
  T m = running_mean[channel], v = running_var[channel];
  running_mean[channel] = T(A(m) + A(T(momentum * (mean[channel] - double(m)))));
  running_var[channel] = T(A(v) + A(T(momentum * (var - double(v)))));
  if (channel == 0) ++*batches;
""",
)


def batch_norm_backward(g: Array, x: Array, weight: Array, mean: Array, invstd: Array) -> tuple[Array, Array, Array]:
    """As `cpu.batch_norm_backward`: ∂x, ∂γ, ∂β of y = γ·x̂ + β with x̂ = (x − μ)·invstd."""
    if not compiles(g, x, weight):
        dims, count = _all_but_channels(x), x.size // x.shape[1]
        normalized = (x - _per_channel(mean, x)) * _per_channel(invstd, x)
        d_bias, d_weight = sum(g, dims), sum(g * normalized, dims)
        dx = g - _per_channel(d_bias / count, x) - normalized * _per_channel(d_weight / count, x)
        return dx * _per_channel(weight * invstd, x), d_weight, d_bias
    xp, channels, of_x = array_module(x), x.shape[1], rows(x)
    d_weight, d_bias, factors = xp.empty(channels, x.dtype), xp.empty(channels, x.dtype), xp.empty((3, channels))
    results = xp.ascontiguousarray(weight), mean, invstd, d_weight, d_bias, factors, float(pixels(x))
    _batch_norm_sums(g, (of_x, mean), results)
    return _batch_norm_input(g, of_x, mean, factors), d_weight, d_bias


OF_SUMS: dict[str, Any] = {
    "results": """const T* weight, const double* mean, const double* invstd, T* d_weight, T* d_bias, double* factors,
    double count,""",
    "finish": """
  double by = double(weight[channel]) * invstd[channel];
  d_bias[channel] = T(total[0]);
  d_weight[channel] = T(total[1] * invstd[channel]);
  factors[channel] = by;
  factors[channels + channel] = -by * invstd[channel] * invstd[channel] * total[1] / count;
  factors[2 * channels + channel] = -by * total[0] / count;
""",
}
OF_INPUT = (
    """A m = A(mean[channel]), a = A(factors[channel]), b = A(factors[channels + channel]);
  A c = A(factors[2 * channels + channel]);""",
    "a * g + b * (A(of_x[i]) - m) + c",
)
_batch_norm_sums = Sums(
    2,
    parameters="const T* of_x, const double* mean,",
    constants="A m = A(mean[channel]);",
    add="A g = A(x[i]); sum[0] += g; sum[1] += g * (A(of_x[i]) - m);",
    **OF_SUMS,
)
_batch_norm_input = Each("const T* of_x, const double* mean, const double* factors,", *OF_INPUT, "A g = A(x[i]);")


def batch_norm_relu_backward(
    g: Array, z: Array, x: Array, weight: Array, mean: Array, invstd: Array, plus: bool
) -> tuple[Array, Array, Array, Array | None]:
    """As `cpu.batch_norm_relu_backward`: ∂x, ∂γ, ∂β, and ∂plus if there was one, of z = `batch_norm_relu`(x, …)."""
    if not compiles(g, z, x, weight):
        g = relu_backward(g, z)
        return (*batch_norm_backward(g, x, weight, mean, invstd), g if plus else None)
    xp, channels, of_x, of_z = array_module(x), x.shape[1], rows(x), rows(z)
    d_weight, d_bias, factors = xp.empty(channels, x.dtype), xp.empty(channels, x.dtype), xp.empty((3, channels))
    results = xp.ascontiguousarray(weight), mean, invstd, d_weight, d_bias, factors, float(pixels(x))
    _batch_norm_relu_sums(g, (of_x, of_z, mean), results)
    if not plus:
        return _batch_norm_relu_input(g, of_x, of_z, mean, factors), d_weight, d_bias, None
    d_plus = empty_like(x)
    dx = _batch_norm_plus_relu_input(g, of_x, of_z, mean, factors, rows(d_plus))
    return dx, d_weight, d_bias, d_plus


_batch_norm_relu_sums = Sums(
    2,
    parameters="const T* of_x, const T* z, const double* mean,",
    constants="A m = A(mean[channel]);",
    add="A g = A(z[i]) > 0 ? A(x[i]) : A(0); sum[0] += g; sum[1] += g * (A(of_x[i]) - m);",
    **OF_SUMS,
)
_batch_norm_relu_input = Each(
    "const T* of_x, const T* z, const double* mean, const double* factors,",
    *OF_INPUT,
    "A g = A(z[i]) > 0 ? A(x[i]) : A(0);",
)
_batch_norm_plus_relu_input = Each(
    "const T* of_x, const T* z, const double* mean, const double* factors, T* d_plus,",
    *OF_INPUT,
    "A g = A(z[i]) > 0 ? A(x[i]) : A(0); d_plus[i] = T(g);",
)


def _all_but_channels(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _per_channel(v: Array, x: Array) -> Array:
    """(C,) in the dtype of x, with dims that broadcast against it."""
    return v.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 2))
