"""Matrix products: bilinear maps, whose rules are matrix products again."""

from __future__ import annotations

import string
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine.errors import ProductShapeError
from tinygrad_med.ops.shape import _reshape, expand, squeeze, transpose, unsqueeze

__all__ = ["bmm", "dot", "einsum", "linear", "matmul", "mm", "outer"]


@primitive
def _matmul(xp, x, y):
    """z = x · y, matrices in the last two dims, the dims before them broadcast

    ∂x: g · yᵀ
    ∂y: xᵀ · g
    """
    return kernels(xp).matmul(x, y)


_matmul.vjp(x=lambda g, y: _matmul(g, transpose(y, -1, -2)), y=lambda g, x: _matmul(transpose(x, -1, -2), g))


@method
def matmul(x: Any, y: Any) -> Any:
    """The matrix product `x @ y` in all of NumPy's shapes.

    A vector on the left is a row, on the right a column, and its dim is gone from the result; of more than two dims
    the last two hold matrices, and the others are broadcast.

    Raises:
        ValueError: for a 0-d operand, or inner lengths that differ.
    """
    sx, sy = tuple(x.shape), tuple(y.shape)
    if not sx or not sy or sx[-1] != (sy[-2] if len(sy) > 1 else sy[0]):
        raise ProductShapeError(
            f"matmul: the last dim of x {sx} and the {'second to ' if len(sy) > 1 else ''}last dim of y {sy} "
            "must have the same length; transpose an operand, or use * for the product of elements"
        )
    if len(sx) > 1 and len(sy) == 2:
        if len(sx) == 2:
            return _matmul(x, y)
        z = _matmul(_reshape(x, shape=(-1, sx[-1])) if sx[-1] else x, y)  # one large product instead of many
        return _reshape(z, shape=(*sx[:-1], sy[-1]))
    z = _matmul(x if len(sx) > 1 else unsqueeze(x, 0), y if len(sy) > 1 else unsqueeze(y, 1))
    if len(sx) == 1:
        z = squeeze(z, -2)
    return squeeze(z, -1) if len(sy) == 1 else z


@method
def mm(x: Tensor, y: Tensor) -> Tensor:
    """The product of two matrices."""
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(f"mm: expects two matrices, got shapes {x.shape} and {y.shape}; use matmul")
    return matmul(x, y)


@method
def bmm(x: Tensor, y: Tensor) -> Tensor:
    """The products of two batches of matrices, (N, i, j) and (N, j, k)."""
    if x.ndim != 3 or y.ndim != 3 or x.shape[0] != y.shape[0]:
        raise ValueError(f"bmm: expects (N, i, j) and (N, j, k), got shapes {x.shape} and {y.shape}; use matmul")
    return matmul(x, y)


@method
def dot(x: Tensor, y: Tensor) -> Tensor:
    """The inner product of two vectors."""
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(f"dot: expects two vectors, got shapes {x.shape} and {y.shape}; use matmul")
    return matmul(x, y)


@method
def outer(x: Tensor, y: Tensor) -> Tensor:
    """The outer product of two vectors, (n,) and (m,) -> (n, m)."""
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(f"outer: expects two vectors, got shapes {x.shape} and {y.shape}")
    return x.reshape(-1, 1) * y


@primitive
def _linear(xp, x, weight, bias):
    """z = x · weightᵀ + bias for x (N, in), weight (out, in) and bias (out,)

    ∂x: g · weight
    ∂weight: gᵀ · x
    ∂bias: Σ g over N
    """
    return kernels(xp).linear(x, weight, bias)


