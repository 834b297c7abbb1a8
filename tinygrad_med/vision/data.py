"""Loaders whose batches are tensors that can show themselves, and fastai's spelling of a few small things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from tinygrad_med import cuda
from tinygrad_med.backend import to_numpy
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.data import image_loaders, loader
from tinygrad_med.learner import pictures

T = TypeVar("T")


class TensorImage(Tensor):
    """Images (N, C, H, W), or one (C, H, W)."""

    __slots__ = ()

    def cuda(self, device: Any = None) -> Tensor:
        """On the GPU; unlike other tensors these stay where they are if there is none, so that a cell runs anywhere."""
        return self.to(device=device or "cuda") if cuda.is_available() else self

    def show(self, ctx: Any = None, **options: Any) -> Any:
        """Draw one image with values between 0 and 1 on matplotlib's axes `ctx`; returns the axes."""
        return pictures.show_image(to_numpy(self.array), ctx, **options)


class DataLoader(loader.DataLoader):
    """Batches as tensors."""

    normalize: Callable[..., Any]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for x, *y in super().__iter__():
            yield TensorImage(x), *map(Tensor, y)

    def decode(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """A batch with its images' pixels between 0 and 1 again."""
        x, *rest = batch
        return TensorImage(self.dataset.normalize.decode(to_numpy(x.array))), *rest  # type: ignore[attr-defined]


class ImageDataLoaders(image_loaders.ImageDataLoaders):
    """Loaders of images, for training and for validation."""

    loader = DataLoader

    def show_batch(self, max_n: int = 9) -> Any:
        """Show images of the first training batch, as a network would get them; returns the figure."""
        return pictures.show_batch(self, max_n)


def first(iterable: Iterable[T]) -> T:
    """Its first element."""
    for element in islice(iterable, 1):
        return element
    raise ValueError("first: there is no element")
