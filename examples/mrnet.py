"""MRNet: is this knee abnormal, is its ACL torn, a meniscus? From three series of MRI slices, as a tutorial taught it.

    python examples/mrnet.py MRNet-v1.0                        # all three labels in one model (multi-task)
    python examples/mrnet.py MRNet-v1.0 --task acl             # one of them
    python examples/mrnet.py phantoms --phantoms 96 --weights random --lr 1e-4 --epochs 6 --slices 6 7

Stanford gives the data, after an agreement, at https://stanfordmlgroup.github.io/competitions/mrnet; `--phantoms`
paints knees in the same layout instead. A batch is one exam, because every exam has another number of slices. The run
leaves in `--out`: history.csv, curves.png, roc.png, a page for each of a few exams that shows which slice decided what
and where on it, best.safetensors, and last.safetensors, from which `--resume` goes on as if nothing had happened.

The tutorials' means were an AUC of 0.939 (abnormal), 0.960 (ACL) and 0.783 (meniscus), from ImageNet's weights; the
paper's, Bien et al. 2018, 0.937, 0.965 and 0.847.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve
from tqdm import tqdm

import tinygrad_med as torch
from tinygrad_med import nn, optim, plots
from tinygrad_med._files import writing
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.data import mrnet
from tinygrad_med.data.phantoms import knees
from tinygrad_med.learner.state import facts_of, restore, snapshot
from tinygrad_med.models.mrnet import CHANNELS, MRNet
from tinygrad_med.series_cam import explain

RESAMPLES = 1000  # of the validation exams, for the intervals
PLAN = ("task", "backbone", "weights", "lr", "weight_decay", "accumulate", "augment", "shrink", "phantoms", "seed")
"""The options that, beside the data, make a training what it is: one that is resumed must have the same."""


# ---------------------------------------------------------------- the model, and one pass over the exams


def build(args: argparse.Namespace, labels: int) -> MRNet:
    """The model, from ImageNet's weights or from random ones."""
    torch.manual_seed(args.seed)
    model = MRNet(labels, args.backbone, pretrained=args.weights == "imagenet", chunk=args.chunk)
    if args.weights == "random":
        begin_local(model)
    return model.to(args.device)


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
    model: MRNet, exams: mrnet.Exams, criterion: Any, optimizer: Any, epoch: int, args: argparse.Namespace
) -> Pass:
    """Learn from every exam once, in an order of this epoch's own."""
    rng = np.random.default_rng((args.seed, epoch))
    model.train()
    losses, scores, truth = [], [], []
    for number, i in enumerate(
        tqdm(rng.permutation(len(exams)), f"epoch {epoch}", unit=" exams", disable=args.quiet), 1
    ):
        series, y = tensors(exams.read(int(i), rng if args.augment else None), args.device)
        output = model(series)
        loss = criterion(output, y)
        (loss / args.accumulate).backward()
        if number % args.accumulate == 0 or number == len(exams):
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        scores.append(output.detach().sigmoid().cpu().numpy()[0])
        truth.append(exams.labels[i])
    return Pass(float(np.mean(losses)), np.array(scores), np.array(truth))


@torch.no_grad()
def evaluate(model: MRNet, exams: mrnet.Exams, criterion: Any, device: str) -> Pass:
    """Look at every exam once, without learning."""
    model.eval()
    losses, scores = [], []
    for exam in exams:
        series, y = tensors(exam, device)
        output = model(series)
        losses.append(criterion(output, y).item())
        scores.append(output.sigmoid().cpu().numpy()[0])
    return Pass(float(np.mean(losses)), np.array(scores), exams.labels)


# ---------------------------------------------------------------- how good it is


def aucs(found: Pass) -> np.ndarray:
    """The area under the ROC curve for each label; NaN where all exams are alike."""
    return np.array(
        [
            roc_auc_score(y, p) if 0 < y.sum() < len(y) else np.nan
            for y, p in zip(found.truth.T, found.scores.T, strict=True)
        ]
    )


