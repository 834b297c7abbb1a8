"""Which slice decided, and where on it? Class activation maps for models that look at several series of slices.

Such a model ends like MRNet: means over pixels, a maximum over the slices, one linear layer. Behind the last block, a
logit is then linear in the activations A but for its bias, as far as the maxima stay where they are. So with the
gradient G = ∂logit/∂A, a single call of `grad` for all series,

    logit = bias + Σ over series, slices, places, channels of G · A,

and nothing is attributed by rule of thumb: the part of a slice is what the slice contributed, and all of it together is
the logit. Where on the slice, a map says: Grad-CAM's (Selvaraju et al. 2017, arXiv:1610.02391), which weighs a channel
by the mean of G over its places. At the output of MRNet's backbones G is the same at all places of a channel, and the
sum of the map is the contribution itself. At earlier blocks it is not: a maximum that pools overlapping windows, as
AlexNet's last, sends the gradient to single places, and counts some of them several times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from tinygrad_med import backend
from tinygrad_med.cam import Grid, Map, cut
from tinygrad_med.core.backward import grad
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.nn import Conv2d, MaxPool2d, Module, ReLU, Sequential

PLANES = ("axial", "coronal", "sagittal")


class Peak(NamedTuple):
    """The place that speaks most for a label."""

    series: str
    slice: int
    row: float  # pixels of the series' slices
    column: float


@dataclass(frozen=True, eq=False)
class SeriesMaps:
    """What the slices of one series contributed, and where they show it.

    Attributes:
        contributions: (labels, S), what each slice contributed to each logit.
        maps: (labels, S, h, w), Grad-CAM for each logit.
        winners: (C,), the slice that won the maximum for each channel; -1 for a channel that no logit depends on.
        grid: where the places of the maps lie; where they are spread evenly, as the width has it, which is right for
            square slices alone.
    """

    contributions: numpy.ndarray
    maps: numpy.ndarray
    winners: numpy.ndarray
    grid: Grid


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a model said about an exam, and what each slice contributed to that.

    Attributes:
        logits: (labels,)
        series: by name, the contributions of its slices.
        labels: the names of the labels.
    """

    logits: numpy.ndarray
    series: dict[str, SeriesMaps]
    labels: tuple[str, ...]

    @property
    def bias(self) -> numpy.ndarray:
        """(labels,), what no slice contributed: logits − contributions; for MRNet the bias of the linear layer."""
        return self.logits - sum(one.contributions.sum(1) for one in self.series.values())

    def peak(self, label: int) -> Peak:
        """The largest value among the maps of a label, of all slices of all series."""
        name = max(self.series, key=lambda name: self.series[name].maps[label].max())
        maps, (first, step) = self.series[name].maps[label], self.series[name].grid
        i, row, column = (int(k) for k in numpy.unravel_index(maps.argmax(), maps.shape))
        return Peak(name, i, first + row * step, first + column * step)

    def top_slice(self, label: int) -> tuple[str, int]:
        """The series and the slice that contributed most to the logit of a label."""
        name = max(self.series, key=lambda name: self.series[name].contributions[label].max())
        return name, int(self.series[name].contributions[label].argmax())

    def figure(self, series: Sequence[Any]) -> Any:
        """A page: per label and series, the slice that contributed most under its map, beside what each slice did.

        Args:
            series: the slices to draw, (S, H, W) or (S, 3, H, W) each, in the order of `self.series`.

        Returns:
            A Matplotlib figure.
        """
        from tinygrad_med.plots import INK, OURS, new_figure

        rows, columns = len(self.labels), len(self.series)
        figure = new_figure(4.4 * columns, 2.6 * rows)
        grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 0.8] * columns)
        limit = 1.1 * max(abs(one.contributions).max() for one in self.series.values()) or 1
        for label, axes in enumerate(grid):
            for k, (name, one) in enumerate(self.series.items()):
                picture, bars = axes[2 * k : 2 * k + 2]
                contributions = one.contributions[label]
                best = int(contributions.argmax())
                slices = series[k]
                image = backend.to_numpy(slices.detach().array if isinstance(slices, Tensor) else slices)[best]
                found = Map(one.maps[label, best], label, float(self.logits[label]), "Grad-CAM")
                speaks = contributions[best] > 0
                if found.problem or not speaks:  # a map of what speaks for nothing would show noise, at full strength
                    picture.imshow(image if image.ndim == 2 else image[0], cmap="gray")
                    picture.set_axis_off()
                else:
                    found.overlay(image if image.ndim == 2 else image[0], picture, grid=one.grid)
                title = f"{name}, slice {best}" if speaks else f"{name}: no slice speaks for it"
                picture.set_title(title, fontsize=8, color=INK)
                bars.barh(range(len(contributions)), contributions, color=OURS)
                bars.set_xlim(-limit, limit)
                bars.invert_yaxis()
                bars.axvline(0, color=INK, linewidth=0.5)
                bars.set_title(f"Σ {contributions.sum():+.2f}", fontsize=8, color=INK)
                bars.tick_params(labelsize=6)
                bars.set_ylabel("slice", fontsize=6, color=INK)
                if label == rows - 1:
                    bars.set_xlabel("contribution to the logit", fontsize=6, color=INK)
            axes[0].text(
                -0.08,
                0.5,
                f"{self.labels[label]}\nlogit {self.logits[label]:+.2f}\nbias {self.bias[label]:+.2f}",
                transform=axes[0].transAxes,
                ha="right",
                va="center",
                fontsize=9,
                color=INK,
            )
        return figure


