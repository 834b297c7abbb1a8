"""Weights that others have trained: torchvision's files, downloaded once, checked, and kept.

The name of such a file ends with the first digits of its SHA-256, so a file that is cut short, or is another one, is
noticed. Where there is no connection, a file that somebody puts into the folder by hand does as well.
"""

from __future__ import annotations

import enum
import hashlib
from pathlib import Path

from tinygrad_med._files import cache_folder, optional, writing
from tinygrad_med.nn import Module
from tinygrad_med.serialization import load
from tinygrad_med.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

HOST = "https://download.pytorch.org/models/"
FILES = {  # the first is downloaded; the second, which older versions of torchvision had, is as good if it is there
    "resnet18": ("resnet18-f37072fd.pth", "resnet18-5c106cde.pth"),
    "resnet34": ("resnet34-b627a593.pth", "resnet34-333f7ec4.pth"),
    "resnet50": ("resnet50-0676ba61.pth", "resnet50-19c8e357.pth"),
    "vgg16": ("vgg16-397923af.pth",),
    "alexnet": ("alexnet-owt-7be5be79.pth", "alexnet-owt-4df8aa71.pth"),
    "squeezenet1_1": ("squeezenet1_1-b8a52dc0.pth", "squeezenet1_1-f364aa15.pth"),
}
IMAGENET = ("imagenet", "IMAGENET1K_V1", "DEFAULT")  # ours, and torchvision's names for the same


class Weights(str, enum.Enum):
    """torchvision's names for the weights of a network, `resnet18(weights=ResNet18_Weights.DEFAULT)`."""

    IMAGENET1K_V1 = "IMAGENET1K_V1"
    DEFAULT = IMAGENET1K_V1

    def transforms(self) -> Compose:
        """What these weights expect of an image: 224×224 from its middle, normalized as ImageNet's were."""
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return Compose([Resize(256), CenterCrop(224), ToTensor(), Normalize(mean, std)])


TIMEOUT = 10.0  # seconds without a sign of life after which a connection is given up


def load_pretrained(net: Module, name: str, pretrained: bool, weights: str | None, head: str) -> None:
    """Load torchvision's weights for ImageNet into `net`, if they are asked for.

    Args:
        net: a new network.
        name: the network's name in `FILES`.
        pretrained, weights: what the user said.
        head: the path of the last layer, which keeps its new weights if the network is to have other classes.
    """
    if weights is not None and weights not in IMAGENET:
        raise ValueError(f"{name}: weights={weights!r} are unknown; give 'imagenet', or None for random weights")
    if not pretrained and weights is None:
        return
    state, own = load(weights_file(name)), net.state_dict()
    if own[f"{head}.weight"].shape != state[f"{head}.weight"].shape:
        state |= {key: own[key] for key in (f"{head}.weight", f"{head}.bias")}
    net.load_state_dict(state)


def weights_file(name: str) -> Path:
    """torchvision's file for the network `name`: from the cache folder, or else downloaded into it.

    Raises:
        ConnectionError: if it is not there and can't be downloaded; the text says which file to put where.
        ValueError: for a file whose SHA-256 is not the one that its name carries.
    """
    folder = cache_folder() / "models"
    for file in FILES[name]:
        if (folder / file).is_file():
            check_hash(folder / file, file)
            return folder / file
    target, url = folder / FILES[name][0], HOST + FILES[name][0]
    pooch = optional("pooch", f"downloading the weights of {name}")
    folder.mkdir(exist_ok=True)
    try:
        with writing(target) as temporary:
            pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)(url, temporary, None)
            check_hash(temporary, target.name)
    except OSError as error:
        raise ConnectionError(
            f"{name}: its weights can't be downloaded ({_reason(error)}); where there is a connection, download {url}, "
            f"and put the file into {folder}; or train from random weights, with pretrained=False"
        ) from None  # else a notebook shows the insides of three packages before this sentence
    return target


def _reason(error: BaseException) -> str:
    """What happened at first: "Name or service not known" instead of the five errors that were made of it."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def check_hash(path: Path, name: str) -> None:
    """Raise a `ValueError` unless the file at `path` has the SHA-256 whose first digits end the stem of `name`."""
    expected = Path(name).stem.rpartition("-")[2]
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
    if not digest.hexdigest().startswith(expected):
        raise ValueError(
            f"{name}: the file's SHA-256 begins with {digest.hexdigest()[:8]}, its name says {expected}: it is "
            f"damaged, or another file; delete {path}, and it is downloaded again"
        )