def interval(y: np.ndarray, p: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The middle 95% of the AUCs of as many exams, drawn with replacement."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < RESAMPLES:
        drawn = rng.integers(len(y), size=len(y))
        if 0 < y[drawn].sum() < len(y):
            found.append(roc_auc_score(y[drawn], p[drawn]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def roc_figure(found: Pass, labels: tuple[str, ...]) -> Figure:
    """A ROC curve per label, its AUC with the bootstrap's interval, and around it the curves of some resamples."""
    figure = plots.new_figure(4.2 * len(labels), 4)
    rng = np.random.default_rng(0)
    for axes, name, y, p in zip(
        figure.subplots(1, len(labels), squeeze=False)[0], labels, found.truth.T, found.scores.T, strict=True
    ):
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
        if 0 < y.sum() < len(y):
            for _ in range(50):
                drawn = rng.integers(len(y), size=len(y))
                if 0 < y[drawn].sum() < len(y):
                    axes.plot(*roc_curve(y[drawn], p[drawn])[:2], color=plots.REFERENCE, linewidth=0.6, alpha=0.4)
            low, high = interval(y, p)
            text = f"AUC {roc_auc_score(y, p):.3f} (95%: {low:.3f} – {high:.3f})"
            axes.plot(*roc_curve(y, p)[:2], color=plots.OURS, label=text)
            axes.legend(loc="lower right", frameon=False, fontsize=8)
        axes.set_title(name, loc="left", fontsize=11)
        axes.set_xlabel("false positives")
        axes.set_ylabel("true positives")
        axes.set_aspect("equal")
    return figure


def curves_figure(history: list[dict[str, Any]], labels: tuple[str, ...]) -> Figure:
    """The losses, and the AUC of each label, by epoch."""
    epochs = [row["epoch"] for row in history]
    panels = {"loss": "loss", **{f"AUC, {name}": f"auc_{name}" for name in labels}}
    return plots.curves(
        {
            title: {split: (epochs, [row[f"{split}_{key}"] for row in history]) for split in ("train", "valid")}
            for title, key in panels.items()
        },
        xlabel="epoch",
    )


# ---------------------------------------------------------------- what stays on the disk


def save_last(path: Path, model: MRNet, optimizer: Any, facts: dict[str, Any]) -> None:
    """All that a training is, in one file."""
    torch.save(snapshot(model, optimizer, {**facts, "lr_now": optimizer.param_groups[0]["lr"]}), path)


def load_last(path: Path, model: MRNet, optimizer: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """Put model and optimizer where they were; the facts. An error where another training left the file."""
    state = torch.load(path)
    try:
        facts = facts_of(state, plan, path)
    except ValueError as error:
        raise SystemExit(f"--resume: {error}") from None
    restore(state, model, optimizer)
    optimizer.param_groups[0]["lr"] = facts["lr_now"]
    return facts


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """One row per epoch."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, history[0])
        rows.writeheader()
        rows.writerows(history)


# ---------------------------------------------------------------- the run


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train, and leave what there is to see in `args.out`; the history."""
    labels = mrnet.LABELS if args.task == "all" else (args.task,)
    if args.phantoms and not (args.data / "lesions.csv").exists():
        print(f"painting {args.phantoms} phantom exams to learn from and {args.phantoms // 2} to test into {args.data}")
        knees.generate(args.data, args.phantoms, args.phantoms // 2, slices=tuple(args.slices), seed=args.seed)
    exams, valid = (
        mrnet.Exams(args.data, split, labels, check_counts=not args.phantoms, shrink=args.shrink)
        for split in ("train", "valid")
    )
    model = build(args, len(labels))
    pos_weight = torch.tensor(exams.pos_weight, device=args.device)
    criterion = nn.BCEWithLogitsLoss(pos_weight=pos_weight)
    optimizer = optim.Adam(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3, factor=0.3, threshold=1e-4)
    args.out.mkdir(parents=True, exist_ok=True)
    history: list[dict[str, Any]] = []
    plan = {name: getattr(args, name) for name in PLAN}
    plan |= {"data": str(args.data), "slices": args.slices if args.phantoms else None}
    if args.resume:
        facts = load_last(args.out / "last.safetensors", model, optimizer, plan)
        scheduler.load_state_dict(facts["scheduler"])
        history = facts["history"]
        print(f"going on after epoch {len(history) - 1}")

    for epoch in range(len(history), args.epochs):
        start = time.perf_counter()
        learned = train(model, exams, criterion, optimizer, epoch, args)
        seconds = time.perf_counter() - start
        tested = evaluate(model, valid, criterion, args.device)
        row: dict[str, Any] = {
            "epoch": epoch,
            "lr": optimizer.param_groups[0]["lr"],
            "train_seconds": round(seconds, 1),
        }
        for split, found in (("train", learned), ("valid", tested)):
            row[f"{split}_loss"] = found.loss
            row |= {f"{split}_auc_{name}": float(auc) for name, auc in zip(labels, aucs(found), strict=True)}
            row[f"{split}_auc_mean"] = float(np.nanmean(aucs(found)))
        scheduler.step(tested.loss)
        if not history or row["valid_auc_mean"] >= max(earlier["valid_auc_mean"] for earlier in history):
            torch.save(model.state_dict(), args.out / "best.safetensors")
        history.append(row)
        write_history(args.out / "history.csv", history)
        facts = {**plan, "scheduler": scheduler.state_dict(), "history": history}
        save_last(args.out / "last.safetensors", model, optimizer, facts)
        by_label = ", ".join(f"{name} {row[f'valid_auc_{name}']:.3f}" for name in labels)
        print(f"epoch {epoch}: loss {tested.loss:.3f}, AUC {row['valid_auc_mean']:.3f} ({by_label}), {seconds:.0f} s")

    plots.save(curves_figure(history, labels), args.out / "curves.png")
    model.load_state_dict(torch.load(args.out / "best.safetensors"))
    plots.save(roc_figure(evaluate(model, valid, criterion, args.device), labels), args.out / "roc.png")
    explain_some(model, valid, args)
    return history


def explain_some(model: MRNet, exams: mrnet.Exams, args: argparse.Namespace) -> None:
    """A page for each of the first few exams in which the most is wrong."""
    model.eval()
    model.chunk = None
    for i in np.argsort(-exams.labels.sum(1), kind="stable")[: args.explain]:
        exam = exams[int(i)]
        found = explain(model, tensors(exam, args.device)[0], exams.label_names, block=-2)
        plots.save(found.figure(exam.series), args.out / f"exam-{exams.ids[i]}.png")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder MRNet-v1.0, or with --phantoms a folder for them")
    parser.add_argument("--task", default="all", choices=["all", *mrnet.LABELS], help="all: one model for all labels")
    parser.add_argument("--backbone", default="alexnet", choices=list(CHANNELS))
    parser.add_argument("--weights", default="imagenet", choices=["imagenet", "random"], help="where to begin")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument(
        "--accumulate", type=int, default=1, metavar="EXAMS", help="exams whose gradients make one step"
    )
    parser.add_argument("--chunk", type=int, metavar="SLICES", help="slices in memory at a time; by default all")
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True, help="turn, shift and flip")
    parser.add_argument("--shrink", type=int, default=1, help="2: pictures of 112×112, four times as fast")
    parser.add_argument("--explain", type=int, default=4, metavar="EXAMS", help="how many exams get a page")
    parser.add_argument(
        "--phantoms", type=int, default=0, metavar="EXAMS", help="paint as many, and half for validation"
    )
    parser.add_argument("--slices", type=int, nargs=2, default=(20, 32), help="of phantoms, the fewest and the most")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mrnet"))
    parser.add_argument("--resume", action="store_true", help="go on from last.safetensors in --out")
    parser.add_argument("--quiet", action="store_true", help="without progress bars")
    args = parser.parse_args(arguments)
    if args.accumulate < 1:
        parser.error(f"--accumulate {args.accumulate} must be at least 1")
    if args.epochs < 1:
        parser.error(f"--epochs {args.epochs} must be at least 1")
    there = (args.out / "last.safetensors").exists()
    if args.resume and not there:
        parser.error(f"--resume: there is no last.safetensors in {args.out}")
    if there and not args.resume:
        parser.error(f"{args.out} holds another run; go on with it by --resume, or choose another --out")
    return args


if __name__ == "__main__":
    run(parse())
