"""The product of a batch with weights: the same numbers in whichever order the operands are taken."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tinygrad_med.backend import cpu, gpu
from tinygrad_med.backend.cpu import products

LAYOUTS = {
    "in order": np.ascontiguousarray,
    "turned": np.asfortranarray,
    "with gaps": lambda a: np.repeat(a, 2, 1)[:, ::2],
}
SHAPES = [
    (16, 300, 260),
    (64, 512, 128),
    (2, 800, 700),
    (1, 1100, 1000),
    (200, 300, 90),
    (3, 4, 5),
    (0, 4, 5),
    (3, 0, 5),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_the_formula_says(shape, dtype):
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s).astype(dtype) for s in ((rows, inner), (columns, inner), (columns,)))
    exact = x.astype("float64") @ weight.astype("float64").T + bias
    for of_x, of_weight in itertools.product(LAYOUTS.values(), repeat=2):
        for library in (cpu, gpu):
            z = library.linear(of_x(x), of_weight(weight), bias)
            assert (z.dtype, z.shape, z.flags.c_contiguous) == (dtype, (rows, columns), True)
            np.testing.assert_allclose(z, exact, rtol=0, atol=inner * 4 * np.finfo(dtype).eps)


def test_the_second_order_is_taken_for_few_rows_and_many_weights(monkeypatch):
    taken = []
    monkeypatch.setattr(products.np, "add", lambda *args, out: taken.append(out.shape) or out)
    for rows, inner, columns in SHAPES:
        products.linear(*(np.zeros(s, "float32") for s in ((rows, inner), (columns, inner), (columns,))))
    assert taken == [(16, 260), (64, 128), (2, 700)]