_linear.vjp(
    x=lambda g, weight: _matmul(g, weight), weight=lambda g, x: _matmul(transpose(g, 0, 1), x), bias=lambda g: g
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias.

    Args:
        x: (…, in).
        weight: (out, in); or without bias (in,).
        bias: (out,), or none.

    Returns:
        (…, out); (…) for a weight (in,).
    """
    if weight.ndim == 1 and bias is None and x.shape[-1:] == weight.shape:
        return matmul(x, weight)
    if not x.ndim or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x {x.shape} must end with the {weight.shape[-1:]} inputs of weight {weight.shape}")
    if bias is None:
        return matmul(x, transpose(weight, 0, 1))
    if x.ndim == 2:
        return _linear(x, weight, bias)
    rows = _reshape(x, shape=(-1, x.shape[-1])) if x.numel() else _reshape(x, shape=(0, x.shape[-1]))
    return _reshape(_linear(rows, weight, bias), shape=(*x.shape[:-1], weight.shape[0]))


# Einstein's summation -----------------------------------------------------------------------------------------------


@primitive
def _einsum(xp, *xs, terms, result):
    """z = Σ x₁ x₂ … over the labels that the result does not have

    ∂xs: Σ g x₁ x₂ … without the operand itself, over the labels that it does not have
    """
    z = xp.einsum(f"{','.join(terms)}->{result}", *xs, optimize=True)
    return z.copy() if len(xs) == 1 else z  # of one operand it may be a view


def _einsum_rule(g: Any, i: int, xs: tuple[Any, ...], xs_shape: Any, terms: tuple[str, ...], result: str) -> Any:
    others = [(terms[j], x) for j, x in enumerate(xs) if j != i]
    present = set(result).union(*(term for term, _ in others))
    reduced = "".join(label for label in terms[i] if label in present)
    z = _einsum(g, *(x for _, x in others), terms=(result, *(term for term, _ in others)), result=reduced)
    # A label that only this operand has was summed away, and one that the others have with length 1 was stretched:
    # every one of its places gets the same gradient.
    lengths = dict(zip(terms[i], xs_shape[i], strict=True))
    kept = dict.fromkeys(terms[i], 1) | dict(zip(reduced, z.shape, strict=True))
    z = _reshape(z, shape=tuple(kept.values()))
    return expand(z, tuple(lengths[label] if kept[label] == 1 else kept[label] for label in terms[i]))


_einsum.vjp(xs=_einsum_rule)


def einsum(equation: str, *operands: Any) -> Any:
    """Σ of products as Einstein wrote it: `einsum("bij,bjk->bik", x, y)` multiplies batches of matrices.

    Args:
        equation: a term of labels per operand, and after `->` those of the result; without an arrow these are all
            labels that occur once, sorted. `...` stands for dims that are broadcast.
        operands: tensors, or one list of them. A dim of length 1 is broadcast to the length that its label has
            elsewhere.

    Raises:
        ValueError: for terms that do not fit the operands, a label of several lengths, or an unknown one in the result.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: '{equation}' has {len(terms)} terms for {len(operands)} operands")
    unused = [c for c in string.ascii_letters if c not in equation]
    terms, ellipsis = _spell_out_ellipses(equation, terms, operands, unused)
    if not arrow:
        labels = "".join(terms).replace(" ", "")
        once = sorted(c for c in set(labels) if labels.count(c) == 1 and c not in ellipsis)
        result = ellipsis + "".join(once)
    else:
        result = result.replace("...", ellipsis)
    if len(set(result)) < len(result) or not set(result) <= set("".join(terms)):
        raise ValueError(f"einsum: the result of '{equation}' must have labels of the terms, each once")
    _check_lengths(equation, terms, operands)
    return _einsum(*_without_repeats(terms, operands, unused), terms=tuple(terms), result=result)


def _spell_out_ellipses(equation: str, terms: list[str], operands: Any, unused: list[str]) -> tuple[list[str], str]:
    """The terms with labels for `...`, aligned from the right, and these labels."""
    most = 0
    for term, x in zip(terms, operands, strict=True):
        named = len(term.replace("...", ""))
        if ("..." not in term and named != len(x.shape)) or named > len(x.shape):
            raise ValueError(
                f"einsum: the term '{term}' of '{equation}' does not fit an operand of shape {tuple(x.shape)}"
            )
        most = max(most, len(x.shape) - named)
    labels = "".join(unused.pop() for _ in range(most))
    spelled = []
    for term, x in zip(terms, operands, strict=True):
        count = len(x.shape) - len(term.replace("...", ""))
        spelled.append(term.replace("...", labels[most - count :]))
    return spelled, labels


def _check_lengths(equation: str, terms: list[str], operands: Any) -> None:
    """Raise an error for a label of several lengths: 1 beside another one is broadcast, but not within one term."""
    found: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        in_term: dict[str, int] = {}
        for label, n in zip(term, x.shape, strict=True):
            earlier = found.get(label, 1)
            if in_term.setdefault(label, n) != n or (n != earlier and 1 not in (n, earlier)):
                shapes = " and ".join(str(tuple(x.shape)) for x in operands)
                raise ValueError(f"einsum: a label of '{equation}' has several lengths, the operands have {shapes}")
            found[label] = earlier if n == 1 else n


def _without_repeats(terms: list[str], operands: Any, unused: list[str]) -> list[Any]:
    """The operands, and an identity matrix for each repeated label: `ii` is `ij,ij` with the second an identity."""
    operands = list(operands)
    for n, term in enumerate(list(terms)):
        for position, label in enumerate(term):
            if label in term[:position]:
                fresh = unused.pop()
                terms[n] = terms[n][:position] + fresh + terms[n][position + 1 :]
                x = operands[n].array if isinstance(operands[n], Tensor) else operands[n]
                terms.append(label + fresh)
                operands.append(backend.array_module(x).eye(x.shape[position], dtype=x.dtype))
    return operands
