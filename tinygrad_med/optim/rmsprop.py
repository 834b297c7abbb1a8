"""RMSprop and Adagrad, which divide the gradient by the root of what its squares were so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.optim.optimizer import Group, Move, Optimizer, zeros_like


class RMSprop(Optimizer):
    """Steps that don't depend on the size of the gradient (Hinton, lecture 6 of his course, 2012; centered: Graves
    2013, arXiv:1308.0850):

        g ← g + weight_decay · w
        v ← α · v + (1 − α) · g²           running mean of the square
        m ← α · m + (1 − α) · g            running mean of the gradient, if centered; else m = 0
        b ← momentum · b + g / (√(v − m²) + ε)
        w ← w − lr · b

    Args:
        params: leaves, or groups of them.
        lr: the learning rate.
        alpha: α.
        eps: ε.
        weight_decay: the factor of the penalty ½ · |w|².
        momentum: how much of the last step stays.
        centered: divide by the root of the variance instead of the mean square.
        maximize: go uphill.
        capturable, foreach: accepted, do nothing: they choose among PyTorch's programs for the same formulas.
        differentiable: only `False`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,  # noqa: ARG002 - PyTorch's argument
        foreach: bool | None = None,  # noqa: ARG002 - likewise
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        self.refuse_differentiable(differentiable)
        options = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        super().__init__(params, {**options, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, group: Group) -> None:
        """Raise a ValueError for options that make no sense."""
        super().check(group)
        self.not_negative(group, "momentum", "alpha", "eps")

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """The formulas of the class; state: step, square_avg (v), momentum_buffer (b), grad_avg (m)."""
        lr, alpha, eps, decay = (group[name] for name in ("lr", "alpha", "eps", "weight_decay"))
        momentum, centered, maximize = (group[name] for name in ("momentum", "centered", "maximize"))
        names = ["square_avg", *(["momentum_buffer"] if momentum else []), *(["grad_avg"] if centered else [])]
        for name in names:
            if name not in state:
                state[name] = zeros_like(p)
        state["step"] = int(state.get("step", 0)) + 1
        xp = backend.array_module(p.array)

        def move(w: Any, g: Any, v: Any, *rest: Any) -> None:
            more = list(rest)
            if maximize:
                g = -g
            if decay:
                g = g + decay * w
            v *= alpha
            v += (1 - alpha) * (g * g)
            spread = v
            if centered:
                m = more.pop()
                m += (1 - alpha) * (g - m)
                spread = v - m * m
            g = g / (xp.sqrt(spread) + eps)
            if momentum:
                b = more.pop()
                b *= momentum
                b += g
                g = b
            w -= lr * g

        return move, (p.array, p.grad.array, *(state[name].array for name in names))  # type: ignore[union-attr]


class Adagrad(Optimizer):
    """Steps that shrink where the gradient was large (Duchi, Hazan and Singer 2011, "Adaptive subgradient methods for
    online learning and stochastic optimization"):

        g ← g + weight_decay · w
        s ← s + g²                         the sum of all squares, from initial_accumulator_value
        w ← w − lr / (1 + (t − 1) · lr_decay) · g / (√s + ε)      in step t

    Args:
        params: leaves, or groups of them.
        lr: the learning rate.
        lr_decay: how fast the rate falls by itself.
        weight_decay: the factor of the penalty ½ · |w|².
        initial_accumulator_value: where the sum begins.
        eps: ε.
        maximize: go uphill.
        foreach, fused: accepted, do nothing: they choose among PyTorch's programs for the same formulas.
        differentiable: only `False`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,  # noqa: ARG002 - PyTorch's argument
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,  # noqa: ARG002 - likewise
    ) -> None:
        self.refuse_differentiable(differentiable)
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        options |= {"initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        super().__init__(params, options)

    def check(self, group: Group) -> None:
        """Raise a ValueError for options that make no sense."""
        super().check(group)
        self.not_negative(group, "lr_decay", "initial_accumulator_value", "eps")

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """The formulas of the class; state: step (t), sum (s)."""
        decay, eps, maximize = (group[name] for name in ("weight_decay", "eps", "maximize"))
        xp = backend.array_module(p.array)
        if "sum" not in state:
            state["sum"] = wrap(xp.full_like(p.array, group["initial_accumulator_value"]))
        t = state["step"] = int(state.get("step", 0)) + 1
        rate = group["lr"] / (1 + (t - 1) * group["lr_decay"])

        def move(w: Any, g: Any, s: Any) -> None:
            if maximize:
                g = -g
            if decay:
                g = g + decay * w
            s += g * g
            w -= rate * (g / (xp.sqrt(s) + eps))

        return move, (p.array, p.grad.array, state["sum"].array)  # type: ignore[union-attr]
