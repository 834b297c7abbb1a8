"""Chest or abdomen: a network learns from 65 radiographs, and shows where it looks.

    python examples/pretrain.py                                  # once, about seven minutes
    python examples/radiographs.py                               # downloads the films; see runs/radiographs/index.html
    python examples/radiographs.py --data my_pictures            # classes of your own, two or more
    python examples/radiographs.py --data my_ct --window -160 240    # of DICOM files, here in Hounsfield units
    python examples/radiographs.py --ask film.png                # what does the trained network say to this picture?
    mpirun -n 4 python examples/radiographs.py --data-parallel   # four processes share each batch

This is the tutorial "Image Classification for Beginners" (Wiggins, Magudia and Caton) from beginning to end: see the
data, find a learning rate, fine-tune a ResNet-18, read the curves, look at the mistakes, try an image that is neither,
and ask with CAM and Grad-CAM what the network looked at. Every step adds a picture to one page.

`--data` takes the tutorial's zip, or a folder: of class folders, or of `train` and `valid` (or `val`) with class
folders in each, and perhaps a `test`. Pictures may be DICOM files. `--weights` says what the network knows beforehand:
`medical-mnist` (what examples/pretrain.py has learned), `imagenet` (the tutorial's, a download), a file, or `none`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import command
import matplotlib as mpl
import radiographs_page as pages
from PIL import Image
from pretrain import weights_file
from report import Page

import tinygrad_med as torch
from tinygrad_med._files import writing
from tinygrad_med.data import medical_mnist, radiographs
from tinygrad_med.data.grey import OWN
from tinygrad_med.learner import Learner
from tinygrad_med.learner.callbacks import SaveCheckpoint
from tinygrad_med.learner.familiar import Familiar
from tinygrad_med.parallel import SyncBatchNorm
from tinygrad_med.vision.all import (
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    load_learner,
    resnet18,
    vision_learner,
)

BATCH = 16
LEARNER = "learner.safetensors"
PLAN = ("weights", "epochs", "lr", "size", "equalize", "window", "bits", "seed")
OF_THE_TUTORIAL = {"abd", "chest"}


def make_loaders(data: Path, options: argparse.Namespace, augment: bool = True) -> ImageDataLoaders:
    """The tutorial's: 460 pixels, then changed at random and cut to 224 (or `--size`, and about twice that before)."""
    size = options.size
    still = {"do_flip": False, "max_rotate": 0, "max_warp": 0, "max_zoom": 1, "max_lighting": 0}
    change = aug_transforms(size=size, min_scale=0.75) if augment else aug_transforms(size=size, **still)
    folders = [name for name in ("val", "valid") if (data / "train").is_dir() and (data / name).is_dir()]
    return ImageDataLoaders.from_folder(
        data,
        **({"valid": folders[0]} if folders else {"valid_pct": 0.2}),
        seed=options.seed,
        item_tfms=Resize(size * 460 // 224, equalize=options.equalize),
        batch_tfms=change,
        bs=BATCH,
        window=options.window,
        bits=options.bits,
        skip_bad=options.skip_bad,
    )


def make_learner(
    dls: ImageDataLoaders, options: argparse.Namespace, run: command.Run, name: str, head: str = "concat"
) -> Learner:
    """A ResNet-18 that knows what `--weights` says, with a new head; its checkpoint is `<name>.safetensors`."""
    known: dict[str, Any] = {"weights": options.weights}
    if options.weights in ("imagenet", "none"):
        known = {"pretrained": options.weights == "imagenet"}
    elif options.weights == "medical-mnist":
        known = {"weights": weights_file()}
    torch.manual_seed(options.seed)
    file = run.folder / f"{name}.safetensors"
    keep = SaveCheckpoint(file, run.plan, resume=run.resumed and file.exists())
    learn = vision_learner(
        dls, resnet18, metrics=accuracy, head=head, cbs=[keep], ranks=options.ranks, device=options.device, **known
    )
    if options.sync_batchnorm:
        SyncBatchNorm.convert_sync_batchnorm(learn.model, options.ranks)
    return learn


def surprise(folder: Path, given: Path | None) -> Path:
    """A picture that belongs to no class: a hand of Medical MNIST, unless another is given."""
    if given is not None:
        return given
    data = medical_mnist.load(phantoms_per_class=1)
    hand = data.images[data.labels == data.classes.index("Hand")][0]
    target = folder / "surprise.png"
    with writing(target) as path:
        Image.fromarray(hand).save(path, format="PNG")
    return target


@command.advising("--window LOW HIGH", "window=(low, high)")
@command.advising(f"--window {OWN}", f"window={OWN!r}")
@command.advising("--skip-bad", "skip_bad=True")
def story(options: argparse.Namespace) -> command.Run:
    """The whole tutorial."""
    mpl.use("Agg")  # pictures go to files
    if options.weights == "medical-mnist" and not weights_file().exists():
        raise FileNotFoundError(f"there is no {weights_file()}; run examples/pretrain.py, or choose other --weights")
    with options.ranks.rank_0_first():
        data = radiographs.load(options.data)
    plain, dls = (make_loaders(data, options, augment) for augment in (False, True))
    tutorial = set(dls.vocab) == OF_THE_TUTORIAL
    command.demand_work(options, BATCH, "films in a batch")
    plan = {"data": str(options.data or data), **{name: getattr(options, name) for name in PLAN}}
    run = command.Run(options, plan)
    if not run.writes:
        return learn_along(dls, options, run, data, equalized=tutorial and not options.equalize)
    page = Page(
        run.folder,
        "Chest or abdomen?" if tutorial else f"{', '.join(dls.vocab[:-1])} or {dls.vocab[-1]}?",
        made_by=[
            f"Made by `{command.command_line(options)}`",
            f"A ResNet-18 that knew `{options.weights}`. {options.size}×{options.size} pixels, on {options.device}.",
            f"{options.epochs} epochs after the frozen one, rate {options.lr}, seed {options.seed}.",
            f"The network is in `{LEARNER}`; `--ask PICTURE` asks it about a picture.",
        ],
    )
    pages.data(page, plain, dls, tutorial)

    learn = make_learner(dls, options, run, "last")
    pages.rate(page, learn.lr_find(show_plot=False), options.lr, tutorial)
    learn.fine_tune(options.epochs, base_lr=options.lr)
    learn.export(run.folder / LEARNER)
    pages.fine_tuning(page, learn, options, tutorial)

    test = get_image_files(data / "test") if (data / "test").is_dir() else []
    pages.mistakes(page, learn, test, tutorial)
    film = (test or list(dls.valid.dataset.images.files))[-1]
    pages.what_if(page, learn, film)
    if tutorial and not options.equalize:
        print("the same with equalized films")
        equalized = make_learner(make_loaders(data, equalizing(options)), options, run, "equalized")
        equalized.fine_tune(options.epochs, base_lr=options.lr)
        pages.equalized(page, equalized, test)
    pages.something_else(page, learn, Familiar(learn), surprise(run.folder, options.surprise))

    print("the same with a plain head, for CAM")
    with_plain_head = make_learner(dls, options, run, "plain", head="plain")
    with_plain_head.fine_tune(options.epochs, base_lr=options.lr)
    pages.where_it_looked(page, learn, with_plain_head, film, tutorial)
    if tutorial:
        pages.arrows(page, learn, get_image_files(data / "train" / "abd")[:4])
    else:
        page.add(
            "Left out",
            "Three sections of the tutorial are about its radiographs, and not here: the same with equalized films "
            "(try `--equalize`), the slip in the tutorial's Grad-CAM, and whether the network looks at arrows.",
        )
    return run.end(page.index)


def learn_along(
    dls: ImageDataLoaders, options: argparse.Namespace, run: command.Run, data: Path, equalized: bool
) -> command.Run:
    """What the other processes do, while rank 0 tells the story: their part of each training, in the same order."""
    learn = make_learner(dls, options, run, "last")
    learn.lr_find(show_plot=False)
    learn.fine_tune(options.epochs, base_lr=options.lr)
    if equalized:
        others = make_loaders(data, equalizing(options))
        make_learner(others, options, run, "equalized").fine_tune(options.epochs, base_lr=options.lr)
    make_learner(dls, options, run, "plain", head="plain").fine_tune(options.epochs, base_lr=options.lr)
    return run


def equalizing(options: argparse.Namespace) -> argparse.Namespace:
    """The same options, with `--equalize`."""
    return argparse.Namespace(**{**vars(options), "equalize": True})


def ask(options: argparse.Namespace) -> None:
    """Print what the trained network says to a picture."""
    file = options.out / LEARNER
    if not file.exists():
        raise FileNotFoundError(f"--ask: there is no {file}; train first, or name the run's folder by --out")
    learn = load_learner(file)
    _, _, probabilities = learn.predict(options.ask)
    for p, name in sorted(zip(probabilities.tolist(), learn.dls.vocab, strict=True), reverse=True):
        print(f"{p:7.2%}  {name}")
    print("One of these classes is always the answer, whatever the picture shows.")


def grey_window(parser: argparse.ArgumentParser, words: list[str] | None) -> str | tuple[float, float] | None:
    """What `--window` says, as the loaders take it."""
    if words in (None, [OWN]):
        return words and OWN
    try:
        low, high = map(float, words)
    except ValueError:
        parser.error(f"--window {' '.join(words)}: give two numbers, the lower one first, or own")
    return low, high


def main(argv: list[str] | None = None) -> int:
    """The example; returns the exit status."""
    parser = command.parser(__doc__, "runs/radiographs")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="a zip or a folder; by default the tutorial's zip, downloaded"
    )
    parser.add_argument("--weights", default="medical-mnist", help="medical-mnist, imagenet, none, or a file")
    parser.add_argument("--epochs", type=command.positive, default=5, help="after the frozen one; default: 5")
    parser.add_argument("--lr", type=command.a_rate, default=2e-3, help="default: 0.002")
    parser.add_argument(
        "--size", type=command.at_least(32), default=224, help="of the images in pixels; 64: a quick look"
    )
    parser.add_argument(
        "--equalize", action="store_true", help="spread each film's grey levels, however it was exposed"
    )
    parser.add_argument(
        "--window",
        nargs="+",
        metavar=("LOW", "HIGH"),
        help="the numbers that become black and white, of DICOM files and of pictures of 16 bits; or own: as each says",
    )
    parser.add_argument("--bits", type=command.positive, help="of the detector: the same as --window 0 2^bits")
    parser.add_argument("--skip-bad", action="store_true", help="leave out images that can't be read, and count them")
    parser.add_argument(
        "--surprise", type=Path, metavar="PICTURE", help="one of no class; by default a hand of Medical MNIST"
    )
    parser.add_argument("--ask", type=Path, metavar="PICTURE", help="don't learn: say what the network in --out sees")
    command.add_data_parallel(parser, batchnorm=True)
    options = parser.parse_args(argv)
    options.window = grey_window(parser, options.window)
    options.out = options.out or Path("runs/radiographs")
    return command.run(ask if options.ask else story, options)


if __name__ == "__main__":
    sys.exit(main())
