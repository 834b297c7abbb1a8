"""Mixed precision: a training in float16 with a scaled loss against PyTorch's on the CPU, and what surrounds it.

Which operation runs in which dtype is held in `tests/engine/test_autocast.py`.
"""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import amp, nn, optim
from tinygrad_med.autograd import by_definition
from tinygrad_med.engine.autocast import casting, threads

pytestmark = [  # the first steps overflow, on purpose
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
]

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.standard_normal((4, 8, 2, 6, 6)).astype("float32"), RNG.integers(0, 3, (4, 8))


def net(lib: Any) -> Any:
    body = (lib.nn.Conv2d(2, 4, 3), lib.nn.BatchNorm2d(4), lib.nn.ReLU(), lib.nn.Flatten())
    return lib.nn.Sequential(*body, lib.nn.Linear(64, 16), lib.nn.LayerNorm(16), lib.nn.GELU(), lib.nn.Linear(16, 3))


def trained(lib: Any, weights: dict[str, np.ndarray], device: str = "cpu", enabled: bool = True) -> list[np.ndarray]:
    """Losses, scales, clipped norms and final weights of eight steps, whose first overflow."""
    model = net(lib).to(device)
    model.load_state_dict({name: lib.tensor(value).to(device) for name, value in weights.items()})
    steps = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = lib.amp.GradScaler(device, init_scale=2.0**19, growth_interval=2, enabled=enabled)
    found = []
    for i in range(8):
        steps.zero_grad()
        with lib.autocast(device, dtype=lib.float16, enabled=enabled):
            z = model(lib.tensor(IMAGES[i % 4]).to(device))
            loss = lib.nn.functional.cross_entropy(z, lib.tensor(LABELS[i % 4]).to(device))
        assert not enabled or (z.dtype, loss.dtype) == (lib.float16, lib.float32)
        scaler.scale(loss).backward()
        assert all(p.dtype == p.grad.dtype == lib.float32 for p in model.parameters())
        scaler.unscale_(steps)
        norm = lib.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(steps)
        scaler.update()
        found.append([loss.item(), scaler.get_scale(), norm.item()])
    return [np.array(found), *(v.detach().cpu().numpy() for v in model.state_dict().values())]


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    tm.manual_seed(0)
    return {name: value.numpy() for name, value in net(tm).state_dict().items()}


def test_a_training_is_pytorchs(weights: dict[str, np.ndarray], torch: ModuleType) -> None:
    ours, theirs = trained(tm, weights), trained(torch, weights)
    scales = theirs[0][:, 1]
    assert (np.diff(scales) < 0).any() and (np.diff(scales) > 0).any()  # it left out a step, and grew
    np.testing.assert_array_equal(ours[0][:, 1], scales)
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=5e-3, atol=2e-3)


@pytest.mark.cuda
def test_a_training_on_the_gpu(weights: dict[str, np.ndarray]) -> None:
    """There more runs in float32; so float32's numbers are near, and the same steps are left out."""
    here, there = trained(tm, weights), trained(tm, weights, "cuda")
    np.testing.assert_array_equal(there[0][:, 1], here[0][:, 1])
    for x, y in zip(there, here, strict=True):
        np.testing.assert_allclose(x, y, rtol=5e-3, atol=2e-3)


def test_it_learns_what_float32_learns(weights: dict[str, np.ndarray]) -> None:
    half, single = trained(tm, weights), trained(tm, weights, enabled=False)
    assert half[0][0, 0] == pytest.approx(single[0][0, 0], rel=1e-3)
    assert half[0][-1, 0] < half[0][3, 0]
    assert not np.array_equal(half[0], single[0])


# Where it holds -------------------------------------------------------------------------------------------------------

HALF = {"device_type": "cpu", "dtype": tm.float16}


def product() -> tm.Tensor:
    return tm.ones(2, 3) @ tm.ones(3, 2)


