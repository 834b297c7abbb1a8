"""The example, from its arguments to its files: on a few phantoms, with what can go wrong, and on the real images."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import medical_mnist_page as shown
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from recipes import RECIPES

from tinygrad_med.data import medical_mnist, phantoms
from tinygrad_med.models import LinearModel

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "medical_mnist.py"
PICTURES = {"curves.png", "confusion.png", "weights.png", "mistakes.png"}
FILES = {"history.csv", "index.html", "backprop.html", "run.txt", "last.safetensors", "weights.safetensors", *PICTURES}
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
    return {path.name for path in folder.iterdir()} - {"last-before.safetensors"}


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
    published = pd.read_csv(shown.PUBLISHED, comment="#")
    published = published[published.model == model].head(3)
    assert list(history.valid_loss_published.dropna()) == list(published.valid_loss)
    assert list(history.valid_accuracy_published.dropna()) == list(published.valid_accuracy)

    expected = FILES | ({"filters.png", "feature_maps.png"} if model == "cnn" else set())
    assert files(tmp_path) == expected
    for picture in sorted(expected):
        if picture.endswith(".png"):
            with Image.open(tmp_path / picture) as image:
                assert np.asarray(image.convert("L")).std() > 10, f"{picture} is blank"
    page = (tmp_path / "index.html").read_text("utf-8")
    assert set(re.findall(r'<img src="(\S+)" alt="[^"]{20,}"', page)) == {n for n in expected if n.endswith(".png")}
    assert "Phantoms: generated pictures" in page
    printed = capsys.readouterr().out
    assert "300 images (phantoms, as asked): 240 to learn from, 60 to validate" in printed
    assert f"{history.valid_loss.iloc[-1]:.4f}" in printed.splitlines()[-3]
    assert f"{history.valid_accuracy.iloc[-1]:.2%}" in page
    *_, results, watch = printed.splitlines()
    assert results.endswith(str(tmp_path / "index.html"))
    assert watch.endswith(str(tmp_path / "backprop.html"))
    assert "Backpropagation" in (tmp_path / "backprop.html").read_text("utf-8")


def test_the_same_seed_gives_the_same_history(example, tmp_path):
    def history(seed: int) -> pd.DataFrame:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        arguments = ["--phantoms", "20", "--epochs", "2", "--model", "mlp", "--seed", str(seed), "--out", str(out)]
        assert example.main(arguments) == 0
        return pd.read_csv(out / "history.csv").drop(columns="seconds")

    first = history(1)
    pd.testing.assert_frame_equal(history(1), first)
    assert not history(2).valid_loss.equals(first.valid_loss)


def test_the_numbers_published_are_those_of_the_tutorials(example, shared):
    ours = pd.read_csv(shown.PUBLISHED, comment="#")
    for model, name in (("unnormalised", "unnormalised_softmax"), ("linear", "log_softmax")):
        reference = pd.read_csv(shared / "reference" / f"medical_mnist_{name}.csv")
        mine = ours[ours.model == model].drop(columns="model").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, reference, check_exact=True)
        assert len(mine) == RECIPES[model].epochs


def test_a_class_weight_is_the_derivative_of_its_score(example):
    rng = np.random.default_rng(0)
    model = LinearModel()
    with example.torch.no_grad():
        model.weights.copy_(rng.standard_normal((4096, 10)).astype(np.float32))
    weights = shown.class_weights(model.scores, example.torch.randn(3, 4096))
    np.testing.assert_allclose(weights.reshape(6, 4096), model.weights.detach().numpy().T[:6], rtol=1e-5, atol=1e-6)


def test_confusion_has_the_true_class_in_rows(example):
    preds = np.zeros((3, 10), np.float32)
    preds[[0, 1, 2], [4, 4, 1]] = 1
    counts = shown.confusion(np.array([4, 2, 1]), preds)
    assert counts.shape == (6, 6)
    assert {place: counts[place] for place in zip(*counts.nonzero(), strict=True)} == {(4, 4): 1, (2, 4): 1, (1, 1): 1}


@pytest.mark.parametrize("subtracted", [0, 7])
def test_the_hardest_images_come_first(subtracted):
    pixels, _ = phantoms.generate(1)
    labels = np.array([5, 2, 0])  # HeadCT, CXR, AbdomenCT
    probabilities = np.full((3, 6), 0.01)
    probabilities[0, [5, 4]] = 0.56, 0.40
    probabilities[1, [2, 3]] = 0.16, 0.80
    probabilities[2, [0, 1]] = 0.90, 0.06
    preds = np.log(probabilities / probabilities.sum(1, keepdims=True)) - subtracted
    figure = shown.hardest(pixels[labels], labels, preds, medical_mnist.CLASSES)
    drawn = [axes for axes in figure.axes if axes.images]
    captions = ["CXR 16%\ntaken for\nChestCT 80%", "HeadCT 56%\nright", "AbdomenCT 90%\nright"]
    assert [axes.get_xlabel() for axes in drawn] == captions
    np.testing.assert_array_equal(drawn[0].images[0].get_array(), pixels[2])


def test_no_mistake_fills_the_sheet():
    labels = np.array([0] * 9 + [1] * 3)
    preds = np.log(np.full((12, 6), 0.1))
    preds[:, 2] = 0
    figure = shown.hardest(np.zeros((12, 64, 64)), labels, preds, medical_mnist.CLASSES)
    captions = [axes.get_xlabel().split()[0] for axes in figure.axes if axes.images]
    assert captions == ["AbdomenCT"] * shown.OF_A_KIND + ["BreastMRI"] * 3


def test_a_net_has_no_weight_per_pixel(example, tmp_path):
    for model, title in (("linear", "One weight per pixel and class"), ("mlp", "This model has no weight per pixel")):
        assert example.main(["--phantoms", "9", "--epochs", "1", "--model", model, "--out", str(tmp_path / model)]) == 0
        assert title in (tmp_path / model / "index.html").read_text("utf-8")


# ---------------------------------------------------------------- one picture


def test_it_can_be_asked_about_a_picture(example, tmp_path, capsys):
    arguments = ["--model", "mlp", "--out", str(tmp_path / "run")]
    assert example.main(["--phantoms", "200", "--epochs", "3", *arguments]) == 0
    pixels, labels = phantoms.generate(1, seed=7)
    capsys.readouterr()
    for image, label in zip(pixels, labels, strict=True):
        Image.fromarray(image).resize((100, 80)).save(tmp_path / "scan.png")
        assert example.main([*arguments, "--ask", str(tmp_path / "scan.png")]) == 0
        best, *others, last = capsys.readouterr().out.splitlines()
        assert best.split()[1] == medical_mnist.CLASSES[label]
        assert sum(float(line.split()[0].rstrip("%")) for line in (best, *others)) == pytest.approx(100, abs=0.1)
        assert "whatever the picture shows" in last


def test_it_must_have_learned_before_it_is_asked(example, tmp_path, capsys):
    assert "train first" in refused(example, capsys, "--ask", "scan.png", "--out", str(tmp_path))


# ---------------------------------------------------------------- Ctrl-C


def interrupted_after(steps: int, example, monkeypatch):
    """Let Ctrl-C come when the loss is asked for once more after these steps."""
    real, calls = example.loss_func, []

    def loss_func(preds, targets):
        calls.append(targets)
        if len(calls) == steps + 1:
            raise KeyboardInterrupt
        return real(preds, targets)

    monkeypatch.setattr(example, "loss_func", loss_func)


def test_an_interrupt_leaves_what_was_finished_and_the_run_goes_on(example, tmp_path, monkeypatch, capsys):
    arguments = ["--phantoms", "50", "--out"]  # 4 batches an epoch, and the loss once more for validation
    for name, epochs in (("whole", "2"), ("all", "4")):
        assert example.main([*arguments, str(tmp_path / name), "--epochs", epochs]) == 0
    interrupted_after(2 * 5 + 3, example, monkeypatch)
    monkeypatch.setattr("sys.argv", ["examples/medical_mnist.py", "--phantoms", "50", "--out", "x y"])
    assert example.main([*arguments, str(tmp_path / "part"), "--epochs", "4"]) == 130
    printed = capsys.readouterr().out
    assert "interrupted; what follows is about what was reached" in printed
    assert "To go on: python examples/medical_mnist.py --phantoms 50 --out 'x y' --resume" in printed
    assert files(tmp_path / "part") == FILES
    whole, part = (pd.read_csv(tmp_path / name / "history.csv").drop(columns="seconds") for name in ("whole", "part"))
    pd.testing.assert_frame_equal(part, whole)
    for picture in ("weights.png", "confusion.png"):  # of the end of epoch 1, not of the third batch after it
        assert (tmp_path / "part" / picture).read_bytes() == (tmp_path / "whole" / picture).read_bytes()
    assert "2 of 4 epochs, then interrupted" in (tmp_path / "part" / "index.html").read_text("utf-8")

    monkeypatch.undo()
    assert example.main([*arguments, str(tmp_path / "part"), "--epochs", "4", "--resume"]) == 0
    for file in ("weights.safetensors", "weights.png", "confusion.png"):
        assert (tmp_path / "part" / file).read_bytes() == (tmp_path / "all" / file).read_bytes()


def written(file: Path) -> int:
    """When, in nanoseconds; 0 where it is not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def test_a_run_that_is_killed_ends_with_the_same_bits(tmp_path):
    """SIGKILL at whatever moment, also within a write; each time the run goes on from what is there."""
    command = [sys.executable, str(EXAMPLE), "--phantoms", "60", "--model", "mlp", "--epochs", "12", "--out"]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    subprocess.run([*command, tmp_path / "whole"], check=True, **quiet)
    part, rng = tmp_path / "part", np.random.default_rng(0)
    for _ in range(4):
        resume = ["--resume"] if list(part.glob("last*.safetensors")) else []
        process = subprocess.Popen([*command, part, *resume], **quiet)
        deadline = time.monotonic() + 60
        before = written(part / "last.safetensors")
        while process.poll() is None and time.monotonic() < deadline and written(part / "last.safetensors") == before:
            time.sleep(0.002)  # until it has begun to save
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
    resume = ["--resume"] if list(part.glob("last*.safetensors")) else []
    subprocess.run([*command, part, *resume], check=True, **quiet)
    for file in ("weights.safetensors", "weights.png", "confusion.png"):
        assert (part / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert not list(part.glob("last-fresh*"))


def test_a_run_that_had_ended_leaves_the_same_when_it_is_gone_on_with(example, tmp_path, monkeypatch):
    """As after a kill between the last epoch and the pages: nothing is left to train, and the pages are the same."""
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)  # the pages say how long something took
    monkeypatch.setattr("sys.argv", [command := "medical_mnist.py"])
    arguments = ["--phantoms", "20", "--model", "mlp", "--epochs", "1", "--out", str(tmp_path)]
    assert example.main(arguments) == 0
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    monkeypatch.setattr("sys.argv", [command, "--resume"])
    assert example.main([*arguments, "--resume"]) == 0
    assert [name for name in sorted(FILES) if (tmp_path / name).read_bytes() != before[name]] == []


