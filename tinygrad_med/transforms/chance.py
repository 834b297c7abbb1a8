"""Transforms that change a picture at random; each draws from the generator that `manual_seed` starts, as dropout does.

Within a `DataLoader` the loader's own numbers take its place, so that workers change no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.random import rand, randint, randperm
from tinygrad_med.transforms import functional as F
from tinygrad_med.transforms.fixed import Transform
from tinygrad_med.transforms.functional import InterpolationMode


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(rand(1, dtype="float64").item())


def _integer(below: int) -> int:
    return int(randint(0, below, (1,)).item())


def _happens(p: float) -> bool:
    return _uniform(0, 1) < p


def _probability(p: float, operation: str) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{operation}: p={p} is not a probability; give a number from 0 to 1")
    return p


class RandomHorizontalFlip(Transform):
    """Left and right change places with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability(p, "RandomHorizontalFlip")

    def __call__(self, img: Any) -> Any:
        """The picture, perhaps flipped."""
        return F.hflip(img) if _happens(self.p) else img


class RandomVerticalFlip(Transform):
    """Above and below change places with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability(p, "RandomVerticalFlip")

    def __call__(self, img: Any) -> Any:
        """The picture, perhaps flipped."""
        return F.vflip(img) if _happens(self.p) else img


class RandomGrayscale(Transform):
    """In grey with probability p, in as many channels as before."""

    def __init__(self, p: float = 0.1) -> None:
        self.p = _probability(p, "RandomGrayscale")

    def __call__(self, img: Any) -> Any:
        """The picture, perhaps in grey."""
        channels = 3 if (img.shape[-3] == 3 if isinstance(img, Tensor) else img.mode != "L") else 1
        return F.rgb_to_grayscale(img, channels) if _happens(self.p) else img


class RandomCrop(Transform):
    """A part of the picture, at a random place.

    Args:
        size: (height, width), or one number for both.
        padding: see `functional.pad`; done before.
        pad_if_needed: pad on both sides a picture that is too small.
        fill, padding_mode: see `functional.pad`.

    Raises:
        ValueError: when called with a picture that is too small.
    """

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = F._pair(size, "RandomCrop")
        self.padding, self.pad_if_needed, self.fill, self.padding_mode = padding, pad_if_needed, fill, padding_mode

    def __call__(self, img: Any) -> Any:
        """The part."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        (h, w), (height, width) = self.size, F.size_of(img, "RandomCrop")
        if self.pad_if_needed and (width < w or height < h):
            img = F.pad(img, [max(w - width, 0), max(h - height, 0)], self.fill, self.padding_mode)
            height, width = F.size_of(img, "RandomCrop")
        if height < h or width < w:
            raise ValueError(
                f"RandomCrop: the picture of {height}×{width} pixels is smaller than the part of {h}×{w}; resize it "
                "before, or give pad_if_needed=True"
            )
        return F.crop(img, _integer(height - h + 1), _integer(width - w + 1), h, w)


