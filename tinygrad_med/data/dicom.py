"""DICOM: what scanners and archives store, as pictures for `images`, and folders of slices as series.

A file's stored numbers become what they mean (Hounsfield units, for a CT) by its rescale slope and intercept, and these
become grey values by a window (see `grey`): the one that the user gives, else the file's own, else, for unsigned
numbers without a rescale, that of the bits it says it stores. MONOCHROME1, where large numbers are dark, is turned
around, and padding is black. Decoding is pydicom's.

The standard: PS3.3, C.7.6.3 (pixels), C.11.1 (rescale), C.11.2.1.2 (windows), C.7.6.2.1.1 (positions).
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_med._files import DAMAGE, optional, writing
from tinygrad_med.data.grey import OWN, GreyError, Window, WindowChoice, to_grey, window_of

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".dcm", ".dicom")
MARK = b"DICM"  # after 128 bytes of anything


@dataclass(frozen=True)
class Frames:
    """What is in one file."""

    values: NDArray[Any]
    """(frames, H, W), what the numbers mean; or (frames, H, W, 3) uint8, red, green and blue."""
    padding: NDArray[np.bool_] | None
    """Like `values`: where the scanner saw nothing; `None` where it doesn't say."""
    window: Window | None
    """The file's own."""
    large_is_dark: bool
    header: Any
    """pydicom's data set."""

    @property
    def is_colour(self) -> bool:
        """Whether it has colours instead of numbers."""
        return self.values.ndim == 4

    def grey(self, window: WindowChoice = None) -> NDArray[np.uint8]:
        """(frames, H, W): black is 0. Raises a `GreyError` where nobody gives a window."""
        found = self.window if window in (None, OWN) else window
        if found is None or isinstance(found, str):
            low, high = self.values.min(), self.values.max()
            raise GreyError(f"its numbers go from {low:g} to {high:g}, and it has no window; give window=(low, high)")
        grey = to_grey(self.values, found)
        grey = 255 - grey if self.large_is_dark else grey
        return grey if self.padding is None else np.where(self.padding, np.uint8(0), grey)


@dataclass(frozen=True)
class Series:
    """Slices in the order of their positions."""

    values: NDArray[np.float32]
    """(slices, H, W), what the numbers mean."""
    positions: NDArray[np.float64]
    """(slices,), along the line across the slices, in millimetres; the numbers of the slices where no file says."""
    large_is_dark: bool


def read(path: str | Path) -> Frames:
    """Decode a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is damaged, no DICOM file, or has no pixels, or pixels that can't be decoded.
        ImportError: without pydicom.
    """
    pydicom = _pydicom()
    try:
        header = pydicom.dcmread(path)
        return _frames(header)
    except (FileNotFoundError, PermissionError):
        raise
    except (*DAMAGE, pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException) as error:
        raise ValueError(
            f"dicom: {path} can't be read ({str(error) or type(error).__name__}); restore it, remove it, or skip such "
            "files with skip_bad=True"
        ) from error


def own_window(path: str | Path) -> Window | None:
    """The window of a file, by its header alone; `None` for colours, and where it has none or can't be read."""
    pydicom = _pydicom()
    try:
        return _window(pydicom.dcmread(path, stop_before_pixels=True))
    except (*DAMAGE, pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException):
        return None


def picture(path: str | Path, mode: str = "RGB", window: WindowChoice = None) -> Image:
    """The one picture in a file, as `images.open_image` gives those of other formats."""
    frames = read(path)
    pillow = optional("PIL.Image", "reading images")
    if len(frames.values) != 1:
        raise ValueError(
            f"dicom: {path} can't be read as a picture: it holds {len(frames.values)}; dicom.read gives all of them"
        )
    try:
        pixels = frames.values[0] if frames.is_colour else frames.grey(window)[0]
    except GreyError as error:
        raise GreyError(f"images: {path}: {error}") from None
    return pillow.fromarray(pixels).convert(mode)


