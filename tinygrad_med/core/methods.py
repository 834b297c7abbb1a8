"""The base class of `Tensor` that `operators.py` fills: with operators, and with every operation marked `@method`.

`methods.pyi` beside this file tells editors and type checkers what it then has; `python -m tinygrad_med.engine.stubs`
writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

METHODS: dict[str, Any] = {}
"""By name what is to become a method of tensors."""


class Methods:
    """What tensors can do by the operations of `ops/`."""

    __slots__ = ()


def method(operation: F, name: str | None = None) -> F:
    """Mark an operation whose first operand is a tensor: `exp(x)` is `x.exp()`, too; or another `name` for it."""
    code = getattr(operation, "__code__", None)
    if code is not None and code.co_varnames[:1] == ("xp",):
        raise TypeError(f"@method stands above @primitive, not below it: {operation.__name__} is still its forward")
    METHODS[name or operation.__name__] = operation
    return operation
