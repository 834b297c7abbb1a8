"""What a trace knows, field by field: the classes here are the JSON that `Trace.to_json()` writes, version 1.

A dataclass is an object of the JSON with the fields of the same names; `int` references (`node`, `tensor`, `module`,
`step`, `walk`) are positions in the list of that kind, which are also the `id` fields. Fields may be added within a
version; a reader ignores those that it does not know. What changes its meaning gets another version.

Numbers are flat lists in row-major order. JSON has no NaN and no infinity: they are the strings "NaN", "Infinity" and
"-Infinity". A number of float32 or float16 is written with as many digits as tell it from its neighbours.
"""

from __future__ import annotations

import dataclasses
import functools
import html
import json
import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinygrad_med.core.tensor import Tensor
    from tinygrad_med.explain.nudge import Nudge
    from tinygrad_med.explain.watch import Recorder

VERSION = 1
SMALL = 64
"""Arrays of up to so many elements are kept whole; of larger ones there is a summary and a picture."""


@dataclass
class Picture:
    """A large array, made small enough to look at: at most 32 × 32 numbers, each the mean of the cell it stands for.

    Attributes:
        rows, columns: its size.
        numbers: rows × columns numbers of three significant digits.
        image: whether the array looks like an image or a batch of them: draw it as one, in grey.
        of: which part of the array it shows, such as "element 0 of dim 0, mean over dim 1"; "" for all of it.
    """

    rows: int
    columns: int
    numbers: list[Any]
    image: bool
    of: str


@dataclass
class Summary:
    """A large array in a few numbers; those of a float array leave its NaNs and infinities out.

    Attributes:
        min, max, mean, std: of the finite elements; `None` where there are none.
        norm: √Σx² of the finite elements.
        zeros: the share of elements that are exactly 0, from 0 to 1.
        nonfinite: the share of elements that are NaN or infinite.
    """

    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    norm: float
    zeros: float
    nonfinite: float


@dataclass
class Values:
    """The numbers of a tensor, of a gradient or of a contribution.

    Attributes:
        shape: the length of each dim.
        dtype: NumPy's name, such as "float32".
        numbers: all of them, if there are at most 64, else `None`.
        summary: always there, also for small arrays.
        picture: for arrays of more than 64 elements, else `None`.
    """

    shape: list[int]
    dtype: str
    numbers: list[Any] | None
    summary: Summary
    picture: Picture | None


@dataclass
class Line:
    """A line of the user's code: the innermost one outside this package that was running.

    Attributes:
        file: its name, relative to the working directory where it lies below it.
        number: counted from 1.
        text: without indentation; "" where the source is not to be had.
    """

    file: str
    number: int
    text: str


@dataclass
class Code:
    """The source of the `with` block.

    Attributes:
        file: as in `Line`.
        first: the number of the first line, that with the `with` statement.
        lines: the text, with its indentation.
    """

    file: str
    first: int
    lines: list[str]


@dataclass
class Jacobian:
    """∂ output / ∂ operand of one operation: which element hangs on which, and by what factor.

    Attributes:
        shape: [elements of the output, elements of the operand].
        at: pairs [output element, operand element], both counted in row-major order. Every pair with a derivative other
            than 0 is there; for an operation that works element by element also those where it is 0 (a relu that is
            off), so that the blocked path can be shown.
        numbers: the derivative at each pair, from the rule of the operation with unit vectors as upstream gradient.
    """

    shape: list[int]
    at: list[list[int]]
    numbers: list[Any]


@dataclass
class Operand:
    """One operand of an operation.

    Attributes:
        name: as in the formula, "x"; for an operation on any number of operands "xs[0]", "xs[1]" …
        tensor: which one, or `None` for a Python number.
        value: the Python number, or `None`.
        rule: the derivative rule as the docstring has it, such as "g · y"; `None` where there is no gradient.
        jacobian: if output and operand have at most 64 elements each and the operand requires a gradient, else `None`.
    """

    name: str
    tensor: int | None
    value: Any
    rule: str | None
    jacobian: Jacobian | None = None


