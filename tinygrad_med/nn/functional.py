"""The operations under the names of `torch.nn.functional`: `import tinygrad_med.nn.functional as F`.

Most are those of `ops`. What stands here takes arguments that only PyTorch's layers have: `training`, and `inplace`,
which writes the result to the input; it saves no time here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tinygrad_med import backend, ops, random
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.creation import arange
from tinygrad_med.engine.errors import no_attribute
from tinygrad_med.inplace import of_operation
from tinygrad_med.ops import (
    adaptive_avg_pool1d as adaptive_avg_pool1d,
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    adaptive_avg_pool3d as adaptive_avg_pool3d,
    adaptive_max_pool1d as adaptive_max_pool1d,
    adaptive_max_pool2d as adaptive_max_pool2d,
    adaptive_max_pool3d as adaptive_max_pool3d,
    affine_grid as affine_grid,
    avg_pool1d as avg_pool1d,
    avg_pool2d as avg_pool2d,
    avg_pool3d as avg_pool3d,
    batch_norm as batch_norm,
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    channel_shuffle as channel_shuffle,
    conv1d as conv1d,
    conv2d as conv2d,
    conv3d as conv3d,
    conv_transpose1d as conv_transpose1d,
    conv_transpose2d as conv_transpose2d,
    conv_transpose3d as conv_transpose3d,
    cosine_embedding_loss as cosine_embedding_loss,
    cosine_similarity as cosine_similarity,
    cross_entropy as cross_entropy,
    embedding as embedding,
    fold as fold,
    gaussian_nll_loss as gaussian_nll_loss,
    gelu as gelu,
    glu as glu,
    grid_sample as grid_sample,
    group_norm as group_norm,
    hardshrink as hardshrink,
    hinge_embedding_loss as hinge_embedding_loss,
    huber_loss as huber_loss,
    instance_norm as instance_norm,
    interpolate as interpolate,
    kl_div as kl_div,
    l1_loss as l1_loss,
    layer_norm as layer_norm,
    linear as linear,
    local_response_norm as local_response_norm,
    logsigmoid as logsigmoid,
    lp_pool1d as lp_pool1d,
    lp_pool2d as lp_pool2d,
    lp_pool3d as lp_pool3d,
    margin_ranking_loss as margin_ranking_loss,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
    max_pool3d as max_pool3d,
    max_unpool1d as max_unpool1d,
    max_unpool2d as max_unpool2d,
    max_unpool3d as max_unpool3d,
    mse_loss as mse_loss,
    multi_margin_loss as multi_margin_loss,
    multilabel_soft_margin_loss as multilabel_soft_margin_loss,
    nll_loss as nll_loss,
    pad as pad,
    pairwise_distance as pairwise_distance,
    pixel_shuffle as pixel_shuffle,
    pixel_unshuffle as pixel_unshuffle,
    poisson_nll_loss as poisson_nll_loss,
    prelu as prelu,
    rms_norm as rms_norm,
    scaled_dot_product_attention as scaled_dot_product_attention,
    sigmoid as sigmoid,
    smooth_l1_loss as smooth_l1_loss,
    soft_margin_loss as soft_margin_loss,
    softplus as softplus,
    softshrink as softshrink,
    softsign as softsign,
    tanh as tanh,
    tanhshrink as tanhshrink,
    triplet_margin_loss as triplet_margin_loss,
    triplet_margin_with_distance_loss as triplet_margin_with_distance_loss,
    unfold as unfold,
)
from tinygrad_med.random import Generator


def _inplace_too(operation: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """An activation that also takes `inplace`, after its other arguments, and one that is always in place."""
    in_place = of_operation(operation.__name__, operation)
    count = len(inspect.signature(operation).parameters)

    @functools.wraps(operation)
    def call(*args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        args, inplace = (args[:count], args[count]) if len(args) == count + 1 else (args, inplace)
        if not inplace:
            return operation(*args, **kwargs)
        return in_place(*(args or (kwargs.pop("input"),)), **kwargs)

    return call, in_place


relu_, leaky_relu_ = of_operation("relu", ops.relu), of_operation("leaky_relu", ops.leaky_relu)
celu, celu_ = _inplace_too(ops.celu)
elu, elu_ = _inplace_too(ops.elu)
hardtanh, hardtanh_ = _inplace_too(ops.hardtanh)
selu, selu_ = _inplace_too(ops.selu)
threshold, threshold_ = _inplace_too(ops.threshold)
hardsigmoid, hardswish = _inplace_too(ops.hardsigmoid)[0], _inplace_too(ops.hardswish)[0]
mish, relu6, silu = _inplace_too(ops.mish)[0], _inplace_too(ops.relu6)[0], _inplace_too(ops.silu)[0]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), with derivative 0 at 0."""
    return relu_(input) if inplace else ops.relu(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, negative_slope · x elsewhere."""
    return (leaky_relu_ if inplace else ops.leaky_relu)(input, negative_slope)


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """eˣᵢ / Σⱼ eˣⱼ along `dim`, computed in `dtype` if one is given."""
    return ops.softmax(input, needs_dim("softmax", dim), dtype=dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """xᵢ − log Σⱼ eˣⱼ along `dim`, computed in `dtype` if one is given."""
    return ops.log_softmax(input, needs_dim("log_softmax", dim), dtype=dtype)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """e^−xᵢ / Σⱼ e^−xⱼ along `dim`, computed in `dtype` if one is given."""
    return ops.softmin(input, needs_dim("softmin", dim), dtype=dtype)


def needs_dim(operation: str, dim: int | None) -> int:
    """`dim`, which PyTorch guesses (with a warning) where it is left out."""
    if dim is None:
        raise TypeError(f"{operation}: say along which dim probabilities sum to 1; dim=1 for classes in (N, C)")
    return dim


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖ₚ, eps) along `dim`."""
    return input / ops.clamp(ops.norm(input, p, dim, keepdim=True), min=eps)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Classes (…) as int64 (…, num_classes), 1 at the class and 0 elsewhere; −1 for the largest class + 1.

    Raises:
        TypeError: for classes that are no integers.
        ValueError: for a class outside 0 … num_classes − 1, or where there is none to find the largest of.
    """
    if tensor.dtype.kind not in "iu":
        raise TypeError(f"one_hot: the classes must be integers, got {tensor.dtype}; use .long()")
    if not tensor.numel() and num_classes < 0:
        raise ValueError("one_hot: an empty tensor has no largest class; give num_classes")
    low, high = (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, -1)
    classes = high + 1 if num_classes == -1 else num_classes
    if low < 0:
        raise ValueError(f"one_hot: a class must not be negative, got {low}")
    if high >= classes:
        raise ValueError(f"one_hot: class {high} needs num_classes of at least {high + 1}, got {num_classes}")
    return (tensor.unsqueeze(-1) == arange(classes, device=tensor.device)).long()


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """x with each element set to 0 with probability p, and the others divided by 1 − p; x itself unless `training`.

    Dividing keeps the expected value, so that in evaluation nothing is left to do (Srivastava et al. 2014, JMLR 15,
    section 10). The choice is made once and is a constant: the derivative, at any order, is that of a product with it.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p={p} is not a probability; give the share of elements to drop, between 0 and 1")
    if not training or p == 0:
        return input
    factors = random.coins(1 - p, input.shape, generator=generator).astype(input.dtype)
    if p < 1:
        factors /= 1 - p
    chosen = wrap(backend.to_device(factors, input.device))
    return input.mul_(chosen) if inplace else input * chosen


def dropout2d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """As `dropout`, for whole channels: x (N, C, …) with each channel of each image set to 0 with probability p."""
    channels = wrap(backend.array_module(input.array).ones(input.shape[:2], input.dtype))
    factors = dropout(channels, p, training, generator=generator)
    if factors is channels:
        return input
    factors = factors.reshape(*input.shape[:2], *[1] * (input.ndim - 2))
    return input.mul_(factors) if inplace else input * factors


dropout1d = dropout3d = dropout2d


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` for `selu`: what is dropped becomes selu(−∞), and mean and variance of normal numbers stay.

    (Klambauer et al. 2017, arXiv:1706.02515.)
    """
    if not 0 <= p <= 1:
        raise ValueError(f"alpha_dropout: p={p} is not a probability; give the share of elements to drop")
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0
    least = -1.7580993408473766  # −scale · alpha of selu
    a = ((1 - p) * (1 + p * least**2)) ** -0.5
    kept = wrap(
        backend.to_device(random.coins(1 - p, input.shape, generator=generator).astype(input.dtype), input.device)
    )
    return a * (input * kept + least * (1 - kept)) - a * p * least


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, dim: int = -1, *, generator: Generator | None = None
) -> Tensor:
    """A class drawn with the probabilities softmax(logits), nearly one-hot, so that a gradient flows.

    Args:
        logits: (…, C, …).
        tau: the temperature; the closer to 0 the nearer to one-hot.
        hard: give it one-hot, with the gradient of what it is near to.
        dim: that of the classes.
        generator: where the numbers come from; by default the stream of `manual_seed`.
    """
    uniform = random.rand(logits.shape, generator=generator, dtype=logits.dtype, device=logits.device)
    noise = -ops.log(-ops.log(ops.clamp(uniform, 1e-20, 1 - 2**-24)))
    soft = ops.softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    chosen = soft.argmax(dim, keepdim=True)
    sharp = ops.scatter(soft.detach() * 0, dim, chosen, 1.0)
    return sharp - soft.detach() + soft


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """zₖ = Σᵢⱼ xᵢ · Wₖᵢⱼ · yⱼ + bₖ, of x (…, I), y (…, J), W (K, I, J) and b (K,): (…, K)."""
    if input1.shape[:-1] != input2.shape[:-1] or tuple(weight.shape[1:]) != (input1.shape[-1], input2.shape[-1]):
        raise ValueError(
            f"bilinear: expects (…, I), (…, J) and a weight (K, I, J), got {tuple(input1.shape)}, "
            f"{tuple(input2.shape)} and {tuple(weight.shape)}"
        )
    z = ops.einsum("ni,kij,nj->nk", input1.reshape(-1, input1.shape[-1]), weight, input2.reshape(-1, input2.shape[-1]))
    z = z if bias is None else z + bias
    return z.reshape(*input1.shape[:-1], weight.shape[0])


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """An older name for `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def __getattr__(name: str) -> Any:
    known = [known for known in globals() if not known.startswith("_")]
    raise no_attribute("module 'tinygrad_med.nn.functional'", name, known)
