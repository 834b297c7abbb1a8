"""The examples on several ranks, by `mpirun`: what one process computes, and a checkpoint for any number of ranks."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import tinygrad_med as torch
from examples import medical_mnist
from tests.test_parallel import ROOT, mpirun, needs_mpi
from tinygrad_med.data.medical_mnist import split
from tinygrad_med.data.mrnet import LABELS, PLANES
from tinygrad_med.learner.state import facts_of
from tinygrad_med.parallel import Ranks
from tinygrad_med.serialization import load

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


# All examples --------------------------------------------------------------------------------------------------------


def command_of(example: str, data: Path, out: Path) -> list[object]:
    """A short training, in which the ranks' parts are not all of one size."""
    options: dict[str, list[object]] = {
        "medical_mnist": ["--model", "cnn", "--epochs", 3],
        "pretrain": ["--batch-size", 7, "--steps", 3, "--weights", out / "weights.safetensors"],
        "radiographs": ["--data", data / "films", "--weights", "none", "--size", 32, "--epochs", 1],
        "mrnet": [
            *("--data", data / "knees", "--phantoms", 16, "--slices", 6, 6, "--shrink", 2, "--explain", 0, "--quiet"),
            *("--weights", "random", "--backbone", "squeezenet", "--lr", 1e-3, "--epochs", 1, "--accumulate", 5),
        ],
    }
    return [example, *options[example], "--out", out]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Films of two classes, 20 to learn from and 8 to judge by; and 16 and 8 exams of a slice a plane."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    for part, films, exams in (("train", 10, 16), ("valid", 4, 8)):
        for k, name in enumerate(("abd", "chest")):
            for i in range(films):
                file = folder / "films" / part / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 90, (48, 48))
                pixels[20 * k : 20 * k + 20] += 160
                Image.fromarray(pixels.astype(np.uint8)).save(file)
        for plane in PLANES:
            (folder / "knees" / part / plane).mkdir(parents=True)
            for i in range(exams):
                slices = rng.integers(0, 255, (1, 256, 256), dtype=np.uint8)
                np.save(folder / "knees" / part / plane / f"{i:04}.npy", slices)
        for name in LABELS:
            rows = "".join(f"{i:04},{i % 2}\n" for i in range(exams))
            (folder / "knees" / f"{part}-{name}.csv").write_text(rows)
    (folder / "knees" / "lesions.csv").touch()  # they are taken for phantoms
    return folder


EXAMPLES = ["medical_mnist", "pretrain", "radiographs", "mrnet"]
PROGRAM = ROOT / "tests" / "examples" / "ranks.py"


@pytest.mark.parametrize("example", EXAMPLES)
def test_two_ranks_learn_what_one_does(example, data, tmp_path):
    """In float64: the loss curve, the weights, and what the optimizer remembers of the gradients."""
    alone, several = tmp_path / "alone", tmp_path / "several"
    ended = mpirun(1, PROGRAM, "float64", *command_of(example, data, alone))
    assert ended.returncode == 0, ended.stderr
    sync = [] if example == "mrnet" else ["--sync-batchnorm"]  # which has no batch-norm
    ended = mpirun(2, PROGRAM, "float64", *command_of(example, data, several), "--data-parallel", *sync)
    assert ended.returncode == 0, ended.stderr
    for file in sorted(alone.glob("*.safetensors")):
        one, two = load(file), load(several / file.name)
        assert one.keys() == two.keys()
        compared = 0
        for name, value in one.items():
            if value.dtype == torch.float64:
                largest = max(float(value.abs().max().item()), 1e-300)
                np.testing.assert_allclose(two[name].numpy(), value.numpy(), rtol=0, atol=1e-9 * largest, err_msg=name)
                compared += 1
        assert compared > 10
        if "facts" in one and "history" in (facts := facts_of(one, {}, file)):
            for row, other in zip(facts["history"], facts_of(two, {}, file)["history"], strict=True):
                assert other["valid_loss"] == pytest.approx(row["valid_loss"], rel=1e-10)


@pytest.mark.parametrize("example", EXAMPLES)
def test_where_one_rank_dies_all_end(example, data, tmp_path):
    """Rank 1 is killed within a step; the others, which wait for it, end within seconds, and say so."""
    begun = time.time()
    ended = mpirun(2, PROGRAM, "dying", *command_of(example, data, tmp_path), "--data-parallel")
    died = (tmp_path / "died").stat().st_mtime
    assert begun < died
    assert time.time() - died < 10
    assert ended.returncode != 0
    assert "Killed (signal 9)" in ended.stdout + ended.stderr
    assert "The results:" not in ended.stdout
