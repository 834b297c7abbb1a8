"""Convolution on the CPU: PyTorch's numbers in float64, the formulas' in float32, any layout; three adjoint faces."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from tinygrad_med.backend import cpu, gpu
from tinygrad_med.backend.cpu import few_channels, im2col, reference, winograd
from tinygrad_med.backend.geometry import conv_geometry, pool_geometry


class Case(NamedTuple):
    """Shapes of x, w and the output, and the keywords of the convolution."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    arguments: dict[str, Any]

    @property
    def geometry(self):
        return conv_geometry(self.x, self.w, **self.arguments, axes=len(self.x) - 2)

    def arrays(self, dtype=np.float64):
        rng = np.random.default_rng(0)
        return (rng.standard_normal(shape).astype(dtype) for shape in (self.x, self.w, self.y))

    def faces(self, kernels, x, w, g):
        """The three faces, as `kernels` compute them."""
        return (
            kernels.conv(x, w, geometry=self.geometry),
            kernels.conv_input(g, w, geometry=self.geometry),
            kernels.conv_weight(x, g, geometry=self.geometry),
        )


def case(x, w, **arguments):
    geometry = conv_geometry(x, w, **arguments, axes=len(x) - 2)
    return Case(x, w, (x[0], w[0], *geometry.out), arguments)


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def cases(draw):
    """Convolutions over one, two (mostly) or three axes."""
    axes = draw(st.sampled_from([2, 2, 1, 3]))

    def each(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * axes))

    groups, kernel, dilation = draw(st.integers(1, 3)), each(1, 4 if axes < 3 else 3), each(1, 3 if axes < 3 else 2)
    padding = draw(st.tuples(*[pairs(0, 4)] * axes))
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    more = st.integers(0, 6 if axes < 3 else 2)
    size = [max(1, e - sum(p)) + draw(more) for e, p in zip(extent, padding, strict=True)]
    x = (draw(st.integers(0, 3)), groups * draw(st.integers(1, 3)), *size)
    w = (groups * draw(st.integers(1, 3)), x[1] // groups, *kernel)
    return case(x, w, stride=each(1, 3), padding=padding, dilation=dilation, groups=groups)


@st.composite
def winograd_cases(draw):
    kernel, padding = draw(st.sampled_from([3, 5])), draw(st.tuples(pairs(0, 4), pairs(0, 4)))
    size = [max(1, kernel - sum(p)) + draw(st.integers(0, 20)) for p in padding]
    x = (draw(st.integers(0, 3)), draw(st.integers(1, 9)), *size)
    return case(x, (draw(st.integers(1, 20)), x[1], kernel, kernel), padding=padding)


def close(found, expected, tolerance):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max(initial=0)))


@pytest.fixture(params=[0, 10_000], ids=["chunks of tiles", "blocks of channels"])
def schedule(request, monkeypatch):
    """Each of Winograd's two schedules in turn, for any number of channels."""
    monkeypatch.setattr(few_channels, "FEW", 0)
    monkeypatch.setattr(winograd, "pays", lambda _x, _geometry: True)
    monkeypatch.setattr(winograd, "FEW_TILES", request.param)


@pytest.fixture(params=[(0, 0), (0, 10_000), (99, 0)], ids=["bands of pixels", "few pixels", "few channels"])
def order(request, monkeypatch):
    """Each of the three orders of columns in turn, for any number of pixels and channels."""
    few_channels_, few_pixels = request.param
    monkeypatch.setattr(few_channels, "FEW", few_channels_)
    monkeypatch.setattr(im2col, "FEW_PIXELS", few_pixels)


@pytest.fixture
def plain():
    """Winograd switched off."""
    cpu.set_winograd(False)
    yield
    cpu.set_winograd(True)


def torch_faces(torch, case, x, w, g):
    x, w = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    arguments = dict(case.arguments)
    sides = [width for side in reversed(arguments.pop("padding")) for width in side]
    convolve = getattr(torch.nn.functional, f"conv{x.ndim - 2}d")
    y = convolve(torch.nn.functional.pad(x, sides), w, **arguments)
    y.backward(torch.tensor(g))
    return y.detach().numpy(), x.grad.numpy(), w.grad.numpy()


@pytest.mark.usefixtures("order")
@given(case=cases())
@example(case=case((2, 4, 7, 7), (4, 1, 3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), groups=4))
def test_the_three_faces_are_pytorch_s(torch, case):
    x, w, g = case.arrays()
    expected = torch_faces(torch, case, x, w, g)
    for kernels in (reference, cpu):
        for found, true in zip(case.faces(kernels, x, w, g), expected, strict=True):
            close(found, true, 1e-12)


