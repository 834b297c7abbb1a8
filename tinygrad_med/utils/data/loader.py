"""The loader: batches of a data set, made in the caller's thread or ahead of it, in the same order and bits."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tinygrad_med.random import Generator, drawing_from, randint
from tinygrad_med.utils.data.collate import default_collate, default_convert
from tinygrad_med.utils.data.dataset import IterableDataset
from tinygrad_med.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler

END = object()
"""What a task gives when an iterable data set has ended."""


class DataLoader:
    """Batches of a data set.

    Each pass draws one number from the generator. From that and the number of the batch follows every random number
    that the data set draws with this package's functions, `transforms` among them, so that batches are the same for any
    number of workers. (NumPy's and Python's own random numbers are not.)

    Args:
        dataset: it has `__getitem__` and `__len__`, or is an `IterableDataset`.
        batch_size: how many items to a batch; `None`: no batches, one item at a time.
        shuffle: take the items in a random order.
        sampler: gives the numbers of the items, instead of `shuffle`.
        batch_sampler: gives lists of numbers, instead of `batch_size`, `shuffle`, `sampler` and `drop_last`.
        num_workers: threads that make batches ready while the caller computes; 0: none. (PyTorch's are processes. Here
            all share one data set, an iterable one is read by one of them, and `get_worker_info()` is always `None`.)
        collate_fn: makes a batch of a list of items; by default `default_collate`.
        pin_memory: without effect, as `timeout`, `multiprocessing_context`, `persistent_workers`, `pin_memory_device`
            and `in_order`.
        drop_last: leave out a last batch that is smaller.
        worker_init_fn: called in each worker with its number, from 0 on.
        generator: where the order and the number of a pass come from; by default what `manual_seed` starts.
        prefetch_factor: how many batches each worker is ahead.

    Attributes:
        epoch: how often the loader has been gone through.
        shuffle, drop_last, epoch: read when a pass begins; they may be set in between.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if num_workers < 0 or timeout < 0 or (prefetch_factor is not None and prefetch_factor < 1):
            raise ValueError(
                f"DataLoader: {num_workers=}, {timeout=}, {prefetch_factor=}; give numbers ≥ 0, prefetch_factor ≥ 1"
            )
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, bool(shuffle), drop_last
        self._sampler, self._batch_sampler = sampler, batch_sampler
        if batch_sampler is not None:
            self.batch_size = None
        self.num_workers, self.prefetch_factor, self.worker_init_fn = num_workers, prefetch_factor, worker_init_fn
        self.pin_memory, self.timeout, self.persistent_workers = pin_memory, timeout, persistent_workers
        self.multiprocessing_context, self.pin_memory_device = multiprocessing_context, pin_memory_device
        self.in_order, self.generator = in_order, generator
        self.collate_fn = collate_fn or (default_collate if self._in_batches else default_convert)
        self.epoch = 0

    @property
    def sampler(self) -> Iterable[Any]:
        """Gives the numbers of the items."""
        if self._sampler is not None:
            return self._sampler
        return (
            RandomSampler(self.dataset, generator=self.generator) if self.shuffle else SequentialSampler(self.dataset)
        )

    @property
    def batch_sampler(self) -> Iterable[list[Any]] | None:
        """Gives lists of numbers, one for each batch; `None` for a loader without batches."""
        if self._batch_sampler is not None or self.batch_size is None:
            return self._batch_sampler
        return BatchSampler(self.sampler, self.batch_size, self.drop_last)

    @property
    def _in_batches(self) -> bool:
        return self.batch_size is not None or self._batch_sampler is not None

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self.batch_sampler if self._in_batches else self.sampler)  # type: ignore[arg-type]
        n = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """One pass: the batches, one behind the other."""
        seed = int(randint(0, 2**63 - 1, (1,), generator=self.generator).item())
        self.epoch += 1
        tasks = self._stream(seed) if isinstance(self.dataset, IterableDataset) else self._by_number(seed)
        return self._ahead(tasks, seed) if self.num_workers else _one_by_one(tasks)

    def _by_number(self, seed: int) -> Iterator[Callable[[], Any]]:
        """For each batch a function that makes it, whenever and wherever that is called."""
        dataset, collate_fn, in_batches = self.dataset, self.collate_fn, self._in_batches

        def make(number: int, indices: Any) -> Any:
            with drawing_from(Generator((number << 64) + seed)):
                if not in_batches:
                    return collate_fn(dataset[indices])
                if hasattr(dataset, "__getitems__"):
                    return collate_fn(dataset.__getitems__(indices))
                return collate_fn([dataset[i] for i in indices])

        numbers: Any = self.batch_sampler if in_batches else self.sampler
        return (functools.partial(make, k, indices) for k, indices in enumerate(numbers, 1))

    def _stream(self, seed: int) -> Iterator[Callable[[], Any]]:
        """The same function again and again, which makes the next batch of an iterable data set, or `END`."""
        random = Generator(seed)
        items: list[Iterator[Any]] = []

        def make() -> Any:
            with drawing_from(random):
                if not items:
                    items.append(iter(self.dataset))
                if self.batch_size is None:
                    item: Any = next(items[0], END)
                    return END if item is END else self.collate_fn(item)
                batch = list(itertools.islice(items[0], self.batch_size))
                return self.collate_fn(batch) if len(batch) >= (self.batch_size if self.drop_last else 1) else END

        return itertools.repeat(make)

    def _ahead(self, tasks: Iterator[Callable[[], Any]], seed: int) -> Iterator[Any]:
        number = itertools.count()

        def begin() -> None:
            k = next(number)
            if self.worker_init_fn is not None:
                with drawing_from(Generator(seed + k)):
                    self.worker_init_fn(k)

        workers = 1 if isinstance(self.dataset, IterableDataset) else self.num_workers
        pool = ThreadPoolExecutor(workers, "DataLoader", begin)
        waiting: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > workers * (self.prefetch_factor or 2):
                    batch = waiting.popleft().result()
                    if batch is END:
                        return
                    yield batch
            while waiting:
                yield waiting.popleft().result()
        finally:  # also where an item can't be made, or the caller has had enough
            pool.shutdown(cancel_futures=True)


