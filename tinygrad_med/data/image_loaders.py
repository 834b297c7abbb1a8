"""Folders of images as batches, for training, for validation and for use: files, transforms and loaders joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_med.data.grey import WindowChoice, chosen_window
from tinygrad_med.data.images import ImageFiles, common_window, label_of_folder, split_by_chance, split_by_folder
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.data.transforms import IMAGENET_GREY, Augment, Normalize, Resize


@dataclass(frozen=True)
class ImageDataset:
    """Files as items: a normalized array (C, H, W), and the label where there is one."""

    images: ImageFiles
    resize: Resize
    augment: Augment
    normalize: Normalize

    def __len__(self) -> int:
        return len(self.images)

    def item(self, i: int, rng: np.random.Generator | None) -> tuple[Any, ...]:
        """Image i; with a generator, changed at random."""
        x = self.normalize(*self.augment(self.resize(self.images.open(i), rng), rng))
        return (x,) if self.images.labels is None else (x, self.images.labels[i])


class ImageDataLoaders:
    """Loaders of images for training and for validation.

    Attributes:
        train, valid: the loaders; `train` shuffles, changes the images at random, and leaves out a last small batch.
        vocab: the names of the classes; labels are places in it.
        window: which numbers become black and white in pictures that are not of bytes, or `None`.
        path: the folder of the data set, if it came from one.
        loader: the class of the loaders.
    """

    loader: type[DataLoader] = DataLoader

    def __init__(
        self,
        train: ImageFiles,
        valid: ImageFiles,
        *,
        seed: int | None = None,
        item_tfms: Resize | None = None,
        batch_tfms: Augment | None = None,
        normalize: Normalize | None = None,
        bs: int = 64,
        num_workers: int = 2,
        skip_bad: bool = False,
        path: str | Path | None = None,
    ) -> None:
        if train.window is None:
            window = common_window(train, valid, workers=num_workers or 1)
            train, valid = replace(train, window=window), replace(valid, window=window)
        if skip_bad:
            train, valid = train.without_bad(), valid.without_bad()
        if len(train.vocab) < 2:
            raise ValueError(f"images: {', '.join(train.vocab)} is the only class; a classifier needs two at least")
        self.vocab, self.mode, self.window = train.vocab, train.mode, train.window
        self.path = None if path is None else Path(path)
        self.bs, self.num_workers, self.seed = bs, num_workers, 0 if seed is None else seed
        self.resize = item_tfms or Resize(224)
        self.augment = batch_tfms or Augment(None, False, 0, max_zoom=1, max_warp=0, max_lighting=0)
        self.normalize = normalize or (Normalize(*IMAGENET_GREY) if self.mode == "L" else Normalize())
        self.train = self._loader(train, shuffle=True, drop_last=True)
        self.valid = self._loader(valid)

    def _loader(self, images: ImageFiles, **options: Any) -> DataLoader:
        dataset = ImageDataset(images, self.resize, self.augment, self.normalize)
        return self.loader(dataset, self.bs, num_workers=self.num_workers, seed=self.seed, **options)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        train: str = "train",
        valid: str = "valid",
        valid_pct: float | None = None,
        seed: int | None = None,
        *,
        vocab: Sequence[str] | None = None,
        mode: str = "RGB",
        window: WindowChoice = None,
        bits: int | None = None,
        **options: Any,
    ) -> ImageDataLoaders:
        """Loaders of the images in class folders.

        Args:
            path: the folder with the folders `train` and `valid`, each of which holds the class folders; or, with
                `valid_pct`, with the class folders themselves.
            train, valid: what the two are called.
            valid_pct: the share of the images to set aside for validation. Images in one folder below a class, those of
                a patient, stay together.
            seed: of that choice, of the order and of the random changes; 0 unless given.
            vocab: the names of the class folders; by default those that are there, but for `test` and the like.
            mode: "RGB", or "L" for grey images as one channel.
            window, bits: see `images.open_image`. Without them, pictures of 16-bit numbers get the window of the least
                detector, of 8, 10, 12, 14 or 16 bits, that could have made all of them; DICOM files must agree on one.
            options: `item_tfms`, a `Resize`; `batch_tfms`, what `aug_transforms` returns; `normalize`; `bs`, the batch
                size; `num_workers`, the threads that decode ahead; `skip_bad`, leave out what can't be read.
        """
        window = chosen_window(window, bits)
        if valid_pct is None:
            sets = split_by_folder(path, train, valid, mode, vocab, window)
        else:
            sets = split_by_chance(path, valid_pct, seed or 0, mode, vocab, window)
        return cls(*sets, seed=seed, path=path, **options)

    def test_dl(self, files: Sequence[str | Path], with_labels: bool = False) -> DataLoader:
        """A loader of other images, in their order; their labels are their folders, as in training."""
        paths = [Path(file) for file in files]
        label = label_of_folder(self.vocab, self.path)
        labels = [label(path) for path in paths] if with_labels else None
        return self._loader(ImageFiles(paths, labels, self.vocab, self.mode, self.window))

    def decode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalized images back to pixels between 0 and 1."""
        return self.normalize.decode(x)
