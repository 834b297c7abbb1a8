"""How far do several processes carry a training, and when should one leave for PyTorch's DistributedDataParallel?

**Measured**, on this machine: steps of four networks on 1, 2 and 4 ranks, each with one thread and with as many images
as alone; the same with all messages after the walk back, and without any; PyTorch's DDP (gloo) doing the same; and what
a sum of n bytes over the ranks takes. Where there are more ranks than cores, they take turns, and a step is longer.
Times are the least of all rounds, each that of the slowest rank: what the machine can do when nothing disturbs it.

**A model**, from what was measured on one rank and of the sums, for any number of ranks: a ring sums n bytes over
R ranks in 2 (R − 1) messages of n / R bytes, each of which takes α + β n / R seconds (Thakur, Rabenseifner and Gropp
2005, "Optimization of collective communication operations in MPICH"). The buckets become complete at measured moments
of the walk; a sum begins when its bucket is complete and the one before it has ended; a step ends when all have:

    end_k = max(complete_k, end_{k−1}) + 2 (R − 1) (α + β n_k / R),    step = max(walk, end_last) + what follows it

That is where messages travel beside the computation, as between machines. Within one machine the ranks' own cores move
the bytes, so there nothing is hidden: step = walk + all sums. The model knows no rank that is slower than others, and
no network that others use.

    python benchmarks/data_parallel.py                 # measure everything, write results/data_parallel.{md,json,png}
    python benchmarks/data_parallel.py sums resnet     # measure only these again, and write
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from timing import RESULTS, machine

NETWORKS = {  # shape of a rank's images, and what they are
    "mlp": ((64, 4096), "the net of 128 hidden units, 64 images of 64×64"),
    "cnn": ((64, 1, 64, 64), "small CNN, 64 images of 64×64"),
    "alexnet": ((12, 3, 224, 224), "AlexNet's features, 12 slices of 224×224"),
    "resnet": ((4, 3, 224, 224), "ResNet-18, 4 images of 224×224"),
}
RANKS = (1, 2, 4)
SIZES = [8, 2**10, 2**15, 2**18, 2**20, 2**22, 2**24]  # bytes to sum
FABRICS = {  # name: (α in seconds, β in seconds per byte); the first is measured
    "this machine's memory": None,
    "Ethernet, 10 Gb/s (assumed: 30 µs, 1.1 GB/s)": (30e-6, 1 / 1.1e9),
    "InfiniBand, 100 Gb/s (assumed: 2 µs, 11 GB/s)": (2e-6, 1 / 11e9),
}
FAR = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
WORTH = 0.8  # of the computing that the ranks do: below, one is better off elsewhere


# ---------------------------------------------------------------- what a rank does


def network(library, name: str):
    """The network, its images and their classes, of either library."""
    nn, (shape, _) = importlib.import_module(f"{library.__name__}.nn"), NETWORKS[name]
    if name == "mlp":
        model = nn.Sequential(nn.Linear(4096, 128), nn.ReLU(), nn.Linear(128, 6))
    elif name == "cnn":
        stages = []
        for before, after in ((1, 32), (32, 64), (64, 128)):
            stages += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            stages += [nn.MaxPool2d(2)]
        model = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 6))
    elif library.__name__ == "torch":
        from torch_networks import AlexNet, ResNet18

        model = ResNet18(6) if name == "resnet" else nn.Sequential(AlexNet(6).features, *head(nn))
    else:
        from tinygrad_med import models

        model = (
            models.resnet18(num_classes=6) if name == "resnet" else nn.Sequential(models.alexnet().features, *head(nn))
        )
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(shape, np.float32), rng.integers(0, 6, shape[0])
    return model, library.tensor(x), library.tensor(y)


def head(nn) -> list:
    """Behind AlexNet's features, as in MRNet: their means, and a linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 6)]


def turns(ways: dict, ranks, seconds: float) -> dict[str, list[float]]:
    """Let the ways take turns for about so many seconds, 4 rounds at least; how long each took the slowest rank."""

    def turn(way) -> float:
        ranks.barrier()
        begun = perf_counter()
        way()
        return float(ranks.gather(np.array([perf_counter() - begun])).max())

    for way in ways.values():
        way()
    rounds = int(min(max(seconds / sum(map(turn, ways.values())), 4), 100))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(turn(way))
    return times


