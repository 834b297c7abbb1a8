"""Hooks of modules: what they see, what they replace, when they leave; the backward ones against PyTorch."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn


def test_forward_hooks_see_and_replace():
    layer, seen = nn.Linear(2, 3), []
    x = tg.ones(1, 2)
    pre = layer.register_forward_pre_hook(lambda m, inputs: (inputs[0] * 2,))
    post = layer.register_forward_hook(lambda m, inputs, output: seen.append((m, inputs[0], output)))
    y = layer(x)
    assert seen[0][0] is layer
    assert seen[0][1].tolist() == [[2, 2]]
    assert seen[0][2] is y
    post.remove()
    post.remove()
    pre.remove()
    with layer.register_forward_hook(lambda m, inputs, output: output * 0):
        assert layer(x).tolist() == [[0, 0, 0]]
    assert np.array_equal(layer(x).detach().numpy(), nn.functional.linear(x, layer.weight, layer.bias).detach().numpy())
    assert len(seen) == 1


def test_a_hook_leaves_when_its_block_raises():
    layer = nn.ReLU()
    with pytest.raises(ZeroDivisionError), layer.register_forward_hook(lambda m, i, o: 1 / 0):
        layer(tg.ones(1))
    assert layer(tg.ones(1)).item() == 1


class Cross:
    """Two inputs, two outputs, uses of the inputs outside, an output used twice: built alike in both libraries."""

    def __init__(self, lib, weight):
        class Inner(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.w = lib.nn.Parameter(weight)

            def forward(self, x, y, factor):
                return x * self.w * factor, (x + y).sin()

        self.lib, self.module, self.seen = lib, Inner(), []

    def run(self, x, y):
        p, q = self.module(x, y, 2)
        return (p * q + p * x + q.exp()).sum()  # x is used outside too, p and q twice


def as_arrays(gradients):
    return [None if g is None else g.detach().numpy() for g in gradients]


def record(seen):
    def hook(module, grad_input, grad_output):
        seen.append((as_arrays(grad_input), as_arrays(grad_output)))

    return hook


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for mine, reference in zip(ours, theirs, strict=True):
        for a, b in zip(mine, reference, strict=True):
            assert [g is None for g in a] == [g is None for g in b]
            for g, h in zip(a, b, strict=True):
                if g is not None:
                    np.testing.assert_allclose(g, h, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # PyTorch's, where no input requires a gradient
@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True), (False, False)])
def test_backward_hooks_see_what_pytorchs_see(torch, needs):
    rng = np.random.default_rng(0)
    w, x, y = rng.standard_normal((3, 4))
    results = []
    for lib in (tg, torch):
        cross = Cross(lib, lib.tensor(w, dtype=lib.float64))
        tensors = [lib.tensor(v, requires_grad=n, dtype=lib.float64) for v, n in zip((x, y), needs, strict=True)]
        cross.module.register_full_backward_hook(record(cross.seen))
        cross.run(*tensors).backward()
        results.append((cross.seen, as_arrays([cross.module.w.grad, *(t.grad for t in tensors)])))
    (seen, grads), (their_seen, their_grads) = results
    assert len(seen) == 1
    (grad_input, grad_output), *_ = their_seen  # PyTorch has zeros for an input that needs none beside one that does
    their_seen = [([g if need else None for g, need in zip(grad_input, (*needs, False), strict=True)], grad_output)]
    assert_same(seen, their_seen)
    assert_same([[grads]], [[their_grads]])


def test_backward_hook_replaces_the_gradient_of_the_inputs(torch):
    x = np.array([1.0, -2.0, 3.0])
    grads = []
    for lib in (tg, torch):
        a, b = (lib.tensor(x, requires_grad=True) for _ in range(2))
        module = Cross(lib, lib.tensor(x)).module
        module.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10, gi[1] * 0 - 1, None))
        module.register_full_backward_hook(lambda m, gi, go: (gi[0] + go[0], gi[1], None))
        p, q = module(a, b, 2)
        (p.sum() + q.sum()).backward()
        grads.append(as_arrays([a.grad, b.grad, module.w.grad]))
    assert_same([grads[:1]], [grads[1:]])


def test_an_input_that_receives_nothing_gives_none():
    class First(nn.Module):
        def forward(self, x, y):
            return x * 3

    module, seen = First(), []
    module.register_full_backward_hook(record(seen))
    x, y = (tg.ones(2, requires_grad=True) for _ in range(2))
    module(x, y).sum().backward()
    assert seen[0][0][0].tolist() == [3, 3]
    assert seen[0][0][1] is None
    assert y.grad is None


def test_backward_hook_of_a_module_that_returns_its_input():
    module, seen = nn.Identity(), []
    module.register_full_backward_hook(record(seen))
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (module(x) * 3 + x * 5).sum().backward()
    assert [g.tolist() for g in seen[0][0] + seen[0][1]] == [[3, 3], [3, 3]]
    assert x.grad.tolist() == [8, 8]


def test_backward_hook_under_create_graph_and_a_second_walk():
    layer, seen = nn.Tanh(), []
    x = tg.tensor([0.3, -0.7], dtype=tg.float64, requires_grad=True)
    layer.register_full_backward_hook(lambda m, gi, go: seen.append(gi[0]))
    (g,) = tg.autograd.grad((layer(x) ** 2).sum(), x, create_graph=True)
    assert g is seen[0] or np.array_equal(g.detach().numpy(), seen[0].detach().numpy())
    assert seen[0].requires_grad
    (gg,) = tg.autograd.grad(g.sum(), x)
    z = x.detach().requires_grad_()
    (h,) = tg.autograd.grad((z.tanh() ** 2).sum(), z, create_graph=True)
    (hh,) = tg.autograd.grad(h.sum(), z)
    np.testing.assert_allclose(gg.numpy(), hh.numpy(), rtol=1e-14)


def test_backward_hook_runs_again_when_the_graph_is_retained():
    layer, seen = nn.ReLU(), []
    x = tg.ones(2, requires_grad=True)
    layer.register_full_backward_hook(record(seen))
    y = layer(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert len(seen) == 2
    assert x.grad.tolist() == [2, 2]


def test_a_kept_gradient_is_not_overwritten_later():
    layer, kept = nn.ReLU(), []
    x = tg.ones(2, requires_grad=True)
    layer.register_full_backward_hook(lambda m, gi, go: kept.extend([gi[0], go[0]]))
    layer(x).sum().backward()
    x.grad.zero_()
    assert [g.tolist() for g in kept] == [[1, 1], [1, 1]]


def test_backward_hook_is_silent_without_a_graph_and_after_it_left():
    layer, seen = nn.Linear(2, 2), []
    with layer.register_full_backward_hook(record(seen)), tg.no_grad():
        layer(tg.ones(1, 2))
    layer(tg.ones(1, 2)).sum().backward()
    assert seen == []


def test_backward_hook_leaves_no_cycle_behind():
    layer = nn.Linear(200, 200)
    layer.register_full_backward_hook(lambda m, gi, go: None)
    x = tg.ones(3, 200, requires_grad=True)
    layer(x).sum().backward()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            layer(x).sum().backward()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_backward_hook_says_what_it_can_not_do():
    class Strange(nn.Module):
        def forward(self, x):
            return {"y": x}

    module = Strange()
    module.register_full_backward_hook(lambda m, gi, go: None)
    with pytest.raises(TypeError, match="Strange: a module with a backward hook must return a tensor .* got dict"):
        module(tg.ones(1, requires_grad=True))
    layer = nn.ReLU()
    x = tg.ones(2, requires_grad=True)
    with layer.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0])):
        y = layer(x).sum()
        with pytest.raises(RuntimeError, match="backward hook: returned 2 gradients, the module has 1 inputs"):
            y.backward()
    with layer.register_full_backward_hook(lambda m, gi, go: gi[0].sum()):
        y = layer(x).sum()
        with pytest.raises(RuntimeError, match=r"backward hook: returned shape \(\) for input 0, not \(2,\)"):
            y.backward()


def test_a_second_walk_forgets_what_the_first_one_brought():
    class Apart(nn.Module):
        def forward(self, x, y):
            return x * 3, y * 2

    module, seen = Apart(), []
    module.register_full_backward_hook(record(seen))
    p, q = module(*(tg.ones(1, requires_grad=True) for _ in range(2)))
    (p + q).backward(retain_graph=True)
    p.backward()
    assert [g.tolist() for g in seen[0][0]] == [[3], [2]]
    assert seen[1][0][0].tolist() == [3]
    assert seen[1][0][1] is None
