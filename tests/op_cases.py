"""The table of operations: one row per primitive, and one per public function made of them.

Whoever adds an operation adds a row here: the operation, the calls to try it with, and its name in PyTorch. The suite
in `tests/ops` then runs it for values, derivatives of order 1 and 2 (3 where `order=3`), memory layouts, dtypes and
devices, and `benchmarks/gradcheck_long_run.py` for many examples more. `test_every_primitive_has_its_row` holds that no
primitive is missing: a new one (convolution, pooling, norm …) gets its row in the same commit.

The calls stay away from kinks and ties, where a numerical derivative means nothing. What holds *at* a kink is said in
`kinks`, a call and its gradients for an upstream gradient of ones.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import tinygrad_med as tg
from tinygrad_med import ops
from tinygrad_med.autograd.function import Function, _function
from tinygrad_med.backend import array_module
from tinygrad_med.backend.geometry import conv_geometry, pool_geometry
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.broadcast import cast, expand as engine_expand, sum_to
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.explain.tape import _as_recorded
from tinygrad_med.nn.hooks import _gate, _pass_through, through_gate
from tinygrad_med.ops import conv, elementwise, linear_algebra, normalization, pool, rearrange, resize
from tinygrad_med.ops.indexing import _index_add, _setitem
from tinygrad_med.ops.loss import _binary_cross_entropy
from tinygrad_med.ops.matmul import _einsum, _linear, _matmul
from tinygrad_med.ops.reduce import _amax, _amin, _argsort, _cumsum, _log_softmax, _logsumexp, _mean, _softmax, _sum
from tinygrad_med.ops.shape import _cat, _flip, _pad, _permute, _reshape
from tinygrad_med.parallel import Ranks, all_reduce
from tinygrad_med.testing.strategies import (
    Call,
    arrays,
    broadcastable_shapes,
    calls,
    convolutions,
    dims,
    poolings,
    several_dims,
    shapes,
)

# The rows -----------------------------------------------------------------------------------------------------------


class Kink(NamedTuple):
    """A call at a kink or tie, and the gradients of its operands that we stand for, the upstream gradient being 1."""

    call: Call
    gradients: tuple[Any, ...]


class Row(NamedTuple):
    """One operation of the table.

    Attributes:
        name: what the tests call it.
        op: called as the drawn `Call` says, with a tensor for each array. Float arrays among the positional arguments
            are the operands, through which gradients flow.
        calls: the strategy of calls.
        torch: PyTorch's function of the same arguments, or its name in the module `torch`.
        primitive: the primitive that the row stands for, `None` for a function made of several.
        order: the highest order of derivative that is checked; 0 where there is none.
        view: whether the result may share memory with an operand.
        kinks: what holds at kinks and ties.
    """

    name: str
    op: Callable[..., Any]
    calls: st.SearchStrategy[Call]
    torch: str | Callable[..., Any]
    primitive: Primitive | None
    order: int
    view: bool
    kinks: tuple[Kink, ...]

    def reference(self, torch: ModuleType) -> Callable[..., Any]:
        """PyTorch's function."""
        return operator.attrgetter(self.torch)(torch) if isinstance(self.torch, str) else self.torch


ROWS: list[Row] = []


def row(
    op: Callable[..., Any],
    calls: st.SearchStrategy[Call],
    torch: str | Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    primitive: Primitive | None = None,
    order: int = 2,
    view: bool = False,
    kinks: tuple[Kink, ...] = (),
) -> None:
    """Enter a row; by default the operation stands for itself and has the same name in PyTorch."""
    if primitive is None and isinstance(op, Primitive):
        primitive = op
    own = str(primitive or op.__name__)
    ROWS.append(Row(name or own, op, calls, own if torch is None else torch, primitive, order, view, kinks))


def kink(*args: Any, gradients: list[Any], **kwargs: Any) -> Kink:
    """A call with these operands, and their gradients."""
    operands = tuple(np.array(x, "float64") if isinstance(x, list | float) else x for x in args)
    return Kink(Call(operands, kwargs), tuple(np.array(g, "float64") for g in gradients))


def any_array(**limits: Any) -> st.SearchStrategy[np.ndarray]:
    """An array of any shape, also empty or 0-d, in any layout."""
    return arrays(shapes(min_side=0), **limits)


@st.composite
def broadcast(draw: Any, *limits: dict[str, Any]) -> Call:
    """A call with as many operands as `limits`, whose shapes broadcast."""
    found = draw(broadcastable_shapes(len(limits), min_side=0 if draw(st.integers(0, 9)) == 9 else 1))
    return Call(tuple(draw(arrays(s, **limit)) for s, limit in zip(found, limits, strict=True)), {})


def _torch() -> ModuleType:
    import torch

    return torch


# Elementwise --------------------------------------------------------------------------------------------------------

POSITIVE = {"low": 0.3, "high": 3.0}
NOT_ZERO = {"away_from": (0,), "margin": 0.3}

row(ops.clone, calls(any_array()), order=3)
row(
    lambda x: ops.to_device(x, device=x.device, source=x.device),
    calls(any_array()),
    lambda x: x.clone(),
    name="to_device",
    primitive=ops.to_device,
    view=True,
)
row(cast, calls(any_array(), dtype=tg.float64), lambda x, **_: x.double())
row(ops.neg, calls(any_array()), order=3)
row(ops.exp, calls(any_array()), order=3)
row(ops.expm1, calls(any_array()), order=3)
row(ops.log, calls(any_array(**POSITIVE)), order=3)
row(ops.log1p, calls(any_array(low=-0.6)), order=3)
row(ops.sqrt, calls(any_array(**POSITIVE)), order=3)
row(ops.sin, calls(any_array()), order=3)
row(ops.cos, calls(any_array()), order=3)
row(ops.log2, calls(any_array(**POSITIVE)), order=3)
row(ops.rsqrt, calls(any_array(**POSITIVE)), order=3)
row(ops.square, calls(any_array()), order=3)
row(ops.reciprocal, calls(any_array(**NOT_ZERO)), order=3)
row(ops.tanh, calls(any_array()), order=3)
row(ops.sigmoid, calls(any_array()), order=3)
row(ops.logsigmoid, calls(any_array(away_from=(0,))), "nn.functional.logsigmoid", order=3)
row(
    ops.softplus,
    calls(any_array(away_from=(-2, 2)), beta=st.sampled_from((1, 0.5)), threshold=st.sampled_from((20, 2, 1))),
    "nn.functional.softplus",
    order=3,
)
row(ops.erf, calls(any_array()), order=3)
row(ops.gelu, calls(any_array(), approximate=st.sampled_from(("none", "tanh"))), "nn.functional.gelu")

row(ops.abs, calls(any_array(away_from=(0,))), order=3, kinks=(kink([0.0, -0.0, -2.0], gradients=[[0, 0, -1]]),))
row(ops.sign, calls(any_array(away_from=(0,))))
row(
    ops.relu,
    calls(any_array(away_from=(0,))),
    order=3,
    kinks=(kink([0.0, -0.0, -1e-300, 1e-300], gradients=[[0, 0, 0, 1]]),),
)
row(
    ops.leaky_relu,
    calls(any_array(away_from=(0,)), negative_slope=st.sampled_from((0.01, 0.3, -0.5))),
    "nn.functional.leaky_relu",
    order=3,
    kinks=(kink([0.0, -0.0, 1.0], gradients=[[0.01, 0.01, 1]]),),
)


@st.composite
def clips(draw: Any) -> Call:
    low, high = draw(st.sampled_from(((-1, 1), (None, 1), (-1, None), (0.5, 0.25))))
    x = draw(any_array(away_from=tuple(b for b in (low, high) if b is not None)))
    return Call((x,), {"min": low, "max": high})


CLIP_KINKS = (kink([-1.0, 0.0, 1.0, 1.5, -2.0], min=-1.0, max=1.0, gradients=[[1, 1, 1, 0, 0]]),)
row(ops.clip, clips(), kinks=CLIP_KINKS)
row(ops.clamp, clips(), kinks=CLIP_KINKS)


@st.composite
def bounded(draw: Any) -> Call:
    """x, and bounds below and above that broadcast with it, no two of them close."""
    x, low, high = (draw(arrays(s)) for s in draw(broadcastable_shapes(3)))
    return Call(tuple(np.asarray(np.round(a) + shift) for a, shift in ((x, 0.0), (low, 0.3), (high, -0.3))), {})


