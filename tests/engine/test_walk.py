"""A collector gets the gradients of its leaves early, from a walk that is otherwise the one that nobody watches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import nn
from tinygrad_med.autograd import by_definition, detect_anomaly
from tinygrad_med.engine.walk import collected
from tinygrad_med.ops import normalization


class Noting:
    """A collector that notes by name the leaves that come, among what others note in `seen`, and changes nothing."""

    def __init__(self, **leaves: tm.Tensor) -> None:
        self.leaves = set(leaves.values())
        self.names = {leaf: name for name, leaf in leaves.items()}
        self.seen: list[str] = []
        self.gradients: dict[str, Any] = {}

    def walk(self, steps):
        """Note the steps of leaves."""
        for node, g, contributions in steps:
            if node in self.names:
                self.seen.append(self.names[node])
                self.gradients[self.names[node]] = g.tolist()
            yield node, g, contributions

    def note(self, name: str) -> Callable[[Any], None]:
        """A hook that notes when it runs."""
        return lambda g: self.seen.append(name)


def leaf(value: float) -> tm.Tensor:
    return tm.tensor(value, dtype=tm.float64, requires_grad=True)


def two_layers() -> tuple[Noting, tm.Tensor]:
    """A loss behind two layers, of which the first notes that the walk comes to it."""
    a, b = leaf(2.0), leaf(3.0)
    noting = Noting(a=a, b=b)
    first = a * 5
    first.register_hook(noting.note("first layer"))
    return noting, first * b


def test_a_leaf_comes_before_the_walk_goes_on_to_older_operations():
    noting, loss = two_layers()
    with collected(noting):
        loss.backward()
    assert noting.seen == ["b", "first layer", "a"]
    assert noting.gradients == {"a": 15.0, "b": 10.0}


def test_a_leaf_comes_when_its_gradient_is_complete():
    w, c = leaf(2.0), leaf(3.0)
    noting = Noting(w=w, c=c)
    first = (w * 5).exp().log()  # 5 w
    first.register_hook(noting.note("first"))
    last = first * w * c  # 5 w² c
    last.register_hook(noting.note("last"))
    with collected(noting):
        (last * 1).backward()
    assert noting.seen == ["last", "c", "first", "w"]
    assert noting.gradients["w"] == pytest.approx(60.0)
    assert w.grad.item() == pytest.approx(60.0)


def test_a_leaf_in_a_branch_that_the_gradient_does_not_reach_does_not_come():
    a, b = leaf(2.0), leaf(3.0)
    noting = Noting(a=a, b=b)
    b * a  # leads nowhere
    with collected(noting):
        (a * a).backward()
    assert noting.seen == ["a"] and b.grad is None


def test_a_leaf_with_a_hook_comes_last_where_its_hook_runs_for_everybody():
    noting, loss = two_layers()
    b = next(x for x, name in noting.names.items() if name == "b")
    b.register_hook(lambda g: 2 * g)
    with collected(noting):
        loss.backward()
    assert noting.seen[0] == "first layer"
    assert noting.gradients == {"a": 15.0, "b": 20.0} and b.grad.item() == 20.0


def test_other_leaves_have_their_gradients_at_the_end_as_always():
    a, b, c = leaf(2.0), leaf(3.0), leaf(4.0)
    first, there = a * 5, []
    first.register_hook(lambda g: there.append(c.grad))
    with collected(Noting(a=a, b=b)):
        (first * b * c).backward()
    assert there == [None] and c.grad.item() == 30.0


def test_what_is_put_in_place_of_a_gradient_is_left_in_the_leaf():
    class Doubling(Noting):
        def walk(self, steps):
            for node, g, contributions in steps:
                yield node, 2 * g, contributions

    a = leaf(2.0)
    with collected(Doubling(a=a)):
        (a * 5).backward()
        with collected(Doubling()):
            (a * 5).backward()
    (a * 5).backward()
    assert a.grad.item() == 10.0 + 20.0 + 5.0


@pytest.mark.parametrize("way", [by_definition, detect_anomaly])
def test_under_other_ways_leaves_come_too(way):
    with way():
        noting, loss = two_layers()
        with collected(noting):
            loss.backward()
    assert sorted(noting.seen) == ["a", "b", "first layer"]
    assert noting.gradients == {"a": 15.0, "b": 10.0}


def test_a_walk_to_given_inputs_is_collected_too():
    noting, loss = two_layers()
    b = next(x for x, name in noting.names.items() if name == "b")
    with collected(noting):
        assert tm.autograd.grad(loss, b)[0].item() == 10.0
    assert noting.gradients == {"b": 10.0}


def test_walks_of_other_threads_are_not_collected():
    noting, loss = two_layers()
    with collected(noting):
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
    assert noting.seen == ["first layer"]


def test_a_collected_training_step_runs_the_kernels_of_one_that_is_not_and_has_its_bits(monkeypatch):
    tm.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3))
    model.append(nn.BatchNorm2d(3))
    x = tm.from_numpy(np.random.default_rng(0).standard_normal((5, 1, 8, 8), np.float32))
    kernels, run = normalization.kernels, []

    class Counting:
        def __init__(self, xp):
            self.all = kernels(xp)

        def __getattr__(self, name):
            run.append(name)
            return getattr(self.all, name)

    monkeypatch.setattr(normalization, "kernels", Counting)

    def step() -> tuple[list[str], list[np.ndarray]]:
        run.clear()
        model.zero_grad()
        (model(x) ** 2).mean().backward()
        return list(run), [p.grad.numpy() for p in model.parameters()]

    names, gradients = step()
    assert {"batch_norm_backward", "batch_norm_relu_backward"} <= set(names)
    with collected(Noting(**{f"p{i}": p for i, p in enumerate(model.parameters())})):
        again, collected_gradients = step()
    assert again == names
    for a, b in zip(gradients, collected_gradients, strict=True):
        np.testing.assert_array_equal(a, b)
