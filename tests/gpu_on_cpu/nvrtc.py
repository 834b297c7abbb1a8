"""NVIDIA's own compiler on the sources of kernels that ran here: does it take them, for each kind of card?

It needs no card and no driver. The sources are those that CuPy kept beside the compiled kernels.
"""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

from tests.gpu_on_cpu.building import CannotBuildError
from tests.gpu_on_cpu.running import is_ours

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")  # A100, H100, RTX 50
PACKAGES = ("nvidia-cuda-nvrtc>=13,<14", "nvidia-cuda-runtime>=13,<14", "nvidia-cuda-crt>=13,<14")  # two for headers
OPTIONS = ("--std=c++17", "-ftz=true", "--device-as-default-execution-space")  # CuPy's


def check(home: Path, everything: bool) -> int:
    """Compile our kernels' sources, or everything's; 0 if there are some and all compile."""
    folder = (home / "kernels").readlink()
    sources = {file.read_text() for file in folder.parent.glob(f"{folder.name}*/*.cu")}
    wanted = sorted(source for source in sources if everything or is_ours(source))
    nvidia = _installed(home.parent / "nvidia")
    with multiprocessing.get_context("spawn").Pool(2, _begin, (str(nvidia),)) as pool:
        results = pool.map(_compile, [(source, arch) for source in wanted for arch in ARCHITECTURES])
    problems = [problem for problem in results if problem]
    print("\n".join(problems))  # noqa: T201
    print(f"NVIDIA's NVRTC: {len(wanted)} kernels for {', '.join(ARCHITECTURES)}, {len(problems)} problems")  # noqa: T201
    return int(bool(problems) or not wanted)


def _installed(folder: Path) -> Path:
    if not folder.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotBuildError(f"NVIDIA's compiler can't be had:\n{done.stderr[-2000:]}")
    return folder / "nvidia" / "cu13"


_nvrtc: ctypes.CDLL
_includes: list[str]


def _begin(nvidia: str) -> None:
    global _nvrtc, _includes
    _nvrtc = ctypes.CDLL(f"{nvidia}/lib/libnvrtc.so.13")
    spec = importlib.util.find_spec("cupy")
    assert spec is not None and spec.origin is not None
    headers = Path(spec.origin).parent / "_core" / "include"
    cccl = [str(headers / "cupy" / "_cccl" / part) for part in ("cub", "thrust", "libcudacxx")]
    _includes = [f"-I{folder}" for folder in (*cccl, headers, f"{nvidia}/include")]


def _compile(task: tuple[str, str]) -> str:
    """What is wrong with a source for an architecture, or ""."""
    source, arch = task
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    _nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    options = [option.encode() for option in (*OPTIONS, *_includes, f"-arch={arch}")]
    failed = _nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    _nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    _nvrtc.nvrtcGetProgramLog(program, log)
    _nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    _nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if not failed and size.value:
        return ""
    names = re.findall(r"__global__\s+void\s+(\w+)", source)
    return f"{arch}: {', '.join(names)}: {log.value.decode()[:1000]}"