@dataclass
class Node:
    """One operation, forward.

    Attributes:
        id: its position; operations stand in the order of time.
        primitive: its name, "mul".
        formula: the first lines of its docstring, "z = x · y".
        operands: in their order.
        constants: the other arguments that are not arrays, as short text: {"dim": "1"}.
        output: the tensor that it made.
        line: where in the user's code, or `None`.
        module: in which module it ran, or `None`.
        recorded: whether it left a record for the walk.
        unrecorded: why it left none: "no_grad", "constant" (no operand requires a gradient), "not differentiable".
        saved: the names of what it keeps for its rules, such as ["y"].
        saved_bytes: how many bytes that holds, counting an array that several operations keep for the first only.
        seconds: how long it took, from the end of the event before; so the first one after a pause has the pause too.
        walk: in which walk it was run, by a rule under `create_graph` or by a hook; `None` for the forward pass.
        step: at which step of that walk.
        function: the public function of this package that it is a part of, "cross_entropy"; `None` where it was called
            by itself.
    """

    id: int
    primitive: str
    formula: str
    operands: list[Operand]
    constants: dict[str, str]
    output: int
    line: Line | None
    module: int | None
    recorded: bool
    unrecorded: str | None
    saved: list[str]
    saved_bytes: int
    seconds: float
    walk: int | None = None
    step: int | None = None
    function: str | None = None


@dataclass
class TensorFacts:
    """One tensor. A leaf that was written to in place is another tensor afterwards, with the same name.

    Attributes:
        id: its position.
        name: a parameter's or buffer's path in its module, "layer2.0.conv1.weight"; else the variable of the frame of
            the `with` block that holds it, "loss"; else `None`.
        kind: "parameter", "leaf" (requires a gradient), "constant" (does not) or "result" (of an operation).
        requires_grad: whether a gradient flows through it.
        node: the operation that made it, or `None`.
        detached_from: of a constant: the tensor that has the same memory, of which this is the detached copy.
        values: its numbers.
        dependents: the operations that used it, in the order of time.
    """

    id: int
    name: str | None
    kind: str
    requires_grad: bool
    node: int | None
    detached_from: int | None
    values: Values
    dependents: list[int] = field(default_factory=list)


@dataclass
class Contribution:
    """What one step adds to the gradient of one operand: upstream × local.

    Attributes:
        operand: the position in the node's operands.
        tensor: that operand.
        values: the contribution, in the operand's shape.
        summed: the dims of the output over which a broadcast was undone, so that it got that shape.
        earlier: how many contributions of this walk to the same tensor came before it, to which it was added. In the
            `parts` of the step at which that tensor's gradient is complete, it stands at this position.
    """

    operand: int
    tensor: int
    values: Values
    summed: list[int]
    earlier: int


@dataclass
class Step:
    """One step of a walk: an operation whose rules run, or a leaf that gets its gradient.

    Attributes:
        id: its position in the walk.
        node: the operation, or `None` at a leaf.
        tensor: the leaf, or the output of the operation: whose gradient `upstream` is.
        upstream: the complete gradient of that tensor, after the hooks.
        seed: whether the walk began here, with `upstream` given.
        parts: the earlier steps whose contributions met here, once per contribution; their sum is the upstream gradient
            (before the hooks, and plus the seed).
        contributions: one per operand, `None` where no gradient flows; [] at a leaf.
        hooks: how many hooks ran on the upstream gradient.
        before_hooks: the gradient that they saw, if they changed it, else `None`.
        earlier_grad: at a leaf: what was in `.grad` before, to which `backward()` adds; `None` where nothing was.
        freed_bytes: saved bytes that the step let go.
        seconds: how long its rules took.
        gradient: under `create_graph`: the tensor that the upstream gradient is, in the graph of the gradients.
    """

    id: int
    node: int | None
    tensor: int
    upstream: Values
    seed: bool
    parts: list[int]
    contributions: list[Contribution | None]
    hooks: int
    before_hooks: Values | None
    earlier_grad: Values | None
    freed_bytes: int
    seconds: float
    gradient: int | None = None


