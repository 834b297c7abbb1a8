"""The methods of tensors; written by `python -m tinygrad_med.engine.stubs`."""

from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tinygrad_med.backend import Device
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.random import Generator

F = TypeVar("F", bound=Callable[..., Any])

METHODS: dict[str, Any]

def method(operation: F, name: str | None = ...) -> F: ...

class Methods:
    @property
    def H(self) -> Tensor:
        """x with its dims in reverse order."""

    @property
    def T(self) -> Tensor:
        """x with its dims in reverse order."""

    def abs(self) -> Tensor:
        """z = |x|"""

    def abs_(self) -> Tensor:
        """abs in place; returns x itself."""

    def absolute(self) -> Tensor:
        """z = |x|"""

    def absolute_(self) -> Tensor:
        """absolute in place; returns x itself."""

    def acos(self) -> Tensor:
        """z = arccos x"""

    def acos_(self) -> Tensor:
        """acos in place; returns x itself."""

    def acosh(self) -> Tensor:
        """z = log(x + √(x² − 1))"""

    def acosh_(self) -> Tensor:
        """acosh in place; returns x itself."""

    def add(self, other: Any, *, alpha: Any = ...) -> Tensor:
        """input + alpha · other; the operands are broadcast."""

    def add_(self, y: Any, alpha: Any = ...) -> Tensor:
        """add in place; returns x itself."""

    def addbmm(self, batch1: Any, batch2: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """beta · input + alpha · Σ batch1 @ batch2, the products of two batches of matrices added up."""

    def addbmm_(self, batch1: Any, batch2: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """addbmm in place; returns x itself."""

    def addcdiv(self, tensor1: Any, tensor2: Any, *, value: Any = ...) -> Tensor:
        """input + value · tensor1 / tensor2, all broadcast."""

    def addcdiv_(self, tensor1: Any, tensor2: Any, *, value: Any = ...) -> Tensor:
        """addcdiv in place; returns x itself."""

    def addcmul(self, tensor1: Any, tensor2: Any, *, value: Any = ...) -> Tensor:
        """input + value · tensor1 · tensor2, all broadcast."""

    def addcmul_(self, tensor1: Any, tensor2: Any, *, value: Any = ...) -> Tensor:
        """addcmul in place; returns x itself."""

    def addmm(self, mat1: Any, mat2: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """beta · input + alpha · mat1 @ mat2 for two matrices."""

    def addmm_(self, mat1: Any, mat2: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """addmm in place; returns x itself."""

    def addmv(self, mat: Any, vec: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """beta · input + alpha · mat @ vec for a matrix and a vector."""

    def addmv_(self, mat: Any, vec: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """addmv in place; returns x itself."""

    def addr(self, vec1: Any, vec2: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """beta · input + alpha · the outer product of two vectors."""

    def addr_(self, vec1: Any, vec2: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """addr in place; returns x itself."""

    def adjoint(self) -> Tensor:
        """The transpose of the matrices in the last two dims."""

    def all(self, dim: Any = ..., keepdim: Any = ...) -> Tensor:
        """Whether every element is true, of all or along `dim`"""

    def allclose(self, y: Tensor, rtol: _float = ..., atol: _float = ..., equal_nan: _bool = ...) -> _bool:
        """Whether |x − y| ≤ atol + rtol · |y| everywhere; x and y are broadcast."""

    def amax(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """The largest element over `dim`. The gradient is shared evenly among equal ones."""

    def amin(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """The smallest element over `dim`. The gradient is shared evenly among equal ones."""

    def aminmax(self, *, dim: _int | None = ..., keepdim: _bool = ...) -> Any:
        """The smallest and the largest element over `dim`, the gradient shared evenly among equal ones."""

    def any(self, dim: Any = ..., keepdim: Any = ...) -> Tensor:
        """Whether an element is true, of all or along `dim`"""

    def arccos(self) -> Tensor:
        """z = arccos x"""

    def arccos_(self) -> Tensor:
        """arccos in place; returns x itself."""

    def arccosh(self) -> Tensor:
        """z = log(x + √(x² − 1))"""

    def arccosh_(self) -> Tensor:
        """arccosh in place; returns x itself."""

    def arcsin(self) -> Tensor:
        """z = arcsin x"""

    def arcsin_(self) -> Tensor:
        """arcsin in place; returns x itself."""

    def arcsinh(self) -> Tensor:
        """z = log(x + √(x² + 1))"""

    def arcsinh_(self) -> Tensor:
        """arcsinh in place; returns x itself."""

    def arctan(self) -> Tensor:
        """z = arctan x"""

    def arctan2(self, y: Any) -> Tensor:
        """z = the angle of the point (y, x), in (−π, π]"""

    def arctan2_(self, y: Any) -> Tensor:
        """arctan2 in place; returns x itself."""

    def arctan_(self) -> Tensor:
        """arctan in place; returns x itself."""

    def arctanh(self) -> Tensor:
        """z = log((1 + x) / (1 − x)) / 2"""

    def arctanh_(self) -> Tensor:
        """arctanh in place; returns x itself."""

    def argmax(self, dim: Any = ..., keepdim: Any = ...) -> Tensor:
        """The position of the largest element (the first of several), in the flattened x or along `dim`"""

    def argmin(self, dim: Any = ..., keepdim: Any = ...) -> Tensor:
        """The position of the smallest element (the first of several), in the flattened x or along `dim`"""

    def argsort(self, dim: _int = ..., descending: _bool = ..., stable: _bool = ...) -> Tensor:
        """The positions of the elements along `dim` in order of size; equal ones stay in their order, `stable` or not."""

    def argwhere(self) -> Tensor:
        """Where the n elements are that are not 0: (n, ndim) integers."""

    def asin(self) -> Tensor:
        """z = arcsin x"""

    def asin_(self) -> Tensor:
        """asin in place; returns x itself."""

    def asinh(self) -> Tensor:
        """z = log(x + √(x² + 1))"""

    def asinh_(self) -> Tensor:
        """asinh in place; returns x itself."""

    def atan(self) -> Tensor:
        """z = arctan x"""

    def atan2(self, y: Any) -> Tensor:
        """z = the angle of the point (y, x), in (−π, π]"""

    def atan2_(self, y: Any) -> Tensor:
        """atan2 in place; returns x itself."""

    def atan_(self) -> Tensor:
        """atan in place; returns x itself."""

    def atanh(self) -> Tensor:
        """z = log((1 + x) / (1 − x)) / 2"""

    def atanh_(self) -> Tensor:
        """atanh in place; returns x itself."""

    def backward(self, gradient: Any = ..., retain_graph: Any = ..., create_graph: _bool = ..., inputs: Any = ...) -> None:
        """Add to the `grad` of every leaf the derivative of this tensor, weighted by `gradient`."""

    def baddbmm(self, batch1: Any, batch2: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """beta · input + alpha · batch1 @ batch2 for two batches of matrices."""

    def baddbmm_(self, batch1: Any, batch2: Any, *, beta: Any = ..., alpha: Any = ...) -> Tensor:
        """baddbmm in place; returns x itself."""

    def bernoulli(self, p: _float | None = ..., *, generator: Generator | None = ...) -> Tensor:
        """1 with the probability that x says, or with probability p, and 0 else, in the shape and dtype of x."""

    def bernoulli_(self, p: Any = ..., *, generator: Generator | None = ...) -> Tensor:
        """Set every element to 1 with probability p, a number or a tensor, and to 0 else, in place; returns x itself."""

    def bincount(self, weights: Any = ..., minlength: _int = ...) -> Tensor:
        """How often each of 0, 1, 2 … occurs in a vector of integers, or the sum of the weights where it does."""

    def bitwise_and(self, y: Any) -> Tensor:
        """x & y, bit by bit, for integers and bools"""

    def bitwise_and_(self, y: Any) -> Tensor:
        """bitwise_and in place; returns x itself."""

    def bitwise_left_shift(self, y: Any) -> Tensor:
        """x · 2ʸ, the bits of integers moved up by y places"""

    def bitwise_left_shift_(self, y: Any) -> Tensor:
        """bitwise_left_shift in place; returns x itself."""

    def bitwise_not(self) -> Tensor:
        """~x, bit by bit, for integers and bools"""

    def bitwise_not_(self) -> Tensor:
        """bitwise_not in place; returns x itself."""

    def bitwise_or(self, y: Any) -> Tensor:
        """x | y, bit by bit, for integers and bools"""

    def bitwise_or_(self, y: Any) -> Tensor:
        """bitwise_or in place; returns x itself."""

    def bitwise_right_shift(self, y: Any) -> Tensor:
        """⌊x / 2ʸ⌋, the bits of integers moved down by y places"""

    def bitwise_right_shift_(self, y: Any) -> Tensor:
        """bitwise_right_shift in place; returns x itself."""

    def bitwise_xor(self, y: Any) -> Tensor:
        """x ^ y, bit by bit, for integers and bools"""

    def bitwise_xor_(self, y: Any) -> Tensor:
        """bitwise_xor in place; returns x itself."""

    def bmm(self, y: Tensor) -> Tensor:
        """The products of two batches of matrices, (N, i, j) and (N, j, k)."""

    def bool(self, memory_format: Any = ...) -> Tensor:
        """x as bool."""

    def broadcast_to(self, *size: Any) -> Tensor:
        """x broadcast to a larger shape without a copy."""

    def byte(self, memory_format: Any = ...) -> Tensor:
        """x as uint8."""

    def ceil(self) -> Tensor:
        """z = ⌈x⌉"""

    def ceil_(self) -> Tensor:
        """ceil in place; returns x itself."""

    def cholesky(self, *, upper: _bool = ...) -> Tensor:
        """The lower triangular L with L · Lᵀ = A, or the upper Lᵀ, of symmetric positive definite matrices."""

    def cholesky_inverse(self, upper: _bool = ...) -> Tensor:
        """The inverse of A, for its Cholesky factor L."""

    def cholesky_solve(self, L: Any, upper: _bool = ...) -> Tensor:
        """X with A · X = B, for the Cholesky factor L of A."""

    def chunk(self, chunks: _int, dim: _int = ...) -> tuple[Tensor, ...]:
        """x in so many parts of equal length along `dim`; the last may be smaller, or missing; of nothing all are empty."""

    def clamp(self, min: Any = ..., max: Any = ...) -> Tensor:
        """PyTorch's name for `clip`."""

    def clamp_(self, min: Any = ..., max: Any = ...) -> Tensor:
        """clamp in place; returns x itself."""

    def clamp_max(self, max: Any) -> Tensor:
        """z = x where x ≤ max, max elsewhere"""

    def clamp_max_(self, max: Any) -> Tensor:
        """clamp_max in place; returns x itself."""

    def clamp_min(self, min: Any) -> Tensor:
        """z = x where x ≥ min, min elsewhere"""

    def clamp_min_(self, min: Any) -> Tensor:
        """clamp_min in place; returns x itself."""

    def clip(self, min: Any = ..., max: Any = ...) -> Tensor:
        """x within [min, max], the bounds elsewhere; at a bound the gradient is that of x."""

    def clip_(self, min: Any = ..., max: Any = ...) -> Tensor:
        """clip in place; returns x itself."""

    def clone(self) -> Tensor:
        """z = x in memory of its own"""

    def contiguous(self, memory_format: Any = ...) -> Tensor:
        """x with its elements in memory in the order of the dims: itself, or a copy."""

    def copy_(self, other: Any) -> Tensor:
        """Set the elements to those of another tensor, broadcast and converted; returns x itself."""

    def copysign(self, other: Any) -> Tensor:
        """|x| with the sign of y, also that of −0; at x = 0 the gradient is 0."""

    def copysign_(self, other: Any) -> Tensor:
        """copysign in place; returns x itself."""

    def corrcoef(self) -> Tensor:
        """The correlations of the rows of x, whose columns are observations."""

    def cos(self) -> Tensor:
        """z = cos x"""

    def cos_(self) -> Tensor:
        """cos in place; returns x itself."""

    def cosh(self) -> Tensor:
        """z = (eˣ + e⁻ˣ) / 2"""

    def cosh_(self) -> Tensor:
        """cosh in place; returns x itself."""

    def count_nonzero(self, dim: Any = ...) -> Tensor:
        """How many elements are not 0, in all or over `dim`."""

    def cov(self, *, correction: _int = ..., fweights: Any = ..., aweights: Any = ...) -> Tensor:
        """The covariances of the rows of x, whose columns are observations."""

    def cpu(self) -> Tensor:
        """x in the memory of the CPU."""

    def cuda(self, device: _int | str | None = ..., non_blocking: _bool = ...) -> Tensor:
        """x on a GPU; `non_blocking` as in `to`."""

    def cummax(self, dim: _int) -> Any:
        """The largest element so far along `dim`, and its index, the last of several equal ones."""

    def cummin(self, dim: _int) -> Any:
        """The smallest element so far along `dim`, and its index, the last of several equal ones."""

    def cumprod(self, dim: _int, dtype: Any = ...) -> Tensor:
        """The running product along `dim`, in `dtype` if one is given; that of integers and bools in int64."""

    def cumprod_(self, dim: _int, dtype: Any = ...) -> Tensor:
        """cumprod in place; returns x itself."""

    def cumsum(self, dim: _int, dtype: Any = ...) -> Tensor:
        """The running sum along `dim`, in `dtype` if one is given; integers and bools are otherwise summed in int64."""

    def cumsum_(self, dim: _int, dtype: Any = ...) -> Tensor:
        """cumsum in place; returns x itself."""

    def deg2rad(self) -> Tensor:
        """Degrees as radians."""

    def deg2rad_(self) -> Tensor:
        """deg2rad in place; returns x itself."""

    def det(self) -> Tensor:
        """The determinant of square matrices, (…, n, n) -> (…)."""

    def diag(self, diagonal: _int = ...) -> Tensor:
        """The diagonal of a matrix, or, of a vector, the matrix that has it as its diagonal."""

    def diag_embed(self, offset: _int = ..., dim1: _int = ..., dim2: _int = ...) -> Tensor:
        """Matrices with the last dim of x as their diagonal and zeros elsewhere; the arguments are those of `diagonal`."""

    def diagflat(self, offset: _int = ...) -> Tensor:
        """The matrix that has all elements of x as its diagonal."""

    def diagonal(self, offset: _int = ..., dim1: _int = ..., dim2: _int = ...) -> Tensor:
        """The diagonals of the matrices in two dims, as the last dim; a view."""

    def diff(self, n: _int = ..., dim: _int = ..., prepend: Any = ..., append: Any = ...) -> Tensor:
        """The differences of neighbours along `dim`, n times; first with `prepend` before and `append` after x."""

    def dist(self, other: Any, p: _float = ...) -> Tensor:
        """‖x − y‖ₚ; the operands are broadcast."""

    def div(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """input / other; the operands are broadcast."""

    def div_(self, y: Any) -> Tensor:
        """div in place; returns x itself."""

    def divide(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """input / other; the operands are broadcast."""

    def divide_(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """divide in place; returns x itself."""

    def dot(self, y: Tensor) -> Tensor:
        """The inner product of two vectors."""

    def double(self, memory_format: Any = ...) -> Tensor:
        """x as float64."""

    def dsplit(self, indices_or_sections: Any) -> tuple[Any, ...]:
        """x in parts along the third dim."""

    def eq(self, y: Any) -> Tensor:
        """x = y, a bool per element"""

    def eq_(self, y: Any) -> Tensor:
        """eq in place; returns x itself."""

    def equal(self, y: Tensor) -> _bool:
        """Whether x and y have the same shape and the same elements."""

    def erf(self) -> Tensor:
        """z = 2/√π ∫₀ˣ e^−t² dt"""

    def erf_(self) -> Tensor:
        """erf in place; returns x itself."""

    def exp(self) -> Tensor:
        """z = eˣ"""

    def exp2(self) -> Tensor:
        """2ˣ"""

    def exp2_(self) -> Tensor:
        """exp2 in place; returns x itself."""

    def exp_(self) -> Tensor:
        """exp in place; returns x itself."""

    def expand(self, *shape: Any) -> Tensor:
        """x broadcast to a larger shape without a copy; −1 keeps a dim's length."""

    def expand_as(self, other: Tensor) -> Tensor:
        """x broadcast to the shape of another tensor."""

    def expm1(self) -> Tensor:
        """z = eˣ − 1, exact near x = 0"""

    def expm1_(self) -> Tensor:
        """expm1 in place; returns x itself."""

    def exponential_(self, lambd: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Draw every element anew from the density λ e^(−λ x), in place; returns x itself."""

    def fill_(self, value: Any) -> Tensor:
        """Set every element to `value`, a number or a tensor of one element, in place; returns x itself."""

    def fill_diagonal_(self, fill_value: _float) -> Tensor:
        """Set the elements whose indices are all the same to a number, in place; returns x itself."""

    def fix(self) -> Tensor:
        """z = x without its fraction, rounded towards 0"""

    def fix_(self) -> Tensor:
        """fix in place; returns x itself."""

    def flatten(self, start_dim: _int = ..., end_dim: _int = ...) -> Tensor:
        """x with the dims from `start_dim` to `end_dim` run together."""

    def flip(self, *dims: Any) -> Tensor:
        """x with the order of the elements reversed along `dims`."""

    def fliplr(self) -> Tensor:
        """x with the second dim reversed, as left and right in a matrix."""

    def flipud(self) -> Tensor:
        """x with the first dim reversed, as up and down in a matrix."""

    def float(self, memory_format: Any = ...) -> Tensor:
        """x as float32."""

    def float_power(self, exponent: Any) -> Tensor:
        """inputᵉˣᵖᵒⁿᵉⁿᵗ in float64."""

    def float_power_(self, exponent: Any) -> Tensor:
        """float_power in place; returns x itself."""

    def floor(self) -> Tensor:
        """z = ⌊x⌋"""

    def floor_(self) -> Tensor:
        """floor in place; returns x itself."""

    def floor_divide(self, other: Any) -> Tensor:
        """The largest integer not above input / other, in the operands' dtype; the derivative is 0."""

    def floor_divide_(self, y: Any) -> Tensor:
        """floor_divide in place; returns x itself."""

    def floordiv(self, y: Any) -> Tensor:
        """⌊x / y⌋; of integers by 0 a ZeroDivisionError, on a GPU 0, where looking for it would be a wait"""

    def fmax(self, other: Any) -> Tensor:
        """The larger of the two, where one is NaN the other."""

    def fmin(self, other: Any) -> Tensor:
        """The smaller of the two, where one is NaN the other."""

    def fmod(self, y: Any) -> Tensor:
        """z = x − y · trunc(x / y), with the sign of x"""

    def fmod_(self, y: Any) -> Tensor:
        """fmod in place; returns x itself."""

    def frac(self) -> Tensor:
        """The fraction, with the sign of x."""

    def frac_(self) -> Tensor:
        """frac in place; returns x itself."""

    def gather(self, dim: _int, index: Any) -> Tensor:
        """z[i, j, k] = x[i, index[i, j, k], k], for dim = 1 of three."""

    def ge(self, y: Any) -> Tensor:
        """x ≥ y, a bool per element"""

    def ge_(self, y: Any) -> Tensor:
        """ge in place; returns x itself."""

    def gelu(self, approximate: str = ...) -> Tensor:
        """x · Φ(x) with the normal distribution function Φ (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""

    def greater(self, y: Any) -> Tensor:
        """x > y, a bool per element"""

    def greater_(self, y: Any) -> Tensor:
        """greater in place; returns x itself."""

    def greater_equal(self, y: Any) -> Tensor:
        """x ≥ y, a bool per element"""

    def greater_equal_(self, y: Any) -> Tensor:
        """greater_equal in place; returns x itself."""

    def gt(self, y: Any) -> Tensor:
        """x > y, a bool per element"""

    def gt_(self, y: Any) -> Tensor:
        """gt in place; returns x itself."""

    def half(self, memory_format: Any = ...) -> Tensor:
        """x as float16."""

    def hardshrink(self, lambd: _float = ...) -> Tensor:
        """x where |x| > lambd, 0 elsewhere."""

    def heaviside(self, y: Any) -> Tensor:
        """0 where x < 0, 1 where x > 0, y where x = 0"""

    def heaviside_(self, y: Any) -> Tensor:
        """heaviside in place; returns x itself."""

    def histc(self, bins: _int = ..., min: _float = ..., max: _float = ...) -> Tensor:
        """How many elements lie in each of so many equal intervals from `min` to `max` (of x, where both are 0)."""

    def hsplit(self, indices_or_sections: Any) -> tuple[Any, ...]:
        """x in parts along the second dim, a vector along its only one."""

    def hypot(self, y: Any) -> Tensor:
        """z = √(x² + y²), without overflow"""

    def hypot_(self, y: Any) -> Tensor:
        """hypot in place; returns x itself."""

    def index_add(self, dim: _int, index: Any, source: Any, *, alpha: Any = ...) -> Tensor:
        """x with alpha · the slices of `source` added to its slices along `dim` that the index names."""

    def index_add_(self, dim: _int, index: Any, source: Any, *, alpha: Any = ...) -> Tensor:
        """index_add in place; returns x itself."""

    def index_copy(self, dim: _int, index: Any, source: Any) -> Tensor:
        """x with the slices of `source` in the place of its slices along `dim` that the index names."""

    def index_copy_(self, dim: _int, index: Any, source: Any) -> Tensor:
        """index_copy in place; returns x itself."""

    def index_fill(self, dim: _int, index: Any, value: Any) -> Tensor:
        """x with a number, or a 0-d tensor, in its slices along `dim` that the index names."""

    def index_fill_(self, dim: _int, index: Any, value: Any) -> Tensor:
        """index_fill in place; returns x itself."""

    def index_put(self, indices: Sequence[Any], values: Any, accumulate: _bool = ...) -> Tensor:
        """x with `values` at the places x[indices]; with `accumulate` added there, as often as a place is named."""

    def index_put_(self, indices: Sequence[Any], values: Any, accumulate: _bool = ...) -> Tensor:
        """index_put in place; returns x itself."""

    def index_select(self, dim: _int, index: Any) -> Tensor:
        """The slices of x along `dim` that the integers in `index` (one dim) name, in that order."""

    def inner(self, other: Any) -> Tensor:
        """Σ x · y over the last dim of both, for all pairs of their other dims; of numbers the product."""

    def int(self, memory_format: Any = ...) -> Tensor:
        """x as int32."""

    @property
    def is_cpu(self) -> Tensor:
        """Whether the numbers are in the memory of the CPU."""

    def is_nonzero(self) -> _bool:
        """Whether the only element of x is not 0."""

    def is_pinned(self) -> _bool:
        """Whether x is in memory that `pin_memory` made."""

    def is_same_size(self, other: Tensor) -> _bool:
        """Whether x has the shape of another tensor."""

    def isclose(self, y: Any, rtol: Any = ..., atol: Any = ..., equal_nan: Any = ...) -> Tensor:
        """Whether |x − y| ≤ atol + rtol · |y|, a bool per element"""

    def isfinite(self) -> Tensor:
        """Whether an element is neither infinite nor NaN"""

    def isinf(self) -> Tensor:
        """Whether an element is infinite"""

    def isnan(self) -> Tensor:
        """Whether an element is not a number"""

    def isneginf(self) -> Tensor:
        """Whether an element is −∞."""

    def isposinf(self) -> Tensor:
        """Whether an element is +∞."""

    @property
    def itemsize(self) -> Tensor:
        """Bytes per element."""

    def kron(self, other: Any) -> Tensor:
        """Kronecker's product: y times each element of x, in blocks."""

    def kthvalue(self, k: _int, dim: _int = ..., keepdim: _bool = ...) -> Any:
        """The k-th smallest element along `dim`, counted from 1, and its index."""

    def ldexp(self, other: Any) -> Tensor:
        """x · 2ʸ"""

    def ldexp_(self, other: Any) -> Tensor:
        """ldexp in place; returns x itself."""

    def le(self, y: Any) -> Tensor:
        """x ≤ y, a bool per element"""

    def le_(self, y: Any) -> Tensor:
        """le in place; returns x itself."""

    def leaky_relu(self, negative_slope: Any = ...) -> Tensor:
        """z = x where x > 0, negative_slope · x elsewhere"""

    def lerp(self, end: Any, weight: Any) -> Tensor:
        """input + weight · (end − input), all three broadcast: input for a weight of 0, end for 1."""

    def lerp_(self, end: Any, weight: Any) -> Tensor:
        """lerp in place; returns x itself."""

    def less(self, y: Any) -> Tensor:
        """x < y, a bool per element"""

    def less_(self, y: Any) -> Tensor:
        """less in place; returns x itself."""

    def less_equal(self, y: Any) -> Tensor:
        """x ≤ y, a bool per element"""

    def less_equal_(self, y: Any) -> Tensor:
        """less_equal in place; returns x itself."""

    def log(self) -> Tensor:
        """z = log x"""

    def log10(self) -> Tensor:
        """z = the logarithm of x to base 10"""

    def log10_(self) -> Tensor:
        """log10 in place; returns x itself."""

    def log1p(self) -> Tensor:
        """z = log(1 + x), exact near x = 0"""

    def log1p_(self) -> Tensor:
        """log1p in place; returns x itself."""

    def log2(self) -> Tensor:
        """The logarithm to base 2"""

    def log2_(self) -> Tensor:
        """log2 in place; returns x itself."""

    def log_(self) -> Tensor:
        """log in place; returns x itself."""

    def log_softmax(self, dim: _int, dtype: Any = ...) -> Tensor:
        """xᵢ − log Σⱼ eˣⱼ along `dim`, in `dtype` if one is given."""

    def logaddexp(self, y: Any) -> Tensor:
        """z = log(eˣ + eʸ), finite wherever the result is"""

    def logaddexp2(self, other: Any) -> Tensor:
        """log₂(2ˣ + 2ʸ), finite wherever the result is."""

    def logcumsumexp(self, dim: _int) -> Tensor:
        """log Σ eˣ of the elements so far along `dim`, finite wherever the result is."""

    def logdet(self) -> Tensor:
        """log det A, NaN where the determinant is negative."""

    def logical_and(self, y: Any) -> Tensor:
        """x ∧ y, a bool per element; a number is true unless it is 0"""

    def logical_and_(self, y: Any) -> Tensor:
        """logical_and in place; returns x itself."""

    def logical_not(self) -> Tensor:
        """¬x, a bool per element; a number is true unless it is 0"""

    def logical_not_(self) -> Tensor:
        """logical_not in place; returns x itself."""

    def logical_or(self, y: Any) -> Tensor:
        """x ∨ y, a bool per element; a number is true unless it is 0"""

    def logical_or_(self, y: Any) -> Tensor:
        """logical_or in place; returns x itself."""

    def logical_xor(self, y: Any) -> Tensor:
        """x ⊕ y, a bool per element; a number is true unless it is 0"""

    def logical_xor_(self, y: Any) -> Tensor:
        """logical_xor in place; returns x itself."""

    def logit(self, eps: _float | None = ...) -> Tensor:
        """log(x / (1 − x)), the inverse of the sigmoid; with `eps`, of x clipped to [eps, 1 − eps]."""

    def logit_(self, eps: _float | None = ...) -> Tensor:
        """logit in place; returns x itself."""

    def logsigmoid(self) -> Tensor:
        """z = log(1 / (1 + e⁻ˣ)) = min(x, 0) − log(1 + e^−|x|)"""

    def logsumexp(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """log Σ eˣ over `dim`, finite wherever the result is; −∞ over no elements."""

    def long(self, memory_format: Any = ...) -> Tensor:
        """x as int64."""

    def lt(self, y: Any) -> Tensor:
        """x < y, a bool per element"""

    def lt_(self, y: Any) -> Tensor:
        """lt in place; returns x itself."""

    @property
    def mH(self) -> Tensor:
        """x with its last two dims exchanged."""

    @property
    def mT(self) -> Tensor:
        """x with its last two dims exchanged."""

    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """x with `value`, a number or a 0-d tensor, where the mask is true; in the dtype of x, which cuts 1.5 to 1."""

    def masked_fill_(self, mask: Tensor, value: Any) -> Tensor:
        """masked_fill in place; returns x itself."""

    def masked_scatter(self, mask: Any, source: Any) -> Tensor:
        """x with the elements of `source`, in their order, where the mask is true."""

    def masked_scatter_(self, mask: Any, source: Any) -> Tensor:
        """masked_scatter in place; returns x itself."""

    def masked_select(self, mask: Any) -> Tensor:
        """The elements of x where the mask is true, in one dim; both are broadcast."""

    def matmul(self, y: Any) -> Tensor:
        """The matrix product `x @ y` in all of NumPy's shapes."""

    def matrix_power(self, n: _int) -> Tensor:
        """The product of n times the square matrices A; of the inverse for negative n, the identity for 0."""

    def max(self, dim: Any = ..., keepdim: _bool = ..., *, other: Any = ...) -> Any:
        """The largest element of x; or along `dim` the largest and its index; or, of two tensors, the larger one."""

    def maximum(self, y: Any) -> Tensor:
        """z = the larger of x and y"""

    def mean(self, dim: Any = ..., keepdim: _bool = ..., dtype: Any = ...) -> Tensor:
        """The mean over `dim`, in `dtype` if one is given; NaN over no elements."""

    def median(self, dim: _int | None = ..., keepdim: _bool = ...) -> Tensor:
        """The middle element of x, the lower one of two; or along `dim` it and its index. NaN if one is NaN."""

    def min(self, dim: Any = ..., keepdim: _bool = ..., *, other: Any = ...) -> Any:
        """The smallest element of x; the rest as for `max`."""

    def minimum(self, y: Any) -> Tensor:
        """z = the smaller of x and y"""

    def mm(self, y: Tensor) -> Tensor:
        """The product of two matrices."""

    def mode(self, dim: _int = ..., keepdim: _bool = ...) -> Any:
        """The element that occurs most often along `dim`, the smallest of several, and where it occurs last."""

    def moveaxis(self, source: _int | Sequence[_int], destination: _int | Sequence[_int]) -> Tensor:
        """x with the dims `source` moved to the places `destination`, the others in their order."""

    def movedim(self, source: _int | Sequence[_int], destination: _int | Sequence[_int]) -> Tensor:
        """x with the dims `source` moved to the places `destination`, the others in their order."""

    def msort(self) -> Tensor:
        """The elements along the first dim in order of size."""

    def mul(self, y: Any) -> Tensor:
        """z = x · y"""

    def mul_(self, y: Any) -> Tensor:
        """mul in place; returns x itself."""

    def multinomial(self, num_samples: _int, replacement: _bool = ..., *, generator: Generator | None = ...) -> Tensor:
        """Positions drawn in proportion to weights."""

    def multiply(self, y: Any) -> Tensor:
        """z = x · y"""

    def multiply_(self, y: Any) -> Tensor:
        """multiply in place; returns x itself."""

    def mv(self, vec: Any) -> Tensor:
        """The product of a matrix and a vector."""

    def nan_to_num(self, nan: _float | None = ..., posinf: _float | None = ..., neginf: _float | None = ...) -> Tensor:
        """x with numbers in the place of NaN and infinities."""

    def nan_to_num_(self, nan: _float | None = ..., posinf: _float | None = ..., neginf: _float | None = ...) -> Tensor:
        """nan_to_num in place; returns x itself."""

    def nanmean(self, dim: Any = ..., keepdim: _bool = ..., *, dtype: Any = ...) -> Tensor:
        """The mean of the elements that are not NaN over `dim`."""

    def nanmedian(self, dim: _int | None = ..., keepdim: _bool = ...) -> Tensor:
        """The middle one of the elements that are not NaN; the rest as for `median`."""

    def nanquantile(self, q: Any, dim: _int | None = ..., keepdim: _bool = ..., *, interpolation: str = ...) -> Tensor:
        """As `quantile`, of the elements that are not NaN."""

    def nansum(self, dim: Any = ..., keepdim: _bool = ..., *, dtype: Any = ...) -> Tensor:
        """Σ of the elements that are not NaN over `dim`."""

    def narrow(self, dim: _int, start: Any, length: _int) -> Tensor:
        """`length` elements of x along `dim`, from `start` on (counted from the end if negative); a view."""

    def narrow_copy(self, dim: _int, start: _int, length: _int) -> Tensor:
        """As `narrow`, in memory of its own."""

    @property
    def nbytes(self) -> Tensor:
        """The bytes of all elements."""

    def ndimension(self) -> _int:
        """The number of dims."""

    def ne(self, y: Any) -> Tensor:
        """x ≠ y, a bool per element"""

    def ne_(self, y: Any) -> Tensor:
        """ne in place; returns x itself."""

    def neg(self) -> Tensor:
        """z = −x"""

    def neg_(self) -> Tensor:
        """neg in place; returns x itself."""

    def negative(self) -> Tensor:
        """z = −x"""

    def negative_(self) -> Tensor:
        """negative in place; returns x itself."""

    def nelement(self) -> _int:
        """The number of elements."""

    def new_empty(self, *lengths: Any, size: Sequence[_int] | None = ..., dtype: Any = ..., device: Any = ..., requires_grad: _bool = ...) -> Tensor:
        """Memory as it happens to be, of the dtype and device of x, unless others are given."""

    def new_full(self, size: Any, fill_value: Any, *, dtype: Any = ..., device: Any = ..., requires_grad: _bool = ...) -> Tensor:
        """One value everywhere, of the dtype and device of x, unless others are given."""

    def new_ones(self, *lengths: Any, size: Sequence[_int] | None = ..., dtype: Any = ..., device: Any = ..., requires_grad: _bool = ...) -> Tensor:
        """Ones, of the dtype and device of x, unless others are given."""

    def new_tensor(self, data: Any, *, dtype: Any = ..., device: Any = ..., requires_grad: _bool = ...) -> Tensor:
        """A new leaf with a copy of `data`, of the dtype and device of x, unless others are given."""

    def new_zeros(self, *lengths: Any, size: Sequence[_int] | None = ..., dtype: Any = ..., device: Any = ..., requires_grad: _bool = ...) -> Tensor:
        """Zeros, of the dtype and device of x, unless others are given."""

    def nonzero(self, *, as_tuple: _bool = ...) -> Any:
        """Where the n elements are that are not 0: (n, ndim) integers, or `as_tuple`, as a key, one (n,) for each dim."""

    def norm(self, p: _float | str | None = ..., dim: Any = ..., keepdim: _bool = ..., dtype: Any = ...) -> Tensor:
        """(Σ |x|ᵖ)^(1/p) over `dim`; the largest |x| for p = ∞, the smallest for −∞, how many x ≠ 0 for p = 0."""

    def normal_(self, mean: _float = ..., std: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Draw every element anew from a normal distribution, in place; returns x itself."""

    def not_equal(self, y: Any) -> Tensor:
        """x ≠ y, a bool per element"""

    def not_equal_(self, y: Any) -> Tensor:
        """not_equal in place; returns x itself."""

    def outer(self, y: Tensor) -> Tensor:
        """The outer product of two vectors, (n,) and (m,) -> (n, m)."""

    def permute(self, *dims: Any) -> Tensor:
        """x with its dims in another order, a view."""

    def pin_memory(self) -> Tensor:
        """x in page-locked memory of the CPU, from which `to("cuda", non_blocking=True)` copies while the GPU computes."""

    def positive(self) -> Tensor:
        """+x: x itself."""

    def pow(self, y: Any) -> Tensor:
        """z = xʸ"""

    def pow_(self, y: Any) -> Tensor:
        """pow in place; returns x itself."""

    def prelu(self, weight: Any) -> Tensor:
        """x where x > 0, weight · x elsewhere (He et al. 2015, arXiv:1502.01852)."""

    def prod(self, dim: _int | None = ..., keepdim: _bool = ..., dtype: Any = ...) -> Tensor:
        """The product of all elements or of those along `dim`, in `dtype` if one is given; that of integers in int64."""

    def qr(self, mode: str = ...) -> Any:
        """Q with orthonormal columns and R upper triangular, A = Q · R."""

    def quantile(self, q: Any, dim: _int | None = ..., keepdim: _bool = ..., *, interpolation: str = ...) -> Tensor:
        """The number below which a share q of the elements lie."""

    def rad2deg(self) -> Tensor:
        """Radians as degrees."""

    def rad2deg_(self) -> Tensor:
        """rad2deg in place; returns x itself."""

    def random_(self, from_: _int | None = ..., to: _int | None = ..., *, generator: Generator | None = ...) -> Tensor:
        """Draw every element anew, an integer 0 … to − 1 or from … to − 1, in place; returns x itself."""

    def ravel(self) -> Tensor:
        """All elements in one dim."""

    def reciprocal(self) -> Tensor:
        """1 / x"""

    def reciprocal_(self) -> Tensor:
        """reciprocal in place; returns x itself."""

    def relu(self) -> Tensor:
        """z = max(x, 0)"""

    def relu_(self) -> Tensor:
        """relu in place; returns x itself."""

    def remainder(self, y: Any) -> Tensor:
        """z = x − y ⌊x / y⌋, with the sign of y"""

    def remainder_(self, y: Any) -> Tensor:
        """remainder in place; returns x itself."""

    def repeat(self, *repeats: Any) -> Tensor:
        """x so many times along each dim, as tiles."""

    def repeat_interleave(self, repeats: Any, dim: _int | None = ..., *, output_size: _int | None = ...) -> Tensor:
        """x with each slice along `dim` so many times in a row."""

    def reshape(self, *shape: Any) -> Tensor:
        """x in another shape; one length may be −1 and follows from the others."""

    def reshape_as(self, other: Any) -> Tensor:
        """x in the shape of another tensor."""

    def roll(self, shifts: _int | Sequence[_int], dims: _int | Sequence[_int] | None = ...) -> Tensor:
        """x with each element moved on by `shifts` along `dims`, and those beyond the end at the start."""

    def rot90(self, k: _int = ..., dims: Sequence[_int] = ...) -> Tensor:
        """x turned by k quarters of a circle in the plane of two dims, from the first to the second."""

    def round(self, decimals: Any = ...) -> Tensor:
        """z = the nearest number with so many decimals, the even one of two"""

    def round_(self, decimals: Any = ...) -> Tensor:
        """round in place; returns x itself."""

    def rsqrt(self) -> Tensor:
        """1 / √x"""

    def rsqrt_(self) -> Tensor:
        """rsqrt in place; returns x itself."""

    def scatter(self, dim: _int, index: Any, src: Any = ..., *, value: Any = ..., reduce: str | None = ...) -> Tensor:
        """z with z[i, index[i, j, k], k] = src[i, j, k], for dim = 1 of three; x elsewhere."""

    def scatter_(self, dim: _int, index: Any, src: Any = ..., *, value: Any = ..., reduce: str | None = ...) -> Tensor:
        """scatter in place; returns x itself."""

    def scatter_add(self, dim: _int, index: Any, src: Any) -> Tensor:
        """z with src[i, j, k] added at z[i, index[i, j, k], k], for dim = 1 of three; arguments as for scatter."""

    def scatter_add_(self, dim: _int, index: Any, src: Any) -> Tensor:
        """scatter_add in place; returns x itself."""

    def scatter_reduce(self, dim: _int, index: Any, src: Any, reduce: str, *, include_self: _bool = ...) -> Tensor:
        """z[i, index[i, j, k], k] made of all src[i, j, k] that go there, for dim = 1 of three; x elsewhere."""

    def scatter_reduce_(self, dim: _int, index: Any, src: Any, reduce: str, *, include_self: _bool = ...) -> Tensor:
        """scatter_reduce in place; returns x itself."""

    def select(self, dim: _int, index: _int) -> Tensor:
        """The slice of x at one position of `dim`, without that dim; a view."""

    def sgn(self) -> Tensor:
        """z = −1, 0 or 1 as x is negative, zero or positive; NaN for NaN, where PyTorch gives 0"""

    def sgn_(self) -> Tensor:
        """sgn in place; returns x itself."""

    def short(self, memory_format: Any = ...) -> Tensor:
        """x as int16."""

    def sigmoid(self) -> Tensor:
        """z = 1 / (1 + e⁻ˣ), computed from e^−|x| so that nothing overflows"""

    def sigmoid_(self) -> Tensor:
        """sigmoid in place; returns x itself."""

    def sign(self) -> Tensor:
        """z = −1, 0 or 1 as x is negative, zero or positive; NaN for NaN, where PyTorch gives 0"""

    def sign_(self) -> Tensor:
        """sign in place; returns x itself."""

    def signbit(self) -> Tensor:
        """Whether the sign is a minus, also that of −0"""

    def sin(self) -> Tensor:
        """z = sin x"""

    def sin_(self) -> Tensor:
        """sin in place; returns x itself."""

    def sinc(self) -> Tensor:
        """sin(πx) / πx, and 1 at x = 0."""

    def sinc_(self) -> Tensor:
        """sinc in place; returns x itself."""

    def sinh(self) -> Tensor:
        """z = (eˣ − e⁻ˣ) / 2"""

    def sinh_(self) -> Tensor:
        """sinh in place; returns x itself."""

    def slogdet(self) -> Any:
        """The sign of the determinant, and the logarithm of its size, which does not overflow; (…, n, n) -> (…), (…)."""

    def softmax(self, dim: _int, dtype: Any = ...) -> Tensor:
        """eˣᵢ / Σⱼ eˣⱼ along `dim`, in `dtype` if one is given."""

    def softplus(self, beta: Any = ..., threshold: Any = ...) -> Tensor:
        """z = log(1 + e^βx) / β; x itself where βx > threshold"""

    def sort(self, dim: _int = ..., descending: _bool = ..., stable: _bool = ...) -> Any:
        """The elements along `dim` in order of size, and where they were; equal ones stay in order, `stable` or not."""

    def split(self, split_size_or_sections: _int | Sequence[_int], dim: _int = ...) -> tuple[Tensor, ...]:
        """A tensor in parts of so many elements along `dim` (the last may be smaller), or in parts of the given lengths."""

    def split_with_sizes(self, split_sizes: Sequence[_int], dim: _int = ...) -> tuple[Any, ...]:
        """x in parts of the given lengths along `dim`."""

    def sqrt(self) -> Tensor:
        """z = √x"""

    def sqrt_(self) -> Tensor:
        """sqrt in place; returns x itself."""

    def square(self) -> Tensor:
        """x²"""

    def square_(self) -> Tensor:
        """square in place; returns x itself."""

    def squeeze(self, dim: Any = ...) -> Tensor:
        """x without its dims of length 1, or without those among `dim` (an int or several)."""

    def std(self, dim: Any = ..., unbiased: _bool | None = ..., keepdim: _bool = ..., *, correction: _float | None = ...) -> Tensor:
        """The square root of `var`, of the same arguments; where that is 0 its gradient is 0."""

    def stride(self, dim: _int | None = ...) -> Any:
        """How many elements further the next one of each dim lies in memory, or of one dim."""

    def sub(self, other: Any, *, alpha: Any = ...) -> Tensor:
        """input − alpha · other; the operands are broadcast."""

    def sub_(self, y: Any, alpha: Any = ...) -> Tensor:
        """sub in place; returns x itself."""

    def subtract(self, other: Any, *, alpha: Any = ...) -> Tensor:
        """input − alpha · other; the operands are broadcast."""

    def subtract_(self, other: Any, *, alpha: Any = ...) -> Tensor:
        """subtract in place; returns x itself."""

    def sum(self, dim: Any = ..., keepdim: _bool = ..., dtype: Any = ...) -> Tensor:
        """Σ x over `dim`, in `dtype` if one is given; integers and bools are otherwise summed in int64."""

    def swapaxes(self, axis0: _int, axis1: _int) -> Tensor:
        """NumPy's name for `transpose(dim0, dim1)`."""

    def swapdims(self, dim0: _int, dim1: _int) -> Tensor:
        """Another name for `transpose`."""

    def t(self) -> Tensor:
        """The transpose of a matrix; a vector stays as it is."""

    def take(self, index: Any) -> Tensor:
        """The elements of the flattened x at the places of `index`, in its shape."""

    def take_along_dim(self, indices: Any, dim: _int | None = ...) -> Tensor:
        """The elements of x at `indices` along `dim`, the other dims broadcast; of the flattened x without a `dim`."""

    def tan(self) -> Tensor:
        """z = tan x"""

    def tan_(self) -> Tensor:
        """tan in place; returns x itself."""

    def tanh(self) -> Tensor:
        """z = tanh x"""

    def tanh_(self) -> Tensor:
        """tanh in place; returns x itself."""

    def tensor_split(self, indices_or_sections: Any, dim: _int = ...) -> tuple[Any, ...]:
        """x in so many parts along `dim`, the first ones longer by one where they can't be equal; or cut at positions."""

    def tile(self, *dims: Any) -> Tensor:
        """x so many times along each dim; as `repeat`, but counts for missing dims are 1."""

    def to(self, *targets: Any, dtype: Any = ..., device: str | Device | None = ..., non_blocking: _bool = ..., copy: _bool = ..., memory_format: Any = ...) -> Tensor:
        """x in another dtype, on another device, or like another tensor; x itself where nothing changes."""

    def topk(self, k: _int, dim: _int = ..., largest: _bool = ..., sorted: _bool = ...) -> Any:
        """The k largest (or smallest) elements along `dim` in order of size, `sorted` or not, and where they were."""

    def trace(self) -> Tensor:
        """The sum of a matrix's diagonal."""

    def transpose(self, dim0: _int, dim1: _int) -> Tensor:
        """x with two dims exchanged, a view."""

    def tril(self, diagonal: _int = ...) -> Tensor:
        """The lower triangle of matrices, zeros above the diagonal."""

    def tril_(self, diagonal: _int = ...) -> Tensor:
        """tril in place; returns x itself."""

    def triu(self, diagonal: _int = ...) -> Tensor:
        """The upper triangle of matrices, zeros below the diagonal."""

    def triu_(self, diagonal: _int = ...) -> Tensor:
        """triu in place; returns x itself."""

    def true_divide(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """input / other; the operands are broadcast."""

    def true_divide_(self, other: Any, *, rounding_mode: str | None = ...) -> Tensor:
        """true_divide in place; returns x itself."""

    def trunc(self) -> Tensor:
        """z = x without its fraction, rounded towards 0"""

    def trunc_(self) -> Tensor:
        """trunc in place; returns x itself."""

    def type(self, dtype: Any = ..., non_blocking: _bool = ...) -> Any:
        """x in another dtype, also by an older name, as `"torch.FloatTensor"`; without one, that name of its own dtype."""

    def type_as(self, other: Tensor) -> Tensor:
        """x in the dtype of another tensor."""

    def unbind(self, dim: _int = ...) -> tuple[Tensor, ...]:
        """The slices of x along `dim`, without that dim."""

    def unflatten(self, dim: _int, sizes: Sequence[_int]) -> Tensor:
        """x with `dim` made several dims of lengths `sizes`, of which one may be −1."""

    def unfold(self, dimension: _int, size: _int, step: _int) -> Tensor:
        """`Tensor.unfold`: all windows of `size` elements along a dim, `step` apart, their elements as the last dim."""

    def uniform_(self, a: _float = ..., b: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Draw every element anew, uniform in [a, b), in place; returns x itself."""

    def unique(self, sorted: _bool = ..., return_inverse: _bool = ..., return_counts: _bool = ..., dim: _int | None = ...) -> Any:
        """The different elements of x in order of size, (m,), whether `sorted` or not."""

    def unsqueeze(self, dim: _int) -> Tensor:
        """x with a new dim of length 1 before `dim`."""

    def var(self, dim: Any = ..., unbiased: _bool | None = ..., keepdim: _bool = ..., *, correction: _float | None = ...) -> Tensor:
        """Σ (x − mean)² / (n − correction) over `dim`."""

    def vdot(self, other: Any) -> Tensor:
        """The inner product of two vectors."""

    def view(self, *shape: Any) -> Tensor:
        """As `reshape`: a view where the memory allows it, else a copy, where PyTorch would refuse."""

    def view_as(self, other: Tensor) -> Tensor:
        """x in the shape of another tensor."""

    def vsplit(self, indices_or_sections: Any) -> tuple[Any, ...]:
        """x in parts along the first dim."""

    def where(self, condition: Any, y: Any) -> Tensor:
        """x where the condition holds, y elsewhere."""

    def xlogy(self, other: Any) -> Tensor:
        """input · log other, and 0 where input is 0, unless other is NaN."""

    def xlogy_(self, other: Any) -> Tensor:
        """xlogy in place; returns x itself."""

    def zero_(self) -> Tensor:
        """Set every element to 0 in place; returns x itself."""

    def __abs__(self) -> Tensor:
        """z = |x|"""

    def __add__(self, y: Any) -> Tensor:
        """z = x + y"""

    def __and__(self, y: Any) -> Tensor:
        """x & y, bit by bit, for integers and bools"""

    def __eq__(self, y: Any) -> Tensor:  # type: ignore[override]
        """x = y, a bool per element"""

    def __floordiv__(self, y: Any) -> Tensor:
        """⌊x / y⌋; of integers by 0 a ZeroDivisionError, on a GPU 0, where looking for it would be a wait"""

    def __ge__(self, y: Any) -> Tensor:
        """x ≥ y, a bool per element"""

    def __getitem__(self, key: Any) -> Tensor:
        """`x[key]`."""

    def __gt__(self, y: Any) -> Tensor:
        """x > y, a bool per element"""

    def __iadd__(self, y: Any) -> Tensor:
        ...

    def __iand__(self, y: Any) -> Tensor:
        """bitwise_and in place; returns x itself."""

    def __ifloordiv__(self, y: Any) -> Tensor:
        """floor_divide in place; returns x itself."""

    def __imod__(self, y: Any) -> Tensor:
        """remainder in place; returns x itself."""

    def __imul__(self, y: Any) -> Tensor:
        """mul in place; returns x itself."""

    def __invert__(self) -> Tensor:
        """~x, bit by bit, for integers and bools"""

    def __ior__(self, y: Any) -> Tensor:
        """bitwise_or in place; returns x itself."""

    def __ipow__(self, y: Any) -> Tensor:
        """pow in place; returns x itself."""

    def __isub__(self, y: Any) -> Tensor:
        ...

    def __itruediv__(self, y: Any) -> Tensor:
        """div in place; returns x itself."""

    def __ixor__(self, y: Any) -> Tensor:
        """bitwise_xor in place; returns x itself."""

    def __le__(self, y: Any) -> Tensor:
        """x ≤ y, a bool per element"""

    def __lshift__(self, y: Any) -> Tensor:
        """x · 2ʸ, the bits of integers moved up by y places"""

    def __lt__(self, y: Any) -> Tensor:
        """x < y, a bool per element"""

    def __matmul__(self, y: Any) -> Tensor:
        """The matrix product `x @ y` in all of NumPy's shapes."""

    def __mod__(self, y: Any) -> Tensor:
        """z = x − y ⌊x / y⌋, with the sign of y"""

    def __mul__(self, y: Any) -> Tensor:
        """z = x · y"""

    def __ne__(self, y: Any) -> Tensor:  # type: ignore[override]
        """x ≠ y, a bool per element"""

    def __neg__(self) -> Tensor:
        """z = −x"""

    def __or__(self, y: Any) -> Tensor:
        """x | y, bit by bit, for integers and bools"""

    def __pow__(self, y: Any) -> Tensor:
        """z = xʸ"""

    def __radd__(self, y: Any) -> Tensor:
        """z = x + y"""

    def __rand__(self, y: Any) -> Tensor:
        """x & y, bit by bit, for integers and bools"""

    def __rfloordiv__(self, y: Any) -> Tensor:
        """⌊x / y⌋; of integers by 0 a ZeroDivisionError, on a GPU 0, where looking for it would be a wait"""

    def __rlshift__(self, y: Any) -> Tensor:
        """x · 2ʸ, the bits of integers moved up by y places"""

    def __rmatmul__(self, y: Any) -> Tensor:
        ...

    def __rmod__(self, y: Any) -> Tensor:
        """z = x − y ⌊x / y⌋, with the sign of y"""

    def __rmul__(self, y: Any) -> Tensor:
        """z = x · y"""

    def __ror__(self, y: Any) -> Tensor:
        """x | y, bit by bit, for integers and bools"""

    def __rpow__(self, y: Any) -> Tensor:
        """z = xʸ"""

    def __rrshift__(self, y: Any) -> Tensor:
        """⌊x / 2ʸ⌋, the bits of integers moved down by y places"""

    def __rshift__(self, y: Any) -> Tensor:
        """⌊x / 2ʸ⌋, the bits of integers moved down by y places"""

    def __rsub__(self, y: Any) -> Tensor:
        """z = x − y"""

    def __rtruediv__(self, y: Any) -> Tensor:
        """z = x / y"""

    def __rxor__(self, y: Any) -> Tensor:
        """x ^ y, bit by bit, for integers and bools"""

    def __setitem__(self, key: Any, value: Any) -> None:
        """`x[key] = value`."""

    def __sub__(self, y: Any) -> Tensor:
        """z = x − y"""

    def __truediv__(self, y: Any) -> Tensor:
        """z = x / y"""

    def __xor__(self, y: Any) -> Tensor:
        """x ^ y, bit by bit, for integers and bools"""
