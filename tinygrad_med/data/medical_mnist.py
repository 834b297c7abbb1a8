"""Medical MNIST: 58,954 scans of 64×64 pixels in six classes.

`load` takes the images from wherever they are: a folder, the zip that GitHub serves, the cache, a download; and where
there is none of them, it paints phantoms and says so. Decoding takes seconds and happens once: the pixels are kept in
the cache folder (of the user, or `$TINYGRAD_MED_CACHE`), from where they are mapped into memory.

A cache is two files, named by a key that differs when any of the image files does: `medical_mnist-<key>.npy`, the
pixels, and `medical_mnist-<key>.json`, written last, with the source, the counts and the checksum of the pixels. A .npy
without its .json is what an interrupted run left behind, and is not read.

The data set is github.com/apolanco3225/Medical-MNIST-Classification (CC BY-SA 4.0), which Dr. Bradley J. Erickson of
the Mayo Clinic put together from TCIA, the RSNA bone age challenge and the NIH chest radiographs. This file yields
arrays, and knows nothing of tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_med._files import DAMAGE, cache_folder, naming_damage, optional, say, writing
from tinygrad_med._zips import open_zip
from tinygrad_med.data import phantoms

COUNTS = {"AbdomenCT": 10_000, "BreastMRI": 8_954, "CXR": 10_000, "ChestCT": 10_000, "Hand": 10_000, "HeadCT": 10_000}
CLASSES = tuple(COUNTS)  # an image's label is its class's place in here
SIZE = 64  # pixels, in height and in width
URL = "https://github.com/apolanco3225/Medical-MNIST-Classification/archive/refs/heads/master.zip"
PATIENCE = 5.0  # seconds that the network may keep silent

Counts: TypeAlias = dict[str, int]
Names: TypeAlias = dict[str, list[str]]  # of the files of each class


@dataclass(frozen=True, eq=False)
class Images:
    """A labelled set of images, as arrays."""

    images: NDArray[np.uint8] = field(repr=False)  # (N, 64, 64), sorted by class; real ones are mapped, and read-only
    labels: NDArray[np.int64] = field(repr=False)  # (N,), places in `classes`
    classes: tuple[str, ...]
    source: str  # where they are from, for people to read
    is_phantom: bool

    def __len__(self) -> int:
        return len(self.images)


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    check_counts: bool = True,
    download: bool = True,
    phantoms_per_class: int = 10_000,
    seed: int = 0,
) -> Images:
    """The images of Medical MNIST.

    Args:
        path: a folder that holds the six class folders (or `resized`, which holds them), or a zip of one; files are
            taken in the order of their names. Without a path, the images are those that were decoded last; else they
            are downloaded (90 MB); else they are phantoms, and a printed line says so
        check_counts: whether there must be as many images of each class as were published; pass False for a subset
        download: whether to look for the network
        phantoms_per_class, seed: how many phantoms, and which, where it comes to that

    Raises:
        FileNotFoundError: there is nothing at `path`, or a class folder is missing
        ValueError: a file is not a whole 64×64 grayscale JPEG, a class is empty or has another count, a zip is damaged
            or has names that climb out of it. Each names the file
        ImportError: a package of the extra `examples` is missing
    """
    if path is not None:
        return _from_path(Path(path).expanduser().resolve(), check_counts)
    if decoded := _decoded_last():
        return decoded
    try:
        return _from_path(_downloaded(download), check_counts=True)
    except _UnavailableError as reason:
        say(
            f"medical_mnist: these are PHANTOMS, generated pictures, because {reason}. "
            f"To get the real images: download {URL} and name it by --data (in Python: load(path))"
        )
    images, labels = phantoms.generate(phantoms_per_class, seed)
    return Images(images, labels, CLASSES, f"phantoms, seed {seed}", is_phantom=True)


def split(n: int, valid: float = 0.2, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shuffle the numbers below `n`, and set aside a share of them: (for training, for validation).

    As in the tutorials: the validation set is the first ⌊n · valid⌋ of the shuffled ones.
    """
    if not 0 < valid < 1:
        raise ValueError(f"split: the share for validation is {valid}; give a number between 0 and 1, such as 0.2")
    order = np.random.default_rng(seed).permutation(n)
    cut = int(n * valid)
    return order[cut:], order[:cut]


# ---------------------------------------------------------------- decoding, and the cache


def _from_path(path: Path, check_counts: bool) -> Images:
    if not path.exists():
        raise FileNotFoundError(f"medical_mnist: there is nothing at {path}; give a folder, or the zip from {URL}")
    manifest = cache_folder() / f"medical_mnist-{_key(path)}.json"
    images = _from_cache(manifest)
    if images is None:
        _decode(path, manifest, check_counts)
        return _open_cache(manifest)
    if check_counts:
        _demand_published(_counts(images), path)
    return images


