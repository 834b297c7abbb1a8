"""The kernels meant for CuPy, run on NumPy's arrays: the same names, signatures and numbers as those for the CPU."""

from __future__ import annotations

import inspect
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as tm
from tinygrad_med.backend import cpu, gpu, kernels
from tinygrad_med.backend.geometry import conv_geometry, pool_geometry

CPU_ONLY = {"get_num_threads", "set_num_threads", "get_winograd", "set_winograd"}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def assert_same(name: str, *arguments: Any, **options: Any) -> Any:
    """Both libraries' result of one call; returns the CPU's."""
    ours, theirs = getattr(cpu, name)(*arguments, **options), getattr(gpu, name)(*arguments, **options)
    results = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    for a, b in results:
        if a is None:
            assert b is None
            continue
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


several = st.sampled_from([2, 2, 1, 3]).flatmap(lambda axes: st.tuples(*[st.integers(1, 3)] * axes))
"""A kernel over two axes, mostly, or over one or three."""


def size_of(kernel: tuple[int, ...]) -> tuple[int, ...]:
    return (8, 9, 7)[: len(kernel)]


@given(
    groups=st.integers(1, 3),
    kernel=several,
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    padding=st.integers(0, 2) | st.sampled_from(["valid", (0, 1)]),
    n=st.integers(0, 2),
    bias=st.booleans(),
    relu=st.booleans(),
)
def test_convolution(groups, kernel, stride, dilation, padding, n, bias, relu):
    x, w = draw(n, 2 * groups, *size_of(kernel)), draw(3 * groups, 2, *kernel)
    padding = (padding,) * len(kernel) if isinstance(padding, tuple) else padding
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    at = {"geometry": conv_geometry(x.shape, w.shape, **options, axes=len(kernel))}
    g = assert_same("conv", x, w, draw(3 * groups) if bias else None, **at)
    assert_same("conv_input", g, w, **at)
    assert_same("conv_weight", x, g, **at)
    after = {"scale": draw(3 * groups), "shift": draw(3 * groups), "plus": draw(*g.shape)}
    assert_same("conv_finished", x, w, **at, **(after if bias else {}), relu=relu)


@given(
    kernel=several,
    stride=st.none() | st.integers(1, 3),
    dilation=st.integers(1, 3),
    halve=st.booleans(),
    ceil=st.booleans(),
    seed=st.integers(0, 9),
)
def test_max_pooling(kernel, stride, dilation, halve, ceil, seed):
    x = np.random.default_rng(seed).integers(-2, 2, (2, 3, *size_of(kernel))).astype(float)
    x[x == 1], x[0, 0, 2] = -np.inf, np.nan
    padding = tuple(k // 2 if halve else 0 for k in kernel)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
    at = {"geometry": pool_geometry(x.shape, kernel, **options, axes=len(kernel))}
    y, taps = assert_same("max_pool", x, **at)
    assert_same("max_pool", x, **at, choice=False)
    assert_same("max_pool_gather", np.nan_to_num(x), taps, **at)
    assert_same("max_pool_scatter", draw(*y.shape), taps, **at)


@given(
    kernel=several,
    stride=st.none() | st.integers(1, 3),
    halve=st.booleans(),
    ceil=st.booleans(),
    include=st.booleans(),
    divisor=st.none() | st.just(5),
)
def test_mean_pooling(kernel, stride, halve, ceil, include, divisor):
    padding, x = tuple(k // 2 if halve else 0 for k in kernel), draw(2, 3, *size_of(kernel))
    geometry = pool_geometry(x.shape, kernel, stride, padding, ceil_mode=ceil, axes=len(kernel))
    options = {"geometry": geometry, "count_include_pad": include, "divisor": divisor}
    y = assert_same("avg_pool", x, **options)
    assert_same("avg_pool_input", draw(*y.shape), **options)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5)])
