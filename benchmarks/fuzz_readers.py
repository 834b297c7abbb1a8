"""What do the readers of files say to damaged and hostile ones? Mutants of whole files, each read once.

A mutant has bytes changed, overwritten, cut out, put in or doubled at random, or is cut off. Where checksums would stop
nearly all of them at the door, a second row, "beneath its checksums", changes what the checksums are of and makes them
anew. A reader may read a mutant (the change did no harm, or is not to be noticed), or raise the errors that it
documents, with the file's name in the text. Counted as failures are other errors, errors that don't name the file, more
than a second of the processor for one mutant, the end of the process, and what no reader may do: start a program, open
a connection, write outside of its folder. Readers run in processes of their own with a limit of memory; a new one
begins only where one died.

    python benchmarks/fuzz_readers.py [--mutants 1000] [--reader pth …] [--seed 0]

The figures of each reader are in `results/fuzz_readers.csv`, where a later run replaces those of its readers, and the
table in `results/fuzz_readers.md`.
"""

from __future__ import annotations

import argparse
import collections
import csv
import io
import itertools
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
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
SLOW = 1.0  # seconds of the processor for one mutant: others may compute beside
BATCH = 20_000  # mutants of one process
HANGS = 10  # seconds of the processor after which the process is ended
FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # in memory: half of the time would be the disk's

Parts = tuple[list[bytes], Callable[[list[bytes]], bytes]]
"""What a file's checksums are of, and how it becomes a file again."""


class Reader(NamedTuple):
    """How a kind of file is made, and read."""

    make: Callable[[Path], Path]
    """Writes whole files into a folder, and returns the one to be changed."""
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...] = (ValueError,)
    beneath: Callable[[bytes], Parts] = lambda data: ([data], b"".join)
    """Takes the file apart where mutants are to be made beneath its checksums."""


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


def _dicom(folder: Path, packed: bool = False) -> Path:
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
    if packed:
        header.compress(pydicom.uid.RLELossless)
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


# Beneath checksums ------------------------------------------------------------------------------------------------


def _members(data: bytes) -> Parts:
    """The files in an archive, and after them their names."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        contents = [archive.read(info) for info in infos]

    def join(parts: list[bytes]) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            for info, part, name in zip(infos, parts, parts[len(infos) :], strict=False):
                archive.writestr(name.decode("latin-1").partition("\0")[0] or "_", part, info.compress_type)
        return made.getvalue()

    return contents + [info.filename.encode() for info in infos], join


def _chunks(data: bytes) -> Parts:
    """The chunks of a PNG, each with its type, and the picture's bytes unpacked."""
    parts, place = [], 8
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        part = data[place + 4 : place + 8 + size]
        parts.append(b"IDAT" + zlib.decompress(part[4:]) if part[:4] == b"IDAT" else part)
        place += 12 + size

    def join(parts: list[bytes]) -> bytes:
        packed = [b"IDAT" + zlib.compress(part[4:], 1) if part[:4] == b"IDAT" else part for part in parts]
        sizes = [struct.pack(">I", max(len(part) - 4, 0)) for part in packed]
        sums = [struct.pack(">I", zlib.crc32(part)) for part in packed]
        return data[:8] + b"".join(a + b + c for a, b, c in zip(sizes, packed, sums, strict=True))

    return parts, join


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
    "DICOM, packed": Reader(lambda folder: _dicom(folder, packed=True), open_image),
}
for name, beneath in {
    **dict.fromkeys(["pth", "npz", "zip of films", "zip of scans"], _members),
    **dict.fromkeys(["PNG", "PNG, 16 bits"], _chunks),
}.items():
    READERS[f"{name}, beneath its checksums"] = READERS[name]._replace(beneath=beneath)


# Mutants ------------------------------------------------------------------------------------------------------------


WORDS = (
    *(b"../", b"/", b"..\\", b"C:", b"\0", b"\n", b'"', b"[", b"{", b"(", b",", b"NaN", b"-1", b"1e999", b"9" * 20),
    *(size.to_bytes(width, order) for size in (2**31 - 1, 2**24) for width in (4, 8) for order in ("little", "big")),
)
"""What means something to one reader or another."""


