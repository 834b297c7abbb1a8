"""The story of MRNet: what a run leaves, that it goes on as if nothing had happened, and its numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import mrnet_page as shown
import numpy as np
import pytest

import tinygrad_med as tm
from examples import mrnet as story
from tinygrad_med import nn, optim
from tinygrad_med.data.mrnet import LABELS, PLANES, Exams

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


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    quick = ["--backbone", "squeezenet", "--weights", "random", "--lr", "1e-3", "--shrink", "2", "--explain", "1"]
    return ["--data", str(data), *quick, "--quiet", "--out", str(out), *more]


def options(data: Path, out: Path, *more: str) -> Any:
    return story.parse(arguments(data, out, *more))


@pytest.fixture(autouse=True)
def _as_few_exams_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three exams are taken for a whole data set."""
    real = Exams.__init__
    monkeypatch.setattr(Exams, "__init__", lambda *a, **k: real(*a, **{**k, "check_counts": False}))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "train_seconds"} for row in csv.DictReader(file)]


def test_a_rate_that_is_too_high_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """In one line, without NumPy's warnings of the overflow, which would be errors here."""
    assert story.main([*arguments(data, tmp_path), "--lr", "1e6"]) == 2
    told = capsys.readouterr().err
    assert "epoch 0, exam 000" in told and "the learning rate, 1e+06, is too high" in told


