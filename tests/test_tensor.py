"""The tensor itself: what it holds, how it prints, how it is written in place, and what it refuses."""

import copy
import inspect
import operator
import pickle
import re
import types

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.inplace import ARITHMETIC

# Making one ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, tm.float32),
        (2, tm.int64),
        (True, tm.bool),
        ([1, 2.5], tm.float32),
        ([[1, 2]], tm.int64),
        ([], tm.float32),
        (np.float64(2), tm.float64),
        (np.zeros(2), tm.float64),
        (np.zeros(2, np.uint8), tm.uint8),
        (np.zeros(2, np.int16), tm.int16),
        (range(3), tm.int64),
    ],
)
def test_the_dtype_follows_the_data_as_in_pytorch(data, dtype, torch):
    assert tm.tensor(data).dtype == dtype
    assert str(torch.tensor(data).dtype) == f"torch.{dtype.name}"


@pytest.mark.parametrize("data", [[1, 2, 3], [[True, False]], [0.5], [], range(2)])
def test_the_class_makes_floats_of_pythons_numbers_as_pytorchs(data, torch):
    ours, theirs = tm.Tensor(data), torch.Tensor(data)
    assert ours.dtype == tm.float32 and theirs.dtype == torch.float32 and ours.tolist() == theirs.tolist()
    assert tm.Tensor(np.array([1, 2])).dtype == tm.int64  # where PyTorch converts


def test_integers_beyond_int64_are_floats_or_an_error():
    for large in (2**70, [1, 2**70]):
        with pytest.raises(OverflowError, match="tensor: an integer is too large for int64; give dtype=float64"):
            tm.tensor(large)
    assert tm.tensor(2**70, dtype=tm.float64).item() == 2.0**70


@pytest.mark.parametrize("data", [[1.5, 2**70], [2**70, 1.5]])
def test_an_integer_beyond_int64_beside_a_float_is_one_as_in_pytorch(data, torch):
    ours, theirs = tm.tensor(data), torch.tensor(data)
    assert ours.dtype == tm.float32 and theirs.dtype == torch.float32 and ours.tolist() == theirs.tolist()


def test_the_class_takes_a_number_that_is_no_size():
    assert tm.Tensor(True).tolist() == 1.0 and tm.Tensor(1.5).tolist() == 1.5


def test_tensor_copies_and_from_numpy_shares():
    array = np.zeros(3)
    copied, shared = tm.tensor(array), tm.from_numpy(array)
    array[0] = 5
    assert copied.tolist() == [0, 0, 0] and shared.tolist() == [5, 0, 0]


def test_a_number_has_memory_of_its_own_and_an_array_without_dims_is_shared():
    for number in (tm.tensor(1.5), tm.tensor(2, dtype="float64"), tm.Tensor(1.5), tm.tensor(np.float32(1.5))):
        assert type(number.array) is np.ndarray
    array = np.zeros(())
    shared = tm.from_numpy(array)
    array[...] = 5
    assert shared.item() == 5


def test_tensor_of_tensors():
    assert tm.tensor([tm.tensor(1.0), tm.tensor(2.0)]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: tm.tensor([[1, 2], [3]]), ValueError, "the nested lists are ragged"),
        (lambda: tm.Tensor(3), TypeError, re.escape("use zeros(3), or tensor(3)")),
        (lambda: tm.tensor("abc"), TypeError, "can't make numbers of str"),
        (lambda: tm.tensor([None]), TypeError, "can't make numbers of list"),
        (lambda: tm.tensor([None, 2**70]), TypeError, "can't make numbers of list"),
        (lambda: tm.tensor([2**70, None]), TypeError, "can't make numbers of list"),
        (lambda: tm.tensor([1.0], dtype="complex64"), TypeError, "dtype 'complex64' is not supported; choose one of"),
        (lambda: tm.tensor([1.0], dtype="nonsense"), TypeError, "dtype 'nonsense' is not supported"),
        (lambda: tm.tensor([1, 2], requires_grad=True), RuntimeError, "a int64 tensor can't carry a gradient"),
        (lambda: tm.arange(3).requires_grad_(), RuntimeError, re.escape("x.float().requires_grad_()")),
        (lambda: tm.device("tpu"), ValueError, "device: 'tpu' is unknown; give 'cpu', 'cuda'"),
        (lambda: tm.ones(2, 2).item(), RuntimeError, re.escape("needs a tensor of one element, got shape (2, 2)")),
        (lambda: bool(tm.ones(2)), RuntimeError, "is ambiguous"),
        (lambda: len(tm.tensor(1.0)), TypeError, "len.. of a 0-d tensor"),
        (lambda: iter(tm.tensor(1.0)), TypeError, "iteration over a 0-d tensor"),
        (lambda: tm.ones(2, requires_grad=True).numpy(), RuntimeError, re.escape("use x.detach().numpy()")),
        (lambda: [1, 2, 3][tm.tensor(1.0)], TypeError, "only integer tensors can be an index"),
        (lambda: tm.arange(0, 1, 0), ValueError, "step must not be 0"),
        (lambda: tm.manual_seed(-1), ValueError, "must not be negative"),
        (
            lambda: tm.rand(3, dtype="int64"),
            TypeError,
            "^rand: needs a float dtype, got int64; for integers use randint",
        ),
        (lambda: tm.randn(3, dtype="bool"), TypeError, "^randn: needs a float dtype, got bool; for integers use"),
        (lambda: tm.zeros(3).long().uniform_(), TypeError, "^uniform_: needs a float dtype, got int64"),
        (lambda: tm.zeros(3).long().normal_(), TypeError, "^normal_: needs a float dtype, got int64"),
        (lambda: tm.zeros(3).uniform_(3, 1), ValueError, "^uniform_: a=3 must not be greater than b=1"),
        (lambda: tm.zeros(3).uniform_(tm.nan, 1), ValueError, "^uniform_: a=nan must not"),
        (
            lambda: tm.zeros(3).half().uniform_(-4e4, 4e4),
            ValueError,
            "^uniform_: .* nor b - a than the largest float16",
        ),
        (lambda: tm.zeros(3).normal_(0, -1), ValueError, "^normal_: std=-1 must not be negative"),
        (lambda: tm.zeros(3).normal_(0, tm.nan), ValueError, "^normal_: std=nan must not be negative"),
    ],
)
def test_refusals(make, error, text):
    with pytest.raises(error, match=text):
        make()


