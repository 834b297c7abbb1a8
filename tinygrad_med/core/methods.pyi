"""The methods of tensors; written by `python -m tinygrad_med.engine.stubs`."""

from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tinygrad_med.backend import Device
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.random import Generator

F = TypeVar("F", bound=Callable[..., Any])

METHODS: dict[str, Any]

def method(operation: F) -> F: ...

class Methods:
    @property
    def T(self) -> Tensor:
        """x with its dims in reverse order."""

    def abs(self) -> Tensor:
        """z = |x|"""

    def add(self, y: Any) -> Tensor:
        """z = x + y"""

    def add_(self, y: Any, alpha: Any = ...) -> Tensor:
        """add in place, outside the graph; returns x itself."""

    def all(self, dim: Any = ..., keepdim: Any = ...) -> Tensor:
        """Whether every element is true, of all or along `dim`"""

    def allclose(self, y: Tensor, rtol: _float = ..., atol: _float = ..., equal_nan: _bool = ...) -> _bool:
        """Whether |x − y| ≤ atol + rtol · |y| everywhere; x and y are broadcast."""

    def amax(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """The largest element over `dim`. The gradient is shared evenly among equal ones."""

    def amin(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """The smallest element over `dim`. The gradient is shared evenly among equal ones."""

    def any(self, dim: Any = ..., keepdim: Any = ...) -> Tensor:
        """Whether an element is true, of all or along `dim`"""

    def argmax(self, dim: Any = ..., keepdim: Any = ...) -> Tensor:
        """The position of the largest element (the first of several), in the flattened x or along `dim`"""

    def argmin(self, dim: Any = ..., keepdim: Any = ...) -> Tensor:
        """The position of the smallest element (the first of several), in the flattened x or along `dim`"""

    def argsort(self, dim: Any = ..., descending: Any = ...) -> Tensor:
        """The positions of the elements along `dim` in order of size; equal ones stay in their order"""

    def backward(self, gradient: Any = ..., retain_graph: _bool | None = ..., create_graph: _bool = ..., inputs: Sequence[Tensor] | None = ...) -> None:
        """Add to the `grad` of every leaf the derivative of this tensor, weighted by `gradient`."""

    def bitwise_and(self, y: Any) -> Tensor:
        """x & y, bit by bit, for integers and bools"""

    def bitwise_and_(self, y: Any) -> Tensor:
        """bitwise_and in place, outside the graph; returns x itself."""

    def bitwise_not(self) -> Tensor:
        """~x, bit by bit, for integers and bools"""

    def bitwise_or(self, y: Any) -> Tensor:
        """x | y, bit by bit, for integers and bools"""

    def bitwise_or_(self, y: Any) -> Tensor:
        """bitwise_or in place, outside the graph; returns x itself."""

    def bitwise_xor(self, y: Any) -> Tensor:
        """x ^ y, bit by bit, for integers and bools"""

    def bitwise_xor_(self, y: Any) -> Tensor:
        """bitwise_xor in place, outside the graph; returns x itself."""

    def bmm(self, y: Tensor) -> Tensor:
        """The products of two batches of matrices, (N, i, j) and (N, j, k)."""

    def bool(self) -> Tensor:
        """x as bool."""

    def byte(self) -> Tensor:
        """x as uint8."""

    def ceil(self) -> Tensor:
        """z = ⌈x⌉"""

    def chunk(self, chunks: _int, dim: _int = ...) -> tuple[Tensor, ...]:
        """x in so many parts of equal length along `dim`; the last may be smaller, or missing."""

    def clamp(self, min: Any = ..., max: Any = ...) -> Tensor:
        """PyTorch's name for `clip`."""

    def clamp_(self, min: Any = ..., max: Any = ...) -> Tensor:
        """Clip in place, outside the graph; returns x itself."""

    def clamp_max(self, max: Any) -> Tensor:
        """z = x where x ≤ max, max elsewhere"""

    def clamp_min(self, min: Any) -> Tensor:
        """z = x where x ≥ min, min elsewhere"""

    def clip(self, min: Any = ..., max: Any = ...) -> Tensor:
        """x within [min, max], the bounds elsewhere; at a bound the gradient is that of x."""

    def clone(self) -> Tensor:
        """z = x in memory of its own"""

    def contiguous(self) -> Tensor:
        """x with its elements in memory in the order of the dims: itself, or a copy."""

    def copy_(self, other: Any) -> Tensor:
        """Set the elements to those of another tensor, broadcast and converted; returns x itself."""

    def cos(self) -> Tensor:
        """z = cos x"""

    def cpu(self) -> Tensor:
        """x in the memory of the CPU."""

    def cuda(self, device: _int | str | None = ..., non_blocking: _bool = ...) -> Tensor:
        """x on a GPU."""

    def cumsum(self, dim: _int, dtype: Any = ...) -> Tensor:
        """The running sum along `dim`, in `dtype` if one is given; integers and bools are otherwise summed in int64."""

    def div(self, y: Any) -> Tensor:
        """z = x / y"""

    def div_(self, y: Any) -> Tensor:
        """true_divide in place, outside the graph; returns x itself."""

    def dot(self, y: Tensor) -> Tensor:
        """The inner product of two vectors."""

    def double(self) -> Tensor:
        """x as float64."""

    def eq(self, y: Any) -> Tensor:
        """x = y, a bool per element"""

    def equal(self, y: Tensor) -> _bool:
        """Whether x and y have the same shape and the same elements."""

    def erf(self) -> Tensor:
        """z = 2/√π ∫₀ˣ e^−t² dt"""

    def exp(self) -> Tensor:
        """z = eˣ"""

    def expand(self, *shape: Any) -> Tensor:
        """x broadcast to a larger shape without a copy; −1 keeps a dim's length."""

    def expand_as(self, other: Tensor) -> Tensor:
        """x broadcast to the shape of another tensor."""

    def expm1(self) -> Tensor:
        """z = eˣ − 1, exact near x = 0"""

    def fill_(self, value: Any) -> Tensor:
        """Set every element to `value` in place, outside the graph; returns x itself."""

    def flatten(self, start_dim: _int = ..., end_dim: _int = ...) -> Tensor:
        """x with the dims from `start_dim` to `end_dim` run together."""

    def flip(self, *dims: Any) -> Tensor:
        """x with the order of the elements reversed along `dims`."""

    def float(self) -> Tensor:
        """x as float32."""

    def floor(self) -> Tensor:
        """z = ⌊x⌋"""

    def floor_divide_(self, y: Any) -> Tensor:
        """floor_divide in place, outside the graph; returns x itself."""

    def floordiv(self, y: Any) -> Tensor:
        """⌊x / y⌋"""

    def gather(self, dim: _int, index: Any) -> Tensor:
        """z[i, j, k] = x[i, index[i, j, k], k], for dim = 1 of three."""

    def ge(self, y: Any) -> Tensor:
        """x ≥ y, a bool per element"""

    def gelu(self, approximate: str = ...) -> Tensor:
        """x · Φ(x) with the normal distribution function Φ (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""

    def gt(self, y: Any) -> Tensor:
        """x > y, a bool per element"""

    def half(self) -> Tensor:
        """x as float16."""

    def index_select(self, dim: _int, index: Any) -> Tensor:
        """The slices of x along `dim` that the integers in `index` (one dim) name, in that order."""

    def int(self) -> Tensor:
        """x as int32."""

    def isfinite(self) -> Tensor:
        """Whether an element is neither infinite nor NaN"""

    def isinf(self) -> Tensor:
        """Whether an element is infinite"""

    def isnan(self) -> Tensor:
        """Whether an element is not a number"""

    def le(self, y: Any) -> Tensor:
        """x ≤ y, a bool per element"""

    def leaky_relu(self, negative_slope: Any = ...) -> Tensor:
        """z = x where x > 0, negative_slope · x elsewhere"""

    def log(self) -> Tensor:
        """z = log x"""

    def log1p(self) -> Tensor:
        """z = log(1 + x), exact near x = 0"""

    def log2(self) -> Tensor:
        """The logarithm to base 2"""

    def log_softmax(self, dim: _int, dtype: Any = ...) -> Tensor:
        """xᵢ − log Σⱼ eˣⱼ along `dim`, in `dtype` if one is given."""

    def logical_and(self, y: Any) -> Tensor:
        """x ∧ y, a bool per element; a number is true unless it is 0"""

    def logical_not(self) -> Tensor:
        """¬x, a bool per element; a number is true unless it is 0"""

    def logical_or(self, y: Any) -> Tensor:
        """x ∨ y, a bool per element; a number is true unless it is 0"""

    def logical_xor(self, y: Any) -> Tensor:
        """x ⊕ y, a bool per element; a number is true unless it is 0"""

    def logsigmoid(self) -> Tensor:
        """z = log(1 / (1 + e⁻ˣ)) = min(x, 0) − log(1 + e^−|x|)"""

    def logsumexp(self, dim: Any = ..., keepdim: _bool = ...) -> Tensor:
        """log Σ eˣ over `dim`, finite wherever the result is; −∞ over no elements."""

    def long(self) -> Tensor:
        """x as int64."""

    def lt(self, y: Any) -> Tensor:
        """x < y, a bool per element"""

    @property
    def mT(self) -> Tensor:
        """x with its last two dims exchanged."""

    def masked_fill(self, mask: Tensor, value: _float) -> Tensor:
        """x with `value` where the mask is true."""

    def masked_fill_(self, mask: Tensor, value: Any) -> Tensor:
        """Set the elements under the mask to `value` in place, outside the graph; returns x itself."""

    def matmul(self, y: Any) -> Tensor:
        """The matrix product `x @ y` in all of NumPy's shapes."""

    def max(self, dim: Any = ..., keepdim: _bool = ...) -> Any:
        """The largest element of x; or along `dim` the largest and its index; or, of two tensors, the larger one."""

    def maximum(self, y: Any) -> Tensor:
        """z = the larger of x and y"""

    def mean(self, dim: Any = ..., keepdim: _bool = ..., dtype: Any = ...) -> Tensor:
        """The mean over `dim`, in `dtype` if one is given; NaN over no elements."""

    def min(self, dim: Any = ..., keepdim: _bool = ...) -> Any:
        """The smallest element of x; the rest as for `max`."""

    def minimum(self, y: Any) -> Tensor:
        """z = the smaller of x and y"""

    def mm(self, y: Tensor) -> Tensor:
        """The product of two matrices."""

    def mul(self, y: Any) -> Tensor:
        """z = x · y"""

    def mul_(self, y: Any) -> Tensor:
        """multiply in place, outside the graph; returns x itself."""

    def narrow(self, dim: _int, start: _int, length: _int) -> Tensor:
        """`length` elements of x along `dim`, from `start` on (counted from the end if negative); a view."""

    def ne(self, y: Any) -> Tensor:
        """x ≠ y, a bool per element"""

    def neg(self) -> Tensor:
        """z = −x"""

    def nonzero(self, as_tuple: _bool = ...) -> Any:
        """Where the n elements are that are not 0: (n, ndim) integers, or `as_tuple`, as a key, one (n,) for each dim."""

    def norm(self, p: _float | str = ..., dim: Any = ..., keepdim: _bool = ..., dtype: Any = ...) -> Tensor:
        """(Σ |x|ᵖ)^(1/p) over `dim`; the largest |x| for p = ∞, the smallest for −∞, how many x ≠ 0 for p = 0."""

    def normal_(self, mean: _float = ..., std: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Draw every element anew from a normal distribution, outside the graph; returns x itself."""

    def outer(self, y: Tensor) -> Tensor:
        """The outer product of two vectors, (n,) and (m,) -> (n, m)."""

    def permute(self, *dims: Any) -> Tensor:
        """x with its dims in another order, a view."""

    def pow(self, y: Any) -> Tensor:
        """z = xʸ"""

    def pow_(self, y: Any) -> Tensor:
        """power in place, outside the graph; returns x itself."""

    def prod(self, dim: _int | None = ..., keepdim: _bool = ..., dtype: Any = ...) -> Tensor:
        """The product of all elements or of those along `dim`, in `dtype` if one is given; that of integers in int64."""

    def reciprocal(self) -> Tensor:
        """1 / x"""

    def relu(self) -> Tensor:
        """z = max(x, 0)"""

    def remainder(self, y: Any) -> Tensor:
        """z = x − y ⌊x / y⌋, with the sign of y"""

    def remainder_(self, y: Any) -> Tensor:
        """remainder in place, outside the graph; returns x itself."""

    def repeat(self, *repeats: Any) -> Tensor:
        """x so many times along each dim, as tiles."""

    def reshape(self, *shape: Any) -> Tensor:
        """x in another shape; one length may be −1 and follows from the others."""

    def round(self, decimals: Any = ...) -> Tensor:
        """z = the nearest number with so many decimals, the even one of two"""

    def rsqrt(self) -> Tensor:
        """1 / √x"""

    def sigmoid(self) -> Tensor:
        """z = 1 / (1 + e⁻ˣ), computed from e^−|x| so that nothing overflows"""

    def sign(self) -> Tensor:
        """z = −1, 0 or 1 as x is negative, zero or positive; NaN for NaN, where PyTorch gives 0"""

    def sin(self) -> Tensor:
        """z = sin x"""

    def softmax(self, dim: _int, dtype: Any = ...) -> Tensor:
        """eˣᵢ / Σⱼ eˣⱼ along `dim`, in `dtype` if one is given."""

    def softplus(self, beta: Any = ..., threshold: Any = ...) -> Tensor:
        """z = log(1 + e^βx) / β; x itself where βx > threshold"""

    def sort(self, dim: _int = ..., descending: _bool = ...) -> Any:
        """The elements along `dim` in order of size, and where they were."""

    def split(self, split_size_or_sections: _int | Sequence[_int], dim: _int = ...) -> tuple[Tensor, ...]:
        """x in parts of so many elements along `dim` (the last may be smaller), or in parts of the given lengths."""

    def sqrt(self) -> Tensor:
        """z = √x"""

    def square(self) -> Tensor:
        """x²"""

    def squeeze(self, dim: Any = ...) -> Tensor:
        """x without its dims of length 1, or without those among `dim` (an int or several)."""

    def std(self, dim: Any = ..., keepdim: _bool = ..., correction: _int = ..., unbiased: _bool | None = ...) -> Tensor:
        """The square root of `var`; where that is 0 its gradient is 0."""

    def sub(self, y: Any) -> Tensor:
        """z = x − y"""

    def sub_(self, y: Any, alpha: Any = ...) -> Tensor:
        """subtract in place, outside the graph; returns x itself."""

    def sum(self, dim: Any = ..., keepdim: _bool = ..., dtype: Any = ...) -> Tensor:
        """Σ x over `dim`, in `dtype` if one is given; integers and bools are otherwise summed in int64."""

    def t(self) -> Tensor:
        """The transpose of a matrix; a vector stays as it is."""

    def tanh(self) -> Tensor:
        """z = tanh x"""

    def to(self, *targets: Any, dtype: Any = ..., device: str | Device | None = ..., non_blocking: _bool = ...) -> Tensor:
        """x in another dtype, on another device, or like another tensor; x itself where nothing changes."""

    def topk(self, k: _int, dim: _int = ..., largest: _bool = ...) -> Any:
        """The k largest (or smallest) elements along `dim` in order of size, and where they were."""

    def transpose(self, dim0: _int, dim1: _int) -> Tensor:
        """x with two dims exchanged, a view."""

    def tril(self, diagonal: _int = ...) -> Tensor:
        """The lower triangle of matrices, zeros above the diagonal."""

    def triu(self, diagonal: _int = ...) -> Tensor:
        """The upper triangle of matrices, zeros below the diagonal."""

    def type_as(self, other: Tensor) -> Tensor:
        """x in the dtype of another tensor."""

    def unbind(self, dim: _int = ...) -> tuple[Tensor, ...]:
        """The slices of x along `dim`, without that dim."""

    def uniform_(self, a: _float = ..., b: _float = ..., *, generator: Generator | None = ...) -> Tensor:
        """Draw every element anew, uniform in [a, b), outside the graph; returns x itself."""

    def unique(self, sorted: _bool = ..., return_inverse: _bool = ..., return_counts: _bool = ...) -> Any:
        """The different elements of x in order of size, (m,), whether `sorted` or not."""

    def unsqueeze(self, dim: _int) -> Tensor:
        """x with a new dim of length 1 before `dim`."""

    def var(self, dim: Any = ..., keepdim: _bool = ..., correction: _int = ..., unbiased: _bool | None = ...) -> Tensor:
        """Σ (x − mean)² / (n − correction) over `dim`; `unbiased=False` is PyTorch's older name for `correction=0`."""

    def view(self, *shape: Any) -> Tensor:
        """As `reshape`: a view where the memory allows it, else a copy, where PyTorch would refuse."""

    def view_as(self, other: Tensor) -> Tensor:
        """x in the shape of another tensor."""

    def where(self, condition: Any, y: Any) -> Tensor:
        """x where the condition holds, y elsewhere."""

    def zero_(self) -> Tensor:
        """Set every element to 0 in place, outside the graph; returns x itself."""

    def __abs__(self) -> Tensor:
        """z = |x|"""

    def __add__(self, y: Any) -> Tensor:
        """z = x + y"""

    def __and__(self, y: Any) -> Tensor:
        """x & y, bit by bit, for integers and bools"""

    def __eq__(self, y: Any) -> Tensor:  # type: ignore[override]
        """x = y, a bool per element"""

    def __floordiv__(self, y: Any) -> Tensor:
        """⌊x / y⌋"""

    def __ge__(self, y: Any) -> Tensor:
        """x ≥ y, a bool per element"""

    def __getitem__(self, key: Any) -> Tensor:
        """`x[key]`."""

    def __gt__(self, y: Any) -> Tensor:
        """x > y, a bool per element"""

    def __iadd__(self, y: Any) -> Tensor:
        ...

    def __iand__(self, y: Any) -> Tensor:
        ...

    def __ifloordiv__(self, y: Any) -> Tensor:
        ...

    def __imod__(self, y: Any) -> Tensor:
        ...

    def __imul__(self, y: Any) -> Tensor:
        ...

    def __invert__(self) -> Tensor:
        """~x, bit by bit, for integers and bools"""

    def __ior__(self, y: Any) -> Tensor:
        ...

    def __ipow__(self, y: Any) -> Tensor:
        ...

    def __isub__(self, y: Any) -> Tensor:
        ...

    def __itruediv__(self, y: Any) -> Tensor:
        ...

    def __ixor__(self, y: Any) -> Tensor:
        ...

    def __le__(self, y: Any) -> Tensor:
        """x ≤ y, a bool per element"""

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
        """⌊x / y⌋"""

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

    def __rsub__(self, y: Any) -> Tensor:
        """z = x − y"""

    def __rtruediv__(self, y: Any) -> Tensor:
        """z = x / y"""

    def __rxor__(self, y: Any) -> Tensor:
        """x ^ y, bit by bit, for integers and bools"""

    def __setitem__(self, key: Any, value: Any) -> None:
        """`x[key] = value`, outside the graph."""

    def __sub__(self, y: Any) -> Tensor:
        """z = x − y"""

    def __truediv__(self, y: Any) -> Tensor:
        """z = x / y"""

    def __xor__(self, y: Any) -> Tensor:
        """x ^ y, bit by bit, for integers and bools"""
