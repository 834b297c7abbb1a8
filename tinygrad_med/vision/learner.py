"""A learner for images: a trained body, a new head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygrad_med.models import ResNet
from tinygrad_med.models.transfer import layer_groups, with_head
from tinygrad_med.serialization import load
from tinygrad_med.vision.export import VisionLearner


def vision_learner(
    dls: Any,
    arch: Callable[..., ResNet],
    *,
    pretrained: bool = True,
    weights: str | Path | None = None,
    head: str = "concat",
    **options: Any,
) -> VisionLearner:
    """A learner that fine-tunes a trained network on the classes of `dls`.

    Args:
        dls: the loaders.
        arch: `resnet18` or `resnet34`.
        pretrained: start from torchvision's weights for ImageNet, which are downloaded at the first use.
        weights: a file to start from instead; its last layer is not used.
        head: `"concat"`, fastai's, or `"plain"`, with which class activation maps are exact (see `models.transfer`).
        options: of `Learner`.
    """
    if weights is None:
        net = arch(pretrained=pretrained)
    else:
        state = load(weights)
        net = arch()
        own = {name: value for name, value in net.state_dict().items() if name.startswith("fc.")}
        net.load_state_dict(state | own)
    learn = VisionLearner(dls, with_head(net, len(dls.vocab), head), splitter=layer_groups, **options)
    learn.network = {"arch": arch.__name__, "head": head}
    return learn


cnn_learner = vision_learner  # its name until fastai 2.7
