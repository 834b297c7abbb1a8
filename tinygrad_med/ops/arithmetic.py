"""Sums, products and quotients with PyTorch's further arguments: a factor, a rounding, a third operand."""

from __future__ import annotations

from typing import Any

from tinygrad_med.core.methods import method
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops import elementwise
from tinygrad_med.ops.elementary import trunc
from tinygrad_med.ops.elementwise import floordiv, mul, pow, where
from tinygrad_med.ops.matmul import bmm, matmul, mm, outer

__all__ = [
    "add",
    "addbmm",
    "addcdiv",
    "addcmul",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "div",
    "divide",
    "float_power",
    "floor_divide",
    "lerp",
    "multiply",
    "mv",
    "rsub",
    "sub",
    "subtract",
    "true_divide",
    "xlogy",
]


def _check_kind(operation: str, name: str, factor: Any, *operands: Any) -> None:
    """A factor that is no integer has no place among integers, whose dtype the result shall have."""
    kinds = {x.dtype.kind for x in operands if hasattr(x, "dtype")}
    if isinstance(factor, float) and kinds and kinds <= set("iu"):
        raise TypeError(f"{operation}: {name}={factor} is no integer, but the operands are; convert them with .float()")


@method
def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha · other; the operands are broadcast."""
    _check_kind("add", "alpha", alpha, input, other)
    return elementwise.add(input, other if alpha is True or alpha == 1 else alpha * other)


@method
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input − alpha · other; the operands are broadcast."""
    _check_kind("sub", "alpha", alpha, input, other)
    return elementwise.sub(input, other if alpha is True or alpha == 1 else alpha * other)


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """other − alpha · input: `sub` with the operands exchanged."""
    return sub(other, input, alpha=alpha)


@method
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """input / other; the operands are broadcast.

    Args:
        input, other: tensors, arrays or numbers.
        rounding_mode: `None` for the quotient, `"floor"` for the largest integer not above it, `"trunc"` for the next
            integer towards 0; both round integers too, without leaving their dtype, and have no derivative but 0.
    """
    if rounding_mode is None:
        return elementwise.div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise ValueError(f"div: rounding_mode={rounding_mode!r} is unknown; give None, 'floor' or 'trunc'")
    if all(isinstance(x, int) or (hasattr(x, "dtype") and x.dtype.kind in "iub") for x in (input, other)):
        quotient = floordiv(input, other)
        return quotient + ((quotient < 0) & (quotient * other != input))
    return trunc(elementwise.div(input, other))


@method
def floor_divide(input: Any, other: Any) -> Any:
    """The largest integer not above input / other, in the operands' dtype; the derivative is 0."""
    return floordiv(input, other)


subtract = method(sub, "subtract")
divide = method(div, "divide")
true_divide = method(div, "true_divide")
multiply = method(mul, "multiply")


@method
def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight · (end − input), all three broadcast: input for a weight of 0, end for 1."""
    return input + weight * (end - input)


@method
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value · tensor1 · tensor2, all broadcast."""
    _check_kind("addcmul", "value", value, input, tensor1, tensor2)
    return add(input, tensor1 * tensor2, alpha=value)


@method
def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value · tensor1 / tensor2, all broadcast."""
    return input + value * tensor1 / tensor2


@method
def float_power(input: Any, exponent: Any) -> Any:
    """inputᵉˣᵖᵒⁿᵉⁿᵗ in float64."""
    return pow(_double(input), _double(exponent))


def _double(x: Any) -> Any:
    return x.to("float64") if isinstance(x, Tensor) else float(x)


def _weighted(operation: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """beta · input + alpha · product; where beta is 0, input is not looked at, not even for NaN."""
    _check_kind(operation, "alpha", alpha, input)
    _check_kind(operation, "beta", beta, input)
    shape, wanted = tuple(input.shape), tuple(product.shape)
    fits = len(shape) <= len(wanted) and all(n in (1, m) for n, m in zip(shape[::-1], wanted[::-1], strict=False))
    if not fits:
        raise ValueError(f"{operation}: input {shape} does not broadcast to the shape {wanted} of the product")
    scaled = product if alpha == 1 else alpha * product
    if beta == 0:
        return scaled
    return (input if beta == 1 else beta * input) + scaled


@method
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta · input + alpha · mat1 @ mat2 for two matrices."""
    return _weighted("addmm", input, mm(mat1, mat2), beta, alpha)


@method
def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta · input + alpha · mat @ vec for a matrix and a vector."""
    return _weighted("addmv", input, mv(mat, vec), beta, alpha)


@method
def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta · input + alpha · the outer product of two vectors."""
    return _weighted("addr", input, outer(vec1, vec2), beta, alpha)


@method
def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta · input + alpha · batch1 @ batch2 for two batches of matrices."""
    return _weighted("baddbmm", input, bmm(batch1, batch2), beta, alpha)


@method
def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta · input + alpha · Σ batch1 @ batch2, the products of two batches of matrices added up."""
    return _weighted("addbmm", input, bmm(batch1, batch2).sum(0), beta, alpha)


@method
def mv(input: Any, vec: Any) -> Any:
    """The product of a matrix and a vector."""
    if len(input.shape) != 2 or len(vec.shape) != 1:
        raise ValueError(f"mv: expects a matrix and a vector, got shapes {tuple(input.shape)} and {tuple(vec.shape)}")
    return matmul(input, vec)


@method
def xlogy(input: Any, other: Any) -> Any:
    """input · log other, and 0 where input is 0, unless other is NaN."""
    zero = (input == 0) & ~(other != other)
    product = input * where(zero, 1.0, other).log() if isinstance(other, Tensor) or isinstance(input, Tensor) else 0
    return where(zero, 0.0, product)
