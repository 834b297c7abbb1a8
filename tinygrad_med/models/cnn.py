"""A small convolutional network, which trains within minutes on a CPU."""

from __future__ import annotations

from tinygrad_med import nn
from tinygrad_med.core.tensor import Tensor


class SmallCNN(nn.Module):
    """Stages of a 3×3 convolution, batch-norm, relu and a pooling that halves the size; then means and classes.

    Args:
        num_classes: the number of outputs.
        in_channels: 1 for grey images, 3 for colour.
        channels: of each stage.

    Attributes:
        features: (N, in_channels, H, W) -> (N, channels[-1], H / 2ⁿ, W / 2ⁿ) after n stages.
        fc: from the mean of each feature map to the classes, so that a class activation map is exact.
    """

    def __init__(self, num_classes: int, in_channels: int = 1, channels: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((in_channels, *channels), channels, strict=False):
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            stages += [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, num_classes)"""
        return self.fc(self.avgpool(self.features(x)).flatten(1))


def small_cnn(num_classes: int, in_channels: int = 1, channels: tuple[int, ...] = (32, 64, 128)) -> SmallCNN:
    """A small CNN, for 64×64 images of Medical MNIST; the arguments are those of `SmallCNN`."""
    return SmallCNN(num_classes, in_channels, channels)
