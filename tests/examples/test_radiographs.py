"""The example, on a handful of small pictures: the page is whole, mistakes are told in words, own classes work."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import radiographs_page as pages
from PIL import Image

from examples import radiographs as example
from tinygrad_med.learner import Learner
from tinygrad_med.vision.all import load_learner


def paint(file, name, rng):
    """A picture whose bright stripe tells the class."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 100, (48, 44))
    start = 12 * (sum(map(ord, name)) % 4)
    pixels[start : start + 12] += 150
    Image.fromarray(pixels.astype(np.uint8)).save(file)


@pytest.fixture
def data(tmp_path):
    """8 + 4 + 2 pictures in the tutorial's layout."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for name in ("abd", "chest"):
            for i in range(count):
                paint(tmp_path / "data" / split / name / f"{i}.png", name, rng)
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(Learner.lr_find, "__defaults__", (1e-7, 10.0, 16, True, True))  # 16 steps instead of 100


def run(*arguments):
    return example.main([*map(str, arguments), "--weights", "none", "--size", "32"])


def headings(folder):
    page = (folder / "index.html").read_text("utf-8")
    return re.findall(r"<h2>(?:\d+\. )?(.*?)</h2>", page)


def test_one_command_makes_the_page(data, tmp_path, capsys):
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "other.png")
    out = tmp_path / "out"
    assert run("--data", data, "--epochs", 1, "--out", out, "--surprise", tmp_path / "other.png") == 0
    page = (out / "index.html").read_text("utf-8")
    shown = re.findall(r'<img src="([^"]+)" alt="[^"]{20,}"', page)
    assert sorted(file.name for file in out.glob("*.png")) == sorted(shown)
    assert len(shown) == 14
    assert [int(number) for number in re.findall(r"<h2>(\d+)\. ", page)] == list(range(1, 15))
    assert "32×32 pixels, on cpu" in page
    assert not list(out.glob("*.partial"))
    assert capsys.readouterr().out.splitlines()[-1] == f"The results: {out / 'index.html'}"

    film = data / "test" / "chest" / "0.png"
    assert run("--out", out, "--ask", film) == 0
    *answers, last = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in answers} == {"abd", "chest"}
    assert "whatever the picture shows" in last


@pytest.mark.parametrize("split", [True, False])
def test_classes_of_ones_own(split, tmp_path):
    """Three of them, one with a hostile name; with folders for training and validation, and without."""
    rng, own = np.random.default_rng(0), tmp_path / "own"
    for folder, count in (("train", 6), ("valid", 2)) if split else (("", 10),):
        for name in ("blob", "<b>x", "$x^$"):
            for i in range(count):
                paint(own / folder / name / f"{i}.png", name, rng)
    out = tmp_path / "out"
    assert (
        run(
            "--data",
            own,
            "--epochs",
            1,
            "--out",
            out,
            "--surprise",
            own / ("train" if split else "") / "blob" / "0.png",
        )
        == 0
    )
    found = headings(out)
    assert "Left out" in found
    assert not {"Does it look at the arrows?", "The same with equalized films"} & set(found)
    page = (out / "index.html").read_text("utf-8")
    assert "<b>" not in page
    assert "&lt;b&gt;x" in page


def test_ctrl_c_leaves_the_page_and_the_run_goes_on(data, tmp_path, capsys):
    given = ["--data", data, "--epochs", 2, "--surprise", data / "test" / "abd" / "0.png", "--out"]
    assert run(*given, tmp_path / "whole") == 0
    real, batches = Learner.one_batch, []

    def one_batch(learn, batch):
        batches.append(0)
        if len(batches) == 3:  # of one batch an epoch: the second of the unfrozen ones
            raise KeyboardInterrupt
        return real(learn, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "lr_find", lambda *_, **__: None)
        patch.setattr(pages, "rate", lambda *_: None)
        patch.setattr(Learner, "one_batch", one_batch)
        assert run(*given, tmp_path / "part") == 130
    assert "interrupted; to go on: python " in capsys.readouterr().err
    assert headings(tmp_path / "part") == ["What goes in", "The same, changed at random"]
    assert run(*given, tmp_path / "part", "--resume") == 0
    for picture in ("04", "06", "14"):
        files = [tmp_path / name / f"{picture}.png" for name in ("whole", "part")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_what_cant_be_gone_on_with_stays_as_it_is(data, tmp_path, capsys):
    given = ["--data", data, "--epochs", 1, "--surprise", data / "test" / "abd" / "0.png", "--out", tmp_path / "out"]
    assert run(*given) == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert run(*given, "--resume", "--seed", 3) == 2
    assert "is of a run with seed=0 instead of 3" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_dicom_files(tmp_path, capsys):
    """A CT has no window of its own here: without one it is refused, and under one the pictures are what it says."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install pydicom")
    real = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    for split, count in (("train", 6), ("valid", 2)):
        for name, shift in (("bone", 500), ("water", 0)):
            for i in range(count):
                file = tmp_path / "ct" / split / name / f"{i}.dcm"
                file.parent.mkdir(parents=True, exist_ok=True)
                header = pydicom.dcmread(real)
                header.PixelData = (header.pixel_array + shift + i).astype(np.int16).tobytes()
                header.save_as(file)
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "other.png")
    out, given = tmp_path / "out", ["--data", tmp_path / "ct", "--epochs", 1, "--surprise", tmp_path / "other.png"]
    assert run(*given, "--out", out) == 2
    assert "has no window" in capsys.readouterr().err
    assert run(*given, "--out", out, "--window", -160, 240) == 0
    assert load_learner(out / example.LEARNER).dls.window == (-160, 240)
    assert run("--out", out, "--ask", tmp_path / "ct" / "valid" / "bone" / "0.dcm") == 0
    assert "whatever the picture shows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "window"), [([], None), (["--window", "own"], "own"), (["--window", "-160", "240"], (-160, 240))]
)
def test_the_window_comes_to_the_loaders(data, words, window):
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example.ImageDataLoaders, "from_folder", lambda *_, **k: asked.append(k["window"]) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("--data", data, *words)
    assert asked == [window]


