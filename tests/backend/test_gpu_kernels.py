"""The kernels in CUDA C++ against the array code beside them, which defines them; where there is a GPU.

The array code computes in float64; the kernel gets the same numbers in each dtype, in both orders of memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import backend
from tinygrad_med.backend import gpu
from tinygrad_med.backend.geometry import conv_geometry, pool_geometry
from tinygrad_med.backend.gpu import compiled, convolution, implicit, norm, optimizers
from tinygrad_med.nn.one_pass import conv_norm

pytestmark = pytest.mark.cuda

DTYPES = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3}
"""Each dtype, and by how much of the largest number of a result its numbers may be off."""

LAUNCHED: list[str] = []


@pytest.fixture(autouse=True)
def _count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note in LAUNCHED what is launched; leave the switch as it was."""
    call = compiled.Kernel.__call__

    def noted(kernel: compiled.Kernel, *args: Any, **options: Any) -> None:
        LAUNCHED.append(kernel.name)
        call(kernel, *args, **options)

    monkeypatch.setattr(compiled.Kernel, "__call__", noted)
    LAUNCHED.clear()
    yield
    gpu.set_compiled(True)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def there(x: Any, dtype: str, last: bool) -> Any:
    """An array of floats in this dtype on the GPU, its memory channels last or not; anything else as it is."""
    if not isinstance(x, np.ndarray):
        return x
    x = backend.to_device(x.astype(dtype) if x.dtype.kind == "f" else x, "cuda")
    if last and x.ndim > 2:
        xp = backend.array_module(x)
        return xp.moveaxis(xp.ascontiguousarray(xp.moveaxis(x, 1, -1)), -1, 1)
    return x


def hold(
    function: Callable[..., Any],
    *arrays: Any,
    kernels: set[str],
    exact: bool = False,
    dtypes: Sequence[str] = tuple(DTYPES),
    **options: Any,
) -> None:
    """Compare the kernels (of these names) with the array code, in each dtype and order of memory."""
    for dtype in dtypes:
        tolerance = DTYPES[dtype]
        for last in (False, True):
            given = [there(x, dtype, last) for x in arrays]
            doubled = [x.astype("float64") if getattr(x, "dtype", "") == dtype else x for x in given]
            LAUNCHED.clear()
            gpu.set_compiled(True)
            found = function(*given, **options)
            assert set(LAUNCHED) == kernels
            gpu.set_compiled(False)
            expected = function(*doubled, **options)
            assert set(LAUNCHED) == kernels
            results = zip(found, expected, strict=True) if isinstance(found, (tuple, list)) else [(found, expected)]
            for y, z in results:
                if y is None:
                    assert z is None
                    continue
                y, z = backend.to_numpy(y), backend.to_numpy(z)
                assert y.shape == z.shape
                assert y.dtype == dtype or y.dtype == z.dtype
                if exact:
                    np.testing.assert_array_equal(y, z.astype(y.dtype))
                else:
                    finite = np.abs(z[np.isfinite(z)])
                    error = tolerance * finite.max(initial=1)
                    np.testing.assert_allclose(y.astype("float64"), z, rtol=tolerance, atol=error)


# Channels ----------------------------------------------------------------------------------------------------------

