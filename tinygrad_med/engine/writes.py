"""The log of writes in place, by which the walk notices that a value which it needs was overwritten since."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.modes import next_number
from tinygrad_med.engine import switches
from tinygrad_med.engine.lines import Place, user_place

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Record


@dataclass
class Rewrite:
    """A write in the graph to memory that other tensors may look at.

    Attributes:
        number: what is newer knows of the write.
        place: the array that was written: its address, shape and strides.
        record: the operation that made what is there now; `None` once forgotten.
        line: where it was written.
        adopted: it was written through a constant, which thereby became a part of the graph.
    """

    number: int
    place: tuple[int, tuple[int, ...], tuple[int, ...]]
    record: Record | None
    line: str
    adopted: bool


@dataclass
class Rewritten:
    """Memory that was written in the graph, while others held it too.

    Attributes:
        watch: a reference that notices when the memory is gone.
        writes: the writes, one after the other.
        arrays: arrays of tensors whose graph is up to date: a constant that holds one of them was detached from it.
    """

    watch: Any
    writes: list[Rewrite] = field(default_factory=list)
    arrays: dict[int, Any] = field(default_factory=dict)

    def know(self, array: Any) -> None:
        """Note that a tensor which is up to date holds this array."""
        key = id(array)
        self.arrays[key] = weakref.ref(array, lambda _: self.arrays.pop(key, None))

    def knows(self, array: Any) -> bool:
        """Whether a tensor that is up to date held this array."""
        known = self.arrays.get(id(array))
        return known is not None and known() is array


REMEMBERED = 256
"""Of how many pieces of memory the records are kept. A record may keep that very memory alive, by what was saved before
the write; so the oldest are forgotten, and a tensor that needs one then says so."""


class Writes:
    """The log. It keeps one entry per piece of memory, for as long as that exists.

    Attributes:
        last: the number of the latest write. A record with a larger number saved its values after every write, so in
            the ordinary case the walk compares two numbers and is done.
        rewritten: by its owner's id the memory that was written in the graph while others held it too. While there is
            any, it is in `switches.unusual`, so that calls ask whether their operands know of it.
    """

    def __init__(self) -> None:
        self.last = 0
        self.rewritten: dict[int, Rewritten] = {}
        self._log: dict[int, tuple[int, Place | None, Any]] = {}  # by the owner's id: number, place, a reference to it
        self._lock = threading.Lock()

    def note(self, array: Any) -> None:
        """Log that the line of user code which is running now writes to the memory of `array`.

        A NumPy scalar is a value and no memory: who saved it still has it, whatever its tensor holds by now.
        """
        if isinstance(array, numpy.generic):
            return
        owner = array if array.base is None else backend.memory_owner(array)
        key = id(owner)
        with self._lock:
            self.last = next_number()
            known = self._log.get(key)
            watch = known[2] if known else weakref.ref(owner, lambda _: self._log.pop(key, None))
            self._log[key] = (self.last, user_place(), watch)

    def note_in_graph(self, array: Any, number: int, record: Record, adopted: bool) -> None:
        """Log that the memory of `array`, which others hold too, was written by an operation with a larger number."""
        self.note(array)
        owner = backend.memory_owner(array)
        key = id(owner)

        def forget(_: Any) -> None:
            self.rewritten.pop(key, None)
            switches.unusual.discard(("memory", key))

        if key not in self.rewritten:
            self.rewritten[key] = Rewritten(weakref.ref(owner, forget))
            switches.unusual.add(("memory", key))
            for old in list(self.rewritten.values())[:-REMEMBERED]:
                for write in old.writes:
                    write.record = None
        memory = self.rewritten[key]
        line = str(user_place() or "an unknown line")
        memory.writes.append(Rewrite(number, place_of(array), record, line, adopted))
        memory.know(array)

    def in_graph(self, array: Any) -> Rewritten | None:
        """What is known of the memory of `array` if it was written in the graph."""
        return self.rewritten.get(id(backend.memory_owner(array))) if self.rewritten else None

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


def place_of(array: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Where in memory the elements of an array are: its address, shape and strides."""
    return backend.address(array), array.shape, array.strides


writes = Writes()
"""The one log of writes in place."""
