"""Does MRNet find lesions whose place is known, and does one model for three labels do what three models do?

Phantom exams, in MRNet's own layout, go through `examples/mrnet.py` from random weights. Then, for every positive label
of the validation exams: whether the slice that contributed most to its logit is one that cuts the lesion, and whether
the largest value of Grad-CAM (of all slices of all planes, at AlexNet's last convolution) lies in the lesion. For
comparison, the same before training, and the brightest pixel of the slice that cuts the lesion best. Last, the same
pictures at half the size: one multi-task model beside three single-task ones.

    python benchmarks/mrnet_phantoms.py
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from timing import RESULTS

import tinygrad_med as tm
from tinygrad_med._files import writing
from tinygrad_med.data import mrnet
from tinygrad_med.data.mrnet import LABELS, PLANES
from tinygrad_med.data.phantoms import knees
from tinygrad_med.models.mrnet import MRNet
from tinygrad_med.series_cam import explain

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

from mrnet import begin_local  # noqa: E402  # the example

BLOCK = -2  # before AlexNet's last pooling: 13×13 places


def tell(out: Path, data: Path, args: argparse.Namespace, *more: str) -> list[dict[str, str]]:
    """Run the example, or what is left of an earlier run of it; its history."""
    if len(history(out)) < args.epochs:
        options = f"--phantoms {args.exams} --weights random --lr {args.lr} --epochs {args.epochs} --no-augment --quiet"
        command = [
            sys.executable,
            EXAMPLES / "mrnet.py",
            "--data",
            data,
            *options.split(),
            "--slices",
            *map(str, args.slices),
        ]
        again = ["--resume"] if history(out) else []
        subprocess.run([*command, "--out", out, *more, *again], check=True)
    return history(out)


def history(out: Path) -> list[dict[str, str]]:
    """The epochs that a run has behind it."""
    if not (out / "history.csv").exists():
        return []
    with (out / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Found(NamedTuple):
    """Of one positive label of one exam."""

    label: str
    slice: bool
    """Whether the slice that contributed most cuts the lesion."""
    place: bool
    """Whether the maps' maximum lies in the lesion."""
    own: bool
    """Whether it lies in the label's own lesion; a torn knee is abnormal for its tear, too."""
    brightest: bool
    """Whether the brightest pixel of a slice that cuts the lesion lies in it."""


def look_for_lesions(root: Path, weights: Path | None) -> list[Found]:
    """Explain every positive label of the validation exams, by the trained model or by one that has learned nothing."""
    exams = mrnet.Exams(root, "valid", check_counts=False)
    lesions = knees.read_lesions(root, "valid")
    model = MRNet(3)
    if weights is None:
        tm.manual_seed(0)
        begin_local(model)
    else:
        model.load_state_dict(tm.load(weights))
    model.eval()
    found = []
    for i, exam in enumerate(exams.ids):
        series = exams[i].series
        explained = explain(model, [tm.tensor(one) for one in series], LABELS, block=BLOCK)
        for k, label in enumerate(LABELS):
            if exams.labels[i, k]:
                known = {name: lesions.get((exam, name), []) for name in (LABELS if label == "abnormal" else (label,))}
                cuts = [cut for of_label in known.values() for cut in of_label]
                plane, number = explained.top_slice(k)
                peak = explained.peak(k)
                largest = max(cuts, key=lambda cut: cut.radius)
                picture = series[PLANES.index(largest.plane)][largest.slice, 0]
                pixel = np.unravel_index(picture.argmax(), picture.shape)
                found.append(
                    Found(
                        label,
                        (plane, number) in {(cut.plane, cut.slice) for cut in cuts},
                        inside(cuts, peak.series, peak.slice, peak.row, peak.column),
                        inside(known[label], peak.series, peak.slice, peak.row, peak.column),
                        inside(cuts, largest.plane, largest.slice, float(pixel[0]), float(pixel[1])),
                    )
                )
    return found


def inside(cuts: list[knees.Cut], plane: str, number: int, row: float, column: float) -> bool:
    """Whether a pixel of a cropped slice lies in one of the lesions."""
    edge = (mrnet.SIZE - mrnet.CROP) // 2
    row, column = round(row + edge), round(column + edge)
    return any(cut.mask()[row, column] for cut in cuts if (cut.plane, cut.slice) == (plane, number))


def best(history: list[dict[str, str]]) -> dict[str, str]:
    """The epoch whose weights were kept: the last one with the highest mean."""
    return max(reversed(history), key=lambda row: float(row["valid_auc_mean"]))


def main() -> None:
    """All of it, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exams", type=int, default=96, help="to learn from; half as many to test")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--slices", type=int, nargs=2, default=(6, 7), help="of a series, the fewest and the most")
    parser.add_argument("--folder", type=Path, default=Path("runs/mrnet_phantoms"))
    args = parser.parse_args()
    root, folder = args.folder / "exams", args.folder

    row = best(tell(folder / "full", root, args))
    found = look_for_lesions(root, folder / "full" / "best.safetensors")
    untrained = look_for_lesions(root, None)

    def share(answers: list[Found], what: str, label: str | None = None) -> str:
        hits = [getattr(one, what) for one in answers if label in (None, one.label)]
        return f"{sum(hits)} of {len(hits)}" if label else f"{np.mean(hits):.0%}"

    what = (
        f"{args.exams} phantom exams to learn from, {args.exams // 2} to test, {args.slices[0]} to {args.slices[1]} "
        f"slices a series; {args.epochs} epochs of Adam at {args.lr} from random weights, pictures of 224×224."
    )
    own = sum(one.own for one in found if one.label == "abnormal")
    lines = [
        f"# {__doc__.splitlines()[0]}",
        "",
        what,
        "",
        "| label | AUC | slice that contributed most cuts the lesion | Grad-CAM's maximum lies in the lesion |",
        "|---|--:|--:|--:|",
    ]
    for label in LABELS:
        cells = f"{share(found, 'slice', label)} | {share(found, 'place', label)}"
        lines.append(f"| {label} | {float(row[f'valid_auc_{label}']):.3f} | {cells} |")
    mean = float(row["valid_auc_mean"])
    lines += [
        f"| all | {mean:.3f} | {share(found, 'slice')} | {share(found, 'place')} |",
        f"| all, before training | | {share(untrained, 'slice')} | {share(untrained, 'place')} |",
        f"| all, the brightest pixel of the best slice instead | | | {share(found, 'brightest')} |",
        "",
        f"A torn knee is abnormal for its tear, too; {own} of the maxima for abnormal lie in the effusion.",
        "",
    ]
    bars = [
        ("mean AUC", mean, 0.95),
        ("right slices", np.mean([one.slice for one in found]), 0.9),
        ("right places", np.mean([one.place for one in found]), 0.8),
    ]
    lines += [
        f"- {name}: {value:.3f}, at least {bar}: {'as asked' if value >= bar else 'MISSED'}"
        for name, value, bar in bars
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
    page = Image.open(min((folder / "full").glob("exam-*.png"))).convert("RGB")
    page.thumbnail((1400, 1400))
    with writing(RESULTS / "mrnet_phantoms.jpg") as path:
        page.save(path, format="JPEG", quality=85)


if __name__ == "__main__":
    main()
