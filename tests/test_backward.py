"""The walk: what `backward` and `grad` promise, whatever the operations are."""

import gc
import inspect
import re
import sys
import threading
import weakref

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import autograd
from tinygrad_med.core.backward import steps
from tinygrad_med.engine import switches
from tinygrad_med.engine.writes import writes


def leaf(*values, **kwargs):
    return tm.tensor(list(values), dtype=tm.float64, requires_grad=True, **kwargs)


def line_of(function, text):
    """The number of the first line of a function that has this text."""
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


# Values -------------------------------------------------------------------------------------------------------------


def test_gradients_accumulate_over_backward_calls():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    (3 * x).sum().backward()
    assert x.grad.tolist() == [2 * 1 + 3, 2 * 2 + 3]


def test_an_operand_that_is_used_several_times_receives_every_contribution():
    x = leaf(3.0)
    y = x * x + x * x * x
    y.backward()
    assert x.grad.item() == 2 * 3 + 3 * 9


def test_a_broadcast_operand_receives_the_sum():
    row, column = tm.ones(1, 4, requires_grad=True), tm.ones(3, 1, requires_grad=True)
    (row * column * tm.arange(12.0).reshape(3, 4)).sum().backward()
    assert row.grad.shape == (1, 4) and column.grad.shape == (3, 1)
    np.testing.assert_allclose(row.grad.numpy(), np.arange(12.0).reshape(3, 4).sum(0, keepdims=True))
    np.testing.assert_allclose(column.grad.numpy(), np.arange(12.0).reshape(3, 4).sum(1, keepdims=True))


def test_upstream_gradient_weights_the_elements():
    x = leaf(1.0, 2.0, 3.0)
    (x * x).backward(tm.tensor([1.0, 10.0, 100.0], dtype=tm.float64))
    assert x.grad.tolist() == [2, 40, 600]


def test_grad_leaves_grad_alone_and_takes_inner_tensors():
    x = leaf(2.0)
    y = x * x
    z = y * y
    dy, dx = tm.grad(z, [y, x])
    assert (dy.item(), dx.item(), x.grad) == (8.0, 32.0, None)


def test_grad_of_several_outputs_sums_them():
    x = leaf(2.0)
    assert tm.grad([x * x, 3 * x], x)[0].item() == 7
    assert tm.grad([x * x, x], x, grad_outputs=[tm.tensor([10.0]), tm.tensor([1.0])])[0].item() == 41


def test_grad_of_an_output_that_is_an_input():
    x = leaf(2.0)
    y = x * 5
    assert tm.grad(y, y)[0].item() == 1
    assert tm.grad(x, x)[0].item() == 1


def test_grad_with_an_input_between_the_output_and_another_input():
    x = leaf(2.0)
    y = x * x
    z = y * x
    dy, dx = tm.grad(z, [y, x])
    assert (dy.item(), dx.item()) == (2.0, 12.0)


def test_backward_with_inputs_leaves_other_leaves_alone():
    x, w = leaf(2.0), leaf(3.0)
    h = x * w
    (h * h).backward(inputs=[x, h])
    assert (x.grad.item(), h.grad.item(), w.grad) == (36.0, 12.0, None)


def test_any_order_of_derivative():
    x = leaf(1.3)
    y = x.sin()
    for expected in (np.cos(1.3), -np.sin(1.3), -np.cos(1.3), np.sin(1.3), np.cos(1.3)):
        (y,) = tm.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected, abs=1e-14)


def test_backward_with_create_graph_leaves_a_gradient_that_has_a_graph():
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    first = x.grad
    x.grad = None
    first.backward()
    assert (first.item(), x.grad.item()) == (12.0, 12.0)


def test_create_graph_works_inside_no_grad():
    x = leaf(2.0)
    y = x**3
    with tm.no_grad():
        (g,) = tm.grad(y, x, create_graph=True)
    assert tm.grad(g, x)[0].item() == 12.0


def test_an_unused_input_is_an_error_or_none():
    x, w = leaf(1.0), leaf(1.0)
    with pytest.raises(RuntimeError, match=re.escape("no output depends on input 1; pass allow_unused=True")):
        tm.grad(x * 2, [x, w], retain_graph=True)
    assert tm.grad(x * 2, [x, w], allow_unused=True)[1] is None


# The graph's life ---------------------------------------------------------------------------------------------------


