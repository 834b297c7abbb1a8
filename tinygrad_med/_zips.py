"""Zip archives that may be damaged, or made to do harm. Knows nothing of what is in them."""

from __future__ import annotations

import os
import struct
import zipfile
from typing import BinaryIO

MAX_GROWTH = 64  # how many times its size an archive may unfold to
ALWAYS = 1 << 24  # bytes that any archive may unfold to


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """A zip archive whose directory is whole, fits the members' own headers, and promises no more than it may.

    `zipfile` reads as much of a directory as its damaged end lets it, and then some members are missing without a word.

    Args:
        file: open, and to stay open as long as the archive is used.

    Raises:
        ValueError, zipfile.BadZipFile, OSError, RuntimeError: see `_files.DAMAGE`.
    """
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    size = file.seek(0, os.SEEK_END)
    expected = _count(file, size)
    if len(members) != expected:
        raise ValueError(f"its directory should have {expected} members, and has {len(members)}")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("two of its members have the same name")
    if sum(member.compress_size for member in members) > size:
        raise ValueError("its members overlap")
    if (unfolded := sum(member.file_size for member in members)) > ALWAYS + MAX_GROWTH * size:
        raise ValueError(f"its {size:,} bytes unfold to {unfolded:,}: it was made to fill the memory")
    for member in members:
        archive.open(member).close()  # which compares the member's own header with the directory
    return archive


def _count(file: BinaryIO, size: int) -> int:
    """How many members the end of the archive speaks of."""
    file.seek(max(0, size - 22 - 0xFFFF - 76))  # the end, its comment, and what a large archive has before it
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    (count,) = struct.unpack("<H", tail[end + 10 : end + 12])
    large = tail.rfind(b"PK\x06\x06", 0, end)
    if count == 0xFFFF and large >= 0:
        (count,) = struct.unpack("<Q", tail[large + 32 : large + 40])
    return int(count)