# Python's views of it -----------------------------------------------------------------------------------------------


def test_python_sees_numbers():
    x = tm.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]] and len(x) == 2 and 3 in x and 5 not in x
    assert (float(tm.tensor(2.5)), int(tm.tensor(3)), bool(tm.tensor([0.0]))) == (2.5, 3, False)
    assert [10, 20, 30][tm.tensor(1)] == 20
    assert f"{tm.tensor(0.5):.3f} {tm.tensor(0.25)}" == "0.500 0.25"
    assert np.asarray(tm.ones(2)).tolist() == [1.0, 1.0]
    assert (x.size(), x.size(1), x.dim(), x.numel(), x.element_size()) == ((2, 2), 2, 2, 4, 8)


def test_numpy_copies_or_shares_as_it_was_asked():
    x = tm.ones(2)
    copied, shared, converted = np.array(x), np.asarray(x), np.asarray(x, dtype="float64")
    x.zero_()
    assert copied.tolist() == [1, 1] and shared.tolist() == [0, 0] and converted.tolist() == [1, 1]
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, dtype="float64", copy=False)


def test_tensors_are_hashed_by_identity():
    x, y = tm.ones(2), tm.ones(2)
    assert {x: 1, y: 2}[x] == 1 and x in [x] and hash(x) != hash(y)


def test_arrays_on_the_left_of_an_operator_step_back():
    x = tm.ones(3, requires_grad=True)
    for y in (np.arange(3.0, dtype="float32") * x, np.float32(2) * x, np.float64(2) - x, 2 / x):
        assert isinstance(y, Tensor) and y.requires_grad and y.dtype == tm.float32


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (tm.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (tm.tensor(3), "tensor(3)"),
        (tm.tensor([]), "tensor([])"),
        (tm.zeros(0, 4), "tensor([], shape=(0, 4))"),
        (tm.tensor([True]), "tensor([ True])"),
        (tm.ones(2, dtype="float64"), "tensor([1., 1.], dtype=float64)"),
        (tm.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
        (tm.ones(2, requires_grad=True) * 2, "tensor([2., 2.], grad_fn=<mul>)"),
        (tm.ones(2, requires_grad=True).sum(), "tensor(2., grad_fn=<sum>)"),
    ],
)
def test_repr(tensor, text):
    assert repr(tensor) == text


def test_repr_is_short_and_leaves_numpys_options_alone():
    before = np.get_printoptions()
    text = repr(tm.zeros(1000, 1000))
    assert len(text) < 400 and "shape=(1000, 1000)" in text and np.get_printoptions() == before


def test_deepcopy_and_pickle_keep_leaves():
    x = tm.tensor([1.0, 2.0], requires_grad=True)
    x.sum().backward()
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.tolist() == [1.0, 2.0] and y.requires_grad and y.array is not x.array
    assert copy.deepcopy(x).grad.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="only leaves can be copied deeply"):
        copy.deepcopy(x * 2)


def test_unknown_names_say_what_there_is():
    with pytest.raises(AttributeError, match=re.escape("use x = x.gelu(…)")):
        tm.ones(1).gelu_()
    with pytest.raises(AttributeError, match=re.escape("use x = x.squeeze(…)") + "$"):
        tm.ones(1).squeeze_()
    with pytest.raises(AttributeError, match="did you mean.*softmax"):
        tm.ones(1).sofmax()
    with pytest.raises(AttributeError, match="module 'tinygrad_med' has no attribute 'matmull'; did you mean matmul"):
        _ = tm.matmull
    with pytest.raises(AttributeError, match="has no attribute 'concatt'; did you mean concat"):
        _ = tm.concatt
    with pytest.raises(AttributeError, match="has no attribute 'element_size'; tensors have it, x.element_size"):
        _ = tm.element_size