def test_a_second_walk_over_a_freed_graph_says_what_to_do():
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match="mul: the graph was walked before.*retain_graph=True"):
        y.backward()


def test_asking_for_an_inner_gradient_leaves_the_graph_behind_it():
    x = leaf(2.0)
    y = x * x
    assert tm.grad(y * 3, y)[0].item() == 3
    y.backward()
    assert x.grad.item() == 4


def test_a_tensor_behind_a_freed_graph_is_not_called_unused():
    """`None` would be taken for "no output depends on it"."""
    x, w = tm.tensor([1.0, 2.0], requires_grad=True), tm.tensor(3.0, requires_grad=True)
    y = x * 2
    y.sum().backward()
    for unused in (True, False):
        with pytest.raises(RuntimeError, match="mul: the graph was walked before"):
            tm.grad((y * w).sum(), [w, x], retain_graph=True, allow_unused=unused)
    assert tm.grad((y * w).sum(), [w, y])[0].item() == 6  # where the way doesn't lead through it, it doesn't matter
    assert tm.grad(w * 2, [w, x], allow_unused=True)[1] is None


def test_no_gradient_lacks_what_came_through_a_freed_graph(torch):
    for lib in (tm, torch):
        x, w, v = (lib.tensor([a, a + 1], dtype=lib.float64, requires_grad=True) for a in (1.0, 2.0, 3.0))
        y = w * w
        y.sum().backward()
        z = (x * y).sum() + w.sum()  # w is reached by the one way, and would be by the other one
        for inputs in ([w], [x, w], [w, y]):
            with pytest.raises(RuntimeError, match="walked before|a second time"):
                lib.autograd.grad(z, inputs, retain_graph=True)
            with pytest.raises(RuntimeError, match="walked before|a second time"):
                z.backward(inputs=inputs, retain_graph=True)
        found = lib.autograd.grad(z, [x, y, v], retain_graph=True, allow_unused=True)
        assert found[0].tolist() == [4.0, 9.0] and found[1].tolist() == [1.0, 2.0] and found[2] is None


def test_retain_graph_allows_a_second_walk():
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8


def test_what_no_rule_asks_for_is_not_kept():
    x = tm.ones(1000, requires_grad=True)
    y = x * 2
    kept = weakref.ref(y.array)
    z = y + 1  # the rules of add need neither operand
    del y
    assert kept() is None
    z.sum().backward()
    assert x.grad.tolist() == [2.0] * 1000


def test_memory_is_given_back_by_reference_counting_alone():
    (
        (tm.ones(1, requires_grad=True) * 2).exp() * tm.ones(1, requires_grad=True)
    ).sum().backward()  # calls are generated
    gc.collect()
    gc.disable()
    try:
        x = tm.ones(10, requires_grad=True)
        for freed_by_walk in (True, False):
            y = (x * 2).exp()
            loss = (y * y).sum()
            array = weakref.ref(y.array)
            if freed_by_walk:
                loss.backward()
            del y, loss
            assert array() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_chain_of_a_million_operations():
    gc.collect()
    gc.disable()
    try:
        x = tm.tensor(1.0, requires_grad=True)
        before = sys.getallocatedblocks()
        y = x
        for _ in range(500_000):
            y = (y * 1.0).relu()
        assert sys.getallocatedblocks() > before + 3_000_000
        y.backward(retain_graph=True)
        assert x.grad.item() == 1.0
        del y  # frees the records one after the other, without recursion and without the collector
        assert sys.getallocatedblocks() < before + 10_000  # a few stay in Python's own free lists
    finally:
        gc.enable()


def test_threads_build_and_walk_graphs_at_once():
    results = {}

    def work(n):
        x = leaf(float(n))
        for _ in range(50):
            y = x * x
            for _ in range(20):
                y = y + x
            (g,) = tm.grad(y, x)
        results[n] = g.item()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {n: 2 * n + 20 for n in range(8)}


def test_steps_can_be_watched():
    x = leaf(2.0)
    y = x * x
    z = y + x
    seen = [
        (str(getattr(node, "primitive", "leaf")), g.tolist(), [None if c is None else c.tolist() for c in parts])
        for node, g, parts in steps({z.origin: np.ones(1)})
    ]
    assert seen == [("add", [1.0], [[1.0], [1.0]]), ("mul", [1.0], [[2.0], [2.0]]), ("leaf", [5.0], [])]


