"""What do the readers of files say to damaged and hostile ones? Mutants of whole files, each read once.

A mutant has bytes changed, overwritten, cut out, put in or doubled at random, or is cut off. A reader may read it (the
change did no harm, or is not to be noticed), or raise the errors that it documents, with the file's name in the text.
Counted as failures are other errors, errors that don't name the file, more than a second for one mutant, and what no
reader may do: start a program, open a connection, write outside of its folder. Each reader runs in a process of its own
with a limit of memory.

    python benchmarks/fuzz_readers.py [--minutes 5] [--reader pth …] [--seed 0]

The time is shared by the readers in equal parts. The figures are in `results/fuzz_readers.md`.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_med as tg
from tinygrad_med import nn, optim
from tinygrad_med._files import writing
from tinygrad_med.data import medical_mnist, mrnet, radiographs
from tinygrad_med.data.images import open_image
from tinygrad_med.data.phantoms import knees
from tinygrad_med.learner.state import Checkpoint

RESULTS = Path(__file__).parent / "results" / "fuzz_readers.md"
MEMORY = 3 << 30  # bytes of addresses; the packages alone take about one
SLOW = 1.0  # seconds for one mutant


class Reader(NamedTuple):
    """How a kind of file is made, and read."""

    make: Callable[[Path], Path]
    """Writes whole files into a folder, and returns the one to be changed."""
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...] = (ValueError,)


# Whole files --------------------------------------------------------------------------------------------------------


def _state() -> dict[str, Any]:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 2))
    return net.state_dict()


def _weights(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        nested = {"epoch": 3, "model": _state(), "best": [0.5, None, ("a", 2**70)]}
        tg.save(nested if suffix == ".pth" else _state(), folder / f"a{suffix}")
        return folder / f"a{suffix}"

    return make


def _legacy(folder: Path) -> Path:
    """The older format of .pth, written by hand: two storages, three tensors."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def tensor(key: str, count: int) -> bytes:
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + b"K%cNtQ" % count
        return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0K%c\x85K\x01\x85\x89}tR" % count

    def pickled(program: bytes) -> bytes:
        return b"\x80\x02" + program + b"."

    magic = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
    parts = [magic, b"M\xe9\x03", b"}" + text("little_endian") + b"\x88s"]
    parts += [b"}(" + text("a") + tensor("0", 9) + text("b") + tensor("1", 5) + text("c") + tensor("0", 9) + b"u"]
    parts += [b"](" + text("0") + text("1") + b"e"]
    numbers = [n.to_bytes(8, "little") + np.arange(n, dtype="<f4").tobytes() for n in (9, 5)]
    (folder / "a.pth").write_bytes(b"".join(map(pickled, parts)) + b"".join(numbers))
    return folder / "a.pth"


