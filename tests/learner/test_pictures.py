"""What is drawn, and what the interpretation counts, on a model whose answers are known."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_med as torch
from tests.stand_in import cupy
from tinygrad_med import backend, nn
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.learner import ClassificationInterpretation, Learner
from tinygrad_med.learner.pictures import show_image

plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")


class Shades:
    """Grey images, 1×4×4; the value is 0.1 · i. Their labels are given."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def item(self, i, rng):
        x = np.full((1, 4, 4), 0.1 * i, np.float32)
        return (x,) if self.labels[i] is None else (x, self.labels[i])


class Threshold(nn.Module):
    """The scores of light and dark: those above 0.25 are light."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([10.0, 0.0]))

    def forward(self, x):
        return (x.mean(dim=[1, 2, 3]) - 0.25).reshape(-1, 1) * self.scale


@pytest.fixture
def learn():
    loader = DataLoader(Shades([1, 0, 1, 0, 0, 1]), 4)
    dls = SimpleNamespace(train=loader, valid=loader, vocab=["light", "dark"], decode=lambda x: x)
    yield Learner(dls, Threshold(), progress=False)
    plt.close("all")


def test_interpretation(learn):
    found = ClassificationInterpretation.from_learner(learn)  # light from the fourth image on
    assert found.decoded.tolist() == [1, 1, 1, 0, 0, 0]
    assert found.confusion_matrix().tolist() == [[2, 1], [1, 2]]
    assert found.most_confused() == [("light", "dark", 1), ("dark", "light", 1)] and found.most_confused(2) == []
    losses, order = found.top_losses(2)
    assert order.tolist() == [5, 1]
    np.testing.assert_allclose(losses, [np.log(1 + np.exp(2.5)), np.log(1 + np.exp(1.5))], rtol=1e-5)


def test_plots_of_the_interpretation(learn):
    found = ClassificationInterpretation.from_learner(learn)
    figure = found.plot_top_losses(2)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["light / dark / 2.58 / 0.92", "dark / light / 1.70 / 0.82"]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), 0.5)
    ax = found.plot_confusion_matrix()
    assert [text.get_text() for text in ax.texts] == ["2", "1", "1", "2"]


def test_an_image_on_a_gpu_is_drawn_too(monkeypatch):
    monkeypatch.setattr(backend, "_cupy", cupy)
    monkeypatch.setattr(backend, "cuda_in_use", True)
    x = torch.tensor(np.arange(4.0).reshape(1, 2, 2) / 4, device="cuda")
    ax = show_image(x)
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0, 0.25], [0.5, 0.75]])
    plt.close(ax.figure)


def test_results_are_green_where_they_are_right(learn):
    figure = learn.show_results(max_n=5)
    shown = [(ax.get_title(), ax.title.get_color()) for ax in figure.axes[:5]]
    assert shown[:4] == [
        ("dark\ndark", "green"),
        ("light\ndark", "red"),
        ("dark\ndark", "green"),
        ("light\nlight", "green"),
    ]
    assert len([ax for ax in figure.axes if ax.images]) == 5


def test_images_without_labels_show_their_probability(learn):
    figure = learn.show_results(DataLoader(Shades([None, None]), 2))
    assert [ax.get_title() for ax in figure.axes[:2]] == ["dark 0.92", "dark 0.82"]
    with pytest.raises(ValueError, match="the images have no labels"):
        ClassificationInterpretation.from_learner(learn, DataLoader(Shades([None]), 2))


def shuffled(learn):
    """A loader of eleven shades in an order of its own, the last of which is light but called dark."""
    return DataLoader(Shades([0, 1] * 5 + [1]), 4, shuffle=True, drop_last=True, seed=3)


def test_top_losses_of_a_loader_that_shuffles_are_those_images(learn):
    dl = shuffled(learn)
    epoch = dl.epoch
    found = ClassificationInterpretation.from_learner(learn, dl)
    assert len(found.losses) == 11 and found.targets.tolist() == dl.dataset.labels and dl.epoch == epoch
    losses, order = found.top_losses(4)
    z, y = np.arange(11) - 2.5, np.array(dl.dataset.labels)
    assert order.tolist() == np.argsort(-np.log1p(np.exp(np.where(y == 0, -z, z))), kind="stable")[:4].tolist()
    figure = found.plot_top_losses(4)
    for ax, number, loss in zip(figure.axes, order, losses, strict=False):
        np.testing.assert_allclose(ax.images[0].get_array(), 0.1 * number, atol=1e-6)
        assert f"/ {loss:.2f} /" in ax.get_title()


def test_a_loader_that_changes_its_images_is_noticed(learn):
    class Another:
        """Other batches every time."""

        def __init__(self):
            self.shift = 0

        def __iter__(self):
            self.shift += 1
            for i in range(2):
                x = np.full((3, 1, 4, 4), 0.1 * (i + self.shift), np.float32)
                yield x, np.array([0, 1, 0])

    found = ClassificationInterpretation.from_learner(learn, Another())
    with pytest.raises(ValueError, match="plot_top_losses: the loader gives other images each time"):
        found.plot_top_losses(2)


def test_names_are_no_formulas(learn):
    learn.dls.vocab = ["$x^$", "$\\frac$"]
    found = ClassificationInterpretation.from_learner(learn)
    for figure in (learn.show_results(), found.plot_top_losses(2), found.plot_confusion_matrix().figure):
        figure.draw_without_rendering()
        figure.canvas.draw()


def test_predict_takes_what_the_model_reads(learn):
    name, number, probabilities = learn.predict(np.full((1, 4, 4), 0.5, np.float32))
    z = 2.5
    assert name == learn.dls.vocab[int(number)] == "light" and number.ndim == 0
    np.testing.assert_allclose(probabilities.numpy(), [1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))], rtol=1e-5)


CELLS = [
    "%matplotlib inline",
    """
import matplotlib.pyplot as plt, numpy as np
from tinygrad_med.learner.pictures import show_images
images = [np.zeros((1, 4, 4)), np.ones((1, 4, 4))]
show_images(images, ["a", "b"])
""",
    "figure = show_images(images, ['a', 'b'])\nlater = 1",
    "figure",
    """
from types import SimpleNamespace
import tinygrad_med as torch
from tests.stand_in import cupy
from tinygrad_med import backend, nn
from tinygrad_med.learner import Learner
batches = [(torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1]))] * 4
learn = Learner(SimpleNamespace(train=batches, valid=batches), nn.Linear(3, 2), metrics=lambda o, y: 0.5)
learn.fit(3)
""",
]


def test_a_notebook_shows_a_figure_once_and_one_table():
    """A figure as the last thing of a cell, before its end, and again later if it is asked for. A training: one table,
    whose bar is gone, and nothing on the error stream."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    pytest.importorskip("matplotlib_inline", reason="matplotlib_inline is not installed")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the kernel's packages
        nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    shown = [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in book.cells]
    assert shown == [0, 1, 1, 1, 0]
    (output,) = book.cells[-1].outputs
    table = output["data"]["text/html"]
    assert table.count("<tr>") == 4 and "&lt;lambda&gt;" in table and "<progress" not in table
    assert output["data"]["text/plain"].split()[:3] == ["epoch", "train_loss", "valid_loss"]
