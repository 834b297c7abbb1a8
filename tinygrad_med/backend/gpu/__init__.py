"""The kernels of `cpu`, by the same names, for CuPy: array code, and beside it kernels in CUDA C++ that are as fast.

The functions find the array library of what they are given; with NumPy arrays the array code runs too, which is how it
is tested where there is no GPU. A kernel takes its place where `compiled.compiles` says so, and is held to it by tests
marked `cuda`. Reading order: `compiled` (from a source to a call), `layout` (channels last), `norm` (sums in two
stages), `places` (where windows lie), `pool`, `convolution`, `implicit` (convolution without columns), `finish` (what
follows one), `products`, `sums`, `softmax`, `elementwise`, `optimizers` (all parameters in one launch), `faults` (wrong
indices, found by the GPU), `compiling` (the bar of the first step).
"""

from .compiled import get_compiled, set_compiled
from .convolution import conv, conv_input, conv_weight
from .elementwise import floor_divide, fmod, keep, plus, relu, relu_backward, remainder
from .finish import conv_finished
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
    "get_compiled",
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
    "set_compiled",
    "sum",
]
