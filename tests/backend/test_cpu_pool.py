"""Pooling on the CPU: PyTorch's values, choices and gradients; gather and scatter are transposes; memory order."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_med.backend import cpu
from tinygrad_med.backend.geometry import pool_geometry
from tinygrad_med.backend.windows import positions

FILLS = {
    "random": lambda rng, shape: rng.standard_normal(shape),
    "ties": lambda rng, shape: rng.integers(-1, 2, shape).astype(float),
    "all -1": lambda rng, shape: np.full(shape, -1.0),
    "−∞": lambda rng, shape: np.where(rng.random(shape) < 0.8, -np.inf, 1.0),
    "NaN": lambda rng, shape: np.where(rng.random(shape) < 0.2, np.nan, rng.standard_normal(shape)),
}


@st.composite
def windows(draw, dilations=3):
    """The shape of x, the kernel, and the keywords of a pooling over one, two (mostly) or three axes."""
    axes = draw(st.sampled_from([2, 2, 1, 3]))
    kernel = draw(st.tuples(*[st.integers(1, 4)] * axes))
    arguments = {
        "stride": draw(st.none() | st.tuples(*[st.integers(1, 4)] * axes)),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    extent = kernel
    if dilations > 1:
        arguments["dilation"] = draw(st.tuples(*[st.integers(1, dilations)] * axes))
        extent = tuple(d * (k - 1) + 1 for d, k in zip(arguments["dilation"], kernel, strict=True))
    size = [e + draw(st.integers(0, 8 if axes < 3 else 3)) for e in extent]
    return (draw(st.integers(1, 3)), draw(st.integers(1, 5)), *size), kernel, arguments


def where(shape, kernel, **arguments):
    """The windows of a pooling."""
    return pool_geometry(shape, kernel, **arguments, axes=len(shape) - 2)


@pytest.mark.parametrize("fill", FILLS)
@given(drawn=windows())
def test_max_pooling_is_pytorch_s(torch, fill, drawn):
    shape, kernel, arguments = drawn
    rng = np.random.default_rng(0)
    x = FILLS[fill](rng, shape)
    x_torch = torch.tensor(x, requires_grad=True)
    theirs = getattr(torch.nn.functional, f"max_pool{x.ndim - 2}d")
    arguments = {"stride": None, **arguments}
    expected, indices = theirs(x_torch, kernel, return_indices=True, **arguments)
    geometry = where(shape, kernel, **arguments)
    y, taps = cpu.max_pool(x, geometry=geometry)
    np.testing.assert_array_equal(y, expected.detach().numpy())
    found = positions(np, taps, geometry)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, indices.numpy())

    g = rng.standard_normal(y.shape)
    expected.backward(torch.tensor(g))
    dx = cpu.max_pool_scatter(g, taps, geometry=geometry)
    np.testing.assert_allclose(dx, x_torch.grad.numpy(), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(cpu.max_pool_gather(x, taps, geometry=geometry), y)


@given(drawn=windows())
def test_gather_and_scatter_are_transposes(drawn):
    shape, kernel, arguments = drawn
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    geometry = where(shape, kernel, **arguments)
    y, taps = cpu.max_pool(rng.standard_normal(shape), geometry=geometry)  # a choice made on other numbers
    g = rng.standard_normal(y.shape)
    gathered = cpu.max_pool_gather(x, taps, geometry=geometry)
    scattered = cpu.max_pool_scatter(g, taps, geometry=geometry)
    assert abs(np.vdot(gathered, g) - np.vdot(x, scattered)) < 1e-11


@pytest.mark.parametrize("include", [True, False])
@given(drawn=windows(dilations=1))
def test_mean_pooling_is_pytorch_s(torch, include, drawn):
    shape, kernel, arguments = drawn
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    x_torch = torch.tensor(x, requires_grad=True)
    theirs = getattr(torch.nn.functional, f"avg_pool{x.ndim - 2}d")
    expected = theirs(x_torch, kernel, count_include_pad=include, **arguments)
    geometry = where(shape, kernel, **arguments)
    y = cpu.avg_pool(x, geometry=geometry, count_include_pad=include)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-13)
    g = rng.standard_normal(y.shape)
    expected.backward(torch.tensor(g))
    dx = cpu.avg_pool_input(g, geometry=geometry, count_include_pad=include)
    np.testing.assert_allclose(dx, x_torch.grad.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, np.uint8])
def test_other_dtypes(dtype):
    x = np.random.default_rng(0).integers(0, 100, (2, 3, 9, 9)).astype(dtype)
    geometry = where(x.shape, 3, stride=2, padding=1)
    y, taps = cpu.max_pool(x, geometry=geometry)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, cpu.max_pool(x.astype(float), geometry=geometry)[0])
    assert cpu.max_pool_gather(x, taps, geometry=geometry).dtype == dtype


def test_a_kernel_of_more_taps_than_a_byte_counts():
    x = np.random.default_rng(0).standard_normal((1, 2, 20, 20))
    y, taps = cpu.max_pool(x, geometry=where(x.shape, 20))
    np.testing.assert_array_equal(y[..., 0, 0], x.max((2, 3)))
    np.testing.assert_array_equal(taps[..., 0, 0], x.reshape(1, 2, -1).argmax(-1))


def test_an_empty_batch():
    x = np.zeros((0, 3, 9, 9))
    at = {"geometry": where(x.shape, 3)}
    y, taps = cpu.max_pool(x, **at)
    assert y.shape == taps.shape == cpu.avg_pool(x, **at).shape == (0, 3, 3, 3)
    assert cpu.max_pool_scatter(y, taps, **at).shape == x.shape
    assert cpu.avg_pool_input(y, **at).shape == x.shape


def test_memory_order_changes_nothing():
    x = np.random.default_rng(0).standard_normal((3, 4, 9, 8))
    at = {"geometry": where(x.shape, 3, stride=2)}
    y, taps = cpu.max_pool(x, **at)
    for same in (np.asfortranarray(x), x[::-1, :, ::-1].copy()[::-1, :, ::-1], np.broadcast_to(x, x.shape)):
        found, found_taps = cpu.max_pool(same, **at)
        np.testing.assert_array_equal(found, y)
        np.testing.assert_array_equal(found_taps, taps)
        np.testing.assert_array_equal(cpu.avg_pool(same, **at), cpu.avg_pool(x, **at))
        g, g_taps = np.asfortranarray(y), np.asfortranarray(taps)
        np.testing.assert_array_equal(cpu.max_pool_scatter(g, g_taps, **at), cpu.max_pool_scatter(y, taps, **at))
