"""MRNet: 1,370 exams of knees by MRI, as Stanford releases them (MRNet-v1.0, after one has signed an agreement).

An exam has a series of slices in each of three planes, and three labels: abnormal, ACL tear, meniscal tear.

    MRNet-v1.0/
        train-abnormal.csv, train-acl.csv, train-meniscus.csv     rows "0000,1": exam, label; no header
        train/axial/0000.npy, train/coronal/…, train/sagittal/…   (slices, 256, 256) uint8
        valid-…                                                   likewise

How many slices a series has differs from exam to exam and from plane to plane. Everything but the brightness is checked
when `Exams` is made, by the files' headers; the volumes are mapped into memory, and a series is read when it is asked
for. This file yields arrays, and knows nothing of tensors.

Bien et al. 2018, "Deep-learning-assisted diagnosis for knee magnetic resonance imaging", PLOS Medicine 15(11).
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from tinygrad_med._files import naming_damage, optional

PLANES = ("axial", "coronal", "sagittal")
LABELS = ("abnormal", "acl", "meniscus")
SIZE = 256  # pixels of a slice in the files, in height and in width
CROP = 224  # pixels of a slice that a network sees
MEAN, STD = 58.09, 49.73  # of the training split's pixels, between 0 and 255
COUNTS = {  # of the released splits: exams, and positives where they are published
    "train": {"exams": 1130, "abnormal": 913, "acl": 208, "meniscus": 397},
    "valid": {"exams": 120},
}

MAX_NAMED = 20  # exams that a warning names

Volume = NDArray[np.uint8]  # (slices, 256, 256)
Series = NDArray[np.float32]  # (slices, 3, 224, 224)


class Exam(NamedTuple):
    """What a network sees of an exam, and what it should say."""

    series: list[Series]  # by plane, in the order of PLANES
    labels: NDArray[np.float32]  # (labels,), 0 or 1


class Augmentation(NamedTuple):
    """A motion of the picture, the same for all slices of a series."""

    turn: float = 0.0  # degrees, counter-clockwise
    right: float = 0.0  # shares of the width
    down: float = 0.0  # shares of the height
    flip: bool = False  # left to right, before the rest

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Augmentation:
        """As the MRNet paper has it: turn up to 25°, shift up to 11%, flip one in two."""
        turn, right, down = rng.uniform(-1, 1, 3) * (25, 0.11, 0.11)
        return cls(float(turn), float(right), float(down), bool(rng.random() < 0.5))


class Exams(Sequence[Exam]):
    """One split of the data set; `exams[i]` reads the exam `i`, `exams[i:j]` a list of exams.

    Args:
        root: the folder MRNet-v1.0
        split: "train" or "valid"
        labels: which of LABELS to give, in this order
        check_counts: whether there must be as many exams and positives as were released; pass False for a subset
        shrink: 2 or 4 average as many pixels in height and in width, for machines that can't wait

    Attributes:
        ids: the exams' names, such as "0000", in the order of their numbers
        labels: (exams, labels) float32, 0 or 1
        label_names: the names of the labels

    Raises:
        FileNotFoundError: for a CSV file, or an exam's file, that is not there
        ValueError: for rows that are not "id,0" or "id,1", an exam that comes twice or not in each of the three CSV
            files, a volume of another shape or dtype, with NaN or damaged, other counts than were released. Each names
            the file and the exam
        ImportError: without pandas

    Warns:
        UserWarning: for exams that have a tear and yet are not abnormal; they are counted and named
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        labels: Sequence[str] = LABELS,
        *,
        check_counts: bool = True,
        shrink: int = 1,
    ) -> None:
        if split not in COUNTS:
            raise ValueError(f"mrnet: there is no split {split!r}; give 'train' or 'valid'")
        if not labels or set(labels) - set(LABELS):
            raise ValueError(f"mrnet: labels {list(labels)} must be one or more of {', '.join(LABELS)}")
        if shrink < 1 or CROP % shrink:
            raise ValueError(f"mrnet: shrink={shrink} must divide {CROP}; give 1, 2 or 4")
        self.root, self.split, self.label_names, self.shrink = Path(root).expanduser(), split, tuple(labels), shrink
        table = _read_labels(self.root, split)
        self.ids = list(table)
        if check_counts:
            _demand_released(self.root, split, table)
        self.labels = np.array([[table[i][name] for name in labels] for i in self.ids], np.float32)
        for exam in self.ids:
            for plane in PLANES:
                _map_volume(self._file(exam, plane), exam)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Exam: ...

    @overload
    def __getitem__(self, index: slice) -> list[Exam]: ...

    def __getitem__(self, index: int | slice) -> Exam | list[Exam]:
        if isinstance(index, slice):
            return [self.read(i) for i in range(*index.indices(len(self)))]
        return self.read(index)

    def read(self, index: int, rng: np.random.Generator | None = None) -> Exam:
        """The exam `index`; with a generator, each series moved as `Augmentation.draw` says.

        Raises:
            ValueError: for a series whose pixels are all the same, which can't be scaled
        """
        exam, series = self.ids[index], []
        for plane in PLANES:
            motion = None if rng is None else Augmentation.draw(rng)
            try:
                series.append(prepare(self.volume(index, plane), motion, self.shrink))
            except ValueError as error:
                raise ValueError(f"mrnet: {self._file(exam, plane)} (exam {exam}): {error}") from error
        return Exam(series, self.labels[index])

    def volume(self, index: int, plane: str) -> Volume:
        """A series as it is in its file, mapped into memory: (slices, 256, 256)."""
        exam = self.ids[index]
        return _map_volume(self._file(exam, plane), exam)

    @property
    def pos_weight(self) -> NDArray[np.float32]:
        """(labels,), as `pos_weight` says; raises a `ValueError` for a label that no exam has, or every one."""
        return pos_weight(self.labels, self.label_names, f"mrnet: exam of {self.root / self.split}")

    def _file(self, exam: str, plane: str) -> Path:
        return self.root / self.split / plane / f"{exam}.npy"


