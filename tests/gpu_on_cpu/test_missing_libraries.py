"""CuPy without one of CUDA's libraries: there is no GPU then, and the reason is said before anything is computed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu_on_cpu.running import needs

pytestmark = needs()

PROGRAM = """
import tinygrad_med as tm
print(tm.cuda.is_available(), tm.cuda.why_not())
try:
    tm.ones(2, device="cuda")
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize("library", ["nvrtc", "cublas"])
def test_it_is_named(library, tmp_path):
    for file in Path(os.environ["GPU_ON_CPU_HOME"], "lib").iterdir():
        if not file.name.startswith(f"lib{library}."):
            (tmp_path / file.name).symlink_to(file)
    # Not even the folder that CUDA_PATH names may have it.
    settings = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "CUDA_PATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=settings, capture_output=True, text=True, check=True)
    said, error = run.stdout.splitlines()
    assert said.startswith("False ") and f"not NVIDIA's library {library}" in said and "tinygrad_med[cuda13]" in said
    assert f"not NVIDIA's library {library}" in error
