"""The strategies yield what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tinygrad_med.testing import laid_out, strategies as ours
from tinygrad_med.testing.layouts import LAYOUTS, copied


@given(ours.broadcastable_shapes(3))
def test_broadcastable_shapes(found):
    assert len(found) == 3
    np.broadcast_shapes(*found)


@given(st.data())
def test_dims(data):
    shape = data.draw(ours.shapes(1, 4))
    x = np.empty(shape)
    assert x.take([0], data.draw(ours.dims(shape))).size
    several = data.draw(ours.several_dims(shape))
    assert len({d % len(shape) for d in several}) == len(several) >= 1


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_convolutions_are_legal_and_know_their_output(torch, spatial):
    conv = getattr(torch.nn.functional, f"conv{spatial}d")

    @settings(max_examples=30)
    @given(ours.convolutions(spatial))
    def check(found):
        z = conv(torch.empty(found.x_shape), torch.empty(found.weight_shape), **found.constants)
        assert tuple(z.shape) == found.out_shape

    check()


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_poolings_are_legal_and_every_window_sees_the_image(torch, spatial):
    pool = getattr(torch.nn.functional, f"max_pool{spatial}d")

    @settings(max_examples=30)
    @given(ours.poolings(spatial))
    def check(found):
        z = pool(torch.zeros(found.x_shape), **found.constants)
        assert tuple(z.shape) == found.out_shape
        assert z.isfinite().all()

    check()


@given(ours.arrays(ours.shapes(min_side=0), low=-2, high=2, away_from=(-1, 0, 0.05), margin=0.2))
def test_arrays_away_from_kinks(x):
    assert x.dtype == "float64"
    assert (np.abs(x) <= 2).all()
    for kink in (-1, 0, 0.05):
        assert (np.abs(x - kink) >= 0.2 - 1e-12).all()


@given(ours.arrays(ours.shapes(1, 3, 2), distinct=True, margin=0.3))
def test_separated_arrays(x):
    assert (np.diff(np.sort(x.ravel())) >= 0.3 - 1e-12).all()


@given(ours.arrays((3,), ours.dtypes("fiub"), low=0, high=5))
def test_dtypes_of_arrays(x):
    assert x.dtype.kind in "fiub"
    assert (x <= 5).all()


def test_extreme_magnitudes_come_up():
    seen = []
    settings(max_examples=60)(given(ours.arrays((4,), extreme=True))(lambda x: seen.append(np.abs(x).max())))()
    assert min(seen) < 1e-2
    assert max(seen) > 1e2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_hold_the_same_numbers(layout):
    x = np.arange(24.0).reshape(2, 3, 4)
    y = laid_out(x, layout)
    np.testing.assert_array_equal(x, y)
    assert y.flags.c_contiguous == (layout == "contiguous")
    assert not np.may_share_memory(x, y)
    assert laid_out(np.array(3.0), layout).shape == ()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_a_copy_has_the_strides_of_the_original(shape):
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    for original in (*(laid_out(x, layout) for layout in LAYOUTS), np.broadcast_to(x, (2, *shape))):
        twin = copied(original)
        np.testing.assert_array_equal(twin, original)
        assert twin.strides == original.strides
        assert not np.may_share_memory(twin, original)
        assert twin.flags.writeable


def test_a_single_number_may_be_drawn():
    given(ours.arrays((2,), low=2, high=2, away_from=(0,)))(lambda x: np.testing.assert_array_equal(x, 2))()
    with pytest.raises(ValueError, match="no number between 2 and 2 keeps 0.1 away"):
        ours.arrays((2,), low=2, high=2, away_from=(2,))


def test_what_can_not_be_drawn_says_so():
    with pytest.raises(ValueError, match="no number between 0 and 1 keeps 2 away from"):
        ours.arrays(low=0, high=1, away_from=(0,), margin=2)
    with pytest.raises(ValueError, match="away_from can't be held with"):
        ours.arrays(away_from=(0,), distinct=True)
    with pytest.raises(ValueError, match="no dtype is of the kinds 'x'"):
        ours.dtypes("x")
    with pytest.raises(ValueError, match="layout 'diagonal' is unknown; choose one of contiguous"):
        laid_out(np.ones((2, 2)), "diagonal")
