"""Where an operation ran, and what its tensors are called: lines, modules and variables, read off the frames.

Nothing is registered anywhere: a frame that runs `Module.__call__` says which module it runs, the innermost frame
outside this package is the user's line, and the variables of the frame of the `with` block name the tensors.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine.lines import GENERATED
from tinygrad_med.explain.trace import Code, Line, ModuleFacts
from tinygrad_med.nn.module import Module

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_FUNCTIONS = (os.path.join(_PACKAGE, "ops") + os.sep, os.path.join(_PACKAGE, "nn", "functional.py"))
_CALL = Module.__call__.__code__


class Place(NamedTuple):
    """Where an operation ran: the user's line, the public function that it is part of, and the modules, outer first."""

    line: Line | None
    function: str | None
    modules: list[Module]


def place(until: types.FrameType | None) -> Place:
    """Where the caller's caller is, looking no further out than the frame `until`."""
    frame: types.FrameType | None = sys._getframe(2)
    line, function, modules = None, None, []
    while frame is not None:
        code = frame.f_code
        if code is _CALL:
            modules.append(frame.f_locals["self"])
        if line is None and not code.co_filename.startswith((_PACKAGE, GENERATED)):
            line = line_of(code.co_filename, frame.f_lineno)
        elif line is None and not modules and code.co_filename.startswith(_FUNCTIONS) and code.co_name.isidentifier():
            function = function if code.co_name.startswith("_") or code.co_name == "call" else code.co_name
        if frame is until:
            break
        frame = frame.f_back
    return Place(line, function, modules[::-1])


def line_of(file: str, number: int) -> Line:
    """A line of a file, with its text if that is to be had."""
    return Line(_shown(file), number, linecache.getline(file, number).strip())


def _shown(file: str) -> str:
    """The name of a file as it may be shown to anybody: below the working directory, or else without its folders."""
    if file.startswith("<"):
        return file
    if "ipykernel_" in file:
        return "notebook cell"
    try:
        relative = os.path.relpath(file)
    except ValueError:  # another drive
        return os.path.basename(file)
    return os.path.basename(file) if relative.startswith("..") else relative.replace(os.sep, "/")


def block(file: str, first: int, last: int) -> Code | None:
    """The source of the `with` block that begins at a line, and of all of it that has run by the line `last`."""
    lines = linecache.getlines(file)
    if not 0 < first <= len(lines):
        return None
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:  # a notebook's cell with a magic command
        tree = ast.Module([], [])
    ends = [n.end_lineno or 0 for n in ast.walk(tree) if isinstance(n, (ast.With, ast.AsyncWith)) and n.lineno == first]
    last = max([last, first, *ends])
    return Code(_shown(file), first, [line.rstrip("\n") for line in lines[first - 1 : last]])


class Names:
    """What the tensors and modules of one `with` block are called.

    Args:
        frame: that of the block.
        identify: gives the id that the trace has for a tensor, or `None`.
        name: tells the trace what one of its tensors is called; the first name stays.
    """

    def __init__(
        self,
        frame: types.FrameType,
        identify: Callable[[Tensor], int | None],
        name: Callable[[int, str, bool], None],
    ) -> None:
        self._frame, self._identify, self._name = frame, identify, name
        self.modules: list[ModuleFacts] = []
        self._ids: dict[int, int] = {}  # by the id() of a module
        self._roots: list[Module] = []
        self.look()

    def module(self, chain: list[Module]) -> int | None:
        """The id of the innermost module of a chain of running ones."""
        if not chain:
            return None
        if id(chain[0]) not in self._ids:
            self._add_variables()
        if id(chain[0]) not in self._ids:
            self._add_root(chain[0], type(chain[0]).__name__)
        known = [self._ids[id(m)] for m in chain if id(m) in self._ids]
        return known[-1]

    def look(self) -> None:
        """Name the tensors that the variables hold now."""
        for variable, value in self._variables():
            if isinstance(value, Tensor):
                self._give(value, variable)

    def look_closer(self) -> None:
        """Likewise, and the tensors in modules and containers that the variables hold; forget the frame."""
        self.name_parts()
        self.look()
        for variable, value in self._variables():
            for name, tensor in _inside(variable, value):
                self._give(tensor, name)
        del self._frame

    def name_parts(self) -> None:
        """Name the parameters and buffers of the modules."""
        for root in self._roots:
            prefix = "" if len(self._roots) == 1 else self.modules[self._ids[id(root)]].name
            for name, tensor in [*root.named_parameters(prefix), *root.named_buffers(prefix)]:
                self._give(tensor, name, part=True)

    def _give(self, tensor: Tensor, name: str, part: bool = False) -> None:
        known = self._identify(tensor)
        if known is not None:
            self._name(known, name, part)

    def _variables(self) -> Iterator[tuple[str, Any]]:
        found = [(n, v) for n, v in list(self._frame.f_locals.items()) if not n.startswith("__")]
        return iter([*[f for f in found if f[0][0] != "_"], *[f for f in found if f[0][0] == "_"]])

    def _add_variables(self) -> None:
        found = {id(v): (n, v) for n, v in reversed(list(self._variables())) if isinstance(v, Module)}
        inner = {id(m) for _, v in found.values() for m in v.modules() if m is not v}
        for n, v in found.values():
            if id(v) not in inner and id(v) not in self._ids:
                self._add_root(v, n)

    def _add_root(self, root: Module, name: str) -> None:
        self._roots.append(root)
        by_path: dict[str, int] = {}
        for path, module in root.named_modules():
            above, _, last = path.rpartition(".")
            number = len(self.modules)
            parent = by_path.get(above) if path else None
            self.modules.append(ModuleFacts(number, path, last or name, type(module).__name__, parent))
            by_path[path] = number
            self._ids.setdefault(id(module), number)


def _inside(variable: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a list, tuple or dict of at most 100, with the expressions that reach them."""
    if isinstance(value, dict) and len(value) <= 100:
        items: Any = list(value.items())
    elif isinstance(value, (list, tuple)) and len(value) <= 100:
        items = list(enumerate(value))
    else:
        return
    for key, tensor in items:
        if isinstance(tensor, Tensor) and isinstance(key, (int, str)):
            yield f"{variable}[{key!r}]", tensor