# Gradients own their memory -----------------------------------------------------------------------------------------


def test_leaves_never_share_the_memory_of_their_gradients():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).sum().backward()
    x.grad.zero_()
    assert y.grad.tolist() == [1.0, 1.0]


def test_the_upstream_gradient_is_not_adopted():
    x, g = leaf(1.0, 2.0), tm.tensor([1.0, 1.0], dtype=tm.float64)
    (x + 0).backward(g)
    x.grad.zero_()
    assert g.tolist() == [1.0, 1.0]


def test_the_gradient_of_a_sum_is_writable():
    x = leaf(1.0, 2.0)
    x.sum().backward()
    x.grad.add_(1)
    assert x.grad.tolist() == [2.0, 2.0]


def test_gradients_accumulate_in_place():
    x = leaf(1.0, 2.0)
    x.sum().backward()
    grad = x.grad
    x.sum().backward()
    assert grad is x.grad and grad.tolist() == [2.0, 2.0]


# Hooks --------------------------------------------------------------------------------------------------------------


def test_a_hook_sees_the_complete_gradient_and_may_replace_it():
    x = leaf(2.0)
    y = x * 1
    seen = []
    y.register_hook(lambda g: seen.append(g.item()))
    y.register_hook(lambda g: g * 10)
    (y * y + y).backward()
    assert seen == [5.0] and x.grad.item() == 50


def test_a_hook_on_a_leaf_runs_before_the_gradient_is_added():
    x = leaf(2.0)
    with x.register_hook(lambda g: -g):
        (x * 3).backward()
    (x * 3).backward()
    assert x.grad.item() == 0


def test_a_hook_of_a_wrong_shape_is_refused():
    x = leaf(2.0, 3.0)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match=re.escape("returned shape (), the gradient has (2,)")):
        x.sum().backward()


def test_hooks_work_with_create_graph_as_pytorch_has_it(torch):
    def second(lib):
        x = lib.tensor([2.0], requires_grad=True)
        y = x * x
        y.register_hook(lambda g: g * 3)
        (g,) = lib.autograd.grad(y * y, x, create_graph=True)
        return g.item(), lib.autograd.grad(g, x)[0].item()

    assert second(tm) == second(torch)


def test_what_a_hook_got_and_returned_stays_its_own(torch):
    def story(lib, create_graph):
        x, kept, mine = lib.ones(2, requires_grad=True), [], lib.full((2,), 7.0)
        x.register_hook(kept.append)
        x.register_hook(lambda g: mine)
        (x * 3).sum().backward(create_graph=create_graph)
        x.grad.zero_() if not create_graph else x.grad.detach().zero_()
        return kept[0].tolist(), mine.tolist()

    assert story(tm, False) == story(torch, False) == ([3, 3], [7, 7])
    assert story(tm, True) == ([3, 3], [7, 7])


def test_leaves_share_no_gradient_under_create_graph():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).backward(tm.ones(2), create_graph=True)
    x.grad.detach().zero_()
    assert y.grad.tolist() == [1, 1]


def test_retain_grad_twice_is_retain_grad_once(torch):
    def story(lib):
        x = lib.tensor(2.0, requires_grad=True)
        y = x * x
        y.retain_grad()
        y.retain_grad()
        (y * 3).backward()
        return y.grad.item()

    assert story(tm) == story(torch) == 3


def test_retain_grad_keeps_what_the_hooks_made_of_the_gradient_whichever_came_first():
    for first in ("retain", "hook"):
        x = leaf(1.0, 2.0)
        y = x * 2
        if first == "retain":
            y.retain_grad()
        y.register_hook(lambda g: g * 10)
        if first == "hook":
            y.retain_grad()
        y.sum().backward()
        assert y.grad.tolist() == [10.0, 10.0] and x.grad.tolist() == [20.0, 20.0]


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (lambda g: 2.0, "gradient hook: returned float; return a float64 tensor, or None to change nothing"),
        (lambda g: g.float(), "gradient hook: returned a float32 tensor; return a float64 tensor"),
    ],
)
def test_a_hook_that_returns_something_else_is_refused(returned, text):
    x = leaf(1.0, 2.0)
    x.register_hook(returned)
    with pytest.raises(RuntimeError, match=text):
        (x * 2).sum().backward()


