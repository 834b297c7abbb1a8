"""Formulas: every docstring's becomes well-formed MathML from which no character is missing."""

from __future__ import annotations

import inspect
import re
import unicodedata
from xml.etree import ElementTree

import pytest

from tinygrad_med import ops
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.explain.formulas import to_html

PRIMITIVES = [
    value
    for name in sorted(vars(ops))
    if inspect.ismodule(module := getattr(ops, name))
    for value in vars(module).values()
    if isinstance(value, Primitive)
]
TEXTS = sorted(
    {
        (text, operands)
        for primitive in PRIMITIVES
        for operands in [tuple(primitive.operands)]
        for text in re.sub(r"∂\w+: ", "", inspect.cleandoc(primitive.__doc__ or "")).splitlines()
        if text
    }
)


def characters(text: str) -> str:
    """What must be kept: all but spaces, and what a fraction bar, a root, a raised letter or a code font says."""
    return re.sub(r"[\s/()√^`]", "", unicodedata.normalize("NFKD", text))


def test_there_are_formulas():
    assert len(TEXTS) > 100


@pytest.mark.parametrize(("text", "operands"), TEXTS)
def test_every_formula_is_well_formed_and_whole(text, operands):
    root = ElementTree.fromstring(f"<p>{to_html(text, operands)}</p>")
    assert characters("".join(root.itertext())) == characters(text)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("z = x · y", "<math><mi>z</mi><mo>=</mo><mi>x</mi><mo>·</mo><mi>y</mi></math>"),
        ("g / 2z", "<math><mfrac><mi>g</mi><mrow><mn>2</mn><mi>z</mi></mrow></mfrac></math>"),
        ("1 / (1 + x)", "<math><mfrac><mn>1</mn><mrow><mn>1</mn><mo>+</mo><mi>x</mi></mrow></mfrac></math>"),
        ("e⁻ˣ", "<math><msup><mi>e</mi><mrow><mo>−</mo><mi>x</mi></mrow></msup></math>"),
        ("g where y > 0", "<math><mi>g</mi></math> where <math><mi>y</mi><mo>&gt;</mo><mn>0</mn></math>"),
        ("√x", "<math><msqrt><mi>x</mi></msqrt></math>"),
        ("sum over `dims`", "sum over <code>dims</code>"),
        ("weight · scale for all", "<math><mi>weight</mi><mo>·</mo><mi>scale</mi></math> for all"),
        ("<b>x</b> & `<i>`", None),
    ],
)
def test_examples(text, html):
    found = to_html(text, ("x", "y", "weight"))
    if html is not None:
        assert found == html
    assert not re.search(r"<(?!/?(math|m\w+|code)>)", found)
