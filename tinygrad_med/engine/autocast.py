"""Mixed precision: which operations run in float16, which in float32, and where that is asked.

Within `autocast("cuda")` the operations of `IN_HALF` get their float32 operands in float16, those of `IN_SINGLE` their
float16 operands in float32, and all others what they are given; float64 is never touched. The conversion is an
operation of the graph, so a float32 weight gets a float32 gradient. Both tables are PyTorch's, whose devices differ;
tests hold every operation to it, for the CPU by running it, for CUDA by asking its own dispatcher.

It is asked in two places: a primitive by its public name in `compiled.general`, to which every call goes while a thread
has autocast on; and a function made of several in `signatures.by_other_names`. What runs inside an operation, and the
walk back, is left alone.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tinygrad_med import backend
from tinygrad_med.dtypes import as_dtype, float16, float32
from tinygrad_med.engine import switches
from tinygrad_med.engine.conversions import Conversions
from tinygrad_med.engine.promotion import convert

# The tables -----------------------------------------------------------------------------------------------------------

_PRODUCTS = """
    matmul mm bmm linear addmm addbmm baddbmm einsum
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    prelu scaled_dot_product_attention multi_dot vecdot
"""
_LOSSES = """
    cross_entropy nll_loss kl_div l1_loss smooth_l1_loss huber_loss mse_loss binary_cross_entropy_with_logits
    cosine_embedding_loss margin_ranking_loss soft_margin_loss triplet_margin_loss
    hinge_embedding_loss multi_margin_loss poisson_nll_loss
"""
_POWERS = "acos asin cosh exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow square softplus"
_NORMS = """
    layer_norm rms_norm group_norm norm linalg_norm vector_norm matrix_norm
    dist cdist cosine_similarity pairwise_distance
"""
_SUMS = """
    sum prod cumsum cumprod softmax log_softmax logsumexp interpolate lp_pool1d lp_pool2d lp_pool3d
    multilabel_soft_margin_loss triplet_margin_with_distance_loss
"""
_CPU = """
    binary_cross_entropy prod quantile nanquantile trace cdist
    max_pool3d max_unpool1d max_unpool2d max_unpool3d adaptive_max_pool3d grid_sample
    avg_pool3d lp_pool3d adaptive_avg_pool3d
    inv solve cholesky eigh eigvalsh svd svdvals qr cond matrix_rank tensorinv tensorsolve
"""


def _names(*tables: str) -> set[str]:
    return set(" ".join(tables).split())


IN_HALF = {"cuda": _names(_PRODUCTS, "mv addmv addr"), "cpu": _names(_PRODUCTS, "affine_grid")}
"""By device the operations that run in float16: products, which are fast in it."""

IN_SINGLE = {"cuda": _names(_LOSSES, _POWERS, _NORMS, _SUMS), "cpu": _names(_LOSSES, _CPU)}
"""By device the operations that run in float32: sums, powers, logarithms, which leave float16's range or precision."""


def _refused(name: str) -> str:
    return (
        f"{name}: unsafe under autocast: probabilities near 0 or 1 are lost in float16; leave the sigmoid out and use "
        "binary_cross_entropy_with_logits (BCEWithLogitsLoss), or give it float32 with autocast off"
    )


REFUSED: dict[str, set[str]] = {"cuda": {"binary_cross_entropy"}, "cpu": set()}
"""By device the operations that PyTorch refuses under autocast."""

LISTED = set().union(*(names for table in (IN_HALF, IN_SINGLE, REFUSED) for names in table.values()))
"""The operations that autocast means, on some device."""

# What a thread has on -------------------------------------------------------------------------------------------------


class _Casting(threading.local):
    """By device type the dtype in which the calling thread wants products; empty while it has autocast off."""

    dtypes: Mapping[str, Any] = {}


casting = _Casting()
threads: set[int] = set()
"""The threads that have autocast on; while there is none, nobody asks for its own."""


def _switch(dtypes: Mapping[str, Any]) -> None:
    casting.dtypes = dtypes
    (threads.add if dtypes else threads.discard)(threading.get_ident())
    key = ("autocast", threading.get_ident())
    (switches.unusual.add if dtypes else switches.unusual.discard)(key)


@contextmanager
def as_it_is(dtypes: Mapping[str, Any] | None = None) -> Iterator[None]:
    """No conversions within the block, or those of other `casting.dtypes`."""
    before = casting.dtypes
    _switch(dtypes or {})
    try:
        yield
    finally:
        _switch(before)


