"""Adadelta, Adamax, NAdam and RAdam: variants of Adagrad and Adam that tutorials compare."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.optim.optimizer import Group, Move, Optimizer, zeros_like


class _Variant(Optimizer):
    """What they share: options, their checks, and the states that begin at zero."""

    def __init__(self, params: Iterable[Any], differentiable: bool, options: dict[str, Any]) -> None:
        self.refuse_differentiable(differentiable)
        super().__init__(params, options)

    def check(self, group: Group) -> None:
        """Raise a ValueError for options that make no sense."""
        super().check(group)
        betas = group.get("betas", (0.0, 0.0))
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{self._name}: betas={betas} must be two numbers, at least 0 and less than 1")
        if not 0 <= group.get("rho", 0.0) <= 1:
            raise ValueError(f"{self._name}: rho={group['rho']} must be between 0 and 1")
        self.not_negative(group, "eps", *(["momentum_decay"] if "momentum_decay" in group else []))

    def begin(self, p: Tensor, state: dict[str, Any], *names: str) -> int:
        """Make what is missing in the state; the number of the step."""
        for name in names:
            if name not in state:
                state[name] = zeros_like(p)
        state["step"] = int(state.get("step", 0)) + 1
        return int(state["step"])


def _penalized(w: Any, g: Any, group: Group) -> Any:
    """The gradient uphill or downhill, with that of the penalty; decoupled, w decays by itself."""
    g = -g if group["maximize"] else g
    if group["weight_decay"] and group.get("decoupled_weight_decay"):
        w *= 1 - group["lr"] * group["weight_decay"]
        return g
    return g + group["weight_decay"] * w if group["weight_decay"] else g


class Adadelta(_Variant):
    """Steps as large as those before, without a rate of their own (Zeiler 2012, arXiv:1212.5701):

        g ← g + weight_decay · w
        v ← ρ · v + (1 − ρ) · g²           running mean of the square
        d ← √(u + ε) / √(v + ε) · g
        u ← ρ · u + (1 − ρ) · d²           of the steps
        w ← w − lr · d

    Args:
        params: leaves, or groups of them.
        lr: by what the steps are multiplied.
        rho: ρ.
        eps: ε.
        weight_decay: the factor of the penalty ½ · |w|².
        maximize: go uphill.
        foreach, capturable: accepted, do nothing: they choose among PyTorch's programs for the same formulas.
        differentiable: only `False`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,  # noqa: ARG002 - PyTorch's argument
        *,
        capturable: bool = False,  # noqa: ARG002 - likewise
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, differentiable, options)

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """The formulas of the class; state: step, square_avg (v), acc_delta (u)."""
        self.begin(p, state, "square_avg", "acc_delta")
        rho, eps, xp = group["rho"], group["eps"], backend.array_module(p.array)

        def move(w: Any, g: Any, v: Any, u: Any) -> None:
            g = _penalized(w, g, group)
            v *= rho
            v += (1 - rho) * (g * g)
            d = xp.sqrt(u + eps) / xp.sqrt(v + eps) * g
            u *= rho
            u += (1 - rho) * (d * d)
            w -= group["lr"] * d

        return move, (p.array, p.grad.array, state["square_avg"].array, state["acc_delta"].array)  # type: ignore[union-attr]


