"""PyTorch's own gradcheck on our derivatives: of every primitive and every mutant it says what ours says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tg
from tests.testing.test_mutants import mutants
from tinygrad_med.testing import gradcheck, gradgradcheck

SEEN_BY_ONE_ALONE = {
    "linearity",  # PyTorch asks a rule for one element of g after the other, and never for several
    "rules disagree",  # the bridge always records the graph, so it never takes our fast path
}
"""The verdicts on what PyTorch's check does not see, or sees alone."""

Function = Callable[[Sequence[tg.Tensor]], Sequence[tg.Tensor]]


def bridge(torch: Any, function: Function) -> Any:
    """`function` for PyTorch's tensors: values and derivatives, of any order, are those of our engine."""

    class Bridge(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *operands: Any) -> Any:
            ctx.save_for_backward(*operands)
            leaves = [tg.Tensor(x.detach().numpy().copy(), requires_grad=True) for x in operands]
            ctx.flows = [z.requires_grad for z in function(leaves)]
            return tuple(torch.tensor(z.detach().numpy().copy()) for z in function(leaves))

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            count = len(ctx.saved_tensors)

            def gradients(tensors: Sequence[tg.Tensor]) -> list[tg.Tensor]:
                operands, seeds = list(tensors[:count]), tensors[count:]
                pairs = [(z, g) for z, g in zip(function(operands), seeds, strict=True) if z.requires_grad]
                zs, gs = [z for z, _ in pairs], [g for _, g in pairs]
                found = tg.grad(zs, operands, gs, create_graph=True, allow_unused=True) if pairs else [None] * count
                return [x * 0 if g is None else g for x, g in zip(operands, found, strict=True)]

            return bridge(torch, gradients)(*ctx.saved_tensors, *upstream)

    return Bridge.apply


def verdicts(torch: Any, primitive: Any, call: Any) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
    """What ours and PyTorch's say of the first and of the second derivative at one point."""
    places = [i for i, x in enumerate(call.args) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    def function(operands: Sequence[tg.Tensor]) -> list[tg.Tensor]:
        arguments = list(call.args)
        for i, x in zip(places, operands, strict=True):
            arguments[i] = x
        return [primitive(*arguments, **call.kwargs)]

    point = [call.args[i] for i in places]
    ours = [tg.Tensor(x.copy(), requires_grad=True) for x in point]
    theirs = [torch.tensor(x.copy(), requires_grad=True) for x in point]

    def alone(*operands: tg.Tensor) -> tg.Tensor:
        return function(operands)[0]

    there = bridge(torch, function)
    return (
        (answer(gradcheck, alone, ours), answer(gradgradcheck, alone, ours)),
        (answer(torch.autograd.gradcheck, there, theirs), answer(torch.autograd.gradgradcheck, there, theirs)),
    )


def answer(check: Any, function: Any, operands: Sequence[Any]) -> bool:
    """The verdict; a rule that raises an error is wrong."""
    try:
        return bool(check(function, tuple(operands), raise_exception=False))
    except (RuntimeError, ValueError, TypeError):
        return False


@pytest.mark.parametrize("p", list(mutants.CALLS), ids=str)
def test_of_a_primitive(torch, p):
    itself = mutants.Mutant(p, "none", "", mutants.CALLS[p], {}).copy()
    assert verdicts(torch, itself, mutants.CALLS[p]) == ((True, True), (True, True))


@pytest.mark.parametrize("p", list(mutants.CALLS), ids=str)
def test_of_its_mutants(torch, p):
    differ = []
    for mutant in mutants.MUTANTS:
        if mutant.primitive is p:
            ours, theirs = verdicts(torch, mutant.copy(), mutant.call)
            if ours != theirs and mutant.check().verdict not in SEEN_BY_ONE_ALONE:
                differ.append((mutant.mistake, ours, theirs))
    assert not differ
