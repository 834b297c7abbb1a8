"""Winograd's algorithm: stride-1 convolution with 2 to 5 times fewer multiplications.

**Why it works.** Multiplying a polynomial of r coefficients by one of m takes r·m multiplications by hand. But the
product has t = m + r − 1 coefficients, so its values at t points determine it: evaluate both factors at t points,
multiply point by point (t multiplications instead of r·m), and interpolate. Let Eₙ evaluate n coefficients at t points,
Eₙ[j, i] = pⱼⁱ; the last point is ∞, where the leading coefficient counts. Then

    w · g  =  E_t⁻¹ [(E_r w) ⊙ (E_m g)]

Convolution is this product seen from another side: Σᵢ dᵢ (w · g)ᵢ is linear in the data d, the kernel w and the
gradient g, and leaving one of the three out gives a face of convolution. With A = E_m, G = E_r and B = E_t⁻¹:

    y = Aᵀ [(G w) ⊙ (Bᵀ d)]      t data, r taps → m outputs: called F(m, r)
    ∂w = Gᵀ [(A g) ⊙ (Bᵀ d)]
    ∂d = B [(G w) ⊙ (A g)]

In two dimensions each matrix acts on rows and on columns; on flattened tiles that is its Kronecker square. F(4×4, 3×3)
needs 36 multiplications where the definition needs 144. With channels, over which products are summed, ⊙ turns into t²
matrix products, V (tiles, C) · U (C, K), so the work goes where BLAS is good.

**What it costs.** The transforms, which are matrix products as well; and digits, since intermediate values are larger
than the result, the more so the more points. Relative to float64 the error is 1e-6 to 5e-6, where the plain float32
product has 2e-7, and F(2, 3) no more than that. The error grows with the largest number of a tile, and an infinity or
NaN would spread over it; `outlying` finds the images where that matters.

S. Winograd, Arithmetic Complexity of Computations (1980); A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural
Networks (CVPR 2016). Interpolation by points is Cook's and Toom's.

This file knows C-contiguous float32 arrays (N, H, W, C), and windows with stride 1, without dilation, without groups.
It doesn't know when it is wanted.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinygrad_med.backend.geometry import Geometry

from .finish import NOTHING, Finish
from .layout import Chunk, chunks, padded_rows, spans, windows
from .threads import parallel_for, parallel_sum

# The points besides ∞, of which F(m, r) takes the first m + r − 2. Small numbers in pairs p, −1/p lose the fewest
# digits: F(4, 3) errs by 1.2e-6 with these, by 1.9e-6 with Lavin and Gray's 0, ±1, ±2.
POINTS = (0, 1, -1, 2, -1 / 2, -2)
OUTPUTS = {3: (2, 4, 5), 5: (2, 3)}  # r → the m that pay: a smaller one saves less, a larger one costs more digits
CHUNK_BYTES = 3 << 20  # of transformed tiles that one thread works on at a time
FEW_CHANNELS = 7  # of the data, up to which the transforms cost more than the multiplications that they save
WEIGHT_TILES = 20  # to transform a weight costs as much as multiplying it with so many tiles
OUTLIER = 1000  # times the mean magnitude of an image: from there on a number is too large for its tile
SAMPLE = 1 << 12  # of about so many numbers is that mean taken
FEW_TILES = 1 / 4  # tiles per input channel up to which it pays to cut the work by output channels, not by tiles


class Transforms(NamedTuple):
    """The Kronecker squares of F(m, r)'s matrices."""

    A: np.ndarray  # (t², m²)
    G: np.ndarray  # (t², r²)
    B: np.ndarray  # (t², t²)