def test_a_run_and_the_same_run_in_two_parts(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert story.main(arguments(data, whole, "--epochs", "2", "--accumulate", "2")) == 0
    assert story.main(arguments(data, parts, "--epochs", "1", "--accumulate", "2")) == 0
    assert len(rows(parts)) == 1
    capsys.readouterr()
    assert story.main(arguments(data, parts, "--epochs", "2", "--accumulate", "1", "--resume")) == 2
    assert "last.safetensors is of a run with accumulate=2 instead of 1; finish that" in capsys.readouterr().err
    assert story.main(arguments(data, parts, "--epochs", "2", "--accumulate", "2", "--resume")) == 0

    names = {"history.csv", "curves.png", "roc.png", "index.html", "run.txt", "exam-0000.png"}
    names |= {"best.safetensors", "last.safetensors"}
    assert {path.name for path in whole.iterdir()} - {"last-before.safetensors"} == names
    page = (whole / "index.html").read_text("utf-8")
    assert all(f'src="{name}"' in page for name in names if name.endswith(".png"))
    assert "<td>abnormal</td><td>yes</td>" in page
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
        names = [name for name in one if name not in ("facts", "parts")]
        assert len(names) > 50
        assert [name for name in names if (one[name] != two[name]).any()] == []


def test_sgd_learns_and_goes_on_too(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert story.main(arguments(data, whole, "--epochs", "2", "--optimizer", "sgd")) == 0
    assert story.main(arguments(data, parts, "--epochs", "1", "--optimizer", "sgd")) == 0
    capsys.readouterr()
    assert story.main(arguments(data, parts, "--epochs", "2", "--resume")) == 2
    assert "is of a run with optimizer='sgd' instead of 'adam'" in capsys.readouterr().err
    assert story.main(arguments(data, parts, "--epochs", "2", "--optimizer", "sgd", "--resume")) == 0
    one, two = (tm.load(folder / "last.safetensors") for folder in (whole, parts))
    assert any("momentum" in name for name in one)
    names = [name for name in one if name not in ("facts", "parts")]
    assert [name for name in names if (one[name] != two[name]).any()] == []


def test_the_optimizer_that_was_asked_for(data: Path, tmp_path: Path):
    model = story.build(options(data, tmp_path), 3)
    sgd = story.learning(model, options(data, tmp_path, "--optimizer", "sgd", "--weight-decay", "0.1"))
    assert type(sgd) is optim.SGD
    assert {name: sgd.defaults[name] for name in ("lr", "momentum", "weight_decay")} == {
        "lr": 1e-3,
        "momentum": 0.9,
        "weight_decay": 0.1,
    }
    assert type(story.learning(model, options(data, tmp_path))) is optim.Adam


def test_ctrl_c_leaves_the_page_and_the_way_on(data: Path, tmp_path: Path, capsys):
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert story.main(arguments(data, whole, "--epochs", "2")) == 0
    real, calls = story.train, []

    def train(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(story, "train", train)
        assert story.main(arguments(data, part, "--epochs", "2")) == 130
    assert capsys.readouterr().out.splitlines()[-1].startswith("To go on: python ")
    assert "1 of 2 epochs" in (part / "index.html").read_text("utf-8")
    assert story.main(arguments(data, part, "--epochs", "2", "--resume")) == 0
    assert rows(part) == rows(whole)
    assert (part / "roc.png").read_bytes() == (whole / "roc.png").read_bytes()


def test_a_single_label_in_chunks(data: Path, tmp_path: Path):
    more = ["--task", "acl", "--epochs", "1", "--chunk", "1", "--no-augment"]
    assert story.main(arguments(data, tmp_path, *more)) == 0
    (row,) = rows(tmp_path)
    assert "valid_auc_acl" in row
    assert "valid_auc_meniscus" not in row
    assert row["valid_auc_mean"] == row["valid_auc_acl"]
    assert tm.load(tmp_path / "best.safetensors")["fc.weight"].shape == (1, 3 * 512)


def test_the_best_is_found_without_an_auc_too():
    """Of one class alone there is no AUC, and nan >= nan is false: the lowest loss counts."""
    losses = [0.7, 0.5, 0.6]
    history = [{"valid_auc_mean": np.nan, "valid_loss": loss} for loss in losses]
    assert [story.is_best(row, history[:i]) for i, row in enumerate(history)] == [True, True, False]
    history = [{"valid_auc_mean": auc, "valid_loss": 0.0} for auc in (0.7, 0.6, 0.7)]
    assert [story.is_best(row, history[:i]) for i, row in enumerate(history)] == [True, False, True]


# ---------------------------------------------------------------- phantoms


def test_phantoms_are_painted_once_and_counted(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made: list[tuple[Any, ...]] = []

    def paint(folder: Path, *counts: int, slices: tuple[int, int], seed: int) -> None:
        made.append((*counts, slices, seed))
        (folder / "train" / "axial").mkdir(parents=True)
        for i in range(counts[0]):
            (folder / "train" / "axial" / f"{i}.npy").touch()
        (folder / "lesions.csv").touch()

    monkeypatch.setattr(story.knees, "generate", paint)
    found = story.phantoms(story.parse(["--phantoms", "16"]))
    assert story.phantoms(story.parse(["--phantoms", "16"])) == found
    assert made == [(16, 8, (20, 32), 0)]
    assert story.phantoms(story.parse(["--phantoms", "20"])) != found
    with pytest.raises(ValueError, match="--phantoms 200: .* holds 16 exams to learn from; say --phantoms 16, or name"):
        story.phantoms(story.parse(["--phantoms", "200", "--data", str(found)]))


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
    assert shown.interval(y, good) == (1, 1)
    low, high = shown.interval(y, blind)
    assert low < story.aucs(found)[1] < high
    assert 0.1 < high - low < 0.6


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--accumulate", "0"], "--accumulate: 0 is less than 1"),
        (["--epochs", "0"], "--epochs: 0 is less than 1"),
        (["--phantoms", "12"], "--phantoms: 12 is less than 16"),
        (["--slices", "3", "4"], "--slices: 3 is less than 6"),
        (["--slices", "9", "8"], "--slices 9 8: the fewest come first"),
        (["--shrink", "4"], "--shrink: invalid choice: 4"),
    ],
)
def test_bad_options(more: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        options(tmp_path, tmp_path, *more)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_some_data_must_be_named(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        story.parse([])
    assert "name the folder MRNet-v1.0 by --data, or ask for --phantoms 96" in capsys.readouterr().err


def test_what_is_missing_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert story.main(arguments(tmp_path, tmp_path / "out")) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert story.main(arguments(tmp_path, tmp_path / "out", "--resume")) == 2


def test_random_filters_see_only_their_own_place(data: Path, tmp_path: Path):
    model = story.build(options(data, tmp_path, "--backbone", "alexnet"), 3)
    first, *others = (module.weight.detach().numpy() for module in model.axial if isinstance(module, nn.Conv2d))
    np.testing.assert_allclose(first.mean((1, 2, 3)), 0, atol=1e-6)
    for weight in others:
        middle = weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]
        assert np.count_nonzero(weight) == np.count_nonzero(middle)
        assert abs(middle.std() / np.sqrt(2 / weight.shape[1]) - 1) < 0.05


def test_exams_of_ones_own_as_folders_of_dicom_slices(tmp_path, monkeypatch, capsys):
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install pydicom")
    monkeypatch.undo()  # the number of exams is checked, but for one's own
    monkeypatch.chdir(tmp_path)
    real, knees = Path(pydicom.__file__).parent / "data" / "test_files" / "MR_small.dcm", tmp_path / "knees"
    header = pydicom.dcmread(real)
    for split in ("train", "valid"):
        for j, name in enumerate(LABELS):
            knees.mkdir(exist_ok=True)
            (knees / f"{split}-{name}.csv").write_text("".join(f"{k},{v[j]}\n" for k, v in TABLE.items()))
        for plane in PLANES:
            for exam in TABLE:
                folder = knees / split / plane / exam
                folder.mkdir(parents=True)
                for name, place in (("a", 5.0), ("b", -5.0)):  # scanners name them as they like
                    header.ImagePositionPatient = [0, 0, place]
                    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
                    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
                    pixels = header.pixel_array.copy()
                    pixels[0, 0] = 4000 if name == "a" else 0
                    header.PixelData = pixels.tobytes()
                    header.save_as(folder / f"{name}.dcm")

    assert story.main(arguments(knees, tmp_path / "out", "--epochs", "1")) == 2
    assert "does not hold the train split" in capsys.readouterr().err
    assert story.main(arguments(knees, tmp_path / "out", "--epochs", "1", "--own")) == 0
    assert "converting 36 slices" in capsys.readouterr().out
    (made,) = (tmp_path / "runs").glob("exams-*")
    volume = np.load(made / "valid" / "coronal" / "0002.npy")
    assert volume.shape == (2, 256, 256) and volume.dtype == np.uint8
    assert volume[1, 0, 0] == 255 > volume[0, 0, 0]  # in the order of their places, not of their names

    assert story.main(arguments(knees, tmp_path / "out", "--epochs", "2", "--own", "--resume")) == 0
    assert "converting" not in capsys.readouterr().out
    (knees / "valid-acl.csv").write_text("0000,0\n0001,1\n0002,0\n")  # other data: another folder
    with pytest.warns(UserWarning, match="abnormal"):
        assert story.main(arguments(knees, tmp_path / "other", "--epochs", "1", "--own")) == 0
    assert len(list((tmp_path / "runs").glob("exams-*"))) == 2


def test_own_exams_are_not_painted(capsys):
    with pytest.raises(SystemExit):
        story.parse(["--own", "--phantoms", "16"])
    assert "give one of them" in capsys.readouterr().err


def test_other_exams_than_mrnets_want_the_option_that_says_so(data: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.undo()  # the number of exams is checked
    assert story.main(["--data", str(data), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "exams, not 1,130" in said and "say --own for a subset, or for exams of your own" in said
    assert "check_counts" not in said
