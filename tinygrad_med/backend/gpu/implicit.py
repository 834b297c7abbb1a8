"""Convolution without columns: a matrix product whose left factor is gathered while it is multiplied.

The columns of a convolution are its image many times over, nine times for 3×3 taps; to write and to read them is most
of what a convolution moves. Here a block of threads makes a tile of the result. It gathers sixteen terms of the sum at
a time into its shared memory, numbers of the image for the tile's rows and weights for its columns, and meanwhile
multiplies the sixteen before: each thread all pairs of eight numbers and eight, so that what is read once from shared
memory is used eight times. So the image is read, the result written, and nothing else.

    conv           result (pixels, K)             terms (*tap, channel)
    conv_weight    result (K, (*tap, channel))    terms: pixels, cut into shares, which a second kernel adds up

The gradient of the image is, with stride 1, a convolution of the gradient: `Geometry.turned`.

Where TF32 is allowed the tensor cores multiply. float16 has others: it stays with the columns and cuBLAS, like small
results, whose tiles would leave most of a card idle. Nothing is added atomically.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tinygrad_med import backend
from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry

from .compiled import Kernel, compiles
from .layout import channels_last, empty, pixels, rows
from .places import OverWindows

UNITS = 132
"""Of a large card; a result of fewer tiles leaves some of them idle."""
ENOUGH = 2 * UNITS
"""Blocks that keep a card busy."""


class Tile(NamedTuple):
    """What a block of 256 threads makes."""

    rows: int
    columns: int

    def blocks(self, rows: int, columns: int) -> int:
        """How many a result needs."""
        return -(-rows // self.rows) * -(-columns // self.columns)


TILES = Tile(128, 128), Tile(128, 64), Tile(64, 64)
SMALLEST = TILES[-1]
STEP = 16
"""Terms that are multiplied at a time."""


def suits(x: Array, other: Array, geometry: Geometry, features: int) -> bool:
    """Whether the convolution of x (N, C, *size), whose result has so many features, is made here; other: w or g."""
    return (
        x.dtype == "float32"
        and compiles(x, other)
        and geometry.groups == 1
        and math.prod(geometry.stride) * math.prod(geometry.kernel) > 1  # else a plain product does
        and x[0].size < 1 << 31
        and SMALLEST.blocks(len(x) * math.prod(geometry.out), features) >= UNITS
    )


def _tensor_cores(x: Array) -> bool:
    """Whether tensor cores shall multiply, in TF32; cards have them since 8.0."""
    return backend.tf32 and int(x.device.compute_capability) >= 80


PRODUCT = """
#define STEP 16
#define SUMS (ROWS * COLUMNS / 256)  // of each thread
#define THREAD ((int)threadIdx.x)

#if TENSOR_CORES
// A warp makes ROWS / 4 rows and COLUMNS / 2 columns, in products of 16 by 8 by 8 whose numbers its threads share.
#define PAD 8
#define OF_WARP(s) ((s) / 4 % (COLUMNS / 16) * 8 + THREAD / 128 * (COLUMNS / 2))
#define ROW(s) (THREAD / 32 % 4 * (ROWS / 4) + (s) / (COLUMNS / 4) * 16 + (s) / 2 % 2 * 8 + THREAD % 32 / 4)
#define COLUMN(s) (OF_WARP(s) + THREAD % 4 * 2 + (s) % 2)

// x in TF32, which has 10 bits: the instruction, and what it does.
__device__ A rounded(A x) {
#ifdef __CUDA_ARCH__
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
#else
  return isfinite(x) ? __uint_as_float((__float_as_uint(x) + 0x1000) & 0xffffe000) : x;
#endif
}

// d (16, 8) += a (16, 8) * b (8, 8): the instruction, and what it does.
__device__ void multiply_by_warp(A* d, const A* a, const A* b) {
#ifdef __CUDA_ARCH__
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
        "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#else
  int row = THREAD % 32 / 4, column = THREAD % 4 * 2;
  for (int k = 0; k < 8; k++) {
    A left[2], right[2];
    for (int i = 0; i < 2; i++) left[i] = __shfl_sync(~0u, a[k / 4 * 2 + i], row * 4 + k % 4);
    for (int j = 0; j < 2; j++) right[j] = __shfl_sync(~0u, b[k / 4], (column + j) * 4 + k % 4);
    for (int s = 0; s < 4; s++) d[s] += left[s / 2] * right[s % 2];
  }
#endif
}

