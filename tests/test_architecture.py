"""The house keeps its order: who imports whom, what is needed where, and that CuPy has every name that we use.

The rules are read off the source with `ast`, so a file is judged without being run. Each check is a function from
source to complaints, and each is shown a planted offence (`test_*_notices`), so that it cannot fall silent.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tinygrad_med"
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


# ---------------------------------------------------------------- who imports whom

# The way up through the engine: each part may use those before it, none after it.
HOUSE = [
    *("backend", "dtypes", "core", "engine", "amp"),
    *("creation", "random", "cuda"),
    *("ops", "linalg", "inplace", "operators", "autograd"),
    *("serialization", "nn", "models"),
]

# What each part may import from the package. Whoever adds a part enters it here.
MAY_IMPORT: dict[str, set[str]] = {room: set(HOUSE[:level]) for level, room in enumerate(HOUSE)}
MAY_IMPORT |= {
    "_files": set(),  # whole files, the cache folder, packages that may be missing
    "_zips": set(),
    "core": {"backend", "dtypes", "engine"},
    "engine": {"backend", "dtypes", "core", "inplace", "operators"},  # of the operators it writes the stubs
    "serialization": {"backend", "dtypes", "core", "_files", "_zips"},
    "backends": {"backend"},
    "accelerator": {"backend", "cuda"},
    "models": {*HOUSE[: HOUSE.index("models")], "_files", "transforms"},  # trained weights, in the cache folder
    "optim": {"backend", "core", "engine"},  # sees only tensors, whose arrays it writes in place
    "data": {"_files", "_zips"},  # yields arrays
    "plots": {"_files"},  # draws arrays
    "utils": {"backend", "core", "engine", "creation", "random", "ops", "autograd", "nn", "_files"},
    "as_torch": {"engine"},  # of all others it knows the names, and imports those that are asked for
    "transforms": {*HOUSE[: HOUSE.index("linalg")], "_files"},
    "testing": set(HOUSE[: HOUSE.index("nn")]),
    "cam": set(HOUSE),
    "series_cam": {*HOUSE, "cam", "plots"},
    "learner": {*HOUSE, "optim", "data", "parallel", "_files"},
    "parallel": {*HOUSE[: HOUSE.index("models")], "_files"},
    "explain": set(HOUSE[: HOUSE.index("models")]),  # the engine and modules
    "vision": {*HOUSE, "_files", "optim", "data", "learner", "cam", "tinygrad_med"},  # the notebooks' `torch`
}

GPU_LIBRARIES = {"cupy", "cupyx", "cupy_backends", "cudnn"}
OUTSIDE = {"examples", "benchmarks", "tests", "conftest"}


class Import(NamedTuple):
    """One imported module, by its full name, and the line that imports it."""

    module: str
    line: int


def imports(source: str, path: str) -> Iterator[Import]:
    """Every import that can happen at run time, inside functions too; not those for a type checker's eyes alone."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in _walk_run_time(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (Import(name.name, node.lineno) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package[: len(package) - level + 1] if level else []
                base = [*above, *([module] if module else [])]
                yield from (Import(".".join([*base, name.name]), node.lineno) for name in names)
            case ast.Call(func=ast.Name(id=f) | ast.Attribute(attr=f), args=[ast.Constant(value=str(module)), *_]):
                if f in ("import_module", "__import__"):
                    yield Import(module, node.lineno)


