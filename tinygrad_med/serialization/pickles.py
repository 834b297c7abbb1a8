"""Pickles, read without Python's unpickler, and written without its pickler.

A pickle is a program for a small machine with a stack and numbered memories: "push this number", "make a tuple of the
upper two", "call this function with that". Python's unpickler imports and calls whatever the program names, sets
attributes of what it was given, and takes as much memory as the program says. The machine here knows the instructions
that a state dict needs, and only the functions that its caller hands over. It has no loops, each of its instructions
takes time in proportion to its own length, and what it made is looked at once more in the end (`_demand_plain`). So a
file takes time and memory in proportion to its size, whatever is in it.

The instructions are described in Python's `pickletools`.
"""

from __future__ import annotations

import collections
import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MAX_DEPTH = 100  # of containers in containers
MAX_KEY = 16  # items of a tuple that is a key of a dict
PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)
CONTAINERS = (list, tuple, dict, collections.OrderedDict, collections.Counter, set)


class RefusedError(Exception):
    """The pickle names something that a state dict does not need."""


class Function(NamedTuple):
    """A function that a pickle may call, under the name that it has there."""

    name: str
    call: Callable[..., Any]


class Global(NamedTuple):
    """A name to be written: "torch", "FloatStorage"."""

    module: str
    name: str


class Call(NamedTuple):
    """A call to be written: what is read back is what the function returns."""

    function: Global
    arguments: tuple[Any, ...]


class Persistent(NamedTuple):
    """To be written as a reference to what lies outside of the pickle."""

    identity: tuple[Any, ...]


# Reading ------------------------------------------------------------------------------------------------------------


def load(
    data: Any,
    names: Mapping[str, Any],
    persistent: Callable[[Any], Any],
    leaves: tuple[type, ...] = (),
    start: int = 0,
) -> tuple[Any, int]:
    """Run the pickle in `data`.

    Args:
        data: bytes, or a map of a file.
        names: what the names in the pickle stand for: a `Function`, which it may call, or a constant.
        persistent: gives what a reference stands for.
        leaves: the types, beside `PLAIN`, of what may be in the result.
        start: where the pickle begins.

    Returns:
        The object, made of `CONTAINERS`, `PLAIN` and `leaves`; and where the pickle ends.

    Raises:
        RefusedError: for a name that is not among `names`.
        ValueError, LookupError, TypeError, …: for what is no such pickle.
    """
    machine = _Machine(data, start, names, persistent)
    found = machine.run()
    _demand_plain(found, (*PLAIN, *leaves), machine.steps)
    return found, machine.at


