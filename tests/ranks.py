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
from typing import Any

import numpy as np

import tinygrad_med as torch
from tinygrad_med import nn, optim, parallel
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
                found[f"gradient {step} {name}"] = p.grad.numpy().copy()
            optimizer.step()
            losses.append(ranks.sum(np.array(loss.item())))
    return found | {"losses": np.array(losses)} | {f"weight {n}": p.numpy() for n, p in model.state_dict().items()}


def plain(ranks: Ranks) -> dict[str, np.ndarray]:
    """A training; at first the ranks' weights differ, and rank 0's count."""
    model = network()
    if ranks.rank:
        for p in model.parameters():
            p.data.zero_()
    return training(ranks, model)


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


def few_rows(ranks: Ranks) -> dict[str, np.ndarray]:
    """A batch of two rows, which leaves nothing for a third rank."""
    model = network()
    x, y = batches()[0]
    with ranks.summing(model.parameters()):
        xb, yb, weight = part_of(ranks, x[:2], y[:2])
        (F.cross_entropy(model(xb), yb) * weight).backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters()}


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
        np.savez(Path(folder) / f"{case}-{ranks.rank}.npz", **globals()[case](ranks))


if __name__ == "__main__":
    main(*sys.argv[1:])
