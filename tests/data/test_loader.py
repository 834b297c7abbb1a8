"""The loader: every item once, in an order that the seed decides, the same for any number of workers."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tinygrad_med.data.loader import DataLoader


class Numbers:
    """Item i is (i, a random number)."""

    def __init__(self, n, bad=None):
        self.n, self.bad = n, bad

    def __len__(self):
        return self.n

    def item(self, i, rng):
        if i == self.bad:
            raise ValueError(f"item {i} is bad")
        return np.array([i]), 0.0 if rng is None else rng.random()


def columns(loader):
    batches = list(loader)
    return (
        [len(x) for x, _ in batches],
        np.concatenate([x[:, 0] for x, _ in batches]),
        np.concatenate([r for _, r in batches]),
    )


def test_without_shuffling_items_come_as_they_are():
    sizes, numbers, chance = columns(DataLoader(Numbers(10), 4))
    assert sizes == [4, 4, 2] and numbers.tolist() == list(range(10)) and not chance.any()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_same_batches_for_any_number_of_workers(workers):
    alone, helped = (DataLoader(Numbers(23), 4, shuffle=True, num_workers=w, seed=7) for w in (0, workers))
    for _ in range(3):
        for a, b in zip(columns(alone), columns(helped), strict=True):
            np.testing.assert_array_equal(a, b)


def test_each_epoch_has_its_own_order_and_chance():
    loader = DataLoader(Numbers(20), 4, shuffle=True)
    (_, first, chance), (_, second, other) = columns(loader), columns(loader)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first.tolist() != second.tolist() and not set(chance) & set(other)
    loader.epoch = 0
    np.testing.assert_array_equal(columns(loader)[1], first)
    other_seed = DataLoader(Numbers(20), 4, shuffle=True, seed=1)
    assert columns(other_seed)[1].tolist() != first.tolist()


@pytest.mark.parametrize(("n", "sizes"), [(10, [4, 4]), (8, [4, 4]), (3, [3]), (1, [1])])
def test_a_small_last_batch_is_dropped_unless_it_is_all_there_is(n, sizes):
    loader = DataLoader(Numbers(n), 4, shuffle=True, drop_last=True)
    assert len(loader) == len(sizes) and columns(loader)[0] == sizes


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_fails_is_told(workers):
    with pytest.raises(ValueError, match="item 6 is bad"):
        list(DataLoader(Numbers(10, bad=6), 2, num_workers=workers))


def test_no_thread_stays_behind():
    before = threading.active_count()
    for _ in DataLoader(Numbers(100), 2, num_workers=3):
        break
    assert threading.active_count() == before


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="batch_size=0"):
        DataLoader(Numbers(3), 0)
    with pytest.raises(ValueError, match="the data set is empty"):
        DataLoader(Numbers(0))


class Items(list):
    """A data set of these items."""

    def item(self, i, _):
        return self[i]


def test_items_may_be_dicts_and_nested():
    items = Items({"x": np.full(3, i), "y": (i, {"z": [i, -i]})} for i in range(5))
    for workers in (0, 2):
        first, second = DataLoader(items, 3, num_workers=workers)
        assert list(first) == ["x", "y"]
        np.testing.assert_array_equal(first["x"], np.repeat([[0], [1], [2]], 3, 1))
        np.testing.assert_array_equal(second["y"][0], [3, 4])
        np.testing.assert_array_equal(second["y"][1]["z"][1], [-3, -4])


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ((np.zeros((2, 3)), 0), r"the shape of item 3\[0\] of the data set: \(2, 3\), of item 2\[0\]: \(2, 2\)"),
        ((np.zeros((2, 2)), [1, 2]), r"the shape of item 3\[1\] .*: \(2,\), of item 2\[1\]: \(\); those of one batch"),
        ((np.zeros((2, 2)),), r"the length of item 3 of the data set: 1, of item 2: 2; .*batch_size=1"),
        ({"x": 1}, r"the length of item 3 of the data set: <class 'dict'>, of item 2: 2"),
    ],
)
def test_items_that_do_not_fit_are_named(odd, message):
    items = Items([(np.zeros((2, 2)), 0)] * 5)
    items[3] = odd
    with pytest.raises(ValueError, match=rf"DataLoader: {message}"):
        list(DataLoader(items, 2))
    with pytest.raises(ValueError, match=r"the keys of item 1\[0\] of the data set: \['b'\], of item 0\[0\]: \['a'\]"):
        list(DataLoader(Items([({"a": 1},), ({"b": 1},)]), 2))
