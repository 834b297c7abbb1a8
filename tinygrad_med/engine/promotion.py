"""The dtype and the device that an operation computes in.

Python scalars never promote a tensor, and a 0-d tensor promotes one with dims only across categories
(bool < integer < float), as in PyTorch. NumPy alone would give float64 for float32 · int64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med.dtypes import as_dtype, bool_, float16, float32, float64, get_default_dtype
from tinygrad_med.engine.conversions import Conversions

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Primitive


_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}  # complex only inside, for the complex-step check of derivatives


_FLOATS = (
    "acos acosh asin asinh atan atan2 atanh cos cosh div erf exp expm1 hypot log log10 log1p logaddexp logsigmoid "
    "sigmoid sin sinh softplus sqrt tan tanh"
)
FLOATS = frozenset(_FLOATS.split())
"""The operations that make floats of integers."""


def in_one_dtype(operation: Primitive, operands: Sequence[Any]) -> Sequence[Any]:
    """The operands (tensors, arrays and Python scalars), those of another dtype converted to the common one.

    Of integers, operations that make floats compute in the default dtype; NumPy makes float16 of bytes.
    """
    dtypes = {getattr(x, "dtype", None) for x in operands}
    only: Any = dtypes.pop() if len(dtypes) == 1 else None
    makes_floats = operation.__name__ in FLOATS
    if only is not None and (only.kind in "fc" or not makes_floats):
        return operands
    dtype = result_dtype(operands)
    if makes_floats and dtype.kind not in "fc":
        dtype = get_default_dtype()
    return [x if getattr(x, "dtype", dtype) == dtype else convert(x, dtype) for x in operands]


def settle(z: Any, arrays: Sequence[Any]) -> Any:
    """z; of integers of which NumPy made float64 in the default dtype."""
    if z.dtype == float64 and result_dtype(arrays).kind not in "fc":
        return z.astype(get_default_dtype())
    return z


def needs_single(operands: Sequence[Any]) -> bool:
    """Whether an operand is float16, which ends at 65,504: many squares and sums exceed that."""
    return any(getattr(x, "dtype", None) == float16 for x in operands)


def in_single(operation: Primitive, operands: Sequence[Any], constants: dict[str, Any]) -> Any:
    """The operation on float16 operands computed in float32, its result in float16 again."""
    wide = [convert(x, float32) if getattr(x, "dtype", None) == float16 else x for x in operands]
    return convert(operation(*wide, **constants), float16)


def convert(x: Any, dtype: Any) -> Any:
    """A tensor or an array in another dtype; through the tensor the gradient flows."""
    return x.to(dtype) if isinstance(x, Conversions) else x.astype(dtype)


def result_dtype(operands: Iterable[Any]) -> numpy.dtype:
    """The dtype in which an operation on `operands` (arrays and Python scalars) computes, by PyTorch's rule.

    Among arrays with dims the largest of the highest category wins; 0-d arrays, and after them Python scalars, take
    part only if their category is higher than that of all before.
    """
    with_dims: list[numpy.dtype] = []
    zero_dim: list[numpy.dtype] = []
    scalars: list[numpy.dtype] = []
    for x in operands:
        if not hasattr(x, "dtype"):
            scalars.append(as_dtype(type(x)))
        else:
            (with_dims if x.ndim else zero_dim).append(x.dtype)
    result, reached = bool_, -1
    for level in (with_dims, zero_dim, scalars):
        highest = max((_CATEGORY[d.kind] for d in level), default=-1)
        if highest > reached:
            result, reached = numpy.result_type(*(d for d in level if _CATEGORY[d.kind] == highest)), highest
    return result
