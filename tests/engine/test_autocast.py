"""`autocast`: every operation runs in the dtype in which PyTorch's runs it, on the CPU and on CUDA.

On the CPU both run in float16. For CUDA PyTorch's dispatcher is asked with tensors that have no numbers
(`FakeTensorMode`, no card is needed), and ours runs on the stand-in for CuPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tm
from tests.op_cases import ROWS, Row
from tests.stand_in import cupy, erf
from tinygrad_med import backend
from tinygrad_med.engine import autocast as autocast_tables
from tinygrad_med.engine.autocast import autocast
from tinygrad_med.testing.strategies import Call

PUBLIC = [row for row in ROWS if row.name in vars(tm.ops) or row.name in vars(tm.linalg)]


def narrow(x: Any, dtype: str) -> Any:
    return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def dtypes(result: Any) -> list[str]:
    """The dtypes of the float tensors of a result."""
    results = result if isinstance(result, (tuple, list)) else [result]
    names = [str(z.dtype).removeprefix("torch.") for z in results if hasattr(z, "dtype")]
    return [name for name in names if name.startswith("float")]


def ours(row: Row, call: Call, dtype: str, device: str) -> list[str]:
    def place(x: Any) -> Any:
        return tm.tensor(narrow(x, dtype), device=device) if isinstance(x, np.ndarray) else x

    with autocast(device, dtype=tm.float16):
        return dtypes(row.op(*map(place, call.args), **{name: place(x) for name, x in call.kwargs.items()}))


def theirs(torch: ModuleType, row: Row, call: Call, dtype: str, device: str) -> list[str]:
    def place(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        x = torch.tensor(narrow(x, dtype).copy())
        return x if device == "cpu" else torch.empty(x.shape, dtype=x.dtype, device="cuda")

    args, kwargs = [place(x) for x in call.args], {name: place(x) for name, x in call.kwargs.items()}
    torch.set_autocast_dtype(device, torch.float16)
    torch.set_autocast_enabled(device, True)  # by `torch.autocast("cuda")` only where there is a card
    try:
        return dtypes(row.reference(torch)(*args, **kwargs))
    finally:
        torch.set_autocast_enabled(device, False)


# What can't be compared, and why.
LINALG = ("inv", "solve", "pinv", "det", "cholesky", "eigh", "qr")
ON_THE_CPU = {
    **dict.fromkeys(LINALG, "the rows call them from within; see below"),
    "multi_margin_loss": "the row calls PyTorch's operations, for PyTorch's function has no second derivative",
    "einsum": "PyTorch's has the dtype of the products that it is made of, ours is a product",
}
ON_CUDA = {
    **dict.fromkeys(LINALG, "there is none in float16"),
    **dict.fromkeys(("index", "getitem", "index_add", "unfold", "grid_sample"), "PyTorch has no shapes without a card"),
    "multi_margin_loss": "likewise as on the CPU",
    "gaussian_nll_loss": "PyTorch looks at a number, and there is none",
    "binary_cross_entropy": "both refuse it, see below",
}


HINT = "enter the operation in the tables of engine/autocast.py, for this device"


def rows(excluded: dict[str, str]) -> pytest.MarkDecorator:
    found = [row for row in PUBLIC if row.name not in excluded]
    return pytest.mark.parametrize("row", found, ids=lambda row: row.name)


@rows(ON_THE_CPU)
def test_the_dtypes_are_pytorchs_on_the_cpu(row: Row, torch: ModuleType) -> None:
    @settings(max_examples=2)
    @given(row.calls)
    def compare(call: Call) -> None:
        for dtype in ("float32", "float16"):
            try:
                expected = theirs(torch, row, call, dtype, "cpu")
            except RuntimeError as error:
                assert "Half" in str(error), error  # noqa: PT017 - of what else went wrong we want to know
                continue
            assert ours(row, call, dtype, "cpu") == expected, HINT

    compare()


@pytest.fixture
def stand_in() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "_cupy", cupy)
        patch.setattr(backend, "cuda_in_use", True)
        patch.setattr(backend, "cuda_problem", lambda: None)
        patch.setattr(backend, "builtin_erf", lambda xp: None if xp is np else erf)
        yield


@rows(ON_CUDA)
def test_the_dtypes_are_pytorchs_on_cuda(row: Row, torch: ModuleType, stand_in: None) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    @settings(max_examples=2)
    @given(row.calls)
    def compare(call: Call) -> None:
        for dtype in ("float32", "float16"):
            with FakeTensorMode():
                expected = theirs(torch, row, call, dtype, "cuda")
            assert ours(row, call, dtype, "cuda") == expected, HINT

    compare()


@pytest.mark.parametrize(
    "name", ["inv", "solve", "cholesky", "eigh", "eigvalsh", "svdvals", "qr", "cond", "matrix_rank", "tensorinv"]
)
def test_linear_algebra_runs_in_float32_on_the_cpu(name: str, torch: ModuleType) -> None:
    matrix = [[4.0, 1.0], [1.0, 3.0]]
    for lib in (tm, torch):
        A = lib.tensor(matrix, dtype=lib.float16)
        if name == "tensorinv":
            A = A.reshape(2, 1, 2)
        with lib.autocast("cpu", dtype=lib.float16):
            found = getattr(lib.linalg, name)(
                *[A] * (2 if name == "solve" else 1), **({"ind": 1} if A.ndim == 3 else {})
            )
        assert set(dtypes(found)) <= {"float32"} and (dtypes(found) or name == "matrix_rank"), lib


def test_what_pytorch_refuses_on_cuda(torch: ModuleType, stand_in: None) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    (row,) = (row for row in PUBLIC if row.name == "binary_cross_entropy")
    call = Call((np.full(3, 0.5), np.ones(3)), {})
    with FakeTensorMode(), pytest.raises(RuntimeError, match="unsafe to autocast"):
        theirs(torch, row, call, "float32", "cuda")
    with pytest.raises(RuntimeError, match="binary_cross_entropy: unsafe under autocast.*BCEWithLogitsLoss"):
        ours(row, call, "float32", "cuda")


def test_a_wrong_entry_in_the_table_is_noticed(torch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = (row for row in PUBLIC if row.name == "matmul")
    call = Call((np.ones((2, 3)), np.ones((3, 2))), {})
    assert ours(row, call, "float32", "cpu") == theirs(torch, row, call, "float32", "cpu")
    monkeypatch.setitem(autocast_tables.IN_HALF, "cpu", autocast_tables.IN_HALF["cpu"] - {"matmul"})
    assert ours(row, call, "float32", "cpu") != theirs(torch, row, call, "float32", "cpu")


def test_every_name_in_the_tables_is_an_operation() -> None:
    known = {getattr(f, "__name__", name) for lib in (tm.ops, tm.linalg) for name, f in vars(lib).items()}
    assert sorted(autocast_tables.LISTED - known) == []
