"""Copies by a second stream: in any order that two streams and their events allow, a step reads its own batch.

The streams are simulated: each is a list of work, and a seed draws which of them goes on next. So what a real GPU may
do is tried here in hundreds of orders; that the numbers arrive on CuPy, the tests marked `cuda` show.
"""

from __future__ import annotations

import random
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import backend
from tinygrad_med.backend import transfer
from tinygrad_med.utils.data import DataLoader, TensorDataset


class Event:
    done = False


class Stream:
    """Work in its order; each piece of it may wait for an event."""

    def __init__(self, deaf: bool = False) -> None:
        self.work: list[tuple[Event | None, Callable[[], None]]] = []
        self.deaf = deaf  # to events, for the planted mistakes

    def do(self, action: Callable[[], None]) -> None:
        self.work.append((None, action))

    def record(self) -> Event:
        event = Event()
        self.do(lambda: setattr(event, "done", True))
        return event

    def wait_event(self, event: Event) -> None:
        self.work.append((None if self.deaf else event, lambda: None))

    def can_go_on(self) -> bool:
        return bool(self.work) and (self.work[0][0] is None or self.work[0][0].done)


class Machine:
    """As much of CuPy as a lane uses: a main stream, and pieces of memory that a copy writes when its turn comes."""

    def __init__(self, seed: int, deaf_main: bool = False, deaf_side: bool = False) -> None:
        self.random = random.Random(seed)
        self.main, self.side = Stream(deaf_main), Stream(deaf_side)
        self.memory: dict[int, bytes] = {}
        self.cuda = types.SimpleNamespace(
            Stream=lambda non_blocking: self.side,
            get_current_stream=lambda: self.main,
            alloc=self.alloc,
            UnownedMemory=lambda ptr, size, owner, number: types.SimpleNamespace(ptr=ptr, owner=owner),
            MemoryPointer=lambda memory, offset: Pointer(self, memory),
        )

    def alloc(self, size: int) -> Any:
        ptr = len(self.memory)
        self.memory[ptr] = b"?" * size
        return types.SimpleNamespace(ptr=ptr)

    def ndarray(self, shape: Any, dtype: Any, data: Any) -> Any:
        return types.SimpleNamespace(data=data, shape=shape)

    def go_on(self, most: int) -> None:
        """Let the streams do some of their work, in one of the orders that the events allow."""
        for _ in range(most):
            ready = [stream for stream in (self.main, self.side) if stream.can_go_on()]
            if ready:
                self.random.choice(ready).work.pop(0)[1]()


class Pointer:
    def __init__(self, machine: Machine, memory: Any) -> None:
        self.machine, self.memory = machine, memory

    def copy_from_host_async(self, source: int, size: int, stream: Stream) -> None:
        host, memory, ptr = SOURCES[source], self.machine.memory, self.memory.ptr

        def copy() -> None:
            assert host() is not None, "its source is gone"
            memory[ptr] = host().tobytes()

        stream.do(copy)


SOURCES: dict[int, Any] = {}


def read_in_steps(machine: Machine, keep_some: bool = False) -> bool:
    """Whether each of twelve steps reads the batch that was copied for it."""
    lane, found, expected, kept = transfer._Lane(machine), [], [], []
    for k in range(12):
        batch = np.full(4, k, "uint8")
        SOURCES[batch.ctypes.data] = weakref.ref(batch)
        x = lane.bring(batch, 0)
        expected.append(batch.tobytes())
        del batch
        ptr = x.data.memory.ptr
        machine.main.do(lambda ptr=ptr: found.append(machine.memory[ptr]))
        if keep_some and k % 3 == 0:
            kept.append((types.SimpleNamespace(data=x.data), ptr, expected[-1]))  # a view, which holds the memory
        machine.go_on(machine.random.randrange(6))
    del x
    machine.go_on(1000)
    return found == expected and all(machine.memory[ptr] == numbers for _, ptr, numbers in kept)