def test_a_file_is_a_name_once_it_is_imported_and_a_file_of_operations_never(monkeypatch):
    monkeypatch.delattr(tm, "models", raising=False)
    with pytest.raises(AttributeError, match="is there once it is imported: import tinygrad_med.models"):
        _ = tm.models
    for name in ("special", "shape", "loss", "conv"):
        assert not hasattr(tm, name), name
    assert tm.ops.shape.__name__ == "tinygrad_med.ops.shape"


# The graph from outside -----------------------------------------------------------------------------------------------


def test_detach_and_data_share_memory_outside_the_graph():
    x = tm.ones(2, requires_grad=True)
    for y in (x.detach(), x.data):
        assert not y.requires_grad and np.shares_memory(y.array, x.array)
    x.data = [5.0, 6.0]
    assert x.tolist() == [5.0, 6.0] and x.requires_grad
    x.data -= 1
    assert x.tolist() == [4.0, 5.0]


def test_data_takes_the_shape_dtype_and_memory_of_another_tensor(torch):
    for lib in (tm, torch):
        x, other = lib.zeros(2, requires_grad=True), lib.ones(3, dtype=lib.float64)
        x.data = other
        assert x.dtype == lib.float64 and tuple(x.shape) == (3,) and x.requires_grad and x.is_leaf
        other.mul_(2)
        (x * x).sum().backward()
        assert x.tolist() == [2.0] * 3 and x.grad.tolist() == [4.0] * 3 and x.grad.dtype == lib.float64
        with pytest.raises(RuntimeError, match="data"):
            x.data = lib.zeros(2, dtype=lib.int64)
        y = lib.zeros(2)
        y.data = lib.arange(3)
        assert y.dtype == lib.int64


def test_only_leaves_can_be_switched_off():
    x = tm.ones(2, requires_grad=True)
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(RuntimeError, match="the result of mul; only a leaf can be switched off"):
        (x.requires_grad_() * 2).requires_grad_(False)


def test_integers_never_require_a_gradient():
    x = tm.ones(2, requires_grad=True)
    for y in (x.long(), x > 0, x.argmax(), x.to("int64")):
        assert not y.requires_grad
    assert x.double().requires_grad and x.half().requires_grad


@pytest.mark.parametrize("dtype", [tm.float16, tm.float32, tm.float64, tm.uint8, tm.bool])
def test_integers_become_what_they_are_told(dtype):
    assert tm.arange(3).to(dtype).dtype == dtype and tm.tensor(3).to(dtype).dtype == dtype


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, x: x.masked_fill(x > 2, 1.5),
        lambda lib, x: x.masked_fill(x > 2, lib.tensor(7.9)),
        lambda lib, x: (x > 2).masked_fill(x > 3, 0),
        lambda lib, x: x.clone().masked_fill_(x > 2, -2),
        lambda lib, x: x.median(),
        lambda lib, x: x.nanmedian(),
        lambda lib, x: x.median(0).values,
        lambda lib, x: lib.bincount(x, x.float()),
        lambda lib, x: lib.bincount(x, x.double()),
        lambda lib, x: lib.bincount(x, x),
        lambda lib, x: lib.bincount(x),
    ],
)
def test_results_for_integers_have_pytorchs_dtype(call, torch):
    ours, theirs = (call(lib, lib.tensor([4, 1, 3, 3, 0, 2])) for lib in (tm, torch))
    assert f"torch.{ours.dtype}" == str(theirs.dtype) and ours.tolist() == theirs.tolist()


def test_a_cast_passes_the_gradient_back_in_its_own_dtype():
    x = tm.ones(2, requires_grad=True)
    (x.double() * 3).sum().backward()
    assert x.grad.dtype == tm.float32 and x.grad.tolist() == [3.0, 3.0]


