"""Writes `core/methods.pyi`: the methods of tensors, for editors and type checkers, read off the operations themselves.

`python -m tinygrad_med.engine.stubs` writes it; a test says when that is due.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from tinygrad_med.core import methods
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.engine.compiled import METHODS_OF

FILE = Path(methods.__file__).with_suffix(".pyi")

HEAD = '''"""The methods of tensors; written by `python -m tinygrad_med.engine.stubs`."""

from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tinygrad_med.backend import Device
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.random import Generator

F = TypeVar("F", bound=Callable[..., Any])

METHODS: dict[str, Any]

def method(operation: F, name: str | None = ...) -> F: ...

class Methods:
'''

KNOWN = {
    *("Any", "None", "bool", "int", "float", "str", "tuple", "list", "dict", "Callable", "Sequence", "Tensor"),
    *("Device", "Generator", "object"),
}
"""The names that the head of the file gives to annotations."""


SEVERAL = ("max", "min")
"""Methods that return one tensor or two, by their arguments."""


_NO_METHODS = ("__module__", "__slots__", "__doc__", "__getattr__", "__firstlineno__", "__static_attributes__")
"""What a class holds beside them; the last two from Python 3.13 on."""


def text() -> str:
    """What `core/methods.pyi` should hold."""
    primitives = {name: p for p, names in METHODS_OF.items() for name in names}
    lines = []
    for name, found in sorted(vars(methods.Methods).items(), key=lambda item: (item[0].startswith("__"), item[0])):
        if name in _NO_METHODS:
            continue
        if isinstance(found, property):
            lines += ["    @property", f"    def {name}(self) -> Tensor:", *_doc(found.fget), ""]
        else:
            lines += [*_method(name, primitives.get(name, found)), ""]
    return HEAD + "\n".join(lines).rstrip() + "\n"


def _method(name: str, function: Any) -> list[str]:
    signature = inspect.signature(function)
    primitive = isinstance(function, Primitive)
    shown, star = [], False
    for i, p in enumerate(signature.parameters.values()):
        if i == 0:
            shown.append("self")
            continue
        if p.kind is p.VAR_POSITIONAL:
            star = True
        elif p.kind is p.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        prefix = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        default = "" if p.default is p.empty else " = ..."
        shown.append(f"{prefix}{p.name}: {_type(p.annotation)}{default}")
    result = "Tensor" if primitive else _type(signature.return_annotation)
    first = next(iter(signature.parameters.values()))
    if (first.annotation, signature.return_annotation) == ("Any", "Any") and name not in SEVERAL:
        result = "Tensor"  # of an array it would be an array
    if name.startswith("__") and name not in ("__getitem__", "__setitem__"):
        shown, result = ["self", *(f"{p}: Any" for p in [s.partition(":")[0] for s in shown[1:]])], "Tensor"
    ignored = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    return [f"    def {name}({', '.join(shown)}) -> {result}:{ignored}", *_doc(function)]


def _type(annotation: Any) -> str:
    """An annotation, if the file knows all its names."""
    if annotation is inspect.Parameter.empty:
        return "Any"
    shown = str(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "Any"))
    shown = re.sub(r"\b\w+\.(?=Device|Generator)", "", shown)
    if not set(re.findall(r"[A-Za-z_]\w*", shown)) <= KNOWN:
        return "Any"
    return re.sub(r"\b(bool|float|int)\b", r"_\1", shown)  # tensors have methods of these names


def _doc(function: Any) -> list[str]:
    first = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", "\n        ")
    return [f'        """{first}"""'] if first else ["        ..."]


if __name__ == "__main__":
    import tinygrad_med.operators  # noqa: F401 - fills Methods

    FILE.write_text(text(), "utf-8")
    print(f"wrote {FILE}")  # noqa: T201 - the answer to the command
