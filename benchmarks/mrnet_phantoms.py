"""Does MRNet find lesions whose place is known, and does one model for three labels do what three models do?

Phantom exams, in MRNet's own layout, go through `examples/mrnet.py` from random weights. Then, on the validation exams:
the AUC of each label; for every positive label, whether the slice that contributed most to its logit is one that cuts
the lesion, and whether the largest place of the class activation maps (of all slices of all planes) lies in the lesion.
Last, the same pictures at half the size: one multi-task model beside three single-task ones.

    python benchmarks/mrnet_phantoms.py --exams 64 --epochs 2
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from timing import RESULTS

import tinygrad_med as tm
from tinygrad_med.data import mrnet, mrnet_phantoms
from tinygrad_med.data.files import writing
from tinygrad_med.data.mrnet import LABELS
from tinygrad_med.models.mrnet import MRNet
from tinygrad_med.series_cam import explain

STORY = Path(__file__).parents[1] / "examples" / "mrnet.py"
BLOCK = -2  # before AlexNet's last pooling: 13×13 places


def tell(out: Path, data: Path, args: argparse.Namespace, *more: str) -> list[dict[str, str]]:
    """Run the example, unless it ran before; its history."""
    if not (out / "history.csv").exists():
        options = f"--phantoms {args.exams} --weights random --lr 1e-4 --epochs {args.epochs} --no-augment --quiet"
        slices = ["--slices", *map(str, args.slices)]
        subprocess.run([sys.executable, STORY, data, *options.split(), *slices, "--out", out, *more], check=True)
    with (out / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def found_lesions(root: Path, weights: Path) -> dict[str, tuple[int, int, int]]:
    """By label: positives of the validation split, right slices, right places."""
    exams = mrnet.Exams(root, "valid", check_counts=False)
    lesions = mrnet_phantoms.read_lesions(root, "valid")
    model = MRNet(3).eval()
    model.load_state_dict(tm.load(weights))
    counts = {label: np.zeros(3, int) for label in LABELS}
    for i, exam in enumerate(exams.ids):
        found = explain(model, [tm.tensor(one) for one in exams[i].series], LABELS, block=BLOCK)
        for k, label in enumerate(LABELS):
            if exams.labels[i, k]:
                own = LABELS if label == "abnormal" else (label,)  # a tear is abnormal, too
                known = [cut for name in own for cut in lesions.get((exam, name), ())]
                peak = found.peak(k)
                here = [cut for cut in known if (cut.plane, cut.slice) == (peak.series, peak.slice)]
                edge = (mrnet.SIZE - mrnet.CROP) // 2
                row, column = (int(edge + share * mrnet.CROP) for share in (peak.row, peak.column))
                inside = any(cut.mask()[row, column] for cut in here)
                counts[label] += (1, found.top_slice(k) in {(cut.plane, cut.slice) for cut in known}, inside)
    return {label: tuple(int(n) for n in numbers) for label, numbers in counts.items()}


def best(history: list[dict[str, str]]) -> dict[str, str]:
    """The epoch whose weights were kept: the last one with the highest mean."""
    return max(reversed(history), key=lambda row: float(row["valid_auc_mean"]))


def main() -> None:
    """All of it, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exams", type=int, default=96, help="to learn from; half as many to test")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--slices", type=int, nargs=2, default=(6, 7), help="of a series, the fewest and the most")
    parser.add_argument("--folder", type=Path, default=Path("runs/mrnet_phantoms"))
    args = parser.parse_args()
    root, folder = args.folder / "exams", args.folder

    row = best(tell(folder / "full", root, args))
    counts = found_lesions(root, folder / "full" / "best.safetensors")
    positives, slices, places = np.sum(list(counts.values()), 0)
    what = (
        f"{args.exams} phantom exams to learn from, {args.exams // 2} to test, {args.slices[0]} to {args.slices[1]} "
        f"slices a series; {args.epochs} epochs of Adam at 1e-4 from random weights."
    )
    lines = [
        f"# {__doc__.splitlines()[0]}",
        "",
        what,
        "",
        "| 224×224 | AUC | winning slice cuts the lesion | maximum of the map in the lesion |",
        "|---|--:|--:|--:|",
        *(
            f"| {label} | {float(row[f'valid_auc_{label}']):.3f} | {s} of {n} | {p} of {n} |"
            for label, (n, s, p) in counts.items()
        ),
        f"| all | {float(row['valid_auc_mean']):.3f} | {slices / positives:.0%} | {places / positives:.0%} |",
        "",
    ]
    bars = [
        ("mean AUC", float(row["valid_auc_mean"]), 0.95),
        ("right slices", slices / positives, 0.9),
        ("right places", places / positives, 0.8),
    ]
    lines += [
        f"- {what}: {value:.3f}, at least {bar}: {'as asked' if value >= bar else 'MISSED'}"
        for what, value, bar in bars
    ]

    together = tell(folder / "all", root, args, "--shrink", "2", "--explain", "0")
    single = {t: tell(folder / t, root, args, "--shrink", "2", "--explain", "0", "--task", t) for t in LABELS}
    seconds = [sum(float(row["train_seconds"]) for row in history) for history in (together, *single.values())]
    lines += [
        "",
        "| 112×112 | training time | " + " | ".join(f"AUC, {name}" for name in LABELS) + " | mean |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    multi = [float(best(together)[f"valid_auc_{name}"]) for name in LABELS]
    apart = [float(best(single[name])[f"valid_auc_{name}"]) for name in LABELS]
    for who, time, values in (("one model", seconds[0], multi), ("three models", sum(seconds[1:]), apart)):
        lines.append(f"| {who} | {time:.0f} s | " + " | ".join(f"{v:.3f}" for v in [*values, np.mean(values)]) + " |")
    lines += ["", f"One model takes {seconds[0] / sum(seconds[1:]):.2f} of the time of three."]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    with writing(RESULTS / "mrnet_phantoms.md") as path:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
