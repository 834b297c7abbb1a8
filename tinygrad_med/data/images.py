"""Images in folders: which files there are, what class they belong to, and how a file becomes a picture.

The folders are the labels: `train/abd/7.png` is an image of the class `abd`, and so is `train/abd/patient-3/7.png`. A
picture is decoded when it is asked for. What decoding and resampling do is Pillow's, what numbers become which grey
values is said in `grey`; this file yields pictures, `transforms` makes arrays of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_med._files import DAMAGE, optional, say
from tinygrad_med.data import dicom
from tinygrad_med.data.grey import OWN, GreyError, Window, WindowChoice, chosen_window, depth_of, to_grey, window_of

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", *dicom.SUFFIXES)
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # Pillow's others include some that start programs
DEEP_SUFFIXES = (".png", ".tif", ".tiff")  # of files whose pixels may have more than 8 bits
VALIDATION_NAMES = ("valid", "val", "validation")
SPLIT_NAMES = ("train", "training", *VALIDATION_NAMES, "test", "testing")  # of folders that are no classes
BITS = {
    "1": 1,
    "LA": 16,
    "I;16": 16,
    "I;16B": 16,
    "RGB": 24,
    "RGBA": 32,
    "CMYK": 32,
    "I": 32,
    "F": 32,
}  # by mode; else 8
ALWAYS, MAX_GROWTH = 1 << 24, 2560  # bytes that any picture may unfold to; the most that GIF's and PNG's packing can do
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF


def get_image_files(path: str | Path, recurse: bool = True) -> list[Path]:
    """The image files in a folder, hidden ones left out, in the order of their names; `recurse`: and in those below.

    Folders that are links are followed.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"images: there is no folder {folder}")
    return sorted(file for file in _visible(folder, recurse) if file.suffix.lower() in SUFFIXES)


