"""What would a step take on an H100, on paper? No card was used: launches and bytes are counted, times are a model's.

    GPU_ON_CPU_POOL=0 python -m tests.gpu_on_cpu run -m tests.gpu_on_cpu.on_paper

A dry run (dry.py) counts what the GPU is asked to do. Each kernel then takes as long as its bytes need at the
bandwidth of the units that its blocks fill, each product as long as its bytes or its operations need, and nothing is
quicker than a launch. Python launches one thing after the other; a step takes what the longer of the two takes.
"""

from __future__ import annotations

from pathlib import Path

from tests.gpu_on_cpu.budget import BARS, STEPS, cost, count
from tests.gpu_on_cpu.dry import Counts, Work
from tinygrad_med._files import writing

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu_on_paper.md"
BANDWIDTH = 2.6e12  # bytes a second that kernels reach of the 3.35e12 of its data sheet
UNITS = 132
FLOAT32, TF32 = 45e12, 250e12  # operations a second that products reach, of 67e12 and 495e12
OURS, OURS_TF32 = 35e12, 80e12  # that those of our own kernels may reach; a guess
SHORTEST = 2e-6  # a kernel's least time
HOST = 11e-6  # Python's, CuPy's and the driver's time for one launch


def seconds(work: Work, flops: float) -> float:
    """A model of the time that one kernel, product, memset or copy on the card takes."""
    share = min(work.blocks, UNITS) / UNITS if work.kind == "kernel" else 1.0
    return max(SHORTEST, work.bytes / (BANDWIDTH * share), work.flops / flops)


def on_card(name: str, counts: Counts, of_products: float, of_ours: float) -> float:
    """The model's time of all work on the card; what products do without our kernels, those of `implicit` must do."""
    work = [w for w in counts.of("kernel", "product", "memset", "copy") if w.name not in ("HD", "DH")]
    ours = [w for w in work if w.name.startswith("convolve")]
    flops = sum(w.flops for w in count(name, kernels=False).work) - sum(w.flops for w in work)
    ours_take = max(sum(seconds(w, of_ours) for w in ours), flops / of_ours) if ours else 0
    return ours_take + sum(seconds(w, of_products) for w in work if w not in ours)


def row(name: str, captured: bool = False) -> str:
    """The model's times of one step; of a captured one the host launches the graph alone."""
    counts, tf32 = count(name), count(name, tf32=True)
    found = cost(counts)
    narrow = sum(seconds(w, FLOAT32) for w in counts.narrow())
    card, card_tf32 = on_card(name, counts, FLOAT32, OURS), on_card(name, tf32, TF32, OURS_TF32)
    host = HOST * (1 if captured else counts.launches)
    cells = [f"{found.launches:,}", f"{found.gigabytes:.3g}", str(found.waits), str(found.narrow)]
    cells += [f"{1e3 * t:.2f}" for t in (narrow, card)]
    cells += [f"{tf32.gigabytes:.3g}", *(f"{1e3 * t:.2f}" for t in (card_tf32, host, max(card_tf32, host)))]
    return f"| {name}{', captured' * captured} | " + " | ".join(cells) + " |"


def main() -> None:
    """Write the table to `benchmarks/results/gpu_on_paper.md`."""
    bar = BARS["resnet18"]
    text = f"""# What would a step take on an H100, on paper?

**No card was used.** Launches, bytes and waits are counted in a dry run on the real CuPy. The times are a model's, and
lower bounds: {BANDWIDTH / 1e12} TB/s shared by {UNITS} units; {FLOAT32 / 1e12:.0f} TFLOPS in float32,
{TF32 / 1e12:.0f} in TF32, and for products in our own kernels {OURS / 1e12:.0f} and {OURS_TF32 / 1e12:.0f} (a guess);
{SHORTEST * 1e6:.0f} µs for the shortest kernel; {HOST * 1e6:.0f} µs of the host per launch.
A narrow kernel moves over a megabyte in fewer blocks than the card has units.

| step | launches | GB | waits | narrow | ms in those | ms, card | GB, TF32 | ms, card | ms, host | ms, TF32 |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""
    text += "".join(row(name) + "\n" for name in STEPS)
    text += row("linear", captured=True) + "\n"
    text += f"""
ResNet-18 shall come to {bar.launches} launches, {bar.gigabytes:.0f} GB, no wait and no narrow kernel.
The steps are those of tests/gpu_on_cpu/budget.py.
"""
    print(text)  # noqa: T201
    with writing(RESULT) as path:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