class RandomResizedCrop(Transform):
    """A part of random size, shape and place, resized.

    Args:
        size: (height, width), or one number for both.
        scale: least and largest share of the area.
        ratio: least and largest width for one of height, drawn evenly by their logarithm.
        interpolation, antialias: see `functional.resize`.
    """

    def __init__(
        self,
        size: Any,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: Any = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        self.size = F._pair(size, "RandomResizedCrop")
        if not (0 < scale[0] <= scale[1] and 0 < ratio[0] <= ratio[1]):
            raise ValueError(f"RandomResizedCrop: {scale=}, {ratio=}; give (least, largest), above 0")
        self.scale, self.ratio, self.interpolation, self.antialias = scale, ratio, interpolation, antialias

    def place(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a part: of ten that are drawn, the first that fits, else the middle."""
        for _ in range(10):
            area = height * width * _uniform(*self.scale)
            shape = math.exp(_uniform(*map(math.log, self.ratio)))
            h, w = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
            if 0 < h <= height and 0 < w <= width:
                return _integer(height - h + 1), _integer(width - w + 1), h, w
        least, largest = self.ratio
        h, w = min(height, round(width / least)), min(width, round(height * largest))
        return (height - h) // 2, (width - w) // 2, h, w

    def __call__(self, img: Any) -> Any:
        """The part, resized."""
        place = self.place(*F.size_of(img, "RandomResizedCrop"))
        return F.resized_crop(img, *place, self.size, self.interpolation, self.antialias)


class RandomRotation(Transform):
    """Turned by a random angle.

    Args:
        degrees: the largest angle either way, or (least, largest), counter-clockwise.
        interpolation, expand, center, fill: see `functional.rotate`.
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: Any = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Any = 0,
    ) -> None:
        if isinstance(degrees, (int, float)):
            if degrees < 0:
                raise ValueError(f"RandomRotation: degrees={degrees} must not be negative; or give (least, largest)")
            degrees = (-degrees, degrees)
        if len(degrees) != 2:
            raise ValueError(f"RandomRotation: degrees={degrees}; give one number, or (least, largest)")
        self.degrees = tuple(map(float, degrees))
        self.interpolation, self.expand, self.center, self.fill = interpolation, expand, center, fill

    def __call__(self, img: Any) -> Any:
        """The turned picture."""
        return F.rotate(img, _uniform(*self.degrees), self.interpolation, self.expand, self.center, self.fill)


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue change at random, in random order.

    Args:
        brightness, contrast, saturation: x: the factor is between 1 − x, at least 0, and 1 + x; or (least, largest).
        hue: x: between −x and x, at most ½; or (least, largest).
    """

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        self.brightness, self.contrast = _range(brightness, "brightness"), _range(contrast, "contrast")
        self.saturation, self.hue = _range(saturation, "saturation"), _range(hue, "hue", 0.0, -0.5, 0.5)

    def __call__(self, img: Any) -> Any:
        """The picture in other colours."""
        changes = (
            (self.brightness, F.adjust_brightness),
            (self.contrast, F.adjust_contrast),
            (self.saturation, F.adjust_saturation),
            (self.hue, F.adjust_hue),
        )
        for k in randperm(4).tolist():
            bounds, change = changes[k]
            if bounds is not None:
                img = change(img, _uniform(*bounds))
        return img


def _range(value: Any, name: str, centre: float = 1.0, least: float = 0.0, most: float = math.inf) -> Any:
    """(least, largest), or `None` where nothing changes."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"ColorJitter: {name}={value} must not be negative; or give (least, largest)")
        value = (max(centre - value, 0.0) if centre else -value, centre + value)
    low, high = map(float, value)
    if not least <= low <= high <= most:
        raise ValueError(f"ColorJitter: {name}={value}; give numbers from {least} to {most}")
    return None if low == high == centre else (low, high)


class RandomApply(Transform):
    """With probability p all of some transforms, else none."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        self.transforms, self.p = transforms, _probability(p, "RandomApply")

    def __call__(self, img: Any) -> Any:
        """The picture, perhaps changed."""
        if _happens(self.p):
            for transform in self.transforms:
                img = transform(img)
        return img


class RandomChoice(Transform):
    """One of some transforms, with equal probability or in proportion to p."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None) -> None:
        if not transforms or (p is not None and (len(p) != len(transforms) or min(p) < 0 or not sum(p))):
            raise ValueError(f"RandomChoice: {len(transforms)} transforms, p={p}; give a weight ≥ 0 for each")
        self.transforms, self.p = transforms, p

    def __call__(self, img: Any) -> Any:
        """What one of them makes of the picture."""
        weights = self.p or [1.0] * len(self.transforms)
        u, k = _uniform(0, sum(weights)), 0
        while u >= weights[k] and k < len(weights) - 1:
            u, k = u - weights[k], k + 1
        return self.transforms[k](img)


class RandomOrder(Transform):
    """All of some transforms, in random order."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        """The picture after all of them."""
        for k in randperm(len(self.transforms)).tolist():
            img = self.transforms[k](img)
        return img
