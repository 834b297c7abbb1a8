"""The environment in which a Python program finds the GPU, and how a test asks for it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def environment(home: Path, settings: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment, in which CuPy finds the GPU in `home`."""
    found = {**os.environ, **(settings or {})}
    if found.get("GPU_ON_CPU_ASAN"):
        library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        found |= {"LD_PRELOAD": library.stdout.strip()}
        found |= {"ASAN_OPTIONS": "detect_leaks=0,detect_stack_use_after_return=0"}
    return {
        **found,
        "GPU_ON_CPU_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(home / "site"), str(ROOT), *filter(None, [found.get("PYTHONPATH")])]),
        "LD_LIBRARY_PATH": str(home / "lib"),
        "CUDA_PATH": str(home),
        "CUPY_CACHE_DIR": str(_kernels((home / "kernels").readlink(), found)),
        "CUPY_CACHE_SAVE_CUDA_SOURCE": "1",
        "CUPY_ACCELERATORS": "",  # CUB's templates are for NVIDIA's compiler
    }


def is_ours(source: str) -> bool:
    """Whether a kernel's source is not one of CuPy's own, by its name; nvrtc.cpp asks likewise."""
    return not re.search(r"__global__\s+void\s+(__launch_bounds__\s*\([^)]*\)\s*)?cupy", source)


def _kernels(plain: Path, settings: dict[str, str]) -> Path:
    """Where CuPy keeps compiled kernels: of each kind (nvrtc.cpp) ours are compiled anew, CuPy's own are the same."""
    kind = settings.get("GPU_ON_CPU_WATCH", "") + settings.get("GPU_ON_CPU_ASAN", "").replace("1", "asan")
    if not kind:
        return plain
    folder = plain.with_name(f"{plain.name}-{kind}")
    folder.mkdir(parents=True, exist_ok=True)
    for source in plain.glob("*.cu") if kind != "all" else ():
        if not is_ours(source.read_text()):
            for file in (source, source.with_suffix("")):
                with contextlib.suppress(FileExistsError):
                    (folder / file.name).symlink_to(file)
    return folder


def needs(**settings: str) -> Any:
    """A mark for tests that run on this GPU only, with these settings (`WATCH="1"` is GPU_ON_CPU_WATCH=1)."""
    wanted = {f"GPU_ON_CPU_{name}": value for name, value in settings.items()}
    there = "GPU_ON_CPU_HOME" in os.environ and all(os.environ.get(name) == v for name, v in wanted.items())
    command = "".join(f"{name}={value} " for name, value in wanted.items()) + "python -m tests.gpu_on_cpu run -m pytest"
    return pytest.mark.skipif(not there, reason=f"runs on a GPU out of this CPU: {command}")
