"""Processes as workers of the loader, where they are asked for: the same batches and bits, each with its own copy."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med.utils.data import DataLoader, IterableDataset, get_worker_info

OWN = os.getpid()


class Numbers:
    """Item i is i, a random number, and the process that made it."""

    def __init__(self, n: int, bad: int | None = None, slow: float = 0) -> None:
        self.n, self.bad, self.slow, self.asked = n, bad, slow, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int):
        time.sleep(self.slow)
        self.asked += 1
        if i == self.bad:
            raise ValueError(f"item {i} is bad")
        info = get_worker_info()
        return np.array([i]), tinygrad_med.rand(1), os.getpid(), -1 if info is None else info.id, self.asked


class Stream(IterableDataset):
    """The same, one behind the other."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self):
        for i in range(self.n):
            yield i, tinygrad_med.rand(1), os.getpid()


def mark(number: int) -> None:
    """A start of a worker that leaves a mark in its data set, with a random number."""
    info = get_worker_info()
    assert info is not None and info.id == number and info.num_workers == 2
    info.dataset.asked = 100 + int(tinygrad_med.randint(0, 5, (1,)).item())


def taken(loader: DataLoader) -> list[list]:
    """All columns, over the batches."""
    return [np.concatenate([np.ravel(x.numpy()) for x in column]).tolist() for column in zip(*loader, strict=True)]


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_processes_change_no_bit(context):
    found = []
    for options in ({}, {"num_workers": 2, "multiprocessing_context": context}):
        tinygrad_med.manual_seed(3)
        loader = DataLoader(Numbers(9), 2, shuffle=True, **options)
        found += [taken(loader)]
    assert found[0][:2] == found[1][:2] and set(found[0][2]) == {OWN}
    assert OWN not in found[1][2] and set(found[1][3]) <= {0, 1}
    assert get_worker_info() is None


def test_a_stream_is_read_by_one_process():
    found = []
    for options in ({}, {"num_workers": 2, "multiprocessing_context": "forkserver", "persistent_workers": True}):
        tinygrad_med.manual_seed(3)
        loader = DataLoader(Stream(7), 2, **options)
        found.append([taken(loader), taken(loader)])
    for plain, several in zip(*found, strict=True):
        assert plain[:2] == several[:2] and len(set(several[2])) == 1 and several[2] != plain[2]
    assert found[1][0][2][0] == found[1][1][2][0]


def test_workers_that_stay_and_their_start():
    loader = DataLoader(
        *(Numbers(8), 2),
        num_workers=2,
        worker_init_fn=mark,
        multiprocessing_context="forkserver",
        persistent_workers=True,
    )
    first, second = taken(loader), taken(loader)
    assert set(first[2]) | set(second[2]) == set(first[2]) and min(first[4]) > 100
    assert max(second[4]) > max(first[4])  # the copy of the first pass
    again = DataLoader(Numbers(8), 2, num_workers=2, multiprocessing_context="forkserver")
    assert set(taken(again)[2]).isdisjoint(taken(again)[2])


def test_threads_that_stay():
    loader, started = None, []
    loader = DataLoader(Numbers(8), 2, num_workers=2, worker_init_fn=started.append, persistent_workers=True)
    for _ in range(3):
        assert taken(loader)[0] == list(range(8))
    assert sorted(started) in ([0], [0, 1])


def test_what_goes_wrong_in_a_process():
    options = {"num_workers": 1, "multiprocessing_context": "forkserver"}
    with pytest.raises(ValueError, match="item 3 is bad"):
        taken(DataLoader(Numbers(8, bad=3), 2, **options))
    with pytest.raises(TypeError, match="DataLoader: the data set can't be sent to processes: .*lambda"):
        taken(DataLoader(Numbers(8), 2, collate_fn=lambda items: items, **options))
    with pytest.raises(RuntimeError, match=r"DataLoader: a batch took longer than timeout=0\.2 seconds"):
        taken(DataLoader(Numbers(2, slow=1.5), 1, num_workers=1, timeout=0.2))
    for bad in ({"persistent_workers": True}, {"multiprocessing_context": "spawn"}):
        with pytest.raises(ValueError, match=f"DataLoader: {next(iter(bad))} needs num_workers above 0"):
            DataLoader(Numbers(3), **bad)
