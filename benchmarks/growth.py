"""How do time and memory grow with the work, beside PyTorch's?

Three works grow: a chain of scalar operations (that of scalar_graph.py), forward and backward, from 1,000 to 1,000,000
of them; a batch of pictures from 1 to 64, predicted by ResNet-18 (224×224) and trained on by the small CNN (64×64); and
the side of a picture from 64 to 512 pixels, for ResNet-18, predicting one and training on four. A line that stays level
means that the work costs in proportion to its size.

    python benchmarks/growth.py memory      # each work in a process of its own: some minutes
    python benchmarks/growth.py scalars     # the times; batches, pictures likewise, each a minute or two
    python benchmarks/growth.py draw        # the picture, from the files of the others; nothing is measured

Memory is what the work adds to the process's peak, in training with the gradients and the optimizer's state; what was
there before (the libraries, the weights, the input) is taken off.
"""

import csv
import ctypes
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import networks
import numpy as np
import scalar_graph
from timing import RESULTS, THREADS, alternate, limit_threads, machine, own_peak, write

LIBRARIES = {"ours": "tinygrad_med", "PyTorch": "torch"}

# ---------------------------------------------------------------- the works


class Series(NamedTuple):
    """A work that grows."""

    name: str
    unit: str  # of what there are more and more, or what grows
    sizes: tuple[int, ...]
    rounds: int
    side: int = 0  # of the pictures of a batch

    def units(self, size):
        """By how many the cost is divided: operations, or pictures."""
        return {"pictures": 4 if "training" in self.name else 1}.get(self.unit, size)


SERIES = {
    "scalars": [Series("scalar operations, forward and backward", "operations", (10**3, 10**4, 10**5, 10**6), 3)],
    "batches": [
        Series("ResNet-18, prediction at 224×224", "batch", (1, 2, 4, 8, 16, 32, 64), 5, side=224),
        Series("small CNN, training step at 64×64", "batch", (1, 2, 4, 8, 16, 32, 64), 9, side=64),
    ],
    "pictures": [
        Series("ResNet-18, prediction of 1 picture", "pictures", (64, 128, 224, 320, 512), 9),
        Series("ResNet-18, training step of 4 pictures", "pictures", (64, 128, 224, 320, 512), 5),
    ],
}


def work(who, series, size):
    """What is repeated: the series' work of that size."""
    library = importlib.import_module(LIBRARIES[who])
    if series.unit == "operations":
        return lambda: scalars(library, size)
    side = size if series.unit == "pictures" else series.side
    return pass_of(who, library, series.name, series.units(size), side)


def pass_of(who, library, name, count, side):
    """A prediction or a training step of `count` pictures."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 3 if "ResNet" in name else 1, side, side), np.float32)
    net = network(who, library, name)
    if "prediction" in name:
        return networks.prediction(library, net, x)
    return networks.training(library, net, x, rng.integers(0, 6, count))


def network(who, library, name):
    """ResNet-18 or the small CNN."""
    if who == "PyTorch":
        import torch_networks

        library.set_num_threads(THREADS)
        return torch_networks.ResNet18(6) if "ResNet" in name else torch_networks.SmallCNN(6)
    for part in ("nn", "optim", "models"):
        importlib.import_module(f"tinygrad_med.{part}")
    return library.models.resnet18(num_classes=6) if "ResNet" in name else library.models.small_cnn(6)


def scalars(library, operations):
    """The chain of scalar_graph.py, five operations a step, and back."""
    x, w, b = (library.tensor(v, requires_grad=True) for v in (scalar_graph.X, scalar_graph.W, scalar_graph.B))
    h = x
    for _ in range(operations // 5):
        h = library.tanh((h * w + b) * 0.9 + x)
    h.backward()


# ---------------------------------------------------------------- memory


def added_memory(who, series, size):
    """By how many bytes the work raises the peak memory of a process that has all but the work."""
    job = json.dumps([who, series.name, size])
    command = [sys.executable, __file__, "one", job]
    own = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=own)
    return json.loads(answer.stdout)


def tell_added_memory(who, name, size):
    """The other side of `added_memory`; a tiny piece of the work first loads what is loaded late."""
    (series,) = [series for group in SERIES.values() for series in group if series.name == name]
    library, large = importlib.import_module(LIBRARIES[who]), work(who, series, size)
    if series.unit == "operations":
        scalars(library, 10)
    else:
        pass_of(who, library, name, 2, 32)()
    limit_threads()
    before = forget_peak()
    large()
    print(json.dumps(own_peak() - before))


def forget_peak():
    """Let the peak memory of this process begin anew at what it holds now; returns that, in bytes. Linux alone."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed, as after drawing the weights, goes back to the system
    Path("/proc/self/clear_refs").write_text("5")
    return own_peak()


