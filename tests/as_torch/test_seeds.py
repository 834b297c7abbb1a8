"""The code of all four tutorials, taken from their text and run as it is, `import torch` and all.

Each runs in an interpreter and a folder of its own, with a handful of images where the tutorial has thousands. What the
texts leave out (downloads; in the last one its imports and a function of the post before it) stands below.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med import models
from tinygrad_med.data import medical_mnist, phantoms

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("seeds", Path(__file__).with_name("seeds.py"))
seeds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(seeds)

PER_CLASS = 40
NOTEBOOK = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.loads(open("cells.json").read()):
    shell.run_cell(cell).raise_error()
"""


def run(folder, *arguments):
    """What a program prints that runs in a folder; it must end well."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / "ipython"), "MPLBACKEND": "Agg"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run_notebook(folder, cells):
    """What a notebook prints whose first cell lets us stand in for PyTorch."""
    pytest.importorskip("IPython", reason="IPython is not installed: pip install ipykernel")
    (folder / "cells.json").write_text(json.dumps(["import tinygrad_med.as_torch", *cells]))
    return run(folder, "-c", NOTEBOOK)


def run_program(folder, code):
    """What a program prints that is run by `python -m tinygrad_med.as_torch`."""
    (folder / "tutorial.py").write_text(code)
    return run(folder, "-m", "tinygrad_med.as_torch", "tutorial.py")


@pytest.fixture
def mnist(tmp_path):
    """The working directory, with a few phantoms in medical_mnist/<class>/ as JPEGs."""
    pixels, labels = phantoms.generate(PER_CLASS)
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        home = tmp_path / "medical_mnist" / medical_mnist.CLASSES[label]
        home.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(image).save(home / f"{i:06}.jpeg")
    return tmp_path


def check_that_it_learned(printed, epochs):
    sizes = re.findall(r"^(\w+) has (\d+) images of a size \(4096,\)$", printed, re.MULTILINE)
    assert sorted(sizes) == sorted((name, str(PER_CLASS)) for name in medical_mnist.CLASSES)
    numbers = re.findall(r"^Epoch (\d+) accuracy: ([\d.]+)%?, loss: ([\d.]+)$", printed, re.MULTILINE)
    assert [int(epoch) for epoch, _, _ in numbers] == list(range(epochs))
    assert float(numbers[-1][2]) < float(numbers[0][2])


def test_the_post(mnist, shared):
    code = seeds.with_what_was_lost("\n".join(seeds.pieces(shared / "seeds", "000")))
    check_that_it_learned(run_program(mnist, code), 15)


def test_the_notebook(mnist, shared):
    check_that_it_learned(run_notebook(mnist, seeds.pieces(shared / "seeds", "001")), 30)


def test_the_fastai_notebook(tmp_path, shared):
    """Its data lies elsewhere, its network has random weights, and its search for a rate takes 16 steps, not 100."""
    rng = np.random.default_rng(0)
    for name, bright in (("abd", slice(0, 24)), ("chest", slice(24, 48))):
        for split in ("train", "val", "test"):
            pixels = rng.integers(0, 100, (48, 44))
            pixels[bright] += 150
            home = tmp_path / "data" / split / name
            home.mkdir(parents=True)
            pillow.fromarray(pixels.astype(np.uint8)).save(home / f"{name}.png")
    pillow.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / "elbow.png")
    tinygrad_med.manual_seed(0)  # of so few images the loss is noise, which ended a search for a rate once
    tinygrad_med.save(models.resnet18().state_dict(), tmp_path / "imagenet.safetensors")
    before = f"""
import tinygrad_med
import tinygrad_med.models.weights
tinygrad_med.manual_seed(0)
from pathlib import Path
from tinygrad_med.learner import Learner
tinygrad_med.models.weights.weights_file = lambda name: Path({str(tmp_path / "imagenet.safetensors")!r})
Learner.lr_find.__defaults__ = (1e-7, 10.0, 16, True, True)
"""
    after = "print('after:', len(learn.recorder.values), tuple(cam_map.shape), len(plt.get_fignums()), torch.__name__)"
    cells = [c.replace("/content/data", str(tmp_path / "data")) for c in seeds.pieces(shared / "seeds", "002")]
    printed = run_notebook(tmp_path, [before, *cells, after])
    assert "abd.png" in printed, "the shell's command"
    assert "after: 5 (14, 14) 8 torch" in printed


IMPORTS = """
import numpy as np
import pandas as pd
import torch
from sklearn import metrics
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from torchvision import models

import tinygrad_med.models
alexnet = tinygrad_med.models.alexnet
tinygrad_med.models.alexnet = lambda pretrained: alexnet()  # the same network without a download
torch.manual_seed(0)
"""

TRAINING = """
MRData._resize_image = lambda self, image: np.stack([(image / 255).astype(np.float32)] * 3, axis=1)
train_data = MRData(task='acl')
valid_data = MRData(task='acl', train=False)
train_loader = DataLoader(train_data, batch_size=1, shuffle=True, num_workers=2)
model = MRnet()
train_wts = train_data.weights
optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, weight_decay=0.01)
writer = SummaryWriter('runs')
"""

EPOCHS = """
for epoch in range(2):
    print('epoch', *_train_model(model, train_loader, epoch, 2, optimizer, criterion, writer, 1e-5, log_every=2))
writer.close()
print(len(valid_data), [tuple(plane.shape) for plane in valid_data[0][0]], valid_data[0][1].tolist())
"""


def test_the_series_of_knees(tmp_path, shared):
    pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install scikit-learn")
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install tensorboardX")
    rng = np.random.default_rng(0)
    for split, first, labels in (("train", 0, [1, 0, 0]), ("valid", 1130, [0, 1])):
        rows = [f"{first + i},{label}\n" for i, label in enumerate(labels)]
        for plane in ("axial", "coronal", "sagittal"):
            (tmp_path / "images" / split / plane).mkdir(parents=True)
            for i in range(len(labels)):
                file = tmp_path / "images" / split / plane / f"{first + i:04}.npy"
                np.save(file, rng.integers(0, 256, (1 + i, 72, 72)).astype(np.uint8))
        (tmp_path / "images" / f"{split}-acl.csv").write_text("".join(rows))
    data, model, criterion, train = map(seeds.indented, seeds.pieces(shared / "seeds", "003"))
    printed = run_program(tmp_path, f"{IMPORTS}\n{data}\n\n{model}\n\n{train}\n{TRAINING}\n{criterion}\n{EPOCHS}")
    assert "Number of -ve samples :  2\nNumber of +ve samples :  1\nWeights for loss is :  tensor([2.])" in printed
    assert len(re.findall(r"^epoch 0\.\d+ |^epoch 1\.\d+ ", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^\[Epoch: [12] / 2 \| Batch : 2 / 3 \]\| Avg Train Loss \d", printed, re.MULTILINE)) == 2
    assert printed.endswith("2 [(1, 3, 72, 72), (1, 3, 72, 72), (1, 3, 72, 72)] [0.0]\n")
    assert list((tmp_path / "runs").glob("events.out.tfevents.*"))
