"""On a GPU: `torch.cuda`'s names, one seed for both devices, files, plots, CAM, the learner and `explain`, and faults.

The faults are those that CuPy's arrays have where NumPy's have none: each was found by running this package on the real
CuPy, and must not come back. Without a card these tests run by `python -m tests.gpu_on_cpu`.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import sys
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import cam, explain, nn, optim, series_cam
from tinygrad_med.backend.gpu import compiling
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.learner import Learner, accuracy, show_image
from tinygrad_med.nn import functional as F
from tinygrad_med.testing import check_op

pytestmark = pytest.mark.cuda

counted = pytest.mark.skipif(
    os.environ.get("GPU_ON_CPU_POOL") == "0", reason="memory is counted in CuPy's pool, which is off"
)
two_cards = pytest.mark.skipif(tm.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.fixture(autouse=True)
def first_card() -> Iterator[None]:
    yield
    if tm.cuda.current_device():
        tm.cuda.set_device(0)


def close_figures() -> None:
    import matplotlib.pyplot

    matplotlib.pyplot.close("all")


def close(there: Any, here: Any, tolerance: float = 1e-5) -> None:
    assert there.is_cuda and not here.is_cuda
    np.testing.assert_allclose(there.detach().cpu().numpy(), here.detach().numpy(), rtol=tolerance, atol=tolerance)


# The first step -------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_counts_the_kernels_that_are_compiled(monkeypatch: pytest.MonkeyPatch, cupy: ModuleType) -> None:
    """Each once: the second call of a kernel, and another kernel of the same source, compile nothing."""
    monkeypatch.setattr(compiling, "PATIENCE", 0.0)
    monkeypatch.setattr(compiling, "OVER", 60.0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    x = cupy.ones(3, "float32") + 1  # CuPy asks the compiler about itself before the first
    compiling.end()
    terminal.truncate(0)
    number = str(uuid.uuid4().int)  # so that none of these sources was compiled before
    sources = [f"z = x * x + {i}; // {number}" for i in (1, 2, 2)]
    kernels = [cupy.ElementwiseKernel("float32 x", "float32 z", source, "squared") for source in sources]
    for kernel in (*kernels, *kernels):
        kernel(x)
    compiling.end()
    told = terminal.getvalue()
    assert "compiling kernels for the GPU, once: 2 kernels" in told and "3 kernels" not in told

    monkeypatch.setattr(sys, "stderr", log := io.StringIO())  # nobody looks
    cupy.ElementwiseKernel("float32 x", "float32 z", f"z = x; // {number}", "same")(x)
    assert not log.getvalue()


# torch.cuda -----------------------------------------------------------------------------------------------------------


def test_facts_about_the_card() -> None:
    assert tm.cuda.is_available() and tm.cuda.why_not() is None and tm.cuda.device_count() >= 1
    assert tm.cuda.get_device_name() == tm.cuda.get_device_name(0) == tm.cuda.get_device_name("cuda:0") != ""
    assert tm.cuda.current_device() == 0 and tm.ones(1).cuda().get_device() == 0
    free, total = tm.cuda.mem_get_info()
    assert 0 < free <= total
    for call in (tm.cuda.get_device_name, tm.cuda.set_device, tm.cuda.mem_get_info, tm.cuda.synchronize):
        with pytest.raises(RuntimeError, match="cuda: there is no cuda:99; this machine has cuda:0"):
            call(99)


@counted
def test_memory_is_counted() -> None:
    tm.cuda.reset_peak_memory_stats()
    before = tm.cuda.memory_allocated()
    x = tm.zeros(1 << 20, device="cuda")
    assert tm.cuda.memory_allocated() - before == x.numel() * 4
    y = x + 1
    del y
    assert tm.cuda.max_memory_allocated() - before >= 2 * x.numel() * 4
    assert tm.cuda.memory_reserved() >= tm.cuda.memory_allocated()
    del x
    assert tm.cuda.memory_allocated() == before
    tm.cuda.empty_cache()
    assert tm.cuda.memory_reserved() < before + (2 << 22)
    tm.cuda.reset_peak_memory_stats()
    assert tm.cuda.max_memory_allocated() == before


def test_time_is_measured_between_events() -> None:
    start, end = tm.cuda.Event(enable_timing=True), tm.cuda.Event(enable_timing=True)
    start.record()
    x = tm.ones(64, 64, device="cuda")
    x = x @ x
    end.record()
    end.synchronize()
    tm.cuda.synchronize()
    assert end.query() and start.elapsed_time(end) >= 0


@two_cards
def test_the_second_card() -> None:
    with tm.cuda.device(1):
        assert tm.cuda.current_device() == 1 and tm.zeros(1, device="cuda").device == "cuda:1"
    tm.cuda.set_device(1)
    x = tm.randn(2, 3, 8, 8, requires_grad=True, device="cuda")
    assert x.device == "cuda:1"
    tm.cuda.set_device(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)).to("cuda:1")
    net(x).sum().backward()
    assert x.grad.device == net[0].weight.grad.device == "cuda:1"
    assert {str(v.device) for v in copy.deepcopy(net).state_dict().values()} == {"cuda:1"}
    with pytest.raises(RuntimeError, match="mul: operands are on cuda:0 and cuda:1"):
        x * tm.ones(8, device="cuda:0")
    assert pickle.loads(pickle.dumps(x)).device == "cuda:1"
    assert tm.ones(2).pin_memory().to("cuda:1", non_blocking=True).device == "cuda:1"


# One seed -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [tm.manual_seed, tm.cuda.manual_seed, tm.cuda.manual_seed_all])
def test_a_seed_gives_the_same_numbers_on_both_devices(seed: Callable[[int], Any]) -> None:
    def drawn(device: str) -> list[Any]:
        seed(3)
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4), nn.Dropout(0.5)).to(device)
        found = [*net.parameters(), net(tm.ones(2, 2, 4, 4, device=device)), F.dropout(tm.ones(50, device=device))]
        found += [tm.randn(5, device=device), tm.rand(5, device=device), tm.zeros(7, device=device).normal_()]
        found += [tm.randperm(9, device=device), tm.randint(0, 9, (5,), device=device)]
        data = tm.utils.data.TensorDataset(tm.arange(20.0))
        found += [x.to(device) for (x,) in tm.utils.data.DataLoader(data, batch_size=6, shuffle=True)]
        return found

    for here, there in zip(drawn("cpu"), drawn("cuda"), strict=True):
        close(there, here)
        if there.is_leaf:
            np.testing.assert_array_equal(there.detach().cpu().numpy(), here.detach().numpy())


# Files ----------------------------------------------------------------------------------------------------------------


def test_tensors_modules_and_checkpoints_go_through_files(tmp_path: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).cuda()
    steps = optim.Adam(net.parameters())
    net(tm.randn(5, 3, device="cuda")).sum().backward()
    steps.step()
    for name in ("a.pth", "a.safetensors", "a.npz"):
        tm.save(net.state_dict(), tmp_path / name)
        for location, device in ((None, "cpu"), ("cuda", "cuda:0"), (lambda x, _: x.cuda(), "cuda:0")):
            found = tm.load(tmp_path / name, map_location=location)
            assert {str(v.device) for v in found.values()} == {device}
            assert all(v.cpu().equal(net.state_dict()[key].cpu()) for key, v in found.items())
        net.load_state_dict(tm.load(tmp_path / name))  # from the CPU into a model on the GPU
        assert {v.device.type for v in net.state_dict().values()} == {"cuda"}
    tm.save({"model": net.state_dict(), "steps": steps.state_dict()}, tmp_path / "all.pth")
    steps.load_state_dict(tm.load(tmp_path / "all.pth")["steps"])
    assert {v.device.type for state in steps.state.values() for v in state.values() if hasattr(v, "device")} == {"cuda"}
    for x in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert {v.device.type for v in x.state_dict().values()} == {"cuda"}
        close(x[0].weight, net[0].weight.cpu())


# Pictures and explanations --------------------------------------------------------------------------------------------


def test_pictures_of_tensors_on_the_gpu() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install matplotlib")
    from tinygrad_med.vision.data import TensorImage

    pixels = tm.rand(3, 4, 4)
    ax = show_image(pixels.cuda())
    np.testing.assert_allclose(ax.images[0].get_array(), pixels.permute(1, 2, 0).numpy())
    TensorImage(pixels.cuda()).show()
    close_figures()


@pytest.fixture
def nets() -> tuple[nn.Module, nn.Module]:
    """A small network on the CPU, and the same on the GPU."""
    tm.manual_seed(0)
    body = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    here = nn.Sequential(nn.Sequential(*body[:2]), nn.Sequential(*body[2:], nn.Linear(4, 2))).eval()
    return here, copy.deepcopy(here).cuda()


@pytest.mark.parametrize("method", ["grad_cam", "cam", "score_cam", "ablation_cam", "smooth_grad"])
def test_maps_are_those_of_the_cpu(method: str, nets: tuple[nn.Module, nn.Module]) -> None:
    x = tm.rand(1, 3, 6, 6)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install matplotlib")
    found = []
    for net, image in zip(nets, (x, x.cuda()), strict=True):
        options = {"generator": tm.Generator(0)} if method == "smooth_grad" else {"block": net[0]}
        made = getattr(cam, method)(net, image, **options)
        found.append(np.asarray(made.raw))
        if made.raw.max() > 0:
            made.overlay(image[0])
    close_figures()
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_the_slices_that_decided_are_those_of_the_cpu() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install matplotlib")

    class Planes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, series: list[tm.Tensor]) -> tm.Tensor:
            return self.head(self.body(series[0]).mean((2, 3)).amax(0, keepdim=True))

    here = Planes().eval()
    series, found = [tm.randn(5, 3, 6, 6)], []
    for net, slices in ((here, series), (copy.deepcopy(here).cuda(), [x.cuda() for x in series])):
        found.append(series_cam.explain(net, slices, ["a", "b"], layers={"one": net.body}))
        found[-1].figure(slices)
    np.testing.assert_allclose(found[1].logits, found[0].logits, rtol=1e-5)
    np.testing.assert_allclose(found[1].series["one"].maps, found[0].series["one"].maps, rtol=1e-4, atol=1e-6)


def test_a_trace_is_that_of_the_cpu(nets: tuple[nn.Module, nn.Module], tmp_path: Any) -> None:
    x, y = tm.rand(2, 3, 5, 5), tm.tensor([0, 1])
    operations = []
    for net, device in zip(nets, ("cpu", "cuda"), strict=True):
        with explain.watch() as trace:
            F.cross_entropy(net(x.to(device)), y.to(device)).backward()
        trace.save(tmp_path / f"{device}.html")
        operations.append([step.name for step in trace.steps] if hasattr(trace, "steps") else len(str(trace)))
        assert explain.why_zero(net[0][0].weight, trace).text
    assert operations[0] == operations[1]


class Points:
    """(x, y): 4 numbers around −1 or around 1."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(n)
        self.y = np.arange(n) % 2
        self.x = (rng.normal(size=(n, 4)) + 2 * self.y[:, None] - 1).astype("float32")

    def __len__(self) -> int:
        return len(self.y)

    def item(self, i: int, rng: Any) -> tuple[Any, Any]:
        return self.x[i], self.y[i]


