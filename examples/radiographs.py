"""Chest or abdomen: a network learns from 65 radiographs, and shows where it looks.

    python examples/pretrain.py                                             # once, about seven minutes
    python examples/radiographs.py --data Open_I_abd_vs_CXRs.zip            # then open radiographs/index.html

This is the tutorial "Image Classification for Beginners" (Wiggins, Magudia and Caton) from beginning to end: see the
data, find a learning rate, fine-tune a ResNet-18, read the curves, look at the mistakes, try an image that is neither,
and ask with CAM and Grad-CAM what the network looked at. Every step leaves a picture in one folder, and `index.html`
shows them in order, with what they mean.

`--weights` says what the network knows beforehand: `medical-mnist` (what examples/pretrain.py has learned), `imagenet`
(the tutorial's, a download), a file, or `none`.
"""

from __future__ import annotations

import argparse
import html
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # pictures go to files

import matplotlib.pyplot as plt
from PIL import Image, ImageOps
from pretrain import weights_file

import tinygrad_med as torch
from tinygrad_med import cam
from tinygrad_med._files import writing
from tinygrad_med.data import medical_mnist, radiographs
from tinygrad_med.data.images import open_image
from tinygrad_med.learner import DivergedError, Learner, show_image
from tinygrad_med.vision.all import (
    ClassificationInterpretation,
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    first,
    get_image_files,
    resnet18,
    vision_learner,
)

PUBLISHED = "1.107 / 1.336 / 50% frozen; then 0.079 / 0.013 / 100% after five epochs"  # the post's first and last rows


# ---------------------------------------------------------------- the page


