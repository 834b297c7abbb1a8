"""Medical MNIST from every kind of source, and every kind of bad one.

The sources are small: two phantoms of each class, as JPEGs. One test reads the real zip, where it is there.
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from PIL import Image

from tinygrad_med import _files as files
from tinygrad_med.data import medical_mnist, phantoms
from tinygrad_med.data.medical_mnist import CLASSES, COUNTS, SIZE, load, split

EACH = 2  # images of each class in the small sources
N = EACH * len(CLASSES)
GITHUB = "Medical-MNIST-Classification-master/resized/"  # where the classes are in the zip that it serves


def jpeg(pixels: np.ndarray, size: int = SIZE, mode: str = "L", kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).resize((size, size)).convert(mode).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="module")
def scans() -> dict[str, bytes]:
    """The files of a small source, by their names."""
    images, labels = phantoms.generate(EACH)
    return {
        f"{CLASSES[label]}/{i:06}.jpeg": jpeg(image)
        for i, (image, label) in enumerate(zip(images, labels, strict=True))
    }


@pytest.fixture(scope="module")
def pixels(scans: dict[str, bytes]) -> np.ndarray:
    """What Pillow sees in them."""
    return np.stack([np.asarray(Image.open(io.BytesIO(scans[name]))) for name in sorted(scans)])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("TINYGRAD_MED_CACHE", str(folder))
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test, the small source is all that was published."""
    monkeypatch.setattr(medical_mnist, "COUNTS", dict.fromkeys(CLASSES, EACH))


@pytest.fixture
def folder(scans: dict[str, bytes], tmp_path: Path, cache: Path) -> Path:
    return write_folder(scans, tmp_path / "scans")


@pytest.fixture
def archive(scans: dict[str, bytes], tmp_path: Path, cache: Path) -> Path:
    return write_zip(scans, tmp_path / "scans.zip")


def write_folder(scans: dict[str, bytes], path: Path, inside: str = "") -> Path:
    for name, data in reversed(scans.items()):  # the order on the disk must not matter
        (path / inside / name).parent.mkdir(parents=True, exist_ok=True)
        (path / inside / name).write_bytes(data)
    return path


def write_zip(scans: dict[str, bytes], path: Path, inside: str = GITHUB) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in reversed(scans.items()):
            out.writestr(inside + name, data)
    return path


