"""The page of `examples/mrnet.py`: losses and AUCs by epoch, ROC curves with their uncertainty, and a few exams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from report import Page
from sklearn.metrics import roc_auc_score, roc_curve

from tinygrad_med import plots
from tinygrad_med.data.mrnet import Exam
from tinygrad_med.series_cam import Explanation

RESAMPLES = 1000  # of the validation exams, for the intervals


def interval(y: np.ndarray, p: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The middle 95% of the AUCs of as many exams, drawn with replacement."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < RESAMPLES:
        drawn = rng.integers(len(y), size=len(y))
        if 0 < y[drawn].sum() < len(y):
            found.append(roc_auc_score(y[drawn], p[drawn]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def roc_figure(truth: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> Figure:
    """A ROC curve per label, its AUC with the bootstrap's interval, and around it the curves of some resamples.

    Args:
        truth, scores: (exams, labels); 0 or 1, and probabilities.
    """
    figure = plots.new_figure(4.2 * len(labels), 4.4)
    rng = np.random.default_rng(0)
    grid = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, name, y, p in zip(grid, labels, truth.T, scores.T, strict=True):
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, label="guessing")
        if 0 < y.sum() < len(y):
            resampled = "exams drawn anew, 50 times"
            for _ in range(50):
                drawn = rng.integers(len(y), size=len(y))
                if 0 < y[drawn].sum() < len(y):
                    curve = roc_curve(y[drawn], p[drawn])[:2]
                    axes.plot(*curve, color=plots.REFERENCE, linewidth=0.6, alpha=0.4, label=resampled)
                    resampled = None
            low, high = interval(y, p)
            text = f"AUC {roc_auc_score(y, p):.3f} (95%: {low:.3f} – {high:.3f})"
            axes.plot(*roc_curve(y, p)[:2], color=plots.OURS, label=text)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False, fontsize=8)
        else:
            axes.text(0.5, 0.5, "all exams are alike:\nno curve", ha="center", va="center")
        axes.set_title(name, loc="left", fontsize=11)
        axes.set_xlabel("false positives")
        axes.set_ylabel("true positives")
        axes.set_aspect("equal")
    return figure


def curves_figure(history: Sequence[dict[str, Any]], labels: Sequence[str]) -> Figure:
    """The losses, and the AUC of each label, by epoch."""
    numbers = [row["epoch"] for row in history]
    panels = {"loss": "loss", **{f"AUC, {name}": f"auc_{name}" for name in labels}}
    return plots.curves(
        {
            title: {split: (numbers, [row[f"{split}_{key}"] for row in history]) for split in ("train", "valid")}
            for title, key in panels.items()
        },
        xlabel="epoch",
    )


# ---------------------------------------------------------------- the sections


def curves(page: Page, history: Sequence[dict[str, Any]], labels: Sequence[str]) -> None:
    """What each epoch brought."""
    best = max(history, key=lambda row: np.nan_to_num(row["valid_auc_mean"]))
    page.add(
        f"{len(history)} epoch{'s' * (len(history) != 1)}",
        "The loss, and for each label the area under the ROC curve: 0.5 is guessing, 1 is perfect. What follows is "
        f"about the weights of epoch {best['epoch']}, whose mean over the labels is highest.",
        curves_figure(history, labels),
        f"Curves by epoch; the mean AUC on the test exams is highest in epoch {best['epoch']}: "
        f"{best['valid_auc_mean']:.3f}.",
        name="curves",
        rows=[{name: row[name] for name in ("epoch", "train_loss", "valid_loss", "valid_auc_mean")} for row in history],
    )


def roc(page: Page, truth: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> None:
    """How many true positives for how many false ones."""
    page.add(
        "How good is it?",
        "For every threshold: which share of the ill is found, for which share of the healthy that is called ill.",
        roc_figure(truth, scores, labels),
        f"ROC curves for {', '.join(labels)}; the AUCs stand below them.",
        name="roc",
    )


def one_exam(page: Page, number: str, explained: Explanation, exam: Exam, labels: Sequence[str]) -> None:
    """Which slices decided about an exam, and where on them."""
    said = 1 / (1 + np.exp(-explained.logits))
    answers = [
        {"label": name, "the truth": "yes" if y else "no", "probability": f"{p:.2f}"}
        for name, y, p in zip(labels, exam.labels, said, strict=True)
    ]
    figure = explained.figure(exam.series)
    figure.suptitle(f"exam {number}", x=0.01, ha="left", fontsize=10)
    page.add(
        f"Exam {number}",
        "A row per label. In each plane the slice that contributed most to the label, under its Grad-CAM, and beside "
        "it what every slice contributed. Σ is the plane's sum; the three sums and the bias add up to the logit, whose "
        "sigmoid is the probability.",
        figure,
        "For each label and plane a slice of the knee with a heat map, and bars for the contributions of all slices.",
        name=f"exam-{number}",
        rows=answers,
    )
