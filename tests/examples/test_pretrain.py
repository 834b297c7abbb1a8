"""Pretraining: it learns, and a run that was broken off ends where one ends that was not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_med as torch
from examples import pretrain
from tinygrad_med.data import medical_mnist, phantoms

pytest.importorskip("tqdm", reason="tqdm is not installed: pip install tqdm")


@pytest.fixture(autouse=True)
def data(monkeypatch):
    """A few phantoms, whatever is asked for."""
    images, labels = phantoms.generate(8, 0)
    found = medical_mnist.Images(images, labels, medical_mnist.CLASSES, "a zip", is_phantom=False)
    monkeypatch.setattr(medical_mnist, "load", lambda _: found)
    return found


def run(folder, *more: str) -> int:
    return pretrain.main(["--out", str(folder), "--weights", str(folder / "w.safetensors"), "--batch-size", "4", *more])


def breaks_at_call(n, function):
    calls = []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == n:
            raise KeyboardInterrupt
        return function(*arguments)

    return broken


def test_a_run_that_was_broken_off_goes_on(tmp_path, monkeypatch, capsys):
    assert run(tmp_path / "whole", "--steps", "3") == 0
    facts = json.loads((tmp_path / "whole" / "w.json").read_text())
    assert facts["validation_images"] == 9
    assert facts["steps"] == 3

    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)
    monkeypatch.setattr(pretrain, "batch_of", breaks_at_call(3, pretrain.batch_of))
    assert run(tmp_path / "broken", "--steps", "3") == 130
    assert "To go on: python " in capsys.readouterr().out
    assert not (tmp_path / "broken" / "w.safetensors").exists()
    monkeypatch.undo()
    monkeypatch.setattr(medical_mnist, "load", lambda _: data_of(tmp_path))
    steps = []
    monkeypatch.setattr(pretrain, "batch_of", lambda *a, f=pretrain.batch_of: steps.append(0) or f(*a))
    assert run(tmp_path / "broken", "--steps", "3", "--resume") == 0
    assert len(steps) == 2  # one to train, one to validate
    whole, broken = (torch.load(tmp_path / name / "w.safetensors") for name in ("whole", "broken"))
    assert whole.keys() == broken.keys() == pretrain.models.resnet18(num_classes=6).state_dict().keys()
    assert all(np.array_equal(whole[name].numpy(), broken[name].numpy()) for name in whole)


def data_of(_):
    images, labels = phantoms.generate(8, 0)
    return medical_mnist.Images(images, labels, medical_mnist.CLASSES, "a zip", is_phantom=False)


def test_batches_are_normalized_in_three_channels(data):
    x, y = pretrain.batch_of(data, np.array([0, 9]))
    assert x.shape == (2, 3, 64, 64)
    assert y.tolist() == [0, 1]
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.numpy()[1, 2] * 0.225 + 0.406, data.images[9] / 255, atol=1e-6)


@pytest.fixture
def own_weights(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("TINYGRAD_MED_CACHE", str(tmp_path / "cache"))
    return pretrain.weights_file


def test_what_is_there_is_not_trained_again(own_weights, tmp_path, monkeypatch, capsys):
    own_weights().with_suffix(".json").write_text('{"data": "a zip"}')
    own_weights().touch()
    monkeypatch.setattr(pretrain, "pretrain", None)
    assert pretrain.main(["--out", str(tmp_path / "run")]) == 0
    assert "is there already, from a zip; delete it to train again" in capsys.readouterr().out


def test_deleting_the_weights_is_enough_to_train_again(own_weights, tmp_path):
    own_weights().with_suffix(".json").write_text('{"data": "a zip"}')
    assert pretrain.main(["--out", str(tmp_path / "run"), "--batch-size", "4", "--steps", "1"]) == 0
    assert own_weights().exists()


def test_phantoms_do_not_take_the_place_of_images(own_weights, data, tmp_path, monkeypatch, capsys):
    """First there is no data, and phantoms stand in; then there is."""
    painted = replace(data, source="phantoms", is_phantom=True)
    found = [painted, painted, data]
    monkeypatch.setattr(medical_mnist, "load", lambda _: found.pop(0))
    arguments = ["--out", str(tmp_path / "run"), "--batch-size", "4", "--steps", "1"]
    assert [pretrain.main(arguments) for _ in range(4)] == [0, 0, 0, 0]
    assert found == []
    assert own_weights(data="phantoms").exists()
    assert own_weights().exists()
    printed = capsys.readouterr().out
    assert "is there already, from phantoms" in printed
    assert "is there already, from a zip" in printed


def test_another_run_is_not_gone_on_with(data, tmp_path, monkeypatch, capsys):
    assert run(tmp_path, "--steps", "1") == 0
    for change in (["--batch-size", "8"], ["--steps", "3"], ["--seed", "1"], ["--lr", "0.5"]):
        assert run(tmp_path, "--steps", "1", "--resume", *change) == 2
        name = change[0].removeprefix("--").replace("-", "_")
        assert f"is of a run with {name}=" in capsys.readouterr().err
    monkeypatch.setattr(medical_mnist, "load", lambda _: replace(data, source="another zip"))
    assert run(tmp_path, "--steps", "1", "--resume") == 2
    assert "data='a zip' instead of 'another zip'" in capsys.readouterr().err


def test_a_rate_that_is_too_high_is_named(tmp_path, capsys):
    assert run(tmp_path, "--steps", "6", "--lr", "1e6") == 2
    assert "the learning rate" in (told := capsys.readouterr().err) and "is too high" in told, told
