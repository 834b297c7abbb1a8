"""Clipping gradients, as PyTorch does it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_med as tg


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf, "inf"])
@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_clip_grad_norm(torch, max_norm, norm_type):
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(shape) for shape in ((3, 4), (), (5,))]
    found = []
    for lib in (tg, torch):
        parameters = [lib.tensor(np.zeros(g.shape), requires_grad=True) for g in gradients]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = lib.tensor(g)
        parameters.append(lib.zeros(2, requires_grad=True))  # without a gradient
        total = lib.nn.utils.clip_grad_norm_(iter(parameters), max_norm, norm_type)
        found.append([total.numpy(), *(p.grad.numpy() for p in parameters[:-1])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_one_parameter_none_and_nan(torch):
    p = tg.zeros(2, requires_grad=True)
    assert tg.nn.utils.clip_grad_norm_(p, 1.0).item() == torch.nn.utils.clip_grad_norm_([], 1.0).item() == 0
    p.grad = tg.tensor([3.0, 4.0])
    assert tg.nn.utils.clip_grad_norm_(p, 1.0).item() == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)
    p.grad = tg.tensor([math.nan, 4.0])
    with pytest.raises(RuntimeError, match="clip_grad_norm_: the norm of the gradients is nan"):
        tg.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_a_used_up_generator_is_noticed():
    layer = tg.nn.Linear(2, 1)
    parameters = layer.parameters()
    list(parameters)
    for clip in (tg.nn.utils.clip_grad_norm_, tg.nn.utils.clip_grad_value_):
        with pytest.raises(ValueError, match=f"{clip.__name__}: the iterator has no parameters; was it used up before"):
            clip(parameters, 1.0)
    with pytest.raises(ValueError, match="parameters_to_vector: got no parameters; was the iterator used up"):
        tg.nn.utils.parameters_to_vector(parameters)


def test_clip_grad_value(torch):
    values = [np.array([[-3.0, 0.2], [1.0, math.inf]]), np.array(-0.7), np.array([0.1, -9.0])]
    found = []
    for lib in (tg, torch):
        parameters = [lib.zeros(v.shape, dtype=lib.float64, requires_grad=True) for v in values]
        for p, v in zip(parameters, values, strict=True):
            p.grad = lib.tensor(v)
        parameters.append(lib.zeros(2, requires_grad=True))
        lib.nn.utils.clip_grad_value_(iter(parameters), 0.5)
        found.append([p.grad.numpy() for p in parameters[:-1]])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="clip_value=-1 must not be negative"):
        tg.nn.utils.clip_grad_value_([], -1)


def test_parameters_as_a_vector_and_back(torch):
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (), (4,)]
    values = [rng.standard_normal(shape) for shape in shapes]
    found = []
    for lib in (tg, torch):
        parameters = [lib.tensor(v, requires_grad=True) for v in values]
        vector = lib.nn.utils.parameters_to_vector(parameters)
        (vector**2).sum().backward()
        gradients = [p.grad.numpy().copy() for p in parameters]
        lib.nn.utils.vector_to_parameters(vector.detach() * 2, iter(parameters))
        found.append([vector.detach().numpy(), *gradients, *(p.detach().numpy() for p in parameters)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    with pytest.raises(ValueError, match=r"vec has shape \(3,\), the parameters 2 numbers"):
        tg.nn.utils.vector_to_parameters(tg.zeros(3), [tg.zeros(2)])
    with pytest.raises(TypeError, match="vec is a list, not a tensor"):
        tg.nn.utils.vector_to_parameters([1.0], [tg.zeros(1)])
