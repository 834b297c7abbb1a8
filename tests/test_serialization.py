"""Files of weights: PyTorch's read here, ours read there, and what is refused."""

from __future__ import annotations

import collections
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import tinygrad_med as tg
from tinygrad_med import nn

FORMATS = {"zip": {}, "old": {"_use_new_zipfile_serialization": False}}
each_format = pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)

NUMBERS = {
    "float32": np.arange(12, dtype="float32").reshape(3, 4),
    "float64": np.array([1 / 3, -0.0, np.inf]),
    "float16": np.array([[1.5, -2]], "float16"),
    "int64": np.array([2**60, -1]),
    "int32": np.array([-5], "int32"),
    "uint8": np.array([0, 255], "uint8"),
    "bool": np.array([True, False]),
    "0-d": np.array(3),
    "empty": np.zeros((0, 3), "float32"),
    "file": np.ones(2),  # a name that numpy.savez has taken
}


def same(found: Any, expected: np.ndarray) -> None:
    assert isinstance(found, tg.Tensor)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


# PyTorch's files ----------------------------------------------------------------------------------------------------


@each_format
def test_reads_what_pytorch_wrote(torch, tmp_path, options):
    torch.save({name: torch.tensor(a) for name, a in NUMBERS.items()}, tmp_path / "a.pth", **options)
    found = tg.load(tmp_path / "a.pth")
    assert list(found) == list(NUMBERS)
    for name, expected in NUMBERS.items():
        same(found[name], expected)


@each_format
def test_reads_a_state_dict_of_a_module(torch, tmp_path, options):
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    torch.save(theirs.state_dict(), tmp_path / "a.pth", **options)
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    ours.load_state_dict(tg.load(tmp_path / "a.pth"))
    for key, value in theirs.state_dict().items():
        same(ours.state_dict()[key], value.numpy())


@each_format
def test_views_and_what_they_share(torch, tmp_path, options):
    base = torch.arange(24.0).reshape(4, 6)
    views = {"base": base, "t": base.t(), "part": base[1:3, ::2], "wide": base[:1].expand(3, 6), "one": base[2, 3]}
    torch.save(views, tmp_path / "a.pth", **options)
    found = tg.load(tmp_path / "a.pth")
    for name, view in views.items():
        same(found[name], view.numpy())
    with tg.no_grad():
        found["base"][1, 2] = 100.0
    assert found["t"][2, 1].item() == found["part"][0, 1].item() == 100


@each_format
def test_what_numpy_and_we_do_not_have_is_widened(torch, tmp_path, options):
    values = torch.tensor([1.5, -3.140625, 1e30, float("nan")])
    state = {
        "b": values.bfloat16(),
        "s": torch.tensor([-300], dtype=torch.int16),
        "c": torch.tensor([-3], dtype=torch.int8),
    }
    torch.save(state, tmp_path / "a.pth", **options)
    found = tg.load(tmp_path / "a.pth")
    same(found["b"], values.bfloat16().float().numpy())
    same(found["s"], np.array([-300], "int32"))
    same(found["c"], np.array([-3], "int32"))