def test_it_holds_within_the_block_and_in_its_thread() -> None:
    found = {}
    with amp.autocast(**HALF):
        assert product().dtype == tm.float16 and tm.is_autocast_enabled("cpu") and not tm.is_autocast_enabled("cuda")
        with amp.autocast(**HALF, enabled=False):
            assert product().dtype == tm.float32 and not tm.is_autocast_enabled("cpu")
        other = threading.Thread(target=lambda: found.update(dtype=product().dtype))
        other.start()
        other.join()
        assert product().dtype == tm.float16
    assert (product().dtype, found["dtype"], dict(casting.dtypes), threads) == (tm.float32, tm.float32, {}, set())
    with pytest.raises(ZeroDivisionError), amp.autocast(**HALF):
        1 / 0  # noqa: B018
    assert product().dtype == tm.float32


def test_a_function_and_a_module_are_decorated() -> None:
    class Net(nn.Module):
        @tm.autocast(**HALF)
        def forward(self, x: tm.Tensor) -> tm.Tensor:
            return x @ x

    assert Net()(tm.ones(2, 2)).dtype == amp.autocast(**HALF)(product)().dtype == tm.float16
    assert product().dtype == tm.float32


def test_float64_and_integers_stay_as_they_are() -> None:
    with amp.autocast(**HALF):
        assert tm.matmul(tm.ones(2, 2, dtype=tm.float64), tm.ones(2, 2, dtype=tm.float64)).dtype == tm.float64
        assert (tm.arange(4).reshape(2, 2) @ tm.arange(4).reshape(2, 2)).dtype == tm.int64
        assert tm.cumsum(tm.ones(3), 0, dtype=tm.float64).dtype == tm.float64


def test_the_way_back_is_the_same_inside_and_outside() -> None:
    def gradients(inside: bool, create_graph: bool) -> list[np.ndarray]:
        x = tm.tensor([[0.3, -1.2], [0.7, 0.1]], requires_grad=True)
        w = tm.tensor([[1.1, 0.4], [-0.3, 2.0]], requires_grad=True)
        with amp.autocast(**HALF):
            loss = (tm.tanh(x @ w) ** 2).mean()
            if inside:
                found = tm.grad(loss, [x, w], create_graph=create_graph)
        if not inside:
            found = tm.grad(loss, [x, w], create_graph=create_graph)
        assert all(g.dtype == tm.float32 for g in found)
        if create_graph:
            found = (*found, *tm.grad(found[0].sum() + (found[1] ** 2).sum(), [x, w]))
        return [g.detach().numpy() for g in found]

    for create_graph in (False, True):
        for inside, outside in zip(gradients(True, create_graph), gradients(False, create_graph), strict=True):
            np.testing.assert_array_equal(inside, outside)


def test_the_definition_says_the_same() -> None:
    x = tm.tensor([[0.3, -1.2], [0.7, 0.1]], requires_grad=True)
    with amp.autocast(**HALF):
        fast = nn.functional.mse_loss(x @ x, x.exp())
        with by_definition():
            slow = nn.functional.mse_loss(x @ x, x.exp())
    assert (fast.dtype, fast.item()) == (slow.dtype, slow.item())
    (a,), (b,) = tm.grad(fast, x), tm.grad(slow, x)
    np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_what_it_says_of_devices_and_dtypes_it_does_not_know() -> None:
    with pytest.warns(UserWarning, match="default on the CPU is bfloat16, which NumPy lacks; give dtype=float16"):
        block = amp.autocast("cpu")
    with block:
        assert product().dtype == tm.float32
    with pytest.warns(UserWarning, match="it supports float16, not float64; nothing is converted"):
        amp.autocast("cpu", dtype=tm.float64)
    with pytest.raises(RuntimeError, match="device_type='mps' is unknown"):
        amp.autocast("mps")
    with pytest.raises(ValueError, match="device_type is 'cuda' or 'cpu', got Device"):
        amp.autocast(tm.device("cpu"))
    assert amp.is_autocast_available("cpu") and not amp.is_autocast_available("mps")


