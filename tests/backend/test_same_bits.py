"""A step of training has the same bits on any number of kernel threads.

BLAS is held to one thread: how it splits a product of its own among threads, and so rounds it, is not ours.
"""

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med import models, nn, optim
from tinygrad_med.backend.cpu import get_num_threads, layout, set_num_threads, threads
from tinygrad_med.nn import functional as F


@pytest.fixture
def on_threads():
    """A function that sets the number of kernel threads, while BLAS keeps one."""
    before = get_num_threads()

    def use(n):
        set_num_threads(n)
        threads._blas.set(1)

    yield use
    set_num_threads(before)


def resnet():
    return models.resnet18(num_classes=6)


def alexnet():
    return nn.Sequential(models.alexnet().features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 6))


def step(build, shape, dtype):
    """Forward, backward, and a step: every array that comes of it, by name."""
    torch.manual_seed(0)
    model = build().to(dtype=dtype)
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal(shape), dtype=dtype, requires_grad=True)
    output = model(x)
    F.cross_entropy(output, torch.tensor(rng.integers(0, 6, len(x)))).backward()
    gradients = {f"∂{name}": p.grad.numpy().copy() for name, p in model.named_parameters()}
    optim.SGD(model.parameters(), lr=0.1, momentum=0.9).step()
    return (
        {"output": output.detach().numpy(), "∂x": x.grad.numpy()}
        | gradients
        | {name: value.numpy() for name, value in model.state_dict().items()}
    )


@pytest.mark.parametrize(
    ("build", "shape", "dtype"),
    [
        (resnet, (3, 3, 96, 96), torch.float32),
        (resnet, (2, 3, 64, 64), torch.float64),  # columns in place of Winograd's tiles
        (alexnet, (3, 3, 127, 127), torch.float32),
    ],
)
def test_one_two_and_three_threads_compute_the_same_bits(on_threads, build, shape, dtype):
    on_threads(1)
    alone = step(build, shape, dtype)
    for n in (2, 3):
        on_threads(n)
        found = step(build, shape, dtype)
        assert [name for name in alone if not np.array_equal(found[name], alone[name])] == []


@pytest.mark.parametrize(
    ("images", "rows", "row_bytes"), [(1, 1, 10), (1, 7, 400_000), (16, 56, 10_000), (3, 5, 10**7)]
)
def test_chunks_cover_the_work_once_and_leave_something_for_several_threads(images, rows, row_bytes):
    covered = np.zeros((images, rows), int)
    chunks = layout.chunks(images, rows, row_bytes)
    for chunk in chunks:
        covered[chunk] += 1
    assert (covered == 1).all()
    assert len(chunks) >= min(2, images * rows)