def test_channels(shape):
    x, g, weight, bias = draw(*shape), draw(*shape, seed=1), draw(3), draw(3, seed=1)
    assert_same("channel_sum", x)
    assert_same("scale_shift", x, weight, bias)
    mean, var = assert_same("batch_norm_stats", x)
    assert_same("batch_norm", x, weight, bias, mean, 1 / np.sqrt(var + 1e-5))
    for plus in (None, draw(*shape, seed=3)):
        z = assert_same("batch_norm_relu", x, weight, bias, mean, 1 / np.sqrt(var + 1e-5), plus)
        statistics = weight, mean, 1 / np.sqrt(var + 1e-5), plus is not None
        assert_same("batch_norm_relu_backward", g, z, x, *statistics)
    running = [[draw(3, seed=2), np.ones(3)] for _ in range(2)]
    for library, (running_mean, running_var) in zip((cpu, gpu), running, strict=True):
        batches = np.array(3)
        moved = library.batch_norm_update(x, running_mean, running_var, 0.1, 1e-5, batches)
        assert batches == 4
        np.testing.assert_allclose(moved, (mean, 1 / np.sqrt(var + 1e-5)), rtol=1e-12)
    np.testing.assert_allclose(running[1], running[0], rtol=1e-12)
    assert_same("batch_norm_backward", g, x, weight, mean, 1 / np.sqrt(var + 1e-5))


@pytest.mark.parametrize("dims", [(1,), (0,), (0, 2)])
def test_log_softmax(dims):
    z = assert_same("log_softmax", draw(3, 4, 5), dims)
    assert_same("log_softmax_backward", draw(3, 4, 5, seed=1), z, dims)


def test_what_lies_alike_keeps_its_order() -> None:
    x, y = (np.moveaxis(draw(2, 4, 5, 3, seed=i), -1, 1) for i in range(2))
    for z in (gpu.plus(x, y), gpu.relu(x), gpu.relu_backward(x, y), gpu.relu_backward(x.copy("C"), y)):
        assert z.strides == x.strides
    np.testing.assert_array_equal(gpu.plus(x, y), x + y)
    np.testing.assert_array_equal(gpu.plus(x, y.copy("C")), x + y)
    np.testing.assert_array_equal(gpu.relu_backward(x.copy("C"), y), np.where(y > 0, x, 0))


# On a card -----------------------------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_on_a_card_floored_quotients_and_erf_are_the_cpus(dtype):
    x = tm.tensor([1.0, 6.0, -1.0, 0.25], dtype=dtype)
    for operation in (lambda x: x // 0.1, lambda x: x % 0.1, tm.erf, tm.gelu):
        here, there = operation(x), operation(x.cuda())
        assert there.dtype == dtype
        np.testing.assert_allclose(there.cpu().numpy(), here.numpy(), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.cuda
def test_on_a_card_an_index_outside_is_an_error():
    x = tm.ones(3, 2, device="cuda")
    for key in ([3], tm.tensor([3], device="cuda"), tm.tensor([-4], device="cuda")):
        with pytest.raises(IndexError, match="out of range for dim 0 of length 3"):
            x[key].tolist()  # where the key is on the card, the card looks at it, and nobody waits
        with pytest.raises(IndexError, match="out of range for dim 0 of length 3"):
            x[key] = 0


@pytest.mark.cuda
@pytest.mark.skipif(os.environ.get("GPU_ON_CPU_POOL") == "0", reason="memory is counted in CuPy's pool, which is off")
def test_on_a_card_time_and_memory_are_measured():
    begin, end = tm.cuda.Event(enable_timing=True), tm.cuda.Event(enable_timing=True)
    tm.cuda.reset_peak_memory_stats()
    before = tm.cuda.memory_allocated()
    begin.record()
    x = tm.ones(1 << 20, device="cuda")
    del x
    end.record()
    end.synchronize()
    assert end.query() and begin.elapsed_time(end) >= 0
    assert tm.cuda.memory_allocated() == before
    assert tm.cuda.max_memory_allocated() >= before + (4 << 20)
    assert tm.cuda.get_device_name() and tm.cuda.mem_get_info()[1] > 1 << 30