# PyTorch's spellings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, x: lib.sum(x, axis=1),
        lambda lib, x: x.mean(axis=(0, 1), keepdims=True),
        lambda lib, x: x.argmax(axis=0),
        lambda lib, x: x.max(axis=1).values,
        lambda lib, x: lib.softmax(x, axis=-1),
        lambda lib, x: lib.any(x > 2, axis=0, keepdims=True),
        lambda lib, x: x.unsqueeze(axis=0),
        lambda lib, x: lib.stack([x, x], axis=1),
        lambda lib, x: lib.cat([x, x], axis=-1),
        lambda lib, x: x.long().mean(dtype=lib.float64),
        lambda lib, x: x.half().mean(0, dtype=lib.float32),
        lambda lib, x: x.long().softmax(0, dtype=lib.float32),
        lambda lib, x: lib.softmax(x, 0, lib.float64),
        lambda lib, x: lib.log_softmax(x.half(), 1, lib.float64),
        lambda lib, x: lib.cumsum(x.half(), 0, dtype=lib.float64),
        lambda lib, x: x.prod(1, dtype=lib.float64),
        lambda lib, x: lib.norm(x, dtype=lib.float64),
        lambda lib, x: x.sum(dim=()),
        lambda lib, x: x.mean(()),
        lambda lib, x: x.var(()),
        lambda lib, x: x.amax(()),
        lambda lib, x: lib.tensor(2.0).softmax(0),
        lambda lib, x: lib.tensor(2.0).log_softmax(-1),
        lambda lib, x: lib.all(x > 1, [0]),
        lambda lib, x: (x > 4).any([0, 1]),
        lambda lib, x: x.type(lib.float64),
        lambda lib, x: (x > 2).type(lib.float).sum(),
        lambda lib, x: x.type("torch.LongTensor"),
        lambda lib, x: x.long() << 2,
        lambda lib, x: 64 >> x.long(),
        lambda lib, x: lib.nn.functional.linear(x, lib.tensor([1.0, 2.0, 0.5])),
        lambda lib, x: lib.where(x > 2)[1],
        lambda lib, x: x.T[:0].chunk(3)[2],
        lambda lib, x: x.clone().fill_diagonal_(7.0),
        lambda lib, x: lib.zeros(2, 2, 2).fill_diagonal_(1.5),
    ],
)
def test_bools_are_bools_and_dtypes_are_taken_as_in_pytorch(call, torch):
    data = [[1.0, 5.0, 2.0], [4.0, 3.0, 3.0]]
    ours, theirs = (call(lib, lib.tensor(data)) for lib in (tm, torch))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    assert ours.numpy().dtype == theirs.numpy().dtype


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, x: lib.var(x, dtype=lib.float64),
        lambda lib, x: lib.logsumexp(x, 0, dtype=lib.float64),
        lambda lib, x: lib.nn.functional.layer_norm(x, (3,), dtype=lib.float64),
        lambda lib, x: lib.sum(x, dim=0, axis=1),
        lambda lib, x: lib.softmax(x, (0, 1)),
        lambda lib, x: lib.softmax(x, 0, True),
        lambda lib, x: x.cumsum(0, dtype=True),
        lambda lib, x: x.prod(0, False, dtype=False),
        lambda lib, x: x.to(False, lib.float64),
    ],
)
def test_what_pytorch_does_not_take_is_refused(call, torch):
    for lib in (tm, torch):
        with pytest.raises(TypeError):
            call(lib, lib.ones(2, 3))