class autocast(switches.Switch):
    """Run products of float32 tensors in float16, and what needs more precision in float32.

    `with autocast("cuda"): loss = criterion(model(x), y)`, or as a decorator of a function; the way back is to be
    outside. As in PyTorch; weights stay float32, and are converted at each use. Holds for the calling thread only.

    Args:
        device_type: `"cuda"` or `"cpu"`: the tensors that are meant.
        dtype: `float16`. PyTorch's default on the CPU is bfloat16, which NumPy lacks: without `dtype` nothing is
            converted there, with a warning.
        enabled: `False` for float32 within an autocast block.
        cache_enabled: accepted, and does nothing.

    Raises:
        RuntimeError: for a device of another type.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        super().__init__()
        if not isinstance(device_type, str):
            raise ValueError(f"autocast: device_type is 'cuda' or 'cpu', got {type(device_type).__name__}")
        if device_type not in ("cuda", "cpu"):
            raise RuntimeError(f"autocast: device_type={device_type!r} is unknown; give 'cuda' or 'cpu'")
        self.device, self.dtype, self._enabled = device_type, dtype, enabled
        self.cache_enabled = cache_enabled
        problem = _problem(device_type, dtype) if enabled else None
        if problem:
            warnings.warn(f"autocast: {problem}; nothing is converted", UserWarning, stacklevel=2)
            self._enabled = False

    def __enter__(self) -> autocast:
        self._before.append(casting.dtypes)
        others = {device: dtype for device, dtype in casting.dtypes.items() if device != self.device}
        _switch({**others, self.device: float16} if self._enabled else others)
        return self

    def __exit__(self, *_: object) -> None:
        _switch(self._before.pop())

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """An autocast; unlike `no_grad` it always has arguments."""
        return object.__new__(cls)

    def _another(self) -> autocast:
        return type(self)(self.device, self.dtype, self._enabled, self.cache_enabled)


def _problem(device_type: str, dtype: Any) -> str | None:
    if device_type == "cpu" and dtype is None:
        return "its default on the CPU is bfloat16, which NumPy lacks; give dtype=float16"
    if dtype is not None and as_dtype(dtype) != float16:
        return f"it supports float16, not {as_dtype(dtype)}"
    if device_type == "cuda" and (missing := backend.cuda_problem()):
        return f"there is no CUDA here ({missing})"
    return None


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether this thread has autocast on for a device."""
    return device_type in casting.dtypes


# Where it is asked ----------------------------------------------------------------------------------------------------


def wanted(name: str, given: Any) -> tuple[str, Any] | None:
    """The device whose tensors an operation shall convert, and to which dtype; `None` where they stay as they are."""
    device = next((x.device.type for x in _tensors(given)), None) if name in LISTED else None
    if device is None or device not in casting.dtypes:
        return None
    if name in REFUSED[device]:
        raise RuntimeError(_refused(name))
    if name in IN_HALF[device]:
        return device, casting.dtypes[device]
    return (device, float32) if name in IN_SINGLE[device] else None


def converted(given: Any, device: str, dtype: Any) -> Any:
    """`given`, its float16 and float32 tensors on `device` in `dtype`; the others, and all else, as they are."""
    if isinstance(given, Conversions):
        fits = given.dtype in (float16, float32) and given.dtype != dtype and given.device.type == device
        return convert(given, dtype) if fits else given
    if type(given) is dict:
        return {name: converted(x, device, dtype) for name, x in given.items()}
    return type(given)(converted(x, device, dtype) for x in given) if type(given) in (list, tuple) else given


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function of several operations as one operation under autocast."""
    found = wanted(function.__name__, (*args, *kwargs.values()))
    if found and not (found[1] == float32 and kwargs.get("dtype") is not None):  # softmax(x, 1, dtype=float64)
        args, kwargs = converted(args, *found), converted(kwargs, *found)
    with as_it_is():
        return function(*args, **kwargs)


def unconverted(steps: Iterator[Any]) -> Iterator[Any]:
    """The steps of a walk, each taken without conversions: a rule computes in the dtypes that its operation had."""
    done = object()
    while True:
        with as_it_is():
            step = next(steps, done)
        if step is done:
            return
        yield step


def _tensors(given: Any) -> Iterator[Any]:
    for x in given:
        if isinstance(x, Conversions):
            yield x
        elif type(x) in (list, tuple):
            yield from _tensors(x)
