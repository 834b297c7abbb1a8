"""MRNet: is this knee abnormal, is its ACL torn, a meniscus? From three series of MRI slices, as a tutorial taught it.

    python examples/mrnet.py --data MRNet-v1.0                 # all three labels in one model (multi-task)
    python examples/mrnet.py --data MRNet-v1.0 --task acl      # one of them
    python examples/mrnet.py --phantoms 96 --weights random --lr 1e-4 --epochs 6 --slices 6 7
    python examples/mrnet.py --data my_knees --own             # exams of your own, also as folders of DICOM slices
    python examples/mrnet.py … --resume                        # the same options: after Ctrl-C, or a power cut
    mpirun -n 4 python examples/mrnet.py … --accumulate 4 --data-parallel   # four processes share the exams of a step

Stanford gives the data, after an agreement, at https://stanfordmlgroup.github.io/competitions/mrnet; `--phantoms`
paints knees in the same layout instead. Exams of your own need that layout too, with its CSV files of labels; in place
of the file `train/axial/0000.npy` there may be a folder `train/axial/0000` of DICOM slices. A batch is one exam,
because every exam has another number of slices. The run leaves a page, `index.html`: curves, ROC curves, and for a few
exams which slice decided what and where on it; and history.csv, best.safetensors, and last.safetensors, from which
`--resume` goes on as if nothing had happened.

The tutorials' means were an AUC of 0.939 (abnormal), 0.960 (ACL) and 0.783 (meniscus), from ImageNet's weights; the
paper's, Bien et al. 2018, 0.937, 0.965 and 0.847.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import command
import mrnet_page
import numpy as np
from report import Page
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

import tinygrad_med as torch
from tinygrad_med import nn, optim
from tinygrad_med._files import writing
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.data import dicom, mrnet
from tinygrad_med.data.phantoms import knees
from tinygrad_med.models.mrnet import CHANNELS, MRNet
from tinygrad_med.parallel import Ranks
from tinygrad_med.series_cam import explain

PLAN = ("task", "backbone", "weights", "optimizer", "lr", "weight_decay", "accumulate")
PLAN += ("augment", "shrink", "phantoms", "seed")
"""The options that, beside the data, make a training what it is: one that is resumed must have the same."""


# ---------------------------------------------------------------- the model, and one pass over the exams


def build(options: argparse.Namespace, labels: int) -> MRNet:
    """The model, from ImageNet's weights or from random ones."""
    torch.manual_seed(options.seed)
    model = MRNet(labels, options.backbone, pretrained=options.weights == "imagenet", chunk=options.chunk)
    if options.weights == "random":
        begin_local(model)
    return model.to(options.device)


