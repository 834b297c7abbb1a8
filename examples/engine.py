"""An autograd engine from nothing but NumPy: all that `examples/learn.py` needs, on one page.

    python examples/engine.py

A tensor remembers the operands that it was computed from, and for each the function that takes its own gradient to the
operand's. `backward` calls these functions once each, from the newest tensor to the oldest. The package does the same:
its rules have names and can be differentiated again (steps 1 to 3 get there), and it checks, tells and is fast.
"""

import itertools

import numpy as np

clock = itertools.count()


class Tensor:
    """An array, and its operands, each with the function from this tensor's gradient to the operand's."""

    def __init__(self, array, *operands):
        self.array, self.operands, self.time, self.grad = array, operands, next(clock), 0.0

    def __add__(self, other):
        return Tensor(self.array + other.array, (self, lambda g: g), (other, lambda g: g))

    def __matmul__(self, other):
        return Tensor(
            self.array @ other.array, (self, lambda g: g @ other.array.T), (other, lambda g: self.array.T @ g)
        )

    def log_softmax(self):
        """Of each row: zᵢ = xᵢ − log Σⱼ exp xⱼ"""
        shifted = self.array - self.array.max(1, keepdims=True)  # no exponential overflows
        z = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return Tensor(z, (self, lambda g: g - np.exp(z) * g.sum(1, keepdims=True)))

    def mean_at(self, labels):
        """The mean over the rows of the element in the column `labels[row]`."""
        rows, share = np.arange(len(labels)), np.zeros_like(self.array)
        share[rows, labels] = 1 / len(labels)
        return Tensor(self.array[rows, labels].mean(), (self, lambda g: g * share))

    def __neg__(self):
        return Tensor(-self.array, (self, lambda g: -g))

    def backward(self):
        """Add to `grad` of all that this number was computed from how fast it changes with it."""
        self.grad, waiting = np.ones_like(self.array), {self}
        while waiting:
            node = max(waiting, key=lambda tensor: tensor.time)  # the newest: its gradient is complete
            waiting.remove(node)
            for operand, vjp in node.operands:
                operand.grad = operand.grad + sum_to(vjp(node.grad), operand.array.shape)
                waiting.add(operand)


def sum_to(g, shape):
    """What was stretched on the way there is added up on the way back."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(d for d, n in enumerate(shape) if n == 1 != g.shape[d]), keepdims=True)


def loss_of(images, labels, weights, bias):
    """As in learn.py."""
    return -(images @ weights + bias).log_softmax().mean_at(labels)


if __name__ == "__main__":
    from tinygrad_med.data import phantoms  # painted pictures, as NumPy arrays

    images, labels = phantoms.generate(100)
    images = images.reshape(-1, 64 * 64) / 255 - 0.36
    weights, bias = Tensor(np.zeros((64 * 64, 6))), Tensor(np.zeros(6))
    for step in range(50):
        loss = loss_of(Tensor(images), labels, weights, bias)
        loss.backward()
        for parameter in (weights, bias):
            parameter.array, parameter.grad = parameter.array - 0.02 * parameter.grad, 0.0
        right = ((images @ weights.array + bias.array).argmax(1) == labels).mean()
        print(f"step {step}: loss {loss.array:.3f}, {right:.1%} right") if step % 10 == 9 else None