@dataclass
class Walk:
    """One call of `backward()` or `grad()`.

    Attributes:
        id: its position.
        kind: "backward" or "grad".
        line: where in the user's code, or `None`.
        create_graph: whether its operations are nodes too (those with this `walk`).
        steps: in the order of time, from the newest operation to the oldest, leaves last.
        error: the text of the error that ended it, or `None`.
        seconds: how long it took.
        within: the walk of which a rule or a hook made this one, such as a checkpoint's; else `None`.
        after: how many nodes there were when it began: the walk comes after node `after` - 1.
    """

    id: int
    kind: str
    line: Line | None
    create_graph: bool
    steps: list[Step]
    error: str | None
    seconds: float
    within: int | None = None
    after: int = 0


@dataclass
class ModuleFacts:
    """One module of the tree, for folding.

    Attributes:
        id: its position; parents come before their children.
        path: its path below its root, "layer2.0.conv1"; "" for the root.
        name: the last part of the path; for a root the variable that holds it, or its class.
        kind: its class, "Conv2d".
        parent: the module that it is a part of, `None` for a root.
    """

    id: int
    path: str
    name: str
    kind: str
    parent: int | None


@dataclass
class Cause:
    """Why some elements of a gradient are zero.

    Attributes:
        kind: "relu", "dropout", "saturated", "maximum", "clip", "detached", "no_grad", "independent", "zero operand",
            "cancellation", "underflow", …: see `why_zero`.
        share: which part of the zero elements it explains, from 0 to 1; the shares add up to 1.
        node: the operation where the gradient stopped, or `None`.
        text: one sentence, with the evidence in numbers.
    """

    kind: str
    share: float
    node: int | None
    text: str


@dataclass
class Why:
    """The answer to "why is this gradient zero?" for a leaf, or one element of it.

    Attributes:
        tensor: the leaf.
        walk: in which walk.
        element: which element, in row-major order; `None` for the whole tensor.
        zeros: how many of its elements are zero.
        text: the whole answer in one or a few sentences.
        causes: the largest share first; [] where the gradient is not zero.
    """

    tensor: int
    walk: int | None
    element: int | None
    zeros: int
    text: str
    causes: list[Cause]


@dataclass
class Document:
    """The whole: what `Trace.to_json()` writes.

    Attributes:
        version: 1.
        title: what to call the page.
        code: the source of the `with` block, or `None`.
        nodes, tensors, walks, modules: see there.
        why: an answer per leaf, and per zero element of leaves of at most 64 elements, for the last walk.
        notes: what a reader should know, such as where the first NaN came from.
    """

    version: int
    title: str
    code: Code | None
    nodes: list[Node]
    tensors: list[TensorFacts]
    walks: list[Walk]
    modules: list[ModuleFacts]
    why: list[Why]
    notes: list[str]


