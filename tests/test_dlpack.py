"""Memory shared with other libraries by DLPack, both ways and without a copy: NumPy, PyTorch, and on a GPU CuPy."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med.utils import dlpack


@pytest.mark.parametrize("dtype", [tm.float64, tm.float32, tm.float16, tm.int64, tm.int32, tm.uint8, tm.bool])
@pytest.mark.parametrize("shape", [(), (0, 2), (4,), (2, 3)])
def test_both_ways_through_pytorch_and_numpy(dtype: np.dtype, shape: tuple[int, ...], torch: ModuleType) -> None:
    numbers = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
    for lib, take in ((np, np.from_dlpack), (torch, torch.from_dlpack), (tm, tm.from_dlpack)):
        there = take(tm.tensor(numbers))
        assert str(there.dtype).endswith(str(dtype)) and tuple(there.shape) == shape, lib
        np.testing.assert_array_equal(np.asarray(there), numbers)
    for theirs in (numbers.copy(), torch.tensor(numbers)):
        here = tm.from_dlpack(theirs)
        assert (here.dtype, here.shape, here.device) == (dtype, shape, "cpu")
        np.testing.assert_array_equal(here.numpy(), numbers)


def test_the_memory_is_one(torch: ModuleType) -> None:
    x = tm.zeros(2, 3)
    for theirs in (np.from_dlpack(x), torch.from_dlpack(x), torch.from_dlpack(x.t()).t()):
        theirs[1, 2] += 1
    assert x.tolist() == [[0, 0, 0], [0, 0, 3]]
    for theirs in (np.zeros((3, 2)), torch.zeros(3, 2), torch.zeros(2, 3).t()):
        y = tm.from_dlpack(theirs)
        y[2, 0] = 5
        assert theirs[2, 0] == 5 and y.array.strides == np.asarray(theirs).strides
        assert tm.from_dlpack(theirs, copy=True).add_(1)[2, 0].item() == 6 and theirs[2, 0] == 5
    total = tm.ones(3).sum()  # a NumPy scalar inside, which has no memory
    torch.from_dlpack(total).add_(1)
    assert total.item() == 4


def test_a_gradient_is_refused_as_pytorch_does(torch: ModuleType) -> None:
    for lib in (tm, torch):
        leaf = lib.ones(2, requires_grad=True)
        for x in (leaf, leaf * 2):
            with pytest.raises(BufferError, match="detach"):
                np.from_dlpack(x)
            assert np.from_dlpack(x.detach()).tolist() == x.tolist()
            assert tuple(map(int, x.__dlpack_device__())) == (1, 0)
    with pytest.raises(BufferError, match="detach"):
        tm.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises(BufferError, match="__dlpack__: this tensor requires a gradient"):
        dlpack.to_dlpack(tm.ones(2, requires_grad=True))


def test_what_can_not_be_taken_is_named(torch: ModuleType) -> None:
    with pytest.raises(TypeError, match="from_dlpack: int has no __dlpack__; give a tensor or an array"):
        tm.from_dlpack(3)
    with pytest.raises(TypeError, match="from_dlpack: NumPy can't have its numbers .*bfloat16"):
        tm.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match="uint32.* is not supported"):
        tm.from_dlpack(np.ones(2, "uint32"))

    class Elsewhere:
        def __dlpack__(self, **_: object) -> None: ...

        def __dlpack_device__(self) -> tuple[int, int]:
            return 8, 0

    with pytest.raises(TypeError, match="DLPack's device 8 is neither the CPU"):
        tm.from_dlpack(Elsewhere())
    assert not hasattr(tm.ones(2), "__cuda_array_interface__")


@pytest.mark.cuda
def test_both_ways_through_cupy(cupy: ModuleType) -> None:
    x = tm.zeros(2, 3, device="cuda")
    theirs = cupy.from_dlpack(x)
    theirs[1, 2] = 7
    assert x.tolist() == [[0, 0, 0], [0, 0, 7]] and tuple(map(int, x.__dlpack_device__())) == (2, 0)
    assert cupy.asarray(x.__cuda_array_interface__ and x).data.ptr == x.array.data.ptr
    back = tm.from_dlpack(cupy.arange(4.0).reshape(2, 2).T)
    assert (back.device, back.tolist()) == ("cuda:0", [[0, 2], [1, 3]])
    assert tm.from_dlpack(np.ones(2), device="cuda").device == "cuda:0"
    with pytest.raises(ValueError, match="to cpu there is no way without a copy"):
        tm.from_dlpack(back, device="cpu", copy=False)
    assert tm.from_dlpack(back, device="cpu").tolist() == [[0, 2], [1, 3]]
    with pytest.raises(BufferError, match="detach"):
        cupy.from_dlpack(x.requires_grad_())
