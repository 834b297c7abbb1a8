"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360), with torchvision's parameter names.

Its classes come from a 1×1 convolution and a mean over all pixels, so a class activation map is its last feature map.
"""

from __future__ import annotations

from tinygrad_med import nn
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.models.weights import load_pretrained
from tinygrad_med.nn.one_pass import conv_norm
from tinygrad_med.ops import cat

F = nn.functional


class Fire(nn.Module):
    """Few channels by 1×1 convolutions ("squeeze"), from which 1×1 and 3×3 convolutions make many ("expand")."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, 2 · expand, H, W)"""
        x, *expand = conv_norm(self.squeeze, None, x, then=F.relu), self.expand1x1, self.expand3x3
        return cat([conv_norm(conv, None, x, then=F.relu) for conv in expand], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 for images of about 224×224.

    Args:
        num_classes: the number of outputs.
        dropout: the share of features that the classifier drops in training.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        last = nn.Conv2d(512, num_classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(last.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)"""
        return self.classifier(self.features(x)).flatten(1)


def squeezenet1_1(
    pretrained: bool = False, *, weights: str | None = None, num_classes: int = 1000, dropout: float = 0.5
) -> SqueezeNet:
    """SqueezeNet 1.1: 1,235,496 parameters for 1000 classes; the arguments are those of `alexnet`."""
    net = SqueezeNet(num_classes, dropout)
    load_pretrained(net, "squeezenet1_1", pretrained, weights, head="classifier.1")
    return net
