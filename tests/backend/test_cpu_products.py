"""Products in small parts are the products, whichever kernels OpenBLAS has."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_med.backend.cpu import products


@pytest.fixture(params=[True, False], ids=["small products", "large products"])
def kernels(request, monkeypatch):
    """OpenBLAS's kernels for AVX-512, or others; what is small enough is made small, for quick tests."""
    monkeypatch.setattr(products, "openblas_kernels", lambda: "SkylakeX" if request.param else "Haswell")
    monkeypatch.setattr(products, "PAIRS", 1000)
    monkeypatch.setattr(products, "WIDTHS", (8, 4))
    monkeypatch.setattr(products, "THIN_ROWS", 4)
    return request.param


@pytest.mark.usefixtures("kernels")
@given(
    batch=st.sampled_from([(), (2,), (2, 3)]),
    rows=st.integers(0, 70),
    depth=st.integers(1, 40),
    width=st.integers(1, 5).map(lambda n: 4 * n) | st.integers(1, 20),
    dtype=st.sampled_from([np.float32, np.float64]),
    turned=st.booleans(),
)
def test_it_is_the_product(batch, rows, depth, width, dtype, turned):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (*batch, *shape)).astype(dtype) for shape in ((rows, depth), (depth, width)))
    if turned:
        a = np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)
    wide = np.full((*batch, rows, width + 3), np.nan, dtype)
    out = wide[..., :width]  # what lies beside the result is left alone
    parts = products.in_parts(b)
    assert products.product(a, parts, out) is out
    np.testing.assert_array_equal(out, a @ b)  # of whole numbers, which no order of sums can round
    assert np.isnan(wide[..., width:]).all()


@pytest.mark.usefixtures("kernels")
@given(
    rows=st.integers(0, 9).map(lambda n: 4 * n) | st.integers(0, 20),
    depth=st.integers(0, 300),
    width=st.integers(0, 70),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_thin_product_is_one(rows, depth, width, dtype):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, shape).astype(dtype) for shape in ((rows, depth), (depth, width)))
    found = products.thin(a, b)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, a @ b)


def test_it_is_cut_where_that_is_faster(kernels):
    assert products.part_width(10, 24, np.dtype(np.float32)) == (8 if kernels else 24)
    assert products.part_width(30, 24, np.dtype(np.float32)) == (4 if kernels else 24)
    assert products.part_width(99, 24, np.dtype(np.float32)) == 24
    assert products.part_width(10, 24, np.dtype(np.float64)) == 24
    assert products.in_parts(np.zeros((2, 10, 24), np.float32)).shape == ((2, 3, 10, 8) if kernels else (2, 1, 10, 24))
