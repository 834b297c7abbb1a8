"""What follows a convolution, done to each part of its result while that part is in the cache.

A network in use computes relu(scale · conv(x, w) + shift + plus): batch normalization with fixed statistics is a scale
and a shift per channel, a residual network adds the input of its block. Each of them alone is a pass over memory, which
costs more than its arithmetic; here there is none, as each part of the result is finished by the thread that made it.

This file knows parts of arrays (…, K) with the channels last; it doesn't know how they were made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Finish(NamedTuple):
    """relu(scale · y + shift + plus), each where it is wanted; y (N, *out, K) is finished in place, part by part."""

    scale: np.ndarray | None = None  # (K,)
    shift: np.ndarray | None = None  # (K,)
    plus: np.ndarray | None = None  # (N, *out, K)
    relu: bool = False

    def __call__(self, y: np.ndarray, place: tuple[Any, ...], channels: slice = slice(None)) -> None:
        """Finish y[place], of some channels or all."""
        key = (*place, ..., channels)
        part = y[key]
        if self.scale is not None:
            part *= self.scale[channels]
        if self.shift is not None:
            part += self.shift[channels]
        if self.plus is not None:
            part += self.plus[key]
        if self.relu:
            np.maximum(part, np.zeros(part.shape[-1], part.dtype), out=part)  # twice as fast as with the number 0


NOTHING = Finish()
