"""Copies from pinned memory are done as late as CUDA may do them: whoever does not wait for one sees it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu_on_cpu.running import needs

pytestmark = needs()


@pytest.fixture
def pinned(cupy):
    memory = cupy.cuda.alloc_pinned_memory(16)
    numbers = np.frombuffer(memory, "float32", 4)
    numbers[:] = 1
    return numbers


def started(cupy, pinned, stream):
    """An array, zero until the copy that was begun on the stream is over."""
    there = cupy.zeros(4, "float32")
    there.set(pinned, stream=stream)
    return there


def test_a_stream_is_in_order(cupy, pinned):
    for stream in (cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(), cupy.cuda.Stream.null):
        with stream:
            assert (started(cupy, pinned, stream) + 1).tolist() == [2] * 4


def test_memory_that_is_written_before_the_copy_is_over(cupy, pinned):
    stream = cupy.cuda.Stream(non_blocking=True)
    there = started(cupy, pinned, stream)
    pinned[:] = 5  # too early
    stream.synchronize()
    assert there.tolist() == [5] * 4
    pinned[:] = 1
    there = started(cupy, pinned, stream)
    stream.synchronize()
    pinned[:] = 5
    assert there.tolist() == [1] * 4


@pytest.mark.parametrize("waits", [False, True])
def test_another_stream_must_wait(cupy, pinned, waits):
    copying, computing = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    there, over = started(cupy, pinned, copying), copying.record()
    with computing:
        if waits:
            computing.wait_event(over)
        assert (there + 1).tolist() == [1 + waits] * 4


def test_the_default_stream_waits_for_those_that_are_not_apart(cupy, pinned):
    for apart in (True, False):
        there = started(cupy, pinned, cupy.cuda.Stream(non_blocking=apart))
        assert (there + 1).tolist() == [1 + (not apart)] * 4


def test_an_event_that_is_asked_for_is_over(cupy, pinned):
    stream = cupy.cuda.Stream(non_blocking=True)
    there, over = started(cupy, pinned, stream), stream.record()
    later = started(cupy, pinned, stream)
    over.synchronize()
    pinned[:] = 5
    stream.synchronize()
    assert there.tolist() == [1] * 4 and later.tolist() == [5] * 4