def _one_by_one(tasks: Iterator[Callable[[], Any]]) -> Iterator[Any]:
    return itertools.takewhile(lambda batch: batch is not END, (task() for task in tasks))


def _check(dataset: Any, batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool) -> None:
    """Refuse a data set that can't be loaded, and arguments that exclude each other."""
    iterable = isinstance(dataset, IterableDataset)
    if not iterable and not hasattr(dataset, "__getitem__"):
        hint = (
            "; data sets with item(i, rng) are for tinygrad_med.data.loader.DataLoader"
            if hasattr(dataset, "item")
            else "; give it __getitem__(i) and __len__(), or make it an IterableDataset"
        )
        raise TypeError(f"DataLoader: {type(dataset).__name__} has no __getitem__{hint}")
    given = {"shuffle": shuffle, "sampler": sampler, "batch_sampler": batch_sampler}
    found = [name for name, value in given.items() if value is not None and value is not False]
    if iterable and found:
        raise ValueError(f"DataLoader: an IterableDataset has an order of its own; leave out {' and '.join(found)}")
    if len(found) > 1:
        raise ValueError(f"DataLoader: {' and '.join(found)} exclude each other; give one of them")
    if batch_sampler is not None and (batch_size != 1 or drop_last):
        raise ValueError("DataLoader: batch_sampler decides the batches; leave out batch_size and drop_last")
    if batch_size is None and drop_last:
        raise ValueError("DataLoader: batch_size=None makes no batches, so there is no last one to drop")
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"DataLoader: batch_size={batch_size!r}; give an integer of 1 or more, or None")


def get_worker_info() -> None:
    """`None`, as in the main process of PyTorch: workers are threads, and an iterable data set is read by one alone."""