__device__ void multiply(const A (*left)[ROWS + PAD], const A (*right)[COLUMNS + PAD], A* sum) {
  #pragma unroll
  for (int k = THREAD % 4; k < STEP; k += 8) {
    A a[ROWS / 64][4], b[COLUMNS / 16][2];
    #pragma unroll
    for (int i = 0; i < ROWS / 64; i++)
      #pragma unroll
      for (int n = 0; n < 4; n++) a[i][n] = left[k + n / 2 * 4][ROW(i * (COLUMNS / 4) + n % 2 * 2)];
    #pragma unroll
    for (int j = 0; j < COLUMNS / 16; j++)
      #pragma unroll
      for (int n = 0; n < 2; n++) b[j][n] = right[k + n * 4][OF_WARP(4 * j) + THREAD % 32 / 4];
    #pragma unroll
    for (int i = 0; i < ROWS / 64; i++)
      #pragma unroll
      for (int j = 0; j < COLUMNS / 16; j++) multiply_by_warp(sum + (i * (COLUMNS / 16) + j) * 4, a[i], b[j]);
  }
}

#else
#define PAD 4
#define rounded(x) (x)
struct alignas(4 * sizeof(A)) Four { A of[4]; };

// The sums of a thread are those of four neighbouring rows and columns, and of those that lie 64 further.
#define ROW(s) ((s) / (COLUMNS / 16) / 4 * 64 + THREAD / 16 * 4 + (s) / (COLUMNS / 16) % 4)
#define COLUMN(s) ((s) % (COLUMNS / 16) / 4 * 64 + THREAD % 16 * 4 + (s) % 4)

__device__ void multiply(const A (*left)[ROWS + PAD], const A (*right)[COLUMNS + PAD], A* sum) {
  #pragma unroll
  for (int k = 0; k < STEP; k++) {
    Four a[ROWS / 64], b[COLUMNS / 64];
    #pragma unroll
    for (int i = 0; i < ROWS / 64; i++) a[i] = *(const Four*)&left[k][ROW(4 * i * (COLUMNS / 16))];
    #pragma unroll
    for (int j = 0; j < COLUMNS / 64; j++) b[j] = *(const Four*)&right[k][COLUMN(4 * j)];
    #pragma unroll
    for (int i = 0; i < ROWS / 16; i++)
      #pragma unroll
      for (int j = 0; j < COLUMNS / 16; j++) sum[i * (COLUMNS / 16) + j] += a[i / 4].of[i % 4] * b[j / 4].of[j % 4];
  }
}
#endif

// Where the window of a pixel begins, and which of the numbers that it sees a term of its sum takes. ------------------

struct Window { int image, first0, first1, first2; };
struct Term { int at0, at1, at2, channel; };

__device__ void look(Window& w, long long pixel, long long pixels, int m0, int m1, int m2) {
  Place o = place(pixel, m0, m1, m2);
  w.image = o.image;
  w.first0 = pixel < pixels ? o.at0 * S0 - B0 : -(1 << 30);  // sees nothing
  w.first1 = o.at1 * S1 - B1;
  w.first2 = o.at2 * S2 - B2;
}

__device__ Term term(int number, int channels) {
  int tap = number / channels;
  if (tap >= K0 * K1 * K2) return {1 << 29, 0, 0, 0};  // nobody sees it
  return {tap / (K1 * K2) * D0, tap / K2 % K1 * D1, tap % K2 * D2, number % channels};
}

