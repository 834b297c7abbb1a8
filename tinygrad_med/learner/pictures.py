"""Images with words above them: a batch, results, mistakes. Drawn with matplotlib's pyplot, as notebooks expect it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_med._files import optional
from tinygrad_med.backend import to_numpy

if TYPE_CHECKING:
    from tinygrad_med.learner.learner import Learner


def show_image(x: Any, ax: Any = None, title: str = "", color: str = "black") -> Any:
    """Draw an image (C, H, W) with values between 0 and 1; returns the axes."""
    ax = ax or optional("matplotlib.pyplot", "drawing").subplots()[1]
    pixels = np.asarray(x).transpose(1, 2, 0)
    ax.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    ax.set_title(title, color=color)
    ax.set_axis_off()
    return ax


def show_images(images: Sequence[Any], titles: Sequence[str], colors: Sequence[str] = (), headline: str = "") -> Any:
    """Draw images in a grid; returns the figure."""
    columns = min(len(images), max(3, math.ceil(math.sqrt(len(images)))))
    rows = math.ceil(len(images) / columns)
    figure, axes = optional("matplotlib.pyplot", "drawing").subplots(
        rows, columns, figsize=(3 * columns, 3.3 * rows), squeeze=False, layout="constrained"
    )
    for ax in axes.flat:
        ax.set_axis_off()
    colors = colors or ["black"] * len(images)
    for ax, image, title, color in zip(axes.flat, images, titles, colors, strict=False):
        show_image(image, ax, title, color)
    figure.suptitle(headline)
    return figure


def show_batch(dls: Any, max_n: int = 9) -> Any:
    """Show images of the first training batch, as a network would get them; returns the figure."""
    epoch = dls.train.epoch
    x, y = next(iter(dls.train))
    dls.train.epoch = epoch  # looking at data doesn't change what training will see
    shown = dls.decode(np.asarray(x)[:max_n])
    return show_images(shown, [dls.vocab[label] for label in np.asarray(y)[:max_n]])


def show_results(learn: Learner, dl: Any, max_n: int = 9) -> Any:
    """Show images with what they are and what the model takes them for; returns the figure."""
    images: list[Any] = []
    titles: list[str] = []
    colors: list[str] = []
    for batch in dl:
        probabilities, labels, decoded = learn.get_preds([batch], with_decoded=True)
        for i in range(min(len(decoded), max_n - len(images))):
            found = learn.dls.vocab[int(decoded[i])]
            wanted = found if labels is None else learn.dls.vocab[int(labels[i])]
            images.append(learn.dls.decode(np.asarray(batch[0])[i]))
            titles.append(f"{found} {probabilities[i].max():.2f}" if labels is None else f"{wanted}\n{found}")
            colors.append("green" if found == wanted else "red")
        if len(images) == max_n:
            break
    return show_images(images, titles, colors, "" if labels is None else "target\nprediction")


class ClassificationInterpretation:
    """Which images does a model get wrong, and how?

    Attributes:
        probabilities, targets, decoded, losses: of all images, as arrays.
        vocab: the classes.
    """

    def __init__(self, learn: Learner, dl: Any) -> None:
        self.learn, self.dl, self.vocab = learn, dl, learn.dls.vocab
        found = learn.get_preds(dl, with_decoded=True, with_loss=True)
        if found[1] is None:
            raise ValueError(
                "ClassificationInterpretation: the images have no labels; use test_dl(…, with_labels=True)"
            )
        self.probabilities, self.targets, self.decoded, self.losses = (to_numpy(part.array) for part in found)

    @classmethod
    def from_learner(cls, learn: Learner, dl: Any = None) -> ClassificationInterpretation:
        """Look at all images of a loader, by default of the validation images."""
        return cls(learn, learn.dls.valid if dl is None else dl)

    def confusion_matrix(self) -> np.ndarray:
        """How many images of each class (rows) were taken for each class (columns)."""
        counts = np.zeros((len(self.vocab),) * 2, int)
        np.add.at(counts, (self.targets, self.decoded), 1)
        return counts

    def plot_confusion_matrix(self, ax: Any = None) -> Any:
        """Draw the confusion matrix; returns the axes."""
        ax = ax or optional("matplotlib.pyplot", "drawing").subplots()[1]
        counts = self.confusion_matrix()
        ax.imshow(counts, cmap="Blues")
        for (i, j), count in np.ndenumerate(counts):
            ax.text(j, i, str(count), ha="center", va="center", color="white" if count > counts.max() / 2 else "black")
        places = range(len(self.vocab))
        ax.set(xticks=places, yticks=places, xlabel="predicted", ylabel="actual", title="confusion matrix")
        ax.set_xticklabels(self.vocab, rotation=90 if len(self.vocab) > 4 else 0)
        ax.set_yticklabels(self.vocab)
        return ax

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """(actual, predicted, how often), the most frequent first, without the right answers."""
        pairs = [
            (self.vocab[i], self.vocab[j], int(count))
            for (i, j), count in np.ndenumerate(self.confusion_matrix())
            if i != j and count >= min_val
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    def top_losses(self, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k largest losses, and the numbers of their images."""
        order = np.argsort(-self.losses, kind="stable")[:k]
        return self.losses[order], order

    def plot_top_losses(self, k: int) -> Any:
        """Show the k images with the largest losses: prediction, what it is, loss, probability; returns the figure."""
        losses, order = self.top_losses(k)
        images = [np.asarray(x)[j] for x, *_ in self.dl for j in range(len(x))]
        names, sure = np.array(self.vocab), self.probabilities.max(1)
        titles = [
            f"{names[self.decoded[i]]} / {names[self.targets[i]]} / {loss:.2f} / {sure[i]:.2f}"
            for loss, i in zip(losses, order, strict=True)
        ]
        shown = [self.learn.dls.decode(images[i]) for i in order]
        colors = ["green" if self.decoded[i] == self.targets[i] else "red" for i in order]
        return show_images(shown, titles, colors, "prediction / actual / loss / probability")
