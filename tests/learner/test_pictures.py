"""What is drawn, and what the interpretation counts, on a model whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med import nn
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.learner import ClassificationInterpretation, Learner

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
