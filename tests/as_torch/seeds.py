"""The code of the four tutorials in ../shared/seeds, taken from their text, and what their web pages lost put back.

A piece of code is named by how its first line and its last line begin; pieces follow one another in the text. Commands
that install, download and restart are left out. Put back are, in the first text, the calls of `LOST`; in the last,
whose page swallowed all indentation, the depth of each line.
"""

from __future__ import annotations

import re
from pathlib import Path

SPANS = {
    "000": [
        ("from pathlib import Path", 'PATH = Path("medical_mnist/")'),
        ("classes = [", "classes = ["),
        ("images = {}", "    images[cls] = "),
        ("from PIL import Image", "            for path in (PATH/cls)"),
        ("for cls in classes:", "    print(f"),
        ("x_train =", "y_train ="),
        ("permutations =", "permutations ="),
        ("x_train = x_train[permutations]", "y_train = y_train[permutations]"),
        ("valid_pct", "valid_index ="),
        ("x_valid =", "x_train.shape, y_train.shape"),
        ("def softmax", "    return"),
        ("def linear_layer", "    return"),
        ("def model", "    return"),
        ("def loss_func", "    return (torch.argmax"),
        ("# number of training examples", "    print(f"),
    ],
    "001": [
        ("from pathlib import Path", 'PATH = Path("medical_mnist/")'),
        ("classes = !ls", "classes"),
        ("images = {}", "    images[cls] = !ls"),
        ("from PIL import Image", "from PIL import Image"),
        ("# ToTensor", "from torchvision.transforms"),
        ("import torch", "    image_tensors[cls] ="),
        ("for cls in classes:", "    print(f"),
        ("x_train =", "y_train ="),
        ("permutations =", "permutations ="),
        ("x_train = x_train[permutations]", "y_train = y_train[permutations]"),
        ("valid_pct", "valid_index"),
        ("x_valid =", "y_train ="),
        ("x_train.shape, y_train.shape", "x_train.shape, y_train.shape"),
        ("# it normalizes", "    return"),
        ("def model", "    return"),
        ("def loss_func", "    return (torch.argmax"),
        ("from IPython.core.debugger", "    print(f"),
    ],
    "002": [
        ("#collapse", 'plt.rcParams["figure.figsize"]'),
        ("from fastai.basics import *", "!ls {path}/**/*"),
        ("# the following line of code utilizes", "dls.show_batch"),
        ("dls = ImageDataLoaders", "learn.lr_find();"),
        ("# the following lines of code utilize", "learn.fine_tune("),
        ("learn.recorder.plot_loss()", "learn.recorder.plot_loss()"),
        ("test_files =", "learn.show_results("),
        ("interp =", "interp.plot_top_losses("),
        ("y = get_image_files(path, recurse=False)", "ax.set_title("),
        ("test_case = 'chest'", "hook.remove()"),
        ("test_case = 'abd'", "              interpolation="),
    ],
    "003": [
        ("class MRData():", "return [img_raw[plane] for plane"),
        ("class MRnet(nn.Module):", "return output"),
        ("criterion =", "criterion ="),
        ("def _train_model(", "return train_loss_epoch"),
    ],
}

LOST = {
    "classes = [ for cls": "classes = [cls.name for cls",
    "torch.stack( #": "torch.stack([ #",
    "            ).view(-1, 64 * 64)": "            Image.open(path)).view(-1, 64 * 64)",
    "            for path in (PATH/cls).iterdir()]": "            for path in (PATH/cls).iterdir()])",
    "x_train =[image_tensors[cls] for cls in classes], dim=0)": (
        "x_train = torch.cat([image_tensors[cls] for cls in classes], dim=0)"
    ),
    "y_train =[torch.tensor(": "y_train = torch.cat([torch.tensor(",
    "        # compute gradients (this": "        loss.backward()\n        # compute gradients (this",
    "so they are ready for the next batch (otherwise they accumulate values)\n": (
        "so they are ready …\n            weights.grad.zero_()\n            bias.grad.zero_()\n"
    ),
}

# How deep a line stands that begins so; others stand as the line before, or, after a colon, one deeper.
DEPTHS = {
    "class ": 0,
    "def __": 1,
    "def forward": 1,
    "else:": 2,
    "self.transform =": 2,
    "self.labels =": 2,
    "print('Number of -ve": 2,
    "label = self.labels": 2,
    "elif": 2,
    "return [img_raw": 2,
    "output = model(": 2,
    "except:": 2,
    "writer.add_scalar('Train/Loss'": 2,
    "writer.add_scalar('Train/AUC_epoch'": 1,
}


def pieces(seeds: Path, number: str) -> list[str]:
    """The pieces of code of a tutorial, line by line as they are written."""
    (file,) = seeds.glob(f"{number}_*")
    lines = iter(file.read_text("utf-8").replace("\r", "").split("\n"))
    found = []
    for first, last in SPANS[number]:
        line = next(line for line in lines if line.startswith(first))
        piece = [line]
        while not line.startswith(last):
            line = next(lines)
            piece.append(line)
        found.append("\n".join(line.rstrip() for line in piece))
    return found


def with_what_was_lost(code: str) -> str:
    """The first tutorial's code with its lost calls."""
    for lost, whole in LOST.items():
        assert code.count(lost) == 1, lost
        code = code.replace(lost, whole)
    return code


def indented(piece: str) -> str:
    """A piece of the last tutorial's code with its indentation."""
    depth, within_text, found = 0, False, []
    for line in piece.split("\n"):
        if not within_text:
            depth = next((deep for begin, deep in DEPTHS.items() if line.startswith(begin)), depth)
        found.append("    " * depth + line)
        quotes = line.count('"""') + line.count("'''")
        if not within_text and not quotes and re.search(r":\s*(#.*)?$", line):
            depth += 1
        within_text ^= bool(quotes % 2)
    return "\n".join(found)
