"""What a check found, in words and as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

MEANINGS = {
    "sign": "the sign is wrong",
    "factor": "off by a factor",
    "broadcast": "a sum over a broadcast dim is missing",
    "transposed": "transposed",
    "dim": "the wrong dim",
    "operand": "the wrong operand",
    "shifted": "off by one",
    "reversed": "in reversed order",
    "mask": "the wrong branch for some values",
    "term": "a term is missing, extra or wrong",
    "detached": "detached: a dependence that the derivative leaves out",
    "rules disagree": "the rule and the fast path give different gradients",
    "kink": "a kink or tie at the point",
    "boundary": "wrong at a kink",
    "tie": "wrong at a tie",
    "domain": "the point is at the end of the function's domain, or beyond it",
    "precision": "lack of precision",
    "overwritten": "an array that is not the operation's own is overwritten",
    "aliased": "the result shares memory with an input",
    "value": "the value differs from the reference",
    "shape": "the gradient has the wrong shape",
    "dtype": "the wrong dtype",
    "linearity": "the gradient is not linear in the upstream gradient",
    "layout": "another result for another memory layout",
    "device": "another result on the GPU",
    "error": "an error",
}
"""Every verdict, and what it means."""


@dataclass
class Report:
    """The outcome of a check; it prints as a diagnosis.

    Attributes:
        operation: what was checked.
        passed: the checks that passed, in order.
        left_out: the checks that could not be made, each with the reason.
        verdict: what is wrong, a key of `MEANINGS`; `None` if nothing is.
        evidence: the observations that the verdict rests on.
        order: of the wrong derivative; 0 for the value.
        operand: the operand whose derivative is wrong.
        element: the worst element of that operand, and the element of the result, as text: `x[0, 2] → z[1]`.
        analytic, numerical, uncertainty, complex_step: the derivative there, by the engine and by the two methods;
            `uncertainty` says how well the numerical value is known.
        curve: per step size, the error |analytic − central difference| there.
        example: the smallest failing arguments that hypothesis found, as text.
    """

    operation: str
    passed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list, kw_only=True)
    verdict: str | None = None
    evidence: list[str] = field(default_factory=list)
    order: int = 0
    operand: str | None = None
    element: str | None = None
    analytic: float | None = None
    numerical: float | None = None
    uncertainty: float | None = None
    complex_step: float | None = None
    curve: dict[float, float] = field(default_factory=dict)
    example: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return self.verdict is None

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
            return f"{self.operation}: ok ({', '.join(self.passed)}){left_out}"
        where = f", derivative of order {self.order}" if self.order else ""
        where += f" with respect to {self.operand}" if self.order and self.operand else ""
        lines = [f"{self.operation}{where}: {MEANINGS[self.verdict or 'error']}"]
        lines += [f"  verdict       {self.verdict}"]
        lines += [f"  {'evidence' if not i else '':12}  {text}" for i, text in enumerate(self.evidence)]
        if self.example:
            lines.append(f"  example       {self.operation}({self.example})")
        if self.element:
            lines.append(f"  worst at      {self.element}")
        if self.analytic is not None:
            lines.append(f"  analytic      {self.analytic:.10g}")
            lines.append(f"  numerical     {self.numerical:.10g} ± {max(self.uncertainty or 0.0, 1e-12):.0e}")
            lines.append(f"  complex step  {self._complex_step_as_text()}")
        return "\n".join([*lines, *self._curve_as_text()])

    @property
    def complex_step_agrees(self) -> bool:
        """Whether there is a complex step, and it gives what the central differences do."""
        if self.complex_step is None or self.numerical is None:
            return False
        return abs(self.complex_step - self.numerical) <= 1e-5 * (1 + abs(self.numerical))

    def _complex_step_as_text(self) -> str:
        if self.complex_step is None:
            return "not available: the function is not analytic, or refuses complex numbers"
        doubt = "" if self.complex_step_agrees else ", which does not count: the function is not analytic here"
        return f"{self.complex_step:.10g}{doubt}"

    def _curve_as_text(self) -> list[str]:
        if not self.curve:
            return []
        lines = ["  |analytic − central difference| over the step size"]
        for h, error in self.curve.items():
            size = 0 if not error or not math.isfinite(error) else max(0, round(2 * (math.log10(error) + 12)))
            lines.append(f"    {h:.0e}  {'▪' * min(size, 40)} {error:.1e}")
        return lines

    def plot(self, ax: Any = None) -> Any:
        """Draw the error over the step size with matplotlib; returns the axes.

        A wrong derivative gives a level line: the error is not the step's. A right one falls with h², until rounding
        lifts it again.

        Args:
            ax: axes to draw into; by default those of a new figure.
        """
        import matplotlib.pyplot

        if not self.curve:
            raise ValueError(f"plot: there is no curve to draw; the report is: {self}")
        if ax is None:
            ax = matplotlib.pyplot.figure(layout="constrained").add_subplot()
        steps, errors = list(self.curve), [max(e, 1e-17) for e in self.curve.values()]  # no 0 on a logarithmic axis
        ax.loglog(steps, errors, "o-", label="|analytic − central difference|")
        finite = [e for e in errors if math.isfinite(e)]
        if finite:  # seven decades at least: level is to look level
            top = 3 * max(finite)
            ax.set_ylim(min(1e-7 * top, min(finite) / 3), top)
        else:
            ax.text(0.5, 0.5, "no central difference is finite here", ha="center", transform=ax.transAxes)
        if self.complex_step_agrees and self.analytic is not None and self.complex_step is not None:
            error = abs(self.analytic - self.complex_step)
            ax.axhline(max(error, 1e-17), ls=":", color="tab:red", label="|analytic − complex step|")
        ax.set(xlabel="step size", ylabel="error", title=f"{self.operation}: {self.element}\n{self.verdict}")
        ax.legend()
        return ax


class GradcheckError(RuntimeError):
    """A check failed; `report` says how."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report
