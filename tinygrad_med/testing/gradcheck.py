"""PyTorch's `gradcheck` and `gradgradcheck`, with a diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.testing import checks
from tinygrad_med.testing.compare import check_orders
from tinygrad_med.testing.layouts import laid_out
from tinygrad_med.testing.precision import Options, random_like
from tinygrad_med.testing.problem import Problem, operation_name, problem_of
from tinygrad_med.testing.report import GradcheckError, Report


@numpy.errstate(all="ignore")  # it is the check that judges the numbers
def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,  # noqa: ARG001 - PyTorch's; there are no sparse tensors here
    order: int = 1,
    allow_float32: bool = False,
    seed: int = 0,
) -> bool:
    """Whether the engine's derivatives of `func` agree with numerical ones; the arguments are PyTorch's.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors; or an `autograd.Function`.
        inputs: a tensor, or a tuple of arguments. The derivatives with respect to those tensors that require a gradient
            are checked; they should be float64.
        eps: the step of the numerical derivative, 1e-6. Steps from 0.1 to 10,000 times as large are tried besides.
        atol, rtol: |analytic − numerical| may be up to atol + rtol · |numerical|, 1e-5 and 1e-3.
        raise_exception: raise an error that says what is wrong, instead of returning `False`.
        nondet_tol: by how much two runs on the same inputs may differ.
        check_undefined_grad: with several results, leaving out one's upstream gradient must mean that it is zero.
        check_grad_dtypes: gradients must have the dtypes of their inputs.
        check_backward_ad: `False` checks no derivative, only that the function can be checked.
        fast_mode: compare random projections, not Jacobians. Large inputs are always checked so.
        masked: without effect, as there are no sparse tensors.
        check_batched_grad, check_batched_forward_grad, check_forward_ad: not supported.
        order: the highest order of derivative to check: 2 also checks the gradient of the gradient, and so on.
        allow_float32: accept inputs of low precision, and compare within what that precision can tell.
        seed: of the random upstream gradients.

    Raises:
        GradcheckError: if a derivative is wrong; its `report` is the diagnosis.
        ValueError: if the check can't say anything: an input is float32, no result requires a gradient, or the function
            is not deterministic; also, whatever `raise_exception` says, if no input requires a gradient.
    """
    if check_batched_grad or check_batched_forward_grad or check_forward_ad:
        raise NotImplementedError(
            "gradcheck: this engine has neither batched gradients nor forward mode; leave these checks off"
        )
    options = Options(order, eps, atol, rtol, False, nondet_tol, allow_float32, fast_mode, seed)
    try:
        problem = _checkable(func, _as_arguments(inputs), options, "gradcheck")
    except checks.UncheckableError:
        if raise_exception:
            raise
        return False
    if not check_backward_ad:
        return True
    rng = numpy.random.default_rng(seed)
    report = check_orders(problem, options, rng, operation_name(func))
    return _verdict(report, problem, rng, check_undefined_grad, check_grad_dtypes, raise_exception)


@numpy.errstate(all="ignore")
def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,  # noqa: ARG001 - PyTorch's; there are no sparse tensors here
    allow_float32: bool = False,
    seed: int = 0,
) -> bool:
    """Whether the gradient of the gradient of `func` is right; the arguments are PyTorch's.

    As in PyTorch the gradient itself is taken to be right; `gradcheck(…, order=2)` checks both.

    Args:
        func, inputs: as for `gradcheck`.
        grad_outputs: the upstream gradients at which to check, random ones by default.
        gen_non_contig_grad_outputs: make the random ones non-contiguous in memory.
        check_rev_over_rev: `False` checks no derivative.
        check_fwd_over_rev, check_batched_grad: not supported.
        eps, atol, rtol, raise_exception, nondet_tol, check_undefined_grad, check_grad_dtypes, fast_mode, masked,
            allow_float32, seed: as for `gradcheck`.

    Raises:
        GradcheckError, ValueError: as `gradcheck`.
    """
    if check_fwd_over_rev or check_batched_grad:
        raise NotImplementedError(
            "gradgradcheck: this engine has neither forward mode nor batched gradients; leave these checks off"
        )
    options = Options(2, eps, atol, rtol, False, nondet_tol, allow_float32, fast_mode, seed)
    try:
        problem = _checkable(func, _as_arguments(inputs), options, "gradgradcheck")
    except checks.UncheckableError:
        if raise_exception:
            raise
        return False
    if not check_rev_over_rev:
        return True
    rng = numpy.random.default_rng(seed)
    results = problem(problem.point)
    if grad_outputs is None:
        layout = "strided" if gen_non_contig_grad_outputs else "contiguous"
        upstream = [laid_out(u, layout) for u in random_like(results, rng)]
    else:
        given = [u.array if isinstance(u, Tensor) else u for u in _as_arguments(grad_outputs)]
        upstream = [numpy.asarray(backend.to_numpy(u)) for u in given]
        expected, got = [z.shape for z in results], [u.shape for u in upstream]
        if expected != got:
            raise ValueError(f"gradgradcheck: grad_outputs have the shapes {got}, the results {expected}")
    gradient = problem.derivative(upstream)
    report = check_orders(gradient, options, rng, operation_name(func))
    return _verdict(report, gradient, rng, check_undefined_grad, check_grad_dtypes, raise_exception)


def _as_arguments(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


def _checkable(func: Callable[..., Any], args: tuple[Any, ...], options: Options, caller: str) -> Problem:
    """The problem, unless a check of it would say nothing."""
    checks.refuse_bad_inputs(args, options.allow_float32, caller)
    problem = problem_of(func, args)
    checks.refuse_silent_function(problem, operation_name(func), caller)
    checks.refuse_random_function(problem, options.nondet_tol, operation_name(func), caller)
    return problem


def _verdict(
    report: Report,
    problem: Problem,
    rng: numpy.random.Generator,
    undefined: bool,
    dtypes: bool,
    raise_exception: bool,
) -> bool:
    for wanted, check in ((undefined, checks.undefined_not_zero), (dtypes, checks.wrong_dtypes)):
        if report.ok and wanted and (finding := check(problem, rng)):
            report = Report(report.operation, report.passed, finding.verdict, finding.evidence)
    if raise_exception and not report.ok:
        raise GradcheckError(report)
    return report.ok
