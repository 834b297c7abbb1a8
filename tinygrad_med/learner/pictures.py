"""Images with words above them: a batch, results, mistakes. Drawn with matplotlib's pyplot, as notebooks expect it."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_med._files import optional
from tinygrad_med.backend import to_numpy
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.learner.outputs import in_order, names_of, reading_of, sureness
from tinygrad_med.learner.state import as_it_was

if TYPE_CHECKING:
    from tinygrad_med.learner.learner import Learner


def show_image(x: Any, ax: Any = None, title: str = "", color: str = "black") -> Any:
    """Draw an image (C, H, W) with values between 0 and 1; returns the axes."""
    ax = ax or optional("matplotlib.pyplot", "drawing").subplots()[1]
    pixels = _pixels(x).transpose(1, 2, 0)
    ax.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    ax.set_title(title, color=color, parse_math=False)  # a folder's name is no formula
    ax.set_axis_off()
    return ax


def _pixels(x: Any) -> Any:
    """An image or images, wherever they are, as an array."""
    return to_numpy(x.array if isinstance(x, Tensor) else x)


def show_images(images: Sequence[Any], titles: Sequence[str], colors: Sequence[str] = (), headline: str = "") -> Any:
    """Draw images in a grid; returns the figure, which a notebook shows once."""
    if not len(images):
        raise ValueError("show_images: there are no images")
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
    figure.suptitle(headline, parse_math=False)
    figure._ipython_display_ = functools.partial(_display, figure)
    return figure


def _display(figure: Any) -> None:
    """Show a figure as IPython does, and then take it from pyplot, which else would show it again at the cell's end."""
    del figure._ipython_display_
    importlib.import_module("IPython.display").display(figure)
    figure._ipython_display_ = functools.partial(_display, figure)
    pyplot = optional("matplotlib.pyplot", "drawing")
    if "inline" in pyplot.get_backend():
        pyplot.close(figure)


def show_batch(dls: Any, max_n: int = 9) -> Any:
    """Show images of the first training batch, as a network would get them; returns the figure."""
    with as_it_was(dls.train):  # looking at data doesn't change what training will see
        x, *rest = next(iter(dls.train))
    shown = dls.decode(_pixels(x)[:max_n])
    names = names_of("class", _pixels(rest[0])[:max_n], dls.vocab) if rest else [""] * len(shown)
    return show_images(shown, names)


def show_results(learn: Learner, dl: Any, max_n: int = 9) -> Any:
    """Show images with what they are and what the model takes them for, or, without labels, how sure it is; returns
    the figure."""
    images: list[Any] = []
    titles: list[str] = []
    colors: list[str] = []
    kind, vocab, labels = reading_of(learn.loss_func).kind, getattr(learn.dls, "vocab", None), None
    for batch in in_order(dl):
        probabilities, labels, decoded = learn.get_preds([batch], with_decoded=True)
        found = names_of(kind, to_numpy(decoded.array), vocab)
        wanted = found if labels is None else names_of(kind, to_numpy(labels.array), vocab)
        sure = sureness(kind, to_numpy(probabilities.array))
        for i in range(min(len(found), max_n - len(images))):
            images.append(learn.dls.decode(_pixels(batch[0])[i]))
            percent = "" if np.isnan(sure[i]) else f" {sure[i]:.2f}"
            titles.append(f"{found[i]}{percent}" if labels is None else f"{wanted[i]}\n{found[i]}")
            colors.append("black" if kind == "numbers" else "green" if found[i] == wanted[i] else "red")
        if len(images) == max_n:
            break
    return show_images(images, titles, colors, "" if labels is None else "target\nprediction")


