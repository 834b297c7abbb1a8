"""The sections of `examples/radiographs.py`'s page: what went in, what was learned, and where the network looked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import ImageOps
from report import Page

import tinygrad_med as torch
from tinygrad_med import cam
from tinygrad_med.data.images import open_image
from tinygrad_med.learner import Learner, show_image
from tinygrad_med.learner.familiar import Familiar
from tinygrad_med.vision.all import ClassificationInterpretation, ImageDataLoaders, first

PUBLISHED = "1.107 / 1.336 / 50% frozen; then 0.079 / 0.013 / 100% after five epochs"  # the post's first and last rows


def add(page: Page, title: str, text: str, figure: Any, alt: str, **more: Any) -> None:
    """A numbered section, which is also named on the screen."""
    print(f"{len(page.sections) + 1}. {title}")
    page.add(title, text, figure, alt, numbered=True, **more)


def data(page: Page, plain: ImageDataLoaders, changed: ImageDataLoaders, tutorial: bool) -> None:
    """Some images, as they are and as they are changed."""
    arrows = (
        " Look closely: many abdomens come from case reports and carry arrows; the chests don't. A network may take "
        "the arrow for the abdomen, which is why we ask at the end where it looks."
    )
    add(
        page,
        "What goes in",
        f"{len(plain.train.dataset)} images to learn from, {len(plain.valid.dataset)} to see whether it has "
        f"learned.{arrows * tutorial}",
        plain.show_batch(max_n=6),
        f"Images to learn from, each under its class: {', '.join(plain.vocab)}.",
    )
    add(
        page,
        "The same, changed at random",
        "Turned by up to 10°, seen from aside, mirrored, cropped, brighter or darker: each epoch shows each image a "
        "little differently, so that the network can't learn the images by heart. All changes of place are one matrix, "
        "and each image is resampled once.",
        changed.show_batch(max_n=6),
        "The same images, slightly turned, cropped or brighter.",
    )


def rate(page: Page, found: Any, taken: float, tutorial: bool) -> None:
    """The learning rate finder."""
    add(
        page,
        "Which learning rate?",
        "The rate grows from step to step, until the loss explodes. Where the loss falls well is a good rate: the "
        f"finder suggests {found.valley:.2g} (valley) and {found.steep:.2g} (steep); "
        f"{'the tutorial' if tutorial else 'this run'} takes {taken:.2g}. The finder trained a copy, so that nothing "
        "of this is left in the network.",
        found.plot().figure,
        "The loss over the learning rate: flat, then falling, then exploding.",
    )


def fine_tuning(page: Page, learn: Learner, options: argparse.Namespace, tutorial: bool) -> None:
    """The epochs, as a table and as curves."""
    phases = ["frozen"] + ["unfrozen"] * options.epochs
    rows = [{"phase": phase, **row} for phase, row in zip(phases, learn.recorder.history, strict=True)]
    published = f" The post has (train loss / validation loss / accuracy) {PUBLISHED}, from ImageNet's weights."
    last = learn.recorder.history[-1]
    add(
        page,
        "Fine-tuning",
        "First only the new head learns, for one epoch; then everything, the first layers a hundred times slower than "
        f"the last. The network started from `{options.weights}`.{published * tutorial}\n\nThe curves: the validation "
        "loss should fall. Where it begins to rise while the training loss goes on falling, the network learns the "
        "images by heart.",
        learn.recorder.plot_loss().figure,
        f"Training and validation loss over the steps; the last validation loss is {last['valid_loss']:.3f}.",
        rows=rows,
    )


def mistakes(page: Page, learn: Learner, test: Sequence[Path], tutorial: bool) -> None:
    """The images that it has never seen, and the validation images that were hardest."""
    if test:
        dl = learn.dls.test_dl(test, with_labels=True)
        found = ClassificationInterpretation.from_learner(learn, dl=dl)
        right = int((found.targets == found.decoded).sum())
        add(
            page,
            f"{len(found.targets)} images that it has never seen",
            f"{right} of {len(found.targets)} are right. Above each: what the network says, what it is, the loss, and "
            "the probability of the answer, which many read as confidence.",
            found.plot_top_losses(k=min(len(found.targets), 6)),
            "The images, the hardest first, with the network's answers above them.",
        )
    hardest = ClassificationInterpretation.from_learner(learn)
    confused = ", ".join(f"{n} × {a} taken for {b}" for a, b, n in hardest.most_confused()) or "none"
    twice = " One film is in the folder twice: data from the web is like that, and ten films are nine here."
    add(
        page,
        "The hardest of the validation images",
        f"Those with the largest loss. Mistakes: {confused}.{twice * tutorial}",
        hardest.plot_top_losses(k=6),
        "Validation images, the hardest first, with the network's answers above them.",
    )
    add(
        page,
        "The confusion matrix",
        "Rows: what the images are. Columns: what the network takes them for.",
        hardest.plot_confusion_matrix().figure,
        f"A table of counts; mistakes: {confused}.",
    )


def what_if(page: Page, learn: Learner, file: Path) -> None:
    """An image, changed in several ways: what changes the answer is what the network went by."""
    film = open_image(file, window=learn.dls.window)
    width, height = film.size
    middle = (width // 5, height // 4, 4 * width // 5, 3 * height // 4)
    variants = {
        "as it is": film,
        "mirrored": ImageOps.mirror(film),
        "the middle only": film.crop(middle),
        "darker": film.point(lambda value: 255 * (value / 255) ** 2),
        "contrast equalized": ImageOps.equalize(film),
        "a negative": ImageOps.invert(film),
    }
    dls = learn.dls
    x = np.stack([dls.normalize(*dls.augment(dls.resize(variant))) for variant in variants.values()])
    label = class_of(learn, file)
    own = learn.get_preds([(x,)])[0].numpy()[:, label]
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.6), layout="constrained")
    for name, image, p, ax in zip(variants, dls.decode(x), own, axes.flat, strict=True):
        show_image(image, ax, f"{name}: {dls.vocab[label]} {p:.2f}", "green" if p > 0.5 else "red")
    listed = ", ".join(f"{name} {p:.2f}" for name, p in zip(variants, own, strict=True))
    add(
        page,
        "What if?",
        f"One image of {dls.vocab[label]}. Each picture changes one thing about it; where the probability jumps, that "
        "thing mattered to the answer. One image can't say why: a jump under a change of the grey levels is what one "
        "would see if the network went by exposure, which may differ between collections of images rather than between "
        "the classes. If so, training on images without their exposure should mend it.",
        figure,
        f"One image in six variants, with the probability of {dls.vocab[label]}: {listed}.",
    )


def class_of(learn: Learner, file: Path) -> int:
    """The class that the file's folder says."""
    (batch,) = learn.dls.test_dl([file], with_labels=True)
    return int(batch[1][0])


