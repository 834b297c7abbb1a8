"""Where did the network look? Class activation maps, and maps from the gradient at the input.

Every method of `METHODS` is called as `method(model, x, class_index=None, block=-1)` and gives a `Map`. There is no
machinery behind them: a convolutional block gives activations A (channels, h, w), the score y of a class is a function
of them, and the gradient G = ∂y/∂A is one call of `grad`. The methods differ in what they make of A and G:

    map = Σ over channels of weight · A, with the weights
        CAM           those of the linear layer behind a global average pooling (Zhou et al. 2016, arXiv:1512.04150)
        Grad-CAM      mean of G over the places (Selvaraju et al. 2017, arXiv:1610.02391)
        Grad-CAM++    sum of G⁺, less of it where G or A is large (Chattopadhay et al. 2018, arXiv:1710.11063)
        XGrad-CAM     mean of G, the places weighted by A (Fu et al. 2020, arXiv:2008.02312)
        LayerCAM      G⁺ itself, a weight per place (Jiang et al. 2021, IEEE Trans. Image Processing 30, 5875)
        Score-CAM     the score when only what the channel marks is visible (Wang et al. 2020, arXiv:1910.01279)
        Ablation-CAM  what the score loses without the channel (Desai and Ramaswamy 2020, WACV, 972)

Those of `INPUT_METHODS` ask for the gradient at the input, and know no block: guided backpropagation (Springenberg et
al. 2015, arXiv:1412.6806), SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825), integrated gradients (Sundararajan et
al. 2017, arXiv:1703.01365).

The model is used in inference mode and left as it was; no `.grad` is touched.
"""

from __future__ import annotations

import inspect
import operator
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy

from tinygrad_med import backend
from tinygrad_med.core.backward import grad, records
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import arange, eye
from tinygrad_med.engine.switches import enable_grad, no_grad
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


Block = int | str | Module
"""A part of a model: counted as `blocks` has them, by its name (`"layer4.1"`), or the module itself."""


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


def _block(model: Module, block: Block) -> tuple[str, Module]:
    """What errors call the block, and the block."""
    if isinstance(block, Module):
        return type(block).__name__, block
    if isinstance(block, str):
        try:
            return f"block {block!r}", model.get_submodule(block)
        except AttributeError as error:
            raise ValueError(f"cam: there is no block {block!r}: {error}") from None
    if not isinstance(block, int):
        raise TypeError(f"cam: a block is a number, a name or a module, not {type(block).__name__}")
    found = blocks(model)
    if not -len(found) <= block < len(found):
        raise IndexError(
            f"cam: block {block} is out of range; {type(model).__name__} has {len(found)} blocks, "
            f"-{len(found)} (at the image) to -1 (at the head)"
        )
    return f"block {block}", found[block]


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


@contextmanager
def cut(model: Module, layers: Mapping[str, Module]) -> Iterator[dict[str, Tensor]]:
    """While it is open, the graph of a pass through the model begins at the outputs of these layers.

    What comes before is computed without a graph. What comes behind gets a copy of the output, so that the model may
    go on with `y += x`, as torchvision's residual blocks do.

    Args:
        layers: by the name that errors give them; each gives images, (N, C, h, w), and runs once.

    Yields:
        The outputs by name, each a leaf that requires a gradient, as they come into being.
    """
    activations: dict[str, Tensor] = {}
    with ExitStack() as opened:

        def cut_at(name: str) -> Callable[[Module, Any, Any], Tensor]:
            def hook(_: Module, __: Any, output: Any) -> Tensor:
                if not isinstance(output, Tensor) or output.ndim != 4:
                    raise ValueError(f"cam: {name} gives no images; choose a convolutional block before the head")
                if name in activations:
                    raise ValueError(f"cam: {name} runs several times in one pass; choose a block that runs once")
                if not activations:
                    opened.enter_context(enable_grad())
                activations[name] = output.detach().clone().requires_grad_()
                return activations[name].clone()

            return hook

        opened.enter_context(no_grad())
        for name, layer in layers.items():
            opened.enter_context(layer.register_forward_hook(cut_at(name)))
        yield activations
    if missing := [name for name in layers if name not in activations]:
        raise ValueError(f"cam: {missing[0]} does not run when {type(model).__name__} does; choose a part of the model")


def _batch_of_one(model: Module, x: Any) -> Tensor:
    """The image as a batch, outside any graph; an array in the dtype and on the device of the model."""
    if not isinstance(x, Tensor):
        if not backend.is_array(x):
            raise TypeError(f"cam: an image is a tensor or an array, (C, H, W) or (1, C, H, W), not {type(x).__name__}")
        parameter = next(model.parameters(), None)
        x = Tensor(x) if parameter is None or x.dtype.kind != "f" else Tensor(x, parameter.dtype, parameter.device)
    batch: Tensor = x.detach() if x.ndim == 4 else x.detach().unsqueeze(0)
    if batch.ndim != 4 or batch.shape[0] != 1:
        raise ValueError(f"cam: expects one image, (C, H, W) or (1, C, H, W), got shape {x.shape}; ask one by one")
    if not batch.is_floating_point():
        raise TypeError(f"cam: an image is of floats, prepared as for training, not {batch.dtype}")
    return batch


