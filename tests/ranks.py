"""The program that `test_parallel.py` runs by `mpirun` on several ranks: one function per case.

The cases to run are named on the command line. Each function returns arrays by name; they are written as
`<folder>/<case>-<rank>.npz`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import tinygrad_med as torch
from tinygrad_med import nn, optim, parallel
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.learner import Callback, CancelFit, Learner, SaveCheckpoint, accuracy
from tinygrad_med.nn import functional as F
from tinygrad_med.parallel import Ranks, SyncBatchNorm
from tinygrad_med.utils.checkpoint import checkpoint

BATCH, STEPS = 11, 4  # 11 rows: the parts of 2 and 3 ranks differ in size


def network(normalization: bool = False) -> nn.Sequential:
    """Two convolutions and a classifier, in float64."""
    torch.manual_seed(0)
    norm: list[nn.Module] = [nn.BatchNorm2d(4)] if normalization else []
    first = nn.Conv2d(1, 4, 3, bias=not normalization)  # its gradient would be mere rounding, and Adam enlarges that
    model = nn.Sequential(first, *norm, nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 16, 3))
    return model.to(dtype=torch.float64)


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """The same batches on all ranks."""
    rng = np.random.default_rng(1)
    return [(rng.normal(size=(BATCH, 1, 8, 8)), rng.integers(0, 3, BATCH)) for _ in range(STEPS)]


def part_of(ranks: Ranks, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, float]:
    """A rank's rows, and their weight."""
    rows, weight = ranks.share(len(x))
    return torch.from_numpy(x[rows]), torch.from_numpy(y[rows]), weight


def training(
    ranks: Ranks, model: nn.Module, bucket: int = 1000, apply: Any = lambda model, x: model(x)
) -> dict[str, np.ndarray]:
    """The losses of the whole batches, each step's gradients, and the weights at the end."""
    ranks.broadcast(model)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    found: dict[str, np.ndarray] = {}
    losses = []
    with ranks.summing(model.parameters(), bucket):
        for step, (x, y) in enumerate(batches()):
            xb, yb, weight = part_of(ranks, x, y)
            loss = F.cross_entropy(apply(model, xb), yb) * weight
            optimizer.zero_grad()
            loss.backward()
            for name, p in model.named_parameters():
                found[f"gradient {step} {name}"] = p.grad.cpu().numpy().copy()
            optimizer.step()
            losses.append(ranks.sum(np.array(loss.item())))
    weights = {f"weight {name}": p.cpu().numpy() for name, p in model.state_dict().items()}
    return found | {"losses": np.array(losses)} | weights


def plain(ranks: Ranks) -> dict[str, np.ndarray]:
    """A training; at first the ranks' weights differ, and rank 0's count."""
    model = network()
    if ranks.rank:
        for p in model.parameters():
            p.data.zero_()
    return training(ranks, model)


class SumByMPI:
    """In NCCL's place, where there is none: the arrays are summed on the CPU, when all work before it has been done."""

    def __init__(self, comm: Any) -> None:
        self.comm = comm

    def all_reduce(self, array: Any, out: Any, op: str, stream: Any) -> None:
        """As CuPy's group of processes."""
        assert (op, stream.device_id) == ("sum", array.device.id)
        stream.synchronize()
        own = array.get()
        total = np.empty_like(own)
        self.comm.Allreduce(own, total)
        out.set(total, stream)


def on_gpus(ranks: Ranks) -> dict[str, np.ndarray]:
    """A training on a GPU of each rank's own."""
    import cupy
    from cupyx import distributed

    if not cupy.cuda.nccl.available:
        assert "GPU_ON_CPU_HOME" in os.environ, "there is no NCCL"
        distributed.init_process_group = lambda *_, **__: SumByMPI(ranks.MPI.COMM_WORLD)
    ranks.take_gpu()
    model = network().to(device="cuda")
    if ranks.rank:
        for p in model.parameters():
            p.data.zero_()
    found = training(ranks, model, apply=lambda model, x: model(x.to(device="cuda")).to(device="cpu"))
    return found | {"device": np.array(str(model[0].weight.device))}


def one_message(ranks: Ranks) -> dict[str, np.ndarray]:
    """All gradients in one bucket."""
    return training(ranks, network(), bucket=10**9)


