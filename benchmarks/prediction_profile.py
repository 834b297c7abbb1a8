"""Where does the time go when ResNet-18 predicts 1, 4 and 16 images, beside PyTorch?

Images of 224×224, float32, two threads; PyTorch in its default order and channels-last. Our convolutions take batch
normalization, sum and relu along in the same pass, so their times hold these; PyTorch's hold the convolution alone.
What runs outside of the named parts (relu in PyTorch, sums, Python) is the rest. The bare product is what a convolution
would take as one matrix product, without laying out its columns: NumPy's, on matrices of the same sizes. Medians over
the rounds, the turns of all alternating.

Run with a number of images to measure only that.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from time import perf_counter
from typing import Any

import numpy as np
from timing import RESULTS, limit_threads, machine

ROUNDS, REPETITIONS = 11, 3
NAME = "prediction_profile"
REST = "relu, sums, mean, linear, Python"

Parts = dict[str, float]
"""Seconds, by part of the network."""


class Profile:
    """A network that tells where its time went: PyTorch's, by hooks before and after its modules."""

    def __init__(self, framework: Any, net: Any, image: Any) -> None:
        self.framework, self.net, self.image = framework, net.eval(), image
        self.products: dict[str, tuple[int, int, int]] = {}  # (rows, depth, columns) of a convolution's matrices
        self.counts: dict[str, int] = defaultdict(int)
        self._parts: Parts = defaultdict(float)
        self._began = 0.0
        self.watch()

    def watch(self) -> None:
        """See to it that `begin` and `end` are called."""
        for module in self.net.modules():
            if type(module).__name__ in ("Conv2d", "BatchNorm2d", "MaxPool2d"):
                module.register_forward_pre_hook(lambda *_: self.begin())
                module.register_forward_hook(self._after)

    def run(self) -> Parts:
        """A prediction."""
        self._parts, self.counts = defaultdict(float), defaultdict(int)
        start = perf_counter()
        with self.framework.no_grad():
            self.net(self.image)
        total = perf_counter() - start
        return {**self._parts, REST: total - sum(self._parts.values()), "all": total}

    def begin(self) -> None:
        """A part begins."""
        self._began = perf_counter()

    def end(self, part: str) -> None:
        """The part ends."""
        self._parts[part] += perf_counter() - self._began
        self.counts[part] += 1

    def convolution(self, weight: Any, step: int, output: Any) -> str:
        """The name of a convolution, whose matrices are noted."""
        out, depth, *kernel = weight.shape
        size = output.shape[-1]
        part = f"{kernel[0]}×{kernel[1]}{f'/{step}' if step > 1 else ''} {depth}→{out}, to {size}²"
        self.products[part] = len(output) * size * size, depth * kernel[0] * kernel[1], out
        return part

    def _after(self, module: Any, _: Any, output: Any) -> None:
        other = {"BatchNorm2d": "batch normalization", "MaxPool2d": "max-pooling"}.get(type(module).__name__)
        self.end(other or self.convolution(module.weight, module.stride[0], output))


class Ours(Profile):
    """Ours, by its kernels: hooks would have the modules called one after the other."""

    def watch(self) -> None:
        """See to it that `begin` and `end` are called."""
        from tinygrad_med.backend import cpu

        conv_finished, max_pool = cpu.conv_finished, cpu.max_pool

        def timed_conv(x: Any, w: Any, *, geometry: Any, **options: Any) -> Any:
            self.begin()
            y = conv_finished(x, w, geometry=geometry, **options)
            self.end(self.convolution(w, geometry.stride[0], y))
            return y

        def timed_pool(x: Any, **options: Any) -> Any:
            self.begin()
            y = max_pool(x, **options)
            self.end("max-pooling")
            return y

        cpu.conv_finished, cpu.max_pool = timed_conv, timed_pool


def bare_product(rows: int, depth: int, columns: int) -> float:
    """The seconds of a matrix product."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, depth), np.float32), rng.standard_normal((depth, columns), np.float32)
    times = []
    for _ in range(9):
        start = perf_counter()
        np.matmul(a, b)
        times.append(perf_counter() - start)
    return statistics.median(times)


def profiles(images: int) -> list[str]:
    """The rows of a table for so many images."""
    import torch
    import torch_networks

    import tinygrad_med
    from tinygrad_med import models

    x = np.random.default_rng(0).standard_normal((images, 3, 224, 224), np.float32)
    last = {"memory_format": torch.channels_last}
    contenders = {
        "ours": Ours(tinygrad_med, models.resnet18(num_classes=6), tinygrad_med.tensor(x)),
        "PyTorch": Profile(torch, torch_networks.ResNet18(6), torch.tensor(x)),
        "last": Profile(torch, torch_networks.ResNet18(6).to(**last), torch.tensor(x).contiguous(**last)),
    }
    limit_threads()
    found: dict[str, list[Parts]] = {who: [] for who in contenders}
    for _ in range(ROUNDS):
        for who, profile in contenders.items():
            found[who].append([profile.run() for _ in range(REPETITIONS)][-1])  # the first ones wake the threads

    def ms(who: str, part: str) -> str:
        return f"{1e3 * statistics.median(one[part] for one in found[who]):.2f}" if part in found[who][0] else ""

    ours, theirs, _ = contenders.values()
    rows = []
    for part in [*ours.products, "max-pooling", "batch normalization", REST, "all"]:
        count = ours.counts.get(part) or theirs.counts.get(part) or ""
        bare = f"{1e3 * ours.counts[part] * bare_product(*ours.products[part]):.2f}" if part in ours.products else ""
        rows.append(f"| {images} | {part} | {count} | {' | '.join(ms(who, part) for who in contenders)} | {bare} |")
    return rows


def main(*numbers: str) -> None:
    """Measure, and write the table."""
    import torch  # noqa: F401 - before `machine()`, which names its version

    from tinygrad_med._files import writing

    rows = [row for images in numbers or ("1", "4", "16") for row in profiles(int(images))]
    lines = [
        f"# {__doc__}",
        f"{machine()}.",
        "",
        "| images | part | how many | ours, ms | PyTorch, ms | channels-last, ms | bare product, ms |",
        "|--:|---|--:|--:|--:|--:|--:|",
        *rows,
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    with writing(RESULTS / f"{NAME}.md") as path:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