def _walk_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """`ast.walk` without the bodies of `if TYPE_CHECKING:`."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        children: Iterable[ast.AST] = node.orelse
    else:
        yield node
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _walk_run_time(child)


def import_complaints(source: str, path: str) -> list[str]:
    """What is wrong with the imports of the file of the package at `path`."""
    own = path.removesuffix(".py").split("/")[1]
    complaints = []
    for module, line in imports(source, path):
        top, *rest = module.split(".")
        if top == "tinygrad_med":
            room = rest[0] if rest else top
            if room not in MAY_IMPORT:
                rule = f"`{room}` is a public name of the package; import it from the part that defines it"
            else:
                rule = f"{own} may import {sorted(MAY_IMPORT.get(own, ()))}, not {room}"
            broken = own != "__init__" and room != own and room not in MAY_IMPORT.get(own, ())
        elif top in GPU_LIBRARIES:
            rule, broken = "only backend/ knows CuPy", own != "backend"
        elif top == "numpy":
            rule, broken = "operations take their array library as xp", own == "ops"
        elif top in OUTSIDE:
            rule, broken = "nothing imports examples, benchmarks or tests", True
        elif top in ("torch", "torchvision"):
            rule, broken = "the package does without PyTorch", True
        else:
            continue
        if broken:
            complaints.append(f"{path}:{line} imports {module}: {rule}")
    return complaints


def test_imports_go_one_way():
    assert [c for path, source in SOURCES.items() for c in import_complaints(source, path)] == []


@pytest.mark.parametrize(
    ("path", "line", "complaint"),
    [
        ("core/tensor.py", "from tinygrad_med.ops import exp", "not ops"),
        ("core/tensor.py", "def f():\n    from ..random import Generator", "not random"),
        ("ops/conv.py", "from .. import nn", "not nn"),
        ("ops/conv.py", "from ..nn.module import Module", "not nn"),
        ("ops/conv.py", "import numpy as np", "as xp"),
        ("nn/module.py", "from tinygrad_med import Tensor", "`Tensor` is a public name of the package"),
        ("nn/module.py", "import tinygrad_med as tg", "`tinygrad_med` is a public name of the package"),
        ("nn/module.py", "import cupyx.scipy", "only backend/ knows CuPy"),
        ("nn/module.py", "cp = importlib.import_module('cupy')", "only backend/ knows CuPy"),
        ("optim/sgd.py", "from tinygrad_med.nn import Parameter", "not nn"),
        ("data/loader.py", "from tinygrad_med.core.tensor import Tensor", "not core"),
        ("data/__init__.py", "from .. import optim", "not optim"),
        ("models/resnet.py", "import torch.nn", "without PyTorch"),
        ("learner.py", "from examples.medical_mnist import main", "nothing imports examples"),
        ("somewhere.py", "from .core.tensor import Tensor", "may import [], not core"),
    ],
)
def test_import_check_notices(path, line, complaint):
    (found,) = import_complaints(line, f"tinygrad_med/{path}")
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("__init__.py", "from tinygrad_med.nn import Module"),
        ("backend/gpu.py", "import cupy"),
        ("backend/cpu.py", "import numpy as np"),
        ("ops/conv.py", "from .shape import pad"),
        ("ops/conv.py", "from ..core.primitive import primitive"),
        ("core/tensor.py", "if TYPE_CHECKING:\n    from tinygrad_med.core.primitive import Record"),
        ("optim/sgd.py", "from tinygrad_med.engine.switches import no_grad"),
        ("vision/learner.py", "from tinygrad_med import learner"),
    ],
)
def test_import_check_lets_pass(path, line):
    assert import_complaints(line, f"tinygrad_med/{path}") == []


def test_every_room_has_its_place():
    rooms = {path.split("/")[1].removesuffix(".py") for path in SOURCES} - {"__init__"}
    assert rooms - set(MAY_IMPORT) == set(), "say in MAY_IMPORT what the new part may import"


def test_examples_and_benchmarks_stand_alone():
    for folder, others in (("examples", {"benchmarks", "tests", "conftest"}), ("benchmarks", {"tests", "conftest"})):
        for path in (ROOT / folder).rglob("*.py"):
            found = {i.module.split(".")[0] for i in imports(path.read_text("utf-8"), path.name)}
            assert not found & others, f"{path} imports {found & others}"


# ---------------------------------------------------------------- what the package needs

NUMPY_ALONE = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("numpy", "tinygrad_med"):
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)", name=name)

sys.meta_path.insert(0, Blocker())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def import_with_numpy_alone(*modules: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Import `modules` in a fresh interpreter that finds nothing but the standard library, NumPy and the package."""
    command = [sys.executable, "-W", "error", "-c", NUMPY_ALONE, *modules]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_core_needs_numpy_alone():
    present = {path.split("/")[1].removesuffix(".py") for path in SOURCES}
    rooms = [room for room in [*HOUSE, "optim", "data"] if room in present]
    result = import_with_numpy_alone("tinygrad_med", *(f"tinygrad_med.{room}" for room in rooms))
    assert result.returncode == 0, result.stderr


def test_the_package_loads_no_data_set():
    """`import tinygrad_med` is for the engine: whoever wants a data set imports it."""
    look = "import sys, tinygrad_med; print([name for name in sys.modules if name.startswith('tinygrad_med.data')])"
    result = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_numpy_alone_check_notices(tmp_path):
    (tmp_path / "tinygrad_med.py").write_text("import hypothesis")
    result = import_with_numpy_alone("tinygrad_med", cwd=tmp_path)
    assert "No module named 'hypothesis' (blocked by the test)" in result.stderr


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_every_module_says_what_it_knows():
    folders = ("tinygrad_med", "examples", "benchmarks", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if not ast.get_docstring(ast.parse(path.read_text("utf-8")))] == []


# ---------------------------------------------------------------- CuPy has what we use

ARRAY_LIBRARY = {"xp", "cp", "cupy"}  # the names under which a function of the package knows a library that may be CuPy


class Use(NamedTuple):
    """One use of the array library: `xp.` + name, or `ndarray.` + name for a method or attribute of an array."""

    where: str
    name: str
    call: ast.Call | None


def uses(source: str, path: str) -> Iterator[Use]:
    """Every name of the array library, and every method of an array, that the functions of a file use.

    Without types, a method counts as an array's if NumPy's arrays have one of that name and it is called in a function
    that has an array library at hand (`xp`), and not on something imported.
    """
    tree = ast.parse(source)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}  # `xp.add` in `xp.add.at`
    with_library = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.Lambda))
        and any(isinstance(n, ast.Name | ast.arg) and _identifier(n) in ARRAY_LIBRARY for n in ast.walk(function))
        for node in ast.walk(function)
    }
    imported = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        where = f"{path}:{node.lineno}"
        root, _, name = ast.unparse(node).partition(".")
        if root in ARRAY_LIBRARY and re.fullmatch(r"[\w.]+", name):
            if id(node) not in inner:
                yield Use(where, name, calls.get(id(node)))
        elif id(node) in with_library and id(node) in calls and hasattr(np.ndarray, node.attr) and root not in imported:
            yield Use(where, f"ndarray.{node.attr}", calls[id(node)])


