"""Which line of the user's code is running."""

from __future__ import annotations

import functools
import os
import sys
import types
from typing import NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

GENERATED = "<tinygrad_med:"
"""How the file names of generated code begin."""


class Place(NamedTuple):
    """An instruction of running code; cheap to keep, since its line is looked up only when somebody reads it."""

    code: types.CodeType
    instruction: int

    def __str__(self) -> str:
        lines = [line for start, end, line in self.code.co_lines() if start <= self.instruction < end]
        return f"{self.code.co_filename}:{lines[0] if lines else self.code.co_firstlineno}"


def user_place() -> Place | None:
    """The innermost running line outside this package."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else Place(frame.f_code, frame.f_lasti)


@functools.cache
def _is_ours(file: str) -> bool:
    return file.startswith((_PACKAGE, GENERATED))


def user_line() -> str:
    """`file:line` of the innermost running line outside this package."""
    return str(user_place() or "an unknown line")
