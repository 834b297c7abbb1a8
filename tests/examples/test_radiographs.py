"""The example, on a handful of small pictures: the page is whole, mistakes are told in words, and the rule warns."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med import nn
from tinygrad_med.learner import Learner

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install pillow")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        spec = importlib.util.spec_from_file_location("radiographs", EXAMPLES / "radiographs.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "radiographs", module)  # dataclasses look there for their module
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def data(tmp_path):
    """8 + 4 + 2 pictures, the abdomen bright on top, the chest below."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for name, bright in (("abd", slice(0, 24)), ("chest", slice(24, 48))):
            for i in range(count):
                file = tmp_path / "data" / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 100, (48, 44))
                pixels[bright] += 150
                pillow.fromarray(pixels.astype(np.uint8)).save(file)
    return tmp_path / "data"


def run(example, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["radiographs.py", *map(str, arguments)])
    return example.main()


def test_one_command_makes_the_page(example, data, tmp_path, monkeypatch):
    monkeypatch.setattr(Learner.lr_find, "__defaults__", (1e-7, 10.0, 16, True, True))  # 16 steps instead of 100
    pillow.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "other.png")
    out = tmp_path / "out"
    arguments = ["--data", data, "--weights", "none", "--size", 32, "--epochs", 1, "--out", out]
    assert run(example, monkeypatch, *arguments, "--surprise", tmp_path / "other.png") == 0
    page = (out / "index.html").read_text("utf-8")
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert sorted(file.name for file in out.glob("*.png")) == sorted(shown) and len(shown) == 14
    assert [int(number) for number in re.findall(r"<h2>(\d+)\. ", page)] == list(range(1, 16))
    for text in re.findall(r"<p>(.*?)</p>", page.replace("\n", " ")):
        assert len(re.sub("<table.*", "", text)) > 60
    assert not list(out.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "nowhere"], "nothing at nowhere"),
        (["--weights", "medical-mnist"], "run examples/pretrain.py, or choose other --weights"),
        (["--weights", "none", "--lr", "1e4"], "too high"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numbers that are too large, on purpose
def test_what_goes_wrong_is_told_in_one_line(example, data, tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.setattr(Learner.lr_find, "__defaults__", (1e-7, 10.0, 16, True, True))
    given = ["--data", data, "--size", 32, "--epochs", 2, "--out", tmp_path / "out", *arguments]
    assert run(example, monkeypatch, *given) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("cuda: CuPy is not installed"), ImportError("needs tqdm")])
def test_what_is_not_installed_is_told_in_one_line(example, data, tmp_path, monkeypatch, capsys, error):
    def tell(*_):
        raise error

    monkeypatch.setattr(example, "tell", tell)
    assert run(example, monkeypatch, "--data", data, "--out", tmp_path / "out") == 1
    assert capsys.readouterr().err == f"{error}\n"


def test_the_page_is_there_before_an_error(example, tmp_path):
    page = example.Page(tmp_path)
    for n, title in enumerate(("first", "second"), 1):
        page.add(title, "text")
        assert (tmp_path / "index.html").read_text("utf-8").count("<h2>") == n


def test_entropy(example):
    assert example.entropy(np.array([0.5, 0.5])) == pytest.approx(1) and example.entropy(np.array([1.0, 0.0])) == 0


def test_what_points_elsewhere_is_unfamiliar(example):
    """Features along two axes are known; one along a third is not, one between the two is."""

    def images(*vectors):
        return [(np.array(vectors, np.float32).reshape(-1, 3, 1, 1),)]

    known = images([1, 0.1, 0], [0.1, 1, 0])
    dls = SimpleNamespace(
        train=SimpleNamespace(dataset=SimpleNamespace(images=SimpleNamespace(files=known))),
        valid=[(torch.from_numpy(x),) for (x,) in images([1, 0.8, 0.2])],
        test_dl=lambda files: [(torch.from_numpy(x),) for (x,) in files],
    )
    learn = SimpleNamespace(dls=dls, model=nn.Sequential(nn.Identity()), tensors=list)
    familiar = example.Familiar(learn)
    distances = familiar.distances(dls.test_dl(images([5, 1, 0], [0, 0, 2])))
    assert distances[0] < familiar.threshold < distances[1]
