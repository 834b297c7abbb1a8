"""Every row of the table against PyTorch in float64: values, and derivatives of order 1, 2 and sometimes 3."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tg
from tests.op_cases import ROWS, Row
from tinygrad_med.core.backward import steps
from tinygrad_med.core.primitive import Primitive, Record
from tinygrad_med.testing.strategies import Call

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
each_differentiable_row = pytest.mark.parametrize("row", [r for r in ROWS if r.order], ids=lambda row: row.name)


def floats(result: Any) -> list[Any]:
    """The float tensors of a result: the tensor, or those of a tuple."""
    results = [result] if hasattr(result, "requires_grad") else list(result)
    return [z for z in results if z.requires_grad or "float" in str(z.dtype)]


def arguments(lib: ModuleType, call: Call, device: str) -> tuple[list[Any], dict[str, Any], list[Any]]:
    """The arguments of a call as tensors of `lib`, and the operands among them."""

    def tensor(x: Any, operand: bool) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        floating = x.dtype.kind == "f"
        if lib is tg:
            return tg.Tensor(x, device=device, requires_grad=operand and floating)
        return lib.tensor(x.copy(), requires_grad=operand and floating)

    args = [tensor(x, operand=True) for x in call.args]
    kwargs = {name: tensor(x, operand=False) for name, x in call.kwargs.items()}
    return args, kwargs, [x for x in args if getattr(x, "requires_grad", False)]


def derivatives(lib: ModuleType, fn: Any, call: Call, order: int, device: str = "cpu") -> list[np.ndarray]:
    """A call's outputs and derivatives up to `order`; both libraries get the same random upstream gradients."""
    rng = np.random.default_rng(0)
    args, kwargs, inputs = arguments(lib, call, device)
    outputs = fn(*args, **kwargs)
    found = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    outputs = floats(outputs)
    for _ in range(order):
        to = {"device": device} if lib is tg else {}
        upstream = [
            lib.tensor(rng.standard_normal(tuple(z.shape)), dtype=z.dtype, requires_grad=True, **to) for z in outputs
        ]
        flowing = [(z, u) for z, u in zip(outputs, upstream, strict=True) if z.requires_grad]
        zs, us = [z for z, _ in flowing], [u for _, u in flowing]
        gradients = (
            lib.autograd.grad(zs, inputs, us, create_graph=True, allow_unused=True) if zs else [None] * len(inputs)
        )
        outputs = [lib.zeros_like(x) if g is None else g for x, g in zip(inputs, gradients, strict=True)]
        found += outputs
        inputs = [*inputs, *upstream]
    return [x.detach().cpu().numpy() if lib is tg else x.numpy(force=True) for x in found]


