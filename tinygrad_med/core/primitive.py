"""What an operation is: one array function, and one derivative rule per operand.

    @primitive
    def mul(xp, x, y):
        '''z = x · y

        ∂x: g · y
        ∂y: g · x
        '''
        return x * y

    mul.vjp(x=lambda g, y: g * y, y=lambda g, x: g * x)

- The first argument of the forward is the array library of the operands (`xp`), so the same line runs on NumPy and
  CuPy. Positional arguments are operands, through which gradients flow; keyword-only arguments (dims, strides,
  labels, masks) are constants.
- A rule takes the upstream gradient `g`, and then *by name* what it needs: the output `z`, an operand `x`, its
  `x_shape` or `x_dtype`, a constant. The record of the operation keeps just that; every other array is free at once.
- Rules are written with operators and other primitives. A primitive called on plain arrays is just its forward, so a
  rule runs on arrays when nobody asked for the graph of the gradient, and on tensors when somebody did: the
  derivative of a derivative is nothing new.
- What has no derivative says so, `@primitive(differentiable=False)`; a rule that is merely missing is an error.
- A rule may return its gradient in the shape of the output; the walk (`backward.py`) sums it to the operand's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.modes import AnomalyError, mode, next_number, user_line
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.dtypes import float64, get_default_dtype, result_dtype
from tinygrad_med.engine.errors import REFUSALS, describe, describe_nonfinite, refuse

# The record ---------------------------------------------------------------------------------------------------------


class Record:
    """One operation that happened: what the walk needs to go back through it.

    Attributes:
        plan: the rules of the operation, for just those operands that need a gradient.
        inputs: per operand the record that made it, the leaf itself, or `None` where no gradient flows.
        saved: the values that the rules asked for, in the order of `plan.slots`; `None` once freed.
        shape: the shape of the output.
        number: orders the events of the process; an operation comes after those that made its operands.
        hooks: what to call with the gradient of the output.
    """

    __slots__ = ("plan", "inputs", "saved", "shape", "number", "hooks")

    plan: Plan
    inputs: tuple[Record | Tensor | None, ...]
    saved: tuple[Any, ...] | None
    shape: tuple[int, ...]
    number: int
    hooks: list[Any] | None

    line: str | None = None
    """`file:line` that ran the operation; known in anomaly mode only."""

    @property
    def primitive(self) -> Primitive:
        """The operation."""
        return self.plan.primitive

    def __repr__(self) -> str:
        return f"<{self.primitive} -> {self.shape}>"


class _LocatedRecord(Record):
    """A record of anomaly mode, which knows its line."""

    __slots__ = ("line",)


def _recorded(
    array: Any, plan: Plan, inputs: tuple[Any, ...], saved: tuple[Any, ...], kind: type[Record] = Record
) -> Tensor:
    """The output of an operation, with its record."""
    record = kind()
    record.plan = plan
    record.inputs = inputs
    record.saved = saved
    record.shape = array.shape
    record.number = next_number()
    record.hooks = None
    tensor = object.__new__(Tensor)
    tensor.array = array
    tensor.grad = tensor.hooks = None
    tensor.origin = record
    tensor.requires_grad = True
    return tensor


# The plan -----------------------------------------------------------------------------------------------------------


class Plan:
    """What an operation saves and which rules it runs, for one choice of operands that need a gradient.

    Its functions are compiled from source, as `collections.namedtuple` does it, because the cost of a function call is
    what limits a graph of scalars. For `mul` with both operands needed they read

        keep = lambda z, x, y: (x, y)
        back = lambda g, x, y: (rule_x(g, y), rule_y(g, x))

    Attributes:
        primitive: the operation.
        needed: per operand, whether it needs a gradient.
        slots: the names of what is saved.
        keep: `keep(z, *operands, **constants, **extras)` is the tuple of saved values.
        back: `back(g, *saved)` is the tuple of gradients, `None` for an operand that needs none.
        joint: the like, but only for arrays: one function for all operands, where the primitive has one.
    """

    def __init__(self, primitive: Primitive, needed: tuple[bool, ...], slots: tuple[str, ...] | None = None) -> None:
        self.primitive = primitive
        self.needed = needed
        names = primitive.operands * len(needed) if primitive.variadic else primitive.operands
        differentiated = [name for name, need in zip(names, needed, strict=True) if need]
        for name in differentiated:
            if name not in primitive.rules:
                raise NotImplementedError(
                    f"{primitive}: it has no derivative with respect to {name}; detach that operand, give the rule "
                    f"with {primitive}.vjp({name}=…), or declare it with @primitive(differentiable=False)"
                )
        if slots is None:
            asked = {slot for name in differentiated for slot in primitive.rules[name].needs}
            asked |= set(primitive.joint.needs if primitive.joint else ())
            slots = tuple(slot for slot in primitive.slots if slot in asked)
        self.slots = slots
        self.keep = self._compile_keep()
        self.back = self._compile_back(names)
        self.joint = self._compile_joint()
        self._parts: dict[tuple[bool, ...], Plan] = {}

    def only(self, needed: tuple[bool, ...]) -> Plan:
        """The plan for a choice of fewer operands, on what this one saved."""
        if needed not in self._parts:
            self._parts[needed] = Plan(self.primitive, needed, self.slots)
        return self._parts[needed]

    def _compile_keep(self) -> Callable[..., tuple[Any, ...]]:
        p = self.primitive
        operands = f"*{p.operands[0]}" if p.variadic else ", ".join(p.operands)
        keywords = [*p.constants, *p.extras]
        star = ["*"] if keywords and not p.variadic else []
        arguments = ", ".join(["z", operands, *star, *keywords])
        return _compile(f"lambda {arguments}: {_tuple_source(p.slots[slot] for slot in self.slots)}", {})

    def _compile_back(self, names: Sequence[str]) -> Callable[..., tuple[Any, ...]]:
        calls, rules = [], {}
        for i, (name, need) in enumerate(zip(names, self.needed, strict=True)):
            if not need:
                calls.append("None")
                continue
            rule = self.primitive.rules[name]
            rules[f"rule_{name}"] = rule.function
            values = ["g", *(str(i) if slot == "i" else slot for slot in rule.arguments)]
            calls.append(f"rule_{name}({', '.join(values)})")
        return _compile(f"lambda {', '.join(['g', *self.slots])}: {_tuple_source(calls)}", rules)

    def _compile_joint(self) -> Callable[..., tuple[Any, ...]] | None:
        joint = self.primitive.joint
        if joint is None:
            return None
        scope = {"joint": joint.function, "needed": self.needed}
        return _compile(f"lambda {', '.join(['g', *self.slots])}: joint({', '.join(['g', *joint.arguments])})", scope)


class _Plans(dict[tuple[bool, ...], Plan]):
    """The plans of a primitive, each made at its first use."""

    def __init__(self, primitive: Primitive) -> None:
        super().__init__()
        self.primitive = primitive

    def __missing__(self, needed: tuple[bool, ...]) -> Plan:
        self[needed] = plan = Plan(self.primitive, needed)
        return plan


def _compile(source: str, scope: dict[str, Any]) -> Any:
    return eval(source, scope)


def _tuple_source(elements: Any) -> str:
    return "(" + "".join(f"{e}, " for e in elements) + ")"


class Rule:
    """A derivative rule, and the names of what it needs besides the upstream gradient."""

    def __init__(self, function: Callable[..., Any], known: Sequence[str], owner: str) -> None:
        self.function = function
        upstream, *self.arguments = inspect.signature(function).parameters
        unknown = [name for name in self.arguments if name not in known]
        if upstream != "g" or unknown:
            raise TypeError(
                f"{owner}: takes g, the upstream gradient, first and then any of {', '.join(known)}; "
                f"got ({', '.join([upstream, *self.arguments])})"
            )
        self.needs = tuple(name for name in self.arguments if name not in ("i", "needed"))


# The primitive ------------------------------------------------------------------------------------------------------


class Primitive:
    """An operation: a forward, and a derivative rule per operand. Made by `@primitive`; see the top of this file.

    Called with at least one tensor it returns a tensor, called with plain arrays an array. Arguments after the
    operands are the constants in their order: `sum(x, 0)` is `sum(x, dim=0)`.

    Attributes:
        forward: the array function.
        operands: the names of the operands; if `variadic`, one name for any number of them.
        constants: the keyword-only arguments with their defaults.
        extras: the names of what the forward returns beside the output, for the rules.
        rules: per operand its derivative rule.
        joint: where set, computes all gradients at once on plain arrays; `rules` remain its specification.
        differentiable: whether gradients flow through it; if not (a comparison, a position), its output is a constant.
        slots: everything that a rule can ask for: the name and the source of its value.
        plans: per choice of operands that need a gradient, what to save and which rules to run.
        function: the call itself, as a function, so that `Tensor` can have it as a method.
    """

    __name__: str

    def __init__(self, forward: Callable[..., Any], extras: tuple[str, ...] = (), differentiable: bool = True) -> None:
        functools.update_wrapper(self, forward)
        self.forward = forward
        self.extras = extras
        self.differentiable = differentiable
        parameters = list(inspect.signature(forward).parameters.values())[1:]
        operands = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.operands = tuple(p.name for p in operands)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in operands)
        self.constants = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.defaults = {name: d for name, d in self.constants.items() if d is not inspect.Parameter.empty}
        self.rules: dict[str, Rule] = {}
        self.joint: Rule | None = None
        self.slots = {name: name for name in ("z", *self.operands, *self.constants, *extras)}
        for x in self.operands:
            for fact in ("shape", "dtype"):
                self.slots[f"{x}_{fact}"] = f"tuple(x.{fact} for x in {x})" if self.variadic else f"{x}.{fact}"
        self.plans = _Plans(self)
        self.function = _general(self)

    def vjp(self, **rules: Callable[..., Any]) -> None:
        """Give the derivative rules, an operand's name each: `mul.vjp(x=lambda g, y: g * y, y=lambda g, x: g * x)`."""
        if not self.differentiable:
            raise TypeError(f"{self}.vjp: it was declared with differentiable=False; drop that, or the rules")
        for name, function in rules.items():
            if name not in self.operands:
                raise TypeError(f"{self}.vjp: it has no operand {name!r}, only {', '.join(self.operands)}")
            known = [*self.slots, "i"] if self.variadic else list(self.slots)
            self.rules[name] = Rule(function, known, f"{self}.vjp: the rule for {name}")
        self.plans.clear()
        if not (self.constants or self.variadic or self.extras) and len(self.operands) < 3:
            self.function = _quick_unary(self) if len(self.operands) == 1 else _quick_binary(self)
            self.function.__qualname__ = str(self)  # what Python calls it in an error

    def vjp_joint(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give one function for all gradients, for plain arrays only; its argument `needed` says which are wanted."""
        self.joint = Rule(function, [*self.slots, "needed"], f"{self}.vjp_joint")
        self.plans.clear()
        return function

    def __call__(self, *operands: Any, **constants: Any) -> Any:
        """The operation on tensors, or on arrays."""
        return self.function(*operands, **constants)

    def __str__(self) -> str:
        return self.__name__.lstrip("_")

    def __repr__(self) -> str:
        return f"<primitive {self}>"

    def apply(self, *operands: Any, **constants: Any) -> Any:
        """The call, for any number of operands and constants."""
        if self.constants:
            operands, constants = self._bind(operands, constants)
        arrays = [x.array if isinstance(x, Tensor) else x for x in operands]
        xp = backend.array_module(*arrays)
        backend.same_device(self, arrays)
        if not any(isinstance(x, Tensor) for x in operands):
            output = self.forward(xp, *arrays, **constants)
            return output[0] if self.extras else output

        dtype = result_dtype(arrays)
        for i, array in enumerate(arrays):
            if getattr(array, "dtype", dtype) != dtype:
                from tinygrad_med.core.broadcast import cast

                operands = (*operands[:i], cast(operands[i], dtype=dtype), *operands[i + 1 :])
                arrays[i] = operands[i].array if isinstance(operands[i], Tensor) else operands[i]
        try:
            output = self.forward(xp, *arrays, **constants)
        except REFUSALS as error:
            refuse(self, error, arrays)
        z, *extras = output if self.extras else (output,)
        if z.dtype == float64 and dtype.kind != "f":
            z = z.astype(get_default_dtype())  # 1 / 2 and exp(1) of integers: NumPy computes them in float64
        if mode.anomaly:
            self.check_finite(z, arrays)

        needed = tuple(isinstance(x, Tensor) and x.requires_grad for x in operands)
        if not (self.differentiable and mode.grad and any(needed)):
            tensor = wrap(z)
        else:
            plan = self.plans[needed]
            saved = plan.keep(z, *arrays, **constants, **dict(zip(self.extras, extras, strict=True)))
            inputs = tuple((x.origin or x) if need else None for x, need in zip(operands, needed, strict=True))
            tensor = _recorded(z, plan, inputs, saved, _LocatedRecord if mode.anomaly else Record)
            if mode.anomaly:
                tensor.origin.line = user_line()  # type: ignore[union-attr]
        for watcher in mode.watchers:
            watcher.operation(self, operands, arrays, constants, tensor)
        return tensor

    def _bind(self, operands: tuple[Any, ...], constants: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort the arguments of a call into operands and constants; tensors among the constants become arrays."""
        if not self.variadic:
            count = len(self.operands)
            given = dict(zip(self.constants, operands[count:], strict=False))
            operands = operands[:count]
            constants = {**self.defaults, **given, **constants}
        else:
            constants = {**self.defaults, **constants}
        if unknown := set(constants) - set(self.constants):
            raise TypeError(
                f"{self}: unknown argument {', '.join(sorted(unknown))}; it takes {', '.join(self.constants)}"
            )
        return operands, {name: c.array if isinstance(c, Tensor) else c for name, c in constants.items()}

    def check_finite(self, z: Any, arrays: Sequence[Any]) -> None:
        """In anomaly mode: raise an `AnomalyError` if the output has a NaN or an infinity."""
        if z.dtype.kind == "f" and not backend.array_module(z).isfinite(z).all():
            raise AnomalyError(
                f"{self}: its output has {describe_nonfinite(z)}; it ran at {user_line()} on {describe(arrays)}"
            )


def primitive(
    forward: Callable[..., Any] | None = None, *, extras: tuple[str, ...] = (), differentiable: bool = True
) -> Any:
    """Make a primitive of an array function `forward(xp, *operands, *, **constants)`; see the top of `primitive.py`.

    With `extras=("mean", …)` the forward returns `(output, mean, …)`, and the rules can ask for them by name. With
    `differentiable=False` it has no rules, and its output is a constant: comparisons, positions, roundings.
    """
    if forward is None:
        return functools.partial(Primitive, extras=extras, differentiable=differentiable)
    return Primitive(forward)


def with_call(operation: Any, call: Callable[..., Any]) -> Any:
    """What a decorator returns that puts `call` around an operation: of a function `call`, of a primitive itself."""
    if not isinstance(operation, Primitive):
        return call
    operation.function = call
    return operation


# The quick calls: what `Primitive.apply` does, unrolled for one and two operands. Anything out of the ordinary
# (plain arrays, several dtypes, a GPU, anomaly mode, nothing to record) is left to `apply`.


def _general(primitive: Primitive) -> Callable[..., Any]:
    def call(*operands: Any, **constants: Any) -> Any:
        return primitive.apply(*operands, **constants)

    return call


def _quick_unary(primitive: Primitive) -> Callable[..., Any]:
    forward, apply, plans = primitive.forward, primitive.apply, primitive.plans

    def call(x: Any, *rest: Any, **constants: Any) -> Any:
        if (
            rest
            or constants
            or not isinstance(x, Tensor)
            or not x.requires_grad
            or not mode.plain
            or backend.cuda_in_use
        ):
            return apply(x, *rest, **constants)
        a = x.array
        z = forward(numpy, a)
        plan = plans[(True,)]
        return _recorded(z, plan, (x.origin or x,), plan.keep(z, a))

    return call


def _quick_binary(primitive: Primitive) -> Callable[..., Any]:
    forward, apply, plans = primitive.forward, primitive.apply, primitive.plans

    def call(x: Any, y: Any) -> Any:
        if isinstance(x, Tensor):
            a, needs_x = x.array, x.requires_grad
            if isinstance(y, Tensor):
                b, needs_y = y.array, y.requires_grad
                if a.dtype is not b.dtype:
                    return apply(x, y)
            elif type(y) in _NUMBERS:
                b, needs_y = y, False
            else:
                return apply(x, y)
        elif isinstance(y, Tensor) and type(x) in _NUMBERS:
            a, needs_x, b, needs_y = x, False, y.array, y.requires_grad
        else:
            return apply(x, y)
        if not (needs_x or needs_y) or not mode.plain or backend.cuda_in_use:
            return apply(x, y)
        try:
            z = forward(numpy, a, b)
        except ValueError as error:
            refuse(primitive, error, (a, b))
        plan = plans[needs_x, needs_y]
        inputs = ((x.origin or x) if needs_x else None, (y.origin or y) if needs_y else None)
        return _recorded(z, plan, inputs, plan.keep(z, a, b))

    return call


_NUMBERS = frozenset((float, int))