def test_asking_a_result_for_its_gradient_says_where_gradients_are():
    y = leaf(1.0) * 2
    y.sum().backward()
    with pytest.warns(UserWarning, match=r".grad is None here: this tensor is the result of mul.*x.retain_grad\(\)"):
        assert y.grad is None


def test_a_plot_of_a_tensor_with_a_graph_says_what_to_do():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    with pytest.raises(RuntimeError, match=r"x.detach\(\).numpy\(\)"):
        pyplot.plot(leaf(1.0, 2.0))
    pyplot.close("all")


def test_retain_grad_keeps_the_gradient_of_an_inner_tensor():
    x = leaf(2.0)
    y = x * x
    y.retain_grad()
    (y * 3).backward()
    assert y.grad.item() == 3


def test_retain_grad_of_a_leaf_changes_nothing_and_of_a_constant_is_refused(torch):
    for lib in (tm, torch):
        x = lib.tensor([2.0], requires_grad=True)
        x.retain_grad()
        (x * 3).backward(lib.ones(1))
        assert x.grad.item() == 3
        with pytest.raises(RuntimeError, match="retain_grad"):
            lib.tensor([2.0]).retain_grad()


# Errors -------------------------------------------------------------------------------------------------------------


def test_backward_of_several_elements_needs_a_gradient():
    with pytest.raises(RuntimeError, match=re.escape("shape (2,) needs an upstream gradient of that shape; reduce it")):
        (leaf(1.0, 2.0) * 2).backward()


def test_an_upstream_gradient_of_another_shape():
    with pytest.raises(RuntimeError, match=re.escape("the upstream gradient has shape (3,), the tensor (2,)")):
        (leaf(1.0, 2.0) * 2).backward(tm.ones(3))


def test_backward_without_a_graph():
    with pytest.raises(RuntimeError, match="requires no gradient; set requires_grad=True on a leaf"):
        tm.ones(1).backward()


def test_a_number_of_seeds_that_does_not_fit():
    x = leaf(1.0)
    with pytest.raises(ValueError, match="2 outputs, but 1 grad_outputs"):
        tm.grad([x, x], x, grad_outputs=[tm.ones(1)])


def test_a_rule_of_a_wrong_shape_is_named():
    @tm.primitive
    def halve(xp, x):
        """z = x / 2"""
        return x / 2

    halve.vjp(x=lambda g: g[:1] / 2)
    with pytest.raises(RuntimeError, match=re.escape("halve: its rule gave a gradient of shape (1,)")):
        halve(leaf(1.0, 2.0)).sum().backward()


def test_a_rule_of_a_wrong_dtype_is_named():
    @tm.primitive
    def third(xp, x):
        """z = x / 3"""
        return x / 3

    third.vjp(x=lambda g: g * np.float64(1 / 3))
    with pytest.raises(RuntimeError, match="a rule gave a float64 gradient for a float32 leaf"):
        third(tm.ones(2, requires_grad=True)).sum().backward()


def test_a_rule_that_fails_is_named():
    @tm.primitive
    def clumsy(xp, x):
        """z = x"""
        return x + 0

    clumsy.vjp(x=lambda g: g.unsqueeze(0).squeeze(0))
    with pytest.raises(RuntimeError, match="backward of clumsy: its derivative rule failed: .*unsqueeze.*, not with"):
        clumsy(leaf(1.0)).backward()
    clumsy.vjp(x=lambda g: np.exp(-g))
    with pytest.raises(RuntimeError, match="backward of clumsy: .* and tensors under create_graph: write it with"):
        clumsy(leaf(1.0)).backward(create_graph=True)


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda p: p.vjp(w=lambda g: g), "fine.vjp: it has no operand 'w', only x, y"),
        (lambda p: p.vjp(x=lambda g, w: g), "the rule for x: takes g, .* got .g, w."),
        (lambda p: p.vjp(x=lambda y: y), "the rule for x: takes g, the upstream gradient, first"),
    ],
)
def test_a_rule_that_asks_for_what_is_not_there(declare, text):
    @tm.primitive
    def fine(xp, x, y):
        """z = x + y"""
        return x + y

    with pytest.raises(TypeError, match=text):
        declare(fine)


def test_an_operand_without_a_rule_is_an_error_where_it_needs_a_gradient():
    @tm.primitive
    def half_done(xp, x, y):
        """z = x · y"""
        return x * y

    half_done.vjp(x=lambda g, y: g * y)
    assert half_done(leaf(2.0), tm.ones(1, dtype=tm.float64)).requires_grad
    with pytest.raises(NotImplementedError, match="half_done: it has no derivative with respect to y; detach"):
        half_done(leaf(2.0), leaf(3.0))