def mutants(parts: list[bytes], rng: np.random.Generator) -> Iterator[list[bytes]]:
    """Copies with one part changed, without end."""
    while True:
        which = int(rng.integers(len(parts)))
        if (changed := _changed(parts[which], rng)) != parts[which]:
            yield [*parts[:which], changed, *parts[which + 1 :]]


def _changed(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range((1, 1, 1, 2, 4)[rng.integers(5)]):
        start = int(rng.integers(len(changed) or 1))
        length = min((1, 1, 2, 4, 8, 64)[rng.integers(6)], len(changed))
        match rng.integers(8):
            case 0:
                changed[start : start + 1] = bytes([int(rng.integers(256))])
            case 1:
                changed[start : start + 1] = bytes([(changed[start] if changed else 0) ^ 1 << int(rng.integers(8))])
            case 2:
                changed[start : start + length] = bytes([(0, 1, 0x7F, 0x80, 0xFF)[rng.integers(5)]]) * length
            case 3:
                del changed[start : start + length]
            case 4:
                changed[start:start] = rng.bytes(length)
            case 5:
                other = int(rng.integers(len(changed) or 1))
                changed[start:start] = changed[other : other + length]
            case 6:
                del changed[start:]
            case 7:
                changed[start:start] = WORDS[rng.integers(len(WORDS))]
    return bytes(changed)


class Tried(NamedTuple):
    """What became of a reader's mutants."""

    fates: collections.Counter[str]
    seconds: float = 0.0  # of the processor, with the making of the mutants
    longest: float = 0.0  # for one mutant


def try_reader(name: str, seed: int, numbers: range, begun: Callable[[int], object] = lambda _: None) -> Tried:
    """Try the mutants with these numbers; every failure is printed. Each number is told to `begun` before."""
    reader, fates, longest = READERS[name], collections.Counter[str](), 0.0
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        forbidden = _watch(Path(folder))
        path = reader.make(Path(folder))
        whole = {str(file): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}
        parts, join = reader.beneath(whole[str(path)])
        start = time.process_time()
        made = itertools.islice(mutants(parts, np.random.default_rng(seed)), numbers.start, numbers.stop)
        for number, mutant in zip(numbers, made, strict=True):
            _put_back(folder, whole)
            path.write_bytes(join(mutant))
            begun(number)
            begin = time.process_time()
            fate = _fate(reader, path)
            longest = max(longest, took := time.process_time() - begin)
            if took > SLOW:
                fate = "failed: slow"
            if forbidden:
                fate = f"failed: {forbidden[0]}"
                forbidden.clear()
            fates[fate] += 1
            if fate.startswith("failed"):
                print(f"{name}, mutant {number} of seed {seed}: {fate}", file=sys.stderr, flush=True)
        return Tried(fates, time.process_time() - start, longest)


def _put_back(folder: str, whole: dict[str, bytes]) -> None:
    """Make the folder what it was."""
    homes = {os.path.dirname(file) for file in whole}
    for where, below, names in os.walk(folder):
        for name in names:
            if (file := os.path.join(where, name)) not in whole:
                os.unlink(file)
        for name in list(below):
            inner = os.path.join(where, name)
            if not any(home == inner or home.startswith(inner + os.sep) for home in homes):
                shutil.rmtree(inner)
                below.remove(name)
    for file, content in whole.items():
        if not os.path.exists(file) or Path(file).read_bytes() != content:
            Path(file).write_bytes(content)


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
    """A list that grows when a program is started, a connection is opened, or something outside of `folder` is written,
    made, renamed or removed."""
    seen: list[str] = []
    inside = os.path.realpath(folder)
    starts = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.spawn"}
    places = {  # which arguments are paths, and which are the folders that these begin at
        **dict.fromkeys(["os.rmdir", "os.remove"], ((0, 1),)),
        **dict.fromkeys(["os.mkdir", "os.chmod"], ((0, 2),)),
        **dict.fromkeys(["os.rename", "os.link"], ((0, 2), (1, 3))),
        "os.truncate": ((0, 0),),
        "os.utime": ((0, 3),),
        "os.symlink": ((1, 2),),
    }

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in starts:
            seen.append(event)
        elif event == "open":
            _, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) if isinstance(flags, int) else 0
            if writes or (isinstance(mode, str) and set(mode) & set("wax+")):
                check(event, arguments[0])
        elif event in places:
            for index, at in places[event]:
                check(event, arguments[index], arguments[at] if at else -1)

    def check(event: str, path: Any, at: int = -1) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        home = os.readlink(f"/proc/self/fd/{at}") if at >= 0 else ""
        target = os.path.realpath(os.path.join(home, os.fsdecode(path)))
        if target != os.devnull and os.path.commonpath([inside, target]) != inside:
            seen.append(f"{event} {target}")

    sys.addaudithook(hook)
    return seen