def pos_weight(labels: NDArray[np.float32], names: Sequence[str], what: str) -> NDArray[np.float32]:
    """Negatives over positives of each label, for a loss in which both weigh the same.

    Args:
        labels: (N, labels), 0 or 1
        names: of the labels
        what: an example is, for the error: "mrnet: exam of train"

    Raises:
        ValueError: for a label that none has, which would weigh infinitely much, or that all have, which would weigh
            nothing and be learnt from no example
    """
    positives = labels.sum(0)
    package, _, example = what.partition(": ")
    for quantity, count in (("no", 0), ("every", len(labels))):
        constant = [name for name, n in zip(names, positives, strict=True) if n == count]
        if constant:
            raise ValueError(
                f"{package}: {quantity} {example} is positive for {', '.join(constant)}: there is nothing to weigh, "
                "and nothing to learn; leave the label out, or take more exams"
            )
    return (len(labels) - positives) / positives


# ---------------------------------------------------------------- from a volume to what a network sees


def prepare(volume: Volume, motion: Augmentation | None = None, shrink: int = 1) -> Series:
    """Cut out the middle, scale it to 0–255 by its own minimum and maximum, and standardize: v ↦ (v − 58.09) / 49.73.

    Args:
        volume: (slices, 256, 256)
        motion: how to move the picture before it is cut; what comes in from outside of it is the minimum

    Returns:
        (slices, 3, 224, 224): the three channels, which networks for colour pictures want, are the same

    Raises:
        ValueError: for a volume whose middle is constant
    """
    edge = (SIZE - CROP) // 2
    middle = volume[:, edge : edge + CROP, edge : edge + CROP]
    low, high = float(middle.min()), float(middle.max())
    if low == high:
        raise ValueError(f"all pixels of the series are {low:.0f}, it can't be scaled; leave the exam out")
    pixels = middle.astype(np.float32) if motion is None else _moved(volume, motion, low)
    if shrink > 1:
        small = CROP // shrink
        pixels = pixels.reshape(-1, small, shrink, small, shrink).mean((2, 4))
    pixels -= np.float32(low)
    pixels *= np.float32(255 / (high - low))
    return standardize(pixels)


def standardize(pixels: NDArray[np.float32]) -> Series:
    """(v − 58.09) / 49.73 of pixels between 0 and 255, in place; in three channels: (S, H, W) -> (S, 3, H, W)"""
    pixels -= np.float32(MEAN)
    pixels *= np.float32(1 / STD)
    return np.repeat(pixels[:, None], 3, axis=1)


def _moved(volume: Volume, motion: Augmentation, outside: float) -> NDArray[np.float32]:
    """The middle of the volume after the motion, by linear interpolation between the four pixels around.

    A pixel of the result asks where it came from: the shift is undone first, the turn about the centre next, the flip
    last.
    """
    centre = (SIZE - 1) / 2
    y, x = np.mgrid[:CROP, :CROP].astype(np.float64) - (CROP - 1) / 2
    y, x = y - motion.down * CROP, x - motion.right * CROP
    sine, cosine = math.sin(math.radians(motion.turn)), math.cos(math.radians(motion.turn))
    x, y = cosine * x - sine * y, sine * x + cosine * y  # y points down, so this turns counter-clockwise
    if motion.flip:
        x = -x
    x, y = (x + centre).ravel(), (y + centre).ravel()
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, below = (x - column).astype(np.float32), (y - row).astype(np.float32)
    flat = volume.reshape(len(volume), -1)
    pixels = np.zeros((len(volume), CROP * CROP), np.float32)
    for r, c, weight in (
        (row, column, (1 - below) * (1 - right)),
        (row, column + 1, (1 - below) * right),
        (row + 1, column, below * (1 - right)),
        (row + 1, column + 1, below * right),
    ):
        within = (r >= 0) & (r < SIZE) & (c >= 0) & (c < SIZE)
        found = flat[:, np.where(within, r * SIZE + c, 0)]
        pixels += np.where(within, found, np.float32(outside)) * weight
    return pixels.reshape(-1, CROP, CROP)


