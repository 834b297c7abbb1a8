"""What does a graph of 1,000 scalar operations cost, forward and backward?

A chain of 200 times `h = (h * w + b) * 0.9 + x`, `h = tanh(h)`: products and sums of tensors and of numbers, as in the
expressions that teach backpropagation. Every library computes the same gradient of w, which is checked first.
"""

import math

from peers import Worker, python
from timing import alternate, report

STEPS = 200
X, W, B = 0.5, 0.3, 0.1


def graph(x, w, b, tanh):
    """1,000 operations."""
    h = x
    for _ in range(STEPS):
        h = tanh((h * w + b) * 0.9 + x)
    return h


def slope() -> float:
    """The derivative of the result by w, in plain Python."""
    h, dh = X, 0.0
    for _ in range(STEPS):
        dh = (dh * W + h) * 0.9
        h = math.tanh((h * W + B) * 0.9 + X)
        dh *= 1 - h * h
    return dh


def checked(work):
    """`work`, after its gradient was found right."""
    found = float(work())
    if not math.isclose(found, slope(), rel_tol=1e-5):
        raise ArithmeticError(f"the gradient is {found}, not {slope()}")
    return work


def ours():
    """tinygrad_med."""
    import tinygrad_med as torch

    return checked(lambda: _torch_way(torch))


def pytorch():
    """PyTorch, eager."""
    import torch

    return checked(lambda: _torch_way(torch))


def _torch_way(torch):
    x, w, b = (torch.tensor(v, requires_grad=True) for v in (X, W, B))
    graph(x, w, b, torch.tanh).backward()
    return w.grad


def autograd():
    """HIPS autograd."""
    import autograd.numpy as np
    from autograd import grad

    gradient = grad(lambda w, x, b: graph(x, w, b, np.tanh), (0, 1, 2))
    return checked(lambda: gradient(W, X, B)[0])


def dezero():
    """DeZero."""
    import dezero
    import numpy as np
    from dezero import functions as F

    def work():
        x, w, b = (dezero.Variable(np.array(v)) for v in (X, W, B))
        graph(x, w, b, F.tanh).backward()
        return w.grad.data

    return checked(work)


def micrograd():
    """micrograd, whose numbers are Python floats."""
    from micrograd.engine import Value

    def tanh(x):  # micrograd has only relu; this is the tanh of its lecture
        t = math.tanh(x.data)
        out = Value(t, (x,), "tanh")

        def _backward():
            x.grad += (1 - t * t) * out.grad

        out._backward = _backward
        return out

    def work():
        x, w, b = Value(X), Value(W), Value(B)
        graph(x, w, b, tanh).backward()
        return w.grad

    import sys

    sys.setrecursionlimit(10_000)  # its topological sort recurses once per operation
    return checked(work)


if __name__ == "__main__":
    with (
        Worker(python("autograd"), autograd) as hips,
        Worker(python("dezero"), dezero) as zero,
        Worker(python("micrograd"), micrograd) as micro,
    ):
        contenders = {
            "ours": ours(),
            "PyTorch": pytorch(),
            "HIPS autograd": hips,
            "DeZero": zero,
            "micrograd (Python floats)": micro,
        }
        bars = (("ours", "PyTorch", 0.28), ("ours", "micrograd (Python floats)", 1.0))
        result = alternate("1,000 scalar operations, forward and backward", contenders, bar=bars)
    report("scalar_graph", __doc__, [result], over="PyTorch")
