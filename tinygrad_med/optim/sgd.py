"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_med.backend.gpu import optimizers
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.optim.optimizer import Group, Move, Optimizer, zeros_like


class SGD(Optimizer):
    """Downhill, with a velocity that remembers where it was going:

        g ← g + weight_decay · w
        v ← momentum · v + (1 − dampening) · g        (v ← g in the first step)
        w ← w − lr · v                                with Nesterov: w − lr · (g + momentum · v)

    As PyTorch's, and Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning", except
    that lr stands outside of v.

    Args:
        params: leaves, or groups of them.
        lr: the learning rate.
        momentum: how much of the velocity stays from step to step.
        dampening: how much of the gradient the velocity does without.
        weight_decay: the factor of the penalty ½ · |w|².
        nesterov: look ahead along the velocity.
        maximize: go uphill.
        foreach, fused: accepted, do nothing: they choose among PyTorch's programs for the same formulas.
        differentiable: only `False`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,  # noqa: ARG002 - PyTorch's argument
        differentiable: bool = False,
        fused: bool | None = None,  # noqa: ARG002 - likewise
    ) -> None:
        self.refuse_differentiable(differentiable)
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def check(self, group: Group) -> None:
        """Raise a ValueError for options that make no sense."""
        super().check(group)
        self.not_negative(group, "momentum")
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ValueError("SGD: nesterov=True needs momentum > 0 and dampening=0")

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """The formulas of the class; state: momentum_buffer, the velocity."""
        lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
        nesterov, maximize = group["nesterov"], group["maximize"]
        arrays: tuple[Any, ...] = (p.array, p.grad.array)  # type: ignore[union-attr]
        share = 1 - group["dampening"]
        if momentum:
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"], share = zeros_like(p), 1
            arrays = (*arrays, state["momentum_buffer"].array)
        return Downhill(lr, momentum, share, decay, nesterov, maximize), arrays


@dataclass(frozen=True)
class Downhill:
    """A step of `SGD` with these numbers; `share` is that of the gradient in the velocity."""

    lr: float
    momentum: float
    share: float
    decay: float
    nesterov: bool
    maximize: bool

    def __call__(self, w: Any, g: Any, v: Any = None) -> None:
        """Move w, and the velocity v, in place."""
        if self.maximize:
            g = -g
        if self.decay:
            g = g + self.decay * w
        if self.momentum:
            v *= self.momentum
            v += g if self.share == 1 else self.share * g
            g = g + self.momentum * v if self.nesterov else v
        w -= self.lr * g

    def to_all(self, parameters: Sequence[tuple[Any, ...]], held: optimizers.Held | None = None) -> bool:
        """The same to several parameters at once, where the GPU has a kernel for that; else nothing, and False."""
        return optimizers.sgd(parameters, held, **vars(self))