def our_rank(name: str, seconds: float) -> dict:
    """Steps of one network with the sums beside the walk, behind it, and without them."""
    import tinygrad_med
    from tinygrad_med import parallel
    from tinygrad_med.nn import functional as F

    ranks = parallel.join()
    tinygrad_med.set_num_threads(1)
    tinygrad_med.manual_seed(0)
    model, x, y = network(tinygrad_med, name)
    optimizer = tinygrad_med.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    parameters = list(model.parameters())
    found: dict = {"bytes": 0, "waited": [], "rest": []}

    def learn(summed_behind: bool = False) -> None:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if summed_behind:
            ranks.sum_gradients(parameters)
        begun = perf_counter()
        optimizer.step()
        found["rest"].append(perf_counter() - begun)

    def beside() -> None:
        with ranks.summing(parameters) as summing:
            learn()
        found["bytes"] = summing.bytes
        found["waited"].append(summing.waited)

    if ranks.size == 1:
        return found | {
            "times": turns({"alone": learn}, ranks, seconds),
            "complete": complete(ranks, parameters, learn),
        }
    ways = {"beside the walk": beside, "behind the walk": lambda: learn(True), "alone": learn}
    found["times"] = turns(ways, ranks, seconds)
    return found if ranks.rank == 0 else {}


def complete(ranks, parameters, learn) -> list[tuple[float, int]]:
    """When, after the beginning of a step, each bucket of gradients is complete, and its bytes: of one rank."""
    noted: list[tuple[float, int]] = []
    begun, start_sum = 0.0, ranks.start_sum

    def note(array, comm):
        noted.append((perf_counter() - begun, array.nbytes))
        return start_sum(array, comm)

    ranks.start_sum = note
    runs = []
    with ranks.summing(parameters):
        for _ in range(4):
            noted.clear()
            begun = perf_counter()
            learn()
            runs.append(list(noted))
    return [(min(run[k][0] for run in runs), n) for k, (_, n) in enumerate(runs[-1])]


