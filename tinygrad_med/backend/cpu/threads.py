"""Several cores from one Python process: a loop whose turns run on a few threads.

NumPy lets go of the interpreter's lock while it copies, adds or multiplies large arrays, so plain Python threads keep
all cores busy. OpenBLAS, though, starts threads of its own for every product; two layers of threads would fight for the
cores. So during a threaded loop OpenBLAS is told to use one thread for each of ours, and afterwards whatever it used
before. The gain over leaving the threads to OpenBLAS: elementwise work, which NumPy runs on one core, spreads too.

This file knows threads and how to reach OpenBLAS; it knows nothing of what the loops compute. Where NumPy's BLAS is
another one (Accelerate, MKL) or can't be reached, loops run on the calling thread: the results are the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np


def get_num_threads() -> int:
    """The number of threads that the CPU kernels use; at first OMP_NUM_THREADS, else the cores of this process."""
    return _num_threads


def set_num_threads(n: int) -> None:
    """Let the CPU kernels, and OpenBLAS for `@`, use n threads."""
    global _num_threads, _executor
    if n < 1:
        raise ValueError(f"set_num_threads: got {n}; use at least 1")
    with _lock:
        if _executor is not None:
            _executor.shutdown(wait=False)  # loops that run now keep their workers until they are done
            _executor = None
        _num_threads = n
    _blas.set(n)


def parallel_for(body: Callable[[int], object], count: int) -> None:
    """Run body(0) … body(count−1), on several threads; whoever is free takes the next turn.

    Turns must not depend on one another. The first error is raised here, after every thread has stopped. Inside a turn
    of another loop, or with one thread, the turns run in order on the calling thread. Several threads of the user's may
    call this at once: each works on its own loop, and the helpers join where they can.
    """
    helpers = min(_num_threads, count) - 1
    if helpers < 1 or not _blas.found or getattr(_inside, "loop", False):
        for i in range(count):
            body(i)
        return
    turns = iter(range(count))  # next() on it holds the interpreter's lock: no turn is taken twice

    def work() -> None:
        _inside.loop = True
        try:
            for i in turns:
                body(i)
        finally:
            _inside.loop = False

    with _blas.one_thread():
        futures = _submit(work, helpers)
        try:
            work()
        finally:
            started = [future for future in futures if not future.cancel()]  # nothing is left for those in the queue
            errors = [future.exception() for future in started]
        for error in errors:
            if error is not None:
                raise error


def parallel_sum(term: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    """term(0) + … + term(count−1), for count ≥ 1; term returns a fresh array, which may be overwritten.

    Rounding depends on the order of a sum, so it is this one, whichever thread is done with its term first: the same
    terms give the same bits on any number of threads.
    """
    ready: dict[int, np.ndarray] = {}  # terms whose predecessors are still under way
    total, added, one_adds = np.zeros(()), 0, threading.Lock()

    def part(i: int) -> None:
        nonlocal total, added
        ready[i] = term(i)
        with one_adds:
            while added in ready:
                following = ready.pop(added)
                total = np.add(total, following, out=total) if added else following
                added += 1

    parallel_for(part, count)
    return total


class _OpenBLAS:
    """The thread count of the OpenBLAS that NumPy uses, if there is one."""

    def __init__(self) -> None:
        self._functions = _openblas_functions()
        self._lock = threading.Lock()
        self._loops = 0  # threaded loops that run now
        self._outside = 1  # the count to go back to when the last of them ends

    @property
    def found(self) -> bool:
        """Whether OpenBLAS's thread count can be set here."""
        return self._functions is not None

    @property
    def kernels(self) -> str:
        """For which processor its kernels are."""
        return "" if self._functions is None else self._functions.kernels

    def set(self, n: int) -> None:
        """Use n threads: from now on, or from the end of the threaded loops that run now."""
        with self._lock:
            if self._loops:
                self._outside = n
            elif self._functions is not None:
                self._functions.set(n)

    @contextlib.contextmanager
    def one_thread(self) -> Iterator[None]:
        """One thread while the block runs; blocks may nest and overlap, the last to end restores the count."""
        if self._functions is None:
            yield
            return
        with self._lock:
            if self._loops == 0:
                self._outside = self._functions.get()
                self._functions.set(1)
            self._loops += 1
        try:
            yield
        finally:
            with self._lock:
                self._loops -= 1
                if self._loops == 0:
                    self._functions.set(self._outside)


class _Functions(NamedTuple):
    get: Callable[[], int]
    set: Callable[[int], None]
    kernels: str  # for which processor


def openblas_kernels() -> str:
    """For which processor the kernels of NumPy's OpenBLAS are, such as "SkylakeX"; "" where there is no OpenBLAS."""
    return _blas.kernels


def _openblas_functions() -> _Functions | None:
    """OpenBLAS's get and set of the thread count, from the library that NumPy has loaded already.

    A look-up in NumPy's extension module also searches the libraries it links with (Linux, macOS); Windows doesn't, so
    there the wheel's own copy is named.
    """
    extension = str(importlib.import_module("numpy._core._multiarray_umath").__file__)
    wheel = os.path.join(os.path.dirname(np.__file__), os.pardir, "numpy.libs", "*openblas*.dll")
    for path in [extension, *glob.glob(wheel)]:
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", ""):
                with contextlib.suppress(AttributeError):
                    get, set_, name = (
                        getattr(library, f"{prefix}_{function}{suffix}")
                        for function in ("get_num_threads", "set_num_threads", "get_corename")
                    )
                    name.restype = ctypes.c_char_p
                    return _Functions(get, set_, (name() or b"").decode())
    return None


def _submit(work: Callable[[], None], copies: int) -> list[Future[None]]:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(max(1, _num_threads - 1), thread_name_prefix="tinygrad_med")
        try:
            return [_executor.submit(work) for _ in range(copies)]
        except RuntimeError:  # the interpreter is shutting down and starts no more work: the caller does it all
            return []


def _default_num_threads() -> int:
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        return int(first)
    if hasattr(os, "sched_getaffinity"):  # a container or taskset may give fewer cores than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start() -> None:
    """A state without threads: at import, and again in a forked child, which inherits memory but no threads."""
    global _lock, _executor, _blas, _inside
    _lock = threading.Lock()
    _executor = None
    _inside = threading.local()
    _blas = _OpenBLAS()


_num_threads: int = _default_num_threads()
_lock: threading.Lock
_executor: ThreadPoolExecutor | None
_inside: threading.local
_blas: _OpenBLAS
_start()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start)
