"""Every row of the table against numerical derivatives: what is right raises no alarm.

    python -m pytest tests/ops/test_numerical_derivatives.py --hypothesis-profile=long

tries `gradcheck` on 10,000 examples of each row, and `check_op` on 500; `benchmarks/gradcheck_long_run.py` runs it row
by row and can be interrupted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_med as tg
from tests.op_cases import ROWS, Row
from tinygrad_med.core.broadcast import cast
from tinygrad_med.testing import GradcheckError, check_op, gradcheck
from tinygrad_med.testing.strategies import Call

DIFFERENTIABLE = [row for row in ROWS if row.order]
LONG = settings.default.max_examples > 100  # the long profile, or CI's
EXAMPLES = settings.default.max_examples if LONG else 15
EXAMPLES_OF_ALL = settings.default.max_examples // 20 if LONG else 3


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=lambda row: row.name)
def test_a_right_derivative_raises_no_alarm(row: Row):
    @settings(max_examples=EXAMPLES)
    @given(row.calls)
    def check(call: Call) -> None:
        args = [tg.Tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x for x in call.args]
        kwargs = {name: tg.Tensor(c) if isinstance(c, np.ndarray) else c for name, c in call.kwargs.items()}

        def op(*operands: Any) -> Any:
            return row.op(*operands, **kwargs)

        assert gradcheck(op, args, order=2, fast_mode=True)

    check()


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=lambda row: row.name)
def test_every_promise_of_an_operation(row: Row):
    @settings(max_examples=EXAMPLES_OF_ALL)
    @given(row.calls)
    def check(call: Call) -> None:
        report = check_op(
            row.op, call, order=row.order, view=row.view, at_kinks=row.kinks, check_float32=row.primitive is not cast
        )
        assert "memory layouts" in report.passed

    check()


def test_a_wrong_derivative_does():
    @tg.primitive
    def sine(xp, x):
        return xp.sin(x)

    sine.vjp(x=lambda g, x: g * tg.cos(x) * 1.01)
    with pytest.raises(GradcheckError, match="sine, derivative of order 1 with respect to x: off by a factor"):
        gradcheck(sine, tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True), fast_mode=True)
