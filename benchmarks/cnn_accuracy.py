"""Does the small CNN reach 99.5% on the validation images of Medical MNIST within two epochs?

    python benchmarks/cnn_accuracy.py --data <folder or zip> [--seeds 0 1 2]

Runs `examples/medical_mnist.py --model cnn` as a reader would, once for each seed.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import RESULTS, machine

from tinygrad_med._files import writing

EXAMPLE = Path(__file__).parents[1] / "examples" / "medical_mnist.py"
EPOCHS, MARK = 2, 0.995


def run(seed: int, data: Path) -> list[float]:
    """The validation accuracy after each epoch."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, EXAMPLE, "--model", "cnn", "--epochs", str(EPOCHS), "--seed", str(seed)]
        subprocess.run([*command, "--data", data, "--out", out], check=True)
        with (Path(out) / "history.csv").open(newline="") as file:
            return [float(row["valid_accuracy"]) for row in csv.DictReader(file)]


def main() -> None:
    """Run, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the real images: folder or zip")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    header = " | ".join(f"after epoch {epoch + 1}" for epoch in range(EPOCHS))
    lines = [
        f"# {__doc__.splitlines()[0]}",
        "",
        f"{machine()}.",
        "",
        f"| seed | {header} | |",
        f"|---|{'--:|' * EPOCHS}---|",
    ]
    for seed in args.seeds:
        found = run(seed, args.data)
        verdict = "as asked" if max(found) >= MARK else "MISSED"
        lines.append(f"| {seed} | {' | '.join(f'{accuracy:.2%}' for accuracy in found)} | {verdict} |")
    text = "\n".join(lines) + "\n"
    print(text)
    with writing(RESULTS / "cnn_accuracy.md") as path:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
