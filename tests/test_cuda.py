"""`torch.cuda`'s names, several devices, and what is said of arrays on the wrong one, on the stand-in for CuPy."""

from __future__ import annotations

import importlib
import pickle
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from tests.stand_in import Device, MemoryHook, OutOfMemoryError, Pool, cupy
from tinygrad_med import backend, nn, optim
from tinygrad_med.nn import functional as F


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in takes CuPy's place, with two devices of which the first is the current one."""
    monkeypatch.setattr(backend, "_cupy", cupy)
    monkeypatch.setattr(backend, "cuda_in_use", True)
    monkeypatch.setattr(backend, "cuda_problem", lambda: None)
    monkeypatch.setattr(backend, "current_gpu", 0)
    monkeypatch.setattr(Device, "current", 0)


# Which device ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda device: tm.zeros(2, device=device),
        lambda device: tm.tensor([1.0, 2.0], device=device),
        lambda device: tm.arange(2, device=device),
        lambda device: tm.randn(2, device=device),
        lambda device: tm.ones(2).to(device),
        lambda device: tm.ones(2, device="cuda:0").to(device),
    ],
)
def test_a_tensor_is_made_on_the_device_that_was_named(make: Callable[[str], tm.Tensor]) -> None:
    for device in ("cuda:1", "cuda:0", "cpu"):
        assert make(device).device == device
    with pytest.raises(RuntimeError, match="cuda: there is no cuda:2; this machine has cuda:0 … cuda:1"):
        make("cuda:2")


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "count", 1)
    for move in (lambda: tm.ones(2).cuda(1), lambda: tm.ones(2).to(1), lambda: nn.Linear(2, 2).cuda(1)):
        with pytest.raises(RuntimeError, match="cuda: there is no cuda:1; this machine has cuda:0 alone"):
            move()


def test_results_lie_beside_their_operands_whichever_device_is_the_current_one() -> None:
    x = tm.ones(2, 3, device="cuda:1", requires_grad=True)
    Device(0).use()
    assert (x + 1).device == "cuda:1"
    Device(0).use()
    (x * x).sum().backward()
    assert x.grad.device == "cuda:1"
    y = tm.ones(2, 3, device="cuda:0")
    with pytest.raises(RuntimeError, match="mul: operands are on cuda:0 and cuda:1"):
        x * y


