"""Indexing beside PyTorch's: every mixture of integers, slices, `...`, `None`, masks, lists and tensors in one key."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import tinygrad_med as tg


class Index:
    """A tensor in a key, as numbers; each library makes its own of it."""

    def __init__(self, numbers: Any) -> None:
        self.numbers = np.asarray(numbers)

    def __repr__(self) -> str:
        return f"tensor({self.numbers.tolist()})"


@st.composite
def keys(draw: Any, duplicates: bool = True) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """A shape and a key that fits it; without `duplicates` no place of the shape is named twice."""
    count = draw(st.integers(1, 3))  # the elements that every array of the key reads
    arrays = draw(st.sampled_from([(count,), (count, 1), (1, count), (2, count)] if duplicates else [(count,)]))
    shape: list[int] = []
    key: list[Any] = []
    ellipsis = False

    def reaching(length: int) -> int:
        shape.append(length)
        return length

    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["int", "0-d", "slice", "None", "...", "array", "list", "one", "mask", "bool"]))
        if kind in ("int", "0-d"):
            length = reaching(draw(st.integers(1, 3)))
            place = draw(st.integers(-length, length - 1))
            key.append(Index(place) if kind == "0-d" else place)
        elif kind == "slice":
            length = reaching(draw(st.integers(1, 3)))
            key.append(slice(draw(st.sampled_from([None, 0, 1, -1])), None, draw(st.sampled_from([None, 1, 2]))))
        elif kind == "None":
            key.append(None)
        elif kind == "..." and not ellipsis:
            ellipsis = True
            shape += draw(st.sampled_from([[], [2], [3, 2]]))
            key.append(...)
        elif kind in ("array", "list"):
            length = reaching(draw(st.integers(count, 4)))
            chosen = draw(st.permutations(range(length)))[: math.prod(arrays)]
            chosen = [chosen[i % len(chosen)] for i in range(math.prod(arrays))]
            numbers = np.reshape(chosen, arrays)
            key.append(numbers.ravel().tolist() if kind == "list" and len(arrays) == 1 else Index(numbers))
        elif kind == "one":
            reaching(draw(st.integers(1, 3)))
            key.append(Index([0]))
        elif kind == "mask":
            dims = [reaching(n) for n in draw(st.sampled_from([[count], [count + 1], [2, count]]))]
            order = draw(st.permutations(range(math.prod(dims))))
            mask = np.zeros(math.prod(dims), bool)
            mask[order[:count]] = True
            key.append(Index(mask.reshape(dims)))
        elif kind == "bool":
            key.append(True)
    shape += [] if ellipsis else draw(st.sampled_from([[], [2]]))
    return tuple(shape), tuple(key)


def of(tensor: Any, key: tuple[Any, ...]) -> Any:
    """The key with tensors of one library; a single part stands alone, as one writes it."""
    parts = tuple(tensor(part.numbers) if isinstance(part, Index) else part for part in key)
    return parts[0] if len(parts) == 1 else parts


def ours(numbers: np.ndarray) -> Any:
    return tg.tensor(numbers.tolist(), dtype="bool" if numbers.dtype == bool else "int64")


@settings(max_examples=400)
@given(keys())
def test_reading_and_its_gradient_are_pytorchs(torch: Any, case: Any) -> None:
    shape, key = case
    numbers = np.arange(math.prod(shape), dtype="float64").reshape(shape)
    x, x_torch = tg.tensor(numbers, requires_grad=True), torch.tensor(numbers, requires_grad=True)
    z, z_torch = x[of(ours, key)], x_torch[of(torch.tensor, key)]
    np.testing.assert_array_equal(z.detach().numpy(), z_torch.detach().numpy())
    upstream = np.random.default_rng(0).standard_normal(z.shape)
    z.backward(tg.tensor(upstream))
    z_torch.backward(torch.tensor(upstream))
    np.testing.assert_allclose(x.grad.numpy(), x_torch.grad.numpy(), rtol=1e-12)


@settings(max_examples=400)
@given(keys(duplicates=False), st.booleans())
def test_writing_is_pytorchs(torch: Any, case: Any, one_number: bool) -> None:
    shape, key = case
    x, x_torch = tg.zeros(shape, dtype="float64"), torch.zeros(shape, dtype=torch.float64)
    place = x_torch[of(torch.tensor, key)].shape
    value = np.array(7.0) if one_number else np.random.default_rng(0).standard_normal(place)
    x[of(ours, key)] = tg.tensor(value)
    x_torch[of(torch.tensor, key)] = torch.tensor(value)
    np.testing.assert_array_equal(x.numpy(), x_torch.numpy())


def test_an_integer_beside_a_list_does_not_move_the_dims() -> None:
    x = tg.arange(27).reshape(3, 3, 3)
    assert x[0, :, [0, 1, 2]].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert x[tg.tensor(0), :, [0, 1, 2]].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    x[0, :, [0, 1]] = tg.tensor([[-1, -2], [-3, -4], [-5, -6]])
    assert x[0].tolist() == [[-1, -2, 2], [-3, -4, 5], [-5, -6, 8]]


def test_keys_that_do_not_fit_are_refused() -> None:
    x = tg.zeros(2, 3)
    with pytest.raises(IndexError, match="index: the 3 dims of the key do not fit a tensor of 2 dims"):
        x[0, 0, [0]]
    with pytest.raises(IndexError, match="two ellipses"):
        x[..., [0], ...]


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
def test_scatter_reduce_of_ties_zeros_and_integers_is_pytorchs(torch, reduce, include_self):
    rng = np.random.default_rng(3)
    for dim in (0, 1, 1, -2):
        x = rng.integers(-2, 3, (3, 4)) + (0.0 if include_self else 0.5)  # see the docstring for what is left out
        places, upstream = rng.integers(0, 3, (3, 2)), rng.standard_normal((3, 4))
        src, found = rng.integers(-2, 3, places.shape), []
        for lib in (tg, torch):
            a, b = lib.tensor(x, requires_grad=True), lib.tensor(src.astype(float), requires_grad=True)
            z = lib.scatter_reduce(a, dim, lib.tensor(places), b, reduce, include_self=include_self)
            z.backward(lib.tensor(upstream))
            whole = lib.tensor(x.astype(int))
            whole.scatter_reduce_(dim, lib.tensor(places), lib.tensor(src), reduce, include_self=include_self)
            found.append([z.detach().numpy(), a.grad.numpy(), b.grad.numpy(), whole.numpy()])
        for mine, theirs in zip(*found, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)
    x, src = tg.zeros(2, requires_grad=True), tg.zeros(2, requires_grad=True)
    x.scatter_reduce(0, tg.tensor([0, 0]), src, "amax", include_self=False).sum().backward()
    assert (x.grad.tolist(), src.grad.tolist()) == ([0.0, 1.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="scatter_reduce: reduce='max' is unknown"):
        x.scatter_reduce(0, tg.tensor([0]), src, "max")


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", ["amax", "amin"])
def test_nan_is_the_extreme_wherever_it_stands(torch, reduce, include_self):
    x = np.array([1.0, np.nan, -np.inf, np.inf, 2.0])
    places = np.array([0, 0, 1, 2, 2, 2, 3, 3, 3])
    src = np.array([np.nan, 5.0, 3.0, -np.inf, np.nan, np.inf, 7.0, -np.inf, np.nan])
    for turn in (slice(None), slice(None, None, -1)):
        ours, theirs = (
            lib.tensor(x).scatter_reduce(
                0, lib.tensor(places[turn].copy()), lib.tensor(src[turn].copy()), reduce, include_self=include_self
            )
            for lib in (tg, torch)
        )
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
