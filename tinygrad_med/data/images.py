"""Images in folders: which files there are, what class they belong to, and how a file becomes a picture.

The folders are the labels: `train/abd/7.png` is an image of the class `abd`. A picture is decoded when it is asked for.
What decoding and resampling do is Pillow's; this file yields pictures, `transforms` makes arrays of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_med._files import optional, say

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
VALIDATION_NAMES = ("valid", "val")


def get_image_files(path: str | Path, recurse: bool = True) -> list[Path]:
    """The image files in a folder, hidden ones left out, in the order of their names; `recurse`: and in those below."""
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"images: there is no folder {folder}")
    found = folder.rglob("*") if recurse else folder.glob("*")
    visible = (file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts))
    return sorted(file for file in visible if file.suffix.lower() in SUFFIXES and file.is_file())


def open_image(path: str | Path, mode: str = "RGB") -> Image:
    """Decode a picture.

    What is transparent becomes black. A 16-bit picture is divided so that the bits it uses become 8: by 256 if it goes
    up to 65535, by 16 if it goes up to 4095 only, as the pictures of a 12-bit detector do.

    Args:
        path: the file.
        mode: Pillow's name for what to make of it: "RGB", or "L" for grey.

    Raises:
        ValueError: for a file that is not a picture, or not all of it.
    """
    pillow = optional("PIL.Image", "reading images")
    try:
        with pillow.open(path) as picture:
            picture.load()
            return _converted(picture, mode)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise ValueError(
            f"images: {path} can't be read ({error}); restore it, remove it, or skip such files with skip_bad=True"
        ) from error


def _converted(picture: Image, mode: str) -> Image:
    pillow = optional("PIL.Image", "reading images")
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64)
        bits = max(8, int(deep.max()).bit_length())
        picture = pillow.fromarray((deep.clip(0) >> (bits - 8)).astype(np.uint8))
    elif picture.has_transparency_data:
        black = pillow.new("RGBA", picture.size, "black")
        picture = pillow.alpha_composite(black, picture.convert("RGBA"))
    return picture.convert(mode)


@dataclass(frozen=True)
class ImageFiles:
    """Files and what they show."""

    files: list[Path]
    labels: list[int] | None  # places in `vocab`; None where nobody said what the images show
    vocab: list[str]
    mode: str = "RGB"

    def __len__(self) -> int:
        return len(self.files)

    def open(self, i: int) -> Image:
        """Decode picture i."""
        return open_image(self.files[i], self.mode)

    def keep(self, chosen: Sequence[int]) -> ImageFiles:
        """Only the files with these numbers."""
        labels = None if self.labels is None else [self.labels[i] for i in chosen]
        return replace(self, files=[self.files[i] for i in chosen], labels=labels)

    def without_bad(self, workers: int = 2) -> ImageFiles:
        """Only the files that can be read, all of which are decoded for that; the others are counted and named."""

        def is_good(i: int) -> bool:
            try:
                self.open(i)
            except ValueError:
                return False
            return True

        with ThreadPoolExecutor(workers) as pool:
            good = [i for i, is_whole in enumerate(pool.map(is_good, range(len(self)))) if is_whole]
        if len(good) < len(self):
            bad = ", ".join(self.files[i].name for i in sorted(set(range(len(self))) - set(good)))
            say(f"images: {len(self) - len(good)} of {len(self)} files can't be read and are skipped: {bad}")
        return self.keep(good)


def labelled(path: str | Path, vocab: Sequence[str] | None = None, mode: str = "RGB") -> ImageFiles:
    """The images in the class folders of `path`.

    Args:
        path: a folder of folders, one per class.
        vocab: the classes; by default the names of the folders, sorted.
        mode: "RGB", or "L" for grey.

    Raises:
        FileNotFoundError: there is no such folder, or none for a class.
        ValueError: a class without images, or a folder that is no class.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"images: there is no folder {path}")
    folders = sorted(f.name for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    vocab = folders if vocab is None else list(vocab)
    if not vocab:
        raise ValueError(f"images: {path} has no class folders; sort the images into one folder per class")
    if set(folders) != set(vocab):
        raise ValueError(f"images: {path} has the folders {', '.join(folders)}, but the classes are {', '.join(vocab)}")
    files = {name: get_image_files(path / name) for name in vocab}
    empty = [name for name, found in files.items() if not found]
    if empty:
        raise ValueError(
            f"images: the class {', '.join(empty)} has no images in {path}; add some, or remove its folder"
        )
    labels = [label for label, name in enumerate(vocab) for _ in files[name]]
    return ImageFiles([file for name in vocab for file in files[name]], labels, vocab, mode)


def split_by_folder(path: str | Path, train: str, valid: str, mode: str = "RGB") -> tuple[ImageFiles, ImageFiles]:
    """The images of `path/train` and of `path/valid`, with the same classes: (for training, for validation)."""
    path = Path(path)
    names = [valid] if valid not in VALIDATION_NAMES else [valid, *VALIDATION_NAMES]
    home = next((path / name for name in names if (path / name).is_dir()), path / valid)
    for folder in (path / train, home):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"images: there is no folder {folder}; name the folders with train= and valid=, or give valid_pct= to "
                "split the images by chance"
            )
    training = labelled(path / train, mode=mode)
    return training, labelled(home, training.vocab, mode)


def split_by_chance(path: str | Path, valid_pct: float, seed: int, mode: str = "RGB") -> tuple[ImageFiles, ImageFiles]:
    """Set aside a share of the images in the class folders of `path`: (for training, for validation)."""
    if not 0 < valid_pct < 1:
        raise ValueError(f"images: valid_pct={valid_pct} is no share; give a number between 0 and 1, such as 0.2")
    every = labelled(path, mode=mode)
    order = np.random.default_rng(seed).permutation(len(every)).tolist()
    cut = max(1, int(len(every) * valid_pct))
    return every.keep(order[cut:]), every.keep(order[:cut])


def label_of_folder(vocab: Sequence[str]) -> Callable[[Path], int]:
    """A function that tells a file's label by the name of its folder."""

    def label(file: Path) -> int:
        if file.parent.name not in vocab:
            raise ValueError(
                f"images: {file} lies in {file.parent.name!r}, which is no class; the classes are {', '.join(vocab)}"
            )
        return vocab.index(file.parent.name)

    return label
