"""Residual networks (He, Zhang, Ren and Sun 2016, arXiv:1512.03385), with torchvision's parameter names.

A block computes what is to be *added* to its input, so the gradient reaches the first layer undiminished, whatever the
blocks do.
"""

from __future__ import annotations

import copy
from typing import Any

from tinygrad_med import nn
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.models.weights import load_pretrained
from tinygrad_med.nn.one_pass import conv_norm

F = nn.functional


class BasicBlock(nn.Module):
    """relu(x + bn2(conv2(relu(bn1(conv1(x)))))), where x, if the shapes differ, passes through a 1×1 convolution.

    Args:
        in_channels, channels: before and after.
        stride: of the first convolution, and of the shortcut.
        conv, norm: the layers; `nn.Conv3d` and `nn.BatchNorm3d` make it a block for volumes.
    """

    expansion = 1
    """How many times `channels` come out."""

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, *, conv: Any = nn.Conv2d, norm: Any = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(conv(in_channels, channels, 1, stride, bias=False), norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride)"""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = conv_norm(self.conv1, self.bn1, x, then=F.relu)
        return conv_norm(self.conv2, self.bn2, x, plus=shortcut, then=F.relu)


class Bottleneck(nn.Module):
    """As `BasicBlock`, with the 3×3 convolution between two of 1×1, which narrow the channels and widen them again.

    The stride is that of the 3×3 convolution, as in torchvision (and in its weights), not that of the first one, as in
    the paper.
    """

    expansion = 4
    """How many times `channels` come out."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        wide = self.expansion * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != wide:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, 4 · channels, H / stride, W / stride)"""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = conv_norm(self.conv1, self.bn1, x, then=F.relu)
        x = conv_norm(self.conv2, self.bn2, x, then=F.relu)
        return conv_norm(self.conv3, self.bn3, x, plus=shortcut, then=F.relu)


Block = type[BasicBlock] | type[Bottleneck]


class ResNet(nn.Module):
    """A residual network for images of about 224×224.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: the number of blocks in each of the four stages.
        num_classes: the number of outputs.

    Attributes:
        conv1, bn1, maxpool: from (N, 3, H, W) to (N, 64, H/4, W/4).
        layer1, layer2, layer3, layer4: the stages, of 64, 128, 256 and 512 channels (four times as many behind
            bottlenecks), each after the first halving the size. The output of `layer4` is what class activation maps
            look at.
        avgpool, fc: the mean over all pixels, and the classes.
    """

    def __init__(self, block: Block, layers: tuple[int, int, int, int], num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _stage(block, 64, 64, layers[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, layers[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, layers[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)"""
        x = self.maxpool(conv_norm(self.conv1, self.bn1, x, then=self.relu))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))

    def fused(self) -> ResNet:
        """A copy for use, not for training, in which every batch normalization is folded into its convolution."""
        net = copy.deepcopy(self)
        _fuse(net, "conv1", "bn1")
        for module in net.modules():
            if isinstance(module, (BasicBlock, Bottleneck)):
                for i in (1, 2, 3) if isinstance(module, Bottleneck) else (1, 2):
                    _fuse(module, f"conv{i}", f"bn{i}")
                if module.downsample is not None:
                    _fuse(module.downsample, "0", "1")
        return net


def _fuse(module: nn.Module, conv: str, bn: str) -> None:
    """Let the convolution do what the batch normalization after it does."""
    setattr(module, conv, nn.fuse_conv_bn_eval(getattr(module, conv), getattr(module, bn)))
    setattr(module, bn, nn.Identity())


def _stage(block: Block, in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = block(in_channels, channels, stride)
    return nn.Sequential(first, *(block(block.expansion * channels, channels) for _ in range(blocks - 1)))


def resnet18(pretrained: bool = False, *, weights: str | None = None, num_classes: int = 1000) -> ResNet:
    """ResNet-18: 11,689,512 parameters for 1000 classes.

    Args:
        pretrained: start from torchvision's weights for ImageNet, which are downloaded at the first use.
        weights: `"imagenet"` says the same, `None` for random weights.
        num_classes: the number of outputs; with pretrained weights and another number than 1000, the last layer is new.
    """
    return _resnet("resnet18", BasicBlock, (2, 2, 2, 2), pretrained, weights, num_classes)


def resnet34(pretrained: bool = False, *, weights: str | None = None, num_classes: int = 1000) -> ResNet:
    """ResNet-34: 21,797,672 parameters for 1000 classes; the arguments are those of `resnet18`."""
    return _resnet("resnet34", BasicBlock, (3, 4, 6, 3), pretrained, weights, num_classes)


def resnet50(pretrained: bool = False, *, weights: str | None = None, num_classes: int = 1000) -> ResNet:
    """ResNet-50: 25,557,032 parameters for 1000 classes; the arguments are those of `resnet18`.

    Its weights are torchvision's IMAGENET1K_V1.
    """
    return _resnet("resnet50", Bottleneck, (3, 4, 6, 3), pretrained, weights, num_classes)


def _resnet(
    name: str, block: Block, layers: tuple[int, int, int, int], pretrained: bool, weights: Any, num_classes: int
) -> ResNet:
    net = ResNet(block, layers, num_classes)
    load_pretrained(net, name, pretrained, weights, head="fc")
    return net