row(
    ops.clamp,
    bounded(),
    lambda *xs: _torch().clamp(*_torch().broadcast_tensors(*xs)),  # its own broadcasting of 0-d bounds raises
    name="clamp to tensors",
)


def beside_integers(shift: float) -> st.SearchStrategy[np.ndarray]:
    """Numbers at most 0.2 from an integer plus `shift`."""
    return any_array().map(lambda x: np.asarray(np.round(x) + shift + 0.2 * np.sin(x)))


@st.composite
def divisions(draw: Any) -> Call:
    """A dividend and a divisor whose quotient is not near an integer."""
    quotient = draw(beside_integers(0.5))
    y = draw(arrays(quotient.shape[-1:], **NOT_ZERO))
    return Call((np.asarray(quotient * y), y), {})


row(ops.round, calls(beside_integers(0.0), decimals=st.sampled_from((0, -1))))
row(ops.round, calls(any_array(), decimals=st.integers(-1, 2)), name="round to decimals", order=0)
row(ops.floor, calls(beside_integers(0.5)))
row(ops.ceil, calls(beside_integers(0.5)))
row(ops.remainder, divisions(), order=3)
row(elementwise.add, broadcast({}, {}), order=3)
row(elementwise.sub, broadcast({}, {}), order=3)
row(ops.mul, broadcast({}, {}), order=3)
row(elementwise.div, broadcast({}, NOT_ZERO), order=3)
row(
    ops.pow,
    broadcast(POSITIVE, {}),
    order=3,
    kinks=(kink([0.0, 0.0, 0.0, 2.0], [0.0, 1.0, 3.0, 0.0], gradients=[[0, 1, 0, 0], [0, 0, 0, math.log(2)]]),),
)
row(
    ops.pow,
    calls(any_array(**NOT_ZERO), st.sampled_from((-2, -1, 0, 1, 2, 3, 2.0))),
    name="pow with a number",
    torch="pow",
    order=3,
)
row(lambda x: 2**x, calls(any_array()), lambda x: 2**x, name="pow of a number", order=3)


@st.composite
def apart(draw: Any) -> Call:
    """Two operands that broadcast and are nowhere closer than 0.2."""
    first, second = draw(broadcastable_shapes())
    shift = draw(st.sampled_from((0.5, -0.5)))
    x, y = (draw(arrays(s, low=-3, high=3)) for s in (first, second))
    x, y = np.round(x) + 0.1 * np.sin(x), np.round(y) + shift + 0.1 * np.sin(y)
    return Call((np.asarray(x), np.asarray(y)), {})


TIED = ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
row(ops.clamp_min, apart(), order=3, kinks=(kink([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], gradients=[[1, 0, 1], [0, 1, 0]]),))
row(ops.clamp_max, apart(), order=3, kinks=(kink([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], gradients=[[1, 1, 0], [0, 0, 1]]),))
row(ops.maximum, apart(), kinks=(kink(*TIED, gradients=[[0.5, 0, 1], [0.5, 1, 0]]),), order=3)
row(ops.minimum, apart(), kinks=(kink(*TIED, gradients=[[0.5, 1, 0], [0.5, 0, 1]]),), order=3)


@st.composite
def conditions(draw: Any) -> Call:
    found = draw(broadcastable_shapes(3))
    x, y = (draw(arrays(s)) for s in found[:2])
    return Call((x, y), {"condition": draw(arrays(found[2], "bool"))})


@st.composite
def masks(draw: Any) -> Call:
    shape, mask_shape = draw(broadcastable_shapes())
    return Call((draw(arrays(shape)),), {"mask": draw(arrays(mask_shape, "bool"))})


@st.composite
def outputs(draw: Any) -> Call:
    shape = draw(shapes())
    return Call((draw(arrays(shape)),), {"output": draw(arrays(shape))})


row(elementwise._keep, masks(), lambda x, mask: x * mask, order=3)
row(elementwise._relu_input, outputs(), lambda x, output: x * (output > 0), order=3)
row(elementwise._select, conditions(), lambda x, y, condition: x.where(condition, y), order=3)
row(
    lambda x, y, condition: ops.where(condition, x, y),
    conditions(),
    lambda x, y, condition: x.where(condition, y),
    name="where",
)


@st.composite
def masked(draw: Any) -> Call:
    x = draw(any_array())
    return Call((x, draw(arrays(x.shape, "bool")), 7.5), {})


row(ops.masked_fill, masked(), "masked_fill")


# Shape --------------------------------------------------------------------------------------------------------------


def of_shape(arguments: Callable[[Any, tuple[int, ...]], tuple[Any, ...]], x: Any = None, **limits: Any) -> Any:
    """Calls of one array, its shape within `limits`, and what `arguments(draw, shape)` gives besides."""

    @st.composite
    def draw_call(draw: Any) -> Call:
        array = draw(arrays(shapes(**limits)) if x is None else x)
        return Call((array, *arguments(draw, array.shape)), {})

    return draw_call()


def new_shapes(draw: Any, old: tuple[int, ...]) -> tuple[tuple[int, ...]]:
    candidates = [old[::-1], (math.prod(old),), (1, *old), (*old, 1)]
    return (draw(st.sampled_from([*candidates, (-1,), (*old[:-1], -1)] if math.prod(old) else candidates)),)


def larger_shapes(draw: Any, old: tuple[int, ...]) -> tuple[tuple[int, ...]]:
    added = draw(shapes(max_dims=2))
    return ((*added, *(draw(st.integers(1, 3)) if n == 1 else n for n in old)),)


def one_dim(draw: Any, old: tuple[int, ...]) -> tuple[int]:
    return (draw(dims(old)),)


def some_dims(draw: Any, old: tuple[int, ...]) -> tuple[tuple[int, ...]]:
    return (draw(several_dims(old)),)


def two_dims(draw: Any, old: tuple[int, ...]) -> tuple[int, int]:
    return draw(dims(old)), draw(dims(old))


def smaller_shapes(draw: Any, old: tuple[int, ...]) -> tuple[tuple[int, ...]]:
    start = draw(st.integers(0, len(old)))
    return (tuple(1 if draw(st.booleans()) else n for n in old[start:]),)


def orders(draw: Any, old: tuple[int, ...]) -> tuple[int, ...]:
    return draw(st.permutations([draw(st.sampled_from((d, d - len(old)))) for d in range(len(old))]).map(tuple))


SHAPED = {"primitive": _reshape, "view": True}

row(
    engine_expand,
    of_shape(larger_shapes),
    "Tensor.expand",
    name="expand, the engine's",
    view=True,
)
row(sum_to, of_shape(smaller_shapes), "Tensor.sum_to_size", view=True)
row(ops.expand, of_shape(larger_shapes), "Tensor.expand", view=True)
row(
    ops.expand_as,
    st.builds(lambda c: Call((c.args[0], np.zeros(c.args[1], "int64")), {}), of_shape(larger_shapes)),
    "Tensor.expand_as",
    view=True,
)
row(ops.reshape, of_shape(new_shapes, x=any_array()), "Tensor.reshape", **SHAPED, order=3)
row(ops.view, of_shape(new_shapes, x=arrays(layout="contiguous")), "Tensor.view", view=True)
row(ops.view_as, calls(arrays((2, 3)), arrays((3, 2), "int64")), "Tensor.view_as", view=True)
row(ops.flatten, calls(arrays(shapes(3, 3)), st.sampled_from((0, 1, -3)), st.sampled_from((1, -1, -2))), view=True)
row(ops.squeeze, of_shape(lambda draw, s: draw(st.sampled_from(((), (0,), (-1,)))) if s else (), max_side=2), view=True)
row(ops.unsqueeze, of_shape(lambda draw, s: (draw(st.integers(-len(s) - 1, len(s))),)), view=True)
row(ops.permute, of_shape(lambda draw, s: (orders(draw, s),)), primitive=_permute, view=True, order=3)
row(ops.transpose, of_shape(two_dims, min_dims=1), view=True)
row(ops.t, calls(arrays(shapes(max_dims=2))), view=True)
row(ops.flip, of_shape(some_dims), primitive=_flip, order=3)
row(
    ops.diagonal,
    calls(arrays(shapes(2, 4)), st.integers(-3, 3), st.just(0), st.sampled_from((1, -1))),
    "diagonal",
    primitive=rearrange._last_diagonal,
    view=True,
)
row(ops.tril, calls(arrays(shapes(2, 3)), st.integers(-2, 2)))
row(ops.triu, calls(arrays(shapes(2, 3)), st.integers(-2, 2)))
row(
    ops.repeat,
    of_shape(lambda draw, s: draw(st.tuples(*[st.integers(1, 2)] * (len(s) + 1)))),
    "Tensor.repeat",
)


