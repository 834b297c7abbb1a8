"""Batches ahead of their step: while a GPU learns from one, the next is made, and copied from pinned memory.

A loss that is read waits for the GPU. Before that nothing does: the step was asked for, and the GPU is at work. So
that is when `fetch()` makes the next batch. All random numbers are drawn in the same order as without, on a CPU too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy

from tinygrad_med.backend import Device
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.creation import from_numpy


class Ahead:
    """The batches of an iterable, and the weight of each, one after the other.

    Args:
        batches: sequences of arrays or tensors, each with a number.
        device: where the tensors go; without a GPU every batch stays as it is, and is made when its turn comes.
    """

    def __init__(self, batches: Iterable[tuple[Any, float]], device: Device) -> None:
        self._batches, self._device = iter(batches), device
        self._made: tuple[Any, float] | None = None
        self._failed: Exception | None = None  # to be raised when it is the batch's turn; also that there is none

    def __iter__(self) -> Iterator[tuple[Any, float]]:
        return self

    def __next__(self) -> tuple[Any, float]:
        if self._made is None and self._failed is None:
            return self._make()
        if self._failed is not None:
            raise self._failed
        made, self._made = self._made, None
        assert made is not None
        return made

    def fetch(self) -> None:
        """Make the next batch now, where there is a GPU that has something to do meanwhile."""
        if self._device.type != "cuda" or self._made is not None or self._failed is not None:
            return
        try:
            self._made = self._make()
        except Exception as error:  # noqa: BLE001 - whatever a loader raises
            self._failed = error

    def _make(self) -> tuple[Any, float]:
        batch, weight = next(self._batches)
        if self._device.type == "cuda" and isinstance(batch, (tuple, list)):
            batch = tuple(self._sent(part) for part in batch)
        return batch, weight

    def _sent(self, part: Any) -> Any:
        """A tensor that is on its way to the GPU."""
        tensor = from_numpy(part) if isinstance(part, numpy.ndarray) else part
        if not isinstance(tensor, Tensor) or tensor.is_cuda or tensor.requires_grad:
            return part
        return sent(tensor, self._device)


def sent(x: Tensor, device: Device | str) -> Tensor:
    """x on its way to a GPU, from pinned memory, so that nobody waits; of the same class."""
    return wrap(x.pin_memory().to(device=device, non_blocking=True).array, into=type(x).__new__(type(x)))
