"""The learning rate finder (Smith 2015, arXiv:1506.01186): train while the rate grows, and see where the loss falls.

It trains a copy. So the learner, its optimizer and its statistics stay as they are, whatever happens; and the random
numbers and the order of the data are put back: to look for a rate and then train is, bit for bit, to train.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_med._files import optional
from tinygrad_med.learner.callbacks import not_finite
from tinygrad_med.learner.recorder import Smooth
from tinygrad_med.learner.schedules import exponential
from tinygrad_med.learner.shares import shares
from tinygrad_med.learner.state import as_it_was

if TYPE_CHECKING:
    from tinygrad_med.learner.learner import Learner


@dataclass(frozen=True)
class Suggestions:
    """What the finder found.

    Attributes:
        valley: the rate in the second third of the longest descent of the loss: a good choice.
        steep: the rate at which the loss falls fastest.
        lrs, losses: all rates that were tried, and the smoothed loss at each.
        num_it: how many were to be tried.
    """

    valley: float
    steep: float
    lrs: list[float] = field(repr=False)
    losses: list[float] = field(repr=False)
    num_it: int = field(repr=False)

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the rates, without the first tenth and the last five; returns the axes."""
        ax = ax or optional("matplotlib.pyplot", "drawing").subplots()[1]
        lrs, losses = _trimmed(self.lrs, self.losses, self.num_it)
        ax.plot(lrs, losses)
        for name, rate in (("valley", self.valley), ("steep", self.steep)):
            ax.plot(rate, np.interp(math.log(rate), np.log(lrs), losses), "o", label=f"{name}: {rate:.2g}")
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        ax.legend()
        return ax


def find_rate(
    learn: Learner, start_lr: float, end_lr: float, num_it: int, stop_div: bool, show_plot: bool
) -> Suggestions:
    """Train a copy of the learner for `num_it` steps while the rate grows from `start_lr` to `end_lr`.

    Args:
        stop_div: stop when the smoothed loss is four times the best, both without the first tenth of the steps,
            whose rates are too low to have done it.
        show_plot: draw what was found.

    Raises:
        ValueError: if `num_it` is too small, or the loss was not finite often enough to suggest a rate.
    """
    least = next(n for n in range(1, 100) if len(range(n)[_kept(n)]) >= 3)
    if num_it < least or not 0 < start_lr < end_lr:
        raise ValueError(
            f"lr_find: {num_it=}, {start_lr=}, {end_lr=}: needs at least {least} steps, as the first tenth and the "
            "last five are left out, and rates that grow from more than 0"
        )
    rate, smooth, end = exponential(start_lr, end_lr), Smooth(), ""
    lrs: list[float] = []
    losses: list[float] = []
    learn.ranks.broadcast(learn.model)
    probe = _copy(learn)
    with as_it_was(learn.dls.train), learn.ranks.summing(probe.model.parameters()):
        probe.coming = probe.ahead(itertools.islice(_endless(learn), num_it))
        for i, (batch, weight) in enumerate(probe.coming):
            lr = rate(i / num_it)
            probe.set_rates([lr] * len(learn.groups))
            probe.weight = weight
            loss = smooth.add(probe.one_batch(batch))
            if not math.isfinite(loss):
                end = f"the loss was {loss} at the rate {lr:.2g}"
                if spoilt := not_finite(learn, batch, learn.ranks):
                    raise ValueError(f"lr_find: {end}, because of the data: {spoilt}. Mend or leave out such images")
                break
            lrs.append(lr)
            losses.append(loss)
            if stop_div and loss > 4 * min(losses[num_it // 10 :], default=math.inf):
                end = f"the loss had grown fourfold at the rate {lr:.2g}; where it is only noise, pass stop_div=False"
                break
    x, y = _trimmed(lrs, losses, num_it)
    if len(x) < 3:
        raise ValueError(f"lr_find: after {len(lrs)} steps {end}; is the data normalized? If so, try a lower start_lr")
    found = Suggestions(valley(x, y), steep(x, y), lrs, losses, num_it)
    if show_plot:
        found.plot()
    return found


def valley(lrs: np.ndarray, losses: np.ndarray) -> float:
    """The rate half-way through the longest falling subsequence of the losses, in its second third."""
    length = np.ones(len(losses), int)
    for i in range(1, len(losses)):
        length[i] += max((length[j] for j in range(i) if losses[j] > losses[i]), default=0)
    end = int(length.argmax())
    start = end - int(length[end])
    third = (end - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def steep(lrs: np.ndarray, losses: np.ndarray) -> float:
    """The rate at which the loss falls fastest over the logarithm of the rate."""
    return float(lrs[np.argmin(np.diff(losses) / np.diff(np.log(lrs)))])


def _trimmed(lrs: list[float], losses: list[float], num_it: int) -> tuple[np.ndarray, np.ndarray]:
    keep = _kept(num_it)
    return np.array(lrs[keep]), np.array(losses[keep])


def _kept(num_it: int) -> slice:
    return slice(num_it // 10, -5)


def _copy(learn: Learner) -> Learner:
    """Another learner, with copies of model and optimizer, on the same data."""
    probe = copy.copy(learn)
    probe.model, probe.optimizer = copy.deepcopy((learn.model, learn.optimizer))
    return probe


def _endless(learn: Learner) -> Iterator[tuple[Any, float]]:
    while True:
        yield from shares(learn.dls.train, learn.ranks)
