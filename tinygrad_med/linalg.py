"""Linear algebra under the names of `torch.linalg`; the functions are those of `ops/linear_algebra.py`."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from tinygrad_med.engine.errors import no_attribute
from tinygrad_med.engine.signatures import by_other_names
from tinygrad_med.ops import norms
from tinygrad_med.ops.linear_algebra import (
    cholesky as cholesky,
    cross as cross,
    det as det,
    diagonal as diagonal,
    eigh as eigh,
    eigvalsh as eigvalsh,
    inv as inv,
    matrix_power as matrix_power,
    multi_dot as multi_dot,
    pinv as pinv,
    qr as qr,
    slogdet as slogdet,
    solve as solve,
    solve_triangular as solve_triangular,
    svd as svd,
    svdvals as svdvals,
    tensorinv as tensorinv,
    tensorsolve as tensorsolve,
    vander as vander,
    vecdot as vecdot,
)
from tinygrad_med.ops.matmul import matmul as matmul
from tinygrad_med.ops.norms import (
    cond as cond,
    matrix_norm as matrix_norm,
    matrix_rank as matrix_rank,
    vector_norm as vector_norm,
)

norm = norms.linalg_norm

_written = {name: f for name, f in globals().items() if type(f) is FunctionType and name != "by_other_names"}
globals().update({name: by_other_names(f) for name, f in _written.items() if name != "no_attribute"})


def __getattr__(name: str) -> Any:
    known = [known for known in globals() if not known.startswith("_")]
    raise no_attribute("module 'tinygrad_med.linalg'", name, known, "tinygrad_med.ops.linear_algebra has all functions")
