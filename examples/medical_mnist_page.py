"""The page of `examples/medical_mnist.py`: curves beside the published ones, mistakes, and what the model looks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from recipes import Recipe
from report import Page

import tinygrad_med as torch
from tinygrad_med import Tensor, models, nn, plots
from tinygrad_med.data.medical_mnist import Images

PUBLISHED = Path(__file__).parent / "published" / "medical_mnist.csv"
WORST = 18  # pictures on the sheet of mistakes
OF_A_KIND = 4  # of them at most, of one class taken for one other

# ---------------------------------------------------------------- beside the published numbers

HEADER = "epoch   accuracy   published       loss   published   seconds"


def with_published(history: list[dict[str, float]], model: str) -> pd.DataFrame:
    """The history, and beside it what the tutorial printed for this model; NaN where it printed nothing."""
    published = pd.read_csv(PUBLISHED, comment="#")
    published = published[published.model == model].drop(columns="model")
    return pd.DataFrame(history).merge(published, on="epoch", how="left", suffixes=("", "_published"))


def cells(row: pd.Series) -> dict[str, str]:
    """One epoch as text, in the columns of `HEADER`."""
    found = {
        "epoch": f"{row.epoch:.0f}",
        "accuracy": f"{row.valid_accuracy:.2%}",
        "published accuracy": f"{row.valid_accuracy_published:.2%}",
        "loss": f"{row.valid_loss:.4f}",
        "published loss": f"{row.valid_loss_published:.4f}",
        "seconds": f"{row.seconds:.1f}",
    }
    return {name: "–" if "nan" in text else text for name, text in found.items()}


def line(row: pd.Series) -> str:
    """One epoch, to stand under `HEADER`."""
    widths = (5, 11, 12, 11, 12, 10)
    return "".join(f"{text:>{width}}" for text, width in zip(cells(row).values(), widths, strict=True))


# ---------------------------------------------------------------- the figures


def epochs_figure(table: pd.DataFrame, title: str, reference: str) -> Figure:
    """Loss and accuracy after each epoch, the published ones behind ours under the name `reference`."""
    panels = {}
    for name, column in (("validation loss", "valid_loss"), ("validation accuracy", "valid_accuracy")):
        published = table.dropna(subset=f"{column}_published")
        behind = {reference: (published.epoch, published[f"{column}_published"])} if len(published) else {}
        panels[name] = {**behind, "this run": (table.epoch, table[column])}
    return plots.curves(panels, xlabel="epoch", title=title, percent=["validation accuracy"])


def confusion(labels: np.ndarray, preds: np.ndarray, classes: int = 6) -> np.ndarray:
    """How many images of class i (a row) got their highest score for class j (a column), (classes, classes)."""
    counts = np.zeros((classes, preds.shape[1]), int)
    np.add.at(counts, (labels, preds.argmax(axis=1)), 1)
    return counts[:, :classes]


def class_weights(scores: Callable[[Tensor], Tensor], x: Tensor, classes: int = 6) -> np.ndarray:
    """What each pixel counts for each class, (classes, 64, 64): the derivative of the score with respect to the pixel.

    Of a linear model these are the weights, whatever the images. A net with ReLUs is linear between its kinks, with
    other weights around each image; here is their mean over the images x.
    """
    z = scores(x.requires_grad_())
    weights = [torch.autograd.grad(z[:, label].mean(), x, retain_graph=True)[0].sum(0) for label in range(classes)]
    return torch.stack(weights).view(-1, 64, 64).cpu().numpy()


def first_filters(network: models.SmallCNN) -> Figure:
    """The kernels of the first convolution: what each feature map of the first stage looks for."""
    kernels = network.features[0].weight.detach().cpu().numpy()[:, 0]
    captions = [str(k) for k in range(len(kernels))]
    headline = "First-layer filters: red adds to the response, blue takes away"
    return plots.sheet(list(kernels), captions, columns=8, title=headline, signed=True)


def feature_maps(
    network: models.SmallCNN, x: Tensor, images: Sequence[np.ndarray], names: Sequence[str], maps: int = 7
) -> Figure:
    """Some images (x is what the network gets of them), and their strongest feature maps after the first stage."""
    with torch.no_grad():
        responses = network.features[:3](x).cpu().numpy()  # (N, channels, 64, 64), after the ReLU
    strongest = np.argsort(-responses.mean((0, 2, 3)))[:maps]
    pictures, captions = [], []
    for image, name, response in zip(images, names, responses, strict=True):
        pictures += [image, *(255 * response[k] / max(response[k].max(), 1e-9) for k in strongest)]
        captions += [name, *(f"map {k}" for k in strongest)]
    return plots.sheet(pictures, captions, columns=maps + 1, title="What the first stage makes of an image")


def hardest(images: Sequence[np.ndarray], labels: np.ndarray, preds: np.ndarray, classes: Sequence[str]) -> Figure:
    """The images whose own class got the least probability; at most `OF_A_KIND` of one mistake."""
    taken_for = preds.argmax(axis=1)
    probabilities = np.exp(preds - preds.max(axis=1, keepdims=True))  # also without the logarithm: whatever number the
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # model took from all scores of an image, it cancels here
    own = probabilities[np.arange(len(labels)), labels]
    kinds: Counter[tuple[int, int]] = Counter()
    worst = []
    for i in np.argsort(own):
        kinds[int(labels[i]), int(taken_for[i])] += 1
        if kinds[int(labels[i]), int(taken_for[i])] <= OF_A_KIND and len(worst) < WORST:
            worst.append(int(i))
    captions = []
    for i in worst:
        truth, taken = classes[labels[i]], classes[taken_for[i]]
        said = "right" if truth == taken else f"taken for\n{taken} {probabilities[i, taken_for[i]]:.0%}"
        captions.append(f"{truth} {own[i]:.0%}\n{said}")
    enough = (taken_for != labels)[worst].all()
    title = "The worst mistakes" if enough else "The worst mistakes, and what the model was least sure of"
    return plots.sheet([images[i] for i in worst], captions, title=f"{title}: true class first")


# ---------------------------------------------------------------- the page


def fill(
    page: Page, recipe: Recipe, model: nn.Module, table: pd.DataFrame, data: Images, rows: np.ndarray, preds: np.ndarray
) -> None:
    """What the model has learned, in pictures.

    Args:
        page: to which sections are added
        recipe, model: what was trained
        table: a row per epoch, as `with_published` gives it
        data, rows: the images, and which of them were set aside for validation
        preds: what the model says to these, (rows, outputs)
    """
    images, labels = data.images, data.labels[rows]

    def seen(chosen: np.ndarray) -> Tensor:
        """What the model gets of these images."""
        pixels = torch.from_numpy(images[chosen]).to(device=next(model.parameters()).device)
        return recipe.prepare(pixels.view(-1, 64 * 64))

    counts = confusion(labels, preds)
    total, mistakes = len(preds), len(preds) - counts.trace()
    epochs = "1 epoch" if len(table) == 1 else f"{len(table)} epochs"
    page.add(
        f"After {epochs} it is right about {1 - mistakes / total:.2%} of the images set aside",
        "Loss and accuracy on the images that it does not learn from. The wide line is what the tutorial printed.",
        epochs_figure(table, page.title, "the tutorial, real images" if data.is_phantom else "the tutorial"),
        f"Two curves over the epochs: the loss ends at {table.valid_loss.iloc[-1]:.4f}, the accuracy at "
        f"{table.valid_accuracy.iloc[-1]:.2%}.",
        name="curves",
        rows=[cells(row) for _, row in table.iterrows()],
    )
    page.add(
        "What is taken for what",
        "Rows: what the images are. Columns: what the model takes them for.",
        plots.confusion_matrix(counts, data.classes, title=f"{mistakes:,} mistakes in {total:,} images"),
        f"A table of six by six counts; {mistakes:,} of {total:,} lie off the diagonal.",
        name="confusion",
    )

    x = seen(rows[: recipe.looked_at])
    weights = class_weights(lambda x: recipe.scores(model, x), x)
    if recipe.is_linear:
        title, about = (
            "Weights",
            "One weight per pixel and class: where a red pixel is bright, the class's score rises.",
        )
    else:
        title = "Mean gradient of the score"
        about = (
            "This model has no weight per pixel. Shown is the derivative of each class's score with respect to each "
            f"pixel, the mean over {len(x)} images: around one image it looks different."
        )
    page.add(
        "What it looks for",
        about,
        plots.sheet(list(weights), data.classes, title=f"{title}: red pixels speak for the class", signed=True),
        "Six pictures, one per class: red pixels speak for the class, blue ones against it.",
        name="weights",
    )
    page.add(
        "What it finds hardest",
        "The images whose own class got the least probability, at most four of one mistake. The first number is the "
        "probability of the image's own class.",
        hardest([images[i] for i in rows], labels, preds, data.classes),
        "Scans with their class and what the model took them for.",
        name="mistakes",
    )
    if isinstance(model, nn.Sequential) and hasattr(model[0], "features"):
        network = model[0]
        page.add(
            "The first filters",
            "The kernels of the first convolution, 3×3 pixels each.",
            first_filters(network),
            "Squares of three by three pixels, in red and blue.",
            name="filters",
        )
        chosen = np.array([rows[np.argmax(labels == label)] for label in np.unique(labels)])
        names = [data.classes[label] for label in data.labels[chosen]]
        page.add(
            "What the first stage makes of an image",
            "One image of each class, and its strongest feature maps.",
            feature_maps(network, seen(chosen), list(images[chosen]), names),
            "Rows of pictures: a scan, and beside it the same scan with its edges or its surfaces lit up.",
            name="feature_maps",
        )
