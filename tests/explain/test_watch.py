"""What a watcher is told: every operation on tensors of its thread, recorded or not, and the steps of every walk."""

import threading

import pytest

import tinygrad_med as torch
from tinygrad_med.core.modes import mode
from tinygrad_med.engine.switches import switch


class Witness:
    def __init__(self):
        self.operations, self.walks = [], []

    def operation(self, primitive, operands, arrays, constants, output):
        assert [getattr(x, "array", x) is a for x, a in zip(operands, arrays, strict=True)] == [True] * len(arrays)
        self.operations.append((str(primitive), output.requires_grad))

    def walk(self, steps):
        self.walks.append([])
        for step in steps:
            self.walks[-1].append(step)
            yield step


@pytest.fixture
def witness():
    witness = Witness()
    switch("watchers", (witness,))
    yield witness
    switch("watchers", ())


def test_a_watcher_is_told_of_every_operation(witness):
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    y = (w * 2).exp()
    with torch.no_grad():
        w + w
    assert (y > 1).tolist() == [True, False]
    assert witness.operations == [("mul", True), ("exp", True), ("add", False), ("gt", False)]


def test_a_watcher_sees_the_steps_of_both_kinds_of_walk(witness):
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    (w * w).sum().backward()
    assert w.grad.tolist() == [2.0, -4.0]
    (g,) = torch.autograd.grad((w * w).sum(), w, create_graph=True)
    assert g.tolist() == [2.0, -4.0]
    assert [str(node.primitive) for node, *_ in witness.walks[0][:-1]] == ["sum", "mul"]
    assert [len(walk) for walk in witness.walks] == [3, 3]
    assert witness.walks[1][-1][0] is w
    names = [name for name, _ in witness.operations]
    assert names[:4] == ["mul", "sum", "mul", "sum"] and "add" in names[4:]  # rules on arrays are not operations


def test_another_thread_is_not_watched(witness):
    w = torch.tensor([1.0], requires_grad=True)

    def work():
        loss = w * 2
        loss.backward()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert witness.operations == witness.walks == [] and w.grad.tolist() == [2.0]


def test_without_a_watcher_the_quick_path_is_back():
    before = mode.watchers
    switch("watchers", (Witness(),))
    assert not (mode.grad and not mode.watchers)
    switch("watchers", before)
    assert mode.grad and not mode.watchers
