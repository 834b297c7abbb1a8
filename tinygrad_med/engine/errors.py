"""What an error says: which operation refused, what it got, and what to do."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from tinygrad_med import backend
from tinygrad_med.engine.elsewhere import advice

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Record
    from tinygrad_med.core.tensor import Tensor

REFUSALS = (IndexError, ValueError, TypeError, OverflowError)
"""What an array function raises that can't do what it was asked for."""


class RuleShapeError(RuntimeError):
    """A derivative rule gave a gradient whose shape is not its operand's, nor that of a broadcast of it."""

    def __init__(self, primitive: object, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
        super().__init__(f"{primitive}: its rule gave a gradient of shape {got} for an operand of shape {expected}")
        self.primitive, self.got, self.expected = primitive, got, expected


class ProductShapeError(ValueError):
    """The matrices of a product don't fit."""


def refuse(operation: object, error: Exception, arrays: Sequence[Any]) -> NoReturn:
    """Raise `error`, one of `REFUSALS`, again, with the name of the operation and what it got."""
    text = str(error)
    if not text.startswith(f"{operation}:"):
        text = f"{operation}: {text}; got {describe(arrays)}"
    if isinstance(error, OverflowError) and "out of bounds" in text:  # PyTorch takes the remainder of such a number
        text += "; convert x first, as by x.int()"
    kind = next(kind for kind in REFUSALS if isinstance(error, kind))  # NumPy's own take other arguments
    raise kind(text) from error


def refuse_foreign(operation: object, operands: Iterable[Any]) -> None:
    """Refuse a tensor of PyTorch's among operands, which NumPy would take for an array."""
    if "torch" not in sys.modules:  # then there is none, and long lists need no look
        return
    for x in operands:
        if type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "detach"):
            raise TypeError(
                f"{operation}: got a tensor of PyTorch's, {x.dtype} {tuple(x.shape)}, and PyTorch's and tinygrad_med's "
                "can't be mixed; for one of ours with its numbers: tinygrad_med.tensor(x.detach().cpu().numpy())"
            )


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
    """For a name that is not there, the one or two names much like it, else the advice `otherwise`."""
    close = difflib.get_close_matches(name, set(known), n=2, cutoff=0.75)
    return f"did you mean {' or '.join(close)}?" if close else otherwise


def answers(module: dict[str, Any], otherwise: str) -> Callable[[str], Any]:
    """A module's `__getattr__`, of its globals: the error for a name that it lacks."""

    def answer(name: str) -> Any:
        known = [known for known, value in module.items() if callable(value) and not known.startswith("_")]
        raise no_attribute(f"module {module['__name__']!r}", name, known, otherwise)

    return answer


def no_attribute(
    owner: str,
    name: str,
    known: Iterable[str],
    otherwise: str = "tinygrad_med.ops has all operations",
) -> AttributeError:
    """The error for a name that `owner` lacks: where ours is, for a well-known name, else one that is much like it."""
    hint = advice(name) or did_you_mean(name, known, otherwise)
    return AttributeError(f"{owner} has no attribute {name!r}; {hint}")


# What the definition refuses ----------------------------------------------------------------------------------------


def refuse_gradient(tensor: Tensor, requires_grad: bool) -> None:
    """Refuse `requires_grad_` for what can't carry a gradient, or can't be switched off."""
    if requires_grad and tensor.dtype.kind != "f":
        raise RuntimeError(
            f"requires_grad_: a {tensor.dtype} tensor can't carry a gradient, only float types can; "
            "convert it first: x.float().requires_grad_()"
        )
    if not requires_grad and tensor.origin is not None:
        raise RuntimeError(
            f"requires_grad_: this tensor is the result of {tensor.origin.primitive}; only a leaf can be switched "
            "off, use x.detach()"
        )


def refuse_size(data: Any) -> None:
    """Refuse `Tensor(3)`, which in PyTorch is memory for three numbers."""
    if type(data) is int:  # not of True, which is a number like 1.5
        raise TypeError(f"Tensor({data}) is memory for {data} numbers in PyTorch; use zeros({data}), or tensor({data})")


def refuse_hook(tensor: Tensor, name: str = "register_hook") -> None:
    """Refuse a hook on what no gradient comes to."""
    if not tensor.requires_grad:
        raise RuntimeError(f"{name}: this tensor does not require a gradient; call requires_grad_() first")
    _follow(tensor)


