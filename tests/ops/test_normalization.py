"""Normalization: against PyTorch, the fused batch-norm against its rules, running statistics, and errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as tg
from tests.parity import assert_parity
from tinygrad_med.engine import switches
from tinygrad_med.ops.normalization import _batch_norm

shapes = st.sampled_from([(4, 3), (2, 3, 5), (3, 4, 2, 3), (2, 1, 4, 4), (1, 5, 3, 2)])


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) * 2 + 1 for shape in shapes]


@given(shape=shapes, affine=st.booleans(), seed=st.integers(0, 99))
def test_batch_norm_in_training_is_pytorchs(torch, shape, affine, seed):
    x, *parameters = draw(shape, shape[1:2], shape[1:2], seed=seed)
    F = torch.nn.functional
    assert_parity(
        torch,
        lambda x, *p: tg.batch_norm(x, None, None, *p, training=True),
        lambda x, *p: F.batch_norm(x, None, None, *p, training=True),
        x,
        *(parameters if affine else ()),
    )


@given(shape=shapes, affine=st.booleans())
def test_batch_norm_in_inference_is_pytorchs(torch, shape, affine):
    x, mean, var, *parameters = draw(shape, *[shape[1:2]] * 4)
    F = torch.nn.functional
    assert_parity(
        torch,
        lambda x, *p: tg.batch_norm(x, tg.tensor(mean), tg.tensor(var**2), *p),
        lambda x, *p: F.batch_norm(x, torch.tensor(mean), torch.tensor(var**2), *p),
        x,
        *(parameters if affine else ()),
    )


@pytest.mark.parametrize("shape", [(4, 3), (3, 4, 2, 3)])
def test_running_statistics_are_pytorchs(torch, shape):
    ours = [tg.zeros(shape[1], dtype="float64"), tg.ones(shape[1], dtype="float64")]
    theirs = [torch.zeros(shape[1], dtype=torch.float64), torch.ones(shape[1], dtype=torch.float64)]
    for seed in range(3):
        (x,) = draw(shape, seed=seed)
        tg.batch_norm(tg.tensor(x), *ours, training=True, momentum=0.3)
        torch.nn.functional.batch_norm(torch.tensor(x), *theirs, training=True, momentum=0.3)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@given(shape=shapes, seed=st.integers(0, 99))
def test_the_fused_backward_is_what_the_rules_say(shape, seed):
    x, g, weight, bias = draw(shape, shape, shape[1:2], shape[1:2], seed=seed)
    operands = [tg.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    with pytest.MonkeyPatch.context() as patch:  # where another test's memory is still in the log of writes
        patch.setattr(switches, "unusual", set())
        z = tg.batch_norm(operands[0], None, None, *operands[1:], training=True)
    assert z.origin.plan.together is not None
    fused = tg.autograd.grad(z, operands, tg.tensor(g), retain_graph=True)
    by_rules = tg.autograd.grad(z, operands, tg.tensor(g), create_graph=True)
    for a, b in zip(fused, by_rules, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_second_derivatives_come_from_the_rules():
    """Under create_graph the saved mean and scale, which depend on x, must not be taken for constants."""
    x, weight = (tg.tensor(a, requires_grad=True) for a in draw((5, 2), (2,)))
    z = tg.batch_norm(x, None, None, weight, tg.zeros(2, dtype="float64"), training=True)
    (first,) = tg.autograd.grad((z**3).sum(), x, create_graph=True)
    (second,) = tg.autograd.grad(first[0, 0], x)
    step, base = 1e-5, x.detach().numpy()

    def gradient(at):
        at = tg.tensor(at, requires_grad=True)
        z = tg.batch_norm(at, None, None, weight.detach(), tg.zeros(2, dtype="float64"), training=True)
        return tg.autograd.grad((z**3).sum(), at)[0].numpy()[0, 0]

    for i in np.ndindex(base.shape):
        e = np.zeros_like(base)
        e[i] = step
        numeric = (gradient(base + e) - gradient(base - e)) / (2 * step)
        np.testing.assert_allclose(second.numpy()[i], numeric, rtol=1e-6, atol=1e-6)


def test_batch_norm_keeps_its_digits_far_from_zero():
    x = (np.random.default_rng(0).standard_normal((64, 2, 8, 8)) + 1e4).astype("float32")
    z = tg.batch_norm(tg.tensor(x), None, None, training=True).numpy()
    wide = x.astype("float64")
    exact = (wide - wide.mean((0, 2, 3), keepdims=True)) / np.sqrt(wide.var((0, 2, 3), keepdims=True) + 1e-5)
    assert np.abs(z - exact).max() < 5e-3


@given(
    case=st.sampled_from([((4, 6), (6,)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 4)), ((2, 3, 4, 2), (3, 4, 2))]),
    affine=st.booleans(),
)
def test_layer_norm_is_pytorchs(torch, case, affine):
    shape, normalized = case
    x, *parameters = draw(shape, normalized, normalized)
    F = torch.nn.functional
    assert_parity(
        torch,
        lambda x, *p: tg.layer_norm(x, normalized, *p),
        lambda x, *p: F.layer_norm(x, normalized, *p),
        x,
        *(parameters if affine else ()),
    )


@given(
    shape=st.sampled_from([(2, 6), (2, 6, 3), (2, 6, 3, 2)]), groups=st.sampled_from([1, 2, 3]), affine=st.booleans()
)
def test_group_norm_is_pytorchs(torch, shape, groups, affine):
    x, *parameters = draw(shape, shape[1:2], shape[1:2])
    F = torch.nn.functional
    assert_parity(
        torch,
        lambda x, *p: tg.group_norm(x, groups, *p),
        lambda x, *p: F.group_norm(x, groups, *p),
        x,
        *(parameters if affine else ()),
    )


@pytest.mark.parametrize("training", [False, True])
def test_an_empty_batch(training):
    x = tg.zeros(0, 3, 4, 4, requires_grad=True)
    mean, var = tg.zeros(3), tg.ones(3)
    tg.batch_norm(x, mean, var, training=training).sum().backward()
    assert x.grad.shape == x.shape
    assert mean.tolist() == [0, 0, 0]
    assert var.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: tg.batch_norm(tg.ones(1, 3), None, None, training=True),
            r"batch_norm: x \(1, 3\) has one value per channel.* batches of at least two, .*drop_last=True.* eval\(\)",
        ),
        (
            lambda: tg.batch_norm(tg.ones(1, 3, 1, 1), None, None, training=True),
            r"batch_norm: x \(1, 3, 1, 1\) has one value per channel",
        ),
        (
            lambda: tg.batch_norm(tg.ones(2, 3, 4), tg.ones(4), tg.ones(4)),
            r"batch_norm: x \(2, 3, 4\) has 3 channels; weights and statistics must be of shape \(3,\), got \(4,\)",
        ),
        (lambda: tg.batch_norm(tg.ones(2, 3), None, None), r"batch_norm: outside of training it needs running_mean"),
        (
            lambda: tg.batch_norm(tg.ones(3), None, None, training=True),
            r"batch_norm: expects \(N, C, …\), got shape \(3,\)",
        ),
        (
            lambda: tg.layer_norm(tg.ones(2, 3), 4),
            r"layer_norm: x \(2, 3\) must end with normalized_shape=\(4,\)",
        ),
        (
            lambda: tg.layer_norm(tg.ones(2, 3), 3, tg.ones(2)),
            r"layer_norm: weight \(2,\) must have the shape normalized_shape=\(3,\)",
        ),
        (lambda: tg.group_norm(tg.ones(2, 6), 4), r"group_norm: num_groups=4 must divide the 6 channels of x \(2, 6\)"),
        (
            lambda: tg.group_norm(tg.ones(2, 6), 2, tg.ones(3)),
            r"group_norm: x \(2, 6\) has 6 channels; .* got \(3,\)",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        call()


def test_the_plain_call_on_arrays_is_the_forward():
    x, weight, bias = draw((4, 3), (3,), (3,))
    mean, invstd = x.mean(0), 1 / np.sqrt(x.var(0) + 1e-5)
    z = _batch_norm(x, weight, bias, mean=mean, invstd=invstd, eps=1e-5)
    np.testing.assert_allclose(z, (x - mean) * invstd * weight + bias, rtol=1e-12)


def test_batch_norm_of_nothing_is_pytorchs(torch):
    """Of no images, of images without pixels, and of nothing at all."""
    for shape in ((0, 3, 2, 2), (2, 3, 0), (0,)):
        channels = shape[1:2] or (0,)
        ours = [np.zeros(shape), np.zeros(channels), np.ones(channels)]
        for training in (True, False):
            found = tg.nn.functional.batch_norm(*map(tg.tensor, ours), training=training)
            expected = torch.nn.functional.batch_norm(*map(torch.tensor, ours), training=training)
            assert found.shape == tuple(expected.shape)
