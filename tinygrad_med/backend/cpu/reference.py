"""Convolution and its two gradients as their formulas say: the specification that the tests hold the kernels to.

Convolution is linear in x and in w; with any g it gives one number, the trilinear form (here of two axes)

    ⟨conv(x, w), g⟩ = Σ g[n,k,o,p] · w[k,c,i,j] · x̄[n,c, o·sh + i·dh, p·sw + j·dw]        (x̄ is x, padded)

and each of the three functions is the sum without one of its three factors. `windows` is im2col: a view of x̄ in which
the pixels that a window covers stand as further axes. What then remains is an einsum, which says the formula literally;
a letter for each axis: o, p, q go over the windows, i, j, l over the taps.

This file knows the formulas; it doesn't know speed, threads, or memory layouts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_med.backend.geometry import Geometry


def windows(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A view (N, C, *out, *kernel) of the padded x (N, C, *padded)."""
    axes = range(2, x.ndim)
    places = (slice(0, (o - 1) * s + 1, s) for o, s in zip(geometry.out, geometry.stride, strict=True))
    taps = (slice(None, None, d) for d in geometry.dilation)
    key = (slice(None), slice(None), *places, *taps)
    v: np.ndarray = sliding_window_view(x, geometry.extent, axis=tuple(axes), writeable=True)
    return v[key]


def conv(x: np.ndarray, w: np.ndarray, *, geometry: Geometry) -> np.ndarray:
    """y[n,k,o,p] = Σ w[k,c,i,j] · x̄[n,c, o·sh + i·dh, p·sw + j·dw]."""
    out, taps = _letters(geometry)
    v = _split(windows(_padded(x, geometry), geometry), geometry.groups, axis=1)
    return _join(np.einsum(f"ngc{out}{taps},gkc{taps}->ngk{out}", v, _split(w, geometry.groups, axis=0)), axis=1)


def conv_input(g: np.ndarray, w: np.ndarray, *, geometry: Geometry) -> np.ndarray:
    """∂x: every g[n,k,o,p] · w[k,c,i,j] goes to the cell of x̄ that it was multiplied with; the padding is cut off."""
    (out, taps), groups = _letters(geometry), geometry.groups
    split = _split(g, groups, axis=1), _split(w, groups, axis=0)
    dv = _join(np.einsum(f"ngk{out},gkc{taps}->ngc{out}{taps}", *split), axis=1)
    dx = np.zeros((*dv.shape[:2], *geometry.padded), dv.dtype)
    cells = windows(dx, geometry)
    for tap in np.ndindex(*geometry.kernel):
        here = (..., *tap)
        cells[here] += dv[here]  # for one tap all cells differ, so nothing is lost
    within: tuple[Any, ...] = (..., *geometry.inside)
    return dx[within]


def conv_weight(x: np.ndarray, g: np.ndarray, *, geometry: Geometry) -> np.ndarray:
    """∂w[k,c,i,j] = Σ g[n,k,o,p] · x̄[n,c, o·sh + i·dh, p·sw + j·dw]."""
    out, taps = _letters(geometry)
    v = _split(windows(_padded(x, geometry), geometry), geometry.groups, axis=1)
    return _join(np.einsum(f"ngc{out}{taps},ngk{out}->gkc{taps}", v, _split(g, geometry.groups, axis=1)), axis=0)


def _letters(geometry: Geometry) -> tuple[str, str]:
    axes = len(geometry.kernel)
    return "opq"[:axes], "ijl"[:axes]


def _padded(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), *geometry.padding))


def _split(a: np.ndarray, groups: int, axis: int) -> np.ndarray:
    """Channels → (groups, channels of one group)."""
    return a.reshape(*a.shape[:axis], groups, a.shape[axis] // groups, *a.shape[axis + 1 :])


def _join(a: np.ndarray, axis: int) -> np.ndarray:
    return a.reshape(*a.shape[:axis], a.shape[axis] * a.shape[axis + 1], *a.shape[axis + 2 :])