def explain(
    model: Module,
    series: Sequence[Any],
    labels: Sequence[str],
    *,
    block: int = -1,
    layers: Mapping[str, Module] | None = None,
) -> Explanation:
    """What each slice of each series, and each place on it, contributed to the logits.

    The model is used as it is: put it into inference mode first. No `.grad` is touched.

    Args:
        model: gives logits (1, labels) for a list of series. A model with `chunk` must have it at None.
        series: (S, 3, H, W) each, tensors or arrays.
        labels: the names of the logits.
        block: which block of each backbone to look at, from -1 (its output) backwards. An earlier one has more places:
            AlexNet's -2, before its last pooling, has 13×13 on 224×224 pixels.
        layers: by the name of the series, the module whose output (S, C, h, w) is looked at, in the order of the
            series; by default the block of `model.axial`, `model.coronal` and `model.sagittal`.
    """
    paths: Mapping[str, Sequence[Module]] = {} if layers else _paths(model, block)
    layers = layers or {name: path[-1] for name, path in paths.items()}
    if getattr(model, "chunk", None) is not None:
        raise ValueError("explain: a series must run in one piece; set model.chunk = None")
    series = [slices if isinstance(slices, Tensor) else Tensor(slices) for slices in series]
    called = {name: f"the layer of {name}" for name in layers}
    with cut(model, {called[name]: layer for name, layer in layers.items()}) as activations:
        output = model(series)
    if output.shape != (1, len(labels)):
        raise ValueError(f"explain: expected logits of shape (1, {len(labels)}), got {output.shape}")
    leaves = [activations[called[name]] for name in layers]
    gradients: list[Any] = [grad(output[0, i], leaves, retain_graph=True) for i in range(len(labels))]
    found = {}
    for k, (name, activation, slices) in enumerate(zip(layers, leaves, series, strict=True)):
        g = numpy.stack([backend.to_numpy(of_label[k].array) for of_label in gradients])  # (labels, S, C, h, w)
        a = backend.to_numpy(activation.array)
        flows = (g != 0).any((0, 3, 4))  # (S, C)
        winners = numpy.where(flows.any(0), flows.argmax(0), -1)
        cam = (g.mean((3, 4), keepdims=True) * a).sum(2)
        grid = _grid(paths.get(name, ()), slices.shape[-1] / a.shape[-1])
        found[name] = SeriesMaps((g * a).sum((2, 3, 4)), cam, winners, grid)
    return Explanation(backend.to_numpy(output.array)[0], found, tuple(labels))


def _paths(model: Module, block: int) -> dict[str, list[Module]]:
    """By plane, the modules of the backbone up to the block."""
    backbones: dict[str, Any] = {name: getattr(model, name, None) for name in PLANES}
    if not all(isinstance(backbone, Sequential) for backbone in backbones.values()):
        raise ValueError(
            f"explain: {type(model).__name__} has no backbones {', '.join(PLANES)}; name what to look at: layers={{…}}"
        )
    shortest = min(map(len, backbones.values()))
    if not -shortest <= block <= -1:
        raise IndexError(f"explain: block {block} is out of range; the backbones have the blocks -{shortest} to -1")
    return {name: [*backbone][: len(backbone) + block + 1] for name, backbone in backbones.items()}


def _grid(path: Sequence[Module], spacing: float) -> Grid:
    """Where the places lie that look through these layers, one behind the other.

    A window of k taps, `dilation` apart, that begins `padding` before the first place is centred
    dilation · (k − 1) / 2 − padding places behind it. The places are spread evenly where nothing is known, where other
    layers stand in between, and where the padding is a word or a setting is not the same for rows and columns.
    """
    even = Grid((spacing - 1) / 2, spacing)
    first, step = 0.0, 1.0
    for layer in path:
        if isinstance(layer, ReLU):
            continue
        if not isinstance(layer, (Conv2d, MaxPool2d)):
            return even
        settings: Any = (layer.kernel_size, layer.stride or layer.kernel_size, layer.padding, layer.dilation)
        pairs = [(one, one) if isinstance(one, int) else tuple(one) for one in settings]
        if any(not isinstance(rows, int) or others != [rows] for rows, *others in pairs):
            return even
        k, s, p, d = (rows for rows, _ in pairs)
        first, step = first + step * (d * (k - 1) / 2 - p), step * s
    return Grid(first, step) if path else even
