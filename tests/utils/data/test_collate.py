"""What a batch is made of: the same kinds, dtypes and values as PyTorch's."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med.utils.data import default_collate, default_convert

Pair = namedtuple("Pair", "x y")

ITEMS = {
    "arrays": lambda t: [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    "bytes of arrays": lambda t: [np.arange(3, dtype=np.uint8)] * 2,
    "scalars of NumPy": lambda t: [np.float32(1), np.float32(2)],
    "0-d arrays": lambda t: [np.array(1), np.array(2)],
    "tensors": lambda t: [t.ones(2), t.zeros(2)],
    "0-d tensors": lambda t: [t.tensor(1.5), t.tensor(2.5)],
    "floats": lambda t: [1.5, 2.5],
    "ints": lambda t: [1, 2],
    "bools": lambda t: [True, False],
    "texts": lambda t: ["a", "b"],
    "bytes": lambda t: [b"a", b"b"],
    "pairs": lambda t: [(np.ones(2), 1), (np.zeros(2), 0)],
    "lists": lambda t: [[np.ones(2), 1], [np.zeros(2), 0]],
    "named tuples": lambda t: [Pair(1, 2.0), Pair(3, 4.0)],
    "dicts": lambda t: [{"x": np.ones(2), "y": {"z": 1}}, {"x": np.zeros(2), "y": {"z": 2}}],
    "ordered dicts": lambda t: [OrderedDict(x=1), OrderedDict(x=2)],
    "the tutorial's item": lambda t: [([np.ones((2, 3, 4)), np.ones((1, 3, 4)), np.ones((3, 3, 4))], t.ones(1))],
}


def same(ours, theirs):
    """Whether both have one form, and tensors in the same places, of one dtype, shape and value."""
    if isinstance(theirs, dict):
        return type(ours) is type(theirs) and list(ours) == list(theirs) and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(theirs, (list, tuple)):
        return type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if not hasattr(theirs, "numpy"):
        return ours == theirs
    assert isinstance(ours, tinygrad_med.Tensor)
    a, b = ours.numpy(), theirs.numpy()
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


@pytest.mark.parametrize("kind", ITEMS)
def test_batches_are_pytorchs(kind, torch):
    assert same(default_collate(ITEMS[kind](tinygrad_med)), torch.utils.data.default_collate(ITEMS[kind](torch)))


@pytest.mark.parametrize("kind", ITEMS)
def test_single_items_are_pytorchs(kind, torch):
    for i, item in enumerate(ITEMS[kind](tinygrad_med)):
        theirs = torch.utils.data.default_convert(ITEMS[kind](torch)[i])
        assert same(default_convert(item), theirs)


def test_gradients_flow_through_a_batch():
    x = tinygrad_med.ones(2, requires_grad=True)
    (default_collate([x, 3 * x]) * tinygrad_med.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert x.grad.tolist() == [10, 14]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([(np.ones(2), 1), (np.ones(3), 1)], r"the shape of item 1 of a batch\[0\]: \(3,\), of item 0: \(2,\)"),
        ([tinygrad_med.ones(2), tinygrad_med.ones(3)], r"the shape of item 1 of a batch: \(3,\)"),
        ([{"x": [1, 2]}, {"x": [1]}], r"the length of item 1 of a batch\['x'\]: 1, of item 0: 2"),
        ([{"x": 1}, {"y": 1}], r"the keys of item 1 of a batch: \{'y'\}, of item 0: \{'x'\}"),
    ],
)
def test_unequal_items_are_named(items, message):
    with pytest.raises(ValueError, match=message):
        default_collate(items)


@pytest.mark.parametrize("item", [object(), None, np.array(["a"]), {1, 2}])
def test_what_has_no_batch_is_refused(item):
    with pytest.raises(TypeError, match=r"can't make a batch of items\[0\] of the kind \w+; the data set must give"):
        default_collate([(item,), (item,)])
