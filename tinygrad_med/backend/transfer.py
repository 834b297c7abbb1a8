"""Copies to a GPU that don't wait for it: from page-locked memory, by a stream of their own.

A GPU reads page-locked ("pinned") memory by itself, while it computes. So `to_gpu` asks a second stream for the copy
and returns at once. What follows on the main stream begins when the copy is done: it waits for an event, behind which
the copy is. The memory that receives it is taken from a few pieces that are used again and again; a piece is free when
no array looks at it any more, and a copy into it begins when the main stream has done what it was asked until then.
Without that second event the copy could overwrite what a step still reads.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.backend import Array, Device

MOST_FREE = 4
"""How many pieces of a size wait to be used again; more are given back to CuPy."""


def pin(array: Array) -> Array:
    """A copy of a NumPy array in page-locked memory.

    Raises:
        RuntimeError: without CUDA; it says what is missing.
    """
    cuda = backend.require_cupy().cuda
    if not array.size:
        return array.copy()
    pinned = numpy.ndarray(array.shape, array.dtype, cuda.alloc_pinned_memory(array.nbytes))
    pinned[...] = array
    return pinned


def to_gpu(array: Array, device: Device) -> Array:
    """A pinned array on a GPU. Until the copy is done its memory must not be written, and is kept.

    Raises:
        OutOfMemoryError: where the GPU has too little memory.
        RuntimeError: while a CUDA graph is captured.
    """
    cupy = backend.module_of(device)
    backend.refuse_copy_to_gpu()
    array = numpy.ascontiguousarray(array)
    if not array.size or not backend.is_pinned(array):  # nothing, or a view that had to be copied
        return cupy.asarray(array)
    lane = _lanes.setdefault(device.index or 0, _Lane(cupy))
    try:
        return lane.bring(array, device.index or 0)
    except MemoryError as error:
        raise backend.out_of_memory(f"to {device}", error) from error


class _Lane:
    """The second stream of a GPU, the pieces of memory at its end, and what is on its way."""

    def __init__(self, cupy: Any) -> None:
        self.cupy, self.stream = cupy, cupy.cuda.Stream(non_blocking=True)
        self.free: dict[int, list[tuple[Any, Any]]] = {}
        self.on_the_way: list[tuple[Any, Array]] = []

    def bring(self, array: Array, number: int) -> Array:
        cuda = self.cupy.cuda
        main = cuda.get_current_stream()
        free = self.free.get(array.nbytes)
        piece, released = free.pop() if free else (cuda.alloc(array.nbytes), main.record())
        self.stream.wait_event(released)  # until the main stream needs no more what was in this piece
        user = _User()
        weakref.finalize(user, self._release, array.nbytes, piece).atexit = False
        memory = cuda.UnownedMemory(piece.ptr, array.nbytes, user, number)
        arrived = self.cupy.ndarray(array.shape, array.dtype, cuda.MemoryPointer(memory, 0))
        arrived.data.copy_from_host_async(array.ctypes.data, array.nbytes, self.stream)
        done = self.stream.record()
        main.wait_event(done)
        self.on_the_way = [(event, source) for event, source in self.on_the_way if not event.done] + [(done, array)]
        return arrived

    def _release(self, size: int, piece: Any) -> None:
        """A piece that no array looks at any more: to be used when the main stream has come this far."""
        free = self.free.setdefault(size, [])
        if len(free) < MOST_FREE:
            free.append((piece, self.cupy.cuda.get_current_stream().record()))


class _User:
    """What an array on a piece, and every view of it, holds on to."""


_lanes: dict[int, _Lane] = {}
