"""Do the three planes learn on real volumes, and as well as in PyTorch?

AdrenalMNIST3D, a volume as three series of slices, MRNet's model with AlexNet's backbones. Both engines run the one
function `train` below, from the same first weights, through the same volumes in the same order.

    python benchmarks/adrenal_auc.py adrenalmnist3d_64.npz --epochs 2 --slices 3 --jobs 3

And with `--volumes` the volume as a whole: a small residual network of 3-D convolutions, at 28³ (the means of the
64³ voxels) or 64³, in our engine alone, beside the published 0.827. It has a table of its own.

    python benchmarks/adrenal_auc.py adrenalmnist3d_64.npz --volumes 28 --epochs 12 --lr 1e-3 --seeds 0
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


def volume_network(seed: int) -> Any:
    """(N, 1, D, H, W) -> (N, 1): a convolution of stride 2, three residual blocks, the mean, a logit."""
    import tinygrad_med as tm
    from tinygrad_med import nn
    from tinygrad_med.models import BasicBlock

    tm.manual_seed(seed)
    layers = {"conv": nn.Conv3d, "norm": nn.BatchNorm3d}
    return nn.Sequential(
        *(nn.Conv3d(1, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm3d(16), nn.ReLU()),
        BasicBlock(16, 16, **layers),
        BasicBlock(16, 32, 2, **layers),
        BasicBlock(32, 64, 2, **layers),
        *(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, 1)),
    )


def shrunk(volumes: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, 64, 64, 64) -> float32 (N, 1, size, size, size) of mean 0 and variance 1, a volume at a time."""
    import tinygrad_med as tm

    small = np.stack(
        [tm.interpolate(tm.tensor(v[None, None], dtype=tm.float32), size, mode="area").numpy()[0] for v in volumes]
    )
    axes = (1, 2, 3, 4)
    small -= small.mean(axes, keepdims=True)
    small /= small.std(axes, keepdims=True)
    return small


def train_on_volumes(seed: int, file: str, epochs: int, size: int, lr: float) -> list[Run]:
    """One training on whole volumes, mirrored along random axes: a batch of 16 is a step."""
    from sklearn.metrics import roc_auc_score

    import tinygrad_med as tm
    from tinygrad_med import nn, optim
    from tinygrad_med.data.adrenal import Volumes

    found = {split: Volumes(file, split) for split in ("train", "val", "test")}
    data = {split: (shrunk(volumes.volumes, size), volumes.labels) for split, volumes in found.items()}
    model = volume_network(seed)
    criterion = nn.BCEWithLogitsLoss(pos_weight=tm.tensor(found["train"].pos_weight))
    optimizer = optim.Adam(model.parameters(), lr=lr)

    def auc(split: str) -> float:
        x, y = data[split]
        model.eval()
        with tm.no_grad():
            scores = [model(tm.tensor(x[i : i + 16])).numpy()[:, 0] for i in range(0, len(x), 16)]
        return float(roc_auc_score(y[:, 0], np.concatenate(scores)))

    runs, (x, y) = [], data["train"]
    for epoch in range(epochs):
        start, losses, rng = time.process_time(), [], np.random.default_rng((seed, epoch))
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + np.cos(np.pi * epoch / epochs)) / 2
        model.train()
        order = rng.permutation(len(x))
        for i in range(0, len(x) - 15, 16):
            some = order[i : i + 16]
            batch = np.flip(x[some], [axis for axis in (2, 3, 4) if rng.random() < 0.5])
            loss = criterion(model(tm.tensor(np.ascontiguousarray(batch))), tm.tensor(y[some]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        seconds = time.process_time() - start
        runs.append(Run("tinygrad_med", seed, epoch, float(np.mean(losses)), auc("val"), auc("test"), seconds))
        print(*runs[-1], flush=True)
    return runs


def report_volumes(runs: list[Run], what: str) -> None:
    """The table of the volumes, in Markdown, and every epoch in CSV."""
    last = sorted({r.seed: r for r in sorted(runs, key=lambda r: r.epoch)}.values(), key=lambda r: r.seed)
    lines = ["# Does a network of 3-D convolutions learn on real volumes?", "", what, ""]
    lines += ["| | val AUC | test AUC |", "|---|--:|--:|"]
    lines += [f"| small 3-D ResNet, seed {r.seed} | {r.val_auc:.3f} | {r.test_auc:.3f} |" for r in last]
    lines += [f"| MedMNIST v2, 28³: {name} | | {auc} |" for name, auc in PUBLISHED.items()]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "adrenal_volumes.md").write_text(text, "utf-8")
    with (RESULTS / "adrenal_volumes.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([Run._fields[:-1], *(run[:-1] for run in runs)])


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
    parser.add_argument("--volumes", type=int, metavar="SIZE", help="whole volumes of this size, 28 or 64, instead")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each with one thread")
    args = parser.parse_args()
    if args.volumes:
        runs = [r for s in args.seeds for r in train_on_volumes(s, args.file, args.epochs, args.volumes, args.lr)]
        what = (
            f"AdrenalMNIST3D, 1,188 volumes to learn from, {args.volumes}³ voxels, mirrored along random axes; "
            f"{args.epochs} epochs of Adam at {args.lr} falling to 0 along a cosine, 16 volumes a step, from random "
            "weights; last epoch."
        )
        report_volumes(runs, what)
        return
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
