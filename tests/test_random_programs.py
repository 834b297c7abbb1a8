"""A short form of `benchmarks/random_programs.py`: programs of tensors, here and in PyTorch, with the same results."""

import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest

import tinygrad_med as tm

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    programs = importlib.import_module("programs")
finally:
    sys.path.pop(0)
Step, drawn, run, smaller = programs.Step, programs.drawn, programs.run, programs.smaller

PROGRAMS = 200
# of the first 100,000 and some later, each mended by a test in plain code, or compared rightly since
DIFFERED = [33984, 35926, 43217, 43995, 48506, 54455, 54574, 55275, 60752, 64225]
DIFFERED += [304196, 26719, 67264, 68035, 70763, 73110, 76398, 88787, 90578, 92974, 95347, 99287]


def test_random_programs(torch):
    counts = Counter()
    try:
        for seed in range(PROGRAMS):
            counts.update(run(torch, drawn(seed)))
    except AssertionError as error:
        steps = "\n".join(map(str, smaller(torch, drawn(seed))))
        pytest.fail(f"program {seed}: {error}\nit needs only\n{steps}")
    assert set(programs.KINDS) <= set(counts) and counts["compared: gradient"] > 3 * PROGRAMS
    alone = {name: count for name, count in counts.items() if name.startswith("refused here alone")}
    assert sum(alone.values()) < PROGRAMS / 10, alone


@pytest.mark.parametrize("seed", DIFFERED)
def test_what_differed_once(torch, seed):
    run(torch, drawn(seed))


@pytest.mark.parametrize(
    ("where", "name", "mistake"),
    [
        ("ops", "maximum", lambda right: lambda x, y: right(x, y) + 0 * y.detach() + 1e-6 * (x - x.detach())),
        ("Tensor", "clone", lambda right: lambda x: right(x).detach()),
        ("Tensor", "reshape", lambda right: lambda x, *shape: right(x, *shape).clone()),
        ("Tensor", "zero_", lambda right: lambda x: x.mul_(1)),
        ("Tensor", "register_hook", lambda right: lambda x, hook: right(x, lambda g: (hook(g), None)[1])),
    ],
)
def test_a_planted_mistake_is_found(torch, monkeypatch, where, name, mistake):
    home = tm if where == "ops" else tm.Tensor
    monkeypatch.setattr(home, name, mistake(getattr(home, name)))
    with pytest.raises(AssertionError):
        all(run(torch, drawn(seed)) for seed in range(400))


def test_a_program_that_fails_is_made_smaller(torch, monkeypatch):
    monkeypatch.setattr(tm.Tensor, "relu_", lambda x: x.mul_(1))
    relu, mul = (
        next(k for k, act in enumerate(programs.WRITES) if name in act.__code__.co_names) for name in ("relu_", "mul_")
    )
    operation = Step("operation", 0, 1, 0)
    steps = [
        operation,
        Step("hook", 0, 0, 0),
        Step("write", 2, 0, mul),
        Step("write", 2, 0, relu),
        Step("retain", 0, 0, 0),
    ]
    assert smaller(torch, steps) == [operation, Step("write", 2, 0, relu)]
