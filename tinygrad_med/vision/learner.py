"""A learner for images: a trained body, a new head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygrad_med import cuda
from tinygrad_med.backend import Device
from tinygrad_med.models import ResNet
from tinygrad_med.models.transfer import layer_groups, with_head
from tinygrad_med.nn import Module
from tinygrad_med.serialization import load
from tinygrad_med.vision.export import VisionLearner


def vision_learner(
    dls: Any,
    arch: Callable[..., ResNet],
    *,
    pretrained: bool = True,
    weights: str | Path | None = None,
    head: str = "concat",
    device: str | Device | None = None,
    **options: Any,
) -> VisionLearner:
    """A learner that fine-tunes a trained network on the classes of `dls`.

    Args:
        dls: the loaders.
        arch: `resnet18` or `resnet34`.
        pretrained: start from torchvision's weights for ImageNet, which are downloaded at the first use.
        weights: a file to start from instead; its last layer is not used.
        head: `"concat"`, fastai's, or `"plain"`, with which class activation maps are exact (see `models.transfer`).
        device: where it learns, and where the loaders bring their batches; by default, as in fastai, on the GPU where
            there is one.
        options: of `Learner`.
    """
    if weights is None:
        net = arch(pretrained=pretrained)
    else:
        state = load(weights)
        net = arch()
        own = {name: value for name, value in net.state_dict().items() if name.startswith("fc.")}
        net.load_state_dict(state | own)
    model = with_head(net, len(dls.vocab), head)
    for part in (model, options.get("loss_func")):
        if isinstance(part, Module):  # a loss may have weights per class
            part.to(device=str(device or ("cuda" if cuda.is_available() else "cpu")))
    if device is not None and hasattr(dls, "to"):
        dls.to(device)
    learn = VisionLearner(dls, model, splitter=layer_groups, **options)
    learn.network = {"arch": arch.__name__, "head": head}
    return learn


cnn_learner = vision_learner  # its name until fastai 2.7
