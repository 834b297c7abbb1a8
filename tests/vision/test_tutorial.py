"""The tutorial's cells, as it has them, on a handful of small images and with random weights in place of ImageNet's.

The cells stand in `CELLS`, unchanged but for a line break and sizes: 460 and 224 pixels became 40 and
32, to be quick.
"""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med
from tests.stand_in import cupy
from tinygrad_med import backend, models
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.learner import Learner
from tinygrad_med.vision.data import TensorImage
from tinygrad_med.vision.hooks import Hook, hook_output

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")
plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")

CELLS = {
    "data": """
# the following line of code utilizes Colab Forms
apply_transforms = True #@param {type: 'boolean'}

if apply_transforms:
    flip = True
    max_rotate = 10.0
    max_warp = 0.2
    p_affine = 0.75
else:
    flip = False
    max_rotate, max_warp, p_affine = 0, 0, 0

tfms = aug_transforms(
    do_flip=flip,
    max_rotate=max_rotate,
    max_warp=max_warp,
    p_affine=p_affine,
    size=32,
    min_scale=0.75
)
dls = ImageDataLoaders.from_folder(path, valid='val', seed=42, item_tfms=Resize(40), batch_tfms=tfms, bs=16)
dls.show_batch(max_n=6)
""",
    "finder": """
dls = ImageDataLoaders.from_folder(path, valid='val', seed=42, item_tfms=Resize(40),
                                   batch_tfms=aug_transforms(size=32, min_scale=0.75), bs=16)
learn = cnn_learner(dls, resnet18, metrics=accuracy)
learn.lr_find();
""",
    "fine-tuning": """
# the following lines of code utilize Colab Forms
epochs = 5 #@param {type: "integer"}
base_lr = 2e-3 #@param {type: "number"}

learn = cnn_learner(dls, resnet18, metrics=accuracy)
learn.fine_tune(epochs, base_lr=base_lr)
""",
    "curves": "learn.recorder.plot_loss()",
    "test": """
test_files = get_image_files(path/'test')
test_dl = learn.dls.test_dl(test_files, with_labels=True)
learn.show_results(dl=test_dl)
""",
    "losses": """
interp = ClassificationInterpretation.from_learner(learn, dl=test_dl)
interp.plot_top_losses(k=2)
""",
    "surprise": """
y = get_image_files(path, recurse=False)
test_dl = learn.dls.test_dl(y)
x, = first(test_dl)
res = learn.get_preds(dl=test_dl, with_decoded=True)
x_dec = TensorImage(dls.train.decode((x,))[0][0])
fig, ax = plt.subplots()
fig.suptitle('Prediction / Probability', fontsize=14, fontweight='bold')
x_dec.show(ctx=ax)
ax.set_title(f'{dls.vocab[res[2][0]]} / {max(res[0][0]):.2f}');
""",
    "CAM": """
test_case = 'chest' #@param ['abd', 'chest']
cls = 0 if test_case == 'abd' else 1
label = test_case

y = get_image_files(path/'test'/label)
test_dl = learn.dls.test_dl(y, with_labels=True)

hook = hook_output(learn.model[0])
x, _ = first(test_dl)
with torch.no_grad(): output = learn.model.eval()(x)
act = hook.stored[0]
cam_map = torch.einsum('ck,kij->cij', learn.model[1][-1].weight, act)
x_dec = TensorImage(dls.train.decode((x,))[0][0])
_, ax = plt.subplots()
x_dec.show(ctx=ax)
ax.imshow(cam_map[cls].detach().cpu(), alpha=0.6, extent=(0,224,224,0),
              interpolation='bilinear', cmap='magma');
hook.remove()
""",
    "Grad-CAM": """
test_case = 'abd' #@param ['abd', 'chest']

cls = 0 if test_case == 'abd' else 1
label = test_case

y = get_image_files(path/'test'/label)
test_dl = learn.dls.test_dl(y, with_labels=True)
x, _ = first(test_dl)
mod = learn.model[0]

block = -2 #@param {type: "slider", min: -8, max: -1, step: 1}

hook_func = lambda m,i,o: o[0].detach().clone()

with Hook(mod[block], hook_func, is_forward=False) as hookg:
    with Hook(mod[block], hook_func) as hook:
        output = learn.model.eval()(x.cuda())
        act = hook.stored
    output[0, cls].backward()
    grad = hookg.stored

w = grad[0].mean(dim=[1,2], keepdim=True)
cam_map = (w * act[0]).sum(0)
x_dec = TensorImage(dls.train.decode((x,))[0][0])
_, ax = plt.subplots()
x_dec.show(ctx=ax)
ax.imshow(cam_map.detach().cpu(), alpha=0.6, extent=(0,224,224,0),
              interpolation='bilinear', cmap='magma');
""",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """16 + 4 + 2 images, the abdomen bright on top, the chest below, and one that is neither."""
    root, rng = tmp_path_factory.mktemp("radiographs"), np.random.default_rng(0)

    def write(file, bright):
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (48, 44))
        pixels[bright] += 150
        pillow.fromarray(pixels.astype(np.uint8)).save(file)

    for split, count in (("train", 8), ("val", 2), ("test", 1)):
        for i in range(count):
            write(root / split / "abd" / f"abd{i}.png", slice(0, 24))
            write(root / split / "chest" / f"chst{i}.png", slice(24, 48))
    write(root / "elbow.png", slice(10, 30))
    return root


