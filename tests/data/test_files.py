"""Writing that may be interrupted: whole or not there, and nobody else's files are touched."""

from __future__ import annotations

import contextlib
import os
import time

from tinygrad_med.data.files import STALE, writing


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
