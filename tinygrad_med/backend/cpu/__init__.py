"""Kernels for NumPy arrays where NumPy wants an algorithm of its own: convolution, pooling, products,
sums, normalization.

Arrays in and out, shapes (N, C, *size); nothing here knows tensors, or what is differentiated when. Reading order:
`threads` (two cores from Python), `layout` (channels last), `reference` (the formulas), `finish` (what follows a
convolution), `im2col`, `few_channels`, `winograd`, `convolution` (the choice between them), `pool`, `products`, `sums`,
`softmax`, `norm`.
"""

from .convolution import conv, conv_finished, conv_input, conv_weight, get_winograd, set_winograd
from .elementwise import floor_divide, fmod, keep, plus, relu, relu_backward, remainder
from .norm import (
    batch_norm,
    batch_norm_backward,
    batch_norm_relu,
    batch_norm_relu_backward,
    batch_norm_stats,
    batch_norm_update,
    channel_sum,
    scale_shift,
)
from .pool import avg_pool, avg_pool_input, max_pool, max_pool_gather, max_pool_scatter
from .products import linear, matmul
from .softmax import log_softmax, log_softmax_backward
from .sums import broadcast_to, sum
from .threads import get_num_threads, set_num_threads

__all__ = [
    "avg_pool",
    "avg_pool_input",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_relu",
    "batch_norm_relu_backward",
    "batch_norm_stats",
    "batch_norm_update",
    "broadcast_to",
    "channel_sum",
    "conv",
    "conv_finished",
    "conv_input",
    "conv_weight",
    "floor_divide",
    "fmod",
    "get_num_threads",
    "get_winograd",
    "keep",
    "linear",
    "matmul",
    "log_softmax",
    "log_softmax_backward",
    "max_pool",
    "max_pool_gather",
    "max_pool_scatter",
    "plus",
    "relu",
    "relu_backward",
    "remainder",
    "scale_shift",
    "set_num_threads",
    "set_winograd",
    "sum",
]
