"""The pages of the examples: one folder with the pictures, and `index.html`, which shows them in order and says what
they mean.

The page is written anew after each section, so that a run that ends early leaves what it has. All text is text: names
of classes, of files and of options are escaped, whatever stands in them. Between `backquotes` stands code.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinygrad_med._files import writing

STYLE = """
:root { color-scheme: light dark }
body { font: 17px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100%; height: auto; background: white }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { padding: .1rem .8rem; text-align: right; border-bottom: 1px solid #8884 }
code { font-size: .9em; overflow-wrap: anywhere }
.phantoms { border-left: .4rem solid #d9822b; padding-left: .8rem }
footer { margin-top: 3rem; border-top: 1px solid #8884; font-size: .9em }
"""

BREAK = "\n\n"  # between paragraphs
PHANTOMS = "phantoms: generated pictures, not of patients"


class Page:
    """A folder with pictures, and its `index.html`.

    Args:
        folder: which is there.
        title: the heading.
        lead: what stands below it; paragraphs are separated by an empty line.
        made_by: the command that made the page, and other facts of the run, each a line at its end.
        phantoms: whether the pictures show phantoms. Then the page says so above everything, and each picture in its
            corner, since pictures are passed on alone.
    """

    def __init__(
        self, folder: Path, title: str, lead: str = "", *, made_by: Sequence[str] = (), phantoms: bool = False
    ) -> None:
        self.folder, self.title, self.lead, self.phantoms = folder, title, lead, phantoms
        self.made_by = list(made_by)
        self.sections: list[str] = []

    @property
    def index(self) -> Path:
        """The file to open."""
        return self.folder / "index.html"

    def add(
        self,
        title: str,
        text: str = "",
        figure: Any = None,
        alt: str = "",
        *,
        name: str = "",
        rows: Sequence[Mapping[str, Any]] = (),
        numbered: bool = False,
    ) -> None:
        """Write a section.

        Args:
            title: its heading.
            text: plain text, with `code`; paragraphs are separated by an empty line.
            figure: a matplotlib figure, which becomes `<name>.png`, and is closed.
            alt: what the figure shows, for those who don't see it; needed with a figure.
            name: of the picture's file; by default the section's number.
            rows: a table, a mapping from columns to cells for each row.
            numbered: whether the heading begins with the section's number.
        """
        number = len(self.sections) + 1
        heading = f"{number}. {title}" if numbered else title
        parts = [f"<h2>{html.escape(heading)}</h2>", paragraphs(text), table(rows)]
        if figure is not None:
            if not alt:
                raise ValueError(f"the picture of the section {title!r} needs an alt: what is to be seen on it")
            file = f"{name or f'{number:02}'}.png"
            self.draw(figure, file)
            parts.append(f'<img src="{html.escape(file)}" alt="{html.escape(alt)}">')
        self.sections.append("\n".join(part for part in parts if part))
        self.write()

    def draw(self, figure: Any, file: str) -> None:
        """Write a figure into the folder, and close it."""
        if self.phantoms:
            figure.text(1, 1, PHANTOMS, ha="right", va="bottom", fontsize=8, color="#a05a00")  # above all else
        with writing(self.folder / file) as path:
            figure.savefig(path, format="png", bbox_inches="tight")
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close(figure)  # nothing happens to a figure that pyplot did not make

    def write(self) -> None:
        """Write `index.html`."""
        title = html.escape(self.title)
        warning = f'<p class="phantoms">{html.escape(PHANTOMS[0].upper() + PHANTOMS[1:])}.</p>' if self.phantoms else ""
        parts = [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            f"<h1>{title}</h1>",
            warning,
            paragraphs(self.lead),
            *self.sections,
            f"<footer>{paragraphs(BREAK.join(self.made_by))}</footer>",
            "</html>",
        ]
        with writing(self.index) as path:
            path.write_text("\n".join(part for part in parts if part) + "\n", "utf-8")


def paragraphs(text: str) -> str:
    """Text in HTML: escaped, empty lines between paragraphs, `code` between backquotes."""
    found = [html.escape(part.strip()) for part in text.split(BREAK) if part.strip()]
    return "\n".join("<p>" + re.sub("`([^`]+)`", r"<code>\1</code>", part) + "</p>" for part in found)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows in HTML: floats with three digits after the point, nothing for what is NaN."""
    if not rows:
        return ""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "" if value != value else f"{value:.3f}"
        return html.escape(str(value))

    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{cell(value)}</td>' for value in row.values())}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