def names(folder: Path) -> list[str]:
    """What lies in a folder; nothing, where it was never made."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---------------------------------------------------------------- good sources


@pytest.mark.parametrize("inside", ["", "resized/", GITHUB])
@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_every_layout_yields_the_same_arrays(write, inside, scans, pixels, tmp_path, cache):
    path = write(scans, tmp_path / "source", inside)
    found = load(path, check_counts=False)
    np.testing.assert_array_equal(found.images, pixels)
    np.testing.assert_array_equal(found.labels, np.repeat(np.arange(6), EACH))
    assert (found.images.dtype, found.labels.dtype) == (np.uint8, np.int64)
    assert len(found) == N
    assert found.classes == ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
    assert (found.source, found.is_phantom) == (str(path.resolve()), False)


def test_hidden_files_are_no_images(folder, archive, scans, tmp_path):
    (folder / "Hand" / ".DS_Store").write_bytes(b"of the Finder")
    assert len(load(folder, check_counts=False)) == N
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr("__MACOSX/resized/Hand/._000008.jpeg", b"of the Finder too")
    assert len(load(archive, check_counts=False)) == N


def test_the_repr_is_short(folder):
    assert len(repr(load(folder, check_counts=False))) < 300


# ---------------------------------------------------------------- the cache


def no_decoding(*_: object) -> bytes:
    raise AssertionError("decoded, though there is a cache")


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_the_second_time_comes_from_the_cache_and_is_mapped(source, request, pixels, monkeypatch):
    path = request.getfixturevalue(source)
    load(path, check_counts=False)
    monkeypatch.setattr(medical_mnist, "_pixels", no_decoding)
    again = load(path, check_counts=False)
    np.testing.assert_array_equal(again.images, pixels)
    assert isinstance(again.images.base, np.memmap)
    assert not again.images.flags.writeable


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_a_changed_source_is_decoded_again(source, request, pixels, scans, tmp_path):
    path = request.getfixturevalue(source)
    load(path, check_counts=False)
    hand = next(name for name in sorted(scans) if name.startswith("Hand"))
    bright = jpeg(np.full((SIZE, SIZE), 200, np.uint8)).ljust(len(scans[hand]), b"\0")  # as long as the old one
    changed = scans | {hand: bright}
    write_folder(changed, path) if source == "folder" else write_zip(changed, path)
    again = load(path, check_counts=False).images
    assert again[CLASSES.index("Hand") * EACH].min() > 190
    assert (again == pixels).all(axis=(1, 2)).sum() == N - 1


def test_two_sources_have_two_caches(folder, archive, cache):
    load(folder, check_counts=False)
    load(archive, check_counts=False)
    assert len(names(cache)) == 4


def test_without_a_path_the_images_decoded_last_are_taken(small, folder, archive, cache, pixels, monkeypatch):
    load(archive)
    os.utime(next(cache.glob("*.json")), (0, 0))
    load(folder)
    monkeypatch.setattr(medical_mnist, "_pixels", no_decoding)
    assert load().source == str(folder)


def test_without_a_path_a_subset_does_not_do(folder, capsys):
    load(folder, check_counts=False)
    assert load(download=False, phantoms_per_class=1).is_phantom


def test_an_interrupted_run_leaves_nothing(folder, cache, monkeypatch):
    decode, calls = medical_mnist._pixels, []

    def interrupted(encoded: bytes, file: str) -> bytes:
        calls.append(file)
        if len(calls) == N // 2:
            assert [name.endswith(".partial") for name in names(cache)] == [True]
            raise KeyboardInterrupt
        return decode(encoded, file)

    monkeypatch.setattr(medical_mnist, "_pixels", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(folder, check_counts=False)
    assert names(cache) == []


def test_a_killed_run_leaves_nothing_that_is_read_or_that_stays(folder, cache, pixels):
    script = """
        import sys, time
        from tinygrad_med.data import medical_mnist
        decode = medical_mnist._pixels
        def slowly(encoded, file):
            print(file, flush=True)
            time.sleep(0 if "Abdomen" in file else 60)
            return decode(encoded, file)
        medical_mnist._pixels = slowly
        medical_mnist.load(sys.argv[1], check_counts=False)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    root = Path(__file__).parents[2]
    run = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in run.stdout:
        if "Breast" in line:
            break
    run.kill()
    run.communicate()
    (partial,) = cache.iterdir()

    np.testing.assert_array_equal(load(folder, check_counts=False).images, pixels)
    assert partial.exists()  # it could have been the file of a run that is still writing
    os.utime(partial, (time.time() - 2 * files.STALE,) * 2)
    for file in cache.glob("medical_mnist-*.*[yn]"):
        file.unlink()
    load(folder, check_counts=False)
    assert not partial.exists()
    assert len(names(cache)) == 2


def test_pixels_without_their_manifest_are_not_read(folder, cache, pixels):
    """The run was killed between the two files, and the pixels are another's."""
    load(folder, check_counts=False)
    next(cache.glob("*.json")).unlink()
    np.save(next(cache.glob("*.npy")), np.zeros_like(pixels))
    np.testing.assert_array_equal(load(folder, check_counts=False).images, pixels)


def test_any_wrong_byte_of_the_cache_has_it_made_again(folder, cache, pixels, capsys):
    load(folder, check_counts=False)
    for file in (next(cache.glob("*.npy")), next(cache.glob("*.json"))):
        whole = file.read_bytes()
        for at in range(0, min(len(whole), 128), 3 if file.suffix == ".npy" else 9):
            for change in (0x01, 0x88):
                damaged = bytearray(whole)
                damaged[at] ^= change
                file.write_bytes(damaged)
                np.testing.assert_array_equal(load(folder, check_counts=False).images, pixels)
    assert capsys.readouterr().out.count("is damaged and not used") > 40


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "pixels cut off": ("*.npy", cut),
    "one bit of a pixel": ("*.npy", flip),
    "empty": ("*.npy", lambda file: file.write_bytes(b"")),
    "no .npy": ("*.npy", lambda file: file.write_bytes(b"PK\x03\x04 or whatever")),
    "another shape": ("*.npy", lambda file: np.save(file, np.zeros((N, SIZE, SIZE + 1), np.uint8))),
    "another dtype": ("*.npy", lambda file: np.save(file, np.zeros((N, SIZE, SIZE), np.float32))),
    "another sign": ("*.npy", lambda file: np.save(file, np.load(file).view(np.int8))),
    "pixels missing": ("*.npy", Path.unlink),
    "manifest cut off": ("*.json", lambda file: file.write_text(file.read_text()[:20])),
    "manifest of another kind": ("*.json", lambda file: file.write_text("[1, 2]")),
    "manifest without counts": ("*.json", lambda file: file.write_text("{}")),
    "manifest of other counts": ("*.json", lambda file: file.write_text(file.read_text().replace("2,", "3,", 1))),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_named_and_replaced(damage, folder, cache, pixels, capsys):
    load(folder, check_counts=False)
    pattern, spoil = DAMAGE[damage]
    spoil(next(cache.glob(pattern)))
    np.testing.assert_array_equal(load(folder, check_counts=False).images, pixels)
    line = capsys.readouterr().out
    assert line.startswith(f"medical_mnist: the cache {cache}{os.sep}medical_mnist-")
    assert "is damaged and not used (" in line
    load(folder, check_counts=False)
    assert capsys.readouterr().out == ""


