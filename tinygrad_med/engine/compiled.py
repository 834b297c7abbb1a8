"""One call per primitive, generated from its signature: what `Primitive.apply` says, on a straight line.

`python -c "from tinygrad_med.engine.compiled import source; from tinygrad_med.ops import mul; print(source(mul))"`
prints the call of an operation. For `mul` it reads, shortened:

    def mul(x, y):
        if isinstance(x, Tensor): a0, n0 = x.array, x.requires_grad
        elif type(x) in NUMBERS:  a0, n0 = x, False
        else: return general(x, y)
        …                                                the same for y
        z = forward(numpy, a0, a1)
        if n0 and n1: record(plan_11, (x.origin or x, y.origin or y), (a1, a0))
        …                                                the other choices of operands that need a gradient

Whatever is out of the ordinary (plain arrays, several dtypes, a GPU, somebody watching, arguments by other names,
memory that was written in the graph, `autocast`, an error) goes to `general`, which runs the definition and explains
errors. `tests/engine` holds the two together, bit for bit. The source is generated at the first call, as
`collections.namedtuple` does it, because the cost of function calls is what limits a graph of scalars.
"""

from __future__ import annotations

import functools
import itertools
import linecache
from collections.abc import Callable, Sequence
from heapq import heappush
from inspect import Parameter
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.methods import Methods
from tinygrad_med.core.modes import mode, next_number
from tinygrad_med.core.primitive import Primitive, Record, Rule
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine import autocast, signatures, switches
from tinygrad_med.engine.errors import REFUSALS, refuse, refuse_foreign
from tinygrad_med.engine.lines import GENERATED
from tinygrad_med.engine.promotion import needs_single
from tinygrad_med.engine.writes import writes

# The record ---------------------------------------------------------------------------------------------------------


class QuickRecord(Record):
    """A record whose saved values are a tuple, in the order of its plan's names.

    Attributes:
        plan: the names of the values, and the generated way back.
        values: the values; `None` once freed.
    """

    __slots__ = ("plan", "values")

    __init__ = object.__init__  # filled by the generated call

    plan: Plan
    values: tuple[Any, ...] | None
    line = None

    @property
    def primitive(self) -> Primitive:  # type: ignore[override]
        """The operation."""
        return self.plan.primitive

    @property
    def saved(self) -> dict[str, Any] | None:
        """By name the saved values; `None` once freed."""
        return None if self.values is None else dict(zip(self.plan.names, self.values, strict=True))

    @saved.setter
    def saved(self, nothing: Any) -> None:
        self.values = nothing

    def back(self, g: Any, wanted: Sequence[bool], values: dict[str, Any]) -> list[Any]:
        """The contributions; on arrays all at once, where the primitive has a function for that."""
        if self.plan.together and not isinstance(g, Tensor) and tuple(wanted) == self.plan.needed:
            return list(self.plan.contributions(g, *(self.values or ())))
        return super().back(g, wanted, values)


class Plan:
    """What an operation saves and which rules it runs, for one choice of operands that need a gradient.

    Attributes:
        primitive: the operation.
        needed: per operand, whether it needs a gradient.
        names: of what is saved.
        together: one function for all gradients at once, on arrays, where the primitive has one.
        contributions: `contributions(g, *values)` is the gradient for each operand, `None` where none is needed.
        push: `push(record, g, pending, heap)` hands each input its contribution: the way back, generated for
            `walk.leaves`.
    """

    def __init__(self, primitive: Primitive, needed: tuple[bool, ...]) -> None:
        self.primitive = primitive
        self.needed = needed
        self.together = TOGETHER.get(primitive)
        asked = set(primitive.needed_by([need or None for need in needed]))
        if self.together:
            asked |= set(self.together.arguments) - {"needed"}
        self.names = tuple(sorted(asked))
        scope: dict[str, Any] = {"together": self.together and self.together.function, "needed": needed}
        scope |= {f"rule_{name}": rule.function for name, rule in primitive.rules.items()}
        calls = []
        for i, (name, need) in enumerate(zip(primitive.operand_names(len(needed)), needed, strict=True)):
            arguments = ["g", *(str(i) if a == "i" else a for a in primitive.rules[name].arguments)] if need else []
            calls.append(f"rule_{name}({', '.join(arguments)})" if need else "None")
        given = ", ".join(["g", *self.names])
        if self.together:
            whole = f"together({', '.join(['g', *self.together.arguments])})"
        else:
            whole = _tuple(calls)
        self.contributions = eval(f"lambda {given}: {whole}", scope)
        self.push = self._push(calls, scope)

    def _push(self, calls: list[str], scope: dict[str, Any]) -> Callable[..., None]:
        from tinygrad_med.engine.walk import undo_broadcast

        nodes = [f"node{i}" if need else "_" for i, need in enumerate(self.needed)]
        lines = ["def call(record, g, pending, heap):"]
        lines += [f"    {_tuple(self.names)} = record.values"] if self.names else []
        lines += [f"    {_tuple(nodes)} = record.inputs"]
        if self.together:
            gradients = [f"d{i}" for i in range(len(nodes))]
            lines += [f"    {_tuple(gradients)} = together({', '.join(['g', *self.together.arguments])})"]
        for i, need in enumerate(self.needed):
            if need:
                lines += [] if self.together else [f"    d{i} = {calls[i]}"]
                lines += [
                    f"    if d{i} is not None:",
                    f"        if d{i}.shape != node{i}.shape: d{i} = undo_broadcast(record, d{i}, node{i}.shape)",
                    f"        if node{i} in pending: pending[node{i}] = pending[node{i}] + d{i}",
                    "        else:",
                    f"            pending[node{i}] = d{i}",
                    f"            if isinstance(node{i}, Record): heappush(heap, (-node{i}.number, node{i}))",
                ]
        scope = {**scope, "undo_broadcast": undo_broadcast, "Record": Record, "heappush": heappush}
        return _define("\n".join(lines), scope, f"way back of {self.primitive}")