def _identifier(node: ast.Name | ast.arg) -> str:
    return node.id if isinstance(node, ast.Name) else node.arg


def cupy_complaints(cupy: ModuleType, source: str, path: str) -> list[str]:
    """Where a file uses of the array library what CuPy doesn't have: a name, a keyword, or too many arguments."""
    complaints = []
    for where, name, call in uses(source, path):
        found: Any = cupy
        for part in name.split("."):
            found = getattr(found, part, None)
            if found is None:
                break
        if found is None and name != "newaxis":  # newaxis is None
            complaints.append(f"{where}: CuPy has no {name}")
        elif call is not None and not isinstance(found, type):
            try:
                _bind(found, call)
            except TypeError as error:
                complaints.append(f"{where}: CuPy's {name}: {error}")
    return complaints


def _bind(function: Any, call: ast.Call) -> None:
    """Raise a TypeError unless `function` can be called with that many arguments and those keywords."""
    keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
    unpacked = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    signature = _signature(function)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):  # np.pad's modes: the text must name them
        for keyword in keywords:
            if not re.search(rf"\b{keyword}\b", function.__doc__ or ""):
                raise TypeError(f"no keyword {keyword!r} in its documentation")
    bind = signature.bind_partial if unpacked else signature.bind
    itself = "self" in signature.parameters
    bind(*[None] * (itself + sum(not isinstance(a, ast.Starred) for a in call.args)), **keywords)


def _signature(function: Any) -> inspect.Signature:
    """The signature of a CuPy function; that of a compiled one, or of a `**kwargs`, is its docstring's first line."""
    try:
        signature = inspect.signature(function)
        if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            return signature
    except ValueError:
        signature = None
    line = (function.__doc__ or "").strip().partition("\n")[0].replace("\\", "")
    written = re.match(r"[\w.]+(\(.*\))", line)
    if not written:
        if signature is None:
            raise TypeError("neither a signature nor a docstring that begins with one")
        return signature
    arguments = re.sub(r"\b(int|bool|Py_ssize_t|_ndarray_base) (?=\w)", "", written[1])  # Cython's types
    scope: dict[str, Any] = {}
    exec(f"def f{arguments}: ...", scope)
    return inspect.signature(scope["f"])


def test_cupy_has_every_name_and_keyword(cupy):
    assert [c for path, source in SOURCES.items() for c in cupy_complaints(cupy, source, path)] == []


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("xp.vecdot(x, x)", "CuPy has no vecdot"),
        ("xp.linalg.no_such_name(x)", "CuPy has no linalg.no_such_name"),
        ("xp.sum(x, where=x > 0)", "CuPy's sum: got an unexpected keyword argument 'where'"),
        ("xp.clip(x, min=0)", "CuPy's clip: missing a required argument: 'a_min'"),
        ("xp.exp(x, where=x > 0)", "CuPy's exp: got an unexpected keyword argument 'where'"),
        ("xp.pad(x, 1, constant_value=0)", "CuPy's pad: no keyword 'constant_value' in its documentation"),
        ("xp.einsum('ij->i', x, order='C')", "CuPy's einsum: got an unexpected keyword argument 'order'"),
        ("xp.square(x, x, x)", "CuPy's square: too many positional arguments"),
        ("xp.add.at(x, 0, 1, 2)", "CuPy's add.at: too many positional arguments"),
        ("(x * 2).sum(0, initial=1)", "CuPy's ndarray.sum: got an unexpected keyword argument 'initial'"),
        ("x.byteswap(inplace=True, copy=1)", "CuPy's ndarray.byteswap: got an unexpected keyword"),
        ("x.sort(0, stable=True)", "CuPy's ndarray.sort: got an unexpected keyword argument 'stable'"),
    ],
)
def test_cupy_check_notices(cupy, expression, complaint):
    found = cupy_complaints(cupy, f"def forward(xp, x):\n    return {expression}", "ops.py")
    assert [complaint in text for text in found] == [True], found


@pytest.mark.parametrize(
    "expression",
    [
        "x[xp.newaxis] * xp.float32(xp.pi)",
        "xp.pad(x, 1, mode='constant', constant_values=-xp.inf)",
        "xp.einsum('ij,jk->ik', *x, optimize=True)",
        "xp.maximum(x, 0, out=x).sum(axis=0, keepdims=True)",
        "xp.add.at(x, (0, 1), x)",
        "xp.lib.stride_tricks.as_strided(x, shape=(2, 2), strides=(8, 8))",
        "x.astype(xp.float64, copy=False).reshape(2, -1).transpose(1, 0)",
        "math.prod(x, start=1)",
    ],
)
def test_cupy_check_lets_pass(cupy, expression):
    assert cupy_complaints(cupy, f"import math\ndef forward(xp, x):\n    return {expression}", "ops.py") == []
