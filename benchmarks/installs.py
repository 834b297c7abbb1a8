"""Does the wheel work where it is installed, on every Python that is here?

    python benchmarks/installs.py [--pythons python3.10 python3.13 …]

Builds the wheel from the sdist, and installs it in new environments: the oldest Python gets the lowest versions that
pyproject.toml allows, the others the newest. In each, NumPy alone beside the wheel, it is imported and trains a small
network; then, with what the examples read and draw with, the core's tests run, away from the source.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("results") / "installs.md"
MINORS = range(10, 15)
MUST_HOLD = ("py.typed", "core/methods.pyi", "explain/web/index.html", "explain/web/main.js", "explain/web/style.css")
TESTS = ("tests/test_backward.py", "tests/test_tensor.py", "tests/engine/test_signatures.py")
PACKAGES = ("numpy", "pillow", "pandas", "matplotlib")
TRAINING = """
import tinygrad_med as torch
from tinygrad_med import nn, optim
torch.manual_seed(0)
x = torch.randn(64, 2)
y = (x[:, 0] * x[:, 1] > 0).long()
net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = optim.Adam(net.parameters(), lr=0.05)
for _ in range(200):
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
assert loss.item() < 0.1, loss
"""


def run(*command: object, cwd: Path | None = None) -> str:
    """What the command prints; its failure ends the program with the last of it."""
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def build(folder: Path) -> Path:
    """The wheel, made from the sdist."""
    run(sys.executable, "-m", "venv", folder / "build")
    python = folder / "build" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "build")
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    if missing := [name for name in MUST_HOLD if f"tinygrad_med/{name}" not in names]:
        raise SystemExit(f"{wheel.name} lacks {', '.join(missing)}")
    return wheel


def lowest() -> list[str]:
    """The lower bounds of pyproject.toml, for NumPy and the extras examples and dicom, as requirements."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    parts = re.findall(r"^(?:dependencies|examples|dicom) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    return sorted({found.replace(">=", "==") for part in parts for found in re.findall(r'"([\w-]+>=[\d.]+)"', part)})


def check(python: str, wheel: Path, folder: Path, pins: list[str]) -> str:
    """Install and try the wheel; a row of the table."""
    print(f"{python}, {'lowest' if pins else 'newest'} versions", flush=True)
    run(python, "-m", "venv", folder)
    own = folder / "bin" / "python"
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n", "utf-8")
    install = (own, "-m", "pip", "install", "--quiet", "--constraint", constraints)
    run(*install, wheel)
    run(own, "-c", TRAINING, cwd=folder)
    run(*install, f"{wheel}[examples,dicom]", "pytest", "expecttest", "safetensors")
    apart = folder / "tests-alone"  # without the package beside them
    shutil.copytree(ROOT / "tests", apart / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", apart)
    last = run(own, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, cwd=apart).strip().splitlines()[-1]
    ask = "import sys, importlib.metadata as m; print(sys.version.split()[0], *map(m.version, sys.argv[1:]))"
    versions = run(own, "-c", ask, *PACKAGES).split()
    return f"| {' | '.join(versions)} | trained | {re.sub(r' in .*', '', last)} |"


def main() -> None:
    """Print the table and write it to results/."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--pythons", nargs="+", help="commands, the oldest first; default: python3.10 … that are here")
    pythons = parser.parse_args().pythons
    absent = []
    if not pythons:
        names = [f"python3.{minor}" for minor in MINORS]
        pythons = [name for name in names if works(name)]
        absent = [name for name in names if name not in pythons]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheel = build(folder)
        rows = [check(python, wheel, folder / str(i), lowest() if i == 0 else []) for i, python in enumerate(pythons)]
    about = (
        "`python benchmarks/installs.py`: the wheel, built from the sdist, in new environments; the first row has the "
        "lowest versions that pyproject.toml allows, the others the newest. Tests are skipped for want of PyTorch."
    )
    lines = ["# Does the wheel work where it is installed?", "", about, ""]
    lines += [f"| Python | {' | '.join(PACKAGES)} | with NumPy alone | the core's tests |"]
    lines += [f"|{'---|' * (len(PACKAGES) + 3)}", *rows, ""]
    if absent:
        lines += [f"Not here, so not tried: {', '.join(absent)}.", ""]
    text = "\n".join(lines)
    RESULT.write_text(text, "utf-8")
    print(text)


def works(python: str) -> bool:
    """Whether there is such a command, and it starts."""
    return (
        bool(shutil.which(python)) and not subprocess.run([python, "-V"], check=False, capture_output=True).returncode
    )


if __name__ == "__main__":
    main()