@dataclass
class Page:
    """Pictures in a folder, and `index.html` that shows them in order, after each section anew."""

    folder: Path
    sections: list[str] = field(default_factory=list)

    def add(self, title: str, text: str, figure: Any = None) -> None:
        """Write a section, and its figure, which is closed."""
        number = len(self.sections) + 1
        print(f"{number}. {title}")
        section = f"<h2>{number}. {html.escape(title)}</h2>\n<p>{text}</p>"
        if figure is not None:
            name = f"{number:02}.png"
            with writing(self.folder / name) as path:
                figure.savefig(path, format="png", dpi=80, bbox_inches="tight")
            plt.close(figure)
            section += f'\n<img src="{name}" alt="{html.escape(title)}">'
        self.sections.append(section)
        self._write()

    def _write(self) -> None:
        style = (
            "body{font:17px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
            "img{max-width:100%}table{border-collapse:collapse}td,th{padding:.1rem .8rem;text-align:right}"
        )
        title = "Chest or abdomen?"
        content = "\n".join(self.sections)
        text = (
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
            f"<title>{title}</title>\n<style>{style}</style>\n<h1>{title}</h1>\n{content}\n</html>\n"
        )
        with writing(self.folder / "index.html") as path:
            path.write_text(text, "utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of numbers in HTML."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    lines = [
        "".join(f"<td>{v if isinstance(v, (int, str)) else f'{v:.3f}'}</td>" for v in row.values()) for row in rows
    ]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


# ---------------------------------------------------------------- an image that is neither


def entropy(probabilities: np.ndarray) -> float:
    """How undecided probabilities are, in bits: −Σ p log₂ p; between two classes at most 1."""
    p = probabilities[probabilities > 0]
    return float(-(p * np.log2(p)).sum())


class Familiar:
    """Has the network seen anything like this? A rule to follow with a pencil.

    An image's features are the 512 means of the body's channels. Its distance is that to the nearest training image, as
    1 − the cosine of the angle between their features. An image farther away than every validation image is unfamiliar.
    """

    def __init__(self, learn: Learner) -> None:
        self.learn = learn
        self.known = self.features(learn.dls.test_dl(learn.dls.train.dataset.images.files))
        self.threshold = float(self.distances(learn.dls.valid).max())

    def features(self, dl: Any) -> np.ndarray:
        """(N, 512), of length 1."""
        body = self.learn.model.eval()[0]
        with torch.no_grad():
            found = np.concatenate([body(*self.learn.tensors([x])).mean(dim=[2, 3]).cpu().numpy() for x, *_ in dl])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def distances(self, dl: Any) -> np.ndarray:
        """(N,), to the nearest training image."""
        return 1 - (self.features(dl) @ self.known.T).max(1)


# ---------------------------------------------------------------- the story


def make_loaders(data: Path, options: argparse.Namespace, augment: bool = True) -> ImageDataLoaders:
    """The tutorial's: 460 pixels, then changed at random and cut to 224 (or `--size`, and about twice that before)."""
    size = options.size
    still = {"do_flip": False, "max_rotate": 0, "max_warp": 0, "max_zoom": 1, "max_lighting": 0}
    change = aug_transforms(size=size, min_scale=0.75) if augment else aug_transforms(size=size, **still)
    return ImageDataLoaders.from_folder(
        data,
        valid="val",
        seed=options.seed,
        item_tfms=Resize(size * 460 // 224, equalize=options.equalize),
        batch_tfms=change,
        bs=16,
        skip_bad=options.skip_bad,
    )


def make_learner(dls: ImageDataLoaders, options: argparse.Namespace, head: str = "concat") -> Learner:
    """A ResNet-18 that knows what `--weights` says, with a new head."""
    known: dict[str, Any] = {"weights": options.weights}
    if options.weights in ("imagenet", "none"):
        known = {"pretrained": options.weights == "imagenet"}
    elif options.weights == "medical-mnist":
        known = {"weights": weights_file()}
        if not weights_file().exists():
            raise FileNotFoundError(
                f"there is no {weights_file()}; run examples/pretrain.py, or choose other --weights"
            )
    torch.manual_seed(options.seed)
    learn = vision_learner(dls, resnet18, metrics=accuracy, head=head, **known)
    learn.model.to(device=options.device)
    return learn


def surprise(folder: Path, given: Path | None) -> Path:
    """A picture that is neither chest nor abdomen: a hand of Medical MNIST, unless another is given."""
    if given is not None:
        return given
    data = medical_mnist.load(phantoms_per_class=1)
    hand = data.images[data.labels == data.classes.index("Hand")][0]
    target = folder / "surprise.png"
    with writing(target) as path:
        Image.fromarray(hand).save(path, format="PNG")
    return target


def tell(data: Path, page: Page, options: argparse.Namespace) -> None:
    """The whole tutorial."""
    see_the_data(data, page, options)
    dls = make_loaders(data, options)
    learn = train(dls, page, options)
    test(learn, data, page)
    what_if(learn, data, page)
    if not options.equalize:
        what_mends_it(data, page, options)
    something_else(learn, page, options)
    where_it_looked(learn, data, page, options)


def see_the_data(data: Path, page: Page, options: argparse.Namespace) -> None:
    """Some images, as they are and as they are changed."""
    plain, changed = (make_loaders(data, options, augment) for augment in (False, True))
    page.add(
        "What goes in",
        f"{len(plain.train.dataset)} radiographs to learn from, {len(plain.valid.dataset)} to see whether it has "
        "learned. Look closely: many abdomens come from case reports and carry arrows; the chests don't. A network "
        "may take the arrow for the abdomen, which is why we ask at the end where it looks.",
        plain.show_batch(max_n=6),
    )
    page.add(
        "The same, changed at random",
        "Turned by up to 10°, seen from aside, mirrored, cropped, brighter or darker: each epoch shows each film a "
        "little differently, so that the network can't learn 65 films by heart. All changes of place are one matrix, "
        "and each film is resampled once.",
        changed.show_batch(max_n=6),
    )


def train(dls: ImageDataLoaders, page: Page, options: argparse.Namespace) -> Learner:
    """Find a rate, fine-tune, and draw the curves."""
    learn = make_learner(dls, options)
    found = learn.lr_find(show_plot=False)
    page.add(
        "Which learning rate?",
        "The rate grows from step to step, until the loss explodes. Where the loss falls well is a good rate: the "
        f"finder suggests {found.valley:.2g} (valley) and {found.steep:.2g} (steep); the tutorial takes "
        f"{options.lr:.2g}. It trained a copy, so that nothing of this is left in the network.",
        found.plot().figure,
    )
    learn.fine_tune(options.epochs, base_lr=options.lr)
    phases = ["frozen"] + ["unfrozen"] * options.epochs
    rows = [{"phase": phase, **row} for phase, row in zip(phases, learn.recorder.history, strict=True)]
    page.add(
        "Fine-tuning",
        "First only the new head learns, for one epoch; then everything, the first layers a hundred times slower "
        f"than the last. The post has (train loss / validation loss / accuracy) {PUBLISHED}, from ImageNet's weights; "
        f"here the network started from {html.escape(str(options.weights))}.{table(rows)}",
    )
    page.add(
        "The curves",
        "The validation loss should fall. Where it begins to rise while the training loss goes on falling, the network "
        "learns the films by heart.",
        learn.recorder.plot_loss().figure,
    )
    return learn


def test(learn: Learner, data: Path, page: Page) -> None:
    """The two films that it has never seen, and the validation films that were hardest."""
    dl = learn.dls.test_dl(get_image_files(data / "test"), with_labels=True)
    interpretation = ClassificationInterpretation.from_learner(learn, dl=dl)
    right = int((interpretation.targets == interpretation.decoded).sum())
    page.add(
        "Two films that it has never seen",
        f"{right} of {len(interpretation.targets)} are right. Above each film: what the network says, what it is, the "
        "loss, and the probability of the answer, which many read as confidence.",
        interpretation.plot_top_losses(k=2),
    )
    hardest = ClassificationInterpretation.from_learner(learn)
    confused = ", ".join(f"{n} × {a} taken for {b}" for a, b, n in hardest.most_confused()) or "none"
    page.add(
        "The hardest of the validation films",
        f"Those with the largest loss. Mistakes: {html.escape(confused)}. One film is in the folder twice: data from "
        "the web is like that, and ten films are nine here.",
        hardest.plot_top_losses(k=6),
    )
    page.add(
        "The confusion matrix",
        "Rows: what the films are. Columns: what the network takes them for.",
        hardest.plot_confusion_matrix().figure,
    )


def what_if(learn: Learner, data: Path, page: Page) -> None:
    """The chest film of the test, changed in several ways: what changes the answer is what the network went by."""
    film = open_image(get_image_files(data / "test" / "chest")[0])
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
    dls, label = learn.dls, learn.dls.vocab.index("chest")
    x = np.stack([dls.normalize(*dls.augment(dls.resize(variant))) for variant in variants.values()])
    chest = learn.get_preds([(x,)])[0].numpy()[:, label]
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.6), layout="constrained")
    for name, image, p, ax in zip(variants, dls.decode(x), chest, axes.flat, strict=True):
        show_image(image, ax, f"{name}: chest {p:.2f}", "green" if p > 0.5 else "red")
    page.add(
        "What if?",
        "Each picture changes one thing about the film; where the probability jumps, that thing mattered to the "
        "answer. One film can't say why: a jump under a change of the grey levels is what one would see if the network "
        "went by exposure, which may differ between collections of films rather than between chest and abdomen. "
        "If so, training on films without their exposure should mend it.",
        figure,
    )


