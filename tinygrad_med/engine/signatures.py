"""What a primitive's signature says: which arguments are operands, which constants, and by which names they are given.

The forward `softplus(xp, x, *, beta=1, threshold=20)` makes the call `softplus(x, beta=1, threshold=20)`. PyTorch's and
NumPy's names of an argument are taken as well as ours: `softplus(input=x)`, `argmax(x, axis=0)`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any

from tinygrad_med.engine import autocast
from tinygrad_med.engine.conversions import Conversions
from tinygrad_med.engine.errors import did_you_mean

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Primitive

OTHER_NAMES = {
    "input": "x",
    "self": "x",
    "other": "y",
    "exponent": "y",
    "mat2": "y",
    "tensor": "y",
    "vec2": "y",
    "values": "y",
    "axis": "dim",
    "keepdims": "keepdim",
}
"""Names of arguments in PyTorch and NumPy, and ours."""

_TENSORS = {
    (0, 1): "atan2 fmax fmin heaviside hypot isclose ldexp logaddexp logaddexp2 logical_and logical_or logical_xor "
    "maximum minimum",
    (0,): "clamp_max clamp_min copysign eq fmod ge gt le lt ne rsub",
    (): "bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor float_power pow remainder xlogy",
}
TENSORS = {operation: places for places, names in _TENSORS.items() for operation in names.split()}
"""Of operations with two operands, which must be tensors, as in PyTorch; where it says none, any one of the two. `add`,
`sub`, `mul` and `div` are called with two numbers, too, as PyTorch's are."""


def needs_tensors(operation: Any) -> tuple[int, ...] | None:
    """The places of the operands that must be tensors, of one of our operations; `None` where numbers will do."""
    own = (getattr(operation, "__module__", None) or "").startswith("tinygrad_med.ops.")
    return TENSORS.get(operation.__name__) if own else None


def check_tensors(operation: Any, names: Sequence[str], operands: Sequence[Any]) -> None:
    """Refuse a number where PyTorch wants a tensor; not beside plain arrays, on which rules compute."""
    numbers = [i for i, x in enumerate(operands) if type(x) in (int, float, bool)]
    if len(numbers) < len(operands) and not any(isinstance(x, Conversions) for x in operands):
        return
    for i in numbers:
        if i in TENSORS[operation.__name__] or len(numbers) == len(operands):
            raise TypeError(
                f"{operation.__name__}: {names[i]} must be a tensor, got the number {operands[i]!r}; "
                f"make one of it, tensor({operands[i]!r})"
            )


