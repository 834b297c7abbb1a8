"""watch(): who looks on while operations and walks happen, and writes them into a trace."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy

from tinygrad_med import backend
from tinygrad_med.core.modes import mode, next_number
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine.switches import switch
from tinygrad_med.engine.writes import writes
from tinygrad_med.explain.source import Names, block, place
from tinygrad_med.explain.tape import OPAQUE, Entry, Given, Ref
from tinygrad_med.explain.trace import Contribution, Node, Operand, Step, TensorFacts, Trace, Walk
from tinygrad_med.explain.values import values_of
from tinygrad_med.nn.module import Parameter


class watch:
    """Record the operations of this thread, and every walk back, within a `with` block: `with watch() as trace:`.

    Args:
        title: what to call the page.

    Raises:
        RuntimeError: inside a block of this thread that is watched already.
    """

    def __init__(self, title: str = "Backpropagation, step by step") -> None:
        self._trace = Trace(title)

    def __enter__(self) -> Trace:
        if any(isinstance(watcher, Recorder) for watcher in mode.watchers):
            raise RuntimeError("watch: this thread is being watched already; end that `with watch()` block first")
        if self._trace.nodes or self._trace.closed:
            raise RuntimeError("watch: this one was used before; make another, `with watch() as trace:`")
        self._recorder = Recorder(self._trace, sys._getframe(1))
        switch("watchers", (*mode.watchers, self._recorder))
        return self._trace

    def __exit__(self, *_: object) -> None:
        switch("watchers", tuple(watcher for watcher in mode.watchers if watcher is not self._recorder))
        self._recorder.close()
        del self._recorder


class _Known(NamedTuple):
    """A tensor outside the graph that was seen."""

    tensor: Callable[[], Tensor | None]
    array: Callable[[], Any]
    number: int  # an event of the process; a write to the memory after it makes another tensor
    id: int


class Recorder:
    """The watcher that writes a trace.

    Args:
        trace: where to.
        frame: the one of the `with` block.
    """

    def __init__(self, trace: Trace, frame: types.FrameType) -> None:
        self.trace, self.tape = trace, trace.tape
        self._frame, self._first = frame, frame.f_lineno
        self._results: dict[int, int] = {}  # tensors of the graph, by the number of their record
        self._others: dict[int, _Known] = {}  # tensors outside the graph, by id()
        self._arrays: dict[int, tuple[Callable[[], Any], int]] = {}  # whose tensor an array is, by id()
        self._memory: dict[int, list[int]] = {}  # saved memory by the owner's id(): how many hold it, bytes
        self._saved: dict[int, list[tuple[int, int]]] = {}  # per node what it holds: the owner's id(), bytes
        self._walking: list[Walk] = []
        self._unseen: set[int] = set()  # walks that went through operations from before the watch
        self._before = 0  # operations from before the watch that were met
        self._names = Names(frame, self.find, self._name)
        trace.finder = self.find
        trace.recorder = self
        self._mark = time.perf_counter()

    # Tensors ------------------------------------------------------------------------------------------------------

    def find(self, tensor: Tensor) -> int | None:
        """The id that the trace has for a tensor, or `None`."""
        if tensor.origin is not None:
            return self._results.get(tensor.origin.number)
        known = self._others.get(id(tensor))
        return known.id if known is not None and known.tensor() is tensor else None

    def _tensor(self, x: Any) -> int:
        """The id of an operand: a tensor, or an array that stands for a constant one."""
        if not isinstance(x, Tensor):
            owner = self._arrays.get(id(x))
            return owner[1] if owner is not None and owner[0]() is x else self._leaf(x, None)
        found = self.find(x)
        if found is not None and x.origin is not None and (line := writes.since(x.array, x.origin.number)):
            self.tape.changed = str(line)
        if found is not None and x.origin is None:
            known = self._others[id(x)]
            if known.array() is not x.array or writes.since(x.array, known.number):
                found = None
        return self._leaf(x.array, x) if found is None else found

    def _leaf(self, array: Any, tensor: Tensor | None) -> int:
        owner = self._arrays.get(id(array))
        detached = owner[1] if owner is not None and owner[0]() is array else None
        kind = "constant"
        if tensor is not None and tensor.requires_grad:
            kind = "parameter" if isinstance(tensor, Parameter) else "leaf"
        if tensor is not None and tensor.origin is not None:
            kind = "result"
            self._before += 1
        known = self._add(kind, tensor is not None and tensor.requires_grad, None, array, detached)
        self.tape.leaves[known] = array if isinstance(array, numpy.generic) else array.copy()
        self._register(array, tensor, known)
        return known

    def _add(self, kind: str, requires_grad: bool, node: int | None, array: Any, detached: int | None = None) -> int:
        number = len(self.trace.tensors)
        values = values_of(array, image=kind in ("constant", "leaf"))
        self.trace.tensors.append(TensorFacts(number, None, kind, requires_grad, node, detached, values))
        return number

    def _register(self, array: Any, tensor: Tensor | None, known: int) -> None:
        reference = _reference(array)
        if id(array) not in self._arrays or self._arrays[id(array)][0]() is not array:
            self._arrays[id(array)] = (reference, known)
        if tensor is not None and tensor.origin is None:
            self._others[id(tensor)] = _Known(weakref.ref(tensor), reference, next_number(), known)
        elif tensor is not None and tensor.origin is not None:
            self._results[tensor.origin.number] = known

    def _name(self, known: int, name: str, part: bool) -> None:
        facts = self.trace.tensors[known]
        if facts.name is None or part:
            facts.name = name

    # Operations ---------------------------------------------------------------------------------------------------

    def operation(
        self, primitive: Any, operands: Sequence[Any], arrays: Sequence[Any], constants: dict[str, Any], output: Tensor
    ) -> None:
        """Add a node."""
        seconds = time.perf_counter() - self._mark
        where = place(self._frame)
        number = len(self.trace.nodes)
        formula, rules = of_docstring(primitive)
        record = output.origin
        found, given = [], []
        for i, (x, array) in enumerate(zip(operands, arrays, strict=True)):
            name = primitive.operands[0] if primitive.variadic else primitive.operands[i]
            shown = f"{name}[{i}]" if primitive.variadic else name
            if isinstance(x, Tensor) or backend.is_array(x):
                t = self._tensor(x)
                self.trace.tensors[t].dependents.append(number)
                needed = record is not None and isinstance(x, Tensor) and x.requires_grad
                found.append(Operand(shown, t, None, rules.get(name) if needed else None))
                given.append(Given(Ref(t), isinstance(x, Tensor), needed))
            else:
                value = array.item() if isinstance(array, numpy.generic) else array
                found.append(Operand(shown, None, value, None))
                given.append(Given(array, False, False))
        kept = {name: self._constant(c, output.array) for name, c in constants.items()}
        flows = any(isinstance(x, Tensor) and x.requires_grad for x in operands)
        reason = None
        if record is None:
            reason = "not differentiable" if not primitive.differentiable else "no_grad" if flows else "constant"
        result = self._add("result", output.requires_grad, number, output.array)
        self._register(output.array, output, result)
        walk = self._walking[-1] if self._walking else None
        self.trace.nodes.append(
            Node(
                number,
                str(primitive),
                formula,
                found,
                {name: text for name, c in constants.items() if (text := _shown(c)) is not None},
                result,
                where.line,
                self._names.module(where.modules),
                record is not None,
                reason,
                list(record.saved or ()) if record is not None else [],
                self._hold(number, record),
                seconds,
                None if walk is None else walk.id,
                None if walk is None else len(walk.steps),
                where.function,
            )
        )
        if str(primitive) in OPAQUE:
            self.tape.outputs[number] = output.array.copy()
        self.tape.entries.append(Entry(primitive, given, kept, result, record is not None))
        self._names.look()
        self._mark = time.perf_counter()

    def _constant(self, value: Any, output: Any) -> Any:
        """A constant as the tape keeps it: an array by the tensor that it is of, or copied."""
        if isinstance(value, tuple) and type(value) is tuple:
            return tuple(self._constant(v, output) for v in value)
        if not backend.is_array(value) or isinstance(value, numpy.generic):
            return value
        owner = self._arrays.get(id(value))
        if owner is not None and owner[0]() is value:
            return Ref(owner[1])
        return None if value is output else value.copy()

    def _hold(self, number: int, record: Any) -> int:
        """Count the memory that a record holds for its rules; returns the bytes that nobody held before."""
        new = 0
        held = self._saved[number] = []
        for value in (record.saved or {}).values() if record is not None else ():
            for array in value if isinstance(value, tuple) else (value,):
                if not backend.is_array(array):
                    continue
                owner = backend.memory_owner(array)
                known = self._arrays.get(id(owner))
                if known is not None and known[0]() is owner and self.trace.tensors[known[1]].node is None:
                    continue  # a leaf, which is there without the graph
                entry = self._memory.setdefault(id(owner), [0, owner.nbytes])
                new += 0 if entry[0] else owner.nbytes
                entry[0] += 1
                held.append((id(owner), owner.nbytes))
        return new

    def _free(self, number: int) -> int:
        freed = 0
        for key, nbytes in self._saved.pop(number, ()):
            entry = self._memory[key]
            entry[0] -= 1
            if not entry[0]:
                del self._memory[key]
                freed += nbytes
        return freed

    # Walks --------------------------------------------------------------------------------------------------------

    def walk(self, steps: Iterator[Any]) -> Iterator[Any]:
        """Add a walk, step by step, while it happens."""
        within, after = self._walking[-1].id if self._walking else None, len(self.trace.nodes)
        walk = Walk(len(self.trace.walks), _caller(), place(self._frame).line, False, [], None, 0.0, within, after)
        self.trace.walks.append(walk)
        self.tape.given.append({})
        parts: dict[int, list[tuple[int, Any]]] = {}
        begin = time.perf_counter()
        try:
            while True:
                self._walking.append(walk)
                start = time.perf_counter()
                try:
                    node, g, contributions = next(steps)
                except StopIteration:
                    break
                finally:
                    seconds = time.perf_counter() - start
                    self._walking.remove(walk)
                self._step(walk, parts, node, g, contributions, seconds)
                yield node, g, contributions
        except Exception as error:
            walk.error = f"{type(error).__name__}: {error}"
            raise
        finally:
            walk.seconds = time.perf_counter() - begin
            self._mark = time.perf_counter()

    def _step(
        self,
        walk: Walk,
        parts: dict[int, list[tuple[int, Any]]],
        place: Any,
        g: Any,
        contributions: Sequence[Any],
        seconds: float,
    ) -> None:
        tensor = self._results.get(place.number) if not isinstance(place, Tensor) else self._tensor(place)
        if tensor is None:
            self._before += 1
            self._unseen.add(walk.id)
            return
        node = self.trace.tensors[tensor].node
        if node is None and not isinstance(place, Tensor):
            self._unseen.add(walk.id)
        walk.create_graph = isinstance(g, Tensor)
        came = parts.pop(tensor, [])
        seed, before = self._arrival(walk, tensor, [d for _, d in came], _array(g), bool(place.hooks))
        made = self._contributions(walk, parts, node, contributions)
        earlier = place.grad if isinstance(place, Tensor) and walk.kind == "backward" else None
        freed = node is not None and not isinstance(place, Tensor) and place.saved is None
        gradient = self.find(g) if isinstance(g, Tensor) else None
        walk.steps.append(
            Step(
                len(walk.steps),
                node,
                tensor,
                values_of(g),
                seed,
                [step for step, _ in came],
                made,
                len(place.hooks or ()),
                None if before is None else values_of(before),
                None if earlier is None else values_of(earlier),
                self._free(node) if freed and node is not None else 0,
                seconds,
                gradient,
            )
        )

    def _arrival(self, walk: Walk, tensor: int, came: list[Any], g: Any, hooks: bool) -> tuple[bool, Any]:
        """Whether the walk began at a tensor, and what its gradient was before the hooks changed it."""
        total = came[0] if came else None
        for d in came[1:]:
            total = total + d
        if total is not None and (total is g or numpy.array_equal(_host(total), _host(g), equal_nan=True)):
            return False, None
        self.tape.given[walk.id][tensor] = g.copy()
        if total is None:
            return walk.id not in self._unseen, None
        return not hooks and walk.id not in self._unseen, total if hooks else None

    def _contributions(
        self,
        walk: Walk,
        parts: dict[int, list[tuple[int, Any]]],
        node: int | None,
        contributions: Sequence[Any],
    ) -> list[Contribution | None]:
        made: list[Contribution | None] = []
        if node is None:
            return made
        operands, output = self.trace.nodes[node].operands, self.trace.tensors[self.trace.nodes[node].output]
        if node in self.tape.outputs:
            self.tape.contributed[walk.id, node] = [None if d is None else _array(d).copy() for d in contributions]
        for i, d in enumerate(contributions):
            target = operands[i].tensor
            if d is None or target is None:
                made.append(None)
                continue
            earlier = parts.setdefault(target, [])
            summed = _summed(output.values.shape, self.trace.tensors[target].values.shape, self.tape.entries[node])
            made.append(Contribution(i, target, values_of(d, cells=14), summed, len(earlier)))
            earlier.append((len(walk.steps), _array(d)))
        return made

    # The end ------------------------------------------------------------------------------------------------------

    def update(self) -> None:
        """Enter what the `with` block shows only by now: names, modules, source."""
        self._names.name_parts()
        self._names.look()
        self.trace.modules = self._names.modules
        self.trace.code = block(self._frame.f_code.co_filename, self._first, self._frame.f_lineno)
        self.trace.before = self._before

    def close(self) -> None:
        """Enter the rest, and hold on to nothing."""
        self.update()
        self._names.look_closer()
        for step in (step for walk in self.trace.walks for step in walk.steps if step.gradient is not None):
            self._name(step.gradient or 0, f"∂/∂{self.trace.tensors[step.tensor].name or f't{step.tensor}'}", False)
        self.trace.recorder = None
        self.trace.closed = True
        del self._frame, self._names
        self._memory.clear()
        self._saved.clear()


@functools.cache
def of_docstring(primitive: Any) -> tuple[str, dict[str, str]]:
    """The formula of a primitive, and its rule per operand, as its docstring has them."""
    text = inspect.cleandoc(primitive.__doc__ or "")
    return text.partition("\n∂")[0].strip(), dict(re.findall(r"^∂(\w+): (.*)$", text, re.MULTILINE))


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _host(x: Any) -> Any:
    return backend.to_numpy(x)


def _reference(array: Any) -> Callable[[], Any]:
    """A weak reference to an array, or a strong one to a NumPy scalar, which knows no other."""
    return (lambda: array) if isinstance(array, numpy.generic) else weakref.ref(array)


def _caller() -> str:
    """Which of the two is walking: `backward` or `grad`."""
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name in ("backward", "grad"):
            return frame.f_code.co_name
        frame = frame.f_back
    return "grad"


def _summed(output: list[int], operand: list[int], entry: Entry) -> list[int]:
    """The dims of the output over which the gradient of a broadcast operand was summed."""
    if str(entry.primitive) == "matmul" and len(output) > 2:
        output, operand = output[:-2], operand[:-2]
    elif not entry.elementwise:
        return []
    added = len(output) - len(operand)
    return [*range(added), *(added + i for i, n in enumerate(operand) if n == 1 and output[added + i] != 1)]


def _shown(constant: Any) -> str | None:
    """A constant as short text; `None` for one that is no part of the mathematics."""
    if backend.is_array(constant) and not isinstance(constant, numpy.generic):
        if constant.size > 8:
            return f"{constant.dtype} {tuple(constant.shape)}"
        return str(backend.to_numpy(constant).tolist())
    if hasattr(constant, "_asdict"):
        return ", ".join(f"{name}={_shown(value)}" for name, value in constant._asdict().items())
    if isinstance(constant, tuple):
        inner = ", ".join(_shown(c) or "…" for c in constant)
        return f"({inner},)" if len(constant) == 1 else f"({inner})"
    if isinstance(constant, slice):
        return ":".join("" if v is None else str(v) for v in (constant.start, constant.stop))
    if constant is Ellipsis:
        return "…"
    if constant is None or isinstance(constant, (bool, int, float, str, numpy.generic, numpy.dtype)):
        return str(constant)
    return None
