"""What happens beside the training loop: methods that it calls at certain points.

Derive from `Callback` and write the methods you need:

    class Print(Callback):
        def after_batch(self, learn):
            print(learn.step, learn.loss)

    Learner(…, cbs=[Print()])
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med._files import say
from tinygrad_med.learner.state import Checkpoint

if TYPE_CHECKING:
    from tinygrad_med.learner.learner import Learner
    from tinygrad_med.parallel import Ranks


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
    """The loss left all bounds, or is no number."""


class StopAtDivergence(Callback):
    """End a training that has gone wrong, with the cause and what to try, and put the weights back.

    It ends where a loss is not a number, or the smoothed training loss is `factor` times the learner's very first (or
    1, if that was less). The weights are then those of the last epoch's end, or of the beginning; the optimizer forgets
    what it remembered. A validation loss that is large is a warning only: the running statistics of batch-norm lag
    behind in the first steps, and most such trainings end well.

    Raises:
        DivergedError: names the cause: numbers in the data, the model, or the rate.
    """

    def __init__(self, factor: float = 50.0) -> None:
        self.factor = factor

    def before_fit(self, learn: Learner) -> None:
        """Keep the weights."""
        self.warned = False
        self._keep(learn, "before this training")

    def after_batch(self, learn: Learner) -> None:
        """Look at the step's loss."""
        smooth, first = learn.recorder.losses[-1], learn.recorder.first_loss or 0.0
        if math.isfinite(learn.loss) and smooth <= self.factor * max(first, 1.0):
            return
        loss = learn.loss if not math.isfinite(learn.loss) else smooth
        place = f"the training loss is {loss:.4g} in epoch {learn.epoch}, step {learn.step}"
        if spoilt := not_finite(learn, learn.batch, learn.ranks):
            self._stop(learn, f"{place}, because of the data: {spoilt} of this batch. Mend or leave out such images")
        if learn.step == 0 and not math.isfinite(loss):
            self._stop(
                learn,
                f"{place}, before anything was learned from this data: the learning rate is not the cause. Look at the "
                "loss function, and at the model's outputs for this batch, under torch.autograd.detect_anomaly()",
            )
        self._stop(learn, f"{place}, the first one was {first:.4g}: {self._rate(learn)}")

    def after_epoch(self, learn: Learner) -> None:
        """Look at the epoch's validation loss; if it is a number, keep the weights."""
        loss = learn.recorder.values[-1]["valid_loss"]
        if loss is not None and not math.isfinite(loss):
            place = f"the validation loss is {loss:.4g} in epoch {learn.epoch}"
            for number, batch in enumerate(learn.dls.valid):
                if spoilt := not_finite(learn, batch):
                    self._stop(learn, f"{place}, because of the data: {spoilt} of validation batch {number}")
            self._stop(learn, f"{place}: {self._rate(learn)}")
        trained = learn.recorder.losses[-1]
        if loss is not None and not self.warned and loss > self.factor * max(trained, learn.recorder.first_loss or 1.0):
            self.warned = True
            warnings.warn(
                f"fit: the validation loss is {loss:.4g} in epoch {learn.epoch}, the training loss {trained:.4g}. "
                "After few steps that may be batch-norm, whose running statistics lag behind; if it stays, the images "
                "of the two sets differ, or the learning rate is too high",
                stacklevel=4,
            )
        self._keep(learn, f"after epoch {learn.epoch}")

    def after_fit(self, learn: Learner) -> None:  # noqa: ARG002 - a callback's signature
        """Let go of the weights."""
        self.good: dict[str, Any] = {}

    def _keep(self, learn: Learner, when: str) -> None:
        self.when = when
        self.good = {name: value.detach().clone() for name, value in learn.model.state_dict().items()}

    def _rate(self, learn: Learner) -> str:
        rate = max(learn.recorder.lrs)
        return f"the learning rate, up to {rate:.2g} so far, is too high. See what lr_find() suggests, or try a tenth"

    def _stop(self, learn: Learner, text: str) -> None:
        learn.model.load_state_dict(self.good)
        learn.optimizer.state.clear()
        raise DivergedError(f"fit: {text}. The weights are again those {self.when}")


def not_finite(learn: Learner, batch: Any, ranks: Ranks | None = None) -> str:
    """What of a batch, of which each of several ranks has a part, is not a number, in words; empty where all is."""
    found = []
    for name, part in zip(("images", "labels"), learn.tensors(batch), strict=False):
        if part.dtype.kind == "f":
            own = numpy.array([part.numel() - int(part.isfinite().sum().item()), part.numel()])
            count, numbers = own if ranks is None else ranks.sum(own)
            if count:
                found.append(f"{count} of {numbers} numbers in the {name} are NaN or infinite")
    return " and ".join(found)


class SaveCheckpoint(Callback):
    """After each epoch write all that the training is; with `resume=True` go on from there, to the same bits.

        learn = vision_learner(dls, resnet18, cbs=[SaveCheckpoint("runs/last.safetensors", run=options, resume=again)])
        learn.fine_tune(5)         # the same calls as in the run that was broken off

    When it goes on, trainings that had ended are passed over, and the one that was broken off begins with the epoch
    after the last that was saved. See `learner.state.Checkpoint` for what the file holds.

    Args:
        file: ends with `.safetensors`.
        run: the facts that make the run what it is; a file of a run with others is refused.
        resume: go on from the file, which must be there.
    """

    def __init__(self, file: str | Path, run: Mapping[str, Any] | None = None, resume: bool = False) -> None:
        self.file, self.run, self.resume = Path(file), run, resume
        self.fits = 0
        self.place: dict[str, Any] = {}

    def before_fit(self, learn: Learner) -> None:
        """Go on, if this is where the run was broken off; pass over what had ended."""
        self.checkpoint = Checkpoint(self.file, self.run, model=learn.model, **learn.parts())
        if self.resume and not self.place:
            self.place, self.apply = self.checkpoint.read()
        self.fits += 1
        if self.fits < self.place.get("fits", 0):
            raise CancelFit
        if self.fits == self.place.get("fits"):
            if self.place["n_epoch"] != learn.n_epoch:
                raise ValueError(
                    f"{self.file} is of a training of {self.place['n_epoch']} epochs, this one is of {learn.n_epoch}; "
                    "finish that one, or move the file away"
                )
            self.apply()
            learn.first_epoch = self.place["epoch"] + 1

    def after_epoch(self, learn: Learner) -> None:
        """Write the file; of several ranks the first does."""
        if learn.ranks.rank == 0:
            self.checkpoint.save(fits=self.fits, epoch=learn.epoch, n_epoch=learn.n_epoch)

    def after_fit(self, learn: Learner) -> None:
        """Where somebody pressed Ctrl-C, say how to go on."""
        if isinstance(sys.exc_info()[1], KeyboardInterrupt) and self.checkpoint.exists() and learn.ranks.rank == 0:
            say(f"interrupted; {self.file} holds the last whole epoch: go on from it with resume=True")
