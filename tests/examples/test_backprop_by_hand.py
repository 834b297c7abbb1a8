"""The course: its pages hold numbers that NumPy alone can check, and its answers are what they say.

The script runs once, in a process of its own; here nothing of the engine is used but for comparison.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SMALL = ["chain", "fork", "broadcast", "classifier", "convolution", "batch_norm"]
PAGES = [*SMALL, "grad_cam"]


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> dict[str, str]:
    """The HTML of every page."""
    out = tmp_path_factory.mktemp("course")
    command = [sys.executable, "-W", "error", "examples/backprop_by_hand.py", "--out", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"open {out / 'index.html'}"
    assert {path.name for path in out.iterdir()} == {*(f"{page}.html" for page in PAGES), "index.html", "run.txt"}
    return {path.stem: path.read_text("utf-8") for path in out.glob("*.html")}


def trace_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="trace">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def array(values: dict[str, Any]) -> np.ndarray:
    """The numbers of the page, as float64."""
    return np.array([float(x) for x in values["numbers"]]).reshape(values["shape"])


def gradient(trace: dict[str, Any], name: str) -> np.ndarray:
    """What the last walk brought to the tensor of that name."""
    found = [step for step in trace["walks"][-1]["steps"] if trace["tensors"][step["tensor"]]["name"] == name]
    return array(found[-1]["upstream"])


def value(trace: dict[str, Any], name: str) -> np.ndarray:
    return array([t for t in trace["tensors"] if t["name"] == name][-1]["values"])


# ---------------------------------------------------------------- every contribution and every sum, by NumPy


@pytest.mark.parametrize("name", PAGES)
def test_every_contribution_is_upstream_times_local(course, name):
    trace = trace_of(course[name])
    checked, without = 0, []
    for walk in trace["walks"]:
        for step in walk["steps"]:
            for contribution in step["contributions"]:
                if contribution is None:
                    continue
                operand = trace["nodes"][step["node"]]["operands"][contribution["operand"]]
                if operand["jacobian"] is None:
                    without.append(trace["tensors"][operand["tensor"]]["name"])
                    continue
                jacobian = np.zeros(operand["jacobian"]["shape"])
                for (i, j), factor in zip(operand["jacobian"]["at"], operand["jacobian"]["numbers"], strict=True):
                    jacobian[i, j] += float(factor)
                expected = array(step["upstream"]).ravel() @ jacobian
                found = array(contribution["values"])
                scale = np.abs(array(step["upstream"])).max(initial=1) * np.abs(jacobian).max(initial=1)
                np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5, atol=1e-5 * scale)
                checked += 1
    assert checked > 2
    if name in SMALL:
        assert without == (["weights"] if name == "classifier" else [])  # 6 × 64 × 64 numbers, held below


@pytest.mark.parametrize("name", SMALL)
def test_every_gradient_is_the_sum_of_what_was_contributed(course, name):
    trace = trace_of(course[name])
    for walk in trace["walks"]:
        waiting: dict[int, Any] = {}
        for step in walk["steps"]:
            if step["seed"]:
                assert array(step["upstream"]) == 1
            elif step["upstream"]["numbers"] is not None:
                np.testing.assert_allclose(array(step["upstream"]), waiting[step["tensor"]], rtol=1e-5, atol=1e-6)
            for contribution in step["contributions"]:
                if contribution is not None and contribution["values"]["numbers"] is not None:
                    tensor = contribution["tensor"]
                    waiting[tensor] = waiting.get(tensor, 0) + array(contribution["values"])


# ---------------------------------------------------------------- the answers


def test_chain(course):
    trace = trace_of(course["chain"])
    assert gradient(trace, "x") == 2 * 7 * 1 * 3 == 42
    assert "14 × 1 × 3 = 42" in course["chain"] and "it grows by 0.042009" in course["chain"]


def test_fork(course):
    trace = trace_of(course["fork"])
    assert gradient(trace, "a") == 6 + 6 + 1
    assert gradient(trace, "x") == 26


def test_broadcast(course):
    trace = trace_of(course["broadcast"])
    moved = np.array([[1.5, 1], [3.5, 3], [5.5, 5]])  # points + shift
    np.testing.assert_allclose(gradient(trace, "shift"), (2 * moved).sum(0))


def test_classifier_has_softmax_minus_one_hot(course):
    trace = trace_of(course["classifier"])
    scores = value(trace, "scores")
    softmax = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    one_hot = np.eye(6)[5]
    np.testing.assert_allclose(gradient(trace, "scores"), softmax - one_hot, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradient(trace, "bias"), softmax - one_hot, rtol=1e-5, atol=1e-7)
    shown = re.findall(r"<td>HeadCT</td><td>(\S+?)</td><td>1</td><td>(\S+?)</td><td>(\S+?)</td>", course["classifier"])
    np.testing.assert_allclose(np.array(shown, float), [[softmax[5], softmax[5] - 1, softmax[5] - 1]], rtol=1e-3)


def test_convolution_has_a_convolution(course):
    trace = trace_of(course["convolution"])
    image, z, edge = (value(trace, name)[0, 0] for name in ("image", "z", "edge"))
    windows = np.lib.stride_tricks.sliding_window_view
    np.testing.assert_allclose(z, (windows(image, (3, 3)) * edge).sum((2, 3)))
    np.testing.assert_allclose(gradient(trace, "edge")[0, 0], (windows(image, (3, 3)) * z).sum((2, 3)))
    turned = (windows(np.pad(z, 2), (3, 3)) * edge[::-1, ::-1]).sum((2, 3))
    np.testing.assert_allclose(gradient(trace, "image")[0, 0], turned)


def test_batch_norm_gradient_has_no_mean_and_no_stretch(course):
    trace = trace_of(course["batch_norm"])
    g, z = gradient(trace, "x"), value(trace, "z")
    assert abs(g.sum()) < 1e-5 and abs((g * z).sum()) < 1e-4 < abs(g).max()


def test_grad_cam_walks_back_no_further_than_it_must(course):
    trace = trace_of(course["grad_cam"])
    first, second = trace["walks"]
    assert (first["kind"], second["kind"]) == ("grad", "backward")
    assert len(first["steps"]) < 8 < 50 < len(second["steps"])
    (deviation,) = re.findall(r"at most (\S+) from what", course["grad_cam"])
    assert float(deviation) < 1e-5
    assert len(course["grad_cam"].encode()) < 3e6


UNWATCHED = """
import contextlib, re, sys
import numpy as np
import tinygrad_med as torch
from tinygrad_med import explain