# Overwritten values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda x: (x * x, x), "mul: its operand"),
        (lambda x: ((y := x.exp()), y), "exp: its result"),
        (lambda x: ((x[1:]) * 2.0 * x[1:], x), "mul: its operand"),
    ],
    ids=["operand", "result", "through a view"],
)
def test_overwriting_a_saved_value_names_the_operation_and_the_line(make, what):
    x = leaf(1.0, 2.0)
    y, victim = make(x)
    with tm.no_grad():
        victim += 1  # the line that the error names
    with pytest.raises(RuntimeError, match=what) as caught:
        y.sum().backward()
    line = line_of(test_overwriting_a_saved_value_names_the_operation_and_the_line, "that the error names")
    assert f"test_backward.py:{line};" in str(caught.value) and "clone()" in str(caught.value)


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.zero_(),
        lambda x: x.copy_(tm.zeros(2)),
        lambda x: x.__setitem__(0, 5.0),
        lambda x: x.detach().add_(1),
        lambda x: x.clamp_(0, 1),
    ],
    ids=["zero_", "copy_", "setitem", "through detach", "clamp_"],
)
def test_every_write_in_place_is_noticed(write):
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    with tm.no_grad():
        write(x)
    with pytest.raises(RuntimeError, match="overwritten in place at"):
        y.backward()


def test_a_number_that_was_overwritten_is_still_what_was_saved():
    x = tm.tensor(2.0, requires_grad=True)
    y = x.exp()
    z = x * x * x
    with tm.no_grad():
        y.mul_(2)
        x += 1
    assert tm.grad(y, x)[0].item() == pytest.approx(np.exp(2))
    assert tm.grad(z, x, retain_graph=True)[0].item() == 12
    with pytest.raises(RuntimeError, match="backward of mul: the numbers of its operand of shape .. were exchanged"):
        tm.grad(z, x, create_graph=True)


def test_writing_numbers_leaves_nothing_behind():
    before = len(writes._log)
    total = tm.tensor(0)
    for _ in range(100):
        total += 1
    assert total.item() == 100 and len(writes._log) == before + 1
    del total
    assert len(writes._log) == before


def test_writing_what_no_rule_needs_is_allowed():
    x = leaf(1.0, 2.0)
    y = x + 1
    with tm.no_grad():
        x += 10
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_writes_before_the_operation_do_not_matter():
    x = leaf(1.0, 2.0)
    with tm.no_grad():
        x += 10
    (x * x).sum().backward()
    assert x.grad.tolist() == [22.0, 24.0]


