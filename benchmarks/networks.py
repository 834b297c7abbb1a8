"""How fast, and in how much memory, do convolutional networks train and predict, beside PyTorch and DeZero?

float32, two threads for each. PyTorch is eager, on the CPU, as it is by default, and a second time with its images and
weights channels-last in memory, its fastest way. DeZero does the two smaller pieces of work, in an environment of its
own. All networks are as one writes them: none has its batch normalization folded into the convolutions beforehand.

Run with the beginning of a work's name to measure only that; the other rows of the table remain as they were.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from peers import Worker, python
from timing import RESULTS, THREADS, Comparison, alternate, earlier, forget_peak, limit_threads, own_peak, report

IMAGES = {"resnet": (16, 3, 224, 224), "alexnet": (24, 3, 224, 224), "small": (64, 1, 64, 64)}


def batch(name):
    """Images, and classes below 6."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(IMAGES[name], np.float32)
    return x, rng.integers(0, 6, len(x))


# ---------------------------------------------------------------- the contenders


def training(library, net, x, y):
    """A step of training; the same lines for both libraries, which is the point of having PyTorch's names."""
    x, y = library.as_tensor(x), library.as_tensor(y)
    optimizer = library.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def work():
        loss = library.nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return work


def prediction(library, net, x):
    """A pass without gradients."""
    x = library.as_tensor(x)
    net.eval()

    def work():
        with library.no_grad():
            net(x)

    return work


def feature_gradients(library, features, x):
    """AlexNet's features of 24 slices and their gradients, as MRNet trains them: the largest mean over all slices."""
    x = library.as_tensor(x)

    def work():
        for p in features.parameters():
            p.grad = None
        features(x).mean((2, 3)).amax(0).sum().backward()

    return work


def ours(name, size=None):
    """tinygrad_med."""
    import tinygrad_med
    import tinygrad_med.nn
    import tinygrad_med.optim
    from tinygrad_med import models

    x, y = batch(name.split()[0])
    if name == "resnet training":
        return training(tinygrad_med, models.resnet18(num_classes=6), x, y)
    if name == "resnet prediction":
        return prediction(tinygrad_med, models.resnet18(num_classes=6), x[:size])
    if name == "alexnet features":
        return feature_gradients(tinygrad_med, models.alexnet(num_classes=6).features, x)
    return training(tinygrad_med, models.small_cnn(6), x, y)


def pytorch(name, size=None, *, channels_last=False):
    """PyTorch."""
    import torch
    import torch_networks

    torch.set_num_threads(THREADS)
    x, y = batch(name.split()[0])
    order = {"memory_format": torch.channels_last if channels_last else torch.contiguous_format}
    images = torch.tensor(x[:size]).contiguous(**order)
    if name == "resnet training":
        return training(torch, torch_networks.ResNet18(6).to(**order), images, y)
    if name == "resnet prediction":
        return prediction(torch, torch_networks.ResNet18(6).to(**order), images)
    if name == "alexnet features":
        return feature_gradients(torch, torch_networks.AlexNet(6).features.to(**order), images)
    return training(torch, torch_networks.SmallCNN(6).to(**order), images, y)


def dezero(name):
    """DeZero."""
    import dezero
    import dezero.functions as F
    import dezero.layers as L
    from dezero import optimizers

    x, y = batch(name.split()[0])

    def means(x):
        return F.reshape(F.average_pooling(x, x.shape[2]), x.shape[:2])

    class AlexNet(dezero.Model):
        def __init__(self):
            super().__init__()
            sizes = [(64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)]
            self.convs = [L.Conv2d(channels, k, s, p) for channels, k, s, p in sizes]
            for i, conv in enumerate(self.convs):
                setattr(self, f"conv{i}", conv)

        def forward(self, x):
            for i, conv in enumerate(self.convs):
                x = F.relu(conv(x))
                x = F.pooling(x, 3, 2) if i in (0, 1, 4) else x
            return x

    class SmallCNN(dezero.Model):
        def __init__(self):
            super().__init__()
            self.stages = [(L.Conv2d(channels, 3, 1, 1, nobias=True), L.BatchNorm()) for channels in (32, 64, 128)]
            for i, (conv, norm) in enumerate(self.stages):
                setattr(self, f"conv{i}", conv)
                setattr(self, f"norm{i}", norm)
            self.fc = L.Linear(6)

        def forward(self, x):
            for conv, norm in self.stages:
                x = F.pooling(F.relu(norm(conv(x))), 2, 2)
            return self.fc(means(x))

    if name == "alexnet features":
        net = AlexNet()

        def work():
            net.cleargrads()
            F.sum(F.max(means(net(x)), axis=0)).backward()

    else:
        net = SmallCNN()
        optimizer = optimizers.MomentumSGD(0.01, 0.9).setup(net)

        def work():
            loss = F.softmax_cross_entropy(net(x), y)
            net.cleargrads()
            loss.backward()
            optimizer.update()

    return work


