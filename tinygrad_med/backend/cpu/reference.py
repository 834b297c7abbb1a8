"""Convolution and its two gradients as their formulas say: the specification that the tests hold the kernels to.

Convolution is linear in x and in w; with any g it gives one number, the trilinear form

    ⟨conv2d(x, w), g⟩ = Σ g[n,k,o,p] · w[k,c,i,j] · x̄[n,c, o·sh + i·dh, p·sw + j·dw]        (x̄ is x, padded)

and each face of the form is the sum without one of its three factors. `windows` is im2col: a view of x̄ in which the
pixels that a window covers stand as two further axes. What then remains is an einsum, which says the formula literally.

This file knows the formulas; it doesn't know speed, threads, or memory layouts.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_med.backend.geometry import Geometry, IntOrPair, Padding, Pair, conv_geometry


def windows(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A view (N, C, OH, OW, kh, kw) of the padded x (N, C, H + top + bottom, W + left + right)."""
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    return sliding_window_view(x, geometry.extent, axis=(2, 3), writeable=True)[:, :, ::sh, ::sw, ::dh, ::dw]


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> np.ndarray:
    """y[n,k,o,p] = Σ w[k,c,i,j] · x̄[n,c, o·sh + i·dh, p·sw + j·dw]."""
    geometry = conv_geometry(x.shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    v = _split(windows(np.pad(x, ((0, 0), (0, 0), *geometry.padding)), geometry), groups, axis=1)
    return _join(np.einsum("ngcopij,gkcij->ngkop", v, _split(w, groups, axis=0)), axis=1)


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
    """∂x: every g[n,k,o,p] · w[k,c,i,j] goes to the cell of x̄ that it was multiplied with; the padding is cut off."""
    x_shape = (len(g), w.shape[1] * groups, *input_size)
    geometry = conv_geometry(x_shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    dv = _join(np.einsum("ngkop,gkcij->ngcopij", _split(g, groups, axis=1), _split(w, groups, axis=0)), axis=1)
    (top, bottom), (left, right) = geometry.padding
    height, width = geometry.size
    dx = np.zeros((*x_shape[:2], top + height + bottom, left + width + right), dv.dtype)
    cells = windows(dx, geometry)
    for i, j in np.ndindex(*geometry.kernel):
        cells[..., i, j] += dv[..., i, j]  # for one tap all cells differ, so nothing is lost
    return dx[:, :, top : top + height, left : left + width]


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
    """∂w[k,c,i,j] = Σ g[n,k,o,p] · x̄[n,c, o·sh + i·dh, p·sw + j·dw]."""
    w_shape = (g.shape[1], x.shape[1] // groups, *kernel_size)
    geometry = conv_geometry(x.shape, w_shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    v = _split(windows(np.pad(x, ((0, 0), (0, 0), *geometry.padding)), geometry), groups, axis=1)
    return _join(np.einsum("ngcopij,ngkop->gkcij", v, _split(g, groups, axis=1)), axis=0)


def _split(a: np.ndarray, groups: int, axis: int) -> np.ndarray:
    """Channels → (groups, channels of one group)."""
    return a.reshape(*a.shape[:axis], groups, a.shape[axis] // groups, *a.shape[axis + 1 :])


def _join(a: np.ndarray, axis: int) -> np.ndarray:
    return a.reshape(*a.shape[:axis], a.shape[axis] * a.shape[axis + 1], *a.shape[axis + 2 :])