@functools.cache
def transforms(m: int, r: int) -> Transforms:
    """The matrices of F(m×m, r×r), made from the interpolation points."""
    t = m + r - 1

    def evaluate(n: int) -> np.ndarray:  # (t, n): the values of n coefficients at the points; at ∞ the last one's
        return np.vstack([np.vander(POINTS[: t - 1], n, increasing=True), np.eye(n)[-1:]])

    A, G, B = (
        np.kron(matrix, matrix).astype(np.float32) for matrix in (evaluate(m), evaluate(r), np.linalg.inv(evaluate(t)))
    )
    return Transforms(A, G, B)


def suits(geometry: Geometry) -> bool:
    """Whether the algorithm is made for these windows."""
    kernel = geometry.kernel
    square = len(kernel) == 2 and kernel[0] == kernel[1]
    return square and kernel[0] in OUTPUTS and geometry.stride == (1, 1) and geometry.dilation == (1, 1)


def pays(x: np.ndarray, geometry: Geometry) -> bool:
    """Whether it saves more multiplications of x (N, H, W, C) than the transforms cost; few channels or tiles don't."""
    tiling, pixels = Tiling(x, geometry), len(x) * geometry.out[0] * geometry.out[1]
    plain, cost = pixels * tiling.r**2, (tiling.count + WEIGHT_TILES) * tiling.t**2  # of a pair of channels, in and out
    return x.shape[3] > FEW_CHANNELS and plain > cost