@pytest.mark.usefixtures("order")
@given(case=cases())
def test_each_face_is_the_others_adjoint(case):
    """⟨conv(x, w), g⟩ = ⟨x, conv_input(g, w)⟩ = ⟨w, conv_weight(x, g)⟩."""
    x, w, g = case.arrays()
    y, dx, dw = case.faces(cpu, x, w, g)
    scale = 1 + np.sum(np.abs(y * g))
    assert abs(np.vdot(y, g) - np.vdot(x, dx)) < 1e-12 * scale
    assert abs(np.vdot(y, g) - np.vdot(w, dw)) < 1e-12 * scale


@pytest.mark.usefixtures("order")
@given(case=cases())
def test_float32_agrees_with_the_formulas(case):
    x, w, g = case.arrays(np.float32)
    for found, true in zip(case.faces(cpu, x, w, g), case.faces(reference, x, w, g), strict=True):
        assert found.dtype == np.float32
        close(found, true, 2e-5)


def finished(case, y, rng):
    """What follows a convolution, drawn by rng, and the result that it is to give of y."""
    scale, shift = rng.standard_normal((2, y.shape[1])).astype(y.dtype)
    plus, per_channel = rng.standard_normal(y.shape).astype(y.dtype), (-1, *(1,) * (y.ndim - 2))
    options = {"scale": scale, "shift": shift, "plus": plus, "relu": True}
    options = {name: value for name, value in options.items() if rng.random() < 0.7}
    if "scale" in options:
        y = y * scale.reshape(per_channel)
    if "shift" in options:
        y = y + shift.reshape(per_channel)
    if "plus" in options:
        y = y + plus
    return options, np.maximum(y, 0) if "relu" in options else y


@pytest.mark.usefixtures("order")
@given(case=cases(), seed=st.integers(0, 99))
def test_a_finished_convolution_is_one_and_what_follows(case, seed):
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        x, w, _ = case.arrays(dtype)
        rng = np.random.default_rng(seed)
        options, expected = finished(case, reference.conv(x, w, geometry=case.geometry), rng)
        found = cpu.conv_finished(x, w, geometry=case.geometry, **options)
        assert found.dtype == dtype
        close(found, expected, tolerance)


@pytest.mark.usefixtures("schedule")
@given(case=winograd_cases(), seed=st.integers(0, 99))
@example(case=case((2, 3, 14, 15), (40, 3, 3, 3), padding=((1, 1), (1, 1))), seed=1)
@example(case=case((1, 64, 5, 5), (40, 64, 3, 3), padding=((1, 1), (1, 1))), seed=0)  # more weights than results
def test_winograd_finishes_too(case, seed):
    x, w, _ = case.arrays()
    options, expected = finished(case, reference.conv(x, w, geometry=case.geometry), np.random.default_rng(seed))
    narrow = {name: a.astype(np.float32) if name != "relu" else a for name, a in options.items()}
    if len(x) > 1 and seed % 2:
        x[0, 0, 0, 0] = 1e30  # of this image the sums are plain ones
        options, expected = finished(case, reference.conv(x, w, geometry=case.geometry), np.random.default_rng(seed))
    found = cpu.conv_finished(x.astype(np.float32), w.astype(np.float32), geometry=case.geometry, **narrow)
    for y, true in zip(found, expected, strict=True):
        close(y, true, 3e-5)


@pytest.mark.usefixtures("schedule")
@given(case=winograd_cases())
@example(case=case((2, 3, 14, 15), (40, 3, 3, 3), padding=((1, 1), (1, 1))))
@example(case=case((2, 3, 28, 27), (40, 3, 5, 5), padding=((2, 2), (2, 2))))
def test_winograd_agrees_with_the_formulas(case):
    assert winograd.suits(case.geometry)
    x, w, g = case.arrays()
    narrow = (a.astype(np.float32) for a in (x, w, g))
    for found, true in zip(case.faces(cpu, *narrow), case.faces(reference, x, w, g), strict=True):
        assert found.dtype == np.float32
        close(found, true, 5e-5)


