"""How many wrong derivatives does the tester catch, and how often does it say rightly what is wrong?

Every primitive with a derivative gets mistakes planted into it: a systematic one (a sign, a factor), and those that
people make in just this operation. The primitive itself is left alone; the mistake goes into a copy. `check_op` then
has to fail (caught), with the verdict that belongs to the mistake (right). The verdict expected stands in the table
below.

The gate of the module hooks (`nn/hooks.py`) is left out: it passes gradients on, and has no mathematics to get wrong.
"""

from __future__ import annotations

import csv
import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_med as tg
from tinygrad_med import ops
from tinygrad_med.backend.geometry import conv_geometry, pool_geometry
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.broadcast import cast, expand, sum_to
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.engine.compiled import TOGETHER, all_at_once
from tinygrad_med.ops import (
    conv,
    elementwise,
    linear_algebra as matrix,
    normalization,
    pool,
    rearrange,
    reduce,
    resize,
    shape,
)
from tinygrad_med.ops.elementwise import _keep, _relu_input, _select, _unless_less
from tinygrad_med.ops.indexing import _index_add, _setitem, index
from tinygrad_med.ops.loss import _binary_cross_entropy
from tinygrad_med.ops.matmul import _einsum, _einsum_rule, _linear, _matmul
from tinygrad_med.testing import Report, check_op

RESULTS = Path(__file__).with_name("results")
Rule = Callable[..., Any]