def test_errors_name_the_operation_and_not_the_engine():
    x = tm.ones(2)
    with pytest.raises(TypeError, match=re.escape("mul: unknown argument alpha; it takes x, y")):
        tm.mul(x, x, alpha=2)
    for name in ("chunked", "index_reduce"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(tm, name)


# Questions ----------------------------------------------------------------------------------------------------------


def test_a_tensor_is_not_none_nor_a_string(torch):
    for lib in (tm, torch):
        x = lib.tensor([1.0])
        for other in (None, "1", [1.0]):
            assert (x == other) is False and (x != other) is True
        assert (x == 1).tolist() == [True] and (x != True).tolist() == [False]  # noqa: E712 - a bool is a number


def test_equal_and_allclose(torch):
    def story(lib):
        x, y, n = lib.tensor([1.0, 2.0]), lib.tensor([1.0, 2.00001]), lib.tensor([1.0, lib.nan])
        return [
            *(lib.equal(x, x), x.equal(y), lib.equal(x, x[:1]), lib.equal(n, n)),
            *(lib.allclose(x, y), x.allclose(y, rtol=1e-8), lib.allclose(x, y, rtol=0, atol=1e-3)),
            *(lib.allclose(n, n), lib.allclose(n, n, equal_nan=True)),
        ]

    assert story(tm) == story(torch) == [True, False, False, False, True, False, True, False, True]


@pytest.mark.parametrize("data", [[[1.0, 0.0], [0.0, 2.0]], [3, 0, 3], [[0, 0]], 5])
def test_nonzero(data, torch):
    ours, theirs = tm.tensor(data), torch.tensor(data)
    assert ours.nonzero().tolist() == theirs.nonzero().tolist()
    assert ours.nonzero().shape == theirs.nonzero().shape and ours.nonzero().dtype == tm.int64
    if ours.ndim:
        key, other = ours.nonzero(as_tuple=True), theirs.nonzero(as_tuple=True)
        assert [k.tolist() for k in key] == [k.tolist() for k in other] and ours[key].tolist() == theirs[other].tolist()


@pytest.mark.parametrize("data", [[[3, 1], [1, 2]], [], [0.5, -1.0, 0.5], 7])
def test_unique(data, torch):
    ours, theirs = tm.tensor(data), torch.tensor(data)
    assert ours.unique().tolist() == theirs.unique().tolist()
    for asked in ({"return_inverse": True}, {"return_counts": True}, {"return_inverse": True, "return_counts": True}):
        found, expected = (x.unique(**asked) for x in (ours, theirs))
        assert [x.tolist() for x in found] == [x.tolist() for x in expected]


def test_unique_gives_places_in_the_shape_of_x_also_where_the_library_gives_them_flat(monkeypatch):
    def flat(x, **asked):
        values, places = unique(x, **asked)
        return values, places.ravel()

    unique = np.unique
    monkeypatch.setattr(np, "unique", flat)
    assert tm.tensor([[3, 1], [1, 2]]).unique(return_inverse=True)[1].tolist() == [[2, 0], [0, 1]]


def test_constants(torch):
    assert (tm.pi, tm.e, tm.inf) == (torch.pi, torch.e, torch.inf) and tm.nan != tm.nan
    assert tm.finfo(tm.float32).eps == torch.finfo(torch.float32).eps
    assert tm.finfo().max == torch.finfo().max
    for name in ("bits", "eps", "max", "min", "resolution", "smallest_normal", "tiny", "dtype"):
        for dtype in ("float16", "float32", "float64"):
            mine, theirs = getattr(tm.finfo(dtype), name), getattr(torch.finfo(getattr(torch, dtype)), name)
            assert mine == pytest.approx(theirs, rel=1e-12) if name != "dtype" else mine == theirs
            assert type(mine) is type(theirs)
    assert tm.iinfo(tm.int64).max == torch.iinfo(torch.int64).max


# Writes in place ----------------------------------------------------------------------------------------------------


def test_the_tutorials_update():
    weights = tm.zeros((3, 2), requires_grad=True)
    (weights * 2).sum().backward()
    memory = weights.array
    with tm.no_grad():
        weights -= weights.grad * 0.5
        weights.grad.zero_()
    assert weights.array is memory and weights.is_leaf and weights.requires_grad
    assert weights.tolist() == [[-1.0, -1.0]] * 3 and weights.grad.tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda x: x.add_(tm.tensor([1.0, 2.0]), alpha=10), [11.0, 22.0]),
        (lambda x: x.sub_(1), [0.0, 1.0]),
        (lambda x: x.mul_(3), [3.0, 6.0]),
        (lambda x: x.div_(2), [0.5, 1.0]),
        (lambda x: x.pow_(2), [1.0, 4.0]),
        (lambda x: x.fill_(7), [7.0, 7.0]),
        (lambda x: x.copy_([8, 9]), [8.0, 9.0]),
        (lambda x: x.clamp_(min=1.5), [1.5, 2.0]),
        (lambda x: x.masked_fill_(x > 1.5, 9), [1.0, 9.0]),
        (lambda x: x.masked_fill_(tm.tensor(True), tm.tensor(9.0)), [9.0, 9.0]),
        (lambda x: x.remainder_(2), [1.0, 0.0]),
        (lambda x: operator.iadd(x, 1), [2.0, 3.0]),
        (lambda x: operator.isub(x, 1), [0.0, 1.0]),
        (lambda x: operator.imul(x, 3), [3.0, 6.0]),
        (lambda x: operator.itruediv(x, 2), [0.5, 1.0]),
        (lambda x: operator.ipow(x, 2), [1.0, 4.0]),
        (lambda x: operator.ifloordiv(x, 2), [0.0, 1.0]),
        (lambda x: operator.imod(x, 2), [1.0, 0.0]),
        (lambda x: x.__setitem__(0, 5), [5.0, 2.0]),
        (lambda x: x.__setitem__(x > 1.5, tm.tensor(0.0)), [1.0, 0.0]),
        (lambda x: x[0].zero_(), [0.0, 2.0]),
    ],
)
def test_writes_in_place(write, expected):
    x = tm.tensor([1.0, 2.0])
    memory = x.array
    write(x)
    assert x.tolist() == expected and x.array is memory


@pytest.mark.parametrize(
    ("write", "expected"), [(operator.iand, [2, 1]), (operator.ior, [7, 7]), (operator.ixor, [5, 6])]
)
def test_bits_are_written_in_place(write, expected):
    x = tm.tensor([6, 5])
    memory = x.array
    assert write(x, 3).tolist() == expected and x.array is memory and x.tolist() == expected
    mask = tm.tensor([True, False])
    same = mask
    mask |= tm.tensor([False, True])
    assert same.tolist() == [True, True]


def test_drawn_in_place():
    x = tm.zeros(10_000)
    memory = x.array
    x.uniform_(-2, 3)
    assert -2 <= x.min().item() < -1.9 and 2.9 < x.max().item() < 3
    x.normal_(5, 0.1, generator=tm.Generator(0))
    assert x.mean().item() == pytest.approx(5, abs=0.01) and x.std().item() == pytest.approx(0.1, abs=0.01)
    assert x.array is memory


