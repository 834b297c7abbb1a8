"""Clipping gradients, as PyTorch does it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_med as tg


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf, "inf"])
@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_clip_grad_norm(torch, max_norm, norm_type):
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(shape) for shape in ((3, 4), (), (5,))]
    found = []
    for lib in (tg, torch):
        parameters = [lib.tensor(np.zeros(g.shape), requires_grad=True) for g in gradients]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = lib.tensor(g)
        parameters.append(lib.zeros(2, requires_grad=True))  # without a gradient
        total = lib.nn.utils.clip_grad_norm_(iter(parameters), max_norm, norm_type)
        found.append([total.numpy(), *(p.grad.numpy() for p in parameters[:-1])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_one_parameter_none_and_nan(torch):
    p = tg.zeros(2, requires_grad=True)
    assert tg.nn.utils.clip_grad_norm_(p, 1.0).item() == torch.nn.utils.clip_grad_norm_([], 1.0).item() == 0
    p.grad = tg.tensor([3.0, 4.0])
    assert tg.nn.utils.clip_grad_norm_(p, 1.0).item() == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)
    p.grad = tg.tensor([math.nan, 4.0])
    with pytest.raises(RuntimeError, match="clip_grad_norm_: the norm of the gradients is nan"):
        tg.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
