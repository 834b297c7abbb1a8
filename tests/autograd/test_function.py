"""`autograd.Function` beside PyTorch's: one class, written once, in both libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn
from tinygrad_med.autograd import Function
from tinygrad_med.testing import check_op, gradcheck, gradgradcheck


def cube(lib: Any) -> Any:
    class Cube(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x**2 * g

    return Cube


def rotated(lib: Any) -> Any:
    """Two results and a mask, an argument that is no tensor, saved: an argument, an output and an intermediate."""

    class Rotated(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, k: float, y: Any) -> Any:
            z, sine = x * y.cos() * k, y.sin()
            ctx.save_for_backward(x, y, z, sine.detach())
            ctx.k = k
            seen.append(ctx.needs_input_grad)
            return z, (x * sine).sum(), x > 0

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any, _: Any) -> Any:
            x, y, z, sine = ctx.saved_tensors
            return g * y.cos() * ctx.k + h * sine, None, h * (z / ctx.k) - g * x * y.sin() * ctx.k

    seen: list[Any] = []
    return Rotated, seen


def exp_with_context(lib: Any) -> Any:
    class Exp(lib.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x.exp()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.count = len(inputs)
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (z,) = ctx.saved_tensors
            return g * z * ctx.count

    return Exp


def three_orders(lib: Any, z: Any, xs: list[Any]) -> list[np.ndarray]:
    """A weighted sum of the results, its gradients, and those of their squares, and again."""
    found = [z]
    for order in range(3):
        gradients = lib.autograd.grad(z, xs, create_graph=order < 2, allow_unused=True)
        found += [g for g in gradients if g is not None]
        z = sum((g**2).sum() for g in gradients if g is not None)
    return [g.detach().numpy() for g in found]


X, Y = np.random.default_rng(0).standard_normal((2, 2, 3))


def test_values_and_three_orders_are_pytorchs(torch: Any) -> None:
    found = []
    for lib in (tg, torch):
        x, y = (lib.tensor(a, requires_grad=True) for a in (X, Y))
        function, seen = rotated(lib)
        z, total, mask = function.apply(x, 2.0, y)
        assert mask.tolist() == (X > 0).tolist() and not mask.requires_grad
        assert seen == [(True, False, True)]
        loss = (z * x).sum() * total + cube(lib).apply(exp_with_context(lib).apply(y)).sum()
        found.append(three_orders(lib, loss, [x, y]))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_an_output_that_nobody_used_has_a_gradient_of_zeros(torch: Any) -> None:
    found = []
    for lib in (tg, torch):
        x, y = (lib.tensor(a, requires_grad=True) for a in (X, Y))
        _, total, _ = rotated(lib)[0].apply(x, 2.0, y)
        total.backward()
        found.append([x.grad.numpy(), y.grad.numpy()])
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_the_backward_runs_once_for_all_arguments() -> None:
    calls = []

    class Product(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            calls.append(tg.is_grad_enabled())
            x, y = ctx.saved_tensors
            return g * y, g * x

    x, y = (tg.tensor(a, requires_grad=True) for a in (X, Y))
    z = Product.apply(x, y).sum()
    z.backward(retain_graph=True)
    assert calls == [False]
    tg.grad(z, y, retain_graph=True)
    z.backward(tg.tensor(2.0))
    np.testing.assert_allclose(x.grad.numpy(), 3 * Y)
    np.testing.assert_allclose(y.grad.numpy(), 3 * X)


def test_the_testers_know_it() -> None:
    function = cube(tg)
    assert str(check_op(function, X, reference=lambda x: x**3)).startswith("Cube: ok (value")
    assert check_op(function.apply, X)
    x = tg.tensor(X, requires_grad=True)
    assert gradcheck(function, x) and gradgradcheck(function.apply, x)

    class Wrong(function):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return -3 * x**2 * g

    report = check_op(Wrong, X, raise_exception=False)
    assert (report.operation, report.verdict, report.operand) == ("Wrong", "sign", "x")

    class Detached(function):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 3 * tg.tensor(ctx.saved_tensors[0].detach().numpy()) ** 2 * g

    assert check_op(Detached, X, raise_exception=False).verdict == "detached"


def test_a_module_may_use_it() -> None:
    class Layer(nn.Module):
        def forward(self, x: Any) -> Any:
            return cube(tg).apply(x)

    assert check_op(Layer(), X)


def test_what_is_saved_is_guarded_and_freed() -> None:
    x = tg.tensor(X, requires_grad=True)
    z = cube(tg).apply(x).sum()
    with tg.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="overwritten in place"):
        z.backward()
    z = cube(tg).apply(x).sum()
    z.backward()
    with pytest.raises(RuntimeError, match="walked before"):
        z.backward()


def test_without_a_gradient_it_is_its_forward() -> None:
    function, seen = rotated(tg)
    z, total, _ = function.apply(tg.tensor(X), 2.0, tg.tensor(Y))
    assert not (z.requires_grad or total.requires_grad)
    with tg.no_grad():
        inside, *_ = function.apply(tg.tensor(X, requires_grad=True), 2.0, tg.tensor(Y))
    assert not inside.requires_grad and np.array_equal(inside.numpy(), z.numpy())
    assert seen == [(False, False, False)] * 2


def returning(forward: Any = None, backward: Any = None) -> Any:
    class Returning(Function):
        pass

    Returning.forward = staticmethod(forward or (lambda ctx, x: x * 2))
    Returning.backward = staticmethod(backward or (lambda ctx, g: g * 2))
    return Returning


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (returning(lambda ctx, x: 3.0), TypeError, "Returning.forward: must return a tensor or several, got float"),
        (returning(lambda ctx, x: ctx.mark_dirty(x)), NotImplementedError, "must not write to its arguments"),
        (returning(lambda ctx, x: ctx.saved_tensors), RuntimeError, "saved_tensors: they are there in backward"),
        (returning(None, lambda ctx, g: (g, g)), RuntimeError, "returned 2 gradients for 1 arguments"),
        (returning(None, lambda ctx, g: ()), RuntimeError, "returned 0 gradients for 1 arguments"),
        (returning(None, lambda ctx, g: 1.0), RuntimeError, "must return tensors or None, got float"),
        (returning(None, lambda ctx, g: g.reshape(3, 2)), RuntimeError, r"shape \(3, 2\) for an operand of shape"),
    ],
)
def test_mistakes_are_named(function: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        function.apply(tg.tensor(X, requires_grad=True)).sum().backward()


def test_once_differentiable(torch) -> None:
    """The first derivative flows, also where a second one could be asked for; that one is an error, as in PyTorch."""
    for lib in (tg, torch):

        class Cube(lib.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.set_materialize_grads(False)
                ctx.save_for_backward(x)
                return x**3

            @staticmethod
            @lib.autograd.function.once_differentiable
            def backward(ctx: Any, g: Any) -> Any:
                (x,) = ctx.saved_tensors
                return type(x)(3 * x.detach().numpy() ** 2) * g

        x = lib.tensor([1.0, 2.0], requires_grad=True)
        Cube.apply(x).sum().backward()
        assert x.grad.tolist() == [3, 12]
        weight = lib.ones(2, requires_grad=True)
        (g,) = lib.autograd.grad((Cube.apply(x) * weight).sum(), x, create_graph=True)
        assert g.tolist() == [3, 12] and g.requires_grad
        with pytest.raises(RuntimeError, match="once_differentiable"):
            g.sum().backward()


def test_none_stops_the_gradient_and_outputs_may_be_constants() -> None:
    x = tg.tensor(X, requires_grad=True)
    (g,) = tg.grad(returning(None, lambda ctx, g: None).apply(x).sum(), x, allow_unused=True)
    assert g is None

    def both(ctx: Any, x: Any) -> Any:
        y = x * 3
        ctx.mark_non_differentiable(y)
        return x * 2, y

    z, y = returning(both, lambda ctx, g, _: g * 2).apply(x)
    assert z.requires_grad and not y.requires_grad
    np.testing.assert_allclose(y.numpy(), 3 * X)
