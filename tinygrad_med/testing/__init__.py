"""Is this derivative right, and if not, where and why?"""

from __future__ import annotations

from typing import Any

from tinygrad_med.testing.check_op import check_op as check_op
from tinygrad_med.testing.gradcheck import gradcheck as gradcheck, gradgradcheck as gradgradcheck
from tinygrad_med.testing.layouts import laid_out as laid_out
from tinygrad_med.testing.report import GradcheckError as GradcheckError, Report as Report


def __getattr__(name: str) -> Any:
    if name == "strategies":  # needs hypothesis, which nothing else here does
        import importlib

        return importlib.import_module("tinygrad_med.testing.strategies")
    raise AttributeError(f"module 'tinygrad_med.testing' has no attribute {name!r}")
