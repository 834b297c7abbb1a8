"""The example, from its arguments to its files: on a few phantoms, with what can go wrong, and on the real images."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tinygrad_med.data import medical_mnist, phantoms

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "medical_mnist.py"
FILES = {"history.csv", "summary.md", "curves.png", "confusion.png", "weights.png", "mistakes.png"}
MODELS = ("unnormalised", "linear", "mlp", "cnn")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("example_medical_mnist", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look up their annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def scans(tmp_path) -> Path:
    """A folder of class folders, with two phantoms each."""
    pixels, labels = phantoms.generate(2)
    home = tmp_path / "scans"
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (home / medical_mnist.CLASSES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / medical_mnist.CLASSES[label] / f"{i}.jpeg")
    return home


# ---------------------------------------------------------------- on phantoms


@pytest.mark.parametrize("model", MODELS)
def test_each_model_learns_and_reports(example, model, tmp_path, capsys):
    arguments = ["--phantoms", "50", "--epochs", "3", "--model", model, "--out", str(tmp_path)]
    assert example.main(arguments) == 0

    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history.epoch) == [0, 1, 2]
    assert history.valid_loss.is_monotonic_decreasing
    assert history.valid_accuracy.between(0, 1).all()
    published = pd.read_csv(example.PUBLISHED, comment="#")
    published = published[published.model == model].head(3)
    assert list(history.valid_loss_published.dropna()) == list(published.valid_loss)
    assert list(history.valid_accuracy_published.dropna()) == list(published.valid_accuracy)

    expected = FILES | ({"filters.png", "feature_maps.png"} if model == "cnn" else set())
    assert files(tmp_path) == expected
    for picture in sorted(expected):
        if picture.endswith(".png"):
            with Image.open(tmp_path / picture) as image:
                assert np.asarray(image.convert("L")).std() > 10, f"{picture} is blank"
    summary = (tmp_path / "summary.md").read_text("utf-8")
    assert set(re.findall(r"\]\((\S+)\)", summary)) == {name for name in expected if name.endswith(".png")}
    printed = capsys.readouterr().out
    assert "300 images (phantoms, as asked): 240 to learn from, 60 to validate" in printed
    assert f"{history.valid_loss.iloc[-1]:.4f}" in printed.splitlines()[-2]
    assert f"{history.valid_accuracy.iloc[-1]:.2%}" in summary
    assert printed.rstrip().endswith(str(tmp_path / "summary.md"))


def test_the_same_seed_gives_the_same_history(example, tmp_path):
    def history(seed: int) -> pd.DataFrame:
        out = tmp_path / "out"
        arguments = ["--phantoms", "20", "--epochs", "2", "--model", "mlp", "--seed", str(seed), "--out", str(out)]
        assert example.main(arguments) == 0
        return pd.read_csv(out / "history.csv").drop(columns="seconds")

    first = history(1)
    pd.testing.assert_frame_equal(history(1), first)
    assert not history(2).valid_loss.equals(first.valid_loss)


def test_the_numbers_published_are_those_of_the_tutorials(example, shared):
    ours = pd.read_csv(example.PUBLISHED, comment="#")
    for model, name in (("unnormalised", "unnormalised_softmax"), ("linear", "log_softmax")):
        reference = pd.read_csv(shared / "reference" / f"medical_mnist_{name}.csv")
        mine = ours[ours.model == model].drop(columns="model").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, reference, check_exact=True)
        assert len(mine) == example.RECIPES[model].epochs


def test_a_class_weight_is_the_derivative_of_its_score(example):
    rng = np.random.default_rng(0)
    model = example.models.LinearModel()
    with example.torch.no_grad():
        model.weights.copy_(rng.standard_normal((4096, 10)).astype(np.float32))
    weights = example.class_weights(model.scores, example.torch.randn(3, 4096))
    np.testing.assert_allclose(weights.reshape(6, 4096), model.weights.detach().numpy().T[:6], rtol=1e-5, atol=1e-6)


def test_confusion_has_the_true_class_in_rows(example):
    preds = np.zeros((3, 10), np.float32)
    preds[[0, 1, 2], [4, 4, 1]] = 1
    counts = example.confusion(np.array([4, 2, 1]), preds)
    assert counts.shape == (6, 6)
    assert {place: counts[place] for place in zip(*counts.nonzero(), strict=True)} == {(4, 4): 1, (2, 4): 1, (1, 1): 1}


@pytest.mark.parametrize("subtracted", [0, 7])
def test_the_hardest_images_come_first(example, subtracted):
    pixels, labels = phantoms.generate(1)
    data = medical_mnist.Images(pixels, labels, medical_mnist.CLASSES, "phantoms", is_phantom=True)
    rows = np.array([5, 2, 0])  # HeadCT, CXR, AbdomenCT
    probabilities = np.full((3, 6), 0.01)
    probabilities[0, [5, 4]] = 0.56, 0.40
    probabilities[1, [2, 3]] = 0.16, 0.80
    probabilities[2, [0, 1]] = 0.90, 0.06
    preds = np.log(probabilities / probabilities.sum(1, keepdims=True)) - subtracted
    figure = example.hardest(example.Batches(data, rows, example.twice_divided, "cpu"), preds)
    shown = [axes for axes in figure.axes if axes.images]
    captions = ["CXR, taken for\nChestCT (80%)", "HeadCT\nright, 56% sure", "AbdomenCT\nright, 90% sure"]
    assert [axes.get_xlabel() for axes in shown] == captions
    np.testing.assert_array_equal(shown[0].images[0].get_array(), pixels[2])


# ---------------------------------------------------------------- Ctrl-C


def interrupted_after(steps: int, example, monkeypatch):
    """Let Ctrl-C come when the loss is asked for once more."""
    real, calls = example.loss_func, []

    def loss_func(preds, targets):
        calls.append(targets)
        if len(calls) > steps:
            raise KeyboardInterrupt
        return real(preds, targets)

    monkeypatch.setattr(example, "loss_func", loss_func)


def test_an_interrupt_leaves_what_was_finished(example, tmp_path, monkeypatch, capsys):
    arguments = ["--phantoms", "50", "--out"]  # 4 batches an epoch, and the loss once more for validation
    assert example.main([*arguments, str(tmp_path / "whole"), "--epochs", "2"]) == 0
    interrupted_after(2 * 5 + 3, example, monkeypatch)
    assert example.main([*arguments, str(tmp_path / "part")]) == 130
    assert "interrupted; the report is about the epochs that were finished" in capsys.readouterr().out
    assert files(tmp_path / "part") == FILES
    whole, part = (pd.read_csv(tmp_path / name / "history.csv").drop(columns="seconds") for name in ("whole", "part"))
    pd.testing.assert_frame_equal(part, whole)
    for picture in ("weights.png", "confusion.png"):  # of the end of epoch 1, not of the third batch after it
        assert (tmp_path / "part" / picture).read_bytes() == (tmp_path / "whole" / picture).read_bytes()
    assert "2 of 16 epochs, then interrupted" in (tmp_path / "part" / "summary.md").read_text("utf-8")


def test_an_interrupt_in_the_first_epoch_leaves_nothing(example, tmp_path, monkeypatch, capsys):
    interrupted_after(2, example, monkeypatch)
    assert example.main(["--phantoms", "50", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "interrupted before the first epoch was finished\n"
    assert files(tmp_path) == set()


# ---------------------------------------------------------------- what can't be used


def refused(example, capsys, *arguments: str) -> str:
    """The last line on standard error with which the example ends with exit status 2."""
    assert example.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    *progress, line = err.splitlines()
    assert line.startswith("error: ")
    assert not any("Traceback" in earlier for earlier in progress)  # but perhaps the bar of the decoding
    assert "epoch" not in out
    return line


def test_no_images_there(example, tmp_path, capsys):
    line = refused(example, capsys, "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path))
    assert f"there is nothing at {tmp_path / 'nowhere'}" in line


def test_a_class_is_missing(example, scans, tmp_path, capsys):
    for file in (scans / "Hand").iterdir():
        file.unlink()
    (scans / "Hand").rmdir()
    line = refused(example, capsys, "--data", str(scans), "--subset", "--out", str(tmp_path / "out"))
    assert "Hand" in line
    assert files(tmp_path / "out") == set()


def test_fewer_images_than_published(example, scans, tmp_path, capsys):
    line = refused(example, capsys, "--data", str(scans), "--out", str(tmp_path / "out"))
    assert "AbdomenCT has 2, not 10,000" in line
    assert example.main(["--data", str(scans), "--subset", "--epochs", "1", "--out", str(tmp_path / "out")]) == 0
    assert files(tmp_path / "out") == FILES


def test_a_truncated_image(example, scans, tmp_path, capsys):
    file = scans / "CXR" / "4.jpeg"
    file.write_bytes(file.read_bytes()[:-200])
    line = refused(example, capsys, "--data", str(scans), "--subset", "--out", str(tmp_path / "out"))
    assert str(file) in line


def test_an_unknown_device(example, tmp_path, capsys):
    line = refused(example, capsys, "--device", "tpu", "--phantoms", "2", "--out", str(tmp_path))
    assert "tpu" in line


def test_a_file_where_the_results_should_go(example, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    line = refused(example, capsys, "--phantoms", "2", "--out", str(tmp_path / "taken"))
    assert "taken" in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--epochs", "0"], "0 is less than 1"),
        (["--phantoms", "-3"], "-3 is less than 1"),
        (["--model", "resnet"], "invalid choice: 'resnet'"),
        (["--phantoms", "3", "--data", "here"], "not allowed with"),
    ],
)
def test_arguments_that_make_no_sense(example, arguments, complaint, capsys):
    with pytest.raises(SystemExit) as ended:
        example.main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


# ---------------------------------------------------------------- on the real images


@pytest.mark.parametrize("model", ["unnormalised", "linear"])
def test_the_real_images_give_the_published_losses(model, shared, tmp_path):
    zipped = shared / "data" / "Medical-MNIST-Classification-master.zip"
    arguments = ["--model", model, "--data", str(zipped), "--epochs", "3", "--seed", "0", "--out", str(tmp_path)]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # two are slower where other tests keep the cores busy
    command = [sys.executable, str(EXAMPLE), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=one_thread)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    history = pd.read_csv(tmp_path / "history.csv")
    assert len(history) == 3
    np.testing.assert_allclose(history.valid_loss, history.valid_loss_published, rtol=0.01)
    kibibytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    assert kibibytes < 2**20, "the whole example must stay under 1 GiB"
