"""How to compute with float16, which ends at 65,504 and counts to 2,048: in float32."""

from __future__ import annotations

import functools
from typing import Any

from tinygrad_med.core.broadcast import cast
from tinygrad_med.dtypes import float16, float32
from tinygrad_med.ops.dims import F


def half_in_single(function: F) -> F:
    """`function`, for a float16 x computed in float32: many squares and sums exceed the largest float16."""

    @functools.wraps(function)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if x.dtype != float16:
            return function(x, *args, **kwargs)
        return cast(function(cast(x, dtype=float32), *args, **kwargs), dtype=float16)

    return call  # type: ignore[return-value]