def what_mends_it(data: Path, page: Page, options: argparse.Namespace) -> None:
    """The same training once more, with every film's grey levels spread evenly."""
    print("the same with equalized films")
    equalized = argparse.Namespace(**{**vars(options), "equalize": True})
    learn = make_learner(make_loaders(data, equalized), options)
    learn.fine_tune(options.epochs, base_lr=options.lr)
    dl = learn.dls.test_dl(get_image_files(data / "test"), with_labels=True)
    interpretation = ClassificationInterpretation.from_learner(learn, dl=dl)
    right = int((interpretation.targets == interpretation.decoded).sum())
    accuracy = learn.recorder.history[-1]["accuracy"]
    page.add(
        "The same with equalized films",
        "Every film's grey levels are spread evenly before training and use, however it was exposed "
        f"(<code>--equalize</code>); the network starts from the same weights. It ends at {accuracy:.0%} of the "
        f"validation films, and gets {right} of {len(interpretation.targets)} test films right. In our runs with five "
        "seeds at 224×224 (<code>benchmarks/results/radiographs.md</code>), both test films were right in all five "
        "this way, and never without. Still, the change was made after looking at the answer: it needs films from "
        "other collections.",
        interpretation.plot_top_losses(k=2),
    )


def something_else(learn: Learner, page: Page, options: argparse.Namespace) -> None:
    """An image of neither class."""
    file = surprise(page.folder, options.surprise)
    dl = learn.dls.test_dl([file])
    probabilities = learn.get_preds(dl)[0].numpy()[0]
    familiar = Familiar(learn)
    distance = float(familiar.distances(dl)[0])
    verdict = "unfamiliar: don't trust the answer" if distance > familiar.threshold else "nothing unusual: a miss"
    says = ", ".join(f"{name} {p:.2f}" for name, p in zip(learn.dls.vocab, probabilities, strict=True))
    (x,) = first(dl)
    ax = show_image(learn.dls.decode(x.numpy())[0], title=f"{says}\n{verdict}")
    page.add(
        "A hand",
        f"The network knows two answers, and gives one of them: {says} (entropy {entropy(probabilities):.2f} bits of "
        "at most 1). Probabilities that add up to 1 can't say “neither”. A rule that can: compare the picture's "
        f"features with those of the training films. The distance to the nearest is {distance:.3f}; of the validation "
        f"films none is farther than {familiar.threshold:.3f}. Verdict: {verdict}.",
        ax.figure,
    )


