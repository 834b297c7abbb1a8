"""Do the three planes learn on real volumes, and as well as in PyTorch?

AdrenalMNIST3D, a volume as three series of slices, MRNet's model with AlexNet's backbones. Both engines run the one
function `train` below, from the same first weights, through the same volumes in the same order.

    python benchmarks/adrenal_auc.py adrenalmnist3d_64.npz --epochs 2 --slices 3 --jobs 3
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import importlib
import multiprocessing
import os
import statistics
import time
from typing import Any, NamedTuple

import numpy as np
from timing import RESULTS

ENGINES = ("tinygrad_med", "torch")
PUBLISHED = {"ResNet-18 in 2.5D": 0.718, "ResNet-18 in 3D": 0.827, "ResNet-18 with ACS": 0.839}  # MedMNIST v2, table 4
ACCUMULATE = 8  # volumes per step


class Run(NamedTuple):
    """What came of one training."""

    engine: str
    seed: int
    epoch: int
    loss: float
    val_auc: float
    test_auc: float
    seconds: float


def first_weights(seed: int) -> dict[str, np.ndarray]:
    """Where both begin: He's normal numbers; under AlexNet's default ones the picture fades layer by layer."""
    import tinygrad_med as tm
    from tinygrad_med import nn
    from tinygrad_med.models.mrnet import MRNet

    tm.manual_seed(seed)
    model = MRNet(1)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return {name: value.numpy() for name, value in model.state_dict().items()}


def network(engine: str, seed: int) -> Any:
    """MRNet with one logit, in one of the two engines."""
    weights = first_weights(seed)
    if engine == "tinygrad_med":
        from tinygrad_med.models.mrnet import MRNet

        model = MRNet(1)
    else:
        import torch

        model = pytorchs_mrnet(torch)
        weights = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
    model.load_state_dict(weights)
    return model


def pytorchs_mrnet(torch: Any) -> Any:
    """The same model as `tinygrad_med.models.MRNet(1)`, with the same names."""
    from torch import nn
    from torch_networks import AlexNet

    class MRNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.axial, self.coronal, self.sagittal = (AlexNet().features for _ in range(3))
            self.fc = nn.Linear(3 * 256, 1)

        def forward(self, series: list[Any]) -> Any:
            planes = (self.axial, self.coronal, self.sagittal)
            seen = [plane(x).mean((2, 3)).max(0, keepdim=True)[0] for plane, x in zip(planes, series, strict=True)]
            return self.fc(torch.cat(seen, 1))

    return MRNet()


def train(engine: str, seed: int, file: str, epochs: int, slices: int, lr: float) -> list[Run]:
    """One training, in either engine, line by line the same."""
    from sklearn.metrics import roc_auc_score

    from tinygrad_med.data.adrenal import Volumes

    lib, optim = importlib.import_module(engine), importlib.import_module(f"{engine}.optim")
    if engine == "torch":
        lib.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    data = {split: Volumes(file, split, slices=slices) for split in ("train", "val", "test")}
    model = network(engine, seed)
    criterion = lib.nn.BCEWithLogitsLoss(pos_weight=lib.tensor(data["train"].pos_weight))
    optimizer = optim.Adam(model.parameters(), lr=lr)

    def auc(split: str) -> float:
        with lib.no_grad():
            scores = [model([lib.tensor(x) for x in exam.series]).item() for exam in data[split]]
        return float(roc_auc_score(data[split].labels[:, 0], scores))

    runs = []
    for epoch in range(epochs):
        start, losses = time.process_time(), []
        for i, volume in enumerate(np.random.default_rng((seed, epoch)).permutation(len(data["train"]))):
            exam = data["train"][int(volume)]
            loss = criterion(model([lib.tensor(x) for x in exam.series]), lib.tensor(exam.labels[None]))
            (loss / ACCUMULATE).backward()
            losses.append(loss.item())
            if i % ACCUMULATE == ACCUMULATE - 1:
                optimizer.step()
                optimizer.zero_grad()
        seconds = time.process_time() - start
        runs.append(Run(engine, seed, epoch, float(np.mean(losses)), auc("val"), auc("test"), seconds))
        print(*runs[-1], flush=True)
    return runs


def report(runs: list[Run], what: str) -> None:
    """The table, in Markdown, and every epoch in CSV."""
    last = {(r.engine, r.seed): r for r in sorted(runs, key=lambda r: r.epoch)}
    lines = [f"# {__doc__.splitlines()[0]}", "", what, "", "| | val AUC | test AUC | test AUC by seed | processor |"]
    lines.append("|---|--:|--:|---|--:|")
    spread, middle = 0.0, []
    for engine in ENGINES:
        found = [r for r in last.values() if r.engine == engine]
        val, test = ([getattr(r, f"{split}_auc") for r in found] for split in ("val", "test"))
        spread, middle = max(spread, max(test) - min(test)), [*middle, statistics.mean(test)]
        by_seed = ", ".join(f"{auc:.3f}" for auc in test)
        seconds = sum(r.seconds for r in runs if r.engine == engine)
        lines.append(
            f"| {engine} | {statistics.mean(val):.3f} | {statistics.mean(test):.3f} | {by_seed} | {seconds:.0f} s |"
        )
    lines += [f"| MedMNIST v2, 28³: {name} | | {auc} | | |" for name, auc in PUBLISHED.items()]
    outcome = "within" if abs(middle[0] - middle[1]) <= spread else "NOT WITHIN"
    lines += ["", f"The means differ by {abs(middle[0] - middle[1]):.3f}, {outcome} the seeds' spread of {spread:.3f}."]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "adrenal_auc.md").write_text(text, "utf-8")
    with (RESULTS / "adrenal_auc.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([Run._fields, *runs])


def main() -> None:
    """Run all seeds in both engines, several at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="adrenalmnist3d_64.npz")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--slices", type=int, default=8, help="along each axis")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each with one thread")
    args = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    with concurrent.futures.ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(train, engine, seed, args.file, args.epochs, args.slices, args.lr)
            for seed in args.seeds
            for engine in ENGINES
        ]
        runs = [run for job in jobs for run in job.result()]
    what = (
        f"AdrenalMNIST3D, 1,188 volumes to learn from, 64³ voxels, {args.slices} slices of 64×64 along each axis; "
        f"{args.epochs} epochs of Adam at {args.lr}, {ACCUMULATE} volumes a step, from random weights; last epoch; "
        f"seeds {', '.join(map(str, args.seeds))}. Processor time is of the training of all seeds, one thread each."
    )
    report(runs, what)


if __name__ == "__main__":
    main()