def to_plain(value: Any) -> Any:
    """A dataclass, and all in it, as dicts, lists, numbers and text that JSON can hold."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    kind: Any = type(value)
    if names := _fields(kind):
        return {name: to_plain(getattr(value, name)) for name in names}
    return value


@functools.cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


class Trace:
    """What `watch()` saw.

    Attributes:
        title: what to call the page.
        nodes, tensors, walks, modules, code: as in `Document`.
        tape: what it takes to run it again.
    """

    def __init__(self, title: str = "Backpropagation, step by step") -> None:
        from tinygrad_med.explain.tape import Tape

        self.title = title
        self.code: Code | None = None
        self.nodes: list[Node] = []
        self.tensors: list[TensorFacts] = []
        self.walks: list[Walk] = []
        self.modules: list[ModuleFacts] = []
        self.tape = Tape()
        self.before = 0
        self.closed = False
        self._answers: tuple[list[Why], list[str]] | None = None  # and notes, once the block has ended
        self.finder: Callable[[Tensor], int | None] = lambda _: None
        self.recorder: Recorder | None = None

    def require(self, doing: str) -> None:
        """Raise an error if there is nothing to show; while the block still runs, see what it is like by now."""
        if self.recorder is not None:
            self.recorder.update()
        if not self.nodes and not self.walks:
            raise ValueError(
                f"{doing}: nothing was recorded; run the operations on tensors inside the `with explain.watch()` "
                "block, in the thread that entered it"
            )

    def find(self, tensor: Tensor, doing: str) -> int:
        """The id of a tensor."""
        known = self.finder(tensor)
        if known is None:
            raise ValueError(
                f"{doing}: no recorded operation used or made this tensor of shape {tuple(tensor.shape)}; it must be "
                "one of the `with explain.watch()` block, run in the thread that entered it"
            )
        return known

    @property
    def walked(self) -> Walk | None:
        """The last walk that got anywhere, of those that no other walk made."""
        return next((walk for walk in reversed(self.walks) if walk.steps and walk.within is None), None)

    def last_walk(self, doing: str) -> Walk:
        """The same, or an error that says that there is none."""
        if (walk := self.walked) is None:
            failed = "".join(f" ({walk.error})" for walk in self.walks[-1:] if walk.error)
            raise ValueError(
                f"{doing}: no walk back was recorded{failed}; call loss.backward() inside the `with explain.watch()` "
                "block"
            )
        return walk

    @property
    def document(self) -> Document:
        """All that is to be shown, with what the tape tells beyond it: Jacobians, and why gradients are zero."""
        from tinygrad_med.explain import local, notes, why

        self.require("trace")
        answers, found = self._answers or ([], notes.notes(self))
        if self._answers is None:
            walk = None if self.walked is None else self.walked.id
            again = functools.cache(lambda: self.tape.run(local.flowing(self), walk=walk))
            try:
                local.add_jacobians(self, again)
                answers, unanswered = why.of_leaves(self, again)
                found += unanswered
            except (RuntimeError, TypeError, ValueError) as error:
                found.append(f"No local derivatives, and no answers why a gradient is zero: {error}")
            if self.closed:
                self._answers = answers, found
        return Document(
            VERSION,
            self.title,
            self.code,
            self.nodes,
            self.tensors,
            self.walks,
            self.modules,
            answers,
            found,
        )

    def to_dict(self) -> dict[str, Any]:
        """The contents as dicts and lists: see `Document`."""
        return to_plain(self.document)

    def to_json(self) -> str:
        """The contents as JSON: see `Document`."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def to_dot(self) -> str:
        """The graph in the language of Graphviz: modules as boxes, tensors that are leaves as ellipses."""
        from tinygrad_med.explain import text

        self.require("to_dot")
        return text.dot(self)

    def print(self) -> None:
        """The operations and the walks as tables, in the terminal."""
        import sys

        from tinygrad_med.explain import text

        self.require("print")
        sys.stdout.write(text.tables(self) + "\n")

    def save(self, path: str | Path) -> Path:
        """Write the page that replays this trace, one HTML file that needs no network; returns its path."""
        self.require("save")
        page, path = self.to_html(), Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(page)
            os.chmod(name, 0o644)  # mkstemp's files are for the owner's eyes only
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
        return path

    def to_html(self) -> str:
        """The page that `save` writes."""
        from tinygrad_med.explain.page import render

        return render(self.to_dict())

    def nudge(self, tensor: Tensor, index: Any = (), by: float = 1e-3) -> Nudge:
        """Run the operations again with one number of a leaf moved: see `tinygrad_med.explain.nudge.nudge`."""
        from tinygrad_med.explain import nudge

        return nudge.nudge(self, tensor, index, by)

    def _repr_html_(self) -> str:
        page = html.escape(self.to_html(), quote=True)
        return (
            f'<iframe title="{html.escape(self.title, quote=True)}" srcdoc="{page}" '
            'style="width: 100%; height: 720px; border: 1px solid #8888"></iframe>'
        )

    def __repr__(self) -> str:
        walked = f"{len(self.walks)} walk{'' if len(self.walks) == 1 else 's'} back"
        return f"<Trace of {len(self.nodes)} operations and {walked}>"