@torch.no_grad()
def begin_local(model: MRNet) -> None:
    """Random filters, so that at first each place of a map answers only to what is there.

    The numbers are those of He et al. 2015; under AlexNet's default ones the picture fades layer by layer. The first
    filters sum to zero: what is flat, such as air, doesn't excite them. Of all other kernels only the middle is not
    zero, as in delta-orthogonal initialization (Xiao et al. 2018, arXiv:1806.05393). Training makes them wider, but
    after few epochs the place where a map is largest is still close to its cause.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            weight, (out, channels, height, width) = module.weight, module.weight.shape
            if channels == 3:
                nn.init.kaiming_normal_(weight, nonlinearity="relu")
                weight -= weight.mean((1, 2, 3), keepdim=True)
            else:
                middle = nn.init.kaiming_normal_(torch.empty(out, channels), nonlinearity="relu")
                weight.zero_()
                weight[:, :, height // 2, width // 2] = middle
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def tensors(exam: mrnet.Exam, device: str) -> tuple[list[Tensor], Tensor]:
    """What the model reads, and what it should say: (1, labels)."""
    return [torch.tensor(series, device=device) for series in exam.series], torch.tensor(
        exam.labels[None], device=device
    )


class Pass(NamedTuple):
    """What came of one pass over all exams."""

    loss: float
    scores: np.ndarray  # (exams, labels), probabilities
    truth: np.ndarray  # likewise, 0 or 1


def train(
    model: MRNet, exams: mrnet.Exams, criterion: Any, optimizer: Any, epoch: int, options: argparse.Namespace
) -> Pass:
    """Learn from every exam once, in an order of this epoch's own."""
    order = np.random.default_rng((options.seed, epoch)).permutation(len(exams))
    ranks, parameters = options.ranks, list(model.parameters())
    model.train()
    losses, scores = np.zeros(len(exams)), np.zeros(exams.labels.shape, np.float32)
    seen: list[float] = []  # of this process
    for first in tqdm(
        range(0, len(exams), options.accumulate), f"epoch {epoch}", unit=" steps", disable=quiet(options)
    ):
        last = min(first + options.accumulate, len(exams))
        for place in range(first + ranks.rank, last, ranks.size):
            i = int(order[place])
            rng = np.random.default_rng((options.seed, epoch, i)) if options.augment else None
            series, y = tensors(exams.read(i, rng), options.device)
            output = model(series)
            loss = criterion(output, y)
            (loss / options.accumulate).backward()
            losses[place], scores[place] = loss.item(), output.detach().sigmoid().cpu().numpy()[0]
            seen.append(float(losses[place]))
            rate = optimizer.param_groups[0]["lr"]
            command.demand_bounded(seen, f"epoch {epoch}, exam {exams.ids[i]}", rate, *series)
        ranks.sum_gradients(parameters)
        optimizer.step()
        optimizer.zero_grad()
    return Pass(float(ranks.sum(losses).mean()), ranks.sum(scores), exams.labels[order])


def quiet(options: argparse.Namespace) -> bool | None:
    """Whether there is no progress bar; `None`: only where there is no terminal."""
    return options.quiet or options.ranks.rank > 0 or None


@torch.no_grad()
def evaluate(model: MRNet, exams: mrnet.Exams, criterion: Any, device: str, ranks: Ranks | None = None) -> Pass:
    """Look at every exam once, without learning; several processes look at a part of them each."""
    ranks = ranks or Ranks()
    ranks.broadcast(model)  # statistics of a batch-norm are each process's own: those of rank 0 count
    model.eval()
    losses, scores = np.zeros(len(exams)), np.zeros(exams.labels.shape, np.float32)
    for i in range(ranks.rank, len(exams), ranks.size):
        series, y = tensors(exams[i], device)
        output = model(series)
        losses[i], scores[i] = criterion(output, y).item(), output.sigmoid().cpu().numpy()[0]
    return Pass(float(ranks.sum(losses).mean()), ranks.sum(scores), exams.labels)


# ---------------------------------------------------------------- how good it is


def aucs(found: Pass) -> np.ndarray:
    """The area under the ROC curve for each label; NaN where all exams are alike."""
    return np.array(
        [
            roc_auc_score(y, p) if 0 < y.sum() < len(y) else np.nan
            for y, p in zip(found.truth.T, found.scores.T, strict=True)
        ]
    )


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """One row per epoch."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, history[0])
        rows.writeheader()
        rows.writerows(history)


# ---------------------------------------------------------------- the run


def phantoms(options: argparse.Namespace) -> Path:
    """The folder of the phantom exams that were asked for, painted if they are not there."""
    default = "-".join(str(part) for part in (options.phantoms, *options.slices, options.seed))
    folder = options.data or Path("runs") / f"knees-{default}"
    valid = options.phantoms // 2
    if not (folder / "lesions.csv").exists():
        print(f"painting {options.phantoms} phantom exams to learn from and {valid} to test into {folder}")
        knees.generate(folder, options.phantoms, valid, slices=tuple(options.slices), seed=options.seed)
    there = len(list((folder / "train" / mrnet.PLANES[0]).glob("*.npy")))
    if there != options.phantoms:
        raise ValueError(
            f"--phantoms {options.phantoms}: {folder} holds {there} exams to learn from; say --phantoms {there}, or "
            "name another folder"
        )
    return folder


def own(data: Path) -> Path:
    """The folder with exams of one's own in MRNet's layout; those that are folders of DICOM slices are converted."""
    slices = sorted(file for file in data.glob("*/*/*/*") if file.is_file())
    if not slices:
        return data
    found = [(str(file.relative_to(data)), file.stat().st_size, file.stat().st_mtime_ns) for file in slices]
    others = [(file.name, file.read_bytes()) for file in sorted(data.glob("*.csv"))]
    target = Path("runs") / f"exams-{hashlib.sha256(repr((found, others)).encode()).hexdigest()[:16]}"
    if not target.is_dir():
        print(f"converting {len(slices)} slices of {data} into {target}")
        target.parent.mkdir(exist_ok=True)
        dicom.exams_to_mrnet(data, target)
    return target


def learning(model: MRNet, options: argparse.Namespace) -> optim.Optimizer:
    """The tutorial's optimizer, or the one that it suggests to try next."""
    if options.optimizer == "sgd":
        return optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=options.weight_decay)
    return optim.Adam(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)


