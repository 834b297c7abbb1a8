"""A short form of `benchmarks/fuzz_readers.py`: damaged files get the errors that their readers document."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    fuzz = importlib.import_module("fuzz_readers")
finally:
    sys.path.pop(0)

MUTANTS = 120


@pytest.fixture
def unwatched(monkeypatch):
    monkeypatch.setattr(fuzz, "_watch", lambda _: [])  # a hook can't be taken away again


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_damaged_file_is_read_or_refused_by_its_name(name, monkeypatch, unwatched, tmp_path):
    monkeypatch.setenv("TINYGRAD_MED_CACHE", str(tmp_path))
    if name.startswith("DICOM"):
        pytest.importorskip("pydicom", reason="pydicom is not installed: pip install pydicom")
    monkeypatch.setattr(fuzz, "SLOW", 30.0)  # no timed tests
    fates = fuzz.try_reader(name, 1, range(MUTANTS)).fates
    assert fates.total() == MUTANTS and [fate for fate in fates if fate.startswith("failed")] == []


@pytest.mark.parametrize("name", [name for name in fuzz.READERS if "beneath" in name])
def test_beneath_checksums_a_file_becomes_the_same_again(name, tmp_path):
    reader = fuzz.READERS[name]
    path = reader.make(tmp_path)
    parts, join = reader.beneath(path.read_bytes())
    path.write_bytes(join(parts))
    reader.read(path)
    assert reader.beneath(path.read_bytes())[0] == parts and len(parts) > 1


def plant(read, errors=(ValueError,)):
    def make(folder):
        (folder / "a.bin").write_bytes(bytes(range(50)))
        return folder / "a.bin"

    fuzz.READERS["planted"] = fuzz.Reader(make, read, errors)


def test_failures_are_noticed(monkeypatch, unwatched):
    monkeypatch.setattr(fuzz, "READERS", {})

    def of(read, *errors):
        plant(read, *errors)
        return dict(fuzz.try_reader("planted", 0, range(3)).fates)

    def raises(error):
        def read(path):
            raise error(path.name if error is ValueError else "something")

        return read

    assert of(raises(ValueError)) == {"refused": 3}
    assert of(lambda path: path.read_bytes()) == {"read": 3}
    assert of(raises(KeyError)) == {"failed: KeyError('something')": 3}
    assert of(raises(LookupError), (LookupError,)) == {"failed: LookupError('something') names no file": 3}
    monkeypatch.setattr(fuzz, "SLOW", -1.0)
    assert of(lambda path: path.read_bytes()) == {"failed: slow": 3}


HARM = """
import os, socket, subprocess, sys, tempfile
from pathlib import Path
import fuzz_readers as fuzz

with tempfile.TemporaryDirectory() as outside, tempfile.TemporaryDirectory() as folder:
    seen = fuzz._watch(Path(folder))
    outside, inside = Path(outside), Path(folder)

    def by_descriptor():
        home = os.open(outside, os.O_RDONLY)
        os.mkdir("sub", dir_fd=home)
        os.close(home)

    for harm in (
        lambda: (outside / "a").write_text("x"),
        lambda: os.close(os.open(outside / "b", os.O_WRONLY | os.O_CREAT)),
        lambda: (inside / "../c").touch(),
        lambda: (outside / "d").mkdir(),
        lambda: (outside / "a").rename(inside / "a"),
        lambda: (inside / "a").rename(outside / "a"),
        lambda: (outside / "a").unlink(),
        lambda: (outside / "link").symlink_to(inside),
        by_descriptor,
        lambda: subprocess.run([sys.executable, "-c", ""]),
        lambda: socket.socket().connect_ex(("127.0.0.1", 9)),
    ):
        harm()
        assert seen, harm.__code__.co_firstlineno
        seen.clear()
    (inside / "a").write_text("x")
    (inside / "b").mkdir()
    (inside / "a").rename(inside / "b" / "a")
    (outside / "b").read_bytes()
    assert not seen, seen
    (Path(folder).parent / "c").unlink()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_no_reader_may_do_is_seen():
    run = subprocess.run([sys.executable, "-c", HARM], env=environment(), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


DIES = """
import json, os, signal, sys
import fuzz_readers as fuzz
from tests import test_fuzz_readers

number = iter(range(*map(int, sys.argv[-2:])))

def read(path):
    if next(number) == 2:
        os.kill(os.getpid(), signal.SIGSEGV)

test_fuzz_readers.plant(read)
fuzz.child("planted", 0, range(*map(int, sys.argv[-2:])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kills by signal")
def test_a_process_that_dies_is_one_failure_and_the_rest_is_tried(monkeypatch, tmp_path):
    (tmp_path / "script.py").write_text(DIES)
    monkeypatch.setattr(fuzz, "__file__", str(tmp_path / "script.py"))
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    assert dict(fuzz.try_apart("planted", 0, 6).fates) == {"failed: the process ended with -11": 1, "read": 3}


def environment():
    places = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def test_mutants_differ_from_the_whole_and_depend_on_the_seed():
    parts = [bytes(range(200)), b"abc"]
    first, again = (
        [mutant for mutant, _ in zip(fuzz.mutants(parts, np.random.default_rng(4)), range(200), strict=False)]
        for _ in range(2)
    )
    assert first == again and parts not in first and len({tuple(mutant) for mutant in first}) > 150
    assert all(sum(a != b for a, b in zip(mutant, parts, strict=True)) == 1 for mutant in first)