def equalized(page: Page, learn: Learner, test: Sequence[Path]) -> None:
    """The same training once more, with every film's grey levels spread evenly."""
    found = ClassificationInterpretation.from_learner(learn, dl=learn.dls.test_dl(test, with_labels=True))
    right = int((found.targets == found.decoded).sum())
    accuracy = learn.recorder.history[-1]["accuracy"]
    add(
        page,
        "The same with equalized films",
        "Every film's grey levels are spread evenly before training and use, however it was exposed (`--equalize`); "
        f"the network starts from the same weights. It ends at {accuracy:.0%} of the validation films, and gets "
        f"{right} of {len(found.targets)} test films right. In our runs with five seeds at 224×224 "
        "(`benchmarks/results/radiographs.md`), both test films were right in all five this way, and never without. "
        "Still, the change was made after looking at the answer: it needs films from other collections.",
        found.plot_top_losses(k=2),
        "The two test films with the answers of the network that was trained on equalized ones.",
    )


def something_else(page: Page, learn: Learner, familiar: Familiar, file: Path) -> None:
    """An image of no class."""
    dl = learn.dls.test_dl([file])
    probabilities = learn.get_preds(dl)[0].numpy()[0]
    distance = float(familiar.distances(dl)[0])
    verdict = "unfamiliar: don't trust the answer" if distance > familiar.threshold else "nothing unusual: a miss"
    says = ", ".join(f"{name} {p:.2f}" for name, p in zip(learn.dls.vocab, probabilities, strict=True))
    (x,) = first(dl)
    ax = show_image(learn.dls.decode(x.cpu().numpy())[0], title=f"{says}\n{verdict}")
    add(
        page,
        "A picture of none of the classes",
        f"The network knows {len(probabilities)} answers, and gives one of them: {says} (entropy "
        f"{entropy(probabilities):.2f} bits of at most {np.log2(len(probabilities)):.2g}). Probabilities that add "
        "up to 1 can't say “none of these”. A rule that can: compare the picture's features with those of the "
        f"training images. The distance to the nearest is {distance:.3f}; of the validation images none is farther "
        f"than {familiar.threshold:.3f}. Verdict: {verdict}.",
        ax.figure,
        f"The picture {file.name}, and the network's answer: {says}.",
    )


def entropy(probabilities: np.ndarray) -> float:
    """How undecided probabilities are, in bits: −Σ p log₂ p; between two classes at most 1."""
    p = probabilities[probabilities > 0]
    return float(-(p * np.log2(p)).sum())


# ---------------------------------------------------------------- where it looked


