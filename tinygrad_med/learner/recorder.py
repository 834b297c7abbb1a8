"""The numbers of a training: step by step, and epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_med._files import optional
from tinygrad_med.learner import metrics
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
        first_loss: of the very first step of this learner.
    """

    def __init__(self) -> None:
        self.lrs: list[float] = []
        self.moms: list[float] = []
        self.losses: list[float] = []
        self.ends: list[int] = []  # how many steps were done at the end of each epoch
        self.values: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.names: list[str] = []
        self.first_loss: float | None = None
        self._smooth = Smooth()

    def before_fit(self, learn: Learner) -> None:
        """Begin anew; only the history stays."""
        self.lrs, self.moms, self.losses, self.ends, self.values = [], [], [], [], []
        self.names = ["epoch", "train_loss", "valid_loss", *metrics.names(learn.metrics)]
        self._smooth = Smooth()

    def after_batch(self, learn: Learner) -> None:
        """Note the step."""
        if self.first_loss is None:
            self.first_loss = learn.loss
        head = learn.optimizer.param_groups[-1]
        self.lrs.append(head["lr"])
        self.moms.append(head["betas"][0] if "betas" in head else head.get("momentum", 0.0))
        self.losses.append(self._smooth.add(learn.loss))

    def end_epoch(self, learn: Learner, validation: Sequence[float | None]) -> None:
        """Note the epoch, with its validation loss and metrics, or `None` where there are no validation images."""
        row = dict(zip(self.names, [learn.epoch, self.losses[-1], *validation], strict=True))
        self.ends.append(len(self.losses))
        self.values.append(row)
        self.history.append(row)

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        state = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {**state, "smooth": [self._smooth.mean, self._smooth.count]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self).update({name: value for name, value in state.items() if name != "smooth"})
        self._smooth.mean, self._smooth.count = state["smooth"]

    def plot_loss(self, skip_start: int = 5, with_valid: bool = True, ax: Any = None) -> Any:
        """Draw the losses of the last training over its steps, the validation loss at the end of each epoch.

        Args:
            skip_start: how many steps to leave out at the beginning, provided that two are left.
            with_valid: draw the validation loss too.
            ax: matplotlib's axes; by default of a new figure.

        Returns:
            The axes.
        """
        ax = ax or optional("matplotlib.pyplot", "drawing").subplots()[1]
        if len(self.losses) < skip_start + 2:  # else there would be no line
            skip_start = 0
        marker = "o" if len(self.losses) == 1 else ""
        ax.plot(range(skip_start, len(self.losses)), self.losses[skip_start:], marker=marker, label="train")
        if with_valid:
            rows = zip(self.ends, self.values, strict=True)
            shown = [
                (end, row["valid_loss"]) for end, row in rows if end > skip_start and row["valid_loss"] is not None
            ]
            if shown:
                ax.plot(*zip(*shown, strict=True), "o-", label="valid")
            ax.legend()
        ax.set(xlabel="step", ylabel="loss")
        ax.xaxis.get_major_locator().set_params(integer=True)
        return ax

    def plot_sched(self) -> Any:
        """Draw the learning rate and the momentum of the last training; returns the figure."""
        figure, axes = optional("matplotlib.pyplot", "drawing").subplots(1, 2, figsize=(10, 3.5), layout="constrained")
        for ax, numbers, name in zip(axes, (self.lrs, self.moms), ("learning rate", "momentum"), strict=True):
            ax.plot(numbers)
            ax.set(xlabel="step", ylabel=name)
        return figure
