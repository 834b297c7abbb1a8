"""g++'s address sanitizer ends a program whose kernel leaves its arrays, also the shared ones of fixed size."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.gpu_on_cpu.running import needs

pytestmark = needs(ASAN="1", POOL="0")

PROGRAM = """
import cupy
kernel = cupy.RawKernel('extern "C" __global__ void shift(const float* x, float* y) {{ {} }}', "shift")
x, y = cupy.zeros(32, "float32"), cupy.zeros(32, "float32")
kernel((1,), (32,), (x, y))
print("ended", y.sum())
"""
SHARED = (
    "__shared__ float s[{}]; s[threadIdx.x + 1] = x[threadIdx.x]; __syncthreads(); y[threadIdx.x] = s[threadIdx.x];"
)
PLANTED = {
    "a read past the end": ("y[threadIdx.x] = x[threadIdx.x + 1];", "heap-buffer-overflow"),
    "a write past the end": ("y[threadIdx.x + 1] = x[threadIdx.x];", "heap-buffer-overflow"),
    "a write past shared memory": (SHARED.format(32), "global-buffer-overflow"),
    "none": (SHARED.format(33), None),
}


@pytest.mark.parametrize("what", PLANTED)
def test_planted(what):
    body, found = PLANTED[what]
    run = subprocess.run([sys.executable, "-c", PROGRAM.format(body)], capture_output=True, text=True, check=False)
    assert (run.returncode == 0) == (found is None), run.stderr[-1000:]
    assert "ended" in run.stdout if found is None else f"AddressSanitizer: {found}" in run.stderr