class _Machine:
    def __init__(self, data: Any, start: int, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self.data, self.at, self.names, self.persistent = data, start, names, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memory: dict[int, Any] = {}
        self.steps = 0
        self.allowance = len(data)  # items that calls may still be given

    def bytes(self, count: int) -> bytes:
        found = bytes(self.data[self.at : self.at + count])
        if len(found) != count:
            raise EOFError("it ends within a pickle")
        self.at += count
        return found

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))[0]

    def text(self, layout: str) -> str:
        return self.bytes(self.number(layout)).decode("utf-8", "surrogatepass")

    def line(self) -> str:
        end = self.data.find(b"\n", self.at)
        text = self.bytes(end - self.at if end >= 0 else len(self.data)).decode()
        self.at += 1
        return text

    def since_mark(self) -> list[Any]:
        found = self.stack
        self.stack = self.below.pop()
        return found

    def run(self) -> Any:
        push = self._push
        while True:
            self.steps += 1
            match self.bytes(1):
                case pickle.PROTO:
                    self.bytes(1)
                case pickle.FRAME:
                    self.bytes(8)
                case pickle.STOP:
                    (found,) = self.stack
                    return found
                # Numbers and texts
                case pickle.NONE:
                    push(None)
                case pickle.NEWTRUE:
                    push(True)
                case pickle.NEWFALSE:
                    push(False)
                case pickle.BININT:
                    push(self.number("<i"))
                case pickle.BININT1:
                    push(self.number("<B"))
                case pickle.BININT2:
                    push(self.number("<H"))
                case pickle.LONG1:
                    push(int.from_bytes(self.bytes(self.number("<B")), "little", signed=True))
                case pickle.BINFLOAT:
                    push(self.number(">d"))
                case pickle.BINUNICODE:
                    push(self.text("<I"))
                case pickle.SHORT_BINUNICODE | pickle.SHORT_BINSTRING:
                    push(self.text("<B"))
                case pickle.BINSTRING:
                    push(self.text("<i"))
                case pickle.SHORT_BINBYTES:
                    push(self.bytes(self.number("<B")))
                case pickle.BINBYTES:
                    push(self.bytes(self.number("<I")))
                # Containers
                case pickle.MARK:
                    self.below.append(self.stack)
                    self.stack = []
                case pickle.EMPTY_TUPLE:
                    push(())
                case pickle.EMPTY_LIST:
                    push([])
                case pickle.EMPTY_DICT:
                    push({})
                case pickle.EMPTY_SET:
                    push(set())
                case pickle.TUPLE:
                    items = self.since_mark()
                    push(tuple(items))
                case pickle.TUPLE1:
                    push((self._pop(),))
                case pickle.TUPLE2:
                    second, first = self._pop(), self._pop()
                    push((first, second))
                case pickle.TUPLE3:
                    third, second, first = self._pop(), self._pop(), self._pop()
                    push((first, second, third))
                case pickle.APPEND:
                    item = self._pop()
                    self._top(list).append(item)
                case pickle.APPENDS:
                    items = self.since_mark()
                    self._top(list).extend(items)
                case pickle.SETITEM:
                    value, key = self._pop(), self._pop()
                    self._set_items([key, value])
                case pickle.SETITEMS:
                    self._set_items(self.since_mark())
                case pickle.ADDITEMS:
                    items = self.since_mark()
                    self._top(set).update(map(checked_key, items))
                # Memories
                case pickle.BINPUT:
                    self.memory[self.number("<B")] = self.stack[-1]
                case pickle.LONG_BINPUT:
                    self.memory[self.number("<I")] = self.stack[-1]
                case pickle.MEMOIZE:
                    self.memory[len(self.memory)] = self.stack[-1]
                case pickle.BINGET:
                    push(self.memory[self.number("<B")])
                case pickle.LONG_BINGET:
                    push(self.memory[self.number("<I")])
                # Names, calls, references
                case pickle.GLOBAL:
                    push(self._named(self.line(), self.line()))
                case pickle.STACK_GLOBAL:
                    name, module = self._pop(), self._pop()
                    push(self._named(module, name))
                case pickle.REDUCE | pickle.NEWOBJ:
                    arguments, function = self._pop(), self._pop()
                    push(self._called(function, arguments))
                case pickle.BUILD:
                    self._pop()
                    self._top(collections.OrderedDict)  # attributes of a state dict, which nothing here reads
                case pickle.BINPERSID:
                    push(self.persistent(self._pop()))
                case instruction:
                    raise ValueError(f"its pickle has the instruction {instruction!r}, which no state dict needs")

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _pop(self) -> Any:
        return self.stack.pop()

    def _top(self, kind: type) -> Any:
        """What lies on top, which must be just of this type."""
        found = self.stack[-1]
        if type(found) is not kind:
            raise ValueError(f"its pickle changes a {type(found).__name__} as if it were a {kind.__name__}")
        return found

    def _set_items(self, pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise ValueError("its pickle has a key without a value")
        kind = type(self.stack[-1])
        target = self._top(kind if kind in (collections.OrderedDict, collections.Counter) else dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[checked_key(key)] = value

    def _named(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}".replace("__builtin__.", "builtins.")  # as Python 2 called it
        if wanted not in self.names:
            raise RefusedError(
                f"asks for {wanted[:200]}, which no state dict needs, so it was not read any further; if you trust "
                "where it comes from, open it with PyTorch and save its state_dict() with safetensors.torch.save_file"
            )
        return self.names[wanted]

    def _called(self, function: Any, arguments: Any) -> Any:
        if type(function) is not Function or type(arguments) is not tuple:
            raise ValueError(f"its pickle calls a {type(function).__name__}")
        self.allowance -= sum(len(part) for part in arguments[:16] if isinstance(part, (*CONTAINERS, str, bytes)))
        if self.allowance < 0:
            raise ValueError("its pickle uses the same parts again and again")
        return function.call(*arguments)


def checked_key(key: Any) -> Any:
    """A key of a dict or a member of a set, whose hash is known at once."""
    if type(key) is tuple and len(key) <= MAX_KEY and all(isinstance(part, PLAIN) for part in key):
        return tuple(map(checked_key, key))
    if isinstance(key, PLAIN) and not (isinstance(key, int) and abs(key) >= 2**60):  # larger ones may share a hash
        return key
    raise ValueError(f"its pickle has a {type(key).__name__} as a key")


def _demand_plain(found: Any, leaves: tuple[type, ...], steps: int) -> None:
    """Raise a `ValueError` unless `found` is a tree, not too deep, of admitted types.

    Parts may be shared, as long as the whole has not many times more nodes than the program had steps: a list of ten
    references to a list of ten references … would be endless for whoever goes through it.
    """
    sizes: dict[int, int] = {}  # of the containers that were gone through, with what is in them
    open_ones: dict[int, None] = {}
    waiting: list[tuple[Any, bool]] = [(found, False)]
    while waiting:
        node, is_done = waiting.pop()
        if type(node) not in CONTAINERS:
            if not isinstance(node, leaves):
                raise ValueError(f"its pickle holds a {type(node).__name__}")
            continue
        parts = list(node.values()) if isinstance(node, dict) else list(node)
        if is_done:
            del open_ones[id(node)]
            sizes[id(node)] = 1 + sum(sizes.get(id(part), 1) for part in parts)
            if sizes[id(node)] > 16 * steps:
                raise ValueError("its pickle unfolds to many times its length")
        elif id(node) in open_ones:
            raise ValueError(f"its pickle holds a {type(node).__name__} that holds itself")
        elif id(node) not in sizes:
            open_ones[id(node)] = None
            if len(open_ones) > MAX_DEPTH:
                raise ValueError(f"its pickle holds containers in containers, more than {MAX_DEPTH} deep")
            waiting.append((node, True))
            waiting.extend((part, False) for part in parts)


# Writing ------------------------------------------------------------------------------------------------------------


def dump(value: Any, translate: Callable[[Any], Any]) -> bytes:
    """A pickle, of protocol 2, that PyTorch's restricted reader takes too.

    Args:
        value: of `CONTAINERS` and `PLAIN`, and what `translate` knows.
        translate: gives a `Call`, `Global` or `Persistent` for anything else, or raises a `TypeError`.

    Raises:
        ValueError: for containers that hold themselves, or are nested too deeply.
    """
    pieces: list[bytes] = [pickle.PROTO + b"\x02"]
    _write(value, pieces.append, translate, 0)
    return b"".join([*pieces, pickle.STOP])


def _write(value: Any, write: Callable[[bytes], None], translate: Callable[[Any], Any], depth: int) -> None:
    def every(values: Any) -> None:
        for one in values:
            _write(one, write, translate, depth + 1)

    if depth > 4 * MAX_DEPTH:
        raise ValueError(f"it holds itself, or containers in containers more than {MAX_DEPTH} deep")
    match value:
        case Global():
            write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        case Call():
            every([value.function, tuple(value.arguments)])
            write(pickle.REDUCE)
        case Persistent():
            every([tuple(value.identity)])
            write(pickle.BINPERSID)
        case None:
            write(pickle.NONE)
        case bool():
            write(pickle.NEWTRUE if value else pickle.NEWFALSE)
        case int() if type(value) is int:
            size = value.bit_length() // 8 + 1
            if -(2**31) <= value < 2**31:
                write(pickle.BININT + struct.pack("<i", value))
            elif size < 256:
                write(pickle.LONG1 + struct.pack("<B", size) + value.to_bytes(size, "little", signed=True))
            else:
                raise ValueError(f"an integer of {size} bytes is too large")
        case float() if type(value) is float:
            write(pickle.BINFLOAT + struct.pack(">d", value))
        case complex() if type(value) is complex:
            every([Call(Global("__builtin__", "complex"), (value.real, value.imag))])
        case str() if type(value) is str:
            text = value.encode("utf-8", "surrogatepass")
            write(pickle.BINUNICODE + struct.pack("<I", len(text)) + text)
        case bytes() if type(value) is bytes:
            every([Call(Global("_codecs", "encode"), (value.decode("latin1"), "latin1"))])
        case tuple() if type(value) is tuple:
            write(pickle.MARK)
            every(value)
            write(pickle.TUPLE)
        case list() if type(value) is list:
            write(pickle.EMPTY_LIST + pickle.MARK)
            every(value)
            write(pickle.APPENDS)
        case set() if type(value) is set:
            every([Call(Global("__builtin__", "set"), (list(value),))])
        case collections.Counter():
            every([Call(Global("collections", "Counter"), (dict(value),))])
        case collections.OrderedDict():
            every([Call(Global("collections", "OrderedDict"), ())])
            write(pickle.MARK)
            every(part for pair in value.items() for part in pair)
            write(pickle.SETITEMS)
        case dict() if type(value) is dict:
            write(pickle.EMPTY_DICT + pickle.MARK)
            every(part for pair in value.items() for part in pair)
            write(pickle.SETITEMS)
        case _:
            _write(translate(value), write, translate, depth + 1)
