"""What a person sees while a learner trains: a bar, and a table with a line for each epoch.

In a terminal the bar is tqdm's, if that is installed. In a notebook bar and table are one output of HTML, which grows;
it needs no widgets.
"""

from __future__ import annotations

import html
import importlib
import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

from tinygrad_med._files import optional, say
from tinygrad_med.learner.callbacks import Callback

if TYPE_CHECKING:
    from tinygrad_med.learner.learner import Learner


class Progress(Callback):
    """A bar while an epoch lasts, and a line of a table when it has ended."""

    view: Any = None

    def before_fit(self, learn: Learner) -> None:
        """Begin anew."""
        self.view = _Notebook() if in_notebook() else _Terminal()
        self.head: list[str] = [*learn.recorder.names, "time"]
        self.started = time.perf_counter()
        self.step = 0

    def before_batch(self, learn: Learner) -> None:
        """With the very first batch show the head of the table, with each epoch's first begin a bar."""
        if self.head:
            self.view.head(self.head)
            self.head = []
        if not self.step:
            self.view.begin(learn.epoch, len(learn.dls.train))

    def after_batch(self, learn: Learner) -> None:
        """Move the bar."""
        self.step += 1
        self.view.move(self.step, f"{learn.recorder.losses[-1]:.4f}")

    def after_epoch(self, learn: Learner) -> None:
        """Show a line of the table."""
        self.view.end()
        self.step = 0
        epoch, *numbers = learn.recorder.values[-1].values()
        minutes, seconds = divmod(round(time.perf_counter() - self.started), 60)
        shown = ("-" if number is None else f"{number:.6f}" for number in numbers)
        self.view.row([str(epoch), *shown, f"{minutes:02}:{seconds:02}"])
        self.started = time.perf_counter()

    def after_fit(self, learn: Learner) -> None:  # noqa: ARG002 - a callback's signature
        """Take the bar away."""
        if self.view is not None:
            self.view.end()


def in_notebook() -> bool:
    """Whether this is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class _Terminal:
    """Lines of text, and tqdm's bar."""

    bar: Any = None

    def head(self, names: list[str]) -> None:
        say(_line(names))

    def begin(self, epoch: int, steps: int) -> None:
        if importlib.util.find_spec("tqdm"):
            tqdm = optional("tqdm", "the progress bar").tqdm
            self.bar = tqdm(total=steps, desc=f"epoch {epoch}", unit="batch", leave=False)

    def move(self, step: int, loss: str) -> None:  # noqa: ARG002 - tqdm counts by itself
        if self.bar is not None:
            self.bar.set_postfix(loss=loss, refresh=False)
            self.bar.update()

    def row(self, cells: list[str]) -> None:
        say(_line(cells))

    def end(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class _Notebook:
    """One output, a table of HTML with a bar below it, that is replaced as it grows."""

    EVERY = 0.2  # seconds between two looks of the bar

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.handle: Any = None
        self.bar, self.shown = "", 0.0

    def head(self, names: list[str]) -> None:
        self.rows = [names]
        self.show()

    def begin(self, epoch: int, steps: int) -> None:
        self.epoch, self.steps = epoch, steps

    def move(self, step: int, loss: str) -> None:
        where = f"epoch {self.epoch}: {step} of {self.steps} batches, loss {loss}"
        self.bar = f'<progress value="{step}" max="{self.steps}"></progress> {where}'
        if time.perf_counter() - self.shown > self.EVERY:
            self.show()

    def row(self, cells: list[str]) -> None:
        self.rows.append(cells)
        self.show()

    def end(self) -> None:
        if self.bar:
            self.bar = ""
            self.show()

    def show(self) -> None:
        self.shown = time.perf_counter()
        kinds = ["th", *["td"] * len(self.rows)]
        rows = (
            "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row)
            for kind, row in zip(kinds, self.rows, strict=False)
        )
        table = "".join(f"<tr>{row}</tr>" for row in rows)
        page = {
            "text/html": f"<table>{table}</table>{self.bar}",
            "text/plain": "\n".join(map(_line, self.rows)),
        }
        if self.handle is None:
            self.handle = importlib.import_module("IPython.display").display(page, raw=True, display_id=True)
        else:
            self.handle.update(page, raw=True)


def _line(cells: list[str]) -> str:
    return "  ".join(f"{cell:>10}" for cell in cells)
