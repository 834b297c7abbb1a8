"""How far from float64 is float32, with our plain kernel, with Winograd's, and in PyTorch?

ResNet-18 (in training mode) and AlexNet, the same weights and images for all; the truth is PyTorch's float64. The error
of an array is its largest deviation over its largest value; for the gradients, the median and the largest of these
over all parameters. A rounding error that takes one relu of thousands to the other side of its kink changes a gradient
by a thousandth or more, in some batches and not in others, whoever computes. That is the kink, not the kernel: so the
images are small, which leaves most batches without such an event, and the table has medians over batches.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from timing import RESULTS, machine

IMAGES, CLASSES, BATCHES = (4, 3, 64, 64), 10, 15
BARS = {"plain": 10, "Winograd": 30}  # times PyTorch's error, for the gradients
LOGITS = 1e-4


@contextmanager
def winograd(on: bool) -> Iterator[None]:
    """Let our convolutions use Winograd's algorithm, or not."""
    from tinygrad_med.backend import cpu

    before = cpu.get_winograd()
    cpu.set_winograd(on)
    try:
        yield
    finally:
        cpu.set_winograd(before)


def answers(library, net, dtype, seed):
    """The logits, and the gradient of every parameter, for the batch of that number."""
    rng = np.random.default_rng(seed)
    x = library.tensor(rng.standard_normal(IMAGES), dtype=dtype)
    y = library.tensor(rng.integers(0, CLASSES, len(x)))
    logits = net(x)
    library.nn.functional.cross_entropy(logits, y).backward()
    return logits.detach().numpy(), [p.grad.detach().numpy() for p in net.parameters()]


def errors(found, truth):
    """The error of the logits, and the median and the largest error of the gradients."""

    def error(a, b):
        return np.abs(a - b).max() / np.abs(b).max()

    logits, gradients = error(found[0], truth[0]), [error(a, b) for a, b in zip(found[1], truth[1], strict=True)]
    return logits, np.median(gradients), max(gradients)


def rows(name):
    """(network, who, error of the logits, median and largest error of the gradients), medians over the batches."""
    import torch
    import torch_networks

    import tinygrad_med
    import tinygrad_med.nn
    from tinygrad_med import models

    torch.manual_seed(0)
    if name == "ResNet-18":
        theirs, ours = torch_networks.ResNet18(CLASSES), models.resnet18(num_classes=CLASSES)
    else:
        theirs, ours = torch_networks.AlexNet(CLASSES, dropout=0), models.alexnet(num_classes=CLASSES, dropout=0)
    state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}

    def torch_answers(dtype, seed):
        net = theirs.to(dtype)
        net.zero_grad()
        net.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
        return answers(torch, net, dtype, seed)

    def our_answers(seed):
        ours.zero_grad()
        ours.load_state_dict(state)
        return answers(tinygrad_med, ours, tinygrad_med.float32, seed)

    found = {"PyTorch": [], "plain": [], "Winograd": []}
    for seed in range(BATCHES):
        truth = torch_answers(torch.float64, seed)
        found["PyTorch"].append(errors(torch_answers(torch.float32, seed), truth))
        for who, on in (("plain", False), ("Winograd", True)):
            with winograd(on):
                found[who].append(errors(our_answers(seed), truth))
    for who, of_batches in found.items():
        yield name, who, *np.median(of_batches, axis=0)


def main():
    """Write the table; 1 if a bar was missed."""
    import torch  # noqa: F401 - for the line about the machine

    from tinygrad_med._files import writing

    lines = [
        f"# {__doc__.partition(chr(10))[0]}\n",
        f"{machine()}.\n",
        "| network | kernel | logits | gradients, median | gradients, largest | ÷ PyTorch's median, largest |",
        "|---|---|--:|--:|--:|--:|",
    ]
    verdicts = []
    for name in ("ResNet-18", "AlexNet"):
        theirs = None
        for network, who, logits, median, largest in rows(name):
            theirs = theirs or (median, largest)
            ratios = median / theirs[0], largest / theirs[1]
            cells = [network, who, f"{logits:.1e}", f"{median:.1e}", f"{largest:.1e}"]
            lines.append(f"| {' | '.join(cells)} | {ratios[0]:.1f}, {ratios[1]:.1f} |")
            if who in BARS:
                kept = logits <= LOGITS and max(ratios) <= BARS[who]
                verdict = "as asked" if kept else "MISSED"
                bar = f"logits at most {LOGITS:.0e}, gradients at most {BARS[who]} times PyTorch's error"
                verdicts.append(f"- {network}, {who}: {bar}: {verdict}")
    text = "\n".join([*lines, "", *verdicts]) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    with writing(RESULTS / "float32_error.md") as path:
        path.write_text(text, "utf-8")
    return "MISSED" in text


if __name__ == "__main__":
    sys.exit(main())