def no_gradient_kept(record: Record) -> None:
    """Warn that `.grad` was asked of a result, where `backward()` leaves none: PyTorch's beginners meet this first."""
    warnings.warn(
        f".grad is None here: this tensor is the result of {record.primitive}, and backward() leaves gradients in "
        "leaves only; call x.retain_grad() before backward(), or look at the leaf made with requires_grad=True",
        UserWarning,
        stacklevel=3,
    )


def refuse_no_graph(tensor: Any, caller: str) -> None:
    """Refuse to differentiate what is no tensor, or has no place in a graph."""
    if not hasattr(tensor, "requires_grad"):
        raise TypeError(f"{caller}: expected a tensor, got {type(tensor).__name__}")
    if not tensor.requires_grad:
        raise RuntimeError(
            f"{caller}: the tensor of shape {tensor.shape} requires no gradient; "
            "set requires_grad=True on a leaf that it is computed from, outside no_grad()"
        )
    _follow(tensor)


def _follow(tensor: Tensor) -> None:
    """Let a tensor follow what was written to its memory, before its place in the graph is used."""
    from tinygrad_med.engine.writes import writes

    if writes.rewritten:
        from tinygrad_med.inplace import follow

        follow(tensor)


def refuse_several(tensor: Tensor, caller: str) -> None:
    """Refuse to begin with 1 at a tensor of several elements."""
    if tensor.array.size != 1:
        raise RuntimeError(
            f"{caller}: the gradient of a tensor of shape {tensor.shape} needs an upstream gradient of that shape; "
            "reduce it to one element first (.sum(), .mean()), or pass one"
        )


def refuse_count(outputs: Sequence[Any], seeds: Sequence[Any]) -> None:
    """Refuse upstream gradients for some of the outputs only."""
    if len(seeds) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs, but {len(seeds)} grad_outputs; give one for each")


def refuse_unused(missing: Sequence[int], allowed: bool) -> None:
    """Refuse inputs that no output depends on, unless that is allowed."""
    if missing and not allowed:
        raise RuntimeError(f"grad: no output depends on input {missing[0]}; pass allow_unused=True to get None for it")


def refuse_upstream(tensor: Tensor, gradient: Tensor, caller: str) -> None:
    """Refuse an upstream gradient that is not of the tensor's shape."""
    if gradient.shape != tensor.shape:
        raise RuntimeError(f"{caller}: the upstream gradient has shape {gradient.shape}, the tensor {tensor.shape}")


def refuse_dtype(leaf: Tensor, g: Any) -> None:
    """Refuse a gradient in another dtype than its leaf's."""
    if g.dtype != leaf.dtype:
        raise RuntimeError(f"backward: a rule gave a {g.dtype} gradient for a {leaf.dtype} leaf of shape {leaf.shape}")


def refuse_shape(record: Record, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse a rule's gradient whose shape the operand can't have been broadcast to."""
    added = len(got) - len(expected)
    if added < 0 or any(n not in (1, m) for n, m in zip(expected, got[added:], strict=True)):
        raise RuleShapeError(record.primitive, got, expected)


def refuse_exchanged(record: Record, leaf: Tensor, value: Any) -> None:
    """Refuse to let a leaf stand for the numbers that an operation saved, if it holds others by now."""
    held = leaf.array
    if held is value or (not leaf.ndim and (held == value or (held != held and value != value))):
        return
    raise RuntimeError(
        f"backward of {record.primitive}: the numbers of its operand of shape {leaf.shape} were exchanged since, "
        "which create_graph can't follow; clone() it first"
    )


def refuse_freed(record: Record) -> None:
    """Refuse to walk a graph again whose saved values are gone."""
    if record.saved is None:
        raise RuntimeError(
            f"{record.primitive}: the graph was walked before, which freed its saved values; "
            "pass retain_graph=True to the earlier backward() or grad()"
        )


RULE_FAILURES = (TypeError, ValueError, IndexError, AttributeError)
"""What a derivative rule raises that has a mistake."""


def refuse_rule(record: Record, error: Exception) -> NoReturn:
    """Say whose rule failed, and what to do if it knows only one of the two that it gets, arrays and tensors."""
    hint = ""
    if isinstance(error, (AttributeError, TypeError)):
        hint = (
            "; a rule gets arrays, and tensors under create_graph: write it with operators and functions that take "
            "both, tinygrad_med.sum(g, 1), not with methods or NumPy's functions"
        )
    raise RuntimeError(f"backward of {record.primitive}: its derivative rule failed: {error}{hint}") from error
