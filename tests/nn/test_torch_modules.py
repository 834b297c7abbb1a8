"""PyTorch's own samples of modules, for every module whose name we have: values, gradients, keys of the state."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch's samples come with PyTorch")
pytest.importorskip("expecttest", reason="PyTorch's samples need it")

import tinygrad_med as tg  # noqa: E402
from tinygrad_med import nn  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's own deprecations, while it is imported
    from torch.testing._internal.common_modules import module_db

MODULES = [info for info in module_db if info.module_cls.__name__ in vars(nn)]
COMMON = 35  # the names that we had when this was written; fewer would mean that some got lost

LEFT_OUT: dict[tuple[str, str], str] = {}
"""(module, a word of the sample's description or arguments): why we don't have it."""


def reason(name: str, sample: Any) -> str | None:
    """Why a sample is left out, if it is."""
    text = f"{sample.desc} {sample.constructor_input.args} {sample.constructor_input.kwargs}"
    for (module, word), why in LEFT_OUT.items():
        if module == name and word in text:
            return why
    return None


def ours(value: Any) -> Any:
    """A value of PyTorch's as ours: tensors, also within tuples and dicts; everything else as it is."""
    if isinstance(value, torch.Tensor):
        found = tg.tensor(value.detach().numpy().copy())
        return found.requires_grad_() if value.requires_grad else found
    if isinstance(value, (tuple, list)):
        return type(value)(map(ours, value))
    return value


def own(value: Any) -> Any:
    """A copy of a tensor of PyTorch's, with a gradient of its own."""
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value


def leaves(value: Any) -> list[Any]:
    """The tensors of a result, from which gradients flow back."""
    if isinstance(value, (tuple, list)):
        return [leaf for v in value for leaf in leaves(v)]
    return [value]


def back(results: list[Any], library: Any) -> None:
    """Send back one upstream gradient, the same for both libraries."""
    total = 0.0
    for i, z in enumerate(results):
        if z.requires_grad:
            u = np.random.default_rng(i).standard_normal(tuple(z.shape))
            total = total + (z * library.tensor(u, dtype=library.float64)).sum()
    if results and any(z.requires_grad for z in results):
        total.backward()


def close(mine: Any, theirs: Any, what: str) -> None:
    mine, theirs = mine.detach().numpy(), theirs.detach().numpy()
    assert mine.shape == theirs.shape, f"{what}: shape {mine.shape}, PyTorch has {theirs.shape}"
    assert mine.dtype == theirs.dtype, f"{what}: dtype {mine.dtype}, PyTorch has {theirs.dtype}"
    scale = max(1.0, np.abs(theirs[np.isfinite(theirs)]).max(initial=0)) if theirs.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-10 * scale, err_msg=what)


def compare(name: str, sample: Any, training: bool) -> None:
    """One sample on both sides."""
    made, given = sample.constructor_input, sample.forward_input
    theirs = (
        getattr(torch.nn, name)(*made.args, **made.kwargs, dtype=torch.float64)
        if takes_dtype(name)
        else (getattr(torch.nn, name)(*made.args, **made.kwargs))
    )
    mine = getattr(nn, name)(*map(ours, made.args), **{k: ours(v) for k, v in made.kwargs.items()}).double()
    assert list(mine.state_dict()) == list(theirs.state_dict()), "keys of the state"
    mine.load_state_dict({key: value.numpy().copy() for key, value in theirs.state_dict().items()})
    mine.train(training), theirs.train(training)

    arguments, named = [own(a) for a in given.args], {name: own(v) for name, v in given.kwargs.items()}
    copies, named_copies = list(map(ours, arguments)), {name: ours(v) for name, v in named.items()}
    found, expected = leaves(mine(*copies, **named_copies)), leaves(theirs(*arguments, **named))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        close(a, b, "value")
    if any(torch.isnan(z).any() for z in expected):
        return  # KLDivLoss's sample takes the logarithm of negative numbers; what is no number has no gradient
    back(found, tg), back(expected, torch)
    for a, b in zip([*copies, *named_copies.values()], [*arguments, *named.values()], strict=True):
        if isinstance(b, torch.Tensor) and b.grad is not None:
            close(a.grad, b.grad, "gradient of the input")
    theirs_by_name = dict(theirs.named_parameters())
    for key, parameter in mine.named_parameters():
        if theirs_by_name[key].grad is not None:
            close(parameter.grad, theirs_by_name[key].grad, f"gradient of {key}")
    for key, value in theirs.state_dict().items():
        close(mine.state_dict()[key], value, f"{key} afterwards")


def takes_dtype(name: str) -> bool:
    return "dtype" in inspect.signature(getattr(torch.nn, name)).parameters


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("info", MODULES, ids=lambda info: info.module_cls.__name__)
@pytest.mark.filterwarnings("ignore")  # PyTorch's, about its own arguments
def test_the_samples_of_pytorch(info: Any, training: bool) -> None:
    name = info.module_cls.__name__
    samples = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
    tried = 0
    for sample in samples:
        if reason(name, sample) is None:
            try:
                compare(name, sample, training)
            except Exception as error:
                made = sample.constructor_input
                raise AssertionError(f"{name}({made.args}, {made.kwargs}) {sample.desc!r}: {error}") from error
            tried += 1
    assert tried


def test_no_name_was_lost() -> None:
    assert len(MODULES) >= COMMON


def test_every_reason_is_needed() -> None:
    names = {info.module_cls.__name__ for info in MODULES}
    assert {module for module, _ in LEFT_OUT} <= names
