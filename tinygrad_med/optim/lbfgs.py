"""L-BFGS: Newton's direction, from the last steps and how the gradient changed along them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.conversions import as_array
from tinygrad_med.engine.switches import enable_grad
from tinygrad_med.engine.writes import writes
from tinygrad_med.optim.optimizer import Group, Optimizer


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal and Wright 2006, "Numerical Optimization", algorithms 7.4 and 7.5): for small models
    and whole data sets, where each step may ask for the loss several times. PyTorch's, step by step.

    Each of up to `max_iter` iterations of a `step(closure)` goes along d = −H · g, where H, an estimate of the inverse
    of the second derivative, is made of the last `history_size` steps s and changes of the gradient y.

    Args:
        params: leaves; one group only.
        lr: the length of a step along d, or with a line search where that begins.
        max_iter: iterations in a step.
        max_eval: how often the closure may be called in a step; by default 1.25 · max_iter.
        tolerance_grad: stop where no part of the gradient is larger.
        tolerance_change: stop where neither the parameters nor the loss change by more.
        history_size: how many steps are remembered.
        line_search_fn: `None`, or `"strong_wolfe"`: look for a length with less loss and a flatter slope.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        options = {"lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval}
        options |= {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
        super().__init__(params, {**options, "history_size": history_size, "line_search_fn": line_search_fn})

    def add_param_group(self, param_group: Any) -> None:
        """The one group of parameters."""
        if self.param_groups:
            raise ValueError("LBFGS: takes one group of parameters; its steps are of all of them together")
        super().add_param_group(param_group)

    def check(self, group: Group) -> None:
        """Raise a ValueError for options that make no sense."""
        self.not_negative(group, "lr")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS: line_search_fn={group['line_search_fn']!r} is unknown; give 'strong_wolfe'")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Go on by up to `max_iter` iterations.

        Args:
            closure: computes the loss and its gradients anew.

        Returns:
            The loss before, as the closure returned it.
        """
        if closure is None:
            raise TypeError("LBFGS: step() needs a closure that computes the loss and its gradients anew")
        (group,) = (self._numbers(group) for group in self.param_groups)
        state = self.state[group["params"][0]]
        lr, search = group["lr"], group["line_search_fn"]
        first_loss, point = self._evaluate(closure)
        evaluations = 1
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        if _largest(point.gradient) <= group["tolerance_grad"]:
            return first_loss
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = self._direction(state, point.gradient, group["history_size"])
            before, state["d"], state["prev_loss"] = point, wrap(d), point.loss
            state["prev_flat_grad"] = wrap(point.gradient)
            t = lr if state["n_iter"] > 1 else min(1.0, 1.0 / float(abs(point.gradient).sum())) * lr
            state["t"] = t
            slope = _dot(point.gradient, d)
            if slope > -group["tolerance_change"]:
                break
            asked = 0
            if search:
                start = self._flat("array")

                def at(t: float, start: Any = start, d: Any = d) -> Point:
                    self._move(start, t, d)
                    return self._evaluate(closure)[1]

                t, point, asked = strong_wolfe(at, t, d, point, slope, group["max_eval"] - evaluations)
                self._move(start, t, d)
            else:
                self._move(self._flat("array"), t, d)
                if iteration != group["max_iter"]:  # the last one's loss is not asked for: the next step will
                    point, asked = self._evaluate(closure)[1], 1
            state["t"] = t
            evaluations += asked
            state["func_evals"] += asked
            if (
                evaluations >= group["max_eval"]
                or _largest(point.gradient) <= group["tolerance_grad"]
                or _largest(d * t) <= group["tolerance_change"]
                or abs(point.loss - before.loss) < group["tolerance_change"]
            ):
                break
        return first_loss

    def _direction(self, state: dict[str, Any], g: Any, size: int) -> Any:
        """−H · g, by the two loops of algorithm 7.4."""
        if state["n_iter"] == 1:
            state |= {"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1.0}
            return -g
        changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = g - state["prev_flat_grad"].array, state["d"].array * state["t"]
        ys = _dot(y, s)
        if ys > 1e-10:
            if len(changes) == size:
                for memory in (changes, steps, ro):
                    memory.pop(0)
            changes.append(wrap(y))
            steps.append(wrap(s))
            ro.append(1.0 / ys)
            state["H_diag"] = ys / _dot(y, y)
        q, shares = -g, [0.0] * len(ro)
        for i in reversed(range(len(ro))):
            shares[i] = _dot(steps[i].array, q) * ro[i]
            q -= shares[i] * changes[i].array
        d = q * state["H_diag"]
        for i in range(len(ro)):
            d += (shares[i] - _dot(changes[i].array, d) * ro[i]) * steps[i].array
        return d

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, Point]:
        with enable_grad():
            loss = closure()
        return loss, Point(float(loss), self._flat("grad"))

    def _flat(self, what: str) -> Any:
        """All parameters (`"array"`), or all gradients (`"grad"`, zero where there is none), as one array."""
        parameters = self.param_groups[0]["params"]
        xp = backend.array_module(parameters[0].array)
        return xp.concatenate(
            [
                xp.zeros(p.numel(), p.dtype)
                if what == "grad" and p.grad is None
                else xp.ravel(p.grad.array if what == "grad" else p.array)
                for p in parameters
            ]
        )

    def _move(self, start: Any, t: float, d: Any) -> None:
        """Write start + t · d into the parameters."""
        place, values = 0, start + t * d
        for p in self.param_groups[0]["params"]:
            writes.note(p.array)
            p.array = backend.array_module(p.array).asarray(p.array)
            p.array[...] = values[place : place + p.numel()].reshape(p.shape)
            place += p.numel()

    def load_value(self, value: Any, p: Tensor, what: str) -> Any:
        """The state is of all parameters together: vectors, lists of them, and numbers."""
        if isinstance(value, (list, tuple)):
            return [self.load_value(v, p, what) for v in value]
        shape = getattr(value, "shape", None)
        if shape is None:
            return value
        return value.item() if tuple(shape) == () else wrap(as_array(value, p.dtype, p.device).copy())