def sums_rank(seconds: float) -> dict:
    """How long a sum over the ranks takes, by its bytes."""
    from tinygrad_med import parallel

    ranks = parallel.join()
    arrays = {n: np.ones(n // 4, np.float32) for n in SIZES}
    ways = {str(n): lambda a=a: ranks.start_sum(a, ranks.comm).wait() for n, a in arrays.items()}
    times = turns(ways, ranks, seconds)
    return {"times": times} if ranks.rank == 0 else {}


def torch_rank(name: str, seconds: float, rank: int, size: int, meeting: str) -> dict:
    """The same steps with PyTorch's DistributedDataParallel."""
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    torch.manual_seed(0)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    model, x, y = network(torch, name)
    if size > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def learn() -> None:
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    class Together:
        """What `turns` asks of ranks."""

        def barrier(self) -> None:
            distributed.barrier()

        def gather(self, a):
            largest = torch.tensor(a)
            distributed.all_reduce(largest, distributed.ReduceOp.MAX)
            return largest.numpy()

    times = turns({"DDP": learn}, Together(), seconds)
    distributed.destroy_process_group()
    return {"times": times} if rank == 0 else {}


def leasts(found: dict) -> dict:
    """Of each list of seconds the least and the median, which is what is kept."""
    times = {who: [min(seconds), statistics.median(seconds)] for who, seconds in found["times"].items()}
    return found | {"times": times} | {name: min(found[name]) for name in ("waited", "rest") if found.get(name)}


def main_of_a_rank(kind: str, what: str, seconds: str, *rest: str) -> None:
    """Do it, and let rank 0 say what was found."""
    if kind == "torch":
        found = torch_rank(what, float(seconds), int(rest[0]), int(rest[1]), rest[2])
    else:
        found = sums_rank(float(seconds)) if what == "sums" else our_rank(what, float(seconds))
    if found:
        print("FOUND", json.dumps(leasts(found)))


# ---------------------------------------------------------------- measuring


def measured(what: str) -> dict:
    """By the number of ranks, what rank 0 found."""
    found = {}
    for size in RANKS[1:] if what == "sums" else RANKS:
        found[str(size)] = run(["mpirun", "-n", str(size), sys.executable, __file__, "--rank", "ours", what, "3"])[0]
        if what == "sums":
            continue
        with tempfile.TemporaryDirectory() as folder:
            several = [
                [sys.executable, __file__, "--rank", "torch", what, "3", str(rank), str(size), f"{folder}/meeting"]
                for rank in range(size)
            ]
            found[str(size)]["times"] |= run(*several)[0]["times"]
    return found


def run(*commands: list[str]) -> list[dict]:
    """Run programs beside each other; what those said that found something."""
    beside = Path(sys.executable).with_name("mpirun")
    commands = [[str(beside), *c[1:]] if c[0] == "mpirun" and beside.exists() else c for c in commands]
    one = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP")}
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True, env=os.environ | one) for c in commands]
    said = [process.communicate(timeout=280)[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"{commands[0]} failed")
    return [json.loads(line.removeprefix("FOUND ")) for text in said for line in text.splitlines() if "FOUND" in line]


# ---------------------------------------------------------------- the model


def ring(n: float, ranks: int, alpha: float, beta: float) -> float:
    """Seconds that a ring takes to sum n bytes over the ranks."""
    return 2 * (ranks - 1) * (alpha + beta * n / ranks)


def fitted(times: dict[str, list[float]], ranks: int) -> tuple[float, float]:
    """α and β of the ring, from the times of sums by their bytes: the least squares of the relative errors."""
    n = np.array([float(size) for size in times])
    t = np.array([least for least, _ in times.values()])
    rows = np.stack([np.full_like(n, 2 * (ranks - 1)), 2 * (ranks - 1) * n / ranks], 1)
    scale = n.max()  # so that both columns are of one size
    solved, *_ = np.linalg.lstsq(rows / t[:, None] * [1, 1 / scale], np.ones_like(t), rcond=None)
    return max(float(solved[0]), 0.0), max(float(solved[1] / scale), 0.0)


def predicted(alone: float, complete: list, rest: float, ranks: int, alpha: float, beta: float, hidden: bool) -> float:
    """Seconds of a step.

    Args:
        alone: those of a step of one rank.
        complete: when each bucket is complete, and its bytes.
        rest: what of `alone` follows the walk: the optimizer's step.
        hidden: whether messages travel beside the computation.
    """
    sums = [ring(n, ranks, alpha, beta) for _, n in complete]
    if not hidden:
        return alone + sum(sums)
    # the moments were noted in other steps than `alone`, slower ones: there they come as much earlier
    end, scale = 0.0, min(1.0, (alone - rest) / complete[-1][0])
    for (moment, _), seconds in zip(complete, sums, strict=True):
        end = max(scale * moment, end) + seconds
    return max(alone - rest, end) + rest


def farthest(efficiency: list[float]) -> str:
    """Up to how many ranks most of the computing is not waiting."""
    kept = [ranks for ranks, e in zip(FAR, efficiency, strict=True) if e >= WORTH]
    return f"{max(kept):,}" + (" and more" if max(kept) == FAR[-1] else "")


# ---------------------------------------------------------------- the report


def least(found: dict, ranks: int, who: str) -> float:
    """Seconds of a step."""
    return found[str(ranks)]["times"][who][0]


def report(data: dict) -> str:
    """The tables."""
    cores = os.cpu_count() or 1
    alpha, beta = fitted(data["sums"]["2"]["times"], 2)
    lines = [
        f"# {__doc__.partition(chr(10))[0]}",
        "",
        f"{machine().rpartition(';')[0]}; one thread for each rank.",
        "",
        "| measured: a sum of | 2 ranks | the ring's, fitted | 4 ranks | the ring's, foretold |",
        "|---|--:|--:|--:|--:|",
    ]
    for n in SIZES:
        two, four = (1e3 * data["sums"][r]["times"][str(n)][0] for r in ("2", "4"))
        ours = [1e3 * ring(n, r, alpha, beta) for r in (2, 4)]
        lines.append(f"| {n:,} bytes | {two:.3f} ms | {ours[0]:.3f} ms | {four:.3f} ms | {ours[1]:.3f} ms |")
    head_of_steps = [
        "measured: network, per rank",
        *("ranks", "bytes summed", "step", "waited at the walk's end", "summed behind the walk", "no sums"),
        *("the model's step", "PyTorch's DDP"),
    ]
    lines += ["", f"| {' | '.join(head_of_steps)} |", "|---|" + "--:|" * (len(head_of_steps) - 1)]
    curves: dict = {}
    for name, (_, what) in NETWORKS.items():
        if name not in data:
            continue
        found = data[name]
        alone, complete = least(found, 1, "alone"), found["1"]["complete"]
        rest = found["1"]["rest"]
        for size in RANKS:
            here = found[str(size)]
            ddp = f"{1e3 * least(found, size, 'DDP'):.1f} ms"
            if size == 1:
                lines.append(f"| {what} | 1 | | {1e3 * alone:.1f} ms | | | | | {ddp} |")
                continue
            step, behind, without = (least(found, size, w) for w in ("beside the walk", "behind the walk", "alone"))
            model = predicted(without, complete, rest, size, alpha, beta, hidden=False)
            lines.append(
                f"| {what} | {size} | {here['bytes'] / 1e6:.2f} MB | {1e3 * step:.1f} ms | "
                f"{1e3 * here['waited']:.1f} ms | {1e3 * behind:.1f} ms | {1e3 * without:.1f} ms | "
                f"{1e3 * model:.1f} ms ({(model / step - 1):+.0%}) | {ddp} |"
            )
        for fabric, speed in FABRICS.items():
            a, b = speed or (alpha, beta)
            steps = [predicted(alone, complete, rest, r, a, b, hidden=speed is not None) for r in FAR]
            curves[name, fabric] = [alone / step for step in steps]
    head_of_model = [*(f"{r:,} ranks" for r in FAR[3::2]), f"at least {WORTH:.0%} up to"]
    lines += ["", f"| the model: computing in a step, on | network | {' | '.join(head_of_model)} |"]
    lines += ["|---|---|" + "--:|" * len(head_of_model)]
    for (name, fabric), shares in curves.items():
        cells = " | ".join(f"{share:.0%}" for share in shares[3::2])
        lines.append(f"| {fabric} | {name} | {cells} | {farthest(shares)} ranks |")
    lines += [
        "",
        f"Fitted to the sums over 2 ranks: α = {1e6 * alpha:.1f} µs, 1/β = {1e-9 / max(beta, 1e-15):.2f} GB/s.",
        f"The steps were measured on {cores} cores; the model adds its sums to what the same ranks took without any.",
        "The last table is the model's alone: nobody has run this package on more than 4 ranks.",
    ]
    draw(curves, data, cores)
    return "\n".join(lines) + "\n"


def draw(curves: dict, data: dict, cores: int) -> None:
    """The share of computing over the number of ranks: the model's as lines, what was measured as points."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    from tinygrad_med._files import writing

    figure, axes = pyplot.subplots(1, len(FABRICS), figsize=(12, 3.6), sharey=True, layout="constrained")
    names = list(dict.fromkeys(name for name, _ in curves))
    for ax, fabric in zip(axes, FABRICS, strict=True):
        for i, name in enumerate(names):
            ax.plot(FAR, curves[name, fabric], color=f"C{i}", label=name)
            if FABRICS[fabric] is None:
                there = [r for r in RANKS[1:] if r <= cores]
                points = [least(data[name], r, "alone") / least(data[name], r, "beside the walk") for r in there]
                ax.plot(there, points, "o", color=f"C{i}")
        ax.axhline(WORTH, color="grey", linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlabel="ranks", title=fabric.partition(" (")[0])
    axes[0].set(ylabel="computing in a step (points: measured)", ylim=(0, 1.05))
    axes[0].legend()
    with writing(RESULTS / "data_parallel.png") as path:
        figure.savefig(path, format="png", dpi=120)
    pyplot.close(figure)


def main(*only: str) -> None:
    """Measure, all or some, and write."""
    from tinygrad_med._files import writing

    kept = RESULTS / "data_parallel.json"
    data = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    for what in only or ("sums", *NETWORKS):
        data[what] = measured(what)
        with writing(kept) as path:
            path.write_text(json.dumps(rounded(data), indent=1), "utf-8")
    if "sums" in data and len(data) > 1:
        text = report(data)
        print(text)
        with writing(RESULTS / "data_parallel.md") as path:
            path.write_text(text, "utf-8")


def rounded(value):
    """Seconds to four digits: the file is read by people too."""
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        main_of_a_rank(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
