"""CUDA graphs: a step is recorded once, and then done again as a whole, so that Python costs nothing.

A small network's kernels are done sooner than Python can ask for them. `capture(step)` asks for all of them at once:

    step = cuda.capture(step)
    for x, y in batches:            # on the GPU, all of one shape
        loss = step(x, y)

The first calls are ordinary ones. The next is recorded: nothing is computed, and each launch is noted with its
arguments. So a replay reads and writes the memory that the recorded call had, which the graph keeps, and whatever
Python did is not done again: its numbers are constants, its branches are taken as they were. What would be wrong then
is an error while the graph is captured, which says what to do instead: reading a GPU's number, copies to the GPU,
random numbers (dropout in training), schedules. Rates and the counts of steps of `SGD`, `Adam` and `AdamW` are given
to the graph before each replay, so schedules beside it work. What nobody can notice: a Python number of yours that
changes, such as `lr` in `p -= lr * p.grad` (make it a tensor of the GPU), and a tensor that the step makes anew and
reads in the next call, instead of writing it in place.

`CUDAGraph` and `graph` are PyTorch's, for a recording by hand.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.gpu import faults, products
from tinygrad_med.core.tensor import Tensor

_streams: dict[int, Any] = {}
"""Per GPU the stream that captures; a graph is replayed on the ordinary one."""


def is_current_stream_capturing() -> bool:
    """Whether this thread captures a CUDA graph."""
    return backend.captured.graph is not None


class CUDAGraph:
    """Work of a GPU, recorded, to be done again; as PyTorch's, but that it captures on a stream of its own.

    Record it by `with cuda.graph(g): …`. What the block made is its output: computed by `replay()`, anew by each, in
    the same memory, which the graph keeps as long as it lives.

    Attributes:
        before_replay: functions that `replay` calls first, such as those that set an optimizer's rates.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the recording, and give its memory back."""
        self.before_replay: list[Callable[[], object]] = []
        self._device: int | None = None
        self._graph: Any = None
        self._memory: Any = None
        self._of_cublas: Any = None
        self._kept: dict[int, Any] = {}
        self._leave = contextlib.ExitStack()

    def pool(self) -> Any:
        """The memory of the recording, for another graph (`capture_begin(pool)`) that is always replayed after it."""
        return self._memory

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "relaxed") -> None:
        """Record from here on, in this thread, until `capture_end`.

        Args:
            pool: another graph's memory, to share it.
            capture_error_mode: only `"relaxed"`: what other threads do is not looked at.

        Raises:
            RuntimeError: where a graph is captured already, or there is no CUDA.
        """
        if backend.captured.graph is not None:
            raise RuntimeError("CUDA graph: this thread captures one already; end that first")
        if capture_error_mode != "relaxed":
            raise ValueError(f"CUDA graph: capture_error_mode={capture_error_mode!r} is not supported; give 'relaxed'")
        self.reset()
        cupy = backend.module_of("cuda")
        self._device = number = backend.current_gpu
        faults.prepare(number)
        stream = _streams.setdefault(number, cupy.cuda.Stream(non_blocking=True))
        gc.collect()  # what is given back meanwhile might wait for the GPU
        cupy.cuda.Device(number).synchronize()
        self._memory = pool or cupy.cuda.MemoryPool()
        with contextlib.ExitStack() as entered:
            entered.enter_context(cupy.cuda.using_allocator(self._memory.malloc))
            entered.enter_context(stream)
            self._of_cublas = products.begin_capture(stream)
            stream.begin_capture(cupy.cuda.runtime.streamCaptureModeRelaxed)
            backend.captured.graph = self
            self._leave = entered.pop_all()

    def capture_end(self) -> None:
        """End the recording.

        Raises:
            RuntimeError: where something was done meanwhile that can't be in a graph.
        """
        if backend.captured.graph is not self:
            raise RuntimeError("CUDA graph: capture_end without capture_begin in this thread")
        backend.captured.graph = None
        with self._leave:
            self._graph = _streams[self._device or 0].end_capture()

    def keep(self, arrays: tuple[Any, ...]) -> None:
        """Hold on to the memory of arrays that work was captured on, and that is not the recording's own."""
        for array in arrays:
            memory = getattr(getattr(array, "data", None), "mem", None)  # none of NumPy's
            if memory is not None and getattr(memory, "pool", None) is not self._of_cublas.data.mem.pool:
                self._kept[id(memory)] = memory

    def replay(self) -> None:
        """Have the GPU do the work again, behind what was asked of it before.

        Raises:
            RuntimeError: before a recording; within another one.
        """
        if self._graph is None:
            raise RuntimeError("CUDA graph: nothing is recorded yet; with cuda.graph(g): …")
        backend.refuse_captured("another graph is replayed", "replay one after the other")
        backend.module_of(f"cuda:{self._device}")
        for function in self.before_replay:
            function()
        self._graph.launch()


