"""Every operation on a strict stand-in for CuPy: no array changes its library in silence, and the numbers agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tm
from tests.op_cases import ROWS, Row
from tests.stand_in import OnGPU, cupy, erf
from tinygrad_med import backend
from tinygrad_med.backend import gpu
from tinygrad_med.testing.strategies import Call


@pytest.fixture(autouse=True, scope="module")
def stand_in() -> Iterator[None]:
    """The stand-in takes CuPy's place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "_cupy", cupy)
        patch.setattr(backend, "cuda_in_use", True)
        patch.setattr(backend, "builtin_erf", lambda xp: None if xp is np else erf)
        yield


def values_and_gradients(row: Row, call: Call, device: str) -> list[Any]:
    """The outputs of a call, and its first and second derivatives for random upstream gradients."""

    def place(x: Any, operand: bool) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        return tm.Tensor(x.copy(), device=device, requires_grad=operand and bool(row.order) and x.dtype.kind == "f")

    rng = np.random.default_rng(0)
    args = [place(x, operand=True) for x in call.args]
    result = row.op(*args, **{name: place(x, operand=False) for name, x in call.kwargs.items()})
    outputs = [z for z in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(z, tm.Tensor)]
    inputs = [x for x in args if isinstance(x, tm.Tensor) and x.requires_grad]
    found = list(outputs)
    for _ in range(min(row.order, 2)):
        outputs = [z for z in outputs if z.requires_grad]
        if not outputs:
            break
        upstream = [tm.Tensor(rng.standard_normal(z.shape), z.dtype, device, requires_grad=True) for z in outputs]
        gradients = tm.grad(outputs, inputs, upstream, create_graph=True, allow_unused=True)
        outputs = [g for g in gradients if g is not None]
        inputs = [*inputs, *upstream]
        found += outputs
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_operation_stays_on_its_device(row: Row) -> None:
    @settings(max_examples=8)
    @given(row.calls)
    def compare(call: Call) -> None:
        here = values_and_gradients(row, call, "cpu")
        there = values_and_gradients(row, call, "cuda")
        for x, y in zip(here, there, strict=True):
            assert y.device == "cuda:0"
            np.testing.assert_allclose(x.detach().numpy(), y.detach().cpu().numpy(), rtol=1e-10, atol=1e-12)

    compare()


def test_training_on_the_stand_in_gives_the_same_numbers() -> None:
    def losses(device: str) -> list[float]:
        x = tm.randn(8, 5, generator=tm.Generator(0), device=device)
        y = tm.tensor([0, 1, 2, 0, 1, 2, 0, 1], device=device)
        w = tm.zeros(5, 3, device=device, requires_grad=True)
        found = []
        for _ in range(5):
            loss = tm.cross_entropy(x @ w, y)
            loss.backward()
            with tm.no_grad():
                w -= w.grad * 0.5
                w.grad.zero_()
            found.append(loss.item())
        return found

    assert losses("cuda") == pytest.approx(losses("cpu"), rel=1e-6)


def test_all_gradients_of_batch_norm_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def noted(*arrays: Any) -> Any:
        calls.append(arrays)
        return backward(*arrays)

    backward = gpu.batch_norm_backward
    monkeypatch.setattr(gpu, "batch_norm_backward", noted)
    for needed in ((True, True, True), (True, False, False), (False, False, True)):
        found = []
        for device in ("cpu", "cuda"):
            x, weight, bias = (
                tm.randn(*shape, generator=tm.Generator(0), dtype=tm.float64, device=device, requires_grad=need)
                for shape, need in zip(((4, 3, 2, 2), (3,), (3,)), needed, strict=True)
            )
            z = tm.batch_norm(x, None, None, weight, bias, training=True)
            (z * z).sum().backward()
            found.append([v.grad.cpu().numpy() for v in (x, weight, bias) if v.grad is not None])
        assert len(found[0]) == len(found[1]) == sum(needed)
        for here, there in zip(*found, strict=True):
            np.testing.assert_allclose(there, here, rtol=1e-10, atol=1e-12)
    assert len(calls) == 2  # the bias alone needs nothing of it


def test_moving_a_tensor_passes_the_gradient_back_to_its_device() -> None:
    x = tm.ones(3, requires_grad=True)
    (x.cuda() * 2).sum().backward()
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert x.cuda().cpu().device == "cpu"