def _scores(model: Module, x: Tensor, class_index: int) -> Tensor:
    """The scores of a class for a batch of images, (N,)."""
    return _logits(model, x)[:, class_index]


def _logits(model: Module, x: Tensor) -> Tensor:
    """The scores of all classes for a batch of images, (N, classes)."""
    output = model(x.clone())  # a model may write to what it gets
    if not isinstance(output, Tensor):
        what = f"{len(output)} outputs" if isinstance(output, (tuple, list, dict)) else type(output).__name__
        raise TypeError(
            f"cam: expects a model that gives one tensor, (N, classes), {type(model).__name__} gives {what}; "
            "put it into a module whose forward returns the one to explain"
        )
    if output.ndim != 2:
        raise ValueError(f"cam: expects a model that gives (N, classes), got shape {output.shape}")
    return output


def _chosen(class_index: Any, logits: Tensor) -> int:
    """The class that was asked about: a number, or a tensor of one; `None` is the one with the highest score."""
    if class_index is None:
        return int(logits[0].detach().argmax().item())
    try:
        index = operator.index(class_index.item() if hasattr(class_index, "item") else class_index)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"cam: class_index is the number of a class, or None for the predicted one, not {class_index!r}"
        ) from None
    if not -logits.shape[1] <= index < logits.shape[1]:
        raise IndexError(f"cam: class {index} is out of range, the model has {logits.shape[1]} classes")
    return index


