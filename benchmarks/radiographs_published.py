"""Does fine-tuning on 65 radiographs reach the published 100%, in every run, without ImageNet?

    python benchmarks/radiographs_published.py <the radiographs: zip or folder> [--published <csv>]

The tutorial's recipe (one epoch with a frozen body, five with all of it, at 224×224), with seeds 0 to 4, once from our
own ResNet-18 (`examples/pretrain.py`: one epoch on Medical MNIST at 64×64) and once from random weights. Beside them
stand the two runs that were published, from ImageNet's weights. The third way takes the exposure out of all films.

The table goes to `results/radiographs.md`, every epoch of every run to `results/radiographs.csv`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import tinygrad_med as torch
from tinygrad_med._files import cache_folder, writing
from tinygrad_med.data import radiographs
from tinygrad_med.data.transforms import aug_transforms
from tinygrad_med.vision.all import ImageDataLoaders, Resize, accuracy, get_image_files, resnet18, vision_learner

RESULTS = Path(__file__).parent / "results"
EPOCHS = 5
COLUMNS = ["weights", "seed", "phase", "epoch", "train_loss", "valid_loss", "accuracy"]


def run(
    data: Path, weights: Path | None, seed: int, equalize: bool = False
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The recipe once: a row per epoch, and for each test image the probability of its true class."""
    torch.manual_seed(seed)
    resize, augment = Resize(460, equalize=equalize), aug_transforms(size=224, min_scale=0.75)
    dls = ImageDataLoaders.from_folder(data, valid="val", seed=seed, item_tfms=resize, batch_tfms=augment, bs=16)
    options = {"pretrained": False} if weights is None else {"weights": weights}
    learn = vision_learner(dls, resnet18, metrics=accuracy, **options)
    learn.fine_tune(EPOCHS, base_lr=2e-3)
    phases = ["frozen"] + ["unfrozen"] * EPOCHS
    rows = [{"phase": phase, **row} for phase, row in zip(phases, learn.recorder.history, strict=True)]
    files = get_image_files(data / "test")
    probabilities, labels = learn.get_preds(dls.test_dl(files, with_labels=True))
    test = {f.name: p[label].item() for f, p, label in zip(files, probabilities, labels, strict=True)}
    return rows, test


def published(path: Path) -> list[dict[str, Any]]:
    """The published runs, in our columns."""
    with path.open(newline="") as file:
        return [
            {"weights": "ImageNet, published", "seed": row["run"], "accuracy": row["valid_accuracy"], **row}
            for row in csv.DictReader(file)
        ]


def summary(rows: list[dict[str, Any]], tests: dict[tuple[str, str], dict[str, float]]) -> list[str]:
    """A line of the table per run."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["phase"] == "unfrozen":
            runs.setdefault((row["weights"], str(row["seed"])), []).append(row)
    lines = [
        "| weights | run | accuracy after epoch 0 … 4 | train loss | validation loss | test images: p(true class) |",
        "|---|---|---|--:|--:|---|",
    ]
    for key, epochs in runs.items():
        path = " ".join(f"{float(row['accuracy']):.1f}" for row in epochs)
        losses = f"{float(epochs[-1]['train_loss']):.3f} | {float(epochs[-1]['valid_loss']):.3f}"
        test = ", ".join(f"{name} {p:.2f}" for name, p in tests.get(key, {}).items())
        lines.append(f"| {key[0]} | {key[1]} | {path} | {losses} | {test} |")
    return lines


def main() -> None:
    """Run all, and write the table after each run."""
    default = cache_folder() / "models" / "resnet18-medical-mnist-0.safetensors"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="the radiographs: a zip or a folder")
    parser.add_argument("--published", type=Path, help="a CSV with the published runs")
    parser.add_argument("--weights", type=Path, default=default, help="what examples/pretrain.py has written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    if not options.weights.exists():
        parser.error(f"there is no {options.weights}; run examples/pretrain.py first")

    data = radiographs.load(options.data)
    rows = published(options.published) if options.published else []
    tests: dict[tuple[str, str], dict[str, float]] = {}
    ways = {
        "Medical MNIST, ours": (options.weights, False),
        "Medical MNIST, ours, films equalized": (options.weights, True),
        "none, ours": (None, False),
    }
    for name, (weights, equalize) in ways.items():
        for seed in options.seeds:
            print(f"{name}, seed {seed}")
            epochs, tests[name, str(seed)] = run(data, weights, seed, equalize)
            rows += [{"weights": name, "seed": seed, **row} for row in epochs]
            write(rows, summary(rows, tests))


def write(rows: list[dict[str, Any]], table: list[str]) -> None:
    """The files."""
    text = "\n".join([f"# {__doc__.splitlines()[0]}", "", *table]) + "\n"
    RESULTS.mkdir(exist_ok=True)
    with writing(RESULTS / "radiographs.md") as path:
        path.write_text(text, "utf-8")
    with writing(RESULTS / "radiographs.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    print(text)


if __name__ == "__main__":
    main()
