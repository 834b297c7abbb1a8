"""Chest or abdomen: 65 radiographs for training, 10 for validation and 2 for the test, in class folders.

They are from Open-i (National Library of Medicine), chosen for Lakhani, Gray, Pett, Nagy and Shih, Hello World Deep
Learning in Medical Imaging, J Digit Imaging 2018. There are two archives of them: that of the tutorial, with folders
such as `train/abd`, and the original, `Open_I_abd_vs_CXRs.zip`, with `TRAIN/openI_abd_xray`, where the two test images
lie without a class folder. `load` unpacks either into the tutorial's layout: `{train,val,test}/{abd,chest}/…`.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tinygrad_med._files import cache_folder, naming_damage, optional, writing
from tinygrad_med._zips import open_zip
from tinygrad_med.data.images import SUFFIXES

URL = "https://github.com/wfwiggins/RSNA-Image-AI-2020/raw/master/data.zip"
SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
CLASSES = {"abd": r"abd", "chest": r"chest|chst|cxr"}
LAYOUT = 2  # of what is unpacked; another rule in `place_of` has another number, so that the films are unpacked anew
PATIENCE = 5.0  # seconds that the network may keep silent


def load(path: str | Path | None = None) -> Path:
    """The folder with the radiographs in the tutorial's layout, unpacked into the cache folder.

    Args:
        path: one of the two archives, or a folder that is unpacked already; without it, the tutorial's archive is
            downloaded (14 MB).

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ConnectionError: the download failed.
        ValueError: the archive is damaged, or has no such images.
    """
    if path is None:
        path = _downloaded()
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"radiographs: there is nothing at {path}; get the archive from {URL}")
    if path.is_dir():
        return path
    stamp = f"{LAYOUT} {path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
    target = cache_folder() / f"radiographs-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if not target.is_dir():
        with writing(target) as temporary:
            _unpack(path, temporary)
    return target


def place_of(member: str) -> PurePosixPath | None:
    """Where a member of an archive belongs in the tutorial's layout; `None` for what is no image.

    The class is that of the innermost folder below the split that speaks of one; only where there is none, that of the
    file's name. Other folders below the split are kept. A name that belongs to no split (the tutorial's surprise
    image) is put at the top.
    """
    name = PurePosixPath(member)
    if name.suffix.lower() not in SUFFIXES or name.name.startswith(".") or "__MACOSX" in name.parts:
        return None
    above = [part.lower() for part in name.parts[:-1]]
    at = next((i for i, part in enumerate(above) if part in SPLITS), None)
    if at is None:
        return PurePosixPath(name.name)
    split, below = SPLITS[above[at]], list(range(at + 1, len(above)))
    home = next((i for i in reversed(below) if _classes(above[i])), None)
    found = _classes(above[home]) if home is not None else _classes(name.stem.lower())
    if len(found) != 1:
        raise ValueError(f"radiographs: {member} is neither in a folder nor under a name of {' or '.join(CLASSES)}")
    others = [name.parts[i] for i in below if i != home]  # a folder per patient, or per site
    return PurePosixPath(split, *found, *others, name.name)


def _classes(name: str) -> list[str]:
    """The class that a name speaks of; of a name that speaks of several, such as "abd_vs_cxr", nobody knows.

    It counts where a word begins only: the letters of long numbers, such as 3fabd2, are no words.
    """
    words = re.findall("[a-z]+", name)
    found = [label for label, pattern in CLASSES.items() if any(re.match(pattern, word) for word in words)]
    return found if len(found) == 1 else []


def places(members: Iterable[str]) -> dict[str, PurePosixPath]:
    """Where each image of an archive belongs; of those for one place, each comes into a folder named after its own."""
    found = {member: place for member in members if (place := place_of(member))}
    counts = Counter(found.values())
    for member, place in found.items():
        if counts[place] > 1:
            found[member] = place.parent / "-".join(PurePosixPath(member).parent.parts) / place.name
    return found


def _unpack(archive: Path, target: Path) -> None:
    with archive.open("rb") as file:
        with naming_damage(f"radiographs: {archive} is damaged (…); download it again from {URL}"):
            opened = open_zip(file)
        try:
            found = places(opened.namelist())
        except ValueError as error:
            raise ValueError(f"{error}, in {archive}") from None
        missing = [s for s in ("train", "val") if not any(place.parts[0] == s for place in found.values())]
        if missing:
            raise ValueError(f"radiographs: {archive} has no images for {' and '.join(missing)}; get it from {URL}")
        for member, place in found.items():
            file_there = target / place
            file_there.parent.mkdir(parents=True, exist_ok=True)
            with naming_damage(f"radiographs: {member} in {archive} is damaged (…); download it again from {URL}"):
                content = opened.read(member)
            file_there.write_bytes(content)


def _downloaded() -> Path:
    target = cache_folder() / "radiographs.zip"
    if target.is_file():
        return target
    fetch = optional("pooch", "the download").HTTPDownloader(progressbar=True, timeout=PATIENCE)
    try:
        with writing(target) as temporary:
            fetch(URL, str(temporary), None)
            if not zipfile.is_zipfile(temporary):
                raise OSError("what came is not a zip")
    except OSError as error:  # those of requests among them
        raise ConnectionError(
            f"radiographs: the images can't be downloaded ({error}); where there is a connection, get {URL}, and give "
            "its path"
        ) from error
    return target
