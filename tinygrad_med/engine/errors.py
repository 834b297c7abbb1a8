"""What an error says: which operation refused, what it got, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from tinygrad_med import backend

REFUSALS = (IndexError, ValueError, TypeError, OverflowError)
"""What an array function raises that can't do what it was asked for."""


class RuleShapeError(RuntimeError):
    """A derivative rule gave a gradient whose shape is not its operand's, nor that of a broadcast of it."""

    def __init__(self, primitive: object, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
        super().__init__(f"{primitive}: its rule gave a gradient of shape {got} for an operand of shape {expected}")
        self.primitive, self.got, self.expected = primitive, got, expected


def refuse(operation: object, error: Exception, arrays: Sequence[Any]) -> NoReturn:
    """Raise `error`, one of `REFUSALS`, again, with the name of the operation and what it got."""
    text = str(error)
    if not text.startswith(f"{operation}:"):
        text = f"{operation}: {text}; got {describe(arrays)}"
    kind = next(kind for kind in REFUSALS if isinstance(error, kind))  # NumPy's own take other arguments
    raise kind(text) from error


def describe(arrays: Sequence[Any]) -> str:
    """The shapes and dtypes of operands, for an error: `float32 (3, 4) and 2.0`."""
    return " and ".join(f"{a.dtype} {a.shape}" if hasattr(a, "dtype") else repr(a) for a in arrays)


def describe_nonfinite(array: Any) -> str:
    """How many NaNs and infinities an array has, for an error."""
    xp = backend.array_module(array)
    nan, inf = int(xp.isnan(array).sum()), int(xp.isinf(array).sum())
    return (
        " and ".join(f"{n} {name}" for n, name in ((nan, "NaN"), (inf, "infinite")) if n) + f" of {array.size} values"
    )


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """For a name that is not there, the one or two names most like it, else the advice `otherwise`."""
    close = difflib.get_close_matches(name, set(known), n=2)
    return f"did you mean {' or '.join(close)}?" if close else otherwise
