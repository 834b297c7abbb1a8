"""Every row of the table of operations on a card: values and two derivatives, against float64 on the CPU.

    python -m tests.ops.on_a_card found.json     # `python -m benchmarks.gpu` runs it

In float64 the two must agree to 1e-9, in float32 to 1e-2 of the largest number. How far they are off is written down.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings

import tinygrad_med
from tests.op_cases import ROWS
from tests.ops.test_values_and_gradients import derivatives, in_float32
from tinygrad_med.testing.strategies import Call

BARS = {"float64": 1e-9, "float32": 1e-2}


def asked(every: int, examples: int, seconds: float) -> dict[str, Any]:
    """What becomes of each row that is reached in the time."""
    end = perf_counter() + seconds
    found: dict[str, Any] = {"agree": 0, "differ": {}, "not reached": []}
    errors: dict[str, float] = {}
    for row in ROWS[::every]:
        if perf_counter() > end:
            found["not reached"].append(row.name)
            continue
        try:
            worst = worst_of(row, examples)
        except Exception as error:  # noqa: BLE001 - every row shall have its turn
            found["differ"][row.name] = f"{type(error).__name__}: {str(error)[:300]}"
            continue
        errors[row.name] = worst["float32"]
        if any(worst[dtype] > bar for dtype, bar in BARS.items()):
            found["differ"][row.name] = worst
        else:
            found["agree"] += 1
    found["median in float32"] = statistics.median(errors.values()) if errors else None
    found["worst in float32"] = dict(sorted(errors.items(), key=lambda item: -item[1])[:10])
    return found


def worst_of(row: Any, examples: int) -> dict[str, float]:
    """By dtype the largest error of some calls of a row, of values and derivatives to the second order."""
    worst = {"float64": 0.0, "float32": 0.0}

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(row.calls)
    def compare(call: Call) -> None:
        order = min(row.order, 2)
        exact = derivatives(tinygrad_med, row.op, call, order, "cpu")
        narrow = Call(tuple(map(in_float32, call.args)), {name: in_float32(x) for name, x in call.kwargs.items()})
        for dtype, drawn in (("float64", call), ("float32", narrow)):
            there = derivatives(tinygrad_med, row.op, drawn, order, "cuda")
            worst[dtype] = float(f"{max([worst[dtype], *map(off, there, exact)]):.2g}")

    compare()
    return worst


def off(there: np.ndarray, exact: np.ndarray) -> float:
    """How far numbers are from the exact ones, relative to the largest of these or to 1."""
    assert there.shape == exact.shape, f"shapes {there.shape} and {exact.shape}"
    finite = np.isfinite(exact)
    assert (np.isfinite(there) == finite).all(), "other elements are finite"
    if not finite.any():
        return 0.0
    distance = np.abs(there[finite].astype("float64") - exact[finite]).max(initial=0)
    return float(distance / max(1.0, np.abs(exact[finite]).max()))


def main() -> None:
    """Ask the rows, and write what they say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--every", type=int, default=1, help="ask only every so-manieth row")
    parser.add_argument("--examples", type=int, default=3, help="of each row")
    parser.add_argument("--seconds", type=float, default=600, help="then the rest is left out")
    options = parser.parse_args()
    found = asked(options.every, options.examples, options.seconds)
    options.file.write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
