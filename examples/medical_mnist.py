"""Medical MNIST: a machine learns to tell six kinds of scans apart, as two tutorials taught it, and you watch.

    python examples/medical_mnist.py                        # the tutorials' linear model
    python examples/medical_mnist.py --model unnormalised   # as the first tutorial had it: without the logarithm
    python examples/medical_mnist.py --model mlp            # the next step: linear, ReLU, linear
    python examples/medical_mnist.py --model cnn            # and the one after: convolutions
    python examples/medical_mnist.py --ask hand.png         # and what does the trained one say to this picture?
    mpirun -n 4 python examples/medical_mnist.py --data-parallel        # four processes share the work

An image is 64×64 pixels, hence a point in a space of 4096 dimensions. The linear model gives each class a weight for
every pixel; its score for a class is the weighted sum of the pixels, and a softmax makes probabilities of the scores.
Learning is the loop in `train`, which is the tutorials' own: predict 64 images, measure how wrong that was, ask
`backward()` which way each weight should go, and go there a little. `examples/learn.py` has nothing but this loop.

The tutorial is "The building blocks of DL 2: linear layer with activation function": a post, whose softmax lacks the
logarithm, and its notebook, which has it. Why the first learns all the same is told in tinygrad_med/models/linear.py.
What they printed after each epoch stands beside ours.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import command
import medical_mnist_page
import numpy as np
from medical_mnist_page import HEADER, line, with_published
from recipes import RECIPES
from report import Page
from tqdm import tqdm

import tinygrad_med as torch
from tinygrad_med import Tensor, explain, nn
from tinygrad_med._files import writing
from tinygrad_med.data import medical_mnist, phantoms
from tinygrad_med.data.images import open_image
from tinygrad_med.parallel import Ranks, SyncBatchNorm

BATCH = 64
WEIGHTS = "weights.safetensors"

# ---------------------------------------------------------------- what goes in, what comes out, and how good it is


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
        return map(self.read, self.chosen())

    def chosen(self) -> Iterator[np.ndarray]:
        """The rows of each batch."""
        return (self.rows[start : start + self.size] for start in range(0, len(self.rows), self.size))

    def read(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """The images of some rows, and their labels."""
        xb = torch.from_numpy(self.data.images[rows]).to(device=self.device).view(-1, 64 * 64)
        yb = torch.from_numpy(self.data.labels[rows]).to(device=self.device)
        return self.prepare(xb), yb

    def shared(self, ranks: Ranks) -> Iterator[tuple[Tensor, Tensor, float]]:
        """This process's part of each batch, and the part's weight: all of it, and 1, unless several share the work."""
        for rows in self.chosen():
            part = ranks.share(len(rows))
            yield *self.read(rows[part.rows]), part.weight

    def part(self, ranks: Ranks) -> Batches:
        """Batches of this process's part of the rows."""
        return replace(self, rows=self.rows[ranks.share(len(self.rows)).rows])


def loss_func(preds: Tensor, targets: Tensor) -> Tensor:
    """The mean of what the model says against each image's own class."""
    return -preds[range(targets.shape[0]), targets].mean()


def accuracy(preds: Tensor, targets: Tensor) -> Tensor:
    """The share of images whose own class has the highest score."""
    return (torch.argmax(preds, dim=-1) == targets).float().mean()


# ---------------------------------------------------------------- learning


def train(
    model: nn.Module, lr: float, training: Batches, validation: Batches, epochs: range, ranks: Ranks
) -> Iterator[dict[str, float]]:
    """The tutorials' loop; yields after each epoch how good the model is now.

    Where several processes share the work (`ranks`), each weighs the loss of its part, and `backward()` leaves the sum
    of their gradients; otherwise the weight is 1.
    """
    parameters = list(model.parameters())
    ranks.broadcast(model)
    for epoch in epochs:
        start = time.perf_counter()
        model.train()
        bar = tqdm(total=len(training), desc=f"epoch {epoch}", unit=" batches", leave=False, disable=None)
        with bar, ranks.summing(parameters):
            for xb, yb, weight in training.shared(ranks):
                preds = model(xb)
                loss = loss_func(preds, yb) * weight

                loss.backward()
                with torch.no_grad():
                    for weights in parameters:
                        weights -= weights.grad * lr
                        weights.grad.zero_()
                bar.update()

        ranks.broadcast(model)  # the running statistics of a batch-norm are each process's own: those of rank 0 count
        preds, targets = predict(model, validation.part(ranks))
        preds, targets = (torch.from_numpy(ranks.gather(found.cpu().numpy())) for found in (preds, targets))
        yield {
            "epoch": epoch,
            "valid_accuracy": accuracy(preds, targets).item(),
            "valid_loss": loss_func(preds, targets).item(),
            "seconds": time.perf_counter() - start,
        }


def predict(model: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """What the model says to all images, (N, outputs), and their labels, (N,)."""
    model.eval()
    with torch.no_grad():
        parts = [(model(xb), yb) for xb, yb in batches]
    preds, targets = (torch.cat(part) for part in zip(*parts, strict=True))
    return preds, targets


# ---------------------------------------------------------------- from the command line


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """What the person wants."""
    listed = "\n".join(f"  {name:14}{recipe.about} ({recipe.epochs} epochs)" for name, recipe in RECIPES.items())
    parser = command.parser(__doc__, "runs/medical_mnist-<model>", f"models:\n{listed}")
    parser.add_argument("--model", choices=RECIPES, default="linear", help="which one learns; default: linear")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="the images: a folder with the six class folders, or the zip that GitHub serves; "
        "by default those used last, else a download of 90 MB, else phantoms",
    )
    source.add_argument(
        "--phantoms", type=command.positive, metavar="N", help="learn from N generated images of each class"
    )
    source.add_argument("--ask", type=Path, metavar="PICTURE", help="don't learn: say what the model in --out sees")
    parser.add_argument(
        "--subset", action="store_true", help="let --data have only some of the images (check_counts=False)"
    )
    parser.add_argument(
        "--epochs", type=command.positive, help="how often the model sees all images; default: as below"
    )
    command.add_data_parallel(parser, batchnorm=True)
    options = parser.parse_args(argv)
    options.out = options.out or Path("runs") / f"medical_mnist-{options.model}"
    options.epochs = options.epochs or RECIPES[options.model].epochs
    return options


