"""Two devices that don't see each other's memory: what is asked for on the second one happens there."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as tm
from tests.gpu_on_cpu.running import needs
from tinygrad_med import nn, optim
from tinygrad_med.nn import functional as F

pytestmark = needs(DEVICES="2")


def weights_after_training(device: str) -> list[np.ndarray]:
    tm.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    net.to(device)
    steps = optim.Adam(net.parameters(), lr=0.01)
    x, y = tm.randn(5, 1, 6, 6).to(device), tm.tensor([0, 1, 2, 0, 1], device=device)
    for _ in range(3):
        steps.zero_grad()
        F.cross_entropy(net(x), y).backward()
        steps.step()
    assert {str(value.device) for value in net.state_dict().values()} == {device}
    return [value.detach().cpu().numpy() for value in net.state_dict().values()]


def test_a_model_learns_the_same_on_the_second_device_whichever_is_the_current_one(cupy):
    here = weights_after_training("cpu")
    for current in (0, 1):
        with cupy.cuda.Device(current):
            for a, b in zip(here, weights_after_training("cuda:1"), strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


def test_from_one_device_to_the_other():
    x = tm.tensor([1.0, 2.0], device="cuda:0", requires_grad=True)
    z = (x * 2).to("cuda:1") ** 2
    assert z.device == "cuda:1" and z.tolist() == [4, 16]
    z.sum().backward()
    assert x.grad.device == "cuda:0" and x.grad.tolist() == [8, 16]


def test_the_two_are_not_mixed():
    a, b = tm.ones(2, device="cuda:0"), tm.ones(2, device="cuda:1")
    with pytest.raises(RuntimeError, match="operands are on cuda:0 and cuda:1"):
        a + b
    with pytest.raises(RuntimeError, match="there is no cuda:2; this machine has cuda:0 … cuda:1"):
        a.to("cuda:2")
    assert tm.cuda.device_count() == 2 and "this CPU" in tm.cuda.get_device_name(1)