@st.composite
def lists(draw: Any, stacked: bool) -> Call:
    """A list of arrays that agree, but for the dim along which they are joined, and that dim."""
    lengths = list(draw(shapes(0 if stacked else 1, 3)))
    d = draw(st.integers(-len(lengths) - stacked, len(lengths) - 1 + stacked))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        if not stacked:
            lengths[d] = draw(st.integers(0, 3))
        parts.append(draw(arrays(tuple(lengths))))
    return Call((*parts, d), {})


row(
    lambda *xs: ops.cat(xs[:-1], xs[-1]),
    lists(stacked=False),
    lambda *xs: _torch().cat(xs[:-1], xs[-1]),
    name="cat",
    primitive=_cat,
    order=3,
)
row(
    lambda *xs: ops.stack(xs[:-1], xs[-1]),
    lists(stacked=True),
    lambda *xs: _torch().stack(xs[:-1], xs[-1]),
    name="stack",
)
row(ops.split, calls(arrays((3, 5)), st.sampled_from((1, 2, 5, 7)), st.just(1)), view=True)
row(ops.split, calls(arrays((5, 2)), st.sampled_from(([2, 3], [0, 1, 4]))), name="split in sections", view=True)
row(ops.chunk, calls(arrays((5, 4)), st.integers(1, 4), st.sampled_from((0, 1, -1))), view=True)
row(ops.unbind, of_shape(one_dim, min_dims=1), view=True)
row(ops.narrow, calls(arrays((4, 5)), st.sampled_from((1, -1)), st.integers(0, 2), st.integers(0, 3)), view=True)
row(
    ops.pad,
    calls(
        arrays(shapes(2, 3, 3)),
        st.sampled_from(((1, 2), (0, 0, 2, 1), (-1, 1), (-1, -1, 3, 0), ())),
        mode="constant",
        value=st.sampled_from((0, 0.5, -3)),
    ),
    "nn.functional.pad",
    primitive=_pad,
)

# Indexing -----------------------------------------------------------------------------------------------------------

KEYS = [
    0,
    (slice(1, None), -1),
    (Ellipsis, None, slice(0, 4, 2)),
    np.array([0, 0, 1]),
    (np.array([[0, 1], [1, 1]]), slice(None), np.array([0, 3])),
    (slice(None), np.array([True, False, True])),
    np.arange(24).reshape(2, 3, 4) % 3 == 0,
    (np.array([-1, 0]), Ellipsis),
    np.array([], "int64"),
]
"""Keys for an array of shape (2, 3, 4): ints, slices, new dims, masks, and integers that name a place twice."""


def _index_add_of_torch(g: Any, key: Any, shape: Any) -> Any:
    torch = _torch()
    places = torch.arange(math.prod(shape)).reshape(shape)[_torch_key(key)]
    return torch.zeros(math.prod(shape), dtype=g.dtype).index_add(0, places.flatten(), g.flatten()).reshape(shape)


def _torch_key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_torch_key(k) for k in key)
    return _torch().tensor(key) if isinstance(key, np.ndarray) else key


@st.composite
def index_adds(draw: Any) -> Call:
    key = draw(st.sampled_from(KEYS))
    return Call((draw(arrays(np.empty((2, 3, 4))[key].shape)),), {"key": key, "shape": (2, 3, 4)})


row(
    ops.index,
    calls(arrays((2, 3, 4)), key=st.sampled_from(KEYS)),
    lambda x, key: x[_torch_key(key)],
    view=True,
    order=3,
)
row(_index_add, index_adds(), _index_add_of_torch, order=3)


def _setitem_of_torch(x: Any, y: Any, key: Any) -> Any:
    z = x.clone()
    z[key] = y
    return z


@st.composite
def setitems(draw: Any) -> Call:
    key = draw(st.sampled_from([*KEYS[:3], *KEYS[5:7]]))
    shape = np.zeros((2, 3, 4))[key].shape
    return Call((draw(arrays((2, 3, 4))), draw(arrays(st.sampled_from([shape, shape[1:], ()])))), {"key": key})


row(_setitem, setitems(), _setitem_of_torch, order=3)
row(
    ops.getitem,
    calls(
        arrays((2, 3, 4)),
        st.sampled_from((1, [0, 0, 1], (0, range(2)))),
    ),
    lambda x, key: x[key],
    view=True,
)


@st.composite
def gathers(draw: Any) -> Call:
    lengths = draw(shapes(1, 3))
    d = draw(dims(lengths))
    chosen = [draw(st.integers(1, n)) for n in lengths]
    chosen[d] = draw(st.integers(0, 4))
    positions = draw(arrays(tuple(chosen), "int64", low=0, high=lengths[d] - 1))
    return Call((draw(arrays(lengths)), d, positions), {})


row(ops.gather, gathers())
row(ops.index_select, calls(arrays((3, 4)), st.sampled_from((1, -1)), arrays(shapes(1, 1, 0), "int64", low=0, high=3)))

# Reductions ---------------------------------------------------------------------------------------------------------


@st.composite
def reductions(draw: Any, min_dims: int = 0, **limits: Any) -> Call:
    """An array, all its dims, one or several of them, and whether to keep them."""
    x = draw(arrays(shapes(min_dims), **limits))
    if not draw(st.integers(0, 3)):
        return Call((x,), {})
    d = draw(dims(x.shape) if draw(st.booleans()) else several_dims(x.shape))
    return Call((x,), {"dim": d, "keepdim": draw(st.booleans())})


def along(**limits: Any) -> st.SearchStrategy[Call]:
    """An array and one of its dims."""
    return of_shape(one_dim, x=arrays(shapes(min_dims=1), **limits))


@st.composite
def spreads(draw: Any) -> Call:
    """For a variance: more than one element, which are not all equal."""
    x = draw(arrays(shapes(1, 3, 2), distinct=True))
    d = draw(st.one_of(st.none(), dims(x.shape)))
    return Call((x,), {"dim": d, "keepdim": draw(st.booleans()), "correction": draw(st.sampled_from((0, 1)))})


DISTINCT = {"distinct": True}
TIE = [[1.0, 2.0, 2.0], [3.0, 0.0, 3.0]]
FIRST = kink(TIE, 1, gradients=[[[0, 1, 0], [1, 0, 0]]])
EVEN = kink(TIE, 1, gradients=[[[0, 0.5, 0.5], [0.5, 0, 0.5]]])
LOWEST = [[-1.0, -2.0, -2.0], [-3.0, 0.0, -3.0]]

