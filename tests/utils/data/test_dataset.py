"""Data sets and samplers: every item where it belongs, and PyTorch's results where nothing is random."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med import Generator
from tinygrad_med.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)


class Letters(Dataset[str]):
    def __init__(self, text):
        self.text = text

    def __getitem__(self, i):
        return self.text[i]

    def __len__(self):
        return len(self.text)


class Stream(IterableDataset[int]):
    def __init__(self, *numbers):
        self.numbers = numbers

    def __iter__(self):
        return iter(self.numbers)

    def __len__(self):
        return len(self.numbers)


def test_tensor_dataset():
    x, y = tinygrad_med.arange(6).reshape(3, 2), tinygrad_med.tensor([5, 6, 7])
    dataset = TensorDataset(x, y)
    assert len(dataset) == 3
    assert [part.tolist() for part in dataset[1]] == [[2, 3], 6]
    assert [part.tolist() for part in dataset[1:]] == [[[2, 3], [4, 5]], [6, 7]]
    for tensors in ((x, y[:2]), ()):
        with pytest.raises(ValueError, match="TensorDataset: needs tensors with one first dim"):
            TensorDataset(*tensors)


def test_sets_of_sets():
    both = Letters("ab") + Letters("") + Letters("cde")
    assert isinstance(both, ConcatDataset) and len(both) == 5
    assert "".join(both[i] for i in range(5)) == "abcde" and both[-1] == "e" and both[-5] == "a"
    for beyond in (5, -6):
        with pytest.raises(IndexError, match=f"there is no item {beyond} among 5"):
            both[beyond]
    part = Subset(both, [4, 0])
    assert [part[0], part[1], len(part)] == ["e", "a", 2]
    assert StackDataset(Letters("ab"), [1, 2])[1] == ("b", 2)
    assert StackDataset(x=Letters("ab"), y=[1, 2])[0] == {"x": "a", "y": 1}
    assert list(Stream(1, 2) + Stream(3)) == [1, 2, 3] and len(ChainDataset([Stream(1), Stream(2)])) == 2


def test_what_makes_no_set_is_refused():
    with pytest.raises(ValueError, match="of different length: \\[2, 3\\]"):
        StackDataset(Letters("ab"), Letters("abc"))
    with pytest.raises(ValueError, match="either one behind the other or by name"):
        StackDataset()
    with pytest.raises(ValueError, match="there is no data set"):
        ConcatDataset([])
    with pytest.raises(TypeError, match="use ChainDataset"):
        ConcatDataset([Letters("ab"), Stream(1)])
    with pytest.raises(TypeError, match="use ConcatDataset"):
        ChainDataset([Letters("ab")])
    with pytest.raises(NotImplementedError, match="Dataset must define __getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="IterableDataset must define __iter__"):
        iter(IterableDataset())


@pytest.mark.parametrize("lengths", [[7, 3], [10], [0.5, 0.5], [0.33, 0.33, 0.34], [0.25] * 4, [0.1] * 10, [3, 0, 7]])
def test_random_split_shares_out_everything(lengths, torch):
    parts = random_split(Letters("abcdefghij"), lengths, generator=Generator(3))
    theirs = torch.utils.data.random_split(Letters("abcdefghij"), lengths)
    assert [len(part) for part in parts] == [len(part) for part in theirs]
    assert sorted(part[i] for part in parts for i in range(len(part))) == list("abcdefghij")
    again = random_split(Letters("abcdefghij"), lengths, generator=Generator(3))
    assert [part.indices for part in parts] == [part.indices for part in again]
    assert [i for part in parts for i in part.indices] != list(range(10))


@pytest.mark.parametrize("lengths", [[7, 4], [0.5, 0.4], [-1, 11], [9.5, 0.5], [1.5, -0.5]])
def test_random_split_refuses(lengths):
    with pytest.raises(ValueError, match="random_split: "):
        random_split(Letters("abcdefghij"), lengths)


def test_random_sampler():
    tinygrad_med.manual_seed(5)
    sampler = RandomSampler(range(10))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(10)) and first != second and len(sampler) == 10
    assert list(RandomSampler(range(10), generator=Generator(5))) == first
    more = list(RandomSampler(range(4), num_samples=10))
    assert sorted(more[:4]) == sorted(more[4:8]) == [0, 1, 2, 3] and len(more) == 10
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=3000))
    assert all(900 < drawn.count(i) < 1100 for i in range(3))
    with pytest.raises(ValueError, match="RandomSampler: num_samples=0"):
        RandomSampler([])


def test_samplers_of_parts():
    assert sorted(SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]
    assert list(SequentialSampler("abc")) == [0, 1, 2]
    assert list(BatchSampler(SequentialSampler("abcde"), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert [len(BatchSampler(range(n), 2, drop)) for n in (4, 5) for drop in (False, True)] == [2, 2, 3, 2]
    with pytest.raises(ValueError, match="BatchSampler: batch_size=0"):
        BatchSampler(range(5), 0, True)


def test_weighted_sampler_draws_by_weight():
    drawn = list(WeightedRandomSampler([1, 0, 3], 4000, generator=Generator(0)))
    assert drawn.count(1) == 0 and 900 < drawn.count(0) < 1100  # a quarter of 4000, ± 3.6 standard deviations
    firsts = [next(iter(WeightedRandomSampler([1, 0, 3], 2, False, Generator(i)))) for i in range(1000)]
    assert firsts.count(1) == 0 and 200 < firsts.count(0) < 300
    for i in range(20):
        assert sorted(WeightedRandomSampler(tinygrad_med.tensor([1.0, 0.0, 3.0]), 2, False, Generator(i))) == [0, 2]


@pytest.mark.parametrize(
    ("weights", "count", "replacement"),
    [([1, -1], 1, True), ([0, 0], 1, True), ([np.nan, 1], 1, True), ([1, 0], 2, False), ([1, 1], 0, True)],
)
def test_weighted_sampler_refuses(weights, count, replacement):
    with pytest.raises(ValueError, match="WeightedRandomSampler: "):
        WeightedRandomSampler(weights, count, replacement)