def test_without_a_path_a_damaged_cache_is_not_taken(small, folder, cache, capsys):
    load(folder)
    flip(next(cache.glob("*.npy")))
    assert load(download=False, phantoms_per_class=1).is_phantom
    assert "the checksum of its pixels differs" in capsys.readouterr().out
    load(download=False, phantoms_per_class=1)
    assert "damaged" not in capsys.readouterr().out  # said once


def test_the_cache_folder_is_the_users(tmp_path, monkeypatch):
    monkeypatch.delenv("TINYGRAD_MED_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, appauthor: tmp_path / "home" / name)
    assert files.cache_folder() == tmp_path / "home" / "tinygrad_med"
    assert files.cache_folder().is_dir()
    monkeypatch.setenv("TINYGRAD_MED_CACHE", str(tmp_path / "mine"))
    assert files.cache_folder() == tmp_path / "mine"


# ---------------------------------------------------------------- bad sources

GREY = np.full((SIZE, SIZE), 100, np.uint8)
WHOLE = jpeg(phantoms.generate(1)[0][0])
HEADER = WHOLE.index(b"\xff\xc0") + 5  # here it has its height and width
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "cut off by half": (WHOLE[: len(WHOLE) // 2], "is cut off or damaged"),
    "cut off at the end": (WHOLE[:-4], "is cut off or damaged"),
    "cut off in the header": (WHOLE[:100], "is not a JPEG, or not all of its header"),
    "empty": (b"", "is not a JPEG"),
    "a text": (b"the scans are in the other folder", "is not a JPEG"),
    "a PNG": (jpeg(GREY, kind="PNG"), "is not a JPEG"),
    "smaller": (jpeg(GREY, size=32), "is 32×32 of mode L, not 64×64 of mode L"),
    "coloured": (jpeg(GREY, mode="RGB"), "is 64×64 of mode RGB, not 64×64 of mode L"),
    "a bomb": (WHOLE[:HEADER] + b"\xff" * 4 + WHOLE[HEADER + 4 :], "is not a JPEG"),
}


@pytest.mark.parametrize("bad", BAD_FILES)
@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_a_bad_file_is_named_and_nothing_is_left(write, bad, scans, tmp_path, cache):
    data, problem = BAD_FILES[bad]
    path = write(scans | {"Hand/broken.jpeg": data}, tmp_path / "source")
    with pytest.raises(ValueError, match=rf"Hand.broken\.jpeg.* {problem}.*restore the file, or remove it"):
        load(path, check_counts=False)
    assert names(cache) == []


def test_a_jpeg_that_is_cut_off_anywhere_is_refused():
    for length in range(0, len(WHOLE) - 2, 11):
        with pytest.raises(ValueError, match=r"x\.jpeg is (not a JPEG|cut off)"):
            medical_mnist._pixels(WHOLE[:length], "x.jpeg")


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_counts_are_checked_before_and_after_the_cache(write, scans, tmp_path, cache):
    path = write(scans, tmp_path / "source")
    message = r"source does not hold .*: AbdomenCT has 2, not 10,000; BreastMRI has 2, not 8,954; .*check_counts=False"
    with pytest.raises(ValueError, match=message):
        load(path)
    assert names(cache) == []
    load(path, check_counts=False)
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_a_missing_class_is_named(write, scans, tmp_path, cache):
    path = write({name: data for name, data in scans.items() if "CXR" not in name}, tmp_path / "source")
    with pytest.raises(FileNotFoundError, match=r"source has no folder CXR; give the folder that holds AbdomenCT, "):
        load(path, check_counts=False)
    assert names(cache) == []


def test_an_empty_class_is_named(folder, archive, scans, cache):
    for file in (folder / "ChestCT").iterdir():
        file.unlink()
    write_zip({name: data for name, data in scans.items() if "ChestCT" not in name}, archive)
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(GITHUB + "ChestCT/", b"")
    for path in (folder, archive):
        with pytest.raises(
            ValueError, match=rf"the folder ChestCT of .*{path.name} is empty; get its images from http"
        ):
            load(path, check_counts=False)
    assert names(cache) == []


@pytest.mark.parametrize("check_counts", [True, False])
def test_a_folder_without_any_class_lists_what_it_should_have(check_counts, tmp_path, cache):
    with pytest.raises(FileNotFoundError, match="has no folder AbdomenCT, BreastMRI, CXR, ChestCT, Hand, HeadCT; give"):
        load(tmp_path, check_counts=check_counts)


def test_nothing_at_the_path(tmp_path, cache):
    with pytest.raises(FileNotFoundError, match=r"there is nothing at .*nowhere\.zip; give a folder, or the zip from"):
        load(tmp_path / "nowhere.zip")
    assert names(cache) == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_zip_that_is_cut_off(share, archive, cache):
    data = archive.read_bytes()
    archive.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"scans\.zip is not a whole zip \(.*\); was it cut off\? Download it again"):
        load(archive, check_counts=False)
    assert names(cache) == []


def test_a_zip_with_a_damaged_member(archive, cache):
    with zipfile.ZipFile(archive) as whole:
        start = whole.infolist()[3].header_offset
    data = bytearray(archive.read_bytes())
    data[start + 300 : start + 310] = bytes(10)
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=r"\.jpeg in .*scans\.zip can't be read \(.*\); was it cut off\?"):
        load(archive, check_counts=False)
    assert names(cache) == []