row(ops.sum, reductions(), primitive=_sum, order=3)
row(ops.mean, reductions(), primitive=_mean, order=3)
row(ops.var, spreads())
row(ops.std, spreads(), kinks=(kink([2.0, 2.0], gradients=[[0, 0]]),))
row(ops.cumsum, along(), primitive=_cumsum, order=3)
row(ops.prod, along())
row(ops.prod, calls(any_array()), name="prod of all")
row(ops.amax, reductions(**DISTINCT), primitive=_amax, order=3, kinks=(EVEN,))
row(
    ops.amin, reductions(**DISTINCT), primitive=_amin, order=3, kinks=(kink(LOWEST, 1, gradients=list(EVEN.gradients)),)
)
row(ops.max, along(**DISTINCT), kinks=(FIRST,))
row(ops.min, along(**DISTINCT), kinks=(kink(LOWEST, 1, gradients=list(FIRST.gradients)),))
row(ops.max, calls(arrays(**DISTINCT)), name="max of all", kinks=(kink([5.0, 1.0, 5.0], gradients=[[0.5, 0, 0.5]]),))
row(ops.min, calls(arrays(**DISTINCT)), name="min of all", kinks=(kink([5.0, 1.0, 1.0], gradients=[[0, 0.5, 0.5]]),))
row(ops.sort, calls(arrays(shapes(1), **DISTINCT), dim=st.sampled_from((0, -1)), descending=st.booleans()))
row(ops.topk, calls(arrays((3, 4), **DISTINCT), st.integers(0, 3), st.sampled_from((0, -1)), st.booleans()))
row(
    ops.logsumexp,
    st.builds(lambda c: Call(c.args, {"dim": 0, **c.kwargs}), reductions(1)),
    primitive=_logsumexp,
    order=3,
)
row(ops.softmax, along(), primitive=_softmax, order=3)
row(ops.log_softmax, along(), primitive=_log_softmax, order=3)
NORMS = st.sampled_from(("fro", 2, 1, 3, 0.5, -1))
row(
    ops.norm,
    st.one_of(
        calls(arrays(shapes(1), **NOT_ZERO), NORMS, st.sampled_from((None, 0, -1))),
        calls(arrays(shapes(1), **NOT_ZERO), keepdim=st.booleans()),
    ),
    kinks=(
        *(kink([0.0, 0.0], p=p, gradients=[[0, 0]]) for p in ("fro", 1, 1.5, 0.5, math.inf)),
        kink([0.0, -2.0], gradients=[[0, -1]]),
        kink([2.0, -2.0], p=math.inf, gradients=[[0.5, -0.5]]),
    ),
)
row(
    ops.norm,
    calls(
        arrays((3, 4), low=0.5, high=9, **DISTINCT),
        st.sampled_from((math.inf, -math.inf)),
        st.sampled_from((None, 0, -1)),
    ),
    name="norm, the maximum",
    torch="norm",
)

# Matrices -----------------------------------------------------------------------------------------------------------


@st.composite
def products(draw: Any) -> Call:
    """Two operands of `@`: vectors, matrices, batches of matrices that broadcast."""
    i, j, k = (draw(st.integers(1, 3)) for _ in range(3))
    left, right = draw(broadcastable_shapes(max_dims=2, max_side=3))
    x = (j,) if draw(st.integers(0, 3)) == 0 else (*left, i, j)
    y = (j,) if draw(st.integers(0, 3)) == 0 else (*right, j, k)
    return Call((draw(arrays(x)), draw(arrays(y))), {})


LENGTHS = {"i": 2, "j": 3, "k": 4, "l": 2, "b": 2, "c": 3}


@st.composite
def einsums(draw: Any) -> Call:
    equations = "ij,jk->ik bij,bjk,bk->bi ij->j ij-> ii->i ii ij,kl->il ij,ij i,i i,j->ji ij,kb->bi ci,ib->cb ji ij,j->"
    equation = draw(st.sampled_from(equations.split()))
    terms = equation.partition("->")[0].split(",")
    short = draw(st.integers(-1, len(terms) - 1))  # the term in which labels that others have too may have length 1

    def length(n: int, label: str) -> int:
        others = "".join(term for k, term in enumerate(terms) if k != n)
        stretched = n == short and label in others and terms[n].count(label) == 1
        return draw(st.sampled_from((1, LENGTHS[label]))) if stretched else LENGTHS[label]

    lengths = [tuple(length(n, label) for label in term) for n, term in enumerate(terms)]
    return Call((equation, *(draw(arrays(shape)) for shape in lengths)), {})


row(ops.matmul, products(), primitive=_matmul, order=3)
row(ops.mm, calls(arrays((2, 3)), arrays((3, 4))))
row(ops.bmm, calls(arrays((2, 3, 1)), arrays((2, 1, 4))))
row(ops.dot, calls(arrays((3,)), arrays((3,))))
row(ops.outer, calls(arrays((3,)), arrays((4,))), order=3)
row(ops.einsum, einsums(), primitive=_einsum)
row(
    ops.einsum,
    calls("...ij,...jk->...ik", arrays((2, 3, 4)), arrays((4, 2))),
    name="einsum of broadcast dims",
    torch="einsum",
)
row(
    ops.linear,
    calls(st.sampled_from(((2, 3), (3,), (2, 1, 3), (0, 3))).flatmap(arrays), arrays((4, 3)), arrays((4,))),
    "nn.functional.linear",
    primitive=_linear,
    order=3,
)
row(ops.linear, calls(arrays((2, 3)), arrays((4, 3))), "nn.functional.linear", name="linear without bias")

for mode, most in (("reflect", 1), ("replicate", 3), ("circular", 2)):
    width = st.tuples(st.integers(-1, most), st.integers(0, most))
    both = st.tuples(width, width).map(lambda pairs: (*pairs[0], *pairs[1]))
    for shape, widths in (((1, 2, 3), width), ((2, 2, 3, 3), both)):
        row(
            ops.pad,
            calls(arrays(shape), widths, mode=mode),
            "nn.functional.pad",
            name=f"pad, {mode}, of {len(shape) - 2} dims",
        )

# Windows ------------------------------------------------------------------------------------------------------------


@st.composite
def convolved(draw: Any, bias: bool, axes: int = 2) -> Call:
    """Images and kernels whose windows fit."""
    found = draw(convolutions(axes, max_out=2, max_kernel=3 if axes < 3 else 2))
    operands = [draw(arrays(found.x_shape)), draw(arrays(found.weight_shape))]
    if bias:
        operands.append(draw(arrays(found.weight_shape[:1])))
    return Call(tuple(operands), found.constants)


