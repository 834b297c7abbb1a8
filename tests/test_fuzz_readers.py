"""A short form of `benchmarks/fuzz_readers.py`: damaged files get the errors that their readers document."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    fuzz = importlib.import_module("fuzz_readers")
finally:
    sys.path.pop(0)

MUTANTS = 120


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_damaged_file_is_read_or_refused_by_its_name(name, monkeypatch, tmp_path):
    monkeypatch.setenv("TINYGRAD_MED_CACHE", str(tmp_path))
    if name == "DICOM":
        pytest.importorskip("pydicom", reason="pydicom is not installed: pip install pydicom")
    monkeypatch.setattr(fuzz, "SLOW", 30.0)  # others may compute beside
    monkeypatch.setattr(fuzz, "_watch", lambda _: [])  # a hook can't be taken away again
    fates = fuzz.try_reader(name, seed=1, seconds=60, most=MUTANTS)
    assert fates.total() == MUTANTS and [fate for fate in fates if fate.startswith("failed")] == []


def test_failures_are_noticed(monkeypatch, tmp_path):
    def of(read, errors=(ValueError,)):
        def make(folder):
            (folder / "a.bin").write_bytes(bytes(range(50)))
            return folder / "a.bin"

        monkeypatch.setitem(fuzz.READERS, "planted", fuzz.Reader(make, read, errors))
        return dict(fuzz.try_reader("planted", seed=0, seconds=60, most=3))

    monkeypatch.setattr(fuzz, "_watch", lambda _: [])

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


def test_mutants_differ_from_the_whole_and_depend_on_the_seed():
    data = bytes(range(200))
    first, again = (
        [mutant for mutant, _ in zip(fuzz.mutants(data, np.random.default_rng(4)), range(200), strict=False)]
        for _ in range(2)
    )
    assert first == again and data not in first and len(set(first)) > 150