def assert_close(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """Hold two arrays together within `tolerance`, relative to the largest element or 1, the size of the operands."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    finite = theirs[np.isfinite(theirs)]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(finite).max(initial=1))


# Is the table complete? ---------------------------------------------------------------------------------------------


def all_primitives() -> list[Primitive]:
    """Every primitive of the package, whether a module names it or not."""
    package = Path(tg.__path__[0])
    for file in sorted(package.rglob("*.py")):
        name = ".".join(file.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        if "as_torch" not in name and not name.endswith("__main__"):  # after it, `import torch` gives this package
            importlib.import_module(name)
    found = [p for p in gc.get_objects() if issubclass(type(p), Primitive)]  # isinstance would wake lazy modules
    return [p for p in found if p.forward.__module__.startswith("tinygrad_med.")]


def without_row(primitives: list[Primitive], rows: list[Row]) -> list[str]:
    have = {id(row.primitive) for row in rows}
    return sorted({f"{p.forward.__module__}.{p.__name__}" for p in primitives if id(p) not in have})


def test_every_primitive_has_its_row():
    missing = without_row(all_primitives(), ROWS)
    assert not missing, f"enter a row in tests/op_cases.py for {', '.join(missing)}"


def test_a_missing_row_is_noticed():
    rows = [row for row in ROWS if row.name != "exp"]
    assert "tinygrad_med.ops.elementwise.exp" in without_row(all_primitives(), rows)


@pytest.mark.parametrize("row", [r for r in ROWS if r.order and r.primitive], ids=lambda row: row.name)
def test_the_row_runs_its_primitive(row: Row):
    ran = []

    @settings(max_examples=10)
    @given(row.calls)
    def run(call: Call) -> None:
        args, kwargs, _ = arguments(tg, call, "cpu")
        for z in floats(row.op(*args, **kwargs)):
            walked = steps({z.origin or z: z.array}, retain_graph=True)
            ran.extend(node.primitive for node, *_ in walked if isinstance(node, Record))

    run()
    assert row.primitive in ran


# Against PyTorch ----------------------------------------------------------------------------------------------------


@each_row
def test_against_pytorch(row: Row, device: str, torch: ModuleType) -> None:
    @settings(max_examples=30)
    @given(row.calls)
    def compare(call: Call) -> None:
        ours = derivatives(tg, row.op, call, row.order, device)
        theirs = derivatives(torch, row.reference(torch), call, row.order)
        for x, y in zip(ours, theirs, strict=True):
            assert_close(x, y, 1e-10)

    compare()


PASSED_ON = {"to_device", "gate", "pass_through", "cast"}
"""Of the engine alone: whoever calls them wants the same memory, or doesn't mind."""
COPIED = {"einsum"}
"""PyTorch's shares memory where it moves dims alone."""


def memory(lib: ModuleType, fn: Any, call: Call) -> list[tuple[bool, ...]]:
    """By result: with which operands it shares memory, and whether several of its elements are one place."""
    contiguous = [x.copy() if isinstance(x, np.ndarray) else x for x in call.args]
    args, kwargs, inputs = arguments(lib, Call(tuple(contiguous), call.kwargs), "cpu")
    operands = [x.detach().numpy() for x in inputs]
    results = [z.detach().numpy() for z in floats(fn(*args, **kwargs))]
    return [
        (
            *(bool(z.size) and np.shares_memory(z, x) for x in operands),
            bool(z.size) and any(step == 0 and n > 1 for step, n in zip(z.strides, z.shape, strict=True)),
        )
        for z in results
    ]


@pytest.mark.parametrize("row", [r for r in ROWS if r.name not in PASSED_ON | COPIED], ids=lambda row: row.name)
def test_a_result_shares_memory_where_pytorchs_does(row: Row, torch: ModuleType) -> None:
    """Else a write to one changes the other in one library alone."""

    @settings(max_examples=3)
    @given(row.calls)
    def compare(call: Call) -> None:
        assert memory(tg, row.op, call) == memory(torch, row.reference(torch), call)

    compare()


def in_float32(x: Any) -> Any:
    return x.astype("float32") if isinstance(x, np.ndarray) and x.dtype == "float64" else x


@each_differentiable_row
def test_float32_against_pytorch(row: Row, device: str, torch: ModuleType) -> None:
    @settings(max_examples=10)
    @given(row.calls)
    def compare(call: Call) -> None:
        single = Call(tuple(in_float32(x) for x in call.args), {name: in_float32(c) for name, c in call.kwargs.items()})
        ours = derivatives(tg, row.op, single, 1, device)
        theirs = derivatives(torch, row.reference(torch), single, 1)
        for x, y in zip(ours, theirs, strict=True):
            assert_close(x, y, 1e-5)

    compare()


@pytest.mark.parametrize("row", [r for r in ROWS if r.kinks], ids=lambda row: row.name)
def test_kinks_and_ties_are_pytorchs(row: Row, device: str, torch: ModuleType):
    for call, stated in row.kinks:
        for lib, fn in ((tg, row.op), (torch, row.reference(torch))):
            args, kwargs, operands = arguments(lib, call, device)
            (z, *_) = floats(fn(*args, **kwargs))
            gradients = lib.autograd.grad(z, operands, lib.ones_like(z))
            for g, expected in zip(gradients, stated, strict=True):
                np.testing.assert_allclose(g.cpu().numpy(), expected, atol=1e-15, err_msg=lib.__name__)