def read_series(folder: str | Path) -> Series:
    """The slices in a folder, or the frames of a file, in the order of their positions.

    Slices are sorted along the line across them (the cross product of the directions of their rows and columns), not by
    their names or numbers, which scanners count as they like. Files without DICOM's mark are left out.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: for files of several series, slices of several shapes or directions, or two in one place.

    Warns:
        UserWarning: where the slices are not at equal distances: one may be missing.
    """
    path = Path(folder)
    files = sorted(file for file in path.iterdir() if _is_dicom(file)) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"dicom: {path} has no DICOM files")
    slices = [read(file) for file in files]
    if any(one.is_colour for one in slices):
        raise ValueError(f"dicom: {path} holds coloured pictures, not slices; move them away")
    for what in ("SeriesInstanceUID", "PhotometricInterpretation"):
        found = {str(one.header.get(what, "")) for one in slices}
        if len(found) > 1:
            raise ValueError(
                f"dicom: the files of {path} are of {len(found)} kinds by their {what}, {', '.join(sorted(found))}; "
                "put each series into a folder of its own"
            )
    shapes = {one.values.shape[1:] for one in slices}
    if len(shapes) > 1:
        raise ValueError(f"dicom: the slices of {path} have several shapes: {', '.join(map(str, sorted(shapes)))}")
    values = np.concatenate([one.values for one in slices]).astype(np.float32)
    if len(slices) == 1:
        return Series(values, np.arange(len(values), dtype=np.float64), slices[0].large_is_dark)
    if any(len(one.values) > 1 for one in slices):
        raise ValueError(f"dicom: {path} holds several files of several slices each; give one of them")
    positions = _positions([one.header for one in slices], path)
    order = np.argsort(positions)
    steps = np.diff(positions[order])
    if not steps.all():
        pair = order[np.argmin(steps)], order[np.argmin(steps) + 1]
        names = " and ".join(files[i].name for i in pair)
        raise ValueError(f"dicom: {names} of {path} are in the same place; put each series into a folder of its own")
    if steps.max() > 1.1 * steps.min():
        warnings.warn(
            f"dicom: the slices of {path} are {steps.min():.2f} to {steps.max():.2f} apart; is one missing?",
            stacklevel=2,
        )
    return Series(values[order], positions[order], slices[0].large_is_dark)


