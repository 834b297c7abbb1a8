"""The kernels meant for CuPy, run on NumPy's arrays: the same names, signatures and numbers as those for the CPU."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_med.backend import cpu, gpu, kernels

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
CPU_ONLY = {"get_num_threads", "set_num_threads", "get_winograd", "set_winograd"}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def assert_same(name: str, *arguments: Any, **options: Any) -> Any:
    """Both libraries' result of one call; returns the CPU's."""
    ours, theirs = getattr(cpu, name)(*arguments, **options), getattr(gpu, name)(*arguments, **options)
    results = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    for a, b in results:
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)
    return ours


def test_each_library_has_its_kernels():
    assert kernels.kernels(np) is cpu
    assert kernels.kernels(pytest) is gpu  # any other library


@pytest.mark.parametrize("name", sorted(set(cpu.__all__) - CPU_ONLY))
def test_the_same_signatures(name):
    ours, theirs = (inspect.signature(getattr(library, name)).parameters for library in (cpu, gpu))
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]


@given(
    groups=st.integers(1, 3),
    kernel=pair,
    stride=pair,
    dilation=pair,
    padding=st.integers(0, 2) | st.sampled_from(["valid", ((0, 1), (2, 1))]),
    n=st.integers(0, 2),
    bias=st.booleans(),
)
def test_convolution(groups, kernel, stride, dilation, padding, n, bias):
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    x, w = draw(n, 2 * groups, 8, 9), draw(3 * groups, 2, *kernel)
    g = assert_same("conv2d", x, w, draw(3 * groups) if bias else None, **options)
    assert_same("conv2d_input", g, w, input_size=(8, 9), **options)
    assert_same("conv2d_weight", x, g, kernel_size=kernel, **options)


@given(
    kernel=pair, stride=st.none() | pair, dilation=pair, halve=st.booleans(), ceil=st.booleans(), seed=st.integers(0, 9)
)
def test_max_pooling(kernel, stride, dilation, halve, ceil, seed):
    x = np.random.default_rng(seed).integers(-2, 2, (2, 3, 8, 9)).astype(float)
    x[x == 1], x[0, 0, 2] = -np.inf, np.nan
    padding = tuple(k // 2 if halve else 0 for k in kernel)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
    y, taps = assert_same("max_pool2d", x, kernel, **options)
    assert_same("max_pool2d_gather", np.nan_to_num(x), taps, kernel, **options)
    assert_same("max_pool2d_scatter", draw(*y.shape), taps, kernel, input_size=(8, 9), **options)


@given(kernel=pair, stride=st.none() | pair, halve=st.booleans(), ceil=st.booleans(), include=st.booleans())
def test_mean_pooling(kernel, stride, halve, ceil, include):
    padding = tuple(k // 2 if halve else 0 for k in kernel)
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil, "count_include_pad": include}
    y = assert_same("avg_pool2d", draw(2, 3, 8, 9), kernel, **options)
    assert_same("avg_pool2d_input", draw(*y.shape), kernel, input_size=(8, 9), **options)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5)])
def test_channels(shape):
    x, g, weight, bias = draw(*shape), draw(*shape, seed=1), draw(3), draw(3, seed=1)
    assert_same("channel_sum", x)
    assert_same("scale_shift", x, weight, bias)
    mean, var = assert_same("batch_norm_stats", x)
    assert_same("batch_norm_backward", g, x, weight, mean, 1 / np.sqrt(var + 1e-5))


@pytest.mark.parametrize("name", ["conv2d_input", "conv2d_weight"])
def test_a_gradient_of_another_shape_is_refused(name):
    x, w, g = draw(2, 3, 8, 8), draw(4, 3, 3, 3), draw(2, 4, 5, 5)
    call = {"conv2d_input": (g, w, {"input_size": (8, 8)}), "conv2d_weight": (x, g, {"kernel_size": (3, 3)})}[name]
    with pytest.raises(ValueError, match=rf"{name}: g has shape \(2, 4, 5, 5\), but .* has \(2, 4, 6, 6\)"):
        getattr(gpu, name)(*call[:2], **call[2])
