"""Pretraining: it learns, and a run that was broken off ends where one ends that was not."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med.data import medical_mnist, phantoms

pytest.importorskip("tqdm", reason="tqdm is not installed: pip install tqdm")


@pytest.fixture(scope="module")
def pretrain():
    path = Path(__file__).parents[2] / "examples" / "pretrain.py"
    spec = importlib.util.spec_from_file_location("pretrain", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data():
    images, labels = phantoms.generate(8, 0)
    return medical_mnist.Images(images, labels, medical_mnist.CLASSES, "phantoms", is_phantom=True)


def test_a_run_that_was_broken_off_goes_on(pretrain, data, tmp_path, monkeypatch):
    options = {"steps": 3, "batch_size": 4}
    facts = pretrain.pretrain(data, tmp_path / "whole.safetensors", **options)
    assert facts == json.loads((tmp_path / "whole.json").read_text()) and facts["validation_images"] == 9

    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)
    monkeypatch.setattr(pretrain, "batch_of", breaks_at_call(3, pretrain.batch_of))
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(data, tmp_path / "broken.safetensors", **options)
    assert (tmp_path / "broken-unfinished.safetensors").exists() and not (tmp_path / "broken.safetensors").exists()
    monkeypatch.undo()
    steps = []
    monkeypatch.setattr(pretrain, "batch_of", lambda *a, f=pretrain.batch_of: steps.append(0) or f(*a))
    pretrain.pretrain(data, tmp_path / "broken.safetensors", **options)
    assert len(steps) == 2  # one to train, one to validate
    whole, broken = (torch.load(tmp_path / f"{name}.safetensors") for name in ("whole", "broken"))
    assert whole.keys() == broken.keys() == pretrain.models.resnet18(num_classes=6).state_dict().keys()
    assert all(np.array_equal(whole[name].numpy(), broken[name].numpy()) for name in whole)
    assert not (tmp_path / "broken-unfinished.safetensors").exists()


def breaks_at_call(n, function):
    calls = []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == n:
            raise KeyboardInterrupt
        return function(*arguments)

    return broken


def test_batches_are_normalized_in_three_channels(pretrain, data):
    x, y = pretrain.batch_of(data, np.array([0, 9]))
    assert x.shape == (2, 3, 64, 64) and y.tolist() == [0, 1] and x.dtype == np.float32
    np.testing.assert_allclose(x.numpy()[1, 2] * 0.225 + 0.406, data.images[9] / 255, atol=1e-6)


def test_what_is_there_is_not_trained_again(pretrain, monkeypatch, capsys):
    pretrain.weights_file().with_suffix(".json").write_text('{"data": "a zip"}')
    monkeypatch.setattr("sys.argv", ["pretrain.py"])
    monkeypatch.setattr(pretrain, "pretrain", None)
    assert pretrain.main() == 0
    assert "is there already, from a zip; delete it to train again" in capsys.readouterr().out
    pretrain.weights_file().with_suffix(".json").unlink()


def test_phantoms_do_not_take_the_place_of_images(pretrain, data, monkeypatch, capsys):
    """First there is no data, and phantoms stand in; then there is."""
    found, trained = [data, data, replace(data, source="a zip", is_phantom=False)], []

    def train(data, weights, seed):
        weights.with_suffix(".json").write_text(json.dumps({"data": data.source}))
        trained.append((data.source, weights.name))
        return {"validation_accuracy": 1.0, "validation_images": 1}

    monkeypatch.setattr("sys.argv", ["pretrain.py"])
    monkeypatch.setattr(pretrain, "pretrain", train)
    monkeypatch.setattr(pretrain.medical_mnist, "load", lambda _: found.pop(0))
    assert [pretrain.main() for _ in range(4)] == [0, 0, 0, 0] and found == []
    assert trained == [
        ("phantoms", "resnet18-phantoms-0.safetensors"),
        ("a zip", "resnet18-medical-mnist-0.safetensors"),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert "is there already, from phantoms" in lines[1] and "is there already, from a zip" in lines[3]
    for file in pretrain.weights_file().parent.glob("*.json"):
        file.unlink()


def test_another_run_is_not_gone_on_with(pretrain, data, tmp_path, monkeypatch):
    weights = tmp_path / "weights.safetensors"
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 1)
    monkeypatch.setattr(pretrain, "batch_of", breaks_at_call(2, pretrain.batch_of))
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(data, weights, steps=2, batch_size=4)
    for change in ({"batch_size": 8}, {"steps": 3}, {"seed": 1}, {"lr": 0.5}):
        [name] = change
        with pytest.raises(ValueError, match=f"is of a run with {name}=.*; finish that one, or move the file away"):
            pretrain.pretrain(data, weights, **{"steps": 2, "batch_size": 4} | change)
    with pytest.raises(ValueError, match="data='phantoms' instead of 'a zip'"):
        pretrain.pretrain(replace(data, source="a zip"), weights, steps=2, batch_size=4)


def test_a_file_of_the_earlier_form_is_refused(pretrain, data, tmp_path):
    """Which had the bytes of the run under another name."""
    torch.save({"step": torch.tensor(1), "run": torch.tensor([123, 125])}, tmp_path / "x-unfinished.safetensors")
    with pytest.raises(ValueError, match=r"x-unfinished\.safetensors doesn't say data, .* another version .* move"):
        pretrain.pretrain(data, tmp_path / "x.safetensors", steps=2, batch_size=4)