@pytest.mark.skipif(tm.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_does_nothing_and_says_so() -> None:
    for make in (tm.cuda.amp.autocast, lambda: amp.autocast("cuda")):
        with pytest.warns(UserWarning, match="autocast: there is no CUDA here.*; nothing is converted"):
            block = make()
        with block:
            assert product().dtype == tm.float32
    for make in (tm.cuda.amp.GradScaler, amp.GradScaler):
        with pytest.warns(UserWarning, match="GradScaler: there is no CUDA here.*; nothing is scaled"):
            scaler = make()
        p = nn.Parameter(tm.ones(2))
        steps = optim.SGD([p], lr=1.0)
        scaler.scale(p.sum()).backward()
        scaler.unscale_(steps)
        scaler.step(steps)
        scaler.update()
        assert (p.tolist(), scaler.get_scale(), scaler.state_dict()) == ([0.0, 0.0], 1.0, {})


# The scaler -----------------------------------------------------------------------------------------------------------


def test_a_loss_without_dims_is_scaled_in_float32(torch: ModuleType) -> None:
    for lib in (tm, torch):
        scaler = lib.amp.GradScaler("cpu", init_scale=2.0**17)
        one = lib.ones((), dtype=lib.float16)
        scaled = scaler.scale(one)
        assert (scaled.dtype, scaled.item()) == (lib.float32, 2.0**17)
        several = scaler.scale([one, (lib.ones(1),)])
        assert type(several) is list and type(several[1]) is tuple and several[1][0].item() == 2.0**17
        with pytest.raises(ValueError, match="[tT]ensor"):
            scaler.scale(3)


def test_a_checkpoint_goes_on_in_both_directions(torch: ModuleType) -> None:
    def one_step(lib: Any, scaler: Any, gradient: float) -> None:
        p = lib.nn.Parameter(lib.ones(2))
        steps = lib.optim.SGD([p], lr=0.1)
        scaler.scale((p * gradient).sum()).backward()
        scaler.step(steps)
        scaler.update()

    for first, second in ((tm, torch), (torch, tm)):
        a = first.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        for gradient in (1.0, float("inf"), 1.0, 1.0):
            one_step(first, a, gradient)
        b = second.amp.GradScaler("cpu")
        b.load_state_dict(a.state_dict())
        assert a.state_dict() == b.state_dict()
        for lib, scaler in ((first, a), (second, b)):
            one_step(lib, scaler, 1.0)
        assert (a.get_scale(), b.get_scale()) == (8.0, 8.0)
        assert (a.get_growth_interval(), a.get_growth_factor(), a.get_backoff_factor()) == (3, 2.0, 0.5)
    with pytest.raises(RuntimeError, match="the state is empty"):
        tm.amp.GradScaler("cpu").load_state_dict({})


def test_calls_out_of_order_are_refused() -> None:
    p = nn.Parameter(tm.ones(2))
    steps = optim.SGD([p], lr=0.1)
    scaler = amp.GradScaler("cpu")
    for call in (lambda: scaler.unscale_(steps), lambda: scaler.step(steps), scaler.update):
        with pytest.raises(RuntimeError, match="no loss was scaled; call scaler.scale"):
            call()
    loss = scaler.scale(p.sum())
    with pytest.raises(RuntimeError, match="update: there was no step to learn from"):
        scaler.update()
    with pytest.raises(RuntimeError, match="no parameter of this optimizer has a gradient"):
        scaler.step(steps)
    loss.backward()
    scaler.unscale_(steps)
    assert p.grad.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="unscaled already"):
        scaler.unscale_(steps)
    with pytest.raises(RuntimeError, match="a closure is not supported"):
        scaler.step(steps, closure=lambda: 0)
    scaler.step(steps)
    with pytest.raises(RuntimeError, match="it was called already"):
        scaler.step(steps)
    with pytest.raises(RuntimeError, match="it comes before step"):
        scaler.unscale_(steps)
    scaler.update(new_scale=4.0)
    assert scaler.get_scale() == 4.0
    p.grad = tm.ones(2, dtype=tm.float16)
    with pytest.raises(ValueError, match="keep the parameters in float32"):
        scaler.unscale_(steps)
    for options in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(ValueError, match=f"GradScaler: {next(iter(options))}=1.0 must be"):
            amp.GradScaler("cpu", **options)
