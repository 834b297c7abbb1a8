"""The loader: batches of a data set, made in the caller's thread or ahead of it, in the same order and bits."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tinygrad_med.backend import cuda_problem
from tinygrad_med.random import Generator, randint
from tinygrad_med.utils.data.collate import collate_pinned, default_collate, default_convert, pinned
from tinygrad_med.utils.data.dataset import IterableDataset
from tinygrad_med.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from tinygrad_med.utils.data.workers import END, Maker, Task, Workers


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
        num_workers: how many make batches ready while the caller computes; 0: none. They are threads, which share the
            data set and begin at once; NumPy, Pillow and files let them run side by side. (PyTorch's are processes.)
        collate_fn: makes a batch of a list of items; by default `default_collate`.
        pin_memory: put the tensors of a batch into page-locked memory, in the thread that makes it, so that
            `x.to("cuda", non_blocking=True)` copies them while the GPU computes; without a GPU nothing is done.
        pin_memory_device, in_order: without effect.
        drop_last: leave out a last batch that is smaller.
        timeout: how many seconds a batch of a worker may take; 0: any.
        worker_init_fn: called in each worker with its number, from 0 on.
        multiprocessing_context: let the workers be processes, for data sets in slow Python: "fork", "spawn",
            "forkserver", or a context of `multiprocessing`. Each has a copy of the data set, and sends its batches
            over; an iterable data set is read by one of them.
        generator: where the order and the number of a pass come from; by default what `manual_seed` starts.
        prefetch_factor: how many batches each worker is ahead.
        persistent_workers: keep the workers, and their copies of the data set, from one pass to the next.

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
        self._pins = pin_memory and cuda_problem() is None
        self.epoch = 0
        if persistent_workers and not num_workers:
            raise ValueError("DataLoader: persistent_workers needs num_workers above 0")
        if multiprocessing_context is not None and not num_workers:
            raise ValueError("DataLoader: multiprocessing_context needs num_workers above 0")
        self._kept: Workers | None = None

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
        tasks = self._tasks(seed)
        if self.num_workers:
            return self._ahead(tasks, seed)
        return itertools.takewhile(lambda batch: batch is not END, itertools.starmap(self._maker().make, tasks))

    def _maker(self) -> Maker:
        by_number = not isinstance(self.dataset, IterableDataset)
        pins = self._pins and self.multiprocessing_context is None  # a process can't give its memory away
        collate_fn = functools.partial(collate_pinned, self.collate_fn) if pins else self.collate_fn
        return Maker(self.dataset, collate_fn, self.batch_size, self.drop_last, by_number, self._in_batches)

    def _tasks(self, seed: int) -> Iterator[Task]:
        """For each batch what `Maker.make` takes; of an iterable data set there is no end to them."""
        if isinstance(self.dataset, IterableDataset):
            return ((seed, k, None) for k in itertools.count(1))
        numbers: Any = self.batch_sampler if self._in_batches else self.sampler
        return ((seed, k, indices) for k, indices in enumerate(numbers, 1))

    def _ahead(self, tasks: Iterator[Task], seed: int) -> Iterator[Any]:
        workers, self._kept = self._kept, None
        if workers is None:
            context = self.multiprocessing_context
            workers = Workers(self._maker(), self.num_workers, self.worker_init_fn, seed, context)
        try:
            batches = workers.batches(tasks, self.prefetch_factor or 2, self.timeout)
            yield from map(pinned, batches) if self._pins and self.multiprocessing_context is not None else batches
        finally:
            if self.persistent_workers and self._kept is None:
                self._kept = workers
            else:
                workers.end()

    def __del__(self) -> None:
        if getattr(self, "_kept", None) is not None:
            self._kept.end()  # type: ignore[union-attr]


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
