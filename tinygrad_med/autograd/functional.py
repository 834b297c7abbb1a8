"""Derivatives of a function as a whole: its Jacobian and Hessian, and their products with vectors.

A walk gives a product from the left, vᵀJ, for one run of the function. Everything here is made of walks: a Jacobian of
one per element of the result, a product from the right of a walk through a walk, Jv = ∂(uᵀJ · v)/∂u.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med.core.backward import grad
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.creation import ones_like, zeros_like
from tinygrad_med.engine.switches import enable_grad
from tinygrad_med.ops import stack

Tensors = tuple[Tensor, ...]


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,  # noqa: ARG001 - PyTorch's; it changes the speed alone
    strategy: str = "reverse-mode",
) -> Any:
    """J = ∂ func(inputs) / ∂ inputs, of the shape of the result and then that of the input.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: a tensor, or a tuple of them.
        create_graph: record the computation, so that the Jacobian has derivatives too.
        strict: raise an error where a result does not depend on an input, instead of giving zeros.
        vectorize: without effect.
        strategy: only `"reverse-mode"`.

    Returns:
        A tensor; for several inputs a tuple of one for each, and for several results a tuple of these.
    """
    if strategy != "reverse-mode":
        raise NotImplementedError(f"jacobian: strategy={strategy!r} is not there; this engine goes backward alone")
    xs, results, one_input, one_result = _run(func, inputs, create_graph, "jacobian")
    rows: list[Any] = []
    for z in results:
        elements = z.reshape(-1)
        found = [gradients((element,), xs, None, create_graph, strict, "jacobian") for element in elements]
        per_input = [
            stack([row[i] for row in found]).reshape(*z.shape, *x.shape)
            if found
            else zeros_like(x).reshape(1, *x.shape)[:0].reshape(*z.shape, *x.shape)
            for i, x in enumerate(xs)
        ]
        rows.append(per_input[0] if one_input else tuple(per_input))
    return rows[0] if one_result else tuple(rows)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """H = ∂² func(inputs) / ∂ inputs², of the shape of the input twice; for several inputs a tuple of tuples.

    Args:
        func: takes the inputs, returns a tensor of one element.
        inputs, create_graph, strict, vectorize, outer_jacobian_strategy: as for `jacobian`.
    """

    def gradient(*xs: Tensor) -> Any:
        z = _one_element(func(*xs), "hessian")
        found = gradients((z,), xs, None, True, strict, "hessian")
        return found if isinstance(inputs, tuple) else found[0]

    return jacobian(gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(inputs), and vᵀJ for each input; v is of the shape of the results, and 1 for a result of one element."""
    xs, results, one_input, one_result = _run(func, inputs, create_graph, "vjp")
    seeds = _vector(v, results, "vjp", "results")
    found = gradients(results, xs, seeds, create_graph, strict, "vjp")
    return _packed(results, one_result, create_graph), _packed(found, one_input, create_graph)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(inputs), and Jv for each result; v is of the shape of the inputs, and 1 for an input of one element."""
    xs, results, _, one_result = _run(func, inputs, create_graph, "jvp")
    direction = _vector(v, xs, "jvp", "inputs")
    seeds = tuple(zeros_like(z).requires_grad_() for z in results)
    left = gradients(results, xs, seeds, True, strict, "jvp")  # linear in the seeds, so that their value is no matter
    found = gradients(left, seeds, direction, create_graph, strict, "jvp")
    return _packed(results, one_result, create_graph), _packed(found, one_result, create_graph)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(inputs), a tensor of one element, and Hv for each input; v is of the shape of the inputs."""
    xs, results, one_input, _ = _run(func, inputs, create_graph, "hvp")
    z = _one_element(results[0], "hvp")
    gradient = gradients((z,), xs, None, True, strict, "hvp")
    found = gradients(gradient, xs, _vector(v, xs, "hvp", "inputs"), create_graph, strict, "hvp")
    return _packed((z,), True, create_graph), _packed(found, one_input, create_graph)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """func(inputs), and vᵀH: as H is symmetric, what `hvp` gives."""
    return hvp(func, inputs, v, create_graph, strict)


def _run(func: Callable[..., Any], inputs: Any, create_graph: bool, caller: str) -> tuple[Tensors, Tensors, bool, bool]:
    """The inputs as tensors that require a gradient, the results, and whether there is just one of each."""
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    if not all(isinstance(x, Tensor) for x in given):
        raise TypeError(f"{caller}: inputs must be a tensor or a tuple of tensors")
    with enable_grad():
        xs = tuple(x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in given)
        found = func(*xs)
    results = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(z, Tensor) for z in results):
        raise TypeError(f"{caller}: the function must return a tensor or a tuple of tensors")
    return xs, results, not isinstance(inputs, tuple), not isinstance(found, tuple)


def gradients(
    results: Sequence[Tensor], xs: Sequence[Tensor], seeds: Any, create_graph: bool, strict: bool, caller: str
) -> Tensors:
    """The gradients of the results, zeros where there is no dependence; without create_graph the graph stays."""
    seeds = [None] * len(results) if seeds is None else list(seeds)
    pairs = [(z, g) for z, g in zip(results, seeds, strict=True) if z.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(xs)
    if pairs:
        zs, gs = [z for z, _ in pairs], [g for _, g in pairs]
        found = grad(zs, xs, gs, retain_graph=True, create_graph=create_graph, allow_unused=True)
    if strict and (len(pairs) < len(results) or any(g is None for g in found)):
        raise RuntimeError(f"{caller}: a result does not depend on an input; strict=False gives zeros for it")
    return tuple(zeros_like(x) if g is None else g for x, g in zip(xs, found, strict=True))


def _one_element(z: Any, caller: str) -> Tensor:
    if not isinstance(z, Tensor) or z.numel() != 1:
        raise RuntimeError(f"{caller}: the function must return one tensor of one element; sum() its result")
    return z.reshape(())


def _vector(v: Any, like: Sequence[Tensor], caller: str, what: str) -> Tensors:
    """v as a tuple of tensors of the shapes of the inputs or results; ones for a single one of one element."""
    if v is None:
        if len(like) > 1 or like[0].numel() != 1:
            raise RuntimeError(f"{caller}: give v, of the shape of the {what}; only for one element it is 1 by default")
        return (ones_like(like[0]),)
    vectors = v if isinstance(v, tuple) else (v,)
    if [u.shape for u in vectors] != [x.shape for x in like]:
        got, expected = ([x.shape for x in tensors] for tensors in (vectors, like))
        raise RuntimeError(f"{caller}: v must have the shapes of the {what}, {expected}, got {got}")
    return vectors


def _packed(tensors: Sequence[Tensor], one: bool, create_graph: bool) -> Any:
    done = tuple(tensors) if create_graph else tuple(wrap(x.array) for x in tensors)
    return done[0] if one else done
