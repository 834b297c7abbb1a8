"""What an argument that names dims or lengths may be, and what it means."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tinygrad_med.core.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def bools_are_bools(function: F) -> F:
    """Hold the arguments whose default is a bool (`keepdim`, `descending` …) to bools.

    `x.sum(0, 1)` means two dims to one reader and `keepdim` to another, so it is an error, as in PyTorch; so is a bool
    that is called `dim`. (In the place of `dim`, `x.std(True)` means `unbiased`.)
    """
    parameters = inspect.signature(function).parameters.values()
    flags = [(i, p.name) for i, p in enumerate(parameters) if isinstance(p.default, bool)]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for i, name in flags:
            flag = args[i] if i < len(args) else kwargs.get(name, False)
            if flag is not True and flag is not False:
                raise TypeError(f"{function.__name__}: {name} must be True or False, got {flag!r}")
        if isinstance(kwargs.get("dim"), bool):
            raise TypeError(
                f"{function.__name__}: dim must be an integer, got {kwargs['dim']}; give a flag by its name"
            )
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def also_named(name: str) -> Callable[[F], F]:
    """Let what follows the tensor, as in `x.permute(0, 2, 1)`, also be one list, and be given by its name."""

    def wrap(operation: F) -> F:
        @functools.wraps(operation)
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in kwargs:
                args = (*args, kwargs.pop(name))
            return operation(*args, **kwargs)

        return call  # type: ignore[return-value]

    return wrap


def integer(value: Any, operation: str, name: str) -> int:
    """An integer argument as an `int`; a bool is none, for it stands in the wrong place."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == "bool":
        raise TypeError(f"{operation}: {name} must be an integer, got {value}; give a flag by its name")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{operation}: {name} must be an integer, got {value!r}") from None


def one_dim(dim: Any, ndim: int, operation: str) -> int:
    """`dim` counted from the front; an error if the tensor has no such dim."""
    d = integer(dim, operation, "dim")
    if not -max(ndim, 1) <= d < max(ndim, 1):
        raise IndexError(f"{operation}: dim {d} is out of range for a tensor of {ndim} dims")
    return d % max(ndim, 1)


def all_dims(dim: Any, ndim: int, operation: str) -> tuple[int, ...]:
    """`dim` (an int, several, or `None` for all) as a sorted tuple counted from the front."""
    if dim is None:
        return tuple(range(ndim))
    dims = sorted(one_dim(d, ndim, operation) for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    if len(set(dims)) < len(dims):
        raise ValueError(f"{operation}: a dim is named twice in {dim}")
    return tuple(dims) if ndim else ()


def sizes(shape: Sequence[Any], operation: str = "shape") -> tuple[int, ...]:
    """A shape given as `(2, 3)` or as one tuple `((2, 3),)`."""
    if len(shape) == 1 and not isinstance(shape[0], Tensor) and isinstance(shape[0], (tuple, list)):
        shape = shape[0]
    return tuple(n if type(n) is int else integer(n, operation, "a length") for n in shape)
