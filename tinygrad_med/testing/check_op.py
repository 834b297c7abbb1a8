"""Everything that an operation promises, checked in one line."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.backward import grad
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.testing import checks
from tinygrad_med.testing.compare import check_orders
from tinygrad_med.testing.diagnosis import Finding
from tinygrad_med.testing.layouts import LAYOUTS, copied, laid_out
from tinygrad_med.testing.precision import Options, random_like
from tinygrad_med.testing.problem import WALK_ERRORS, Problem, called, float_results, operation_name, problem_of
from tinygrad_med.testing.report import GradcheckError, Report


@numpy.errstate(all="ignore")  # it is the check that judges the numbers
def check_op(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    reference: Callable[..., Any] | None = None,
    order: int = 2,
    view: bool = False,
    at_kinks: Iterable[tuple[Any, Any]] = (),
    fast_mode: bool = False,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    value_tol: float = 1e-10,
    nondet_tol: float = 0.0,
    allow_float32: bool = False,
    raise_exception: bool = True,
    check_float32: bool = True,
    check_gpu: bool = True,
    max_examples: int = 100,
    seed: int = 0,
) -> Report:
    """Check an operation: its value, its derivatives, and what it must not do.

        check_op(huber, x)                                             # at one point
        check_op(huber, strategies.arrays(), reference=slow_huber)     # hypothesis looks for the smallest failure

    In this order: its value is the reference's; two runs are alike; operands, upstream gradients and the result are
    not overwritten; the result is no view of an operand; gradients have the operands' dtypes; they are right up to
    `order`; they are linear in the upstream gradient; in float32 everything is float32; memory layouts and broadcast
    views, of operands and of upstream gradients, make no difference; nor does a GPU, where there is one; at kinks it
    does what is stated. Derivatives are held closer than by `gradcheck`, to about 1e-5 of the largest one, where the
    numerical ones are as certain: tiny ones count too, and a constant with four right digits does not pass.

    Args:
        fn: a primitive, an `autograd.Function`, or any function of tensors that returns a tensor or several.
        inputs: one operand; or a tuple of arguments; or a `strategies.Call` with more of them by name; or a hypothesis
            strategy of any of these. Float arrays and float tensors are the operands, by name just those tensors that
            require a gradient; everything else is passed on.
        reference: called with arrays where `fn` gets tensors; returns the value that is right.
        order: the highest order of derivative to check; 0 checks the value alone.
        view: whether the result may share memory with an operand.
        at_kinks: pairs of inputs at a kink or tie, and the gradients of the operands that you stand for there, the
            upstream gradient being 1.
        fast_mode: compare random projections, not Jacobians.
        eps, nondet_tol, allow_float32: as for `gradcheck`.
        atol, rtol: where one of them is given, |analytic − numerical| may be up to atol + rtol · |numerical|, the other
            one being PyTorch's.
        value_tol: how far the value may be from the reference's, in units of its largest element.
        check_float32: whether float32 operands must give float32; not for an operation that changes the dtype, or that
            holds float64 arrays. Of a module, a copy is made float32.
        check_gpu: whether to compare with a GPU, where there is one; not for a function that holds arrays of the CPU.
            Of a module, a copy goes there.
        raise_exception: raise a `GradcheckError` with the diagnosis on a failure, instead of returning the report.
        max_examples: how many examples hypothesis draws from a strategy.
        seed: of the random upstream gradients.

    Returns:
        The report: `report.passed` lists the checks; printed, it is the diagnosis.

    Raises:
        GradcheckError: if a check fails; from a strategy, for the smallest example found.
        ValueError: if the check can't say anything, as for `gradcheck`, or the strategy yields no valid example.
    """
    options = Options(order, eps, atol, rtol, True, nondet_tol, allow_float32, fast_mode, seed)
    check_gpu = check_gpu and backend.cuda_problem() is None
    checker = _Checker(fn, options, reference, value_tol, view, check_float32, check_gpu)
    if type(inputs).__module__.partition(".")[0] == "hypothesis":
        report = _search(checker, inputs, max_examples)
    else:
        report = checker.check(inputs)
    if report.ok:
        for example, gradients in at_kinks:
            finding = _kink(fn, *_as_call(example), gradients)
            if finding is not None:
                report = _fail(report, finding, order=1)
                break
    if raise_exception and not report.ok:
        raise GradcheckError(report)
    return report


def _as_call(example: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of one call; the operands become leaves that require a gradient."""
    constants: dict[str, Any] = {}
    if hasattr(example, "args") and hasattr(example, "kwargs"):
        example, constants = example.args, example.kwargs
    arguments = list(example) if isinstance(example, (tuple, list)) else [example]
    return [_as_operand(x) for x in arguments], {n: _as_constant(c) for n, c in constants.items()}