class graph:
    """Record a block's work on the GPU: `with cuda.graph(g): …`, after the same work was done once without.

    Args:
        cuda_graph: takes the recording.
        pool: another graph's `pool()`, to share its memory.
        stream: only `None`.
        capture_error_mode: as for `CUDAGraph.capture_begin`.

    Raises:
        RuntimeError: at the end of the block, for work that can't be in a graph.
    """

    def __init__(
        self, cuda_graph: CUDAGraph, pool: Any = None, stream: None = None, capture_error_mode: str = "relaxed"
    ) -> None:
        if stream is not None:
            raise ValueError("CUDA graph: it is captured on a stream of its own; leave stream out")
        self.cuda_graph, self.pool, self.mode = cuda_graph, pool, capture_error_mode

    def __enter__(self) -> None:
        self.cuda_graph.capture_begin(self.pool, self.mode)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            self.cuda_graph.capture_end()
        except RuntimeError as end:  # the recording is lost; what the block said, or else the end, tells why
            self.cuda_graph.reset()
            if error is None:
                raise _explained(end) from end
        if error is not None:
            self.cuda_graph.reset()
            if isinstance(error, RuntimeError) and "captur" in str(error) and "CUDA graph: " not in str(error):
                raise _explained(error) from error


def _explained(error: Exception) -> RuntimeError:
    """CuPy's and CUDA's errors, and what to do."""
    return RuntimeError(
        f"CUDA graph: something was done while it was captured that waits for the GPU, copies from the CPU, or is not "
        f"among what a graph can hold ({type(error).__name__}: {error}); do it before or after a replay"
    )


def capture(step: Callable[..., Any], warmup: int = 2) -> Callable[..., Any]:
    """The step, whose calls after the first few are replays of a CUDA graph: one launch instead of hundreds.

    Each call is one step, as without, and has the same results, bit for bit. Those of replays are in the same tensors,
    which the next one overwrites, and are detached. (See `cuda/graphs.py` for what a step must not do.)

    Args:
        step: a function of tensors on the GPU; forward, backward and the optimizer's step may be in it.
        warmup: how many calls are ordinary ones: they compile kernels and begin the optimizer's state.

    Returns:
        A function of the same arguments. The tensors that a replay is given are copied into those of the recorded call.

    Raises:
        RuntimeError: from the call that is recorded, where the step does what a graph can't hold.
        TypeError: there, for arguments that are no tensors on a GPU.
        ValueError: from a replay, for an argument of another shape or dtype.
    """
    return _Step(step, warmup)


class _Step:
    """What `capture` returns."""

    def __init__(self, step: Callable[..., Any], warmup: int) -> None:
        self.step, self.ordinary = step, warmup
        self.graph: CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.results: Any = None

    def __call__(self, *inputs: Any) -> Any:
        if self.ordinary > 0:
            self.ordinary -= 1
            return self.step(*inputs)
        if self.graph is None:
            self._record(inputs)
        else:
            self._take(inputs)
        assert self.graph is not None
        self.graph.replay()
        return self.results

    def _record(self, inputs: tuple[Any, ...]) -> None:
        for i, x in enumerate(inputs):
            if not (isinstance(x, Tensor) and x.is_cuda):
                what = f"a tensor on {x.device}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
                raise TypeError(
                    f"capture: argument {i} is {what}, which would be the same in all replays; give a tensor on the GPU"
                )
        self.inputs = [x.detach().clone().requires_grad_(x.requires_grad) for x in inputs]
        recording = CUDAGraph()
        with graph(recording):
            results = self.step(*self.inputs)
        self.graph, self.results = recording, _detached(results)

    def _take(self, inputs: tuple[Any, ...]) -> None:
        if len(inputs) != len(self.inputs):
            raise TypeError(f"capture: got {len(inputs)} arguments, the recorded step has {len(self.inputs)}")
        for i, (mine, x) in enumerate(zip(self.inputs, inputs, strict=True)):
            if not isinstance(x, Tensor) or (x.shape, x.dtype) != (mine.shape, mine.dtype):
                given = f"{x.dtype} {x.shape}" if isinstance(x, Tensor) else type(x).__name__
                raise ValueError(
                    f"capture: argument {i} is {given}, that of the recorded step {mine.dtype} {mine.shape}; a graph "
                    "has one shape: leave a smaller last batch out, or take the step without capture for it"
                )
        for mine, x in zip(self.inputs, inputs, strict=True):
            mine.detach().copy_(x.detach())


def _detached(x: Any) -> Any:
    """Results without their graph, in lists, tuples and dicts, too."""
    if isinstance(x, Tensor):
        return x.detach()
    if isinstance(x, dict):
        return {key: _detached(value) for key, value in x.items()}
    return type(x)(map(_detached, x)) if type(x) in (list, tuple) else x
