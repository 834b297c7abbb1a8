"""Step 1: backpropagation on single numbers. Everything there is to it, in sixty lines.

    python examples/1_scalars.py

A number remembers what it was computed from, and how fast it changes with each of these: the local derivatives. The
chain rule says that the loss changes with an input as fast as the products along each path from it to the loss, added
over all paths. `backward` gets that sum in one walk: it visits every number after all that were computed from it, and
gives each of its inputs `gradient × local derivative`.

What is missing is arrays: `examples/2_arrays.py`.
"""

import math


class Number:
    """A value, its gradient, and the (input, local derivative) pairs that it was computed from."""

    def __init__(self, value, inputs=()):
        self.value, self.inputs, self.grad = value, inputs, 0.0

    def __add__(self, other):
        other = number(other)
        return Number(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        other = number(other)
        return Number(self.value * other.value, [(self, other.value), (other, self.value)])

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -number(other)

    def exp(self):
        """Its own derivative."""
        z = math.exp(self.value)
        return Number(z, [(self, z)])

    def tanh(self):
        """Its derivative is 1 − tanh²."""
        z = math.tanh(self.value)
        return Number(z, [(self, 1 - z * z)])

    def backward(self):
        """Add to `grad` of every number how fast this one changes with it."""
        for node in order(self):
            node.grad = 0.0
        self.grad = 1.0
        for node in reversed(order(self)):  # the loss first, the inputs last
            for operand, local in node.inputs:
                operand.grad += node.grad * local  # += because paths add up


def number(x):
    """A constant takes part like any other number."""
    return x if isinstance(x, Number) else Number(x)


def order(loss):
    """All numbers that the loss was computed from, each after its inputs."""
    done, found = set(), []
    waiting = [(loss, False)]
    while waiting:  # not by recursion, which a chain of a thousand operations would exhaust
        node, inputs_are_done = waiting.pop()
        if inputs_are_done:
            found.append(node)
        elif node not in done:
            done.add(node)
            waiting += [(node, True), *((operand, False) for operand, _ in node.inputs)]
    return found


if __name__ == "__main__":
    x, y = Number(2.0), Number(-0.5)
    z = (x * y).tanh() + x * x  # x is used three times
    z.backward()
    print(f"z = tanh(x y) + x² = {z.value:.4f},  ∂z/∂x = {x.grad:.4f},  ∂z/∂y = {y.grad:.4f}")
    step = 1e-6
    moved = math.tanh((x.value + step) * y.value) + (x.value + step) ** 2
    print(f"moving x by {step:g} moves z by {step:g} × {(moved - z.value) / step:.4f}")