def _as_operand(x: Any) -> Any:
    return _own_tensor(x, operand=True) if isinstance(x, Tensor) or backend.is_array(x) else x


def _as_constant(c: Any) -> Any:
    wanted = isinstance(c, Tensor) and c.requires_grad
    return _own_tensor(c, operand=wanted) if isinstance(c, (Tensor, numpy.ndarray)) else c


def _own_tensor(x: Any, operand: bool) -> Tensor:
    """x in memory of its own, so that nobody writes to the user's; laid out as it is."""
    array = x.array if isinstance(x, Tensor) else x
    array = copied(array) if isinstance(array, numpy.ndarray) else array.copy()
    return Tensor(array, requires_grad=operand and array.dtype.kind == "f")


# One call -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Checker:
    """The arguments of `check_op`, and the check of one call."""

    fn: Callable[..., Any]
    options: Options
    reference: Callable[..., Any] | None
    value_tol: float
    view: bool
    check_float32: bool
    check_gpu: bool

    @property
    def name(self) -> str:
        """What the report calls the operation."""
        return operation_name(self.fn)

    def check(self, example: Any) -> Report:
        """Check one call; the first broken promise ends it."""
        args, kwargs = _as_call(example)
        report = Report(self.name)
        if self.reference is not None:
            if finding := _value(self.fn, args, kwargs, self.reference, self.value_tol):
                return _fail(report, finding)
            report.passed.append("value")
        if not self.options.order:
            return report
        if not any(isinstance(x, Tensor) and x.requires_grad for x in (*args, *kwargs.values())):
            got = [f"an array of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__ for x in args]
            raise ValueError(
                f"check_op: an operand is a float array or tensor, and {self.name} got none among {', '.join(got)}; "
                "give np.array([1.0, …]), several arguments as a tuple, strategies of them as strategies.calls(…)"
            )
        checks.refuse_bad_inputs([*args, *kwargs.values()], self.options.allow_float32, "check_op")
        problem = problem_of(self.fn, args, kwargs)
        checks.refuse_silent_function(problem, self.name, "check_op")
        checks.refuse_random_function(problem, self.options.nondet_tol, self.name, "check_op")
        rng = numpy.random.default_rng(self.options.seed)
        try:
            if finding := checks.overwritten(problem, rng):
                return _fail(report, finding, order=1)
            report.passed.append("nothing overwritten")
            if not self.view and (finding := checks.aliased(problem)):
                return _fail(report, finding)
            if finding := checks.wrong_dtypes(problem, rng):
                return _fail(report, finding, order=1)
        except WALK_ERRORS:
            pass  # the walk itself fails: the comparison below reports it, with its order and verdict
        compared = check_orders(problem, self.options, rng, self.name)
        compared.passed = [*report.passed, *compared.passed]
        return self._check_conditions(compared, problem, args, kwargs, rng) if compared.ok else compared

    def _check_conditions(
        self, report: Report, problem: Problem, args: list[Any], kwargs: dict[str, Any], rng: numpy.random.Generator
    ) -> Report:
        """The same derivatives under other conditions: dtype, memory layout, device."""
        module = hasattr(self.fn, "named_modules")  # a copy of it goes along, with its parameters

        def in_layouts() -> Finding | None:
            return _layouts(problem, rng)

        def in_float32() -> Finding | None:
            fn: Any = copy.deepcopy(self.fn).float() if module else self.fn  # type: ignore[attr-defined]
            single = problem_of(fn, [_in_float32(x) for x in args], {n: _in_float32(c) for n, c in kwargs.items()})
            return checks.not_in_float32(single, rng)

        def on_a_gpu() -> Finding | None:
            fn: Any = copy.deepcopy(self.fn).to("cuda") if module else self.fn  # type: ignore[attr-defined]
            there = problem_of(fn, [_on_a_gpu(x) for x in args], {n: _on_a_gpu(c) for n, c in kwargs.items()})
            return _gpu(problem, there, rng)

        for passed, wanted, check, where in (
            ("float32", self.check_float32, in_float32, "for float32 operands (check_float32=False leaves them out)"),
            ("memory layouts", True, in_layouts, "for operands in another memory layout"),
            ("GPU", self.check_gpu, on_a_gpu, "on the GPU (check_gpu=False leaves it out)"),
        ):
            if not wanted:
                continue
            try:
                finding = check()
            except backend.DeviceError:
                report.left_out.append(f"{passed}: the function holds arrays of the CPU")
                continue
            except WALK_ERRORS as error:
                finding = Finding("error", [f"{type(error).__name__} {where}: {error}"])
            if finding:
                return _fail(report, finding, order=1)
            report.passed.append(passed)
        return report


def _in_float32(x: Any) -> Any:
    if not isinstance(x, Tensor) or x.dtype.kind != "f":
        return x
    return Tensor(x.array.astype("float32"), requires_grad=x.requires_grad)


def _on_a_gpu(x: Any) -> Any:
    return x.detach().to("cuda").requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x


def _fail(report: Report, finding: Finding, order: int = 0) -> Report:
    return Report(report.operation, report.passed, finding.verdict, finding.evidence, order=order)


def _value(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    reference: Callable[..., Any],
    tolerance: float,
) -> Finding | None:
    plain = [backend.to_numpy(x.array).copy() if isinstance(x, Tensor) else x for x in args]
    constants = {n: backend.to_numpy(c.array).copy() if isinstance(c, Tensor) else c for n, c in kwargs.items()}
    result = called(fn)(*(_own_tensor(x, operand=False) if isinstance(x, Tensor) else x for x in args), **kwargs)
    results = [result] if isinstance(result, Tensor) else list(result)
    expected = reference(*plain, **constants)
    expected = expected if isinstance(expected, (tuple, list)) else [expected]
    if len(expected) != len(results):
        return Finding("value", [f"{len(results)} results, the reference gives {len(expected)}"])
    for z, r in zip(results, expected, strict=True):
        ours, theirs = backend.to_numpy(z.array), numpy.asarray(r)
        if ours.shape != theirs.shape:
            return Finding("value", [f"shape {ours.shape}, the reference gives {theirs.shape}"])
        # Beside operands of size 1, a result of 1e-16 may be what is left of larger ones that cancel.
        scale = max(_largest(theirs), 1e-4 * max((_largest(x) for x in plain if backend.is_array(x)), default=1))
        wrong = ~numpy.isclose(ours, theirs, rtol=0, atol=tolerance * scale, equal_nan=True)
        if wrong.any():
            place = tuple(int(n) for n in numpy.argwhere(wrong)[0])
            says = f"{int(wrong.sum())} of {wrong.size} elements differ; at {list(place)} {ours[place]:.10g}"
            return Finding("value", [f"{says}, the reference gives {theirs[place]:.10g}"])
    return None


def _largest(x: numpy.ndarray) -> float:
    """The largest finite |x|, 0 if there is none."""
    return float(numpy.abs(x[numpy.isfinite(x)]).max(initial=0)) if x.dtype.kind in "iuf" else 0.0


def _layouts(problem: Problem, rng: numpy.random.Generator) -> Finding | None:
    """The same numbers in every memory layout, and as broadcast views: as operands, and as upstream gradients."""
    plain = problem.at([laid_out(x, "contiguous") for x in problem.point])
    upstream = random_like(plain(plain.point), rng)

    def differs(point: Sequence[Any], gradients: Sequence[Any]) -> str | None:
        copies = [[laid_out(x, "contiguous") for x in arrays] for arrays in (point, gradients)]
        return checks.differs(plain.at(copies[0]), copies[1], plain.at(point), gradients)

    for layout in LAYOUTS:
        point, gradients = ([laid_out(x, layout) for x in arrays] for arrays in (plain.point, upstream))
        if where := differs(point, upstream):
            return Finding("layout", [f"{where} is another one for {layout} operands"])
        if where := differs(plain.point, gradients):
            return Finding("layout", [f"{where} is another one for a {layout} upstream gradient"])
    for k, name in enumerate(plain.outputs):
        for view, dims in _broadcast_views(upstream[k]):
            if where := differs(plain.point, [*upstream[:k], view, *upstream[k + 1 :]]):
                says = f"{where} is another one if the upstream gradient of {name} is a broadcast view over {dims}"
                return Finding("layout", [says])
    for k, name in enumerate(plain.names):
        for view, dims in _broadcast_views(plain.point[k]):
            point = [*plain.point[:k], view, *plain.point[k + 1 :]]
            if _is_tame(plain.at(point)) and (where := differs(point, upstream)):
                return Finding("layout", [f"{where} is another one if {name} is a broadcast view over {dims}"])
    return None


def _broadcast_views(x: numpy.ndarray) -> Iterator[tuple[numpy.ndarray, str]]:
    """Views of the shape of x in which the first element along a dim, or along all, stands for every other."""
    for d in range(x.ndim) if x.size else ():
        yield numpy.broadcast_to(x.take([0], d), x.shape), f"dim {d}"
    if x.ndim > 1 and x.size:
        yield numpy.broadcast_to(x.ravel()[:1], x.shape), "all dims, as sum() gives it"


def _is_tame(problem: Problem) -> bool:
    """Whether the function takes this point, and gives results and gradients that rounding does not decide about."""
    try:
        results = problem(problem.point)
        numbers = [*results, *problem.pull_back([numpy.ones_like(z) for z in results])]
    except WALK_ERRORS:
        return False
    return all((numpy.abs(a.astype("float64")) < 1e6).all() for a in numbers)


def _gpu(problem: Problem, there: Problem, rng: numpy.random.Generator) -> Finding | None:
    """The same numbers on the CPU and on a GPU."""
    upstream = random_like(problem(problem.point), rng)
    if where := checks.differs(problem, upstream, there, upstream):
        return Finding("device", [f"{where} is another one on the GPU"])
    return None


def _kink(fn: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], gradients: Any) -> Finding | None:
    """At a kink the gradients must be those that the user stands for."""
    operands = [x for x in args if isinstance(x, Tensor) and x.requires_grad]
    results = [z for z in float_results(called(fn)(*args, **kwargs)) if z.requires_grad]
    ones = [Tensor(backend.array_module(z.array).ones_like(z.array)) for z in results]
    found = grad(results, operands, ones, allow_unused=True)
    stated = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    for k, (x, g, expected) in enumerate(zip(operands, found, stated, strict=True)):
        ours = numpy.zeros(x.shape) if g is None else backend.to_numpy(g.array)
        values = backend.to_numpy(x.array)
        if not numpy.allclose(ours, expected, rtol=1e-6, atol=1e-9):
            wrong = ~numpy.isclose(ours, expected, rtol=1e-6, atol=1e-9)
            all_values = numpy.concatenate([backend.to_numpy(y.array).ravel() for y in operands])
            tied = any((all_values == v).sum() > 1 for v in values[wrong])
            says = f"operand {k} is {values.tolist()}, its gradient {ours.tolist()}, stated is {_listed(expected)}"
            return Finding("tie" if tied else "boundary", [says])
    return None


