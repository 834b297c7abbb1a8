"""Transforms that change a picture at random; each draws from the generator that `manual_seed` starts, as dropout does.

Within a `DataLoader` the loader's own numbers take its place, so that workers change no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import tensor
from tinygrad_med.random import rand, randint, randn, randperm
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
        self.degrees = _between(degrees, "RandomRotation", "degrees")
        self.interpolation, self.expand, self.center, self.fill = interpolation, expand, center, fill

    def __call__(self, img: Any) -> Any:
        """The turned picture."""
        return F.rotate(img, _uniform(*self.degrees), self.interpolation, self.expand, self.center, self.fill)


class RandomAffine(Transform):
    """Turned, moved, scaled and sheared at random; the middle stays where it is, but for the move.

    Args:
        degrees: the largest angle either way, or (least, largest), clockwise.
        translate: the largest move to either side, and up or down, as shares of width and height.
        scale: (least, largest).
        shear: the largest angle along x either way; or (least, largest); or those along x, and those along y.
        interpolation, fill, center: see `functional.affine`.
    """

    def __init__(
        self,
        degrees: Any,
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: Any = None,
        interpolation: Any = InterpolationMode.NEAREST,
        fill: Any = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        self.degrees = _between(degrees, "RandomAffine", "degrees")
        if translate is not None and not (len(translate) == 2 and all(0 <= t <= 1 for t in translate)):
            raise ValueError(f"RandomAffine: translate={translate}; give shares of width and height, from 0 to 1")
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1]):
            raise ValueError(f"RandomAffine: scale={scale}; give (least, largest), above 0")
        if shear is not None:
            shear = _between(shear, "RandomAffine", "shear", also=4)
        self.translate, self.scale, self.shear = translate, scale, shear
        self.interpolation, self.fill, self.center = interpolation, fill, center

    def __call__(self, img: Any) -> Any:
        """The changed picture."""
        height, width = F.size_of(img, "RandomAffine")
        angle, move, scale, shear = _uniform(*self.degrees), (0, 0), 1.0, [0.0, 0.0]
        if self.translate is not None:
            most = self.translate[0] * width, self.translate[1] * height
            move = (round(_uniform(-most[0], most[0])), round(_uniform(-most[1], most[1])))
        if self.scale is not None:
            scale = _uniform(*self.scale)
        for k in range(0, len(self.shear or ()), 2):
            shear[k // 2] = _uniform(*self.shear[k : k + 2])
        return F.affine(img, angle, move, scale, shear, self.interpolation, self.fill, self.center)


def _between(value: Any, operation: str, name: str, also: int = 2) -> tuple[float, ...]:
    """(least, largest), of one number from its negative; or twice so many numbers."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"{operation}: {name}={value} must not be negative; or give (least, largest)")
        return -float(value), float(value)
    if len(value) not in (2, also):
        raise ValueError(f"{operation}: {name}={value}; give one number, or (least, largest)")
    return tuple(map(float, value))


class GaussianBlur(Transform):
    """Blurred by a random standard deviation.

    Args:
        kernel_size: see `functional.gaussian_blur`.
        sigma: the deviation, or (least, largest).
    """

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)) -> None:
        sizes = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
        if any(n < 1 or n % 2 == 0 for n in sizes):
            raise ValueError(f"GaussianBlur: kernel_size={kernel_size}; give odd numbers")
        self.kernel_size = kernel_size
        self.sigma = (float(sigma),) * 2 if isinstance(sigma, (int, float)) else tuple(map(float, sigma))
        if len(self.sigma) != 2 or not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"GaussianBlur: sigma={sigma}; give one number, or (least, largest), above 0")

    def __call__(self, img: Any) -> Any:
        """The blurred picture."""
        return F.gaussian_blur(img, self.kernel_size, _uniform(*self.sigma))


class RandomErasing(Transform):
    """With probability p a rectangle of a tensor is painted over (Zhong et al. 2020, arXiv:1708.04896).

    Args:
        p: the probability.
        scale: least and largest share of the area.
        ratio: least and largest height for one of width, drawn evenly by their logarithm.
        value: a number, one for each channel, or "random": normal numbers, one for each pixel.
        inplace: paint into the tensor itself.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        if not (0 <= scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]):
            raise ValueError(f"RandomErasing: {scale=}, {ratio=}; give (least, largest), the scale from 0 to 1")
        if isinstance(value, str) and value != "random":
            raise ValueError(f"RandomErasing: value={value!r}; give a number, one for each channel, or 'random'")
        self.p, self.scale, self.ratio = _probability(p, "RandomErasing"), scale, ratio
        self.value, self.inplace = value, inplace

    def __call__(self, img: Tensor) -> Tensor:
        """The image, perhaps with a rectangle painted over; of ten that are drawn, the first that fits."""
        if len(getattr(img, "shape", ())) < 3:
            what = type(img).__name__
            raise TypeError(f"RandomErasing: needs a tensor (…, C, H, W), got {what}; put it behind ToTensor()")
        channels, height, width = img.shape[-3:]
        value = [self.value] if isinstance(self.value, (int, float)) else self.value
        if not isinstance(value, str) and len(value) not in (1, channels):
            raise ValueError(f"RandomErasing: value={self.value} has no number for each of {channels} channels")
        if not _happens(self.p):
            return img
        for _ in range(10):
            area = height * width * _uniform(*self.scale)
            shape = math.exp(_uniform(*map(math.log, self.ratio)))
            h, w = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if h < height and w < width:
                i, j = _integer(height - h + 1), _integer(width - w + 1)
                v = randn(channels, h, w) if value == "random" else tensor(value, dtype=img.dtype).reshape(-1, 1, 1)
                return F.erase(img, i, j, h, w, v.to(img.device, img.dtype), self.inplace)
        return img


class _Perhaps(Transform):
    """What one function does, with probability p."""

    change: Callable[..., Any]

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability(p, type(self).__name__)

    def __call__(self, img: Any) -> Any:
        """The picture, perhaps changed."""
        arguments = [value for name, value in vars(self).items() if name != "p"]
        return type(self).change(img, *arguments) if _happens(self.p) else img


class RandomInvert(_Perhaps):
    """The negative, with probability p; see `functional.invert`."""

    change = staticmethod(F.invert)


class RandomAutocontrast(_Perhaps):
    """From black to white, with probability p; see `functional.autocontrast`."""

    change = staticmethod(F.autocontrast)


class RandomEqualize(_Perhaps):
    """With all values about as common, with probability p; see `functional.equalize`."""

    change = staticmethod(F.equalize)


class RandomPosterize(_Perhaps):
    """With a few bits for each value, with probability p; see `functional.posterize`."""

    change = staticmethod(F.posterize)

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        self.bits = bits


class RandomSolarize(_Perhaps):
    """With its light values inverted, with probability p; see `functional.solarize`."""

    change = staticmethod(F.solarize)

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold


class RandomAdjustSharpness(_Perhaps):
    """Smoother or sharper, with probability p; see `functional.adjust_sharpness`."""

    change = staticmethod(F.adjust_sharpness)

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.sharpness_factor = sharpness_factor


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
