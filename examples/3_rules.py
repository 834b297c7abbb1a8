"""Step 3: rules by name, written with the operations themselves. Second derivatives appear.

    python examples/3_rules.py

An operation is now two things that stand side by side: a function of arrays, and for each operand, by its name, the
rule of its gradient. A rule may ask for the gradient of the result (g), for the result (z) and for any operand, again
by name. And it is made of operations: what it computes remembers where it came from, so the gradient of a gradient is
nothing new.

This is the form that the package has: `examples/4_the_package.py` puts the two beside each other.
"""

import inspect
from itertools import count

import numpy as np

clock = count()


class Tensor:
    """An array, and the operation that it came from: (operation, operands), or None where the user made it."""

    __array_ufunc__ = None  # so that `ndarray + Tensor` comes to our __radd__

    def __init__(self, value, origin=None):
        self.value, self.origin, self.time = np.asarray(value, float), origin, next(clock)


def operation(forward):
    """Make a function of arrays one of tensors, which remembers; `.rules` gives each operand its rule."""
    names = list(inspect.signature(forward).parameters)

    def call(*operands):
        operands = [x if isinstance(x, Tensor) else Tensor(x) for x in operands]
        return Tensor(forward(*(x.value for x in operands)), (call, operands))

    def contributions(g, z):
        """What an output z with the gradient g gives to each operand."""
        known = {"g": g, "z": z, **dict(zip(names, z.origin[1], strict=True))}
        for name, operand in zip(names, z.origin[1], strict=True):
            rule = call.rules[name]
            asked = (known[asked] for asked in inspect.signature(rule).parameters)
            yield operand, sum_to(rule(*asked), operand.value.shape)

    call.rules, call.contributions, call.__name__ = {}, contributions, forward.__name__
    return call


def grad(loss, *leaves):
    """The gradients of a single number with respect to the leaves, as tensors that can be differentiated again."""
    gradients, waiting = {loss: Tensor(np.ones(loss.value.shape))}, {loss}
    while waiting:
        z = max(waiting, key=lambda tensor: tensor.time)  # the newest: all that was computed from it has been visited
        waiting.remove(z)
        if z.origin:
            for operand, part in z.origin[0].contributions(gradients[z], z):
                gradients[operand] = gradients[operand] + part if operand in gradients else part
                waiting.add(operand)
    return [gradients.get(leaf, Tensor(np.zeros(leaf.value.shape))) for leaf in leaves]


# ---------------------------------------------------------------- the operations, each with its rules


@operation
def add(x, y):
    """z = x + y"""
    return x + y


add.rules = {"x": lambda g: g, "y": lambda g: g}


@operation
def mul(x, y):
    """z = x · y"""
    return x * y


mul.rules = {"x": lambda g, y: g * y, "y": lambda g, x: g * x}


@operation
def matmul(x, y):
    """z = x y, of matrices"""
    return x @ y


matmul.rules = {"x": lambda g, y: g @ y.T, "y": lambda g, x: x.T @ g}


@operation
def transpose(x):
    """z = xᵀ"""
    return x.T


transpose.rules = {"x": lambda g: g.T}


@operation
def exp(x):
    """z = eˣ"""
    return np.exp(x)


exp.rules = {"x": lambda g, z: g * z}


@operation
def tanh(x):
    """z = tanh x"""
    return np.tanh(x)


tanh.rules = {"x": lambda g, z: g * (1 - z * z)}


def sum_to(x, shape):
    """Add up to a shape; the rule of stretching."""
    if x.value.shape == shape:
        return x
    extra = len(x.value.shape) - len(shape)
    dims = tuple(d for d, n in enumerate(x.value.shape) if d < extra or shape[d - extra] == 1 != n)
    summed = operation(lambda x: x.sum(axis=dims, keepdims=True).reshape(shape))
    summed.rules = {"x": lambda g, x: stretch(g, x.value.shape)}
    return summed(x)


def stretch(x, shape):
    """Repeat up to a shape; the rule of adding up."""
    stretched = operation(lambda x: np.broadcast_to(x, shape))
    stretched.rules = {"x": lambda g, x: sum_to(g, x.value.shape)}
    return stretched(x)


Tensor.__add__ = Tensor.__radd__ = add
Tensor.__mul__ = Tensor.__rmul__ = mul
Tensor.__neg__ = lambda x: mul(x, -1.0)
Tensor.__sub__ = lambda x, y: add(x, mul(y, -1.0))
Tensor.__rsub__ = lambda x, y: add(y, mul(x, -1.0))
Tensor.__matmul__ = matmul
Tensor.T = property(transpose)
Tensor.exp, Tensor.tanh = exp, tanh
Tensor.sum = lambda x: sum_to(x, ())


if __name__ == "__main__":
    x = Tensor([0.5, 1.0, 2.0])
    z = tanh(x).sum()
    [slope] = grad(z, x)
    [curvature] = grad(slope.sum(), x)
    print("tanh′  ", slope.value, "= 1 − tanh²")
    print("tanh″  ", curvature.value, "= −2 tanh · (1 − tanh²):", -2 * np.tanh(x.value) * slope.value)
