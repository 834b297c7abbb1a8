"""Medical MNIST: a machine learns to tell six kinds of scans apart, as two tutorials taught it, and you watch.

    python examples/medical_mnist.py                        # the tutorials' linear model
    python examples/medical_mnist.py --model unnormalised   # as the first tutorial had it: without the logarithm
    python examples/medical_mnist.py --model mlp            # the next step: linear, ReLU, linear
    python examples/medical_mnist.py --model cnn            # and the one after: convolutions

An image is 64×64 pixels, hence a point in a space of 4096 dimensions. The linear model gives each class a weight for
every pixel; its score for a class is the weighted sum of the pixels, and a softmax makes probabilities of the scores.
Learning is the loop in `train`, which is the tutorials' own: predict 64 images, measure how wrong that was, ask
`backward()` which way each weight should go, and go there a little.

The tutorial is "The building blocks of DL 2: linear layer with activation function": a post, whose softmax lacks the
logarithm, and its notebook, which has it. Why the first learns all the same is told in tinygrad_med/models/linear.py.
What they printed after each epoch stands beside ours.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

import tinygrad_med as torch
from tinygrad_med import Tensor, models, nn, plots
from tinygrad_med._files import writing
from tinygrad_med.data import medical_mnist, phantoms
from tinygrad_med.models.linear import log_softmax, unnormalised_softmax

PUBLISHED = Path(__file__).parent / "published" / "medical_mnist.csv"
BATCH = 64
WORST = 18  # pictures on the sheet of mistakes
INTERRUPTED = 130  # the exit status that shells give to what Ctrl-C ended


# ---------------------------------------------------------------- what goes in: pixels


def twice_divided(pixels: Tensor) -> Tensor:
    """0 … 255 becomes 0 … 1/255: the tutorials divide by 255 what `ToTensor` had divided by 255 already.

    So small numbers make for small gradients, which is why their learning rate of 1 is not too high.
    """
    return pixels.float() / 255 / 255


def standardised(pixels: Tensor) -> Tensor:
    """0 … 255 becomes numbers of mean 0 and standard deviation 1 (over the real images)."""
    return (pixels.float() / 255 - 0.36) / 0.28


def as_images(pixels: Tensor) -> Tensor:
    """Standardised, and in rows and columns again, with one channel: (N, 4096) -> (N, 1, 64, 64)"""
    return standardised(pixels).view(-1, 1, 64, 64)


@dataclass(frozen=True)
class Batches:
    """The images of some rows, in this order and a few at a time, with their labels: (N, 4096), (N,).

    The last batch is smaller. The images stay bytes, mapped from the disk, and only a batch at a time becomes floats:
    that saves a gigabyte of memory.
    """

    data: medical_mnist.Images
    rows: np.ndarray
    prepare: Callable[[Tensor], Tensor]
    device: str
    size: int = BATCH

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.rows), self.size):
            chosen = self.rows[start : start + self.size]
            xb = torch.from_numpy(self.data.images[chosen]).to(device=self.device).view(-1, 64 * 64)
            yb = torch.from_numpy(self.data.labels[chosen]).to(device=self.device)
            yield self.prepare(xb), yb


# ---------------------------------------------------------------- what comes out: predictions, and how good they are


def loss_func(preds: Tensor, targets: Tensor) -> Tensor:
    """The mean of what the model says against each image's own class."""
    return -preds[range(targets.shape[0]), targets].mean()


def accuracy(preds: Tensor, targets: Tensor) -> Tensor:
    """The share of images whose own class has the highest score."""
    return (torch.argmax(preds, dim=-1) == targets).float().mean()


