"""AdrenalMNIST3D: 1,584 adrenal glands, volumes of 64³ voxels, normal or with hyperplasia (MedMNIST v2, CC BY 4.0).

A voxel is 255 in the gland and 0 around it: what there is to see is the shape. Here a volume becomes what an exam of
MRNet is, three series of slices, one along each axis. Most slices at a volume's rim are empty, so a series is taken
evenly from those within `reach` of its middle.

Yang et al. 2023, "MedMNIST v2", Scientific Data 10, 41. This file yields arrays, and knows nothing of tensors.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from tinygrad_med._files import naming_damage
from tinygrad_med.data.mrnet import Exam, pos_weight, standardize

COUNTS = {"train": 1188, "val": 98, "test": 298}
SIZE = 64  # voxels along each axis
URL = "https://medmnist.com"


class Volumes(Sequence[Exam]):
    """One split of the data set; `volumes[i]` gives the volume `i` as three series of slices.

    Args:
        file: adrenalmnist3d_64.npz
        split: "train", "val" or "test"
        slices: how many along each axis
        reach: how far from the middle they go, in voxels

    Attributes:
        volumes: (N, 64, 64, 64) uint8
        labels: (N, 1) float32, 1 for hyperplasia
        at: (slices,), where the slices are

    Raises:
        FileNotFoundError: where there is no such file
        ValueError: for a file that is damaged, or holds other volumes than were published
    """

    def __init__(self, file: str | os.PathLike[str], split: str = "train", *, slices: int = 8, reach: int = 20) -> None:
        if split not in COUNTS:
            raise ValueError(f"adrenal: there is no split {split!r}; give one of {', '.join(COUNTS)}")
        if not (0 <= reach < SIZE / 2 and slices > 0):
            raise ValueError(f"adrenal: reach={reach} must be less than {SIZE // 2}, slices={slices} at least 1")
        path = Path(file).expanduser()
        try:
            with naming_damage(f"adrenal: {path} is damaged or another file (…); get it from {URL}"):
                self.volumes, labels = _arrays(path, split)
        except FileNotFoundError:
            raise FileNotFoundError(f"adrenal: there is no {path}; get adrenalmnist3d_64.npz from {URL}") from None
        shape = (COUNTS[split], SIZE, SIZE, SIZE)
        if self.volumes.shape != shape or self.volumes.dtype != np.uint8 or labels.shape != (len(self.volumes), 1):
            raise ValueError(
                f"adrenal: {path} has {split} volumes {self.volumes.dtype} {self.volumes.shape} and labels "
                f"{labels.shape}, not uint8 {shape}; get adrenalmnist3d_64.npz from {URL}"
            )
        self.labels: NDArray[np.float32] = labels.astype(np.float32)
        self.at = (SIZE / 2 + np.linspace(-reach, reach, slices)).astype(np.int64)

    def __len__(self) -> int:
        return len(self.volumes)

    @overload
    def __getitem__(self, index: int) -> Exam: ...

    @overload
    def __getitem__(self, index: slice) -> list[Exam]: ...

    def __getitem__(self, index: int | slice) -> Exam | list[Exam]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        volume = self.volumes[index]
        series = [np.moveaxis(volume, axis, 0)[self.at] for axis in range(3)]
        return Exam([standardize(one.astype(np.float32)) for one in series], self.labels[index])

    @property
    def pos_weight(self) -> NDArray[np.float32]:
        """(1,), the negatives over the positives."""
        return pos_weight(self.labels, ("hyperplasia",), "adrenal: volume")


def _arrays(path: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The volumes and labels in the file, whose volumes are not unfolded if they are more than were published."""
    name = f"{split}_images"
    with path.open("rb") as opened:
        with zipfile.ZipFile(opened) as archive:
            if archive.getinfo(f"{name}.npy").file_size > COUNTS[split] * SIZE**3 + 1024:
                raise ValueError(f"its {name} are more than were published")
        opened.seek(0)
        with np.load(opened, allow_pickle=False) as arrays:
            return arrays[name], arrays[f"{split}_labels"]