def outlying(x: np.ndarray) -> np.ndarray:
    """For which images of x (N, H, W, C) the algorithm errs too much: (N,) bools.

    A tile is computed from sums of all its numbers, so a number of M leaves an error of about 1e-6 · M in all of its
    tile, also at pixels whose window doesn't see it (and an infinity or NaN spoils them). Among numbers of ordinary
    size that is nothing; beside one that is a thousand times as large, metal in a CT, it is. To
    look costs about a hundredth of the convolution; the mean magnitude comes from a sample.
    """
    flat = x.reshape(len(x), math.prod(x.shape[1:]))
    blocks, few = spans(flat.shape[1], x.itemsize), max(1, flat.shape[1] // SAMPLE) | 1  # odd: it meets all channels
    largest, mean = np.zeros((len(flat), len(blocks), 2)), np.zeros(len(flat))

    def image(i: int) -> None:
        for j, block in enumerate(blocks):
            largest[i, j] = flat[i, block].max(), -flat[i, block].min()
        mean[i] = np.abs(flat[i, ::few]).mean()

    parallel_for(image, len(flat) if flat.size else 0)
    top = largest.max((1, 2), initial=0)
    found: np.ndarray = ~(top <= OUTLIER * mean) | ~np.isfinite(top)
    return found


def correlate(x: np.ndarray, w: np.ndarray, geometry: Geometry, finish: Finish = NOTHING) -> np.ndarray:
    """x (N, H, W, C), w (K, C, r, r) → y (N, OH, OW, K), finished."""
    tiling = Tiling(x, geometry)
    y = np.empty((len(x), *geometry.out, len(w)), x.dtype)
    todo, blocks = tiling.chunks(x.shape[3], len(w)), tiling.blocks(x.shape[3], len(w))

    def store(M: np.ndarray, chunk: Chunk, block: slice) -> None:
        tiling.store(_apply(tiling.A.T, M), y[..., block], chunk)
        finish(y, tiling.pixels(chunk), block)

    if blocks is None:
        U = _weights_in(w.swapaxes(0, 1), tiling)  # (t², C, K)
        parallel_for(lambda i: store(tiling.data(x, todo[i]) @ U, todo[i], slice(None)), len(todo))
    elif todo:
        V = _all_tiles(tiling.data, x, todo, tiling)

        def some_channels(i: int) -> None:
            U = _weights_in(w[blocks[i]].swapaxes(0, 1), tiling)  # (t², C, some of K)
            store(V @ U, tiling.everything, blocks[i])

        parallel_for(some_channels, len(blocks))
    return y


def weight_gradient(x: np.ndarray, g: np.ndarray, geometry: Geometry) -> np.ndarray:
    """x (N, H, W, C), g (N, OH, OW, K) → ∂w (K, C, r, r)."""
    tiling = Tiling(x, geometry)
    dw = np.zeros((g.shape[3], x.shape[3], *geometry.kernel), x.dtype)
    todo, blocks = tiling.chunks(x.shape[3], g.shape[3]), tiling.blocks(x.shape[3], g.shape[3])

    if not todo:
        return dw
    if blocks is None:
        dU = parallel_sum(lambda i: tiling.gradient(g, todo[i]).transpose(0, 2, 1) @ tiling.data(x, todo[i]), len(todo))
        _weights_out(dU, tiling, dw)
    else:
        V, dM = _all_tiles(tiling.data, x, todo, tiling), _all_tiles(tiling.gradient, g, todo, tiling)

        def some_channels(i: int) -> None:
            _weights_out(dM[:, :, blocks[i]].transpose(0, 2, 1) @ V, tiling, dw[blocks[i]])

        parallel_for(some_channels, len(blocks))
    return dw


class Tiling:
    """How the output is cut into tiles of m×m, each made from t×t data; chunks count in rows of tiles."""

    def __init__(self, x: np.ndarray, geometry: Geometry) -> None:
        self.geometry, self.r = geometry, geometry.kernel[0]

        def cost(m: int) -> int:
            tiles = len(x) * -(-geometry.out[0] // m) * -(-geometry.out[1] // m)
            return (tiles + WEIGHT_TILES) * (m + self.r - 1) ** 2

        self.m = min(OUTPUTS[self.r], key=cost)
        self.t = self.m + self.r - 1
        self.down, self.across = -(-geometry.out[0] // self.m), -(-geometry.out[1] // self.m)
        self.A, self.G, self.B = transforms(self.m, self.r)
        self.everything = Chunk(slice(0, len(x)), slice(0, self.down))
        self.count = len(x) * self.down * self.across

    def chunks(self, in_channels: int, out_channels: int) -> list[Chunk]:
        """Chunks of tiles whose transforms fit the cache, but outweigh the weights', which each product reads anew."""
        (images, _), t2 = self.everything, 4 * self.t**2
        row_bytes, weight_bytes = t2 * self.across * (in_channels + out_channels), t2 * in_channels * out_channels
        return chunks(images.stop, self.down, row_bytes, max(CHUNK_BYTES, weight_bytes))

    def blocks(self, in_channels: int, out_channels: int) -> list[slice] | None:
        """With few tiles: blocks of output channels, so that weights are transformed, used and dropped in the cache."""
        if self.count > FEW_TILES * in_channels:
            return None
        return [slice(k, k + 32) for k in range(0, out_channels, 32)]

    def span(self, chunk: Chunk) -> slice:
        """Where the tiles of a chunk stand among all tiles."""
        (images, rows), per_image = chunk, self.down * self.across
        return slice(
            images.start * per_image + rows.start * self.across,
            (images.stop - 1) * per_image + rows.stop * self.across,
        )

    def data(self, x: np.ndarray, chunk: Chunk, out: np.ndarray | None = None) -> np.ndarray:
        """V = Bᵀ d: (t², tiles, C)."""
        (top, _), (left, _) = self.geometry.padding
        return _apply(self.B.T, self._tiles(x, chunk, self.t, top, left), out)

    def gradient(self, g: np.ndarray, chunk: Chunk, out: np.ndarray | None = None) -> np.ndarray:
        """∂M = A g: (t², tiles, K)."""
        return _apply(self.A, self._tiles(g, chunk, self.m, 0, 0), out)

    def _tiles(self, a: np.ndarray, chunk: Chunk, size: int, top: int, left: int) -> np.ndarray:
        """Tiles of size×size pixels, a step of m apart, the first at (−top, −left): (size², tiles, C)."""
        rows, width = chunk.rows, (self.across - 1) * self.m + size
        count = (rows.stop - rows.start - 1) * self.m + size
        band = padded_rows(a, chunk.images, rows.start * self.m - top, count, [(left, width - left - a.shape[2])])
        v = windows(band, (rows.stop - rows.start, self.across), (size, size), (self.m, self.m), (1, 1))
        return np.ascontiguousarray(v.transpose(3, 4, 0, 1, 2, 5)).reshape(size * size, -1, a.shape[3])

    def pixels(self, chunk: Chunk) -> Chunk:
        """The images, and the rows of pixels, of a chunk of rows of tiles."""
        return Chunk(chunk.images, slice(chunk.rows.start * self.m, chunk.rows.stop * self.m))

    def store(self, tiles: np.ndarray, y: np.ndarray, chunk: Chunk) -> None:
        """Put tiles (m², tiles, K) in their places in y; what hangs over the right or lower end is cut off."""
        m, channels, part = self.m, y.shape[3], y[self.pixels(chunk)]
        down = chunk.rows.stop - chunk.rows.start
        shape = (len(part), down * m, self.across * m, channels)
        whole = part if part.shape == shape else np.empty(shape, y.dtype)
        places = whole.reshape(len(part), down, m, self.across, m, channels)
        places[...] = tiles.reshape(m, m, len(part), down, self.across, channels).transpose(2, 3, 0, 4, 1, 5)
        if whole is not part:
            part[...] = whole[:, : part.shape[1], : part.shape[2]]


def _all_tiles(transform: Callable[..., np.ndarray], a: np.ndarray, todo: list[Chunk], tiling: Tiling) -> np.ndarray:
    """What `transform` gives for all chunks of a (N, …, channels): (t², all tiles, channels)."""
    tiles = np.empty((tiling.t**2, tiling.count, a.shape[3]), a.dtype)
    parallel_for(lambda i: transform(a, todo[i], out=tiles[:, tiling.span(todo[i])]), len(todo))
    return tiles


def _weights_in(w: np.ndarray, tiling: Tiling) -> np.ndarray:
    """U = G w: (a, b, r, r) → (t², a, b)."""
    a, b, r, _ = w.shape
    U = np.empty((tiling.t**2, a, b), w.dtype)
    parts = spans(a, U[:, :1].nbytes)

    def part(i: int) -> None:
        taps = np.ascontiguousarray(w[parts[i]].transpose(2, 3, 0, 1)).reshape(r * r, -1, b)
        _apply(tiling.G, taps, out=U[:, parts[i]])

    parallel_for(part, len(parts))
    return U


def _weights_out(dU: np.ndarray, tiling: Tiling, dw: np.ndarray) -> None:
    """∂w = Gᵀ ∂U: (t², a, b) → dw (a, b, r, r)."""
    parts = spans(dU.shape[1], dU[:, :1].nbytes)

    def part(i: int) -> None:
        taps = _apply(tiling.G.T, dU[:, parts[i]])
        dw[parts[i]] = taps.reshape(tiling.r, tiling.r, *taps.shape[1:]).transpose(2, 3, 0, 1)

    parallel_for(part, len(parts))


def _apply(matrix: np.ndarray, tiles: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """matrix (a, b) times tiles (b, P, C) → (a, P, C).

    In blocks of columns: OpenBLAS multiplies without packing its operands first if the product is small, which here is
    1.1 to 1.7 times faster than one wide product.
    """
    if out is None:
        out = np.empty((len(matrix), *tiles.shape[1:]), tiles.dtype)
    wide, wide_out, block = tiles.reshape(len(tiles), -1), out.reshape(len(out), -1), 384
    even = wide.shape[1] // block * block
    np.matmul(
        matrix,
        wide[:, :even].reshape(len(wide), -1, block).transpose(1, 0, 2),
        out=wide_out[:, :even].reshape(len(out), -1, block).transpose(1, 0, 2),
    )
    np.matmul(matrix, wide[:, even:], out=wide_out[:, even:])
    return out