# ---------------------------------------------------------------- memory


def peak_memory(who, name):
    """The largest memory, in MB, of a process while it does the work three times, after the network is made."""
    command = [sys.executable, __file__, "--memory", who, name]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout)


def _tell_peak_memory(who, name):
    work = {"ours": ours, "PyTorch": pytorch}[who](name)
    limit_threads()
    forget_peak()  # AlexNet's classifier, which `features` doesn't have, is larger than all that follows
    for _ in range(3):
        work()
    print(json.dumps(own_peak() / 1e6))


def memory_table(names):
    """A Markdown table of peak memories."""
    rows = ["| work | ours, MB | PyTorch, MB | ratio |", "|---|--:|--:|--:|"]
    for name in names:
        mine, theirs = (peak_memory(who, name) for who in ("ours", "PyTorch"))
        rows.append(f"| {name}, the process's peak memory | {mine:.0f} | {theirs:.0f} | {mine / theirs:.2f} |")
    return "\n".join(rows)


# ---------------------------------------------------------------- the question

LAST = "PyTorch channels-last"


class Work(NamedTuple):
    """What is measured: which work, of how many images (of a batch, if not all), and its bars, over whom at most."""

    name: str
    images: int | None
    rounds: int
    bar: float | None
    bar_last: float | None = None
    peer: Callable[..., Any] | None = None


WORKS = {
    "ResNet-18, training step, 16 images of 224×224": Work("resnet training", None, 15, 0.80, 0.97),
    "ResNet-18, prediction, 16 images": Work("resnet prediction", 16, 20, 0.75, 1.0),
    "ResNet-18, prediction, 4 images": Work("resnet prediction", 4, 30, 0.85),
    "ResNet-18, prediction, 2 images": Work("resnet prediction", 2, 40, None),
    "ResNet-18, prediction, 1 image": Work("resnet prediction", 1, 40, 1.05),
    "AlexNet's features, 24 slices, forward and backward": Work("alexnet features", None, 20, 0.8, None, dezero),
    "Small CNN of Medical MNIST, training step, 64 images of 64×64": Work(
        "small training", None, 40, 0.9, None, dezero
    ),
}


def main(beginning=""):
    """Measure the works whose names begin so, and write the tables."""
    comparisons = {}
    before = earlier("networks") if beginning else {}
    for work, (name, size, rounds, bar, bar_last, peer) in WORKS.items():
        bars = [("ours", over, limit) for over, limit in (("PyTorch", bar), (LAST, bar_last)) if limit]
        if not work.startswith(beginning):
            if work in before:
                held = tuple(bar for bar in bars if bar[1] in before[work])  # a peer may have come since
                comparisons[work] = Comparison(work, before[work], held, others=0.0)
            continue
        contenders = {
            "ours": ours(name, size),
            "PyTorch": pytorch(name, size),
            LAST: pytorch(name, size, channels_last=True),
        }
        compare = partial(alternate, work, rounds=rounds, bar=bars)
        if peer is None:
            comparisons[work] = compare(contenders)
        else:
            with Worker(python(peer.__name__), peer, name) as worker:
                comparisons[work] = compare({**contenders, "DeZero": worker})
    report("networks", __doc__.partition("\n")[0], list(comparisons.values()), over="PyTorch")
    if not beginning:
        compare_memory()


def compare_memory():
    """Measure the peak memory of a training step, and write the table."""
    from tinygrad_med._files import writing

    memory = memory_table(["resnet training", "alexnet features"])
    print(memory)
    with writing(RESULTS / "memory.md") as path:
        path.write_text(f"# How much memory do networks take?\n\n{memory}\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        _tell_peak_memory(*sys.argv[2:])
    elif sys.argv[1:] == ["--compare-memory"]:
        compare_memory()
    else:
        main(*sys.argv[1:])
