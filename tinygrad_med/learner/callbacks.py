"""What happens beside the training loop: methods that it calls at certain points.

Derive from `Callback` and write the methods you need:

    class Print(Callback):
        def after_batch(self, learn):
            print(learn.step, learn.loss)

    Learner(…, cbs=[Print()])
"""

from __future__ import annotations

import importlib.util
import math
import time
from typing import TYPE_CHECKING, Any

from tinygrad_med._files import optional, say

if TYPE_CHECKING:
    from tinygrad_med.learner.learner import Learner


class Callback:
    """Methods that the training loop calls; those here do nothing.

    They may read `learn.step` (0-based, within this `fit`), `learn.epoch`, `learn.batch`, `learn.loss`, and change what
    they like; `raise CancelFit` ends the training at this point.
    """

    def before_fit(self, learn: Learner) -> None:
        """Training begins; `learn.n_epoch` and `learn.n_steps` say how long it will be."""

    def before_batch(self, learn: Learner) -> None:
        """`learn.batch` is about to be learned from; the rates are set."""

    def after_batch(self, learn: Learner) -> None:
        """A step has been done; its loss is `learn.loss`."""

    def after_epoch(self, learn: Learner) -> None:
        """The validation set has been looked at; `learn.recorder.values[-1]` has the numbers."""

    def after_fit(self, learn: Learner) -> None:
        """Training has ended, by an exception too."""


class CancelFit(Exception):  # noqa: N818 - fastai's name without its suffix; it is no error
    """Raised by a callback to end the training."""


class DivergedError(ArithmeticError):
    """The loss left all bounds."""


class StopAtDivergence(Callback):
    """Raise `DivergedError` with advice when a loss is not a number, or `factor` times the learner's very first."""

    def __init__(self, factor: float = 50.0) -> None:
        self.factor = factor
        self.first: float | None = None

    def after_batch(self, learn: Learner) -> None:
        """Look at the step's loss."""
        if self.first is None:
            self.first = learn.loss
        self._check(learn, learn.loss, "loss")

    def after_epoch(self, learn: Learner) -> None:
        """Look at the epoch's validation loss."""
        self._check(learn, learn.recorder.values[-1]["valid_loss"], "validation loss")

    def _check(self, learn: Learner, loss: float, kind: str) -> None:
        first = self.first or 0.0
        if not math.isfinite(loss) or loss > self.factor * max(first, 0.1):
            rate = max(learn.recorder.lrs)
            raise DivergedError(
                f"fit: the {kind} is {loss:.4g} in epoch {learn.epoch}, the first one was {first:.4g}: the learning "
                f"rate, up to {rate:.2g} so far, is too high. The weights are spoilt; make a new learner, see what "
                "lr_find() suggests, or try a tenth"
            )


class Progress(Callback):
    """A bar while an epoch lasts (if tqdm is installed), and a line of a table when it has ended."""

    def before_fit(self, learn: Learner) -> None:
        """Print the head of the table."""
        self.bar: Any = None
        self.started = time.perf_counter()
        say("  ".join(f"{name:>10}" for name in [*learn.recorder.names, "time"]))

    def before_batch(self, learn: Learner) -> None:
        """Begin a bar with the first batch of an epoch."""
        if self.bar is None and importlib.util.find_spec("tqdm"):
            tqdm = optional("tqdm.auto", "the progress bar").tqdm
            self.bar = tqdm(total=len(learn.dls.train), desc=f"epoch {learn.epoch}", unit="batch", leave=False)

    def after_batch(self, learn: Learner) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{learn.recorder.losses[-1]:.4f}", refresh=False)
            self.bar.update()

    def after_epoch(self, learn: Learner) -> None:
        """Print a line of the table."""
        self.after_fit(learn)
        epoch, *numbers = learn.recorder.values[-1].values()
        minutes, seconds = divmod(round(time.perf_counter() - self.started), 60)
        cells = [str(epoch), *(f"{number:.6f}" for number in numbers), f"{minutes:02}:{seconds:02}"]
        say("  ".join(f"{cell:>10}" for cell in cells))
        self.started = time.perf_counter()

    def after_fit(self, learn: Learner) -> None:  # noqa: ARG002 - a callback's signature
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