def _decoded_last() -> Images | None:
    """The newest cache that has all the images."""
    manifests = cache_folder().glob("medical_mnist-*.json")
    for manifest in sorted(manifests, key=lambda file: file.stat().st_mtime, reverse=True):
        images = _from_cache(manifest)
        if images and _counts(images) == COUNTS:
            return images
    return None


def _from_cache(manifest: Path) -> Images | None:
    """The images of a cache; None where there is none, or where it is damaged, which ends it."""
    if not manifest.exists():
        return None
    try:
        return _open_cache(manifest)
    except DAMAGE as problem:
        say(f"medical_mnist: the cache {manifest.with_suffix('.npy')} is damaged and not used ({problem})")
        manifest.unlink()
        return None


def _open_cache(manifest: Path) -> Images:
    facts = json.loads(manifest.read_text("utf-8"))
    counts = [int(facts["counts"][name]) for name in CLASSES]
    pixels = np.asarray(np.lib.format.open_memmap(manifest.with_suffix(".npy"), mode="r"))
    if pixels.shape != (sum(counts), SIZE, SIZE) or pixels.dtype != np.uint8:
        raise ValueError(f"it holds {pixels.dtype} of shape {pixels.shape}, not {sum(counts)} images")
    if zlib.crc32(pixels.data) != facts["crc32"]:
        raise ValueError("the checksum of its pixels differs")
    return Images(pixels, np.repeat(np.arange(len(CLASSES)), counts), CLASSES, facts["source"], is_phantom=False)


def _decode(path: Path, manifest: Path, check_counts: bool) -> None:
    """Write the cache of the images at `path`: the pixels one after the other, then what they are."""
    tqdm = optional("tqdm", "the progress bar")
    with _opened(path) as (names, read):
        counts = {name: len(names[name]) for name in CLASSES}
        if check_counts:
            _demand_published(counts, path)
        header = {"descr": "|u1", "fortran_order": False, "shape": (sum(counts.values()), SIZE, SIZE)}
        files = [file for name in CLASSES for file in names[name]]
        checksum = 0
        with writing(manifest.with_suffix(".npy")) as temporary, temporary.open("wb") as out:
            np.lib.format.write_array_header_1_0(out, header)
            for file in tqdm.tqdm(files, desc="decoding Medical MNIST", unit=" images"):
                pixels = _pixels(read(file), file if path.is_dir() else f"{file} in {path}")
                checksum = zlib.crc32(pixels, checksum)
                out.write(pixels)
    with writing(manifest) as temporary:
        temporary.write_text(json.dumps({"source": str(path), "counts": counts, "crc32": checksum}, indent=2), "utf-8")


def _pixels(encoded: bytes, file: str) -> bytes:
    """The 64 · 64 bytes of one JPEG.

    One thread decodes 7,000 to 10,000 images a second; more threads are slower: most of the work is Pillow's Python.
    """
    image = optional("PIL.Image", "reading JPEGs")
    remedy = "restore the file, or remove it and pass check_counts=False"
    try:
        picture = image.open(io.BytesIO(encoded), formats=["JPEG"])
    except (*DAMAGE, image.DecompressionBombError) as error:
        raise ValueError(f"medical_mnist: {file} is not a JPEG, or not all of its header; {remedy}") from error
    if picture.mode != "L" or picture.size != (SIZE, SIZE):
        width, height = picture.size
        raise ValueError(
            f"medical_mnist: {file} is {width}×{height} of mode {picture.mode}, "
            f"not {SIZE}×{SIZE} of mode L (grayscale); {remedy}"
        )
    try:
        pixels: bytes = picture.tobytes()
    except DAMAGE as error:
        raise ValueError(f"medical_mnist: {file} is cut off or damaged ({error}); {remedy}") from error
    return pixels


def _counts(images: Images) -> Counts:
    return dict(zip(CLASSES, np.bincount(images.labels, minlength=len(CLASSES)).tolist(), strict=True))


def _demand_published(counts: Counts, path: Path) -> None:
    wrong = [f"{name} has {counts[name]:,}, not {COUNTS[name]:,}" for name in CLASSES if counts[name] != COUNTS[name]]
    if wrong:
        raise ValueError(
            f"medical_mnist: {path} does not hold as many images as were published: {'; '.join(wrong)}. "
            f"Get all of them from {URL}, or pass check_counts=False for a subset"
        )


# ---------------------------------------------------------------- folders and zips


