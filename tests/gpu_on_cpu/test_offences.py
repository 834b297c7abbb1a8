"""Mistakes that a kernel can make, planted: each is noticed and named, and right kernels raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.gpu_on_cpu.running import needs

pytestmark = needs(WATCH="1", POOL="0", DEVICES="2")
Launch = Callable[..., Any]


@pytest.fixture
def compiled(cupy: Any) -> Callable[[str, str], Any]:
    """Compile `extern "C" __global__ void <what follows>`."""

    def compiled(signature: str, body: str) -> Any:
        name = signature.partition("(")[0]
        return cupy.RawKernel(f'extern "C" __global__ void {signature} {{ {body} }}', name)

    return compiled


def noticed(cupy: Any, what: str) -> Any:
    return pytest.raises(cupy.cuda.driver.CUDADriverError, match=what)


ROW_SUMS = """
  __shared__ float part[64];
  float sum = 0;
  for (int i = threadIdx.x; i < width; i += 64) sum += x[blockIdx.x * width + i];
  part[threadIdx.x] = sum;
  BARRIER
  for (int half = 32; half > 0; half /= 2) {
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    BARRIER
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
"""


def row_sums(cupy: Any, compiled: Any, barrier: str) -> float:
    x = cupy.asarray(np.random.default_rng(0).standard_normal((5, 100)), "float32")
    sums = cupy.zeros(5, "float32")
    kernel = compiled("row_sums(const float* x, float* sums, int width)", ROW_SUMS.replace("BARRIER", barrier))
    kernel((5,), (64,), (x, sums, np.int32(100)))
    return float(abs(sums - x.sum(1)).max())


def test_a_missing_barrier(cupy, compiled):
    assert row_sums(cupy, compiled, "__syncthreads();") < 1e-5
    with noticed(cupy, r"row_sums: thread .* shared memory that thread .*, and no __syncthreads\(\) is between"):
        row_sums(cupy, compiled, "")


def test_a_missing_barrier_between_warps_alone(cupy, compiled):
    """A wait for the warp is none for the block."""
    with noticed(cupy, "shared memory that .* no __syncthreads"):
        row_sums(cupy, compiled, "__syncwarp();")


def test_threads_of_a_warp_may_wait_for_each_other(cupy, compiled):
    add = "float x = threadIdx.x; for (int d = 16; d; d /= 2) x += __shfl_down_sync(~0u, x, d);"
    kernel = compiled("warp_sums(float* y)", add + "if (threadIdx.x % 32 == 0) y[threadIdx.x / 32] = x;")
    y = cupy.zeros(2, "float32")
    kernel((1,), (64,), (y,))
    assert y.tolist() == [sum(range(32)), sum(range(32, 64))]


def test_two_blocks_that_write_one_cell(cupy, compiled):
    y = cupy.zeros(32, "float32")
    own = compiled("own(float* y)", "y[blockIdx.x * 16 + threadIdx.x] = blockIdx.x;")
    own((2,), (16,), (y,))
    assert y.tolist() == [0] * 16 + [1] * 16
    both = compiled("both(float* y)", "y[threadIdx.x] = blockIdx.x;")
    with noticed(cupy, r"both: .* of block \(1, 0, 0\) writes a cell of an array that thread .* of block"):
        both((2,), (16,), (y,))


def test_two_blocks_may_add_to_one_cell_atomically(cupy, compiled):
    y = cupy.zeros(4, "float32")
    compiled("add(float* y)", "atomicAdd(&y[threadIdx.x % 4], 1.0f);")((2,), (32,), (y,))
    assert y.tolist() == [16] * 4
    with noticed(cupy, "mixed: .* that thread .* read in the same launch"):
        compiled("mixed(float* y)", "atomicAdd(&y[0], 1.0f); y[1] = y[0];")((2,), (1,), (y,))


def test_a_block_that_reads_what_another_writes(cupy, compiled):
    y = cupy.zeros(2, "float32")
    with noticed(
        cupy, r"of block \(1, 0, 0\) reads a cell of an array that .* of block \(0, 0, 0\) wrote in the same launch"
    ):
        compiled("other(float* y)", "y[blockIdx.x] = y[1 - blockIdx.x];")((2,), (1,), (y,))


@pytest.mark.parametrize(("bytes", "fine"), [(128, True), (124, False)])
def test_shared_memory_ends_where_the_launch_says(cupy, compiled, bytes, fine):
    body = "extern __shared__ float s[]; int i = threadIdx.x; s[i] = i; __syncthreads(); y[i] = s[31 - i];"
    kernel, y = compiled("turned(float* y)", body), cupy.zeros(32, "float32")
    if fine:
        kernel((1,), (32,), (y,), shared_mem=bytes)
        assert y.tolist() == list(range(31, -1, -1))
    else:
        with noticed(cupy, "writes past the 124 bytes of shared memory of this launch"):
            kernel((1,), (32,), (y,), shared_mem=bytes)


@pytest.mark.parametrize("size", [1000, 1024])
def test_a_read_past_the_end(cupy, compiled, size):
    x, y = cupy.zeros(size, "float32"), cupy.zeros(size, "float32")
    body = "int i = blockIdx.x * 128 + threadIdx.x; if (i < n) y[i] = "
    exact = compiled("exact(const float* x, float* y, int n)", body + "x[i];")
    shift = compiled("shift(const float* x, float* y, int n)", body + "x[i + 1];")
    exact((8,), (128,), (x, y, np.int32(size)))
    with noticed(cupy, f"shift: thread .* reads 4 bytes past the end of an array of {4 * size}"):
        shift((8,), (128,), (x, y, np.int32(size)))


def test_an_elementwise_kernel_of_ours_is_watched_too(cupy):
    x = cupy.zeros(10, "float32")
    kernel = cupy.ElementwiseKernel("raw T x", "T y", "y = x[i + 5]", "later")
    with noticed(cupy, "later: thread .* reads 4 bytes past the end of an array of 40"):
        kernel(x, cupy.empty(10, "float32"))


def test_the_wrong_device(cupy, compiled):
    kernel = compiled("ones(float* y)", "y[threadIdx.x] = 1;")
    with cupy.cuda.Device(1):
        there = cupy.zeros(32, "float32")
        kernel((1,), (32,), (there,))
    with noticed(cupy, "ones: its array 0 is on device 1, it runs on device 0"):
        kernel((1,), (32,), (there,))
    with pytest.raises(ValueError, match="Peer access is unavailable"):
        there + 1


def test_memory_of_the_host(cupy, compiled):
    kernel = compiled("ones(float* y)", "y[threadIdx.x] = 1;")
    with noticed(cupy, "ones: its array 0 is not in the GPU's memory"):
        kernel((1,), (32,), (np.uintp(np.zeros(32, "float32").ctypes.data),))
