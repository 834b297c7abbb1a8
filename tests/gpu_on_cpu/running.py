"""The environment in which a Python program finds the GPU, and how a test asks for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def environment(home: Path, settings: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment, in which CuPy finds the GPU in `home`."""
    found = {**os.environ, **(settings or {})}
    kind = "".join(f"-{found[name]}" for name in ("GPU_ON_CPU_WATCH", "GPU_ON_CPU_CXXFLAGS") if found.get(name))
    return {
        **found,
        "GPU_ON_CPU_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(home / "site"), *filter(None, [found.get("PYTHONPATH")])]),
        "LD_LIBRARY_PATH": str(home / "lib"),
        "CUDA_PATH": str(home),
        "CUPY_CACHE_DIR": f"{(home / 'kernels').readlink()}{kind}".replace(" ", ""),
        "CUPY_CACHE_SAVE_CUDA_SOURCE": "1",
        "CUPY_ACCELERATORS": "",  # CUB's templates are for NVIDIA's compiler
    }


def needs(**settings: str) -> Any:
    """A mark for tests that run on this GPU only, with these settings (`WATCH="1"` is GPU_ON_CPU_WATCH=1)."""
    wanted = {f"GPU_ON_CPU_{name}": value for name, value in settings.items()}
    there = "GPU_ON_CPU_HOME" in os.environ and all(os.environ.get(name) == v for name, v in wanted.items())
    command = "".join(f"{name}={value} " for name, value in wanted.items()) + "python -m tests.gpu_on_cpu run -m pytest"
    return pytest.mark.skipif(not there, reason=f"runs on a GPU out of this CPU: {command}")
