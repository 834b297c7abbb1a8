"""What the engine does to operands by itself: convert them to one dtype, and broadcast them; and what undoes it."""

from __future__ import annotations

from typing import Any

from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.primitive import primitive


@primitive
def cast(xp: Any, x: Any, *, dtype: Any) -> Any:
    """z = x in another dtype

    ∂x: g in the dtype of x
    """
    return x.astype(dtype)


cast.vjp(x=lambda g, x_dtype: cast(g, dtype=x_dtype))


@primitive
def sum_to(xp: Any, x: Any, *, shape: Any) -> Any:
    """z = x summed over the dims that broadcasting from `shape` to the shape of x added or stretched

    ∂x: g broadcast to the shape of x
    """
    added = x.ndim - len(shape)
    stretched = tuple(i + added for i, n in enumerate(shape) if n == 1 and x.shape[i + added] != 1)
    return kernels(xp).sum(x, (*range(added), *stretched), keepdims=True).reshape(shape)


@primitive(view=True)  # type: ignore[untyped-decorator]
def expand(xp: Any, x: Any, *, shape: Any) -> Any:
    """z = x broadcast to `shape`

    ∂x: g (which the walk sums to the shape of x)
    """
    return kernels(xp).broadcast_to(x, shape)


sum_to.vjp(x=lambda g, x_shape: expand(g, shape=x_shape))
expand.vjp(x=lambda g: g)
