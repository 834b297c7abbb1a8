"""The pictures: what they show, read back from the figure, and how they are written."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tinygrad_med import plots


def test_curves_put_the_last_in_front():
    panels = {"loss": {"published": ([0, 1], [3, 2]), "ours": ([0, 1], [3.1, 2.1])}, "accuracy": {"ours": ([0], [0.5])}}
    figure = plots.curves(panels, xlabel="epoch", title="both", percent=["accuracy"])
    loss, accuracy = figure.axes
    behind, front = loss.lines
    assert [line.get_label() for line in loss.lines] == ["published", "ours"]
    assert behind.get_linewidth() > front.get_linewidth()
    np.testing.assert_array_equal(front.get_ydata(), [3.1, 2.1])
    figure.draw_without_rendering()
    assert all(label.get_text().endswith("%") for label in accuracy.get_yticklabels())
    assert not any(label.get_text().endswith("%") for label in loss.get_yticklabels())


def test_confusion_matrix_writes_every_count():
    figure = plots.confusion_matrix([[1200, 1], [0, 0]], ["a", "b"])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["1,200", "1", "0", "0"]
    shown = axes.images[0].get_array()
    assert shown[0, 0] > shown[0, 1] > shown[1, 0] == 0


def test_sheet_has_every_image_on_one_scale():
    images = [np.full((4, 4), value) for value in (-2.0, 0.5, 1.0)]
    figure = plots.sheet(images, ["a", "b", "c"], columns=2, signed=True)
    drawn = [axes for axes in figure.axes if axes.images and axes.get_xlabel()]
    assert [axes.get_xlabel() for axes in drawn] == ["a", "b", "c"]
    assert {axes.images[0].get_clim() for axes in drawn} == {(-2, 2)}
    grey = plots.sheet([np.zeros((4, 4), np.uint8)], ["dark"])
    assert grey.axes[0].images[0].get_clim() == (0, 255)


def test_save_writes_a_png_and_nothing_else(tmp_path):
    figure = plots.curves({"loss": {"ours": ([0, 1], [2, 1])}}, xlabel="epoch")
    plots.save(figure, tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"


def test_save_leaves_nothing_where_drawing_fails(tmp_path, monkeypatch):
    figure = plots.new_figure(1, 1)

    def fail(path, format):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_is_as_high_as_its_images_and_captions():
    images = [np.random.default_rng(i).standard_normal((8, 8)) for i in range(6)]
    for captions in (list("abcdef"), ["a\nb"] * 6):
        figure = plots.sheet(images, captions, title="red is positive", signed=True)
        figure.savefig(io.BytesIO())
        top = max(axes.get_position().y1 for axes in figure.axes) * figure.get_figheight()
        assert 0.25 < figure.get_figheight() - top < 0.45  # inches, of which the title takes 0.2
        assert figure.axes[-1].get_tightbbox().x1 <= figure.bbox.x1  # the bar's numbers are not cut off
