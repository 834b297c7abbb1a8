"""A bar while CuPy compiles: the first step on a GPU waits for some eighty kernels, ten seconds or more.

CuPy keeps what comes out in its cache on disk (`~/.cupy/kernel_cache`, or `$CUPY_CACHE_DIR`), so the next process does
not wait. It tells nobody that it compiles; so its class that calls NVIDIA's compiler is watched, where it has that one.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
from typing import Any

PATIENCE = 1.0
"""Seconds that nobody needs to be told of."""
OVER = 2.0
"""Seconds without another kernel after which the bar goes away."""

_lock = threading.Lock()
_bar: Any = None
_end: threading.Timer | None = None


def watch() -> None:
    """Count on a bar, from now on, what CuPy compiles."""
    program = getattr(importlib.import_module("cupy.cuda.compiler"), "_NVRTCProgram", None)
    if program is None or hasattr(program.compile, "__wrapped__"):
        return
    compiled = program.compile

    @functools.wraps(compiled)
    def counted(*args: Any, **kwargs: Any) -> Any:
        begin()
        try:
            return compiled(*args, **kwargs)
        finally:
            count()

    program.compile = counted


def begin() -> None:
    """Begin the bar, if there is none, where somebody looks: in a terminal or a notebook, and with tqdm."""
    global _bar
    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    with _lock:
        if _end is not None:
            _end.cancel()
        if _bar is None and seen and importlib.util.find_spec("tqdm"):
            tqdm = importlib.import_module("tqdm").tqdm
            text = "compiling kernels for the GPU, once"
            _bar = tqdm(desc=text, unit=" kernels", delay=PATIENCE, mininterval=0, leave=False, file=sys.stderr)


def count() -> None:
    """Move the bar by a kernel; it ends when no other has come for a while."""
    global _end
    with _lock:
        if _bar is not None:
            _bar.update()
            _end = threading.Timer(OVER, end)
            _end.daemon = True
            _end.start()


def end() -> None:
    """Take the bar away."""
    global _bar
    with _lock:
        if _bar is not None:
            _bar.close()
            _bar = None