# ---------------------------------------------------------------- the models


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained."""

    about: str
    model: Callable[[], nn.Module]
    prepare: Callable[[Tensor], Tensor]
    lr: float
    epochs: int
    scores: Callable[[nn.Module, Tensor], Tensor]  # the model without its softmax
    looked_at: int = 1024  # how many images the picture of the weights is a mean over


RECIPES = {
    "unnormalised": Recipe(
        "linear, and a softmax without its logarithm: the tutorial's first form",
        model=lambda: models.LinearModel(unnormalised_softmax),
        prepare=twice_divided,
        lr=1.0,
        epochs=15,
        scores=lambda model, x: model.scores(x),
    ),
    "linear": Recipe(
        "linear, and log-softmax: the tutorial's notebook",
        model=lambda: models.LinearModel(log_softmax),
        prepare=twice_divided,
        lr=0.5,
        epochs=16,
        scores=lambda model, x: model.scores(x),
    ),
    "mlp": Recipe(
        "linear to 128 hidden units, ReLU, linear: the net that the tutorial announces",
        model=models.mlp,
        prepare=standardised,
        lr=0.02,
        epochs=5,
        scores=lambda model, x: model[:-1](x),
    ),
    "cnn": Recipe(
        "three convolutions of 3×3, each with batch-norm, ReLU and pooling, then the means and one linear layer",
        model=lambda: nn.Sequential(models.small_cnn(6), nn.LogSoftmax(dim=-1)),
        prepare=as_images,
        lr=0.1,
        epochs=2,
        scores=lambda model, x: model[0](x),
        looked_at=64,
    ),
}


# ---------------------------------------------------------------- learning


class Epoch(NamedTuple):
    """What a training has come to at the end of an epoch."""

    row: dict[str, float]  # of the history
    preds: np.ndarray  # for the validation images, (N, outputs)
    state: dict[str, Tensor]  # the model's parameters


def train(model: nn.Module, lr: float, training: Batches, validation: Batches, epochs: int) -> Iterator[Epoch]:
    """The tutorials' loop; yields after each epoch."""
    parameters = list(model.parameters())
    for epoch in range(epochs):
        start = time.perf_counter()
        model.train()
        for xb, yb in tqdm(training, desc=f"epoch {epoch}", unit=" batches", leave=False, disable=None):
            preds = model(xb)
            loss = loss_func(preds, yb)

            loss.backward()
            with torch.no_grad():
                for weights in parameters:
                    weights -= weights.grad * lr
                    weights.grad.zero_()

        model.eval()
        with torch.no_grad():
            parts = [(model(xb), yb) for xb, yb in validation]
        preds, targets = (torch.cat(part) for part in zip(*parts, strict=True))
        row = {
            "epoch": epoch,
            "valid_accuracy": accuracy(preds, targets).item(),
            "valid_loss": loss_func(preds, targets).item(),
            "seconds": time.perf_counter() - start,
        }
        yield Epoch(row, preds.cpu().numpy(), copy.deepcopy(model.state_dict()))


# ---------------------------------------------------------------- the report

HEADER = "epoch   accuracy   published       loss   published   seconds"


def with_published(history: list[dict[str, float]], model: str) -> pd.DataFrame:
    """The history, and beside it what the tutorial printed for this model; NaN where it printed nothing."""
    published = pd.read_csv(PUBLISHED, comment="#")
    published = published[published.model == model].drop(columns="model")
    return pd.DataFrame(history).merge(published, on="epoch", how="left", suffixes=("", "_published"))


def line(row: pd.Series) -> str:
    """One epoch, to stand under `HEADER`."""
    cells = [
        f"{row.epoch:5.0f}",
        f"{row.valid_accuracy:11.2%}",
        f"{row.valid_accuracy_published:12.2%}",
        f"{row.valid_loss:11.4f}",
        f"{row.valid_loss_published:12.4f}",
        f"{row.seconds:10.1f}",
    ]
    return "".join(f"{'–':>{len(cell)}}" if "nan" in cell else cell for cell in cells)


def curves(table: pd.DataFrame, title: str, is_phantom: bool) -> Figure:
    """Loss and accuracy after each epoch, the published ones behind ours."""
    tutorial = "the tutorial, real images" if is_phantom else "the tutorial"
    panels = {}
    for name, column in (("validation loss", "valid_loss"), ("validation accuracy", "valid_accuracy")):
        published = table.dropna(subset=f"{column}_published")
        behind = {tutorial: (published.epoch, published[f"{column}_published"])} if len(published) else {}
        panels[name] = {**behind, "this run": (table.epoch, table[column])}
    return plots.curves(panels, xlabel="epoch", title=title, percent=["validation accuracy"])


def confusion(labels: np.ndarray, preds: np.ndarray) -> np.ndarray:
    """How many images of class i (a row) got their highest score for class j (a column), (6, 6)."""
    counts = np.zeros((6, preds.shape[1]), int)
    np.add.at(counts, (labels, preds.argmax(axis=1)), 1)
    return counts[:, :6]


