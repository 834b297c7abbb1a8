"""examples/check_your_own_op.py tells its story: two mistakes found, named, and mended."""

from __future__ import annotations

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "check_your_own_op.py"


def test_both_mistakes_are_found_and_mended(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(EXAMPLE)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    text = capsys.readouterr().out
    assert "huber, derivative of order 1 with respect to x: the wrong branch for some values" in text
    assert "wrong only where -3 ≤ x ≤ -2 (2 elements), right elsewhere" in text
    assert "depthwise, derivative of order 1 with respect to x: in reversed order" in text
    assert text.count("mended: ∂x") == 2
    assert text.count("ok (20 examples") == 2