def test_a_zip_that_is_locked(archive, cache):
    data = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(mark) + flags] |= 1
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=r"scans\.zip is not a whole zip \(.*\.jpeg.* is encrypted"):
        load(archive, check_counts=False)
    assert names(cache) == []


@pytest.mark.parametrize(
    "name", ["../Hand/evil.jpeg", "a/../../Hand/evil.jpeg", "/Hand/evil.jpeg", "C:/Hand/evil.jpeg"]
)
def test_a_zip_whose_names_climb_out_of_the_folder(name, archive, cache, tmp_path):
    before = set(tmp_path.rglob("*"))
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(name, jpeg(GREY))
    with pytest.raises(ValueError, match=rf"has a name that climbs out of the folder, '{name}'; don't unpack it"):
        load(archive, check_counts=False)
    assert names(cache) == []
    assert set(tmp_path.rglob("*")) - before <= {cache}


def test_a_zip_with_backslashes_that_climb(archive, cache):
    with zipfile.ZipFile(archive, "a") as out:
        info = zipfile.ZipInfo("x")
        info.filename = "Hand\\..\\..\\evil.jpeg"  # as a tool on Windows may write it
        out.writestr(info, jpeg(GREY))
    with pytest.raises(ValueError, match="climbs out of the folder"):
        load(archive, check_counts=False)


def test_a_zip_with_two_sets_of_classes(scans, archive, cache):
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr("other/Hand/000.jpeg", jpeg(GREY))
    with pytest.raises(
        ValueError, match="several places: Medical-MNIST-Classification-master/resized, other; leave one of"
    ):
        load(archive, check_counts=False)


@pytest.mark.parametrize("package", ["PIL.Image", "tqdm"])
def test_a_missing_package_is_named(package, folder, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'needs {package[:3]}.*pip install "tinygrad_med\[examples\]"'):
        load(folder, check_counts=False)
    assert names(cache) == []


def test_a_missing_platformdirs_is_named(monkeypatch):
    monkeypatch.delenv("TINYGRAD_MED_CACHE")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ImportError, match=r"finding the cache folder needs platformdirs.*pip install"):
        files.cache_folder()


# ---------------------------------------------------------------- the network

PHANTOMS = "medical_mnist: these are PHANTOMS, generated pictures, because "


