"""Adam, and AdamW, which decays the weights and not the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.gpu import optimizers
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.optim.optimizer import Group, Move, Optimizer, zeros_like


class Adam(Optimizer):
    """Steps as long as the gradient is steady, each number by itself (Kingma and Ba 2015, arXiv:1412.6980):

        g ← g + weight_decay · w
        m ← β₁ · m + (1 − β₁) · g          running mean of the gradient
        v ← β₂ · v + (1 − β₂) · g²         running mean of its square
        w ← w − lr · m̂ / (√v̂ + ε)          with m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ) in step t

    m and v start at zero; the hats undo what that takes from the first means.

    Args:
        params: leaves, or groups of them.
        lr: the learning rate.
        betas: β₁ and β₂.
        eps: ε.
        weight_decay: the factor of the penalty ½ · |w|².
        amsgrad: use the largest v so far instead of v (Reddi et al. 2018, arXiv:1904.09237).
        maximize: go uphill.
        foreach, capturable, fused: accepted, do nothing: they choose among PyTorch's programs for the same formulas.
        differentiable: only `False`.
        decoupled_weight_decay: let the weights decay by themselves, as in AdamW.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,  # noqa: ARG002 - PyTorch's argument
        capturable: bool = False,  # noqa: ARG002 - likewise
        differentiable: bool = False,
        fused: bool | None = None,  # noqa: ARG002 - likewise
        decoupled_weight_decay: bool = False,
    ) -> None:
        self.refuse_differentiable(differentiable)
        self.decoupled = decoupled_weight_decay
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})

    def check(self, group: Group) -> None:
        """Raise a ValueError for options that make no sense."""
        super().check(group)
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"{self._name}: betas={group['betas']} must be two numbers, at least 0 and less than 1")
        self.not_negative(group, "eps")

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """The formulas of the class; state: step (t), exp_avg (m), exp_avg_sq (v), max_exp_avg_sq with amsgrad."""
        lr, eps, decay, (beta1, beta2) = (group[name] for name in ("lr", "eps", "weight_decay", "betas"))
        names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
        for name in names:
            if name not in state:
                state[name] = zeros_like(p)
        t = state["step"] = int(state.get("step", 0)) + 1
        # The hats, moved to the scalars (the paper, end of section 2), so that they cost no pass over the arrays.
        root = math.sqrt(1 - beta2**t)
        rate, eps = lr * root / (1 - beta1**t), eps * root
        penalty, shrink = (0.0, 1 - lr * decay) if self.decoupled else (decay, 1.0)
        move = Steady(rate, beta1, beta2, eps, penalty, shrink, group["maximize"])
        return move, (p.array, p.grad.array, *(state[name].array for name in names))  # type: ignore[union-attr]


@dataclass(frozen=True)
class Steady:
    """A step of `Adam` with these numbers: `rate` and `eps` with the means' hats in them, `shrink` the factor of w."""

    rate: float
    beta1: float
    beta2: float
    eps: float
    decay: float
    shrink: float
    maximize: bool

    def __call__(self, w: Any, g: Any, m: Any, v: Any, largest: Any = None) -> None:
        """Move w, the means m and v, and the largest v so far, in place."""
        xp = backend.array_module(w)
        if self.maximize:
            g = -g
        if self.shrink != 1:
            w *= self.shrink
        if self.decay:
            g = g + self.decay * w
        m += (1 - self.beta1) * (g - m)
        v += (1 - self.beta2) * (g * g - v)
        if largest is not None:
            v = xp.maximum(largest, v, out=largest)
        w -= self.rate * (m / (xp.sqrt(v) + self.eps))

    def to_all(self, parameters: Sequence[tuple[Any, ...]], held: optimizers.Held | None = None) -> bool:
        """The same to several parameters at once, where the GPU has a kernel for that; else nothing, and False."""
        return optimizers.adam(parameters, held, **vars(self))


class AdamW(Adam):
    """Adam with w ← (1 − lr · weight_decay) · w instead of the penalty, whose gradient Adam would divide by √v̂
    (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Args:
        params, lr, betas, eps, amsgrad, maximize, foreach, capturable, differentiable, fused: as for Adam.
        weight_decay: the share of w, times lr, that goes in each step.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,  # noqa: ARG002 - PyTorch's argument
        capturable: bool = False,  # noqa: ARG002 - likewise
        differentiable: bool = False,
        fused: bool | None = None,  # noqa: ARG002 - likewise
    ) -> None:
        options = {"maximize": maximize, "differentiable": differentiable, "decoupled_weight_decay": True}
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **options)
