"""The tester, tested on wrong derivatives: each mutant is caught, and nearly each with the right verdict."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.op_cases import ROWS

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "gradient_mutants.py"
# They pass gradients on, and have no mathematics.
HOOKS = {"gate", "pass_through", "function", "as_recorded", "all_reduce"}


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gradient_mutants", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutants = load()


def test_there_are_a_hundred_and_none_is_forgotten():
    assert len(mutants.MUTANTS) >= 100
    differentiable = {str(row.primitive) for row in ROWS if row.primitive and row.primitive.rules}
    assert differentiable - {str(m.primitive) for m in mutants.MUTANTS} == HOOKS


@pytest.mark.parametrize("p", list(mutants.CALLS), ids=str)
def test_the_primitive_itself_passes(p):
    report = mutants.Mutant(p, "none", "", mutants.CALLS[p], {}).check()
    assert report.ok, report


def test_every_mutant_is_caught_nine_of_ten_with_the_right_verdict():
    reports = [(mutant, mutant.check()) for mutant in mutants.MUTANTS]
    assert [f"{m.primitive}: {m.mistake}" for m, report in reports if report.ok] == []
    wrong = [f"{m.primitive}: {m.mistake}: {r.verdict}" for m, r in reports if r.verdict != m.verdict]
    assert len(wrong) <= len(reports) / 10, wrong
