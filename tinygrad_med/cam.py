"""Where did the network look? Class activation maps, and maps from the gradient at the input.

Every method has the signature `method(model, x, class_index, block=-1)` and gives a `Map`. There is no machinery
behind them: a convolutional block gives activations A (channels, h, w), the score y of a class is a function of them,
and the gradient G = ∂y/∂A is one call of `grad`. The methods differ in what they make of A and G:

    map = Σ over channels of weight · A, with the weights
        CAM           those of the linear layer behind a global average pooling (Zhou et al. 2016, arXiv:1512.04150)
        Grad-CAM      mean of G over the places (Selvaraju et al. 2017, arXiv:1610.02391)
        Grad-CAM++    mean of G⁺, the places weighted by G² and G³ (Chattopadhay et al. 2018, arXiv:1710.11063)
        XGrad-CAM     mean of G, the places weighted by A (Fu et al. 2020, arXiv:2008.02312)
        LayerCAM      G⁺ itself, a weight per place (Jiang et al. 2021, IEEE Trans. Image Processing 30, 5875)
        Score-CAM     the score when only what the channel marks is visible (Wang et al. 2020, arXiv:1910.01279)
        Ablation-CAM  what the score loses without the channel (Desai and Ramaswamy 2020, WACV, 972)

The others ask for the gradient at the input: guided backpropagation (Springenberg et al. 2015, arXiv:1412.6806),
SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825), integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365).

The model is used in inference mode and left as it was; no `.grad` is touched.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.backward import grad, records
from tinygrad_med.modes import enable_grad, no_grad
from tinygrad_med.nn import AdaptiveAvgPool2d, Linear, Module, Sequential
from tinygrad_med.ops import cat, interpolate, relu, softmax
from tinygrad_med.random import Generator
from tinygrad_med.tensor import Tensor

# The result ---------------------------------------------------------------------------------------------------------


class EmptyMapError(ValueError):
    """A map that shows nothing: all negative, constant, or not a number."""


@dataclass(frozen=True)
class Map:
    """What a method found.

    Attributes:
        raw: (h, w) float array, as the method's formula has it; positive where the place speaks for the class.
        class_index: the class that was asked about.
        score: the model's output for that class.
        method: the name of the method.
        attribution: for the methods at the input, its value per channel, (C, H, W).
    """

    raw: numpy.ndarray
    class_index: int
    score: float
    method: str
    attribution: numpy.ndarray | None = None

    @property
    def problem(self) -> str | None:
        """Why the map shows nothing, and what to try; `None` for a good map."""
        if not numpy.isfinite(self.raw).all():
            return "it has NaNs or infinities; run the model under autograd.detect_anomaly() to find where they begin"
        if self.raw.max() <= 0:
            return f"no place speaks for class {self.class_index}, all values are ≤ 0; ask about the predicted class"
        if self.raw.max() == self.raw.min():
            return "it has the same value everywhere; take an earlier block, which has more places"
        return None

    @property
    def normalised(self) -> numpy.ndarray:
        """What speaks for the class, between 0 and 1: max(raw, 0) over its largest value.

        Raises:
            EmptyMapError: for a map that shows nothing; `problem` says why.
        """
        if self.problem:
            raise EmptyMapError(f"{self.method}: {self.problem}")
        return numpy.maximum(self.raw, 0) / self.raw.max()

    def overlay(self, image: Any, ax: Any = None, cmap: str = "magma", alpha: float = 0.6) -> Any:
        """Draw the image and the map over it, bilinear; a map that shows nothing is reported in its place.

        Args:
            image: (H, W), (H, W, 3), (3, H, W) or (1, H, W); an array or a tensor.
            ax: Matplotlib axes; by default a new figure's.

        Returns:
            The axes.
        """
        import matplotlib.pyplot as plt

        picture = _for_display(image)
        height, width = picture.shape[:2]
        ax = ax or plt.subplots()[1]
        ax.imshow(picture, cmap="gray" if picture.ndim == 2 else None)
        ax.set_axis_off()
        if self.problem:
            warnings.warn(f"{self.method}: {self.problem}", stacklevel=2)
            ax.set_title(f"{self.method}: nothing to show\n{self.problem}", fontsize="small", wrap=True)
        else:
            extent = (0, width, height, 0)
            ax.imshow(self.normalised, alpha=alpha, extent=extent, interpolation="bilinear", cmap=cmap)
            ax.set_xlim(0, width)
            ax.set_ylim(height, 0)
        return ax


def _for_display(image: Any) -> numpy.ndarray:
    """An image as Matplotlib takes it: (H, W) or (H, W, 3), floats stretched to [0, 1]."""
    picture = backend.to_numpy(image.detach().array if isinstance(image, Tensor) else image)
    if picture.ndim == 3 and picture.shape[0] in (1, 3):
        picture = picture.transpose(1, 2, 0)
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    if picture.ndim not in (2, 3):
        raise ValueError(f"overlay: expects one image, (H, W), (H, W, 3) or (3, H, W), got shape {picture.shape}")
    if picture.dtype.kind == "f" and picture.size:
        low, high = picture.min(), picture.max()
        picture = (picture - low) / (high - low or 1)
    return picture


# Into the model and out again ---------------------------------------------------------------------------------------


def blocks(model: Module) -> list[Module]:
    """The convolutional blocks that `block=-1, -2, …` counts, the last one nearest to the head.

    They are the parts of `model.features` (AlexNet, SqueezeNet), of `model[0]` (a body with a head behind it), or of
    the model itself up to the pooling before its head (ResNet).
    """
    features = getattr(model, "features", None)
    if isinstance(features, Sequential):
        return list(features)
    if isinstance(model, Sequential) and isinstance(model[0], Sequential):
        return list(model[0])
    children = list(model.children())
    pooling = [i for i, child in enumerate(children) if isinstance(child, AdaptiveAvgPool2d)]
    if not pooling:
        raise ValueError(
            f"cam: can't tell the convolutional blocks of {type(model).__name__} from its head; "
            "give the module itself: block=model.layer4"
        )
    return children[: pooling[0]]


def _block(model: Module, block: int | Module) -> Module:
    if isinstance(block, Module):
        return block
    found = blocks(model)
    if not -len(found) <= block < len(found):
        raise IndexError(f"cam: block {block} is out of range, {type(model).__name__} has {len(found)} blocks")
    return found[block]


@contextmanager
def _inference(model: Module) -> Iterator[None]:
    """The model in inference mode, every part of it back in its own mode afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _batch_of_one(x: Tensor) -> Tensor:
    x = x if x.ndim == 4 else x.unsqueeze(0)
    if x.ndim != 4 or x.shape[0] != 1:
        raise ValueError(f"cam: expects one image, (C, H, W) or (1, C, H, W), got shape {x.shape}; ask one by one")
    return x.detach()


