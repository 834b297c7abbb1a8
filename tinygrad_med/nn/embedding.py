"""The layers that transformers add: embedding, and the norm of root mean squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import ones, zeros
from tinygrad_med.engine.switches import no_grad
from tinygrad_med.nn import functional as F, init
from tinygrad_med.nn.module import Module, Parameter
from tinygrad_med.random import Generator


class Embedding(Module):
    """A vector for each of so many things, learned: (…) integers -> (…, embedding_dim).

    Args:
        num_embeddings, embedding_dim: how many vectors, and their length.
        padding_idx: a vector that is 0 at first and gets no gradient.
        max_norm, norm_type, scale_grad_by_freq: those of `F.embedding`.
        device, dtype: of the vectors.
        generator: where the first numbers come from.

    Attributes:
        weight: (num_embeddings, embedding_dim), at first normal with mean 0 and variance 1.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        device: str | None = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
        _weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx={padding_idx} is no row of the {num_embeddings}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        if _weight is None:
            self.weight = Parameter(zeros(num_embeddings, embedding_dim, dtype=dtype, device=device))
            self.reset_parameters(generator)
        else:
            self.weight = Parameter(_weight)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
    ) -> Embedding:
        """A layer with vectors (num_embeddings, embedding_dim) that are there already, whose memory it shares.

        Args:
            embeddings: the vectors.
            freeze: whether they stay as they are, without a gradient.
            padding_idx: a vector that gets no gradient; it stays as it is, too.
            max_norm, norm_type, scale_grad_by_freq: those of `F.embedding`.
        """
        if embeddings.ndim != 2:
            raise ValueError(
                f"from_pretrained: embeddings must be (num_embeddings, embedding_dim), got shape {embeddings.shape}"
            )
        n, length = embeddings.shape
        layer = cls(n, length, padding_idx, max_norm, norm_type, scale_grad_by_freq, _weight=embeddings)
        layer.weight.requires_grad_(not freeze)
        return layer

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw new first numbers."""
        init.normal_(self.weight, generator=generator)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…, embedding_dim)"""
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        """The settings."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class RMSNorm(Module):
    """x / √(mean of x² + eps) over the last dims, times a weight.

    Args:
        normalized_shape: the lengths of the last dims, or that of the last one.
        eps: so that nothing is divided by 0; by default the dtype's ε.
        elementwise_affine: whether there is a weight.
        device, dtype: of the weight.

    Attributes:
        weight: of `normalized_shape`, at first 1, or `None`.
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        lengths = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = lengths, eps, elementwise_affine
        self.weight = Parameter(ones(lengths, dtype=dtype, device=device)) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, *normalized_shape) -> the same shape"""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
