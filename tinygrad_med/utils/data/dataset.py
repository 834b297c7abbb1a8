"""Data sets: of items by number, or one behind the other; made of tensors, or of other data sets."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.random import Generator, randperm

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Items by number. A subclass has `__getitem__(i)` and `__len__()`; whoever has them needs not be a subclass."""

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(self, index)")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """Items one behind the other, such as lines of a stream. A subclass has `__iter__()`."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__(self)")

    def __add__(self, other: Dataset[Any]) -> Any:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Item i is a tuple: element i of each tensor, along its first dim.

    Raises:
        ValueError: if the tensors are of different length, or there is none.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors or any(len(x) != len(tensors[0]) for x in tensors):
            raise ValueError(
                f"TensorDataset: needs tensors with one first dim, got the shapes {[tuple(x.shape) for x in tensors]}"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(x[index] for x in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class StackDataset(Dataset[Any]):
    """Item i holds item i of each data set: a tuple, or a dict if the data sets were given by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise ValueError("StackDataset: give data sets either one behind the other or by name")
        self.datasets: Any = args or kwargs
        lengths = [len(d) for d in args or kwargs.values()]
        if len(set(lengths)) > 1:
            raise ValueError(f"StackDataset: the data sets are of different length: {lengths}")
        self._length = lengths[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: dataset[index] for name, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[Any]):
    """The items of several data sets, one set behind the other.

    Attributes:
        datasets: the sets.
        cumulative_sizes: how many items there are up to the end of each.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: there is no data set")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise TypeError("ConcatDataset: an IterableDataset has no items by number; use ChainDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        i = int(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"ConcatDataset: there is no item {i} among {len(self)}")
        i %= len(self)
        k = bisect.bisect_right(self.cumulative_sizes, i)
        return self.datasets[k][i - (self.cumulative_sizes[k - 1] if k else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class ChainDataset(IterableDataset[Any]):
    """The items of several iterable data sets, one set behind the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not all(isinstance(d, IterableDataset) for d in self.datasets):
            raise TypeError("ChainDataset: needs data sets of the kind IterableDataset; use ConcatDataset for others")

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.datasets)

    def __len__(self) -> int:
        return sum(len(d) for d in self.datasets)


class Subset(Dataset[Any]):
    """The items of a data set with these numbers, in this order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (list, tuple)):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None) -> list[Subset]:
    """Share the items of a data set out by chance, none to two parts.

    Args:
        dataset: it has a length.
        lengths: how many items each part gets; or shares, which add up to 1, are rounded down, and what is left over
            goes to the first parts, one item each.
        generator: of the order.

    Raises:
        ValueError: if the lengths don't add up to that of the data set, or the shares to 1.
    """
    total, counts = len(dataset), list(lengths)
    if math.isclose(sum(counts), 1) and sum(counts) <= 1 + 1e-9:
        if not all(0 <= share <= 1 for share in counts):
            raise ValueError(f"random_split: the shares {counts} must lie between 0 and 1")
        counts = [math.floor(total * share) for share in counts]
        for i in range(total - int(sum(counts))):
            counts[i % len(counts)] += 1
    if sum(counts) != total or any(count != int(count) or count < 0 for count in counts):
        raise ValueError(
            f"random_split: {list(lengths)} must add up to the {total} items of the data set, or to 1 as shares"
        )
    order = randperm(total, generator=generator).tolist()
    ends = list(itertools.accumulate(map(int, counts)))
    return [Subset(dataset, order[end - int(n) : end]) for end, n in zip(ends, counts, strict=True)]