def story(options: argparse.Namespace) -> command.Run:
    """Train, and leave what there is to see in `options.out`."""
    labels = mrnet.LABELS if options.task == "all" else (options.task,)
    if options.accumulate < (ranks := options.ranks).size:
        raise ValueError(
            f"--data-parallel: a step is over {options.accumulate} exams, too few for {ranks.size} processes; say "
            f"--accumulate {ranks.size}"
        )
    with ranks.rank_0_first():
        data = phantoms(options) if options.phantoms else own(options.data) if options.own else options.data
    with command.advising("--own", "check_counts=False"):
        exams, valid = (
            mrnet.Exams(data, split, labels, check_counts=not (options.phantoms or options.own), shrink=options.shrink)
            for split in ("train", "valid")
        )
    model = build(options, len(labels))
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(exams.pos_weight, device=options.device))
    optimizer = learning(model, options)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3, factor=0.3, threshold=1e-4)
    plan = {name: getattr(options, name) for name in PLAN}
    plan |= {"data": str(data), "slices": options.slices if options.phantoms else None}
    run = command.Run(options, plan, model, optimizer=optimizer, scheduler=scheduler)
    history: list[dict[str, Any]] = run.load().get("history", [])
    if history:
        print(f"going on after epoch {len(history) - 1}")

    ranks.broadcast(model)
    with run.until_interrupted():
        for epoch in range(len(history), options.epochs):
            row = one_epoch(model, exams, valid, criterion, optimizer, epoch, options)
            scheduler.step(row["valid_loss"])
            if run.writes and is_best(row, history):
                torch.save(model.state_dict(), run.folder / "best.safetensors")
            run.save(history=[*history, row])
            history.append(row)
            if not run.writes:
                continue
            write_history(run.folder / "history.csv", history)
            by_label = ", ".join(f"{name} {row[f'valid_auc_{name}']:.3f}" for name in labels)
            print(
                f"epoch {epoch}: loss {row['valid_loss']:.3f}, AUC {row['valid_auc_mean']:.3f} ({by_label}), "
                f"{row['train_seconds']:.0f} s",
                flush=True,
            )

    if not run.writes:
        return run
    page = Page(
        run.folder,
        "MRNet: which slice decided?",
        f"{len(exams)} exams to learn from, {len(valid)} to test; {', '.join(labels)}.",
        made_by=[f"Made by `{command.command_line(options)}`", f"{len(history)} of {options.epochs} epochs."],
        phantoms=bool(options.phantoms),
    )
    model.load_state_dict(torch.load(run.folder / "best.safetensors"))
    mrnet_page.curves(page, history, labels)
    found = evaluate(model, valid, criterion, options.device)
    mrnet_page.roc(page, found.truth, found.scores, labels)
    model.eval()
    model.chunk = None
    for i in np.argsort(-valid.labels.sum(1), kind="stable")[: options.explain]:
        exam = valid[int(i)]
        explained = explain(model, tensors(exam, options.device)[0], valid.label_names, block=-2)
        mrnet_page.one_exam(page, valid.ids[i], explained, exam, valid.label_names)
    return run.end(page.index)


