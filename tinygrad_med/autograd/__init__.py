"""PyTorch's name for the machinery of differentiation: `autograd.grad`, `autograd.detect_anomaly` …"""

from typing import Any

from tinygrad_med.autograd import functional as functional
from tinygrad_med.autograd.calls import backward as backward, grad as grad
from tinygrad_med.autograd.function import Function as Function, FunctionCtx as FunctionCtx
from tinygrad_med.core.backward import steps as steps
from tinygrad_med.engine.anomaly import AnomalyError as AnomalyError
from tinygrad_med.engine.errors import no_attribute as _no_attribute
from tinygrad_med.engine.switches import (
    by_definition as by_definition,
    detect_anomaly as detect_anomaly,
    enable_grad as enable_grad,
    inference_mode as inference_mode,
    is_grad_enabled as is_grad_enabled,
    no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
)


def __getattr__(name: str) -> Any:
    known = [known for known in globals() if not known.startswith("_")]
    raise _no_attribute("module 'tinygrad_med.autograd'", name, known, "grad() and backward() are its functions")