TOGETHER: dict[Primitive, Rule] = {}
"""Primitives whose gradients are computed all at once, on arrays; their rules remain the specification."""


def all_at_once(primitive: Primitive) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give one function for all gradients of a primitive, for arrays only.

    It takes `g`, and by name what a rule may ask for; its argument `needed` says which gradients are wanted. A test
    holds it to the rules.
    """

    def give(function: Callable[..., Any]) -> Callable[..., Any]:
        known = ["needed", "z", *primitive.operands, *primitive.constants]
        TOGETHER[primitive] = Rule(function, known, f"{primitive}: all gradients at once")
        accelerate(primitive)
        return function

    return give


ON_NUMPY: dict[Primitive, Callable[..., Any]] = {}
"""The forwards of primitives that have another array function for a GPU."""


def on_gpu(primitive: Primitive) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give the array function by which a GPU computes a primitive; it has the result of the forward.

    Calls on NumPy's arrays, which run the forward itself, pay nothing for it.
    """

    def give(function: Callable[..., Any]) -> Callable[..., Any]:
        forward = ON_NUMPY[primitive] = primitive.forward

        def either(xp: Any, *arrays: Any, **constants: Any) -> Any:
            return (forward if xp is numpy else function)(xp, *arrays, **constants)

        primitive.forward = functools.wraps(forward)(either)
        accelerate(primitive)
        return function

    return give


def back(record: Record, g: Any) -> Sequence[Any]:
    """Per input of a record its gradient: on arrays all at once, where the primitive has a function for that."""
    wanted, values = tuple(node is not None for node in record.inputs), {"needed": None, **(record.saved or {})}
    together = TOGETHER.get(record.primitive)
    if together and not isinstance(g, Tensor) and all(name in values for name in together.arguments):
        backend.array_module(g)  # of several GPUs, let that of g compute
        return list(together(g, values | {"needed": wanted}))
    return record.back(g, wanted, values)


# The call -----------------------------------------------------------------------------------------------------------

CALL, OPERATOR, REFLECTED = "call", "operator", "reflected operator"
"""The forms of a call: `mul(x, y)` or `x.mul(y)`; `x * y`; and `2 * x`, for which Python passes x first."""


def accelerate(p: Primitive) -> None:
    """Let calls of `p` run functions that are generated at the first call; again whenever its rules change."""
    own = {"__module__": Primitive.__module__, "__get__": _as_method}
    p.__class__ = type("Primitive", (Primitive,), own)  # for a __call__ of its own
    _postpone(p, CALL)
    for name, form in list(METHODS_OF.get(p, {}).items()):
        attach(p, name, form)


def _as_method(p: Primitive, instance: Any, _: Any = None) -> Any:
    """As an attribute of a class an operation is a method, as a function is; so `help` shows it as one."""
    return p if instance is None else functools.partial(p, instance)


METHODS_OF: dict[Primitive, dict[str, str]] = {}
"""The methods of tensors that a primitive is, by name, and in which form."""


