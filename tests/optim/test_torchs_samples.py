"""PyTorch's own samples for its optimizers (`optim_db`), for those whose name we have: trajectories and errors."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import optim

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest: pip install expecttest")

import torch
from torch.testing._internal.common_optimizers import optim_db

NAMES = ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "NAdam", "RAdam", "RMSprop", "SGD"]
INFOS = {info.optim_cls.__name__: info for info in optim_db if info.optim_cls.__name__ in NAMES}
DIFFERENT = {  # errors of PyTorch's that are none here, and why
    "lr as Tensor doesn't work with foreach & not capturable": "foreach chooses no program here",
    "betas must be either both floats or both Tensors": "each is read as a number",
    r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True": "foreach chooses no program here",
}


def ours(value, known):
    """A sample's value in our tensors; `known` holds those made so far, so that the same one twice stays the same."""
    if isinstance(value, torch.Tensor):
        made = tg.tensor(value.detach().numpy().copy(), requires_grad=value.requires_grad)
        return known.setdefault(id(value), made)
    if isinstance(value, dict):
        return {name: ours(item, known) for name, item in value.items()}
    return type(value)(ours(item, known) for item in value) if isinstance(value, (list, tuple)) else value


def samples(name):
    return INFOS[name].optim_inputs_func(device="cpu", dtype=torch.float64)


def test_all_names_that_both_have_are_tried():
    theirs = {info.optim_cls.__name__ for info in optim_db}
    assert sorted(theirs & set(dir(optim))) == sorted(INFOS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_of_every_sample(name):
    for sample in samples(name):
        histories = []
        rng = np.random.default_rng(0)
        shapes = [(3, 4), (5,), ()]
        start, target = ([rng.standard_normal(shape) for shape in shapes] for _ in range(2))
        for lib in (tg, torch):
            parameters = [lib.tensor(np.array(value), requires_grad=True) for value in start]
            options = ours(sample.kwargs, {}) if lib is tg else sample.kwargs
            if lib is tg and options.pop("differentiable", False):
                with pytest.raises(
                    ValueError, match=f"{name}: differentiable=True is not supported, a step is outside"
                ):
                    getattr(optim, name)(parameters, differentiable=True)
            optimizer = getattr(lib.optim, name)(parameters, **options)

            def closure(lib=lib, parameters=parameters, optimizer=optimizer, target=target):
                optimizer.zero_grad()
                parts = zip(parameters, target, strict=True)
                away = [p - lib.tensor(np.array(t)) for p, t in parts]
                loss = sum((d**4 / 4 + d**2 + d.cos()).sum() for d in away)  # convex: no step hangs on a rounding
                loss.backward()
                return loss

            history = []
            for _ in range(20):
                optimizer.step(closure)
                history.append(np.concatenate([p.detach().numpy().ravel() for p in parameters]))
            histories.append(history)
        np.testing.assert_allclose(*histories, rtol=1e-8, atol=1e-9, err_msg=sample.desc)


@pytest.mark.parametrize("name", NAMES)
def test_what_pytorch_refuses_is_refused(name):
    errors = INFOS[name].optim_error_inputs_func(device="cpu", dtype=torch.float64)
    wanted = [error.optimizer_error_input for error in errors if error.optimizer_error_input.desc not in DIFFERENT]
    for sample in wanted:
        known = {}
        parameters = [tg.zeros(2, 2, requires_grad=True)] if sample.params is None else ours(sample.params, known)
        with pytest.raises((ValueError, TypeError)) as caught:
            getattr(optim, name)(parameters, **ours(sample.kwargs, known))
        assert str(caught.value).startswith(f"{name}: "), sample.desc
    assert len(wanted) >= 6