def where_it_looked(learn: Learner, data: Path, page: Page, options: argparse.Namespace) -> None:
    """CAM and Grad-CAM."""
    file = get_image_files(data / "test" / "chest")[0]
    label = learn.dls.vocab.index("chest")
    (x,) = first(learn.dls.test_dl([file]))
    x = x.to(device=options.device)
    image = learn.dls.decode(x.cpu().numpy())[0]

    print("the same with a plain head, for CAM")
    plain = make_learner(learn.dls, options, head="plain")
    plain.fine_tune(options.epochs, base_lr=options.lr)
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
    draw_raw(tutorial_cam(learn, x, label), image, axes[0], "the tutorial's CAM: means nothing")
    draw(cam.cam(plain.model, x, label), image, axes[1], "CAM, with the plain head")
    draw(cam.grad_cam(learn.model, x, label), image, axes[2], "Grad-CAM, with the tutorial's head")
    page.add(
        "Class activation map",
        "A CAM adds up the channels of the last block, each with its weight for the class. The tutorial takes the "
        "weights of its last layer; but behind its head's hidden layer these 512 numbers weigh hidden units, not "
        "channels, so the left map is a sum with unrelated weights. With a head of one linear layer (middle) the "
        "weights belong to the channels, and the map is exact. Grad-CAM (right) asks the gradient, and works with "
        "any head.",
        figure,
    )

    figure, axes = plt.subplots(2, 4, figsize=(13, 7), layout="constrained")
    for block, ax in zip(range(-8, 0), axes.flat, strict=True):
        draw(cam.grad_cam(learn.model, x, label, block=block), image, ax, f"block {block}")
    page.add(
        "Grad-CAM at every block",
        "The tutorial's slider from −8 to −1. Early blocks see edges, and find them everywhere; late ones see few "
        "places (7×7), but what they see has to do with the class.",
        figure,
    )

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.8), layout="constrained")
    draw_raw(tutorial_grad_cam(learn, x, label, -2), image, axes[0], "the tutorial's cell, block −2")
    draw(cam.grad_cam(learn.model, x, label, block=-2), image, axes[1], "Grad-CAM, block −2")
    page.add(
        "A slip in the tutorial's Grad-CAM",
        "Its forward hook keeps the first image of the batch, and then takes <code>act[0]</code> of it, which is "
        "that image's first channel. So the left map is one channel times a number, not the weighted sum over all of "
        "them, which is on the right.",
        figure,
    )

    files = get_image_files(data / "train" / "abd")[:4]
    figure, axes = plt.subplots(2, len(files), figsize=(3 * len(files), 6.4), squeeze=False, layout="constrained")
    for column, file in zip(axes.T, files, strict=True):
        (x,) = first(learn.dls.test_dl([file]))
        image = learn.dls.decode(x.numpy())[0]
        show_image(image, column[0])
        draw(cam.grad_cam(learn.model, x.to(device=options.device), learn.dls.vocab.index("abd")), image, column[1], "")
    page.add(
        "Does it look at the arrows?",
        "Four abdomens that it has learned from, and below them where it found the abdomen. Bright spots on bowel, "
        "spine and pelvis are what we hope for; on an arrow or a letter they mean that it has learned the wrong "
        "thing, which 100% on ten films can't tell.",
        figure,
    )


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


def main() -> int:
    """Tell the story; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the radiographs: a zip or a folder; by default the tutorial's zip, downloaded")
    parser.add_argument("--weights", default="medical-mnist", help="medical-mnist, imagenet, none, or a file")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--size", type=int, default=224, help="of the images in pixels; 64 for a quick look")
    parser.add_argument(
        "--equalize", action="store_true", help="spread each film's grey levels, however it was exposed"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--skip-bad", action="store_true", help="leave out images that can't be read, and count them")
    parser.add_argument("--surprise", type=Path, help="an image that is neither; by default a hand of Medical MNIST")
    parser.add_argument("--out", type=Path, default=Path("radiographs"), help="the folder for the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    page = Page(options.out)
    try:
        tell(radiographs.load(options.data), page, options)
    except (OSError, ValueError, RuntimeError, ImportError, DivergedError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"open {page.folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
