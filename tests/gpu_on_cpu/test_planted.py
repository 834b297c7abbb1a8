"""A mistake in one of our own kernels is noticed: each is planted in a copy of its source, which then runs.

A row says what replaces what in the source, and what the GPU says to it; the kernel as it is runs without a word.
`test_offences.py` plants the same kinds of mistakes in kernels of a few lines, which are the GPU's own tests.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.gpu_on_cpu.running import needs
from tinygrad_med import backend
from tinygrad_med.backend import gpu
from tinygrad_med.backend.geometry import conv_geometry
from tinygrad_med.backend.gpu import elementwise, faults, finish, implicit, norm, softmax
from tinygrad_med.backend.gpu.compiled import Kernel

pytestmark = needs(WATCH="1", POOL="0", DEVICES="2")


@pytest.fixture(autouse=True)
def _nothing_noted() -> Iterator[None]:
    """What a planted look has noted is none of the next test's."""
    yield
    with contextlib.suppress(IndexError):
        faults.raise_noted()


RACE = "and no __syncthreads() is between"
PAST_END = "bytes past the end of an array"
TWO_BLOCKS = "in the same launch"
BARRIER = "__syncthreads();"


def draw(*shape: int, device: str = "cuda:0") -> Any:
    return backend.to_device(np.random.default_rng(0).standard_normal(shape).astype("float32"), device)


def look() -> None:
    index = backend.to_device(np.full(600, 9), "cuda:0")
    assert faults.look_later(index, 0, 3, "{} is out of range")
    with pytest.raises(IndexError):
        backend.to_numpy(index)


def relu_backward(device: str = "cuda:0") -> None:
    gpu.relu_backward(draw(30, 30), draw(30, 30, device=device))


def log_softmax_backward(device: str = "cuda:0") -> None:
    gpu.log_softmax_backward(draw(3, 200), draw(3, 200, device=device), (1,))


def of_channels(device: str = "cuda:0") -> tuple[Any, ...]:
    mean, invstd = (v.astype("float64") for v in (draw(33), draw(33)))
    return draw(33, device=device), mean, invstd


def norm_relu(plus: bool, device: str = "cuda:0") -> None:
    weight, mean, invstd = of_channels(device)
    gpu.batch_norm_relu(draw(5, 33, 4, 4), weight, draw(33), mean, invstd, draw(5, 33, 4, 4) if plus else None)


def norm_relu_backward(plus: bool, device: str = "cuda:0") -> None:
    x = draw(5, 33, 4, 4)
    gpu.batch_norm_relu_backward(x, x, x, *of_channels(device), plus)


def conv_finished(device: str = "cuda:0") -> None:
    x, w = draw(5, 3, 4, 4), draw(33, 3, 1, 1)
    more = {"scale": draw(33), "shift": draw(33, device=device), "plus": draw(5, 33, 4, 4)}
    gpu.conv_finished(x, w, geometry=conv_geometry(x.shape, w.shape), relu=True, **more)


def convolve(device: str = "cuda:0") -> None:
    x, w = draw(2, 5, 9, 9), draw(70, 5, 3, 3, device=device)
    implicit.conv(x, w, geometry=conv_geometry(x.shape, w.shape, padding=1))


def by_tensor_cores(product: Callable[[], None]) -> None:
    backend.allow_tf32(True)
    try:
        product()
    finally:
        backend.allow_tf32(False)


def convolve_weight(device: str = "cuda:0") -> None:
    x, g = draw(2, 9, 9, 9), draw(2, 70, 9, 9, device=device)
    implicit.conv_weight(x, g, geometry=conv_geometry(x.shape, (70, 9, 3, 3), padding=1))


class Plant(NamedTuple):
    """A mistake in a kernel's source, where it is used, and what is said to it."""

    module: ModuleType
    kernel: str
    use: Callable[[], None]
    old: str
    new: str
    said: str
    which: int = 0  # of several places in the source where `old` stands


def each(name: str, use: Callable[[], None], parameter: str, module: ModuleType = norm) -> list[Plant]:
    return [
        Plant(module, name, use, "column >= width", "column > width", TWO_BLOCKS),
        Plant(module, name, use, "step = gridDim.x * 8LL", "step = 8", TWO_BLOCKS),
        Plant(module, name, use, f"{parameter}[i]", f"{parameter}[i + 1]", PAST_END),
    ]


def of_rows(name: str, use: Callable[[], None], barriers: int) -> list[Plant]:
    return [Plant(softmax, name, use, BARRIER, "", RACE, which) for which in range(barriers)] + [
        Plant(softmax, name, use, "i < length;", "i <= length;", said, which)
        for which, said in ((0, PAST_END), (-1, TWO_BLOCKS))
    ]


