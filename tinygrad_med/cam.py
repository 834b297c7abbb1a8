"""Where did the network look? Class activation maps, and maps from the gradient at the input.

Every method has the signature `method(model, x, class_index, block=-1)` and gives a `Map`. There is no machinery
behind them: a convolutional block gives activations A (channels, h, w), the score y of a class is a function of them,
and the gradient G = ∂y/∂A is one call of `grad`. The methods differ in what they make of A and G:

    map = Σ over channels of weight · A, with the weights
        CAM           those of the linear layer behind a global average pooling (Zhou et al. 2016, arXiv:1512.04150)
        Grad-CAM      mean of G over the places (Selvaraju et al. 2017, arXiv:1610.02391)
        Grad-CAM++    sum of G⁺, less of it where G or A is large (Chattopadhay et al. 2018, arXiv:1710.11063)
        XGrad-CAM     mean of G, the places weighted by A (Fu et al. 2020, arXiv:2008.02312)
        LayerCAM      G⁺ itself, a weight per place (Jiang et al. 2021, IEEE Trans. Image Processing 30, 5875)
        Score-CAM     the score when only what the channel marks is visible (Wang et al. 2020, arXiv:1910.01279)
        Ablation-CAM  what the score loses without the channel (Desai and Ramaswamy 2020, WACV, 972)

The others ask for the gradient at the input: guided backpropagation (Springenberg et al. 2015, arXiv:1412.6806),
SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825), integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365).

The model is used in inference mode and left as it was; no `.grad` is touched.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from tinygrad_med import backend
from tinygrad_med.core.backward import grad, records
from tinygrad_med.core.modes import enable_grad, no_grad
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import arange, eye
from tinygrad_med.nn import AdaptiveAvgPool2d, Flatten, Linear, Module, Sequential
from tinygrad_med.ops import cat, interpolate, relu, softmax
from tinygrad_med.random import Generator

ROUNDING = 1e-5  # relative: numbers that differ by less are equal, up to the rounding of float32

# The result ---------------------------------------------------------------------------------------------------------


class EmptyMapError(ValueError):
    """A map that shows nothing: all negative, constant, or not a number."""


class Grid(NamedTuple):
    """Where the places of a map lie: the place (i, j) is centred at pixel (first + i · step, first + j · step).

    Rows and columns have one `first` and one `step`, as layers with square windows give them.
    """

    first: float
    step: float


@dataclass(frozen=True, eq=False)
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
        low, high = self.raw.min(), self.raw.max()
        if low == high == 0:
            return f"it is 0 everywhere: nothing was active, or the score of class {self.class_index} ignores it"
        if high <= 0:
            return f"no place speaks for class {self.class_index}, all values are ≤ 0; ask about the predicted class"
        if high - low <= ROUNDING * high:
            return "it has the same value everywhere, so it points nowhere; an earlier block has more places"
        return None

    @property
    def _complaint(self) -> str:
        return f"{self.method} shows nothing: {self.problem}"

    @property
    def normalised(self) -> numpy.ndarray:
        """What speaks for the class, between 0 and 1: max(raw, 0) over its largest value.

        Raises:
            EmptyMapError: for a map that shows nothing; `problem` says why.
        """
        if self.problem:
            raise EmptyMapError(self._complaint)
        return numpy.maximum(self.raw, 0) / self.raw.max()

    def overlay(
        self,
        image: Any,
        ax: Any = None,
        cmap: str = "magma",
        alpha: float = 0.6,
        grid: Grid | None = None,
    ) -> Any:
        """Draw the image and the map over it, bilinear; a map that shows nothing is reported in its place.

        Args:
            image: (H, W), (H, W, 3), (3, H, W) or (1, H, W), a batch of one of them or none; an array or a tensor.
            ax: Matplotlib axes; by default a new figure's.
            grid: where on the image the map's places lie; by default they cover it.

        Returns:
            The axes.
        """
        import matplotlib.pyplot as plt

        picture = _for_display(image)
        height, width = picture.shape[:2]
        extent = (0, width, height, 0)
        if grid is None:
            covered: tuple[float, ...] = extent
        else:
            (first, step), (rows, columns) = grid, self.raw.shape
            edge = first + 0.5 - step / 2  # the first pixel is centred at 0.5
            covered = (edge, edge + columns * step, edge + rows * step, edge)
        ax = ax or plt.subplots()[1]
        ax.imshow(picture, cmap="gray", extent=extent)
        ax.set_axis_off()
        if self.problem:
            warnings.warn(self._complaint, stacklevel=2)
            text, box = textwrap.fill(self._complaint, 40), {"facecolor": "white", "alpha": 0.8}
            ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize="small", bbox=box)
        else:
            ax.imshow(self.normalised, vmin=0, vmax=1, alpha=alpha, extent=covered, interpolation="bilinear", cmap=cmap)
            ax.set(xlim=(0, width), ylim=(height, 0))
        return ax


def _for_display(image: Any) -> numpy.ndarray:
    """An image as Matplotlib takes it: (H, W) or (H, W, 3), floats stretched to [0, 1]."""
    picture = backend.to_numpy(image.detach().array if isinstance(image, Tensor) else image)
    if picture.ndim == 4 and picture.shape[0] == 1:
        picture = picture[0]
    if picture.ndim == 3 and picture.shape[0] in (1, 3):
        picture = picture.transpose(1, 2, 0)
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    if picture.ndim != 2 and not (picture.ndim == 3 and picture.shape[2] == 3):
        raise ValueError(f"overlay: expects one image, (H, W), (H, W, 3) or (3, H, W), got shape {picture.shape}")
    if picture.dtype.kind == "f" and picture.size:
        low, high = picture.min(), picture.max()
        picture = (picture - low) / (high - low or 1)
    return picture


# Into the model and out again ---------------------------------------------------------------------------------------


def blocks(model: Module) -> list[Module]:
    """The convolutional blocks that `block=-1, -2, …` counts, the last one nearest to the head.

    They are the parts of `model.features` (AlexNet, SqueezeNet), of `model[0]` (a body with a head behind it), or of
    the model itself up to where its head begins: with a pooling to one size, a flattening or a linear layer (ResNet).
    """
    features = getattr(model, "features", None)
    if isinstance(features, Sequential):
        return list(features)
    if isinstance(model, Sequential) and isinstance(model[0], Sequential):
        return list(model[0])
    children = list(model.children())
    head = [i for i, child in enumerate(children) if isinstance(child, (AdaptiveAvgPool2d, Flatten, Linear))]
    if not head:
        raise ValueError(
            f"cam: can't tell the convolutional blocks of {type(model).__name__} from its head; "
            "give the module itself: block=model.layer4"
        )
    return children[: head[0]]


def _block(model: Module, block: int | Module) -> Module:
    if isinstance(block, Module):
        return block
    found = blocks(model)
    if not -len(found) <= block < len(found):
        raise IndexError(
            f"cam: block {block} is out of range; {type(model).__name__} has {len(found)} blocks, "
            f"-{len(found)} (at the image) to -1 (at the head)"
        )
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
    batch = x.detach() if x.ndim == 4 else x.detach().unsqueeze(0)
    if batch.ndim != 4 or batch.shape[0] != 1:
        raise ValueError(f"cam: expects one image, (C, H, W) or (1, C, H, W), got shape {x.shape}; ask one by one")
    return batch


def _scores(model: Module, x: Tensor, class_index: int) -> Tensor:
    """The scores of a class for a batch of images, (N,)."""
    output = model(x)
    if output.ndim != 2:
        raise ValueError(f"cam: expects a model that gives (N, classes), got shape {output.shape}")
    if not -output.shape[1] <= class_index < output.shape[1]:
        raise IndexError(f"cam: class {class_index} is out of range, the model has {output.shape[1]} classes")
    return output[:, class_index]


def _pieces(n: int, size: int) -> list[slice]:
    """0 … n − 1, `size` at a time."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


