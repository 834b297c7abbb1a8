"""CUDA graphs: a captured step is the step, bit for bit, and what a graph would do wrong is an error that says so."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import amp, models, nn, optim
from tinygrad_med.models.linear import log_softmax
from tinygrad_med.nn import functional as F

pytestmark = pytest.mark.cuda

Step = Callable[..., Any]


def numbers(*shape: int, seed: int = 0, dtype: str = "float32") -> tm.Tensor:
    return tm.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(dtype)).cuda()


def labels(count: int, seed: int = 0) -> tm.Tensor:
    return tm.from_numpy(np.random.default_rng(seed).integers(0, 4, count)).cuda()


# The same as without --------------------------------------------------------------------------------------------------


def linear_loop() -> tuple[nn.Module, Step, Any]:
    """The tutorial's loop, whose weights step by hand."""
    net = models.LinearModel(log_softmax, 9, 4).cuda()

    def step(x: tm.Tensor, y: tm.Tensor) -> tm.Tensor:
        loss = -net(x.reshape(5, 9))[range(5), y].mean()
        loss.backward()
        with tm.no_grad():
            for p in net.parameters():
                p -= p.grad * 0.1
                p.grad.zero_()
        return loss

    return net, step, None


def learning(net: nn.Module, optimizer: Any, autocast: bool = False) -> tuple[nn.Module, Step, Any]:
    """An ordinary step; the optimizer gets another rate on the way."""

    def step(x: tm.Tensor, y: tm.Tensor) -> tm.Tensor:
        optimizer.zero_grad()
        with tm.autocast("cuda", enabled=autocast):
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss

    return net, step, optim.lr_scheduler.ExponentialLR(optimizer, 0.8)


def mlp(make: Callable[[Any], Any], **options: Any) -> tuple[nn.Module, Step, Any]:
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4)).cuda()
    return learning(net, make(net.parameters()), **options)


def cnn() -> tuple[nn.Module, Step, Any]:
    body = (nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2, 1))
    net = nn.Sequential(*body, nn.Conv2d(4, 4, 2, groups=2), nn.GELU(), nn.Flatten(), nn.Linear(4, 4)).cuda()
    return learning(net, optim.AdamW(net.parameters(), lr=0.01))


