"""Files of weights: `load` reads `.pth` (without PyTorch), `.safetensors` and `.npz`; `save` writes the last two.

`pth` and `safetensors` know one format each.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med._files import writing
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.serialization import pth, safetensors
from tinygrad_med.serialization.arrays import as_supported


def load(file: str | Path, map_location: str | None = None, *, weights_only: bool = True) -> Any:
    """Read the tensors of a file: a dict by name, or whatever nesting of dicts and lists a `.pth` file has.

    Args:
        file: `.pth` or `.pt` (both of PyTorch's formats; tensors, numbers, strings, and lists and dicts of them),
            `.safetensors`, or `.npz`. Which it is is told by its content.
        map_location: the device for the tensors; by default the CPU, wherever they were saved.
        weights_only: PyTorch's argument; only `True`: nothing here runs what else a file may ask for.

    Returns:
        Tensors. Those that shared memory when they were saved share it again; bfloat16 has become float32, which has
        all of its numbers, and small integers have become int32.

    Raises:
        FileNotFoundError: if there is no such file.
        pickle.UnpicklingError: for a `.pth` file that asks for anything that a state dict does not need.
        ValueError: for a file that is damaged, cut short, or of none of these formats.
    """
    if not weights_only:
        raise ValueError("load: weights_only=False would run the program in the file; only weights are loaded here")
    path = Path(file)
    try:
        found = _load(path)
    except pth.RefusedError as refused:
        raise pickle.UnpicklingError(f"load: {path} {refused}") from None
    except _DAMAGE as error:
        text = str(error) or type(error).__name__
        raise ValueError(f"load: {path} can't be read; it is damaged, cut short or something else ({text})") from error
    return found if map_location is None else _to(found, map_location)


# What the readers raise at bytes that are not what they should be.
_DAMAGE = (
    *(ValueError, TypeError, LookupError, AttributeError, EOFError, MemoryError, OverflowError, NotImplementedError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, json.JSONDecodeError),
)


def _load(path: Path) -> Any:
    with path.open("rb") as opened:
        start = opened.read(9)
    if start[8:] == b"{":
        return {name: wrap(array) for name, array in safetensors.load(path).items()}
    if start[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/data.pkl") for name in archive.namelist()):
                return pth.load_archive(archive)
        with numpy.load(path, allow_pickle=False) as arrays:
            return {name: wrap(as_supported(arrays[name])) for name in arrays.files}
    if start[:1] == b"\x80":
        return pth.load_legacy(path)
    raise ValueError("neither .pth, .safetensors nor .npz begins like it")


def save(state: Mapping[str, Any], file: str | Path) -> None:
    """Write tensors by name as `.safetensors` or `.npz`, as the file is called; it is there when it is complete.

    Both can hold numbers only, so such a file is safe to open for whoever gets it: in PyTorch by
    `safetensors.torch.load_file`, in NumPy by `numpy.load`.

    Args:
        state: tensors or arrays by name, such as `module.state_dict()`.
        file: where to.

    Raises:
        TypeError: for something that is not a dict of tensors.
        ValueError: for a file that is called otherwise.
    """
    path = Path(file)
    if path.suffix not in (".safetensors", ".npz"):
        raise ValueError(
            f"save: {path.name} must end with .safetensors or .npz; a .pth file is a program, and nobody should have "
            "to run one to get at numbers"
        )
    if not isinstance(state, Mapping):
        raise TypeError(f"save: needs a dict of tensors by name, got {type(state).__name__}; give model.state_dict()")
    arrays = {}
    for name, value in state.items():
        array = value.array if isinstance(value, Tensor) else value
        if not isinstance(name, str) or not backend.is_array(array):  # type: ignore[redundant-expr]
            raise TypeError(f"save: {name!r} is a {type(value).__name__}; give tensors by their names")
        arrays[name] = numpy.asarray(backend.to_numpy(array), order="C")
    with writing(path) as temporary:
        if path.suffix == ".safetensors":
            safetensors.save(arrays, temporary)
        else:
            with zipfile.ZipFile(temporary, "w") as archive:  # not numpy.savez: there no array can be called "file"
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        numpy.lib.format.write_array(entry, array, allow_pickle=False)


def _to(found: Any, device: str) -> Any:
    if isinstance(found, Tensor):
        return found.to(device=device)
    if isinstance(found, dict):
        return type(found)((key, _to(value, device)) for key, value in found.items())
    return type(found)(_to(value, device) for value in found) if isinstance(found, (list, tuple)) else found
