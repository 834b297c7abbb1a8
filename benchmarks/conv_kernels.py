"""What does each convolution of ResNet-18 and AlexNet cost, forward and for both gradients, beside PyTorch?

The kernels alone, without tensors or a graph: every distinct layer of ResNet-18 (batch 16) and AlexNet's features (24
slices), images of 224×224, float32. Ours lie channels-last in memory, as in a network; PyTorch's in its default order.
Every result is compared with PyTorch's before it is timed.

Run with the beginning of a layer's name to measure only such layers.
"""

import sys
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from timing import alternate, machine, write

from tinygrad_med.backend import cpu
from tinygrad_med.backend.geometry import conv_geometry


class Layer(NamedTuple):
    """A convolution from `channels` maps of size×size to `out`."""

    network: str
    batch: int
    channels: int
    size: int
    out: int
    kernel: int
    stride: int
    padding: int

    def __str__(self) -> str:
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.network} {self.kernel}×{self.kernel}{stride} {self.channels}→{self.out} at {self.size}²"


def layers():
    """The distinct convolutions of both networks."""
    resnet, alexnet = partial(Layer, "ResNet-18", 16), partial(Layer, "AlexNet", 24)
    yield resnet(3, 224, 64, 7, 2, 3)
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
        yield resnet(channels, size, channels, 3, 1, 1)
        if channels < 512:
            yield resnet(channels, size, 2 * channels, 3, 2, 1)
            yield resnet(channels, size, 2 * channels, 1, 2, 0)
    yield alexnet(3, 224, 64, 11, 4, 2)
    yield alexnet(64, 27, 192, 5, 1, 2)
    yield alexnet(192, 13, 384, 3, 1, 1)
    yield alexnet(384, 13, 256, 3, 1, 1)
    yield alexnet(256, 13, 256, 3, 1, 1)


def faces(layer):
    """(name, our function, PyTorch's) of the forward and the two gradients."""
    rng = np.random.default_rng(0)

    def channels_last(*shape):
        n, c, h, w = shape
        return rng.standard_normal((n, h, w, c), np.float32).transpose(0, 3, 1, 2)

    x = channels_last(layer.batch, layer.channels, layer.size, layer.size)
    w = rng.standard_normal((layer.out, layer.channels, layer.kernel, layer.kernel), np.float32)
    window = {"stride": layer.stride, "padding": layer.padding}
    at = {"geometry": conv_geometry(x.shape, w.shape, **window)}
    g = channels_last(*cpu.conv(x, w, **at).shape)
    x_torch, w_torch, g_torch = (torch.from_numpy(np.ascontiguousarray(a)) for a in (x, w, g))
    strides, pads = [layer.stride] * 2, [layer.padding] * 2

    def backward(*wanted):
        return torch.ops.aten.convolution_backward(
            g_torch, x_torch, w_torch, None, strides, pads, [1, 1], False, [0, 0], 1, wanted
        )

    yield "forward", lambda: cpu.conv(x, w, **at), lambda: torch.conv2d(x_torch, w_torch, **window)
    yield (
        "input gradient",
        lambda: cpu.conv_input(g, w, **at),
        lambda: backward(True, False, False)[0],
    )
    yield (
        "weight gradient",
        lambda: cpu.conv_weight(x, g, **at),
        lambda: backward(False, True, False)[1],
    )


def check(name, ours, theirs):
    """Stop unless both compute the same, up to Winograd's rounding."""
    found, expected = ours(), theirs().numpy()
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    if not error < 1e-5:
        raise ArithmeticError(f"{name}: ours differs from PyTorch's by {error:.1e}")


def main(only: str = "") -> None:
    """Measure the layers whose name begins with `only`."""
    measured = []
    for layer in layers():
        if str(layer).startswith(only):
            for face, ours, theirs in faces(layer):
                check(f"{layer} {face}", ours, theirs)
                contenders = {"ours": ours, "PyTorch": theirs}
                measured.append((layer, alternate(f"{layer}, {face}", contenders, rounds=15)))
    lines = [
        f"# {__doc__.partition(chr(10))[0]}",
        "",
        f"{machine()}.",
        "Our time in milliseconds, and in brackets its ratio to PyTorch's; medians over the rounds.",
        "",
        "| layer | forward | input gradient | weight gradient |",
        "|---|--:|--:|--:|",
    ]
    for layer, group in groupby(measured, lambda pair: pair[0]):
        cells = [f"{1e3 * c.median('ours'):.1f} ({c.ratio('ours', 'PyTorch'):.2f})" for _, c in group]
        lines.append(f"| {layer} | {' | '.join(cells)} |")
    write("conv_kernels", [*lines, ""], [c for _, c in measured])


if __name__ == "__main__":
    main(*sys.argv[1:])
