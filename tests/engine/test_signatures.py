"""An operation is called as its signature says: `help`, names of arguments, what is refused, and what editors see."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_med as tm
from tinygrad_med.core import methods
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.engine import stubs
from tinygrad_med.engine.compiled import METHODS_OF

PRIMITIVES = sorted(METHODS_OF, key=str)


@pytest.mark.parametrize("p", PRIMITIVES, ids=str)
def test_a_signature_is_the_forward_s_without_xp(p: Primitive):
    forward = list(inspect.signature(p.forward).parameters.values())[1:]
    shown = inspect.signature(p).parameters
    assert list(shown) == [q.name for q in forward]
    assert [q.default for q in shown.values()] == [q.default for q in forward]
    for name in METHODS_OF[p]:
        assert inspect.signature(getattr(tm.Tensor, name)) == inspect.signature(p)


def test_every_method_has_the_docstring_of_its_operation():
    public = [name for name in dir(tm.Tensor) if not name.startswith("_")]
    public = [name for name in public if not inspect.ismemberdescriptor(getattr(tm.Tensor, name))]
    assert [name for name in public if not inspect.getdoc(getattr(tm.Tensor, name))] == []
    assert tm.Tensor.exp.__doc__ == tm.exp.__doc__ and tm.Tensor.exp.__name__ == "exp"


def test_help_shows_the_operation(capsys):
    help(tm.leaky_relu)
    shown = capsys.readouterr().out
    assert "leaky_relu(x, negative_slope=0.01)" in shown and "z = x where x > 0" in shown and "xp" not in shown


def test_numbers_are_operands_where_pytorch_takes_them_and_beside_arrays():
    assert tm.pow(2, X).tolist() == [0.5, 4.0] and tm.eq(X, 2).tolist() == [False, True]
    assert tm.fmod(X, 2).tolist() == [-1.0, 0.0] and tm.add(2, 3) == 5
    assert tm.maximum(np.array([-1.0, 2.0]), 0).tolist() == [0.0, 2.0]  # as a rule may write it


X = tm.tensor([-1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tm.leaky_relu(X, 0.1, 0.2), "leaky_relu"),
        (lambda: tm.argmax(X, 0, False, 7), "argmax"),
        (lambda: X.round(1, 2), "round"),
        (lambda: tm.leaky_relu(X, 0.1, negative_slope=0.2), "multiple values for argument 'negative_slope'"),
        (tm.exp, r"exp: missing a required argument: 'x'; it is called as exp\(x\)"),
        (lambda: tm.exp(X, input=X), "exp: input is another name of x; give one of them"),
        (lambda: tm.exp(inputt=X), "exp: unknown argument inputt"),
        (lambda: tm.argmax(X, dim=0, axis=0), "argmax: axis is another name of dim"),
        (lambda: tm.maximum(X, 0), r"maximum: y must be a tensor, got the number 0; make one of it, tensor\(0\)"),
        (lambda: X.logical_and(True), "logical_and: y must be a tensor, got the number True"),
        (lambda: tm.fmax(other=X, input=2.0), r"fmax: input must be a tensor, got the number 2.0"),
        (lambda: tm.eq(2, X), "eq: x must be a tensor, got the number 2"),
        (lambda: tm.pow(2, 3), "pow: x must be a tensor, got the number 2"),
        (lambda: tm.Tensor.__rsub__(2, X), r"sub: an operator of tensors, called as Tensor.__…__\(2, …\)"),
        (lambda: X - [1.0], r"unsupported operand type\(s\) for -: 'Tensor' and 'list'"),
        (lambda: None * X, r"unsupported operand type\(s\) for \*: 'NoneType' and 'Tensor'"),
        (lambda: X < "a", "'<' not supported between instances of 'Tensor' and 'str'"),
    ],
)
def test_what_the_signature_does_not_have_is_refused(call, text):
    with pytest.raises(TypeError, match=text):
        call()


def test_other_names_of_arguments_are_taken():
    assert tm.mul(X, other=X).tolist() == tm.mul(input=X, other=X).tolist() == [1.0, 4.0]
    assert tm.exp(input=X).tolist() == X.exp().tolist()
    assert tm.lt(X, other=tm.tensor([0.0, 0.0])).tolist() == [True, False]
    assert tm.pow(X, exponent=2).tolist() == [1.0, 4.0]
    assert tm.argmax(X, axis=0, keepdims=True).tolist() == tm.argmax(X, dim=0, keepdim=True).tolist() == [1]
    assert X.clamp_min(min=0.0).tolist() == [0.0, 2.0]
    assert (X == [1.0]) is False and (X != None) is True  # noqa: E711 - another thing than a tensor, and no error


@pytest.mark.parametrize(
    ("forward", "text"),
    [
        (lambda x: x, "takes x first; the first argument is xp, the array library"),
        (lambda xp: xp, "needs operands"),
        (lambda xp, x, beta=1: x, "the operand beta has a default; constants have, and come after *"),
        (lambda xp, x, **options: x, r"takes \*\*options; name each constant"),
        (lambda xp, z: z, "has an argument z; that is the output's name in rules"),
    ],
)
def test_a_mistake_in_a_forward_is_told_when_it_is_decorated(forward, text):
    with pytest.raises(TypeError, match=text):
        tm.primitive(forward)


def test_a_method_is_marked_above_the_primitive():
    with pytest.raises(TypeError, match="@method stands above @primitive, not below it: twice is still its forward"):

        @tm.primitive
        @methods.method
        def twice(xp, x):
            return 2 * x


def test_the_stubs_are_those_of_the_operations():
    found = Path(methods.__file__).with_suffix(".pyi").read_text("utf-8")
    assert found == stubs.text(), "python -m tinygrad_med.engine.stubs"
    assert re.search(
        r"def sum\(self, dim: Any = \.\.\., keepdim: _bool = \.\.\., dtype: Any = \.\.\.\) -> Tensor:", found
    )


# Numbers without dims have memory ------------------------------------------------------------------------------------


def test_a_scalar_leaf_can_be_written_through_everything_that_shares_it():
    w = tm.tensor(3.0, requires_grad=True)
    (w * w).backward()
    w.data.sub_(w.grad * 0.5)
    assert w.item() == 0.0
    w.grad.data.zero_()
    assert w.grad.item() == 0.0
    w.data.fill_(7).clamp_(-1, 1)
    assert w.item() == 1.0
    w.detach().numpy()[...] = 5
    assert w.item() == 5.0
    w.data = 2
    w.data.add_(1)
    assert w.item() == 3.0
    w.view(1).data[0] = 9.0
    assert w.item() == 9.0
    norm = tm.nn.BatchNorm2d(2)
    norm.state_dict()["num_batches_tracked"].fill_(7)
    assert norm.num_batches_tracked.item() == 7


@pytest.mark.parametrize("make", [lambda: tm.tensor(2.0), lambda: tm.Tensor(2.0), lambda: tm.as_tensor(2.0)])
def test_however_a_scalar_leaf_was_made(make):
    w = make()
    w.data.mul_(2)
    assert w.item() == 4.0


def test_second_derivatives_of_a_scalar_leaf():
    w = tm.tensor(2.0, requires_grad=True)
    (g,) = tm.autograd.grad(w**3, w, create_graph=True)
    (h,) = tm.autograd.grad(g, w, retain_graph=True)
    assert (g.item(), h.item()) == (12.0, 12.0)
    y = w**3
    w.data.fill_(5.0)
    with pytest.raises(RuntimeError, match="overwritten in place|exchanged"):
        tm.autograd.grad(y, w, create_graph=True)


def test_numpys_numbers_keep_their_dtype():
    assert tm.tensor([np.float64(0.1)]).dtype == tm.float64 and tm.tensor([np.float64(0.1)]).item() == 0.1
    assert tm.tensor([[0.1]]).dtype == tm.float32


MAKERS = {
    "tensor": lambda lib, v: lib.tensor(v, dtype=lib.float64),
    "a result": lambda lib, v: lib.tensor([v], dtype=lib.float64)[0].detach().clone(),
    "as_tensor": lambda lib, v: lib.as_tensor(v, dtype=lib.float64),
    "zeros": lambda lib, v: lib.zeros((), dtype=lib.float64) + v,
    "full": lambda lib, v: lib.full((), v, dtype=lib.float64),
    "from_numpy": lambda lib, v: lib.from_numpy(np.array(v)),
    "a parameter": lambda lib, v: lib.nn.Parameter(lib.tensor(v, dtype=lib.float64)),
}
ALIASES = {
    "itself": lambda w: w,
    "data": lambda w: w.data,
    "detach": lambda w: w.detach(),
    "view": lambda w: w.data.view(1)[0],
    "reshape": lambda w: w.detach().reshape(1, 1),
    "unsqueeze": lambda w: w.data.unsqueeze(0),
    "state": lambda w: w.detach().detach(),
}
WRITES = {
    "add_": lambda x, v: x.add_(v),
    "sub_": lambda x, v: x.sub_(v),
    "mul_": lambda x, v: x.mul_(v),
    "fill_": lambda x, v: x.fill_(v),
    "zero_": lambda x, _: x.zero_(),
    "clamp_": lambda x, v: x.clamp_(-abs(v), abs(v)),
    "copy_": lambda x, v: x.copy_(x.detach() * v),
}
NUMBERS = st.floats(-9, 9)
STEPS = st.lists(st.tuples(st.sampled_from([*ALIASES]), st.sampled_from([*WRITES]), NUMBERS), min_size=1, max_size=4)


@given(st.sampled_from([*MAKERS]), NUMBERS, STEPS)
def test_what_is_written_to_a_number_s_memory_is_seen_by_all_that_share_it(torch, maker, value, steps):
    """However the number was made, and through whichever alias it is written: as in PyTorch, then its gradient too."""
    seen = []
    for lib in (tm, torch):
        w = MAKERS[maker](lib, value)
        w.requires_grad_()
        with lib.no_grad():
            for alias, write, number in steps:
                WRITES[write](ALIASES[alias](w), number)
        (w * w).backward()
        w.grad.data.mul_(3)
        seen.append((w.item(), w.grad.item()))
    assert seen[0] == pytest.approx(seen[1], rel=1e-12, abs=1e-300)
