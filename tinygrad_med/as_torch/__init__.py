"""Tutorials as they are written: `import torch` and its kin, answered by this package.

    python -m tinygrad_med.as_torch tutorial.py

or, as the first line of a notebook or a program:

    import tinygrad_med.as_torch

From then on `import torch`, `torch.nn`, `torch.utils.data`, `torchvision.models`, `torchvision.transforms`,
`from fastai.vision.all import *` and so on give what is here; `names.py` has the table. A name that is not here can be
imported, and says so when it is used: most tutorials import more than they need.

This is done by a finder of modules, the first that Python asks. Where the real PyTorch was imported before, it refuses.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tinygrad_med.as_torch.names import ELSEWHERE, NAME_OF, PACKAGES, WHERE
from tinygrad_med.engine.elsewhere import advice
from tinygrad_med.engine.errors import did_you_mean


class StandIn(ModuleType):
    """A module by another library's name, whose names are those of one of our modules."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        behind = WHERE[name]
        self._behind = importlib.import_module(behind) if behind else None

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return [known for known in dir(self._behind) if not known.startswith("_")]
        if name == "__version__":
            return f"{importlib.import_module(WHERE['torch'] or '').__version__}+tinygrad_med"
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if f"{self.__name__}.{name}" in WHERE:
            return importlib.import_module(f"{self.__name__}.{name}")
        if (full := f"{self.__name__}.{name}") in ELSEWHERE:
            return getattr(importlib.import_module(ELSEWHERE[full]), name)
        if not hasattr(self._behind, name):
            raise AttributeError(_lacking(f"{self.__name__}.{name}"))
        found = getattr(self._behind, name)
        # fastai's `torch` is this one too
        return importlib.import_module(NAME_OF[found.__name__]) if _has_stand_in(found) else found

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(value, Missing):  # a name that is not here stays so, also after it was imported
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return dir(self._behind)


def _has_stand_in(found: Any) -> bool:
    return isinstance(found, ModuleType) and found.__name__ in NAME_OF


class Missing(ModuleType):
    """What was imported and is not here: it complains when it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        raise AttributeError(_lacking(self.__name__))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Complain."""
        raise NotImplementedError(_lacking(self.__name__))

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        raise NotImplementedError(_lacking(self.__name__))

    def __getitem__(self, key: Any) -> Any:
        raise NotImplementedError(_lacking(self.__name__))

    def __instancecheck__(self, instance: Any) -> bool:
        return False  # nothing can be of a kind that is not here


def _lacking(full: str) -> str:
    """What to say of a name that is not here."""
    home, _, name = full.rpartition(".")
    behind = WHERE.get(home)
    known = dir(importlib.import_module(behind)) if behind else []
    hint = advice(name) or did_you_mean(name, [k for k in known if not k.startswith("_")], "")
    return f"{full} is not here: tinygrad_med stands in for {full.partition('.')[0]}" + (hint and f"; {hint}")


class Finder:
    """Finds the modules of PyTorch, torchvision and fastai, before Python looks for them in its folders."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """How to make a module of this name, if it is of one of those libraries."""
        if name.partition(".")[0] not in PACKAGES:
            return None
        return ModuleSpec(name, self, origin="tinygrad_med.as_torch", is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module."""
        return StandIn(spec.name) if spec.name in WHERE else Missing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


def install() -> None:
    """Answer from now on; called by the import of this package.

    Raises:
        RuntimeError: where the real libraries were imported before, parts of which others may hold by now.
    """
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    if real := [name for name in PACKAGES if name in sys.modules]:
        raise RuntimeError(
            f"as_torch: the real {' and '.join(real)} is imported already; import tinygrad_med.as_torch before it, in "
            "the first line (in a notebook, restart the kernel first)"
        )
    sys.meta_path.insert(0, Finder())


install()
