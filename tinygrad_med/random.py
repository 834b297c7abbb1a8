"""Random numbers: every choice takes a `Generator` or follows `manual_seed`.

Numbers are drawn by NumPy on the CPU and moved to the device, so that a seed gives the same numbers everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.creation import length, shape_of
from tinygrad_med.dtypes import as_dtype, float64, get_default_dtype


class Generator:
    """A stream of random numbers; the same seed gives the same stream."""

    def __init__(self, seed: int | None = None) -> None:
        self.manual_seed(numpy.random.SeedSequence().entropy if seed is None else seed)

    def manual_seed(self, seed: Any) -> Generator:
        """Start the stream that belongs to `seed` (a non-negative int); returns the generator itself."""
        if int(seed) < 0:
            raise ValueError(f"manual_seed: the seed must not be negative, got {seed}")
        self._seed = int(seed)
        self.__dict__.pop("rng", None)
        return self

    @cached_property
    def rng(self) -> numpy.random.Generator:
        """The NumPy generator behind it, made when the first number is drawn."""
        return numpy.random.default_rng(self._seed)

    def initial_seed(self) -> int:
        """The seed that the stream started from."""
        return self._seed

    def get_state(self) -> dict[str, Any]:
        """Where the stream stands, for `set_state`."""
        return dict(self.rng.bit_generator.state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `get_state` was called."""
        self.rng.bit_generator.state = state


default_generator = Generator()
"""Where random numbers come from when no generator is given."""


_instead: ContextVar[Generator | None] = ContextVar("_instead", default=None)


def manual_seed(seed: int) -> Generator:
    """Start the default generator's stream that belongs to `seed`."""
    return default_generator.manual_seed(seed)


@contextlib.contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """Within the block, and in this thread alone, `generator` takes the place of the default generator."""
    before = _instead.set(generator)
    try:
        yield
    finally:
        _instead.reset(before)


def _finish(array: Any, dtype: Any, device: str | backend.Device | None, requires_grad: bool) -> Tensor:
    array = numpy.asarray(array).astype(as_dtype(dtype), copy=False)
    tensor = wrap(array if device is None else backend.to_device(array, device))
    return tensor.requires_grad_() if requires_grad else tensor


def _rng(generator: Generator | None) -> numpy.random.Generator:
    backend.refuse_captured(
        "random numbers are drawn on the CPU",
        "draw them before a replay, and x.copy_(…) them into a tensor; or .eval() what has dropout",
    )
    return (generator or _instead.get() or default_generator).rng


def float_dtype(name: str, dtype: Any) -> numpy.dtype:
    """`dtype`, or the default one: what `name` draws fractions in.

    Raises:
        TypeError: for integers, which would all be 0 or cut.
    """
    dtype = as_dtype(dtype or get_default_dtype())
    if dtype.kind != "f":
        raise TypeError(f"{name}: needs a float dtype, got {dtype}; for integers use randint")
    return dtype


def rand(
    *lengths: Any,
    size: Sequence[int] | None = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1): the multiples of 2⁻ᵖ, with p the digits of the dtype (24 of float32, 11 of float16).

    Each is the float64 of the same seed cut to so many digits. Rounded, the largest would be 1.
    """
    dtype = float_dtype("rand", dtype)
    numbers = numpy.asarray(_rng(generator).random(shape_of(lengths, size)))
    if dtype != float64:  # whose digits NumPy draws
        grid = 2.0 ** (numpy.finfo(dtype).nmant + 1)
        numbers *= grid  # in place: the weights of a large layer fill hundreds of megabytes
        numpy.floor(numbers, out=numbers)
        numbers /= grid
    return _finish(numbers, dtype, device, requires_grad)


def randn(
    *lengths: Any,
    size: Sequence[int] | None = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers of mean 0 and variance 1."""
    dtype = float_dtype("randn", dtype)
    return _finish(_rng(generator).standard_normal(shape_of(lengths, size)), dtype, device, requires_grad)