# ---------------------------------------------------------------- files


def _map_volume(file: Path, exam: str) -> Volume:
    """The volume in a file, mapped into memory, if it is what it should be."""
    of = f"mrnet: {file} (exam {exam})"
    try:
        with naming_damage(f"{of} is damaged or not a .npy file (…); restore the file"):
            volume = np.lib.format.open_memmap(file, mode="r")
    except FileNotFoundError:
        raise FileNotFoundError(f"{of} is not there, but the labels name the exam; restore the file") from None
    if volume.dtype != np.uint8:
        nan = ", with NaN among its values" if volume.dtype.kind == "f" and np.isnan(volume).any() else ""
        raise ValueError(f"{of} holds {volume.dtype}{nan}, not uint8; restore the file")
    if volume.ndim != 3 or volume.shape[1:] != (SIZE, SIZE) or not len(volume):
        raise ValueError(f"{of} has shape {volume.shape}, not (slices, {SIZE}, {SIZE}); restore the file")
    return volume


def _read_labels(root: Path, split: str) -> dict[str, dict[str, int]]:
    """By exam, its labels by name, from the three CSV files, which must be about the same exams."""
    columns = {name: _read_column(root / f"{split}-{name}.csv") for name in LABELS}
    first = columns[LABELS[0]]
    for name, column in columns.items():
        for exam in sorted(column.keys() ^ first.keys()):
            has, lacks = (LABELS[0], name) if exam in first else (name, LABELS[0])
            raise ValueError(
                f"mrnet: {root / f'{split}-{lacks}.csv'} has no row for exam {exam}, but {split}-{has}.csv has one; "
                "restore the files"
            )
    table = {exam: {name: columns[name][exam] for name in LABELS} for exam in sorted(first)}
    odd = [exam for exam, labels in table.items() if max(labels.values()) > labels["abnormal"]]
    if odd:
        named = ", ".join(odd[:MAX_NAMED]) + (", …" if len(odd) > MAX_NAMED else "")
        warnings.warn(
            f"mrnet: {len(odd)} of {len(table)} exams in {root / split} have a tear and are not abnormal: {named}; a "
            "knee with a tear should be both",
            stacklevel=4,
        )
    return table


def _read_column(file: Path) -> dict[str, int]:
    """The labels in one CSV file, by exam."""
    pandas = optional("pandas", "reading the labels of MRNet")
    try:
        with naming_damage(f"mrnet: {file} is not a table of exams and labels (…)"):  # pandas' errors are ValueErrors
            rows = pandas.read_csv(file, header=None, dtype=str, keep_default_na=False, skipinitialspace=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"mrnet: there is no {file}; give the folder MRNet-v1.0 with its CSV files") from None
    if rows.shape[1] != 2:
        raise ValueError(f"mrnet: {file} has {rows.shape[1]} columns, not 2: exam and label, without a header")
    labels: dict[str, int] = {}
    for number, (exam, label) in enumerate(rows.itertuples(index=False), start=1):
        if not exam.isdecimal() or label not in ("0", "1"):
            raise ValueError(f"mrnet: {file}, row {number}: {exam!r}, {label!r} is not an exam's number and 0 or 1")
        exam = exam.zfill(4)
        if exam in labels:
            raise ValueError(f"mrnet: {file}, row {number}: exam {exam} comes a second time")
        labels[exam] = int(label)
    return labels


def _demand_released(root: Path, split: str, table: dict[str, dict[str, int]]) -> None:
    found = {"exams": len(table), **{name: sum(labels[name] for labels in table.values()) for name in LABELS}}
    wrong = [f"{found[what]:,} {what}, not {count:,}" for what, count in COUNTS[split].items() if found[what] != count]
    if wrong:
        raise ValueError(
            f"mrnet: {root} does not hold the {split} split as it was released: {'; '.join(wrong)}. Restore the files, "
            "or pass check_counts=False for a subset, or for exams of your own"
        )
