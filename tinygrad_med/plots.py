"""Pictures of a training: curves, a confusion matrix, a sheet of images. Arrays in, matplotlib figures out.

Figures are made without pyplot, so nothing opens a window or stays in a global list. `save` writes one, so that the
file is whole or not there; a notebook shows the figure that a cell ends with. Knows nothing of models and data sets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_med._files import optional, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS = "#0b6e99"
REFERENCE = "#d9b48f"
INK = "#333333"
DOTS_PER_INCH = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, its size in inches."""
    figure: Figure = optional("matplotlib.figure", "drawing").Figure(
        (width, height), dpi=DOTS_PER_INCH, layout="constrained"
    )
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with writing(path) as temporary:
        figure.savefig(temporary, format="png")


def curves(
    panels: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    *,
    xlabel: str,
    title: str = "",
    percent: Collection[str] = (),
) -> Figure:
    """Curves in panels side by side; of each panel the last curve in front, those before it pale and wide behind it.

    Args:
        panels: by title, the curves of a panel: by name, (x, y)
        xlabel: of all panels
        title: over all panels
        percent: the titles of the panels whose y are shares, to be written as percentages
    """
    ticker = optional("matplotlib.ticker", "drawing")
    figure = new_figure(4.6 * len(panels), 3.5)
    for axes, (name, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        *behind, front = lines.items()
        for label, (x, y) in behind:
            dot = "o" if np.size(x) == 1 else ""  # a line needs two points
            style = {"color": REFERENCE, "linewidth": 6, "marker": dot, "solid_capstyle": "round"}
            axes.plot(x, y, label=label, **style)
        label, (x, y) = front
        axes.plot(x, y, color=OURS, linewidth=1.6, marker="o", markersize=3.5, label=label)
        axes.set_title(name, loc="left", fontsize=11, parse_math=False)  # names are no formulas
        axes.set_xlabel(xlabel)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        first, last = min(np.min(x) for x, _ in lines.values()), max(np.max(x) for x, _ in lines.values())
        if first == last:
            axes.set_xticks([first])
        if name in percent:
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, 0), min(high, 1.005))  # the half percent keeps the point whole
            axes.yaxis.set_major_formatter(ticker.PercentFormatter(1))
        axes.grid(axis="y", color="#eeeeee")
        for text in axes.legend(frameon=False).get_texts():
            text.set_parse_math(False)
        _plain(axes)
        axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    _headline(figure, title)
    return figure


def confusion_matrix(counts: ArrayLike, classes: Sequence[str], *, title: str = "") -> Figure:
    """How many images of each class (a row) were taken for which (a column), shaded by their share of the row.

    Args:
        counts: (classes, classes) integers
    """
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(0.85 * len(classes) + 1.7, 0.68 * len(classes) + 1.5)
    axes = figure.subplots()
    axes.imshow(shares**0.5, cmap=_ink_on_white(), vmin=0, vmax=1, aspect="auto")  # √ lets rare mistakes be seen
    for (row, column), n in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.3 else INK if n else "#cccccc"
        axes.text(column, row, f"{n:,}", ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(range(len(classes)), classes, fontsize=9, parse_math=False)
    axes.set_yticks(range(len(classes)), classes, fontsize=9, parse_math=False)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    axes.set_xticks(np.arange(0.5, len(classes) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(classes) - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    _plain(axes)
    axes.spines[["left", "bottom"]].set_visible(False)
    _headline(figure, title)
    return figure


def sheet(
    images: Sequence[NDArray[Any]], captions: Sequence[str], *, columns: int = 6, title: str = "", signed: bool = False
) -> Figure:
    """Images in rows, each over its caption.

    Args:
        images: (H, W) each, in grey; 8-bit ones from 0 to 255
        signed: for numbers around 0: white is 0, red is positive, blue is negative, on one scale that a bar shows
    """
    rows = -(-len(images) // columns)
    lines = 1 + max(caption.count("\n") for caption in captions)
    figure = new_figure(1.5 * columns + signed * 0.8, (1.43 + 0.18 * lines) * rows + 0.3)
    figure.set_layout_engine("compressed")  # the images are square: what they don't fill is no room between them
    grid = figure.subplots(rows, columns, squeeze=False)
    limit = max(float(np.abs(image).max()) for image in images) if signed else 255
    scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {"cmap": "gray", "vmin": 0, "vmax": limit}
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        drawn = axes.imshow(image, **scale)
        axes.set_xlabel(caption, fontsize=9, color=INK, linespacing=1.3, parse_math=False)
    if signed:
        figure.colorbar(drawn, ax=grid[:, -1], shrink=0.75, aspect=25).outline.set_visible(False)
    _headline(figure, title)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelcolor=INK)


def _headline(figure: Figure, title: str) -> None:
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK, parse_math=False)


def _ink_on_white() -> Any:
    colors = optional("matplotlib.colors", "drawing")
    return colors.LinearSegmentedColormap.from_list("ink", ["white", OURS])
