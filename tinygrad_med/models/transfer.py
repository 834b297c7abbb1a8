"""Transfer learning: the body of a trained network with a new head.

The body is cut into blocks, 8 for a ResNet: `body[-1]` is the last stage, `body[-8]` the first convolution. There are
two heads:

    concat_head   fastai's: the maximum and the mean of each channel, then two linear layers. It learns well from few
                  images, but its last layer weighs *hidden units*, so a class activation map made with its weights
                  means nothing.
    plain_head    the mean of each channel, and one linear layer: its weights belong to channels, as CAM needs them.
"""

from __future__ import annotations

from tinygrad_med import nn
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.models.resnet import ResNet
from tinygrad_med.ops import cat


class AdaptiveConcatPool2d(nn.Module):
    """The maximum and the mean of each channel: (N, C, H, W) -> (N, 2C, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.mp = nn.AdaptiveMaxPool2d(1)
        self.ap = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 2C, 1, 1)"""
        return cat([self.mp(x), self.ap(x)], 1)


def concat_head(channels: int, num_classes: int, hidden: int = 512, p: float = 0.5) -> nn.Sequential:
    """fastai's head: concat pooling, then twice batch normalization, dropout and a linear layer."""
    return nn.Sequential(
        *(AdaptiveConcatPool2d(), nn.Flatten()),
        *(nn.BatchNorm1d(2 * channels), nn.Dropout(p / 2), nn.Linear(2 * channels, hidden, bias=False), nn.ReLU()),
        *(nn.BatchNorm1d(hidden), nn.Dropout(p), nn.Linear(hidden, num_classes, bias=False)),
    )


def plain_head(channels: int, num_classes: int) -> nn.Sequential:
    """The mean of each channel and one linear layer, as in the network's own classifier."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


HEADS = {"concat": concat_head, "plain": plain_head}


def body_of(net: ResNet) -> nn.Sequential:
    """A ResNet up to its pooling, as eight blocks that it shares with it."""
    stem = (net.conv1, net.bn1, net.relu, net.maxpool)
    return nn.Sequential(*stem, net.layer1, net.layer2, net.layer3, net.layer4)


def with_head(net: ResNet, num_classes: int, head: str = "concat") -> nn.Sequential:
    """The body of `net` and a new head, `"concat"` or `"plain"`: model[0] and model[1]."""
    if head not in HEADS:
        raise ValueError(f"with_head: head={head!r} is unknown; give one of {', '.join(HEADS)}")
    new = HEADS[head](net.fc.in_features, num_classes)
    for module in new.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return nn.Sequential(body_of(net), new)


def layer_groups(model: nn.Sequential) -> list[list[nn.Module]]:
    """What learns at one rate: the first six blocks of the body, the last two, and the head."""
    body, head = model.children()
    blocks = list(body.children())
    return [blocks[:6], blocks[6:], [head]]
