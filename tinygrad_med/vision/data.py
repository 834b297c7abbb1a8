"""Loaders whose batches are tensors that can show themselves, and fastai's spelling of a few small things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tinygrad_med import cuda
from tinygrad_med._files import optional
from tinygrad_med.backend import to_numpy
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.data import image_loaders, loader
from tinygrad_med.learner import pictures
from tinygrad_med.learner.ahead import sent

T = TypeVar("T")


class TensorImage(Tensor):
    """Images (N, C, H, W), or one (C, H, W)."""

    __slots__ = ()

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Tensor:  # noqa: ARG002 - PyTorch's argument
        """On the GPU; unlike other tensors these stay where they are if there is none, so that a cell runs anywhere."""
        return self.to(device=device or "cuda") if cuda.is_available() else self

    def show(self, ctx: Any = None, **options: Any) -> Any:
        """Draw one image with values between 0 and 1 on matplotlib's axes `ctx`; returns the axes."""
        return pictures.show_image(to_numpy(self.array), ctx, **options)


class DataLoader(loader.DataLoader):
    """Batches as tensors, on the GPU where there is one, as fastai's are; nobody waits for the copy there.

    Attributes:
        device: where they are instead.
    """

    normalize: Callable[..., Any]
    device: str | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        device = self.device or ("cuda" if cuda.is_available() else "cpu")
        for x, *y in super().__iter__():
            yield _there(TensorImage(x), device), *(_there(Tensor(part), device) for part in y)

    def decode(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """A batch with its images' pixels between 0 and 1 again."""
        x, *rest = batch
        return TensorImage(self.dataset.normalize.decode(to_numpy(x.array))), *rest  # type: ignore[attr-defined]


def _there(x: Tensor, device: str) -> Tensor:
    """x on a device, of the same class."""
    return x if device == "cpu" else sent(x, device)


class ImageDataLoaders(image_loaders.ImageDataLoaders):
    """Loaders of images, for training and for validation.

    Attributes:
        device: where their batches are; `None` for the GPU where there is one.
    """

    loader = DataLoader
    device: str | None = None

    def to(self, device: Any) -> ImageDataLoaders:
        """Let the batches be on this device; returns the loaders."""
        for one in (self, self.train, self.valid):
            one.device = str(device)  # type: ignore[union-attr]
        return self

    def _loader(self, images: Any, **options: Any) -> Any:
        made: Any = super()._loader(images, **options)
        made.device = self.device
        return made

    def show_batch(self, max_n: int = 9) -> Any:
        """Show images of the first training batch, as a network would get them; returns the figure."""
        return pictures.show_batch(self, max_n)

    def one(self, item: Any) -> Iterable[tuple[Any, ...]]:
        """A loader of one image: a file, a picture of Pillow's, or its pixels (H, W) or (H, W, 3) as uint8."""
        if isinstance(item, (str, Path)):
            return self.test_dl([item])
        if isinstance(item, Tensor):
            item = to_numpy(item.array)
        if isinstance(item, np.ndarray):
            if item.dtype != np.uint8 or not (item.ndim == 2 or (item.ndim == 3 and item.shape[2] == 3)):
                raise ValueError(
                    f"predict: got {item.dtype} {item.shape}; pixels must be uint8 and (H, W) or (H, W, 3), from 0 to "
                    "255; other pictures come by their file, which says what its numbers mean"
                )
            item = optional("PIL.Image", "an image of an array").fromarray(item)
        if getattr(item, "mode", None) not in ("1", "L", "P", "RGB", "RGBA"):
            raise TypeError(f"predict: needs a file, a picture of 8 bits or its pixels, got {type(item).__name__}")
        x = self.normalize(*self.augment(self.resize(item.convert(self.mode), None), None))
        return [(TensorImage(np.asarray(x)[None]),)]


def first(iterable: Iterable[T]) -> T:
    """Its first element."""
    for element in islice(iterable, 1):
        return element
    raise ValueError("first: there is no element")
