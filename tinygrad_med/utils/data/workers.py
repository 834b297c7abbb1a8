"""Who makes batches ahead of the caller: threads, which share the data set, or processes, which have a copy each."""

from __future__ import annotations

import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, TimeoutError as TooLate
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pickle import PicklingError
from typing import Any

from tinygrad_med.random import Generator, drawing_from


class _End:
    def __reduce__(self) -> str:
        return "END"  # the same one also in another process


END: Any = _End()
"""What a task gives when an iterable data set has ended."""

Task = tuple[Any, ...]
"""The arguments of `Maker.make`."""


@dataclass
class Maker:
    """Makes the batches of one data set, here or in a worker.

    Attributes:
        dataset, collate_fn, batch_size, drop_last: those of the loader.
        by_number: whether the data set is asked for items by number, and not gone through.
        in_batches: whether items are put together.
    """

    dataset: Any
    collate_fn: Callable[[Any], Any]
    batch_size: int | None
    drop_last: bool
    by_number: bool
    in_batches: bool
    _streams: dict[int, tuple[Generator, Iterator[Any]]] = field(default_factory=dict, init=False, repr=False)

    def make(self, seed: int, number: int, indices: Any) -> Any:
        """The batch of that number of the pass of that seed: of these items, or the next of the stream."""
        if not self.by_number:
            return self._next(seed)
        with drawing_from(Generator((number << 64) + seed)):
            if not self.in_batches:
                return self.collate_fn(self.dataset[indices])
            if hasattr(self.dataset, "__getitems__"):
                return self.collate_fn(self.dataset.__getitems__(indices))
            return self.collate_fn([self.dataset[i] for i in indices])

    def _next(self, seed: int) -> Any:
        random, items = self._streams.get(seed, (Generator(seed), iter(())))
        with drawing_from(random):
            if seed not in self._streams:
                items = iter(self.dataset)
                self._streams = {seed: (random, items)}  # of one pass alone
            if self.batch_size is None:
                item: Any = next(items, END)
                return END if item is END else self.collate_fn(item)
            batch = list(itertools.islice(items, self.batch_size))
            return self.collate_fn(batch) if len(batch) >= (self.batch_size if self.drop_last else 1) else END


@dataclass
class WorkerInfo:
    """What `get_worker_info()` tells a data set in a worker process.

    Attributes:
        id, num_workers: which worker of how many.
        seed: what its first random numbers follow from.
        dataset: its copy of the data set.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None
_maker: Maker | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process, which one it is; `None` in the caller's process, and so in the threads of its loaders."""
    return _info


def _begin_process(maker: Maker, numbers: Any, count: int, seed: int, init: Callable[[int], None] | None) -> None:
    global _info, _maker
    number = numbers.get()
    _info, _maker = WorkerInfo(number, count, seed + number, maker.dataset), maker
    if init is not None:
        with drawing_from(Generator(seed + number)):
            init(number)


def _make_in_process(*task: Any) -> Any:
    assert _maker is not None
    return _maker.make(*task)


class Workers:
    """Some threads, or with a `context` processes, that make batches.

    Args:
        maker: what makes them.
        count: how many; an iterable data set is read by one alone.
        init: called in each with its number.
        seed: what the random numbers of `init` follow from.
        context: a way to start processes: "fork", "spawn", "forkserver" or a context of `multiprocessing`.
    """

    def __init__(
        self, maker: Maker, count: int, init: Callable[[int], None] | None, seed: int, context: Any = None
    ) -> None:
        self.count = count if maker.by_number else 1
        self.call: Callable[..., Any] = maker.make
        self.pool: Executor
        if context is None:
            number = itertools.count()

            def begin() -> None:
                k = next(number)
                if init is not None:
                    with drawing_from(Generator(seed + k)):
                        init(k)

            self.pool = ThreadPoolExecutor(self.count, "DataLoader", begin)
        else:
            context = multiprocessing.get_context(context) if isinstance(context, str) else context
            numbers = context.Queue()
            for k in range(self.count):
                numbers.put(k)
            facts = maker, numbers, self.count, seed, init
            self.pool = ProcessPoolExecutor(self.count, context, _begin_process, facts)
            self.call = _make_in_process

    def batches(self, tasks: Iterator[Task], ahead: int, timeout: float) -> Iterator[Any]:
        """The batches of some tasks in their order, each worker so many ahead."""
        waiting: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                waiting.append(self._submit(task))
                if len(waiting) > self.count * ahead:
                    batch = _result(waiting.popleft(), timeout)
                    if batch is END:
                        return
                    yield batch
            while waiting:
                yield _result(waiting.popleft(), timeout)
        finally:  # also where an item can't be made, or the caller has had enough
            for future in waiting:
                future.cancel()

    def _submit(self, task: Task) -> Future[Any]:
        try:
            return self.pool.submit(self.call, *task)
        except (PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"DataLoader: the data set can't be sent to processes: {error}; define it and its functions at the top "
                'of a file, or give multiprocessing_context="fork", or none, for threads'
            ) from error

    def end(self) -> None:
        """Let them finish what they have begun, and go."""
        self.pool.shutdown(cancel_futures=True)


def _result(future: Future[Any], timeout: float) -> Any:
    try:
        return future.result(timeout or None)
    except TooLate:
        if future.done():  # the data set itself raised it
            raise
        raise RuntimeError(f"DataLoader: a batch took longer than timeout={timeout} seconds") from None
    except BrokenProcessPool:
        raise RuntimeError("DataLoader: a worker process ended, which the system or the data set has stopped") from None
