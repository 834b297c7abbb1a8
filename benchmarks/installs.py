"""Does the wheel work where it is installed, on every Python that is here?

    python benchmarks/installs.py [--pythons python3.10 python3.13 …]

Builds the wheel from the sdist, and installs it in new environments, two for each Python: with the lowest versions of
its requirements that pyproject.toml allows and this Python has wheels of, and with the newest. In each, NumPy alone
beside the wheel, it is imported and trains a small network. Then come the packages that the examples read and draw
with: the core's tests run away from the source, the first command of the README runs on phantoms, and `mypy --strict`
passes a small program of a user's. Each row is kept in `results/installs.csv`, where a later run replaces those of its
Pythons. Pythons are found on the path, also as another project's, such as `~/.pyenv/versions/3.12.1/bin`.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("results") / "installs.csv"
NAMES = [f"python3.{minor}" for minor in range(10, 15)]
MUST_HOLD = ("py.typed", "core/methods.pyi", "explain/web/index.html", "explain/web/main.js", "explain/web/style.css")
FIRST = ("examples/medical_mnist.py", "--phantoms", "40", "--model", "linear", "--epochs", "1", "--out", "run")
TESTS = ("tests/test_backward.py", "tests/test_tensor.py", "tests/test_plots.py", "tests/engine/test_signatures.py")
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

PROGRAM = """
import tinygrad_med as torch
from tinygrad_med import Tensor, nn, optim


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, width)
        self.out = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(torch.tanh(self.hidden(x)))  # a module may return anything
        return z


def train(net: Net, steps: int) -> float:
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(16, 2)
    loss: Tensor = torch.zeros(())
    for _ in range(steps):
        loss = nn.functional.mse_loss(net(x), x.sum(1, keepdim=True) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    (slope,) = torch.grad(net(x).sum(), [net.out.weight])
    assert slope is not None and slope.shape == (1, 4)
    return loss.item()


print(train(Net(4), 3))
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
    run(python, "-m", "pip", "install", "--quiet", "build", "uv")
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    if missing := [name for name in MUST_HOLD if f"tinygrad_med/{name}" not in names]:
        raise SystemExit(f"{wheel.name} lacks {', '.join(missing)}")
    return wheel


def bounds() -> list[str]:
    """The requirements of pyproject.toml with their lower bounds: NumPy, and the extras examples and dicom."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    parts = re.findall(r"^(?:dependencies|examples|dicom) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    return sorted({found for part in parts for found in re.findall(r'"([\w-]+>=[\d.]+)"', part)})


def check(python: str, wheel: Path, uv: Path, folder: Path, how: str) -> list[str]:
    """Install and try the wheel; a row of the table."""
    print(f"{python}, {how} versions", flush=True)
    run(uv, "venv", "--quiet", "--python", shutil.which(python) or python, folder)
    own = folder / "bin" / "python"
    install = (uv, "pip", "install", "--quiet", "--python", own, "--only-binary", ":all:")
    chosen = ("--resolution", "lowest-direct") if how == "lowest" else ()
    run(*install, *chosen, wheel, *(one for one in bounds() if one.startswith("numpy>")))
    run(own, "-c", TRAINING, cwd=folder)
    run(*install, *chosen, f"{wheel}[examples,dicom]", *bounds())
    run(*install, "pytest", "expecttest", "hypothesis", "safetensors", "mypy")
    apart = folder / "apart"  # the tests and the examples without the package beside them
    for name in ("tests", "examples"):
        shutil.copytree(ROOT / name, apart / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", apart)
    last = run(own, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, cwd=apart).strip().splitlines()[-1]
    run(own, *FIRST, cwd=apart)
    (folder / "program.py").write_text(PROGRAM, "utf-8")
    run(own, "program.py", cwd=folder)
    run(own, "-m", "mypy", "--strict", "--cache-dir", folder / "mypy", "program.py", cwd=folder)
    ask = "import sys, importlib.metadata as m; print(sys.version.split()[0], *map(m.version, sys.argv[1:]))"
    versions = run(own, "-c", ask, *PACKAGES).split()
    return [python, how, *versions, "trained", re.sub(r" in .*", "", last), "a page", "passes"]


def main() -> None:
    """Print the table and write it to results/."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--pythons", nargs="+", help="commands; default: python3.10 … that are here")
    pythons = parser.parse_args().pythons
    pythons = pythons or [name for name in NAMES if works(name)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheel = build(folder)
        uv = folder / "build" / "bin" / "uv"
        for one in pythons:
            for how in ("lowest", "newest"):
                write(check(one, wheel, uv, folder / f"{one}-{how}", how))
    print(RESULT.with_suffix(".md").read_text("utf-8"))


def write(row: list[str]) -> None:
    """Keep a row, and write the table of all."""
    rows = []
    if RESULT.exists():
        with RESULT.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    rows = sorted([*(other for other in rows if other[:2] != row[:2]), row], key=lambda one: (minor(one[0]), one[1]))
    with RESULT.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    about = (
        "`python benchmarks/installs.py`: the wheel, built from the sdist, in new environments; of each Python the "
        "first row has the lowest versions that pyproject.toml allows and it has wheels of, the second the newest. "
        "Tests are skipped for want of PyTorch."
    )
    titles = ["Python", *PACKAGES, "with NumPy alone", "the core's tests", "the first command", "`mypy --strict`"]
    lines = ["# Does the wheel work where it is installed?", "", about, "", f"| {' | '.join(titles)} |"]
    lines += [f"|{'---|' * len(titles)}", *(f"| {' | '.join(one[2:])} |" for one in rows)]
    if absent := [name for name in NAMES if name not in {one[0] for one in rows}]:
        lines += ["", f"Not tried: {', '.join(absent)}."]
    RESULT.with_suffix(".md").write_text("\n".join([*lines, ""]), "utf-8")


def minor(python: str) -> int:
    """Of python3.10 the 10, for the order of the rows."""
    return int(python.rpartition(".")[2])


def works(python: str) -> bool:
    """Whether there is such a command, and it starts."""
    return (
        bool(shutil.which(python)) and not subprocess.run([python, "-V"], check=False, capture_output=True).returncode
    )


if __name__ == "__main__":
    main()
