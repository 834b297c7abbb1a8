"""Kernels in CUDA C++: when they are used, and how a source becomes something to call.

Array code reads and writes all of its arrays at each of its operations; a kernel of our own does in one pass over
memory what a formula needs. Each stands beside the array code that defines it, has its result, and takes its place
where there is a compiler: for CuPy's arrays of floats, unless `set_compiled(False)` (or TINYGRAD_MED_CUDA_KERNELS=0)
forbids it. CuPy compiles a source at its first use and keeps what comes out in its cache on disk (`compiling`).

In a source T is the dtype of the arrays, and A what is computed in: float, or double for float64. Sizes are numbers of
64 bits; what a kernel multiplies them to may be as long as memory is.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

from tinygrad_med.backend import Array, array_module

TYPES = {"float16": ("float16", "float"), "float32": ("float", "float"), "float64": ("double", "double")}
"""Per dtype T and A."""

MANY_BLOCKS = 1056
"""Blocks of 256 threads that fill the largest cards: eight on each of 132 units."""

_wanted = os.environ.get("TINYGRAD_MED_CUDA_KERNELS", "1") != "0"


def get_compiled() -> bool:
    """Whether our own kernels are used where they can be."""
    return _wanted


def set_compiled(wanted: bool) -> None:
    """Use our own kernels where they can be, or the array code that defines them everywhere."""
    global _wanted
    _wanted = wanted


def compiles(*arrays: Array) -> bool:
    """Whether our own kernels take these arrays: CuPy's, of one float dtype, not empty."""
    dtype = arrays[0].dtype
    return (
        _wanted
        and dtype.name in TYPES
        and all(a.size and a.dtype == dtype for a in arrays)
        and hasattr(array_module(*arrays), "RawKernel")
    )


class Kernel:
    """A kernel of CUDA C++.

    Args:
        name: the kernel's name in the source.
        source: its text.

    Called with `blocks` and `threads`, the arguments, and by name the dtype `T` and what `#define` says. Python's
    integers arrive as `long long`, its floats as `double`, arrays as pointers to their first element.
    """

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def __call__(
        self, blocks: tuple[int, ...], threads: tuple[int, ...], *arguments: Any, T: str, **defined: Any
    ) -> None:
        """Have it run."""
        self.compiled(T, **defined)(blocks, threads, arguments)

    @functools.cache  # noqa: B019 - kernels live as long as the package
    def compiled(self, T: str, **defined: Any) -> Any:
        """What CuPy makes of the source for these definitions."""
        return importlib.import_module("cupy").RawKernel(self.text(T, **defined), self.name)

    def text(self, T: str, **defined: Any) -> str:
        """The source with its definitions."""
        storage, computed = TYPES[T]
        lines = ["#include <cupy/float16.cuh>"] * (T == "float16")
        lines += [f"typedef {storage} T;", f"typedef {computed} A;"]
        lines += [f"#define {name} {value}" for name, value in defined.items()]
        return "\n".join([*lines, self.source])
