"""`backends` and the precision of products: TF32 is off until somebody allows it, by either of PyTorch's names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import tinygrad_med as tm
from tests.as_torch.test_as_torch import FIRST, run
from tinygrad_med import backend


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = backend.tf32
    yield
    backend.allow_tf32(before)


def test_it_is_off_until_it_is_allowed() -> None:
    assert not tm.backends.cuda.matmul.allow_tf32 and tm.get_float32_matmul_precision() == "highest"
    for precision, allowed in (("high", True), ("highest", False), ("medium", True)):
        tm.set_float32_matmul_precision(precision)
        assert tm.backends.cuda.matmul.allow_tf32 is allowed
    tm.backends.cuda.matmul.allow_tf32 = False
    assert tm.get_float32_matmul_precision() == "highest"
    tm.backends.cuda.matmul.allow_tf32 = True
    assert tm.get_float32_matmul_precision() == "high"


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="give 'highest', 'high' or 'medium', got 'low'"):
        tm.set_float32_matmul_precision("low")
    with pytest.raises(TypeError, match="allow_tf32: give True or False, got 1"):
        tm.backends.cuda.matmul.allow_tf32 = 1


def test_the_cpu_stays_exact() -> None:
    x = tm.randn(20, 20)
    exact = (x @ x).numpy()
    tm.set_float32_matmul_precision("high")
    np.testing.assert_array_equal((x @ x).numpy(), exact)


@pytest.mark.cuda
def test_cupy_is_told(cupy) -> None:
    products = cupy._core._routines_linalg
    assert (tm.ones(2, 2, device="cuda") @ tm.ones(2, 2, device="cuda")).sum().item() == 8
    assert products.get_compute_type("float32") == products.COMPUTE_TYPE_DEFAULT
    tm.backends.cuda.matmul.allow_tf32 = True
    assert products.get_compute_type("float32") == products.COMPUTE_TYPE_TF32
    assert products.get_compute_type("float64") == products.COMPUTE_TYPE_DEFAULT
    x = tm.randn(64, 64, device="cuda")
    np.testing.assert_allclose((x @ x).cpu().numpy(), (x.cpu() @ x.cpu()).numpy(), atol=0.1)
    tm.set_float32_matmul_precision("highest")
    assert products.get_compute_type("float32") == products.COMPUTE_TYPE_DEFAULT


def test_tutorials_set_it_as_they_do_in_pytorch() -> None:
    run(
        FIRST + "import torch, torch.backends.cudnn as cudnn\n"
        "torch.backends.cuda.matmul.allow_tf32 = True\n"
        "torch.backends.cudnn.allow_tf32 = True\n"
        "cudnn.benchmark = True\n"
        "assert torch.get_float32_matmul_precision() == 'high'\n"
        "torch.set_float32_matmul_precision('highest')\n"
        "assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.mps.is_available()"
    )
