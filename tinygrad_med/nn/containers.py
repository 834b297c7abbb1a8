"""Modules of modules, and of parameters: one after the other, in a list, in a dict."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.nn.module import Module, Parameter
from tinygrad_med.nn.one_pass import in_a_row


class _Numbered(Module):
    """Modules in an order, as attributes named "0", "1", …"""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> Any:
        """Put a module at the end; returns the container itself."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Put several modules at the end; returns the container itself."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at `index`; those behind it get the next numbers."""
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)

    def pop(self, index: int) -> Module:
        """Take a module out, and return it; those behind it get the next lower numbers."""
        module: Module = self[index]
        del self[index]
        return module

    def _renumber(self, modules: list[Module]) -> None:
        for name in self._modules:
            delattr(self, name)
        self.extend(modules)

    def _name(self, index: Any) -> str:
        names = list(self._modules)
        try:
            return names[operator.index(index)]
        except IndexError:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {len(names)} modules") from None

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._modules[self._name(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module(self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._renumber(modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())


class Sequential(_Numbered):
    """Modules one after the other, each applied to the output of the one before.

        nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))

    Args:
        modules: the modules, or one dict of them whose keys become their names.

    A slice is a Sequential of the same modules under the same names.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.register_module(name, module)
        else:
            self.extend(modules)  # type: ignore[arg-type] # register_module says what is wrong with a dict among others

    def forward(self, x: Any) -> Any:
        """(…) -> (…), as its modules make it."""
        return in_a_row(self, x)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return super().__getitem__(index)


class ModuleList(_Numbered):
    """A list of modules that are part of the module that has it; a plain list would hide them."""


class ModuleDict(Module):
    """A dict of modules that are part of the module that has it; a plain dict would hide them."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Take in more modules, in the place of those that have their names."""
        for name, module in dict(modules).items():
            self[name] = module

    def pop(self, name: str) -> Module:
        """Take a module out, and return it."""
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Take out all modules."""
        for name in list(self):
            del self[name]

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, module)

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """The names and the modules."""
        return self._modules.items()


def _as_parameter(value: Any) -> Any:
    """A plain tensor as a parameter; a parameter stays the one that it is."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


class ParameterList(Module):
    """A list of parameters that are part of the module that has it; a plain list would hide them.

    A tensor becomes a parameter. The names are "0", "1", …
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__()
        self._size = 0
        self.extend(values)

    def append(self, value: Any) -> ParameterList:
        """Put a parameter at the end; returns the list itself."""
        setattr(self, str(self._size), _as_parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Put several parameters at the end; returns the list itself."""
        for value in values:
            self.append(value)
        return self

    def _name(self, index: Any) -> str:
        try:
            return str(range(self._size)[operator.index(index)])
        except IndexError:
            raise IndexError(f"ParameterList: index {index} is out of range for {self._size} parameters") from None

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return getattr(self, self._name(index))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._name(index), _as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, str(i)) for i in range(self._size))


class ParameterDict(Module):
    """A dict of parameters that are part of the module that has it; a plain dict would hide them.

    A tensor becomes a parameter. The keys are strings, and the names in the state.
    """

    def __init__(self, parameters: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._names: list[str] = []
        self.update(parameters or {})

    def update(self, parameters: Mapping[str, Any]) -> None:
        """Put several parameters in, under their keys."""
        for name, value in parameters.items():
            self[name] = value

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self._names:
            if hasattr(self, name):
                raise KeyError(f"ParameterDict: {name!r} is the name of something that every module has; take another")
            self._names.append(name)
        setattr(self, name, _as_parameter(value))

    def __delitem__(self, name: str) -> None:
        self._names.remove(name)
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def keys(self) -> Iterable[str]:
        """The names."""
        return list(self._names)

    def values(self) -> Iterable[Any]:
        """The parameters."""
        return [self[name] for name in self._names]

    def items(self) -> Iterable[tuple[str, Any]]:
        """The names and the parameters."""
        return [(name, self[name]) for name in self._names]