def _key(path: Path) -> str:
    """A name for the images at `path`, another one when any of their files is another, or was written since."""
    files = [entry for group in _entries(path).values() for entry in group] if path.is_dir() else [path]
    stats = [(os.fspath(file), file.stat()) for file in files]
    stamps = "\n".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)
    return hashlib.sha256(os.fsencode(stamps)).hexdigest()[:16]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Names, Callable[[str], bytes]]]:
    """The names of each class's files, and how to read one."""
    if path.is_dir():
        yield (
            {name: [entry.path for entry in entries] for name, entries in _entries(path).items()},
            lambda file: Path(file).read_bytes(),
        )
        return
    remedy = f"was it cut off? Download it again from {URL}"
    with path.open("rb") as opened:
        with naming_damage(f"medical_mnist: {path} is not a whole zip (…); {remedy}"):
            archive = open_zip(opened)

        def read(file: str) -> bytes:
            with naming_damage(f"medical_mnist: {file} in {path} can't be read (…); {remedy}"):
                return archive.read(file)

        with archive:
            yield _members(archive, path), read


def _entries(path: Path) -> dict[str, list[os.DirEntry[str]]]:
    """The files of each class folder at `path`, by name; hidden ones are left out."""
    homes = (path, path / "resized", *sorted(path.glob("*/resized")))  # class folders, the repository, around it
    home = next((home for home in homes if any((home / name).is_dir() for name in CLASSES)), path)
    entries = {}
    for name in CLASSES:
        if (home / name).is_dir():
            with os.scandir(home / name) as found:
                entries[name] = sorted((one for one in found if one.name[0] != "."), key=lambda one: one.name)
    _demand_classes(entries, home)
    return entries


def _members(archive: zipfile.ZipFile, path: Path) -> Names:
    """The files of each class folder in a zip, by name; hidden ones are left out.

    Nothing is extracted. Yet a zip with names that point outside of itself was made to do harm, or by mistake.
    """
    members: Names = {}
    homes = set()
    for member in sorted(archive.namelist()):
        parts = PureWindowsPath(member)  # which knows both slashes, and drives
        if parts.anchor or ".." in parts.parts:
            raise ValueError(
                f"medical_mnist: {path} has a name that climbs out of the folder, {member!r}; "
                f"don't unpack it, and get another from {URL}"
            )
        folder, _, file = member.rpartition("/")
        home, _, name = folder.rpartition("/")
        if name in CLASSES and not file.startswith("."):
            homes.add(home)
            members.setdefault(name, []).extend([member] if file else [])
    if len(homes) > 1:
        places = ", ".join(home or "the top" for home in sorted(homes))
        raise ValueError(f"medical_mnist: {path} has class folders in several places: {places}; leave one of them")
    _demand_classes(members, path)
    return members


def _demand_classes(found: Mapping[str, Sized], path: Path) -> None:
    missing = [name for name in CLASSES if name not in found]
    if missing:
        raise FileNotFoundError(
            f"medical_mnist: {path} has no folder {', '.join(missing)}; "
            f"give the folder that holds {', '.join(CLASSES)}, or the zip from {URL}"
        )
    empty = [name for name in CLASSES if not len(found[name])]
    if empty:
        raise ValueError(f"medical_mnist: the folder {', '.join(empty)} of {path} is empty; get its images from {URL}")


# ---------------------------------------------------------------- the network


class _UnavailableError(Exception):
    """The real images can't be had; the text says why, as the end of a sentence."""


def _downloaded(allowed: bool) -> Path:
    """The zip that GitHub serves, in the cache folder; downloaded, if need be and if `allowed`."""
    archive = cache_folder() / "Medical-MNIST-Classification-master.zip"
    if archive.exists():
        return archive
    if not allowed:
        raise _UnavailableError("the download is switched off")
    requests = optional("requests", "the download")
    fetch = optional("pooch", "the download").HTTPDownloader(progressbar=True, timeout=PATIENCE, chunk_size=2**16)
    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):
            answers.append(fetch(URL, None, None, check_only=True))

    asking = threading.Thread(target=ask, daemon=True)  # looking up a server's name has no time-out of its own
    asking.start()
    asking.join(2 * PATIENCE)
    if answers != [True]:
        raise _UnavailableError("the network does not answer")
    try:
        with writing(archive) as temporary:
            fetch(URL, os.fspath(temporary), None)
            if not zipfile.is_zipfile(temporary):
                raise _UnavailableError("what the network sent is not a zip")
    except requests.RequestException as error:
        raise _UnavailableError(f"the download broke off ({type(error).__name__})") from error
    return archive