class ClassificationInterpretation:
    """Which images does a model get wrong, and how?

    Attributes:
        probabilities, targets, decoded, losses: of all images, as arrays. An image's number is its place in them: of a
            loader that shuffles its place in the data set.
        vocab: the classes.
    """

    def __init__(self, learn: Learner, dl: Any) -> None:
        self.learn, self.dl, self.vocab = learn, in_order(dl), getattr(learn.dls, "vocab", None)
        self.kind = reading_of(learn.loss_func).kind
        found = learn.get_preds(self.dl, with_decoded=True, with_loss=True)
        if found[1] is None:
            raise ValueError(
                "ClassificationInterpretation: the images have no labels; use test_dl(…, with_labels=True)"
            )
        self.probabilities, self.targets, self.decoded, self.losses = (to_numpy(part.array) for part in found)
        self.has_classes = self.kind == "class" or (self.kind == "labels" and self.decoded.size == len(self.decoded))
        if self.has_classes:  # (N, 1) is (N,), and no or yes is 0 or 1
            self.decoded = self.decoded.reshape(len(self.decoded), *self.decoded.shape[2:]).astype(int)
            self.targets = self.targets.reshape(self.decoded.shape).astype(int)

    @classmethod
    def from_learner(cls, learn: Learner, dl: Any = None) -> ClassificationInterpretation:
        """Look at all images of a loader, by default of the validation images."""
        return cls(learn, learn.dls.valid if dl is None else dl)

    def confusion_matrix(self) -> np.ndarray:
        """How many images of each class (rows) were taken for each class (columns)."""
        if not self.has_classes:
            kinds = {"labels": "several answers per image", "numbers": "numbers"}
            raise ValueError(f"confusion_matrix: is of classes, one per image; this model gives {kinds[self.kind]}")
        counts = np.zeros((len(self._names()),) * 2, int)
        np.add.at(counts, (self.targets, self.decoded), 1)
        return counts

    def _names(self) -> list[str]:
        if self.vocab is not None:
            return [str(name) for name in self.vocab]
        return [str(i) for i in range(max(2, 1 + int(max(self.targets.max(), self.decoded.max()))))]

    def plot_confusion_matrix(self, ax: Any = None) -> Any:
        """Draw the confusion matrix; returns the axes."""
        ax = ax or optional("matplotlib.pyplot", "drawing").subplots()[1]
        counts = self.confusion_matrix()
        ax.imshow(counts, cmap="Blues")
        for (i, j), count in np.ndenumerate(counts):
            ax.text(j, i, str(count), ha="center", va="center", color="white" if count > counts.max() / 2 else "black")
        names = self._names()
        ax.set(xlabel="predicted", ylabel="actual", title="confusion matrix")
        ax.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0, parse_math=False)
        ax.set_yticks(range(len(names)), names, parse_math=False)
        return ax

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """(actual, predicted, how often), the most frequent first, without the right answers."""
        names = self._names()
        pairs = [
            (names[i], names[j], int(count))
            for (i, j), count in np.ndenumerate(self.confusion_matrix())
            if i != j and count >= min_val
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    def top_losses(self, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k largest losses, and the numbers of their images."""
        order = np.argsort(-self.losses, kind="stable")[:k]
        return self.losses[order], order

    def plot_top_losses(self, k: int) -> Any:
        """Show the k images with the largest losses: prediction, what it is, loss, probability; returns the figure.

        Raises:
            ValueError: the loader gives other images than it did before.
        """
        losses, order = self.top_losses(k)
        images = self._images(set(order.tolist()))
        sure = sureness(self.kind, self.probabilities)
        found, wanted = (names_of(self.kind, part, self.vocab) for part in (self.decoded[order], self.targets[order]))
        titles = [
            f"{a} / {b} / {loss:.2f}" + ("" if np.isnan(sure[i]) else f" / {sure[i]:.2f}")
            for a, b, loss, i in zip(found, wanted, losses, order, strict=True)
        ]
        shown = [self.learn.dls.decode(images[i]) for i in order]
        colors = ["green" if a == b else "red" for a, b in zip(found, wanted, strict=True)]
        headline = "prediction / actual / loss" + ("" if self.kind == "numbers" else " / probability")
        return show_images(shown, titles, colors, headline)

    def _images(self, wanted: set[int]) -> dict[int, Any]:
        """The images with these numbers, from the loader; a loss that is another now means other images."""
        images: dict[int, Any] = {}
        start = 0
        for batch in self.dl:
            here = range(start, start + len(batch[0]))
            if not wanted.isdisjoint(here):
                losses = to_numpy(self.learn.get_preds([batch], with_loss=True)[2].array)
                if not np.allclose(losses, self.losses[here.start : here.stop], rtol=1e-3, atol=1e-5):
                    raise ValueError(
                        "plot_top_losses: the loader gives other images each time it is gone through; give one that "
                        "doesn't shuffle, nor change its images"
                    )
                images |= {i: _pixels(batch[0])[i - start] for i in here if i in wanted}
            start = here.stop
        return images