def where_it_looked(page: Page, learn: Learner, plain: Learner, file: Path, tutorial: bool) -> None:
    """CAM and Grad-CAM."""
    label = class_of(learn, file)
    x, image = seen(learn, file)
    name = learn.dls.vocab[label]
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
    draw_raw(tutorial_cam(learn, x, label), image, axes[0], "the tutorial's CAM: means nothing")
    draw(cam.cam(plain.model, x, label), image, axes[1], "CAM, with the plain head")
    draw(cam.grad_cam(learn.model, x, label), image, axes[2], "Grad-CAM, with the tutorial's head")
    add(
        page,
        "Class activation map",
        f"What speaks for {name}? A CAM adds up the channels of the last block, each with its weight for the class. "
        "The tutorial takes the weights of its last layer; but behind its head's hidden layer these numbers weigh "
        "hidden units, not channels, so the left map is a sum with unrelated weights. With a head of one linear layer "
        "(middle) the weights belong to the channels, and the map is exact. Grad-CAM (right) asks the gradient, and "
        "works with any head.",
        figure,
        f"Three heat maps over one image of {name}.",
    )

    blocks = [*range(-8, 0)]
    figure, axes = plt.subplots(2, 4, figsize=(13, 7), layout="constrained")
    maps = [cam.grad_cam(learn.model, x, label, block=block) for block in blocks]
    for block, found, ax in zip(blocks, maps, axes.flat, strict=True):
        draw(found, image, ax, f"block {block}")
    height, width = maps[-1].raw.shape
    add(
        page,
        "Grad-CAM at every block",
        "The tutorial's slider from −8 to −1. Early blocks see edges, and find them everywhere; late ones see few "
        f"places ({height}×{width}), but what they see has to do with the class.",
        figure,
        "Eight heat maps over one image, from fine and scattered to coarse and in one place.",
    )
    if tutorial:
        figure, axes = plt.subplots(1, 2, figsize=(9, 4.8), layout="constrained")
        draw_raw(tutorial_grad_cam(learn, x, label, -2), image, axes[0], "the tutorial's cell, block −2")
        draw(cam.grad_cam(learn.model, x, label, block=-2), image, axes[1], "Grad-CAM, block −2")
        add(
            page,
            "A slip in the tutorial's Grad-CAM",
            "Its forward hook keeps the first image of the batch, and then takes `act[0]` of it, which is that image's "
            "first channel. So the left map is one channel times a number, not the weighted sum over all of them, "
            "which is on the right.",
            figure,
            "Two different heat maps over the same image.",
        )


def arrows(page: Page, learn: Learner, files: Sequence[Path]) -> None:
    """Some abdomens, and what spoke for the abdomen."""
    figure, axes = plt.subplots(2, len(files), figsize=(3 * len(files), 6.4), squeeze=False, layout="constrained")
    for column, file in zip(axes.T, files, strict=True):
        x, image = seen(learn, file)
        show_image(image, column[0])
        draw(cam.grad_cam(learn.model, x, learn.dls.vocab.index("abd")), image, column[1], "")
    add(
        page,
        "Does it look at the arrows?",
        f"{len(files)} abdomens that it has learned from, and below them where it found the abdomen. Bright spots on "
        "bowel, spine and pelvis are what we hope for; on an arrow or a letter they mean that it has learned the wrong "
        "thing, which an accuracy on ten films can't tell.",
        figure,
        "Abdominal films, and the same under their heat maps.",
    )


def seen(learn: Learner, file: Path) -> tuple[torch.Tensor, np.ndarray]:
    """A file as the network gets it, (1, 3, H, W), and as people see it, (3, H, W)."""
    (x,) = first(learn.dls.test_dl([file]))
    (batch,) = learn.tensors([x])
    return batch, learn.dls.decode(x.cpu().numpy())[0]


def tutorial_cam(learn: Learner, x: torch.Tensor, label: int) -> np.ndarray:
    """As the tutorial has it: the last layer's weights times the channels, although they belong to hidden units."""
    with torch.no_grad():
        channels = learn.model.eval()[0](x)[0]
        return torch.einsum("ck,kij->cij", learn.model[1][-1].weight, channels)[label].cpu().numpy()


def tutorial_grad_cam(learn: Learner, x: torch.Tensor, label: int, block: int) -> np.ndarray:
    """As the tutorial has it: the channels' weights, times the first channel."""
    body, head = learn.model.eval()
    activation = body[: len(body) + block + 1](x)
    gradient = torch.grad(head(body[len(body) + block + 1 :](activation))[0, label], activation)[0]
    weights = gradient[0].mean(dim=[1, 2], keepdim=True)
    return (weights * activation.detach()[0][0]).sum(0).cpu().numpy()


def draw(found: cam.Map, image: np.ndarray, ax: Any, title: str) -> None:
    """A map over its image; one that shows nothing says so itself."""
    if found.problem is None:
        found.overlay(image, ax)
    else:
        show_image(image, ax)
        title = f"{title}\n{found.problem.partition(';')[0]}"
    ax.set_title(title, fontsize="medium")


def draw_raw(values: np.ndarray, image: np.ndarray, ax: Any, title: str) -> None:
    """A map as the tutorial draws it: whatever its sign."""
    show_image(image, ax, title)
    height, width = image.shape[1:]
    ax.imshow(values, alpha=0.6, extent=(0, width, height, 0), interpolation="bilinear", cmap="magma")
