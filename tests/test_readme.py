"""The README stays true: its code runs, its tables are the results', its paths exist."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_architecture import HOUSE
from tinygrad_med.testing import GradcheckError

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_tables_are_those_of_the_results():
    command = [sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr or "run: python benchmarks/readme.py"


def test_the_code_gives_what_it_says():
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if ">>>" in block]
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README.md", "README.md", 0)
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.attempted > 10
    assert result.failed == 0


def test_the_diagnosis_is_what_check_op_says():
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "check_op(huber" in block]
    printed = README.split(code)[1].split("```")[2].strip()
    with pytest.raises(GradcheckError) as caught:
        exec(code, {})
    assert printed == f"GradcheckError: {caught.value}".strip()


def test_the_paths_exist():
    named = set(re.findall(r"\]\(((?!http|#)[^)#]+)", README)) | set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README))
    named |= set(re.findall(r"python ((?:examples|benchmarks)/\w+\.py)", README))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_reading_order_is_the_import_order():
    """The rooms that the README's reading order names come in the order in which they may import each other."""
    section = README.split("## Reading order")[1].split("\n## ")[0]
    rooms = [
        name.rstrip("/").removesuffix(".py").split("/")[0]
        for name in re.findall(r"tinygrad_med/([\w/]+(?:\.py)?)", section)
    ]
    order = [HOUSE.index(room) for room in dict.fromkeys(rooms) if room in HOUSE]
    assert len(order) > 4
    assert order == sorted(order)
