"""The examples on several ranks, by `mpirun`: what one process computes, and a checkpoint for any number of ranks."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

import tinygrad_med as torch
from examples import medical_mnist
from tests.test_parallel import ROOT, mpirun, needs_mpi
from tinygrad_med.data.medical_mnist import split
from tinygrad_med.parallel import Ranks

pytestmark = needs_mpi


OPTIONS = ["--phantoms", "12", "--model", "cnn", "--data-parallel", "--sync-batchnorm"]


def losses(n: int, out: Path, epochs: int, *more: str) -> list[float]:
    """Train on so many ranks; the validation losses."""
    ended = mpirun(n, ROOT / "examples" / "medical_mnist.py", *OPTIONS, "--epochs", epochs, "--out", out, *more)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("The results:") == 1  # rank 0 alone prints
    return pd.read_csv(out / "history.csv").valid_loss.tolist()


def losses_of_one() -> list[float]:
    """What one process gets, with the ordinary batch-norm."""
    recipe, data = medical_mnist.RECIPES["cnn"], medical_mnist.load_images(medical_mnist.arguments(OPTIONS))
    torch.manual_seed(0)
    model = recipe.model()
    training, validation = (
        medical_mnist.Batches(data, rows, recipe.prepare, "cpu") for rows in split(len(data), valid=0.2, seed=0)
    )
    return [row["valid_loss"] for row in medical_mnist.train(model, recipe.lr, training, validation, range(2), Ranks())]


def test_two_ranks_then_three_learn_what_one_does(tmp_path):
    losses(2, tmp_path, 1)
    assert losses(3, tmp_path, 2, "--resume") == pytest.approx(losses_of_one(), rel=1e-4)  # float32


def test_what_all_ranks_meet_is_one_line_and_the_same_exit_status(tmp_path):
    ended = mpirun(2, ROOT / "examples" / "mrnet.py", "--phantoms", 16, "--out", tmp_path, "--data-parallel")
    assert ended.returncode == 2
    assert ended.stderr.count("error:") == 1
    assert "say --accumulate 2" in ended.stderr
    assert not list(tmp_path.iterdir())


# One process, or too many --------------------------------------------------------------------------------------------


def test_without_mpirun_it_says_how_to_begin(tmp_path):
    """A process alone: it was started without `mpirun`, or by that of another MPI."""
    ended = mpirun(1, ROOT / "examples" / "medical_mnist.py", *OPTIONS, "--out", tmp_path)
    assert ended.returncode == 2
    assert "mpirun -n 4 python … --data-parallel" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_without_mpi4py_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    assert medical_mnist.main([*OPTIONS, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "mpi4py" in said and "tinygrad_med[mpi]" in said
    assert not list(tmp_path.iterdir())


def test_there_are_not_more_processes_than_images_in_a_batch(tmp_path):
    options = ["--batch-size", 2, "--weights", tmp_path / "weights.safetensors", "--out", tmp_path, "--data-parallel"]
    ended = mpirun(3, ROOT / "examples" / "pretrain.py", *options)
    assert ended.returncode == 2
    assert "2 images in a batch, too few for 3 processes; say mpirun -n 2" in ended.stderr