@dataclass(frozen=True, eq=False)
class _Look:
    """One pass through a model, cut at a block: the activation there, and the score as a function of it."""

    activation: Tensor  # (1, C, h, w), a leaf
    score: Tensor


def _look(model: Module, x: Tensor, class_index: int, block: int | Module) -> _Look:
    found: list[Tensor] = []
    name = f"block {block}" if isinstance(block, int) else type(block).__name__
    with _inference(model), no_grad(), ExitStack() as behind_the_cut:

        def cut(_: Module, __: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise ValueError(f"cam: {name} gives no images; choose a convolutional block before the head")
            if found:
                raise ValueError(f"cam: {name} runs several times in one pass; choose a block that runs once")
            behind_the_cut.enter_context(enable_grad())
            found.append(output.detach().requires_grad_())
            return found[0]

        with _block(model, block).register_forward_hook(cut):
            score = _scores(model, _batch_of_one(x), class_index)[0]
    if not found:
        raise ValueError(f"cam: {name} does not run when {type(model).__name__} does; choose a part of the model")
    return _Look(found[0], score)


def _gradient(look: _Look) -> tuple[Tensor, Tensor]:
    """A and G, (C, h, w) each."""
    (g,) = grad(look.score, look.activation, allow_unused=True)
    activation = look.activation.detach()[0]
    return activation, activation * 0 if g is None else g[0]


def _map(values: Tensor, class_index: int, score: Tensor, method: str, attribution: Tensor | None = None) -> Map:
    return Map(
        raw=backend.to_numpy(values.array),
        class_index=class_index,
        score=score.item(),
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
    """Grad-CAM++: weights Σ α G⁺ over the places, with α = G² / (2 G² + G³ Σ A) = 1 / (2 + G Σ A).

    The paper differentiates exp(y); that factor is the same everywhere and is left out. The formula is meant for blocks
    that end in a ReLU: where A may be negative, so may the denominator.
    """
    look = _look(model, x, class_index, block)
    a, g = _gradient(look)
    weights = (g.relu() / (2 + g * a.sum((1, 2), keepdim=True))).sum((1, 2), keepdim=True)
    return _map((weights * a).sum(0), class_index, look.score, "Grad-CAM++")


def xgrad_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:
    """XGrad-CAM: weights Σ (A / Σ A) G over the places; 0 for a channel whose activations add up to 0."""
    look = _look(model, x, class_index, block)
    a, g = _gradient(look)
    total = a.sum((1, 2), keepdim=True)
    weights = (a * g).sum((1, 2), keepdim=True) / (total + (total == 0).to(a.dtype))
    return _map((weights * a).sum(0), class_index, look.score, "XGrad-CAM")


def layer_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:
    """LayerCAM: Σₖ Gₖ⁺ Aₖ, every place with a weight of its own."""
    look = _look(model, x, class_index, block)
    a, g = _gradient(look)
    return _map((g.relu() * a).sum(0), class_index, look.score, "LayerCAM")


def cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:
    """CAM: Σₖ wₖ Aₖ with the weights w of the class in the last linear layer.

    It explains the score only where the score *is* Σₖ wₖ · mean(Aₖ) + bias, that is, where the gradient at every place
    of channel k is wₖ over the number of places; so CAM is then Grad-CAM times that number. This is checked.

    Raises:
        ValueError: for any other head. With fastai's head, of two linear layers, the columns of the last weight are
            hidden units rather than channels, though there may be as many; use `grad_cam`, which asks for no head.
    """
    look = _look(model, x, class_index, block)
    a, g = _gradient(look)
    linear = [module for module in model.modules() if isinstance(module, Linear)]
    if linear and linear[-1].weight.shape[1] == a.shape[0] and class_index < linear[-1].weight.shape[0]:
        weights = linear[-1].weight.detach()[class_index].reshape(-1, 1, 1)
        places = a.shape[1] * a.shape[2]
        if (g * places - weights).abs().max() <= ROUNDING * weights.abs().max():
            return _map((weights * a).sum(0), class_index, look.score, "CAM")
    raise ValueError(
        f"cam: the head of {type(model).__name__} is not a global average pooling and one linear layer right behind "
        "the block, so the last layer's weights don't weigh channels; use grad_cam, or a plain head"
    )


# From the score alone -----------------------------------------------------------------------------------------------


def score_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1, batch_size: int = 32) -> Map:
    """Score-CAM: the weights are softmax over k of y(x · Hₖ), Hₖ being Aₖ enlarged to the image and scaled to [0, 1].

    Algorithm 1 of the paper: its baseline image has the same score for every k, so the softmax does not see it. One
    forward pass per channel, `batch_size` at a time.
    """
    look = _look(model, x, class_index, block)
    x, a = _batch_of_one(x), look.activation.detach()
    masks = interpolate(a, x.shape[2:], mode="bilinear")[0].unsqueeze(1)  # (channels, 1, H, W)
    low, high = masks.amin((1, 2, 3), keepdim=True), masks.amax((1, 2, 3), keepdim=True)
    masks = (masks - low) / (high - low + (high == low).to(a.dtype))
    with _inference(model), no_grad():
        scores = cat([_scores(model, x * masks[piece], class_index) for piece in _pieces(len(masks), batch_size)])
    weights = softmax(scores, 0).reshape(-1, 1, 1)
    return _map((weights * a[0]).sum(0), class_index, look.score, "Score-CAM")


def ablation_cam(model: Module, x: Tensor, class_index: int, block: int | Module = -1, batch_size: int = 32) -> Map:
    """Ablation-CAM: the weights are (y − yₖ) / |y|, with yₖ the score when channel k is set to zero.

    The paper divides by y; the absolute value keeps the sign of the loss where the score is negative. One pass from the
    block on per channel, `batch_size` at a time.
    """
    look = _look(model, x, class_index, block)
    x, a, y = _batch_of_one(x), look.activation.detach(), look.score.detach()
    channels = a.shape[1]
    kept = (1 - eye(channels, dtype=a.dtype, device=a.device)).reshape(channels, channels, 1, 1)
    scores = []
    for piece in _pieces(channels, batch_size):
        ablated = a * kept[piece]
        with (
            _inference(model),
            no_grad(),
            _block(model, block).register_forward_hook(lambda *_, ablated=ablated: ablated),
        ):
            scores.append(_scores(model, x, class_index))
    weights = ((y - cat(scores)) / (y.abs() + (y == 0).to(y.dtype))).reshape(-1, 1, 1)
    return _map((weights * a[0]).sum(0), class_index, y, "Ablation-CAM")


# From the gradient at the input ---------------------------------------------------------------------------------------


def _gradients_at(model: Module, points: Tensor, class_index: int, guided: bool = False) -> tuple[Tensor, Tensor]:
    """The gradient of the score at each of several images, (N, C, H, W), and the scores, (N,).

    In inference mode the images of a batch don't see each other, so one walk from the sum of the scores has them all.
    """
    points = points.detach().requires_grad_()
    with _inference(model), enable_grad():
        scores = _scores(model, points, class_index)
        total = scores.sum()
    if guided:
        for record in records(total):
            if record.primitive is relu:
                record.hooks = [*(record.hooks or []), relu]
    (g,) = grad(total, points, allow_unused=True)
    return points.detach() * 0 if g is None else g, scores.detach()


def guided_backpropagation(model: Module, x: Tensor, class_index: int, block: int | Module = -1) -> Map:  # noqa: ARG001
    """Guided backpropagation: the gradient at the image, with every ReLU passing back only what is positive.

    That is a hook on each ReLU of the graph. `raw` is the largest absolute value over the image's channels. `block` has
    no meaning here.
    """
    (g,), (score,) = _gradients_at(model, _batch_of_one(x), class_index, guided=True)
    return _map(g.abs().amax(0), class_index, score, "guided backpropagation", g)


def smooth_grad(
    model: Module,
    x: Tensor,
    class_index: int,
    block: int | Module = -1,  # noqa: ARG001 - one signature for all
    samples: int = 25,
    noise: float = 0.15,
    generator: Generator | None = None,
    batch_size: int = 8,
) -> Map:
    """SmoothGrad: the mean gradient at noisy copies of the image, the noise being `noise` · (max − min) of the image.

    `raw` is the largest absolute value over the image's channels. `block` has no meaning here; without a `generator`
    the noise is that of seed 0, whatever the `batch_size`.
    """
    x = _batch_of_one(x)
    rng = (generator or Generator(0)).rng
    spread = noise * (x.max() - x.min()).item()
    total = x[0] * 0
    for piece in _pieces(samples, batch_size):
        drawn = spread * rng.standard_normal((piece.stop - piece.start, *x.shape[1:]))
        total = total + _gradients_at(model, x + Tensor(drawn, x.dtype, x.device), class_index)[0].sum(0)
    mean = total / samples
    return _map(mean.abs().amax(0), class_index, _plain_score(model, x, class_index), "SmoothGrad", mean)


def integrated_gradients(
    model: Module,
    x: Tensor,
    class_index: int,
    block: int | Module = -1,  # noqa: ARG001 - one signature for all
    steps: int = 32,
    baseline: Tensor | None = None,
    batch_size: int = 8,
) -> Map:
    """Integrated gradients: (x − x₀) · ∫ ∂y/∂x along the straight line from the baseline x₀ (black, unless given) to x.

    The integral is the mean of the gradients at the middles of `steps` pieces. `raw` is the sum over the image's
    channels; its sum over the places is y(x) − y(x₀), up to the error of that mean. `block` has no meaning here.
    """
    x = _batch_of_one(x)
    start = x * 0 if baseline is None else _batch_of_one(baseline)
    way = (arange(steps, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1) + 0.5) / steps
    total = x[0] * 0
    for piece in _pieces(steps, batch_size):
        total = total + _gradients_at(model, start + (x - start) * way[piece], class_index)[0].sum(0)
    attribution = (x - start)[0] * (total / steps)
    score = _plain_score(model, x, class_index)
    return _map(attribution.sum(0), class_index, score, "integrated gradients", attribution)


def _plain_score(model: Module, x: Tensor, class_index: int) -> Tensor:
    with _inference(model), no_grad():
        return _scores(model, x, class_index)[0]


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
