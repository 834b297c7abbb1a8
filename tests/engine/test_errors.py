"""Names that are not there: where ours is, or one much like it, or neither; and the error of a rule's shape."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

import tinygrad_med as tg
from tinygrad_med import autograd, nn
from tinygrad_med.engine.elsewhere import KINDS, NAMES, advice
from tinygrad_med.engine.errors import RuleShapeError, did_you_mean


@pytest.mark.parametrize(
    ("owner", "name", "hint"),
    [
        (autograd, "gradcheck", "it is tinygrad_med.testing.gradcheck"),
        (autograd, "Variable", "a tensor holds requires_grad itself"),
        (autograd, "gard", "did you mean grad?"),
        (autograd, "whatever", "grad() and backward() are its functions"),
        (tg, "Function", "it is tinygrad_med.autograd.Function"),
        (tg, "hub", "weights come with their model"),
        (tg, "compile", "there is nothing to compile; leave it out"),
        (nn, "DataParallel", "one process computes on one device"),
        (nn.functional, "jacobian", "it is tinygrad_med.autograd.functional.jacobian"),
    ],
)
def test_well_known_names_point_to_ours(owner: Any, name: str, hint: str | None) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'" + (f"; {re.escape(hint)}" if hint else "")):
        getattr(owner, name)


@pytest.mark.parametrize("name", ["hub", "det_", "xyz", "strided"])
def test_no_silly_guess(name: str) -> None:
    assert did_you_mean(name, ["sub", "dot", "sin", "tril", "std"], "nothing") == "nothing"


def test_each_place_that_is_named_is_there_and_no_name_is_ours() -> None:
    for name, hint in [*NAMES.items(), *(("", text) for text, *_ in KINDS)]:
        assert not name or not hasattr(tg, name), f"tinygrad_med has {name} itself by now; take it out of the table"
        for path in re.findall(r"tinygrad_med\.[\w.]*\w", hint):
            module, _, attribute = path.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), path


def test_kinds_of_names_that_are_not_here() -> None:
    for name, words in {
        "quantize_per_tensor": "no quantized numbers",
        "LSTMCell": "no recurrent layers",
        "to_sparse_csr": "dense tensors alone",
        "view_as_complex": "no complex numbers",
        "cudnn_convolution": "the function of the plain name",
        "xavier_uniform": "ends with an underscore",
        "MultiheadAttention": "F.scaled_dot_product_attention",
        "index_reduce_": "use scatter_reduce",
        "data_ptr": "memory is NumPy's",
        "conj": "all numbers are real",
    }.items():
        assert words in (advice(name) or ""), name
    for owner, text in ((tg.optim, "use Adam or AdamW"), (tg.utils.data, "trains on several processes")):
        with pytest.raises(AttributeError, match=text):
            _ = owner.Muon if owner is tg.optim else owner.DistributedSampler


def test_a_rule_of_the_wrong_shape_says_which() -> None:
    @tg.primitive
    def double(xp: Any, x: Any) -> Any:
        """z = 2 x"""
        return 2 * x

    double.vjp(x=lambda g: g.reshape(3, 2))
    with pytest.raises(RuleShapeError, match=r"double: its rule gave .* shape \(3, 2\) for an operand") as caught:
        double(tg.ones(2, 3, requires_grad=True)).sum().backward()
    assert (str(caught.value.primitive), caught.value.got, caught.value.expected) == ("double", (3, 2), (2, 3))
