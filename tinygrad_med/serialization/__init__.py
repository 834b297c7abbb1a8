"""Files of weights and checkpoints: `load` and `save` for `.pth` (without PyTorch), `.safetensors` and `.npz`.

`pth` and `safetensors` know one format each, `pickles` the programs in the first.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy

from tinygrad_med import backend
from tinygrad_med._files import naming_damage, writing
from tinygrad_med._zips import open_zip
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.serialization import pth, safetensors
from tinygrad_med.serialization.arrays import as_supported, read_npy

PTH = (".pth", ".pt")


def load(
    file: str | os.PathLike[str] | BinaryIO,
    map_location: str | backend.Device | Mapping[str, str] | Callable[[Tensor, str], Tensor | None] | None = None,
    *,
    weights_only: bool = True,
) -> Any:
    """Read the tensors of a file: a dict by name, or whatever nesting of dicts and lists a `.pth` file has.

    Args:
        file: `.pth` or `.pt` (both of PyTorch's formats; tensors, numbers, texts, and lists and dicts of them),
            `.safetensors`, or `.npz`. Which it is is told by its content. Or an open file, or `io.BytesIO`, which is
            read from where it stands.
        map_location: the device for the tensors; by default the CPU, wherever they were saved. Or, as in PyTorch, a
            function of a tensor and "cpu", where it is, that returns it where it shall be, or `None` to leave it; or a
            dict, whose value for "cpu" is the device.
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
    place = _placing(map_location)
    path = Path(file) if isinstance(file, str | os.PathLike) else None
    if path is None and not hasattr(file, "read"):
        raise TypeError(f"load: needs a path or an open file, got {type(file).__name__}")
    name = getattr(file, "name", type(file).__name__) if path is None else path
    try:
        with (
            naming_damage(f"load: {name} can't be read; it is damaged, cut short or something else (…)"),
            path.open("rb") if path is not None else io.BytesIO(file.read()) as opened,  # type: ignore[union-attr]
        ):
            found = _load(opened)
    except pth.RefusedError as refused:
        raise pickle.UnpicklingError(f"load: {name} {refused}") from None
    return found if place is None else _placed(found, place)


def _load(file: BinaryIO) -> Any:
    start = file.read(9)
    file.seek(0)
    if start[8:] == b"{":
        return {name: wrap(array) for name, array in safetensors.load(file).items()}
    if start[:2] == b"PK":
        with open_zip(file) as archive:
            if any(name.endswith("/data.pkl") for name in archive.namelist()):
                return pth.load_archive(archive)
            return {name: wrap(array) for name, array in _load_npz(archive).items()}
    if start[:1] == b"\x80":
        if isinstance(file, io.BytesIO):
            return pth.load_legacy(file.getvalue())
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return pth.load_legacy(data)
    raise ValueError("neither .pth, .safetensors nor .npz begins like it")


def _load_npz(archive: zipfile.ZipFile) -> dict[str, numpy.ndarray]:
    arrays = {}
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            raise ValueError(f"its member {member.filename!r} is not an array")
        content = archive.read(member)
        array = read_npy(io.BytesIO(content), len(content))
        arrays[member.filename.removesuffix(".npy")] = as_supported(array)
    return arrays


def save(state: Any, file: str | os.PathLike[str] | BinaryIO) -> None:
    """Write tensors as `.safetensors`, `.npz` or `.pth`, as the file is called; it is there when it is complete.

    The first two hold tensors by name and nothing else, so such a file is safe to open for whoever gets it: in PyTorch
    by `safetensors.torch.load_file`, in NumPy by `numpy.load`. A `.pth` file (or `.pt`) holds whole checkpoints, as
    PyTorch's recipes have them: `{"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}`;
    PyTorch reads it by `torch.load(file, weights_only=True)`.

    Args:
        state: tensors or arrays by name, such as `module.state_dict()`; for `.pth`, also numbers, texts, and dicts,
            lists, tuples and sets of all these.
        file: where to; or an open file, which gets the format of `.pth`.

    Raises:
        TypeError: for something that the format doesn't hold.
        ValueError: for a file that is called otherwise, or a name that the format can't have.
    """
    if not isinstance(file, str | os.PathLike):
        pth.save(state, file)
        return
    path = Path(file)
    if path.suffix not in (".safetensors", ".npz", *PTH):
        raise ValueError(f"save: {path.name} must end with .safetensors, .npz, .pth or .pt")
    if path.suffix in PTH:
        if not isinstance(state, Mapping | list | tuple | Tensor):
            raise TypeError(
                f"save: needs tensors, or a dict of them, got {type(state).__name__}; give model.state_dict()"
            )
        with writing(path) as temporary, temporary.open("wb") as opened:
            pth.save(state, opened)
        return
    arrays = _by_name(state)
    with writing(path) as temporary, temporary.open("wb") as opened:
        if path.suffix == ".safetensors":
            safetensors.save(arrays, opened)
        else:
            _save_npz(arrays, opened)


def _by_name(state: Any) -> dict[str, numpy.ndarray]:
    """The arrays of a state that has nothing else."""
    if not isinstance(state, Mapping):
        raise TypeError(f"save: needs a dict of tensors by name, got {type(state).__name__}; give model.state_dict()")
    arrays = {}
    for name, value in state.items():
        array = value.array if isinstance(value, Tensor) else value
        if not isinstance(name, str) or not backend.is_array(array):
            raise TypeError(
                f"save: {name!r} is a {type(value).__name__}; give tensors by their names, or call the file .pth, "
                "which holds numbers, texts and dicts too"
            )
        arrays[name] = numpy.asarray(backend.to_numpy(array), order="C")
    return arrays


def _save_npz(arrays: dict[str, numpy.ndarray], file: BinaryIO) -> None:
    """Not by numpy.savez: there no array can be called "file", and each file has its time in it."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            if entry.filename != f"{name}.npy":
                raise ValueError(f"save: a .npz file can't hold a tensor called {name!r}; give it another name")
            with archive.open(entry, "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, array, allow_pickle=False)


def _placing(map_location: Any) -> Callable[[Tensor], Tensor] | None:
    """What brings a tensor to where PyTorch's argument says."""
    if isinstance(map_location, Mapping):
        map_location = map_location.get("cpu")
    if map_location is None:
        return None
    if callable(map_location):

        def by_function(tensor: Tensor) -> Tensor:
            found = map_location(tensor, "cpu")
            if found is not None and not isinstance(found, Tensor):
                raise TypeError(f"load: map_location returned a {type(found).__name__}, not a tensor or None")
            return tensor if found is None else found

        return by_function
    device = backend.Device(map_location)
    return lambda tensor: tensor.to(device=device)


def _placed(found: Any, place: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(found, Tensor):
        return place(found)
    if isinstance(found, dict):
        moved = type(found)()
        for key, value in found.items():
            moved[key] = _placed(value, place)
        return moved
    return type(found)(_placed(value, place) for value in found) if isinstance(found, (list, tuple)) else found