def randint(
    low: int,
    high: int | Sequence[int] | None = None,
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = "int64",
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers low … high − 1: `randint(high, size)` or `randint(low, high, size)`."""
    if size is None:
        low, high, size = 0, low, high  # type: ignore[assignment]
    if size is None or isinstance(size, int):
        raise TypeError("randint: give the size as a tuple: randint(low, high, size)")
    if low >= high:  # type: ignore[operator]
        raise ValueError(f"randint: there is no integer from low={low} to below high={high}")
    return _finish(_rng(generator).integers(low, high, tuple(size)), dtype, device, requires_grad)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = "int64",
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers 0 … n − 1 in random order."""
    return _finish(_rng(generator).permutation(length(n, "randperm", "n")), dtype, device, requires_grad)


def coins(p: float, size: Sequence[int], *, generator: Generator | None = None) -> numpy.ndarray:
    """A bool array, each element true with probability p."""
    return _rng(generator).random(tuple(size), dtype="float32") < p


def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that x says, or with probability p, and 0 else, in the shape and dtype of x."""
    chance = backend.to_numpy(input.array) if p is None else numpy.float64(p)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError("bernoulli: probabilities must be between 0 and 1")
    return _finish(_rng(generator).random(input.shape) < chance, input.dtype, input.device, False)


def initial_seed() -> int:
    """The seed that random numbers started from."""
    return default_generator.initial_seed()


def seed() -> int:
    """Start from a seed that nobody chose; returns it."""
    return default_generator.manual_seed(numpy.random.SeedSequence().entropy).initial_seed()


def get_rng_state() -> dict[str, Any]:
    """Where random numbers stand, for `set_rng_state`."""
    return default_generator.get_state()


def set_rng_state(new_state: dict[str, Any]) -> None:
    """Go on with random numbers where `get_rng_state` was called."""
    default_generator.set_state(new_state)


def normal(
    mean: Any, std: Any = 1.0, size: Sequence[int] | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Normal numbers with these means and standard deviations.

    Args:
        mean, std: tensors of one shape, or numbers; two numbers go with a size.
        size: the shape.
        generator: where they come from; by default what `manual_seed` starts.
    """
    given = [v for v in (mean, std) if isinstance(v, Tensor)]
    if bool(given) == (size is not None):
        raise TypeError("normal: give means or deviations as a tensor, or two numbers and a size")
    arrays = [backend.to_numpy(v.array) if isinstance(v, Tensor) else v for v in (mean, std)]
    if numpy.min(arrays[1], initial=0) < 0:
        raise ValueError("normal: a standard deviation must not be negative")
    shape = tuple(size) if size is not None else numpy.broadcast_shapes(*map(numpy.shape, arrays))
    dtype = float_dtype("normal", given[0].dtype if given else None)
    numbers = arrays[0] + arrays[1] * _rng(generator).standard_normal(shape)
    return _finish(numbers, dtype, given[0].device if given else None, False)


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Positions drawn in proportion to weights.

    Args:
        input: weights, floats of 0 or more, (n,) or (m, n).
        num_samples: how many for each row.
        replacement: whether a position may be drawn again.
        generator: where the numbers come from; by default what `manual_seed` starts.

    Returns:
        int64, (num_samples,) or (m, num_samples).
    """
    weights = backend.to_numpy(input.array).astype("float64")
    if weights.ndim not in (1, 2) or input.dtype.kind != "f" or num_samples < 1:
        raise ValueError(
            f"multinomial: needs weights of floats (n,) or (m, n), and a number of samples of 1 or more, got "
            f"{input.dtype} {input.shape} and {num_samples}"
        )
    rows = weights.reshape(-1, weights.shape[-1])
    if not (numpy.isfinite(rows).all() and (rows >= 0).all() and (rows.sum(1) > 0).all()):
        raise ValueError("multinomial: the weights must be finite, 0 or more, and not all 0")
    if not replacement and (rows > 0).sum(1).min() < num_samples:
        raise ValueError(
            f"multinomial: {num_samples} positions can't be drawn from {(rows > 0).sum(1).min()} that have a weight; "
            "give replacement=True"
        )
    rng = _rng(generator)
    found = [rng.choice(len(row), num_samples, replacement, row / row.sum()) for row in rows]
    return _finish(numpy.stack(found).reshape(*weights.shape[:-1], num_samples), "int64", input.device, False)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of which as many are expected as x says, in the dtype of x."""
    if (input.array < 0).any():
        raise ValueError("poisson: what is expected must not be negative")
    return _finish(_rng(generator).poisson(backend.to_numpy(input.array)), input.dtype, input.device, False)


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, generator: Generator | None = None, dtype: Any = None
) -> Tensor:
    """Integers low … high − 1, or 0 … low − 1, of the shape, dtype and device of x."""
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, input.shape, generator=generator, dtype=dtype or input.dtype, device=input.device)


def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1), of the shape, dtype and device of x, unless others are given."""
    dtype, device = dtype or input.dtype, device or input.device
    return rand(input.shape, generator=generator, dtype=dtype, device=device, requires_grad=requires_grad)


def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers, of the shape, dtype and device of x, unless others are given."""
    dtype, device = dtype or input.dtype, device or input.device
    return randn(input.shape, generator=generator, dtype=dtype, device=device, requires_grad=requires_grad)
