"""Each primitive's docstring is its derivation: the formula, and one line per derivative rule."""

from __future__ import annotations

import inspect
import re

import pytest

from tests.op_cases import ROWS
from tinygrad_med.core.primitive import Primitive, primitive

PRIMITIVES = [row.primitive for row in ROWS if row.primitive]


def complaints(p: Primitive) -> list[str]:
    """What is missing in a docstring: the formula, a rule's line, or the rule of a line."""
    text = inspect.cleandoc(p.__doc__ or "")
    formula, _, rules = text.partition("\n\n")
    found = [] if formula.strip() else ["no formula"]
    lines = rules.splitlines() if rules else []
    named = [match[1] for line in lines if (match := re.match(r"∂(\w+): \S", line))]
    if len(named) < len(lines):
        found.append("a line that is no rule")
    found += [f"no line ∂{x}" for x in p.rules if x not in named]
    found += [f"a line ∂{x}, but no such rule" for x in named if x not in p.rules]
    if p.rules and named != [x for x in p.operands if x in named]:
        found.append("the lines are not in the order of the operands")
    if p.rules and not re.search(r"\bz.* = ", formula):
        found.append("the formula does not say what z is")
    return found


@pytest.mark.parametrize("p", PRIMITIVES, ids=lambda p: p.__name__)
def test_docstring_has_the_formula_and_the_rules(p: Primitive):
    assert complaints(p) == []


@pytest.mark.parametrize(
    ("docstring", "complaint"),
    [
        (None, "no formula"),
        ("z = x · y\n\n∂x: g · y", "no line ∂y"),
        ("z = x · y\n\n∂x: g · y\n∂y: g · x\n∂w: 0", "a line ∂w, but no such rule"),
        ("z = x · y\n\n∂x: g · y\n∂y:", "a line that is no rule"),
        ("z = x · y\n\n∂y: g · x\n∂x: g · y", "the lines are not in the order of the operands"),
        ("the product\n\n∂x: g · y\n∂y: g · x", "the formula does not say what z is"),
    ],
)
def test_the_check_notices(docstring: str | None, complaint: str):
    def product(xp, x, y):
        return x * y

    product.__doc__ = docstring
    p = primitive(product)
    p.vjp(x=lambda g, y: g * y, y=lambda g, x: g * x)
    assert complaint in complaints(p)