@each_format
def test_a_checkpoint_with_all_sorts_of_things(torch, tmp_path, options):
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "history": [0.5, (None, True), "text", torch.Size([2, 3])],
    }
    torch.save(checkpoint, tmp_path / "a.pth", **options)
    found = tg.load(tmp_path / "a.pth", map_location="cpu")
    assert found["epoch"] == 3
    assert found["history"] == [0.5, (None, True), "text", (2, 3)]
    assert found["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    same(found["parameter"], np.ones(2, "float32"))
    same(found["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"].numpy())


# A pickle is a program ----------------------------------------------------------------------------------------------


class Runs:
    """Unpickled by an ordinary unpickler, this calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@each_format
def test_a_hostile_pickle_is_refused(torch, tmp_path, options):
    victim = tmp_path / "victim"
    torch.save({"weight": torch.ones(2), "evil": Runs(os.system, f"touch {victim}")}, tmp_path / "a.pth", **options)
    with pytest.raises(
        pickle.UnpicklingError, match=rf"load: .*a\.pth asks for {os.name}\.system, which no state dict"
    ):
        tg.load(tmp_path / "a.pth")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (eval, ("1",), "builtins.eval"),
        (getattr, ("", "join"), "builtins.getattr"),
        (collections.Counter, (), "collections.Counter"),
        (tg.load, ("x",), "tinygrad_med.serialization.load"),
    ],
)
def test_whatever_else_a_pickle_names_is_refused(tmp_path, function, arguments, name):
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Runs(function, *arguments), protocol=4))
    with pytest.raises(pickle.UnpicklingError, match=rf"asks for {name}, which no state dict needs.*if you trust"):
        tg.load(tmp_path / "a.pth")


def test_a_module_saved_whole_is_refused(torch, tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "a.pth")
    with pytest.raises(pickle.UnpicklingError, match=r"asks for torch\.nn\.modules\.linear\.Linear.* state_dict\(\)"):
        tg.load(tmp_path / "a.pth")


def test_a_pickle_cannot_change_the_functions_that_it_is_given(tmp_path):
    program = (
        pickle.PROTO + b"\x02" + b"ctorch._utils\n_rebuild_parameter\n"
        + b"}(X\x0c\x00\x00\x00__defaults__)tb."  # an empty dict, and a tuple: nothing that should have an effect
    )  # fmt: skip
    (tmp_path / "a.pth").write_bytes(program)
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        tg.load(tmp_path / "a.pth")


@each_format
def test_a_view_beyond_its_storage_is_refused(torch, tmp_path, options):
    torch.save(torch.ones(4), tmp_path / "a.pth", **options)
    data = (tmp_path / "a.pth").read_bytes()
    size = b"K\x04\x85"  # the shape (4,) as the pickle has it
    assert size in data
    (tmp_path / "a.pth").write_bytes(data.replace(size, b"K\x7f\x85"))
    with pytest.raises(ValueError, match=r"load: .*a\.pth can't be read"):
        tg.load(tmp_path / "a.pth")


@each_format
def test_a_truncated_file_is_refused(torch, tmp_path, options):
    torch.save({"a": torch.ones(3, 4), "b": torch.arange(5)}, tmp_path / "a.pth", **options)
    data = (tmp_path / "a.pth").read_bytes()
    for length in [*range(0, len(data) - 1, 17), len(data) - 1]:
        (tmp_path / "short.pth").write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"load: .*short\.pth can't be read; it is damaged, cut short"):
            tg.load(tmp_path / "short.pth")


# .safetensors and .npz ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_what_is_written_is_read(tmp_path, suffix):
    tg.save({name: tg.tensor(a) for name, a in NUMBERS.items()}, tmp_path / f"a.{suffix}")
    found = tg.load(tmp_path / f"a.{suffix}")
    assert list(found) == list(NUMBERS)
    for name, expected in NUMBERS.items():
        same(found[name], expected)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_a_model_travels_to_pytorch_and_back(torch, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    ours = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    tg.save(ours.state_dict(), tmp_path / "a.safetensors")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    theirs.load_state_dict(safetensors.load_file(tmp_path / "a.safetensors"))
    for key, value in theirs.state_dict().items():
        same(ours.state_dict()[key], value.numpy())
    state = {**theirs.state_dict(), "b": torch.tensor([1.5, -2]).bfloat16()}
    safetensors.save_file(state, tmp_path / "b.safetensors", metadata={"format": "pt"})
    found = tg.load(tmp_path / "b.safetensors")
    same(found.pop("b"), np.array([1.5, -2], "float32"))
    ours.load_state_dict(found)


def test_the_package_reads_every_dtype_of_ours(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    tg.save(NUMBERS, tmp_path / "a.safetensors")
    for name, found in safetensors.load_file(tmp_path / "a.safetensors").items():
        assert found.dtype == NUMBERS[name].dtype
        np.testing.assert_array_equal(found, NUMBERS[name])
    safetensors.save_file({name: a for name, a in NUMBERS.items() if a.ndim}, tmp_path / "b.safetensors")
    for name, found in tg.load(tmp_path / "b.safetensors").items():
        same(found, NUMBERS[name])


def test_numpy_reads_our_npz(tmp_path):
    tg.save(NUMBERS, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        for name, expected in NUMBERS.items():
            np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_views_are_written_in_order(tmp_path, suffix):
    view = np.arange(6.0).reshape(2, 3).T[:, ::-1]
    tg.save({"a": tg.tensor(view)}, tmp_path / f"a.{suffix}")
    same(tg.load(tmp_path / f"a.{suffix}")["a"], view)


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32"])
def test_the_byte_order_of_an_array_is_not_its_value(tmp_path, suffix, dtype):
    values = np.array([[1, -2], [300, 4]], dtype)
    tg.save({"a": values.astype(values.dtype.newbyteorder(">"))}, tmp_path / f"a.{suffix}")
    same(tg.load(tmp_path / f"a.{suffix}")["a"], values)
    for make in (tg.from_numpy, tg.tensor, tg.as_tensor):
        found = make(values.astype(values.dtype.newbyteorder(">")))
        same(found, values)
        assert found.array.dtype.isnative


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_truncated_files_are_refused(tmp_path, suffix):
    tg.save({"a": np.ones((3, 4)), "b": np.arange(5)}, tmp_path / f"a.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    for length in [*range(0, len(data) - 1, 13), len(data) - 1]:
        (tmp_path / f"short.{suffix}").write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"load: .*short\..* can't be read; it is damaged, cut short"):
            tg.load(tmp_path / f"short.{suffix}")


def entry(dtype: Any, shape: Any, *offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry("F32", [2], 0, 4)},
        {"a": entry("F32", [2], -4, 4)},
        {"a": entry("F32", [1], 8, 12)},
        {"a": entry("F32", [-1], 0, 8)},
        {"a": entry("F8_E4M3", [8], 0, 8)},
        {"a": entry("F32", "two", 0, 8)},
        {"a": 1},
        {"a": entry("F32", [2], 0)},
        {},
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(ValueError, match=r"load: .*a\.safetensors can't be read"):
        tg.load(tmp_path / "a.safetensors")


def test_objects_in_an_npz_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([Runs(os.system, "false")], dtype=object))
    with pytest.raises(ValueError, match=r"load: .*a\.npz can't be read"):
        tg.load(tmp_path / "a.npz")


# Any file at all ----------------------------------------------------------------------------------------------------


@given(start=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", b"\x10" + bytes(7) + b"{"]), rest=st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused(tmp_path, start, rest):
    (tmp_path / "a").write_bytes(start + rest)
    with pytest.raises((ValueError, pickle.UnpicklingError), match="^load: "):
        tg.load(tmp_path / "a")


def test_other_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"load: .*a\.pth can't be read"):
        tg.load(tmp_path / "a.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        tg.load(tmp_path / "nowhere.pth")


def test_what_load_and_save_do_not_do(tmp_path):
    with pytest.raises(ValueError, match="weights_only=False would run the program in the file"):
        tg.load(tmp_path / "a.pth", weights_only=False)
    with pytest.raises(ValueError, match=r"save: a\.pth must end with \.safetensors or \.npz"):
        tg.save({}, tmp_path / "a.pth")
    with pytest.raises(
        TypeError, match=r"save: needs a dict of tensors by name, got Linear; give model\.state_dict\(\)"
    ):
        tg.save(nn.Linear(1, 1), tmp_path / "a.npz")
    with pytest.raises(TypeError, match="save: 'epoch' is a int; give tensors by their names"):
        tg.save({"epoch": 3}, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tg.save({"a": np.ones(2)}, tmp_path / "a.safetensors")

    def interrupted(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinygrad_med.serialization.safetensors.to_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tg.save({"a": np.zeros(2)}, tmp_path / "a.safetensors")
    same(tg.load(tmp_path / "a.safetensors")["a"], np.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