#define SEEN(w, t) seen(x, w, t, channels, next_pixel, next_channel, n0, n1, n2)
__device__ A seen(
    const T* x, const Window& w, const Term& t, int channels, int next_pixel, int next_channel,
    int n0, int n1, int n2) {
  int at0 = w.first0 + t.at0, at1 = w.first1 + t.at1, at2 = w.first2 + t.at2;
  if (at0 < 0 || at0 >= n0 || at1 < 0 || at1 >= n1 || at2 < 0 || at2 >= n2) return 0;
  long long of_image = (long long)w.image * (n0 * n1 * n2 * channels);
  return A(x[of_image + ((at0 * n1 + at1) * n2 + at2) * next_pixel + t.channel * next_channel]);
}
"""


class Product(OverWindows):
    """A kernel that multiplies: its source follows PRODUCT."""

    def __init__(self, name: str, source: str) -> None:
        super().__init__(name, PRODUCT + source)

    def multiply(
        self, x: Array, geometry: Geometry, tile: Tile, blocks: tuple[int, int], given: tuple[Array, ...], *counts: int
    ) -> None:
        """Have it gather from x, which may be channels first or last; `given` are the other arrays."""
        channels, first = x.shape[1], bool(x.flags.c_contiguous)
        steps = (1, math.prod(geometry.size)) if first else (channels, 1)  # to the next pixel, to the next channel
        arguments = x if first else channels_last(x), *given, *counts, channels, *steps
        defined = {
            **self.of_axes(geometry),
            "TENSOR_CORES": int(_tensor_cores(x)),
            "ROWS": tile.rows,
            "COLUMNS": tile.columns,
        }
        self(blocks, (256,), *arguments, *self.sizes(geometry), T=x.dtype.name, **defined)


def conv(x: Array, w: Array, *, geometry: Geometry) -> Array:
    """As `cpu.conv`, of what `suits`: x (N, C, *size), w (K, C, *kernel) → (N, K, *out)."""
    features, count = len(w), len(x) * math.prod(geometry.out)
    y = empty((len(x), features, *geometry.out), x)
    by_term = array_module(w).ascontiguousarray(w.transpose(*range(2, w.ndim), 1, 0))  # (*kernel, C, K)
    tile = next((tile for tile in TILES if _fills(tile, count, features)), SMALLEST)
    _conv.multiply(x, geometry, tile, (tile.blocks(count, features), 1), (by_term, channels_last(y)), count, features)
    return y


def _fills(tile: Tile, count: int, features: int) -> bool:
    return tile.blocks(count, features) >= ENOUGH and features > tile.columns // 2


_conv = Product(
    "convolve",
    """
extern "C" __global__ __launch_bounds__(256, 2) void convolve(
    const T* x, const T* weights, T* y, long long pixels, long long features,
    long long channels, long long next_pixel, long long next_channel, SIZES) {
  alignas(16) __shared__ A left[2][STEP][ROWS + PAD], right[2][STEP][COLUMNS + PAD];
  __shared__ Window windows[ROWS];
  int across = (features + COLUMNS - 1) / COLUMNS, terms = K0 * K1 * K2 * channels;
  long long first_row = blockIdx.x / across * (long long)ROWS, first_column = blockIdx.x % across * (long long)COLUMNS;
  if (THREAD < ROWS) look(windows[THREAD], first_row + THREAD, pixels, m0, m1, m2);
  __syncthreads();

  A sum[SUMS] = {}, next_left[ROWS / 16], next_right[COLUMNS / 16];
  long long column = first_column + THREAD % COLUMNS;
  for (int first = 0, side = 0; first < terms + STEP; first += STEP, side ^= 1) {
    if (first < terms) {
      Term t = term(first + THREAD % STEP, channels);
      #pragma unroll
      for (int i = 0; i < ROWS / 16; i++) next_left[i] = SEEN(windows[THREAD / STEP + 16 * i], t);
      #pragma unroll
      for (int i = 0; i < COLUMNS / 16; i++) {
        int k = first + THREAD / COLUMNS + i * (256 / COLUMNS);
        next_right[i] = k < terms && column < features ? A(weights[k * features + column]) : A(0);
      }
    }
    if (first) multiply(left[side ^ 1], right[side ^ 1], sum);
    if (first < terms) {
      #pragma unroll
      for (int i = 0; i < ROWS / 16; i++) left[side][THREAD % STEP][THREAD / STEP + 16 * i] = rounded(next_left[i]);
      #pragma unroll
      for (int i = 0; i < COLUMNS / 16; i++)
        right[side][THREAD / COLUMNS + i * (256 / COLUMNS)][THREAD % COLUMNS] = rounded(next_right[i]);
    }
    __syncthreads();
  }
  #pragma unroll
  for (int s = 0; s < SUMS; s++) {
    long long row = first_row + ROW(s), column = first_column + COLUMN(s);
    if (row < pixels && column < features) y[row * features + column] = T(sum[s]);
  }
}
""",
)


def conv_weight(x: Array, g: Array, *, geometry: Geometry) -> Array:
    """As `cpu.conv_weight`, of what `suits`: x (N, C, *size), g (N, K, *out) → (K, C, *kernel)."""
    xp, channels, features, count = array_module(x), x.shape[1], g.shape[1], pixels(g)
    taps = math.prod(geometry.kernel)
    terms = taps * channels
    tile = next((t for t in TILES if features > t.rows // 2 and terms > t.columns // 2), SMALLEST)
    tiles = tile.blocks(features, terms)
    of_share = STEP * -(-count // (STEP * -(-ENOUGH // tiles)))
    shares = xp.empty((-(-count // of_share), features, terms), x.dtype)
    counts = count, features, of_share
    _conv_weight.multiply(x, geometry, tile, (tiles, len(shares)), (rows(g), shares), *counts)
    dw = xp.empty((features, channels, *geometry.kernel), x.dtype)
    _add_shares((-(-dw.size // 32),), (32, 8), shares, dw, len(shares), dw.size, channels, taps, T=x.dtype.name)
    return dw


_conv_weight = Product(
    "convolve_weight",
    """
