"""The loader: PyTorch's batches, the same order and bits for any number of workers, and a learner that goes on."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med import Generator, nn
from tinygrad_med.learner import Learner
from tinygrad_med.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info


class Numbers:
    """Item i is (i, a random number); not derived from anything, as in the MRNet tutorial."""

    def __init__(self, n, bad=None):
        self.n, self.bad = n, bad

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i == self.bad:
            raise ValueError(f"item {i} is bad")
        return np.array([i]), tinygrad_med.rand(1)


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        for i in range(self.n):
            yield i, tinygrad_med.rand(1)


def columns(loader):
    batches = list(loader)
    return (
        [len(x) for x, _ in batches],
        [i for x, _ in batches for i in np.ravel(x.numpy()).tolist()],
        [r for _, y in batches for r in y.numpy().ravel().tolist()],
    )


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("n", "size"), [(10, 4), (8, 4), (3, 4), (0, 4), (5, 1), (5, None)])
def test_batches_are_pytorchs(n, size, drop_last, torch):
    if size is None and drop_last:
        return
    x = np.arange(2.0 * n).reshape(n, 2)
    ours = DataLoader(TensorDataset(tinygrad_med.tensor(x)), batch_size=size, drop_last=drop_last)
    data = torch.utils.data
    theirs = data.DataLoader(data.TensorDataset(torch.tensor(x)), batch_size=size, drop_last=drop_last)
    assert len(ours) == len(theirs)
    assert [type(batch) for batch in ours] == [type(batch) for batch in theirs]
    assert [batch[0].tolist() for batch in ours] == [batch[0].tolist() for batch in theirs]


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("dataset", [Numbers(23), Stream(23)], ids=["by number", "stream"])
def test_workers_change_no_bit(dataset, workers):
    shuffle = None if isinstance(dataset, Stream) else True
    found = []
    for w in (0, workers):
        tinygrad_med.manual_seed(7)
        loader = DataLoader(dataset, 4, shuffle, num_workers=w)
        found.append([columns(loader), columns(loader), tinygrad_med.rand(1).item()])
    assert found[0] == found[1]
    (sizes, numbers, chance), (_, numbers2, chance2), _ = found[0]
    assert sizes == [4] * 5 + [3] and sorted(numbers) == list(range(23))
    assert len(set(chance + chance2)) == 46, "every item of every pass draws its own"
    assert (numbers == numbers2) is (shuffle is None)


def test_the_seed_decides():
    def passes(seed, **options):
        tinygrad_med.manual_seed(seed)
        loader = DataLoader(Numbers(20), 4, shuffle=True, **options)
        return [columns(loader)[1:] for _ in range(2)]

    assert passes(1) == passes(1) != passes(2)
    own = [passes(seed, generator=Generator(5)) for seed in (1, 2)]
    assert own[0] == own[1] != passes(1)
    tinygrad_med.manual_seed(3)
    before = tinygrad_med.random.default_generator.get_state()
    list(DataLoader(Numbers(20), 4, shuffle=True, generator=Generator(5), num_workers=2))
    assert tinygrad_med.random.default_generator.get_state() == before


def test_shuffle_and_drop_last_are_read_when_a_pass_begins():
    """`get_preds` goes through a copy of the training loader, in order."""
    loader = DataLoader(Numbers(10), 4, shuffle=True, drop_last=True)
    assert (loader.shuffle, loader.drop_last, loader.epoch, len(loader)) == (True, True, 0, 2)
    list(loader)
    assert loader.epoch == 1
    loader.shuffle = loader.drop_last = False
    assert columns(loader)[:2] == ([4, 4, 2], list(range(10))) and len(loader) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_samplers_decide_the_order(workers):
    assert columns(DataLoader(Numbers(10), 2, sampler=[3, 1, 2], num_workers=workers))[:2] == ([2, 1], [3, 1, 2])
    own = DataLoader(Numbers(10), batch_sampler=[[3], [1, 2]], num_workers=workers)
    assert columns(own)[:2] == ([1, 2], [3, 1, 2]) and own.batch_size is None and len(own) == 2
    one_by_one = list(DataLoader(Numbers(3), batch_size=None, shuffle=True, num_workers=workers))
    assert sorted(x.tolist() for x, _ in one_by_one) == [[0], [1], [2]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_function_of_ones_own_makes_batches(workers):
    """Series of unequal length, one patient's beside the other's, in a list."""
    loader = DataLoader([np.ones(n) for n in (1, 2, 3)], 2, collate_fn=lambda items: items, num_workers=workers)
    assert [[len(item) for item in batch] for batch in loader] == [[1, 2], [3]]


def test_items_that_come_together():
    class Table(Numbers):
        def __getitems__(self, indices):
            asked.append(indices)
            return [(i, 0) for i in indices]

    asked = []
    assert [x.tolist() for x, _ in DataLoader(Table(5), 3)] == [[0, 1, 2], [3, 4]] == asked


@pytest.mark.parametrize("workers", [0, 3])
def test_what_an_item_raises_arrives(workers):
    loader = iter(DataLoader(Numbers(10, bad=6), 2, num_workers=workers))
    assert [next(loader)[0].numpy().ravel().tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="item 6 is bad"):
        next(loader)


def test_workers_end_with_the_pass():
    ids = []
    for _ in DataLoader(Numbers(100), 2, num_workers=3, worker_init_fn=ids.append):
        break
    assert ids and set(ids) <= {0, 1, 2}
    assert not [t for t in threading.enumerate() if t.name.startswith("DataLoader")]
    assert get_worker_info() is None


def test_a_stream_has_a_length_if_its_set_has_one():
    class Counted(Stream):
        def __len__(self):
            return self.n

    for n, size, drop in ((10, 4, False), (10, 4, True), (8, 4, True), (5, None, False)):
        loader = DataLoader(Counted(n), size, drop_last=drop)
        assert len(loader) == len(list(loader))
    with pytest.raises(TypeError, match="has no len"):
        len(DataLoader(Stream(3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0; give an integer of 1 or more"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"num_workers": -1}, "num_workers=-1"),
        ({"shuffle": True, "sampler": [0]}, "shuffle and sampler exclude each other"),
        ({"shuffle": True, "batch_sampler": [[0]]}, "shuffle and batch_sampler exclude each other"),
        ({"batch_size": 2, "batch_sampler": [[0]]}, "batch_sampler decides the batches"),
        ({"batch_size": None, "drop_last": True}, "there is no last one to drop"),
        ({"dataset": Stream(3), "shuffle": True}, "has an order of its own; leave out shuffle"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=f"DataLoader: .*{message}"):
        DataLoader(**{"dataset": Numbers(4), **options})


def test_what_is_no_data_set():
    with pytest.raises(TypeError, match=r"generator has no __getitem__; give it __getitem__"):
        DataLoader(i for i in range(3))
    with pytest.raises(TypeError, match="for tinygrad_med.data.loader.DataLoader"):
        DataLoader(SimpleNamespace(item=lambda i, rng: (i,), __len__=lambda: 1))


# ---------------------------------------------------------------- with a learner


class Points(Dataset):
    """Two classes of points, shaken at random."""

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return tinygrad_med.rand(4) + 2 * (i % 2), i % 2


def learner(own):
    tinygrad_med.manual_seed(0)
    generator = Generator(9) if own else None
    dls = SimpleNamespace(
        train=DataLoader(Points(), 8, shuffle=True, generator=generator),
        valid=DataLoader(Points(), 8),
        vocab=["a", "b"],
    )
    return Learner(dls, nn.Sequential(nn.Linear(4, 2)), lr=1e-2, progress=False)


def weights(learn):
    return [p.detach().numpy().copy() for p in learn.model.parameters()]


@pytest.mark.parametrize("own", [False, True], ids=["the default generator", "a generator of its own"])
def test_a_learner_goes_on_where_it_was_saved(own, tmp_path):
    whole = learner(own)
    whole.fit(4)
    first = learner(own)
    first.fit(2)
    first.save(tmp_path / "half")
    second = learner(own)
    second.load(tmp_path / "half")
    second.fit(2)
    assert all(map(np.array_equal, weights(whole), weights(second)))
    assert not all(map(np.array_equal, weights(whole), weights(first)))


@pytest.mark.parametrize("own", [False, True], ids=["the default generator", "a generator of its own"])
def test_looking_for_a_rate_changes_nothing(own):
    plain = learner(own)
    plain.fit(1)
    looked = learner(own)
    looked.lr_find(num_it=20, show_plot=False)
    looked.fit(1)
    assert all(map(np.array_equal, weights(plain), weights(looked)))


def test_predictions_come_in_the_order_of_the_data():
    learn = learner(False)
    _, targets = learn.get_preds(learn.dls.train)[:2]
    assert targets.tolist() == [0, 1] * 20