def _listed(x: Any) -> Any:
    return numpy.asarray(x).tolist()


# Many calls ---------------------------------------------------------------------------------------------------------


def _search(checker: _Checker, strategy: Any, max_examples: int) -> Report:
    """Let hypothesis look for an example that fails, and shrink it; the report of the smallest one."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis.errors import FailedHealthCheck, Unsatisfiable

    last, count = Report(checker.name), 0

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(strategy)
    def every(example: Any) -> None:
        nonlocal last, count
        last, count = checker.check(example), count + 1
        if not last.ok:
            last.example = _described(example)
            raise GradcheckError(last)

    try:
        every()
    except (Unsatisfiable, FailedHealthCheck) as error:
        raise ValueError(
            f"check_op: the strategy for {checker.name} yields no valid example, or hardly any "
            f"({str(error).splitlines()[0]}); loosen its filters"
        ) from None
    except GradcheckError as error:
        return error.report
    last.passed.insert(0, f"{count} example{'s' * (count != 1)}")
    return last


def _described(example: Any) -> str:
    """The arguments of a call, as one would write them."""
    args, kwargs = _as_call(example)
    listed = [*map(_written, args), *(f"{name}={_written(c)}" for name, c in kwargs.items())]
    return ", ".join(listed)


def _written(x: Any) -> str:
    if not isinstance(x, Tensor):
        return repr(x)
    if x.numel() > 16:
        return f"<{x.dtype} {x.shape}>"
    return numpy.array2string(backend.to_numpy(x.array), precision=4, separator=", ", max_line_width=10_000)