extern "C" __global__ __launch_bounds__(256, 2) void convolve_weight(
    const T* x, const T* g, T* shares, long long pixels, long long features, long long of_share,
    long long channels, long long next_pixel, long long next_channel, SIZES) {
  alignas(16) __shared__ A left[2][STEP][ROWS + PAD], right[2][STEP][COLUMNS + PAD];
  __shared__ Window windows[2][STEP];
  int terms = K0 * K1 * K2 * channels, across = (terms + COLUMNS - 1) / COLUMNS;
  long long first_row = blockIdx.x / across * (long long)ROWS;
  int first_column = blockIdx.x % across * COLUMNS;
  long long begin = blockIdx.y * of_share, end = min(begin + of_share, pixels);
  if (THREAD < STEP) look(windows[0][THREAD], begin + THREAD, end, m0, m1, m2);
  __syncthreads();

  A sum[SUMS] = {}, next_left[ROWS / 16], next_right[COLUMNS / 16];
  Term t = term(first_column + THREAD % COLUMNS, channels);
  long long row = first_row + THREAD % ROWS;
  int side = 0;
  for (long long first = begin; first < end + STEP; first += STEP, side ^= 1) {
    if (first < end) {
      #pragma unroll
      for (int i = 0; i < ROWS / 16; i++) {
        long long pixel = first + THREAD / ROWS + i * (256 / ROWS);
        next_left[i] = pixel < end && row < features ? A(g[pixel * features + row]) : A(0);
      }
      #pragma unroll
      for (int i = 0; i < COLUMNS / 16; i++)
        next_right[i] = SEEN(windows[side][THREAD / COLUMNS + i * (256 / COLUMNS)], t);
      if (THREAD < STEP) look(windows[side ^ 1][THREAD], first + STEP + THREAD, end, m0, m1, m2);
    }
    if (first > begin) multiply(left[side ^ 1], right[side ^ 1], sum);
    if (first < end) {
      #pragma unroll
      for (int i = 0; i < ROWS / 16; i++)
        left[side][THREAD / ROWS + i * (256 / ROWS)][THREAD % ROWS] = rounded(next_left[i]);
      #pragma unroll
      for (int i = 0; i < COLUMNS / 16; i++)
        right[side][THREAD / COLUMNS + i * (256 / COLUMNS)][THREAD % COLUMNS] = rounded(next_right[i]);
    }
    __syncthreads();
  }
  shares += blockIdx.y * features * terms;
  #pragma unroll
  for (int s = 0; s < SUMS; s++) {
    long long row = first_row + ROW(s), column = first_column + COLUMN(s);
    if (row < features && column < terms) shares[row * terms + column] = T(sum[s]);
  }
}
""",
)

_add_shares = Kernel(
    "add_shares",
    """
// A number of each share (features, taps, channels), added up by 8 threads, goes to its place in
// (features, channels, taps).
extern "C" __global__ void add_shares(
    const T* shares, T* dw, long long count, long long size, long long channels, long long taps) {
  __shared__ double of_thread[8][32];
  long long i = blockIdx.x * 32LL + threadIdx.x;
  double sum = 0;
  if (i < size) for (long long share = threadIdx.y; share < count; share += 8) sum += shares[share * size + i];
  of_thread[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y || i >= size) return;
  for (int k = 1; k < 8; k++) sum += of_thread[k][threadIdx.x];
  long long channel = i % channels, tap = i / channels % taps, feature = i / channels / taps;
  dw[(feature * channels + channel) * taps + tap] = T(sum);
}
""",
)
