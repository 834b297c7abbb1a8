"""What a thread has switched on (`no_grad`, `detect_anomaly`), and the log of in-place writes."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy

from tinygrad_med import backend

# Modes --------------------------------------------------------------------------------------------------------------


class Watcher(Protocol):
    """Who is told of every operation on tensors in this thread, and looks on at its walks; it changes nothing."""

    def operation(
        self, primitive: Any, operands: Sequence[Any], arrays: Sequence[Any], constants: dict[str, Any], output: Any
    ) -> None:
        """`primitive` made the tensor `output`, recorded or not, of `operands`, whose arrays are `arrays`."""

    def walk(self, steps: Iterator[Any]) -> Iterator[Any]:
        """The same steps of `backward()` or `grad()`, passed on unchanged."""


class _Mode(threading.local):
    grad = True
    anomaly = False
    watchers: tuple[Watcher, ...] = ()
    plain = True  # grad and neither anomaly nor watchers: the ordinary case, one look for an operation's quick path

    def __setattr__(self, flag: str, value: Any) -> None:
        super().__setattr__(flag, value)
        super().__setattr__("plain", self.grad and not (self.anomaly or self.watchers))


mode = _Mode()
"""What the calling thread has on: `grad`, record operations; `anomaly`, check all results; `watchers`, who looks on."""

F = TypeVar("F", bound=Callable[..., Any])


class _Switch:
    """Sets one flag of this thread's mode within a `with` block, or in a function that it decorates."""

    flag: str
    value: bool

    def __new__(cls, *arguments: Any, **_: Any) -> Any:
        """A switch, or, for `@no_grad` without parentheses, the function that it decorates."""
        return cls()(*arguments) if arguments and callable(arguments[0]) else super().__new__(cls)

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> _Switch:
        self._before.append(getattr(mode, self.flag))
        setattr(mode, self.flag, self.value)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(mode, self.flag, self._before.pop())

    def _another(self) -> _Switch:  # a decorated function may run in several threads at once
        return type(self)()

    def __call__(self, function: F) -> F:
        """`function` with the flag set while it runs; in a generator not while it waits for the next turn."""

        @functools.wraps(function)
        def switched(*args: Any, **kwargs: Any) -> Any:
            with self._another():
                return function(*args, **kwargs)

        @functools.wraps(function)
        def switched_generator(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            resume, sent = generator.send, None
            while True:
                with self._another():
                    try:
                        item = resume(sent)
                    except StopIteration as end:
                        return end.value
                try:
                    resume, sent = generator.send, (yield item)
                except BaseException as error:  # noqa: BLE001 - it is the generator's to handle
                    resume, sent = generator.throw, error

        return switched_generator if inspect.isgeneratorfunction(function) else switched  # type: ignore[return-value]


class no_grad(_Switch):
    """Record no operations: `with no_grad(): …`, or `@no_grad()` on a function. Holds for the calling thread only."""

    flag, value = "grad", False


class enable_grad(_Switch):
    """Record operations, also inside a `no_grad` block. Holds for the calling thread only."""

    flag, value = "grad", True


class detect_anomaly(_Switch):
    """Stop at the first NaN or infinity, forward or backward, with the operation and the line that made it.

    Slow: every result is checked, and every operation remembers the line that ran it.

    Raises (inside the block):
        AnomalyError: names the operation, the line and the operands.
    """

    flag, value = "anomaly", True


class set_grad_enabled(_Switch):
    """Record operations or not, as `mode` says, from here on; in a `with` statement or a function until its end."""

    flag = "grad"

    def __init__(self, mode: bool) -> None:
        self.value, self._found = mode, is_grad_enabled()
        self.__enter__()

    def __enter__(self) -> set_grad_enabled:
        mode.grad = self.value
        return self

    def __exit__(self, *_: object) -> None:
        mode.grad = self._found

    def _another(self) -> set_grad_enabled:
        return set_grad_enabled(self.value)

    def __call__(self, function: F) -> F:
        """`function` with the flag set while it runs, and only then."""
        mode.grad = self._found
        return super().__call__(function)


class inference_mode(_Switch):
    """Here another name for `no_grad`; PyTorch's also forbids to use the results in a graph later.

    As there, `inference_mode(False)` records operations, also inside a `no_grad` block.
    """

    flag = "grad"

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.value = not mode

    def _another(self) -> inference_mode:
        return inference_mode(not self.value)


def is_grad_enabled() -> bool:
    """Whether this thread records operations."""
    return mode.grad


class AnomalyError(FloatingPointError):
    """An operation made a NaN or an infinity while `detect_anomaly` was on."""


# In-place writes ----------------------------------------------------------------------------------------------------


next_number = itertools.count(1).__next__
"""Numbers the events of the process, operations and in-place writes alike: the later event has the larger number."""


class _Writes:
    """The log of in-place writes, by which the walk notices that a saved value was overwritten.

    `last` is the number of the latest write. A record with a larger number saved its values after every write, so in
    the ordinary case the walk compares two numbers and is done.
    """

    def __init__(self) -> None:
        self.last = 0
        self._log: dict[int, tuple[int, str, Any]] = {}  # by the owner's id: number, line, a reference to it
        self._lock = threading.Lock()

    def note(self, array: Any) -> None:
        """Log that the line of user code which is running now writes to the memory of `array`.

        A NumPy scalar is a value and no memory: who saved it still has it, whatever its tensor holds by now.
        """
        if isinstance(array, numpy.generic):
            return
        owner = backend.memory_owner(array)
        key = id(owner)
        with self._lock:
            self.last = next_number()
            self._log[key] = (self.last, user_line(), weakref.ref(owner, lambda _: self._log.pop(key, None)))

    def since(self, array: Any, number: int) -> str | None:
        """The line of the latest write to the memory of `array`, if that came after event `number`."""
        entry = self._log.get(id(backend.memory_owner(array)))
        return entry[1] if entry is not None and entry[0] > number else None


writes = _Writes()
"""The one log of in-place writes."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_line() -> str:
    """`file:line` of the innermost running line outside this package."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