def load_images(options: argparse.Namespace) -> medical_mnist.Images:
    """The images that the person asked for."""
    if options.phantoms:
        pixels, labels = phantoms.generate(options.phantoms)
        return medical_mnist.Images(pixels, labels, medical_mnist.CLASSES, "phantoms, as asked", is_phantom=True)
    with command.advising("--subset", "check_counts=False"):
        return medical_mnist.load(options.data, check_counts=not options.subset)


def story(options: argparse.Namespace) -> command.Run:
    """Load, train, report."""
    recipe = RECIPES[options.model]
    torch.manual_seed(options.seed)
    model = recipe.model().to(device=options.device)
    if options.sync_batchnorm:
        SyncBatchNorm.convert_sync_batchnorm(model, options.ranks)
    command.demand_work(options, BATCH, "images in a batch")
    with options.ranks.rank_0_first():
        data = load_images(options)
    run = command.Run(options, {"model": options.model, "images": data.source, "seed": options.seed}, model)
    history: list[dict[str, float]] = run.load().get("history", [])
    learn_from, validate_on = medical_mnist.split(len(data), valid=0.2, seed=options.seed)
    training = Batches(data, learn_from, recipe.prepare, options.device)
    validation = Batches(data, validate_on, recipe.prepare, options.device)

    print(f"{len(data):,} images ({data.source}): {len(learn_from):,} to learn from, {len(validate_on):,} to validate")
    print(model)
    print(HEADER + "   (published: for the real images)" * data.is_phantom)
    with run.until_interrupted():
        epochs = range(len(history), options.epochs)
        for row in train(model, recipe.lr, training, validation, epochs, options.ranks):
            run.save(history=[*history, row])
            history.append(row)
            if not run.writes:
                continue
            table = with_published(history, options.model)
            with writing(run.folder / "history.csv") as path:
                table.to_csv(path, index=False)
            print(line(table.iloc[-1]), flush=True)

    if not run.writes:
        return run
    if options.sync_batchnorm:  # from here on rank 0 is alone
        SyncBatchNorm.convert_sync_batchnorm(model, Ranks())
    history = run.load()["history"]  # where an interrupt came in the middle of an epoch
    table = with_published(history, options.model)
    torch.save(model.state_dict(), run.folder / WEIGHTS)
    page = Page(
        run.folder,
        f"{options.model} on {'phantoms' if data.is_phantom else 'Medical MNIST'}",
        f"{recipe.about[0].upper()}{recipe.about[1:]}.",
        made_by=[
            f"Made by `{command.command_line(options)}`",
            f"Images: {data.source}. Seed {options.seed}, batches of {BATCH}, rate {recipe.lr}, on {options.device}.",
            f"{len(history)} of {options.epochs} epochs{', then interrupted' * run.interrupted}.",
            f"The weights are in `{WEIGHTS}`; `--ask PICTURE` asks them about a picture.",
        ],
        phantoms=data.is_phantom,
    )
    preds, _ = predict(model, validation)
    medical_mnist_page.fill(page, recipe, model, table, data, validate_on, preds.cpu().numpy())
    watched = watch_a_step(model, Batches(data, validate_on[:3], recipe.prepare, options.device), run.folder)
    return run.end(page.index, f"One step of it, forward and back, to watch: {watched}")


def watch_a_step(model: nn.Module, three: Batches, folder: Path) -> Path:
    """Leave a page that replays one training step, on three images."""
    ((xb, yb),) = three
    model.train()
    model.zero_grad()  # what the training loop has left, and a run that was gone on with has not
    with explain.watch() as trace:
        preds = model(xb)
        loss = loss_func(preds, yb)
        loss.backward()
    return trace.save(folder / "backprop.html")


def ask(options: argparse.Namespace) -> None:
    """Print the probabilities that the trained model gives a picture."""
    recipe, weights = RECIPES[options.model], options.out / WEIGHTS
    if not weights.exists():
        raise FileNotFoundError(f"--ask: there is no {weights}; train first, or name the run's folder by --out")
    model = recipe.model()
    model.load_state_dict(torch.load(weights))
    picture = np.asarray(open_image(options.ask).convert("L").resize((64, 64)))
    model.eval()
    with torch.no_grad():
        scores = recipe.scores(model, recipe.prepare(torch.tensor(picture.reshape(1, -1))))
        probabilities = torch.softmax(scores[0, : len(medical_mnist.CLASSES)], dim=0).tolist()
    for p, name in sorted(zip(probabilities, medical_mnist.CLASSES, strict=True), reverse=True):
        print(f"{p:7.2%}  {name}")
    print("One of these six is always the answer, whatever the picture shows.")


def main(argv: list[str] | None = None) -> int:
    """The example; returns the exit status: 0, 2 for something that can't be used, 130 after Ctrl-C."""
    options = arguments(argv)
    return command.run(ask if options.ask else story, options)


if __name__ == "__main__":
    sys.exit(main())
