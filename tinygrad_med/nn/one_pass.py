"""Convolution, batch normalization, a sum and relu in one pass over memory, where nobody looks at what is in between.

In use, that is in `eval()` and under `no_grad`, batch normalization multiplies each channel by one number and adds
another. Done with the convolution while its result is in the cache, that costs next to nothing; and so do a sum and
relu. It is done at every call with the numbers of that call: nothing is kept that a later change could make wrong.

In training batch normalization, the sum and relu share a pass forward and one back.

Where somebody could see the difference, the modules are called one after the other: with a hook on one of them, with a
watcher (`explain`, `detect_anomaly`), under `autocast`, by the definition alone, in a subclass, with another `forward`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.geometry import conv_geometry
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.modes import mode
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.dtypes import float32, float64
from tinygrad_med.engine import autocast
from tinygrad_med.nn import functional as F
from tinygrad_med.nn.layers import Identity, ReLU
from tinygrad_med.nn.module import Module
from tinygrad_med.nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d
from tinygrad_med.nn.spatial import Conv1d, Conv2d, Conv3d
from tinygrad_med.ops.normalization import batch_norm_relu

Step = Callable[[Tensor], Tensor]
"""A module, or a function."""


def conv_norm(conv: Step, norm: Step | None, x: Tensor, *, plus: Tensor | None = None, then: Step | None = None) -> Any:
    """then(norm(conv(x)) + plus), in one pass where that is the same.

    Args:
        conv, norm: the modules; `norm` may be missing.
        x: what `conv` takes.
        plus: what to add, of the result's shape.
        then: what is done at last; `F.relu` or `nn.ReLU()`, if it is to be in the same pass.
    """
    if not (mode.grad or mode.watchers or mode.definition or autocast.casting.dtypes):
        made = _in_one_pass(conv, norm, x, plus, then)
        if made is not None:
            return wrap(made)
    z = conv(x)
    if mode.grad and _norm_in_one_pass(norm, z, plus, then):
        return _normed(norm, z, plus)
    z = z if norm is None else norm(z)
    z = z if plus is None else z + plus
    return z if then is None else then(z)


def in_a_row(modules: Iterable[Module], x: Any) -> Any:
    """The modules one after the other; a convolution with the batch normalization and relu behind it by `conv_norm`."""
    queue = list(modules)
    while queue:
        module = queue.pop(0)
        if type(module) not in CONVOLUTIONS:
            x = module(x)
            continue
        norm = queue.pop(0) if queue and type(queue[0]) in NORMS else None
        then = queue.pop(0) if queue and type(queue[0]) is ReLU else None
        x = conv_norm(module, norm, x, then=then)
    return x


CONVOLUTIONS = (Conv1d, Conv2d, Conv3d)
NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)


def _in_one_pass(conv: Any, norm: Any, x: Tensor, plus: Tensor | None, then: Any) -> Any:
    """The array of the result; `None` where one pass isn't the same, or where the modules have an error to tell."""
    if _as_made(norm, Identity):
        norm = None
    known = (
        _as_made(conv, *CONVOLUTIONS)
        and conv.padding_mode == "zeros"
        and (norm is None or (_as_made(norm, *NORMS) and not norm.training and norm.running_mean is not None))
        and (then is None or then is F.relu or _as_made(then, ReLU))
    )
    if not known or x.ndim != conv.axes + 2 or (norm is not None and x.ndim not in norm.dims):
        return None
    of_channels = [] if norm is None else [norm.running_mean, norm.running_var, norm.weight, norm.bias]
    first, *others = (v.array for v in (x, conv.weight, conv.bias, plus, *of_channels) if v is not None)
    if first.dtype not in (float32, float64) or any(a.dtype != first.dtype or a.device != first.device for a in others):
        return None
    geometry = conv_geometry(
        *(x.shape, conv.weight.shape),
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        name=f"conv{conv.axes}d",
        axes=conv.axes,
    )
    channels = conv.weight.shape[:1]
    if any(v is not None and v.shape != channels for v in (conv.bias, *of_channels)):
        return None
    if plus is not None and plus.shape != (x.shape[0], *channels, *geometry.out):
        return None
    xp = backend.array_module(first)
    scale, shift = None, None if conv.bias is None else conv.bias.array
    if norm is not None:
        scale = 1 / xp.sqrt(norm.running_var.array + norm.eps)
        scale = scale if norm.weight is None else norm.weight.array * scale
        shift = -norm.running_mean.array * scale if shift is None else (shift - norm.running_mean.array) * scale
        shift = shift if norm.bias is None else norm.bias.array + shift
    return kernels(xp).conv_finished(
        first,
        conv.weight.array,
        geometry=geometry,
        scale=scale,
        shift=shift,
        plus=None if plus is None else plus.array,
        relu=then is not None,
    )


def _normed(norm: Any, z: Tensor, plus: Tensor | None) -> Any:
    running = norm.running_mean, norm.running_var, norm.num_batches_tracked
    return batch_norm_relu(z, *running, norm.weight, norm.bias, norm.momentum, norm.eps, plus)


def _norm_in_one_pass(norm: Any, z: Any, plus: Tensor | None, then: Any) -> bool:
    """Whether batch normalization in training, a sum and relu are the same in one pass."""
    if mode.watchers or mode.definition or not (_as_made(norm, *NORMS) and norm.training and norm.momentum is not None):
        return False
    if not (then is F.relu or _as_made(then, ReLU)) or z.ndim not in norm.dims:
        return False
    of_channels = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    if any(v is None or v.shape != z.shape[1:2] for v in of_channels) or norm.num_batches_tracked is None:
        return False
    operands = [*of_channels, *([] if plus is None else [plus])]
    if any(v.dtype not in (float32, float64) or v.dtype != z.dtype or v.device != z.device for v in operands):
        return False
    one = math.prod(z.shape) == z.shape[1]  # one value per channel, of which batch normalization has to complain
    return not one and bool(math.prod(z.shape)) and (plus is None or plus.shape == z.shape)


def _as_made(module: Any, *types: type) -> bool:
    """Whether a module is of these types, not of a subclass, without hooks and with the forward of its type."""
    return type(module) in types and not (
        module._forward_pre_hooks or module._forward_hooks or module._backward_hooks or "forward" in vars(module)
    )
