"""Reading images at places of one's own: against PyTorch, to second order, and the errors."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as tg
from tests.parity import assert_parity
from tinygrad_med.testing import gradcheck

ours = tg.nn.functional.grid_sample


@pytest.mark.parametrize("size", [(4, 5), (3, 4, 2)])
@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample_is_pytorchs(torch, mode, padding, align, size):
    if mode == "bicubic" and len(size) == 3:
        return  # it is for images alone, in both
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((2, 3, *size)), rng.uniform(-3.4, 3.4, (2, *[3] * len(size), len(size)))
    options = {"mode": mode, "padding_mode": padding, "align_corners": align}
    theirs = torch.nn.functional.grid_sample
    expected = theirs(torch.tensor(x), torch.tensor(grid), **options).numpy()
    np.testing.assert_allclose(ours(tg.tensor(x), tg.tensor(grid), **options).numpy(), expected, rtol=0, atol=1e-12)
    if mode == "nearest":
        fixed, torch_fixed = tg.tensor(grid), torch.tensor(grid)
        assert_parity(torch, lambda x: ours(x, fixed, **options), lambda x: theirs(x, torch_fixed, **options), x)
        return
    # PyTorch has the first derivative only
    leaves = [tg.tensor(a, requires_grad=True) for a in (x, grid)]
    torch_leaves = [torch.tensor(a, requires_grad=True) for a in (x, grid)]
    u = rng.standard_normal(expected.shape)
    (ours(*leaves, **options) * tg.tensor(u)).sum().backward()
    (theirs(*torch_leaves, **options) * torch.tensor(u)).sum().backward()
    for a, b in zip(leaves, torch_leaves, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=0, atol=1e-10)


def test_the_derivative_has_a_derivative():
    rng = np.random.default_rng(1)
    x, grid = rng.standard_normal((1, 1, 4, 5)), rng.uniform(-0.9, 0.9, (1, 2, 2, 2))
    leaves = tuple(tg.tensor(a, requires_grad=True) for a in (x, grid))
    assert gradcheck(lambda x, g: ours(x, g, align_corners=True), leaves)
    first = tg.autograd.grad(ours(*leaves).sum(), leaves[1], create_graph=True)[0]
    assert first.requires_grad


def test_refusals():
    x = tg.ones(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"grid_sample: expects .* got \(1, 1, 4, 4\) and \(1, 2, 2, 3\)"):
        ours(x, tg.zeros(1, 2, 2, 3))
    with pytest.raises(ValueError, match="mode='cubic' is not 'bilinear', 'nearest' or, for images alone, 'bicubic'"):
        ours(x, tg.zeros(1, 2, 2, 2), mode="cubic")
    with pytest.raises(ValueError, match="mode='bicubic' is not"):
        ours(tg.ones(1, 1, 4, 4, 4), tg.zeros(1, 2, 2, 2, 3), mode="bicubic")
    with pytest.raises(ValueError, match="padding_mode='mirror' is unknown; give 'zeros', 'border', 'reflection'"):
        ours(x, tg.zeros(1, 2, 2, 2), padding_mode="mirror")
