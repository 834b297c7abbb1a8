"""What do the writes of a training loop cost, beside NumPy by hand?

The step of a loop, `weights -= weights.grad * lr` and `weights.grad.zero_()`, and that of an optimizer, on small
parameters, where the cost of a call counts, and on large ones, where memory does: a bias (128,), the two layers of the
net in training_loop.py. Beside them reading by an index, as a loss does it. 100 repetitions each.
"""

import importlib

import numpy as np
from timing import alternate, report

LR = 1e-6
SIZES = {"a bias (128,)": [(128,)], "the net's 4 parameters": [(128, 4096), (128,), (6, 128), (6,)]}
TIMES = 100


def arrays(shapes):
    """Parameters and their gradients."""
    rng = np.random.default_rng(0)
    return [(rng.random(shape, np.float32), rng.random(shape, np.float32)) for shape in shapes]


def repeated(step):
    """`step`, a hundred times."""

    def work():
        for _ in range(TIMES):
            step()

    return work


# ---------------------------------------------------------------- the same for both libraries


def parameters(torch, shapes):
    """Leaves with gradients."""
    found = []
    for w, g in arrays(shapes):
        p = torch.from_numpy(w).requires_grad_()
        p.grad = torch.from_numpy(g)
        found.append(p)
    return found


def by_loop(torch, shapes):
    """The tutorial's step."""
    params = parameters(torch, shapes)

    def step():
        with torch.no_grad():
            for p in params:
                p -= p.grad * LR
                p.grad.zero_()

    return step


def by_optimizer(torch, shapes, name, **options):
    """An optimizer's step."""
    return getattr(torch.optim, name)(parameters(torch, shapes), lr=LR, **options).step


def by_index(torch):
    """The scores of the true classes, as a loss reads them."""
    rng = np.random.default_rng(0)
    p, y = torch.from_numpy(rng.random((64, 10), np.float32)), torch.from_numpy(rng.integers(0, 10, 64))
    p = p.requires_grad_()
    return lambda: p[range(64), y]


def by_slices(torch):
    """A batch of pictures and of labels."""
    x, y = torch.zeros(640, 64), torch.zeros(640)
    return lambda: (x[64:128], y[64:128])


# ---------------------------------------------------------------- by hand


def loop_by_hand(shapes):
    """NumPy's lines for the tutorial's step."""
    pairs = arrays(shapes)

    def step():
        for w, g in pairs:
            w -= g * np.float32(LR)
            g.fill(0)

    return step


def sgd_by_hand(shapes):
    """NumPy's lines for SGD with momentum."""
    triples = [(w, g, np.zeros_like(w)) for w, g in arrays(shapes)]

    def step():
        for w, g, v in triples:
            v *= np.float32(0.9)
            v += g
            w -= np.float32(LR) * v

    return step


def adam_by_hand(shapes):
    """NumPy's lines for Adam."""
    state = [(w, g, np.zeros_like(w), np.zeros_like(w)) for w, g in arrays(shapes)]
    t = 0

    def step():
        nonlocal t
        t += 1
        for w, g, m, v in state:
            m += np.float32(0.1) * (g - m)
            v += np.float32(0.001) * (g * g - v)
            rate = np.float32(LR * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t))
            w -= rate * m / (np.sqrt(v) + np.float32(1e-8))

    return step


def index_by_hand():
    """NumPy's line for the scores of the true classes."""
    rng = np.random.default_rng(0)
    p, y = rng.random((64, 10), np.float32), rng.integers(0, 10, 64)
    return lambda: p[np.arange(64), y]


def slices_by_hand():
    """NumPy's line for a batch."""
    x, y = np.zeros((640, 64), np.float32), np.zeros(640, np.float32)
    return lambda: (x[64:128], y[64:128])


if __name__ == "__main__":
    works = {}
    for what, shapes in SIZES.items():
        works[f"w -= w.grad * lr; w.grad.zero_() of {what}"] = (by_loop, loop_by_hand, (shapes,))
        works[f"SGD with momentum, step of {what}"] = (
            lambda torch, shapes: by_optimizer(torch, shapes, "SGD", momentum=0.9),
            sgd_by_hand,
            (shapes,),
        )
        works[f"Adam, step of {what}"] = (
            lambda torch, shapes: by_optimizer(torch, shapes, "Adam"),
            adam_by_hand,
            (shapes,),
        )
    works["p[range(64), y]"] = (by_index, index_by_hand, ())
    works["x[64:128], y[64:128]"] = (by_slices, slices_by_hand, ())

    comparisons = []
    for what, (with_torchs_names, by_hand, args) in works.items():
        libraries = {"ours": "tinygrad_med", "PyTorch": "torch"}
        for library in libraries.values():
            importlib.import_module(f"{library}.optim")
        contenders = {
            who: repeated(with_torchs_names(importlib.import_module(name), *args)) for who, name in libraries.items()
        }
        contenders["NumPy by hand"] = repeated(by_hand(*args))
        comparisons.append(alternate(f"{what}, {TIMES} times", contenders, rounds=15, lead_in=0.05))
    report("writes", __doc__, comparisons, over="PyTorch")
