"""`autograd.grad` and `autograd.backward` as PyTorch calls them: several outputs, and zeros for `None`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_med import ops
from tinygrad_med.core import backward as core
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import zeros_like
from tinygrad_med.engine.switches import enable_grad


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """As `tinygrad_med.grad`, which says what the arguments are; besides:

    Args:
        allow_unused: give `None` for an input that no output depends on, instead of an error.
        materialize_grads: give zeros for such an input.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "grad: materialize_grads=True gives zeros for what is unused, which allow_unused=False refuses"
        )
    unused = materialize_grads or bool(allow_unused)
    found = core.grad(outputs, inputs, grad_outputs, retain_graph, create_graph, unused)
    if not materialize_grads:
        return found
    return tuple(zeros_like(x) if g is None else g for x, g in zip(core.as_list(inputs), found, strict=True))


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """`tensor.backward(gradient, …)` of one tensor, or of several in one walk.

    Args:
        tensors: the results.
        grad_tensors: upstream gradients, one per tensor; `None` for one of one element.
        retain_graph, create_graph, inputs: as for `Tensor.backward`.
    """
    results, seeds = core.as_list(tensors), core.as_list(grad_tensors)
    seeds = [None] * len(results) if grad_tensors is None else seeds
    if len(seeds) != len(results):
        raise ValueError(f"backward: {len(results)} tensors, but {len(seeds)} grad_tensors; give one for each")
    if len(results) > 1:  # Σ g · z has the gradient g at each z
        starts = [core.upstream(z, g, True, "backward") for z, g in zip(results, seeds, strict=True)]
        with enable_grad():
            total = [ops.sum(z * g.detach()) for z, g in zip(results, starts, strict=True)]
            results, seeds = [ops.sum(ops.stack(total))], [None]
    core.backward(results[0], seeds[0], retain_graph, create_graph, inputs)