def _score(output: Tensor, class_index: int) -> Tensor:
    if output.ndim != 2 or not -output.shape[1] <= class_index < output.shape[1]:
        raise IndexError(f"cam: class {class_index} is out of range for the model's output of shape {output.shape}")
    return output[0, class_index]


@dataclass(frozen=True)
class _Look:
    """One pass through a model, cut at a block: the activation there, and the score as a function of it."""

    activation: Tensor  # (1, C, h, w), a leaf
    score: Tensor


def _look(model: Module, x: Tensor, class_index: int, block: int | Module) -> _Look:
    found: list[Tensor] = []

    def cut(_: Module, __: Any, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[-1]

    with _inference(model), enable_grad(), _block(model, block).register_forward_hook(cut):
        score = _score(model(_batch_of_one(x)), class_index)
    if not found or found[0].ndim != 4:
        raise ValueError(f"cam: block {block} gives no images; choose a convolutional block before the head")
    return _Look(found[0], score)


def _gradient(look: _Look) -> tuple[Tensor, Tensor]:
    """A and G, (C, h, w) each."""
    (g,) = grad(look.score, look.activation, allow_unused=True)
    activation = look.activation.detach()[0]
    return activation, activation * 0 if g is None else g[0]


def _map(values: Tensor, class_index: int, score: Tensor | float, method: str, attribution: Any = None) -> Map:
    return Map(
        raw=backend.to_numpy(values.array),
        class_index=class_index,
        score=float(score),
        method=method,
        attribution=None if attribution is None else backend.to_numpy(attribution.array),
    )


# From the gradient at a block ---------------------------------------------------------------------------------------


def grad_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:
    """Grad-CAM: (Σₖ αₖ Aₖ)⁺ with αₖ the mean of Gₖ over the places.

    Args:
        model: gives logits (1, classes) for an image (1, C, H, W).
        x: one image, (C, H, W) or (1, C, H, W).
        class_index: whose score to explain.
        block: which block's activations, counted as `blocks` has them, or a module.

    Returns:
        A `Map` of the block's size; `raw` is what stands in the parentheses, before (…)⁺.
    """
    look = _look(model, x, class_index, block)
    a, g = _gradient(look)
    weights = g.mean((1, 2), keepdim=True)
    return _map((weights * a).sum(0), class_index, look.score, "Grad-CAM")


def grad_cam_plus_plus(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:
    """Grad-CAM++: weights Σ α G⁺ over the places, with α = G² / (2 G² + G³ Σ A) (equation 19 of the paper).

    The paper differentiates exp(y); that factor is the same everywhere and is left out.
    """
    look = _look(model, x, class_index, block)
    a, g = _gradient(look)
    denominator = 2 * g**2 + g**3 * a.sum((1, 2), keepdim=True)
    alpha = g**2 / (denominator + (denominator == 0).to(g.dtype))
    weights = (alpha * g.relu()).sum((1, 2), keepdim=True)
    return _map((weights * a).sum(0), class_index, look.score, "Grad-CAM++")


def xgrad_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:
    """XGrad-CAM: weights Σ (A / Σ A) G over the places (equation 8 of the paper)."""
    look = _look(model, x, class_index, block)
    a, g = _gradient(look)
    total = a.sum((1, 2), keepdim=True)
    weights = (a * g).sum((1, 2), keepdim=True) / (total + (total == 0).to(a.dtype))
    return _map((weights * a).sum(0), class_index, look.score, "XGrad-CAM")


def layer_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:
    """LayerCAM: Σₖ Gₖ⁺ Aₖ, every place with a weight of its own (equations 6 and 7 of the paper)."""
    look = _look(model, x, class_index, block)
    a, g = _gradient(look)
    return _map((g.relu() * a).sum(0), class_index, look.score, "LayerCAM")


def cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:
    """CAM: Σₖ wₖ Aₖ with the weights w of the class in the last linear layer.

    That is an explanation only where the score *is* Σₖ wₖ · mean(Aₖ) + bias: the head must be a global average pooling
    and one linear layer, and the block the one before it. This is checked by the score itself.

    Raises:
        ValueError: for any other head. With fastai's head, of two linear layers, the columns of the last weight are
            hidden units rather than channels; use `grad_cam`, which equals CAM where CAM exists, up to a factor.
    """
    linear = [module for module in model.modules() if isinstance(module, Linear)]
    look = _look(model, x, class_index, block)
    a = look.activation.detach()[0]
    if len(linear) == 1 and linear[0].weight.shape[1] == a.shape[0]:
        weights = linear[0].weight.detach()[class_index].reshape(-1, 1, 1)
        values = (weights * a).sum(0)
        bias = 0.0 if linear[0].bias is None else linear[0].bias.detach()[class_index].item()
        expected = values.mean().item() + bias
        if abs(expected - look.score.item()) <= 1e-3 * (1 + abs(expected)):
            return _map(values, class_index, look.score, "CAM")
    raise ValueError(
        f"cam: the head of {type(model).__name__} is not a global average pooling and one linear layer right behind "
        "the block, so its last weights don't weigh channels; use grad_cam, or a plain head"
    )


# From the score alone -----------------------------------------------------------------------------------------------


def score_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1, batch_size: int = 32) -> Map:
    """Score-CAM: the weights are softmax over k of y(x · Hₖ), Hₖ being Aₖ enlarged to the image and scaled to [0, 1].

    Algorithm 1 of the paper, with a black image as its baseline (whose score is the same for every k, so that the
    softmax does not see it). One forward pass per channel, `batch_size` at a time.
    """
    look = _look(model, x, class_index, block)
    x = _batch_of_one(x)
    a = look.activation.detach()
    masks = interpolate(a, x.shape[2:], mode="bilinear")[0]  # (channels, H, W)
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    masks = (masks - low) / (high - low + (high == low).to(a.dtype))
    scores = []
    with _inference(model), no_grad():
        for start in range(0, len(masks), batch_size):
            batch = x * masks[start : start + batch_size].unsqueeze(1)
            scores.append(model(batch)[:, class_index])
    weights = softmax(cat(scores), 0).reshape(-1, 1, 1)
    return _map((weights * a[0]).sum(0), class_index, look.score, "Score-CAM")


def ablation_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1, batch_size: int = 32) -> Map:
    """Ablation-CAM: the weights are (y − yₖ) / |y|, with yₖ the score when channel k is set to zero.

    The paper divides by y; the absolute value keeps the sign of the loss where the score is negative.
    """
    look = _look(model, x, class_index, block)
    x, a = _batch_of_one(x), look.activation.detach()
    channels = a.shape[1]
    scores = []

    for start in range(0, channels, batch_size):
        chosen = range(start, min(start + batch_size, channels))
        ablated = a.expand(len(chosen), *a.shape[1:]).clone()
        ablated[range(len(chosen)), chosen] = 0.0

        def exchange(_: Module, __: Any, ___: Tensor, ablated: Tensor = ablated) -> Tensor:
            return ablated

        with _inference(model), no_grad(), _block(model, block).register_forward_hook(exchange):
            scores.append(model(x)[:, class_index])
    y = look.score.detach()
    weights = ((y - cat(scores)) / max(abs(y.item()), 1e-12)).reshape(-1, 1, 1)
    return _map((weights * a[0]).sum(0), class_index, y, "Ablation-CAM")


