"""Items to a batch: what is numbers becomes tensors with one dim more, what holds them keeps its form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import as_tensor, tensor
from tinygrad_med.ops import stack


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of several items of one form.

    | items | batch |
    |---|---|
    | tensors or arrays of one shape (…) | a tensor (N, …) |
    | Python's or NumPy's numbers | a tensor (N,); floats of Python's become float64 |
    | texts, bytes | a list |
    | tuples, lists | a list, with a batch for each place; a named tuple stays one |
    | dicts | a dict, with a batch for each key |

    Raises:
        ValueError: for items of different shape, length or keys.
        TypeError: for something else, such as pictures.
    """
    return _collate(batch, "")


def _collate(batch: Sequence[Any], where: str) -> Any:
    first = batch[0]
    if isinstance(first, Tensor):
        _demand_same([tuple(x.shape) for x in batch], where, "shape")
        return stack(list(batch))
    if isinstance(first, (numpy.ndarray, numpy.generic)):
        if first.dtype.kind in "biuf":
            _demand_same([numpy.shape(x) for x in batch], where, "shape")
            return as_tensor(numpy.stack(batch))
    elif isinstance(first, float):
        return tensor(list(batch), dtype="float64")
    elif isinstance(first, int):
        return tensor(list(batch))
    elif isinstance(first, (str, bytes)):
        return list(batch)
    elif isinstance(first, Mapping):
        _demand_same([set(x) for x in batch], where, "keys")
        found = {key: _collate([x[key] for x in batch], f"{where}[{key!r}]") for key in first}
        return _in_kind(first, lambda kind: kind(found), found)
    elif isinstance(first, Sequence):
        _demand_same([len(x) for x in batch], where, "length")
        parts = [_collate(part, f"{where}[{k}]") for k, part in enumerate(zip(*batch, strict=True))]
        if hasattr(first, "_fields"):
            return type(first)(*parts)
        return parts if isinstance(first, tuple) else _in_kind(first, lambda kind: kind(parts), parts)
    raise TypeError(
        f"DataLoader: can't make a batch of items{where} of the kind {type(first).__name__}; the data set must give "
        "tensors, arrays, numbers, texts, or tuples, lists and dicts of them (of a picture transforms.ToTensor() makes "
        "a tensor); or give a collate_fn"
    )


def default_convert(data: Any) -> Any:
    """One item as it is, its arrays as tensors: what a loader with `batch_size=None` yields."""
    if isinstance(data, (numpy.ndarray, numpy.generic)) and data.dtype.kind in "biuf":
        return as_tensor(data)
    if isinstance(data, Mapping):
        found = {key: default_convert(value) for key, value in data.items()}
        return _in_kind(data, lambda kind: kind(found), found)
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return [default_convert(value) for value in data]
    return data


def collate_pinned(collate_fn: Callable[[Any], Any], items: Any) -> Any:
    """What `collate_fn` makes of some items, with its tensors in page-locked memory."""
    return pinned(collate_fn(items))


def pinned(batch: Any) -> Any:
    """A batch with its tensors in page-locked memory; what else is in it stays as it is, or pins itself."""
    if isinstance(batch, Tensor):
        return batch if batch.is_cuda else batch.pin_memory()
    if isinstance(batch, Mapping):
        found = {key: pinned(value) for key, value in batch.items()}
        return _in_kind(batch, lambda kind: kind(found), found)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(pinned, batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(map(pinned, batch))
    return batch.pin_memory() if hasattr(batch, "pin_memory") else batch


def _in_kind(first: Any, make: Callable[[type], Any], otherwise: Any) -> Any:
    """A container of the kind of `first`, where its constructor takes what dict's and list's take."""
    try:
        return make(type(first))
    except TypeError:
        return otherwise


def _demand_same(facts: list[Any], where: str, what: str) -> None:
    for k, fact in enumerate(facts):
        if fact != facts[0]:
            raise ValueError(
                f"DataLoader: the {what} of item {k} of a batch{where}: {fact}, of item 0: {facts[0]}; those of one "
                "batch must agree: make them alike in the data set, or give batch_size=1 or a collate_fn"
            )