explain.watch = contextlib.nullcontext
out, file = sys.argv.pop(), sys.argv.pop()
source = open("examples/backprop_by_hand.py", encoding="utf-8").read()
cells = re.split(r"^# %%.*$", source, flags=re.MULTILINE)
course = {"__doc__": source.split('"' * 3)[1], "__name__": "course"}
exec(cells[1], course)
course |= {"show": lambda *_: None, "step_back": lambda *_: ""}
found = {}
for page, cell in zip(course["PAGES"], cells[2:]):
    exec(cell, course)
    tensors = {name: t for name, t in course.items() if isinstance(t, torch.Tensor)}
    for name in tensors:
        del course[name]
    if page == "grad_cam":
        tensors |= course["model"].named_parameters()
    found |= {f"{page}/{name}": t.grad.numpy() for name, t in tensors.items() if t.is_leaf and t.grad is not None}
    if page == "classifier":
        found["scan"] = tensors["scan"].numpy()
np.savez(file, **found)
"""


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory) -> dict[str, np.ndarray]:
    """The gradients of the same computations in a process of their own, with no one watching; and the scan."""
    folder = tmp_path_factory.mktemp("unwatched")
    command = [sys.executable, "-W", "error", "-c", UNWATCHED, "--out", str(folder), str(folder / "found.npz"), ""]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "found.npz") as found:
        return dict(found)


@pytest.mark.parametrize("name", PAGES)
def test_the_leaves_have_the_gradients_of_backward_in_another_process(course, unwatched, name):
    trace = trace_of(course[name])
    expected = {key.split("/")[1]: g for key, g in unwatched.items() if key.startswith(f"{name}/")}
    leaves = {
        trace["tensors"][step["tensor"]]["name"]: step["upstream"]
        for step in trace["walks"][-1]["steps"]
        if step["node"] is None
    }
    assert leaves.keys() == expected.keys() and leaves
    for leaf, values in leaves.items():
        g = expected[leaf]
        if values["numbers"] is not None:
            rounding = 1e-6 if name == "batch_norm" else 0  # its last digit is another one with no one watching
            np.testing.assert_allclose(array(values).astype(g.dtype), g, rtol=rounding, atol=0)
        else:
            assert_summary(values["summary"], g)


def assert_summary(summary: dict[str, Any], a: np.ndarray) -> None:
    """What the page says of a large array, by NumPy."""
    a = a.astype("float64")
    found = [summary[name] for name in ("min", "max", "norm", "std")]
    np.testing.assert_allclose(found, [a.min(), a.max(), np.sqrt((a**2).sum()), a.std()], rtol=1e-5)
    assert summary["mean"] == pytest.approx(a.mean(), rel=1e-5, abs=1e-7 * abs(a).max())
    assert summary["zeros"] == pytest.approx((a == 0).mean())


def test_the_classifiers_weights_get_the_scan_times_the_upstream(course, unwatched):
    """The one contribution of the small pages that is too large for a Jacobian."""
    trace = trace_of(course["classifier"])
    (step,) = [s for s in trace["walks"][0]["steps"] if s["node"] is not None and _primitive(trace, s) == "einsum"]
    assert_summary(
        step["contributions"][0]["values"]["summary"], np.multiply.outer(array(step["upstream"]), unwatched["scan"])
    )


def _primitive(trace: dict[str, Any], step: dict[str, Any]) -> str:
    return trace["nodes"][step["node"]]["primitive"]


def test_the_index_leads_to_all_pages(course):
    assert re.findall(r'<a href="(\w+)\.html">\d\.', course["index"]) == PAGES
    for before, after in pairwise(PAGES):
        assert f'href="{after}.html">Next' in course[before] and f'href="{before}.html">← Before' in course[after]


@pytest.mark.parametrize("name", PAGES)
def test_answers_are_hidden_until_asked_for_and_point_to_steps(course, name):
    page = course[name]
    (answer,) = re.findall(r"<details><summary>Show the answer</summary>(.*?)</details>", page, re.DOTALL)
    assert "?" in page.split("</h1>")[1].split("<main>")[0]
    trace = trace_of(page)
    steps = len(trace["nodes"]) + sum(len(walk["steps"]) for walk in trace["walks"])
    for shown, target in re.findall(r'<a href="#step=(\d+)">step (\d+)</a>', answer):
        assert shown == target and 1 <= int(target) <= steps


def test_links_of_answers_go_to_the_step_that_they_name(course):
    trace = trace_of(course["fork"])
    a = next(t["id"] for t in trace["tensors"] if t["name"] == "a")
    step = next(s["id"] for s in trace["walks"][0]["steps"] if s["tensor"] == a)
    assert f'at <a href="#step={len(trace["nodes"]) + step + 1}">' in course["fork"]


# ---------------------------------------------------------------- as a notebook


def test_every_cell_runs_in_jupyter_and_shows_its_page(tmp_path, chromium):
    nbformat = pytest.importorskip("nbformat", reason="pip install nbformat nbclient ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
    nbconvert = pytest.importorskip("nbconvert", reason="pip install nbconvert")
    pytest.importorskip("ipykernel", reason="pip install ipykernel")
    text = (
        (ROOT / "examples" / "backprop_by_hand.py")
        .read_text("utf-8")
        .replace('Path("runs/backprop")', f"Path({str(tmp_path)!r})")
    )
    cells = re.split(r"^# %%.*\n", text, flags=re.MULTILINE)[1:]
    cells[0] = "__doc__ = " + repr(text.split('"""')[1]) + "\n" + cells[0]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells[:3]])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    titles = ["1. A chain", "2. A fork"]
    for cell, title in zip(notebook.cells[1:], titles, strict=True):
        (output,) = [o for o in cell.outputs if o.output_type == "execute_result"]
        assert "<iframe" in output.data["text/html"] and title in output.data["text/html"]
    file = tmp_path / "exported.html"
    file.write_text(nbconvert.HTMLExporter().from_notebook_node(notebook)[0], "utf-8")
    size = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chromium.get(file.as_uri())
    for title in titles:
        (frame,) = chromium.find_elements("css selector", f'iframe[title="{title}"]')
        chromium.execute_script("arguments[0].scrollIntoView()", frame)
        picture = np.asarray(Image.open(io.BytesIO(frame.screenshot_as_png)).convert("L"), "float64")
        assert picture.shape[0] > 600 and picture.shape[1] > 600
        left, right = np.array_split(picture, 2, 1)
        assert left.std() > 5 and right.std() > 5  # the graph and the step: neither is blank
        chromium.switch_to.frame(frame)
        assert chromium.execute_script("return document.querySelectorAll('#graph .node').length") >= 3
        assert chromium.execute_script("return document.querySelector('h1').textContent") == title
        chromium.execute_script("document.getElementById('forward').click()")
        assert chromium.execute_script("return document.getElementById('where').textContent").startswith("2 /")
        chromium.execute_script("app.go(4); document.querySelector('#step-pane a').click()")  # to the step before
        assert chromium.execute_script("return document.getElementById('where').textContent").startswith("4 /")
        chromium.switch_to.default_content()
    chromium.get("about:blank")
    for log in ("browser", "performance"):  # the notebook's own errors and requests are not another test's
        chromium.get_log(log)


# ---------------------------------------------------------------- its options


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--scans", "nowhere.zip"], r"error: .*nowhere\.zip.*"),
        (["--out", "other"], "error: --out other holds other files; choose a folder that is empty or not there yet"),
    ],
)
def test_a_mistake_is_one_line(options, text, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    command = [sys.executable, str(ROOT / "examples" / "backprop_by_hand.py"), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and re.fullmatch(text, done.stderr.strip())
    done = subprocess.run(
        [*command, "--debug"], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1 and "Traceback" in done.stderr
