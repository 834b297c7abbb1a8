"""Every row of the table called in two more ways: on plain arrays, and in anomaly mode on NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tg
from tests.op_cases import ROWS, Row
from tinygrad_med.testing.strategies import Call

FOR_TENSORS = {
    *("adaptive_avg_pool1d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool3d"),
    *("linear", "max_pool2d with indices", "max_pool_scatter", "adaptive_avg_pool2d", "adaptive_max_pool2d"),
    *("batch_norm", "batch_norm, evaluating"),
    *("nll_loss", "cross_entropy", "cross_entropy of probabilities", "binary_cross_entropy"),
    *("batch_norm_relu", "batch_norm_plus_relu"),
    *("multi_margin_loss", "max_unpool1d", "max_unpool2d", "max_unpool3d", "function", "as_recorded"),
    *("grid_sample", "grid_sample of the nearest", "grid_sample of volumes"),
    *(f"scatter_reduce, {reduce}" for reduce in ("sum", "prod", "mean", "amax", "amin")),
}
"""The rows whose function asks its operands for what only a tensor has; all others take plain arrays too."""

NO_NAN = {"gate", "pass_through", "binary_cross_entropy", "pinv", "pinv of wide matrices", "eigh"}
NO_NAN |= {"svd of 3 by 3", "svd of 4 by 2", "svd of 2 by 4", "det", "logabsdet"}
"""The rows that make no NaN of NaN: they give the operand itself, or refuse it; of a determinant, NumPy warns first."""


def on_tensors(row: Row, call: Call, numbers: Any = lambda x: x) -> list[Any]:
    """What the row makes of a call whose operands are tensors of `numbers(x)`."""
    args = [tg.Tensor(numbers(x)) if isinstance(x, np.ndarray) else x for x in call.args]
    kwargs = {name: tg.Tensor(x) if isinstance(x, np.ndarray) else x for name, x in call.kwargs.items()}
    return several(row.op(*args, **kwargs))


def several(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


@pytest.mark.parametrize("row", [row for row in ROWS if row.name not in FOR_TENSORS], ids=lambda row: row.name)
def test_plain_arrays_are_taken_and_given(row: Row) -> None:
    @settings(max_examples=8)
    @given(row.calls)
    def compare(call: Call) -> None:
        arrays = several(row.op(*call.args, **call.kwargs))
        for array, tensor in zip(arrays, on_tensors(row, call), strict=True):
            assert isinstance(array, (np.ndarray, np.generic))
            np.testing.assert_array_equal(array, tensor.numpy())

    compare()


def to_nan(x: np.ndarray) -> np.ndarray:
    return np.full_like(x, np.nan) if x.dtype.kind == "f" else x


def makes_nan(results: list[Any]) -> bool:
    return any(z.isnan().any() for z in results if z.is_floating_point())


@pytest.mark.parametrize("row", [r for r in ROWS if r.order and r.name not in NO_NAN], ids=lambda row: row.name)
def test_anomaly_mode_sees_each_operation_also_where_no_gradient_is_recorded(row: Row) -> None:
    stopped = []

    @settings(max_examples=8)
    @given(row.calls)
    def stop(call: Call) -> None:
        if makes_nan(on_tensors(row, call, to_nan)):
            with tg.autograd.detect_anomaly(), pytest.raises(tg.autograd.AnomalyError, match="its output has .* NaN"):
                on_tensors(row, call, to_nan)
            stopped.append(call)

    stop()
    assert stopped


NO_HALF = {"pinv", "pinv of wide matrices", "inv", "solve", "det", "logabsdet", "eigh", "cholesky", "qr"}
NO_HALF |= {"qr of wide matrices", "svd of 3 by 3", "svd of 2 by 4", "svd of 4 by 2"}
"""The rows that LAPACK computes, which has no float16."""


@pytest.mark.parametrize("row", [r for r in ROWS if r.order and r.name not in NO_HALF], ids=lambda row: row.name)
def test_float16_goes_back_too(row: Row) -> None:
    """Most of it is computed in float32, between two casts that have gradients of their own."""

    @settings(max_examples=2)
    @given(row.calls)
    def walk(call: Call) -> None:
        leaves = []

        def leaf(x: Any) -> Any:
            if not (isinstance(x, np.ndarray) and x.dtype.kind == "f"):
                return tg.Tensor(x) if isinstance(x, np.ndarray) else x
            leaves.append(tg.tensor(x, dtype=tg.float16, requires_grad=True))
            return leaves[-1]

        args = [leaf(x) for x in call.args]
        results = several(row.op(*args, **{name: leaf(x) for name, x in call.kwargs.items()}))
        for z in results:
            if z.requires_grad:
                z.sum().backward(retain_graph=True)
        assert all(x.grad is None or x.grad.dtype == tg.float16 for x in leaves)

    walk()