def test_other_distributions_are_drawn_in_place():
    tm.manual_seed(0)
    x = tm.zeros(40_000)
    assert x.bernoulli_(0.2) is x
    assert set(x.tolist()) == {0.0, 1.0} and x.mean().item() == pytest.approx(0.2, abs=0.01)
    assert tm.zeros(3, 2).bernoulli_(tm.tensor([0.0, 1.0])).tolist() == [[0, 1]] * 3
    x.exponential_(2.0)
    assert x.min().item() >= 0 and x.mean().item() == pytest.approx(0.5, abs=0.01)
    assert x.std().item() == pytest.approx(0.5, abs=0.01)
    assert sorted(set(x.random_(3).tolist())) == [0, 1, 2]
    assert sorted(set(tm.zeros(100, dtype=tm.int64).random_(-2, 1).tolist())) == [-2, -1, 0]
    assert 2**23 < x.random_().max().item() < 2**24
    assert set(tm.zeros(99, dtype=tm.bool).random_().tolist()) == {False, True}
    assert tm.zeros(9, dtype=tm.uint8).random_(generator=tm.Generator(0)).max().item() > 127
    with pytest.raises(ValueError, match="lambd=0 must be positive"):
        x.exponential_(0)
    with pytest.raises(ValueError, match="probabilities must be between 0 and 1"):
        x.bernoulli_(1.5)
    with pytest.raises(ValueError, match=r"needs a matrix, or dims of one length, got shape \(40000,\)"):
        x.fill_diagonal_(0)


def test_what_does_not_fit_is_said_by_name():
    with pytest.raises(ValueError, match=r"copy_: what has shape \(5,\) does not fit into x of shape \(3, 4\)"):
        tm.ones(3, 4).copy_(tm.ones(5))
    with pytest.raises(ValueError, match="randint: there is no integer from low=5 to below high=2"):
        tm.randint(5, 2, (3,))


def test_numbers_out_of_the_graph_by_force():
    x = tm.tensor([1.0, 2.0], requires_grad=True)
    assert x.numpy(force=True) is x.array and (x * 2).numpy(force=True).tolist() == [2, 4]


def test_a_diagonal_is_filled_in_the_graph():
    x = tm.ones(2, 3, requires_grad=True)
    (x * 2).fill_diagonal_(0).sum().backward()
    assert x.grad.tolist() == [[0, 2, 2], [2, 0, 2]]


def test_ones_are_drawn_as_probable_as_told():
    tm.manual_seed(0)
    p = tm.tensor([[0.0, 0.3], [0.9, 1.0]], dtype=tm.float64).repeat(5000, 1, 1)
    for drawn in (tm.bernoulli(p), p.bernoulli(generator=tm.Generator(1))):
        assert drawn.dtype == tm.float64 and set(drawn.flatten().tolist()) == {0.0, 1.0}
        np.testing.assert_allclose(drawn.mean(0).numpy(), [[0, 0.3], [0.9, 1]], atol=0.02)
    assert tm.bernoulli(tm.zeros(3), 1.0).tolist() == [1, 1, 1]
    assert tm.tensor([0.0, 2.0]).multinomial(3, replacement=True).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="bernoulli: probabilities must be between 0 and 1"):
        tm.bernoulli(tm.tensor([1.5]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "int16", "uint8", "bool"])
def test_what_a_tensor_says_of_itself_is_pytorchs(dtype, torch):
    ours, theirs = (lib.ones(2, 3, 4, dtype=getattr(lib, dtype)).transpose(0, 2) for lib in (tm, torch))
    assert ours.stride() == theirs.stride() == (1, 4, 12) and ours.stride(-1) == 12
    for x in (ours, theirs):
        assert (x.nelement(), x.ndimension(), x.nbytes, x.is_cpu) == (24, 3, 24 * x.itemsize, True)
        assert x.is_same_size(x.sum(0, keepdim=True).expand(4, 3, 2)) and not x.is_same_size(x[0])
    assert ours.itemsize == theirs.itemsize
    assert ours.type() == theirs.type().replace("torch", "tinygrad_med")
    assert tm.ones(1).type(ours.type()).dtype == tm.ones(1).type(theirs.type()).dtype == ours.dtype


def test_a_dtype_is_the_one_of_its_name():
    for dtype in (tm.float32, tm.float64, tm.float16, tm.int64, tm.int32, tm.int16, tm.uint8, tm.bool):
        for x in (tm.ones(2, dtype=dtype), tm.ones(2).to(dtype), tm.tensor([1, 0], dtype=str(dtype))):
            assert x.dtype is dtype
        if dtype.itemsize > 1:
            assert tm.tensor(np.ones(2, dtype.newbyteorder(">")), dtype=dtype.newbyteorder(">")).dtype is dtype