class Point(NamedTuple):
    """The loss and its gradient (n,) somewhere."""

    loss: float
    gradient: Any


class Place(NamedTuple):
    """A length of a step, with the point that it leads to, and the slope there."""

    t: float
    point: Point
    slope: float


def strong_wolfe(
    at: Callable[[float], Point], t: float, d: Any, start: Point, slope: float, most: int
) -> tuple[float, Point, int]:
    """A length of the step along d with less loss and a flatter slope (algorithms 3.5 and 3.6).

    Args:
        at: the point after a step of a length.
        t: the length to try first.
        d: the direction.
        start: the point before, and `slope`, negative, that along d.
        most: how often to try another length.

    Returns:
        The length, the point there, and how often `at` was called.
    """

    def look(t: float) -> Place:
        point = at(t)
        return Place(t, point, _dot(point.gradient, d))

    def too_high(place: Place) -> bool:
        return place.point.loss > start.loss + 1e-4 * place.t * slope

    def flat(place: Place) -> bool:
        return abs(place.slope) <= -0.9 * slope

    origin = Place(0.0, start, slope)
    before, here, calls, tries = origin, look(t), 1, 0
    bracket: list[Place] | None = None
    while tries < most:
        if too_high(here) or (tries > 1 and here.point.loss >= before.point.loss):
            bracket = [before, here]
            break
        if flat(here):
            return here.t, here.point, calls
        if here.slope >= 0:
            bracket = [before, here]
            break
        bounds = here.t + 0.01 * (here.t - before.t), here.t * 10
        before, here = here, look(cubic_minimum(before, here, bounds))
        calls, tries = calls + 1, tries + 1
    if bracket is None:
        bracket = [origin, here]

    stuck, size = False, _largest(d)
    low = 0 if bracket[0].point.loss <= bracket[1].point.loss else 1
    while tries < most:
        left, right = sorted(place.t for place in bracket)
        if (right - left) * size < 1e-9:
            break
        t = cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near to an end: once that may be, then stay away from it
            if stuck or not left < t < right:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        here = look(t)
        calls, tries = calls + 1, tries + 1
        if too_high(here) or here.point.loss >= bracket[low].point.loss:
            bracket[1 - low] = here
            low = 0 if bracket[0].point.loss <= bracket[1].point.loss else 1
            continue
        done = flat(here)
        if not done and here.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
            bracket[1 - low] = bracket[low]
        bracket[low] = here
        if done:
            break
    return bracket[low].t, bracket[low].point, calls


def cubic_minimum(a: Place, b: Place, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two places with their slopes is least (equation 3.59), within bounds or those two."""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.point.loss - b.point.loss) / (a.t - b.t) if a.t != b.t else math.nan
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = math.sqrt(square)
    divisor = b.slope - a.slope + 2 * d2
    found = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / divisor) if divisor else math.nan
    return min(max(found, low), high)


def _dot(a: Any, b: Any) -> float:
    return float(a.dot(b))


def _largest(a: Any) -> float:
    return float(abs(a).max())
