"""Convolution on the CPU: the three faces of one trilinear form, and which algorithm computes them.

    ⟨conv2d(x, w), g⟩ = ⟨x, conv2d_input(g, w)⟩ = ⟨w, conv2d_weight(x, g)⟩

Each face is linear in both operands, so the three are each other's derivatives, to any order. `reference.py` has the
formulas; here they are fast:

- a product over columns (`im2col.py`) serves every case;
- float32 with stride 1, 3×3 or 5×5 taps, not too few channels and not too small an output takes Winograd's algorithm
  (`winograd.py`): 3 to 5 times fewer multiplications, 5 to 20 times the rounding error. float64 never takes it, and
  `set_winograd` switches it off;
- with stride 1 the input gradient is a convolution too: of g, with the kernel turned around and the channels swapped.

This file knows what callers see, (N, C, H, W) in any memory order, and the choice; it computes nothing itself.
"""

from __future__ import annotations

import os

import numpy as np

from tinygrad_med.backend.geometry import Geometry, IntOrPair, Padding, Pair, conv_geometry

from . import im2col, winograd
from .layout import to_channels_last, to_public


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """y[n,k,o,p] = bias[k] + Σ w[k,c,i,j] · x̄[n,c, o·sh + i·dh, p·sw + j·dw], where x̄ is x with its padding.

    x (N, C, H, W), w (K, C/groups, kh, kw), bias (K,) → (N, K, OH, OW); float16, float32 or float64, the same for all.
    The result lies channels-last in memory. Raises what `conv_geometry` raises.
    """
    geometry = conv_geometry(x.shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    y = _correlate(_widen(to_channels_last(x)), _widen(w), geometry, groups, bias)
    return to_public(y.astype(x.dtype, copy=False))


def conv2d_input(
    g: np.ndarray,
    w: np.ndarray,
    *,
    input_size: Pair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """The gradient of conv2d with respect to x, whose (H, W) is `input_size`: g (N, K, OH, OW) → (N, C, H, W)."""
    x_shape = (len(g), w.shape[1] * groups, *input_size)
    geometry = conv_geometry(x_shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    _expect("conv2d_input", g, (len(g), len(w), *geometry.out))
    g_last, w_wide = _widen(to_channels_last(g)), _widen(w)
    turned = _turned(geometry)
    if turned is None:
        dx = im2col.input_gradient(g_last, w_wide, geometry, groups)
    else:
        swapped = w_wide.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)[..., ::-1, ::-1]  # (groups, C', K', kh, kw)
        dx = _correlate(g_last, swapped.reshape(x_shape[1], -1, *w.shape[2:]), turned, groups)
    return to_public(dx.astype(g.dtype, copy=False))


def conv2d_weight(
    x: np.ndarray,
    g: np.ndarray,
    *,
    kernel_size: Pair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """The gradient of conv2d with respect to w, whose (kh, kw) is `kernel_size`: → (K, C/groups, kh, kw)."""
    w_shape = (g.shape[1], x.shape[1] // groups, *kernel_size)
    geometry = conv_geometry(x.shape, w_shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    _expect("conv2d_weight", g, (len(x), g.shape[1], *geometry.out))
    x_last, g_last = _widen(to_channels_last(x)), _widen(to_channels_last(g))
    if _takes_winograd(x_last, geometry, groups):
        dw = winograd.weight_gradient(x_last, g_last, geometry)
    else:
        dw = im2col.weight_gradient(x_last, g_last, geometry, groups)
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


def _correlate(
    x: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int, bias: np.ndarray | None = None
) -> np.ndarray:
    if _takes_winograd(x, geometry, groups):
        return winograd.correlate(x, w, geometry, bias)
    return im2col.correlate(x, w, geometry, groups, bias)


def _takes_winograd(x: np.ndarray, geometry: Geometry, groups: int) -> bool:
    if not _winograd or x.dtype != np.float32 or groups != 1:
        return False
    return winograd.suits(geometry) and winograd.pays(x, geometry)


def _turned(geometry: Geometry) -> Geometry | None:
    """The geometry of the convolution that takes g to ∂x; None where there is none: a stride, or excessive padding."""
    if geometry.stride != (1, 1):
        return None
    rows, columns = (
        (extent - 1 - before, extent - 1 - after)
        for extent, (before, after) in zip(geometry.extent, geometry.padding, strict=True)
    )
    if min(*rows, *columns) < 0:
        return None
    return geometry._replace(size=geometry.out, padding=(rows, columns), out=geometry.size)


def _widen(a: np.ndarray) -> np.ndarray:
    """float16 computes as float32."""
    return a.astype(np.float32) if a.dtype == np.float16 else a


def _expect(name: str, g: np.ndarray, shape: tuple[int, ...]) -> None:
    if g.shape != shape:
        raise ValueError(f"{name}: g has shape {g.shape}, but the convolution's output has {shape}; pass what it gave")