def test_a_model_learns_on_the_second_gpu_what_it_learns_on_the_cpu() -> None:
    def weights(device: str) -> list[np.ndarray]:
        tm.manual_seed(0)
        body = (nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        net = nn.Sequential(*body, nn.Linear(16, 3))
        net.to(device)
        steps = optim.Adam(net.parameters(), lr=0.01)
        x, y = tm.randn(5, 1, 4, 4, device=device), tm.tensor([0, 1, 2, 0, 1], device=device)
        for _ in range(3):
            Device(0).use()
            steps.zero_grad()
            F.cross_entropy(net(x), y).backward()
            Device(0).use()
            steps.step()
        assert {str(v.device) for v in net.state_dict().values()} == {device}
        return [v.detach().cpu().numpy() for v in net.state_dict().values()]

    for here, there in zip(weights("cpu"), weights("cuda:1"), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


def test_a_graph_across_two_gpus() -> None:
    x = tm.tensor([1.0, 2.0], device="cuda:0", requires_grad=True)
    z = (x * 2).to("cuda:1") ** 2 + (x * 3).to("cuda:1")
    (z.to("cuda:0") * x).sum().backward()
    assert x.grad.device == "cuda:0"
    assert x.grad.tolist() == [12 + 6, 48 + 12]  # of 4x³ + 3x²


def test_the_current_device() -> None:
    assert (tm.cuda.current_device(), tm.ones(1).cuda().get_device(), tm.ones(1).get_device()) == (0, 0, -1)
    with tm.cuda.device(1):
        assert tm.ones(1).cuda().device == tm.zeros(1, device="cuda").device == "cuda:1"
    assert tm.ones(1, device="cuda").device == "cuda:0"
    tm.cuda.set_device("cuda:1")
    assert tm.cuda.current_device() == 1 and tm.ones(1).cuda().device == "cuda:1"
    assert tm.device("cuda", 0) == "cuda:0"
    with pytest.raises(RuntimeError, match="there is no cuda:2"):
        tm.cuda.set_device(2)
    with pytest.raises(ValueError, match="cuda: cpu is no GPU"):
        tm.cuda.set_device("cpu")
    assert tm.cuda.current_device() == 1


# The wrong device -----------------------------------------------------------------------------------------------------

HERE, THERE = "cpu", "cuda:0"


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: F.cross_entropy(x, tm.tensor([0, 1])),
        lambda x: F.cross_entropy(x, tm.tensor([0, 1], device=THERE), weight=tm.ones(3)),
        lambda x: x.masked_fill(tm.ones(2, 3) > 0, 0.0),
        lambda x: tm.where(tm.ones(2, 3) > 0, x, x),
        lambda x: F.batch_norm(x, tm.zeros(3), tm.ones(3), training=True),
        nn.BatchNorm1d(3).eval(),
        lambda x: tm.equal(x, tm.ones(2, 3)),
        lambda x: tm.allclose(x, tm.ones(2, 3)),
        lambda x: x.mul_(tm.ones(2, 3)),
        lambda x: F.mse_loss(x, tm.ones(2, 3)),
    ],
)
def test_both_devices_are_named(mix: Callable[[tm.Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match=r"operands are on cpu and cuda:0; move them to one device with \.to"):
        mix(tm.ones(2, 3, device=THERE))


def test_the_gradient_and_the_state_of_an_optimizer_are_where_the_parameter_is() -> None:
    p = nn.Parameter(tm.ones(2))
    steps = optim.Adam([p])
    p.grad = tm.ones(2)
    steps.step()
    p.array = p.cuda().array
    p.grad = tm.ones(2, device=THERE)
    with pytest.raises(RuntimeError, match="Adam: operands are on cpu and cuda:0"):
        steps.step()


def test_indices_and_values_may_come_from_the_cpu_but_not_go_there() -> None:
    x = tm.tensor([[1.0, 2.0], [3.0, 4.0]], device=THERE)
    assert x[tm.tensor([1])].tolist() == [[3.0, 4.0]]
    x[0] = tm.tensor([5.0, 6.0])
    assert x.tolist() == [[5.0, 6.0], [3.0, 4.0]]
    with pytest.raises(RuntimeError, match="index: the tensor is on cpu, its indices on cuda:0"):
        tm.ones(2)[tm.tensor([1], device=THERE)]


# Memory and what is missing -------------------------------------------------------------------------------------------


def test_a_full_gpu_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OutOfMemoryError("Out of memory allocating 8 bytes")

    x = tm.ones(2, device=THERE)
    monkeypatch.setattr(cupy, "exp", full, raising=False)
    monkeypatch.setattr(cupy, "asarray", full)
    for operation, work in (("exp", lambda: tm.exp(x)), ("to cuda:0", lambda: tm.ones(2).cuda())):
        with pytest.raises(tm.cuda.OutOfMemoryError, match=f"{operation}: the GPU's memory is full.*smaller batch"):
            work()
    assert issubclass(tm.cuda.OutOfMemoryError, RuntimeError)  # as PyTorch's


@pytest.mark.parametrize("absent", [None, "nvrtc", "cublas"])
def test_a_library_that_cupy_will_want_is_missed_at_once(absent: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    class DynamicLibNotFoundError(RuntimeError):
        pass

    def load(name: str) -> None:
        if name == absent:
            raise DynamicLibNotFoundError(name)

    finder = types.SimpleNamespace(DynamicLibNotFoundError=DynamicLibNotFoundError, load_nvidia_dynamic_lib=load)
    monkeypatch.undo()
    found = {"cupy": cupy, "cuda.pathfinder": finder}
    real = importlib.import_module
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(backend.importlib, "import_module", lambda name: found.get(name) or real(name))
    problem = tm.cuda.why_not()
    assert tm.cuda.is_available() == (absent is None)
    if absent:
        assert problem is not None and f"not NVIDIA's library {absent}" in problem and "tinygrad_med[cuda13]" in problem


def test_facts_about_the_device() -> None:
    assert tm.cuda.device_count() == 2
    assert [tm.cuda.get_device_name(1), tm.cuda.get_device_name()] == ["stand-in 1", "stand-in 0"]
    assert tm.cuda.mem_get_info() == (60, 100)
    tm.cuda.synchronize()


def test_the_most_memory_that_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tm.cuda, "_peaks", {})
    monkeypatch.setattr(MemoryHook, "entered", [])
    monkeypatch.setattr(Pool, "used", 100)
    with pytest.raises(RuntimeError, match="nothing is counted yet; call reset_peak_memory_stats"):
        tm.cuda.max_memory_allocated()
    tm.cuda.reset_peak_memory_stats()
    assert (tm.cuda.memory_allocated(), tm.cuda.max_memory_allocated()) == (100, 100)
    for size in (512, -512, 256):
        Pool.take(size)
    Pool.take(9000, device=1)
    assert (tm.cuda.memory_allocated(), tm.cuda.max_memory_allocated()) == (9356, 612)
    tm.cuda.reset_peak_memory_stats()
    assert tm.cuda.max_memory_allocated() == 9356 and len(MemoryHook.entered) == 1
    assert tm.cuda.memory_reserved() == 1024
    tm.cuda.empty_cache()


# The same as on the CPU -----------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_weights_masks_and_numbers_on_both_devices() -> None:
    def drawn(device: str, seed: Callable[[int], Any]) -> list[np.ndarray]:
        seed(3)
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4)).to(device)
        numbers = [tm.randn(5, device=device), tm.rand(5, device=device), tm.randperm(9, device=device)]
        numbers += [F.dropout(tm.ones(50, device=device)), tm.randint(0, 9, (5,), device=device)]
        numbers += [tm.zeros(7, device=device).normal_(), tm.zeros(7, device=device).uniform_()]
        assert all(x.device.type == device for x in numbers)
        return [x.detach().cpu().numpy() for x in (*net.parameters(), *numbers)]

    expected = drawn("cpu", tm.manual_seed)
    for seed in (tm.manual_seed, tm.cuda.manual_seed, tm.cuda.manual_seed_all):
        for here, there in zip(expected, drawn("cuda", seed), strict=True):
            np.testing.assert_array_equal(here, there)


def test_pickled_tensors_and_modules_come_back_to_their_device() -> None:
    x = tm.tensor([1.0, 2.0], device="cuda:1", requires_grad=True)
    y = pickle.loads(pickle.dumps(x))
    assert (y.device, y.requires_grad, y.tolist()) == ("cuda:1", True, [1.0, 2.0])
    net = pickle.loads(pickle.dumps(nn.BatchNorm1d(2).to("cuda:1")))
    assert {str(v.device) for v in net.state_dict().values()} == {"cuda:1"}
    assert pickle.loads(pickle.dumps(tm.ones(1))).device == "cpu"


def test_files_are_read_to_the_device_that_map_location_names(tmp_path: Any) -> None:
    tm.save({"w": tm.tensor([1.0, 2.0], device="cuda:1")}, tmp_path / "w.pth")
    for location, device in ((None, "cpu"), ("cuda:1", "cuda:1"), (tm.device("cuda"), "cuda:0")):
        found = tm.load(tmp_path / "w.pth", map_location=location)["w"]
        assert (found.device, found.tolist()) == (device, [1.0, 2.0])