def _pieces(n: int, size: int) -> list[slice]:
    """0 … n − 1, `size` at a time."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


@dataclass(frozen=True, eq=False)
class _Look:
    """One pass through a model, cut at a block: the image, the activation there, and the score as a function of it."""

    x: Tensor  # (1, 3, H, W)
    activation: Tensor  # (1, C, h, w), a leaf
    score: Tensor
    class_index: int

    @property
    def a(self) -> Tensor:
        """A, (C, h, w)."""
        return self.activation.detach()[0]

    @property
    def g(self) -> Tensor:
        """G, (C, h, w)."""
        (g,) = grad(self.score, self.activation, retain_graph=True, allow_unused=True)
        return self.a * 0 if g is None else g[0]

    def map(self, weights: Tensor, method: str) -> Map:
        """Σ over the channels of weights · A; one weight per channel, or one per channel and place."""
        return _map((weights * self.a).sum(0), self.class_index, self.score, method)


def _look(model: Module, x: Any, class_index: Any, block: Block) -> _Look:
    x = _batch_of_one(model, x)
    name, layer = _block(model, block)
    with _inference(model), cut(model, {name: layer}) as activations:
        logits = _logits(model, x)
        index = _chosen(class_index, logits)
        score = logits[0, index]
    return _Look(x, activations[name], score, index)


def _map(values: Tensor, class_index: int, score: Tensor, method: str, attribution: Tensor | None = None) -> Map:
    return Map(
        raw=backend.to_numpy(values.array),
        class_index=class_index,
        score=score.item(),
        method=method,
        attribution=None if attribution is None else backend.to_numpy(attribution.array),
    )


# From the gradient at a block ---------------------------------------------------------------------------------------


class BlockMethod(Protocol):
    """What looks at a block: `method(model, x, class_index, block)`.

    Args:
        model: gives logits (1, classes) for an image (1, C, H, W).
        x: one image, (C, H, W) or (1, C, H, W), a tensor or an array.
        class_index: whose score to explain; `None` for the class with the highest one.
        block: which block's activations, counted as `blocks` has them, by name, or a module.

    Returns:
        A `Map` of the block's size; `raw` is what stands in the parentheses, before (…)⁺.
    """

    def __call__(self, model: Module, x: Any, class_index: Any = None, block: Block = -1) -> Map:
        """The map."""


def _by_weights(name: str) -> Callable[[Callable[[Tensor, Tensor], Tensor]], BlockMethod]:
    """Makes a method of a function that gives the weights for A and G, (C, h, w) each."""

    def decorate(weights: Callable[[Tensor, Tensor], Tensor]) -> BlockMethod:
        def method(model: Module, x: Any, class_index: Any = None, block: Block = -1) -> Map:
            look = _look(model, x, class_index, block)
            return look.map(weights(look.a, look.g), name)

        method.__name__ = method.__qualname__ = weights.__name__
        method.__doc__ = f"{weights.__doc__}\n\n{textwrap.indent(inspect.getdoc(BlockMethod) or '', '    ')}"
        return method

    return decorate


@_by_weights("Grad-CAM")
def grad_cam(a: Tensor, g: Tensor) -> Tensor:  # noqa: ARG001 - all take A and G
    """Grad-CAM: (Σₖ αₖ Aₖ)⁺ with αₖ the mean of Gₖ over the places."""
    return g.mean((1, 2), keepdim=True)


@_by_weights("Grad-CAM++")
def grad_cam_plus_plus(a: Tensor, g: Tensor) -> Tensor:
    """Grad-CAM++: weights Σ α G⁺ over the places, with α = G² / (2 G² + G³ Σ A) = 1 / (2 + G Σ A).

    The paper differentiates exp(y); that factor is the same everywhere and is left out. The formula is meant for blocks
    that end in a ReLU: where A may be negative, so may the denominator.
    """
    return (g.relu() / (2 + g * a.sum((1, 2), keepdim=True))).sum((1, 2), keepdim=True)


@_by_weights("XGrad-CAM")
def xgrad_cam(a: Tensor, g: Tensor) -> Tensor:
    """XGrad-CAM: weights Σ (A / Σ A) G over the places; 0 for a channel whose activations add up to 0."""
    total = a.sum((1, 2), keepdim=True)
    return (a * g).sum((1, 2), keepdim=True) / (total + (total == 0).to(a.dtype))


@_by_weights("LayerCAM")
def layer_cam(a: Tensor, g: Tensor) -> Tensor:  # noqa: ARG001 - all take A and G
    """LayerCAM: Σₖ Gₖ⁺ Aₖ, every place with a weight of its own."""
    return g.relu()


def cam(model: Module, x: Any, class_index: Any = None, block: Block = -1) -> Map:
    """CAM: Σₖ wₖ Aₖ with the weights w of the class in the last linear layer.

    It explains the score only where the score *is* Σₖ wₖ · mean(Aₖ) + bias, that is, where the gradient at every place
    of channel k is wₖ over the number of places; so CAM is then Grad-CAM times that number. This is checked.

    Raises:
        ValueError: for any other head. With fastai's head, of two linear layers, the columns of the last weight are
            hidden units rather than channels, though there may be as many; use `grad_cam`, which asks for no head.
    """
    look = _look(model, x, class_index, block)
    a, g, c = look.a, look.g, look.class_index
    linear = [module for module in model.modules() if isinstance(module, Linear)]
    if linear and linear[-1].weight.shape[1] == a.shape[0] and c < linear[-1].weight.shape[0]:
        weights = linear[-1].weight.detach()[c].reshape(-1, 1, 1)
        places = a.shape[1] * a.shape[2]
        if (g * places - weights).abs().max() <= ROUNDING * weights.abs().max():
            return look.map(weights, "CAM")
    raise ValueError(
        f"cam: the head of {type(model).__name__} is not a global average pooling and one linear layer right behind "
        "the block, so the last layer's weights don't weigh channels; use grad_cam, or a plain head"
    )


# From the score alone -----------------------------------------------------------------------------------------------


def score_cam(model: Module, x: Any, class_index: Any = None, block: Block = -1, batch_size: int = 32) -> Map:
    """Score-CAM: the weights are softmax over k of y(x · Hₖ), Hₖ being Aₖ enlarged to the image and scaled to [0, 1].

    Algorithm 1 of the paper: its baseline image has the same score for every k, so the softmax does not see it. One
    forward pass per channel, `batch_size` at a time.
    """
    look = _look(model, x, class_index, block)
    a, image = look.activation.detach(), look.x
    masks = interpolate(a, image.shape[2:], mode="bilinear")[0].unsqueeze(1)  # (channels, 1, H, W)
    low, high = masks.amin((1, 2, 3), keepdim=True), masks.amax((1, 2, 3), keepdim=True)
    masks = (masks - low) / (high - low + (high == low).to(a.dtype))
    with _inference(model), no_grad():
        pieces = _pieces(len(masks), batch_size)
        scores = cat([_scores(model, image * masks[piece], look.class_index) for piece in pieces])
    return look.map(softmax(scores, 0).reshape(-1, 1, 1), "Score-CAM")


def ablation_cam(model: Module, x: Any, class_index: Any = None, block: Block = -1, batch_size: int = 32) -> Map:
    """Ablation-CAM: the weights are (y − yₖ) / |y|, with yₖ the score when channel k is set to zero.

    The paper divides by y; the absolute value keeps the sign of the loss where the score is negative. One pass from the
    block on per channel, `batch_size` at a time.
    """
    look = _look(model, x, class_index, block)
    a, y = look.activation.detach(), look.score.detach()
    channels = a.shape[1]
    kept = (1 - eye(channels, dtype=a.dtype, device=a.device)).reshape(channels, channels, 1, 1)
    _, layer = _block(model, block)
    scores = []
    for piece in _pieces(channels, batch_size):
        ablated = a * kept[piece]
        with _inference(model), no_grad(), layer.register_forward_hook(lambda *_, ablated=ablated: ablated):
            scores.append(_scores(model, look.x, look.class_index))
    return look.map(((y - cat(scores)) / (y.abs() + (y == 0).to(y.dtype))).reshape(-1, 1, 1), "Ablation-CAM")


# From the gradient at the input ---------------------------------------------------------------------------------------


def _plain_look(model: Module, x: Any, class_index: Any) -> tuple[Tensor, int, Tensor]:
    """The image as a batch, the class, and its score."""
    x = _batch_of_one(model, x)
    with _inference(model), no_grad():
        logits = _logits(model, x)
    index = _chosen(class_index, logits)
    return x, index, logits[0, index]


def _gradients_at(model: Module, points: Tensor, class_index: int, guided: bool = False) -> Tensor:
    """The gradient of the score at each of several images, (N, C, H, W).

    In inference mode the images of a batch don't see each other, so one walk from the sum of the scores has them all.
    """
    points = points.detach().requires_grad_()
    with _inference(model), enable_grad():
        total = _scores(model, points, class_index).sum()
    if guided:
        for record in records(total):
            if record.primitive is relu:
                record.hooks = [*(record.hooks or []), relu]
    (g,) = grad(total, points, allow_unused=True)
    return points.detach() * 0 if g is None else g


def guided_backpropagation(model: Module, x: Any, class_index: Any = None) -> Map:
    """Guided backpropagation: the gradient at the image, with every ReLU passing back only what is positive.

    That is a hook on each ReLU of the graph. `raw` is the largest absolute value over the image's channels.
    """
    x, index, score = _plain_look(model, x, class_index)
    (g,) = _gradients_at(model, x, index, guided=True)
    return _map(g.abs().amax(0), index, score, "guided backpropagation", g)


def smooth_grad(
    model: Module,
    x: Any,
    class_index: Any = None,
    *,
    samples: int = 25,
    noise: float = 0.15,
    generator: Generator | None = None,
    batch_size: int = 8,
) -> Map:
    """SmoothGrad: the mean gradient at noisy copies of the image, the noise being `noise` · (max − min) of the image.

    `raw` is the largest absolute value over the image's channels. Without a `generator` the noise is that of seed 0,
    whatever the `batch_size`.
    """
    x, index, score = _plain_look(model, x, class_index)
    rng = (generator or Generator(0)).rng
    spread = noise * (x.max() - x.min()).item()
    total = x[0] * 0
    for piece in _pieces(samples, batch_size):
        drawn = spread * rng.standard_normal((piece.stop - piece.start, *x.shape[1:]))
        total = total + _gradients_at(model, x + Tensor(drawn, x.dtype, x.device), index).sum(0)
    mean = total / samples
    return _map(mean.abs().amax(0), index, score, "SmoothGrad", mean)


def integrated_gradients(
    model: Module,
    x: Any,
    class_index: Any = None,
    *,
    steps: int = 32,
    baseline: Any = None,
    batch_size: int = 8,
) -> Map:
    """Integrated gradients: (x − x₀) · ∫ ∂y/∂x along the straight line from the baseline x₀ (black, unless given) to x.

    The integral is the mean of the gradients at the middles of `steps` pieces. `raw` is the sum over the image's
    channels; its sum over the places is y(x) − y(x₀), up to the error of that mean.
    """
    x, index, score = _plain_look(model, x, class_index)
    start = x * 0 if baseline is None else _batch_of_one(model, baseline)
    way = (arange(steps, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1) + 0.5) / steps
    total = x[0] * 0
    for piece in _pieces(steps, batch_size):
        total = total + _gradients_at(model, start + (x - start) * way[piece], index).sum(0)
    attribution = (x - start)[0] * (total / steps)
    return _map(attribution.sum(0), index, score, "integrated gradients", attribution)


METHODS: dict[str, Callable[..., Map]] = {
    "CAM": cam,
    "Grad-CAM": grad_cam,
    "Grad-CAM++": grad_cam_plus_plus,
    "XGrad-CAM": xgrad_cam,
    "LayerCAM": layer_cam,
    "Score-CAM": score_cam,
    "Ablation-CAM": ablation_cam,
}
"""The methods that look at a block, by name: `method(model, x, class_index, block)`."""

INPUT_METHODS: dict[str, Callable[..., Map]] = {
    "guided backpropagation": guided_backpropagation,
    "SmoothGrad": smooth_grad,
    "integrated gradients": integrated_gradients,
}
"""The methods that look at the image itself, by name: `method(model, x, class_index)`."""