# Anomaly mode -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_anomaly_mode_stops_at_the_first_bad_value_forward():
    def model(x):
        y = x - 1
        return y.log()  # log of 0

    with (
        autograd.detect_anomaly(),
        pytest.raises(autograd.AnomalyError, match="log: its output has 1 infinite of 2") as e,
    ):
        model(leaf(1.0, 2.0))
    assert f"test_backward.py:{line_of(model, 'log of 0')}" in str(e.value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_anomaly_mode_stops_at_the_first_bad_value_backward():
    def model(x):
        y = x.sqrt()  # infinite slope at 0
        return y * 1

    with autograd.detect_anomaly():
        y = model(leaf(0.0, 4.0))
        with pytest.raises(autograd.AnomalyError, match="backward of sqrt: the gradient for its operand 0") as e:
            y.sum().backward()
    assert f"test_backward.py:{line_of(model, 'infinite slope')}" in str(e.value)


def test_anomaly_mode_is_silent_on_good_values_and_ends_with_its_block():
    x = leaf(1.0, 2.0)
    with autograd.detect_anomaly():
        (x * x).log().sum().backward()
    assert x.grad.tolist() == [2.0, 1.0]
    with np.errstate(divide="ignore"):
        assert np.isinf((x - 1).log().tolist()[0])


# Modes --------------------------------------------------------------------------------------------------------------


def test_no_grad_and_enable_grad_nest():
    x = leaf(1.0)
    with tm.no_grad():
        assert not (x * 2).requires_grad and not tm.is_grad_enabled()
        with tm.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
        with tm.set_grad_enabled(True):
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad and tm.is_grad_enabled()


def test_a_switch_made_earlier_works_when_it_is_entered(torch):
    def story(lib):
        seen = []
        later = lib.set_grad_enabled(mode=False)
        lib.set_grad_enabled(True)
        for switch in (later, later, lib.inference_mode(), lib.inference_mode(True), lib.inference_mode(mode=False)):
            with switch:
                seen.append(lib.is_grad_enabled())
            seen.append(lib.is_grad_enabled())
        with lib.no_grad(), lib.inference_mode(False):
            seen.append(lib.is_grad_enabled())
        return seen

    assert story(tm) == story(torch)


@pytest.mark.parametrize("mode", [True, False])
def test_inference_mode_decorates(mode, torch):
    def story(lib):
        return lib.inference_mode(mode)(lib.is_grad_enabled)(), lib.is_grad_enabled()

    assert story(tm) == story(torch)


def test_modes_are_left_when_an_error_passes():
    with pytest.raises(ZeroDivisionError), tm.no_grad():
        raise ZeroDivisionError
    assert tm.is_grad_enabled()


def test_no_grad_decorates_functions():
    @tm.no_grad()
    def double(x):
        return x * 2

    assert not double(leaf(1.0)).requires_grad and tm.is_grad_enabled()


def test_no_grad_decorates_without_parentheses():
    @tm.no_grad
    def double(x):
        """Twice x."""
        return x * 2

    assert not double(leaf(1.0)).requires_grad and tm.is_grad_enabled() and double.__doc__ == "Twice x."


@pytest.mark.parametrize("name", ["no_grad", "inference_mode", "set_grad_enabled"])
def test_a_decorated_generator_runs_without_gradients_but_its_caller_with(name, torch):
    def story(lib):
        def generate(x):
            try:
                sent = yield x * 2
                yield x * sent
            except KeyError:
                yield x * 3
            return x * 4

        decorate = getattr(lib, name)(False) if name == "set_grad_enabled" else getattr(lib, name)()
        x = lib.ones(1, requires_grad=True)
        generator = decorate(generate)(x)
        seen = [lib.is_grad_enabled()]
        for resume in (lambda: next(generator), lambda: generator.send(5), lambda: generator.throw(KeyError)):
            y = resume()
            seen += [y.item(), y.requires_grad, lib.is_grad_enabled()]
        with pytest.raises(StopIteration) as end:
            next(generator)
        return seen, end.value.value.requires_grad, lib.is_grad_enabled()

    assert story(tm) == story(torch) == ([True, 2, False, True, 5, False, True, 3, False, True], False, True)


def test_a_decorated_generator_is_closed():
    closed = []

    @tm.no_grad()
    def generate():
        try:
            yield 1
        finally:
            closed.append(tm.is_grad_enabled())

    next(generator := generate())
    generator.close()
    assert closed == [False] and tm.is_grad_enabled()


def test_set_grad_enabled_is_a_statement_a_block_and_a_decorator(torch):
    def story(lib):
        seen = []
        lib.set_grad_enabled(False)
        seen.append(lib.is_grad_enabled())
        with lib.set_grad_enabled(True):
            seen.append(lib.is_grad_enabled())
        seen.append(lib.is_grad_enabled())
        lib.set_grad_enabled(True)
        decorated = lib.set_grad_enabled(False)(lib.is_grad_enabled)
        return [*seen, lib.is_grad_enabled(), decorated(), decorated(), lib.is_grad_enabled()]

    assert story(tm) == story(torch) == [False, True, False, True, False, False, True]


def test_threads_with_a_flag_of_their_own_are_counted():
    def work():
        with tm.no_grad(), autograd.detect_anomaly():
            seen.append(len(switches.unusual))

    seen = [len(switches.unusual)]
    with tm.no_grad():
        seen.append(len(switches.unusual))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [0, 1, 2] and not switches.unusual


def test_one_switch_can_be_entered_twice():
    switch = tm.no_grad()
    with switch, switch:
        pass
    assert tm.is_grad_enabled()


def test_threads_have_their_own_modes():
    inside, checked, seen = threading.Event(), threading.Event(), []

    def other():
        with tm.no_grad():
            inside.set()
            checked.wait(5)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(5)
    seen.append((leaf(1.0) * 2).requires_grad)
    checked.set()
    thread.join()
    assert seen == [True]