def test_an_older_name_is_a_type_too():
    x = tm.tensor([1.7, 0.0], requires_grad=True)
    assert x.type(tm.LongTensor).tolist() == [1, 0] and x.type(tm.float32) is x
    x.type("torch.DoubleTensor").sum().backward()
    assert x.grad.tolist() == [1, 1]
    with pytest.raises(TypeError, match="dtype 'torch.SomeTensor' is not supported"):
        x.type("torch.SomeTensor")


def test_a_number_is_written_in_place_too():
    x = tm.tensor(2.0, requires_grad=True)
    with tm.no_grad():
        x -= 0.5
        x.mul_(2)
    assert x.item() == 3.0 and x.dtype == tm.float32


def test_a_multiple_is_added_or_subtracted_and_nothing_else_takes_one(torch):
    for lib in (tm, torch):
        x, y = lib.tensor([5.0, 7.0]), lib.tensor([1.0, 2.0])
        assert x.add_(y, alpha=2).tolist() == [7.0, 11.0] and x.sub_(y, alpha=0.5).tolist() == [6.5, 10.0]
        with pytest.raises(TypeError, match=re.escape("mul_() got an unexpected keyword argument 'alpha'")):
            x.mul_(y, alpha=2)
    for name, *_ in ARITHMETIC.values():
        assert ("alpha" in inspect.signature(getattr(Tensor, name)).parameters) == (name in ("add_", "sub_"))


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda x: x.__iadd__(1), "add_: a leaf that requires a gradient can't be written in place.*no_grad"),
        (lambda x: x.zero_(), "fill_: a leaf"),
        (lambda x: x.exp_(), "exp_: a leaf"),
        (lambda x: x.__setitem__(0, 1.0), "item assignment: a leaf"),
        (lambda x: x[0].mul_(2), "mul_: a view of a leaf"),
        (lambda x: x.reshape(2, 1)[1].add_(1), "add_: a view of a leaf"),
    ],
)
def test_a_leaf_is_written_outside_the_graph_alone(write, text):
    with pytest.raises(RuntimeError, match=text):
        write(tm.ones(2, requires_grad=True))


def test_an_inplace_operator_writes_into_the_graph():
    x = tm.ones(2, requires_grad=True)
    total = tm.zeros(2)
    same = total
    total += x * 3
    total *= 2
    total.sum().backward()
    assert same is total and total.tolist() == [6.0, 6.0] and x.grad.tolist() == [6.0, 6.0]


def test_a_write_of_another_kind_of_number_is_refused():
    with pytest.raises(
        TypeError, match="^add_: the result of int64 .3,. and 0.5 can't be written to a int64 tensor; make a new one"
    ):
        tm.arange(3).add_(0.5)
    with pytest.raises(TypeError, match="^bitwise_or_: .*; got float32 .2,. and 1"):
        operator.ior(tm.ones(2), 1)
    with pytest.raises(ValueError, match="^mul_: .*; got float32 .2,. and float32 .3,."):
        operator.imul(tm.ones(2), tm.ones(3))
    with pytest.raises(OverflowError, match="^sub_: .*; got uint8 .2,. and 300; convert x first"):
        tm.ones(2).byte().sub_(300)
    with pytest.raises(ValueError, match=re.escape("x has shape (3,), the value (2,)")):
        tm.arange(3)[0:3] = tm.arange(2)


# Random numbers -----------------------------------------------------------------------------------------------------


def drawing(number):
    """A generator whose every draw is `number`."""
    generator = tm.Generator(0)
    generator.rng = types.SimpleNamespace(random=lambda shape: np.full(shape, number))
    return generator


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers_stay_below_one(dtype):
    x = tm.rand(200_000, dtype=dtype)
    assert x.dtype == dtype and x.min().item() >= 0 and 0.999 < x.max().item() < 1
    assert x.double().mean().item() == pytest.approx(0.5, abs=0.003)
    assert 0.999 < tm.rand(3, dtype=dtype, generator=drawing(1 - 2**-53)).max().item() < 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("a", "b"), [(1, 2), (100, 101), (-3, 0.1), (-2, -1), (0, 1e-3)])
def test_uniform_numbers_reach_a_and_stay_below_b(a, b, dtype):
    x = tm.zeros(3, dtype=dtype)
    start, stop = (tm.tensor(bound, dtype=dtype).item() for bound in (a, b))
    assert x.uniform_(a, b, generator=drawing(0.0)).tolist() == [start] * 3
    below = stop - x.uniform_(a, b, generator=drawing(1 - 2**-53)).double().numpy()
    assert (below > 0).all() and (below <= 4 * float(tm.finfo(x.dtype).eps) * max(abs(a), abs(b))).all()
    assert x.uniform_(b, b).tolist() == [stop] * 3


def test_a_seed_gives_the_same_uniform_numbers_in_each_dtype():
    draws = [tm.rand(100, dtype=dtype, generator=tm.Generator(5)).tolist() for dtype in ("float64", "float32")]
    np.testing.assert_allclose(*draws, atol=2**-24, rtol=0)
    assert draws[0] == np.random.default_rng(5).random(100).tolist()


