"""utils.checkpoint: the same numbers as without it, to the third order, and nothing kept in between."""

from __future__ import annotations

import gc
import importlib
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn
from tinygrad_med.utils.checkpoint import checkpoint, checkpoint_sequential


def network() -> nn.Sequential:
    tg.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2)).double()


def test_three_orders_are_those_of_the_function_itself() -> None:
    net, found = network(), []
    x, w = (tg.tensor(np.random.default_rng(k).standard_normal((3, 3)), requires_grad=True) for k in range(2))
    for run in (lambda h: (net(h), h.sum()), lambda h: checkpoint(lambda h: (net(h), h.sum()), h)):
        tg.manual_seed(1)
        y, total = run((x @ w).sin())
        assert tg.rand(1).item() == pytest.approx(RANDOM, abs=1e-7)  # the stream goes on as without it
        z, numbers = (y**2).sum() * total, []
        for order in range(3):
            numbers.append(z)
            gradients = tg.grad(z, [x, w, *net.parameters()], create_graph=order < 2)
            numbers += gradients
            z = sum((g**2).sum() for g in gradients)
        found.append(numbers)
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), expected.detach().numpy(), rtol=1e-12)


def test_an_argument_that_is_not_used_gets_no_gradient() -> None:
    x, w = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    called: list[Any] = []
    w.register_hook(called.append)
    y = checkpoint(lambda a, b: a * 3 + b.detach(), x, w)
    g, none = tg.grad(y.sum(), [x, w], create_graph=True, allow_unused=True)
    assert g is not None and g.tolist() == [3.0, 3.0] and none is None and called == []
    y.sum().backward()
    assert w.grad is None and x.grad is not None
    assert not checkpoint(lambda a, b: tg.zeros(2), x, w).requires_grad
    same, other = checkpoint(lambda a, b: (b, a * 2), x, w)  # what is passed on is used
    assert [g.tolist() for g in tg.grad((same * 5 + other).sum(), [x, w])] == [[2.0, 2.0], [5.0, 5.0]]


def after_dropout() -> float:
    tg.manual_seed(1)
    network_ = nn.Dropout(0.5)
    network_(tg.ones(3, 4))
    return tg.rand(1).item()


RANDOM = after_dropout()


def test_an_argument_of_another_result_gets_zeros_as_by_the_older_way_of_pytorch(torch: Any) -> None:
    home = importlib.import_module("torch.utils.checkpoint")
    for lib, part in (
        (tg, checkpoint),
        (torch, lambda *arguments: home.checkpoint(*arguments, use_reentrant=True)),
    ):
        a, b = (lib.ones(2, requires_grad=True) for _ in range(2))
        y, _ = part(lambda a, b: (a * 2, b * 3), a, b)
        y.sum().backward()
        assert a.grad.tolist() == [2.0, 2.0] and b.grad.tolist() == [0.0, 0.0]


def test_a_leaf_inside_and_before() -> None:
    """y = 2p · p² is 2p³: of the two ways to p none counts twice, and none is lost."""
    p = tg.tensor([1.5], dtype=tg.float64, requires_grad=True)
    z = checkpoint(lambda a: a * p * p, p * 2)
    (first,) = tg.grad(z, p, create_graph=True)
    (second,) = tg.grad(first, p, create_graph=True)
    (third,) = tg.grad(second, p)
    assert [z.item(), first.item(), second.item(), third.item()] == [6.75, 13.5, 18.0, 12.0]


def test_backward_leaves_gradients_in_the_parameters() -> None:
    net, x = network().eval(), tg.ones(5, 3, dtype=tg.float64)
    checkpoint(net, x).sum().backward()
    ours = [p.grad.numpy() for p in net.parameters()]
    net.zero_grad()
    net(x).sum().backward()
    for g, p in zip(ours, net.parameters(), strict=True):
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-12)


def test_nothing_inside_is_kept() -> None:
    inside: list[Any] = []

    def part(x: Any) -> Any:
        middle = x.exp()
        inside.append(weakref.ref(middle.array))
        return (middle * middle).sum()

    x = tg.ones(100, requires_grad=True)
    kept = part(x)
    z = checkpoint(part, x)
    gc.collect()
    assert inside[0]() is not None and inside[1]() is None
    z.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp(2), rtol=1e-6)
    assert kept.requires_grad


@pytest.mark.parametrize("segments", [1, 2, 3, 4])
def test_sequential(segments: int) -> None:
    net, x = network().eval(), tg.tensor(np.ones((5, 3)), requires_grad=True)
    (ours,) = tg.grad(checkpoint_sequential(net, segments, x).sum(), x)
    (expected,) = tg.grad(net(x).sum(), x)
    np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-12)


def test_what_is_refused() -> None:
    x = tg.ones(2, requires_grad=True)
    outside = x * 3
    with pytest.raises(RuntimeError, match="uses a tensor of the graph that is not among its arguments; pass it"):
        checkpoint(lambda a: a * outside, x)
    with pytest.raises(TypeError, match="must return a tensor or a tuple of tensors"):
        checkpoint(lambda a: [a], x)
    with pytest.raises(ValueError, match="4 functions can't be cut into 5 segments"):
        checkpoint_sequential(network(), 5, x)
    with tg.no_grad():
        assert not checkpoint(lambda a: a * 2, x).requires_grad


def test_an_argument_that_was_overwritten_since_is_refused() -> None:
    """Also one that needs no gradient: the walk would compute something else from it, without a word."""
    x, constant = tg.ones(2, requires_grad=True), tg.tensor([3.0, 4.0])
    for given, named in (((constant,), {}), ((), {"constant": constant})):
        z = checkpoint(lambda x, constant: x * x * constant, x, *given, **named)
        constant.zero_()
        with pytest.raises(RuntimeError, match=r"checkpoint: an argument of shape \(2,\), .* overwritten in place at"):
            z.sum().backward()
    assert x.grad is None
    z = checkpoint(lambda x, constant: x * constant.add_(1), x, constant)  # its own writes are its own affair
    z.sum().backward()


def test_it_runs_again_in_the_dtypes_of_the_first_time():
    seen = []

    def block(x):
        z = x @ w
        seen.append(z.dtype)
        return z.tanh()

    gradients = []
    for run in (block, lambda x: checkpoint(block, x)):
        w = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        x = tg.tensor([[0.1, 0.2]], requires_grad=True)
        with tg.autocast("cpu", dtype=tg.float16):
            y = run(x)
        y.float().sum().backward()
        gradients.append([x.grad.tolist(), w.grad.tolist()])
    assert seen == [tg.float16] * 3 and gradients[0] == gradients[1]
    assert not tg.is_autocast_enabled("cpu")
