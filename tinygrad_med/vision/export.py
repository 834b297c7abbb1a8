"""A trained learner as one file that can be asked about images anywhere: weights and facts, and no program.

    learn.export("films.safetensors")
    load_learner("films.safetensors").predict("film.png")

fastai's `export` writes a pickle, which is a program that whoever opens it runs. Here the file says which network,
which classes, and how a picture becomes numbers; `load_learner` builds these anew, and refuses what it doesn't know.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinygrad_med.data.transforms import Augment, Normalize, Resize
from tinygrad_med.learner import Learner
from tinygrad_med.learner.outputs import loss_named, name_of_loss
from tinygrad_med.learner.state import facts_of, restore, snapshot
from tinygrad_med.models import resnet18, resnet34
from tinygrad_med.models.transfer import HEADS, with_head
from tinygrad_med.nn import Module
from tinygrad_med.serialization import load, save
from tinygrad_med.vision.data import ImageDataLoaders

ARCHS = {"resnet18": resnet18, "resnet34": resnet34}
NAMES = ("vocab", "loss", "network", "images")


class VisionLearner(Learner):
    """A learner of images, which can be exported."""

    network: dict[str, str] | None = None
    """From which trained network it came: `arch` and `head`, as `vision_learner` was given them."""

    def export(self, file: str | Path = "export.safetensors") -> Path:
        """Write what is needed to ask the model about images: weights, classes, and how a picture becomes numbers.

        Args:
            file: ends with `.safetensors`, which is added where the name has no ending.

        Raises:
            ValueError: for another ending.
        """
        path = Path(file) if Path(file).suffix else Path(file).with_suffix(".safetensors")
        if path.suffix != ".safetensors":
            raise ValueError(f"export: {path.name} must end with .safetensors; a pickle is a program, this is none")
        facts = (list(self.dls.vocab), name_of_loss(self.loss_func), self.network, images_of(self.dls))
        path.parent.mkdir(parents=True, exist_ok=True)
        save(snapshot(self.model, facts=dict(zip(NAMES, facts, strict=True))), path)
        return path


class ImagesForUse(ImageDataLoaders):
    """What a learner needs of loaders to look at images: the classes, and how a picture becomes numbers."""

    def __init__(self, vocab: list[str], images: dict[str, Any]) -> None:
        self.vocab, self.mode, self.path = vocab, images["mode"], None
        window = images["window"]
        self.window = tuple(window) if isinstance(window, list) else window
        self.bs, self.num_workers, self.seed = 64, 0, 0
        self.resize, self.augment = Resize(**images["resize"]), Augment(**images["augment"])
        self.normalize = Normalize(**{name: tuple(numbers) for name, numbers in images["normalize"].items()})
        self.train, self.valid = [], []  # type: ignore[assignment]


def images_of(dls: Any) -> dict[str, Any]:
    """How these loaders make numbers of a picture, as JSON holds it."""
    if not isinstance(dls, ImageDataLoaders):
        raise TypeError(
            f"export: {type(dls).__name__} doesn't say how an image becomes the model's input; train with vision's "
            "ImageDataLoaders, or save the model's weights with learn.save(file, with_opt=False)"
        )
    steps = {name: asdict(getattr(dls, name)) for name in ("resize", "augment", "normalize")}
    return {"mode": dls.mode, "window": dls.window, **steps}


def load_learner(file: str | Path, model: Module | None = None, device: str = "cpu") -> VisionLearner:
    """What `export` wrote, as a learner that can `predict`, `get_preds` and be validated, but has no data.

    Args:
        file: the file.
        model: an untrained model like the one that was trained; only where that didn't come from `vision_learner`.
        device: where it shall be.

    Raises:
        ValueError: the file is none of these, or needs a model.
    """
    file = Path(file)
    state = load(file)
    try:
        facts = facts_of(state, {}, file)
        vocab, loss, network, images = (facts[name] for name in NAMES)
        dls, loss_func = ImagesForUse(vocab, images), loss_named(loss)
        if model is None and network is not None:
            if network["arch"] not in ARCHS or network["head"] not in HEADS:
                raise ValueError(f"its network, {network}, is not known here")
            model = with_head(ARCHS[network["arch"]](), len(vocab), network["head"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"load_learner: {file} is no file of learn.export ({error})") from error
    if model is None:
        raise ValueError(f"load_learner: {file} holds the weights of a model of your own; build it, and give model=…")
    restore(state, model)
    model.eval()
    learn = VisionLearner(dls, model.to(device=device), loss_func, progress=False)
    learn.network = network
    return learn