def _films(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "films.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("train", "val"):
            for label in ("abd", "chest"):
                archive.writestr(f"{split}/{label}/1.png", os.urandom(50) * 3)
    return folder / "films.zip"


def _scans(folder: Path) -> Path:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(encoded, "JPEG")
    with zipfile.ZipFile(folder / "scans.zip", "w") as archive:
        for name in medical_mnist.CLASSES:
            archive.writestr(f"{name}/0.jpeg", encoded.getvalue())
    return folder / "scans.zip"


def _cache(folder: Path) -> Path:
    """The cache of decoded scans: the file that is changed is the pixels, and half of the time what they are."""
    os.environ["TINYGRAD_MED_CACHE"] = str(folder / "cache")
    medical_mnist.load(_scans(folder), check_counts=False)
    return next((folder / "cache").glob("*.npy"))


def _facts(folder: Path) -> Path:
    return next(_cache(folder).parent.glob("*.json"))


def _exams(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for plane in mrnet.PLANES:
        (folder / "train" / plane).mkdir(parents=True)
        for exam in ("0000", "0001"):
            np.save(folder / "train" / plane / f"{exam}.npy", rng.integers(0, 255, (1, 256, 256), np.uint8))
    for name in mrnet.LABELS:
        (folder / f"train-{name}.csv").write_text("0000,1\n0001,1\n")


def _volume(folder: Path) -> Path:
    _exams(folder)
    return folder / "train" / "axial" / "0000.npy"


def _labels(folder: Path) -> Path:
    _exams(folder)
    return folder / "train-acl.csv"


def _lesions(folder: Path) -> Path:
    rows = ["split,exam,label," + ",".join(knees.Cut._fields), "train,0000,acl,axial,3," + ",".join(["1.5"] * 3)]
    (folder / "lesions.csv").write_text("\n".join(rows) + "\n")
    return folder / "lesions.csv"


def _picture(suffix: str, mode: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 255, (24, 16, 3), np.uint8)
        image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 200) if mode == "I;16" else image
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(folder / f"a{suffix}", **({"exif": exif} if suffix in (".jpg", ".png", ".webp") else {}))
        return folder / f"a{suffix}"

    return make


def _dicom(folder: Path) -> Path:
    import pydicom

    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = pydicom.uid.SecondaryCaptureImageStorage, pydicom.uid.generate_uid()
    header.Rows, header.Columns, header.SamplesPerPixel = 8, 8, 1
    header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME1", 1
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.RescaleSlope, header.RescaleIntercept = 2, -1024
    header.WindowCenter, header.WindowWidth = 40, 400
    header.PixelData = np.arange(64, dtype=np.int16).tobytes()
    pydicom.dcmwrite(folder / "a.dcm", header, enforce_file_format=True)
    return folder / "a.dcm"


def _checkpoint(file: Path) -> Checkpoint:
    net = nn.Linear(2, 2)
    optimizer = optim.Adam(net.parameters())
    return Checkpoint(file, run={"seed": 1}, model=net, optimizer=optimizer)


def _progress(folder: Path) -> Path:
    _checkpoint(folder / "last.safetensors").save(epoch=1)
    return folder / "last.safetensors"


def _unpack(path: Path) -> None:
    os.environ["TINYGRAD_MED_CACHE"] = str(path.parent / "cache")
    radiographs.load(path)


def _scans_of(path: Path) -> None:
    """Also where only the cache is damaged, which must never be an error."""
    folder = path.parent.parent if path.parent.name == "cache" else path.parent
    os.environ["TINYGRAD_MED_CACHE"] = str(folder / "cache")
    medical_mnist.load(folder / "scans.zip", check_counts=False)


def _exams_of(path: Path) -> None:
    root = next(one for one in path.parents if (one / "train-acl.csv").exists())
    _ = mrnet.Exams(root, check_counts=False)[0]


READERS = {
    "pth": Reader(_weights(".pth"), tg.load, (ValueError, pickle.UnpicklingError)),
    "pth, older format": Reader(_legacy, tg.load, (ValueError, pickle.UnpicklingError)),
    "safetensors": Reader(_weights(".safetensors"), tg.load, (ValueError, pickle.UnpicklingError)),
    "npz": Reader(_weights(".npz"), tg.load, (ValueError, pickle.UnpicklingError)),
    "checkpoint": Reader(_progress, lambda path: _checkpoint(path).load()),
    "zip of films": Reader(_films, _unpack),
    "zip of scans": Reader(_scans, _scans_of, (ValueError, FileNotFoundError)),
    "cache, pixels": Reader(_cache, _scans_of, ()),
    "cache, facts": Reader(_facts, _scans_of, ()),
    "MRNet's volumes": Reader(_volume, _exams_of),
    "MRNet's labels": Reader(_labels, _exams_of),
    "lesions": Reader(_lesions, lambda path: knees.read_lesions(path.parent, "train")),
    "PNG": Reader(_picture(".png", "RGBA"), open_image),
    "PNG, 16 bits": Reader(_picture(".png", "I;16"), open_image),
    "JPEG": Reader(_picture(".jpg", "RGB"), open_image),
    "TIFF": Reader(_picture(".tif", "L"), open_image),
    "GIF": Reader(_picture(".gif", "P"), open_image),
    "BMP": Reader(_picture(".bmp", "RGB"), open_image),
    "WebP": Reader(_picture(".webp", "RGB"), open_image),
    "DICOM": Reader(_dicom, open_image),
}


# Mutants ------------------------------------------------------------------------------------------------------------


def mutants(data: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Changed copies, without end."""
    while True:
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            start = int(rng.integers(len(changed) or 1))
            length = int(min(rng.choice([1, 1, 2, 4, 8, 64]), len(changed)))
            match rng.integers(7):
                case 0:
                    changed[start : start + 1] = bytes([int(rng.integers(256))])
                case 1:
                    changed[start : start + 1] = bytes([(changed[start] if changed else 0) ^ 1 << int(rng.integers(8))])
                case 2:
                    changed[start : start + length] = bytes([int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))]) * length
                case 3:
                    del changed[start : start + length]
                case 4:
                    changed[start:start] = rng.bytes(length)
                case 5:
                    other = int(rng.integers(len(changed) or 1))
                    changed[start:start] = changed[other : other + length]
                case 6:
                    del changed[start:]
        if changed != data:
            yield bytes(changed)


def try_reader(name: str, seed: int, seconds: float, most: int = 10**9) -> collections.Counter[str]:
    """How many mutants had which fate; every failure is printed with the number of its mutant."""
    reader, fates = READERS[name], collections.Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        forbidden = _watch(Path(folder))
        path = reader.make(Path(folder))
        whole = {file: file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}
        end = time.perf_counter() + seconds
        for number, mutant in enumerate(mutants(whole[path], np.random.default_rng(seed))):
            if time.perf_counter() > end or number == most:
                break
            for file in [file for file in Path(folder).rglob("*") if file.is_file() and file not in whole]:
                file.unlink()
            for file, content in whole.items():
                if not file.exists() or file.read_bytes() != content:
                    file.write_bytes(content)
            path.write_bytes(mutant)
            begin = time.perf_counter()
            fate = _fate(reader, path)
            if time.perf_counter() - begin > SLOW:
                fate = "failed: slow"
            if forbidden:
                fate = f"failed: {forbidden.pop()}"
            fates[fate] += 1
            if fate.startswith("failed"):
                print(f"{name}, mutant {number} of seed {seed}: {fate}", file=sys.stderr, flush=True)
    return fates


def _fate(reader: Reader, path: Path) -> str:
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        told, sys.stdout = sys.stdout, nowhere
        try:
            reader.read(path)
        except reader.errors as error:
            return "refused" if _names(error, path) else f"failed: {error!r} names no file"
        except Exception as error:  # noqa: BLE001 - what must not come is what is looked for
            return f"failed: {error!r}"
        finally:
            sys.stdout = told
    return "read"


def _names(error: Exception, path: Path) -> bool:
    """Whether the text names the file, or, of several that must agree, one of its folder's."""
    return path.name in str(error) or str(path.parent) in str(error)


def _watch(folder: Path) -> list[str]:
    """A list that grows when a program is started, a connection is opened, or a file outside of `folder` is written."""
    seen: list[str] = []
    starts = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.spawn")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in starts:
            seen.append(event)
        elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
            target = os.path.realpath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes) else ""
            if target and target != os.devnull and not target.startswith(os.path.realpath(folder)):
                seen.append(f"{event} {target}")

    sys.addaudithook(hook)
    return seen


# The run ------------------------------------------------------------------------------------------------------------


def child(name: str, seed: int, seconds: float) -> None:
    """One reader, with a limit of memory; the fates are printed as JSON."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps(try_reader(name, seed, seconds)))


def main() -> int:
    """Try all readers, and write the table; returns how many mutants failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--reader", action="append", choices=READERS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.reader or list(READERS)
    if args.child:
        child(names[0], args.seed, args.child)
        return 0
    lines = ["| reader | mutants | read | refused, by name | failed |", "|---|--:|--:|--:|--:|"]
    totals = collections.Counter[str]()
    for name in names:
        command = [sys.executable, __file__, "--reader", name, "--seed", str(args.seed)]
        run = subprocess.run(
            [*command, "--child", str(60 * args.minutes / len(names))], stdout=subprocess.PIPE, text=True, check=False
        )
        counted = json.loads(run.stdout) if run.returncode == 0 else {"failed: the process ended": 1}
        fates = collections.Counter[str]()
        for fate, count in counted.items():
            fates[fate.partition(":")[0]] += count
        totals += fates
        lines.append(_line(name, fates))
    lines.append(_line("**all**", totals))
    print("\n".join(lines))
    if not args.reader:
        with writing(RESULTS) as temporary:
            temporary.write_text("\n".join(lines) + "\n", "utf-8")
    return totals["failed"]


def _line(name: str, fates: collections.Counter[str]) -> str:
    return f"| {name} | {fates.total():,} | {fates['read']:,} | {fates['refused']:,} | {fates['failed']:,} |"


if __name__ == "__main__":
    sys.exit(min(main(), 1))
