"""All that CI runs on this GPU: the tests marked `cuda`, and those of one setting, each in a pytest of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.gpu_on_cpu.running import environment

HERE = "tests/gpu_on_cpu"
OUR_KERNELS = "tests/backend/test_gpu_kernels.py"


class Check(NamedTuple):
    """One run of pytest. No test of it may be skipped for want of this GPU."""

    what: str
    settings: dict[str, str]
    arguments: tuple[str, ...]


CHECKS = [
    Check(
        "every test marked cuda; fresh memory is NaN",
        {"POISON": "1", "POOL": "0"},
        ("-m", "cuda", "-n", "2", "tests"),
    ),
    Check(
        "each access of our kernels looked at, and mistakes planted",
        {"WATCH": "1", "POOL": "0", "DEVICES": "2"},
        ("-n", "2", f"{HERE}/test_offences.py", f"{HERE}/test_planted.py", OUR_KERNELS),
    ),
    Check(
        "memory, counted in CuPy's pool",
        {},
        ("-m", "cuda", "tests/test_on_gpu.py", "tests/backend/test_gpu.py", "-k", "memory or full"),
    ),
    Check("CUDA graphs", {}, (f"{HERE}/test_capture.py", "tests/test_cuda_graphs.py")),
    Check("two devices", {"DEVICES": "2"}, (f"{HERE}/test_two_devices.py",)),
    Check("little memory", {"MEMORY": "100000000"}, (f"{HERE}/test_little_memory.py",)),
    Check(
        "copies as late as may be; without NVRTC, without cuBLAS",
        {},
        (f"{HERE}/test_asynchrony.py", f"{HERE}/test_missing_libraries.py"),
    ),
    Check(
        "our kernels under address sanitizer, the last block and thread first, and mistakes planted",
        {"ASAN": "1", "POOL": "0", "ORDER": "last"},
        (f"{HERE}/test_sanitizer.py", OUR_KERNELS),
    ),
    Check("what a step costs", {"POOL": "0"}, (f"{HERE}/test_budget.py",)),
]


def check(home: Path, chosen: list[str]) -> int:
    """Run the checks whose description holds one of the words (all, without words); 0 where all passed."""
    failed = []
    for wanted in CHECKS:
        if chosen and not any(word in wanted.what for word in chosen):
            continue
        print(f"\nOn a GPU out of this CPU: {wanted.what}", flush=True)  # noqa: T201
        began = time.monotonic()
        settings = {f"GPU_ON_CPU_{name}": value for name, value in wanted.settings.items()}
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-rfEs", *wanted.arguments]
        with subprocess.Popen(command, env=environment(home, settings), stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            lines = []
            for line in run.stdout:
                print(line, end="", flush=True)  # noqa: T201
                lines.append(line)
        if run.returncode or any(re.match(r"SKIPPED.*(CUDA card|GPU out of this CPU)", line) for line in lines):
            failed.append(wanted.what)
        print(f"{time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    print("\n".join(["", *(f"FAILED or skipped: {what}" for what in failed)]))  # noqa: T201
    return int(bool(failed))
