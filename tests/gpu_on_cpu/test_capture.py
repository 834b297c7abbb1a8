"""While a stream captures, what CUDA refuses is refused here, with its error; and a replay is one launch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu_on_cpu.running import needs

pytestmark = needs()
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2


@pytest.fixture
def stream(cupy):
    found = cupy.cuda.Stream(non_blocking=True)
    yield found
    if not ended(cupy, found):
        found.end_capture()


def ended(cupy, stream):
    try:
        return not cupy.cuda.runtime.streamIsCapturing(stream.ptr)
    except RuntimeError:  # invalidated
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
            stream.end_capture()
        return True


def refused(cupy, stream, name, offence, mode=RELAXED):
    """The offence has this error, what follows has another, and the graph is lost."""
    runtime = cupy.cuda.runtime
    x = cupy.zeros(4, "float32")
    with stream:
        stream.begin_capture(mode)
        x += 1
        with pytest.raises(runtime.CUDARuntimeError, match=f"cudaError{name}:"):
            offence(runtime, x)
        with pytest.raises(Exception, match="invalidated|StreamCaptureInvalidated"):
            x += 1
        with pytest.raises(runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
            stream.end_capture()
    assert x.tolist() == [0] * 4


def test_waiting(cupy, stream):
    for wait in (
        lambda runtime, _: runtime.streamSynchronize(stream.ptr),
        lambda runtime, _: runtime.deviceSynchronize(),
    ):
        refused(cupy, stream, "StreamCaptureUnsupported", wait)
    event = cupy.cuda.Event()
    refused(cupy, stream, "CapturedEvent", lambda *_: (event.record(stream), event.synchronize()))
    before = cupy.cuda.Stream(non_blocking=True).record()
    refused(cupy, stream, "StreamCaptureIsolation", lambda *_: stream.wait_event(before))


def test_memory(cupy, stream):
    for mode in (GLOBAL, THREAD_LOCAL):
        refused(cupy, stream, "StreamCaptureUnsupported", lambda runtime, _: runtime.malloc(100), mode)
        refused(cupy, stream, "StreamCaptureUnsupported", lambda runtime, _: runtime.hostAlloc(100, 0), mode)
    with stream:
        stream.begin_capture(RELAXED)
        cupy.cuda.runtime.free(cupy.cuda.runtime.malloc(100))
        stream.end_capture()


def test_copies_from_the_host(cupy, stream):
    ordinary, pinned = np.ones(4, "float32"), np.frombuffer(cupy.cuda.alloc_pinned_memory(16), "float32", 4)
    pinned[:] = 5
    refused(
        *(cupy, stream, "StreamCaptureUnsupported"),
        lambda runtime, x: runtime.memcpyAsync(x.data.ptr, ordinary.ctypes.data, 16, 1, stream.ptr),
    )
    x = cupy.zeros(4, "float32")
    with stream:
        stream.begin_capture()
        cupy.cuda.runtime.memcpyAsync(x.data.ptr, pinned.ctypes.data, 16, 1, stream.ptr)
        graph = stream.end_capture()
    pinned[:] = 6  # what is there when the graph is launched
    graph.launch()
    assert x.tolist() == [6] * 4


def test_the_default_stream(cupy):
    waits, apart = cupy.cuda.Stream(), cupy.cuda.Stream(non_blocking=True)
    x = cupy.zeros(4, "float32")
    with waits:
        waits.begin_capture()
        with cupy.cuda.Stream.null, pytest.raises(Exception, match="cudaErrorStreamCaptureImplicit"):
            x += 1
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="StreamCaptureInvalidated"):
            waits.end_capture()
    with apart:
        apart.begin_capture()
        with cupy.cuda.Stream.null:
            x += 1
        apart.end_capture()
    assert x.tolist() == [1] * 4


def test_nothing_is_done_before_the_launch_and_all_of_it_by_each(cupy, stream):
    x, y = cupy.arange(4, dtype="float32"), cupy.zeros((2, 2), "float32")
    with stream:
        stream.begin_capture()
        x += 1
        y[...] = x.reshape(2, 2)
        x.data.memset_async(0, 8)
        graph = stream.end_capture()
    assert x.tolist() == [0, 1, 2, 3] and y.sum() == 0
    graph.launch()
    assert x.tolist() == [0, 0, 3, 4] and y.tolist() == [[1, 2], [3, 4]]
    graph.launch()
    assert x.tolist() == [0, 0, 4, 5] and y.tolist() == [[1, 1], [4, 5]]


def test_memory_that_was_given_back_is_noticed(cupy, stream):
    x, y = cupy.zeros(4, "float32"), cupy.zeros(1 << 20, "float32")
    lost = cupy.cuda.runtime.malloc(16)
    there = cupy.ndarray(4, "float32", cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(lost, 16, y), 0))
    with stream:
        stream.begin_capture()
        x += there
        graph = stream.end_capture()
    graph.launch()
    cupy.cuda.runtime.free(lost)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorIllegalAddress"):
        graph.launch()


def test_a_replay_is_one_launch():
    import tinygrad_med as tm
    from tests.gpu_on_cpu.budget import captured
    from tests.gpu_on_cpu.dry import counted

    step = captured("linear")
    with counted() as counts:
        step()
    assert [w.kind for w in counts.work] == ["graph"] and counts.work[0].blocks == 0
    w = tm.nn.Parameter(tm.ones(3).cuda())
    optimizer = tm.optim.Adam([w])

    def move() -> None:
        w.grad = w.detach() * 2
        optimizer.step()

    move = tm.cuda.capture(move)
    move(), move(), move()
    with counted() as counts:
        move()
    assert [(w.kind, w.name) for w in counts.work] == [("kernel", "hold_numbers"), ("graph", "-")]
