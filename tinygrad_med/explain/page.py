"""The page that replays a trace: one HTML file with all that it needs, which asks no network for anything.

What the page does is in `web/`: `model.js` (what the trace means), `numbers.js` (numbers, tables and heat maps),
`graph.js` (boxes and wires), `step.js` (a step explained), `views.js` (the whole at a glance) and `main.js` (the
controls). Here the trace is completed by what is easier in Python, a place for everything (`boxes.py`) and formulas
(`formulas.py`), and packed; whatever a user wrote, a name or a line of code, becomes text and never HTML.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template
from typing import Any

import numpy

from tinygrad_med.explain.boxes import boxes
from tinygrad_med.explain.formulas import to_html

ANSWER = Template(
    '<section class="answer" aria-label="Answer"><details><summary>Show the answer</summary>$text</details></section>'
)
SCRIPTS = ("model.js", "numbers.js", "graph.js", "step.js", "views.js", "main.js")


def render(
    trace: dict[str, Any], *, question: str = "", answer: str = "", links: Sequence[tuple[str, str]] = ()
) -> str:
    """The page as one HTML text.

    Args:
        trace: what `Trace.to_dict()` gives; its fields are those of `trace.Document`.
        question: stands above the graph. Like `answer`, plain text with paragraphs, `code`, [a link](#step=3) and
            tables, whose rows begin with `|`.
        answer: stands below, hidden until someone asks for it.
        links: to other pages, (address, text), at the top.

    Raises:
        ValueError: for a trace of another version, or one in which nothing was recorded.
    """
    if trace.get("version") != 1:
        raise ValueError(f"render: this is no trace of version 1, but of {trace.get('version')!r}; record it again")
    if not trace["nodes"]:
        raise ValueError("render: no operation was recorded; run the forward pass inside the watch() block, too")
    web = files("tinygrad_med.explain") / "web"
    title = html.escape(trace["title"])
    navigation = " ".join(f'<a href="{html.escape(to)}">{html.escape(text)}</a>' for to, text in links)
    return Template((web / "index.html").read_text("utf-8")).substitute(
        title=title,
        heading=title,
        style=(web / "style.css").read_text("utf-8"),
        script="\n".join((web / name).read_text("utf-8") for name in SCRIPTS),
        navigation=f'<nav aria-label="Pages">{navigation}</nav>' if links else "",
        question=f'<div class="question">{_prose(question)}</div>' if question else "",
        answer=ANSWER.substitute(text=_prose(answer)) if answer else "",
        trace=_inert(json.dumps(_complete(trace), ensure_ascii=False, allow_nan=False, separators=(",", ":"))),
    )


def _complete(trace: dict[str, Any]) -> dict[str, Any]:
    """The trace, with its boxes and formulas, its pictures packed."""
    formulas = {}
    for node in trace["nodes"]:
        names = {re.sub(r"\[\d+\]", "", operand["name"]) for operand in node["operands"]}
        for text in (node["formula"], *(operand["rule"] for operand in node["operands"])):
            key = f"{node['primitive']}: {text}"
            if text and key not in formulas:
                formulas[key] = to_html(text, names)
    return _packed(trace) | {"boxes": boxes(trace), "formulas": formulas}


def _packed(value: Any) -> Any:
    """The same without what the page can tell by itself, the summary of a few numbers.

    A picture's numbers become base64: float16, times a scale, so that tiny gradients survive.
    """
    if isinstance(value, list):
        return [_packed(item) for item in value] if value and isinstance(value[0], (dict, list)) else value
    if not isinstance(value, dict):
        return value
    if value.get("numbers") is not None and "summary" in value:
        return {"shape": value["shape"], "dtype": value["dtype"], "numbers": value["numbers"]}
    if value.keys() >= {"rows", "columns", "numbers"}:
        numbers = numpy.array([float(x) for x in value["numbers"]])  # "NaN" and "Infinity" are numbers to float
        scale = float(numpy.abs(numbers[numpy.isfinite(numbers)]).max(initial=0)) or 1.0
        half = (numbers / scale).astype("<f2").tobytes()
        packed = {name: item for name, item in value.items() if name != "numbers"}
        return packed | {"scale": scale, "half": base64.b64encode(half).decode("ascii")}
    return {name: _packed(item) for name, item in value.items()}


def _inert(text: str) -> str:
    """JSON that can't end the script element around it, nor open a comment in it."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _prose(text: str) -> str:
    """Paragraphs, `code`, [links](#step=3) and tables; everything else is text."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in block.splitlines()]
        if all(line.startswith("|") for line in lines):
            rows = [[_inline(cell.strip()) for cell in line.strip("|").split("|")] for line in lines]
            head = "".join(f"<th>{cell}</th>" for cell in rows[0])
            body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[1:])
            paragraphs.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        else:
            paragraphs.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "".join(paragraphs)


def _inline(text: str) -> str:
    text = html.escape(text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\[([^\]]+)\]\((#step=\d+|[\w-]+\.html)\)", r'<a href="\2">\1</a>', text)


def contents(title: str, lead: str, entries: Iterable[tuple[str, str, str]]) -> str:
    """A page that leads to others.

    Args:
        title, lead: what stands at the top; `lead` is plain text like `question` in `render`.
        entries: for each page its address, its title, and what it asks.
    """
    items = "".join(
        f'<li><h2><a href="{html.escape(to)}">{html.escape(name)}</a></h2>{_prose(text)}</li>'
        for to, name, text in entries
    )
    return Template((files("tinygrad_med.explain") / "web" / "contents.html").read_text("utf-8")).substitute(
        title=html.escape(title),
        style=(files("tinygrad_med.explain") / "web" / "style.css").read_text("utf-8"),
        lead=_prose(lead),
        entries=items,
    )
