"""The pages of the examples: whole after each section, and whatever is shown is text."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from report import PHANTOMS, Page

from tinygrad_med import plots

HOSTILE = ["<img src=x onerror=alert(1)>", "$x^$", "a & b", '"quoted"', "'single'", "</title><script>", "50 % \\frac"]


class Seen(html.parser.HTMLParser):
    """The tags and the text of a page, as a browser reads them."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_shown_is_text(name, tmp_path):
    page = Page(tmp_path, name, name, made_by=[name])
    figure = plots.confusion_matrix(np.eye(2, dtype=int), [name, "other"], title=name)
    page.add(name, name, figure, name, rows=[{name: name, "loss": 0.5}])
    page.add(name, name, plots.sheet([np.zeros((4, 4))], [name], title=name), name)
    page.add(name, "", plots.curves({name: {name: ([0], [1.0]), "b": ([0], [0.5])}}, xlabel="epoch", title=name), name)
    seen = Seen(page.index)
    allowed = {"html", "meta", "title", "style", "h1", "h2", "p", "table", "tr", "th", "td", "img", "code", "footer"}
    assert {tag for tag, _ in seen.tags} <= allowed
    images = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert [(i["src"], i["alt"]) for i in images] == [(f"{n:02}.png", name) for n in (1, 2, 3)]
    assert all(set(i) == {"src", "alt"} for i in images)
    assert seen.text.count(name) >= 8
    assert {file.name for file in tmp_path.iterdir()} == {"index.html", "01.png", "02.png", "03.png"}


def test_a_picture_needs_words(tmp_path):
    with pytest.raises(ValueError, match="the picture of the section 'Curves' needs an alt"):
        Page(tmp_path, "A page").add("Curves", "", Figure())


def test_code_and_paragraphs(tmp_path):
    page = Page(tmp_path, "A page", "First `a < b`.\n\nSecond.")
    page.add("Table", rows=[{"x": 1, "y": 0.12345, "z": float("nan")}], numbered=True)
    text = page.index.read_text("utf-8")
    assert "<p>First <code>a &lt; b</code>.</p>\n<p>Second.</p>" in text
    assert "<h2>1. Table</h2>" in text
    assert "<tr><td>1</td><td>0.123</td><td></td></tr>" in text


def test_phantoms_are_named_on_the_page_and_on_each_picture(tmp_path):
    for phantoms in (True, False):
        figure = Figure()
        page = Page(tmp_path, "A page", phantoms=phantoms)
        page.add("One", "", figure, "nothing")
        assert [text.get_text() for text in figure.texts] == [PHANTOMS] * phantoms
        assert ("Phantoms: generated pictures" in page.index.read_text("utf-8")) == phantoms


def test_a_figure_of_pyplot_is_closed(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, _ = pyplot.subplots()
    Page(tmp_path, "A page").add("One", "", figure, "empty axes")
    assert pyplot.get_fignums() == []
