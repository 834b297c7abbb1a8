"""Writing that may be interrupted: whole or not there, and nobody else's files are touched."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
import warnings
import zipfile
import zlib

import pytest

from tinygrad_med._files import STALE, cache_folder, naming_damage, writing
from tinygrad_med._zips import open_zip


def left(path, age=2 * STALE):
    """What a killed run left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_file_is_whole_or_not_there(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), writing(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with writing(tmp_path / "x") as temporary:
        temporary.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "whole"


def test_a_folder_is_whole_or_not_there(tmp_path):
    with contextlib.suppress(ZeroDivisionError), writing(tmp_path / "x") as temporary:
        left(temporary / "file")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with writing(tmp_path / "x") as temporary:
        left(temporary / "file")
    assert (tmp_path / "x" / "file").is_file()


def test_only_what_the_same_target_left_behind_is_removed(tmp_path):
    target = tmp_path / "[x]*"
    killed = left(tmp_path / "[x]*.0123abcd.partial")
    folder = left(tmp_path / "[x]*.4567abcd.partial" / "file").parent
    os.utime(folder, (time.time() - 2 * STALE,) * 2)
    others = [left(tmp_path / name) for name in ("movie.mkv.partial", "y.0123abcd.partial", "x.0123abcd.partial")]
    running = left(tmp_path / "[x]*.89ababcd.partial", age=0)
    with writing(target) as temporary:
        temporary.touch()
    assert not killed.exists() and not folder.exists()
    assert sorted(tmp_path.iterdir()) == sorted([target, running, *others])


def fill(path, kind, text):
    """A file with this text, or a folder with such a file."""
    file = path / "sub" / "file" if kind == "folder" else path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def text_of(path):
    return (path / "sub" / "file" if path.is_dir() else path).read_text()


@pytest.mark.parametrize(("kind", "winner"), [("file", "slow"), ("folder", "quick")])
def test_a_slower_run_ends_well_too(tmp_path, kind, winner):
    with writing(tmp_path / "x") as slow:
        fill(slow, kind, "slow")
        with writing(tmp_path / "x") as quick:
            fill(quick, kind, "quick")
        assert text_of(tmp_path / "x") == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and text_of(tmp_path / "x") == winner


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_two_runs_may_end_at_the_same_time(tmp_path, kind):
    both_wrote, ended = threading.Barrier(2, timeout=10), []

    def write(text):
        for i in range(50):
            with writing(tmp_path / f"{i}") as temporary:
                fill(temporary, kind, text)
                both_wrote.wait()
        ended.append(text)

    runs = [threading.Thread(target=write, args=(text,)) for text in ("one", "other")]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(ended) == ["one", "other"]
    assert {path.name for path in tmp_path.iterdir()} == {str(i) for i in range(50)}
    assert {text_of(path) for path in tmp_path.iterdir()} <= set(ended)


@pytest.mark.parametrize(("there", "new"), [("file", "folder"), ("folder", "file")])
def test_a_folder_and_a_file_do_not_take_each_others_place(tmp_path, there, new):
    fill(tmp_path / "x", there, "old")
    with pytest.raises(OSError, match="x"), writing(tmp_path / "x") as temporary:
        fill(temporary, new, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_was_left_behind_and_can_not_be_removed_is_named(tmp_path, monkeypatch, kind):
    """Such as another user's; the writing goes on."""

    def refuse(*_, **__):
        raise PermissionError

    fill(tmp_path / "x.0123abcd.partial", kind, "half")
    os.utime(tmp_path / "x.0123abcd.partial", (time.time() - 2 * STALE,) * 2)
    monkeypatch.setattr("os.rmdir", refuse)
    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with (
        pytest.warns(UserWarning, match=r"x\.0123abcd\.partial is half-written, and can't be removed") as told,
        writing(tmp_path / "x") as temporary,
    ):
        temporary.write_text("whole")
    assert (tmp_path / "x").read_text() == "whole" and (tmp_path / "x.0123abcd.partial").exists()
    assert [warning.filename for warning in told] == [__file__]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_killed_runs_left_in_the_cache_is_removed(tmp_path, monkeypatch, kind):
    """Whatever they were writing: the same file may never be written again."""
    monkeypatch.setenv("TINYGRAD_MED_CACHE", str(tmp_path))
    for name in ("scans-1234.npy.0123abcd.partial", "models/net.pth.0123abcd.partial", "new.0123abcd.partial", "x.npy"):
        fill(tmp_path / name, kind, "half")
        if "new" not in name:
            os.utime(tmp_path / name, (time.time() - 2 * STALE,) * 2)
    cache_folder()
    assert sorted(path.name for path in tmp_path.glob("*")) == ["models", "new.0123abcd.partial", "x.npy"]
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    "error", [KeyError("x"), zipfile.BadZipFile("x"), IsADirectoryError("x"), zlib.error("x"), MemoryError()]
)
def test_damage_has_a_name(error):
    message = r"^reading a\(…\).npy: damaged \(('?x'?|MemoryError)\); mend it$"
    with pytest.raises(ValueError, match=message) as caught, naming_damage("reading a(…).npy: damaged (…); mend it"):
        raise error
    assert caught.value.__cause__ is error


def test_what_is_not_there_is_not_damaged(tmp_path):
    with pytest.raises(FileNotFoundError), naming_damage("(…)"):
        (tmp_path / "x").read_bytes()


# Zip archives -------------------------------------------------------------------------------------------------------


def zipped(*names, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name in names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names that come twice
                archive.writestr(name, name * 100)
    return file


def test_a_whole_archive_is_opened():
    for options in ({}, {"compression": zipfile.ZIP_DEFLATED}):
        assert open_zip(zipped("a", "b/", "b/c", **options)).namelist() == ["a", "b/", "b/c"]
    many = open_zip(zipped(*map(str, range(66_000))))
    assert len(many.namelist()) == 66_000


def test_an_archive_with_a_comment_is_opened():
    file = zipped("a")
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"a long one " * 1000
    assert open_zip(file).namelist() == ["a"]


@pytest.mark.parametrize(("at", "value"), [(10, 3), (12, 46)])
def test_members_that_are_missing_are_noticed(at, value):
    """A directory whose end says that it is shorter than it is: zipfile reads what is left of it."""
    data = bytearray(zipped("a", "b").getvalue())
    end = data.rindex(b"PK\5\6")
    data[end + at] = value if at == 10 else data[end + at] - value - 1
    with pytest.raises(ValueError, match="its directory should have . members, and has ."):
        open_zip(io.BytesIO(data))


def test_a_name_that_comes_twice_is_noticed():
    with pytest.raises(ValueError, match="two of its members have the same name"):
        open_zip(zipped("a", "b", "a"))
