"""Anomaly detection: a watcher that stops at the first NaN or infinity, forward or backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_med import backend
from tinygrad_med.engine.errors import describe, describe_nonfinite
from tinygrad_med.engine.lines import user_line

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Primitive, Record
    from tinygrad_med.core.tensor import Tensor


class AnomalyError(FloatingPointError):
    """An operation made a NaN or an infinity while `detect_anomaly` was on."""


class Anomaly:
    """The watcher of `detect_anomaly`."""

    def operation(
        self,
        primitive: Primitive,
        operands: Sequence[Any],  # noqa: ARG002 - every watcher gets them
        arrays: Sequence[Any],
        constants: dict[str, Any],  # noqa: ARG002 - likewise
        output: Tensor,
    ) -> None:
        """Check the output of an operation, and remember the line that ran it."""
        z = output.array
        if z.dtype.kind == "f" and not backend.array_module(z).isfinite(z).all():
            raise AnomalyError(
                f"{primitive}: its output has {describe_nonfinite(z)}; it ran at {user_line()} on {describe(arrays)}"
            )
        if output.origin is not None:
            output.origin.line = user_line()

    def walk(self, steps: Iterator[Any]) -> Iterator[Any]:
        """The steps up to the first contribution that has a NaN or an infinity."""
        for node, g, contributions in steps:
            for i, d in enumerate(contributions):
                if d is not None:
                    self.check(d, i, node)
            yield node, g, contributions

    def check(self, d: Any, i: int, record: Record) -> None:
        """Raise an error if a contribution has a NaN or an infinity."""
        array = getattr(d, "array", d)
        if not backend.array_module(array).isfinite(array).all():
            raise AnomalyError(
                f"backward of {record.primitive}: the gradient for its operand {i} has {describe_nonfinite(array)}; "
                f"the operation ran at {record.line or 'a line before detect_anomaly was on'}"
            )
