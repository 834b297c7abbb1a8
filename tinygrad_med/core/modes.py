"""What a thread has switched on; `engine/switches.py` has the switches for users: `no_grad`, `detect_anomaly` …"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Mode(threading.local):
    """The flags of the calling thread.

    Attributes:
        grad: record operations, so that gradients can flow through them.
        definition: run the engine exactly as the files of this folder say, without what `engine/` makes fast.
        watchers: objects that are told of every operation, and may look at every walk: anomaly detection, `explain`.
    """

    grad = True
    definition = False
    watchers: tuple[Any, ...] = ()


mode = Mode()

next_number = itertools.count(1).__next__
"""Numbers the events of the process, operations and writes in place alike: the later event has the larger number."""


unusual = 0
"""How many threads have a flag that is not as it is at first; while none has, a call need not ask for its own."""

_lock = threading.Lock()


def switch(flag: str, value: Any) -> None:
    """Set one flag of this thread."""
    global unusual
    with _lock:
        unusual -= is_unusual()
        setattr(mode, flag, value)
        unusual += is_unusual()


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