class Adamax(_Variant):
    """Adam with the largest gradient so far, fading, in the place of √v̂ (Kingma and Ba 2015, section 7.1):

        g ← g + weight_decay · w
        m ← β₁ · m + (1 − β₁) · g
        u ← max(β₂ · u, |g| + ε)
        w ← w − lr / (1 − β₁ᵗ) · m / u     in step t

    Args:
        params, lr, betas, eps, weight_decay, maximize: as for Adam.
        foreach, capturable: accepted, do nothing: they choose among PyTorch's programs for the same formulas.
        differentiable: only `False`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        foreach: bool | None = None,  # noqa: ARG002 - PyTorch's argument
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,  # noqa: ARG002 - likewise
    ) -> None:
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, differentiable, options)

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """The formulas of the class; state: step (t), exp_avg (m), exp_inf (u)."""
        t = self.begin(p, state, "exp_avg", "exp_inf")
        (beta1, beta2), eps, xp = group["betas"], group["eps"], backend.array_module(p.array)

        def move(w: Any, g: Any, m: Any, u: Any) -> None:
            g = _penalized(w, g, group)
            m += (1 - beta1) * (g - m)
            xp.maximum(beta2 * u, abs(g) + eps, out=u)
            w -= group["lr"] / (1 - beta1**t) * (m / u)

        return move, (p.array, p.grad.array, state["exp_avg"].array, state["exp_inf"].array)  # type: ignore[union-attr]


class NAdam(_Variant):
    """Adam that looks ahead along the running mean, as Nesterov's momentum does (Dozat 2016, ICLR workshop):

        μₜ = β₁ · (1 − ½ · 0.96^(t · momentum_decay)),  Μₜ = μ₁ · … · μₜ
        w ← w − lr · ((1 − μₜ) / (1 − Μₜ) · g + μₜ₊₁ / (1 − Μₜ₊₁) · m) / (√v̂ + ε)      with m, v and v̂ of Adam

    Args:
        params, lr, betas, eps, weight_decay, maximize, decoupled_weight_decay: as for Adam.
        momentum_decay: how fast μ comes to β₁.
        foreach, capturable: accepted, do nothing: they choose among PyTorch's programs for the same formulas.
        differentiable: only `False`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,  # noqa: ARG002 - PyTorch's argument
        maximize: bool = False,
        capturable: bool = False,  # noqa: ARG002 - likewise
        differentiable: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        options |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, differentiable, options)

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """The formulas of the class; state: step (t), mu_product (Μ), exp_avg (m), exp_avg_sq (v)."""
        t = self.begin(p, state, "exp_avg", "exp_avg_sq")
        (beta1, beta2), eps, xp = group["betas"], group["eps"], backend.array_module(p.array)
        mu, after = (beta1 * (1 - 0.5 * 0.96 ** (k * group["momentum_decay"])) for k in (t, t + 1))
        product = state["mu_product"] = float(state.get("mu_product", 1.0)) * mu

        def move(w: Any, g: Any, m: Any, v: Any) -> None:
            g = _penalized(w, g, group)
            m += (1 - beta1) * (g - m)
            v *= beta2
            v += (1 - beta2) * (g * g)
            ahead = (1 - mu) / (1 - product) * g + after / (1 - product * after) * m
            w -= group["lr"] * ahead / (xp.sqrt(v / (1 - beta2**t)) + eps)

        return move, (p.array, p.grad.array, state["exp_avg"].array, state["exp_avg_sq"].array)  # type: ignore[union-attr]


class RAdam(_Variant):
    """Adam that does not divide by √v̂ before v is of enough gradients (Liu et al. 2020, arXiv:1908.03265):

        ρ∞ = 2 / (1 − β₂) − 1,  ρ = ρ∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
        w ← w − lr · m̂ · r / (√v̂ + ε′)     where ρ > 5, with r² = (ρ − 4) (ρ − 2) ρ∞ / ((ρ∞ − 4) (ρ∞ − 2) ρ)
        w ← w − lr · m̂                      before

    with m̂ and v̂ of Adam, and ε′ = ε / √(1 − β₂ᵗ).

    Args:
        params, lr, betas, eps, weight_decay, maximize, decoupled_weight_decay: as for Adam.
        foreach, capturable: accepted, do nothing: they choose among PyTorch's programs for the same formulas.
        differentiable: only `False`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,  # noqa: ARG002 - PyTorch's argument
        maximize: bool = False,
        capturable: bool = False,  # noqa: ARG002 - likewise
        differentiable: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        options |= {"decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, differentiable, options)

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """The formulas of the class; state: step (t), exp_avg (m), exp_avg_sq (v)."""
        t = self.begin(p, state, "exp_avg", "exp_avg_sq")
        (beta1, beta2), eps, xp = group["betas"], group["eps"], backend.array_module(p.array)
        most, whole = 2 / (1 - beta2) - 1, 1 - beta2**t
        rho = most - 2 * t * beta2**t / whole
        rate = group["lr"] / (1 - beta1**t)
        if rho > 5:
            rate *= math.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho) * whole)

        def move(w: Any, g: Any, m: Any, v: Any) -> None:
            g = _penalized(w, g, group)
            m += (1 - beta1) * (g - m)
            v *= beta2
            v += (1 - beta2) * (g * g)
            w -= rate * (m / (xp.sqrt(v) + eps) if rho > 5 else m)

        return move, (p.array, p.grad.array, state["exp_avg"].array, state["exp_avg_sq"].array)  # type: ignore[union-attr]
