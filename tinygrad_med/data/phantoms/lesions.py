"""Chest radiographs with a planted lesion: images in which it is known where a network should look.

The pictures are the chest radiographs of `scans`, darkened a little. Every other one has a lesion, a soft ellipse
whose absorption adds to what lies behind it, at a random place of the inner part. Everybody, sick or healthy, wears an
electrode somewhere, which is smaller, sharp, and the brightest thing on the film: looking for brightness misleads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_med.data.phantoms.canvas import BLOCK, GRID, PIXEL, Canvas
from tinygrad_med.data.phantoms.scans import cxr

CLASSES = ("healthy", "lesion")
HEADROOM = 0.65  # of the scale is for the patient, the rest for the lesion
BETWEEN = 0.65  # lesions and electrodes have their centre within ± this, the picture being [-1, 1]
RADIUS = 0.14, 0.28  # in the same units, 4 to 9 pixels
CONTRAST = 0.2, 0.35
ELECTRODE = 0.06  # radius, 2 pixels


class Lesions(NamedTuple):
    """Pictures and the truth about them."""

    images: NDArray[np.uint8]
    """(n, 64, 64)"""
    labels: NDArray[np.int64]
    """(n,), 0 or 1: an index of `CLASSES`."""
    masks: NDArray[np.bool_]
    """(n, 64, 64), true where the lesion is, also under an electrode; all false for the healthy."""


def generate(n: int, seed: int = 0) -> Lesions:
    """Paint n radiographs, healthy and sick ones in turn; same seed, same bits."""
    if n < 1:
        raise ValueError(f"lesions.generate: n is {n}; ask for at least one image")
    rng = np.random.default_rng((seed, len(CLASSES)))
    blocks = range(-(-n // BLOCK))
    painted = [cxr(Canvas(np.random.default_rng((seed, 0, block)))) for block in blocks]
    patients = HEADROOM * np.concatenate(painted)[:n].astype(np.float32)  # 0 … 255 · HEADROOM
    labels = np.arange(n) % len(CLASSES)
    shapes = _ellipses(n, RADIUS, rng) * labels[:, None, None]
    contrast = 255 * rng.uniform(*CONTRAST, (n, 1, 1))
    images = (patients + contrast * shapes).clip(0, 250)
    images += (255 - images) * _ellipses(n, (ELECTRODE, ELECTRODE), rng)
    return Lesions(images.astype(np.uint8), labels, shapes >= 0.5)


def _ellipses(n: int, radius: tuple[float, float], rng: np.random.Generator) -> NDArray[np.floating[Any]]:
    """(n, 64, 64): 1 inside an ellipse, 0 outside, and falling in between over two pixels; 0.5 on the line."""
    x, y = rng.uniform(-BETWEEN, BETWEEN, (2, n, 1, 1))
    a, b = rng.uniform(*radius, (2, n, 1, 1))
    turn = rng.uniform(0, np.pi, (n, 1, 1))
    right, down = GRID - x, GRID[:, None] - y
    u = (np.cos(turn) * right + np.sin(turn) * down) / a
    v = (np.cos(turn) * down - np.sin(turn) * right) / b
    distance = (1 - np.hypot(u, v)) * np.minimum(a, b) / PIXEL  # pixels from the line, positive inside
    return (0.5 + distance / 2).clip(0, 1)
