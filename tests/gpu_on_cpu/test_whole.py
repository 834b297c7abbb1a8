"""Whole programs on a card: each example's short form, the learner, class activation maps and `explain`, as on the CPU.

They are marked `cuda`: a real card runs them too.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import tinygrad_med as tm
from examples import medical_mnist as scans, mrnet, pretrain, radiographs
from tests.learner.conftest import Points, network
from tests.test_cam import ALL, plain
from tinygrad_med import explain, series_cam
from tinygrad_med.data import medical_mnist, phantoms
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.data.mrnet import LABELS, PLANES, Exams
from tinygrad_med.learner import Learner, accuracy
from tinygrad_med.models.mrnet import MRNet
from tinygrad_med.nn import functional as F

pytestmark = pytest.mark.cuda
DEVICES = ("cpu", "cuda")


def close(here: Any, there: Any, rtol: float = 1e-3) -> None:
    np.testing.assert_allclose(np.asarray(there, float), np.asarray(here, float), rtol=rtol, atol=1e-5)


def numbers(folder: Path) -> list[list[float]]:
    """Of a run's history.csv, the losses and accuracies."""
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [[float(v) for k, v in row.items() if v and ("loss" in k or "accuracy" in k)] for row in rows]


# Examples -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["unnormalised", "linear", "mlp", "cnn"])
def test_medical_mnist(model, tmp_path):
    for device in DEVICES:
        run = ["--phantoms", "5", "--epochs", "1", "--model", model, "--out", str(tmp_path / device)]
        assert scans.main([*run, "--device", device]) == 0
        assert (tmp_path / device / "backprop.html").is_file()
    close(numbers(tmp_path / "cpu"), numbers(tmp_path / "cuda"))


def test_radiographs(tmp_path, monkeypatch):
    monkeypatch.setattr(Learner.lr_find, "__defaults__", (1e-7, 10.0, 8, True, True))
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for name in ("abd", "chest"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                picture = rng.integers(0, 255, (40, 40), dtype=np.uint8)
                Image.fromarray(picture).save(tmp_path / "data" / split / name / f"{i}.png")
    quick = ["--data", str(tmp_path / "data"), "--epochs", "1", "--weights", "none", "--size", "32"]
    assert radiographs.main([*quick, "--device", "cuda", "--out", str(tmp_path / "out")]) == 0
    assert "on cuda" in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_pretrain(tmp_path, monkeypatch):
    images, labels = phantoms.generate(4, 0)
    found = medical_mnist.Images(images, labels, medical_mnist.CLASSES, "a zip", is_phantom=False)
    monkeypatch.setattr(medical_mnist, "load", lambda _: found)
    weights = {}
    for device in DEVICES:
        file = tmp_path / device / "w.safetensors"
        run = ["--out", str(tmp_path / device), "--weights", str(file), "--batch-size", "2", "--steps", "1"]
        assert pretrain.main([*run, "--device", device]) == 0
        weights[device] = tm.load(file)
    for name, value in weights["cpu"].items():
        close(value, weights["cuda"][name], 1e-2)


def test_mrnet(tmp_path, monkeypatch):
    real = Exams.__init__  # takes two exams for a whole data set
    monkeypatch.setattr(Exams, "__init__", lambda *a, **k: real(*a, **{**k, "check_counts": False}))
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        for plane in PLANES:
            (tmp_path / split / plane).mkdir(parents=True)
            for exam in ("0000", "0001"):
                np.save(tmp_path / split / plane / f"{exam}.npy", rng.integers(0, 255, (2, 256, 256), dtype=np.uint8))
        for name in LABELS:
            (tmp_path / f"{split}-{name}.csv").write_text("0000,0\n0001,1\n")
    (tmp_path / "lesions.csv").touch()  # as the phantoms have
    quick = ["--backbone", "squeezenet", "--weights", "random", "--shrink", "2", "--explain", "1", "--epochs", "1"]
    for device in DEVICES:
        run = ["--data", str(tmp_path), *quick, "--quiet", "--out", str(tmp_path / device), "--device", device]
        assert mrnet.main(run) == 0
        assert list((tmp_path / device).glob("exam-*.png"))
    close(numbers(tmp_path / "cpu"), numbers(tmp_path / "cuda"))


# Parts ----------------------------------------------------------------------------------------------------------------


def test_the_learner():
    losses = []
    for device in DEVICES:
        tm.manual_seed(0)
        train, valid = DataLoader(Points(40, 0), 8, shuffle=True), DataLoader(Points(20, 1), 8)
        dls = SimpleNamespace(train=train, valid=valid, vocab=["low", "high"])
        learn = Learner(
            dls, network().to(device), metrics=accuracy, progress=False, splitter=lambda m: [[m[0]], [m[1]]]
        )
        learn.fine_tune(2)
        preds, _ = learn.get_preds()
        losses.append([*learn.recorder.losses, *learn.validate(), *np.ravel(preds.cpu().numpy())])
    close(*losses)


@pytest.mark.parametrize("name", ALL)
def test_class_activation_maps(name):
    tm.manual_seed(0)
    model, image = plain(tm).eval(), tm.randn(1, 3, 16, 16)
    here = ALL[name](model, image, 1)
    there = ALL[name](model.cuda(), image.cuda(), 1)
    close(here.raw, there.raw)
    drawn = there.overlay(image.cuda()).images
    assert drawn[0].get_array().shape[:2] == (16, 16)
    plt.close("all")


def test_series_maps():
    tm.manual_seed(0)
    model, exam = MRNet(3, "squeezenet").eval(), [tm.randn(2, 3, 64, 64) for _ in range(3)]
    here = series_cam.explain(model, exam, ("a", "b", "c"))
    there = series_cam.explain(model.cuda(), [series.cuda() for series in exam], ("a", "b", "c"))
    close(here.logits, there.logits)
    there.figure([series.cuda() for series in exam])
    plt.close("all")


def test_a_trace():
    tm.manual_seed(0)
    x, w, y = tm.randn(5, 3), tm.randn(3, 4), tm.tensor([0, 1, 2, 3, 0])
    found, gradients = [], []
    for device in DEVICES:
        images, weights, labels = x.to(device), w.to(device).detach().requires_grad_(), y.to(device)
        with explain.watch() as trace:
            F.cross_entropy((images @ weights).relu(), labels).backward()
        found.append(json.loads(trace.to_json()))
        gradients.append(weights.grad.cpu().numpy())
    here, there = ([node["primitive"] for node in trace["nodes"]] for trace in found)
    same = here.index("neg") + 1  # then the mean of the losses, which a GPU takes without waiting for the labels' check
    assert here[:same] == there[:same] and "matmul" in here[:same]
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-5)
