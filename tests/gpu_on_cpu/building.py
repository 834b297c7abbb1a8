"""Makes the GPU: CuPy's wheel with one module compiled anew, and the libraries that it asks for.

All lies in the user's cache folder, under a name that changes with CuPy, Python and the files here.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tinygrad_med._files import cache_folder, say, writing

HERE = Path(__file__).parent
CYTHON = "cython>=3.2,<3.3"  # as CuPy's pyproject.toml asks
FLAGS = "-std=c++17 -O1 -fPIC -w -fno-strict-aliasing -ffp-contract=off -mf16c"
"""With which kernels are compiled. As on a GPU by default, no fused multiply-add is rounded once but by ours."""
KINDS = {
    "plain": "",
    "watched": "-DGPU_WATCHED -fsanitize=thread --param tsan-instrument-func-entry-exit=0 "
    "--param tsan-distinguish-volatile=1",
    "sanitized": "-fsanitize=address",
}
"""More flags, for each kind of kernel (nvrtc.cpp)."""


class CannotBuildError(RuntimeError):
    """What is missing."""


def build() -> Path:
    """The folder of the GPU, made if it is not there.

    Raises:
        CannotBuildError: CuPy, its sources or a compiler can't be had.
    """
    version = _installed()
    home = cache_folder() / "gpu_on_cpu" / f"{version}-{_key(version, SOURCES)}"
    home.parent.mkdir(exist_ok=True)
    with (home.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process builds, the others wait
        if not home.is_dir():
            say(f"gpu_on_cpu: building a GPU out of this CPU, for CuPy {version}, in {home}")
            with writing(home) as folder:
                _make(folder, version, home)
    return home


SOURCES = ("building.py", "thrust.py", "*.h", "*.cpp", "include/*.h")
KERNELS = ("nvrtc.cpp", "include/*.h")  # what compiled kernels follow from


def _key(version: str, patterns: tuple[str, ...]) -> str:
    key = hashlib.sha256(f"{version} {sys.version} {_compiler()} {FLAGS} {KINDS}".encode())
    for pattern in patterns:
        for file in sorted(HERE.glob(pattern)):
            key.update(file.read_bytes())
    return key.hexdigest()[:12]


def _installed() -> str:
    try:
        return importlib.metadata.version("cupy-cuda13x")
    except importlib.metadata.PackageNotFoundError as error:
        raise CannotBuildError("CuPy is not installed: pip install cupy-cuda13x") from error


def _compiler() -> str:
    if not shutil.which("g++"):
        raise CannotBuildError("there is no g++: apt-get install g++")
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _make(folder: Path, version: str, home: Path) -> None:
    lib, work = folder / "lib", folder / "work"
    for made in (lib, work):
        made.mkdir(parents=True)
    sources = _cupy_sources(folder.parent, version, work)

    _header(sources, work)
    runtime = _runtime_object(sources, work)
    ours = ["-O2", "-std=c++17", "-fPIC", "-shared", f"-I{work}", f"-I{HERE}"]
    cuda = lib / "libcuda.so.1"
    _link(cuda, ours, [HERE / "cuda.cpp", HERE / "threads.cpp", "-ldl"], [runtime], work)
    _run("g++", *ours, "-Wl,-soname,libnvrtc.so.13", HERE / "nvrtc.cpp", "-o", lib / "libnvrtc.so.13")
    backends = _package("cupy_backends")
    fast = ["-O3", "-mavx2", "-mf16c"]
    (cublas,) = (backends / "cuda" / "libs").glob("cublas.*.so")
    (lapack,) = (_package("numpy").parent / "numpy.libs").glob("libscipy_openblas64_*.so")
    algebra = [HERE / "lapack.cpp", cuda, lapack, f"-Wl,-rpath,{lapack.parent}"]
    _link(lib / "libcublas.so.13", [*ours, *fast], [HERE / "cublas.cpp", *algebra], [cublas], work)
    (cusolver,) = (backends / "cuda" / "libs").glob("cusolver.*.so")
    _link(lib / "libcusolver.so.12", ours, algebra, [cusolver], work)
    for unused in ("libcublasLt.so.13", "libcusparse.so.12", "libnvJitLink.so.13"):  # loaded along with the others
        _link(lib / unused, ours, [], [], work)

    for kind, flags in KINDS.items():
        _header_of_kernels(folder / kind, f"{FLAGS} {flags} -I{home}/{kind} -I{_package('cupy')}/_core/include")
    (folder / "include").mkdir()
    (folder / "include" / "cuda_runtime.h").touch()  # found here, CuPy's search for CUDA's headers ends at once
    (folder / "kernels").symlink_to(home.parent / f"kernels-{_key(version, KERNELS)}")
    module = work / f"runtime{sysconfig.get_config_var('EXT_SUFFIX')}"
    _run("g++", "-shared", runtime, cuda, "-o", module)
    _site(folder, module)
    shutil.rmtree(work)


def _header_of_kernels(folder: Path, flags: str) -> None:
    """What comes before a kernel's source, compiled once for all kernels, and the flags that they are compiled with."""
    shutil.copytree(HERE / "include", folder)
    empty = folder / "thrust/detail/config/namespace.h"  # CuPy's complex numbers ask for it
    empty.parent.mkdir(parents=True)
    empty.write_text("#define THRUST_NAMESPACE_BEGIN namespace thrust {\n#define THRUST_NAMESPACE_END }\n")
    (folder / "flags").write_text(flags)
    _run("g++", "-x", "c++-header", *flags.split(), f"-I{folder}", "device.h", "-o", "device.h.gch", cwd=folder)


