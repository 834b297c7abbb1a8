"""Trained weights: from the cache folder, checked, and what is said where they can't be had. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygrad_med import models
from tinygrad_med.models import weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for weights."""
    monkeypatch.setenv("TINYGRAD_MED_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def put(
    torch: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], **options: Any
) -> Path:
    """A file of weights of squeezenet1_1, by a name that carries its hash."""
    torch.save(state, folder / "new.pth", **options)
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    path = folder / f"squeezenet1_1-{digest[:8]}.pth"
    (folder / "new.pth").rename(path)
    monkeypatch.setitem(weights.FILES, "squeezenet1_1", (path.name,))
    return path


def state_of(torch: ModuleType, net: Any) -> dict[str, Any]:
    return {key: torch.tensor(value.numpy()) for key, value in net.state_dict().items()}


def test_weights_come_from_the_cache_folder(torch, folder, monkeypatch):
    trained = models.squeezenet1_1()
    put(torch, folder, monkeypatch, state_of(torch, trained))
    default = {"weights": models.SqueezeNet1_1_Weights.DEFAULT}
    for arguments in ({"pretrained": True}, {"weights": "imagenet"}, {"weights": "IMAGENET1K_V1"}, default):
        found = models.squeezenet1_1(**arguments).state_dict()
        for key, value in trained.state_dict().items():
            np.testing.assert_array_equal(found[key].numpy(), value.numpy())


def test_a_head_for_other_classes_stays_new(torch, folder, monkeypatch):
    trained = models.squeezenet1_1()
    put(torch, folder, monkeypatch, state_of(torch, trained))
    net = models.squeezenet1_1(pretrained=True, num_classes=2)
    assert net.classifier[1].weight.shape == (2, 512, 1, 1)
    np.testing.assert_array_equal(net.features[0].weight.detach().numpy(), trained.features[0].weight.detach().numpy())


def test_an_old_file_does_not_count_batches(torch, folder, monkeypatch):
    trained = models.resnet18()
    state = {key: v for key, v in state_of(torch, trained).items() if not key.endswith("num_batches_tracked")}
    path = put(torch, folder, monkeypatch, state, _use_new_zipfile_serialization=False)
    monkeypatch.setitem(weights.FILES, "resnet18", (path.name,))
    found = models.resnet18(pretrained=True)
    np.testing.assert_array_equal(found.fc.weight.detach().numpy(), trained.fc.weight.detach().numpy())


def test_a_damaged_file_is_refused(folder, monkeypatch):
    name = weights.FILES["resnet18"][0]
    (folder / name).write_bytes(b"half of it")
    with pytest.raises(ValueError, match=rf"{name}: .* its name says f37072fd.* delete .*{name}, and it is downloaded"):
        models.resnet18(pretrained=True)


def test_without_a_connection_the_error_says_what_to_put_where(folder, monkeypatch):
    monkeypatch.setattr(weights, "HOST", "http://127.0.0.1:9/")  # nobody answers there
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match="with pretrained=False") as caught:
        models.alexnet(pretrained=True)
    assert time.perf_counter() - start < 10
    assert len("".join(traceback.format_exception(caught.value)).splitlines()) < 20
    text = str(caught.value)
    assert text.startswith("alexnet: its weights can't be downloaded")
    assert "download http://127.0.0.1:9/alexnet-owt-7be5be79.pth, and put the file into " + str(folder) in text
    assert list(folder.iterdir()) == []


def test_a_download_that_is_cut_short_leaves_nothing(folder, monkeypatch):
    class Downloader:
        def __init__(self, **_: Any) -> None: ...

        def __call__(self, url: str, output_file: Path, pooch: None) -> None:
            assert url == "https://download.pytorch.org/models/resnet34-b627a593.pth"
            output_file.write_bytes(b"half of it")

    monkeypatch.setattr("pooch.HTTPDownloader", Downloader)
    with pytest.raises(ValueError, match="its name says b627a593"):
        models.resnet34(weights="imagenet")
    assert list(folder.iterdir()) == []


def test_weights_say_what_they_expect_of_an_image():
    expect = models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    x = expect(Image.fromarray(np.full((300, 500, 3), 255, "uint8")))
    assert x.shape == (3, 224, 224)
    np.testing.assert_allclose(x[:, 0, 0].numpy(), (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], 1e-6)


def test_other_weights_are_unknown():
    with pytest.raises(ValueError, match="resnet18: weights='coco' are unknown; give 'imagenet', or None"):
        models.resnet18(weights="coco")
