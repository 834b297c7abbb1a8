"""Batch-norm's kernels: PyTorch's numbers in float64, few lost digits in float32, any number of dims and layout."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_med.backend import cpu

SHAPES = st.tuples(st.integers(2, 5), st.integers(1, 70), st.integers(1, 12), st.integers(1, 12))


def batch_norm(x, weight, bias, g):
    """Forward and backward, made of the kernels: y, ∂x, ∂weight, ∂bias."""
    mean, var = cpu.batch_norm_stats(x)
    invstd = 1 / np.sqrt(var + 1e-5)
    y = cpu.scale_shift(x, weight * invstd, bias - mean * weight * invstd)
    return y, *cpu.batch_norm_backward(g, x, weight, mean, invstd)


def arrays(shape, dtype=np.float64):
    rng = np.random.default_rng(0)
    channels = shape[1:2]
    return tuple(rng.standard_normal(s).astype(dtype) + 0.5 for s in (shape, channels, channels, shape))


@given(shape=SHAPES)
def test_training_batch_norm_is_pytorch_s(torch, shape):
    x, weight, bias, g = arrays(shape)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    y = torch.nn.functional.batch_norm(tensors[0], None, None, *tensors[1:], training=True)
    y.backward(torch.tensor(g))
    expected = [y.detach(), *(t.grad for t in tensors)]
    for found, true in zip(batch_norm(x, weight, bias, g), expected, strict=True):
        np.testing.assert_allclose(found, true.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 7), (6, 5, 7, 3), (2, 5, 3, 4, 2)])
def test_any_number_of_dims(shape):
    x, weight, bias, _ = arrays(shape)
    dims = (0, *range(2, x.ndim))
    mean, var = cpu.batch_norm_stats(x)
    np.testing.assert_allclose(mean, x.mean(dims), rtol=1e-12)
    np.testing.assert_allclose(var, x.var(dims), rtol=1e-12)
    np.testing.assert_allclose(cpu.channel_sum(x), x.sum(dims), rtol=1e-12)
    spread = (slice(None), *[None] * (x.ndim - 2))
    np.testing.assert_allclose(cpu.scale_shift(x, weight, bias), x * weight[spread] + bias[spread], rtol=1e-12)


def test_blocks_join():
    """More numbers than one block holds."""
    x = np.random.default_rng(0).standard_normal((8, 3, 300, 200)) + np.arange(8)[:, None, None, None]
    mean, var = cpu.batch_norm_stats(x)
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(var, x.var((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(cpu.channel_sum(x), x.sum((0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("offset", [0, 100, 10_000])
def test_a_mean_far_from_zero_costs_no_digits_of_the_variance(offset):
    x = np.random.default_rng(0).standard_normal((8, 16, 60, 60)).astype(np.float32) + np.float32(offset)
    mean, var = cpu.batch_norm_stats(x)
    wide = x.astype(float)
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, wide.var((0, 2, 3)), rtol=1e-5)


def test_float32_errors_stand_beside_pytorch_s(torch):
    x, weight, bias, g = arrays((16, 64, 28, 28), np.float32)
    true = batch_norm(*(a.astype(float) for a in (x, weight, bias, g)))
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    y = torch.nn.functional.batch_norm(tensors[0], None, None, *tensors[1:], training=True)
    y.backward(torch.tensor(g))
    pytorch = [y.detach().numpy(), *(t.grad.numpy() for t in tensors)]
    for found, theirs, exact in zip(batch_norm(x, weight, bias, g), pytorch, true, strict=True):
        assert found.dtype == np.float32
        assert np.linalg.norm(found - exact) <= 3 * np.linalg.norm(theirs - exact) + 1e-7 * np.linalg.norm(exact)


def test_memory_order_changes_nothing():
    x, weight, bias, g = arrays((4, 6, 9, 7))
    expected = batch_norm(x, weight, bias, g)
    for same in (np.asfortranarray, lambda a: a[::-1, ::-1].copy()[::-1, ::-1]):
        for found, true in zip(batch_norm(same(x), weight, bias, same(g)), expected, strict=True):
            np.testing.assert_array_equal(found, true)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"batch_norm_stats: x \(0, 3, 4, 4\) is empty"):
        cpu.batch_norm_stats(np.zeros((0, 3, 4, 4)))
    assert cpu.channel_sum(np.zeros((0, 3, 4, 4))).tolist() == [0, 0, 0]
    assert cpu.scale_shift(np.zeros((0, 3, 4, 4)), np.ones(3), np.ones(3)).shape == (0, 3, 4, 4)


@given(shape=SHAPES, dtype=st.sampled_from([np.float64, np.float32]), plus=st.booleans(), last=st.booleans())
def test_with_a_sum_and_relu_it_is_the_same_to_the_bit(shape, dtype, plus, last):
    x, weight, bias, g = arrays(shape, dtype)
    more = np.random.default_rng(1).standard_normal(shape).astype(dtype) if plus else None
    if last:
        g = np.moveaxis(np.ascontiguousarray(np.moveaxis(g, 1, -1)), -1, 1)
    mean, var = cpu.batch_norm_stats(x)
    invstd = 1 / np.sqrt(var + 1e-5)
    y = cpu.batch_norm(x, weight, bias, mean, invstd)
    z = cpu.relu(y + more if plus else y)
    found = cpu.batch_norm_relu(x, weight, bias, mean, invstd, more)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, z)
    cut, before = cpu.relu_backward(g, z), g.copy()
    expected = (*cpu.batch_norm_backward(cut, x, weight, mean, invstd), cut if plus else None)
    for one, other in zip(cpu.batch_norm_relu_backward(g, z, x, weight, mean, invstd, plus), expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(g, before)