# The run ------------------------------------------------------------------------------------------------------------


def child(name: str, seed: int, numbers: range) -> None:
    """Try a reader with a limit of memory; prints a line before each mutant, and at last the fates as JSON."""
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def begun(number: int) -> None:
        signal.setitimer(signal.ITIMER_PROF, HANGS)  # then the process ends
        os.pwrite(1, b"%d\n" % number, 0)

    tried = try_reader(name, seed, numbers, begun)
    os.pwrite(1, json.dumps(tried).encode() + b"\n", 0)


def try_apart(name: str, seed: int, count: int) -> Tried:
    """As `try_reader`, in processes of their own. Of one that died only the mutant that it died of is counted."""
    fates, seconds, longest, first = collections.Counter[str](), 0.0, 0.0, 0
    command = [sys.executable, __file__, "--reader", name, "--seed", str(seed)]
    quiet = {**os.environ, "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    while first < count:
        with tempfile.TemporaryFile() as told:
            stop = min(count, first + BATCH)
            run = subprocess.run([*command, "--child", str(first), str(stop)], stdout=told, check=False, env=quiet)
            told.seek(0)
            answer = json.loads(told.readline())
        if run.returncode == 0:
            counted, took, most = answer
            fates.update(counted)
            seconds, longest, first = seconds + took, max(longest, most), stop
        else:
            fate = f"failed: the process ended with {run.returncode}"
            print(f"{name}, mutant {answer} of seed {seed}: {fate}", file=sys.stderr, flush=True)
            fates[fate] += 1
            first = answer + 1
    return Tried(fates, seconds, longest)


def main() -> int:
    """Try the readers, and write the table; returns how many mutants failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1000, help="of each reader; default: 1000")
    parser.add_argument("--reader", action="append", choices=READERS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.reader or list(READERS)
    if args.child:
        child(names[0], args.seed, range(*args.child))
        return 0
    failed = 0
    for name in names:
        tried = try_apart(name, args.seed, args.mutants)
        kinds = collections.Counter[str]()
        for fate, count in tried.fates.items():
            kinds[fate.partition(":")[0]] += count
        failed += kinds["failed"]
        rows = _rows()  # now: other readers' may have been written by another run
        rows[name] = [kinds.total(), kinds["read"], kinds["refused"], kinds["failed"], tried.seconds, tried.longest]
        _write(rows)
    print(RESULTS.read_text("utf-8"))
    return failed


def _rows() -> dict[str, list[float]]:
    """What is known of each reader."""
    file = RESULTS.with_suffix(".csv")
    if not file.exists():
        return {}
    with file.open(encoding="utf-8", newline="") as opened:
        return {name: [float(number) for number in numbers] for name, *numbers in list(csv.reader(opened))[1:]}


def _write(rows: dict[str, list[float]]) -> None:
    known = {name: rows[name] for name in READERS if name in rows}
    with writing(RESULTS.with_suffix(".csv")) as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened, lineterminator="\n")
        table.writerow(["reader", "mutants", "read", "refused", "failed", "seconds", "longest"])
        table.writerows([name, *map(int, row[:4]), f"{row[4]:.1f}", f"{row[5]:.3f}"] for name, row in known.items())
    lines = ["| reader | mutants | read | refused, by name | failed | the longest |", "|---|--:|--:|--:|--:|--:|"]
    lines += [_line(name, *row) for name, row in known.items()]
    totals = [sum(column) for column in list(zip(*known.values(), strict=True))[:5]]
    lines.append(_line("**all**", *totals, max(row[5] for row in known.values())))
    with writing(RESULTS) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")


def _line(name: str, mutants: float, read: float, refused: float, failed: float, _: float, longest: float) -> str:
    return f"| {name} | {mutants:,.0f} | {read:,.0f} | {refused:,.0f} | {failed:,.0f} | {1000 * longest:.0f} ms |"


if __name__ == "__main__":
    sys.exit(min(main(), 1))