@pytest.mark.parametrize(("m", "r"), [(m, r) for r, ms in winograd.OUTPUTS.items() for m in ms])
def test_the_matrices_give_a_correlation_and_its_gradients(m, r):
    """In one dimension, in float64: y = Aᵀ [(G w) ⊙ (Bᵀ d)] and its two derivatives."""
    t = m + r - 1
    rng = np.random.default_rng(0)
    d, w, g = rng.standard_normal((t, t)), rng.standard_normal((r, r)), rng.standard_normal((m, m))
    A, G, B = (matrix.astype(float) for matrix in winograd.transforms(m, r))
    windows = np.lib.stride_tricks.sliding_window_view(d, (r, r))
    V, U, M = B.T @ d.ravel(), G @ w.ravel(), A @ g.ravel()
    close((A.T @ (U * V)).reshape(m, m), np.einsum("opij,ij->op", windows, w), 1e-5)
    close((G.T @ (M * V)).reshape(r, r), np.einsum("opij,op->ij", windows, g), 1e-5)
    assert math.isclose(np.vdot(B @ (U * M), d), np.vdot(g, np.einsum("opij,ij->op", windows, w)), rel_tol=1e-5)


@pytest.mark.parametrize(("kernel", "size"), [(3, 28), (3, 14), (5, 27)])
def test_float32_errors_stand_beside_pytorch_s(torch, kernel, size):
    """Against float64: at most 10 times PyTorch's error plain, and 30 times with Winograd."""
    some = case((2, 64, size, size), (64, 64, kernel, kernel), padding=((kernel // 2,) * 2,) * 2)
    x, w, g = some.arrays(np.float32)
    true = some.faces(cpu, *(a.astype(float) for a in (x, w, g)))

    def errors(faces):
        return np.array([np.linalg.norm(f - t) / np.linalg.norm(t) for f, t in zip(faces, true, strict=True)])

    pytorch, ours = errors(torch_faces(torch, some, x, w, g)), errors(some.faces(cpu, x, w, g))
    cpu.set_winograd(False)
    try:
        plain = errors(some.faces(cpu, x, w, g))
    finally:
        cpu.set_winograd(True)
    assert (plain <= 10 * pytorch).all()
    assert (ours <= 30 * pytorch).all()
    assert (ours > plain).all(), "Winograd wasn't taken"


@pytest.mark.parametrize("outlier", [1e4, -1e6, np.inf, np.nan])
def test_an_outlier_spoils_no_pixel_that_does_not_see_it(outlier):
    """Metal in a CT. Winograd alone errs by 0.035 next to 1e4; the other images of the batch are still its own."""
    some = case((3, 16, 24, 24), (16, 16, 3, 3), padding=((1, 1), (1, 1)))
    x, w, _ = some.arrays(np.float32)
    plain = cpu.conv(x, w, geometry=some.geometry)
    x[1, 5, 9, 9] = outlier
    assert winograd.outlying(x.transpose(0, 2, 3, 1)).tolist() == [False, True, False]
    y, unseen = cpu.conv(x, w, geometry=some.geometry), np.ones((24, 24), bool)
    unseen[8:11, 8:11] = False
    true = cpu.conv(np.where(np.isfinite(x), x, 0).astype(float), w.astype(float), geometry=some.geometry)
    np.testing.assert_allclose(y[1][:, unseen], true[1][:, unseen], rtol=0, atol=1e-4)
    if not np.isfinite(outlier):
        assert not np.isfinite(y[1][:, ~unseen]).any()
    others = 1e-5 * np.abs(plain).max()  # the sums of a batch of two may be rounded in another order
    np.testing.assert_allclose(y[::2], plain[::2], rtol=0, atol=others)


def test_ordinary_images_have_no_outliers():
    rng = np.random.default_rng(0)
    shape = (2, 28, 28, 16)
    sparse = rng.standard_normal(shape) * (rng.random(shape) < 0.05)
    for x in (
        rng.standard_normal(shape),
        np.exp(rng.standard_normal(shape)),
        sparse,
        np.zeros(shape),
        np.zeros((0, 2, 2, 8)),
    ):
        assert not winograd.outlying(x.astype(np.float32)).any()


@pytest.mark.usefixtures("schedule")
def test_float64_never_takes_winograd(monkeypatch):
    monkeypatch.setattr(winograd, "correlate", None)
    monkeypatch.setattr(winograd, "weight_gradient", None)
    some = case((2, 3, 9, 9), (4, 3, 3, 3))
    some.faces(cpu, *some.arrays())


@pytest.mark.usefixtures("plain", "schedule")
def test_the_switch_turns_winograd_off(monkeypatch):
    assert not cpu.get_winograd()
    monkeypatch.setattr(winograd, "correlate", None)
    monkeypatch.setattr(winograd, "weight_gradient", None)
    some = case((2, 3, 9, 9), (4, 3, 3, 3))
    some.faces(cpu, *some.arrays(np.float32))


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "negative strides": lambda a: a[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1],
    "every second": lambda a: a.repeat(2, axis=3)[..., ::2],
    "read-only": lambda a: np.broadcast_to(a, a.shape),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("arguments", [{"padding": 1}, {"stride": 2}, {"groups": 2, "padding": (0, 1)}], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_order_changes_nothing(layout, arguments, dtype):
    some = case((3, 4, 9, 8), (6, 4 // arguments.get("groups", 1), 3, 3), **arguments)
    arrays = list(some.arrays(dtype))
    for found, true in zip(
        some.faces(cpu, *(LAYOUTS[layout](a) for a in arrays)), some.faces(cpu, *arrays), strict=True
    ):
        np.testing.assert_array_equal(found, true)


def test_a_chain_of_kernels_never_moves_memory():
    some = case((2, 4, 9, 8), (6, 4, 3, 3), padding=1)
    y, dx, _ = some.faces(cpu, *some.arrays(np.float32))
    for result in (
        y,
        dx,
        cpu.max_pool(y, geometry=pool_geometry(y.shape, 2))[0],
        cpu.scale_shift(y, np.ones(6), np.ones(6)),
    ):
        assert result.transpose(0, 2, 3, 1).flags.c_contiguous


def test_bias_is_added_to_each_channel():
    for dtype, some in [
        (np.float64, case((2, 4, 9, 8), (6, 4, 3, 3))),
        (np.float32, case((2, 4, 9, 8), (6, 4, 3, 3))),  # Winograd
        (np.float16, case((2, 4, 9, 8), (6, 2, 3, 2), groups=2)),
    ]:
        x, w, _ = some.arrays(dtype)
        bias = np.arange(6, dtype=dtype)
        found = cpu.conv(x, w, bias, geometry=some.geometry)
        close(
            found, cpu.conv(x, w, geometry=some.geometry) + bias[:, None, None], 1e-2 if dtype == np.float16 else 1e-6
        )


def test_float16_computes_in_float32():
    some = case((2, 64, 9, 9), (8, 64, 3, 3), stride=2)
    x, w, g = some.arrays(np.float16)
    wide = some.faces(cpu, *(a.astype(np.float32) for a in (x, w, g)))
    for found, true in zip(some.faces(cpu, x, w, g), wide, strict=True):
        np.testing.assert_array_equal(found, true.astype(np.float16))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_only_rounding(threads):
    before = cpu.get_num_threads()
    cases_ = [case((5, 8, 40, 40), (8, 8, 3, 3), padding=1), case((5, 8, 40, 40), (8, 8, 3, 3), stride=2)]
    true = [some.faces(reference, *some.arrays(np.float32)) for some in cases_]
    cpu.set_num_threads(threads)
    try:
        for some, faces in zip(cases_, true, strict=True):
            for found, expected in zip(some.faces(cpu, *some.arrays(np.float32)), faces, strict=True):
                close(found, expected, 2e-5)
    finally:
        cpu.set_num_threads(before)


def test_the_same_input_gives_the_same_bits():
    some = case((8, 16, 30, 30), (16, 16, 3, 3), padding=1)
    x, w, g = some.arrays(np.float32)
    first = [face.copy() for face in some.faces(cpu, x, w, g)]
    for _ in range(5):
        for found, true in zip(some.faces(cpu, x, w, g), first, strict=True):
            np.testing.assert_array_equal(found, true)


def test_the_input_gradient_turns_into_a_convolution_where_it_can():
    assert conv_geometry((1, 1, 9, 9), (1, 1, 3, 3), padding=2).turned is not None
    assert conv_geometry((1, 1, 9, 9), (1, 1, 3, 3), padding=3).turned is None
    assert conv_geometry((1, 1, 9, 9), (1, 1, 3, 3), stride=2).turned is None


def test_the_windows_may_be_fewer_than_would_fit(torch):
    """A transposed convolution whose output has lines that no window reaches."""
    x, w, y = (2, 3, 9, 10), (4, 3, 3, 2), (2, 4, 5, 8)
    geometry = conv_geometry(x, w, dilation=2)._replace(out=y[2:])
    some = Case(x, w, y, {})
    values = list(some.arrays())
    whole = reference.conv(values[0], values[1], geometry=conv_geometry(x, w, dilation=2))[..., :5, :8]
    for kernels in (reference, cpu, gpu):
        close(kernels.conv(values[0], values[1], geometry=geometry), whole, 1e-12)
        dx = kernels.conv_input(values[2], values[1], geometry=geometry)
        dw = kernels.conv_weight(values[0], values[2], geometry=geometry)
        assert np.isclose(np.vdot(dx, values[0]), np.vdot(whole, values[2]))
        assert np.isclose(np.vdot(dw, values[1]), np.vdot(whole, values[2]))
