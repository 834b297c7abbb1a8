"""The figures of `examples/mrnet.py`: losses and AUCs by epoch, and ROC curves with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from tinygrad_med import plots

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


def roc(truth: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> Figure:
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


def losses_and_aucs(history: Sequence[dict[str, Any]], labels: Sequence[str]) -> Figure:
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