def _visible(folder: Path, recurse: bool, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files in a folder; `above` are the real places of the folders on the way, so that a link can't go round."""
    place = os.path.realpath(folder)
    if place in above:
        return
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            yield entry
        elif recurse and entry.is_dir():
            yield from _visible(entry, recurse, (*above, place))


def open_image(path: str | Path, mode: str = "RGB", *, window: WindowChoice = None, bits: int | None = None) -> Image:
    """Decode a picture, and turn it upright as its EXIF says. What is transparent becomes black.

    Pictures of bytes are taken as they are. Others become 256 grey values by a window (see `grey`), which must be the
    same for all pictures of a data set: `ImageDataLoaders` sees to that.

    - Unsigned numbers of 16 bits have the window (0, 65536). Where none of them reaches 4096, nobody can know whether
      the detector had fewer bits or the picture is dark: say `bits`.
    - Signed numbers, those of 32 bits, and floating-point ones have no window of their own: say `window`.
    - DICOM files say their window, or the bits of their numbers; see `dicom`.

    Args:
        path: the file.
        mode: Pillow's name for what to make of it: "RGB", or "L" for grey.
        window: the numbers that become black and white, such as (-1000, 1000) of a CT's Hounsfield units; pictures of
            bytes don't take it. "own": that of the file, if it has one.
        bits: the same as `window=(0, 2**bits)`.

    Raises:
        ValueError: for a file that is not a picture, not all of it, or several; for numbers without a window.
    """
    window = chosen_window(window, bits)
    if Path(path).suffix.lower() in dicom.SUFFIXES:
        return dicom.picture(path, mode, window)
    window = None if isinstance(window, str) else window
    damage = (*DAMAGE, optional("PIL.Image", "reading images").DecompressionBombError)
    try:
        with _opened(path) as picture:
            if getattr(picture, "is_animated", False) and picture.format != "MPO":
                raise ValueError("it holds several pictures; save the one that is meant as a file of its own")
            is_deep_colour = ";16" in str(picture.tile)
            picture.load()
            if picture.mode in ("P", "PA") and picture.palette is None:
                raise ValueError("its pixels are places in a palette, which it lacks")
            _turn_upright(picture)
    except FileNotFoundError:
        raise
    except damage as error:
        raise ValueError(
            f"images: {path} can't be read ({error}); restore it, remove it, or skip such files with skip_bad=True"
        ) from error
    try:
        return _converted(picture, mode, window, is_deep_colour)
    except GreyError as error:
        raise GreyError(f"images: {path}: {error}") from None


def _opened(path: str | Path) -> Image:
    """The picture of a file, its header read, its pixels not yet."""
    pillow = optional("PIL.Image", "reading images")
    pillow.init()
    picture: Image = pillow.open(path, formats=[name for name in FORMATS if name in pillow.OPEN])
    width, height = picture.size
    bits = 8 if picture.format == "WEBP" else BITS.get(picture.mode, 8)  # a blank WebP has hardly any bytes
    unfolded, size = width * height * bits // 8, os.path.getsize(path)
    if unfolded > ALWAYS + MAX_GROWTH * size:
        picture.close()
        raise ValueError(f"its {size:,} bytes can't hold the {width}×{height} pixels that it speaks of")
    return picture


def _turn_upright(picture: Image) -> None:
    """Turn the picture as its EXIF says, if that can be read."""
    with contextlib.suppress(*DAMAGE):
        optional("PIL.ImageOps", "reading images").exif_transpose(picture, in_place=True)


def _converted(picture: Image, mode: str, window: Window | None, is_deep_colour: bool) -> Image:
    pillow = optional("PIL.Image", "reading images")
    values, own_window = _numbers(picture)
    if values is not None:
        grey = to_grey(values, window or own_window or _refused(values))
        if picture.format == "TIFF" and _tag(picture, PHOTOMETRIC) == 0:  # the largest number is black
            grey = 255 - grey
        if "transparency" in picture.info:
            grey[values == picture.info["transparency"]] = 0
        return pillow.fromarray(grey).convert(mode)
    if is_deep_colour and (window not in (None, window_of(16)) or _largest(picture) < 2**4):
        raise GreyError("of its 16 bits per channel only the upper 8 can be read, and it uses fewer; save it as grey")
    if picture.has_transparency_data:
        black = pillow.new("RGBA", picture.size, "black")
        picture = pillow.alpha_composite(black, picture.convert("RGBA"))
    return picture.convert(mode)


def _numbers(picture: Image) -> tuple[NDArray[Any] | None, Window | None]:
    """The numbers of a picture that is not of bytes (`None` for others), and the window that its format gives them."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        values = np.asarray(picture).astype(np.uint16)
        depth = _tag(picture, BITS_PER_SAMPLE) or 16
        known = depth < 16 or not values.any() or values.max() >= 2**12
        return values, window_of(depth) if known else None
    if picture.mode in ("I", "F"):
        return np.asarray(picture), None
    if picture.mode == "L" and _tag(picture, SAMPLE_FORMAT) == 2:
        return np.asarray(picture).view(np.int8), None
    return None, None


def _refused(values: NDArray[Any]) -> Window:
    low, high = values.min(), values.max()
    if values.dtype == np.uint16:
        raise GreyError(
            f"its 16-bit numbers go up to {high} only; give bits={depth_of(int(high))} if its detector has no more, or "
            "bits=16 if it is dark"
        )
    raise GreyError(
        f"its numbers, {values.dtype} from {low:g} to {high:g}, have no grey values of their own; give "
        "window=(low, high), the same for all pictures"
    )


def _tag(picture: Image, tag: int) -> int | None:
    """The first number of a TIFF's tag."""
    found = getattr(picture, "tag_v2", {}).get(tag)
    return found[0] if isinstance(found, tuple) else found


def _largest(picture: Image) -> int:
    """The largest number of all channels but that of transparency."""
    channels = np.asarray(picture)
    return int((channels[..., :-1] if picture.mode in ("LA", "RGBA") else channels).max())


@dataclass(frozen=True)
class ImageFiles:
    """Files and what they show."""

    files: list[Path]
    labels: list[int] | None  # places in `vocab`; None where nobody said what the images show
    vocab: list[str]
    mode: str = "RGB"
    window: WindowChoice = None  # of pictures that are not of bytes

    def __len__(self) -> int:
        return len(self.files)

    def open(self, i: int) -> Image:
        """Decode picture i."""
        return open_image(self.files[i], self.mode, window=self.window)

    def keep(self, chosen: Sequence[int]) -> ImageFiles:
        """Only the files with these numbers."""
        labels = None if self.labels is None else [self.labels[i] for i in chosen]
        return replace(self, files=[self.files[i] for i in chosen], labels=labels)

    def without_bad(self, workers: int = 2) -> ImageFiles:
        """Only the files that can be read, all of which are decoded for that; the others are counted and named."""

        def is_good(i: int) -> bool:
            try:
                self.open(i)
            except GreyError:
                raise
            except ValueError:
                return False
            return True

        with ThreadPoolExecutor(workers) as pool:
            good = [i for i, is_whole in enumerate(pool.map(is_good, range(len(self)))) if is_whole]
        if len(good) < len(self):
            bad = ", ".join(self.files[i].name for i in sorted(set(range(len(self))) - set(good)))
            say(f"images: {len(self) - len(good)} of {len(self)} files can't be read and are skipped: {bad}")
        return self.keep(good)


def common_window(*sets: ImageFiles, workers: int = 2) -> Window | None:
    """The one window for all pictures that are not of bytes.

    That of pictures of unsigned 16-bit numbers is that of the least detector which could have made them all; to know
    it, all of them are decoded once, and a line says what was found. DICOM files say theirs.

    Returns:
        (low, high); `None` where there is no such picture, or where whoever opens it has to say that it needs one.

    Raises:
        GreyError: for DICOM files with several windows, which would make one number several grey values.
    """
    slices = [file for one in sets for file in one.files if file.suffix.lower() in dicom.SUFFIXES]
    with ThreadPoolExecutor(workers) as pool:
        windows = {window for window in pool.map(dicom.own_window, slices) if window is not None}
    if len(windows) > 1:
        some = ", ".join(f"({low:g}, {high:g})" for low, high in sorted(windows)[:5])
        raise GreyError(
            f"images: the DICOM files have {len(windows)} windows of their own, {some}{', …' * (len(windows) > 5)}; "
            f"give window=(low, high) for all of them, or window={OWN!r} to take each as it is"
        )
    files = [file for one in sets for file in one.files if file.suffix.lower() in DEEP_SUFFIXES]

    def largest(file: Path) -> int:
        try:
            with _opened(file) as picture:
                if not picture.mode.startswith("I") or (_tag(picture, BITS_PER_SAMPLE) or 16) != 16:
                    return -1
                values, _ = _numbers(picture)
                return int(values.max()) if values is not None and values.dtype == np.uint16 else -1
        except DAMAGE:  # whoever opens it says so
            return -1

    with ThreadPoolExecutor(workers) as pool:
        most = max(pool.map(largest, files), default=-1)
    if most < 0:
        return next(iter(windows), None)
    if windows:
        raise GreyError(
            "images: there are DICOM files beside other pictures of 16 bits; give window=(low, high) for all"
        )
    depth = depth_of(most)
    say(
        f"images: the largest number of the 16-bit pictures is {most}, so all of them are taken as {depth}-bit ones; "
        "give bits= to choose otherwise"
    )
    return window_of(depth)


def labelled(
    path: str | Path, vocab: Sequence[str] | None = None, mode: str = "RGB", window: WindowChoice = None
) -> ImageFiles:
    """The images in the class folders of `path`, and in all folders below these.

    Args:
        path: a folder of folders, one per class. Folders such as `test` are no classes unless `vocab` says so; they,
            and images beside the class folders, are left out, and a line says so.
        vocab: the classes; by default the names of the folders, sorted.
        mode: "RGB", or "L" for grey.
        window: see `open_image`.

    Raises:
        FileNotFoundError: there is no such folder, or none for a class.
        ValueError: a class without images, or a folder that is no class.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"images: there is no folder {path}")
    found = sorted(f.name for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    splits = [name for name in found if name.lower() in SPLIT_NAMES and name not in (vocab or ())]
    folders = [name for name in found if name not in splits]
    vocab = folders if vocab is None else list(vocab)
    if not vocab:
        if splits:
            raise ValueError(
                f"images: the folders of {path}, {', '.join(splits)}, are parts of a data set by their names, not "
                f"classes; leave out valid_pct=, or give {path / splits[0]}; if they are classes, give vocab="
            )
        raise ValueError(f"images: {path} has no class folders; sort the images into one folder per class")
    if set(folders) != set(vocab):
        raise ValueError(f"images: {path} has the folders {', '.join(folders)}, but the classes are {', '.join(vocab)}")
    files = {name: get_image_files(path / name) for name in vocab}
    empty = [name for name, images in files.items() if not images]
    if empty:
        raise ValueError(
            f"images: the class {', '.join(empty)} has no images in {path}; add some, or remove its folder"
        )
    if splits:
        say(f"images: {', '.join(splits)} in {path} is no class by its name, and left out; if it is one, give vocab=")
    if beside := len(get_image_files(path, recurse=False)):
        say(f"images: {beside} images in {path} lie in no class folder, and are left out")
    labels = [label for label, name in enumerate(vocab) for _ in files[name]]
    return ImageFiles([file for name in vocab for file in files[name]], labels, vocab, mode, window)


def split_by_folder(
    path: str | Path,
    train: str,
    valid: str,
    mode: str = "RGB",
    vocab: Sequence[str] | None = None,
    window: WindowChoice = None,
) -> tuple[ImageFiles, ImageFiles]:
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
    training = labelled(path / train, vocab, mode, window)
    return training, labelled(home, training.vocab, mode, window)


def split_by_chance(
    path: str | Path,
    valid_pct: float,
    seed: int,
    mode: str = "RGB",
    vocab: Sequence[str] | None = None,
    window: WindowChoice = None,
) -> tuple[ImageFiles, ImageFiles]:
    """Set aside a share of the images in the class folders of `path`: (for training, for validation).

    What lies in one folder below a class, the images of a patient as a rule, stays together, so the share may be missed
    a little.
    """
    if not 0 < valid_pct < 1:
        raise ValueError(f"images: valid_pct={valid_pct} is no share; give a number between 0 and 1, such as 0.2")
    every = labelled(path, vocab, mode, window)
    groups: dict[Path, list[int]] = {}
    for i, file in enumerate(every.files):
        inner = file.relative_to(path).parts[1:]  # below the class folder
        groups.setdefault(Path(path, *file.relative_to(path).parts[:2]) if len(inner) > 1 else file, []).append(i)
    members = list(groups.values())
    cut = max(1, int(len(every) * valid_pct))
    chosen: list[int] = []
    rest: list[int] = []
    for k in np.random.default_rng(seed).permutation(len(members)).tolist():
        (chosen if len(chosen) < cut else rest).extend(members[k])
    if not rest:
        raise ValueError(f"images: no image of {path} is left for training, since those of a folder stay together")
    return every.keep(rest), every.keep(chosen)


def label_of_folder(vocab: Sequence[str], home: Path | None = None) -> Callable[[Path], int]:
    """A function that tells a file's label by the folders that it lies in, as `labelled` does.

    Args:
        vocab: the classes.
        home: the folder of the data set; within it the outermost folder that is a class counts. Elsewhere there must be
            one only.
    """

    def label(file: Path) -> int:
        folders = file.absolute().parent
        inside = home is not None and folders.is_relative_to(home.absolute())
        parts = folders.relative_to(home.absolute()).parts if home is not None and inside else folders.parts
        classes = list(dict.fromkeys(part for part in parts if part in vocab))
        if not classes:
            raise ValueError(
                f"images: {file} lies in {file.parent.name!r}, which is no class; the classes are {', '.join(vocab)}"
            )
        if len(classes) > 1 and not inside:
            raise ValueError(f"images: {file} lies in folders of several classes, {', '.join(classes)}; move it")
        return vocab.index(classes[0])

    return label