def by_other_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors that takes its arguments by those names too, as a primitive does; `input` is the first.

    Under `autocast` it is one operation, whose operands are converted.
    """
    own = list(inspect.signature(function).parameters)
    renamed = {name: ours for name, ours in OTHER_NAMES.items() if ours in own and name not in own}
    firsts = [name for name in ("input", "self") if own and name not in own[1:]]
    of_tensors = needs_tensors(function) is not None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs and not args:
            args = tuple(kwargs.pop(name) for name in firsts if name in kwargs)
        for name in kwargs.keys() & renamed.keys():
            if renamed[name] in kwargs or name in firsts:
                raise TypeError(f"{function.__name__}: {name} is another name of {renamed[name]}; give one of them")
            kwargs[renamed[name]] = kwargs.pop(name)
        if of_tensors:
            check_tensors(function, own, [*args, *(kwargs[name] for name in own[len(args) :] if name in kwargs)][:2])
        if autocast.threads and autocast.casting.dtypes:
            return autocast.call(function, args, kwargs)
        return function(*args, **kwargs)

    return call


def sort(forward: Callable[..., Any]) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    """The operands of a forward, whether that is one name for any number of them, and the constants."""
    parameters = list(inspect.signature(forward).parameters.values())
    if not parameters or parameters[0].name != "xp":
        first = parameters[0].name if parameters else "nothing"
        raise TypeError(
            f"@primitive: {_name(forward)} takes {first} first; the first argument is xp, the array library: "
            f"def {_name(forward)}(xp, x)"
        )
    operands = [p for p in parameters[1:] if p.kind is not Parameter.KEYWORD_ONLY]
    constants = [p for p in parameters[1:] if p.kind is Parameter.KEYWORD_ONLY]
    variadic = any(p.kind is Parameter.VAR_POSITIONAL for p in operands)
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
        raise TypeError(f"@primitive: {_name(forward)} takes **{parameters[-1].name}; name each constant")
    if not operands or (variadic and len(operands) > 1):
        raise TypeError(
            f"@primitive: {_name(forward)} needs operands, x, y … or *xs; what gradients flow through comes before *"
        )
    if any(p.name == "z" for p in parameters):
        raise TypeError(f"@primitive: {_name(forward)} has an argument z; that is the output's name in rules")
    for p in operands:
        if p.default is not Parameter.empty:
            raise TypeError(
                f"@primitive: {_name(forward)}: the operand {p.name} has a default; constants have, and come after *: "
                f"def {_name(forward)}(xp, …, *, {p.name}={p.default!r})"
            )
    return tuple(p.name for p in operands), variadic, tuple(p.name for p in constants)


def of_call(forward: Callable[..., Any]) -> Signature:
    """How the operation is called: without xp; the constants may be given by their place, too."""
    parameters = []
    for p in list(inspect.signature(forward).parameters.values())[1:]:
        by_place = p.kind is Parameter.KEYWORD_ONLY and not _variadic(forward)
        kind = Parameter.POSITIONAL_OR_KEYWORD if by_place else p.kind
        parameters.append(p.replace(kind=kind, annotation=Parameter.empty))
    parameters.sort(key=lambda p: p.kind is Parameter.KEYWORD_ONLY)
    first_default = next((i for i, p in enumerate(parameters) if p.default is not Parameter.empty), len(parameters))
    for i, p in enumerate(parameters):  # Python wants arguments without a default before those with one
        if i > first_default and p.default is Parameter.empty and p.kind is Parameter.POSITIONAL_OR_KEYWORD:
            parameters[i] = p.replace(kind=Parameter.KEYWORD_ONLY)
    return Signature(sorted(parameters, key=lambda p: p.kind is Parameter.KEYWORD_ONLY))


def bind(p: Primitive, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The operands and the constants of a call; tensors among the constants become arrays.

    Raises:
        TypeError: for an argument that is missing, given twice or unknown.
    """
    known = p.__signature__.parameters
    given = {name: value for name, value in kwargs.items() if name in known}
    for name in kwargs.keys() - given.keys():
        own = OTHER_NAMES.get(name, name)
        if own in known and given.get(own, known[own].default) is not known[own].default:
            raise TypeError(f"{p}: {name} is another name of {own}; give one of them")
        given[own] = kwargs[name]
    try:
        bound = p.__signature__.bind(*args, **given)
    except TypeError as error:
        raise TypeError(f"{p}: {_explain(p, str(error), given)}") from None
    bound.apply_defaults()
    values = bound.arguments
    operands = values[p.operands[0]] if p.variadic else tuple([values[name] for name in p.operands])
    if needs_tensors(p) is not None:
        check_tensors(p, p.operands, operands)
    return operands, {name: as_constant(values[name]) for name in p.constants}


def as_constant(value: Any) -> Any:
    """A constant as the forward gets it: of a tensor its array."""
    return value.array if isinstance(value, Conversions) else value


def _explain(p: Primitive, refusal: str, given: Iterable[str]) -> str:
    unknown = [name for name in given if name not in p.__signature__.parameters]
    if unknown:
        names = list(p.__signature__.parameters)
        hint = did_you_mean(unknown[0], names, "it takes " + ", ".join(names))
        return f"unknown argument {unknown[0]}; {hint}"
    return f"{refusal}; it is called as {p}{p.__signature__}"


def of_rule(function: Callable[..., Any], known: Sequence[str], owner: str) -> tuple[str, ...]:
    """The names of what a rule takes besides the upstream gradient."""
    upstream, *arguments = inspect.signature(function).parameters or ("nothing",)
    if upstream != "g" or any(name not in known for name in arguments):
        raise TypeError(
            f"{owner}: takes g, the upstream gradient, first and then any of {', '.join(known)}; "
            f"got ({', '.join([upstream, *arguments])})"
        )
    return tuple(arguments)


def check_rules(p: Primitive, names: Iterable[str]) -> None:
    """Refuse rules for an operation without derivative, and for what is no operand."""
    if not p.differentiable:
        raise TypeError(f"{p}.vjp: it was declared with differentiable=False; drop that, or the rules")
    for name in names:
        if name not in p.operands:
            raise TypeError(f"{p}.vjp: it has no operand {name!r}, only {', '.join(p.operands)}")


def check_complete(p: Primitive, operands: Iterable[str]) -> None:
    """Refuse to record an operation that has no rule for an operand through which a gradient flows."""
    for name in operands:
        if name not in p.rules:
            raise NotImplementedError(
                f"{p}: it has no derivative with respect to {name}; detach that operand, give the rule "
                f"with {p}.vjp({name}=…), or declare it with @primitive(differentiable=False)"
            )


def _name(forward: Callable[..., Any]) -> str:
    return getattr(forward, "__name__", repr(forward))


def _variadic(forward: Callable[..., Any]) -> bool:
    return any(p.kind is Parameter.VAR_POSITIONAL for p in inspect.signature(forward).parameters.values())