@pytest.mark.parametrize("keep_some", [False, True])
def test_each_step_reads_its_own_batch_in_every_order(keep_some: bool) -> None:
    pieces = set()
    for seed in range(300):
        machine = Machine(seed)
        assert read_in_steps(machine, keep_some), seed
        assert not machine.side.work
        pieces.add(len(machine.memory))
    assert max(pieces) <= (3 if not keep_some else 8)  # they are used again


def test_a_copy_may_run_while_the_step_before_computes() -> None:
    machine = Machine(0)
    lane = transfer._Lane(machine)
    copies = []
    for k in range(5):
        batch = np.full(4, k, "uint8")
        SOURCES[batch.ctypes.data] = weakref.ref(batch)
        x = lane.bring(batch, 0)
        machine.main.do(lambda: None)  # the step
        while machine.side.can_go_on():  # only the second stream goes on
            machine.side.work.pop(0)[1]()
        copies.append(machine.memory[x.data.memory.ptr] == batch.tobytes())
        while len(machine.main.work) > 1:  # then the main stream, up to the step
            for stream in (machine.side, machine.main):
                if stream.can_go_on():
                    stream.work.pop(0)[1]()
    assert copies[2:] == [True, True, True]


@pytest.mark.parametrize("mistake", [{"deaf_main": True}, {"deaf_side": True}])
def test_a_missing_event_is_noticed(mistake: dict[str, bool]) -> None:
    assert not all(read_in_steps(Machine(seed, **mistake)) for seed in range(300))


# Where there is a GPU, and where there is none ------------------------------------------------------------------------


@pytest.mark.cuda
def test_batches_arrive_on_the_gpu(cupy: Any) -> None:
    images, labels = tm.randn(40, 3, 5, 5), tm.randint(0, 9, (40,))
    loader = DataLoader(TensorDataset(images, labels), batch_size=8, pin_memory=True, num_workers=2)
    seen = []
    for x, y in loader:
        assert x.is_pinned() and y.is_pinned() and not x.clone().is_pinned() and x.pin_memory() is x
        x, y = x.to("cuda", non_blocking=True), y.cuda(non_blocking=True)
        assert (x.device, y.device) == ("cuda:0", "cuda:0") and not x.is_pinned()
        seen.append((x * 2, y + 1))
    np.testing.assert_array_equal(tm.cat([x for x, _ in seen]).cpu().numpy(), (images * 2).numpy())
    np.testing.assert_array_equal(tm.cat([y for _, y in seen]).cpu().numpy(), (labels + 1).numpy())
    del x, y
    pieces = transfer._lanes[0].free
    assert 1 <= len(pieces[8 * 75 * 4]) <= 3
    assert images.pin_memory().to("cuda", tm.float64, non_blocking=True).dtype == tm.float64
    assert images[:, :, ::2].pin_memory()[::2].to("cuda", non_blocking=True).tolist() == images[::2, :, ::2].tolist()
    assert tm.zeros(0, 3).pin_memory().cuda(non_blocking=True).shape == (0, 3)
    source = images.pin_memory()
    there = source.cuda()  # it waits
    source.zero_()
    assert there.cpu().equal(images)
    with pytest.raises(RuntimeError, match="pin_memory: this tensor is on cuda:0"):
        there.pin_memory()


@pytest.mark.cuda
def test_dicts_and_names_are_pinned_too() -> None:
    data = [{"image": tm.ones(2), "name": str(i), "parts": (i, [tm.zeros(1)])} for i in range(4)]
    (batch,) = DataLoader(data, batch_size=4, pin_memory=True)
    assert batch["image"].is_pinned() and batch["parts"][1][0].is_pinned() and batch["name"] == ["0", "1", "2", "3"]


@pytest.mark.skipif(tm.cuda.is_available(), reason="there is a card")
def test_without_a_card_nothing_is_pinned() -> None:
    for (x,) in DataLoader(TensorDataset(tm.ones(4, 2)), batch_size=2, pin_memory=True):
        assert not x.is_pinned() and x.to("cpu", non_blocking=True) is x
    with pytest.raises(RuntimeError, match="cuda: "):
        tm.ones(2).pin_memory()
    assert not backend.is_pinned(np.ones(2))
