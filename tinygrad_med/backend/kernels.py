"""Which kernels compute: those for NumPy (`cpu`), or those for every array library, meant for CuPy (`gpu`).

The two have the same names and signatures, so an operation writes `kernels(xp).conv(x, w, geometry=…)` and never asks
where its arrays lie.
"""

from __future__ import annotations

from types import ModuleType

import numpy

from tinygrad_med.backend import cpu, gpu

LARGE = 1 << 16
"""From so many numbers on a kernel for elementwise work is worth its call."""


def kernels(xp: ModuleType) -> ModuleType:
    """The kernels for arrays of the library `xp`."""
    return cpu if xp is numpy else gpu