def attach(p: Primitive, name: str, form: str = CALL) -> None:
    """Let tensors have `p` as a method."""
    METHODS_OF.setdefault(p, {})[name] = form
    _postpone(p, form)


def _postpone(p: Primitive, form: str) -> None:
    generated = functools.cache(lambda: _generate(p, form))  # `f = x.relu` keeps what is installed now, for ever

    def first_call(*args: Any, **kwargs: Any) -> Any:
        function = generated()
        _install(p, form, function)
        return function(*args, **kwargs)

    _install(p, form, first_call)


def _install(p: Primitive, form: str, function: Callable[..., Any]) -> None:
    function.__name__ = function.__qualname__ = str(p)
    function.__doc__, function.__module__ = p.__doc__, p.__module__
    function.__signature__ = p.__signature__  # type: ignore[attr-defined]
    if form == CALL:
        type(p).__call__ = staticmethod(function)  # type: ignore[method-assign]
    for name, its_form in METHODS_OF.get(p, {}).items():
        if its_form == form:
            setattr(Methods, name, function)


def general(p: Primitive, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The definition, with errors explained and watchers told."""
    kwargs = {name: value for name, value in kwargs.items() if value is not MISSING}
    if writes.rewritten and mode.grad:
        for x in (*args, *kwargs.values()):
            follow(x)
    if autocast.casting.dtypes and (found := autocast.wanted(p.__name__, (*args, *kwargs.values()))):
        args, kwargs = autocast.converted(args, *found), autocast.converted(kwargs, *found)
    if mode.definition:
        return p.apply(*args, **kwargs)
    operands, constants = signatures.bind(p, args, kwargs)
    refuse_foreign(p, (*operands, *constants.values()))
    arrays = [x.array if isinstance(x, Tensor) else x for x in operands]
    if backend.cuda_in_use:
        values = (c for name, c in constants.items() if name != "key")  # a key may come from the CPU
        backend.same_device(p, [*arrays, *(c.array if isinstance(c, Tensor) else c for c in values)])
        if p.__name__ == "pow":
            backend.refuse_integer_power(*arrays)
    try:
        output = p.apply(*operands, **constants)
    except REFUSALS as error:
        refuse(p, error, arrays)
    except MemoryError as error:
        raise backend.out_of_memory(p, error) from error
    record = output.origin if isinstance(output, Tensor) else None
    # of p, for the output of one that computes in float32 comes from a cast
    if p in TOGETHER and record is not None and record.primitive is p and record.saved is not None:
        asked = TOGETHER[p].arguments
        record.saved |= {name: value for name, value in constants.items() if name in asked}
    if mode.watchers and isinstance(output, Tensor) and not (p.single and needs_single(arrays)):
        for watcher in mode.watchers:
            watcher.operation(p, operands, arrays, constants, output)
    return output


def follow(x: Any) -> None:
    """Let a tensor whose memory was written in the graph through another tensor follow that write."""
    from tinygrad_med.inplace import follow as follow_writes

    if isinstance(x, Tensor):
        follow_writes(x)


def operate(p: Primitive, own: Any, *operands: Any) -> Any:
    """An operator out of the ordinary; of other things than numbers Python shall say itself that it can't do it."""
    if not isinstance(own, Tensor):
        raise TypeError(f"{p}: an operator of tensors, called as Tensor.__…__({own!r}, …), wants a tensor first")
    if any(not (isinstance(x, (Tensor, float, int)) or backend.is_array(x)) for x in operands):
        refuse_foreign(p, operands)
        return NotImplemented
    return general(p, operands, {})


ARRAYS = frozenset((numpy.ndarray, numpy.float32, numpy.float64, numpy.bool_))
PLAIN = ARRAYS | {float, int}
"""The types of plain arrays and numbers on which a forward can run as it is."""

MISSING: Any = type("Missing", (), {"__repr__": lambda _: "…"})()
"""The default of an argument that must be given, by this name or another."""

# Its source ---------------------------------------------------------------------------------------------------------


def source(p: Primitive, form: str = CALL) -> str:
    """The source of the generated call."""
    if p.variadic:
        return f"def call(*{p.operands[0]}, **_constants):\n    return _general(_p, {p.operands[0]}, _constants)"
    arrays = [f"_a{i}" for i in range(len(p.operands))]
    return "\n".join([*_head(p, form), *_operands(p, form), *_forward(p, arrays), *_output(p, form)])


def _generate(p: Primitive, form: str) -> Callable[..., Any]:
    scope: dict[str, Any] = {
        "Tensor": Tensor,
        "Record": QuickRecord,
        "new": object.__new__,
        "next_number": next_number,
        "numpy": numpy,
        "ndarray": numpy.ndarray,
        "float32": numpy.float32,
        "float64": numpy.float64,
        "backend": backend,
        "switches": switches,
        "mode": mode,
        "rewritten": writes.rewritten,
        "casting": autocast.casting,
        "MISSING": MISSING,
        "REFUSALS": REFUSALS,
        "PLAIN": PLAIN,
        "ARRAYS": ARRAYS,
        "float16": numpy.dtype("float16"),
        "p": p,
        "forward": ON_NUMPY.get(p, p.forward),
        "general": general,
        "operate": operate,
        "refuse": refuse,
        **{f"default_{name}": x.default for name, x in p.__signature__.parameters.items()},
        **{f"plan_{_digits(needed)}": Plan(p, needed) for needed in _choices(p)},
    }
    return _define(source(p, form), {f"_{name}": value for name, value in scope.items()}, str(p))


def _head(p: Primitive, form: str) -> list[str]:
    """The arguments, and what sends a call away from the straight line."""
    required = [c for c in p.constants if p.__signature__.parameters[c].default is Parameter.empty]
    watched = ["_mode.watchers", "_mode.definition", "_rewritten"]
    watched += ["_casting.dtypes"] if p.__name__ in autocast.LISTED else []
    odd = ["_backend.cuda_in_use"]
    if form != CALL:
        arguments = list(p.operands if form == OPERATOR else p.operands[::-1])
    elif p.__name__.startswith("_"):
        arguments = _arguments(p, ())
    else:
        arguments = [*_arguments(p, (*p.operands, *required)), "**_names"]
        odd += ["_names", *(f"{c} is _MISSING" for c in required)]
    return [
        f"def call({', '.join(arguments)}):",
        "    _recording = True",
        "    if _switches.unusual:",
        "        _recording = _mode.grad",
        f"        if {' or '.join(watched)}: {_away(p, form)}",
        f"    if {' or '.join(odd)}: {_away(p, form)}",
        *(f"    if isinstance({c}, _Tensor): {c} = {c}.array" for c in p.constants),
    ]


def _arguments(p: Primitive, missing: Sequence[str]) -> list[str]:
    """The arguments of the call, those of `missing` with a default that says so."""
    arguments = []
    for name, argument in p.__signature__.parameters.items():
        if argument.kind is Parameter.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        given = argument.default is Parameter.empty and name not in missing
        arguments.append(name if given else f"{name}=_MISSING" if name in missing else f"{name}=_default_{name}")
    return arguments


def _away(p: Primitive, form: str) -> str:
    constants = [f"'{c}': {c}" for c in p.constants]
    if form != CALL:
        return f"return _operate(_p, {p.operands[0 if form == OPERATOR else -1]}, {', '.join(p.operands)})"
    if p.__name__.startswith("_"):
        return f"return _general(_p, {_tuple(p.operands)}, {{{', '.join(constants)}}})"
    given = [*(f"'{x}': {x}" for x in p.operands), *constants, "**_names"]
    return f"return _general(_p, (), {{{', '.join(given)}}})"


def _operands(p: Primitive, form: str) -> list[str]:
    """Per operand its array and whether it needs a gradient; the ordinary case is one float dtype and numbers."""
    lines = ["    _dtype = None"]
    no_numbers = signatures.needs_tensors(p) if form == CALL else ({OPERATOR: (0,), REFLECTED: (1,)}[form])
    for i, x in enumerate(p.operands):
        lines += [
            f"    if isinstance({x}, _Tensor):",
            f"        _a{i} = {x}.array",
            f"        _n{i} = {x}.requires_grad",
        ]
        lines += [f"        _kind = type(_a{i})", "        if _kind is _ndarray:"]
        if p.view:
            lines += [f"            _kind = _a{i}.dtype.type"]
        else:  # of 0-d arrays a NumPy scalar, whose arithmetic is several times faster
            lines += [
                f"            if _a{i}.ndim:",
                f"                _kind = _a{i}.dtype.type",
                "            else:",
                f"                _a{i} = _a{i}[()]",
                f"                _kind = type(_a{i})",
            ]
        lines += [f"        if _kind is not _dtype and _dtype is not None: {_away(p, form)}"] if i else []
        lines += ["        _dtype = _kind"]
        if len(p.operands) > 1 and i not in (no_numbers or ()):
            lines += [f"    elif type({x}) is float or type({x}) is int:"]
            lines += [f"        _a{i} = {x}", f"        _n{i} = False"]
        lines += [] if i else _on_arrays(p)
        lines += [f"    else: {_away(p, form)}"]
    lines += [f"    if _dtype is not _float32 and _dtype is not _float64: {_away(p, form)}"]
    return lines


def _on_arrays(p: Primitive) -> list[str]:
    """Plain arrays, as rules get them in an ordinary walk: just the forward."""
    plain = [f"type({x}) in _PLAIN" for x in p.operands[1:]]
    small = [f"(type({x}) is not _ndarray or {x}.ndim)" for x in p.operands if not p.view]
    half = [f"getattr({p.operands[0]}, 'dtype', None) is not _float16"] if p.single else []
    first, types = p.operands[0], "_PLAIN" if signatures.needs_tensors(p) is None else "_ARRAYS"
    return [
        f"    elif {' and '.join([f'type({first}) in {types}', *plain, *small, *half])}:",
        *(f"    {line}" for line in _forward(p, p.operands)),
        "        return z",
    ]


def _forward(p: Primitive, arrays: Sequence[str]) -> list[str]:
    given = ", ".join(["_numpy", *arrays, *(f"{c}={c}" for c in p.constants)])
    return [
        f"    try: z = _forward({given})",
        f"    except _REFUSALS as _error: _refuse(_p, _error, {_tuple(arrays)})",
    ]


def _output(p: Primitive, form: str) -> list[str]:
    """The output, with a record for every choice of operands that need a gradient."""
    tensor = ["_t = _new(_Tensor)", "_t.array = z", "_t._grad = _t.hooks = None"]
    constant = [*tensor, "_t.origin = None", "_t.requires_grad = False", "return _t"]
    if not p.differentiable:
        return [f"    {line}" for line in constant]
    lines: list[str] = []
    for needed in _choices(p):
        condition = " and ".join(f"_n{i}" if need else f"not _n{i}" for i, need in enumerate(needed))
        inputs = [f"{x}.origin or {x}" if need else "None" for x, need in zip(p.operands, needed, strict=True)]
        values = [_value(p, name) for name in Plan(p, needed).names]
        lines += [f"    {'elif' if lines else 'if'} _recording and {condition}:"]
        lines += ["        _r = _Record()", f"        _r.plan = _plan_{_digits(needed)}"]
        lines += [f"        _r.inputs = {_tuple(inputs)}", f"        _r.values = {_tuple(values)}"]
    if len(p.rules) < len(p.operands):  # then the definition says which rule is missing
        some = " or ".join(f"_n{i}" for i in range(len(p.operands)))
        lines += [f"    {'elif' if lines else 'if'} _recording and ({some}): {_away(p, form)}"]
    lines += ["    else:", *(f"        {line}" for line in constant)]
    recorded = ["_r.shape = z.shape", "_r.number = _next_number()", "_r.hooks = None"]
    recorded += [*tensor, "_t.origin = _r", "_t.requires_grad = True", "return _t"]
    return [*lines, *(f"    {line}" for line in recorded)]


def _value(p: Primitive, name: str) -> str:
    """Where a value that a rule asks for is in the generated call."""
    if name == "z" or name in p.constants:
        return name
    if name in p.operands:
        return f"_a{p.operands.index(name)}"
    operand, _, fact = name.rpartition("_")
    array = f"_a{p.operands.index(operand)}"
    return f"{array}.{fact}" if len(p.operands) == 1 else f"getattr({array}, {fact!r}, None)"


def _choices(p: Primitive) -> list[tuple[bool, ...]]:
    """The choices of operands that can need a gradient: those that have a rule."""
    if p.variadic or not p.differentiable:
        return []
    choices = itertools.product((True, False), repeat=len(p.operands))
    ruled = [x in p.rules for x in p.operands]
    return [c for c in choices if any(c) and all(rule or not need for rule, need in zip(ruled, c, strict=True))]


def _digits(needed: tuple[bool, ...]) -> str:
    return "".join(str(int(need)) for need in needed)


def _tuple(elements: Sequence[str]) -> str:
    return "(" + "".join(f"{e}, " for e in elements) + ")"


def _define(text: str, scope: dict[str, Any], name: str) -> Any:
    file = f"{GENERATED} {name}>"
    linecache.cache[file] = (len(text), None, [f"{line}\n" for line in text.split("\n")], file)  # for tracebacks
    exec(compile(text, file, "exec"), scope)
    return scope["call"]
