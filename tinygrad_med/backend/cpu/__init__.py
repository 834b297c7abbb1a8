"""Kernels for NumPy arrays where NumPy wants an algorithm of its own: convolution, pooling, sums, normalization.

Arrays in and out, shapes (N, C, H, W); nothing here knows tensors, or what is differentiated when. Reading order:
`threads` (two cores from Python), `layout` (channels last), `reference` (the formulas), `im2col`, `winograd`, `conv`
(the choice between them), `pool`, `sums`, `norm`.
"""

from .conv import conv2d, conv2d_input, conv2d_weight, get_winograd, set_winograd
from .elementwise import keep, relu, relu_backward
from .norm import batch_norm_backward, batch_norm_stats, channel_sum, scale_shift
from .pool import (
    avg_pool2d,
    avg_pool2d_input,
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_scatter,
)
from .sums import sum
from .threads import get_num_threads, set_num_threads

__all__ = [
    "avg_pool2d",
    "avg_pool2d_input",
    "batch_norm_backward",
    "batch_norm_stats",
    "channel_sum",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "get_num_threads",
    "get_winograd",
    "keep",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_scatter",
    "relu",
    "relu_backward",
    "scale_shift",
    "set_num_threads",
    "set_winograd",
    "sum",
]
