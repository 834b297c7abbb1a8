"""Write an operation, let `check_op` find the mistake in its derivative, and mend it.

Two operations, each with one planted mistake of the kind that people make: a Huber loss that loses a sign, and a
depthwise convolution whose kernel isn't turned round on the way back. Run it and read the two diagnoses:

    python examples/check_your_own_op.py
"""

from __future__ import annotations

import argparse

import numpy as np

import tinygrad_med as tg
from tinygrad_med.testing import GradcheckError, check_op, strategies

# A Huber loss -------------------------------------------------------------------------------------------------------


@tg.primitive
def huber(xp, x, *, delta=1.0):
    """z = x²/2 where |x| ≤ δ, else δ · (|x| − δ/2)

    ∂x: g · x where |x| ≤ δ, else g · δ
    """
    return xp.where(abs(x) <= delta, x * x / 2, delta * (abs(x) - delta / 2))


huber.vjp(x=lambda g, x, delta: g * tg.where(abs(x) <= delta, x, delta))  # the mistake: for x < −δ the slope is −δ


def mend_huber() -> None:
    """∂x: g · x within ±δ, else g · δ with the sign of x."""
    huber.vjp(x=lambda g, x, delta: g * tg.clip(x, -delta, delta))


# A depthwise convolution: each channel has a kernel of its own ------------------------------------------------------


@tg.primitive
def depthwise(xp, x, weight):
    """z[n,c,o,p] = Σ x[n,c,o+i,p+j] · weight[c,i,j] over i, j

    ∂x: depthwise(g with a margin of k − 1 zeros, weight turned round)
    ∂weight: Σ g[n,c,o,p] · x[n,c,o+i,p+j] over n, o, p
    """
    (_, kh, kw), (height, width) = weight.shape, x.shape[2:]
    windows = xp.lib.stride_tricks.sliding_window_view(x, (height - kh + 1, width - kw + 1), axis=(2, 3))
    return xp.einsum("ncijop,cij->ncop", windows, weight)  # (N, C, H − kh + 1, W − kw + 1)


def with_margin(g, weight):
    """g with as many zeros around it as a kernel can reach over the edge."""
    _, kh, kw = weight.shape
    return tg.pad(g, (kw - 1, kw - 1, kh - 1, kh - 1))


def products(g, x, weight_shape):
    """For each tap (i, j) the sum of g times the image under it: (C, kh, kw)."""
    _, kh, kw = weight_shape
    height, width = g.shape[2:]
    taps = [tg.sum(g * x[:, :, i : i + height, j : j + width], (0, 2, 3)) for i in range(kh) for j in range(kw)]
    return tg.reshape(tg.stack(taps, 1), *weight_shape)


depthwise.vjp(
    x=lambda g, weight: depthwise(with_margin(g, weight), weight),  # the mistake: the kernel is not turned round
    weight=products,
)


def mend_depthwise() -> None:
    """∂x needs the kernel turned round in both directions."""
    depthwise.vjp(x=lambda g, weight: depthwise(with_margin(g, weight), tg.flip(weight, 1, 2)))


def slow_depthwise(x, weight):
    """The same by loops: an independent value to compare with."""
    n, channels, height, width = x.shape
    _, kh, kw = weight.shape
    z = np.zeros((n, channels, height - kh + 1, width - kw + 1))
    for o, p in np.ndindex(z.shape[2:]):
        z[:, :, o, p] = (x[:, :, o : o + kh, p : p + kw] * weight).sum((2, 3))
    return z


def main(argv: list[str] | None = None) -> None:
    """Check, read, mend, and check again, now with examples that hypothesis draws."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    rng = np.random.default_rng(0)
    images, kernels = rng.standard_normal((1, 2, 3, 4)), rng.standard_normal((2, 2, 2))
    many_images = strategies.calls(strategies.arrays((2, 2, 3, 3)), strategies.arrays((2, 2, 2)))
    stories = (
        (huber, np.array([-3.0, -2.0, -0.5, 0.5, 2.0]), None, mend_huber, strategies.arrays(away_from=(-1, 1))),
        (depthwise, (images, kernels), slow_depthwise, mend_depthwise, many_images),
    )
    for op, point, reference, mend, many in stories:
        try:
            check_op(op, point, reference=reference)
        except GradcheckError as error:
            print(error, "\n")
        mend()
        print(f"mended: {mend.__doc__}")
        print(check_op(op, many, reference=reference, max_examples=20, fast_mode=True), "\n")


if __name__ == "__main__":
    main()
