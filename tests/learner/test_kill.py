"""A training that is killed again and again, without a warning and also while it writes, ends with the same bits."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAINING = """
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import tinygrad_med as torch
from tinygrad_med import nn
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.learner import Learner, SaveCheckpoint


class Points:
    def __len__(self):
        return 24

    def item(self, i, rng):
        x = np.random.default_rng(i).normal(size=4) + (0 if rng is None else rng.normal(size=4))
        return x.astype(np.float32), i % 2


folder = Path(sys.argv[1])
last = folder / "last.safetensors"
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 2))
dls = SimpleNamespace(train=DataLoader(Points(), 8, shuffle=True), valid=DataLoader(Points(), 8))
there = last.exists() or last.with_stem("last-before").exists()
learn = Learner(dls, model, progress=False, cbs=[SaveCheckpoint(last, {"seed": 0}, resume=there)])
print("begin", flush=True)
learn.fit(10)
learn.fit_one_cycle(60)
learn.save(folder / "end")
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_a_training_that_is_killed_ends_with_the_same_bits(tmp_path: Path):
    def start(folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", TRAINING, str(folder)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
        )

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    began = time.perf_counter()
    with start(whole) as run:
        assert run.stdout is not None and run.stdout.readline() == "begin\n"
        began = time.perf_counter()
        assert run.wait() == 0
    seconds = time.perf_counter() - began

    rng, killed, written = random.Random(0), 0, set()
    for _ in range(6):
        with start(broken) as run:
            assert run.stdout is not None and run.stdout.readline() == "begin\n"
            time.sleep(rng.uniform(0, seconds / 3))
            killed += run.poll() is None
            run.kill()
        written.add((broken / "last.safetensors").read_bytes() if (broken / "last.safetensors").exists() else b"")
    with start(broken) as run:
        assert run.wait() == 0
    assert killed >= 2 and len(written) >= 2  # it was killed in earnest, at several places
    assert (broken / "end.safetensors").read_bytes() == (whole / "end.safetensors").read_bytes()
