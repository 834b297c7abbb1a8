"""The generated calls and ways back are what the definition says: every row of the table, bit for bit, to order two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tg
from tests.op_cases import ROWS, Row
from tinygrad_med.autograd import by_definition, detect_anomaly, steps
from tinygrad_med.core.primitive import Primitive, Record
from tinygrad_med.engine import compiled
from tinygrad_med.engine.compiled import TOGETHER, QuickRecord
from tinygrad_med.testing.strategies import Call


def leaves(call: Call, dtype: str) -> tuple[list[Any], dict[str, Any]]:
    def leaf(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        return tg.tensor(x.astype(dtype), requires_grad=True) if x.dtype.kind == "f" else tg.tensor(x)

    return [leaf(x) for x in call.args], {name: leaf(x) for name, x in call.kwargs.items()}


def results(row: Row, call: Call, dtype: str) -> list[Any]:
    """Outputs, gradients by `backward()` and by `grad()`, and the gradients of these."""
    args, kwargs = leaves(call, dtype)
    z = row.op(*args, **kwargs)
    outputs = [y for y in (z if isinstance(z, (tuple, list)) else [z]) if isinstance(y, tg.Tensor)]
    found: list[Any] = [y.detach().numpy() for y in outputs]
    operands = [x for x in (*args, *kwargs.values()) if isinstance(x, tg.Tensor) and x.requires_grad]
    flowing = [y for y in outputs if y.requires_grad]
    if not flowing or not operands or not row.order:
        return found
    seeds = [tg.tensor(np.cos(np.arange(y.numel())).reshape(y.shape).astype(y.dtype)) for y in flowing]
    for order in (1, 2)[: row.order]:
        gradients = tg.autograd.grad(
            flowing, operands, seeds, retain_graph=True, create_graph=order < row.order, allow_unused=True
        )
        found += [None if g is None else g.detach().numpy() for g in gradients]
        flowing = [g for g in gradients if g is not None and g.requires_grad]
        seeds = [tg.ones_like(g) for g in flowing]
        if not flowing:
            break
    if dtype == "float64":
        z = row.op(*args, **kwargs)
        first = next(y for y in (z if isinstance(z, (tuple, list)) else [z]) if y.requires_grad)
        first.backward(tg.ones_like(first))
        found += [None if x.grad is None else x.grad.numpy() for x in operands]
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_gives_the_same_bits_both_ways(row: Row) -> None:
    fused = row.primitive in TOGETHER or "batch_norm" in row.name

    @settings(max_examples=6)
    @given(row.calls)
    def compare(call: Call) -> None:
        for dtype in ("float64", "float32"):
            quick = results(row, call, dtype)
            with by_definition():
                plain = results(row, call, dtype)
            assert len(quick) == len(plain)
            for a, b in zip(quick, plain, strict=True):
                assert (a is None) == (b is None)
                if a is None:
                    continue
                assert (a.dtype, a.shape) == (b.dtype, b.shape)
                if fused:  # its kernel adds up in another order
                    np.testing.assert_allclose(a, b, rtol=1e-3 if dtype == "float32" else 1e-9, atol=1e-4)
                else:
                    np.testing.assert_array_equal(a, b)

    compare()


def graph(x: Any) -> Any:
    return ((x * 2 + 1).exp() * x).sum()


def test_the_switch_chooses_the_way():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert type(graph(x).origin.inputs[0]) is QuickRecord
    with by_definition():
        z = graph(x)
        assert type(z.origin) is Record and type(z.origin.inputs[0]) is Record
    z.backward()  # each way back takes the records of either
    plain, x.grad = x.grad, None
    quick = graph(x)
    with by_definition():
        quick.backward()
    assert plain.tolist() == x.grad.tolist()


def test_both_ways_leave_the_steps_of_the_definition_to_whoever_watches():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    walked = [(str(getattr(node, "primitive", "leaf")), g.tolist()) for node, g, _ in steps(graph(x))]
    with by_definition():
        assert [(str(getattr(node, "primitive", "leaf")), g.tolist()) for node, g, _ in steps(graph(x))] == walked
    assert [name for name, _ in walked] == ["sum", "mul", "exp", "add", "mul", "leaf"]


def test_a_mistake_in_the_generated_call_is_noticed(monkeypatch):
    """The comparison is shown an offence: a primitive whose generated call computes something else."""
    row = next(row for row in ROWS if row.name == "exp")
    call = Call((np.ones(2),), {})
    right = results(row, call, "float64")
    wrong = type("Primitive", (Primitive,), {"__call__": staticmethod(tg.tanh)})
    monkeypatch.setattr(row.primitive, "__class__", wrong)
    assert not np.array_equal(results(row, call, "float64")[0], right[0])


def test_rules_given_later_are_the_ones_that_run():
    @tg.primitive
    def twice(xp, x):
        """z = 2 · x

        ∂x: 2 · g
        """
        return 2 * x

    x = tg.tensor([1.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match=r"twice: it has no derivative with respect to x.*twice.vjp\(x=…\)"):
        twice(x)
    twice.vjp(x=lambda g: 3 * g)
    twice(x).sum().backward()
    twice.vjp(x=lambda g: 2 * g)
    twice(x).sum().backward()
    assert x.grad.tolist() == [5.0]


def test_a_watcher_sees_calls_that_were_generated_before_it_came():
    x = tg.tensor([0.0], requires_grad=True)
    (x + 1).log()
    with (
        np.errstate(divide="ignore"),
        detect_anomaly(),
        pytest.raises(tg.autograd.AnomalyError, match=r"log: its output has 1 infinite .*both_ways"),
    ):
        x.log()


def test_a_method_that_was_taken_before_its_first_call_is_generated_once(monkeypatch):
    @tg.primitive
    def twice(xp, x):
        """z = 2 · x

        ∂x: 2 · g
        """
        return 2 * x

    generated = []
    generate = compiled._generate
    monkeypatch.setattr(compiled, "_generate", lambda p, form: generated.append(p) or generate(p, form))
    taken = type(twice).__call__
    assert [taken(2.0), taken(3.0), twice(4.0)] == [4.0, 6.0, 8.0]
    assert generated == [twice]