@pytest.fixture(scope="module")
def notebook(path, tmp_path_factory):
    """The names that the notebook has after all its cells have run, and how many figures each cell drew."""
    weights = tmp_path_factory.mktemp("weights") / "imagenet.safetensors"
    tinygrad_med.manual_seed(0)
    tinygrad_med.save(models.resnet18().state_dict(), weights)
    names = {"path": path, "plt": plt}
    drawn = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinygrad_med.models.weights.weights_file", lambda name: weights)
        patch.setattr(Learner.lr_find, "__defaults__", (1e-7, 10.0, 16, True, True))  # 16 steps instead of 100
        exec("from tinygrad_med.vision.all import *", names)
        for cell, code in CELLS.items():
            exec(compile(code, f"<cell {cell}>", "exec"), names)
            drawn[cell] = plt.get_fignums()
            names[f"figure of {cell}"] = plt.figure(drawn[cell][-1]) if drawn[cell] else None
            plt.close("all")
    return names | {"drawn": {cell: len(numbers) for cell, numbers in drawn.items()}}


def test_every_cell_runs_and_draws_its_picture(notebook):
    assert notebook["drawn"] == {cell: int(cell != "fine-tuning") for cell in CELLS}


def test_it_has_learned(notebook):
    values = notebook["learn"].recorder.values
    assert len(values) == 5 and values[-1]["valid_loss"] < values[0]["valid_loss"]


def test_the_surprise_has_no_label_but_a_probability(notebook):
    probabilities, targets, decoded = notebook["res"]
    assert targets is None and probabilities.shape == (1, 2) and decoded.shape == (1,)
    assert notebook["figure of surprise"].axes[0].get_title().split(" / ")[0] in ("abd", "chest")


def test_decoding_gives_back_the_image(notebook, path):
    dls = notebook["dls"]
    (x,) = notebook["first"](dls.test_dl([path / "elbow.png"]))
    assert isinstance(x, TensorImage) and x.shape == (1, 3, 32, 32)
    shown = dls.train.decode((x,))[0][0].numpy()
    image = dls.augment(dls.resize(pillow.open(path / "elbow.png").convert("RGB")))[0]
    np.testing.assert_allclose(shown * 255, np.asarray(image).transpose(2, 0, 1), atol=1e-3)


def test_predict(notebook, path):
    """A file, a picture, and pixels: the same, and what get_preds says of the file."""
    learn = notebook["learn"]
    file = path / "test" / "abd" / "abd0.png"
    probabilities = learn.get_preds(learn.dls.test_dl([file]))[0][0].numpy()
    pixels = np.asarray(pillow.open(file))
    for item in (file, str(file), pillow.open(file), pixels, np.stack([pixels] * 3, 2), tinygrad_med.tensor(pixels)):
        name, number, found = learn.predict(item)
        np.testing.assert_allclose(found.numpy(), probabilities, rtol=1e-5)
        assert name == learn.dls.vocab[int(number)] and int(number) == int(probabilities.argmax())
    with pytest.raises(ValueError, match=r"predict: got float64 \(4, 4\); pixels must be uint8"):
        learn.predict(np.zeros((4, 4)))
    with pytest.raises(TypeError, match="predict: needs a file, a picture of 8 bits or its pixels, got list"):
        learn.predict([1, 2])


def test_the_tutorials_grad_cam_weighs_one_channel_only(notebook):
    """Its forward hook keeps the first image, so that `act[0]` is that image's first channel."""
    model, (x, _) = notebook["learn"].model, notebook["first"](notebook["test_dl"])
    x = x.cuda()
    assert notebook["act"].ndim == 3 and notebook["act"][0].ndim == 2
    right = notebook["cam"].grad_cam(model, x, 0, block=-2).raw
    w = notebook["w"]
    np.testing.assert_allclose((w * notebook["act"]).sum(0).cpu().numpy(), right, rtol=1e-4, atol=1e-6)
    assert not np.allclose(notebook["cam_map"].cpu().numpy(), right, rtol=0.1)


