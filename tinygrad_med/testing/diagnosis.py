"""From the two Jacobians, the engine's and the numerical one, to what is wrong in the rule.

Every recogniser asks one question: *would this mistake turn the numerical Jacobian into the analytic one?* The first
that says yes gives the verdict, with its evidence. They are ordered from the most specific answer to "a term is wrong".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy

from tinygrad_med.testing.numeric import flat, one_sided, unit
from tinygrad_med.testing.problem import PROJECTION, Problem


class Finding(NamedTuple):
    """A verdict, a key of `report.MEANINGS`, and what it rests on."""

    verdict: str
    evidence: list[str]


class Evidence(NamedTuple):
    """What is known about a wrong derivative with respect to one operand.

    Attributes:
        problem: the function and the point.
        operand: which one.
        elements: the flat positions in the operand that were looked at: the rows of the Jacobians.
        analytic, numerical: the Jacobians, (elements, results).
        error: how far the numerical one is from certain.
        wrong: where the two differ by more than the tolerance.
        jacobian_of: the numerical Jacobian of another operand, by its number.
        results_shape: the shape of the single result; `None` if there are several, or projections of them.
    """

    problem: Problem
    operand: int
    elements: numpy.ndarray
    analytic: numpy.ndarray
    numerical: numpy.ndarray
    error: numpy.ndarray
    wrong: numpy.ndarray
    jacobian_of: Callable[[int], numpy.ndarray]
    results_shape: tuple[int, ...] | None

    @property
    def x(self) -> numpy.ndarray:
        """The operand."""
        return self.problem.point[self.operand]

    @property
    def name(self) -> str:
        """Its name."""
        return self.problem.names[self.operand]

    @property
    def whole(self) -> bool:
        """Whether every element of the operand and of a single result is known, so that dims can be compared."""
        return self.results_shape is not None and len(self.elements) == self.x.size

    def only(self, rows: numpy.ndarray) -> Evidence:
        """The evidence of some of the elements."""
        return self._replace(
            **{name: getattr(self, name)[rows] for name in ("elements", "analytic", "numerical", "error", "wrong")}
        )

    @property
    def scale(self) -> float:
        """The largest derivative, but at most 1: a derivative is next to nothing if it is so beside this."""
        size = numpy.abs(self.numerical[numpy.isfinite(self.numerical)])
        return min(1.0, float(size.max(initial=0))) or 1.0

    @property
    def alike(self) -> float:
        """Up to which share of the largest derivative two are taken for the same: finer than the mistake is."""
        scale, mistake = (numpy.abs(a).max(initial=0) for a in (self.analytic, self.analytic - self.numerical))
        return min(1e-4, 0.1 * float(mistake / scale)) if scale > 0 and numpy.isfinite(mistake) else 1e-4

    def is_analytic(self, candidate: numpy.ndarray) -> bool:
        """Whether `candidate` is the analytic Jacobian, as exactly as the numerical one is known."""
        scale = float(numpy.abs(self.analytic).max(initial=0))
        return bool((numpy.abs(candidate - self.analytic) <= self.alike * scale + 10 * self.error).all())

    def as_tensor(self, jacobian: numpy.ndarray) -> numpy.ndarray:
        """A Jacobian with the dims of the operand, then those of the result."""
        return jacobian.reshape(self.x.shape + (self.results_shape or ()))


def diagnose(e: Evidence) -> Finding:
    """The verdict."""
    kinked = numpy.array([row.any() and _is_kink(e, j) for j, row in zip(e.elements, e.wrong, strict=True)], bool)
    if kinked.any():
        smooth = e.only(~kinked)
        if not smooth.wrong.any():
            return _at_kink(e, int(numpy.flatnonzero(kinked)[0]))
        e = smooth
    outside = (e.wrong & ~numpy.isfinite(e.analytic + e.numerical + e.error)).any(1)
    if outside.any():
        inside = e.only(~outside)
        if not inside.wrong.any():
            return _at_the_end(e, int(numpy.flatnonzero(outside)[0]))
        e = inside
    for recognise in RECOGNISERS:
        if found := recognise(e):
            return found
    return _term(e)


# Where no derivative exists -----------------------------------------------------------------------------------------


def _at_the_end(e: Evidence, row: int) -> Finding:
    """Beside the point, or at it, the function has no finite value."""
    place = f"{e.name} = {e.x.flat[e.elements[row]]:.4g}"
    finite = numpy.isfinite(flat(e.problem(e.problem.point))).all()
    where = f"beside {place}" if finite else f"at {place} itself"
    return Finding(
        "domain",
        [
            f"{where} the function is NaN or infinite, so there is nothing to compare with",
            "move the point into the domain, with strategies.arrays by low=… or away_from=…",
        ],
    )


def _is_kink(e: Evidence, element: int) -> bool:
    """Whether the slopes to the left and to the right of an element differ, or grow, however small the step."""
    directions = _along(e, {e.operand: unit(e.x, element)})
    size = e.scale + float(numpy.abs(flat(e.problem(e.problem.point))).max(initial=0))
    gaps, slopes = [], []
    for h in (1e-4, 1e-5, 1e-6):
        left, right = one_sided(e.problem, e.problem.point, directions, h)
        noise = 1e-13 / h * size
        gaps.append(float(numpy.nanmax(numpy.abs(right - left), initial=0)) - noise)
        slopes.append(float(numpy.nanmax(numpy.abs(right + left) / 2, initial=0)) - noise)
    bends = min(gaps) > 1e-4 * e.scale and gaps[-1] > 0.3 * gaps[0]
    jumps = min(slopes) > 1e3 * e.scale and slopes[-1] > 30 * slopes[0]
    return bends or jumps


def _along(e: Evidence, directions: dict[int, numpy.ndarray]) -> list[Any]:
    return [directions.get(k) for k in range(len(e.problem.point))]


def _at_kink(e: Evidence, row: int) -> Finding:
    """At a kink any slope between the left and the right one will do; among ties, for all of them together."""
    value = e.x.flat[e.elements[row]]
    if e.problem.order > 1:
        return Finding(
            "kink",
            [f"at {e.name} = {value:.4g} the derivative of order {e.problem.order - 1} jumps: there is none above it"],
        )
    tied = {k: (x == value).astype("float64") for k, x in enumerate(e.problem.point)}
    count = int(sum(v.sum() for v in tied.values()))
    upstream = numpy.random.default_rng(0).uniform(0.5, 1.5, e.analytic.shape[1])
    h = 1e-6
    for directions, ties in (({e.operand: unit(e.x, int(e.elements[row]))}, 1), (tied, count)):
        left, right = (d @ upstream for d in one_sided(e.problem, e.problem.point, _along(e, directions), h))
        gradients = e.problem.pull_back(_split(upstream, e.problem))
        claimed = float(sum((gradients[k] * v).sum() for k, v in directions.items()))
        low, high = sorted((float(left), float(right)))
        little = 1e-4 * e.scale
        if not low - little <= claimed <= high + little:
            what = f"{ties} elements equal to {value:.4g}" if ties > 1 else f"{e.name} = {value:.4g}"
            slopes = f"{low:.4g}" if high - low < little else f"between {low:.4g} and {high:.4g}"
            return Finding(
                "tie" if ties > 1 else "boundary",
                [f"moving {what} changes the result at a rate {slopes}, the gradient claims {claimed:.4g}"],
            )
    tie = f", where {count} elements are equal" if count > 1 else ""
    return Finding(
        "kink",
        [
            f"at {e.name} = {value:.4g}{tie} the slopes to the left and to the right differ: there is no derivative",
            "the gradient lies between them, so it may be right: move away, or state what holds there (at_kinks)",
        ],
    )


def _split(vector: Any, problem: Problem) -> list[numpy.ndarray]:
    """A flat vector in the shapes of the results."""
    shapes = [z.shape for z in problem(problem.point)]
    ends = numpy.cumsum([math.prod(s) for s in shapes])[:-1]
    return [part.reshape(s) for part, s in zip(numpy.split(vector, ends), shapes, strict=True)]


def _precision(e: Evidence) -> Finding | None:
    difference = numpy.abs(e.analytic - e.numerical)
    if e.x.dtype == "float64" and not (e.error[e.wrong] > 0.1 * difference[e.wrong]).all():
        return None
    if e.x.dtype != "float64" and not (30 * e.error[e.wrong] > difference[e.wrong]).all():
        return None
    return Finding(
        "precision",
        [
            f"in {e.x.dtype} the numerical derivative itself is uncertain by {e.error[e.wrong].max():.1e}",
            "check in float64; if it is float64, the function loses digits or is not smooth",
        ],
    )


# Where order 1 was right --------------------------------------------------------------------------------------------


def _detached(e: Evidence) -> Finding | None:
    nothing = not e.analytic.any() and e.numerical.any()
    if e.problem.order == 1:
        if not nothing:
            return None
        return Finding("detached", [f"the analytic derivative is 0 everywhere, but the result does depend on {e.name}"])
    missing = "everywhere" if nothing else f"in {_count(e.wrong)} derivatives"
    return Finding(
        "detached",
        [
            f"order {e.problem.order - 1} is right, but its own dependence on {e.name} is wrong {missing}",
            "the rule takes a value for a constant (an array for a tensor, detach(), no_grad()), or",
            "it calls an operation whose own derivative is wrong",
        ],
    )


# One change of the whole Jacobian -----------------------------------------------------------------------------------


def _sign(e: Evidence) -> Finding | None:
    if not e.is_analytic(-e.numerical):
        return None
    return Finding("sign", [f"analytic = −numerical in {_all(e)}"])


def _factor(e: Evidence) -> Finding | None:
    analytic, numerical = e.analytic / e.scale, e.numerical / e.scale  # the squares of tiny ones would be 0
    square = float((numerical**2).sum())
    c = float((analytic * numerical).sum()) / square if square else 0.0
    part = e.problem.order > 1 and 0 < c < 1  # what a constant in a product leaves: of x · x · x two thirds
    if not c or part or not e.is_analytic(c * e.numerical):
        return None
    evidence = [f"analytic = {_in_words(c, e)} · numerical in {_all(e)}"]
    if abs(c - 1) < 0.01:
        evidence.append("so near to 1, it may be a constant with too few right digits; if that is meant, pass rtol=…")
    return Finding("factor", evidence)


def _all(e: Evidence) -> str:
    return f"all {e.analytic.size} derivatives" if e.analytic.size > 1 else "the only derivative"


def _in_words(c: float, e: Evidence) -> str:
    """A factor as a fraction, or by what it could come from."""
    named = {"π": math.pi, "√2": math.sqrt(2), "2/√π": 2 / math.sqrt(math.pi), "√π/2": math.sqrt(math.pi) / 2}
    for name, value in named.items():
        if math.isclose(c, value, rel_tol=1e-4):
            return name
    fraction = Fraction(c).limit_denominator(64)
    text = str(fraction) if math.isclose(c, fraction, rel_tol=1e-5) else f"{c:.7g}"
    lengths = {*e.x.shape, *(e.results_shape or ()), e.x.size, e.analytic.shape[1]} - {0, 1}
    of = [
        f"{n}, a number of elements"
        for n in sorted(lengths)
        if math.isclose(max(c, 1 / c if c else 0), n, rel_tol=1e-5)
    ]
    return f"{text} ({of[0]})" if of else text


def _operand(e: Evidence) -> Finding | None:
    for k, other in enumerate(e.problem.point if e.problem.order == 1 else []):
        comparable = k != e.operand and other.shape == e.x.shape and len(e.elements) == e.x.size
        if comparable and e.is_analytic(e.jacobian_of(k)):
            name = e.problem.names[k]
            return Finding("operand", [f"the gradient of {e.name} is the one that belongs to {name}"])
    return None


# The dims of the Jacobian -------------------------------------------------------------------------------------------


def _transposed(e: Evidence) -> Finding | None:
    if not e.whole:
        return None
    jacobian, names = e.as_tensor(e.numerical), _dim_names(e)
    for p, q in itertools.combinations(range(jacobian.ndim), 2):
        same = jacobian.shape[p] == jacobian.shape[q] > 1
        if same and e.is_analytic(numpy.swapaxes(jacobian, p, q).reshape(e.analytic.shape)):
            return Finding("transposed", [f"analytic = numerical with {names[p]} and {names[q]} exchanged"])
    dims = tuple(range(e.x.ndim))
    for order in itertools.permutations(dims) if e.x.ndim <= 4 else ():
        permuted = jacobian.transpose(*order, *range(e.x.ndim, jacobian.ndim))
        if order != dims and permuted.shape == jacobian.shape and e.is_analytic(permuted.reshape(e.analytic.shape)):
            return Finding("transposed", [f"analytic = numerical with the dims of {e.name} in the order {order}"])
    return None


def _reversed_or_shifted(e: Evidence) -> Finding | None:
    if not e.whole:
        return None
    jacobian, names = e.as_tensor(e.numerical), _dim_names(e)
    long = [p for p in range(jacobian.ndim) if jacobian.shape[p] > 1]
    for p in long:
        if e.is_analytic(numpy.flip(jacobian, p).reshape(e.analytic.shape)):
            return Finding("reversed", [f"analytic = numerical with {names[p]} in reversed order"])
    for p, by in itertools.product(long, (1, -1)):
        for lost, moved in (("", numpy.roll(jacobian, by, p)), (", the last one lost", _shift(jacobian, by, p))):
            if e.is_analytic(moved.reshape(e.analytic.shape)):
                return Finding("shifted", [f"analytic = numerical moved by {by:+} along {names[p]}{lost}"])
    for steps in itertools.product((0, 1, -1), repeat=e.x.ndim):
        inner, moved = _overlap(jacobian, steps)
        a = e.as_tensor(e.analytic)[inner]
        scale = float(numpy.abs(a).max(initial=0))
        if any(steps) and scale and a.size > 1 and (numpy.abs(moved - a) <= e.alike * scale).all():
            moves = " and ".join(f"{step:+} along {names[p]}" for p, step in enumerate(steps) if step)
            return Finding("shifted", [f"analytic = numerical moved by {moves}, but for the edge"])
    for dims in itertools.chain.from_iterable(itertools.combinations(long, n) for n in (2, 3, 4)):
        if e.is_analytic(numpy.flip(jacobian, dims).reshape(e.analytic.shape)):
            where = ", ".join(names[p] for p in dims)
            return Finding("reversed", [f"analytic = numerical in reversed order along {where}"])
    return None


def _overlap(jacobian: numpy.ndarray, steps: Sequence[int]) -> tuple[tuple[slice, ...], numpy.ndarray]:
    """Which elements of the operand a move by `steps` fills from others, and the rows of the Jacobian from there."""
    inner = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(steps, jacobian.shape, strict=False))
    source = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(steps, jacobian.shape, strict=False))
    return inner, jacobian[source]


def _shift(a: numpy.ndarray, by: int, axis: int) -> numpy.ndarray:
    rolled = numpy.roll(a, by, axis)
    rolled[(slice(None),) * axis + (slice(by) if by > 0 else slice(by, None),)] = 0
    return rolled


def _broadcast(e: Evidence) -> Finding | None:
    """Whether the gradient comes from one index of a dim of the result only, where it should be summed over it."""
    if not e.whole:
        return None
    analytic, numerical = e.as_tensor(e.analytic), e.as_tensor(e.numerical)
    for axis in range(e.x.ndim, analytic.ndim):
        others = tuple(a for a in range(analytic.ndim) if a != axis)
        kept = numpy.flatnonzero(numpy.abs(analytic).max(others, initial=0))
        needed = numpy.flatnonzero(numpy.abs(numerical).max(others, initial=0))
        if len(kept) == 1 < len(needed):
            masked = numpy.zeros_like(numerical)
            chosen = (slice(None),) * axis + (kept[0],)
            masked[chosen] = numerical[chosen]
            if e.is_analytic(masked.reshape(e.analytic.shape)) and _summed(numerical, e.x.ndim, axis):
                name = _dim_names(e)[axis]
                says = f"only index {kept[0]} of {name} reaches {e.name}; the sum over its {len(needed)} is missing"
                return Finding("broadcast", [says])
    return None


def _summed(jacobian: numpy.ndarray, operand_dims: int, axis: int) -> bool:
    """Whether an element of the operand reaches more than one index along `axis` of the result."""
    others = tuple(a for a in range(operand_dims, jacobian.ndim) if a != axis)
    reached = (numpy.abs(jacobian).max(others, initial=0) > 0).reshape(-1, jacobian.shape[axis])
    return bool((reached.sum(1) > 1).any())


def _wrong_dim(e: Evidence) -> Finding | None:
    if not e.whole or e.results_shape != e.x.shape:
        return None
    mixed = [_mixed_dims(e.as_tensor(j / e.scale), e.x.ndim) for j in (e.analytic, e.numerical)]
    if mixed[0] == mixed[1] or not all(mixed):
        return None
    analytic, numerical = (" and ".join(map(str, sorted(m))) for m in mixed)
    return Finding(
        "dim", [f"the analytic derivative mixes elements along dim {analytic}, the function along {numerical}"]
    )


def _mixed_dims(jacobian: numpy.ndarray, ndim: int) -> set[int]:
    """Along which dims a result depends on other elements than its own."""
    places = numpy.argwhere(numpy.abs(jacobian) > 1e-6)
    return {d for d in range(ndim) if (places[:, d] != places[:, ndim + d]).any()}


def _dim_names(e: Evidence) -> list[str]:
    result = e.problem.outputs[0]
    return [f"dim {d} of {e.name}" for d in range(e.x.ndim)] + [
        f"dim {d} of {result}" for d in range(len(e.results_shape or ()))
    ]


# Some elements only -------------------------------------------------------------------------------------------------


def _edge(e: Evidence) -> Finding | None:
    """Whether the derivative is missing, or should be, for just the elements with the first or the last index of a dim.

    A condition may do that too, if these are just the smallest or the largest elements; then it is left to `_mask`.
    """
    wrong: Any = e.wrong.any(1)
    if len(e.elements) != e.x.size or wrong.all() or _beyond_a_bound(e, wrong):
        return None
    if e.analytic[wrong].any() and e.numerical[wrong].any():
        return None
    shaped = wrong.reshape(e.x.shape)
    for d, length in enumerate(e.x.shape):
        for which, index in (("first", 0), ("last", length - 1)):
            only = numpy.zeros_like(shaped)
            only[(slice(None),) * d + (index,)] = True
            if length > 2 and (only == shaped).all():
                return Finding(
                    "shifted", [f"wrong only at the {which} index of dim {d} of {e.name}: the rule is one element off"]
                )
    return None


def _beyond_a_bound(e: Evidence, wrong: numpy.ndarray) -> bool:
    """Whether the wrong elements are the largest or the smallest."""
    for _, values in _fields_of_rows(e):
        for v in (values, -values):
            if v[wrong].min() > v[~wrong].max():
                return True
    return False


def _mask(e: Evidence) -> Finding | None:
    """Whether the elements with a wrong derivative are those with values in one interval, and others are right."""
    wrong = e.wrong.any(1)
    right = ~wrong & (e.numerical.any(1) | e.analytic.any(1))
    silent = ~wrong & ~right  # 0 and rightly so
    if not wrong.any() or not (right.any() or silent.any()) or wrong.sum() + right.sum() < 2:
        return None
    for name, values in _fields_of_rows(e):
        low, high = values[wrong].min(), values[wrong].max()
        if not ((values[~wrong] >= low) & (values[~wrong] <= high)).any():
            return Finding(
                "mask",
                [
                    f"wrong only where {low:.4g} ≤ {name} ≤ {high:.4g} ({_count(wrong)} elements), right elsewhere",
                    "a condition compares with the wrong number, or takes the wrong branch",
                ],
            )
    return None


def _fields_of_rows(e: Evidence) -> Iterator[tuple[str, numpy.ndarray]]:
    """Values that belong to each element of the operand: itself, and operands of its shape."""
    for k in (e.operand, *(k for k in range(len(e.problem.point)) if k != e.operand)):
        values = e.problem.point[k]
        if values.shape == e.x.shape:
            yield e.problem.names[k], values.ravel()[e.elements]


_FORMS: dict[str, Callable[[Any], Any]] = {
    "{}": lambda c: c,
    "{}²": lambda c: c * c,
    "(1 + {})": lambda c: 1 + c,
    "(1 − {})": lambda c: 1 - c,
    "(1 − {}²)": lambda c: 1 - c * c,
    "e^{}": numpy.exp,
    "log {}": lambda c: numpy.log(numpy.abs(c)),
}


def _varying_factor(e: Evidence) -> Finding | None:
    """Whether analytic / numerical is, up to a constant, a simple function of an operand or of the result."""
    support = (numpy.abs(e.numerical) > 1e-6 * e.scale) & (numpy.abs(e.analytic) > 1e-6 * e.scale)
    if support.sum() < 3 or (e.wrong & ~support).any():
        return None
    ratio = e.analytic[support] / e.numerical[support]
    for name, field in _fields(e):
        values = numpy.broadcast_to(field, e.analytic.shape)[support]
        for form, power in itertools.product(_FORMS, (1, -1)):
            candidate = _FORMS[form](values) ** power
            constant = ratio / candidate
            varies = numpy.isfinite(constant).all() and numpy.ptp(candidate) > 1e-3
            if varies and numpy.ptp(constant) <= e.alike * numpy.abs(constant).max():
                k = "" if math.isclose(constant[0], 1, rel_tol=1e-4) else f"{_in_words(float(constant[0]), e)} · "
                what = form.format(name) if power == 1 else f"1 / {form.format(name)}"
                return Finding("factor", [f"analytic / numerical = {k}{what}, wherever the derivative is not 0"])
    return _factor_per_index(e, support)


def _factor_per_index(e: Evidence, support: numpy.ndarray) -> Finding | None:
    """Whether analytic / numerical depends on the index along one dim of the operand alone."""
    if not e.whole:
        return None
    rows, columns = numpy.nonzero(support)
    ratio = e.analytic[rows, columns] / e.numerical[rows, columns]
    for d, length in enumerate(e.x.shape):
        index = numpy.unravel_index(rows, e.x.shape)[d]
        groups = [ratio[index == k] for k in range(length)]
        if all(len(group) > 2 and numpy.ptp(group) <= e.alike * numpy.abs(group).max() for group in groups):
            factors = ", ".join(f"{group[0]:.4g}" for group in groups[:6])
            return Finding(
                "factor", [f"analytic / numerical is one number per index of dim {d} of {e.name}: {factors}"]
            )
    return None


def _fields(e: Evidence) -> Iterator[tuple[str, numpy.ndarray]]:
    """Values that belong to the rows or to the columns of the Jacobians, and their names."""
    for name, values in _fields_of_rows(e):
        yield name, values[:, None]
    if e.results_shape is None:
        return
    (z,) = e.problem(e.problem.point)
    for name, values in (*zip(e.problem.names, e.problem.point, strict=True), (e.problem.outputs[0], z)):
        if _broadcasts(values.shape, e.results_shape):
            yield name, numpy.broadcast_to(values, e.results_shape).ravel()[None, :]


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))


def _term(e: Evidence) -> Finding:
    analytic, numerical = (numpy.abs(j) > 1e-7 * e.scale for j in (e.analytic, e.numerical))
    evidence = [f"{_count(e.wrong)} of {e.wrong.size} derivatives are wrong"]
    if (gone := numerical & ~analytic & e.wrong).any():
        evidence.append(
            f"{_count(gone)} are 0 that should not be: {e.name} acts on more of the result than the rule says"
        )
    if (extra := analytic & ~numerical & e.wrong).any():
        evidence.append(f"{_count(extra)} should be 0 and are not")
    if not gone.any() and not extra.any():
        difference = (e.analytic - e.numerical)[e.wrong]
        evidence.append(f"analytic − numerical lies between {difference.min():.4g} and {difference.max():.4g}")
    if e.problem.outputs == [PROJECTION]:
        evidence.append("compared by random projections, as the input is large: a smaller one tells more")
    return Finding("term", evidence)


def _count(mask: Any) -> int:
    return int(mask.sum())


RECOGNISERS: tuple[Callable[[Evidence], Finding | None], ...] = (
    _precision,
    _sign,
    _factor,
    _operand,
    _transposed,
    _detached,
    _broadcast,
    _reversed_or_shifted,
    _wrong_dim,
    _edge,
    _mask,
    _varying_factor,
)
