"""From the numbers of a picture to 256 grey values, by one rule for a whole data set.

A *window* (low, high) is cut into 256 equal steps: low and all below become 0, and what lies in the last step or above
becomes 255. The numbers of a detector of b bits have the window (0, 2ᵇ). Two pictures under one window keep the order
of their numbers, and how they relate to each other; under windows of their own, made from their own largest numbers,
they would not. Knows NumPy alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, float]
OWN = "own"  # each file by the window that it has itself, as a viewer shows it
WindowChoice = Window | str | None
DEPTHS = (8, 10, 12, 14, 16)  # bits that detectors have


class GreyError(ValueError):
    """A file is whole, but nobody said which of its numbers are black and white."""


def window_of(bits: int) -> Window:
    """Of unsigned numbers of that many bits."""
    if not 1 <= bits <= 32:
        raise ValueError(f"images: bits={bits} must be between 1 and 32; a detector has 8 to 16")
    return 0.0, 2.0**bits


def depth_of(largest: int) -> int:
    """The least depth of a detector whose numbers go up to `largest`."""
    return next(depth for depth in DEPTHS if largest < 2**depth)


def chosen_window(window: WindowChoice, bits: int | None) -> WindowChoice:
    """What the user asked for with one of two arguments, or neither."""
    if bits is not None:
        if window is not None:
            raise ValueError(f"images: window={window} and bits={bits} say the same thing; give one of them")
        return window_of(bits)
    if isinstance(window, str):
        if window != OWN:
            raise ValueError(f"images: window={window!r} is unknown; give (low, high), or {OWN!r}")
        return window
    if window is not None and not (np.isfinite(window).all() and window[0] < window[1]):
        raise ValueError(f"images: window={window} must be two numbers, the lower one first")
    return window


def to_grey(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """⌊256 · (v − low) / (high − low)⌋ within 0 … 255; NaN becomes 0."""
    if values.dtype == np.uint16 and values.size > 2**16:  # by a table, ten times as fast
        return to_grey(np.arange(2**16, dtype=np.uint16), window)[values]
    low, high = window
    with np.errstate(over="ignore"):
        steps = np.floor((values.astype(np.float64) - low) * 256 / (high - low))  # exact at the steps' edges
    return np.nan_to_num(steps, nan=0, posinf=255, neginf=0).clip(0, 255).astype(np.uint8)