def test_the_learner_learns_the_same() -> None:
    def learned(device: str) -> tuple[list[Any], Learner]:
        tm.manual_seed(0)
        dls = SimpleNamespace(
            train=DataLoader(Points(24), 8, shuffle=True), valid=DataLoader(Points(10), 8), vocab=["low", "high"]
        )
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2)).to(device)
        learn = Learner(dls, net, metrics=accuracy, progress=False)
        learn.fit_one_cycle(2, 1e-2)
        probabilities, labels = learn.get_preds()[:2]
        return [*learn.validate(), *np.asarray(probabilities.cpu().numpy()).ravel(), *labels.cpu().numpy()], learn

    (here, _), (there, learn) = learned("cpu"), learned("cuda")
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
    assert {p.device.type for p in learn.model.parameters()} == {"cuda"}
    learn.lr_find(num_it=10, show_plot=False)


# Faults that CuPy's arrays had ----------------------------------------------------------------------------------------


def test_the_next_batch_is_made_while_the_gpu_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    read = tm.Tensor.item

    def item(x: tm.Tensor) -> Any:
        events.append("read")
        return read(x)

    class Batches:
        def __init__(self, count: int, fails: int = -1) -> None:
            self.count, self.fails = count, fails

        def __len__(self) -> int:
            return self.count

        def __iter__(self) -> Iterator[Any]:
            for i in range(self.count):
                events.append(f"made {i}")
                if i == self.fails:
                    raise OSError("no such file")
                yield np.full((2, 3), i, "float32"), np.array([0, 1])

    monkeypatch.setattr(tm.Tensor, "item", item)
    sent = []
    bring = tm.backend.transfer.to_gpu
    monkeypatch.setattr(tm.backend.transfer, "to_gpu", lambda *given: sent.append(given[0].shape) or bring(*given))
    in_turn = ["made 0", "read", "made 1", "read", "made 2", "read"]
    for device, order in (("cpu", in_turn), ("cuda", ["made 0", "made 1", "read", "made 2", "read", "read"])):
        events.clear()
        learn = Learner(SimpleNamespace(train=Batches(3)), nn.Linear(3, 2).to(device), progress=False)
        learn.fit(1)
        assert events == order
    assert sent == [(2, 3), (2,)] * 3

    learn = Learner(SimpleNamespace(train=Batches(3, fails=1)), nn.Linear(3, 2).cuda(), progress=False)
    with pytest.raises(OSError, match="no such file"):
        learn.fit(1)
    assert len(learn.recorder.losses) == 1  # the step before it is over