def test_a_size_may_be_named():
    for make in (tm.zeros, tm.ones, tm.empty, tm.rand, tm.randn):
        assert make(size=(2, 3)).shape == make((2, 3)).shape == make(2, 3).shape == (2, 3)
    assert tm.zeros(()).shape == tm.zeros().shape == ()


def test_likes_take_another_dtype_and_device():
    x = tm.ones(2, 3, dtype="int64")
    for make in (tm.zeros_like, tm.ones_like, tm.empty_like, tm.rand_like, tm.randn_like):
        y = make(x, dtype=tm.float64, device="cpu", requires_grad=True)
        assert y.shape == (2, 3) and y.dtype == tm.float64 and y.requires_grad
    assert tm.zeros_like(x).dtype == tm.int64 and tm.full_like(x, 7).tolist() == [[7] * 3] * 2


def test_a_seed_gives_the_same_numbers():
    draws = []
    for _ in range(2):
        tm.manual_seed(7)
        draws.append(
            [tm.rand(2).tolist(), tm.randn(2, 2).tolist(), tm.randint(0, 9, (3,)).tolist(), tm.randperm(5).tolist()]
        )
    assert draws[0] == draws[1]
    assert sorted(draws[0][3]) == [0, 1, 2, 3, 4]


def test_a_generator_is_a_stream_of_its_own():
    g = tm.Generator(3)
    first = tm.rand(3, generator=g)
    tm.rand(3)
    state = g.get_state()
    second = tm.rand(3, generator=g).tolist()
    g.set_state(state)
    assert tm.rand(3, generator=g).tolist() == second != first.tolist()
    assert tm.rand(3, generator=g.manual_seed(3)).tolist() == first.tolist() and g.initial_seed() == 3


# CUDA, where there is none ------------------------------------------------------------------------------------------


class FakeRuntime:
    class CUDARuntimeError(Exception):
        pass

    def __init__(self, answer):
        self.answer = answer

    def getDeviceCount(self):
        if isinstance(self.answer, str):
            raise self.CUDARuntimeError(self.answer)
        return self.answer


@pytest.mark.parametrize(
    ("cupy_is_here", "answer", "text"),
    [
        (False, 0, re.escape('cuda: CuPy is not installed; pip install "tinygrad_med[cuda13]"')),
        (True, "cudaErrorInsufficientDriver: CUDA driver version is insufficient", "no NVIDIA driver answers.*install"),
        (True, "cudaErrorNoDevice: no CUDA-capable device is detected", "there is no CUDA card"),
        (True, 0, "there is no CUDA card"),
    ],
)
def test_cuda_says_what_is_missing(monkeypatch, cupy_is_here, answer, text):
    import importlib
    import types

    from tinygrad_med import backend

    fake = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=FakeRuntime(answer)))
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: object() if cupy_is_here else None)
    real = importlib.import_module
    monkeypatch.setattr(backend.importlib, "import_module", lambda name: fake if name == "cupy" else real(name))
    monkeypatch.setattr(backend, "_cupy", None)
    for move in (lambda: tm.ones(2).cuda(), lambda: tm.ones(2).to("cuda"), lambda: tm.zeros(2, device="cuda")):
        with pytest.raises(RuntimeError, match=text):
            move()
    assert not tm.cuda.is_available() and tm.cuda.why_not() and tm.cuda.device_count() == 0


def test_the_device_of_a_tensor():
    x = tm.ones(2)
    assert x.device == "cpu" and x.device.type == "cpu" and x.device.index is None and not x.is_cuda
    assert x.to("cpu", non_blocking=True) is x and x.cpu() is x
    assert tm.device("cuda").index == 0 and tm.device("cuda", 1) == "cuda:1"


def test_operands_on_two_devices_are_named(monkeypatch):
    """No card is needed: a subclass of NumPy's array stands in for CuPy's."""
    import types

    from tinygrad_med import backend

    class OnGPU(np.ndarray):
        device = types.SimpleNamespace(id=0, use=lambda: None)

    monkeypatch.setattr(backend, "_cupy", types.SimpleNamespace(ndarray=OnGPU, get_array_module=lambda *a: np))
    monkeypatch.setattr(backend, "cuda_in_use", True)
    there = tm.from_numpy(np.ones(2, "float32"))
    there.array = there.array.view(OnGPU)
    with pytest.raises(RuntimeError, match="mul: operands are on cpu and cuda:0; move them to one device with .to"):
        tm.ones(2, requires_grad=True) * there
    assert (there * 2.0).tolist() == [2.0, 2.0]


def test_a_size_is_a_shape_that_counts():
    size = tm.ones(2, 3, 4).size()
    assert size == (2, 3, 4) == tm.Size([2, 3, 4]) and isinstance(size, tuple)
    assert (size.numel(), tm.Size().numel(), repr(size)) == (24, 1, "Size([2, 3, 4])")
    assert tm.zeros(size).shape == size and tm.ones(2, 3).size(1) == 3
