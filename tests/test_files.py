"""Writing that may be interrupted: whole or not there, and nobody else's files are touched."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import pytest

from tinygrad_med._files import STALE, writing


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