SHAPES = [(4, 3), (2, 3, 5), (6, 2, 8, 8), (9, 40, 13, 11), (70, 65, 3, 4), (3, 5, 2, 3, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_and_scales_of_channels(shape: tuple[int, ...]) -> None:
    x, weight, bias = draw(*shape) + 3, draw(shape[1]), draw(shape[1], seed=1)
    hold(gpu.channel_sum, x, kernels={"shares", "totals"})
    hold(gpu.scale_shift, x, weight, bias, kernels={"each"})
    invstd = backend.to_device(np.abs(draw(shape[1], seed=2)), "cuda")
    mean = backend.to_device(draw(shape[1], seed=3), "cuda")
    hold(lambda *a: gpu.batch_norm(*a, mean, invstd), x, weight, bias, kernels={"each"})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("given", [(True, True), (False, True), (False, False)])
def test_statistics_of_batch_norm(shape: tuple[int, ...], given: tuple[bool, bool]) -> None:
    def update(x: Any, mean: Any, var: Any) -> tuple[Any, ...]:
        running = [v.copy() if wanted else None for v, wanted in zip((mean, var), given, strict=True)]
        batches = backend.to_device(np.array(7), "cuda")
        found = gpu.batch_norm_update(x, *running, 0.1, 1e-5, batches)
        assert int(batches) == 8
        return (*found, *running)

    x = draw(*shape) * np.arange(1, shape[1] + 1).reshape(-1, *[1] * (len(shape) - 2)) + 3
    hold(update, x, draw(shape[1]), np.abs(draw(shape[1])), kernels={"shares", "totals"})


def test_statistics_of_numbers_far_from_zero() -> None:
    x = draw(8, 3, 40, 40) + 1e4
    hold(lambda x: gpu.batch_norm_update(x, None, None, 0.1, 1e-5)[0], x, kernels={"shares", "totals"})
    x = backend.to_device(x.astype("float32"), "cuda")
    gpu.set_compiled(True)
    invstd = backend.to_numpy(gpu.batch_norm_update(x, None, None, 0.1, 0.0)[1])
    np.testing.assert_allclose(invstd, 1 / backend.to_numpy(x).astype("float64").std((0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_backward_of_batch_norm(shape: tuple[int, ...]) -> None:
    x, g = draw(*shape) + 1, draw(*shape, seed=1) + 0.5
    mean, var = (backend.to_device(v, "cuda") for v in (draw(shape[1], seed=2), np.abs(draw(shape[1], seed=3)) + 0.5))
    hold(
        lambda *a: gpu.batch_norm_backward(*a, mean, 1 / var),
        g,
        x,
        draw(shape[1]),
        kernels={"shares", "totals", "each"},
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_with_a_sum_and_relu(shape: tuple[int, ...]) -> None:
    x, plus, weight, bias = draw(*shape), draw(*shape, seed=1), draw(shape[1]), draw(shape[1], seed=2)
    mean, var = (backend.to_device(v, "cuda") for v in (draw(shape[1], seed=2), np.abs(draw(shape[1], seed=3)) + 0.5))
    hold(lambda *a: gpu.batch_norm_relu(*a, mean, 1 / var), x, weight, bias, kernels={"each"})
    hold(lambda *a: gpu.batch_norm_relu(*a[:3], mean, 1 / var, a[3]), x, weight, bias, plus, kernels={"each"})
    g, z = draw(*shape, seed=4), np.maximum(draw(*shape, seed=5), 0)
    for summed in (False, True):
        hold(
            lambda *a, summed=summed: gpu.batch_norm_relu_backward(*a, mean, 1 / var, summed),
            *(g, z, x, weight),
            kernels={"shares", "totals", "each"},
        )


def test_relu_keeps_nan_behind_batch_norm() -> None:
    x, one = there(np.array([[np.nan, 1.0], [0.5, -2.0]]), "float32", False), there(np.ones(2), "float32", False)
    z = gpu.batch_norm_relu(x, one, one, one.astype("float64") * 0, one.astype("float64"))
    np.testing.assert_array_equal(backend.to_numpy(z), [[np.nan, 2], [1.5, 0]])


@pytest.mark.parametrize("summed", [False, True])
def test_a_network_normalizes_sums_and_cuts_in_two_passes(summed: bool) -> None:
    def run(device: str) -> list[Any]:
        tm.manual_seed(0)
        conv, norm = tm.nn.Conv2d(2, 3, 3, padding=1, dtype=tm.float64), tm.nn.BatchNorm2d(3, dtype=tm.float64)
        conv, norm = conv.to(device), norm.to(device)
        with tm.no_grad():
            norm.weight.copy_(tm.tensor([1.0, -2.0, 0.5]))
            norm.bias.copy_(tm.tensor([0.3, 0.1, -0.4]))
        x, plus = (tm.tensor(draw(4, c, 5, 6, seed=c), device=device, requires_grad=True) for c in (2, 3))
        z = conv_norm(conv, norm, x, plus=plus if summed else None, then=tm.nn.functional.relu)
        (z * z).sum().backward()
        wanted = [
            z,
            x.grad,
            *([plus.grad] if summed else []),
            *(p.grad for p in (*conv.parameters(), *norm.parameters())),
        ]
        return [v.detach().cpu().numpy() for v in (*wanted, *norm.buffers())]

    here, there = run("cpu"), run("cuda")
    assert LAUNCHED.count("where_positive") == 0 and LAUNCHED.count("each") == 2
    for x, y in zip(here, there, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-11)


def test_what_has_no_kernel_is_left_to_the_array_code() -> None:
    weight = there(draw(3), "float32", False)
    for x in (there(draw(0, 3, 2, 2), "float32", False), there(np.ones((2, 3, 2, 2), int), "", False)):
        gpu.scale_shift(x, weight, weight)
    running = there(draw(6), "float32", False)[::2]  # not in one piece
    gpu.batch_norm_update(there(draw(4, 3), "float32", False), running, None, 0.1, 1e-5)
    assert LAUNCHED == []


def test_arguments_of_kernels_may_have_gaps() -> None:
    x, two = draw(5, 3, 4, 6), backend.to_device(draw(6, seed=1), "cuda")
    hold(lambda x: gpu.scale_shift(x[..., ::2], two[::2], two[1::2]), x, kernels={"each"})


@pytest.mark.parametrize("most", [1, 3])
def test_few_blocks_do_the_work_of_many(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norm, "MANY_BLOCKS", most)
    for channels in (2, 34):
        x, weight = draw(9, channels, 31, 30), draw(channels)
        hold(gpu.channel_sum, x, kernels={"shares", "totals"})
        hold(gpu.scale_shift, x, weight, weight, kernels={"each"})


# Windows -----------------------------------------------------------------------------------------------------------

WINDOWS: list[dict[str, Any]] = [
    {"size": (9, 8), "kernel": (3, 2), "stride": (2, 3), "padding": 1},
    {"size": (12, 13), "kernel": (3, 5), "stride": 2, "padding": (1, 2), "dilation": (2, 1)},
    {"size": (11,), "kernel": (4,), "stride": 3, "padding": 2},
    {"size": (4, 5, 6), "kernel": (2, 3, 2), "stride": (1, 2, 2), "padding": 1},
]
ONLY: dict[str, Any] = {"dtypes": ("float64",)}
"""For most windows one dtype will do: each is compiled for itself, and the code is the same."""

windows_cases = pytest.mark.parametrize("case", WINDOWS, ids=lambda case: "x".join(map(str, case["kernel"])))


@windows_cases
@pytest.mark.parametrize("ceil", [False, True])
def test_max_pooling(case: dict[str, Any], ceil: bool) -> None:
    only = {} if case is WINDOWS[0] else ONLY
    options = {"stride": None, "padding": 0, "dilation": 1}
    options |= {k: v for k, v in case.items() if k not in ("size", "kernel")}
    for channels in (1, 5, 70):
        x = np.random.default_rng(1).integers(-2, 3, (2, channels, *case["size"])).astype(float)
        x[x == -2], x[0, 0, :2], x[1, 0, 2] = -np.inf, -np.inf, np.nan
        geometry = pool_geometry(x.shape, case["kernel"], **options, ceil_mode=ceil, axes=len(case["size"]))
        hold(gpu.max_pool, x, geometry=geometry, kernels={"max_pool"}, exact=True, **only)
        hold(gpu.max_pool, x, geometry=geometry, choice=False, kernels={"max_pool"}, exact=True, **only)
        y, taps = gpu.max_pool(there(x, "float64", True), geometry=geometry)
        chosen = {"geometry": geometry, "kernels": {"max_pool_gather"}}
        hold(gpu.max_pool_gather, draw(*x.shape), taps, **chosen, exact=True, **only)
        hold(gpu.max_pool_scatter, draw(*y.shape), taps, geometry=geometry, kernels={"max_pool_scatter"}, **only)


def test_max_pooling_of_windows_outside_of_the_image() -> None:
    x = draw(1, 2, 2)
    geometry = pool_geometry(x.shape, 2, 1, 1, 3, axes=1)  # the taps are at -1 and 2
    hold(gpu.max_pool, x, geometry=geometry, kernels={"max_pool"}, exact=True, **ONLY)
    taps = backend.to_device(np.zeros((1, 2, 1), "uint8"), "cuda")
    hold(gpu.max_pool_gather, x, taps, geometry=geometry, kernels={"max_pool_gather"}, exact=True, **ONLY)


def test_max_pooling_with_more_taps_than_a_byte_can_number() -> None:
    x = draw(2, 3, 20, 21)
    geometry = pool_geometry(x.shape, 17, 1, 8)
    hold(gpu.max_pool, x, geometry=geometry, kernels={"max_pool"}, **ONLY)
    _, taps = gpu.max_pool(there(x, "float64", True), geometry=geometry)
    assert taps.dtype == "uint16" and int(taps.max()) > 255
    hold(gpu.max_pool_scatter, draw(*taps.shape), taps, geometry=geometry, kernels={"max_pool_scatter"}, **ONLY)


@windows_cases
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("padded", "divisor"), [(True, None), (False, None), (True, 7)])
def test_mean_pooling(case: dict[str, Any], ceil: bool, padded: bool, divisor: int | None) -> None:
    only = {} if case is WINDOWS[0] else ONLY
    options = {"stride": None, "padding": 0} | {k: v for k, v in case.items() if k in ("stride", "padding")}
    x = draw(2, 5, *case["size"])
    geometry = pool_geometry(x.shape, case["kernel"], **options, ceil_mode=ceil, axes=len(case["size"]))
    by = {"geometry": geometry, "count_include_pad": padded, "divisor": divisor}
    hold(gpu.avg_pool, x, **by, kernels={"avg_pool"}, **only)
    hold(gpu.avg_pool_input, draw(2, 5, *geometry.out), **by, kernels={"avg_pool_input"}, **only)


@windows_cases
@pytest.mark.parametrize("groups", [1, 3])
def test_convolution(case: dict[str, Any], groups: int) -> None:
    only = {} if case is WINDOWS[0] else ONLY
    options = {k: v for k, v in case.items() if k not in ("size", "kernel")}
    for of_group in (1, 2, 23):
        x, w = draw(2, of_group * groups, *case["size"]), draw(4 * groups, of_group, *case["kernel"], seed=1)
        geometry = conv_geometry(x.shape, w.shape, **options, groups=groups, axes=len(case["size"]))
        hold(convolution.columns, x, geometry, kernels={"columns"}, exact=True, **only)
        hold(gpu.conv, x, w, draw(len(w)), geometry=geometry, kernels={"columns"}, **only)
        g = draw(2, 4 * groups, *geometry.out, seed=2)
        hold(gpu.conv_input, g, w, geometry=geometry, kernels={"add_back"}, **only)
        hold(gpu.conv_weight, x, g, geometry=geometry, kernels={"columns"}, **only)
        of_columns = draw(groups, 2 * math.prod(geometry.out), of_group * math.prod(case["kernel"]))
        images = 2, groups * of_group
        hold(convolution.add_back, of_columns, images, geometry, kernels={"add_back"}, **only)


WITHOUT_COLUMNS: list[dict[str, Any]] = [
    {"x": (3, 5, 9, 8), "w": (70, 5, 3, 2), "stride": (2, 3), "padding": 1},
    {"x": (2, 3, 12, 13), "w": (130, 3, 3, 5), "padding": (1, 2), "dilation": (2, 1)},
    {"x": (2, 18, 7, 9), "w": (3, 18, 3, 3), "padding": 1},
    {"x": (3, 17, 30), "w": (5, 17, 4), "padding": 2},
    {"x": (2, 4, 4, 5, 6), "w": (6, 4, 2, 3, 2), "padding": 1},
    {"x": (2, 33, 9, 9), "w": (65, 33, 1, 1), "stride": 2},
]
TILED = [(case, tile) for case in WITHOUT_COLUMNS[:2] for tile in implicit.TILES]
TILED += [(case, implicit.SMALLEST) for case in WITHOUT_COLUMNS[2:]]


def tiled(cases: list[tuple[dict[str, Any], implicit.Tile]]) -> pytest.MarkDecorator:
    def name(v: Any) -> str:
        return "x".join(map(str, v["w"] if isinstance(v, dict) else v))

    return pytest.mark.parametrize(("case", "tile"), cases, ids=name)


def hold_without_columns(case: dict[str, Any], tile: implicit.Tile, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare the kernels that make such tiles with the array code, on numbers of so many bits behind the point."""
    monkeypatch.setattr(implicit, "TILES", [tile])
    monkeypatch.setattr(implicit, "SMALLEST", tile)
    monkeypatch.setattr(implicit, "UNITS", 1)
    monkeypatch.setattr(implicit, "ENOUGH", 3)

    def drawn(*shape: int, seed: int) -> np.ndarray:
        return np.round(draw(*shape, seed=seed) * 2**bits) / 2**bits

    options = {k: v for k, v in case.items() if k not in "xw"}
    x, w = drawn(*case["x"], seed=0), drawn(*case["w"], seed=1)
    geometry = conv_geometry(x.shape, w.shape, **options, axes=x.ndim - 2)
    g = drawn(len(x), len(w), *geometry.out, seed=2)
    only = {"geometry": geometry, "dtypes": ("float32",)}
    hold(gpu.conv, x, w, draw(len(w)), **only, kernels={"convolve"})
    hold(gpu.conv_input, g, w, **only, kernels={"add_back"} if "stride" in case else {"convolve"})
    hold(gpu.conv_weight, x, g, **only, kernels={"convolve_weight", "add_shares"})


@tiled(TILED)
def test_convolution_without_columns(
    case: dict[str, Any], tile: implicit.Tile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_without_columns(case, tile, 40, monkeypatch)


@pytest.fixture
def _tf32() -> Iterator[None]:
    backend.allow_tf32(True)
    yield
    backend.allow_tf32(False)


# without the second case, which takes a minute where each access is looked at
@tiled([(case, tile) for case, tile in TILED if case is not WITHOUT_COLUMNS[1]])
@pytest.mark.usefixtures("_tf32")
def test_convolution_by_tensor_cores(
    case: dict[str, Any], tile: implicit.Tile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On numbers that TF32 can have, so that nothing is rounded before the sums."""
    hold_without_columns(case, tile, 7, monkeypatch)


@pytest.mark.usefixtures("_tf32")
def test_tensor_cores_round_to_ten_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="Mismatched elements"):
        hold_without_columns(WITHOUT_COLUMNS[0], implicit.SMALLEST, 12, monkeypatch)
    monkeypatch.setitem(DTYPES, "float32", 1e-3)
    hold_without_columns(WITHOUT_COLUMNS[0], implicit.SMALLEST, 40, monkeypatch)


@pytest.mark.parametrize("given", ["", "scale shift", "shift plus", "scale shift plus", "plus"])
@pytest.mark.parametrize("relu", [False, True])
def test_what_follows_a_convolution(given: str, relu: bool) -> None:
    x, w = draw(2, 3, 4, 5), draw(6, 3, 1, 1)
    names = given.split()
    values = [draw(2, 6, 4, 5, seed=3) if name == "plus" else draw(6, seed=4) for name in names]

    def finished(x: Any, w: Any, *values: Any) -> Any:
        geometry = conv_geometry(x.shape, w.shape)
        return gpu.conv_finished(x, w, geometry=geometry, relu=relu, **dict(zip(names, values, strict=True)))

    only = {} if len(names) == 3 else ONLY
    hold(finished, x, w, *values, kernels={"each"} if names or relu else set(), **only)


@pytest.mark.parametrize("groups", [1, 3])
def test_convolution_of_single_pixels_gathers_nothing(groups: int) -> None:
    x, w = draw(2, 6, 5, 4), draw(9, 6 // groups, 1, 1)
    geometry = conv_geometry(x.shape, w.shape, groups=groups)
    g = draw(2, 9, 5, 4, seed=1)
    hold(gpu.conv, x, w, geometry=geometry, kernels=set())
    hold(gpu.conv_input, g, w, geometry=geometry, kernels=set())
    hold(gpu.conv_weight, x, g, geometry=geometry, kernels=set())


# Elementwise work, and steps of optimizers ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (4, 700), (2, 3, 5, 6), (2, 3, 4, 5, 6)])
def test_relu_and_sums_lie_in_memory_as_their_operands(shape: tuple[int, ...]) -> None:
    x, y = draw(*shape), draw(*shape, seed=1)
    hold(gpu.relu, x, kernels=set(), exact=True)
    hold(gpu.plus, x, y, kernels=set(), dtypes=("float64",))
    hold(gpu.relu_backward, x, y, kernels={"where_positive"}, exact=True)
    a, b = there(x, "float32", True), there(y, "float32", True)
    gpu.set_compiled(True)
    for z in (gpu.relu(a), gpu.plus(a, b), gpu.relu_backward(a, b), gpu.relu_backward(there(x, "float32", False), b)):
        assert z.strides == a.strides
    hold(lambda y: gpu.relu_backward(there(x, "float64", False), y), y, kernels={"where_positive"}, dtypes=("float64",))


@pytest.mark.parametrize("classes", [1, 3, 128, 300])
def test_log_softmax(classes: int) -> None:
    x, g = 20 * draw(7, classes), draw(7, classes, seed=1)
    x[0], x[1, 0], x[2, -1] = 1000, np.inf if classes > 1 else 0, -np.inf if classes > 1 else 0
    with np.errstate(invalid="ignore"):
        hold(gpu.log_softmax, x[2:], (1,), kernels={"log_softmax"})
        z = np.log(np.random.default_rng(0).dirichlet(np.ones(classes), 7))
        hold(gpu.log_softmax_backward, g, z, (1,), kernels={"log_softmax_backward"})
        for dtype in DTYPES:
            found = backend.to_numpy(gpu.log_softmax(there(x, dtype, False), (1,)))
            np.testing.assert_allclose(found[0], -np.log(classes), rtol=2e-3)
            assert np.isnan(found[1]).all() or classes == 1
    hold(gpu.log_softmax, draw(3, 4, 5), (1,), kernels=set())
    hold(gpu.log_softmax, draw(3, 4), (0,), kernels=set())


STEPS: dict[str, tuple[str, Callable[[Any], tm.optim.Optimizer]]] = {
    "plain": ("sgd", lambda p: tm.optim.SGD(p, lr=0.1)),
    "decay": ("sgd", lambda p: tm.optim.SGD(p, lr=0.1, weight_decay=0.3, maximize=True)),
    "momentum": ("sgd_momentum", lambda p: tm.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.3)),
    "nesterov": ("sgd_momentum", lambda p: tm.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    "adam": ("adam", lambda p: tm.optim.Adam(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.3)),
    "adamw": ("adam", lambda p: tm.optim.AdamW(p, lr=0.1, weight_decay=0.3, maximize=True)),
    "amsgrad": ("amsgrad", lambda p: tm.optim.Adam(p, lr=0.1, amsgrad=True)),
}


@pytest.mark.parametrize("name", STEPS)
def test_one_launch_moves_all_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "BLOCKS", 3)
    kernel, make = STEPS[name]
    shapes = [(), (1,), (3, 5), (2, 3, 4), (1000, 3), *[(2,)] * 65]  # more than go into one launch

    def steps(wanted: bool, dtype: str) -> list[Any]:
        gpu.set_compiled(wanted)
        p = [tm.tensor(draw(*s, seed=i), dtype=dtype, device="cuda", requires_grad=True) for i, s in enumerate(shapes)]
        optimizer = make(p)
        for t in range(3):
            for i, x in enumerate(p):
                x.grad = tm.tensor(draw(*x.shape, seed=100 * t + i), dtype=dtype, device="cuda")
            p[3].grad = tm.tensor(p[3].grad.cpu().numpy().swapaxes(0, 2).copy(), dtype=dtype, device="cuda").transpose(
                0, 2
            )
            p[2].grad = None if t == 1 else p[2].grad  # then Adam has parameters of two ages
            optimizer.step()
        state = [v for x in p for v in optimizer.state[x].values() if isinstance(v, tm.Tensor)]
        return [x.detach().cpu().numpy() for x in (*p, *state)]

    for dtype, tolerance in DTYPES.items():
        LAUNCHED.clear()
        found = steps(True, dtype)
        assert set(LAUNCHED) == {kernel}
        assert len(LAUNCHED) == 3 * 2 + ("adam" in name or name == "amsgrad")
        for x, y in zip(found, steps(False, "float64"), strict=True):
            np.testing.assert_allclose(x.astype("float64"), y, rtol=8 * tolerance, atol=8 * tolerance)


def test_a_parameter_with_gaps_is_moved_by_array_code() -> None:
    p = tm.ones(4, 6, device="cuda")[:, ::2].requires_grad_()
    p.grad = tm.ones(4, 3, device="cuda")
    tm.optim.SGD([p], lr=0.25).step()
    assert LAUNCHED == [] and p.tolist() == [[0.75] * 3] * 4


# Mistakes that are noted ---------------------------------------------------------------------------------------------

READS: dict[str, Callable[[Any, Any], Any]] = {
    "item": lambda _, z: z.sum().item(),
    "cpu": lambda _, z: z.cpu(),
    "tolist": lambda _, z: z.tolist(),
    "print": lambda _, z: str(z),
    "if": lambda _, z: bool(z.sum() > 0),
    "another": lambda x, _: x.cpu(),
    "synchronize": lambda *_: tm.cuda.synchronize(),
}


@pytest.mark.parametrize("read", READS)
def test_an_index_outside_is_an_error_when_numbers_come_back(read: str) -> None:
    x = tm.tensor(draw(4, 3), device="cuda", requires_grad=True)
    for label, find in (
        (3, lambda y: tm.cross_entropy(x, y)),
        (-1, lambda y: tm.nll_loss(x, y, reduction="none")),
        (4, lambda y: tm.nn.functional.embedding(y, x)),
        (-5, lambda y: x[y]),
        (3, lambda y: x[range(4), y]),
        (7, lambda y: tm.gather(x, 1, y.reshape(4, 1))),
        (4, lambda y: tm.index_select(x, 0, y)),
    ):
        for dtype in (tm.int64, tm.int32):
            y = tm.tensor([0, 1, label, 2], dtype=dtype, device="cuda")
            z = find(y)
            z.sum().backward()
            with pytest.raises(IndexError, match=rf"{label} is out of range for (a )?dim( \d)? of length [34]"):
                READS[read](x, z.detach())
            x.cpu()  # once
    assert "outside" in LAUNCHED


def test_right_labels_and_ignored_ones_are_no_error() -> None:
    for target in ([0, 2, 1, 2], [0, -100, 1, 2], [-100, 0, -100, -100]):
        x, y = (tm.tensor(v, device="cuda") for v in (draw(4, 3), target))
        found = tm.cross_entropy(x, y), tm.cross_entropy(x, y, reduction="none", label_smoothing=0.1)
        expected = (
            tm.cross_entropy(x.cpu(), y.cpu()),
            tm.cross_entropy(x.cpu(), y.cpu(), reduction="none", label_smoothing=0.1),
        )
        for here, there in zip(expected, found, strict=True):
            np.testing.assert_allclose(there.cpu().numpy(), here.numpy(), rtol=1e-12)


def test_an_index_to_write_to_is_looked_at_before() -> None:
    x = tm.zeros(3, 2, device="cuda")
    with pytest.raises(IndexError, match="3 is out of range"):
        x[tm.tensor([3], device="cuda")] = 1
    with pytest.raises(IndexError, match="3 is out of range"):
        x.scatter(0, tm.tensor([[3]], device="cuda"), 1.0)
    assert x.tolist() == [[0, 0]] * 3


def test_a_mistake_of_many_is_noted() -> None:
    y = np.zeros((1000, 1000), int)
    y[999, 999] = 5
    z = tm.zeros(5, device="cuda")[tm.tensor(y, device="cuda")]
    with pytest.raises(IndexError, match="5 is out of range"):
        z.sum().item()
