"""What a thread has switched on (`no_grad`, `detect_anomaly`), and the log of in-place writes."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import types
import weakref
from contextlib import ContextDecorator
from typing import Any

import numpy

from tinygrad_med import backend

# Modes --------------------------------------------------------------------------------------------------------------


class _Mode(threading.local):
    grad = True
    anomaly = False
    plain = True  # grad and not anomaly: the ordinary case, one look for the quick path of an operation


mode = _Mode()
"""The flags of the calling thread: `grad`, record operations; `anomaly`, check every result."""


class _Switch(ContextDecorator):
    """Sets one flag of this thread's mode within a `with` block, or in a function that it decorates."""

    flag: str
    value: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> _Switch:
        self._before.append(getattr(mode, self.flag))
        self._set(self.value)
        return self

    def __exit__(self, *_: object) -> None:
        self._set(self._before.pop())

    def _set(self, value: bool) -> None:
        setattr(mode, self.flag, value)
        mode.plain = mode.grad and not mode.anomaly

    def _recreate_cm(self) -> _Switch:  # a decorated function may run in several threads at once
        return type(self)()


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


def set_grad_enabled(enabled: bool) -> _Switch:
    """`enable_grad()` or `no_grad()`, as `enabled` says; to be used in a `with` statement."""
    return enable_grad() if enabled else no_grad()


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
        self._log: dict[int, tuple[int, str, Any]] = {}  # id of the owner of the memory: number, line, the owner
        self._lock = threading.Lock()

    def note(self, array: Any) -> None:
        """Log that the line of user code which is running now writes to the memory of `array`."""
        owner = backend.memory_owner(array)
        key = id(owner)
        # A NumPy scalar takes no weak reference; it is a value that the entry keeps alive.
        keep = owner if isinstance(owner, numpy.generic) else weakref.ref(owner, lambda _: self._log.pop(key, None))
        with self._lock:
            self.last = next_number()
            self._log[key] = (self.last, user_line(), keep)

    def since(self, array: Any, number: int) -> str | None:
        """The line of the latest write to the memory of `array`, if that came after event `number`."""
        entry = self._log.get(id(backend.memory_owner(array)))
        return entry[1] if entry is not None and entry[0] > number else None


writes = _Writes()
"""The one log of in-place writes."""

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def user_line() -> str:
    """`file:line` of the innermost running line outside this package."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
