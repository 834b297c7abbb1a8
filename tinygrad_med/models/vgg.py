"""VGG-16 (Simonyan and Zisserman 2015, arXiv:1409.1556), with torchvision's parameter names."""

from __future__ import annotations

from tinygrad_med import nn
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.models.weights import load_pretrained

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""The channels of the convolutions, stage by stage."""


def vgg16_features() -> nn.Sequential:
    """VGG-16's convolutions alone, a tenth of its parameters: (N, 3, 224, 224) -> (N, 512, 7, 7)"""
    layers: list[nn.Module] = []
    before = 3
    for stage in VGG16:
        for channels in stage:
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
            before = channels
        layers.append(nn.MaxPool2d(2, 2))
    features = nn.Sequential(*layers)
    for module in features.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return features


class VGG(nn.Module):
    """Thirteen convolutions of 3×3 and three linear layers for images of about 224×224.

    Args:
        num_classes: the number of outputs.
        dropout: the share of features that the classifier drops in training.

    Attributes:
        features: (N, 3, 224, 224) -> (N, 512, 7, 7).
        avgpool: to 7×7, whatever the size of the images.
        classifier: (N, 512 · 7 · 7) -> (N, num_classes).
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = vgg16_features()
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        for module in self.classifier.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)"""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def vgg16(
    pretrained: bool = False, *, weights: str | None = None, num_classes: int = 1000, dropout: float = 0.5
) -> VGG:
    """VGG-16: 138,357,544 parameters for 1000 classes; the arguments are those of `resnet18`, and the dropout."""
    net = VGG(num_classes, dropout)
    load_pretrained(net, "vgg16", pretrained, weights, head="classifier.6")
    return net