# From the gradient at the input ---------------------------------------------------------------------------------------


def _input_gradient(model: Module, x: Tensor, class_index: int, guided: bool = False) -> tuple[Tensor, Tensor]:
    """The gradient of the score at the image, (C, H, W), and the score."""
    x = x.detach().requires_grad_()
    with _inference(model), enable_grad():
        score = _score(model(x), class_index)
    if guided:
        for record in records(score):
            if record.primitive is relu:
                record.hooks = [*(record.hooks or []), relu]
    (g,) = grad(score, x)
    assert g is not None  # grad has raised an error where the score does not depend on x
    return g[0], score


def guided_backpropagation(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:  # noqa: ARG001
    """Guided backpropagation: the gradient at the image, with every ReLU passing back only what is positive.

    That is a hook on each ReLU of the graph. `raw` is the largest absolute value over the image's channels. `block` has
    no meaning here.
    """
    g, score = _input_gradient(model, _batch_of_one(x), class_index, guided=True)
    return _map(g.abs().amax(0), class_index, score, "guided backpropagation", g)


def smooth_grad(
    model: Module,
    x: Tensor,
    class_index: int,
    block: int | Module = -1,  # noqa: ARG001 - one signature for all
    samples: int = 25,
    noise: float = 0.15,
    generator: Generator | None = None,
) -> Map:
    """SmoothGrad: the mean gradient at noisy copies of the image, the noise being `noise` · (max − min) of the image.

    `raw` is the largest absolute value over the image's channels. `block` has no meaning here; without a `generator`
    the noise is that of seed 0.
    """
    x = _batch_of_one(x)
    rng = (generator or Generator(0)).rng
    spread = noise * (x.max() - x.min()).item()
    total = x[0] * 0
    for _ in range(samples):
        blurred = x + Tensor(rng.standard_normal(x.shape) * spread, x.dtype, x.device)
        total = total + _input_gradient(model, blurred, class_index)[0]
    mean = total / samples
    return _map(mean.abs().amax(0), class_index, _plain_score(model, x, class_index), "SmoothGrad", mean)


def integrated_gradients(
    model: Module,
    x: Tensor,
    class_index: int,
    block: int | Module = -1,  # noqa: ARG001 - one signature for all
    steps: int = 32,
    baseline: Tensor | None = None,
) -> Map:
    """Integrated gradients: (x − x₀) · ∫ ∂y/∂x along the straight line from the baseline x₀ (black, unless given) to x.

    The integral is the mean of the gradients at the middles of `steps` pieces. `raw` is the sum over the image's
    channels; its sum over the places is y(x) − y(x₀), up to the error of that mean. `block` has no meaning here.
    """
    x = _batch_of_one(x)
    start = x * 0 if baseline is None else _batch_of_one(baseline)
    total = x[0] * 0
    for i in range(steps):
        point = start + (x - start) * ((i + 0.5) / steps)
        total = total + _input_gradient(model, point, class_index)[0]
    attribution = (x - start)[0] * (total / steps)
    score = _plain_score(model, x, class_index)
    return _map(attribution.sum(0), class_index, score, "integrated gradients", attribution)


def _plain_score(model: Module, x: Tensor, class_index: int) -> Tensor:
    with _inference(model), no_grad():
        return _score(model(x), class_index)


METHODS: dict[str, Callable[..., Map]] = {
    "CAM": cam,
    "Grad-CAM": grad_cam,
    "Grad-CAM++": grad_cam_plus_plus,
    "XGrad-CAM": xgrad_cam,
    "LayerCAM": layer_cam,
    "Score-CAM": score_cam,
    "Ablation-CAM": ablation_cam,
    "guided backpropagation": guided_backpropagation,
    "SmoothGrad": smooth_grad,
    "integrated gradients": integrated_gradients,
}
"""Every method by its name."""