@st.composite
def transposed_convolved(draw: Any, axes: int = 2) -> Call:
    """What a convolution gave, and its kernels: the operands of its transpose."""
    found = draw(convolutions(axes, max_out=2, max_kernel=3 if axes < 3 else 2))
    output_padding = tuple(
        n - ((o - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, o, s, p, d, k in zip(
            *(found.x_shape[2:], found.out_shape[2:], found.stride, found.padding, found.dilation),
            found.weight_shape[2:],
            strict=True,
        )
    )
    operands = (draw(arrays(found.out_shape)), draw(arrays(found.weight_shape)))
    return Call(operands, {"output_padding": output_padding, **found.constants})


@st.composite
def conv_weight_calls(draw: Any) -> Call:
    found = draw(convolutions(max_out=2))
    return Call(
        (draw(arrays(found.x_shape)), draw(arrays(found.out_shape))),
        {"weight_shape": found.weight_shape, **found.constants},
    )


def _conv_weight(x: Any, y: Any, weight_shape: Any, **options: Any) -> Any:
    return conv._conv_weight(x, y, geometry=conv_geometry(x.shape, weight_shape, **options))


def _conv_weight_of_torch(x: Any, y: Any, weight_shape: Any, **options: Any) -> Any:
    torch = _torch()
    weight = torch.zeros(weight_shape, dtype=x.dtype, requires_grad=True)
    z = torch.nn.functional.conv2d(x, weight, **options)
    return torch.autograd.grad(z, weight, y, create_graph=True)[0]


row(ops.conv2d, convolved(bias=True), "nn.functional.conv2d", primitive=conv._conv_bias)
row(
    ops.conv2d,
    convolved(bias=False),
    "nn.functional.conv2d",
    name="conv2d without bias",
    primitive=conv._conv,
    order=3,
)
row(ops.conv1d, convolved(bias=True, axes=1), "nn.functional.conv1d")
row(ops.conv3d, convolved(bias=True, axes=3), "nn.functional.conv3d")
row(ops.conv_transpose2d, transposed_convolved(), "nn.functional.conv_transpose2d", primitive=conv._conv_input)
row(ops.conv_transpose1d, transposed_convolved(axes=1), "nn.functional.conv_transpose1d")
row(ops.conv_transpose3d, transposed_convolved(axes=3), "nn.functional.conv_transpose3d")
row(_conv_weight, conv_weight_calls(), _conv_weight_of_torch, primitive=conv._conv_weight)
row(conv.channel_sum, calls(arrays(shapes(2, 4))), lambda x: x.transpose(0, 1).flatten(1).sum(1))
row(
    ops.unfold,
    st.builds(lambda p: (p.x_shape, p.constants), poolings(max_out=2)).flatmap(lambda p: calls(arrays(p[0]), **p[1])),
    "nn.functional.unfold",
    primitive=conv._unfold,
)


@st.composite
def foldings(draw: Any) -> Call:
    found = draw(poolings(max_out=2))
    n, channels, *size = found.x_shape
    columns = (n, channels * math.prod(found.kernel_size), math.prod(found.out_shape[2:]))
    return Call((draw(arrays(columns)), tuple(size)), found.constants)


@st.composite
def pooled(draw: Any, axes: int = 2, **limits: Any) -> Call:
    found = draw(poolings(axes, max_out=2, max_kernel=3 if axes < 3 else 2, **limits))
    constants = found.constants if limits.get("dilated", True) else {**found.constants, "dilation": None}
    return Call((draw(arrays(found.x_shape, **DISTINCT)),), {n: c for n, c in constants.items() if c is not None})


def _scatter(y: Any, chosen: Any, **options: Any) -> Any:
    """The transpose of reading the cells that max-pooling `chosen` would choose."""
    geometry = pool_geometry(chosen.shape, **options)
    taps = kernels(array_module(chosen.array)).max_pool(chosen.array, geometry=geometry)[1]
    return pool._max_pool_scatter(y, taps=taps, geometry=geometry)


def _scatter_of_torch(y: Any, chosen: Any, **options: Any) -> Any:
    torch = _torch()
    x = chosen.clone().requires_grad_()
    return torch.autograd.grad(torch.nn.functional.max_pool2d(x, **options), x, y, create_graph=True)[0]


@st.composite
def scatterings(draw: Any) -> Call:
    found = draw(poolings(max_out=2))
    chosen = draw(arrays(found.x_shape, **DISTINCT))
    return Call((draw(arrays(found.out_shape)),), {"chosen": chosen, **found.constants})


def _average_back(y: Any, input_size: Any, **options: Any) -> Any:
    include = options.pop("count_include_pad")
    geometry = pool_geometry((*y.shape[:2], *input_size), **options)
    return pool._avg_pool_input(y, geometry=geometry, count_include_pad=include)


def _average_back_of_torch(y: Any, input_size: Any, **options: Any) -> Any:
    torch = _torch()
    x = torch.zeros((*y.shape[:2], *input_size), dtype=y.dtype, requires_grad=True)
    return torch.autograd.grad(torch.nn.functional.avg_pool2d(x, **options), x, y, create_graph=True)[0]


@st.composite
def averages_back(draw: Any) -> Call:
    found = draw(poolings(max_out=2, dilated=False))
    constants = {name: c for name, c in found.constants.items() if name != "dilation"}
    constants |= {"input_size": found.x_shape[2:], "count_include_pad": draw(st.booleans())}
    return Call((draw(arrays(found.out_shape)),), constants)


def wider_than_windows(x: np.ndarray, kernel_size: tuple[int, ...]) -> bool:
    """Whether images are no smaller than a window also without their padding, which PyTorch's avg_pool3d demands."""
    return all(n >= k for n, k in zip(x.shape[2:], kernel_size, strict=True))


TIED_IMAGE = [[[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]]
row(ops.fold, foldings(), "nn.functional.fold", primitive=conv._fold)
row(
    ops.max_pool2d,
    pooled(),
    "nn.functional.max_pool2d",
    primitive=pool._max_pool,
    order=3,
    kinks=(kink(TIED_IMAGE, 2, 1, gradients=[[[[[1, 1, 0], [0, 0, 0]]]]]),),
)
row(
    lambda x, **options: ops.max_pool2d(x, **options, return_indices=True),
    pooled(),
    lambda x, **options: _torch().nn.functional.max_pool2d(x, **options, return_indices=True),
    name="max_pool2d with indices",
)
row(_scatter, scatterings(), _scatter_of_torch, name="max_pool_scatter", primitive=pool._max_pool_scatter)
row(ops.avg_pool2d, pooled(dilated=False), "nn.functional.avg_pool2d", primitive=pool._avg_pool, order=3)
row(_average_back, averages_back(), _average_back_of_torch, name="avg_pool_input", primitive=pool._avg_pool_input)
for axes in (1, 3):
    row(getattr(ops, f"max_pool{axes}d"), pooled(axes), f"nn.functional.max_pool{axes}d")
    row(
        getattr(ops, f"avg_pool{axes}d"),
        pooled(axes, dilated=False).filter(lambda call: wider_than_windows(*call.args, call.kwargs["kernel_size"])),
        f"nn.functional.avg_pool{axes}d",
    )
SIZES = st.sampled_from(((1, 1), (2, 3), (3, 2), (4, 6), (None, 5)))
IMAGES = {"shape": (2, 1, 4, 6)}
row(ops.adaptive_avg_pool2d, calls(arrays(**IMAGES), SIZES), "nn.functional.adaptive_avg_pool2d")
row(ops.adaptive_max_pool2d, calls(arrays(**IMAGES, **DISTINCT), SIZES), "nn.functional.adaptive_max_pool2d")
for axes, (shape, size) in {1: ((2, 1, 6), (4,)), 3: ((1, 2, 3, 2, 4), (2, 2, 3))}.items():
    for name in (f"adaptive_avg_pool{axes}d", f"adaptive_max_pool{axes}d"):
        row(getattr(ops, name), calls(arrays(shape, **DISTINCT), size), f"nn.functional.{name}")
row(
    pool._argmax_of_windows,
    calls(arrays(**IMAGES, **DISTINCT), size=st.sampled_from(((2, 3), (3, 2), (1, 4)))),
    lambda x, size: _torch().nn.functional.adaptive_max_pool2d(x, size, return_indices=True)[1],
    order=0,
)
row(
    ops.interpolate,
    calls(arrays(shapes(4, 4)), size=st.tuples(st.integers(1, 5), st.integers(1, 5)), mode="bilinear"),
    "nn.functional.interpolate",
    primitive=resize.resample,
)
row(
    ops.interpolate,
    calls(arrays(shapes(4, 4)), scale_factor=st.sampled_from((1, 2, 1.5))),
    "nn.functional.interpolate",
    name="interpolate to the nearest",
)
row(
    ops.interpolate,
    calls(
        arrays(shapes(5, 5, max_side=2)),
        size=st.tuples(*[st.integers(1, 3)] * 3),
        mode="trilinear",
        align_corners=st.booleans(),
    ),
    "nn.functional.interpolate",
    name="interpolate volumes",
)
row(
    ops.interpolate,
    calls(arrays(shapes(4, 4)), size=st.tuples(st.integers(1, 5), st.integers(1, 5)), mode="bicubic"),
    "nn.functional.interpolate",
    name="interpolate by cubics",
)
for mode in ("bilinear", "bicubic"):
    row(
        ops.interpolate,
        calls(
            arrays(shapes(4, 4, 1, 5)),
            size=st.tuples(st.integers(1, 6), st.integers(2, 6)),  # of one column PyTorch 2.13 makes all rows the first
            mode=mode,
            align_corners=st.booleans(),
            antialias=True,
        ),
        "nn.functional.interpolate",
        name=f"interpolate, {mode}, antialias",
    )
row(
    ops.affine_grid,
    calls(arrays((2, 2, 3)), size=st.sampled_from(((2, 1, 3, 4), (2, 3, 2, 2))), align_corners=st.booleans()),
    "nn.functional.affine_grid",
)
row(
    ops.affine_grid,
    calls(arrays((1, 3, 4)), size=(1, 2, 3, 2, 4), align_corners=st.booleans()),
    "nn.functional.affine_grid",
    name="affine_grid of volumes",
)

# In images of 3 by 3, the places of pixels, of edges and halfway between, with `align_corners` and without it.
PIXELS = (-1.5, -4 / 3, -1, -2 / 3, -0.5, -1 / 3, 0, 1 / 3, 0.5, 2 / 3, 1, 4 / 3, 1.5)
PLACES = {"low": -1.7, "high": 1.7, "away_from": PIXELS, "margin": 0.03}
OUTSIDE = {"padding_mode": st.sampled_from(("zeros", "border", "reflection")), "align_corners": st.booleans()}
for name, image, grid in (
    ("grid_sample", (2, 1, 3, 3), (2, 2, 2, 2)),
    ("grid_sample of volumes", (1, 1, 3, 3, 3), (1, 1, 2, 1, 3)),
):
    row(  # PyTorch has the first derivative alone
        ops.grid_sample,
        calls(arrays(image), arrays(grid, **PLACES), **OUTSIDE),
        "nn.functional.grid_sample",
        name=name,
        order=1,
    )
row(
    ops.grid_sample,
    calls(arrays((2, 1, 3, 3)), grid=arrays((2, 2, 2, 2), **PLACES), mode="nearest", **OUTSIDE),
    "nn.functional.grid_sample",
    name="grid_sample of the nearest",
    order=1,
)


@st.composite
def unpooled(draw: Any, axes: int) -> Call:
    """What windows of two cells in each dim have chosen, and which of their cells."""
    sides = draw(st.tuples(*[st.integers(1, 2)] * axes))
    cells = np.arange(math.prod(2 * n for n in sides)).reshape([2 * n for n in sides])
    taps = draw(arrays((1, 2, *sides), dtype="int64", low=0, high=2**axes - 1))
    indices = np.empty_like(taps)
    for place in np.ndindex(*taps.shape):
        window = tuple(slice(2 * i, 2 * i + 2) for i in place[2:])
        indices[place] = cells[window].reshape(-1)[taps[place]]
    return Call((draw(arrays(taps.shape)), indices), {"kernel_size": 2})


for axes, unpool in enumerate((ops.max_unpool1d, ops.max_unpool2d, ops.max_unpool3d), 1):
    row(unpool, unpooled(axes), f"nn.functional.max_unpool{axes}d")
for axes, pooling in enumerate((ops.lp_pool1d, ops.lp_pool2d, ops.lp_pool3d), 1):
    row(
        pooling,
        calls(
            arrays((2, 1, 3, 4, 2)[: axes + 2], **POSITIVE),
            norm_type=st.sampled_from((1.5, 2, 3)),
            kernel_size=2,
            stride=st.sampled_from((1, None)),
        ),
        f"nn.functional.lp_pool{axes}d",
    )

# Normalization ------------------------------------------------------------------------------------------------------


@st.composite
def normalized(draw: Any, training: bool) -> Call:
    """A batch of several channels with a weight and a bias each; outside of training also running statistics."""
    x = draw(arrays(shapes(2, 4, 2, 3), **DISTINCT))
    weight, bias = (draw(arrays((x.shape[1],))) for _ in range(2))
    if training:
        return Call((x, weight, bias), {"eps": draw(st.sampled_from((1e-5, 0.1)))})
    statistics = {"running_mean": arrays((x.shape[1],)), "running_var": arrays((x.shape[1],), **POSITIVE)}
    return Call((x, weight, bias), {name: draw(s) for name, s in statistics.items()})


def _batch_norm(x: Any, weight: Any, bias: Any, **options: Any) -> Any:
    return ops.batch_norm(x, None, None, weight, bias, training=True, **options)


def _batch_norm_of_torch(x: Any, weight: Any, bias: Any, **options: Any) -> Any:
    return _torch().nn.functional.batch_norm(x, None, None, weight, bias, training=True, **options)


def _batch_norm_eval(x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any) -> Any:
    return ops.batch_norm(x, running_mean, running_var, weight, bias)


def _batch_norm_eval_of_torch(x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any) -> Any:
    return _torch().nn.functional.batch_norm(x, running_mean, running_var, weight, bias)


row(_batch_norm, normalized(True), _batch_norm_of_torch, primitive=normalization._batch_norm)


@st.composite
def normalized_and_cut(draw: Any, plus: bool) -> Call:
    """A batch of which relu lets pass whole channels, or with `plus` some elements; none is near its kink."""
    x = draw(arrays((3, 2, 2), **DISTINCT))  # normalized it lies between −2.5 and 2.5
    weight, bias = (
        draw(arrays((2,), low=-1.0, high=1.0)),
        draw(arrays((2,), low=-4.0, high=4.0, away_from=(0,), margin=3)),
    )
    more = (draw(arrays(x.shape, low=-12.0, high=12.0, away_from=(0,), margin=8)),) if plus else ()
    return Call((x, weight, bias, *more), {"eps": draw(st.sampled_from((1e-5, 0.1)))})


def _batch_norm_relu(x: Any, weight: Any, bias: Any, *plus: Any, eps: float) -> Any:
    running = x.new_zeros(2), x.new_ones(2), x.new_zeros((), dtype="int64")
    return normalization.batch_norm_relu(x, *running, weight, bias, 0.1, eps, *plus)


def _batch_norm_relu_of_torch(x: Any, weight: Any, bias: Any, *plus: Any, eps: float) -> Any:
    z = _torch().nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    return _torch().nn.functional.relu(z + plus[0] if plus else z)


for _plus, _primitive in enumerate((normalization._batch_norm_relu, normalization._batch_norm_plus_relu)):
    row(_batch_norm_relu, normalized_and_cut(bool(_plus)), _batch_norm_relu_of_torch, primitive=_primitive)
row(
    _batch_norm_eval,
    normalized(False),
    _batch_norm_eval_of_torch,
    name="batch_norm, evaluating",
    primitive=normalization._scale_shift,
)
row(
    ops.layer_norm,
    calls(arrays((2, 3, 4), **DISTINCT), (3, 4), arrays((3, 4)), arrays((3, 4))),
    "nn.functional.layer_norm",
)
row(
    ops.group_norm,
    calls(arrays((2, 4, 3), **DISTINCT), st.sampled_from((1, 2)), arrays((4,)), arrays((4,))),
    "nn.functional.group_norm",
)

# What hooks pass through --------------------------------------------------------------------------------------------


def _passed(x: Any, y: Any) -> Any:
    """x and y through the gate of a module's backward hook, which sees their gradients and leaves them as they are."""
    return through_gate((x, y), lambda gradients: None)


for _primitive in (_gate, _pass_through):
    row(
        _passed,
        broadcast({}, {}),
        lambda x, y: (x.clone(), y.clone()),
        name=str(_primitive),
        primitive=_primitive,
        view=True,
    )

# What a trace gives again -------------------------------------------------------------------------------------------


def _given_again(x: Any) -> Any:
    """x as a trace gives it again: its recorded value, without running the operation that made it."""
    return _as_recorded(x, value=x.array.copy(), contributions=[])


row(_given_again, calls(any_array()), lambda x: x.clone(), name="as_recorded", primitive=_as_recorded, order=0)

# Functions written as PyTorch writes them ----------------------------------------------------------------------------


class Rotated(Function):
    """(x cos y, x sin y), and which x are positive."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        z = x * y.cos()
        ctx.save_for_backward(x, y, z)
        return z, x * y.sin(), x > 0

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any, _: Any) -> Any:
        x, y, z = ctx.saved_tensors
        return g * y.cos() + h * y.sin(), h * z - g * (x * y.sin())


row(
    Rotated.apply,
    calls(arrays((2, 3)), arrays((2, 3))),
    lambda x, y: (x * y.cos(), x * y.sin(), x > 0),
    name="function",
    primitive=_function,
)

# Losses -------------------------------------------------------------------------------------------------------------

REDUCTIONS = st.sampled_from(("mean", "sum", "none"))
CLASS_WEIGHTS = st.sampled_from((None, np.array([0.2, 0.5, 2.0])))
LOGITS = st.sampled_from((((4, 3), (4,)), ((2, 3, 2), (2, 2)), ((3,), ())))


@st.composite
def classified(draw: Any, **constants: Any) -> Call:
    """Logits of three classes, and the true ones, some of which may count for nothing."""
    logits, labels = draw(LOGITS)
    target = draw(arrays(labels, "int64", low=0, high=2))
    if target.size > 1:
        target.flat[0] = draw(st.sampled_from((0, 1, -100)))
    kwargs = {name: draw(c) for name, c in constants.items()}
    return Call((draw(arrays(logits)), target), {"reduction": draw(REDUCTIONS), **kwargs})


@st.composite
def pairs(draw: Any, **limits: Any) -> Call:
    """Predictions and targets of one shape."""
    s = draw(shapes())
    return Call((draw(arrays(s)), draw(arrays(s, **limits))), {"reduction": draw(REDUCTIONS)})


row(ops.nll_loss, classified(weight=CLASS_WEIGHTS), "nn.functional.nll_loss")
row(
    ops.cross_entropy,
    classified(weight=CLASS_WEIGHTS, label_smoothing=st.sampled_from((0.0, 0.1))),
    "nn.functional.cross_entropy",
)
row(ops.mse_loss, pairs(), "nn.functional.mse_loss")
row(ops.l1_loss, pairs(low=3.5, high=6), "nn.functional.l1_loss")


@st.composite
def of_probabilities(draw: Any) -> Call:
    """Logits of three classes, and a probability for each class."""
    shape = draw(LOGITS)[0]
    constants = {"weight": CLASS_WEIGHTS, "label_smoothing": st.sampled_from((0.0, 0.1)), "reduction": REDUCTIONS}
    target = draw(arrays(shape, low=0, high=1))
    return Call((draw(arrays(shape)), target), {name: draw(c) for name, c in constants.items()})


def with_reduction(strategy: Any, **constants: Any) -> Any:
    """The calls of a strategy, with a reduction and these constants besides."""
    more = st.fixed_dictionaries({"reduction": REDUCTIONS, **constants})
    return st.tuples(strategy, more).map(lambda found: Call(found[0].args, {**found[0].kwargs, **found[1]}))


SIGNS = arrays((4,), "int64", low=0, high=1).map(lambda x: 2 * x - 1)
VECTORS = (arrays((4, 3)), arrays((4, 3)))

row(ops.cross_entropy, of_probabilities(), "nn.functional.cross_entropy", name="cross_entropy of probabilities")
row(  # where no two numbers are a kink apart
    ops.smooth_l1_loss,
    with_reduction(pairs(low=3.5, high=6), beta=st.sampled_from((0.0, 0.25, 20.0))),
    "nn.functional.smooth_l1_loss",
)
row(
    ops.huber_loss,
    with_reduction(pairs(low=3.5, high=6), delta=st.sampled_from((0.25, 20.0))),
    "nn.functional.huber_loss",
)
row(
    ops.kl_div,
    calls(
        arrays((2, 3)),
        arrays((2, 3), low=0.05, high=0.95),
        reduction=st.sampled_from(("sum", "none", "batchmean")),  # of "mean" PyTorch warns
        log_target=st.booleans(),
    ),
    "nn.functional.kl_div",
)
row(
    ops.gaussian_nll_loss,
    with_reduction(calls(arrays((2, 3)), arrays((2, 3)), arrays((2, 1), low=0.5), full=st.booleans())),
    "nn.functional.gaussian_nll_loss",
)
row(ops.soft_margin_loss, with_reduction(calls(arrays((4,)), SIGNS)), "nn.functional.soft_margin_loss")
row(
    ops.margin_ranking_loss,
    with_reduction(calls(arrays((4,)), arrays((4,)), SIGNS), margin=st.sampled_from((20.0, -20.0))),
    "nn.functional.margin_ranking_loss",
)
row(
    ops.cosine_similarity,
    calls(arrays((2, 3, 4)), arrays((3, 1)).map(lambda x: np.broadcast_to(x, (3, 4))), dim=st.sampled_from((0, 1, -1))),
)
row(
    ops.pairwise_distance,
    calls(arrays((4, 3)), arrays((4, 3), low=4, high=6), p=st.sampled_from((1.0, 2.0, 3.0)), keepdim=st.booleans()),
)
row(
    ops.cosine_embedding_loss,
    with_reduction(calls(*VECTORS, SIGNS), margin=st.sampled_from((-1.5, 1.5))),
    "nn.functional.cosine_embedding_loss",
)
row(
    ops.hinge_embedding_loss,
    with_reduction(calls(arrays((4,)), SIGNS), margin=st.sampled_from((20.0, -20.0))),
    "nn.functional.hinge_embedding_loss",
)


def _multi_margin_loss_of_torch(x: Any, target: Any, p: int, margin: float, weight: Any, reduction: str) -> Any:
    """By PyTorch's operations, since its own function has no second derivative; its value is the same."""
    torch = _torch()
    above = (margin - x.gather(1, target[:, None]) + x).clamp(min=0) ** p
    others = 1 - torch.nn.functional.one_hot(target, x.shape[1])
    each = (above * others * weight[target][:, None]).sum(1) / x.shape[1]
    z = {"mean": each.mean, "sum": each.sum, "none": lambda: each}[reduction]()
    own = torch.nn.functional.multi_margin_loss(x, target, p, margin, weight, reduction=reduction)
    torch.testing.assert_close(z, own)
    return z


row(
    ops.multi_margin_loss,
    with_reduction(
        calls(arrays((4, 3)), target=arrays((4,), dtype="int64", low=0, high=2)),
        p=st.sampled_from((1, 2)),
        margin=st.just(30.0),
        weight=arrays((3,), **POSITIVE),
    ),
    _multi_margin_loss_of_torch,
)
row(
    ops.multilabel_soft_margin_loss,
    with_reduction(calls(arrays((4, 3)), arrays((4, 3), low=0, high=1)), weight=arrays((3,), **POSITIVE)),
    "nn.functional.multilabel_soft_margin_loss",
)
row(
    ops.poisson_nll_loss,
    with_reduction(
        calls(arrays((4, 3), **POSITIVE), target=arrays((4, 3), low=0.0, high=6.0, away_from=(1,))),
        log_input=st.booleans(),
        full=st.booleans(),
    ),
    "nn.functional.poisson_nll_loss",
)
NEAR, FAR = (
    arrays((4, 3), low=10, high=12),
    arrays((4, 3), low=13, high=15),
)  # no two at a distance of 0, which is a kink
row(
    ops.triplet_margin_loss,
    with_reduction(calls(arrays((4, 3)), NEAR, FAR), margin=st.just(50.0), swap=st.booleans()),
    "nn.functional.triplet_margin_loss",
)
row(
    ops.triplet_margin_with_distance_loss,
    with_reduction(calls(arrays((4, 3)), NEAR, FAR), margin=st.just(50.0), swap=st.booleans()),
    "nn.functional.triplet_margin_with_distance_loss",
)
row(
    ops.binary_cross_entropy,
    calls(
        arrays((2, 3), low=0.05, high=0.95),
        arrays((2, 3), low=0, high=1),
        weight=st.sampled_from((None, np.array([[0.5], [2.0]]))),
        reduction=REDUCTIONS,
    ),
    "nn.functional.binary_cross_entropy",
    primitive=_binary_cross_entropy,
)
row(
    ops.binary_cross_entropy_with_logits,
    calls(
        arrays((2, 3), away_from=(0,)),
        arrays((2, 3), low=0, high=1),
        weight=st.sampled_from((None, np.array([[0.5], [2.0]]))),
        pos_weight=st.sampled_from((None, np.array([1.0, 0.3, 4.0]))),
        reduction=REDUCTIONS,
    ),
    "nn.functional.binary_cross_entropy_with_logits",
)

# Without a derivative -----------------------------------------------------------------------------------------------

INTEGERS = {"dtype": "int64", "low": -4, "high": 4}

for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    row(getattr(ops, _name), calls(arrays((3, 4), **INTEGERS), arrays((4,), **INTEGERS)), order=0)
TRUTHS = st.sampled_from(("bool", "int64", "uint8", "float64")).flatmap(
    lambda dtype: st.tuples(arrays((3, 4), dtype, low=0, high=2), arrays((4,), dtype, low=0, high=2))
)
for _name in ("logical_and", "logical_or", "logical_xor"):
    row(getattr(ops, _name), TRUTHS.map(lambda xy: Call(xy, {})), order=0)
row(ops.logical_not, TRUTHS.map(lambda xy: Call(xy[:1], {})), order=0)
BITS = st.sampled_from(("bool", "int64", "uint8")).flatmap(
    lambda dtype: st.tuples(arrays((3, 4), dtype, low=0, high=9), arrays((4,), dtype, low=0, high=9))
)
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    row(getattr(ops, _name), BITS.map(lambda xy: Call(xy, {})), order=0)
row(ops.bitwise_not, BITS.map(lambda xy: Call(xy[:1], {})), order=0)
row(ops.floordiv, calls(arrays((3, 4)), arrays((4,), **NOT_ZERO)), "floor_divide", order=0)
row(elementwise._zeros_like, calls(any_array()), "zeros_like", order=0)
for _name in ("isnan", "isinf", "isfinite"):
    row(getattr(ops, _name), calls(np.array([1.0, math.inf, -math.inf, math.nan, 0.0])), order=0)
for _name in ("argmax", "argmin"):
    row(getattr(ops, _name), st.one_of(along(**DISTINCT), calls(arrays(**DISTINCT))), order=0)
row(
    ops.argsort,
    calls(
        arrays(shapes(1), **INTEGERS),
        dim=0,
        descending=st.booleans(),
    ),
    lambda x, dim, descending: x.argsort(stable=True, dim=dim, descending=descending),
    primitive=_argsort,
    order=0,
)
for _name in ("any", "all"):
    row(
        getattr(ops, _name),
        st.one_of(of_shape(one_dim, x=arrays(shapes(1), "bool")), calls(arrays(dtype="bool"))),
        order=0,
    )

# More elementary functions ------------------------------------------------------------------------------------------

for _name in ("atan", "sinh", "cosh", "asinh"):
    row(getattr(ops, _name), calls(any_array()), order=3)
for _name in ("tan", "asin", "acos", "atanh"):
    row(getattr(ops, _name), calls(any_array(low=-0.8, high=0.8)), order=3)
row(ops.acosh, calls(any_array(low=1.3, high=3)), order=3)
row(ops.log10, calls(any_array(**POSITIVE)), order=3)
row(
    ops.atan2,
    broadcast(POSITIVE, NOT_ZERO),
    order=3,
    kinks=(kink([0.0, 0.0, 3.0], [0.0, 2.0, 4.0], gradients=[[0, 0.5, 0.16], [0, 0, -0.12]]),),
)
row(ops.hypot, broadcast(POSITIVE, NOT_ZERO), order=3)
row(ops.logaddexp, broadcast({}, {}), order=3)
row(ops.trunc, calls(beside_integers(0.5)))
row(ops.fmod, divisions(), order=3)
row(ops.sinc, calls(any_array()))
row(ops.exp2, calls(any_array()))
row(ops.logit, calls(any_array(low=0.1, high=0.9), st.sampled_from((None, 0.05))))
row(ops.frac, calls(beside_integers(0.5)))
row(ops.lerp, broadcast({}, {}, {}))
row(ops.addcmul, calls(arrays((2, 3)), arrays((3,)), arrays((2, 1)), value=st.sampled_from((1, 0.5))))
row(ops.addcdiv, calls(arrays((2, 3)), arrays((3,)), arrays((2, 1), **NOT_ZERO), value=st.sampled_from((1, 0.5))))
row(ops.add, calls(arrays((2, 3)), arrays((3,)), alpha=st.sampled_from((1, -2, 0.5))), name="add with a factor")
row(ops.sub, calls(arrays((2, 3)), arrays((3,)), alpha=st.sampled_from((1, -2, 0.5))), name="sub with a factor")
for _name in ("floor", "trunc"):
    row(
        ops.div,
        divisions().map(lambda call, mode=_name: Call(call.args, {"rounding_mode": mode})),
        name=f"div, {_name}",
        torch="div",
        order=0,
    )

# Linear algebra -----------------------------------------------------------------------------------------------------


@st.composite
def matrices(draw: Any, rows: int = 3, columns: int = 3) -> np.ndarray:
    """A batch of matrices, or one, far from singular: singular values between 1 and 4, no two closer than 0.5."""
    batch = draw(st.sampled_from(((), (2,))))
    k = min(rows, columns)
    left, right = (draw(arrays((*batch, n, k), distinct=True)) for n in (rows, columns))
    u, v = (np.linalg.qr(x + 5 * np.eye(x.shape[-2], k))[0] for x in (left, right))
    return np.ascontiguousarray(u * np.linspace(4, 1, k) @ v.swapaxes(-1, -2))


def symmetrically(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation on x + xᵀ: so that a numerical derivative moves both triangles."""
    return lambda x: operation(x + x.mT)


def _positive(operation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: operation(x @ x.mT)


MATRICES = matrices()
row(linear_algebra.inv, calls(MATRICES), "linalg.inv", primitive=linear_algebra._inv, order=3)
row(linear_algebra.solve, calls(MATRICES, arrays((3, 2))), "linalg.solve", primitive=linear_algebra._solve)
row(linear_algebra.pinv, calls(matrices(4, 2)), "linalg.pinv", primitive=linear_algebra._pinv)
row(linear_algebra.pinv, calls(matrices(2, 4)), "linalg.pinv", name="pinv of wide matrices")
row(linear_algebra.det, calls(MATRICES), "linalg.det", primitive=linear_algebra._det)
row(linear_algebra.slogdet, calls(MATRICES), "linalg.slogdet", primitive=linear_algebra._logabsdet)
row(
    linear_algebra._sign_of_det,
    calls(MATRICES),
    lambda x: _torch().linalg.slogdet(x)[0],
    primitive=linear_algebra._sign_of_det,
    order=0,
)
row(
    _positive(linear_algebra.cholesky),
    calls(MATRICES),
    lambda x: _torch().linalg.cholesky(x @ x.mT),
    name="cholesky",
    primitive=linear_algebra._cholesky,
)


def _of_vectors(operation: Callable[..., Any], *vectors: int) -> Callable[..., Any]:
    """The factors of a decomposition, its vectors squared: of what is unique only up to its sign."""

    def call(x: Any) -> Any:
        return tuple(z * z if i in vectors else z for i, z in enumerate(operation(x)))

    return call


def _of_torch(name: str, *vectors: int, **options: Any) -> Callable[..., Any]:
    return _of_vectors(lambda x: getattr(_torch().linalg, name)(x, **options), *vectors)


row(
    symmetrically(_of_vectors(linear_algebra.eigh, 1)),
    calls(np.array([[1.0, 0.5, -0.2], [0.1, 3.0, 0.4], [0.3, -0.6, -2.0]])),
    symmetrically(_of_torch("eigh", 1)),
    name="eigh",
    primitive=linear_algebra._eigh,
)
QR = _of_vectors(linear_algebra.qr, 0, 1)
row(QR, calls(matrices(4, 2)), _of_torch("qr", 0, 1), name="qr", primitive=linear_algebra._qr)
row(QR, calls(matrices(2, 4)), _of_torch("qr", 0, 1), name="qr of wide matrices")
for _shape in ((3, 3), (4, 2), (2, 4)):
    row(
        _of_vectors(lambda x: linear_algebra.svd(x, full_matrices=False), 0, 2),
        calls(matrices(*_shape)),
        _of_torch("svd", 0, 2, full_matrices=False),
        name=f"svd of {_shape[0]} by {_shape[1]}",
        primitive=linear_algebra._svd,
    )

# Into places ---------------------------------------------------------------------------------------------------------

PLACES = np.array([[0, 2, 0, 3], [1, 2, 0, 1], [0, 2, 2, 1]])


@st.composite
def scatter_reductions(draw: Any, reduce: str) -> Call:
    """Several elements that go to one place, some places to which none goes, and distinct numbers for the extremes."""
    x, src = draw(arrays((5, 4), **DISTINCT)), draw(arrays((3, 4), **DISTINCT))
    return Call((x, 0, PLACES, src + 0.01), {"reduce": reduce, "include_self": draw(st.booleans())})


for _name in ("sum", "prod", "mean", "amax", "amin"):
    row(ops.scatter_reduce, scatter_reductions(_name), name=f"scatter_reduce, {_name}")

# Over the ranks of a data-parallel training, here one; tests/test_parallel.py runs it on several ---------------------

row(all_reduce, calls(arrays((3, 4)), ranks=st.just(Ranks())), lambda x, ranks: 1 * x)

# More without a derivative ------------------------------------------------------------------------------------------

row(ops.signbit, calls(np.array([1.0, -0.0, 0.0, -2.0])), order=0)
CLOSE = (np.array([1.0, 2.0, math.nan]), np.array([1.0 + 1e-7, 2.1, math.nan]))
row(ops.isclose, calls(*CLOSE, equal_nan=st.booleans()), order=0)
row(ops.heaviside, calls(np.array([1.0, 0.0, -2.0]), np.array([0.5])), order=0)
for _name in ("bitwise_left_shift", "bitwise_right_shift"):
    row(getattr(ops, _name), calls(arrays((3, 4), **INTEGERS), arrays((4,), "int64", low=0, high=3)), order=0)
row(ops.isin, calls(arrays((3, 4), **INTEGERS), arrays((3,), **INTEGERS), invert=st.booleans()), order=0)
