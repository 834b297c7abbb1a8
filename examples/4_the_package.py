"""Step 4: step 3 beside the package. Each part of the one is a part of the other, under another name.

    python examples/4_the_package.py

Prints which is where, and lets both walk back through the same expression. Read `examples/3_rules.py` and the files of
`tinygrad_med/core/` side by side: `tensor`, `primitive`, `backward`. What the package adds is named below; how it does
the same faster, and explains mistakes, is in `tinygrad_med/engine/`, closed at first.
"""

import importlib
import inspect
from pathlib import Path

import tinygrad_med as torch
from tinygrad_med.core import backward, broadcast, primitive, tensor

rules = importlib.import_module("3_rules")  # a name that `import` doesn't take

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [
    (rules.Tensor, tensor.Tensor, "a dtype, a device; whether a gradient is wanted at all (requires_grad)"),
    (rules.operation, primitive.Primitive.apply, "the array library as xp; constants; one dtype for all operands"),
    ("origin: (operation, operands)", primitive.Record, "keeps only the values that the rules ask for"),
    ("the rules of an operation", primitive.Rule, "what it asks for is read once, from its signature"),
    ("contributions", primitive.Record.back, "only to the operands through which a gradient flows"),
    (rules.grad, backward.steps, "runs on arrays, and on tensors only under create_graph; hooks"),
    (rules.sum_to, broadcast.sum_to, "an operation like any other, with a rule of its own"),
    (rules.stretch, broadcast.expand, "each is the other's rule"),
]


def place(thing: object) -> str:
    """Its name, its file and its line."""
    if isinstance(thing, str):
        return thing
    thing = getattr(thing, "forward", thing)  # of a primitive, its array function
    file = Path(inspect.getsourcefile(thing)).relative_to(ROOT)
    return f"{thing.__qualname__}, {file}:{inspect.getsourcelines(thing)[1]}"


def f(x, y):
    """Some expression, in the arithmetic of whatever x and y are."""
    return ((x * y).tanh() + x * x).sum()


def main() -> None:
    """The places, and the walk."""
    for ours, packages, adds in PAIRS:
        print(f"{place(ours)}\n  {place(packages)}\n    which adds: {adds}")

    values = ([[0.5, -1.0]], [[2.0], [3.0]])  # (1, 2) and (2, 1): both are stretched to (2, 2)
    mine = [rules.Tensor(v) for v in values]
    package = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
    print("\nThe package's walk, from the newest operation to the leaves:")
    for node, gradient, _ in backward.steps(f(*package), retain_graph=True):
        print(f"  {node}: {gradient.tolist()}")
    print("\nStep 3 and the package, for x and y:")
    for a, b in zip(rules.grad(f(*mine), *mine), torch.autograd.grad(f(*package), package), strict=True):
        print(f"  {a.value.tolist()}\n  {b.tolist()}")


if __name__ == "__main__":
    main()
