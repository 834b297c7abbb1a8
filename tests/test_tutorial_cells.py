"""The tutorials' cells, as they are written, run after `import tinygrad_med as torch`, and print what PyTorch prints.

The cells are text, run cell by cell in one namespace, as a notebook runs them. Two things are not as in the notebook:
`!ls`, which is not Python, and `ToTensor`, which is torchvision's and is replaced by its meaning. Our copy of the post
has lost some calls to its formatting (`torch.cat(`, `loss.backward()`, `.zero_()`); they are put back.
"""

from __future__ import annotations

import re
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import tinygrad_med
from tinygrad_med.data import medical_mnist, phantoms

# "The building blocks of DL 2: linear layer with activation function", from the images to the data's split.
DATA = """
PATH = Path("medical_mnist/")
---
classes = sorted(cls.name for cls in PATH.iterdir())
classes
---
images = {}
for cls in classes:
    images[cls] = list((PATH/cls).iterdir())
---
image_tensors = {}

for cls in classes:
    image_tensors[cls] = torch.stack([ToTensor()(Image.open(path)).view(-1, 64 * 64).squeeze().float()/255 for path in (PATH/cls).iterdir()])
---
for cls in classes:
    class_shape = image_tensors[cls].shape
    print(f"{cls} has {class_shape[0]} images of a size {class_shape[1:]}")
---
x_train = torch.cat([image_tensors[cls] for cls in classes], dim=0)
y_train = torch.cat([torch.tensor([index] * image_tensors[cls].shape[0]) for index, cls in enumerate(classes)])
---
permutations = torch.randperm(x_train.shape[0])
---
x_train = x_train[permutations]
y_train = y_train[permutations]
---
valid_pct = 0.2
valid_index = int(x_train.shape[0] * valid_pct)
valid_index
---
x_valid = x_train[:valid_index]
y_valid = y_train[:valid_index]
x_train = x_train[valid_index:]
y_train = y_train[valid_index:]
---
x_train.shape, y_train.shape
"""  # noqa: E501 - as written

LOSS = """
def loss_func(preds, targets):
    return -preds[range(targets.shape[0]), targets].mean()

def accuracy(preds, targets):
    return (torch.argmax(preds, dim=-1) == targets).float().mean()
"""

POST = """
def softmax(x):
    return x - x.exp().sum(-1).unsqueeze(-1)
---
def linear_layer(x):
    return x @ weights + bias
---
def model(x):
    return softmax(linear_layer(x))
---
{LOSS}
---
n  = x_train.shape[0]
bs = 64
epochs = 15
weights = torch.zeros((64 * 64, 10), requires_grad=True) # define weights matrix
bias = torch.zeros(10, requires_grad=True) # and bias term

for epoch in range(epochs):
    for i in range((n - 1) // bs + 1):
        # select images for this batch
        start_i = i * bs
        end_i = start_i + bs
        xb = x_train[start_i:end_i]
        yb = y_train[start_i:end_i]
        # compute predictions
        preds = model(xb)
        # compute loss
        loss = loss_func(preds, yb)

        # compute gradients (this is done for us by PyTorch with this backwards function!)
        loss.backward()
        with torch.no_grad():
            # update parameters
            weights -= weights.grad
            bias -= bias.grad
            # zero out the gradients so they are ready for the next batch (otherwise they accumulate values)
            weights.grad.zero_()
            bias.grad.zero_()
    # eventually after each epoch (seeing all the images) we print out how we did
    print(f"Epoch {epoch} accuracy: {accuracy(model(x_valid),y_valid)}%, loss: {loss_func(model(x_valid), y_valid)}")
""".replace("{LOSS}", LOSS)

