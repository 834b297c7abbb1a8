"""How the learning rate and the momentum move during training: functions of the position p between 0 and 1.

fastai's schedules (docs.fast.ai/callback.schedule), value for value. Step k of K steps is at position k / K, so the
first step is at 0 and the last one short of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[float], float]


def cosine(start: float, end: float) -> Schedule:
    """start + (end − start) · (1 − cos πp) / 2: flat at both ends."""
    return lambda p: start + (end - start) * (1 - math.cos(math.pi * p)) / 2


def exponential(start: float, end: float) -> Schedule:
    """start · (end / start)ᵖ: the same factor at every step."""
    return lambda p: start * (end / start) ** p


def combined_cos(pct: float, start: float, middle: float, end: float) -> Schedule:
    """A cosine from `start` to `middle` over the first `pct` of the way, and from `middle` to `end` over the rest."""
    if not 0 < pct < 1:
        raise ValueError(f"combined_cos: pct={pct} must lie between 0 and 1, such as 0.25")
    rise, fall = cosine(start, middle), cosine(middle, end)
    return lambda p: rise(p / pct) if p < pct else fall((p - pct) / (1 - pct))


def one_cycle(lr_max: float, div: float = 25.0, div_final: float = 1e5, pct_start: float = 0.25) -> Schedule:
    """The rate of one cycle (Smith 2018, arXiv:1803.09820): lr_max / div to lr_max to lr_max / div_final."""
    return combined_cos(pct_start, lr_max / div, lr_max, lr_max / div_final)


def even_mults(start: float, stop: float, n: int) -> list[float]:
    """n numbers from `start` to `stop`, each the same multiple of the one before."""
    return [stop] if n == 1 else [start * (stop / start) ** (i / (n - 1)) for i in range(n)]


def group_rates(lr: float | slice | Sequence[float], n: int) -> list[float]:
    """The learning rate of each of n layer groups, the last of which is the head.

    Args:
        lr: a number for all; `slice(stop)`: `stop` for the head, a tenth of it before; `slice(start, stop)`: from
            `start` to `stop` in even multiples; or one number per group.
        n: the number of groups.

    Raises:
        ValueError: for a rate that is negative, infinite or no number, or for another number of rates.
    """
    rates = [float(rate) for rate in _group_rates(lr, n)]
    if not all(0 <= rate < math.inf for rate in rates):
        raise ValueError(f"learning rate: {lr} must be 0 or more, and finite; lr_find() suggests one")
    return rates


def _group_rates(lr: float | slice | Sequence[float], n: int) -> Sequence[float]:
    if isinstance(lr, slice):
        if lr.stop is None:
            raise ValueError(f"learning rate: {lr} has no end; give slice(stop) or slice(start, stop)")
        for end in (lr.start, lr.stop):
            if end is not None and not end > 0:
                raise ValueError(f"learning rate: the ends of {lr} must be more than 0")
        if lr.start is None:
            return [lr.stop / 10] * (n - 1) + [lr.stop]
        return even_mults(lr.start, lr.stop, n)
    if isinstance(lr, Sequence):
        if len(lr) != n:
            raise ValueError(f"learning rate: {len(lr)} numbers for {n} layer groups; give {n}, one number, or a slice")
        return lr
    return [lr] * n