def class_weights(scores: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
    """What each pixel counts for each class, (6, 64, 64): the derivative of the score with respect to the pixel.

    Of a linear model these are the weights, whatever the images. A net with ReLUs is linear between its kinks, with
    other weights around each image; here is their mean over the images x.
    """
    z = scores(x.requires_grad_())
    weights = [torch.autograd.grad(z[:, label].mean(), x, retain_graph=True)[0].sum(0) for label in range(6)]
    return torch.stack(weights).view(-1, 64, 64).cpu().numpy()


def first_filters(network: models.SmallCNN) -> Figure:
    """The kernels of the first convolution: what each feature map of the first stage looks for."""
    kernels = network.features[0].weight.detach().cpu().numpy()[:, 0]
    captions = [str(k) for k in range(len(kernels))]
    headline = "First-layer filters: red adds to the response, blue takes away"
    return plots.sheet(list(kernels), captions, columns=8, title=headline, signed=True)


def feature_maps(network: models.SmallCNN, validation: Batches, maps: int = 7) -> Figure:
    """One image of each class, and its strongest feature maps after the first stage."""
    data, rows = validation.data, validation.rows
    chosen = np.array([rows[np.argmax(data.labels[rows] == label)] for label in range(6)])
    ((x, _),) = replace(validation, rows=chosen)
    with torch.no_grad():
        responses = network.features[:3](x).cpu().numpy()  # (6, channels, 64, 64), after the ReLU
    strongest = np.argsort(-responses.mean((0, 2, 3)))[:maps]
    pictures, captions = [], []
    for image, name, response in zip(data.images[chosen], data.classes, responses, strict=True):
        pictures += [image, *(255 * response[k] / max(response[k].max(), 1e-9) for k in strongest)]
        captions += [name, *(f"map {k}" for k in strongest)]
    return plots.sheet(pictures, captions, columns=maps + 1, title="What the first stage makes of an image")


def hardest(validation: Batches, preds: np.ndarray) -> Figure:
    """The images whose own class got the least probability."""
    data, rows = validation.data, validation.rows
    labels, taken_for = data.labels[rows], preds.argmax(axis=1)
    probabilities = np.exp(preds - preds.max(axis=1, keepdims=True))  # also without the logarithm: whatever number the
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # model took from all scores of an image, it cancels here
    worst = np.argsort(probabilities[np.arange(len(rows)), labels])[:WORST]
    captions = []
    for i in worst:
        own, taken = data.classes[labels[i]], data.classes[taken_for[i]]
        sure = f"{probabilities[i, taken_for[i]]:.0%}"
        captions.append(f"{own}\nright, {sure} sure" if own == taken else f"{own}, taken for\n{taken} ({sure})")
    enough = np.count_nonzero(taken_for != labels) >= WORST
    title = "The worst mistakes" if enough else "The worst mistakes, and what the model was least sure of"
    return plots.sheet([data.images[rows[i]] for i in worst], captions, title=title)


def report(
    out: Path,
    name: str,
    model: nn.Module,
    table: pd.DataFrame,
    preds: np.ndarray,
    validation: Batches,
    facts: list[str],
) -> None:
    """Write the pictures, and summary.md, which shows them."""
    recipe, data = RECIPES[name], validation.data
    title = f"{name} on {'phantoms' if data.is_phantom else 'Medical MNIST'}"
    counts = confusion(data.labels[validation.rows], preds)
    total, mistakes = len(preds), len(preds) - counts.trace()
    x, _ = next(iter(replace(validation, size=recipe.looked_at)))
    weights = class_weights(lambda x: recipe.scores(model, x), x)
    headline = "Weights: red pixels speak for the class, blue ones against it"
    pictures = {
        "curves": curves(table, title, data.is_phantom),
        "confusion": plots.confusion_matrix(counts, data.classes, title=f"{mistakes:,} mistakes in {total:,} images"),
        "weights": plots.sheet(list(weights), data.classes, title=headline, signed=True),
        "mistakes": hardest(validation, preds),
    }
    if name == "cnn":
        pictures["filters"] = first_filters(model[0])
        pictures["feature_maps"] = feature_maps(model[0], validation)
    for picture, figure in pictures.items():
        plots.save(figure, out / f"{picture}.png")

    text = [
        f"# {title}",
        "",
        f"{recipe.about[0].upper()}{recipe.about[1:]}.",
        "",
        f"After {len(table)} epochs the model is right about {1 - mistakes / total:.2%} of the images set aside.",
        "",
        *(f"- {fact}" for fact in facts),
        "",
        "```",
        HEADER,
        *(line(row) for _, row in table.iterrows()),
        "```",
        *(f"\n![{picture}]({picture}.png)" for picture in pictures),
    ]
    with writing(out / "summary.md") as path:
        path.write_text("\n".join(text) + "\n", "utf-8")


# ---------------------------------------------------------------- from the command line


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """What the person wants."""
    models_help = "\n".join(f"  {name:14}{recipe.about} ({recipe.epochs} epochs)" for name, recipe in RECIPES.items())
    parser = argparse.ArgumentParser(
        description="Teach a small model to tell six kinds of scans apart, and watch it learn.",
        epilog=f"models:\n{models_help}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=RECIPES, default="linear", help="which one learns; default: linear")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="the images: a folder with the six class folders, or the zip that GitHub serves; "
        "by default those used last, else a download of 90 MB, else phantoms",
    )
    source.add_argument("--phantoms", type=positive, metavar="N", help="learn from N generated images of each class")
    parser.add_argument(
        "--subset", action="store_true", help="let --data have only some of the images (check_counts=False)"
    )
    parser.add_argument("--epochs", type=positive, help="how often the model sees all images; default: as below")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffle, and of the first weights; default: 0")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda with CuPy installed; default: cpu")
    parser.add_argument("--out", type=Path, help="the folder for the results; default: runs/medical_mnist-<model>")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    """A number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def load_images(args: argparse.Namespace) -> medical_mnist.Images:
    """The images that the person asked for."""
    if args.phantoms:
        pixels, labels = phantoms.generate(args.phantoms)
        return medical_mnist.Images(pixels, labels, medical_mnist.CLASSES, "phantoms, as asked", is_phantom=True)
    return medical_mnist.load(args.data, check_counts=not args.subset)


def learn(args: argparse.Namespace) -> int:
    """Load, train, report; returns the exit status."""
    recipe = RECIPES[args.model]
    epochs = args.epochs or recipe.epochs
    out = args.out or Path("runs") / f"medical_mnist-{args.model}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(args.seed)
        model = recipe.model().to(device=args.device)
        data = load_images(args)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    learn_from, validate_on = medical_mnist.split(len(data), valid=0.2, seed=args.seed)
    training = Batches(data, learn_from, recipe.prepare, args.device)
    validation = Batches(data, validate_on, recipe.prepare, args.device)

    print(f"{len(data):,} images ({data.source}): {len(learn_from):,} to learn from, {len(validate_on):,} to validate")
    print(model)
    print(HEADER + "   (published: for the real images)" * data.is_phantom)
    history: list[dict[str, float]] = []
    interrupted = False
    try:
        for epoch in train(model, recipe.lr, training, validation, epochs):
            history.append(epoch.row)
            table = with_published(history, args.model)
            with writing(out / "history.csv") as path:
                table.to_csv(path, index=False)
            print(line(table.iloc[-1]), flush=True)
    except KeyboardInterrupt:
        if not history:
            raise
        interrupted = True
        print("interrupted; the report is about the epochs that were finished")

    model.load_state_dict(epoch.state)  # where an interrupt came in the middle of the next one
    facts = [
        f"images: {data.source}",
        f"seed {args.seed}, batches of {BATCH}, learning rate {recipe.lr}, on {args.device}",
        f"{len(history)} of {epochs} epochs{', then interrupted' * interrupted}, in {table.seconds.sum():.0f} s",
    ]
    report(out, args.model, model, table, epoch.preds, validation, facts)
    print(f"The curves, the confusion matrix, the weights and the worst mistakes: {out / 'summary.md'}")
    return INTERRUPTED if interrupted else 0


def main(argv: list[str] | None = None) -> int:
    """The example; returns the exit status: 0, 2 for something that can't be used, 130 after Ctrl-C."""
    args = arguments(argv)
    try:
        return learn(args)
    except KeyboardInterrupt:
        print("interrupted before the first epoch was finished", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
