"""What is done to the gradients of a module between `backward()` and the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import tensor
from tinygrad_med.engine.errors import answers
from tinygrad_med.engine.switches import no_grad
from tinygrad_med.ops import cat, clamp, norm, stack


def _gradients(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    found = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if isinstance(parameters, Iterator) and not found:
        raise ValueError(f"{name}: the iterator has no parameters; was it used up before? Give model.parameters() anew")
    return [p.grad for p in found if p.grad is not None]


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

    Raises:
        ValueError: for a generator that was used up before, which would clip nothing.
    """
    gradients = _gradients("clip_grad_norm_", parameters)
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


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut every number of the gradients, in place, at −clip_value and clip_value.

    Args:
        parameters: whose gradients; those without one are passed over.
        clip_value: at least 0.

    Raises:
        ValueError: for a negative value, or a generator that was used up before.
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value={clip_value} must not be negative")
    for g in _gradients("clip_grad_value_", parameters):
        g.clamp_(-float(clip_value), float(clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, one after the other, as a vector (n,) in the graph."""
    found = list(parameters)
    if not found:
        raise ValueError("parameters_to_vector: got no parameters; was the iterator used up before?")
    return cat([p.reshape(-1) for p in found])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write a vector (n,), as `parameters_to_vector` gives it, into the parameters.

    Raises:
        TypeError: for something that is no tensor.
        ValueError: where the vector has another length.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: vec is a {type(vec).__name__}, not a tensor")
    found = list(parameters)
    count = sum(p.numel() for p in found)
    if vec.shape != (count,):
        raise ValueError(f"vector_to_parameters: vec has shape {vec.shape}, the parameters {count} numbers")
    start = 0
    for p in found:
        p.copy_(vec[start : start + p.numel()].reshape(p.shape))
        start += p.numel()


__getattr__ = answers(globals(), "see clip_grad_norm_ and parameters_to_vector")