def _run(*command: str | Path, cwd: Path | None = None, **settings: str) -> str:
    words, environment = [str(c) for c in command], {**os.environ, **settings}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        what = " ".join(map(str, command[:4]))
        raise CannotBuildError(f"{what} … failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise CannotBuildError(f"{name} is not installed: pip install cupy-cuda13x")
    return Path(spec.origin).parent


# CuPy's runtime.pyx -------------------------------------------------------------------------------------------------


def _cupy_sources(downloads: Path, version: str, work: Path) -> Path:
    """Unpack CuPy's source distribution, downloaded with pip if it is not there."""
    archive = downloads / f"cupy-{version}.tar.gz"
    if not archive.is_file():
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", work)
        # pip asks the package for its metadata; READTHEDOCS keeps CuPy from looking for CUDA when it is asked.
        _run(*pip, "--no-binary", "cupy", f"cupy=={version}", READTHEDOCS="True")
        with writing(archive) as target:
            shutil.copyfile(work / archive.name, target)
    with tarfile.open(archive) as opened:
        opened.extractall(work, filter="data")
    return work / f"cupy-{version}"


def _header(sources: Path, work: Path) -> None:
    """What `runtime.pyx` takes from CUDA's header: our types, and what its own files name, read from them."""
    api = sources / "cupy_backends/cuda/api"
    text = (api / "_runtime_typedef.pxi").read_text()
    fields = text.split("IF CUPY_CUDA_VERSION >= 13000:")[1].split("ELIF")[0].split("'cudaDeviceProp':")[1]
    fields = re.sub(r"#.*", "", fields).replace("cudaUUID ", "cudaUUID_t ")
    functions = sorted(set(re.findall(r"\bint (cuda\w+)\(", (api / "_runtime_extern.pxi").read_text())))
    (work / "cupy_runtime.h").write_text(
        '#pragma once\n#include "cupy_types.h"\nstruct cudaDeviceProp {\n'
        + "".join(f"  {line.strip()};\n" for line in fields.splitlines() if line.strip())
        + "};\n"
    )
    (sources / "cupy_backends/cupy_backend_runtime.h").write_text(
        '#include "cupy_runtime.h"\nstatic const bool hip_environment = false;\nextern "C" {\n'
        "const char* cudaGetErrorName(int); const char* cudaGetErrorString(int);\n"
        + "".join(f"int {name}(...);\n" for name in functions)
        + "}\n"
        "static cudaExtent make_cudaExtent(size_t w, size_t h, size_t d) { return {w, h, d}; }\n"
        "static cudaPos make_cudaPos(size_t x, size_t y, size_t z) { return {x, y, z}; }\n"
        "static cudaPitchedPtr make_cudaPitchedPtr(void* p, size_t n, size_t x, size_t y) { return {n, p, x, y}; }\n"
    )
    (sources / "cupy_backends/cupy_profiler.h").write_text("")  # its two functions are among those above


CYTHONIZE = """
import Cython, Cython.Build, setuptools
setting = {"CUPY_USE_CUDA_PYTHON": False, "CUPY_CUFFT_STATIC": False, "CUPY_CYTHON_VERSION": Cython.__version__,
           "CUPY_CUDA_VERSION": 13020, "CUPY_HIP_VERSION": 0}
name = "cupy_backends.cuda.api.runtime"
module = setuptools.Extension(name, [name.replace(".", "/") + ".pyx"], language="c++")
directives = {"embedsignature": True, "binding": False, "warn.deprecated.IF": False, "freethreading_compatible": True}
Cython.Build.cythonize([module], language_level=3, compile_time_env=setting, compiler_directives=directives)
"""  # as CuPy's own install/ does it


def _runtime_object(sources: Path, work: Path) -> Path:
    """Compile the one module in which CuPy's wheel has NVIDIA's runtime linked in."""
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", work / "tools", CYTHON, "setuptools")
    _run(sys.executable, "-c", CYTHONIZE, cwd=sources, PYTHONPATH=str(work / "tools"))
    compiled = work / "runtime.o"
    includes = [f"-I{sources}", f"-I{work}", f"-I{HERE}", f"-I{sysconfig.get_path('include')}"]
    code = sources / "cupy_backends/cuda/api/runtime.cpp"
    _run("g++", "-c", "-O1", "-std=c++17", "-fPIC", "-w", "-fpermissive", *includes, code, "-o", compiled)
    return compiled


# Libraries ----------------------------------------------------------------------------------------------------------


def _symbols(library: Path, kind: str) -> set[str]:
    lines = _run("nm", *(() if library.suffix == ".o" else ("-D",)), library).splitlines()
    return {line.split()[-1].partition("@")[0] for line in lines if f" {kind} " in line}


def _link(target: Path, flags: list[str], files: Iterable[str | Path], users: list[Path], work: Path) -> None:
    """Make a library in which whatever its users link to can be found: what is not ours fails with its name."""
    base = ["g++", *flags, f"-Wl,-soname,{target.name}", *files, "-o", target]
    versions = work / f"{target.name}.map"  # CuPy's wheel asks for symbols by the library's version
    versions.write_text(f"{target.name} {{ global: *; }};\n")
    prefix = target.name.partition(".")[0].removeprefix("lib").removesuffix("Lt")
    _run(*base) if files else None
    have = _symbols(target, "T") if files else set()
    wanted = {name for user in users for name in _symbols(user, "U") if name.startswith(prefix)}
    absent = work / f"{target.name}.cpp"
    absent.write_text(
        '#include <cstdio>\nextern "C" {\n'
        + "".join(
            f'int {name}(...) {{ fprintf(stderr, "gpu_on_cpu: {name} is not there\\n"); return 801; }}\n'
            for name in sorted(wanted - have)
        )
        + "}\n"
    )
    _run(*base, absent, f"-Wl,--version-script={versions}")


# The packages -------------------------------------------------------------------------------------------------------


def _site(folder: Path, runtime: Path) -> None:
    """Packages `cupy` and `cupy_backends` out of links to the installed ones, but for three files."""
    site = folder / "site"
    cupy, backends = _package("cupy"), _package("cupy_backends")
    _links(cupy, site / "cupy", without=("__init__.py", "cuda"))
    _links(cupy / "cuda", site / "cupy" / "cuda", without=("thrust.",))
    _links(backends, site / "cupy_backends", without=("cuda",))
    _links(backends / "cuda", site / "cupy_backends" / "cuda", without=("api",))
    _links(backends / "cuda" / "api", site / "cupy_backends" / "cuda" / "api", without=("runtime.",))
    shutil.copy(runtime, site / "cupy_backends" / "cuda" / "api")
    shutil.copy(HERE / "thrust.py", site / "cupy" / "cuda")
    (site / "cupy" / "__init__.py").write_text(
        (cupy / "__init__.py").read_text()
        + '\n\nimport os as _os\n\nif _os.environ.get("GPU_ON_CPU_POOL") == "0":  # every array is memory of its own\n'
        "    cuda.set_allocator(None)\n"
    )


def _links(package: Path, target: Path, without: tuple[str, ...]) -> None:
    target.mkdir(parents=True)
    for file in package.iterdir():
        if file.name != "__pycache__" and not file.name.startswith(without):
            (target / file.name).symlink_to(file)