def test_an_interrupt_in_the_first_epoch_leaves_nothing(example, tmp_path, monkeypatch, capsys):
    interrupted_after(2, example, monkeypatch)
    assert example.main(["--phantoms", "50", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "\ninterrupted; nothing was saved yet\n"
    assert files(tmp_path) == {"run.txt"}


def test_another_run_is_not_gone_on_with(example, tmp_path, capsys):
    arguments = ["--phantoms", "20", "--out", str(tmp_path)]
    assert example.main([*arguments, "--epochs", "1"]) == 0
    line = refused(example, capsys, *arguments, "--resume", "--seed", "1", ran=True)
    assert "is of a run with seed=0 instead of 1; finish that one" in line


# ---------------------------------------------------------------- what can't be used


def refused(example, capsys, *arguments: str, ran: bool = False) -> str:
    """The last line on standard error with which the example ends with exit status 2."""
    if ran:
        capsys.readouterr()
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
    assert not (tmp_path / "out").exists()


def test_fewer_images_than_published(example, scans, tmp_path, capsys):
    line = refused(example, capsys, "--data", str(scans), "--out", str(tmp_path / "out"))
    assert "AbdomenCT has 2, not 10,000" in line
    assert "or say --subset for a subset" in line
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


PEAK = """  # of a process that a small one starts: one begins with the peak of its parent
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("model", ["unnormalised", "linear"])
def test_the_real_images_give_the_published_losses(model, shared, tmp_path):
    zipped = shared / "data" / "Medical-MNIST-Classification-master.zip"
    arguments = ["--model", model, "--data", str(zipped), "--epochs", "3", "--seed", "0", "--out", str(tmp_path)]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # two are slower where other tests keep the cores busy
    command = [sys.executable, "-c", PEAK, sys.executable, str(EXAMPLE), *arguments]
    measured = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=one_thread, check=True)
    history = pd.read_csv(tmp_path / "history.csv")
    assert len(history) == 3
    np.testing.assert_allclose(history.valid_loss, history.valid_loss_published, rtol=0.01)
    kibibytes = int(measured.stdout) / (1024 if sys.platform == "darwin" else 1)
    assert kibibytes < 2**20, "the whole example must stay under 1 GiB"