def to_mrnet(folder: str | Path) -> NDArray[np.uint8]:
    """A series as MRNet has it, so that `mrnet.Exams` can read it: (slices, 256, 256) from 0 to 255.

    The whole series is scaled by its least and its largest number, and each slice is filled up to a square, with what
    is black, and resized. Save it as `<root>/<split>/<plane>/<exam>.npy`.

    Raises:
        ValueError: as `read_series`, and for a series of one number.
    """
    series = read_series(folder)
    values = -series.values if series.large_is_dark else series.values
    low, high = values.min(), values.max()
    if low == high:
        raise ValueError(f"dicom: all numbers of {folder} are {low:g}, so it can't be scaled; leave it out")
    pillow = optional("PIL.Image", "resizing")
    side = max(values.shape[1:])
    gaps = [((side - n) // 2, side - n - (side - n) // 2) for n in values.shape[1:]]
    square = np.pad((values - low) * np.float32(255 / (high - low)), [(0, 0), *gaps])
    resized = [pillow.fromarray(one).resize((256, 256), pillow.Resampling.BILINEAR) for one in square]
    return np.stack([np.asarray(one) for one in resized]).round().clip(0, 255).astype(np.uint8)


def exams_to_mrnet(source: str | Path, target: str | Path) -> Path:
    """A folder of exams in MRNet's layout, with its CSV files, made of one that has folders of DICOM slices instead.

    `<source>/<split>/<plane>/<exam>/`, a folder, becomes `<target>/<split>/<plane>/<exam>.npy`, by `to_mrnet`; other
    files in those places are copied. `target` is there when all of it is.

    Raises:
        FileNotFoundError: if there are no such folders.
        ValueError: as `to_mrnet`.
    """
    source, target = Path(source), Path(target)
    exams = sorted(folder for folder in source.glob("*/*/*") if folder.is_dir())
    if not exams:
        raise FileNotFoundError(f"dicom: {source} has no exams as folders, such as train/axial/0000/ with its slices")
    with writing(target) as made:
        for file in [*source.glob("*.csv"), *source.glob("*/*/*.npy")]:
            place = made / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        for folder in exams:
            place = made / folder.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            np.save(place.with_name(f"{folder.name}.npy"), to_mrnet(folder))
    return target


# What a header says -------------------------------------------------------------------------------------------------


def _pydicom() -> Any:
    optional("pydicom.pixels", "reading DICOM files", extra="dicom")
    return optional("pydicom", "reading DICOM files", extra="dicom")


def _is_dicom(file: Path) -> bool:
    if file.name.startswith(".") or file.name == "DICOMDIR" or not file.is_file():
        return False
    with file.open("rb") as opened:
        return file.suffix.lower() in SUFFIXES or opened.read(132)[128:] == MARK


def _frames(header: Any) -> Frames:
    pixels = _pydicom().pixels
    kind = str(header.get("PhotometricInterpretation", ""))
    stored: NDArray[Any] = header.pixel_array
    if kind == "PALETTE COLOR":
        colours = pixels.apply_color_lut(stored, header)
        stored = (colours >> 8 if colours.dtype == np.uint16 else colours).astype(np.uint8)
    is_colour = header.get("SamplesPerPixel", 1) > 1 or kind == "PALETTE COLOR"
    stored = stored.reshape(-1, header.Rows, header.Columns, *stored.shape[-1:] * is_colour)
    if is_colour:
        if stored.dtype != np.uint8:
            raise ValueError(f"its colours have {8 * stored.itemsize} bits, not 8")
        return Frames(stored, None, None, False, header)
    unused = 8 * stored.itemsize - header.BitsStored
    if header.BitsAllocated > 1 and unused > 0:  # overlays, or anything, may stand in the upper bits
        stored = (stored << unused) >> unused
    return Frames(
        pixels.apply_modality_lut(stored, header),
        _padding(stored, header),
        _window(header),
        kind == "MONOCHROME1",
        header,
    )


def _padding(stored: NDArray[Any], header: Any) -> NDArray[np.bool_] | None:
    if "PixelPaddingValue" not in header:
        return None
    ends = int(header.PixelPaddingValue), int(header.get("PixelPaddingRangeLimit", header.PixelPaddingValue))
    return (min(ends) <= stored) & (stored <= max(ends))


def _window(header: Any) -> Window | None:
    """(low, high) of the file's first window; else, for unsigned numbers that are not rescaled, of its bits."""
    if header.get("SamplesPerPixel", 1) > 1 or header.get("PhotometricInterpretation") == "PALETTE COLOR":
        return None
    if "WindowCenter" in header and "WindowWidth" in header:
        centre, width = (float(np.atleast_1d(value)[0]) for value in (header.WindowCenter, header.WindowWidth))
        function = str(header.get("VOILUTFunction", "LINEAR"))
        if function == "LINEAR" and width > 1:
            return centre - width / 2, centre + width / 2 - 1
        if function == "LINEAR_EXACT" and width > 0:
            return centre - width / 2, centre + width / 2
        return None
    is_rescaled = (header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)) != (1, 0)
    if header.get("PixelRepresentation", 0) or is_rescaled or "ModalityLUTSequence" in header:
        return None
    return (0.0, 1.0) if header.BitsStored == 1 else window_of(header.BitsStored)


def _positions(headers: list[Any], folder: Path) -> NDArray[np.float64]:
    if all("ImagePositionPatient" in one and "ImageOrientationPatient" in one for one in headers):
        directions = np.array([one.ImageOrientationPatient for one in headers], np.float64)
        if np.abs(directions - directions[0]).max() > 0.01:
            raise ValueError(
                f"dicom: the slices of {folder} look into several directions; put each series into a folder"
            )
        across = np.cross(directions[0, :3], directions[0, 3:])
        return np.array([one.ImagePositionPatient for one in headers], np.float64) @ across
    if all(one.get("InstanceNumber") is not None for one in headers):
        return np.array([one.InstanceNumber for one in headers], np.float64)
    raise ValueError(f"dicom: some slices of {folder} say neither where they are nor which number they have")
