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
- An operand `*xs` stands for any number of operands, as in `cat`, with one rule `xs` for each of them: its `i` says
  which of them is meant, and `xs`, `xs_shape` and `xs_dtype` are tuples of all.
- Rules are written with operators and other primitives. A primitive called on plain arrays is just its forward, so a
  rule runs on arrays when nobody asked for the graph of the gradient, and on tensors when somebody did: the
  derivative of a derivative is nothing new.
- What has no derivative says so, `@primitive(differentiable=False)`; a rule that is merely missing is an error.
- A rule may return its gradient in the shape of the output; the walk (`backward.py`) sums it to the operand's.

`Primitive.apply` says what calling an operation means. Calls usually run a function that `engine/compiled.py` generates
from the signature, which does the same faster and explains errors; under `autograd.by_definition()` they run `apply`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.modes import mode, next_number
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine import signatures
from tinygrad_med.engine.conversions import array_of
from tinygrad_med.engine.promotion import in_one_dtype, in_single, needs_single, settle


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """One operation that happened: what the walk needs to go back through it.

    Attributes:
        primitive: the operation.
        inputs: per operand the record that made it, the leaf itself, or `None` where no gradient flows.
        saved: by name the values that the rules ask for; `None` once freed.
        shape: the shape of the output.
        number: orders the events of the process; an operation comes after those that made its operands.
        hooks: what to call with the gradient of the output.
        line: `file:line` that ran the operation, where a watcher has noted it.
    """

    primitive: Primitive
    inputs: Sequence[Record | Tensor | None]
    saved: dict[str, Any] | None
    shape: tuple[int, ...]
    number: int = field(default_factory=next_number)
    hooks: list[Any] | None = None
    line: str | None = None

    def back(self, g: Any, wanted: Sequence[bool], values: dict[str, Any]) -> list[Any]:
        """Per input its gradient, which its rule makes of `g` and the saved values; `None` where it is not wanted."""
        backend.array_module(getattr(g, "array", g))  # of several GPUs, let that of g compute
        contributions = []
        for i, want in enumerate(wanted):
            rule = self.primitive.rules[self.primitive.operand_names(len(wanted))[i]] if want else None
            contributions.append(rule(g, values | {"i": i}) if rule else None)
        return contributions

    def __repr__(self) -> str:
        return f"<{self.primitive} -> {self.shape}>"


class Rule:
    """A derivative rule, and the names of what it needs besides the upstream gradient."""

    def __init__(self, function: Callable[..., Any], known: Sequence[str], owner: str) -> None:
        self.function = function
        self.arguments = signatures.of_rule(function, known, owner)

    def __call__(self, g: Any, values: dict[str, Any]) -> Any:
        """The rule on the upstream gradient and, of all values, those that it names."""
        return self.function(g, *(values[name] for name in self.arguments))


class Primitive:
    """An operation: a forward, and a derivative rule per operand. Made by `@primitive`; see the top of this file.

    Called with at least one tensor it returns a tensor, called with plain arrays an array. Arguments after the
    operands are the constants in their order: `leaky_relu(x, 0.1)` is `leaky_relu(x, negative_slope=0.1)`.

    Attributes:
        forward: the array function.
        operands: the names of the operands; if `variadic`, one name for any number of them.
        constants: the names of the keyword-only arguments.
        rules: per operand its derivative rule.
        differentiable: whether gradients flow through it; if not (a comparison, a position), its output is a constant.
        single: whether float16 is computed in float32, for a sum or a power that would exceed 65,504.
        view: whether the output looks at the memory of the operand.
    """

    __name__: str

    def __init__(
        self, forward: Callable[..., Any], *, differentiable: bool = True, single: bool = False, view: bool = False
    ) -> None:
        functools.update_wrapper(self, forward)
        self.forward, self.differentiable, self.single, self.view = forward, differentiable, single, view
        self.__signature__ = signatures.of_call(forward)
        self.operands, self.variadic, self.constants = signatures.sort(forward)
        self.rules: dict[str, Rule] = {}
        self._accelerate()

    def vjp(self, **rules: Callable[..., Any]) -> None:
        """Give the derivative rules, an operand's name each: `mul.vjp(x=lambda g, y: g * y, y=lambda g, x: g * x)`."""
        signatures.check_rules(self, rules)
        facts = [f"{x}_{fact}" for x in self.operands for fact in ("shape", "dtype")]
        known = ["z", *self.operands, *self.constants, *facts, *(["i"] if self.variadic else [])]
        self.rules |= {name: Rule(rule, known, f"{self}.vjp: the rule for {name}") for name, rule in rules.items()}
        self._accelerate()

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """What calling an operation means."""
        given, constants = signatures.bind(self, args, kwargs)
        if self.single and needs_single(given):
            return in_single(self, given, constants)
        tensors = any(isinstance(x, Tensor) for x in given)
        operands = in_one_dtype(self, given) if tensors else given
        arrays = [array_of(x, self.view) for x in operands]  # a tensor's array, an array or a number itself
        z = self.forward(backend.array_module(*arrays), *arrays, **constants)
        if not tensors:
            return z
        z = settle(z, arrays)  # of integers, 1 / 2 is float64 in NumPy, and here of the default dtype
        inputs = [(x.origin or x) if isinstance(x, Tensor) and x.requires_grad else None for x in operands]
        if not (mode.grad and self.differentiable and any(node is not None for node in inputs)):
            return wrap(z)
        known = self.facts(z, arrays, constants)
        return wrap(z, Record(self, inputs, {name: known[name] for name in self.needed_by(inputs)}, z.shape))

    __call__ = apply

    def facts(self, z: Any, arrays: Sequence[Any], constants: dict[str, Any]) -> dict[str, Any]:
        """By name everything that a rule can ask for."""
        known = {"z": z, **constants}
        for name, x in zip(self.operands, [tuple(arrays)] if self.variadic else arrays, strict=True):
            known[name] = x
            for fact in ("shape", "dtype"):
                of_each = [getattr(a, fact, None) for a in (x if self.variadic else [x])]
                known[f"{name}_{fact}"] = tuple(of_each) if self.variadic else of_each[0]
        return known

    def needed_by(self, inputs: Sequence[Any]) -> list[str]:
        """The names of the values to keep: those that a rule asks for whose operand receives a gradient."""
        flowing = [n for n, x in zip(self.operand_names(len(inputs)), inputs, strict=True) if x is not None]
        signatures.check_complete(self, flowing)
        asked = {name for operand in set(flowing) for name in self.rules[operand].arguments}
        return sorted(asked - {"i"})

    def operand_names(self, count: int) -> tuple[str, ...]:
        """The name of each of `count` operands."""
        return self.operands * count if self.variadic else self.operands

    def _accelerate(self) -> None:
        from tinygrad_med.engine.compiled import accelerate

        accelerate(self)

    def __str__(self) -> str:
        return self.__name__.lstrip("_")

    def __repr__(self) -> str:
        return f"<primitive {self}>"


def primitive(forward: Callable[..., Any] | None = None, **options: bool) -> Any:
    """Make a primitive of an array function `forward(xp, *operands, *, **constants)`; see the top of `primitive.py`.

    Args:
        forward: the array function.
        options: `differentiable=False` for an operation without rules, whose output is a constant: comparisons,
            positions, roundings. `single=True` to compute float16 in float32. `view=True` where the output looks at
            the memory of the operand.
    """
    if forward is None:
        return lambda forward: Primitive(forward, **options)
    return Primitive(forward, **options)
