"""What is done to the gradients of a module between `backward()` and the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_med.core.modes import no_grad
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import tensor
from tinygrad_med.ops import clamp, norm, stack


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by one factor, so that together they are no longer than `max_norm`
    (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063).

    Args:
        parameters: whose gradients to scale in place; those without one are passed over.
        max_norm: the longest that they may be.
        norm_type: the p of the norm, ∞ (or `"inf"`) for the largest element.
        error_if_nonfinite: raise a RuntimeError where the norm is NaN or infinite.

    Returns:
        The norm of all gradients as of one vector, before.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return tensor(0.0)
    norm_type = float(norm_type)
    total = norm(stack([norm(g, norm_type) for g in gradients]), norm_type)
    if error_if_nonfinite and not total.isfinite():
        raise RuntimeError(
            f"clip_grad_norm_: the norm of the gradients is {total.item()}; find out which with .isnan()"
        )
    factor = clamp(max_norm / (total + 1e-6), max=1.0)
    for g in gradients:
        g.mul_(factor)
    return total
