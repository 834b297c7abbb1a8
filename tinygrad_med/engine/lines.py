"""Which line of the user's code is running."""

from __future__ import annotations

import os
import sys
import types
from typing import NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

GENERATED = "<tinygrad_med:"
"""How the file names of generated code begin."""


class Place(NamedTuple):
    """A line of running code; cheap to keep, since its text is made only when somebody reads it."""

    code: types.CodeType
    line: int

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.line}"


def user_place() -> Place | None:
    """The innermost running line outside this package."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_PACKAGE, GENERATED)):
        frame = frame.f_back
    return None if frame is None else Place(frame.f_code, frame.f_lineno)


def user_line() -> str:
    """`file:line` of the innermost running line outside this package."""
    return str(user_place() or "an unknown line")
