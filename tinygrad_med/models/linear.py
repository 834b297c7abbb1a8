"""The tutorials' linear model: a class's score is a weighted sum of the pixels, and a softmax stands behind the scores.

With `log_softmax` this is multinomial logistic regression. The first of the two tutorials forgot the logarithm, and its
model learns all the same. Why?

Write x for the scores of an image, t for its class and S = Σᵢ exp xᵢ. What the two models are trained to make small is

    with the logarithm      −xₜ + log S      the cross-entropy
    without it              −xₜ + S

Now S ≥ 1 + log S, with equality only at S = 1 (the tangent of the logarithm at 1 lies above it). So

    −xₜ + S ≥ 1 + (−xₜ + log S) :

what the first tutorial minimises is never less than 1 + the cross-entropy, and pushing it down pushes that down. Nor
does the best answer change. Among images that look alike, let the share pᵢ be of class i. Over them the mean of −xₜ + S
is −Σᵢ pᵢ xᵢ + Σᵢ exp xᵢ, which is least where its derivatives −pᵢ + exp xᵢ are zero: at x = log p, where the
cross-entropy is least too. There S = 1, and −xₜ + S is exactly 1 + the cross-entropy. So log_softmax makes the sum of
the probabilities 1, by subtracting log S; without the logarithm the model has to learn to keep it near 1, and does.

Its losses are to be read like this: the last, 1.73, says that the cross-entropy is 0.73 at most. They begin at 10,
because all scores are 0 at first and S is 10, one for each output.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_med import nn
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import zeros


def unnormalised_softmax(x: Tensor) -> Tensor:
    """xᵢ − Σⱼ exp xⱼ, the first tutorial's `softmax`: (N, outputs) -> (N, outputs)"""
    return x - x.exp().sum(-1).unsqueeze(-1)


def log_softmax(x: Tensor) -> Tensor:
    """xᵢ − log Σⱼ exp xⱼ, as the second tutorial writes it: (N, outputs) -> (N, outputs)

    Like its formula it overflows for scores beyond 88 (float32), which these models never reach;
    `nn.functional.log_softmax` doesn't.
    """
    return x - x.exp().sum(-1).log().unsqueeze(-1)


class LinearModel(nn.Module):
    """softmax(x @ weights + bias)

    Args:
        softmax: `log_softmax` or `unnormalised_softmax`.
        pixels: of an image.
        outputs: scores for an image. The tutorials have 10 for 6 classes; no image is of the last four, so their
            scores only ever sink.

    Attributes:
        weights: (pixels, outputs), zero at first: without a hidden layer all outputs need not start differently.
        bias: (outputs,), zero at first.
    """

    def __init__(
        self, softmax: Callable[[Tensor], Tensor] = log_softmax, pixels: int = 64 * 64, outputs: int = 10
    ) -> None:
        super().__init__()
        self.softmax = softmax
        self.weights = nn.Parameter(zeros(pixels, outputs))
        self.bias = nn.Parameter(zeros(outputs))

    def scores(self, x: Tensor) -> Tensor:
        """The weighted sums: (N, pixels) -> (N, outputs)"""
        return x @ self.weights + self.bias

    def forward(self, x: Tensor) -> Tensor:
        """(N, pixels) -> (N, outputs)"""
        return self.softmax(self.scores(x))

    def extra_repr(self) -> str:
        """The softmax."""
        return self.softmax.__name__