RELU_NORM = [
    *each("_batch_norm_relu", lambda: norm_relu(False), "x"),
    *each("_batch_norm_plus_relu", lambda: norm_relu(True), "plus"),
    *each("_batch_norm_relu_input", lambda: norm_relu_backward(False), "z"),
    *each("_batch_norm_plus_relu_input", lambda: norm_relu_backward(True), "d_plus"),
]
OUTSIDE = "atomicCAS((unsigned long long*)note, 0ull, (unsigned long long)text)"
SUMS_OF_RELU = "_batch_norm_relu_sums", lambda: norm_relu_backward(False)
PLANTS = [
    Plant(faults, "_look", look, "i < size", "i <= size", PAST_END),
    Plant(faults, "_look", look, OUTSIDE, "(note[0] = text, 0)", RACE),
    Plant(elementwise, "_where_positive", relu_backward, "i < size", "i <= size", PAST_END),
    Plant(elementwise, "_where_positive", relu_backward, "i += gridDim.x * 256LL", "i += 256LL", TWO_BLOCKS),
    *of_rows("_log_softmax", lambda: gpu.log_softmax(draw(3, 200), (1,)), 3),
    *of_rows("_log_softmax_backward", log_softmax_backward, 2),
    *RELU_NORM,
    Plant(norm, *SUMS_OF_RELU, "z[i]", "z[i + 1]", PAST_END),
    Plant(norm, *SUMS_OF_RELU, BARRIER, "", RACE),
    Plant(norm, *SUMS_OF_RELU, "(blockIdx.x * SUMS + threadIdx.y)", "threadIdx.y", TWO_BLOCKS),
    *each("_finish", conv_finished, "plus", finish),
    Plant(finish, "_finish", conv_finished, "shift[channel]", "shift[channel + 1]", PAST_END),
    Plant(implicit, "_conv", convolve, BARRIER, "", RACE, 0),
    Plant(implicit, "_conv", convolve, BARRIER, "", RACE, 1),
    Plant(implicit, "_conv", convolve, "multiply(left[side ^ 1]", "multiply(left[side]", RACE),
    Plant(implicit, "_conv", convolve, "16 * i] = rounded", "8 * i] = rounded", RACE),
    Plant(implicit, "_conv", convolve, "row < pixels", "row <= pixels", PAST_END),
    Plant(implicit, "_conv", convolve, "k < terms &&", "k <= terms &&", PAST_END),
    Plant(implicit, "_conv", convolve, "blockIdx.x / across * (long long)ROWS", "0", TWO_BLOCKS),
    Plant(implicit, "_conv", convolve, "|| at1 >= n1", "", PAST_END),
    Plant(implicit, "_conv_weight", convolve_weight, BARRIER, "", RACE, 0),
    Plant(implicit, "_conv_weight", convolve_weight, BARRIER, "", RACE, 1),
    Plant(implicit, "_conv_weight", convolve_weight, "windows[side ^ 1][THREAD]", "windows[side][THREAD]", RACE),
    Plant(implicit, "_conv_weight", convolve_weight, "row < features && column", "column", TWO_BLOCKS),
    Plant(implicit, "_conv_weight", convolve_weight, "pixel < end", "pixel <= end", PAST_END),
    Plant(implicit, "_conv_weight", convolve_weight, "blockIdx.y * features * terms", "0", TWO_BLOCKS),
    *[
        Plant(
            implicit, name, lambda use=use: by_tensor_cores(use), "multiply(left[side ^ 1]", "multiply(left[side]", RACE
        )
        for name, use in (("_conv", convolve), ("_conv_weight", convolve_weight))
    ],
    Plant(implicit, "_add_shares", convolve_weight, BARRIER, "", RACE),
    Plant(implicit, "_add_shares", convolve_weight, "share < count", "share <= count", PAST_END),
    Plant(implicit, "_add_shares", convolve_weight, "channels + channel) * taps + tap", "channels) * taps", RACE),
]


def replaced(source: str, plant: Plant) -> str:
    places = [found.start() for found in re.finditer(re.escape(plant.old), source)]
    at = places[plant.which]
    return source[:at] + plant.new + source[at + len(plant.old) :]


def planted(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a copy of the kernel with the mistake in its place."""
    owner: Any = getattr(plant.module, plant.kernel)
    if owner is finish._finish:
        owner = owner(True, "scale", "shift", "plus")
    name = next((name for name in ("kernel", "shares") if hasattr(owner, name)), "")
    kernel = getattr(owner, name) if name else owner
    copy = Kernel(kernel.name, replaced(kernel.source, plant))
    if name:
        monkeypatch.setattr(owner, name, copy)
    else:
        monkeypatch.setattr(owner, "source", copy.source)
        monkeypatch.setattr(owner, "compiled", copy.compiled)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implicit, "TILES", [implicit.SMALLEST])
    monkeypatch.setattr(implicit, "ENOUGH", 12)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: f"{p.kernel[1:]}: {p.old} -> {p.new} ({p.which})")
def test_it_is_noticed(plant: Plant, monkeypatch: pytest.MonkeyPatch, cupy: Any) -> None:
    planted(plant, monkeypatch)
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match=re.escape(plant.said)):
        plant.use()


@pytest.mark.parametrize("use", {plant.use: plant.kernel for plant in PLANTS})
def test_without_it_nothing_is_said(use: Callable[[], None]) -> None:
    use()


WRONG_DEVICE: list[Callable[[str], Any]] = [
    relu_backward,
    log_softmax_backward,
    lambda device: norm_relu(True, device),
    lambda device: norm_relu_backward(True, device),
    conv_finished,
    convolve_weight,
    lambda device: faults._look((1,), (256,), draw(2), draw(2, device=device), 2, 0, 1, 1, T="float32", INTEGER="int"),
]


@pytest.mark.parametrize("use", WRONG_DEVICE)
def test_an_array_on_the_wrong_device(use: Callable[[str], Any], cupy: Any) -> None:
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match=r"is on device \d, it runs on device \d"):
        use("cuda:1")


def test_an_index_that_is_just_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of indices use the first that is outside: here is why."""
    for said in ("3 is out of range", ""):
        if not said:
            planted(Plant(faults, "_look", look, "at >= high", "at > high", ""), monkeypatch)
        index = backend.to_device(np.array([0, 3, 1]), "cuda:0")
        assert faults.look_later(index, 0, 3, "{} is out of range")
        found = ""
        try:
            backend.to_numpy(index)
        except IndexError as error:
            found = str(error)
        assert found == said
