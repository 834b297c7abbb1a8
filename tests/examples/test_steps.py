"""The steps to the engine, and the engine on a page: each gives the package's gradients, on random expressions."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as torch
from tinygrad_med.data import medical_mnist, phantoms

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scalars, arrays, rules, engine, learn = map(load, ("1_scalars", "2_arrays", "3_rules", "engine", "learn"))

# ---------------------------------------------------------------- random expressions

SHAPES = ((2, 3), (3,), (2, 1), (1, 3), ())  # all of which NumPy stretches to (2, 3)
SQUARE = (3, 3)


def expressions(leaves: int, matrices: bool = False) -> st.SearchStrategy[Any]:
    """Trees whose leaves are numbered; a leaf or a result may be used several times."""
    ones = ["neg", "tanh", "exp", *["matmul"] * matrices]
    twos = ["add", "mul", "sub", "constant"]
    return st.recursive(
        st.integers(0, leaves - 1),
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(ones), inner),
            st.tuples(st.sampled_from(twos), inner, inner),
            inner.map(lambda same: ("mul", same, same)),
        ),
        max_leaves=8,
    )


def value(tree: Any, leaves: list[Any]) -> Any:
    """What the expression comes to, in the arithmetic of whatever the leaves are."""
    if isinstance(tree, int):
        return leaves[tree]
    name, *operands = tree
    x, *rest = (value(operand, leaves) for operand in operands)
    return {
        "neg": lambda: -x,
        "tanh": lambda: 1.0 * x.tanh(),
        "exp": lambda: x.tanh().exp(),  # so that it stays a small number
        "matmul": lambda: (x + leaves[0]) @ leaves[-1],  # (2, 3) @ (3, 3)
        "add": lambda: x + rest[0],
        "mul": lambda: x * rest[0],
        "sub": lambda: x - rest[0],
        "constant": lambda: 0.5 * x + rest[0] * -2.0,
    }[name]()


def gradients_of_the_package(loss: Any, leaves: list[Any], **options: Any) -> list[Any]:
    found = torch.autograd.grad(loss, leaves, allow_unused=True, **options)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


def same(ours: list[Any], packages: list[Any]) -> None:
    for mine, theirs in zip(ours, packages, strict=True):
        assert np.shape(mine) == theirs.shape
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


def draw(seed: int, shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, shape) for shape in shapes]


def of_the_package(values: list[np.ndarray]) -> list[Any]:
    return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]


# ---------------------------------------------------------------- the steps


@given(expressions(3), st.integers(0, 2**32 - 1))
def test_scalars(tree, seed):
    values = draw(seed, ((), (), ()))
    ours, packages = [scalars.Number(float(v)) for v in values], of_the_package(values)
    value(tree, ours).backward()
    same([x.grad for x in ours], gradients_of_the_package(value(tree, packages), packages))


@given(expressions(len(SHAPES), matrices=True), st.integers(0, 2**32 - 1))
def test_arrays(tree, seed):
    values = draw(seed, (*SHAPES, SQUARE))
    ours, packages = [arrays.Array(v) for v in values], of_the_package(values)
    value(tree, ours).sum().backward()
    found = [np.zeros(x.value.shape) if x.grad is None else x.grad for x in ours]
    same(found, gradients_of_the_package(value(tree, packages).sum(), packages))


def test_arrays_need_sum_to(monkeypatch):
    monkeypatch.setattr(arrays, "sum_to", lambda g, shape: g)
    images, bias = arrays.Array(np.ones((4, 3))), arrays.Array(np.zeros(3))
    (images + bias).sum().backward()
    assert bias.grad.shape == (4, 3)  # the bias (3,) can't be moved by that
    monkeypatch.undo()
    (images + bias).sum().backward()
    np.testing.assert_array_equal(bias.grad, [4, 4, 4])


def test_backward_starts_from_one_number():
    with pytest.raises(ValueError, match=r"backward starts from a single number, not from \(2,\); sum it first"):
        arrays.Array([1.0, 2.0]).backward()


@given(expressions(len(SHAPES), matrices=True), st.integers(0, 2**32 - 1))
def test_rules_to_second_order(tree, seed):
    values = draw(seed, (*SHAPES, SQUARE))
    ours, packages = [rules.Tensor(v) for v in values], of_the_package(values)
    slopes = rules.grad(value(tree, ours).sum(), *ours)
    theirs = gradients_of_the_package(value(tree, packages).sum(), packages, create_graph=True)
    same([slope.value for slope in slopes], theirs)

    steepness = sum((slope * slope).sum() for slope in slopes)
    theirs_steepness = sum((slope * slope).sum() for slope in theirs)
    if not theirs_steepness.requires_grad:
        theirs_steepness = theirs_steepness + 0 * packages[0].sum()  # of a linear expression: all zeros
    curvatures = rules.grad(steepness, *ours)
    same([c.value for c in curvatures], gradients_of_the_package(theirs_steepness, packages))


# ---------------------------------------------------------------- the engine on a page, and the loop that it serves


@given(st.integers(1, 9), st.integers(1, 7), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_the_engine_on_a_page_gives_the_gradient_of_learn(n, pixels, classes, seed):
    images, weights, bias = draw(seed, ((n, pixels), (pixels, classes), (classes,)))
    labels = np.random.default_rng(seed).integers(classes, size=n)
    ours = [engine.Tensor(weights), engine.Tensor(bias)]
    loss = engine.loss_of(engine.Tensor(images), labels, *ours)
    loss.backward()
    packages = of_the_package([weights, bias])
    theirs = learn.loss_of(torch.tensor(images), torch.tensor(labels), *packages)
    theirs.backward()
    same([loss.array], [theirs])
    same([x.grad for x in ours], [x.grad for x in packages])


def test_the_package_is_read_beside_step_3(capsys):
    step = load("4_the_package")
    step.main()
    *walk, x, same_x, y, same_y = capsys.readouterr().out.splitlines()
    for ours, packages in ((x, same_x), (y, same_y)):
        np.testing.assert_allclose(eval(ours), eval(packages), rtol=1e-12)
    places = re.findall(r"(\w+), (\S+\.py):(\d+)$", "\n".join(walk), re.MULTILINE)
    assert len(places) == 5 + len(step.PAIRS)
    for name, file, line in places:
        lines = (EXAMPLES.parent / file).read_text("utf-8").splitlines()[int(line) - 1 :]
        first = next(one for one in lines if not one.startswith("@"))
        assert f"def {name}(" in first or f"class {name}" in first, (name, file, line)


@pytest.mark.parametrize(("name", "lines"), [("learn", 70), ("engine", 80)])
def test_they_fit_on_a_page(name, lines):
    assert len((EXAMPLES / f"{name}.py").read_text("utf-8").splitlines()) <= lines


def test_the_engine_on_a_page_needs_numpy_alone():
    """Above the line where it is run."""
    source = (EXAMPLES / "engine.py").read_text("utf-8").partition("\nif __name__")[0]
    imports = [line for line in source.splitlines() if line.startswith(("import", "from"))]
    assert imports == ["import itertools", "import numpy as np"]


def test_learn_learns(monkeypatch, capsys):
    images, labels = phantoms.generate(250)
    data = medical_mnist.Images(images, labels, medical_mnist.CLASSES, "phantoms", is_phantom=True)
    monkeypatch.setattr(medical_mnist, "load", lambda: data)
    learn.main()
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("epoch 2: loss ")
    assert float(last.split()[4].rstrip("%")) > 90


@pytest.mark.parametrize("module", [scalars, arrays, rules])
def test_they_run_and_say_what_they_found(module, capsys):
    source = Path(module.__file__).read_text("utf-8")
    exec(compile(source, module.__file__, "exec"), {"__name__": "__main__"})
    assert len(capsys.readouterr().out.splitlines()) == 2
