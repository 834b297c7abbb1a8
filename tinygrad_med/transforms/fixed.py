"""Transforms that do the same to every picture, and those that put others together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.transforms import functional as F
from tinygrad_med.transforms.functional import InterpolationMode


class Transform:
    """What is called with a picture, and returns what became of it; it prints its arguments."""

    def __call__(self, img: Any) -> Any:
        """The changed picture."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(self, img)")

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({facts})"


class Compose(Transform):
    """Several transforms, one behind the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        """The picture after the last of them."""
        for transform in self.transforms:
            img = transform(img)
        return img


class Lambda(Transform):
    """A function of one's own."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda: needs a function, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        """What the function returns."""
        return self.lambd(img)


class ToTensor(Transform):
    """See `functional.to_tensor`: (H, W, C) bytes become (C, H, W) numbers from 0 to 1."""

    def __call__(self, pic: Any) -> Tensor:
        """The tensor."""
        return F.to_tensor(pic)


class PILToTensor(Transform):
    """See `functional.pil_to_tensor`: (C, H, W), the numbers unchanged."""

    def __call__(self, pic: Any) -> Tensor:
        """The tensor."""
        return F.pil_to_tensor(pic)


class ToPILImage(Transform):
    """See `functional.to_pil_image`."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        """The picture."""
        return F.to_pil_image(pic, self.mode)


class ConvertImageDtype(Transform):
    """See `functional.convert_image_dtype`."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def __call__(self, image: Tensor) -> Tensor:
        """The image in that dtype."""
        return F.convert_image_dtype(image, self.dtype)


class Normalize(Transform):
    """See `functional.normalize`: (x − mean) / std for each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = mean, std, inplace

    def __call__(self, tensor: Tensor) -> Tensor:
        """The normalized image."""
        return F.normalize(tensor, self.mean, self.std, self.inplace)


class Resize(Transform):
    """See `functional.resize`: (height, width), or the length of the shorter side."""

    def __init__(
        self,
        size: Any,
        interpolation: Any = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        self.size, self.interpolation, self.max_size, self.antialias = size, interpolation, max_size, antialias

    def __call__(self, img: Any) -> Any:
        """The resized picture."""
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)


class CenterCrop(Transform):
    """See `functional.center_crop`."""

    def __init__(self, size: Any) -> None:
        self.size = size

    def __call__(self, img: Any) -> Any:
        """The middle of the picture."""
        return F.center_crop(img, self.size)


class FiveCrop(Transform):
    """See `functional.five_crop`: the corners and the middle."""

    def __init__(self, size: Any) -> None:
        self.size = size

    def __call__(self, img: Any) -> Any:
        """The five parts."""
        return F.five_crop(img, self.size)


class TenCrop(Transform):
    """See `functional.ten_crop`: the corners and the middle, and those of the flipped picture."""

    def __init__(self, size: Any, vertical_flip: bool = False) -> None:
        self.size, self.vertical_flip = size, vertical_flip

    def __call__(self, img: Any) -> Any:
        """The ten parts."""
        return F.ten_crop(img, self.size, self.vertical_flip)


class Pad(Transform):
    """See `functional.pad`."""

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def __call__(self, img: Any) -> Any:
        """The padded picture."""
        return F.pad(img, self.padding, self.fill, self.padding_mode)


class Grayscale(Transform):
    """See `functional.rgb_to_grayscale`."""

    def __init__(self, num_output_channels: int = 1) -> None:
        self.num_output_channels = num_output_channels

    def __call__(self, img: Any) -> Any:
        """The picture in grey."""
        return F.rgb_to_grayscale(img, self.num_output_channels)
