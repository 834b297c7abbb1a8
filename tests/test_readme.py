"""The README stays true: its code runs, its numbers are the results', its paths exist."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_architecture import HOUSE, MAY_IMPORT
from tinygrad_med.testing import GradcheckError

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = ("README.md", "benchmarks/README.md", "tinygrad_med/README.md", ".github/CONTRIBUTING.md")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block(words: str) -> str:
    """The one block of code that has these words."""
    (code,) = [block for block in BLOCKS if words in block]
    return code


def test_the_tables_are_those_of_the_results():
    command = [sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr or "run: python benchmarks/readme.py"


def test_missed_claims_are_called_so():
    """A claim whose number breaks its bar can't be called kept: the verdict stands beside both in the result."""
    rows = [row.split("|")[1:-1] for row in README.split("<!-- claims -->")[1].splitlines() if row.startswith("| ")]
    assert len(rows) > 10
    for what, number, bar, verdict, _ in rows[1:]:
        limit = re.fullmatch(r" at (most|least) ([\d.]+)%? ", bar)
        if limit:
            measured, bound = float(re.match(r" ([\d.]+)", number)[1]), float(limit[2])
            kept = measured <= bound if limit[1] == "most" else measured >= bound
            assert verdict.strip() == ("as asked" if kept else "**MISSED**"), what


# ---------------------------------------------------------------- the code


def test_the_code_gives_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a page is written
    blocks = [block for block in BLOCKS if ">>>" in block]
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README.md", "README.md", 0)
    space = test.globs
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    result = runner.run(test, clear_globs=False)
    assert result.attempted > 10
    assert result.failed == 0

    exec(block("@given"), space)
    with pytest.raises(GradcheckError):  # for the rule that was given last
        space["test_cube"]()
    space["cube"].vjp(x=lambda g, x: 3 * g * x**2)
    space["test_cube"]()


def test_your_own_pictures(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")
    rng = np.random.default_rng(0)
    for name, bright in (("abdomen", slice(0, 32)), ("chest", slice(32, 64))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 100, (64, 64))
            pixels[bright] += 150
            image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / name / f"{i}.png")
    image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "new.png")
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    exec(block("from_folder"), space)
    assert capsys.readouterr().out.splitlines()[-1].startswith(("abdomen ", "chest "))
    with image.open(tmp_path / "where.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    sys.modules["matplotlib.pyplot"].close("all")


def test_the_imports_to_swap_are_there():
    table = README.split("| instead of | write |")[1].split("\n\n")[0]
    lines = re.findall(r"\| `((?:import|from) tinygrad_med[^`]*)` \|$", table, re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        exec(line, {})


def formatted(code: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "readme.py", "-"]
    return subprocess.run(command, check=True, input=code, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_code_is_in_the_linters_format(code):
    pytest.importorskip("ruff", reason="ruff is not installed: pip install ruff")
    if ">>>" in code:
        for example in doctest.DocTestParser().get_examples(code):
            assert formatted(example.source) == example.source
    else:
        assert formatted(code) == code


# ---------------------------------------------------------------- what is named


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_exist(page):
    text, folder = (ROOT / page).read_text("utf-8"), (ROOT / page).parent
    named = {path for path in re.findall(r"\]\(((?!http|#)[^)#]+)", text) if not (folder / path).exists()}
    named |= {
        path for path in re.findall(r"python ((?:examples|benchmarks)/\w+\.py)", text) if not (ROOT / path).exists()
    }
    assert named == set()


def test_the_options_that_are_named_exist():
    """In the commands of the README, every option is one that the example takes."""
    commands = re.findall(r"python (examples/\w+\.py)((?: --?[\w-]+(?: (?!-)[\w.]+)*)+)", README)
    assert commands
    for script, options in commands:
        help_ = subprocess.run(
            [sys.executable, script, "--help"],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ).stdout
        assert [option for option in re.findall(r"--[\w-]+", options) if option not in help_] == []


def test_the_reading_order_is_the_import_order():
    """The parts that the README's numbered list names come in the order in which they may import each other."""
    section = README.split("## Reading order")[1].split("\n## ")[0]
    numbered = "\n".join(re.findall(r"^\d\. .*(?:\n   .*)*", section, re.MULTILINE))
    parts = [
        name.rstrip("/").removesuffix(".py").split("/")[0]
        for name in re.findall(r"tinygrad_med/([\w/]+(?:\.py)?)", numbered)
    ]
    order = [HOUSE.index(part) for part in dict.fromkeys(parts) if part in HOUSE]
    assert len(order) > 4
    assert order == sorted(order)


def test_the_map_has_every_part_and_says_what_it_may_use():
    table = (ROOT / "tinygrad_med" / "README.md").read_text("utf-8").split("| part | what it is | may use |")[1]
    rows = [row.split("|")[1] for row in table.split("\n\n")[0].splitlines() if row.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(MAY_IMPORT)
