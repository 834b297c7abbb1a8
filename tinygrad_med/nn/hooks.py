"""Seeing the gradients of several tensors together, where they pass into a module or out of it.

A hook on a tensor sees one gradient, summed over all uses of the tensor, inside a module and outside. A backward hook
of a module shall see what *this module* sends back to its inputs, all at once. So the tensors pass through a gate:

    token = gate(x₁, x₂, …)        a 0-d zero, made once
    yᵢ    = pass_through(token)    xᵢ again, but made by the gate

On the way back each `pass_through` puts the gradient of its yᵢ into a box that it shares with the gate. The gate is
older than all of them, so its turn in the walk comes after theirs; it shows the box to the hook and hands the gradients
on to the xᵢ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.switches import is_grad_enabled

Gradients = tuple[Tensor | None, ...]


@primitive
def _gate(xp: Any, *xs: Any, leaving: list[Any]) -> Any:  # noqa: ARG001 - the rule asks for it
    """z = 0, the token of one passage of xs

    ∂xs: the gradients that leave the gate
    """
    return xp.zeros((), xs[0].dtype)


_gate.vjp(xs=lambda g, i, leaving: leaving[i])  # noqa: ARG005 - a rule takes g; this one found its gradient in the box


@primitive
def _pass_through(xp: Any, token: Any, *, x: Any, slot: int, arrived: list[Any]) -> Any:  # noqa: ARG001 - likewise
    """z = x, an operand of the gate

    ∂token: 0, once g has arrived in its slot of the box
    """
    return x


def _arrive(g: Any, slot: int, arrived: list[Any]) -> Any:
    arrived[slot] = g
    return g.dtype.type(0)


_pass_through.vjp(token=_arrive)


def through_gate(values: Sequence[Any], hook: Callable[[Gradients], Sequence[Tensor | None] | None]) -> tuple[Any, ...]:
    """`values`, whose gradients `hook` sees together on the way back, and replaces if it returns others.

    Args:
        values: tensors, and whatever else a module takes or returns.
        hook: gets one gradient per value; `None` for a value that requires no gradient, or receives none in this walk.
    """
    inside = [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
    if not inside or not is_grad_enabled():
        return tuple(values)
    slots = {i: slot for slot, i in enumerate(inside)}
    arrived: list[Any] = [None] * len(slots)
    leaving: list[Any] = [None] * len(slots)

    def show(_: Tensor) -> None:
        create_graph = is_grad_enabled()  # the walk has set it so, and then gradients are tensors
        leaving[:], arrived[:] = arrived, [None] * len(slots)
        seen = [None if i not in slots else _as_tensor(leaving[slots[i]]) for i in range(len(values))]
        replaced = hook(tuple(seen))
        if replaced is None:
            return
        if len(replaced) != len(seen):
            raise RuntimeError(f"backward hook: returned {len(replaced)} gradients, the module has {len(seen)} inputs")
        for i, slot in slots.items():
            g = replaced[i]
            if g is seen[i]:
                continue
            if g is not None and g.shape != values[i].shape:
                raise RuntimeError(f"backward hook: returned shape {g.shape} for input {i}, not {values[i].shape}")
            leaving[slot] = g if g is None or create_graph else g.array

    token = _gate(*(values[i] for i in inside), leaving=leaving)
    token.register_hook(show)
    return tuple(
        _pass_through(token, x=x, slot=slots[i], arrived=arrived) if i in slots else x for i, x in enumerate(values)
    )


def _as_tensor(g: Any) -> Tensor | None:
    return g if g is None or isinstance(g, Tensor) else wrap(g.copy())