def measure_memory():
    """Write the table `results/growth_memory.md`, and the bytes to the CSV file beside it."""
    from tinygrad_med._files import writing

    rows = []
    lines = [
        "# How does memory grow with the work, beside PyTorch's?",
        "",
        "| work | operations, batch or side | ours, of one | PyTorch, of one | ratio |",
        "|---|--:|--:|--:|--:|",
    ]
    for series in [series for group in SERIES.values() for series in group]:
        for size in series.sizes:
            mine, theirs = (added_memory(who, series, size) for who in LIBRARIES)
            rows += [(series.name, size, who, count) for who, count in zip(LIBRARIES, (mine, theirs), strict=True)]
            cells = [series.name, f"{size:,}", *(_bytes(count / series.units(size)) for count in (mine, theirs))]
            lines.append(f"| {' | '.join(cells)} | {mine / theirs:.2f} |")
            print(lines[-1])
    with writing(RESULTS / "growth_memory.md") as path:
        path.write_text("\n".join(lines) + "\n", "utf-8")
    with writing(RESULTS / "growth_memory.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("work", "size", "who", "bytes"), *rows])


def memory():
    """{(work, size, who): bytes}, as measured before."""
    with (RESULTS / "growth_memory.csv").open(encoding="utf-8", newline="") as file:
        return {(row["work"], int(row["size"]), row["who"]): int(row["bytes"]) for row in csv.DictReader(file)}


# ---------------------------------------------------------------- time


def measure_times(name):
    """Write the table `results/growth_<name>.md` and the single times beside it."""
    comparisons, rows = [], []
    for series in SERIES[name]:
        for size in series.sizes:
            contenders = {who: work(who, series, size) for who in LIBRARIES}
            result = alternate(_row(series, size), contenders, rounds=series.rounds, lead_in=0.05)
            comparisons.append(result)
            units = series.units(size)
            times = [_time(result.median(who) / units) for who in LIBRARIES]
            ratio = f"{result.ratio('ours', 'PyTorch'):.2f}"
            what = f"{size}×{size}" if series.unit == "pictures" else f"{size:,}"
            rows.append(f"| {series.name} | {what} | {' | '.join(times)} | {ratio} |")
    lines = [
        f"# {__doc__.partition(chr(10))[0]} {name.capitalize()}",
        "",
        f"{machine()}.",
        "Times of one operation, or of one picture; the ratio is the median over the rounds.",
        "",
        f"| work | {SERIES[name][0].unit} | ours, of one | PyTorch, of one | ÷ PyTorch |",
        "|---|--:|--:|--:|--:|",
    ]
    write(f"growth_{name}", [*lines, *rows, ""], comparisons)


def _row(series, size):
    return f"{series.name}, {series.unit} {size}"


def _time(seconds):
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if seconds * s >= 1 or u == "µs")
    return f"{seconds * scale:.3g} {unit}"


def _bytes(count):
    scale, unit = next((s, u) for s, u in ((1e6, "MB"), (1e3, "kB"), (1, "B")) if count >= s or u == "B")
    return f"{count / scale:.3g} {unit}"


# ---------------------------------------------------------------- the picture


def draw():
    """Write `results/growth.png`: time and memory of one operation or picture over the size of the work."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    from tinygrad_med._files import writing

    all_series = [(name, series) for name, group in SERIES.items() for series in group]
    found = memory()
    figure, axes = pyplot.subplots(2, len(all_series), figsize=(15, 5.2), layout="constrained", sharex="col")
    for column, (name, series) in zip(axes.T, all_series, strict=True):
        seconds = _medians(name)
        for who, color in zip(LIBRARIES, ("C0", "C1"), strict=True):
            times = [1e3 * seconds[_row(series, size), who] / series.units(size) for size in series.sizes]
            bytes_ = [found[series.name, size, who] / 1e6 / series.units(size) for size in series.sizes]
            column[0].plot(series.sizes, times, "o-", color=color, label=who, markersize=3)
            column[1].plot(series.sizes, bytes_, "o-", color=color, label=who, markersize=3)
        column[0].set_title(series.name.replace(", ", ",\n"), fontsize=9)
        column[1].set_xlabel("side in pixels" if series.unit == "pictures" else series.unit, fontsize=8)
        for ax in column:
            ax.set_xscale("log", base=10 if series.unit == "operations" else 2)
            ax.set_yscale("log")
            ax.tick_params(labelsize=7)
            ax.tick_params(which="minor", labelsize=6)
            ax.spines[["top", "right"]].set_visible(False)
        if series.unit != "operations":
            column[1].set_xticks(series.sizes, [str(size) for size in series.sizes])
    axes[0, 0].set_ylabel("ms of one operation or picture", fontsize=8)
    axes[1, 0].set_ylabel("MB of one operation or picture", fontsize=8)
    axes[0, 0].legend(fontsize=8, frameon=False)
    with writing(RESULTS / "growth.png") as path:
        figure.savefig(path, format="png", dpi=90)
    pyplot.close(figure)


def _medians(name):
    """{(work, who): median seconds}"""
    seconds = {}
    with (RESULTS / f"growth_{name}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            seconds.setdefault((row["work"], row["who"]), []).append(float(row["seconds"]))
    return {key: statistics.median(times) for key, times in seconds.items()}


if __name__ == "__main__":
    what, *job = sys.argv[1:] or ["scalars"]
    if what == "one":
        tell_added_memory(*json.loads(job[0]))
    elif what in SERIES:
        measure_times(what)
    else:
        {"memory": measure_memory, "draw": draw}[what]()