def one_epoch(
    model: MRNet,
    exams: mrnet.Exams,
    valid: mrnet.Exams,
    criterion: Any,
    optimizer: Any,
    epoch: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Learn from every exam once, look at the others; a row of the history."""
    start = time.perf_counter()
    learned = train(model, exams, criterion, optimizer, epoch, options)
    seconds = time.perf_counter() - start
    tested = evaluate(model, valid, criterion, options.device, options.ranks)
    row: dict[str, Any] = {"epoch": epoch, "lr": optimizer.param_groups[0]["lr"], "train_seconds": round(seconds, 1)}
    for split, found in (("train", learned), ("valid", tested)):
        of_labels = aucs(found)
        row[f"{split}_loss"] = found.loss
        row |= {f"{split}_auc_{name}": float(auc) for name, auc in zip(exams.label_names, of_labels, strict=True)}
        row[f"{split}_auc_mean"] = float(np.mean(known)) if len(known := of_labels[~np.isnan(of_labels)]) else np.nan
    return row


def is_best(row: dict[str, Any], earlier: list[dict[str, Any]]) -> bool:
    """Whether the mean AUC is as high as any before; where all exams are alike there is none, and the loss counts."""
    before = [other["valid_auc_mean"] for other in earlier]
    if np.isnan([row["valid_auc_mean"], *before]).any():
        return row["valid_loss"] <= min((other["valid_loss"] for other in earlier), default=np.inf)
    return row["valid_auc_mean"] >= max(before, default=0)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = command.parser(__doc__, "runs/mrnet")
    parser.add_argument("--data", type=Path, metavar="PATH", help="the folder MRNet-v1.0, or one for the phantoms")
    parser.add_argument(
        "--own", action="store_true", help="--data holds exams of your own, as .npy files or as folders of DICOM slices"
    )
    parser.add_argument("--task", default="all", choices=["all", *mrnet.LABELS], help="all: one model for all labels")
    parser.add_argument("--backbone", default="alexnet", choices=list(CHANNELS), help="default: alexnet")
    parser.add_argument("--weights", default="imagenet", choices=["imagenet", "random"], help="where to begin")
    parser.add_argument("--epochs", type=command.positive, default=50, help="default: 50")
    parser.add_argument(
        "--optimizer",
        default="adam",
        choices=["adam", "sgd"],
        help="sgd has momentum 0.9, and usually wants a larger --lr",
    )
    parser.add_argument("--lr", type=command.a_rate, default=1e-5, help="default: 1e-5")
    parser.add_argument("--weight-decay", type=float, default=0.01, help="default: 0.01")
    parser.add_argument(
        "--accumulate", type=command.positive, default=1, metavar="EXAMS", help="exams whose gradients make one step"
    )
    parser.add_argument(
        "--chunk", type=command.positive, metavar="SLICES", help="slices in memory at a time; default: all"
    )
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True, help="turn, shift and flip")
    parser.add_argument(
        "--shrink", type=int, choices=(1, 2), default=1, help="2: pictures of 112×112, four times as fast"
    )
    parser.add_argument(
        "--explain", type=command.at_least(0), default=4, metavar="EXAMS", help="how many are explained"
    )
    parser.add_argument(
        "--phantoms",
        type=command.at_least(16),
        metavar="EXAMS",
        help="paint as many, at least 16, and half for validation",
    )
    parser.add_argument(
        "--slices", type=command.at_least(6), nargs=2, default=(20, 32), metavar=("FEWEST", "MOST"), help="of phantoms"
    )
    parser.add_argument("--quiet", action="store_true", help="without progress bars")
    command.add_data_parallel(parser)
    options = parser.parse_args(arguments)
    options.out = options.out or Path("runs/mrnet")
    if not (options.data or options.phantoms):
        parser.error("name the folder MRNet-v1.0 by --data, or ask for --phantoms 96")
    if options.own and options.phantoms:
        parser.error("--own is about exams, and --phantoms paints some; give one of them")
    if options.slices[1] < options.slices[0]:
        parser.error(f"--slices {options.slices[0]} {options.slices[1]}: the fewest come first")
    return options


def main(argv: list[str] | None = None) -> int:
    """The example; returns the exit status."""
    return command.run(story, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