class Attention(nn.Module):
    """Products of stacks of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 4)

    def forward(self, x: tm.Tensor) -> tm.Tensor:
        return self.last(F.scaled_dot_product_attention(x, x, x).mean(2)[:, 0])


def attention() -> tuple[nn.Module, Step, Any]:
    net = Attention().cuda()
    return learning(net, optim.SGD(net.parameters(), lr=0.1))


STEPS: dict[str, Callable[[], tuple[nn.Module, Step, Any]]] = {
    "linear loop": linear_loop,
    "mlp, SGD": lambda: mlp(lambda p: optim.SGD(p, lr=0.1)),
    "mlp, momentum": lambda: mlp(lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)),
    "mlp, Adam": lambda: mlp(lambda p: optim.Adam(p, lr=0.01)),
    "mlp, amsgrad, a rate per group": lambda: mlp(
        lambda p: optim.AdamW([{"params": [q], "lr": 0.01 * (i + 1)} for i, q in enumerate(p)], amsgrad=True)
    ),
    "mlp, float16": lambda: mlp(lambda p: optim.SGD(p, lr=0.1), autocast=True),
    "cnn": cnn,
    "attention": attention,
}


@pytest.mark.parametrize("name", STEPS)
def test_a_captured_step_is_the_step(name: str) -> None:
    found = []
    for captured in (False, True):
        tm.manual_seed(0)
        net, step, schedule = STEPS[name]()
        step = tm.cuda.capture(step) if captured else step
        losses = []
        for i in range(6):
            losses.append(step(numbers(5, 1, 3, 3, seed=i), labels(5, i)).item())
            if schedule is not None:
                schedule.step()
        state = [v.detach().cpu().numpy() for v in net.state_dict().values()]
        if captured:
            assert step.graph is not None and len(set(losses)) == 6
        found.append((losses, state))
    assert found[0][0] == found[1][0]
    for here, there in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(here, there)


def test_the_products_are_cupys() -> None:
    shapes = [((3, 4), (4, 5)), ((1, 4), (4, 1)), ((1, 4), (4, 3)), ((0, 4), (4, 3)), ((2, 3, 4), (2, 4, 5))]
    shapes += [((2, 3, 4), (1, 4, 5)), ((3, 1, 2, 4), (2, 4, 1)), ((2, 3, 0), (2, 0, 4))]
    for left, right in shapes:
        for dtype in ("float32", "float64", "float16", "int64"):
            for turned in (False, True):
                x, y = numbers(*left, dtype=dtype), numbers(*right, seed=1, dtype=dtype)
                if turned:
                    x, y = (v.transpose(-1, -2).clone().transpose(-1, -2) for v in (x, y))
                z = tm.cuda.capture(lambda x, y: x @ y, warmup=0)(x, y)
                np.testing.assert_array_equal(z.cpu().numpy(), (x @ y).cpu().numpy())
                assert z.dtype == x.dtype


def test_products_in_tf32_stay_so() -> None:
    x = numbers(30, 30)
    full = x @ x
    tm.backends.cuda.matmul.allow_tf32 = True
    try:
        rounded, z = x @ x, tm.cuda.capture(lambda x: x @ x, warmup=0)(x)
    finally:
        tm.backends.cuda.matmul.allow_tf32 = False
    assert tm.equal(z, rounded) and not tm.equal(z, full)


# By hand --------------------------------------------------------------------------------------------------------------


def test_a_graph_by_hand_reads_and_writes_the_same_memory() -> None:
    x, g, h = numbers(4), tm.cuda.CUDAGraph(), tm.cuda.CUDAGraph()
    y = x * 2
    with tm.cuda.graph(g):
        assert tm.cuda.is_current_stream_capturing()
        y = x * 2
    with tm.cuda.graph(h, pool=g.pool()):
        z = y + 1
    assert not tm.cuda.is_current_stream_capturing()
    for value in (1.0, 3.0):
        x.copy_(tm.full((4,), value))
        g.replay()
        h.replay()
        assert y.tolist() == [2 * value] * 4 and z.tolist() == [2 * value + 1] * 4
    g.reset()
    with pytest.raises(RuntimeError, match="nothing is recorded yet"):
        g.replay()


def test_the_graphs_memory_is_its_own() -> None:
    x = numbers(1000)
    step = tm.cuda.capture(lambda x: ((x * 2).exp() + x.sin()).sum(), warmup=0)
    first = step(x).item()
    others = [tm.full((1000,), float(i)).cuda() for i in range(50)]
    gc.collect()
    assert step(x).item() == first
    assert [other[0].item() for other in others] == list(range(50))


def test_what_a_graph_reads_and_writes_stays() -> None:
    x, w = numbers(1000), nn.Parameter(numbers(1000, seed=1))
    expected, g = (x * 2).cpu(), tm.cuda.CUDAGraph()
    w.grad = tm.zeros(1000, device="cuda")
    with tm.cuda.graph(g):
        y = x * 2
        w.grad += 1
    w.grad = x = None
    gc.collect()
    others = [tm.full((1000,), float(i)).cuda() for i in range(20)]
    g.replay()
    assert tm.equal(y.cpu(), expected)
    assert [other.sum().item() for other in others] == [1000 * i for i in range(20)]


def test_gradients_are_there_after_a_replay() -> None:
    w = nn.Parameter(numbers(3))
    optimizer = optim.SGD([w], lr=0.1)

    def step(x: tm.Tensor) -> None:
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    step = tm.cuda.capture(step)
    for i in range(4):
        x = numbers(3, seed=i)
        step(x)
        assert tm.equal(w.grad, x)
        optimizer.zero_grad()


def test_a_wrong_label_is_found_in_a_replay_too() -> None:
    step = tm.cuda.capture(F.cross_entropy)
    for _ in range(3):
        step(numbers(2, 3), tm.tensor([0, 2]).cuda())
    tm.cuda.synchronize()
    step(numbers(2, 3), tm.tensor([0, 3]).cuda())
    with pytest.raises(IndexError, match="3"):
        tm.cuda.synchronize()


# What a graph can't hold ----------------------------------------------------------------------------------------------


def scaled(x: tm.Tensor) -> Any:
    scaler, w = amp.GradScaler("cuda"), nn.Parameter(x.detach().clone())
    scaler.scale((w * x).sum()).backward()


def captured_within(x: tm.Tensor) -> None:
    with tm.cuda.graph(tm.cuda.CUDAGraph()):
        x * 2


OFFENCES: dict[str, tuple[Callable[[tm.Tensor], Any], str]] = {
    "item": (lambda x: x.sum().item(), "a GPU's number is read .* return the tensor, and read it after a replay"),
    "if": (lambda x: x if x.sum() > 0 else -x, "a GPU's number is read"),
    "print": (str, "a GPU's number is read"),
    "cpu": (lambda x: x.cpu(), "a GPU's number is read"),
    "a mask": (lambda x: x[x > 0], "waits for the GPU, .* do it before or after a replay"),
    "synchronize": (lambda _: tm.cuda.synchronize(), "the GPU is waited for .* call synchronize"),
    "numbers of the CPU": (
        lambda x: x + tm.tensor([1.0, 2.0, 3.0], device="cuda"),
        r"x.copy_\(…\) new numbers into it",
    ),
    "labels of the CPU": (lambda x: x[tm.tensor([0, 1])], "numbers go from the CPU to the GPU"),
    "a batch of the CPU": (lambda x: x.copy_(tm.ones(3)), "numbers go from the CPU to the GPU"),
    "pinned memory": (lambda _: tm.ones(3).pin_memory().to("cuda", non_blocking=True), "from the CPU to the GPU"),
    "dropout": (lambda x: F.dropout(x, 0.5), r"random numbers .* or .eval\(\) what has dropout"),
    "random numbers": (lambda x: x + tm.randn(3, device="cuda"), "random numbers are drawn on the CPU"),
    "a choice at random": (lambda x: x if tm.rand(()) > 0.5 else -x, "random numbers are drawn on the CPU"),
    "a scaled loss": (scaled, "a loss is scaled by a number of the CPU .* without a scaler"),
    "an inverse": (lambda _: tm.linalg.inv(tm.eye(3, device="cuda")), "not among what a graph can hold"),
    "another capture": (captured_within, "captures one already"),
}


@pytest.mark.parametrize("name", OFFENCES)
def test_an_offence_is_an_error_that_says_what_to_do(name: str) -> None:
    offence, text = OFFENCES[name]
    x = numbers(3)
    step = tm.cuda.capture(lambda x: (x * 2, offence(x), x * 3))
    step(x), step(x)
    with pytest.raises(RuntimeError, match=f"(?s)^CUDA graph: .*{text}"):
        step(x)
    assert tm.equal(x * 2, x + x) and x.sum().item() == pytest.approx(float(x.cpu().numpy().sum()))  # all goes on
    assert tm.equal(tm.cuda.capture(lambda x: x * 2, warmup=0)(x), x + x)


def optimized(make: Callable[[Any], Any], dtype: str = "float32") -> tuple[Any, Step]:
    w = nn.Parameter(numbers(3, dtype=dtype))
    optimizer = make([w])

    def step() -> None:
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()

    return optimizer, step


def test_optimizers_whose_numbers_a_graph_would_keep_are_refused() -> None:
    for make in (lambda p: optim.RMSprop(p, lr=0.1), lambda p: optim.NAdam(p, lr=0.1), optim.Adagrad):
        _, step = optimized(make)
        step = tm.cuda.capture(step)
        step(), step()
        with pytest.raises(
            RuntimeError, match=r"CUDA graph: \w+ computes with numbers of the CPU.*SGD, Adam and AdamW"
        ):
            step()


def test_what_an_optimizer_remembers_begins_before() -> None:
    for make in (lambda p: optim.Adam(p, lr=0.1), lambda p: optim.SGD(p, lr=0.1, momentum=0.9)):
        optimizer, step = optimized(make)
        with pytest.raises(RuntimeError, match=r"begins its state .* run the step once before"):
            tm.cuda.capture(step, warmup=0)()
        assert not optimizer.state_dict()["state"]


def test_a_schedule_belongs_beside_the_step() -> None:
    optimizer, step = optimized(lambda p: optim.SGD(p, lr=0.1))
    for schedule, given in (
        (optim.lr_scheduler.StepLR(optimizer, 1), ()),
        (optim.lr_scheduler.ReduceLROnPlateau(optimizer), (1.0,)),
    ):
        with pytest.raises(RuntimeError, match=r"a schedule sets rates .* beside the replays"):
            tm.cuda.capture(lambda s=schedule, a=given: (step(), s.step(*a)), warmup=0)()


def test_state_that_moved_is_noticed() -> None:
    optimizer, step = optimized(lambda p: optim.Adam(p, lr=0.1))
    step = tm.cuda.capture(step)
    step(), step(), step()
    optimizer.load_state_dict(optimizer.state_dict())
    with pytest.raises(RuntimeError, match=r"Adam's state, or a parameter, is not in the memory .* capture it anew"):
        step()


def test_a_graph_has_one_shape() -> None:
    step = tm.cuda.capture(lambda x: x * 2, warmup=1)
    x = numbers(4)
    step(x), step(x)
    for other, given in (
        (numbers(3), r"float32 \(3,\)"),
        (numbers(4, dtype="float64"), r"float64 \(4,\)"),
        (2.0, "float"),
    ):
        with pytest.raises(
            ValueError, match=rf"capture: argument 0 is {given}, that of the recorded step float32 \(4,\)"
        ):
            step(other)
    with pytest.raises(TypeError, match="got 2 arguments, the recorded step has 1"):
        step(x, x)
    assert tm.equal(step(x + 1), x * 2 + 2)
    for wrong, what in ((3.0, "a float"), (tm.ones(2), "a tensor on cpu")):
        with pytest.raises(TypeError, match=f"capture: argument 1 is {what}, .* give a tensor on the GPU"):
            tm.cuda.capture(lambda x, _: x * 2, warmup=0)(x, wrong)


def test_what_is_not_supported_says_so() -> None:
    with pytest.raises(ValueError, match="leave stream out"):
        tm.cuda.graph(tm.cuda.CUDAGraph(), stream=object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give 'relaxed'"):
        tm.cuda.CUDAGraph().capture_begin(capture_error_mode="global")
    with pytest.raises(RuntimeError, match="capture_end without capture_begin"):
        tm.cuda.CUDAGraph().capture_end()
