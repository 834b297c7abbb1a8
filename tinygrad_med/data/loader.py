"""Batches: from a data set that makes one item at a time to arrays of many, in an order that a seed decides.

    for x, y in DataLoader(dataset, batch_size=16, shuffle=True):

A data set has a length and `item(i, rng)`, which returns a tuple or a dict of arrays or numbers; `rng` is for random
changes, and `None` where there shall be none. The order of an epoch depends on (seed, epoch), the random changes of an
item on (seed, epoch, i): so the batches are the same for any number of worker threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

Batch = tuple[Any, ...]
AHEAD = 2  # batches that are made ready before they are asked for


class Dataset(Protocol):
    """What can be loaded."""

    def __len__(self) -> int: ...

    def item(self, i: int, rng: np.random.Generator | None) -> tuple[Any, ...]:
        """Item i."""


class DataLoader:
    """Batches of a data set.

    Args:
        dataset: it has `item(i, rng)`.
        batch_size: how many items to a batch.
        shuffle: take the items in a random order, and let them change at random: for training.
        drop_last: leave out a last batch that is smaller than the others, unless it is the only one.
        num_workers: threads that make items ready while the caller computes; 0: none.
        seed: of the order and the random changes.

    Attributes:
        epoch: how often the loader has been gone through.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 64,
        shuffle: bool = False,
        drop_last: bool = False,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or num_workers < 0:
            raise ValueError(f"DataLoader: batch_size={batch_size}, num_workers={num_workers}; give ≥ 1 and ≥ 0")
        if not len(dataset):
            raise ValueError("DataLoader: the data set is empty")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.num_workers, self.seed = num_workers, seed
        self.epoch = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and (not whole or not self.drop_last))

    def batches(self) -> list[list[int]]:
        """The numbers of the items of each batch of the current epoch."""
        n = len(self.dataset)
        order = np.random.default_rng([self.seed, self.epoch]).permutation(n) if self.shuffle else np.arange(n)
        return [order[k * self.batch_size : (k + 1) * self.batch_size].tolist() for k in range(len(self))]

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch: each a tuple of arrays, with the items along the first axis."""
        return self.parts(slice)

    def parts(self, rows: Callable[[int], slice]) -> Iterator[Batch]:
        """The same, but of each batch of n items those that `rows(n)` names: what one of several processes takes."""
        batches, epoch = [batch[rows(len(batch))] for batch in self.batches()], self.epoch
        self.epoch += 1

        def make(i: int) -> tuple[Any, ...]:
            return self.dataset.item(i, np.random.default_rng([self.seed, epoch, i]) if self.shuffle else None)

        return _ahead(make, batches, self.num_workers) if self.num_workers else _one_by_one(make, batches)


def _one_by_one(make: Callable[[int], tuple[Any, ...]], batches: list[list[int]]) -> Iterator[Batch]:
    for batch in batches:
        yield collate([make(i) for i in batch], batch)


def _ahead(make: Callable[[int], tuple[Any, ...]], batches: list[list[int]], workers: int) -> Iterator[Batch]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="loader")
    waiting: deque[list[Future[tuple[Any, ...]]]] = deque()
    try:
        for batch in batches:
            waiting.append([pool.submit(make, i) for i in batch])
            if len(waiting) > AHEAD:
                yield collate([item.result() for item in waiting.popleft()])
        while waiting:
            yield collate([item.result() for item in waiting.popleft()])
    finally:  # also where an item can't be made, or the caller has had enough
        pool.shutdown(cancel_futures=True)


def collate(items: Sequence[Any], numbers: Sequence[int] | None = None) -> Any:
    """Items as arrays: [(x, y), …] -> (xs, ys), [{"x": x}, …] -> {"x": xs}, and what is within them likewise.

    Args:
        items: of one form: arrays or numbers of one shape, or tuples, lists or dicts of such.
        numbers: the items' numbers in the data set, for errors.

    Raises:
        ValueError: for items of unequal form or shape, which are named.
    """
    return _collate(items, list(range(len(items)) if numbers is None else numbers), "")


def _collate(items: Sequence[Any], numbers: list[int], where: str) -> Any:
    first = items[0]
    if isinstance(first, Mapping):
        _demand_same(
            [sorted(map(str, i)) if isinstance(i, Mapping) else type(i) for i in items], numbers, where, "keys"
        )
        return {key: _collate([item[key] for item in items], numbers, f"{where}[{key!r}]") for key in first}
    if isinstance(first, tuple | list):
        _demand_same([len(i) if isinstance(i, tuple | list) else type(i) for i in items], numbers, where, "length")
        parts = (_collate(part, numbers, f"{where}[{k}]") for k, part in enumerate(zip(*items, strict=True)))
        return tuple(parts)
    _demand_same([np.shape(item) for item in items], numbers, where, "shape")
    return np.stack(items)


def _demand_same(facts: list[Any], numbers: list[int], where: str, what: str) -> None:
    for fact, number in zip(facts, numbers, strict=True):
        if fact != facts[0]:
            raise ValueError(
                f"DataLoader: the {what} of item {number}{where} of the data set: {fact}, of item {numbers[0]}{where}: "
                f"{facts[0]}; those of one batch must agree: make them alike, or give batch_size=1"
            )
