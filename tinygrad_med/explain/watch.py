"""watch(): who looks on while operations and walks happen, and writes them into a trace. (A first, rough one.)"""

from __future__ import annotations

import contextlib
import inspect
import linecache
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from tinygrad_med.core.modes import mode, user_line
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.explain.trace import (
    SMALL,
    Code,
    Contribution,
    Line,
    Node,
    Operand,
    Step,
    Summary,
    TensorFacts,
    Trace,
    Values,
    Walk,
)


def values(array: Any) -> Values:
    """The numbers of an array."""
    a = numpy.asarray(array.array if isinstance(array, Tensor) else array)
    finite = a[numpy.isfinite(a)].astype("float64")
    some = finite.size > 0
    summary = Summary(
        float(finite.min()) if some else None,
        float(finite.max()) if some else None,
        float(finite.mean()) if some else None,
        float(finite.std()) if some else None,
        float(numpy.sqrt((finite**2).sum())),
        float((a == 0).mean()) if a.size else 0.0,
        1 - finite.size / a.size if a.size else 0.0,
    )
    numbers = [float(str(v)) if a.dtype.kind == "f" else v.item() for v in a.reshape(-1)] if a.size <= SMALL else None
    return Values(list(a.shape), str(a.dtype), numbers, summary, None)


def docstring(primitive: Any) -> tuple[str, dict[str, str]]:
    """The formula, and the rule per operand."""
    text = inspect.cleandoc(primitive.__doc__ or "")
    rules = dict(re.findall(r"^∂(\w+): (.*)$", text, re.M))
    return text.partition("\n∂")[0].strip(), rules


class _Recorder:
    def __init__(self, trace: Trace) -> None:
        self.document = trace.document
        self.known: dict[int, int] = {}
        self.kept: list[Any] = []
        self.last = time.perf_counter()

    def tensor(self, t: Tensor, node: int | None = None) -> int:
        key = id(t.origin or t)
        if key not in self.known:
            kind = "result" if node is not None else "leaf" if t.requires_grad else "constant"
            self.known[key] = len(self.document.tensors)
            self.kept.append((t, t.origin))
            self.document.tensors.append(
                TensorFacts(self.known[key], None, kind, t.requires_grad, node, None, values(t.array))
            )
        return self.known[key]

    def line(self) -> Line:
        file, _, number = user_line().rpartition(":")
        return Line(file.rpartition("/")[2], int(number), linecache.getline(file, int(number)).strip())

    def operation(
        self, primitive: Any, operands: Sequence[Any], arrays: Sequence[Any], constants: dict[str, Any], output: Tensor
    ) -> None:
        now = time.perf_counter()
        number = len(self.document.nodes)
        formula, rules = docstring(primitive)
        found = []
        for i, x in enumerate(operands):
            name = primitive.operands[0] if primitive.variadic else primitive.operands[i]
            isit = isinstance(x, Tensor)
            t = self.tensor(x) if isit else None
            if t is not None:
                self.document.tensors[t].dependents.append(number)
            shown = f"{name}[{i}]" if primitive.variadic else name
            rule = rules.get(name) if isit and x.requires_grad else None
            found.append(Operand(shown, t, None if isit else numpy.asarray(arrays[i]).tolist(), rule))
        record = output.origin
        self.document.nodes.append(
            Node(
                number,
                str(primitive),
                formula,
                found,
                {k: repr(v) for k, v in constants.items() if not isinstance(v, numpy.ndarray)},
                self.tensor(output, number),
                self.line(),
                None,
                record is not None,
                None if record is not None else "no_grad" if not mode.grad else "constant",
                list(record.plan.slots) if record else [],
                sum(numpy.asarray(s).nbytes for s in record.saved or ()) if record else 0,
                now - self.last,
            )
        )
        self.last = time.perf_counter()

    def walk(self, steps: Iterator[Any]) -> Iterator[Any]:
        walk = Walk(len(self.document.walks), "backward", self.line(), False, [], None, 0.0)
        self.document.walks.append(walk)
        parts: dict[int, list[int]] = {}
        begin = last = time.perf_counter()
        for place, g, contributions in steps:
            seconds = time.perf_counter() - last
            tensor = self.known[id(place)]
            node = self.document.tensors[tensor].node
            number = len(walk.steps)
            made: list[Contribution | None] = []
            for i, d in enumerate(contributions):
                target = self.document.nodes[node].operands[i].tensor if node is not None else None
                if d is None or target is None:
                    made.append(None)
                    continue
                out, own = self.document.tensors[tensor].values.shape, self.document.tensors[target].values.shape
                added = len(out) - len(own)
                summed = [] if added < 0 else [*range(added)]
                summed += [added + j for j, n in enumerate(own) if added >= 0 and n == 1 and out[added + j] != 1]
                earlier = parts.setdefault(target, [])
                made.append(Contribution(i, target, values(d), summed, list(earlier)))
                earlier.append(number)
            facts = self.document.tensors[tensor]
            came = parts.get(tensor, [])
            freed = self.document.nodes[node].saved_bytes if node is not None else 0
            walk.steps.append(
                Step(
                    number, node, tensor, values(g), not came, came, made, 0, None, None,
                    freed if facts.node is not None else 0, seconds,
                )
            )  # fmt: skip
            last = time.perf_counter()
            yield place, g, contributions
        walk.seconds = time.perf_counter() - begin


@contextlib.contextmanager
def watch() -> Iterator[Trace]:
    """Record the operations of this thread, and every walk back."""
    trace = Trace()
    frame = sys._getframe(2)
    recorder = _Recorder(trace)
    before = mode.watchers
    mode.watchers = (*before, recorder)
    first = frame.f_lineno
    try:
        yield trace
    finally:
        mode.watchers = before
        lines = [linecache.getline(frame.f_code.co_filename, n).rstrip() for n in range(first, frame.f_lineno + 1)]
        trace.document.code = Code(frame.f_code.co_filename.rpartition("/")[2], first, lines)
        for name, value in frame.f_locals.items():
            if isinstance(value, Tensor) and id(value.origin or value) in recorder.known:
                trace.document.tensors[recorder.known[id(value.origin or value)]].name = name
