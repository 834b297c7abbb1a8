"""What `examples/medical_mnist.py` can train: four models, how each sees the pixels, and its rate and epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinygrad_med import Tensor, models, nn
from tinygrad_med.models.linear import log_softmax, unnormalised_softmax

# ---------------------------------------------------------------- how a model sees the pixels, (N, 4096) of 0 … 255


def twice_divided(pixels: Tensor) -> Tensor:
    """0 … 255 becomes 0 … 1/255: the tutorials divide by 255 what `ToTensor` had divided by 255 already.

    So small numbers make for small gradients, which is why their learning rate of 1 is not too high.
    """
    return pixels.float() / 255 / 255


def standardised(pixels: Tensor) -> Tensor:
    """0 … 255 becomes numbers of mean 0 and standard deviation 1 (over the real images)."""
    return (pixels.float() / 255 - 0.36) / 0.28


def as_images(pixels: Tensor) -> Tensor:
    """Standardised, and in rows and columns again, with one channel: (N, 4096) -> (N, 1, 64, 64)"""
    return standardised(pixels).view(-1, 1, 64, 64)


# ---------------------------------------------------------------- the models


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained."""

    about: str
    model: Callable[[], nn.Module]
    prepare: Callable[[Tensor], Tensor]
    lr: float
    epochs: int
    scores: Callable[[nn.Module, Tensor], Tensor]  # the model without its softmax
    is_linear: bool = False  # whether its scores are weighted sums of the pixels
    looked_at: int = 1024  # how many images the picture of the weights is a mean over


RECIPES = {
    "unnormalised": Recipe(
        "linear, and a softmax without its logarithm: the tutorial's first form",
        model=lambda: models.LinearModel(unnormalised_softmax),
        prepare=twice_divided,
        lr=1.0,
        epochs=15,
        scores=lambda model, x: model.scores(x),
        is_linear=True,
    ),
    "linear": Recipe(
        "linear, and log-softmax: the tutorial's notebook",
        model=lambda: models.LinearModel(log_softmax),
        prepare=twice_divided,
        lr=0.5,
        epochs=16,
        scores=lambda model, x: model.scores(x),
        is_linear=True,
    ),
    "mlp": Recipe(
        "linear to 128 hidden units, ReLU, linear: the net that the tutorial announces",
        model=models.mlp,
        prepare=standardised,
        lr=0.02,
        epochs=5,
        scores=lambda model, x: model[:-1](x),
    ),
    "cnn": Recipe(
        "three convolutions of 3×3, each with batch-norm, ReLU and pooling, then the means and one linear layer",
        model=lambda: nn.Sequential(models.small_cnn(6), nn.LogSoftmax(dim=-1)),
        prepare=as_images,
        lr=0.1,
        epochs=2,
        scores=lambda model, x: model[0](x),
        looked_at=64,
    ),
}
