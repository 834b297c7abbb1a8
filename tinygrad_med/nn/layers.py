"""The simple layers: a function of `functional.py` with its settings, and, for Linear, its parameters.

The arguments are PyTorch's. `inplace=True` writes the result to the input, which is then something else; it saves no
time here.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import zeros
from tinygrad_med.nn import functional as F, init
from tinygrad_med.nn.module import Module, Parameter
from tinygrad_med.ops import flatten
from tinygrad_med.random import Generator

# Affine ---------------------------------------------------------------------------------------------------------------


class Identity(Module):
    """x as it is, whatever the arguments; to put in the place of a layer that shall go."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        """(…) -> (…)"""
        return x


class Linear(Module):
    """x · weightᵀ + bias.

    Args:
        in_features, out_features: the lengths of the last dim before and after.
        bias: whether there is one.
        device, dtype: of the parameters; float32 on the CPU by default.
        generator: where the first numbers come from.

    Attributes:
        weight: (out_features, in_features), at first uniform within ±1/√in_features.
        bias: (out_features,), likewise, or `None`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if in_features < 0 or out_features < 0:
            raise ValueError(f"Linear: in_features={in_features} and out_features={out_features} must not be negative")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(zeros(out_features, in_features, dtype=dtype, device=device))
        self.bias = Parameter(zeros(out_features, dtype=dtype, device=device)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw new first numbers, as PyTorch does: Kaiming with a = √5, whose bound is 1/√in_features."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        if self.bias is not None:
            bound = 1 / math.sqrt(max(1, self.in_features))
            init.uniform_(self.bias, -bound, bound, generator=generator)

    def forward(self, input: Tensor) -> Tensor:
        """(…, in_features) -> (…, out_features)"""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """x · weightₖ · y + biasₖ, for each of the numbers k that come out.

    Args:
        in1_features, in2_features, out_features: the lengths of the last dims of x, of y and of the result.
        bias, device, dtype, generator: as for `Linear`.

    Attributes:
        weight: (out_features, in1_features, in2_features), at first uniform within ±1/√in1_features.
        bias: (out_features,), likewise, or `None`.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if in1_features < 1:
            raise ValueError(f"Bilinear: in1_features={in1_features} must be at least 1")
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = Parameter(zeros(out_features, in1_features, in2_features, dtype=dtype, device=device))
        self.bias = Parameter(zeros(out_features, dtype=dtype, device=device)) if bias else None
        bound = 1 / math.sqrt(in1_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """(…, in1_features) and (…, in2_features) -> (…, out_features)"""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}"
        return f"{sizes}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """The dims from `start_dim` to `end_dim` made one; by default all but the batch."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, b, …) -> (N, a · b · …)"""
        return flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The settings."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Dropout(Module):
    """In training, each element 0 with probability p, the others divided by 1 − p; in evaluation x itself.

    Args:
        p: the share of elements to drop.
        inplace: write the result to the input.
        generator: where the choices come from; by default the stream of `manual_seed`.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(
                f"Dropout: p={p} is not a probability; give the share of elements to drop, between 0 and 1"
            )
        self.p, self.inplace, self.generator = p, inplace, generator

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.dropout(x, self.p, self.training, self.inplace, generator=self.generator)

    def extra_repr(self) -> str:
        """The settings."""
        return f"p={self.p}"


class AlphaDropout(Dropout):
    """`Dropout` for networks of `SELU`: mean and variance stay; see `F.alpha_dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.alpha_dropout(x, self.p, self.training, generator=self.generator)


# Activations ----------------------------------------------------------------------------------------------------------


class ReLU(Module):
    """max(x, 0), with derivative 0 at 0."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.relu(x, self.inplace)


class LeakyReLU(Module):
    """x where x > 0, negative_slope · x elsewhere."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The settings."""
        return f"negative_slope={self.negative_slope}"


class GELU(Module):
    """x · Φ(x) with the normal distribution function Φ; `approximate="tanh"` for its approximation."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        """The settings."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x · sigmoid(x)"""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.silu(x, self.inplace)


class Tanh(Module):
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)"""

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)"""

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.sigmoid(x)


class Softplus(Module):
    """log(1 + e^βx) / β, and x itself where βx > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The settings."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """eˣᵢ / Σⱼ eˣⱼ along `dim`."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = F.needs_dim("Softmax", dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The settings."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """xᵢ − log Σⱼ eˣⱼ along `dim`."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = F.needs_dim("LogSoftmax", dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The settings."""
        return f"dim={self.dim}"


# Losses ---------------------------------------------------------------------------------------------------------------


class _Loss(Module):
    """A loss: `reduction` is `"mean"`, `"sum"` or `"none"`."""

    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in self.reductions:
            *first, last = map(repr, self.reductions)
            known = f"{', '.join(first)} or {last}"
            raise ValueError(f"{type(self).__name__}: reduction={reduction!r} is unknown; give {known}")
        self.reduction = reduction

    def extra_repr(self) -> str:
        """The settings."""
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """−log softmax(x)_t for logits x and true classes t; the arguments are those of `F.cross_entropy`.

    A weight per class is a buffer, so that it moves with `to()` and `cuda()`.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, …) and classes (N, …) -> (), or (N, …) without reduction"""
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_Loss):
    """−x_t for log-probabilities x and true classes t; the arguments are those of `F.nll_loss`, the weight a buffer."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities (N, C, …) and classes (N, …) -> (), or (N, …) without reduction"""
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(_Loss):
    """The binary cross-entropy of probabilities; better give logits to `BCEWithLogitsLoss`. The weight is a buffer."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of probabilities of one shape -> (), or that shape without reduction"""
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """The binary cross-entropy of logits, finite for any logit; the arguments are those of the function in `F`.

    `weight` and `pos_weight` are buffers, so that they move with `to()` and `cuda()`.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Logits and probabilities of one shape -> (), or that shape without reduction"""
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.pos_weight, self.reduction)


class MSELoss(_Loss):
    """(x − y)²"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape -> (), or that shape without reduction"""
        return F.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """|x − y|"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Two tensors of one shape -> (), or that shape without reduction"""
        return F.l1_loss(input, target, self.reduction)