def synchronised(ranks: Ranks) -> dict[str, np.ndarray]:
    """With batch-norm over all ranks."""
    model = network(normalization=True)
    return training(ranks, SyncBatchNorm.convert_sync_batchnorm(model, ranks) if ranks.size > 1 else model)


def checkpointed(ranks: Ranks) -> dict[str, np.ndarray]:
    """With a part that is computed again in the walk, and so walks within the walk."""
    return training(ranks, network(), apply=lambda model, x: model[3:](checkpoint(model[:3], x)))


def twice_used(ranks: Ranks) -> dict[str, np.ndarray]:
    """Parameters that several operations use, one of them in a branch that leads nowhere, and one under a hook."""
    model = network()
    model[0].weight.register_hook(lambda g: 2 * g)

    def apply(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        model[3](model[0](x)).sum()  # leads nowhere
        return model(x) + model(x * 0.5)

    return training(ranks, model, apply=apply)


class Points:
    """23 points of two classes: batches of 8 leave 7, which two or three ranks share unevenly; shaken by the loader."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.y = np.arange(23) % 2
        self.x = rng.normal(size=(23, 4)) + self.y[:, None]

    def __len__(self) -> int:
        return len(self.y)

    def item(self, i: int, rng: np.random.Generator | None) -> tuple[np.ndarray, int]:
        """A point and its class."""
        return self.x[i] if rng is None else self.x[i] + 0.1 * rng.normal(size=4), self.y[i]


def learner(ranks: Ranks, folder: Path | None = None, resume: bool = False) -> Learner:
    """With batch-norm over all ranks, and two layer groups."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU())
    model = nn.Sequential(body, nn.Linear(8, 2)).to(dtype=torch.float64)
    if ranks.rank:
        model[1].weight.data.zero_()  # rank 0's count
    if ranks.size > 1:
        SyncBatchNorm.convert_sync_batchnorm(model, ranks)
    return Learner(
        SimpleNamespace(train=DataLoader(Points(0), 8, shuffle=True, num_workers=2), valid=DataLoader(Points(1), 8)),
        model,
        metrics=accuracy,
        splitter=lambda model: [[model[0]], [model[1]]],
        cbs=[SaveCheckpoint(folder / "last.safetensors", {"seed": 0}, resume)] if folder else [],
        ranks=ranks,
        progress=False,
    )


def found_by(learn: Learner) -> dict[str, np.ndarray]:
    """Its history, and the weights at the end."""
    numbers = [[v for name, v in row.items() if name != "time"] for row in learn.recorder.history]
    return {"history": np.array(numbers)} | {n: p.numpy() for n, p in learn.model.state_dict().items()}


def learning(ranks: Ranks) -> dict[str, np.ndarray]:
    """A `Learner`, from the rate finder on."""
    learn = learner(ranks)
    rates = learn.lr_find(num_it=20, stop_div=False, show_plot=False)
    learn.fine_tune(3, 1e-2)
    return found_by(learn) | {"rates": np.array(rates.losses)}


class Stop(Callback):
    """Ends a training in its third epoch, as a kill would."""

    def before_batch(self, learn: Learner) -> None:
        """Is it time?"""
        if len(learn.recorder.history) == 3:
            raise CancelFit


def broken_off(ranks: Ranks, folder: Path) -> dict[str, np.ndarray]:
    """A `Learner` that keeps a checkpoint in `folder`, and is broken off."""
    learn = learner(ranks, folder)
    learn.cbs.append(Stop())
    learn.fine_tune(4, 1e-2)
    return {}


def gone_on_with(ranks: Ranks, folder: Path | None = None) -> dict[str, np.ndarray]:
    """The same from that checkpoint, or in one go."""
    learn = learner(ranks, folder, resume=folder is not None)
    learn.fine_tune(4, 1e-2)
    return found_by(learn)


def learning_from_lists(ranks: Ranks) -> dict[str, np.ndarray]:
    """A `Learner` whose batches are a plain list."""
    dls = SimpleNamespace(train=batches(), valid=batches()[:2])
    learn = Learner(dls, network(), ranks=ranks, progress=False)
    learn.fit_one_cycle(2, 1e-2)
    return found_by(learn)


def some_ranks_alone(ranks: Ranks) -> dict[str, np.ndarray]:
    """A parameter that only rank 0 uses, and one that nobody uses."""
    a, b, c = (torch.tensor(float(v), dtype=torch.float64, requires_grad=True) for v in (1, 2, 3))
    with ranks.summing([a, b, c]):
        (a * b if ranks.rank == 0 else a * 5).backward()
    return {"a": a.grad.numpy(), "b": b.grad.numpy(), "c": np.array(c.grad is None)}


def accumulated(ranks: Ranks) -> dict[str, np.ndarray]:
    """Exams one by one, another number of them on each rank, and one sum after all."""
    model = network()
    x, y = batches()[0]
    for i in range(ranks.rank, BATCH, ranks.size):
        (F.cross_entropy(model(torch.from_numpy(x[i : i + 1])), torch.from_numpy(y[i : i + 1])) / BATCH).backward()
    ranks.sum_gradients(model.parameters())
    return {f"gradient 0 {name}": p.grad.numpy() for name, p in model.named_parameters()}


def few_rows(ranks: Ranks, normalization: bool = False) -> dict[str, np.ndarray]:
    """A batch of two rows, which leaves nothing for a third rank."""
    model = network(normalization)
    if ranks.size > 1:
        SyncBatchNorm.convert_sync_batchnorm(model, ranks)
    x, y = batches()[0]
    with ranks.summing(model.parameters()):
        xb, yb, weight = part_of(ranks, x[:2], y[:2])
        (F.cross_entropy(model(xb), yb) * weight).backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters()}


