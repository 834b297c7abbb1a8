"""No step costs more than budget.py allows."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu_on_cpu.running import needs

pytestmark = needs(POOL="0")


@pytest.mark.parametrize("name", ["resnet18", "mrnet", "linear"])
@pytest.mark.parametrize("tf32", [False, True], ids=["float32", "TF32"])
def test_a_step_costs_what_it_may(name, tf32):
    from tests.gpu_on_cpu.budget import CEILINGS, cost, count

    found, ceiling = cost(count(name, tf32)), CEILINGS[name]
    for what, now, most in zip(found._fields, found, ceiling, strict=True):
        assert now <= most, f"{name}: {now} {what}, and the ceiling of tests/gpu_on_cpu/budget.py is {most}"


def test_what_is_counted(cupy):
    from tests.gpu_on_cpu.dry import counted

    x, scale = cupy.ones((1000, 300), "float32"), cupy.ones((300,), "float32")
    kernel = cupy.RawKernel('extern "C" __global__ void twice(const float* x, float* y) {}', "twice")
    with counted() as counts:
        y = x * scale
        y.sum(0)
        y @ y.T
        float(scale[0])
        kernel((1,), (32,), (x, y))
    times, sums, product, copy, wait, twice = [w for w in counts.work if w.kind != "memset"]
    assert (times.bytes, times.name.split("__")[0]) == (4 * (300_000 + 300 + 300_000), "cupy_multiply")
    assert (sums.bytes, sums.blocks, sums.threads) == (4 * (300_000 + 300), sums.blocks, 512)
    assert (product.kind, product.bytes, product.flops) == (
        "product",
        4 * (2 * 300_000 + 1_000_000),
        2 * 1000 * 1000 * 300,
    )
    assert (copy.name, copy.bytes, wait.kind) == ("DH", 4, "sync")
    assert (twice.bytes, twice.blocks) == (4 * 600_000, 1)
    assert counts.narrow() == [sums, twice] and counts.launches == 4


def test_addresses_in_a_struct_are_counted_too(cupy):
    from tests.gpu_on_cpu.dry import counted

    source = 'struct Two { float* a[2]; long long n; };\nextern "C" __global__ void two(Two all) {}'
    x, y = cupy.ones(1000, "float32"), cupy.ones(500, "float32")
    by_value = np.array([x.data.ptr, y.data.ptr, 1000], "int64").view("V24")
    with counted() as counts:
        cupy.RawKernel(source, "two")((1,), (32,), (by_value,))
    assert [w.bytes for w in counts.work] == [6000]