class Call(NamedTuple):
    """The operands and the constants of a call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Mutant(NamedTuple):
    """A copy of a primitive with a mistake in it.

    Attributes:
        primitive: the right one.
        mistake: in words.
        verdict: what the tester should say.
        call: where it is checked.
        rules: the wrong rules, by operand.
        forward: the wrong forward, if the mistake is there.
        all_at_once: whether the copy keeps the primitive's fast path for all gradients, which is right.
        kinks: what holds at kinks and ties.
    """

    primitive: Primitive
    mistake: str
    verdict: str
    call: Call
    rules: dict[str, Rule]
    forward: Callable[..., Any] | None = None
    all_at_once: bool = False
    kinks: tuple[Any, ...] = ()

    def copy(self) -> Primitive:
        """The wrong primitive."""
        forward = self.forward or FORWARDS.get(self.primitive, self.primitive.forward)
        rules = {x: rule.function for x, rule in self.primitive.rules.items()} | self.rules
        if self.primitive in OF_SYMMETRIC:
            forward, rules = _of_the_symmetric_part(forward), {x: afterwards(f, _symmetric) for x, f in rules.items()}
        wrong = Primitive(forward)
        wrong.__name__ = self.primitive.__name__
        wrong.vjp(**rules)
        if self.all_at_once:
            all_at_once(wrong)(TOGETHER[self.primitive].function)
        return wrong

    def check(self) -> Report:
        """What the tester says about it."""
        return check_op(
            self.copy(),
            self.call,
            reference=self.primitive,
            view=True,
            at_kinks=self.kinks,
            check_float32=self.primitive is not cast,
            raise_exception=False,
        )


# Where each primitive is tried --------------------------------------------------------------------------------------

_rng = np.random.default_rng(20)


def some(*lengths: int, low: float = -2.5, high: float = 2.5) -> np.ndarray:
    """Distinct numbers between two bounds, none of them near 0, ±1 or another one."""
    count = int(np.prod(lengths))
    grid = np.linspace(low, high, count) + 0.013
    return _rng.permutation(grid).reshape(lengths)


def positive(*lengths: int) -> np.ndarray:
    """Distinct numbers between 0.4 and 2.5."""
    return some(*lengths, low=0.4, high=2.5)


def call(*args: Any, **kwargs: Any) -> Call:
    """A call with these arguments."""
    return Call(args, kwargs)


IMAGE = some(1, 1, 4, 4)
AT = conv_geometry((1, 2, 4, 4), (2, 2, 3, 3), padding=1)
POOL, PADDED_POOL = pool_geometry(IMAGE.shape, 2, 2), pool_geometry(IMAGE.shape, 3, 2, 1)
MEAN_POOL, PADDED_MEAN_POOL = pool_geometry(IMAGE.shape, 2, 1), pool_geometry(IMAGE.shape, 2, 1, 1)
TWINS = np.array([[[[1.0, 1], [0, 1]]]])
PAIR_POOL = pool_geometry(TWINS.shape, 2)
TAPS, TWIN_TAPS = (kernels(np).max_pool(image, geometry=at)[1] for image, at in ((IMAGE, POOL), (TWINS, PAIR_POOL)))
WINDOWS = conv_geometry((1, 2, 4, 4), (1, 2, 2, 2), stride=1)
BATCH = some(3, 2, 4)
MATRIX = np.diag([2.0, -3.0, 4.0]) + some(3, 3, low=-0.8, high=0.8)
CLEAR = np.array([7.0, -7.0])  # so far from 0 that relu lets a whole channel pass, or none of it
STATISTICS = {"mean": BATCH.mean((0, 2)), "invstd": 1 / np.sqrt(BATCH.var((0, 2)) + 0.1), "eps": 0.1}

CALLS: dict[Primitive, Call] = {
    **{p: call(some(3, 4)) for p in (ops.clone, ops.neg, ops.exp, ops.expm1, ops.sin, ops.cos, ops.abs, ops.sign)},
    **{p: call(some(3, 4)) for p in (ops.relu, ops.leaky_relu, ops.tanh, ops.sigmoid, ops.logsigmoid, ops.erf)},
    **{p: call(positive(3, 4)) for p in (ops.log, ops.log1p, ops.sqrt)},
    **{p: call(some(3, 4), some(3, 4)) for p in (elementwise.add, elementwise.sub, ops.mul)},
    **{p: call(some(3, 4), some(3, 4) + 0.05) for p in (ops.maximum, ops.minimum)},
    **{p: call(positive(3, 4), positive(3, 4)) for p in (elementwise.div, ops.pow)},
    **{p: call(some(3, 4), dims=(1,), keepdim=False) for p in (reduce._sum, reduce._mean, reduce._amax)},
    **{p: call(some(3, 4), dims=(1,), keepdim=False) for p in (reduce._amin, reduce._logsumexp)},
    **{p: call(some(3, 4), dims=(1,)) for p in (reduce._softmax, reduce._log_softmax)},
    reduce._cumsum: call(some(3, 4), dim=1),
    ops.to_device: call(some(3, 4), device=tg.device("cpu"), source=tg.device("cpu")),
    **{p: call(some(3, 4)) for p in (ops.round, ops.floor, ops.ceil)},
    **{p: call(some(3, 4), some(3, 4) + 0.05) for p in (ops.clamp_min, ops.clamp_max)},
    ops.remainder: call(some(3, 4), positive(3, 4)),
    ops.softplus: call(some(3, 4), beta=2, threshold=3),
    _binary_cross_entropy: call(some(3, 4, low=0.1, high=0.9), some(3, 4, low=0.1, high=0.9)),
    _keep: call(some(3, 4), mask=some(3, 4) > 0),
    _relu_input: call(some(3, 4), output=some(3, 4)),
    _select: call(some(3, 4), some(3, 4), condition=some(3, 4) > 0),
    ops.index: call(some(3, 4), key=np.array([0, 2, 0])),
    _setitem: call(some(3, 4), some(4), key=(1,)),
    _index_add: call(some(3, 4), key=np.array([0, 2, 0]), shape=(3, 4)),
    cast: call(some(3, 4), dtype=tg.float64),
    sum_to: call(some(3, 4), shape=(1, 4)),
    expand: call(some(4), shape=(3, 4)),
    shape._reshape: call(some(3, 3), shape=(9,)),
    shape._permute: call(some(3, 3, 3), dims=(1, 2, 0)),
    shape._flip: call(some(3, 4), dims=(1,)),
    shape._cat: call(some(2, 3), some(2, 3), dim=0, ends=(2, 4)),
    shape._pad: call(some(3, 4), widths=((0, 0), (1, 2)), value=0.5),
    _matmul: call(some(3, 3), some(3, 3)),
    _linear: call(some(2, 3), some(4, 3), some(4)),
    _einsum: call(some(2, 3), some(3, 4), terms=("ij", "jk"), result="ik"),
    conv._conv: call(some(1, 2, 4, 4), some(2, 2, 3, 3), geometry=AT),
    conv._conv_bias: call(some(2, 1, 3, 3), some(2, 1, 3, 3), some(2), geometry=AT._replace(size=(3, 3), out=(3, 3))),
    conv._conv_input: call(some(1, 2, 4, 4), some(2, 2, 3, 3), geometry=AT),
    conv._conv_weight: call(some(1, 1, 4, 4), some(1, 2, 4, 4), geometry=AT),
    conv.channel_sum: call(some(3, 2, 4)),
    conv._unfold: call(some(1, 2, 4, 4), geometry=WINDOWS),
    conv._fold: call(some(1, 4, 9), geometry=WINDOWS),
    pool._max_pool: call(IMAGE, taps=TAPS, geometry=POOL),
    pool._max_pool_scatter: call(some(1, 1, 2, 2), taps=TAPS, geometry=POOL),
    pool._avg_pool: call(IMAGE, geometry=MEAN_POOL),
    pool._avg_pool_input: call(some(1, 1, 3, 3), geometry=MEAN_POOL),
    resize.resample: call(some(1, 1, 4, 4), matrices=(some(4, 4), some(4, 4))),
    **{p: call(some(3, 4, low=-0.8, high=0.8)) for p in (ops.asin, ops.acos, ops.atanh)},
    **{p: call(some(3, 4)) for p in (ops.atan, ops.sinh, ops.cosh, ops.asinh, ops.trunc)},
    **{p: call(some(3, 4), some(3, 4) + 0.05) for p in (ops.atan2, ops.hypot, ops.logaddexp)},
    ops.tan: call(some(3, 4, low=-1.2, high=1.2)),
    ops.acosh: call(positive(3, 4) + 1),
    ops.log10: call(positive(3, 4)),
    ops.fmod: call(some(3, 4), positive(3, 4) + 0.05),
    **{p: call(MATRIX) for p in (matrix._inv, matrix._det, matrix._logabsdet, matrix._qr, matrix._svd)},
    matrix._solve: call(MATRIX, some(3, 3)),
    matrix._pinv: call(MATRIX[:, :2], rcond=1e-12),
    matrix._cholesky: call(MATRIX @ MATRIX.T),
    matrix._eigh: call(MATRIX + MATRIX.T, upper=False),
    normalization._batch_norm: call(BATCH, positive(2), some(2), **STATISTICS),
    normalization._batch_norm_relu: call(BATCH, some(2), CLEAR, **STATISTICS),
    normalization._batch_norm_plus_relu: call(BATCH, some(2), CLEAR, some(3, 2, 4, low=-99, high=99), **STATISTICS),
    rearrange._last_diagonal: call(some(2, 3, 4), offset=1),
    normalization._scale_shift: call(some(3, 2, 4), some(2), some(2)),
}


OF_SYMMETRIC = (matrix._cholesky, matrix._eigh)
"""They look at one triangle of a matrix that is said to be symmetric; the copies look at x's symmetric part."""


def _symmetric(x: Any) -> Any:
    return (x + shape.transpose(x, -1, -2)) / 2