def few_rows_synchronised(ranks: Ranks) -> dict[str, np.ndarray]:
    """The same with batch-norm over all ranks."""
    return few_rows(ranks, normalization=True)


def synchronised_in_float16(ranks: Ranks) -> dict[str, np.ndarray]:
    """What MPI can't sum, as a convolution gives it under autocast; of numbers whose sums are exact in float32."""
    layer = SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3), ranks)
    x = (torch.arange(24.0).reshape(8, 3) % 7).half()
    z = layer(x[ranks.share(8).rows])
    assert z.dtype == torch.float16
    return {"z": ranks.gather(z.detach().numpy()), "mean": layer.running_mean.numpy()}


def together(ranks: Ranks) -> dict[str, np.ndarray]:
    """The rows of all ranks, one behind the other."""
    rows = np.arange(7.0).reshape(7, 1)
    return {"rows": ranks.gather(rows[ranks.share(7).rows])}


def refusals(ranks: Ranks) -> dict[str, np.ndarray]:
    """What would be silently wrong is an error."""
    x = torch.tensor(2.0, requires_grad=True)
    said = []
    with ranks.summing([x]):
        try:
            (x * x).backward(create_graph=True)
        except RuntimeError as error:
            said.append(str(error))
        z = (x * 1).detach().requires_grad_()
        z.register_hook(torch.enable_grad()(lambda g: (x * 3).backward()))
        try:
            (z * z).backward()
        except RuntimeError as error:
            said.append(str(error))
    return {"said": np.array(said)}


def failure(ranks: Ranks) -> dict[str, np.ndarray]:
    """Rank 1 meets an error; the others wait for it."""
    if ranks.rank == 1:
        raise ValueError("rank 1 has met an error")
    ranks.barrier()
    return {}


def death(ranks: Ranks) -> dict[str, np.ndarray]:
    """Rank 1 is killed; the others wait for it."""
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.barrier()
    return {}


def silence(ranks: Ranks) -> dict[str, np.ndarray]:
    """Rank 1 hangs; the others lose patience."""
    if ranks.rank == 1:
        time.sleep(600)
    ranks.barrier()
    return {}


def main(folder: str, *cases: str) -> None:
    """Run the cases."""
    ranks = parallel.join(timeout=2.0 if cases == ("silence",) else 60.0)
    for case in cases:
        kept = (Path(folder),) if case in ("broken_off", "gone_on_with") else ()
        np.savez(Path(folder) / f"{case}-{ranks.rank}.npz", **globals()[case](ranks, *kept))


if __name__ == "__main__":
    main(*sys.argv[1:])
