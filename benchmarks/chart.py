"""Draws the ratios of a benchmark as bars: `python benchmarks/chart.py networks` makes `results/networks.png`.

The bars come from the single times in `results/<name>.csv`, so nothing is measured again.
"""

import csv
import statistics
import sys
from collections import defaultdict

from timing import RESULTS


def ratios(name, over="PyTorch"):
    """{work: {who: median over the rounds of who's time over `over`'s}}, without `over` itself."""
    seconds = defaultdict(lambda: defaultdict(dict))
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            seconds[row["work"]][row["who"]][row["round"]] = float(row["seconds"])
    found = {}
    for work, times in seconds.items():
        if over in times:
            reference = times.pop(over)
            found[work] = {who: statistics.median(t[i] / reference[i] for i in t) for who, t in times.items()}
    return found


def draw(name, over="PyTorch"):
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    from tinygrad_med._files import writing

    found = ratios(name, over)
    bars = [(work, who, ratio) for work, by in found.items() for who, ratio in by.items()]
    peers = list(dict.fromkeys(who for _, who, _ in bars))
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.36 * len(bars)), layout="constrained")
    for y, (_, who, ratio) in enumerate(bars):
        axes.barh(y, ratio, color=f"C{peers.index(who)}", label=who)
        number = axes.annotate(f"{ratio:.2f}", (ratio, y), (4, 0), textcoords="offset points", va="center", fontsize=8)
        number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # above the line at 1
    axes.axvline(1, color="black", linewidth=1, zorder=1)
    axes.set_yticks(range(len(bars)), [f"{work}: {who}" for work, who, _ in bars], fontsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"time over {over}'s (less is faster)")
    with writing(RESULTS / f"{name}.png") as path:
        figure.savefig(path, format="png", dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["networks"]:
        draw(name)
