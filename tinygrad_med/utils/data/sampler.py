"""Samplers: in which order, and how often, a loader takes the items of a data set."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy

from tinygrad_med.random import Generator, rand, randint, randperm

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Numbers of items, one pass of them. A subclass has `__iter__()`, and `__len__()` for a loader with a length."""

    def __init__(self, data_source: Sized | None = None) -> None:
        pass

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__(self)")


class SequentialSampler(Sampler[int]):
    """0, 1, 2 …"""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """All items in random order; or a number of them.

    Args:
        data_source: it has a length.
        replacement: draw each number anew, so that an item may come twice.
        num_samples: how many; by default as many as there are. More than there are without replacement: one random
            order behind another.
        generator: where random numbers come from.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source, self.replacement, self._num_samples = data_source, replacement, num_samples
        self.generator = generator
        if self.num_samples < 1:
            raise ValueError(f"RandomSampler: num_samples={self.num_samples}; there is nothing to draw")

    @property
    def num_samples(self) -> int:
        """How many numbers one pass has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, k = len(self.data_source), self.num_samples
        if self.replacement:
            return iter(randint(0, n, (k,), generator=self.generator).tolist())
        orders = (randperm(n, generator=self.generator).tolist() for _ in range(-(-k // n)))
        return itertools.islice(itertools.chain.from_iterable(orders), k)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """These numbers in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in randperm(len(self.indices), generator=self.generator).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Numbers drawn with probabilities that are proportional to weights, as for rare classes.

    Args:
        weights: one for each item; none negative.
        num_samples: how many are drawn.
        replacement: whether an item may come twice; if not, there must be as many positive weights as are drawn.
        generator: where random numbers come from.
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        self.weights: numpy.ndarray = numpy.asarray(getattr(weights, "tolist", lambda: weights)(), numpy.float64)
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator
        w = self.weights
        if w.ndim != 1 or not (w >= 0).all() or not numpy.isfinite(w).all() or not w.any():
            raise ValueError("WeightedRandomSampler: weights must be a row of finite numbers ≥ 0, one of them above 0")
        most = numpy.count_nonzero(w)
        if num_samples < 1 or (not replacement and num_samples > most):
            raise ValueError(
                f"WeightedRandomSampler: num_samples={num_samples}; give 1 or more, and without "
                f"replacement at most {most}, the number of positive weights"
            )

    def __iter__(self) -> Iterator[int]:
        if self.replacement:  # where a uniform number falls among the sums of the weights
            sums = numpy.cumsum(self.weights)
            u = rand(self.num_samples, generator=self.generator, dtype="float64").numpy()
            return iter(numpy.searchsorted(sums, u * sums[-1], side="right").tolist())
        # the first arrivals, where item i arrives after an exponential time of rate wᵢ
        u = rand(len(self.weights), generator=self.generator, dtype="float64").numpy()
        with numpy.errstate(divide="ignore", invalid="ignore"):
            arrival = numpy.where(self.weights > 0, -numpy.log1p(-u) / self.weights, numpy.inf)
        return iter(numpy.argsort(arrival, kind="stable")[: self.num_samples].tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` numbers of another sampler.

    Args:
        sampler: gives the numbers.
        batch_size: how many to a batch.
        drop_last: leave out a last batch that is smaller.
    """

    def __init__(self, sampler: Iterable[int], batch_size: Any, drop_last: bool) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"BatchSampler: batch_size={batch_size!r}; give an integer of 1 or more")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        numbers = iter(self.sampler)
        while batch := list(itertools.islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole + (rest > 0 and not self.drop_last)
