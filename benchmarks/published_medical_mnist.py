"""Does examples/medical_mnist.py learn on the real images what the tutorials published, whatever the seed?

    python benchmarks/published_medical_mnist.py [--data <folder or zip>]

Runs the example as a reader would, one process for each model and seed, and compares the validation loss after every
epoch, and the accuracy after the last, with what the tutorials printed.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from timing import RESULTS, machine

from tinygrad_med import plots
from tinygrad_med._files import writing
from tinygrad_med.data import medical_mnist

EXAMPLE = Path(__file__).parents[1] / "examples" / "medical_mnist.py"
MODELS = ("unnormalised", "linear", "mlp")
SEEDS = (0, 1, 2)
SHOWN = ("unnormalised", 0)  # the run whose weights the README shows
LOSS_WITHIN = 0.01  # of the published one, at every epoch
ACCURACY_WITHIN = 0.01  # of the published one, after the last epoch
MARK = 0.99  # the accuracy that the mlp should reach
MEMORY_BELOW = 1024  # MiB

SHUFFLE = """\
The loss hardly depends on the shuffle, but the linear models' accuracy does: two classes lie so close together that a
step or two, those after the last batches of an epoch, can let one of them swallow the other. PyTorch comes to the same
accuracy with the same shuffle. The published accuracy is that of one shuffle, of which nothing is known.
"""


def run(model: str, seed: int, data: Path | None) -> pd.DataFrame:
    """The history of one run of the example, and the memory that it took at most, in MiB."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, str(EXAMPLE), "--model", model, "--seed", str(seed), "--out", out]
        process = subprocess.Popen([*command, *(["--data", str(data)] if data else [])])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"published_medical_mnist: the example ended with exit status {process.returncode}")
        history = pd.read_csv(Path(out) / "history.csv")
        if (model, seed) == SHOWN:
            with writing(RESULTS / "weights.png") as path:
                shutil.copyfile(Path(out) / "weights.png", path)
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return history.assign(model=model, seed=seed, peak_mib=round(peak))


