"""Where does the time go when ResNet-18 predicts one image, beside PyTorch?

One image of 224×224, float32, two threads; ours with batch normalization folded into the convolutions. Hooks before and
after each module take the time; what runs outside of them (relu in PyTorch, sums, Python) is the rest. The bare product
is what a convolution would take as one matrix product, without laying out its columns: NumPy's, on matrices of the same
sizes. Medians over the rounds, our turn and PyTorch's alternating.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from time import perf_counter
from typing import Any

import numpy as np
from timing import RESULTS, limit_threads, machine

ROUNDS, REPETITIONS = 15, 4
NAME = "prediction_profile"
REST = "relu, sums, mean, linear, Python"

Parts = dict[str, float]
"""Seconds, by part of the network."""


class Profile:
    """A network that tells where its time went."""

    def __init__(self, framework: Any, net: Any, image: np.ndarray) -> None:
        self.framework, self.net, self.image = framework, net.eval(), framework.tensor(image)
        self.products: dict[str, tuple[int, int, int]] = {}  # (rows, depth, columns) of a convolution's matrices
        self.counts: dict[str, int] = defaultdict(int)
        self._parts: Parts = defaultdict(float)
        self._began = 0.0
        for module in net.modules():
            if type(module).__name__ in ("Conv2d", "BatchNorm2d", "MaxPool2d"):
                module.register_forward_pre_hook(self._begin)
                module.register_forward_hook(self._end)

    def run(self) -> Parts:
        """A prediction."""
        self._parts, self.counts = defaultdict(float), defaultdict(int)
        start = perf_counter()
        with self.framework.no_grad():
            self.net(self.image)
        total = perf_counter() - start
        return {**self._parts, REST: total - sum(self._parts.values()), "all": total}

    def _begin(self, *_: Any) -> None:
        self._began = perf_counter()

    def _end(self, module: Any, _: Any, output: Any) -> None:
        seconds = perf_counter() - self._began
        part = {"BatchNorm2d": "batch normalization", "MaxPool2d": "max-pooling"}.get(type(module).__name__)
        if part is None:
            out, depth, *kernel = module.weight.shape
            size, step = output.shape[-1], module.stride[0]
            part = f"{kernel[0]}×{kernel[1]}{f'/{step}' if step > 1 else ''} {depth}→{out}, to {size}²"
            self.products[part] = size * size, depth * kernel[0] * kernel[1], out
        self._parts[part] += seconds
        self.counts[part] += 1


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


def main() -> None:
    """Measure, and write the table."""
    import torch
    import torch_networks

    import tinygrad_med
    from tinygrad_med import models
    from tinygrad_med._files import writing

    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    contenders = {
        "ours": Profile(tinygrad_med, models.resnet18(num_classes=6).eval().fused(), image),
        "PyTorch": Profile(torch, torch_networks.ResNet18(6), image),
    }
    limit_threads()
    found: dict[str, list[Parts]] = {who: [] for who in contenders}
    for _ in range(ROUNDS):
        for who, profile in contenders.items():
            found[who].append([profile.run() for _ in range(REPETITIONS)][-1])  # the first ones wake the threads

    def ms(who: str, part: str) -> str:
        return f"{1e3 * statistics.median(one[part] for one in found[who]):.2f}" if part in found[who][0] else ""

    ours, theirs = contenders.values()
    lines = [
        f"# {__doc__}",
        f"{machine()}.",
        "",
        "| part | how many | ours, ms | PyTorch, ms | bare product, ms |",
        "|---|--:|--:|--:|--:|",
    ]
    for part in [*ours.products, "max-pooling", "batch normalization", REST, "all"]:
        count = ours.counts.get(part) or theirs.counts.get(part) or ""
        bare = f"{1e3 * ours.counts[part] * bare_product(*ours.products[part]):.2f}" if part in ours.products else ""
        lines.append(f"| {part} | {count} | {ms('ours', part)} | {ms('PyTorch', part)} | {bare} |")
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    with writing(RESULTS / f"{NAME}.md") as path:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
