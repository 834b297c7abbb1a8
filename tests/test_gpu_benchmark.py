"""`python -m benchmarks.gpu`: what it says without a card, how it judges numbers, and one work of it on a card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tinygrad_med as tm
from benchmarks import gpu, readme
from tests.op_cases import ROWS
from tests.ops.on_a_card import off, worst_of


@pytest.mark.skipif(tm.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--short"]) == 2
    assert "error: there is no card: " in capsys.readouterr().err


def test_numbers_are_judged_by_the_largest_of_the_exact_ones() -> None:
    exact = np.array([1.0, -1000.0, np.inf])
    assert off(np.array([1.0, -1001.0, np.inf], "float32"), exact) == pytest.approx(1e-3)
    assert off(np.zeros((0, 2), "float32"), np.zeros((0, 2))) == 0
    with pytest.raises(AssertionError, match="shapes"):
        off(exact[:2], exact)
    with pytest.raises(AssertionError, match="other elements are finite"):
        off(np.array([1.0, -1000.0, 5.0]), exact)


@pytest.mark.cuda
def test_a_row_is_asked_on_the_card() -> None:
    (row,) = (row for row in ROWS if row.name == "mul")
    worst = worst_of(row, 2)
    assert worst["float64"] < 1e-12 and 0 < worst["float32"] < 1e-5
    assert worst_of(row._replace(op=lambda x, y: x * y * (1.001 if x.is_cuda else 1)), 2)["float64"] > 1e-5


@pytest.mark.cuda
def test_a_work_is_timed_in_every_precision() -> None:
    for kind in gpu.PRECISIONS:
        found = gpu.compare_times("relu", gpu.layer(lambda lib: lib.nn.ReLU(), 2, 3), kind, rounds=1)
        assert found["ours, ms"] > 0 and "ours failed" not in found
        assert not tm.backends.cuda.matmul.allow_tf32


def test_the_readmes_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    assert "| not run, no card was at hand | 1.2 | – |" in readme.on_a_card()
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    for ratio, row in ((1.1, "| 1.10 | at most 1.2 | as asked |"), (1.31, "| 1.31 | at most 1.2 | **MISSED** |")):
        step = {"work": "ResNet-18 training, 64", "precision": "TF32", "ratio": ratio}
        (results / "gpu.json").write_text(json.dumps({"card": "A card", "steps": [step]}), "utf-8")
        assert row in readme.on_a_card() and "On a GPU, A card: " in readme.on_a_card()
