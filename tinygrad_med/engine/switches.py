"""The switches of a thread's mode, as users turn them: statements, decorators, also of generators, and functions."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tinygrad_med.core.modes import mode
from tinygrad_med.engine.anomaly import Anomaly, AnomalyError as AnomalyError

F = TypeVar("F", bound=Callable[..., Any])

unusual: set[Any] = set()
"""The threads that have a flag which is not as it is at first, and the memory that `writes` has as rewritten in the
graph. While there is none, a call need not ask for its own."""


def switch(flag: str, value: Any) -> None:
    """Set one flag of this thread."""
    setattr(mode, flag, value)
    (unusual.add if is_unusual() else unusual.discard)(threading.get_ident())


def is_unusual() -> bool:
    """Whether a flag of this thread is not as it is at first."""
    return not mode.grad or mode.definition or bool(mode.watchers)


@contextmanager
def switched(flag: str, value: Any) -> Iterator[None]:
    """One flag of this thread set to `value` within a `with` block."""
    before = getattr(mode, flag)
    switch(flag, value)
    try:
        yield
    finally:
        switch(flag, before)


class Switch:
    """Sets one flag of this thread's mode within a `with` block, or in a function that it decorates."""

    flag: str
    value: Any

    def __new__(cls, *arguments: Any, **_: Any) -> Any:
        """A switch, or, for `@no_grad` without parentheses, the function that it decorates."""
        return cls()(*arguments) if arguments and callable(arguments[0]) else super().__new__(cls)

    def __init__(self) -> None:
        self._before: list[Any] = []

    def __enter__(self) -> Any:
        self._before.append(getattr(mode, self.flag))
        switch(self.flag, self.value)
        return self

    def __exit__(self, *_: object) -> None:
        switch(self.flag, self._before.pop())

    def _another(self) -> Switch:  # a decorated function may run in several threads at once
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


class no_grad(Switch):
    """Record no operations: `with no_grad(): …`, or `@no_grad()` on a function. Holds for the calling thread only."""

    flag, value = "grad", False


class enable_grad(Switch):
    """Record operations, also inside a `no_grad` block. Holds for the calling thread only."""

    flag, value = "grad", True


class by_definition(Switch):
    """Run the engine exactly as the files of `core/` say, so that a debugger steps through what they define.

    The results are the same, bit for bit; calls are slower, and some errors are less helpful.
    """

    flag, value = "definition", True


class detect_anomaly(Switch):
    """Stop at the first NaN or infinity, forward or backward, with the operation and the line that made it.

    Slow: every result is checked, and every operation remembers the line that ran it.

    Raises (inside the block):
        AnomalyError: names the operation, the line and the operands.
    """

    flag = "watchers"

    def __enter__(self) -> detect_anomaly:
        self.value = (*mode.watchers, Anomaly())
        super().__enter__()
        return self


class set_grad_enabled(Switch):
    """Record operations or not, as `mode` says, from here on; in a `with` statement or a function until its end."""

    flag = "grad"

    def __init__(self, mode: bool) -> None:
        self.value, self._found = mode, is_grad_enabled()
        self.__enter__()

    def __enter__(self) -> set_grad_enabled:
        switch("grad", self.value)
        return self

    def __exit__(self, *_: object) -> None:
        switch("grad", self._found)

    def _another(self) -> set_grad_enabled:
        return set_grad_enabled(self.value)

    def __call__(self, function: F) -> F:
        """`function` with the flag set while it runs, and only then."""
        switch("grad", self._found)
        return super().__call__(function)


class inference_mode(Switch):
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
