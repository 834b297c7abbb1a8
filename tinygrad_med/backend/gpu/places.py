"""Where windows lie, for kernels: one thread stays with one pixel, of the input or of the output, and one channel.

A kernel is compiled for the taps, strides, paddings and dilations that it meets, so that the compiler knows how long
its loops are; the sizes of input and output come when it is called. One and two axes are three, of which the first have
length 1. The threads of a block have several pixels and up to 64 numbers of each, neighbours in memory.
"""

from __future__ import annotations

from typing import Any

from tinygrad_med.backend.geometry import Geometry

from .compiled import Kernel

PLACES = """
#define SIZES long long n0, long long n1, long long n2, long long m0, long long m1, long long m2

struct Place { long long image; int at0, at1, at2; };

// Image, slice, row and column of a pixel, by its number.
__device__ Place place(long long pixel, int size0, int size1, int size2) {
  Place p;
  p.at2 = pixel % size2; pixel /= size2;
  p.at1 = pixel % size1; pixel /= size1;
  p.at0 = pixel % size0; p.image = pixel / size0;
  return p;
}

// The cell that a tap of a window reads, in the image; -1 outside.
__device__ long long read(int first0, int first1, int first2, int i0, int i1, int i2, int n0, int n1, int n2) {
  int at0 = first0 + i0 * D0, at1 = first1 + i1 * D1, at2 = first2 + i2 * D2;
  bool inside = at0 >= 0 && at0 < n0 && at1 >= 0 && at1 < n1 && at2 >= 0 && at2 < n2;
  return inside ? ((long long)at0 * n1 + at1) * n2 + at2 : -1;
}

// The window whose tap i reads a cell, along an axis with so many cells of padding before; less than 0 where none does.
__device__ int reader(int cell, int i, int before, int stride, int dilation, int windows) {
  int first = cell + before - i * dilation, window = first / stride;
  return window * stride == first && window < windows ? window : -1;
}

#define THREADS(pixels) \\
  long long pixel = blockIdx.x * (long long)blockDim.y + threadIdx.y; \\
  if (pixel >= pixels) return;

// For the window o of this pixel: all taps that lie in the image, the number of each, and the cell that it reads.
#define WINDOW Place o = place(pixel, m0, m1, m2); \\
  int first0 = o.at0 * S0 - B0, first1 = o.at1 * S1 - B1, first2 = o.at2 * S2 - B2; \\
  long long image = o.image * n0 * n1 * n2;
#define EACH_TAP \\
  for (int i0 = 0, tap = 0; i0 < K0; i0++) for (int i1 = 0; i1 < K1; i1++) for (int i2 = 0; i2 < K2; i2++, tap++) { \\
    long long cell = read(first0, first1, first2, i0, i1, i2, n0, n1, n2); \\
    if (cell < 0) continue; \\
    cell += image;

// For this pixel of the image: all windows that read it, the tap of each, and the window's number.
#define CELL Place p = place(pixel, n0, n1, n2);
#define EACH_READER \\
  for (int i0 = 0, tap = 0; i0 < K0; i0++) for (int i1 = 0; i1 < K1; i1++) for (int i2 = 0; i2 < K2; i2++, tap++) { \\
    int o0 = reader(p.at0, i0, B0, S0, D0, m0), o1 = reader(p.at1, i1, B1, S1, D1, m1); \\
    int o2 = reader(p.at2, i2, B2, S2, D2, m2); \\
    if (o0 < 0 || o1 < 0 || o2 < 0) continue; \\
    long long window = ((p.image * m0 + o0) * m1 + o1) * m2 + o2;
"""


class OverWindows(Kernel):
    """A kernel over windows: its source follows PLACES, its last parameters are SIZES."""

    def __init__(self, name: str, source: str) -> None:
        super().__init__(name, PLACES + source)

    def launch(
        self,
        geometry: Geometry,
        pixels: int,
        numbers: int,
        *arguments: Any,
        T: str,
        groups: int = 1,
        **defined: Any,
    ) -> None:
        """Have it run for so many pixels of so many numbers each."""
        across = min(64, 1 << (numbers - 1).bit_length())
        down = 256 // across
        blocks = -(-pixels // down), groups
        self(blocks, (across, down), *arguments, *self.sizes(geometry), T=T, **self.of_axes(geometry), **defined)

    @staticmethod
    def of_axes(geometry: Geometry) -> dict[str, int]:
        """What the source calls a geometry's kernel, stride, dilation and padding, along each of three axes."""
        found: dict[str, int] = {}
        of_axes = {
            "K": geometry.kernel,
            "S": geometry.stride,
            "D": geometry.dilation,
            "B": tuple(before for before, _ in geometry.padding),
            "E": tuple(after for _, after in geometry.padding),
        }
        for letter, values in of_axes.items():
            filler = (0 if letter in "BE" else 1,) * (3 - len(values))
            found |= {f"{letter}{i}": value for i, value in enumerate((*filler, *values))}
        return found

    @staticmethod
    def sizes(geometry: Geometry) -> tuple[int, ...]:
        """The arguments for SIZES."""
        ones = (1,) * (3 - len(geometry.size))
        return (*ones, *geometry.size, *ones, *geometry.out)
