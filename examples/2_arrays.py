"""Step 2: the same on arrays. Two things change, and both are about shapes.

    python examples/2_arrays.py

A local derivative is no longer a number: that of a matrix product of 64×4096 by 4096×10 has 1.7 · 10⁹ entries. It is
never written down. Each operand gets a function instead, which takes the gradient of the result to the gradient of the
operand: a vector-Jacobian product.

And NumPy stretches operands to a common shape: `(64, 10) + (10,)` adds one bias to 64 rows. The bias was used 64 times,
its paths add up, so its gradient is the sum over what it was stretched along. That is `sum_to`, and without it a
gradient has another shape than what it is the gradient of.

What is missing: the gradient is an array, so it can't be differentiated again. `examples/3_rules.py`.
"""

import numpy as np


def sum_to(g, shape):
    """Undo a broadcast: add g up along the dims that were added in front, and along those that had length 1."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(d for d, (have, want) in enumerate(zip(g.shape, shape, strict=True)) if want == 1 != have)
    return g.sum(axis=stretched, keepdims=True)


class Array:
    """A NumPy array, its gradient, and the (operand, vector-Jacobian product) pairs that it was computed from."""

    __array_ufunc__ = None  # so that `ndarray + Array` comes to our __radd__

    def __init__(self, value, inputs=()):
        self.value, self.inputs, self.grad = np.asarray(value, float), inputs, None

    def __add__(self, other):
        other = array(other)
        return Array(self.value + other.value, [(self, lambda g: g), (other, lambda g: g)])

    def __mul__(self, other):
        other = array(other)
        return Array(self.value * other.value, [(self, lambda g: g * other.value), (other, lambda g: g * self.value)])

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -array(other)

    def __matmul__(self, other):
        return Array(
            self.value @ other.value, [(self, lambda g: g @ other.value.T), (other, lambda g: self.value.T @ g)]
        )

    def exp(self):
        """Of every element: the Jacobian is diagonal, and its product with g is elementwise."""
        z = np.exp(self.value)
        return Array(z, [(self, lambda g: g * z)])

    def tanh(self):
        """Likewise."""
        z = np.tanh(self.value)
        return Array(z, [(self, lambda g: g * (1 - z * z))])

    def sum(self):
        """Of all elements: each of them gets the gradient of the sum."""
        return Array(self.value.sum(), [(self, lambda g: np.broadcast_to(g, self.value.shape))])

    def backward(self):
        """Leave in `grad` of every array how fast this one, a single number, changes with each of its elements."""
        if self.value.size != 1:
            raise ValueError(f"backward starts from a single number, not from {self.value.shape}; sum it first")
        nodes = order(self)
        for node in nodes:
            node.grad = np.zeros(node.value.shape)
        self.grad = np.ones(self.value.shape)
        for node in reversed(nodes):
            for operand, vjp in node.inputs:
                operand.grad = operand.grad + sum_to(vjp(node.grad), operand.value.shape)


def array(x):
    """A constant takes part like any other array."""
    return x if isinstance(x, Array) else Array(x)


def order(loss):
    """All arrays that the loss was computed from, each after its operands; as in step 1."""
    done, found = set(), []
    waiting = [(loss, False)]
    while waiting:
        node, operands_are_done = waiting.pop()
        if operands_are_done:
            found.append(node)
        elif node not in done:
            done.add(node)
            waiting += [(node, True), *((operand, False) for operand, _ in node.inputs)]
    return found


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    images, weights, bias = Array(rng.random((64, 5))), Array(rng.random((5, 3))), Array(np.zeros(3))
    loss = (images @ weights + bias).tanh().sum()
    loss.backward()
    print(f"loss {loss.value:.4f}; the bias {bias.value.shape} was added to 64 rows, its gradient is {bias.grad}")
    print(f"without sum_to it would have the shape {(images.value @ weights.value).shape}, and could not move the bias")