@pytest.mark.parametrize("words", [["1"], ["a", "b"], ["1", "2", "3"]])
def test_a_window_is_two_numbers(data, words, capsys):
    with pytest.raises(SystemExit):
        run("--data", data, "--window", *words)
    assert "give two numbers, the lower one first, or own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "nowhere"], "nothing at nowhere"),
        (["--weights", "medical-mnist"], "run examples/pretrain.py, or choose other --weights"),
        (["--lr", "1e4"], "too high"),
    ],
)
@pytest.mark.filterwarnings("ignore:fit:UserWarning")  # too large, on purpose
def test_what_goes_wrong_is_told_in_one_line(data, tmp_path, capsys, arguments, complaint):
    given = ["--data", data, "--weights", "none", "--size", 32, "--epochs", 2, "--out", tmp_path / "out", *arguments]
    assert example.main([*map(str, given)]) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert complaint in told


def test_advice_is_about_options(data, tmp_path, capsys):
    """The package's errors are about its arguments."""
    Image.fromarray(np.full((20, 20), np.nan, np.float32)).save(data / "train" / "abd" / "x.tiff")
    assert run("--data", data, "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "x.tiff: its numbers" in told and "give --window LOW HIGH" in told
    (data / "train" / "abd" / "x.tiff").write_bytes(b"II")
    assert run("--data", data, "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "x.tiff can't be read" in told and "skip such files with --skip-bad" in told


def test_entropy():
    assert pages.entropy(np.array([0.5, 0.5])) == pytest.approx(1)
    assert pages.entropy(np.array([1.0, 0.0])) == 0
