"""AlexNet (Krizhevsky 2014, arXiv:1404.5997: the one with a single tower), with torchvision's parameter names."""

from __future__ import annotations

from tinygrad_med import nn
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.models.weights import load_pretrained


def alexnet_features() -> nn.Sequential:
    """AlexNet's convolutions alone, 4% of its parameters: (N, 3, 224, 224) -> (N, 256, 6, 6)"""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )


class AlexNet(nn.Module):
    """Five convolutions and three linear layers for images of about 224×224.

    Args:
        num_classes: the number of outputs.
        dropout: the share of features that the classifier drops in training.

    Attributes:
        features: (N, 3, 224, 224) -> (N, 256, 6, 6); 24 slices of a knee at a time, for MRNet.
        avgpool: to 6×6, whatever the size of the images.
        classifier: (N, 256 · 6 · 6) -> (N, num_classes).
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = alexnet_features()
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)"""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def alexnet(
    pretrained: bool = False, *, weights: str | None = None, num_classes: int = 1000, dropout: float = 0.5
) -> AlexNet:
    """AlexNet: 61,100,840 parameters for 1000 classes; the arguments are those of `resnet18`, and the dropout."""
    net = AlexNet(num_classes, dropout)
    load_pretrained(net, "alexnet", pretrained, weights, head="classifier.6")
    return net
