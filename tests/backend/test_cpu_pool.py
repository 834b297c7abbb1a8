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
    """The shape of x, the kernel, and the keywords of a pooling."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    arguments = {
        "stride": draw(st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    extent = kernel
    if dilations > 1:
        arguments["dilation"] = draw(st.tuples(st.integers(1, dilations), st.integers(1, dilations)))
        extent = tuple(d * (k - 1) + 1 for d, k in zip(arguments["dilation"], kernel, strict=True))
    size = [e + draw(st.integers(0, 8)) for e in extent]
    return (draw(st.integers(1, 3)), draw(st.integers(1, 5)), *size), kernel, arguments


@pytest.mark.parametrize("fill", FILLS)
@given(drawn=windows())
def test_max_pool2d_is_pytorch_s(torch, fill, drawn):
    shape, kernel, arguments = drawn
    rng = np.random.default_rng(0)
    x = FILLS[fill](rng, shape)
    x_torch = torch.tensor(x, requires_grad=True)
    expected, indices = torch.nn.functional.max_pool2d(x_torch, kernel, return_indices=True, **arguments)
    y, taps = cpu.max_pool2d(x, kernel, **arguments)
    np.testing.assert_array_equal(y, expected.detach().numpy())
    found = positions(np, taps, pool_geometry(shape, kernel, **arguments))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, indices.numpy())

    g = rng.standard_normal(y.shape)
    expected.backward(torch.tensor(g))
    dx = cpu.max_pool2d_scatter(g, taps, kernel, input_size=shape[2:], **arguments)
    np.testing.assert_allclose(dx, x_torch.grad.numpy(), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(cpu.max_pool2d_gather(x, taps, kernel, **arguments), y)


@given(drawn=windows())
def test_gather_and_scatter_are_transposes(drawn):
    shape, kernel, arguments = drawn
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    y, taps = cpu.max_pool2d(rng.standard_normal(shape), kernel, **arguments)  # a choice made on other numbers
    g = rng.standard_normal(y.shape)
    gathered = cpu.max_pool2d_gather(x, taps, kernel, **arguments)
    scattered = cpu.max_pool2d_scatter(g, taps, kernel, input_size=shape[2:], **arguments)
    assert abs(np.vdot(gathered, g) - np.vdot(x, scattered)) < 1e-11


@pytest.mark.parametrize("include", [True, False])
@given(drawn=windows(dilations=1))
def test_avg_pool2d_is_pytorch_s(torch, include, drawn):
    shape, kernel, arguments = drawn
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    x_torch = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.avg_pool2d(x_torch, kernel, count_include_pad=include, **arguments)
    y = cpu.avg_pool2d(x, kernel, count_include_pad=include, **arguments)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-13)
    g = rng.standard_normal(y.shape)
    expected.backward(torch.tensor(g))
    dx = cpu.avg_pool2d_input(g, kernel, input_size=shape[2:], count_include_pad=include, **arguments)
    np.testing.assert_allclose(dx, x_torch.grad.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, np.uint8])
def test_other_dtypes(dtype):
    x = np.random.default_rng(0).integers(0, 100, (2, 3, 9, 9)).astype(dtype)
    y, taps = cpu.max_pool2d(x, 3, stride=2, padding=1)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, cpu.max_pool2d(x.astype(float), 3, stride=2, padding=1)[0])
    assert cpu.max_pool2d_gather(x, taps, 3, stride=2, padding=1).dtype == dtype


def test_a_kernel_of_more_taps_than_a_byte_counts():
    x = np.random.default_rng(0).standard_normal((1, 2, 20, 20))
    y, taps = cpu.max_pool2d(x, 20)
    np.testing.assert_array_equal(y[..., 0, 0], x.max((2, 3)))
    np.testing.assert_array_equal(taps[..., 0, 0], x.reshape(1, 2, -1).argmax(-1))


def test_an_empty_batch():
    x = np.zeros((0, 3, 9, 9))
    y, taps = cpu.max_pool2d(x, 3)
    assert y.shape == taps.shape == cpu.avg_pool2d(x, 3).shape == (0, 3, 3, 3)
    assert cpu.max_pool2d_scatter(y, taps, 3, input_size=(9, 9)).shape == x.shape
    assert cpu.avg_pool2d_input(y, 3, input_size=(9, 9)).shape == x.shape


def test_memory_order_changes_nothing():
    x = np.random.default_rng(0).standard_normal((3, 4, 9, 8))
    y, taps = cpu.max_pool2d(x, 3, stride=2)
    for same in (np.asfortranarray(x), x[::-1, :, ::-1].copy()[::-1, :, ::-1], np.broadcast_to(x, x.shape)):
        found, found_taps = cpu.max_pool2d(same, 3, stride=2)
        np.testing.assert_array_equal(found, y)
        np.testing.assert_array_equal(found_taps, taps)
        np.testing.assert_array_equal(cpu.avg_pool2d(same, 3), cpu.avg_pool2d(x, 3))
        g, g_taps = np.asfortranarray(y), np.asfortranarray(taps)
        np.testing.assert_array_equal(
            cpu.max_pool2d_scatter(g, g_taps, 3, stride=2, input_size=(9, 8)),
            cpu.max_pool2d_scatter(y, taps, 3, stride=2, input_size=(9, 8)),
        )
