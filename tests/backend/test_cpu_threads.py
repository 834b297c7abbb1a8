"""Threaded loops: every turn once, errors, nesting, several callers, forks, exits; and OpenBLAS's count put back."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med.backend.cpu import get_num_threads, set_num_threads, threads

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def three_threads():
    """Three threads for the test, and OpenBLAS told to use two: a number that the loops don't choose by themselves."""
    before = get_num_threads()
    set_num_threads(3)
    threads._blas.set(2)
    yield
    assert openblas_count() in (None, 2), "OpenBLAS must be left as it was found"
    set_num_threads(before)


def openblas_count():
    return threads._blas._functions.get() if threads._blas.found else None


def run(script, **environment):
    """Run a script in a fresh interpreter, where a crash or a hang at the end would show."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_turn_runs_once_and_on_several_threads():
    turns, names, together = [], set(), threading.Barrier(3 if threads._blas.found else 1)

    def body(i):
        if i < 3:
            together.wait(timeout=10)  # only if three threads are at it does this go on
        turns.append(i)
        names.add(threading.current_thread().name)

    threads.parallel_for(body, 50)
    assert sorted(turns) == list(range(50))
    assert len(names) == together.parties


def test_openblas_uses_one_thread_inside():
    inside = []
    threads.parallel_for(lambda i: inside.append(openblas_count()), 6)
    assert set(inside) <= {None, 1}
    assert openblas_count() in (None, 2)


@pytest.mark.parametrize("bad", [0, 5, 99])
def test_an_error_comes_out_and_openblas_is_put_back(bad):
    def body(i):
        if i == bad:
            raise ZeroDivisionError(f"turn {i}")

    with pytest.raises(ZeroDivisionError, match=f"turn {bad}"):
        threads.parallel_for(body, 100)
    assert openblas_count() in (None, 2)
    threads.parallel_for(lambda i: None, 10)  # and the threads are alive


def test_a_loop_inside_a_turn_runs_on_its_thread():
    outer = {}

    def body(i):
        inner = set()

        def inner_body(j):
            time.sleep(0.01)  # long enough for the third thread, which is idle, to join if it were asked
            inner.add(threading.current_thread().name)

        threads.parallel_for(inner_body, 5)
        outer[i] = (inner, threading.current_thread().name)

    threads.parallel_for(body, 2)
    assert all(inner == {name} for inner, name in outer.values())


def test_several_callers_at_once():
    def caller(seed):
        x = np.random.default_rng(seed).standard_normal((40, 30, 30))
        out = np.empty_like(x)
        for _ in range(20):
            threads.parallel_for(lambda i: np.matmul(x[i], x[i], out=out[i]), len(x))
        return np.array_equal(out, x @ x)

    with ThreadPoolExecutor(4) as users:
        assert all(users.map(caller, range(8)))


def test_parallel_sum_adds_all_terms_in_a_fixed_order():
    terms = np.random.default_rng(0).standard_normal((37, 100)).astype(np.float32)
    first = threads.parallel_sum(lambda i: terms[i].copy(), len(terms))
    np.testing.assert_allclose(first, terms.sum(0), rtol=1e-4, atol=1e-5)
    for _ in range(20):
        np.testing.assert_array_equal(threads.parallel_sum(lambda i: terms[i].copy(), len(terms)), first)


def test_without_openblas_the_loop_runs_on_the_caller_alone(monkeypatch):
    monkeypatch.setattr(threads._blas, "_functions", None)
    names = set()
    threads.parallel_for(lambda i: names.add(threading.current_thread().name), 20)
    assert names == {threading.current_thread().name}


def test_set_num_threads():
    tinygrad_med.set_num_threads(2)
    assert get_num_threads() == tinygrad_med.get_num_threads() == 2
    assert openblas_count() in (None, 2)
    with pytest.raises(ValueError, match="set_num_threads: got 0; use at least 1"):
        set_num_threads(0)


def test_the_environment_sets_the_first_number():
    script = "from tinygrad_med.backend.cpu import get_num_threads; print(get_num_threads())"
    assert run(script, OMP_NUM_THREADS="7").stdout.strip() == "7"
    assert run(script, OMP_NUM_THREADS="5,2").stdout.strip() == "5"
    assert int(run(script, OMP_NUM_THREADS="nonsense").stdout) >= 1


WORK = """
import os, sys
from tinygrad_med.backend.cpu import threads
threads.set_num_threads(3)
def loop():
    done = []
    threads.parallel_for(done.append, 20)
    assert sorted(done) == list(range(20))
loop()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
def test_a_forked_child_has_threads_of_its_own():
    child = (
        "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n"  # Python warns of fork with threads
    )
    child += "pid = os.fork()\nloop()\nif pid: sys.exit(os.waitpid(pid, 0)[1])\n"
    result = run(WORK + child)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "end",
    [
        "",
        "import atexit; atexit.register(loop)",  # a loop while the interpreter shuts down
        "import threading; threading.Thread(target=lambda: [loop() for _ in range(50)], daemon=True).start()",
    ],
    ids=["plain", "loop at exit", "daemon thread"],
)
def test_the_interpreter_exits_cleanly(end):
    result = run(WORK + end)
    assert (result.returncode, result.stderr) == (0, "")
