"""Files, as every data set needs them: a cache folder, writing that may be interrupted, packages that may be missing.

Knows nothing of any data set.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import importlib
import os
import pickle
import shutil
import struct
import time
import tokenize
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# What Python's, NumPy's and Pillow's readers raise at bytes that are not what they should be. Whoever reads a file
# makes a `ValueError` of it that names the file.
DAMAGE: tuple[type[Exception], ...] = (
    *(ValueError, TypeError, LookupError, AttributeError, EOFError, OSError, RuntimeError, MemoryError),
    *(ArithmeticError, SyntaxError, AssertionError),
    *(struct.error, csv.Error, zlib.error, zipfile.BadZipFile, tokenize.TokenError, pickle.UnpicklingError),
)
PARTIAL = "*.????????.partial"  # what half-written files are called
STALE = 3600.0  # seconds after which a half-written file belongs to nobody: the run that wrote it was killed


def optional(module: str, what_for: str, extra: str = "examples") -> ModuleType:
    """Import a package that only the extra of that name has, or raise `ImportError` that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{what_for} needs {module.partition('.')[0]}, which is not installed (or doesn't load: {error}); "
            f'python -m pip install "tinygrad_med[{extra}]"'
        ) from error


def cache_folder() -> Path:
    """The folder for downloads and decoded images, made if it is not there.

    It is `$TINYGRAD_MED_CACHE` where that is set, else the user's cache folder of this system
    (`~/.cache/tinygrad_med` on Linux). All that it holds can be made again: delete it at any time. What killed runs
    left half-written in it is removed.
    """
    chosen = os.environ.get("TINYGRAD_MED_CACHE")
    if chosen:
        folder = Path(chosen).expanduser()
    else:
        folder = optional("platformdirs", "finding the cache folder").user_cache_path("tinygrad_med", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True)
    for left_behind in (*folder.glob(PARTIAL), *folder.glob(f"*/{PARTIAL}")):  # all in here is ours
        _remove_stale(left_behind)
    return folder


@contextlib.contextmanager
def naming_damage(message: str) -> Iterator[None]:
    """Make one `ValueError` of all that a reader may raise at damaged bytes.

    That there is no such file, or that it may not be read, is no damage, and stays as it is.

    Args:
        message: names the file; its "(…)" is replaced by the reason.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except DAMAGE as error:
        before, _, after = message.rpartition("(…)")
        raise ValueError(f"{before}({str(error) or type(error).__name__}){after}") from error


@contextlib.contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Yield a temporary name beside `target`, a file or a folder, and rename it to `target` once the block ended well.

    So `target` is whole or not there, also where the power fails. Of several runs that write it at the same time, the
    last to end gives the file, but the first to end the folder, for a folder that holds something can't be replaced.
    Where the block raises, Ctrl-C included, what is under the temporary name is removed; where the process was killed,
    it stays behind, and a later writer of the same target removes it, or warns where it can't.

    Args:
        target: in a folder that is there.

    Raises:
        OSError: `target` can't be written, or is a folder and was to become a file, or the other way round.
    """
    for left_behind in target.parent.glob(f"{glob.escape(target.name)}{PARTIAL[1:]}"):
        _remove_stale(left_behind)
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb+") as written:  # else the new name may reach the disk before the bytes
                os.fsync(written.fileno())
        try:
            os.replace(temporary, target)
        except OSError:
            if not (temporary.is_dir() and target.is_dir()):
                raise
    except OSError as error:
        if error.errno is not None and error.filename is None:  # of a full disk, which names no file
            error.filename = str(target)
        raise
    finally:
        _remove(temporary)


def _remove_stale(path: Path) -> None:
    """Remove a half-written file or folder if nobody has written to it for long."""
    with contextlib.suppress(FileNotFoundError):  # another run was quicker
        if time.time() - path.stat().st_mtime > STALE:
            _remove(path, stacklevel=5)


def _remove(path: Path, stacklevel: int = 4) -> None:
    """Remove a file or a folder, if it is there; warn where that fails, which is no reason to stop the writing."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
    if os.path.lexists(path):
        warnings.warn(f"{path} is half-written, and can't be removed; remove it by hand", stacklevel=stacklevel)


def say(line: str) -> None:
    """Tell the person at the screen what was done in their place."""
    print(line, flush=True)  # noqa: T201
