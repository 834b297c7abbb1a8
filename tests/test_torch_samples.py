"""PyTorch's own test samples, for every operation whose name we have: `benchmarks/torch_samples.py` runs them.

What is left out is listed there, with a reason each.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch's samples come with PyTorch")
pytest.importorskip("expecttest", reason="PyTorch's samples need it")

import tinygrad_med as tg  # noqa: E402
from benchmarks.torch_samples import (  # noqa: E402
    AGREE,
    ANSWERED,
    LEFT_OUT,
    WRONG,
    DifferenceError,
    Verdict,
    compare,
    examine,
    operations,
    verdict,
)

OPERATIONS = operations()


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.formatted_name)
def test_the_samples_of_pytorch(op):
    result = examine(op)
    for kind in ("position", "keyword", "method", "errors"):
        bad = {v.why for v in getattr(result, kind) if v.word not in (AGREE, LEFT_OUT, ANSWERED)}
        assert bad == set(), kind


def test_there_are_many_of_them():
    assert len(OPERATIONS) > 350


# Would it be noticed? -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "theirs", "why"),
    [
        ([1.0, 2.0], [1.0, 2.0 + 1e-6], "other numbers"),
        ([1.0, float("nan")], [1.0, 2.0], "other numbers"),
        ([[1.0]], [1.0], "shape"),
        ([1], [1.0], "dtype"),
    ],
)
def test_a_difference_is_noticed(mine, theirs, why):
    dtype = {int: tg.int64, float: tg.float64}
    mine = tg.tensor(mine, dtype=dtype[type(mine[0])] if not isinstance(mine[0], list) else tg.float64)
    with pytest.raises(DifferenceError, match=why):
        compare(mine, torch.tensor(theirs, dtype=torch.float64), "value")


def test_a_wrong_rule_is_noticed():
    (op,) = operations(["tan"])
    rule = tg.tan.rules["x"]
    try:
        tg.tan.vjp(x=lambda g, z: g * (1 + z))
        assert any(v.word == WRONG and "gradient" in v.why for v in examine(op).position)
    finally:
        tg.tan.vjp(x=rule.function)


def test_an_error_is_a_refusal():
    def run() -> None:
        raise ValueError("no")

    assert verdict(run) == Verdict("refuse", "ValueError: no")
