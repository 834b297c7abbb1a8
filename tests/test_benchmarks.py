"""The benchmarks' own tools: the turns, the table, and the worker in another process."""

from __future__ import annotations

import importlib
import math
import sys
import time

import pytest


@pytest.fixture(autouse=True)
def _benchmarks_on_the_path(monkeypatch, pytestconfig):
    monkeypatch.syspath_prepend(pytestconfig.rootpath / "benchmarks")


@pytest.fixture
def timing(tmp_path, monkeypatch):
    timing = importlib.import_module("timing")
    monkeypatch.setattr(timing, "RESULTS", tmp_path / "results")
    return timing


@pytest.fixture
def peers(timing):
    return importlib.import_module("peers")


def test_a_turn_times_the_last_repetition_alone(timing):
    pauses = iter([0.02, 0.0])
    assert timing.turn(lambda: time.sleep(next(pauses)), lead_in=0.001) < 0.02
    assert next(pauses, None) is None


def test_contenders_take_turns_in_rotating_order(timing):
    log = []
    contenders = {name: lambda name=name: log.append(name) for name in "abc"}
    timing.alternate("logging", contenders, rounds=3, lead_in=0.0)
    assert log == [*"aabbcc", *"bbccaa", *"ccaabb"]  # each first untimed, then timed


def test_ratios_compare_turns_of_one_round(timing):
    comparison = timing.Comparison("drift", {"a": [1.0, 20.0, 3.0], "b": [2.0, 40.0, 5.0]}, (), math.nan)
    assert comparison.ratio("a", over="b") == 0.5
    assert comparison.median("a") == 3.0


def test_report(timing, capsys, tmp_path):
    seconds = {"ours": [0.002] * 3, "theirs": [0.004] * 3}
    comparisons = [
        timing.Comparison("adding", seconds, (("ours", "theirs", 0.6),), 0.0),
        timing.Comparison("summing", seconds, (("ours", "theirs", 0.4),), 0.7),
    ]
    table = timing.report("sums", "What does a sum cost?", comparisons, over="theirs")
    assert capsys.readouterr().out.strip() == table.strip()
    assert "| adding | ours | 2 ms | 2 ms – 2 ms | 0.50 |" in table
    assert "- adding: ours takes 0.50 of theirs's time, at most 0.6: as asked" in table
    assert "- summing: ours takes 0.50 of theirs's time, at most 0.4: MISSED" in table
    assert "- summing: disturbed, other processes kept 0.7 cores busy" in table
    assert "adding: disturbed" not in table
    assert (tmp_path / "results" / "sums.md").read_text("utf-8") == table
    assert (tmp_path / "results" / "sums.csv").read_text("utf-8").splitlines()[:2] == [
        "work,who,round,seconds",
        "adding,ours,0,0.002",
    ]
    assert len(list((tmp_path / "results").iterdir())) == 2


# Contenders, which the worker finds in this file.


def sleeping(seconds):
    sys.stdout.write("a library that talks does no harm")
    return lambda: time.sleep(seconds)


def failing():
    raise ValueError("no such library")


def failing_later():
    return lambda: 1 / 0


def dying():
    sys.exit(3)


def test_worker_does_its_turns_in_another_process(peers):
    with peers.Worker(sys.executable, sleeping, 0.01) as worker:
        before = worker.processor
        assert worker.turn(0.0) == pytest.approx(0.01, abs=0.009)
        assert worker.processor >= before > 0


def test_worker_reports_failures(peers):
    with pytest.raises(RuntimeError, match=r"failing failed in its own environment:[\s\S]*no such library"):
        peers.Worker(sys.executable, failing)
    with (
        peers.Worker(sys.executable, failing_later) as worker,
        pytest.raises(RuntimeError, match=r"failing_later failed[\s\S]*ZeroDivisionError"),
    ):
        worker.turn(0.0)
    with pytest.raises(RuntimeError, match="the worker of dying ended with exit status 3"):
        peers.Worker(sys.executable, dying)


def test_peer_that_needs_an_older_python(peers, monkeypatch):
    monkeypatch.setattr(peers.shutil, "which", lambda name: None)
    monkeypatch.setattr(peers.sys, "version_info", (3, 13))
    assert peers._base_interpreter("some", None) == sys.executable
    with pytest.raises(
        RuntimeError, match=r"DeZero runs on Python 3\.11 at most; install one of python3\.11, python3\.10"
    ):
        peers._base_interpreter("DeZero", (3, 11))


# The model of data_parallel.py ---------------------------------------------------------------------------------------


@pytest.fixture
def scaling(timing):
    return importlib.import_module("data_parallel")


def test_the_rings_latency_and_bandwidth_come_out_of_its_times(scaling):
    times = {str(n): [scaling.ring(n, 4, 20e-6, 1e-9)] * 2 for n in scaling.SIZES}
    assert scaling.fitted(times, 4) == pytest.approx((20e-6, 1e-9), rel=1e-6)


def test_a_step_hides_what_travels_while_it_computes(scaling):
    """Two buckets, complete after 1 and 3 of 4 seconds; a sum over 2 ranks takes 2 α + β n seconds."""
    complete = [(1.0, 1000), (3.0, 1000)]

    def step(alpha, hidden):
        return scaling.predicted(4.0, complete, 0.5, 2, alpha, 0.0, hidden)

    assert scaling.predicted(4.0, complete, 0.5, 1, 1.0, 1.0, hidden=True) == 4.0  # alone
    assert step(0.1, hidden=True) == 4.0  # 1.0 … 1.2, 3.0 … 3.2, and the walk ends at 3.5
    assert step(0.5, hidden=True) == 4.5  # 3.0 … 4.0, and the rest
    assert step(1.5, hidden=True) == 7.5  # 1.0 … 4.0, 4.0 … 7.0: the second waits for the first
    assert step(0.5, hidden=False) == 6.0


def test_where_the_ranks_wait_too_much_is_told(scaling):
    assert scaling.farthest([1, 0.9, 0.8, *[0.7] * 8]) == "4"
    assert scaling.farthest([0.9] * len(scaling.FAR)) == "1,024 and more"
