"""Several ranks learn what one would: real processes, started by `mpirun`, which run `ranks.py`."""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_med as torch
from tests import ranks as program
from tinygrad_med import cuda
from tinygrad_med.nn import functional as F
from tinygrad_med.ops import normalization
from tinygrad_med.parallel import MPIRanks, Pending, Ranks

ROOT = Path(__file__).resolve().parents[1]
BESIDE = Path(sys.executable).with_name("mpirun")  # where PyPI's mpich puts it
MPIRUN = str(BESIDE) if BESIDE.exists() else shutil.which("mpirun")

needs_mpi = pytest.mark.skipif(
    MPIRUN is None or importlib.util.find_spec("mpi4py") is None,
    reason='mpi4py or mpirun is missing: python -m pip install "tinygrad_med[mpi]"',
)


def mpirun(n: int, *command: object, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program on n ranks."""
    path = [*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)]
    return subprocess.run(
        [MPIRUN or "mpirun", "-n", str(n), sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        cwd=ROOT,
        env=os.environ
        | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)}
        | environment,
    )


TRAININGS = ["plain", "one_message", "synchronised", "checkpointed", "twice_used", "learning", "learning_from_lists"]
UNEQUAL = ["accumulated", "few_rows", "few_rows_synchronised", "synchronised_in_float16", "together"]
OTHERS = [*UNEQUAL, "some_ranks_alone", "refusals"]


@pytest.fixture(scope="module", params=[2, 3])
def several(request, tmp_path_factory):
    """All cases on so many ranks: what each rank found, by case."""
    n, folder = request.param, tmp_path_factory.mktemp("ranks")
    ended = mpirun(n, ROOT / "tests" / "ranks.py", folder, *TRAININGS, *OTHERS)
    assert ended.returncode == 0, ended.stderr
    return {case: [dict(np.load(folder / f"{case}-{rank}.npz")) for rank in range(n)] for case in (*TRAININGS, *OTHERS)}


def assert_equal_to_one(found: list[dict[str, np.ndarray]], alone: dict[str, np.ndarray]) -> None:
    for rank in found:
        assert rank.keys() == alone.keys()
        for name, value in alone.items():
            np.testing.assert_allclose(rank[name], value, rtol=1e-12, atol=1e-13, err_msg=name)
            np.testing.assert_array_equal(rank[name], found[0][name], err_msg=name)  # bit for bit among the ranks


@needs_mpi
@pytest.mark.parametrize("case", TRAININGS)
def test_several_ranks_have_the_gradients_losses_and_weights_of_one(several, case):
    assert_equal_to_one(several[case], getattr(program, case)(Ranks()))


@needs_mpi
@pytest.mark.parametrize("case", UNEQUAL)
def test_unequal_parts(several, case):
    assert_equal_to_one(several[case], getattr(program, case)(Ranks()))


@needs_mpi
def test_a_learner_goes_on_with_another_number_of_ranks(tmp_path):
    for n, case in ((3, "broken_off"), (2, "gone_on_with")):
        ended = mpirun(n, ROOT / "tests" / "ranks.py", tmp_path, case)
        assert ended.returncode == 0, ended.stderr
    found = [dict(np.load(tmp_path / f"gone_on_with-{rank}.npz")) for rank in range(2)]
    assert_equal_to_one(found, program.gone_on_with(Ranks()))


@needs_mpi
@pytest.mark.cuda
def test_two_ranks_train_on_a_gpu_each(tmp_path):
    """With NCCL where there are two cards, and up to its sum on two GPUs out of this CPU."""
    if cuda.device_count() < 2 and "GPU_ON_CPU_HOME" not in os.environ:
        pytest.skip("NCCL needs two GPUs")
    ended = mpirun(2, ROOT / "tests" / "ranks.py", tmp_path, "on_gpus", GPU_ON_CPU_DEVICES="2")
    assert ended.returncode == 0, ended.stderr
    found = [dict(np.load(tmp_path / f"on_gpus-{rank}.npz")) for rank in range(2)]
    assert [str(rank.pop("device")) for rank in found] == ["cuda:0", "cuda:1"]
    assert_equal_to_one(found, program.plain(Ranks()))


def test_ranks_take_the_gpus_of_their_machine_one_by_one(monkeypatch):
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    taken = []
    monkeypatch.setattr(cuda, "set_device", taken.append)
    ranks = MPIRanks.__new__(MPIRanks)
    ranks.rank, ranks.size, ranks.neighbours = 3, 4, (1, 2)  # the second of the second machine
    ranks.take_gpu()
    assert taken == [1]
    ranks.neighbours = (3, 4)
    with pytest.raises(RuntimeError, match="4 ranks on a machine with 2 GPUs: NCCL wants one for each; start 2"):
        ranks.take_gpu()
    Ranks().take_gpu()  # alone, there is nothing to share
    assert taken == [1]


@needs_mpi
def test_what_one_rank_alone_uses_has_a_gradient_on_all(several):
    for found in several["some_ranks_alone"]:
        assert found["a"] == 2.0 + 5.0 * (len(several["some_ranks_alone"]) - 1)
        assert found["b"] == 1.0
        assert found["c"]  # None


@needs_mpi
def test_what_would_be_wrong_in_silence_is_refused(several):
    for found in several["refusals"]:
        graph, inner = found["said"]
        assert "create_graph" in graph and "sum_gradients" in inner


@needs_mpi
@pytest.mark.parametrize(
    ("case", "says"),
    [("failure", "rank 1 has met an error"), ("death", "Killed (signal 9)"), ("silence", "waited 2 s")],
)
def test_one_end_is_the_end_of_all(tmp_path, case, says):
    begun = time.monotonic()
    ended = mpirun(3, ROOT / "tests" / "ranks.py", tmp_path, case)
    assert ended.returncode != 0
    assert says in ended.stdout + ended.stderr
    assert time.monotonic() - begun < 20
    assert not list(tmp_path.iterdir())


class OneRank(MPIRanks):
    """A rank whose messages come back as they are; it notes when they begin."""

    def __init__(self) -> None:
        self.of_gradients, self.begun = None, []

    def start_sum(self, array, comm):
        """Note it."""
        self.begun.append(array.size)
        return Pending()


def test_the_first_sums_begin_while_the_walk_goes_on():
    ranks, model = OneRank(), program.network()
    then: list[int] = []
    x, y = program.batches()[0]
    with ranks.summing(model.parameters(), bucket=8):  # a message each
        z = model[:2](torch.from_numpy(x))
        z.register_hook(lambda g: then.append(len(ranks.begun)))
        F.cross_entropy(model[2:](z), torch.from_numpy(y)).backward()
    sizes = [p.numel() for p in reversed(list(model.parameters()))]
    assert then == [4]  # of the last two layers, before the walk comes to the first
    assert ranks.begun == [*sizes, len(sizes)]  # the flags last


@pytest.mark.parametrize("bucket", [8, 10**9])
def test_a_step_with_sums_runs_the_one_pass_kernels_and_has_the_bits_of_a_step_without(monkeypatch, bucket):
    model = program.network(normalization=True)
    x, y = (torch.from_numpy(v) for v in program.batches()[0])
    kernels, run = normalization.kernels, []

    def counting(xp):
        run.append(inspect.stack()[1].function)
        return kernels(xp)

    monkeypatch.setattr(normalization, "kernels", counting)

    def step():
        run.clear()
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        return list(run), [p.grad.numpy().tobytes() for p in model.parameters()]

    names, gradients = step()
    assert names[-1] == "_batch_norm_relu_joint"
    with OneRank().summing(model.parameters(), bucket):
        assert step() == (names, gradients)


def test_a_gradient_of_a_wrong_dtype_is_refused_with_sums_as_without():
    @torch.primitive
    def wrong(xp, x):
        """z = x

        ∂x: g, in another dtype
        """
        return x * 1

    wrong.vjp(x=lambda g: g.astype("float64"))
    x = torch.tensor([1.0], requires_grad=True)
    with OneRank().summing([x]), pytest.raises(RuntimeError, match="a rule gave a float64 gradient for a float32 leaf"):
        wrong(x).backward()


def test_a_rank_alone_has_the_whole_batch():
    assert Ranks().share(5) == (slice(0, 5), 1.0)
    with pytest.raises(ValueError, match="no rows"):
        Ranks().share(0)
