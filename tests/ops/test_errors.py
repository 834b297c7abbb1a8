"""What an operation says when it can't: its name, what it got, and what to do."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med.core.primitive import primitive

F = tg.nn.functional


def x(*shape: int) -> tg.Tensor:
    return tg.ones(shape, requires_grad=True)


@primitive
def forgotten(xp, x):
    """A primitive whose author forgot its rule."""
    return x + 1


MESSAGES = [
    (lambda: x(2, 3) + x(4), ValueError, "add: ", "(2, 3) and float32 (4,)"),
    (lambda: x(2, 3) @ x(2, 3), ValueError, "matmul: the last dim of x (2, 3)", "transpose an operand"),
    (lambda: tg.mm(x(2), x(2)), ValueError, "mm: expects two matrices, got shapes (2,) and (2,)", "use matmul"),
    (lambda: tg.bmm(x(2, 3), x(3)), ValueError, "bmm: expects (N, i, j)", "use matmul"),
    (lambda: tg.dot(x(2, 3), x(3)), ValueError, "dot: expects two vectors", "use matmul"),
    (
        lambda: F.linear(x(2, 3), x(4, 5)),
        ValueError,
        "linear: x (2, 3) must end with the (5,) inputs of weight (4, 5)",
        "",
    ),
    (lambda: tg.einsum("ij,jk", x(2, 3)), ValueError, "einsum: 'ij,jk' has 2 terms for 1 operands", ""),
    (
        lambda: tg.einsum("ij,jk", x(2, 3), x(2, 3)),
        ValueError,
        "einsum: a label of 'ij,jk' has several lengths",
        "(2, 3)",
    ),
    (lambda: tg.einsum("ii", x(1, 3)), ValueError, "einsum: a label of 'ii' has several lengths", "(1, 3)"),
    (lambda: tg.einsum("ijk->i", x(2, 3)), ValueError, "einsum: the term 'ijk'", "shape (2, 3)"),
    (lambda: x(2, 3).reshape(5), ValueError, "reshape: ", "(2, 3)"),
    (lambda: x(2, 3).view(4, -1), ValueError, "reshape: the 6 elements of shape (2, 3) don't go into (4, -1)", ""),
    (
        lambda: tg.arange(3).masked_fill(tg.arange(3) > 1, math.inf),
        ValueError,
        "masked_fill: inf is no int64",
        "use x.float()",
    ),
    (lambda: tg.randint(3, 3, (2,)), ValueError, "randint: there is no integer from low=3 to below high=3", ""),
    (lambda: tg.randperm(-1), ValueError, "randperm: n must not be negative, got -1", ""),
    (lambda: tg.LongTensor(3), TypeError, "Tensor(3) is memory for 3 numbers", "use zeros(3)"),
    (lambda: x(2, 3).sum(2), IndexError, "sum: dim 2 is out of range for a tensor of 2 dims", ""),
    (lambda: x(2, 3).sum((0, 0)), ValueError, "sum: a dim is named twice in (0, 0)", ""),
    (lambda: x(2, 3).sum("rows"), TypeError, "sum: dim must be an integer, got 'rows'", ""),
    (lambda: x(2, 3).permute(0, 0), ValueError, "permute: (0, 0) does not name each dim", "(2, 3)"),
    (lambda: x(0, 3).amax(0), ValueError, "amax: there is no extreme of no elements", "(0, 3)"),
    (lambda: x(2, 3).topk(4), ValueError, "topk: k=4 is not between 0 and the length 3 of dim -1", ""),
    (
        lambda: tg.ones(3, dtype=tg.int64).mean(),
        TypeError,
        "mean: needs a float tensor, got int64",
        "use x.float().mean()",
    ),
    (lambda: x(3)[1.0], IndexError, "index: give an int, a slice", "not float; use .long()"),
    (lambda: x(3)[tg.ones(2)], IndexError, "index: give an int, a slice", "not float32; use .long()"),
    (lambda: x(3)[5], IndexError, "index: index 5 is out of bounds", "float32 (3,)"),
    (lambda: x(3).gather(0, tg.tensor([3])), IndexError, "gather: index 3 is out of range for a dim of length 3", ""),
    (lambda: x(3).gather(0, tg.tensor([-1])), IndexError, "gather: index -1 is out of range", ""),
    (
        lambda: x(3).index_select(0, tg.ones(2)),
        IndexError,
        "index_select: the index must be of an integer dtype",
        ".long()",
    ),
    (lambda: tg.cat([x(2, 3), x(2, 4)], 0), ValueError, "cat: shapes must have dims and agree", "(2, 3), (2, 4)"),
    (lambda: tg.cat([]), ValueError, "cat: the list of tensors is empty", ""),
    (lambda: tg.stack([x(2), x(3)]), ValueError, "stack: every tensor must have the same shape", "(2,), (3,)"),
    (lambda: x(4).split([1, 2]), ValueError, "split: the sections [1, 2] sum to 3, dim 0 has length 4", ""),
    (lambda: x(4).split([5, -1]), ValueError, "split: a section must not be negative, got [5, -1]", ""),
    (
        lambda: x(4).narrow(0, 2, 5),
        ValueError,
        "narrow: 5 elements from 2 on are not all within dim 0 of length 4",
        "",
    ),
    (lambda: x(4).narrow(0, -5, 1), ValueError, "narrow: 1 elements from -5 on are not all within dim 0", ""),
    (lambda: x(4).narrow(0, 0, -1), ValueError, "narrow: -1 elements from 0 on", ""),
    (lambda: x(2).norm("max"), ValueError, "norm: p='max' is unknown; give a number, 'fro' or 'nuc'", ""),
    (lambda: x(2) & x(2), TypeError, "bitwise_and: ", "float32 (2,)"),
    (
        lambda: forgotten(x(2)),
        NotImplementedError,
        "forgotten: it has no derivative with respect to x; detach that operand, give the rule with",
        "forgotten.vjp(x=…), or declare it with @primitive(differentiable=False)",
    ),
    (lambda: F.pad(x(2), (-2, -2)), ValueError, "pad: (-2, -2) crops more than there is in shape (2,)", ""),
    (
        lambda: F.pad(x(2), (1, 1), mode="mirror"),
        ValueError,
        "pad: mode='mirror' is unknown",
        "'constant'",
    ),
    (lambda: tg.where(x(2) > 0, None, x(2)), TypeError, "where: x is None, but y is not; give both", ""),
    (lambda: tg.where(x(2) > 0, x(2), None), TypeError, "where: y is None, but x is not; give both", ""),
    (lambda: tg.where(x(2), x(2), x(2)), TypeError, "where: the condition must be a bool tensor", "compare first"),
    (lambda: x(2).std(dim=True), TypeError, "std: dim must be an integer, got True", "give a flag by its name"),
    (lambda: x(2).sum(dim=False), TypeError, "sum: dim must be an integer, got False", "give a flag by its name"),
    (lambda: x(2).clip(), ValueError, "clip: give min, max or both", ""),
    (lambda: F.gelu(x(2), approximate="fast"), ValueError, "gelu: approximate='fast' is unknown", "'none' or 'tanh'"),
    (
        lambda: F.cross_entropy(x(2, 3), tg.tensor([0, 3])),
        IndexError,
        "cross_entropy: target: index 3 is out of range for a dim of length 3",
        "",
    ),
    (
        lambda: F.cross_entropy(x(2, 3), tg.ones(2)),
        TypeError,
        "cross_entropy: the targets are classes, integers",
        "use .long()",
    ),
    (
        lambda: F.cross_entropy(x(2, 3), tg.tensor([0])),
        ValueError,
        "cross_entropy: input (2, 3) needs targets of shape (2,)",
        "",
    ),
    (
        lambda: F.cross_entropy(x(2, 3), tg.tensor([0, 1]), reduction="max"),
        ValueError,
        "reduction='max' is unknown",
        "'mean'",
    ),
    (
        lambda: F.binary_cross_entropy_with_logits(x(4, 1), x(4)),
        ValueError,
        "target (4,) must have the shape of input (4, 1); reshape it",
        "",
    ),
    (lambda: F.mse_loss(x(2), x(2, 1)), ValueError, "mse_loss: target (2, 1) must have the shape of input (2,)", ""),
]


@pytest.mark.parametrize(("call", "kind", "start", "remedy"), MESSAGES, ids=[m[2][:40] for m in MESSAGES])
def test_the_error_names_the_operation_and_the_remedy(call, kind, start, remedy):
    with pytest.raises(kind, match=re.escape(start)) as caught:
        call()
    assert remedy in str(caught.value)


def test_plain_arrays_are_no_tensors_in_a_graph():
    z = tg.exp(np.array([0.0, 1.0]))
    assert isinstance(z, np.ndarray)  # a primitive on plain arrays is its forward


def test_a_missing_rule_matters_only_where_a_gradient_is_wanted():
    assert forgotten(tg.ones(2)).tolist() == [2.0, 2.0]
    with tg.no_grad():
        assert not forgotten(x(2)).requires_grad


def test_what_has_no_derivative_is_a_constant():
    assert not (x(2) > 0).requires_grad
    assert not x(2).argmax().requires_grad
    with pytest.raises(TypeError, match=re.escape("gt.vjp: it was declared with differentiable=False")):
        tg.gt.vjp(x=lambda g: g)


def test_split_and_narrow_take_numpys_integers_and_count_from_the_end():
    assert [part.shape for part in x(5).split(np.int64(2))] == [(2,), (2,), (1,)]
    assert tg.arange(4).narrow(0, -2, 2).tolist() == [2, 3]


@pytest.mark.parametrize("zero", [0, [1, 0]], ids=["a number", "one of two"])
@pytest.mark.parametrize(
    ("name", "divide"),
    [
        ("floor_divide", lambda x, y: x // y),
        ("floor_divide", lambda x, y: x.div(y, rounding_mode="trunc")),
        ("floor_divide", lambda x, y: x.div(y, rounding_mode="floor")),
        ("floor_divide", lambda x, y: x.floor_divide_(y)),
        ("remainder", lambda x, y: x % y),
        ("remainder", lambda x, y: x.remainder_(y)),
        ("fmod", lambda x, y: x.fmod(y)),
    ],
)
def test_an_integer_is_not_divided_by_zero(torch, name, divide, zero):
    for dtype in ("int64", "uint8"):
        x, y = tg.tensor([5, 7], dtype=dtype), zero if isinstance(zero, int) else tg.tensor(zero, dtype=dtype)
        with pytest.raises(ZeroDivisionError, match=f"{name}: an integer is divided by 0") as caught:
            divide(x, y)
        assert isinstance(caught.value, RuntimeError)  # which is what PyTorch raises
        with pytest.raises(RuntimeError):
            divide(torch.tensor([5, 7], dtype=getattr(torch, dtype)), zero if zero == 0 else torch.tensor(zero))
    assert divide(tg.zeros(0, dtype="int64"), 0).tolist() == []
    with np.errstate(all="ignore"):
        floats = divide(tg.tensor([5.0, 7.0]), tg.tensor([2.0, 0.0]))
    theirs = divide(torch.tensor([5.0, 7.0]), torch.tensor([2.0, 0.0]))
    np.testing.assert_array_equal(floats.numpy(), theirs.numpy())