def test_hooks_are_taken_out(notebook):
    layer = notebook["learn"].model[0][-1]
    assert layer._forward_hooks == [] and layer._backward_hooks == []
    with pytest.raises(ZeroDivisionError), Hook(layer, lambda *_: None):
        1 / 0  # noqa: B018
    assert layer._forward_hooks == []


def test_a_hook_keeps_what_it_saw():
    layer = tinygrad_med.nn.Linear(2, 3)
    x = tinygrad_med.randn(4, 2, requires_grad=True)
    with hook_output(layer) as forward, Hook(layer, lambda m, i, o: (i, o), is_forward=False) as backward:
        y = layer(x)
        y.backward(tinygrad_med.ones(4, 3))
    assert isinstance(forward.stored, Tensor) and not forward.stored.requires_grad
    np.testing.assert_array_equal(forward.stored.numpy(), y.detach().numpy())
    (gx,), (gy,) = backward.stored
    np.testing.assert_array_equal(gx.numpy(), x.grad.numpy())
    np.testing.assert_array_equal(gy.numpy(), np.ones((4, 3)))


def test_tensor_images_go_to_the_gpu_if_there_is_one():
    x = TensorImage(np.zeros((1, 3, 2, 2), np.float32))
    assert x.cuda().is_cuda == tinygrad_med.cuda.is_available()


def test_the_model_meets_the_images_on_the_gpu(path, monkeypatch):
    """On the stand-in for CuPy: fastai puts the model there where there is a GPU, and a cell says `x.cuda()`."""
    monkeypatch.setattr(backend, "_cupy", cupy)
    monkeypatch.setattr(backend, "cuda_in_use", True)
    monkeypatch.setattr(backend, "cuda_problem", lambda: None)
    names = {}
    exec("from tinygrad_med.vision.all import *", names)
    dls = names["ImageDataLoaders"].from_folder(path, valid="val", seed=42, item_tfms=names["Resize"](32), bs=8)
    loss = tinygrad_med.nn.CrossEntropyLoss(weight=tinygrad_med.tensor([1.0, 2.0]))
    learn = names["vision_learner"](dls, models.resnet18, pretrained=False, loss_func=loss, progress=False)
    assert {p.device.type for p in learn.model.parameters()} == {"cuda"}
    learn.fit(1)
    x, _ = next(iter(dls.valid))
    assert x.is_cuda and learn.model.eval()(x).is_cuda and learn.model(x.cuda()).is_cuda
    answers = learn.get_preds(with_decoded=True, with_loss=True)
    assert {str(z.device) for z in answers} == {"cpu"}
    assert learn.predict(path / "elbow.png")[0] in dls.vocab
    assert names["cam"].grad_cam(learn.model, x[:1].cuda(), 0, block=-2).raw.shape == (2, 2)
    learn.show_results()
    plt.close("all")
    learn = names["vision_learner"](dls, models.resnet18, pretrained=False, device="cpu")
    assert learn.model[0][0].weight.device == "cpu" and next(iter(dls.train))[0].device == "cpu"


@pytest.mark.cuda
def test_on_a_card_the_model_and_the_batches_are_there(path):
    """The CAM cell gives a batch to the model as it comes, the Grad-CAM cell says `x.cuda()`."""
    names = {}
    exec("from tinygrad_med.vision.all import *", names)
    dls = names["ImageDataLoaders"].from_folder(path, valid="val", seed=42, item_tfms=names["Resize"](32), bs=4)
    learn = names["vision_learner"](dls, models.resnet18, pretrained=False, progress=False)
    x, y = names["first"](dls.test_dl(names["get_image_files"](path / "test"), with_labels=True))
    assert isinstance(x, TensorImage) and x.is_cuda and y.is_cuda and x.cuda() is x
    with names["hook_output"](learn.model[0]) as hook:
        assert learn.model.eval()(x).is_cuda and hook.stored.is_cuda
    shown = TensorImage(dls.train.decode((x,))[0][0])
    assert not shown.is_cuda and {str(z.device) for z in learn.get_preds()} == {"cpu"}
    x, y = names["first"](dls.to("cpu").valid)
    assert isinstance(x, TensorImage) and not x.is_cuda and not y.is_cuda


def test_first():
    from tinygrad_med.vision.all import first

    assert first(iter([3, 4])) == 3
    with pytest.raises(ValueError, match="first: there is no element"):
        first([])
