"""What is exported is what was trained: the same answers from a file that is no program."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med import nn
from tinygrad_med.nn import functional as F
from tinygrad_med.serialization import load, save
from tinygrad_med.vision.all import ImageDataLoaders, Normalize, Resize, aug_transforms, load_learner, vision_learner
from tinygrad_med.vision.export import VisionLearner

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve grey pictures of noise in two classes."""
    root, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for i in range(12):
        file = root / ("train" if i < 8 else "valid") / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(file)
    return root


@pytest.mark.parametrize("head", ["concat", "plain"])
@pytest.mark.parametrize(
    "options",
    [
        {"item_tfms": Resize(40), "batch_tfms": aug_transforms(size=32)},
        {"item_tfms": Resize(32, "squish", equalize=True), "normalize": Normalize((0.5,) * 3, (0.2, 0.3, 0.4))},
    ],
)
def test_an_exported_learner_gives_the_same_answers(folder, tmp_path, head, options):
    from tinygrad_med.models import resnet18

    dls = ImageDataLoaders.from_folder(folder, bs=4, num_workers=0, **options)
    weights = {"loss_func": nn.CrossEntropyLoss(torch.tensor([1.0, 3.0]))}
    learn = vision_learner(dls, resnet18, pretrained=False, head=head, progress=False, **weights)
    learn.fit(1, 1e-3)
    file = learn.export(tmp_path / "new" / "films.safetensors")
    assert [path.name for path in file.parent.iterdir()] == ["films.safetensors"]
    again = load_learner(file)
    pictures = sorted(folder.rglob("*.png"))
    expected = learn.get_preds(learn.dls.test_dl(pictures), with_decoded=True)
    found = again.get_preds(again.dls.test_dl(pictures), with_decoded=True)
    np.testing.assert_allclose(found[0].numpy(), expected[0].numpy(), rtol=1e-4)  # in batches of another size
    assert found[2].tolist() == expected[2].tolist()
    (name, number, p), (name2, number2, p2) = (one.predict(pictures[0]) for one in (again, learn))
    assert (name, int(number)) == (name2, int(number2)) and name in "ab"
    np.testing.assert_array_equal(p.numpy(), p2.numpy())
    with pytest.raises(ValueError, match="fit: there is nothing to train on"):
        again.fit(1)
    second = load_learner(again.export(tmp_path / "again"))  # what was loaded can be passed on
    np.testing.assert_array_equal(second.predict(pictures[0])[2].numpy(), learn.predict(pictures[0])[2].numpy())


def test_a_model_of_ones_own_is_built_by_its_owner(folder, tmp_path):
    def net():
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1))

    dls = ImageDataLoaders.from_folder(folder, bs=4, num_workers=0, item_tfms=Resize(8))
    learn = VisionLearner(dls, net(), F.binary_cross_entropy_with_logits, progress=False)
    file = learn.export(tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="own.safetensors holds the weights of a model of your own; build it"):
        load_learner(file)
    picture = next(folder.rglob("*.png"))
    again = load_learner(file, net())
    assert again.predict(picture)[0] == learn.predict(picture)[0]
    np.testing.assert_array_equal(again.predict(picture)[2].numpy(), learn.predict(picture)[2].numpy())


def test_what_cannot_be_exported_or_loaded(folder, tmp_path):
    dls = ImageDataLoaders.from_folder(folder, bs=4, num_workers=0, item_tfms=Resize(8))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    learn = VisionLearner(dls, model, progress=False)
    with pytest.raises(ValueError, match="export: export.pkl must end with .safetensors; a pickle is a program"):
        learn.export(tmp_path / "export.pkl")
    with pytest.raises(TypeError, match="SimpleNamespace doesn't say how an image becomes the model's input"):
        VisionLearner(SimpleNamespace(train=[], valid=[], vocab=[]), model, progress=False).export(
            tmp_path / "x.safetensors"
        )
    with pytest.raises(ValueError, match="none of cross_entropy"):
        VisionLearner(dls, model, functools.partial(lambda x, y: x.sum()), progress=False).export(
            tmp_path / "x.safetensors"
        )
    learn.save(tmp_path / "only", with_opt=False)
    with pytest.raises(ValueError, match="only.safetensors is no file of learn.export"):
        load_learner(tmp_path / "only.safetensors")
    file = learn.export(tmp_path / "x.safetensors")
    state = load(file)
    text = state["facts"].numpy().tobytes().replace(b"cross_entropy", b"crass_entropy")
    save(state | {"facts": torch.tensor(np.frombuffer(text, np.uint8))}, file)
    with pytest.raises(ValueError, match="x.safetensors is no file of learn.export .*the loss 'crass_entropy'"):
        load_learner(file, model)


@pytest.mark.parametrize("window", [None, "own", (-160.0, 240.0)])
def test_the_window_stays_what_it_was(folder, tmp_path, window):
    dls = ImageDataLoaders.from_folder(folder, bs=4, num_workers=0, item_tfms=Resize(8), window=window)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1))
    file = VisionLearner(dls, net, F.binary_cross_entropy_with_logits, progress=False).export(tmp_path / "own")
    assert load_learner(file, net).dls.window == window
