"""The numbers of a training: step by step, and epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_med._files import optional
from tinygrad_med.learner.callbacks import Callback

if TYPE_CHECKING:
    from tinygrad_med.learner.learner import Learner


class Smooth:
    """A running mean that forgets: the mean of the values so far, each weighing β times the one after it."""

    def __init__(self, beta: float = 0.98) -> None:
        self.beta, self.mean, self.count = beta, 0.0, 0

    def add(self, value: float) -> float:
        """The mean with one more value."""
        self.mean = self.beta * self.mean + (1 - self.beta) * value
        self.count += 1
        return self.mean / (1 - self.beta**self.count)


class Recorder(Callback):
    """What a learner remembers.

    Attributes:
        lrs, moms, losses: of the last training, step by step: the head's learning rate, the momentum, and the smoothed
            training loss.
        values: of the last training, a dict per epoch: epoch, train_loss (smoothed), valid_loss, the metrics.
        history: the same of all trainings of this learner.
    """

    def __init__(self) -> None:
        self.lrs: list[float] = []
        self.moms: list[float] = []
        self.losses: list[float] = []
        self.ends: list[int] = []  # how many steps were done at the end of each epoch
        self.values: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.names: list[str] = []

    def before_fit(self, learn: Learner) -> None:
        """Begin anew; only the history stays."""
        self.lrs, self.moms, self.losses, self.ends, self.values = [], [], [], [], []
        self.names = ["epoch", "train_loss", "valid_loss", *(metric.__name__ for metric in learn.metrics)]
        self._smooth = Smooth()

    def after_batch(self, learn: Learner) -> None:
        """Note the step."""
        head = learn.optimizer.param_groups[-1]
        self.lrs.append(head["lr"])
        self.moms.append(head["betas"][0] if "betas" in head else head.get("momentum", 0.0))
        self.losses.append(self._smooth.add(learn.loss))

    def end_epoch(self, learn: Learner, validation: list[float]) -> None:
        """Note the epoch, with its validation loss and metrics."""
        row = dict(zip(self.names, [learn.epoch, self.losses[-1], *validation], strict=True))
        self.ends.append(len(self.losses))
        self.values.append(row)
        self.history.append(row)

    def plot_loss(self, skip_start: int = 5, with_valid: bool = True, ax: Any = None) -> Any:
        """Draw the losses of the last training over its steps, the validation loss at the end of each epoch.

        Args:
            skip_start: how many steps to leave out at the beginning.
            with_valid: draw the validation loss too.
            ax: matplotlib's axes; by default of a new figure.

        Returns:
            The axes.
        """
        ax = ax or optional("matplotlib.pyplot", "drawing").subplots()[1]
        ax.plot(range(skip_start, len(self.losses)), self.losses[skip_start:], label="train")
        if with_valid:
            shown = [
                (end, row["valid_loss"]) for end, row in zip(self.ends, self.values, strict=True) if end > skip_start
            ]
            ax.plot(*zip(*shown, strict=True), "o-", label="valid") if shown else None
            ax.legend()
        ax.set(xlabel="step", ylabel="loss")
        return ax

    def plot_sched(self) -> Any:
        """Draw the learning rate and the momentum of the last training; returns the figure."""
        figure, axes = optional("matplotlib.pyplot", "drawing").subplots(1, 2, figsize=(10, 3.5), layout="constrained")
        for ax, numbers, name in zip(axes, (self.lrs, self.moms), ("learning rate", "momentum"), strict=True):
            ax.plot(numbers)
            ax.set(xlabel="step", ylabel=name)
        return figure
