"""Which of PyTorch's names are here, and what do the others answer?

For each namespace all public names that PyTorch has there (classes and functions with a docstring, and values; no
modules, and none of those that are for its own files), and torchvision's transforms by their documentation; of tensors
one is asked, since some of its attributes are set with the tensor. A name

- is here,
- answers what to use instead: the error says more than that the name is missing,
- is absent: the error says so, and at most guesses.

What is absent is listed whole below the table, for whoever adds some.

    python benchmarks/names.py
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from tinygrad_med._files import writing  # noqa: E402
from tinygrad_med.engine.elsewhere import advice  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "names.md"

TRANSFORMS = """
    AugMix AutoAugment AutoAugmentPolicy CenterCrop ColorJitter Compose ConvertImageDtype ElasticTransform FiveCrop
    GaussianBlur Grayscale InterpolationMode Lambda LinearTransformation Normalize PILToTensor Pad RandAugment
    RandomAdjustSharpness RandomAffine RandomApply RandomAutocontrast RandomChoice RandomCrop RandomEqualize
    RandomErasing RandomGrayscale RandomHorizontalFlip RandomInvert RandomOrder RandomPerspective RandomPosterize
    RandomResizedCrop RandomRotation RandomSolarize RandomVerticalFlip Resize TenCrop ToPILImage ToTensor
    TrivialAugmentWide functional v2
"""
FUNCTIONAL = """
    adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation adjust_sharpness affine autocontrast
    center_crop convert_image_dtype crop elastic_transform equalize erase five_crop gaussian_blur get_dimensions
    get_image_num_channels get_image_size hflip invert normalize pad perspective pil_to_tensor posterize resize
    resized_crop rgb_to_grayscale rotate solarize ten_crop to_grayscale to_pil_image to_tensor vflip
"""
LISTED = {"torchvision.transforms": TRANSFORMS, "torchvision.transforms.functional": FUNCTIONAL}
"""torchvision is not among what the benchmarks install: its names, as its documentation lists them."""

NAMESPACES = (
    "torch torch.Tensor torch.nn torch.nn.functional torch.nn.init torch.nn.utils torch.linalg torch.optim "
    "torch.optim.lr_scheduler torch.utils.data torch.autograd torch.autograd.functional torchvision.transforms "
    "torchvision.transforms.functional"
)
OWN = (
    "Optional TYPE_CHECKING DType BroadcastingList1 BroadcastingList2 BroadcastingList3 common_notes "
    "reproducibility_notes sparse_support_notes tf32_notes"
)
"""Names that PyTorch's files import for themselves."""


class Answer(NamedTuple):
    """What becomes of one name: `here`, `advice` or `absent`, and what the error says."""

    word: str
    text: str = ""


def names_of(namespace: str) -> list[str]:
    """The public names of one of PyTorch's namespaces."""
    if namespace in LISTED:
        return LISTED[namespace].split()
    theirs = torch.Tensor if namespace == "torch.Tensor" else importlib.import_module(namespace)
    found = [name for name in dir(theirs) if not name.startswith("_") and name not in OWN.split()]
    return [name for name in found if _counts(namespace, name, getattr(theirs, name, None))]


def _counts(namespace: str, name: str, value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        return False
    if namespace == "torch" and isinstance(value, type):
        return name in torch.__all__ or issubclass(value, torch.Tensor)
    private = getattr(value, "__module__", "") in ("typing", "torch._C._distributed_c10d", "torch.overrides")
    return not private and (not callable(value) or bool(getattr(value, "__doc__", "")))


def ours(namespace: str) -> Any:
    """What answers for it."""
    if namespace == "torch.Tensor":
        return importlib.import_module("tinygrad_med").ones(2, 2, requires_grad=True)
    _, _, module = namespace.partition(".")
    return importlib.import_module(".".join(filter(None, ["tinygrad_med", module])))


def answer(owner: Any, name: str) -> Answer:
    """What becomes of one name."""
    try:
        getattr(owner, name)
    except AttributeError as error:
        text = str(error)
        said = advice(name) is not None or "tensors have it" in text or "in place" in text or "use x = x." in text
        return Answer("advice" if said else "absent", text)
    return Answer("here")


def table() -> str:
    """The counts, and the names that are absent, in Markdown."""
    lines = ["| namespace | names | here | say what to use instead | absent |", "|---|--:|--:|--:|--:|"]
    absent = {}
    for namespace in NAMESPACES.split():
        owner = ours(namespace)
        found = {name: answer(owner, name) for name in names_of(namespace)}
        count = [sum(a.word == word for a in found.values()) for word in ("here", "advice", "absent")]
        lines.append(f"| `{namespace}` | {len(found)} | {' | '.join(map(str, count))} |")
        absent[namespace] = [name for name, a in found.items() if a.word == "absent"]
    lists = [f"- `{namespace}`: {' '.join(names)}" for namespace, names in absent.items() if names]
    return "\n".join([*lines, "", "Absent:", "", *lists])


def main() -> None:
    """Ask for all names, and write the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, about names that will go
        text = f"# {__doc__.splitlines()[0]}\n\n{table()}\n"
    print(text)
    with writing(RESULTS) as path:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