class Server(ThreadingHTTPServer):
    """GitHub, near by: `body` is what it sends, `promise` how long it says that is, `late` and `stalled` for how long
    it keeps silent before its answer, and before the body."""

    body, promise, late, stalled = b"", 0, 0.0, 0.0
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """The client hung up; that is its right."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        time.sleep(self.server.late)
        self.send_response(200)
        self.send_header("Content-Length", str(max(self.server.promise, len(self.server.body))))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        time.sleep(self.server.stalled)
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, cache: Path, small: None) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(medical_mnist, "URL", f"http://127.0.0.1:{server.server_port}/master.zip")
        yield server
        server.shutdown()


def expect_phantoms(capsys: pytest.CaptureFixture[str], cache: Path, reason: str, within: float) -> None:
    start = time.perf_counter()
    found = load(phantoms_per_class=1, seed=3)
    assert time.perf_counter() - start < within
    assert found.is_phantom
    assert found.source == "phantoms, seed 3"
    assert found.classes == CLASSES
    np.testing.assert_array_equal(found.images, phantoms.generate(1, seed=3)[0])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(PHANTOMS + reason)
    assert line.endswith(
        f"To get the real images: download {medical_mnist.URL} and name it by --data (in Python: load(path))"
    )
    assert names(cache) == []


def test_a_download_is_decoded_and_kept(github, archive, cache, pixels, capsys):
    github.body = archive.read_bytes()
    found = load()
    np.testing.assert_array_equal(found.images, pixels)
    assert not found.is_phantom
    kept = cache / "Medical-MNIST-Classification-master.zip"
    assert kept.read_bytes() == github.body
    assert len(names(cache)) == 3
    assert capsys.readouterr().out == ""

    github.body = b""
    for file in cache.glob("medical_mnist-*"):
        file.unlink()
    assert load().source == str(kept)  # no second download


def test_no_network(capsys, cache, monkeypatch):
    with socket.socket() as taken:  # bound, but not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setattr(medical_mnist, "URL", f"http://127.0.0.1:{taken.getsockname()[1]}/master.zip")
        expect_phantoms(capsys, cache, "the network does not answer", within=10)


def test_no_name_server(capsys, cache, monkeypatch):
    released = threading.Event()

    def never(*_: object, **__: object) -> list[object]:
        released.wait(60)
        raise socket.gaierror("no name server")

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(medical_mnist, "PATIENCE", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    expect_phantoms(capsys, cache, "the network does not answer", within=10)
    asking = [thread for thread in threading.enumerate() if thread.daemon and "ask" in thread.name]
    released.set()
    for thread in asking:
        thread.join()


def test_a_silent_network(capsys, cache, github, monkeypatch):
    github.late = 30.0
    monkeypatch.setattr(medical_mnist, "PATIENCE", 0.3)
    expect_phantoms(capsys, cache, "the network does not answer", within=10)


def test_a_download_that_breaks_off_is_not_taken_for_the_file(capsys, cache, github, archive):
    github.body = archive.read_bytes()[:5000]
    github.promise = len(archive.read_bytes())
    expect_phantoms(capsys, cache, "the download broke off (", within=10)


def test_a_download_that_stalls_is_given_up(capsys, cache, github, archive, monkeypatch):
    github.body, github.stalled = archive.read_bytes(), 30.0
    monkeypatch.setattr(medical_mnist, "PATIENCE", 0.3)
    expect_phantoms(capsys, cache, "the download broke off (", within=10)


def test_a_login_page_is_not_taken_for_the_file(capsys, cache, github):
    github.body = b"<html>Welcome to the hospital's guest network"
    expect_phantoms(capsys, cache, "what the network sent is not a zip", within=10)


def test_the_download_can_be_switched_off(capsys, cache, github):
    assert load(download=False, phantoms_per_class=1).is_phantom
    assert capsys.readouterr().out.startswith(PHANTOMS + "the download is switched off. To get")


def test_a_missing_pooch_is_named(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'the download needs pooch.*pip install "tinygrad_med\[examples\]"'):
        load()


# ---------------------------------------------------------------- splitting


def test_split_as_the_tutorials_do():
    train, valid = split(sum(COUNTS.values()), 0.2, seed=0)
    assert (len(train), len(valid)) == (47_164, 11_790)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), np.arange(58_954))
    assert (np.diff(valid) < 0).any()
    np.testing.assert_array_equal(valid, split(58_954, 0.2, seed=0)[1])
    assert (valid != split(58_954, 0.2, seed=1)[1]).any()


@pytest.mark.parametrize("share", [0, 1, 20, -0.1])
def test_split_wants_a_share(share):
    with pytest.raises(ValueError, match=f"the share for validation is {share}; give a number between 0 and 1"):
        split(100, share)


# ---------------------------------------------------------------- the real images


def test_the_real_zip(shared: Path):
    """All 58,954, decoded into the session's cache: seconds."""
    path = shared / "data" / "Medical-MNIST-Classification-master.zip"
    found = load(path)
    assert found.images.shape == (58_954, 64, 64)
    assert dict(zip(found.classes, np.bincount(found.labels).tolist(), strict=True)) == COUNTS
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.namelist(), key=lambda name: (CLASSES.index(name.split("/")[-2]), name))
        for i in range(0, len(members), 5_000):
            np.testing.assert_array_equal(found.images[i], np.asarray(Image.open(io.BytesIO(archive.read(members[i])))))
    means = [found.images[found.labels == label].mean() for label in range(6)]
    np.testing.assert_allclose(means, [112.895, 27.145, 143.413, 131.048, 68.098, 58.955], atol=0.01)
