"""The story of MRNet: what a run leaves, that it goes on as if nothing had happened, and its numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from examples import mrnet as story
from tinygrad_med import nn, optim
from tinygrad_med.data.mrnet import LABELS, PLANES, Exams
from tinygrad_med.learner.state import snapshot

TABLE = {"0000": (1, 0, 1), "0001": (0, 0, 0), "0002": (1, 1, 0)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three exams of one or two slices in each split; to be taken for phantoms, since they are too few."""
    root = tmp_path_factory.mktemp("MRNet-v1.0")
    (root / "lesions.csv").touch()
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        for k, plane in enumerate(PLANES):
            (root / split / plane).mkdir(parents=True)
            for i, exam in enumerate(TABLE):
                volume = rng.integers(0, 255, ((i + k) % 2 + 1, 256, 256), dtype=np.uint8)
                np.save(root / split / plane / f"{exam}.npy", volume)
        for j, name in enumerate(LABELS):
            with (root / f"{split}-{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows((exam, labels[j]) for exam, labels in TABLE.items())
    return root


def options(data: Path, out: Path, *more: str) -> Any:
    quick = ["--phantoms", "3", "--backbone", "squeezenet", "--weights", "random", "--lr", "1e-3"]
    quick += ["--shrink", "2", "--explain", "1", "--quiet"]
    return story.parse([str(data), *quick, "--out", str(out), *more])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "train_seconds"} for row in csv.DictReader(file)]


def test_a_run_and_the_same_run_in_two_parts(data: Path, tmp_path: Path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    story.run(options(data, whole, "--epochs", "2", "--accumulate", "2"))
    story.run(options(data, parts, "--epochs", "1", "--accumulate", "2"))
    assert len(rows(parts)) == 1
    for change, complaint in {
        ("--accumulate", "1"): "accumulate=2 instead of 1",
        ("--phantoms", "4"): "phantoms=3 instead of 4",
        ("--slices", "20", "33"): r"slices=\[20, 32\] instead of \[20, 33\]",
    }.items():
        with pytest.raises(SystemExit, match=f"--resume: .*last.safetensors is of a run with {complaint}; finish that"):
            story.run(options(data, parts, "--epochs", "2", "--accumulate", "2", "--resume", *change))
    story.run(options(data, parts, "--epochs", "2", "--accumulate", "2", "--resume"))

    names = {"history.csv", "curves.png", "roc.png", "best.safetensors", "last.safetensors", "exam-0000.png"}
    assert {path.name for path in whole.iterdir()} == names
    history = rows(whole)
    assert [row["epoch"] for row in history] == ["0", "1"]
    wanted = {
        f"{split}_{what}"
        for split in ("train", "valid")
        for what in ("loss", "auc_mean", *(f"auc_{n}" for n in LABELS))
    }
    assert history[0].keys() == {"epoch", "lr", *wanted}
    assert rows(parts) == history
    for file in ("best", "last"):
        one, two = (tm.load(folder / f"{file}.safetensors") for folder in (whole, parts))
        names = [name for name in one if name != "facts"]
        assert len(names) > 50
        assert [name for name in names if (one[name] != two[name]).any()] == []


def test_a_file_of_the_earlier_form_is_refused(data: Path, tmp_path: Path):
    """Which had the options one level deeper."""
    facts = {"plan": {"data": str(data)}, "scheduler": {}, "history": []}
    tm.save(snapshot(nn.Linear(1, 1), facts=facts), tmp_path / "last.safetensors")
    with pytest.raises(SystemExit, match=r"--resume: .*last\.safetensors doesn't say task, .*; another version"):
        story.run(options(data, tmp_path, "--resume"))


def test_a_single_label_in_chunks(data: Path, tmp_path: Path):
    (row,) = story.run(options(data, tmp_path, "--task", "acl", "--epochs", "1", "--chunk", "1", "--no-augment"))
    assert "valid_auc_acl" in row and "valid_auc_meniscus" not in row
    assert row["valid_auc_mean"] == row["valid_auc_acl"]
    assert tm.load(tmp_path / "best.safetensors")["fc.weight"].shape == (1, 3 * 512)


def test_accumulated_gradients_are_those_of_the_mean_loss(data: Path, tmp_path: Path):
    args = options(data, tmp_path, "--accumulate", "3", "--no-augment")
    exams = Exams(data, check_counts=False, shrink=2)
    criterion = nn.BCEWithLogitsLoss()
    models = [story.build(args, 3) for _ in range(2)]
    optimizers = [optim.SGD(model.parameters(), lr=0.1) for model in models]
    story.train(models[0], exams, criterion, optimizers[0], 0, args)
    losses = [criterion(models[1](series), y) for series, y in (story.tensors(exam, "cpu") for exam in exams)]
    (sum(losses) / 3).backward()
    optimizers[1].step()
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=1e-6)


def test_aucs_and_their_intervals():
    y = np.array([0, 0, 0, 1, 1, 1] * 5, float)
    good, blind = y + 0.1, np.tile([0.1, 0.2], 15)
    found = story.Pass(0.0, np.stack([good, blind, good], 1), np.stack([y, y, np.ones(30)], 1))
    np.testing.assert_array_equal(story.aucs(found)[0], 1)
    assert np.isnan(story.aucs(found)[2])
    assert story.interval(y, good) == (1, 1)
    low, high = story.interval(y, blind)
    assert low < story.aucs(found)[1] < high
    assert 0.1 < high - low < 0.6


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--resume"], "there is no last.safetensors in"),
        (["--accumulate", "0"], "--accumulate 0 must be at least 1"),
        (["--epochs", "0"], "--epochs 0 must be at least 1"),
    ],
)
def test_bad_options(more: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        options(tmp_path, tmp_path, *more)
    assert complaint in capsys.readouterr().err


def test_a_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "last.safetensors").touch()
    with pytest.raises(SystemExit):
        options(tmp_path, tmp_path)
    assert "holds another run; go on with it by --resume" in capsys.readouterr().err


def test_random_filters_see_only_their_own_place(data: Path, tmp_path: Path):
    model = story.build(options(data, tmp_path, "--backbone", "alexnet"), 3)
    first, *others = (module.weight.detach().numpy() for module in model.axial if isinstance(module, nn.Conv2d))
    np.testing.assert_allclose(first.mean((1, 2, 3)), 0, atol=1e-6)
    for weight in others:
        middle = weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]
        assert np.count_nonzero(weight) == np.count_nonzero(middle)
        assert abs(middle.std() / np.sqrt(2 / weight.shape[1]) - 1) < 0.05
