"""The log of writes in place, by which the walk notices that a value which it needs was overwritten since."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.modes import next_number
from tinygrad_med.engine.lines import Place, user_place

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Record


class Writes:
    """The log. It keeps one entry per piece of memory, for as long as that exists.

    Attributes:
        last: the number of the latest write. A record with a larger number saved its values after every write, so in
            the ordinary case the walk compares two numbers and is done.
    """

    def __init__(self) -> None:
        self.last = 0
        self._log: dict[int, tuple[int, Place | None, Any]] = {}  # by the owner's id: number, place, a reference to it
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
            known = self._log.get(key)
            watch = known[2] if known else weakref.ref(owner, lambda _: self._log.pop(key, None))
            self._log[key] = (self.last, user_place(), watch)

    def since(self, array: Any, number: int) -> str | None:
        """The line of the latest write to the memory of `array`, if that came after event `number`."""
        entry = self._log.get(id(backend.memory_owner(array)))
        return str(entry[1] or "an unknown line") if entry is not None and entry[0] > number else None

    def check(self, record: Record) -> None:
        """Raise an error if a value that the record saved was overwritten since."""
        if self.last < record.number:
            return
        for name, value in (record.saved or {}).items():
            for array in value if isinstance(value, tuple) else (value,):
                if backend.is_array(array) and (line := self.since(array, record.number)):
                    operand = f"its operand {name}" if name in record.primitive.operands else name
                    raise RuntimeError(
                        f"{record.primitive}: {'its result' if name == 'z' else operand}, which the derivative needs, "
                        f"was overwritten in place at {line}; clone() it first, or use an operation that makes a new "
                        "tensor"
                    )


writes = Writes()
"""The one log of writes in place."""