def test_an_index_outside_is_an_error_and_does_not_wrap_around() -> None:
    assert cupy.asarray(np.arange(3))[cupy.asarray([5])].tolist() == [2]  # as CuPy itself has it
    x = tm.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], device="cuda")
    for key in ([5], tm.tensor([5], device="cuda"), tm.tensor([-4], device="cuda"), (slice(None), [0, 2])):
        with pytest.raises(IndexError, match="out of range for dim"):
            x[key]
        with pytest.raises(IndexError, match="out of range for dim"):
            x[key] = 0
    with pytest.raises(IndexError, match="index: 2 is out of range for dim 1 of length 2"):
        x[..., None, tm.tensor([1, 2], device="cuda")]
    with pytest.raises(IndexError, match="out of range"):
        tm.ops.index_put(x, (tm.tensor([3], device="cuda"),), tm.tensor(1.0, device="cuda"))
    with pytest.raises(IndexError, match="3 is out of range for dim 1 of length 3"):
        tm.log_softmax(tm.zeros(2, 3, device="cuda"), dim=1)[range(2), [2, 3]]
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert x[[-1, 0]].tolist() == [[5.0, 6.0], [1.0, 2.0]]
    assert x[tm.tensor([[True, False], [False, False], [False, True]], device="cuda")].tolist() == [1.0, 6.0]


@pytest.mark.parametrize("target", [[3, 0], [0, -1]])
def test_a_label_outside_is_an_error(target: list[int]) -> None:
    with pytest.raises(IndexError, match=f"target: index {3 if 3 in target else -1} is out of range"):
        tm.cross_entropy(tm.zeros(2, 3, device="cuda"), tm.tensor(target, device="cuda"))


def test_floored_quotients_are_those_of_the_cpu() -> None:
    there = tm.tensor([1.0, 6.0, -1.0], dtype=tm.float64, device="cuda")
    assert np.floor_divide(there.array, 0.1).tolist() == [10.0, 60.0, -10.0]  # as CuPy itself has it
    here = there.cpu()
    for x in (here, there):
        assert (x // 0.1).tolist() == [9.0, 59.0, -10.0]
        assert (x % 0.1).tolist() == pytest.approx([0.1, 0.1, 0.0], abs=1e-15)
        assert (x % float("inf")).tolist() == [1.0, 6.0, float("inf")]
        assert (5.0 // x).tolist() == [5.0, 0.0, -5.0]
    there //= 0.1
    assert there.tolist() == [9.0, 59.0, -10.0]
    there %= 0.1
    assert there.tolist() == (tm.tensor([9.0, 59.0, -10.0], dtype=tm.float64) % 0.1).tolist()
    with pytest.raises(TypeError, match="the result of int64 .2,. and 0.5 can.t be written to a int64 tensor"):
        tm.tensor([1, 2], device="cuda").remainder_(0.5)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_error_function_keeps_a_float_dtype(device: str, dtype: str) -> None:
    x = tm.tensor([-0.5, 0.0, 1.0, 3.0], dtype=dtype, device=device, requires_grad=True)
    for operation in (tm.erf, tm.gelu):
        z = operation(x)
        z.sum().backward()
        assert z.dtype == x.grad.dtype == dtype
    np.testing.assert_allclose(
        tm.erf(x).detach().cpu().numpy().astype(float), [-0.5204998778, 0, 0.8427007929, 0.9999779095], rtol=2e-3
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_error_function_of_integers_is_in_the_default_dtype(device: str) -> None:
    z = tm.erf(tm.tensor([0, 1, 2], device=device))
    assert z.dtype == tm.float32
    assert z.tolist() == pytest.approx([0.0, 0.8427007929497149, 0.9953222650189527], abs=1e-7)


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: np.exp(there) + cupy.exp(here),
        lambda there, here: cupy.where(there > 0, there, here),
        lambda there, here: np.sum(there),
        lambda there, here: there[here.astype(int)],
    ],
)
def test_the_stand_in_is_strict(mix: Any) -> None:
    with pytest.raises(TypeError, match="GPU"):
        mix(cupy.asarray(np.ones(2)), np.ones(2))


def test_the_stand_in_has_no_scalars() -> None:
    x = cupy.asarray(np.ones(2))
    assert isinstance(x.sum(), OnGPU)
    assert isinstance(x[0], OnGPU)
    assert isinstance(cupy.sum(x), OnGPU)