NOTEBOOK = """
# it normalizes all 10 classes so we can treat each class prediction as probability that add up to 1.0
def log_softmax(x):
    return x - x.exp().sum(-1).log().unsqueeze(-1)
---
def model(x):
    return log_softmax(x @ weights + bias)
---
{LOSS}
---
n  = x_train.shape[0]
bs = 64
lr = 0.5  # learning rate
epochs = 30  # how many epochs to train for

weights = torch.zeros((64 * 64, 10), requires_grad=True)
bias = torch.zeros(10, requires_grad=True)

xb, yb = None, None

for epoch in range(epochs):
    for i in range((n - 1) // bs + 1):
        #         set_trace()
        start_i = i * bs
        end_i = start_i + bs
        xb = x_train[start_i:end_i]
        yb = y_train[start_i:end_i]
        preds = model(xb)
        loss = loss_func(preds, yb)

        loss.backward()
        with torch.no_grad():
            weights -= weights.grad * lr
            bias -= bias.grad * lr
            weights.grad.zero_()
            bias.grad.zero_()

    print(f"Epoch {epoch} accuracy: {accuracy(model(x_valid),y_valid)}, loss: {loss_func(model(x_valid), y_valid)}")
""".replace("{LOSS}", LOSS)

PER_CLASS = 40


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a few phantoms in medical_mnist/<class>/ as JPEGs."""
    pixels, labels = phantoms.generate(PER_CLASS)
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        home = tmp_path / "medical_mnist" / medical_mnist.CLASSES[label]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / f"{i:06}.jpeg")
    monkeypatch.chdir(tmp_path)


def run_cells(cells: str, torch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Run cells with `torch` as their torch; returns their namespace."""

    def to_tensor(image):
        return torch.from_numpy(np.array(image, np.float32)[np.newaxis] / 255)

    # The two libraries draw different random numbers: here they get the same ones.
    monkeypatch.setattr(torch, "randperm", lambda n: torch.from_numpy(np.random.default_rng(0).permutation(n)))
    namespace = {"torch": torch, "ToTensor": lambda: to_tensor}
    exec("from pathlib import Path\nfrom PIL import Image", namespace)
    for cell in cells.split("---\n"):
        exec(cell, namespace)
    return namespace


@pytest.mark.parametrize(("lesson", "epochs"), [(POST, 15), (NOTEBOOK, 30)], ids=["post", "notebook"])
def test_the_cells_run_as_written_and_learn(lesson, epochs, folder, monkeypatch, capsys):
    after = run_cells(DATA + "---\n" + lesson, tinygrad_med, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [f"{name} has {PER_CLASS} images of a size (4096,)" for name in medical_mnist.CLASSES]
    assert after["valid_index"] == 48
    assert (after["x_train"].shape, after["y_train"].shape) == ((192, 4096), (192,))

    assert len(lines) == 6 + epochs
    numbers = [re.fullmatch(r"Epoch (\d+) accuracy: ([\d.]+)%?, loss: ([\d.]+)", line).groups() for line in lines[6:]]
    assert [int(epoch) for epoch, _, _ in numbers] == list(range(epochs))
    losses = [float(loss) for _, _, loss in numbers]
    assert losses[-1] < losses[0] < 10


@pytest.mark.parametrize("lesson", [POST, NOTEBOOK], ids=["post", "notebook"])
def test_the_cells_print_what_pytorch_prints(lesson, folder, monkeypatch, capsys, torch):
    results = []
    for library in (tinygrad_med, torch):
        after = run_cells(DATA + "---\n" + lesson, library, monkeypatch)
        lines = capsys.readouterr().out.splitlines()[6:]
        results.append([re.findall(r"[\d.]+", line.replace("Epoch", "").replace(",", "")) for line in lines])
        results.append(after["weights"].detach().numpy())
    ours, our_weights, theirs, their_weights = (np.array(result, float) for result in results)
    epoch, accuracy, loss = 0, 1, 2
    np.testing.assert_array_equal(ours[:, epoch], theirs[:, epoch])
    np.testing.assert_allclose(ours[:, accuracy], theirs[:, accuracy], atol=1.01 / 48)  # but for one near tie
    np.testing.assert_allclose(ours[:, loss], theirs[:, loss], rtol=1e-5)
    np.testing.assert_allclose(our_weights, their_weights, atol=1e-5 * np.abs(their_weights).max())
