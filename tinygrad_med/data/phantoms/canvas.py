"""What every picture is painted on: a block of pictures of 64×64 pixels, each with its own pose.

What differs from patient to patient (pose, size, contrast, noise) is drawn at random for a block of patients at once:
wherever an argument is a `Number`, it is one number for all of them or an array (n, 1, 1) with a number for each.

Coordinates run from -1 to 1, x to the right and y down, as a radiologist looks at them: the patient's right is on the
left of the picture. Grey runs from 0 (black) to 1 (white), and is cut to 8 bits at the very end.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

SIZE = 64  # pixels, in height and in width
GRID = np.linspace(-1, 1, SIZE, dtype=np.float32)
PIXEL = 2 / SIZE
BLOCK = 64  # patients painted together

Array: TypeAlias = NDArray[np.float32]
Pictures: TypeAlias = NDArray[np.uint8]
Number: TypeAlias = float | NDArray[np.floating[Any]]
Window: TypeAlias = tuple[slice, slice, slice]
EVERYWHERE: Window = (slice(None), slice(None), slice(None))


def one_if(condition: NDArray[np.bool_]) -> Array:
    """1 where it holds, 0 elsewhere, in the precision of the pixels."""
    return condition.astype(np.float32)


class Canvas:
    """`BLOCK` pictures that are painted together, each with its own pose.

    The pose is a pair of complex numbers: the anatomy's point z = x + iy lies at `shift + spin · z` of the picture,
    where `spin` turns by its angle and magnifies by its modulus.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.pixels = np.zeros((BLOCK, SIZE, SIZE), np.float32)  # (n, y, x)
        self.shift = np.zeros((BLOCK, 1, 1), np.complex64)
        self.spin = np.ones((BLOCK, 1, 1), np.complex64)

    # What differs from patient to patient

    def between(self, low: float, high: float) -> Array:
        """A number for each patient, uniform in [low, high)."""
        return self.rng.uniform(low, high, (BLOCK, 1, 1)).astype(np.float32)

    def some(self, share: float) -> Array:
        """1 for about this share of the patients, 0 for the others."""
        return one_if(self.between(0, 1) < share)

    def pose(self, shift: float, turn: float, zoom: tuple[float, float]) -> None:
        """Move by up to `shift` in x and y, turn by up to `turn` (radians), magnify by a factor within `zoom`."""
        self.shift = self.between(-shift, shift) + 1j * self.between(-shift, shift)
        self.spin = self.between(*zoom) * np.exp(1j * self.between(-turn, turn))

    # Shapes: arrays (n, y, x) that are 1 inside, 0 outside, and in between on the rim

    def frame(
        self, x: Number, y: Number, turn: Number = 0.0, a: Number = 1.0, b: Number = 1.0, window: Window = EVERYWHERE
    ) -> tuple[Array, Array]:
        """Each pixel's (u/a, v/b): its coordinates seen from the point (x, y), along axes turned by `turn`."""
        _, rows, columns = window
        origin = np.complex64(self.shift + self.spin * (x + 1j * y))
        axes = np.complex64(np.exp(-1j * turn) / self.spin)
        right = GRID[columns] - origin.real  # (n, 1, x)
        down = GRID[rows, None] - origin.imag  # (n, y, 1)
        u = (axes.real / a) * right - (axes.imag / a) * down
        v = (axes.imag / b) * right + (axes.real / b) * down
        return u, v  # (n, y, x)

    def inside(
        self,
        x: Number,
        y: Number,
        a: Number,
        b: Number,
        turn: Number = 0.0,
        *,
        boxy: bool = False,
        rim: float = 1.0,
        window: Window = EVERYWHERE,
    ) -> Array:
        """The ellipse (u/a)² + (v/b)² ≤ 1 about (x, y), its rim `rim` pixels wide.

        `boxy` takes fourth powers: a rectangle with round corners.
        """
        u, v = self.frame(x, y, turn, a, b, window)
        for _ in range(2 if boxy else 1):
            u *= u
            v *= v
        u += v  # 1 on the line, and growing there by (2 or 4)/min(a, b) per unit of length
        steep = np.float32(np.minimum(a, b) / ((4 if boxy else 2) * rim * PIXEL))
        u *= -steep
        u += steep + np.float32(0.5)
        return u.clip(0, 1, out=u)

    def window(self, x: Number, y: Number, reach: Number) -> Window:
        """The rows and columns that hold, in all pictures, what lies within `reach` of the point (x, y)."""
        centre = self.shift + self.spin * (x + 1j * y)
        radius = np.abs(self.spin) * reach

        def span(middle: Array) -> slice:
            return slice(*np.searchsorted(GRID, (np.min(middle - radius), np.max(middle + radius))))

        return slice(None), span(centre.imag), span(centre.real)

    def texture(self, grains: int) -> Array:
        """Smooth noise of unit variance or less, `grains` bumps from edge to edge."""
        knots = np.linspace(-1, 1, grains)
        blend = np.stack([np.interp(GRID, knots, one) for one in np.eye(grains)], axis=1).astype(np.float32)
        smooth: Array = blend @ self.rng.standard_normal((BLOCK, grains, grains), np.float32) @ blend.T
        return smooth

    # Paint

    def paint(self, shape: Array, grey: Number, opacity: Number = 1.0, window: Window = EVERYWHERE) -> None:
        """Cover what is there, where the shape is."""
        pixels = self.pixels[window]
        change = grey - pixels
        change *= shape
        change *= opacity
        pixels += change

    def ellipse(
        self,
        x: Number,
        y: Number,
        a: Number,
        b: Number,
        grey: Number,
        turn: Number = 0.0,
        opacity: Number = 1.0,
        *,
        boxy: bool = False,
        rim: float = 1.0,
    ) -> None:
        """Paint the shape `inside`, computing only the part of the picture where it lies."""
        window = self.window(x, y, 1.2 * np.maximum(a, b) + rim * PIXEL)
        self.paint(self.inside(x, y, a, b, turn, boxy=boxy, rim=rim, window=window), grey, opacity, window)

    def develop(self, noise: float, exposure: float = 0.0) -> Pictures:
        """The finished pictures, cut at black and at white.

        Standard deviations of the noise go up to `noise`. Films and MRI scans come out brighter or darker by up to
        the share `exposure`; CT is calibrated, and does not.
        """
        self.pixels *= 1 + self.between(-exposure, exposure)
        self.pixels += self.rng.standard_normal(self.pixels.shape, np.float32) * self.between(noise / 4, noise)
        return (self.pixels.clip(0, 1) * 255).astype(np.uint8)