def pytorch_accuracy(model: str, seed: int, images: medical_mnist.Images, epochs: int) -> float:
    """What PyTorch comes to with the tutorial's loop on the same images in the same order; NaN without PyTorch."""
    try:
        import torch
    except ImportError:
        return math.nan
    pixels, labels = images.images.reshape(-1, 64 * 64), torch.from_numpy(images.labels)
    learn_from, validate_on = medical_mnist.split(len(images), valid=0.2, seed=seed)
    lr = 0.5 if model == "linear" else 1.0
    weights, bias = torch.zeros((64 * 64, 10), requires_grad=True), torch.zeros(10, requires_grad=True)

    def predict(rows: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(pixels[rows]).float() / 255 / 255 @ weights + bias
        sums = x.exp().sum(-1)
        return x - (sums.log() if model == "linear" else sums).unsqueeze(-1)

    for _ in range(epochs):
        for rows in np.split(learn_from, range(64, len(learn_from), 64)):
            loss = -predict(rows)[range(len(rows)), labels[rows]].mean()
            loss.backward()
            with torch.no_grad():
                for parameter in (weights, bias):
                    parameter -= parameter.grad * lr
                    parameter.grad.zero_()
    with torch.no_grad():
        right = [predict(rows).argmax(-1) == labels[rows] for rows in np.split(validate_on, 10)]
    return torch.cat(right).float().mean().item()


def judged(model: str, seed: int, history: pd.DataFrame, images: medical_mnist.Images) -> dict[str, object]:
    """One row of the table: how far the run is from what was published, or when the mlp reached its mark."""
    pytorch = math.nan if model == "mlp" else pytorch_accuracy(model, seed, images, len(history))
    last = history.iloc[-1]
    off = (history.valid_loss / history.valid_loss_published - 1).abs().max()  # NaN where nothing was published
    gap = abs(last.valid_accuracy - last.valid_accuracy_published)
    reached = history.epoch[history.valid_accuracy >= MARK].min() + 1
    as_published = off <= LOSS_WITHIN and gap <= ACCURACY_WITHIN
    as_asked = (reached <= len(history) if model == "mlp" else as_published) and last.peak_mib < MEMORY_BELOW
    return {
        "model": model,
        "seed": seed,
        "epochs": len(history),
        "loss off by at most": shown(off, ".2%"),
        "accuracy": shown(last.valid_accuracy, ".2%"),
        "PyTorch, same shuffle": shown(pytorch, ".2%"),
        "published": shown(last.valid_accuracy_published, ".2%"),
        f"epochs to {MARK:.0%}": shown(reached, ".0f"),
        "peak memory": f"{last.peak_mib:.0f} MiB",
        "": "as asked" if as_asked else "MISSED",
    }


def by_epoch(histories: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of the long table: an epoch of a model each, what was published and what each seed gave."""
    rows = []
    for (model, epoch), of_epoch in histories.groupby(["model", "epoch"], sort=False):
        row: dict[str, object] = {"model": model, "epoch": epoch}
        for name, column, spec in (("loss", "valid_loss", ".4f"), ("accuracy", "valid_accuracy", ".2%")):
            row[f"{name}, published"] = shown(of_epoch[f"{column}_published"].iloc[0], spec)
            for seed, x in zip(of_epoch.seed, of_epoch[column], strict=True):
                row[f"{name}, seed {seed}"] = shown(x, spec)
        rows.append(row)
    return rows


def shown(number: float, spec: str) -> str:
    """A number for people."""
    return "–" if math.isnan(number) else format(number, spec)


def markdown(rows: list[dict[str, object]]) -> str:
    """A table, its header the keys of the first row."""
    lines = [list(rows[0]), ["---", *["--:"] * (len(rows[0]) - 1)], *(row.values() for row in rows)]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


def picture(histories: pd.DataFrame) -> Figure:
    """How far each run's loss is from the published one, and how soon the mlp reaches its mark."""
    figure = plots.new_figure(10.5, 3.2)
    panels = figure.subplots(1, 3)
    for axes, model in zip(panels, MODELS, strict=True):
        for seed, history in histories[histories.model == model].groupby("seed"):
            y = history.valid_accuracy if model == "mlp" else history.valid_loss / history.valid_loss_published - 1
            axes.plot(history.epoch, y, marker="o", markersize=3, linewidth=1.4, label=f"seed {seed}")
        what = "validation accuracy" if model == "mlp" else "loss over the published one"
        axes.set_title(f"{model}: {what}", loc="left", fontsize=9)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    for axes in panels[:2]:
        axes.axhspan(-LOSS_WITHIN, LOSS_WITHIN, color=plots.REFERENCE, alpha=0.3, linewidth=0)
        axes.axhline(0, color=plots.REFERENCE)
        axes.set_ylim(-1.5 * LOSS_WITHIN, 1.5 * LOSS_WITHIN)
    panels[2].axhline(MARK, color=plots.REFERENCE)
    panels[2].set_ylim(MARK - 0.002, 1)
    return figure


def main() -> None:
    """Run everything, print the table, and write it with the numbers and the picture to `results/`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the real images: folder or zip; by default those used last")
    data = parser.parse_args().data
    images = medical_mnist.load(data, phantoms_per_class=1)
    if images.is_phantom:
        raise SystemExit("published_medical_mnist: this needs the real images; give their path with --data")

    RESULTS.mkdir(exist_ok=True)
    histories = pd.concat([run(model, seed, data) for model in MODELS for seed in SEEDS], ignore_index=True)
    rows = [judged(*key, history, images) for key, history in histories.groupby(["model", "seed"], sort=False)]
    question = __doc__.partition("\n")[0]
    table = f"# {question}\n\n{machine()}.\n\n{markdown(rows)}\n{SHUFFLE}"
    print(table)
    name = "published_medical_mnist"
    with writing(RESULTS / f"{name}.md") as path:
        path.write_text(table, "utf-8")
    with writing(RESULTS / f"{name}_by_epoch.md") as path:
        path.write_text(f"# {question} By epoch\n\n{markdown(by_epoch(histories))}", "utf-8")
    with writing(RESULTS / f"{name}.csv") as path:
        histories.to_csv(path, index=False, float_format="%.6g")
    plots.save(picture(histories), RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
