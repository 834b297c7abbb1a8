"""Every operation on a strict stand-in for CuPy: no array changes its library in silence, and the numbers agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tm
from tests.op_cases import ROWS, Row
from tests.stand_in import OnGPU, cupy
from tinygrad_med import backend
from tinygrad_med.testing.strategies import Call


@pytest.fixture(autouse=True, scope="module")
def stand_in() -> Iterator[None]:
    """The stand-in takes CuPy's place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "_cupy", cupy)
        patch.setattr(backend, "cuda_in_use", True)
        patch.setattr(backend, "builtin_erf", lambda xp: None)  # CuPy has one in cupyx; the stand-in computes ours
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


@pytest.mark.parametrize("row", [row for row in ROWS if row.name != "to_device"], ids=lambda row: row.name)
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


def test_moving_a_tensor_passes_the_gradient_back_to_its_device() -> None:
    x = tm.ones(3, requires_grad=True)
    (x.cuda() * 2).sum().backward()
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert x.cuda().cpu().device == "cpu"


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
