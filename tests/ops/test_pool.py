"""Pooling: against PyTorch over drawn windows, its choices at ties and NaN, and its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as tg
from tests.parity import assert_parity
from tinygrad_med.backend import cpu

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """Windows of max-pooling."""
    kernel = draw(pair)
    return {
        "kernel_size": kernel,
        "stride": draw(st.none() | pair),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "dilation": draw(pair),
        "ceil_mode": draw(st.booleans()),
    }


images = st.builds(
    # a tenth of the numbers negative infinity, many equal: what separates −∞ from 0 as padding, and the first maximum
    lambda seed, n, h, w: np.random.default_rng(seed).integers(-3, 0, (n, 2, h, w)).astype(float),
    st.integers(0, 99),
    st.integers(1, 2),
    st.integers(7, 9),
    st.integers(7, 9),
)


@given(x=images, options=windows())
def test_max_pool2d_is_pytorchs(torch, x, options):
    theirs = torch.nn.functional.max_pool2d
    assert_parity(torch, lambda x: tg.max_pool2d(x, **options), lambda x: theirs(x, **options), x)
    # its own choice, and the same as the fused kernel's
    assert_parity(
        torch,
        lambda x: tg.max_pool2d(x, **options, return_indices=True)[0],
        lambda x: theirs(x, **options, return_indices=True)[0],
        x,
    )
    found = tg.max_pool2d(tg.tensor(x), **options, return_indices=True).indices
    expected = theirs(torch.tensor(x), **options, return_indices=True)[1]
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


@given(x=images, options=windows(), nan=st.booleans())
def test_max_pool2d_is_the_same_where_no_gradient_is_recorded(x, options, nan):
    x[0, 0, 3, 3] = np.nan if nan else 5
    leaf = tg.tensor(x, requires_grad=True)
    recorded = tg.max_pool2d(leaf, **options)
    with tg.no_grad():
        np.testing.assert_array_equal(tg.max_pool2d(leaf, **options).numpy(), recorded.detach().numpy())
    np.testing.assert_array_equal(tg.max_pool2d(x, **options), recorded.detach().numpy())


def test_max_pool2d_is_seen_in_anomaly_mode_where_no_gradient_is_recorded():
    with tg.autograd.detect_anomaly(), pytest.raises(tg.autograd.AnomalyError, match="^max_pool: its output has 1"):
        tg.max_pool2d(tg.tensor([[[[1.0, tg.nan], [2.0, 3.0]]]]), 2)


def test_max_pool2d_looks_for_the_choice_only_where_a_gradient_is_recorded(monkeypatch):
    asked = []
    kernel = cpu.max_pool
    monkeypatch.setattr(cpu, "max_pool", lambda *a, choice, **k: asked.append(choice) or kernel(*a, **k))
    leaf = tg.ones(1, 1, 2, 2, requires_grad=True)
    tg.max_pool2d(leaf, 2)
    tg.max_pool2d(leaf.detach(), 2)
    with tg.no_grad():
        tg.max_pool2d(leaf, 2)
    assert asked == [True, False, False]


@given(x=images, options=windows(), include=st.booleans())
def test_avg_pool2d_is_pytorchs(torch, x, options, include):
    options = {**options, "count_include_pad": include}
    del options["dilation"]
    theirs = torch.nn.functional.avg_pool2d
    assert_parity(torch, lambda x: tg.avg_pool2d(x, **options), lambda x: theirs(x, **options), x)


@given(x=images, size=st.tuples(st.none() | st.integers(1, 12), st.none() | st.integers(1, 12)) | st.integers(1, 9))
def test_adaptive_pooling_is_pytorchs(torch, x, size):
    F = torch.nn.functional
    assert_parity(torch, lambda x: tg.adaptive_avg_pool2d(x, size), lambda x: F.adaptive_avg_pool2d(x, size), x)
    assert_parity(torch, lambda x: tg.adaptive_max_pool2d(x, size), lambda x: F.adaptive_max_pool2d(x, size), x)
    z, indices = tg.adaptive_max_pool2d(tg.tensor(x), size, return_indices=True)
    cells = x.reshape(*x.shape[:2], -1)
    chosen = np.take_along_axis(cells, indices.numpy().reshape(*x.shape[:2], -1), 2)
    np.testing.assert_array_equal(chosen.reshape(z.shape), z.numpy())


def test_float16_is_added_in_float32(torch):
    """Nine numbers of 60,000 exceed what float16 holds, their mean does not."""
    x = np.full((1, 1, 5, 5), 60000, "float16")
    for pool in ("avg_pool2d", "adaptive_avg_pool2d"):
        leaf = tg.tensor(x, requires_grad=True)
        z = getattr(tg, pool)(leaf, 3)
        assert z.dtype == tg.float16
        np.testing.assert_array_equal(z.detach().numpy(), np.float16(60000))
        z.backward(tg.ones_like(z))
        assert leaf.grad.dtype == tg.float16
        theirs = torch.tensor(x, requires_grad=True)
        z = getattr(torch.nn.functional, pool)(theirs, 3)
        z.backward(torch.ones_like(z))
        np.testing.assert_allclose(leaf.grad.numpy(), theirs.grad.numpy(), rtol=2e-3)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_one_image_without_a_batch_is_pytorchs(torch, axes):
    x = np.random.default_rng(0).permutation(np.arange(3.0 * 6**axes)).reshape(3, *[6] * axes)
    F = tg.nn.functional, torch.nn.functional
    for name, arguments in [
        ("max_pool", (3, 2, 1)),
        ("avg_pool", (3, 2, 1)),
        ("adaptive_avg_pool", (4,)),
        ("adaptive_max_pool", (4,)),
        ("adaptive_max_pool", (3,)),
    ]:
        ours, theirs = (getattr(library, f"{name}{axes}d") for library in F)
        assert_parity(torch, lambda x, f=ours, a=arguments: f(x, *a), lambda x, f=theirs, a=arguments: f(x, *a), x)
        if "max" in name:
            found, expected = (
                ours(tg.tensor(x), *arguments, return_indices=True),
                theirs(torch.tensor(x), *arguments, return_indices=True),
            )
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("divisor", [1, 5, -2])
def test_a_divisor_of_ones_own_is_pytorchs(torch, axes, divisor):
    x = np.random.default_rng(0).standard_normal((2, 3, *[7] * axes))
    options = {"stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": divisor}
    ours, theirs = (getattr(library.nn.functional, f"avg_pool{axes}d") for library in (tg, torch))
    assert_parity(torch, lambda x: ours(x, 3, **options), lambda x: theirs(x, 3, **options), x)
    with pytest.raises(ValueError, match=f"avg_pool{axes}d: divisor_override must not be 0"):
        ours(tg.tensor(x), 3, divisor_override=0)


def test_padding_never_wins():
    x = -tg.ones(1, 1, 4, 4, requires_grad=True)
    assert (tg.max_pool2d(x, 3, 2, padding=1).detach().numpy() == -1).all()


def test_the_first_of_equal_maxima_gets_the_gradient():
    x = tg.zeros(1, 1, 2, 2, requires_grad=True)
    tg.max_pool2d(x, 2).backward(tg.ones(1, 1, 1, 1))
    assert x.grad.tolist() == [[[[1, 0], [0, 0]]]]


def test_nan_and_infinity_as_pytorch(torch):
    x = np.array([[[[1, np.nan, 3, 4], [-np.inf] * 4, [-np.inf] * 4, [5, 6, np.nan, np.nan]]]])
    z, i = tg.max_pool2d(tg.tensor(x), 2, return_indices=True)
    expected, indices = torch.nn.functional.max_pool2d(torch.tensor(x), 2, return_indices=True)
    np.testing.assert_array_equal(z.numpy(), expected.numpy())
    np.testing.assert_array_equal(i.numpy(), indices.numpy())


@pytest.mark.parametrize("pool", [tg.max_pool2d, tg.avg_pool2d, tg.adaptive_avg_pool2d, tg.adaptive_max_pool2d])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_empty_batch_has_gradients(pool, size):
    x = tg.zeros(0, 2, 4, 4, requires_grad=True)
    z = pool(x, size)
    assert z.shape[:2] == (0, 2)
    z.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: tg.max_pool2d(x, 3, 2, 1),
        lambda x: tg.avg_pool2d(x, 3, 2, 1),
        lambda x: tg.adaptive_avg_pool2d(x, (3, 4)),
        lambda x: tg.adaptive_max_pool2d(x, (3, 4)),
    ],
)
def test_the_layout_in_memory_does_not_matter(pool):
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 8))
    plain = pool(tg.tensor(x)).numpy()
    for layout in (
        np.asfortranarray(x),
        x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
        x[..., ::-1].copy()[..., ::-1],
    ):
        np.testing.assert_allclose(pool(tg.tensor(layout)).numpy(), plain, rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: tg.max_pool2d(x, 9), r"max_pool2d: the kernel covers 9×9, more than the padded input 8×8"),
        (
            lambda x: tg.max_pool2d(x, 2, padding=2),
            r"max_pool2d: padding=\(2, 2\) is more than half of kernel_size=\(2, 2\)",
        ),
        (lambda x: tg.max_pool2d(x, 2, stride=0), r"max_pool2d: stride=0 must be at least 1"),
        (lambda x: tg.max_pool2d(x, 0), r"max_pool2d: kernel_size=0 must be at least 1"),
        (lambda x: tg.max_pool2d(x[0, 0], 2), r"max_pool2d: x has 2 dims \(8, 8\), expected 4"),
        (lambda x: tg.max_pool2d(x[0, 0], 2, return_indices=True), r"max_pool2d: x has 2 dims \(8, 8\), expected 4"),
        (lambda x: tg.avg_pool2d(x, 2, stride=-1), r"avg_pool2d: stride=-1 must be at least 1"),
        (lambda x: tg.avg_pool2d(x[0, 0], 2), r"avg_pool2d: x has 2 dims"),
        (
            lambda x: tg.adaptive_avg_pool2d(x[0, 0], 2),
            r"adaptive_avg_pool2d: expects \(N, C, H, W\), .* got shape \(8, 8\)",
        ),
        (lambda x: tg.adaptive_max_pool2d(x, 0), r"adaptive_max_pool2d: output_size=0 must be at least 1"),
        (lambda x: tg.adaptive_avg_pool2d(x, (None, -1)), r"adaptive_avg_pool2d: output_size=\(None, -1\) must be"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        call(tg.ones(2, 3, 8, 8, requires_grad=True))
