"""MRNet: one network per plane of a knee's MRI, and a linear layer over what their slices show most.

    series (S, 3, 224, 224) → features (S, C, h, w) → mean over pixels (S, C) → maximum over slices (C,)

Three such vectors, one behind the other, go through a linear layer to a logit per label. How many slices a series has
is free, so a batch is one exam; and the maximum sends the gradient of each channel to one slice.

Bien et al. 2018, PLOS Medicine 15(11), with a single label per model; here, as in the multi-task tutorial, any number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinygrad_med import nn
from tinygrad_med.core.backward import backward
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine.switches import enable_grad, is_grad_enabled, no_grad
from tinygrad_med.models.alexnet import alexnet, alexnet_features
from tinygrad_med.models.resnet import resnet18, resnet50
from tinygrad_med.models.squeezenet import squeezenet1_1
from tinygrad_med.models.vgg import vgg16, vgg16_features
from tinygrad_med.ops import cat, max

CHANNELS = {"alexnet": 256, "resnet18": 512, "resnet50": 2048, "squeezenet": 512, "vgg16": 512}


class MRNet(nn.Module):
    """From three series of slices to a logit per label.

    Args:
        num_labels: 3 for all labels in one model (multi-task), 1 for one of them.
        backbone: the network of each plane, `"alexnet"`, `"resnet18"`, `"resnet50"`, `"squeezenet"` or `"vgg16"`.
        pretrained: start from torchvision's weights for ImageNet.
        chunk: the number of slices that training holds in memory at a time, `None` for all of a series. The numbers
            are the same but for rounding, each slice that won a channel is computed twice; see `in_chunks`.

    Attributes:
        axial, coronal, sagittal: the backbones, (S, 3, H, W) -> (S, C, h, w).
        fc: from 3 · C to the logits.
    """

    def __init__(
        self, num_labels: int = 3, backbone: str = "alexnet", pretrained: bool = False, *, chunk: int | None = None
    ) -> None:
        super().__init__()
        self.axial = _features(backbone, pretrained)
        self.coronal = _features(backbone, pretrained)
        self.sagittal = _features(backbone, pretrained)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(3 * CHANNELS[backbone], num_labels)
        self.chunk = chunk

    def forward(self, series: Sequence[Tensor]) -> Tensor:
        """Three of (S, 3, H, W), or of (1, S, 3, H, W) as a loader of batches gives them, S its own for each:
        -> (1, num_labels)
        """
        if len(series) != 3:
            raise ValueError(f"MRNet: needs three series (axial, coronal, sagittal), got {len(series)}")
        planes = (self.axial, self.coronal, self.sagittal)
        seen = [self._seen(plane, _one_exam(slices)) for plane, slices in zip(planes, series, strict=True)]
        return self.fc(cat(seen, 1))

    def _seen(self, plane: nn.Module, slices: Tensor) -> Tensor:
        """(S, 3, H, W) -> (1, C), the most that any slice shows of each channel"""

        def pooled(slices: Tensor) -> Tensor:
            return self.pool(plane(slices)).flatten(1)

        if self.chunk is None:
            by_slice = pooled(slices)
        else:
            _refuse_batch_statistics(plane)
            trains = any(p.requires_grad for p in plane.parameters())
            by_slice = in_chunks(pooled, slices, self.chunk, trains)
        return max(by_slice, dim=0, keepdim=True)[0]


def in_chunks(f: Callable[[Tensor], Tensor], slices: Tensor, chunk: int, trains: bool = True) -> Tensor:
    """f(slices), but with the graph of only `chunk` slices in memory at a time.

    Forward, f runs chunk by chunk without a graph. Backward, when the gradient of the result is known, f runs again,
    with its graph, on those slices for which it is not zero, again chunk by chunk; under a maximum over the slices
    those are the ones that won a channel. Nothing is approximated: the others' gradients are zero.

    Args:
        f: what is done to each slice on its own, the same each time: (n, …) -> (n, C).
        slices: (S, …); no gradient flows to them.
        chunk: at least 1.
        trains: whether f has parameters that learn.

    Returns:
        (S, C). `backward()` takes the gradients on to f's parameters; `grad()` doesn't see them.
    """
    if chunk < 1:
        raise ValueError(f"MRNet: chunk={chunk} must be at least 1, or None for all slices at once")
    if slices.requires_grad and is_grad_enabled():
        raise ValueError("MRNet: with chunk=… no gradient flows to the slices; set model.chunk = None to have it")
    with no_grad():
        result = cat([f(slices[i : i + chunk]) for i in range(0, len(slices), chunk)], 0)
    if not (trains and is_grad_enabled()):
        return result

    def go_on(g: Tensor) -> None:
        asked = (g.array != 0).any(1)
        asked[0] |= not asked.any()  # a gradient of zeros is a gradient, too
        (winners,) = asked.nonzero()
        with enable_grad():
            for i in range(0, len(winners), chunk):
                some = winners[i : i + chunk]
                backward(f(slices[some]), g[some])

    result.requires_grad_().register_hook(go_on)
    return result


def _features(backbone: str, pretrained: bool) -> nn.Sequential:
    """What comes before the pooling and the classes: (S, 3, H, W) -> (S, C, h, w)"""
    if backbone == "alexnet":
        return alexnet(pretrained=True).features if pretrained else alexnet_features()
    if backbone == "squeezenet":
        return squeezenet1_1(pretrained).features
    if backbone == "vgg16":
        return vgg16(pretrained=True).features if pretrained else vgg16_features()
    if backbone in ("resnet18", "resnet50"):
        parts = dict({"resnet18": resnet18, "resnet50": resnet50}[backbone](pretrained).named_children())
        return nn.Sequential({name: part for name, part in parts.items() if name not in ("avgpool", "fc")})
    raise ValueError(f"MRNet: there is no backbone {backbone!r}; give one of {', '.join(CHANNELS)}")


def _one_exam(slices: Tensor) -> Tensor:
    """(S, 3, H, W), from that or from a batch of one"""
    if slices.ndim == 5 and len(slices) == 1:
        slices = slices[0]
    if slices.ndim != 4 or not len(slices):
        raise ValueError(
            f"MRNet: a series must be (slices, 3, H, W) with at least one slice, or a batch of one, got {slices.shape}"
        )
    return slices


def _refuse_batch_statistics(plane: nn.Module) -> None:
    """Batch normalization in training makes a slice's numbers depend on the slices beside it."""
    if any(isinstance(module, nn.BatchNorm2d) and module.training for module in plane.modules()):
        raise ValueError(
            "MRNet: chunk=… would change the numbers of a backbone that normalizes over the slices (BatchNorm2d in "
            "training); put the backbones into eval mode, as model.axial.eval(), or set model.chunk = None"
        )
