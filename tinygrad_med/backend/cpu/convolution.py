"""Convolution on the CPU: three functions of one trilinear form, and which algorithm computes them.

    ⟨conv(x, w), g⟩ = ⟨x, conv_input(g, w)⟩ = ⟨w, conv_weight(x, g)⟩

Each is linear in both operands, so the three are each other's derivatives, to any order. `reference.py` has the
formulas; here they are fast:

- a product over columns (`im2col.py`) serves every case, over one, two or three axes; images with few channels have
  theirs laid in another order (`few_channels.py`);
- float32 over two axes with stride 1, 3×3 or 5×5 taps, not too few channels and not too small an output takes
  Winograd's algorithm (`winograd.py`): 2 to 5 times fewer multiplications, up to 20 times the rounding error. float64
  never takes it, nor does an image with outliers, near which it would err; `set_winograd` switches it off;
- with stride 1 the input gradient is a convolution too: of g, with the kernel turned around and the channels swapped.

This file knows what callers see, (N, C, *size) in any memory order, and the choice; it computes nothing itself.
"""

from __future__ import annotations

import math
import os

import numpy as np

from tinygrad_med.backend.geometry import Geometry

from . import few_channels, im2col, winograd
from .finish import NOTHING, Finish
from .layout import to_channels_last, to_public


def conv(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, *, geometry: Geometry) -> np.ndarray:
    """y[n,k,o,p] = bias[k] + Σ w[k,c,i,j] · x̄[n,c, o·sh + i·dh, p·sw + j·dw], where x̄ is x with its padding.

    x (N, C, *size), w (K, C/groups, *kernel), bias (K,) → (N, K, *out); float16, float32 or float64, the same for all.
    The result lies channels-last in memory.
    """
    return conv_finished(x, w, geometry=geometry, shift=bias)


def conv_finished(
    x: np.ndarray,
    w: np.ndarray,
    *,
    geometry: Geometry,
    scale: np.ndarray | None = None,
    shift: np.ndarray | None = None,
    plus: np.ndarray | None = None,
    relu: bool = False,
) -> np.ndarray:
    """relu(scale · conv(x, w) + shift + plus), each where it is wanted, in one pass over memory.

    scale and shift (K,), one per channel; plus of the result's shape, (N, K, *out).
    """
    w = _widen(w)
    if scale is not None and w.size <= len(x) * len(w) * math.prod(geometry.out):  # fewer weights than results
        w, scale = w * scale.reshape(-1, *(1,) * (w.ndim - 1)), None
    finish = Finish(scale, shift, None if plus is None else to_channels_last(plus), relu)
    y = _correlate(_widen(x), w, geometry, finish)
    return to_public(y.astype(x.dtype, copy=False))


def conv_input(g: np.ndarray, w: np.ndarray, *, geometry: Geometry) -> np.ndarray:
    """The gradient of conv with respect to x: g (N, K, *out) → (N, C, *size)."""
    w_wide, groups = _widen(w), geometry.groups
    turned = geometry.turned
    if turned is None:
        dx = im2col.input_gradient(_widen(to_channels_last(g)), w_wide, geometry)
    else:
        turn = (..., *(slice(None, None, -1) for _ in geometry.kernel))
        swapped = w_wide.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)[turn]  # (groups, C', K', *kernel)
        dx = _correlate(_widen(g), swapped.reshape(groups * w.shape[1], -1, *geometry.kernel), turned)
    return to_public(dx.astype(g.dtype, copy=False))


def conv_weight(x: np.ndarray, g: np.ndarray, *, geometry: Geometry) -> np.ndarray:
    """The gradient of conv with respect to w: → (K, C/groups, *kernel)."""
    g_last = _widen(to_channels_last(g))
    if few_channels.suits(x, geometry):
        dw = few_channels.weight_gradient(_widen(x), g_last, geometry)
        return dw.astype(g.dtype, copy=False)
    x_last = _widen(to_channels_last(x))
    if _takes_winograd(x_last, geometry):
        dw = winograd.weight_gradient(x_last, g_last, geometry)
    else:
        dw = im2col.weight_gradient(x_last, g_last, geometry)
    return dw.astype(g.dtype, copy=False)


def set_winograd(enabled: bool) -> None:
    """Allow or forbid Winograd's algorithm; without it float32 convolutions are plain sums of products.

    It is allowed at first, unless the environment has TINYGRAD_MED_WINOGRAD=0.
    """
    global _winograd
    _winograd = bool(enabled)


def get_winograd() -> bool:
    """Whether Winograd's algorithm is allowed."""
    return _winograd


_winograd = os.environ.get("TINYGRAD_MED_WINOGRAD", "1") != "0"


def _correlate(x: np.ndarray, w: np.ndarray, geometry: Geometry, finish: Finish = NOTHING) -> np.ndarray:
    """x (N, C, *size) → y (N, *out, K)"""
    if few_channels.suits(x, geometry):
        return few_channels.correlate(x, w, geometry, finish)
    x = to_channels_last(x)
    if not _takes_winograd(x, geometry):
        return im2col.correlate(x, w, geometry, finish)
    outlying = winograd.outlying(x)
    if not outlying.any():
        return winograd.correlate(x, w, geometry, finish)
    y = np.empty((len(x), *geometry.out, len(w)), x.dtype)
    for images, algorithm in ((outlying, im2col), (~outlying, winograd)):
        y[images] = algorithm.correlate(x[images], w, geometry)
    finish(y, ())
    return y


def _takes_winograd(x: np.ndarray, geometry: Geometry) -> bool:
    if not _winograd or x.dtype != np.float32 or geometry.groups != 1:
        return False
    return winograd.suits(geometry) and winograd.pays(x, geometry)


def _widen(a: np.ndarray) -> np.ndarray:
    """float16 computes as float32."""
    return a.astype(np.float32) if a.dtype == np.float16 else a