def test_an_index_outside_is_an_error() -> None:
    x = tm.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], device="cuda")
    for key in ([5], tm.tensor([5], device="cuda"), tm.tensor([-4], device="cuda")):
        with pytest.raises(IndexError, match="out of range"):
            x[key].tolist()  # the card looks at its own keys; what it finds is raised when numbers come back
        with pytest.raises(IndexError, match="out of range"):
            x[key] = 0
    with pytest.raises(IndexError, match="3 is out of range for dim 1 of length 3"):
        tm.log_softmax(tm.zeros(2, 3, device="cuda"), dim=1)[range(2), [2, 3]].tolist()
    for target in ([3, 0], [0, -1]):
        with pytest.raises(IndexError, match="target: index -?[13] is out of range"):
            F.cross_entropy(tm.zeros(2, 3, device="cuda"), tm.tensor(target, device="cuda")).item()
    with pytest.raises(IndexError, match="embedding"):
        F.embedding(tm.tensor([4], device="cuda"), x).tolist()
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def test_quotients_are_floored_exactly() -> None:
    here = tm.tensor([1.0, 6.0, -1.0, 0.3], dtype=tm.float64)
    for there in (here.cuda(), here.float().cuda()):
        assert (there // 0.1).tolist() == (there.cpu() // 0.1).tolist()
        assert (there // 0.1).tolist()[:3] == [9.0, 59.0, -10.0]
        assert (there % float("inf")).tolist() == [1.0, 6.0, float("inf"), there[3].item()]
        np.testing.assert_allclose((there % 0.1).cpu().numpy(), there.cpu().numpy() % there.dtype.type(0.1), rtol=0)
    assert (5.0 // here.cuda()).tolist() == (5.0 // here).tolist()


def test_erf_and_gelu_keep_their_dtype() -> None:
    for dtype in (tm.float16, tm.float32, tm.float64):
        x = tm.tensor([-1.0, 0.0, 0.5], dtype=dtype, device="cuda", requires_grad=True)
        z = F.gelu(x) + tm.erf(x)
        z.sum().backward()
        assert z.dtype == x.grad.dtype == dtype
        close(z, F.gelu(x.detach().cpu()) + tm.erf(x.detach().cpu()), 2e-3)
    assert tm.erf(tm.tensor([0, 1, 2], device="cuda")).tolist() == pytest.approx([0.0, 0.8427008, 0.9953223])


def test_negative_powers_of_integers_are_refused() -> None:
    for device in ("cpu", "cuda"):
        x = tm.tensor([2, 3], device=device)
        for power in (lambda x: x**-1, lambda x: x ** (x - 3), lambda x: 2 ** (x - 3), lambda x: tm.pow(x, -2)):
            with pytest.raises(ValueError, match="negative integer powers"):
                power(x)
        assert (x**2).tolist() == [4, 9] and (x**-1.0).tolist() == pytest.approx([0.5, 1 / 3])
        assert (x.float() ** -1).tolist() == pytest.approx([0.5, 1 / 3])


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: F.cross_entropy(x, tm.tensor([0, 1])),
        lambda x: F.cross_entropy(x, tm.tensor([0, 1], device="cuda"), weight=tm.ones(3)),
        lambda x: x.masked_fill(tm.ones(2, 3) > 0, 0.0),
        lambda x: tm.where(tm.ones(2, 3) > 0, x, x),
        nn.BatchNorm1d(3).eval(),
        nn.Linear(3, 2),
        lambda x: tm.equal(x, tm.ones(2, 3)),
        lambda x: tm.allclose(x, tm.ones(2, 3)),
        lambda x: x.mul_(tm.ones(2, 3)),
        lambda x: tm.cat([x, tm.ones(2, 3)]),
    ],
)
def test_both_devices_are_named(mix: Callable[[tm.Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match=r"operands are on cpu and cuda:0; move them to one device with \.to"):
        mix(tm.ones(2, 3, device="cuda"))


def test_an_operation_with_a_module_inside_can_be_checked() -> None:
    layer = nn.Linear(3, 2)
    check_op(lambda x: tm.tanh(x @ layer.weight.detach().t().to(x.dtype)), tm.randn(2, 3, dtype=tm.float64))
    x = tm.randn(3, dtype=tm.float64, device="cuda", requires_grad=True)
    check_op(lambda x: tm.sin(x) * x, x.detach().cpu())


def test_a_gradient_goes_back_to_where_its_leaf_is() -> None:
    x = tm.ones(3, requires_grad=True)
    (x.cuda() * 2).sum().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [2.0, 2.0, 2.0]
    model = nn.Linear(2, 1)
    steps = optim.Adam(model.parameters())
    model(tm.ones(1, 2)).sum().backward()
    steps.step()
    model.cuda()
    steps.zero_grad()
    model(tm.ones(1, 2, device="cuda")).sum().backward()
    with pytest.raises(RuntimeError, match="Adam: operands are on cpu and cuda:0"):
        steps.step()


# A GPU that is full ---------------------------------------------------------------------------------------------------


@pytest.fixture
def little_memory(cupy: ModuleType) -> Iterator[None]:
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.get_limit()
    pool.set_limit(size=pool.used_bytes() + (1 << 20))
    yield
    pool.set_limit(size=before)


FILLING = {
    "zeros": lambda: tm.zeros(1 << 19, device="cuda"),
    "ones": lambda: tm.ones(1 << 19, device="cuda"),
    "full": lambda: tm.full((1 << 19,), 2.0, device="cuda"),
    "empty": lambda: tm.empty(1 << 19, device="cuda"),
    "arange": lambda: tm.arange(1 << 19, device="cuda"),
    "linspace": lambda: tm.linspace(0, 1, 1 << 19, device="cuda"),
    "eye": lambda: tm.eye(1 << 10, device="cuda"),
    "zeros_like": lambda: tm.zeros_like(tm.ones(1 << 19), device="cuda"),
    "new_zeros": lambda: tm.ones(1, device="cuda").new_zeros(1 << 19),
    "to cuda:0": lambda: tm.ones(1 << 19).cuda(),
    "randn": lambda: tm.randn(1 << 19, device="cuda"),
    "add": lambda: tm.ones(1 << 10, 1, device="cuda") + tm.ones(1, 1 << 10, device="cuda"),
    "matmul": lambda: tm.ones(1 << 10, 1, device="cuda") @ tm.ones(1, 1 << 10, device="cuda"),
}


@counted
@pytest.mark.parametrize("name", FILLING)
def test_a_full_gpu_says_what_to_do(name: str, little_memory: None) -> None:
    with pytest.raises(tm.cuda.OutOfMemoryError, match="the GPU's memory is full.*take a smaller batch") as found:
        FILLING[name]()
    assert isinstance(found.value, RuntimeError)  # as PyTorch's, which programs catch
    assert tm.ones(10, device="cuda").sum().item() == 10  # and afterwards it works


@counted
def test_a_gpu_that_gets_full_on_the_way_back_says_so(little_memory: None) -> None:
    x = tm.ones(3 << 15, device="cuda", requires_grad=True)  # 384 KiB of the 1,024
    with pytest.raises(tm.cuda.OutOfMemoryError, match="the GPU's memory is full"):
        (tm.tanh(x) * 3).sum().backward()
    del x
    p = nn.Parameter(tm.ones(3 << 15, device="cuda"))
    p.grad = p.detach()
    with pytest.raises(tm.cuda.OutOfMemoryError, match="Adam: the GPU's memory is full"):
        optim.Adam([p]).step()