def _of_the_symmetric_part(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def call(xp: Any, x: Any, **constants: Any) -> Any:
        return forward(xp, (x + x.T) / 2, **constants)

    return call


def _with_own_statistics(xp: Any, x: Any, weight: Any, bias: Any, *, mean: Any, invstd: Any, eps: float) -> Any:
    """Batch-norm whose statistics move with x; its primitive is given them, and so can't be differentiated alone."""
    del mean, invstd
    own = {"mean": x.mean((0, 2)), "invstd": 1 / xp.sqrt(_variance(x) + eps)}
    return normalization._batch_norm.forward(xp, x, weight, bias, **own, eps=eps)


def _and_relu(xp: Any, x: Any, weight: Any, bias: Any, *, mean: Any, invstd: Any, eps: float) -> Any:
    z = _with_own_statistics(xp, x, weight, bias, mean=mean, invstd=invstd, eps=eps)
    return z * (z.real > 0)


def _plus_and_relu(xp: Any, x: Any, weight: Any, bias: Any, plus: Any, *, mean: Any, invstd: Any, eps: float) -> Any:
    z = _with_own_statistics(xp, x, weight, bias, mean=mean, invstd=invstd, eps=eps) + plus
    return z * (z.real > 0)


def _variance(x: Any) -> Any:
    """Of each channel; unlike NumPy's it is analytic."""
    return ((x - x.mean((0, 2), keepdims=True)) ** 2).mean((0, 2))


FORWARDS = {
    normalization._batch_norm: _with_own_statistics,
    normalization._batch_norm_relu: _and_relu,
    normalization._batch_norm_plus_relu: _plus_and_relu,
}
"""The forwards of copies, where they are not the primitive's."""

MUTANTS: list[Mutant] = []


def plant(p: Primitive, mistake: str, verdict: str, *, at: Call | None = None, **rest: Any) -> None:
    """Enter a mutant; what is no field of `Mutant` is the wrong rule of that operand."""
    fields = {name: rest.pop(name) for name in ("forward", "all_at_once", "kinks") if name in rest}
    MUTANTS.append(Mutant(p, mistake, verdict, at or CALLS[p], rest, **fields))


def after(p: Primitive, operand: str, change: Callable[[Any], Any]) -> Rule:
    """The right rule, its gradient changed afterwards."""
    return afterwards(p.rules[operand].function, change)


def afterwards(right: Rule, change: Callable[[Any], Any]) -> Rule:
    """A rule, its gradient changed afterwards."""

    def rule(*values: Any) -> Any:
        return change(right(*values))

    rule.__signature__ = inspect.signature(right)  # type: ignore[attr-defined] - a rule asks for its values by name
    return functools.wraps(right)(rule)


def constant(x: Any) -> Any:
    """x cut from the graph: the mistake of a rule that works on arrays."""
    return x.detach() if isinstance(x, tg.Tensor) else x


def one_later(g: Any, dim: int) -> Any:
    """g moved by one along a dim, a zero coming in."""
    n = g.shape[dim]
    widths = tuple((1, 0) if d == dim else (0, 0) for d in range(len(g.shape)))
    return shape._pad(shape.narrow(g, dim, 0, n - 1), widths=widths, value=0.0)


# Every primitive: a sign or a factor --------------------------------------------------------------------------------

FLAT = (ops.sign, ops.round, ops.floor, ops.ceil, ops.trunc)  # their derivative is 0, whatever its sign

for _number, _p in enumerate(p for p in CALLS if p not in FLAT):
    _operand = _p.operands[-1]
    if _number % 2:
        plant(_p, f"∂{_operand}: a factor of 2", "factor", **{_operand: after(_p, _operand, lambda d: 2 * d)})
    else:
        plant(_p, f"∂{_operand}: the sign", "sign", **{_operand: after(_p, _operand, lambda d: -d)})

# Elementwise --------------------------------------------------------------------------------------------------------

plant(ops.mul, "∂x: multiplies with x", "operand", x=lambda g, x: g * x)
plant(ops.mul, "∂x: forgets y", "factor", x=lambda g: g)
plant(ops.mul, "∂x: y as a constant", "detached", x=lambda g, y: g * constant(y))
plant(
    ops.mul,
    "∂y: writes into g",
    "overwritten",
    y=lambda g, x: np.multiply(g, x, out=g) if isinstance(g, np.ndarray) else g * x,
)
plant(elementwise.div, "∂y: forgets z", "factor", y=lambda g, y: -g / y)
plant(elementwise.div, "∂x: times y", "factor", x=lambda g, y: g * y)
plant(elementwise.div, "∂y: z as a constant", "detached", y=lambda g, y, z: -g * constant(z) / y)
plant(elementwise.sub, "∂y: as for add", "sign", y=lambda g: g)
plant(
    elementwise.add,
    "∂y: the first row for the sum of rows",
    "broadcast",
    at=call(some(3, 4), some(4)),
    y=lambda g: g[:1],
)
plant(
    ops.mul, "∂y: the last row for the sum of rows", "broadcast", at=call(some(3, 4), some(1, 4)),
    y=lambda g, x: g[2:] * x[2:],
)  # fmt: skip
plant(
    elementwise.add,
    "∂y: the mean of rows for their sum",
    "factor",
    at=call(some(3, 4), some(4)),
    y=lambda g: ops.mean(g, 0),
)
plant(ops.pow, "∂x: the exponent y for y − 1", "factor", x=lambda g, x, y: g * y * x**y)
plant(ops.pow, "∂x: forgets the factor y", "factor", x=lambda g, x, y: g * x ** (y - 1))
plant(ops.pow, "∂y: forgets log x", "factor", y=lambda g, z: g * z)
plant(ops.pow, "∂y: z as a constant", "detached", y=lambda g, x, z: g * constant(z) * ops.log(x))
plant(ops.exp, "∂x: forgets z", "factor", x=lambda g: g)
plant(ops.exp, "∂x: z as a constant", "detached", x=lambda g, z: g * constant(z))
plant(ops.exp, "∂x: a float64 number in float32", "dtype", x=lambda g, z: g * z * np.float64(1))
plant(ops.exp, "∂x: clips g to ±1", "linearity", x=lambda g, z: ops.clip(g, -1.0, 1.0) * z)
plant(ops.expm1, "∂x: forgets the + 1", "term", x=lambda g, z: g * z)
plant(ops.log, "∂x: times x", "factor", x=lambda g, x: g * x)
plant(ops.log1p, "∂x: forgets the 1 +", "term", x=lambda g, x: g / x)
plant(ops.sqrt, "∂x: forgets the 2", "factor", x=lambda g, z: g / z)
plant(ops.sqrt, "∂x: x for z", "factor", x=lambda g, x: g / (2 * x))
plant(ops.cos, "∂x: forgets the −", "sign", x=lambda g, x: g * ops.sin(x))
plant(ops.sin, "∂x: sin for cos", "term", x=lambda g, x: g * ops.sin(x))
plant(ops.tanh, "∂x: z for z²", "factor", x=lambda g, z: g * (1 - z))
plant(ops.tanh, "∂x: forgets the factor", "factor", x=lambda g: g)
plant(ops.tanh, "∂x: half of z² as a constant", "detached", x=lambda g, z: g * (1 - z * constant(z)))
plant(ops.sigmoid, "∂x: forgets 1 − z", "factor", x=lambda g, z: g * z)
plant(ops.sigmoid, "∂x: z as a constant", "detached", x=lambda g, z: g * constant(z * (1 - z)))
plant(ops.logsigmoid, "∂x: sigmoid(x) for sigmoid(−x)", "factor", x=lambda g, x: g * ops.sigmoid(x))
plant(ops.softplus, "∂x: forgets β", "term", x=lambda g, x: g * ops.sigmoid(x))
plant(ops.softplus, "∂x: forgets the threshold", "mask", at=call(some(3, 4), beta=2, threshold=0.5),
      x=lambda g, x, beta: g * ops.sigmoid(beta * x))  # fmt: skip
plant(ops.erf, "∂x: forgets 2/√π", "factor", x=lambda g, x: g * ops.exp(-x * x))
plant(ops.erf, "∂x: 1.1283 for 2/√π", "factor", x=lambda g, x: g * 1.1283 * ops.exp(-x * x))
plant(ops.erf, "∂x: −x for −x²", "term", x=lambda g, x: g * (2 / math.sqrt(math.pi)) * ops.exp(-x))
plant(ops.tan, "∂x: forgets the 1 +", "term", x=lambda g, z: g * (z * z))
plant(ops.tan, "∂x: z as a constant", "detached", x=lambda g, z: g * (1 + constant(z * z)))
plant(ops.asin, "∂x: as for acos", "sign", x=lambda g, x: -g * (1 - x * x) ** -0.5)
plant(ops.acos, "∂x: the power −1 for −1/2", "term", x=lambda g, x: -g / (1 - x * x))
plant(ops.atan, "∂x: forgets the 1 +", "term", x=lambda g, x: g / (x * x))
plant(ops.atanh, "∂x: as for atan", "term", x=lambda g, x: g / (1 + x * x))
plant(ops.asinh, "∂x: as for asin", "term", at=call(some(3, 4, low=-0.8, high=0.8)),
      x=lambda g, x: g * (1 - x * x) ** -0.5)  # fmt: skip
plant(ops.acosh, "∂x: as for asinh", "term", x=lambda g, x: g * (x * x + 1) ** -0.5)
plant(ops.sinh, "∂x: as for sin", "term", x=lambda g, x: g * ops.cos(x))
plant(ops.cosh, "∂x: as for cos", "term", x=lambda g, x: -g * ops.sin(x))
plant(ops.log10, "∂x: forgets log 10", "factor", x=lambda g, x: g / x)
plant(ops.atan2, "∂x, ∂y: exchanged", "operand", x=lambda g, x, y: g * (-x / (x * x + y * y)))
plant(ops.atan2, "∂y: forgets the −", "sign", y=lambda g, x, y: g * (x / (x * x + y * y)))
plant(ops.atan2, "∂x: x as a constant", "detached", x=lambda g, x, y: g * (y / (constant(x) ** 2 + y * y)))
plant(ops.logaddexp, "∂x, ∂y: exchanged", "operand", x=lambda g, x, y: g * ops.sigmoid(y - x))
plant(ops.hypot, "∂x: forgets 1 / z", "factor", x=lambda g, x: g * x)
plant(ops.hypot, "∂x: z as a constant", "detached", x=lambda g, x, z: g * x / constant(z))
plant(ops.fmod, "∂y: as for remainder", "term", y=lambda g, x, y: -g * ops.floordiv(x, y))
plant(ops.clone, "gives x itself in another order of memory", "layout",
      forward=lambda xp, x: xp.ravel(x, order="K").reshape(x.shape))  # fmt: skip

# Kinks, masks and ties ----------------------------------------------------------------------------------------------

plant(ops.abs, "∂x: forgets the sign of x", "mask", x=lambda g: g)
plant(ops.abs, "∂x: 1 at 0", "boundary", x=lambda g, x: ops.where(x >= 0, g, -g),
      kinks=((np.array([0.0, 2.0]), np.array([0.0, 1.0])),))  # fmt: skip
for _p in FLAT:
    plant(_p, "∂x: g for 0", "term", x=lambda g: g)
plant(
    ops.relu,
    "∂x: 1 at 0",
    "boundary",
    x=lambda g, x: g * (x >= 0),
    kinks=((np.array([0.0, 2.0]), np.array([0.0, 1.0])),),
)
plant(ops.relu, "∂x: compares with 1", "mask", x=lambda g, x: g * (x > 1))
plant(ops.relu, "∂x: forgets the mask", "mask", x=lambda g: g)
plant(ops.relu, "writes into x", "overwritten", forward=lambda xp, x: xp.maximum(x, 0, out=x))
plant(ops.leaky_relu, "∂x: 0 for the slope", "mask", x=lambda g, x: g * (x > 0))
plant(ops.leaky_relu, "∂x: 1 at 0", "boundary", x=lambda g, x: ops.where(x >= 0, g, 0.01 * g),
      kinks=((np.array([0.0, 2.0]), np.array([0.01, 1.0])),))  # fmt: skip
plant(ops.clamp_max, "∂x: forgets the bound", "mask", x=lambda g: g)
plant(ops.clamp_min, "∂min: forgets the mask", "mask", min=lambda g: g)
plant(ops.clamp_min, "∂x: 0 at the bound", "tie", x=lambda g, x, min: ops.where(x > min, g, 0.0),
      kinks=((call(np.array([1.0, 3.0]), np.array([1.0, 2.0])), ([1.0, 1.0], [0.0, 0.0])),))  # fmt: skip
plant(ops.remainder, "∂y: forgets the −", "sign", y=lambda g, x, y: g * ops.floordiv(x, y))
plant(ops.remainder, "∂y: 0, as for a constant", "term", y=lambda g: g * 0)
TIED = call(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
plant(ops.maximum, "∂x, ∂y: exchanged", "operand", x=lambda g, x, y: _unless_less(g, y, x))
plant(
    ops.maximum, "∂x: all of g at a tie", "tie", x=lambda g, x, y: g * (x >= y), kinks=((TIED, ([0.5, 0], [0.5, 1])),)
)
plant(ops.maximum, "∂x, ∂y: all of g at a tie, found at the tie", "tie", at=TIED,
      x=lambda g, x, y: g * (x >= y), y=lambda g, x, y: g * (y >= x))  # fmt: skip
plant(ops.minimum, "∂x: nothing at a tie", "tie", x=lambda g, x, y: g * (x < y), kinks=((TIED, ([0.5, 1], [0.5, 0])),))
plant(_binary_cross_entropy, "∂x: y − x for x − y", "sign", x=lambda g, x, y: g * (y - x) / (x * (1 - x)))
plant(_keep, "∂x: forgets the mask", "term", x=lambda g: g)
plant(_relu_input, "∂x: forgets the mask", "term", x=lambda g: g)
plant(_keep, "∂x: the other mask", "term", x=lambda g, mask: g * ~mask)
plant(_select, "∂x: the mask of y", "operand", x=lambda g, condition: g * ~condition)
plant(_select, "∂y: forgets the mask", "term", y=lambda g: g)

# Shape and indexing -------------------------------------------------------------------------------------------------


def _last_wins(g: Any, lengths: Any, key: Any) -> Any:
    if isinstance(g, tg.Tensor):
        return _index_add(g * np.array([[0.0], [1.0], [1.0]]), key=key, shape=lengths)
    z = np.zeros(lengths, g.dtype)
    z[key] = g
    return z


plant(
    shape._permute,
    "∂x: the same order for the inverse one",
    "transposed",
    x=lambda g, dims: shape._permute(g, dims=dims),
)
plant(
    shape._reshape,
    "∂x: columns first",
    "transposed",
    x=lambda g, x_shape: shape.transpose(shape._reshape(g, x_shape), 0, 1),
)
plant(rearrange._last_diagonal, "∂x: on the diagonal below", "shifted", x=lambda g, x_shape, offset:
      rearrange._on_diagonal(g, x_shape, offset - 1))  # fmt: skip
plant(rearrange._last_diagonal, "∂x: on the main diagonal", "shifted", x=lambda g, x_shape:
      rearrange._on_diagonal(g, x_shape, 0))  # fmt: skip
plant(shape._flip, "∂x: forgets to flip", "reversed", x=lambda g: g)
plant(shape._flip, "∂x: flips the wrong dim", "reversed", x=lambda g: shape._flip(g, (0,)))
plant(
    shape._cat,
    "∂xs: always the first part",
    "operand",
    xs=lambda g, xs_shape, dim: shape.narrow(g, dim, 0, xs_shape[0][dim]),
)
plant(shape._pad, "∂x: off by one", "shifted", x=lambda g, x_shape: shape.narrow(g, 1, 2, x_shape[1]))
plant(
    shape._pad,
    "pads with 0",
    "value",
    forward=lambda xp, x, *, widths, value: xp.pad(x, widths, constant_values=0 * value),
)
plant(
    ops.index,
    "∂x: a place read twice receives one",
    "term",
    x=lambda g, x_shape, key: _last_wins(g, lengths=x_shape, key=key),
)
plant(ops.index, "∂x: one row later", "shifted", at=call(some(3, 4), key=np.array([0, 1])),
      x=lambda g, x_shape, key: _index_add(g, key=key + 1, shape=x_shape))  # fmt: skip
plant(_setitem, "∂x: g also where y was written", "term", x=lambda g: g)
plant(_setitem, "∂y: one row later", "operand", y=lambda g: index(g, key=(2,)))
plant(_index_add, "a place named twice receives one", "value",
      forward=lambda xp, g, *, key, shape: _last_wins(g, xp.zeros(shape).shape, key))  # fmt: skip
plant(_index_add, "∂g: one row later", "shifted", at=call(some(2, 4), key=np.array([0, 1]), shape=(3, 4)),
      g=lambda g, key: ops.index(g, key=key + 1))  # fmt: skip
plant(expand, "∂x: the first row for the sum", "broadcast", x=lambda g: g[:1])


# Reductions ---------------------------------------------------------------------------------------------------------

SQUARE = {"dims": (1,), "keepdim": False}
plant(reduce._sum, "∂x: divides by n", "factor", x=lambda g, x_shape: expand(g[:, None] / x_shape[1], x_shape))
plant(
    reduce._sum,
    "∂x: the wrong dim",
    "transposed",
    at=call(some(3, 3), **SQUARE),
    x=lambda g, x_shape: expand(g[None], x_shape),
)
plant(reduce._mean, "∂x: forgets 1 / n", "factor", x=lambda g, x_shape: expand(g[:, None], x_shape))
plant(reduce._mean, "∂x: n of all dims", "factor", x=lambda g, x_shape: expand(g[:, None] / 12, x_shape))
plant(reduce._cumsum, "∂x: forgets to reverse", "transposed", x=lambda g, dim: reduce._cumsum(g, dim=dim))
plant(reduce._cumsum, "∂x: reverses once", "reversed", x=lambda g, dim: reduce._cumsum(shape.flip(g, dim), dim=dim))
plant(reduce._cumsum, "∂x: the wrong dim", "dim", x=lambda g: shape.flip(reduce._cumsum(shape.flip(g, 0), dim=0), 0))
plant(reduce._cumsum, "∂x: without the element itself", "shifted",
      x=lambda g, dim: shape.flip(reduce._cumsum(shape.flip(g, dim), dim=dim), dim) - g)  # fmt: skip
TIE = call(np.array([[1.0, 2.0, 2.0]]), **SQUARE)
plant(reduce._amax, "∂x: all of g to each tie", "tie", x=lambda g, x, z: g[:, None] * (x == z[:, None]),
      kinks=((TIE, np.array([[0, 0.5, 0.5]])),))  # fmt: skip
plant(
    reduce._amax,
    "∂x: all of g to each tie, found at the tie",
    "tie",
    at=TIE,
    x=lambda g, x, z: g[:, None] * (x == z[:, None]),
)
plant(reduce._amax, "∂x: g for every element", "term", x=lambda g, x_shape: expand(g[:, None], x_shape))
plant(reduce._logsumexp, "∂x: forgets − z", "factor", x=lambda g, x: g[:, None] * ops.exp(x))
plant(
    reduce._logsumexp,
    "∂x: z as a constant",
    "detached",
    x=lambda g, x, z: g[:, None] * ops.exp(x - constant(z)[:, None]),
)
plant(reduce._softmax, "∂x: forgets the sum", "term", x=lambda g, z: z * g)
plant(reduce._softmax, "∂x: forgets z in the sum", "term", x=lambda g, z, dims: z * (g - ops.sum(g, dims, True)))
plant(reduce._softmax, "∂x: sums over the wrong dim", "dim", x=lambda g, z: z * (g - ops.sum(g * z, 0, keepdim=True)))
plant(
    reduce._softmax,
    "∂x: z as a constant in the sum",
    "detached",
    x=lambda g, z, dims: z * (g - ops.sum(g * constant(z), dims, True)),
)
plant(reduce._softmax, "takes the wrong dim", "value",
      forward=lambda xp, x, *, dims: xp.exp(x) / xp.exp(x).sum(1 - dims[0], keepdims=True))  # fmt: skip
plant(reduce._log_softmax, "∂x: forgets the sum", "term", x=lambda g: g)
plant(reduce._log_softmax, "∂x: z for e^z", "term", x=lambda g, z, dims: g - z * ops.sum(g, dims, keepdim=True))
plant(
    reduce._log_softmax,
    "∂x: sums over the wrong dim",
    "dim",
    x=lambda g, z: g - ops.exp(z) * ops.sum(g, 0, keepdim=True),
)

# Matrices -----------------------------------------------------------------------------------------------------------

plant(_matmul, "∂x: y for yᵀ", "transposed", x=lambda g, y: g @ y)
plant(_matmul, "∂y: x for xᵀ", "transposed", y=lambda g, x: x @ g)
plant(
    _matmul,
    "∂x: transposed in the end",
    "transposed",
    x=lambda g, y: shape.transpose(g @ shape.transpose(y, 0, 1), 0, 1),
)
plant(_matmul, "∂x: transposed, not square", "transposed", at=call(some(2, 3), some(3, 4)),
      x=lambda g, y: y @ shape.transpose(g, 0, 1))  # fmt: skip
plant(_matmul, "∂y: x as a constant", "detached", y=lambda g, x: shape.transpose(constant(x), 0, 1) @ g)
plant(_linear, "∂weight: xᵀ g for gᵀ x", "transposed", weight=lambda g, x: shape.transpose(x, 0, 1) @ g)
plant(_linear, "∂bias: the first row", "broadcast", bias=lambda g: g[:1])
plant(_linear, "∂bias: the mean of rows", "factor", bias=lambda g: ops.mean(g, 0))
plant(_linear, "∂weight: g as a constant", "detached", weight=lambda g, x: shape.transpose(g, 0, 1) @ constant(x))
plant(_einsum, "∂xs: the other operand as a constant", "detached", xs=lambda g, i, xs, xs_shape, terms, result:
      _einsum_rule(g, i, tuple(map(constant, xs)), xs_shape, terms, result))  # fmt: skip

# Decompositions, inverses and determinants --------------------------------------------------------------------------


def _transposed(x: Any) -> Any:
    return shape.transpose(x, -1, -2)


def _unhalved(g: Any, z: Any) -> Any:
    """The rule of cholesky without the half of the diagonal."""
    inverse = matrix._inv(z)
    return _transposed(inverse) @ ops.tril(_transposed(z) @ g) @ inverse


def _without_difference_quotients(g: Any, z: Any) -> Any:
    """The rule of eigh for the eigenvalues alone."""
    n = z.shape[-1]
    v = shape.narrow(z, -2, 0, n)
    return (v * shape.narrow(g, -2, n, 1)) @ _transposed(v)


def _values_alone(g: Any, z: Any, x_shape: Any) -> Any:
    """The rule of svd for the singular values alone."""
    u, _, v = matrix._svd_parts(z, *x_shape)
    return (u * matrix._svd_parts(g, *x_shape)[1]) @ _transposed(v)


def _unsymmetric(g: Any, z: Any, x_shape: Any) -> Any:
    """The rule of qr with a triangle in the place of the symmetric matrix."""
    m, n = x_shape
    q, r = shape.narrow(z, -2, 0, m), _transposed(shape.narrow(z, -2, m, n))
    gq, gr = shape.narrow(g, -2, 0, m), _transposed(shape.narrow(g, -2, m, n))
    lower = ops.tril(r @ _transposed(gr) - _transposed(gq) @ q)
    return (gq + q @ lower) @ _transposed(matrix._inv(r))


def _square_for_tall(g: Any, z: Any, x_shape: Any) -> Any:
    u = matrix._svd_parts(z, *x_shape)[0]
    return u @ (_transposed(u) @ matrix._svd_rule(g, z, x_shape))


plant(matrix._inv, "∂x: z for zᵀ", "transposed", x=lambda g, z: -(z @ g @ z))
plant(matrix._inv, "∂x: transposed in the end", "transposed", x=after(matrix._inv, "x", _transposed))
plant(matrix._inv, "∂x: one z as a constant", "detached",
      x=lambda g, z: -(_transposed(constant(z)) @ g @ _transposed(z)))  # fmt: skip
plant(matrix._solve, "∂y: x for xᵀ", "transposed", y=lambda g, x: matrix._solve(x, g))
plant(matrix._solve, "∂x: forgets z", "term", x=lambda g, x: -matrix._solve(_transposed(x), g))
plant(matrix._solve, "∂x: z as a constant", "detached",
      x=lambda g, x, z: -(matrix._solve(_transposed(x), g) @ _transposed(constant(z))))  # fmt: skip
plant(matrix._pinv, "∂x: as for the inverse", "term", x=lambda g, z: -(_transposed(z) @ g @ _transposed(z)))
plant(matrix._det, "∂x: x⁻¹ for x⁻ᵀ", "transposed", x=after(matrix._det, "x", _transposed))
plant(matrix._det, "∂x: forgets z", "factor", x=lambda g, x: g * _transposed(matrix._inv(x)))
plant(matrix._det, "∂x: z as a constant", "detached",
      x=lambda g, x, z: g * constant(z) * _transposed(matrix._inv(x)))  # fmt: skip
plant(matrix._logabsdet, "∂x: x⁻¹ for x⁻ᵀ", "transposed", x=after(matrix._logabsdet, "x", _transposed))
plant(matrix._cholesky, "∂x: forgets to halve the diagonal", "term", x=_unhalved)
plant(matrix._cholesky, "gives the upper triangle", "value",
      forward=lambda xp, x: xp.linalg.cholesky(x).T)  # fmt: skip
plant(matrix._eigh, "∂x: of the eigenvalues alone", "term", x=_without_difference_quotients)
plant(matrix._qr, "∂x: the triangle for the symmetric matrix", "term", x=_unsymmetric)
plant(matrix._svd, "∂x: of the singular values alone", "term", x=_values_alone)
plant(matrix._svd, "∂x: square for tall, without what leaves the columns of u", "term", at=call(some(4, 2)),
      x=_square_for_tall)  # fmt: skip


# Windows ------------------------------------------------------------------------------------------------------------


def _to_all_ties(g: Any, x: Any, geometry: Any) -> Any:
    """For windows of 2×2 that don't overlap."""
    height, width = x.shape[2:]

    def spread(z: Any) -> Any:
        z = expand(z[:, :, :, None, :, None], shape=(*x.shape[:2], height // 2, 2, width // 2, 2))
        return shape._reshape(z, shape=tuple(x.shape))

    largest = x.array if isinstance(x, tg.Tensor) else x
    largest = kernels(np).max_pool(largest, geometry=geometry)[0]
    return spread(g) * (x == spread(largest))


def _largest_with_zeros_around(xp: Any, x: Any, *, geometry: Any, taps: Any = None, largest: Any = None) -> Any:
    """A max-pooling that pads with zeros."""
    del taps, largest
    padded = xp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    inside = geometry._replace(size=geometry.padded, padding=((0, 0), (0, 0)))
    return kernels(xp).max_pool(padded, geometry=inside, choice=False)[0]


plant(conv._conv, "∂x: one column later", "shifted", x=after(conv._conv, "x", lambda d: one_later(d, 3)))
plant(conv._conv, "∂weight: flipped, as in a convolution", "reversed",
      weight=after(conv._conv, "weight", lambda d: shape.flip(d, 2, 3)))  # fmt: skip
plant(conv._conv, "∂x: the weight as a constant", "detached", x=lambda g, weight, geometry:
      conv._conv_input(g, constant(weight), geometry=geometry))  # fmt: skip
plant(conv._conv, "∂weight: rows for columns", "transposed",
      weight=after(conv._conv, "weight", lambda d: shape.transpose(d, 2, 3)))  # fmt: skip
plant(conv._conv_bias, "∂bias: the first image", "broadcast", bias=lambda g: conv.channel_sum(g[:1]))
plant(conv._conv_bias, "∂bias: the mean", "factor", bias=lambda g: conv.channel_sum(g) / 18)
plant(conv._conv_bias, "∂bias: not summed over rows and columns", "shape", bias=lambda g: ops.sum(g, 0))
plant(
    conv._conv_bias,
    "forgets the bias",
    "value",
    forward=lambda xp, x, weight, bias, *, geometry: kernels(xp).conv(x, weight, 0 * bias, geometry=geometry),
)
plant(conv._conv_input, "∂y: one row later", "shifted", y=after(conv._conv_input, "y", lambda d: one_later(d, 2)))
plant(conv._conv_weight, "∂x: channels of the batch's first image", "detached",
      x=lambda g, y, geometry: conv._conv_input(constant(y), g, geometry=geometry))  # fmt: skip
plant(conv.channel_sum, "∂x: divides by n", "factor", x=lambda g, x_shape: expand(conv.per_channel(g, 3) / 12, x_shape))
plant(conv._unfold, "∂x: one column later", "shifted", x=after(conv._unfold, "x", lambda d: one_later(d, 3)))
plant(pool._max_pool, "pads with 0 for −∞", "value", at=call(-positive(1, 1, 4, 4), geometry=PADDED_POOL),
      forward=_largest_with_zeros_around)  # fmt: skip
plant(
    pool._max_pool,
    "∂x: off by one in the window",
    "shifted",
    x=after(pool._max_pool, "x", lambda d: one_later(d, 3)),
)
plant(pool._max_pool, "∂x: all of g to each tie", "tie", x=_to_all_ties,
      kinks=((call(TWINS, taps=TWIN_TAPS, geometry=PAIR_POOL), np.array([[[[1.0, 0], [0, 0]]]])),))  # fmt: skip
plant(pool._avg_pool, "∂x: forgets 1 / n", "factor", x=after(pool._avg_pool, "x", lambda d: d * 4))
plant(pool._avg_pool, "counts the padding, or not", "value",
      at=call(IMAGE, geometry=PADDED_MEAN_POOL),
      forward=lambda xp, x, *, geometry, count_include_pad=True, divisor=None:
      kernels(xp).avg_pool(x, geometry=geometry, count_include_pad=not count_include_pad, divisor=divisor))  # fmt: skip
plant(resize.resample, "∂x: R for Rᵀ", "transposed",
      x=lambda g, matrices: resize.resample(g, matrices=(matrices[0], matrices[1].T)))  # fmt: skip


# Normalization ------------------------------------------------------------------------------------------------------

NORM = normalization._batch_norm


def _norm(
    g: Any, x: Any, weight: Any, eps: float, *, mean_of_g: bool = True, mean_of_gx: bool = True, fixed: bool = False
) -> Any:
    x_hat, invstd = normalization.standardize(x, (0, 2), eps)
    x_hat, invstd = (constant(x_hat), constant(invstd)) if fixed else (x_hat, invstd)
    inner = g
    inner = inner - ops.mean(g, (0, 2), keepdim=True) if mean_of_g else inner
    inner = inner - x_hat * ops.mean(g * x_hat, (0, 2), keepdim=True) if mean_of_gx else inner
    return conv.per_channel(weight, 3) * invstd * inner


plant(NORM, "∂x: stale statistics, mean and variance as constants", "term", x=lambda g, x, weight, eps:
      _norm(g, x, weight, eps, mean_of_g=False, mean_of_gx=False))  # fmt: skip
plant(NORM, "∂x: forgets the mean of g", "term", x=lambda g, x, weight, eps: _norm(g, x, weight, eps, mean_of_g=False))
plant(NORM, "∂x: forgets the variance", "term", x=lambda g, x, weight, eps: _norm(g, x, weight, eps, mean_of_gx=False))
plant(
    NORM,
    "∂x: statistics as constants at order 2",
    "detached",
    x=lambda g, x, weight, eps: _norm(g, x, weight, eps, fixed=True),
)
plant(NORM, "∂x: forgets the weight", "factor", x=lambda g, x, eps: _norm(g, x, np.ones(2), eps))
plant(NORM, "∂weight: x for x̂", "term", weight=lambda g, x: conv.channel_sum(g * x))
plant(NORM, "∂bias: the first of the batch", "broadcast", bias=lambda g: conv.channel_sum(g[:1]))
plant(NORM, "normalizes with stale statistics", "value", forward=lambda xp, x, weight, bias, *, mean, invstd, eps:
      NORM.forward(xp, x, weight, bias, mean=mean + 0.1, invstd=invstd, eps=eps))  # fmt: skip
plant(
    NORM,
    "∂x: the fast path right, the rule wrong",
    "rules disagree",
    all_at_once=True,
    x=after(NORM, "x", lambda d: 2 * d),
)
for _norm_relu in (normalization._batch_norm_relu, normalization._batch_norm_plus_relu):
    plant(_norm_relu, "∂bias: forgets relu", "mask", bias=lambda g: conv.channel_sum(1 * g))
    plant(_norm_relu, "∂weight: forgets relu", "mask", weight=lambda g, x, eps:
          conv.channel_sum(g * normalization.standardize(x, (0, 2), eps)[0]))  # fmt: skip
    plant(_norm_relu, "∂x: twice", "factor", x=after(_norm_relu, "x", lambda d: 2 * d))
plant(normalization._batch_norm_plus_relu, "∂plus: forgets relu", "mask", plus=lambda g: g)
plant(
    normalization._scale_shift,
    "∂scale: x as a constant",
    "detached",
    scale=lambda g, x: conv.channel_sum(g * constant(x)),
)
plant(normalization._scale_shift, "∂shift: the last of the batch", "broadcast", shift=lambda g: conv.channel_sum(g[2:]))


# The score ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """Check every mutant, print the table and write it."""
    rows = []
    for mutant in MUTANTS:
        report = mutant.check()
        outcome = "missed" if report.ok else "right" if report.verdict == mutant.verdict else "caught"
        rows.append((str(mutant.primitive), mutant.mistake, mutant.verdict, report.verdict or "", outcome))
        if outcome != "right":
            print(f"{mutant.primitive}: {mutant.mistake}: expected {mutant.verdict}, got\n{report}\n")
    kinds = Counter(row[2] for row in rows)
    right = Counter(row[2] for row in rows if row[4] == "right")
    caught = sum(row[4] != "missed" for row in rows)
    primitives = len({row[0] for row in rows})
    summary = f"Of {len(rows)} mutants of {primitives} primitives it caught {caught}"
    summary += f", {sum(right.values())} with the right verdict."
    lines = [
        "# How many wrong derivatives does the tester catch?",
        "",
        summary,
        "",
        "| mistake | mutants | right verdict |",
        "|---|--:|--:|",
        *(f"| {kind} | {count} | {right[kind]} |" for kind, count in kinds.most_common()),
        "",
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gradient_mutants.md").write_text("\n".join(lines), encoding="utf-8")
    with (RESULTS / "gradient_mutants.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("primitive", "mistake", "expected", "verdict", "outcome"), *rows])
    print("\n".join(lines))


if __name__ == "__main__":
    main()
