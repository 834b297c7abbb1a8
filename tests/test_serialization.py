"""Files of weights: PyTorch's read here, ours read there, and what is refused."""

from __future__ import annotations

import collections
import contextlib
import io
import json
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import tinygrad_med as tg
from tinygrad_med import nn
from tinygrad_med.serialization import pickles

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
    same(found["s"], np.array([-300], "int16"))
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
        (collections.deque, (), "collections.deque"),
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


class Program:
    """A pickle, written instruction by instruction."""

    def __init__(self, *parts: bytes) -> None:
        self.data = b"\x80\x02" + b"".join(parts) + b"."

    def write(self, path: Path) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", self.data)
            archive.writestr("archive/version", "3\n")
        return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor_of(shape: bytes, strides: bytes, count: bytes = b"K\x01", kind: bytes = b"FloatStorage") -> bytes:
    """A tensor over storage 0."""
    storage = b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text("0") + text("cpu") + count + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + shape + strides + b"\x89}tR"


ONE = tensor_of(b"(K\x01t", b"(K\x01t")
HUGE = b"\x8a\x08" + (2**60).to_bytes(8, "little")
HOSTILE = {
    "sets attributes of a tensor": [ONE, b"}", text("hooks"), b"}sb"],
    "sets slots of a tensor": [ONE, b"N}", text("array"), b"Ns\x86b"],
    "a tree of references": [b"]", *[b"q%c(" % i + b"h%c" % i * 10 + b"t" for i in range(30)]],
    "a list of references": [b"]q\x00", *[b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)]],
    "a list that holds itself": [b"]q\x00h\x00a"],
    "a dict that holds itself": [b"}q\x00", text("a"), b"h\x00s"],
    "a far memory": [b"Nr\xff\xff\xff\x7f", b"j\xfe\xff\xff\x7f"],
    "a long text": [b"X\xff\xff\xff\xff", b"a"],
    "deep lists": [b"]" * 100_000, b"a" * 99_999],
    "deep tuples": [b"N", b"\x85" * 100_000],
    "keys of one hash": [
        b"}(",
        *[b"\x8a\x08" + (i * (2**61 - 1)).to_bytes(8, "little") + b"N" for i in range(1, 4)],
        b"u",
    ],
    "a key that is a tree": [b")", *[b"q%ch%c\x86" % (i, i) for i in range(100)], b"}q\xffh\xff", b"h\x63Ns"],
    "the same part again and again": [
        b"](",
        b"K\x01N\x86" * 1000,
        b"eq\x00",
        *[b"ccollections\nOrderedDict\nh\x00\x85R" for _ in range(1000)],
        b"]",
    ],
    "a stride of 0": [tensor_of(b"(" + HUGE + b"t", b"(K\x00t")],
    "many dims": [tensor_of(b"(" + b"K\x01" * 1000 + b"t", b"(" + b"K\x01" * 1000 + b"t")],
    "a negative stride": [tensor_of(b"(K\x01t", b"(J\xff\xff\xff\xfft")],
    "strides missing": [tensor_of(b"(K\x01t", b")")],
    "a storage of two kinds": [b"(", ONE, tensor_of(b"(K\x01t", b"(K\x01t", kind=b"IntStorage"), b"t"],
    "a storage of two lengths": [b"(", ONE, tensor_of(b"(K\x01t", b"(K\x01t", count=b"K\x02"), b"t"],
    "a function left over": [b"ctorch\nSize\n"],
    "a call of no function": [b"K\x01)R"],
    "a call without arguments": [b"ctorch\nSize\nK\x01R"],
    "a mark left over": [b"(("],
    "nothing": [],
    "more than one": [b"NN"],
    "an instruction that reads a name": [b"i" + b"os\nsystem\n"],
    "an instruction of Python's dicts": [b"0"],
}


@pytest.mark.parametrize("program", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_ends_soon_and_names_the_file(tmp_path, program):
    path = Program(*program).write(tmp_path / "a.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(4))
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(ValueError, match=r"load: .*a\.pth can't be read; it is damaged"):
            tg.load(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 5 and most < 1_000_000 + 200 * path.stat().st_size


def test_programs_that_are_no_harm(tmp_path):
    """What the tests above would say of a reader that refuses everything."""
    path = Program(b"(", ONE, tensor_of(b"(K\x03t", b"(K\x00t"), b"]q\x00h\x00h\x00t").write(tmp_path / "a.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", struct.pack("<f", 1.5))
    one, three, *lists = tg.load(path)
    same(one, np.array([1.5], "float32"))
    same(three, np.array([1.5] * 3, "float32"))
    assert lists == [[], [], []]


@each_format
def test_what_pytorchs_safe_reader_takes(torch, tmp_path, options):
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    checkpoint = {
        "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 2, 5]).state_dict(),
        "dtypes": [torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.int16],
        "devices": [torch.device("cpu"), torch.device("cuda", 1), torch.device("cuda:0")],
        "set": {1, "a", (2, 3)},
        "bytes": b"\x00\xff text",
        "complex": 1 - 2j,
        ("a", 1): collections.OrderedDict([("x", 1), ("y", [2])]),
        "large": 2**100,
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    if not options:  # the older format doesn't know it
        checkpoint["uint16"] = torch.tensor([1, 65535], dtype=torch.uint16)
    checkpoint["with an attribute"] = torch.nn.Parameter(torch.ones(3))
    checkpoint["with an attribute"].note = "text"
    torch.save(checkpoint, tmp_path / "a.pth", **options)
    torch.load(tmp_path / "a.pth", weights_only=True)
    found = tg.load(tmp_path / "a.pth")
    same(found.pop("parameter"), np.ones(2, "float32"))
    same(found.pop("with an attribute"), np.ones(3, "float32"))
    if not options:
        same(found.pop("uint16"), np.array([1, 65535], "int32"))
    assert found.pop("dtypes") == [tg.float32, tg.int64, tg.bool, tg.float32, tg.int16]
    assert found.pop("devices") == [tg.device("cpu"), tg.device("cuda", 1), tg.device("cuda:0")]
    expected = {key: checkpoint[key] for key in found}
    assert found == expected and type(found["scheduler"]["milestones"]) is collections.Counter
    assert len(found) == 6


def test_a_storage_that_is_a_view_of_another(tmp_path):
    """As PyTorch before 1.0 wrote them: the part of a storage that a tensor sees."""

    def pickled(*parts: bytes) -> bytes:
        return b"\x80\x02" + b"".join(parts) + b"."

    def view(key: str, offset: int, size: int) -> bytes:
        where = text(key) + b"K" + bytes([offset]) + b"K" + bytes([size]) + b"\x87"
        reference = (
            b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cpu") + b"K\x0a" + where + b"tQ"
        )
        shape = b"K" + bytes([size]) + b"\x85"
        return b"ctorch._utils\n_rebuild_tensor\n(" + reference + b"K\x00" + shape + b"K\x01\x85tR"

    magic = b"\x8a\x0a" + pickle_magic().to_bytes(10, "little")
    facts = pickled(b"}", text("little_endian"), b"\x88s")
    numbers = struct.pack("<q", 10) + np.arange(10, dtype="<f4").tobytes()
    head = pickled(magic) + pickled(b"M\xe9\x03") + facts
    keys = pickled(b"](", text("7"), b"e")
    program = pickled(b"(", view("a", 2, 3), view("a", 2, 3), view("b", 5, 5), b"t")
    (tmp_path / "a.pth").write_bytes(head + program + keys + numbers)
    first, again, last = tg.load(tmp_path / "a.pth")
    same(first, np.array([2, 3, 4], "float32"))
    same(last, np.array([5, 6, 7, 8, 9], "float32"))
    first.fill_(0)
    same(again, np.zeros(3, "float32"))
    (tmp_path / "a.pth").write_bytes(head + pickled(view("b", 6, 5)) + keys + numbers)
    with pytest.raises(ValueError, match=r"a\.pth can't be read.*a view of storage 7 leaves it"):
        tg.load(tmp_path / "a.pth")


def pickle_magic() -> int:
    return 0x1950A86A20F9469CFC6C


def test_old_storages_may_not_claim_more_than_the_file(torch, tmp_path):
    torch.save([torch.ones(250), torch.ones(250)], tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(data.replace(b"K\xfa", b"M\x90\x01", 1))  # 400 numbers instead of 250
    with pytest.raises(ValueError, match="can't be read"):
        tg.load(tmp_path / "a.pth")


# .pth files that we write -------------------------------------------------------------------------------------------

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=20),
    st.complex_numbers(allow_nan=False),
    st.sampled_from([tg.float32, tg.int64, tg.bool, tg.device("cpu"), tg.device("cuda:1")]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5) | st.integers(-(2**59), 2**59), inner, max_size=4),
        st.dictionaries(st.text(max_size=5), inner, max_size=4).map(collections.OrderedDict),
        st.sets(st.text(max_size=3) | st.integers(-9, 9), max_size=4),
        st.dictionaries(st.integers(0, 99), st.integers(0, 9), max_size=3).map(collections.Counter),
    ),
    max_leaves=12,
)


@given(tree=TREES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_checkpoint_is_read_as_it_was_written(torch, tmp_path, tree):
    tg.save([tree], tmp_path / "a.pth")
    found = tg.load(tmp_path / "a.pth")
    assert found == [tree] and told(found) == told([tree])
    theirs = torch.load(tmp_path / "a.pth", weights_only=True)
    assert told(theirs) == told(found)


def told(value: Any) -> Any:
    """A tree in which PyTorch's dtypes and devices are equal to ours."""
    if isinstance(value, dict):
        return type(value), [(key, told(part)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [told(part) for part in value]
    is_plain = isinstance(value, (*pickles.PLAIN, set))
    return (type(value), value) if is_plain else str(value).removeprefix("torch.")


@pytest.mark.parametrize("suffix", ["pth", "pt"])
def test_pytorch_reads_our_tensors_bit_for_bit(torch, tmp_path, suffix):
    rng = np.random.default_rng(0)
    state = {name: tg.tensor(array) for name, array in NUMBERS.items()}
    state |= {
        "nan": tg.tensor(np.array([np.nan, -np.inf, 1e-45], "float32")),
        "view": tg.tensor(rng.normal(size=(3, 4))).t(),
    }
    tg.save({"epoch": 3, "model": state, "best": (0.5, None)}, tmp_path / f"a.{suffix}")
    for mmap in (False, True):
        found = torch.load(tmp_path / f"a.{suffix}", weights_only=True, mmap=mmap)
        assert found["epoch"] == 3 and found["best"] == (0.5, None) and list(found["model"]) == list(state)
        for name, value in found["model"].items():
            assert (
                value.numpy().tobytes() == state[name].numpy().tobytes()
                and str(value.dtype) == f"torch.{state[name].dtype}"
            )
            assert tuple(value.shape) == state[name].shape
    for name, value in tg.load(tmp_path / f"a.{suffix}")["model"].items():
        same(value, state[name].numpy())


def test_a_recipe_goes_on_in_pytorch_and_back(torch, tmp_path):
    """PyTorch's recipe for a checkpoint: train here, go on there, and here."""
    ours = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = tg.optim.Adam(ours.parameters(), lr=0.01)
    ours(tg.ones(2, 1, 5, 5)).square().sum().backward()
    optimizer.step()
    recipe = {
        "epoch": 5,
        "model_state_dict": ours.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": 0.4,
    }
    tg.save(recipe, tmp_path / "a.pt")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    checkpoint = torch.load(tmp_path / "a.pt", weights_only=True)
    theirs.load_state_dict(checkpoint["model_state_dict"])
    their_optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01)
    their_optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    assert checkpoint["epoch"] == 5 and checkpoint["loss"] == 0.4
    again = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    again.load_state_dict(tg.load(tmp_path / "a.pt")["model_state_dict"])
    for net in (theirs, again):
        for key, value in net.state_dict().items():
            same(ours.state_dict()[key], value.numpy())


def test_tied_weights_are_written_once(torch, tmp_path):
    weight = tg.ones(100, 100)
    tg.save({"a": weight, "b": weight.detach(), "c": weight + 0}, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").stat().st_size < 3 * 40_000
    found, theirs = tg.load(tmp_path / "a.pth"), torch.load(tmp_path / "a.pth", weights_only=True)
    for state in (found, theirs):
        state["a"].fill_(7)
        assert state["b"].sum() == 70_000 and state["c"].sum() == 10_000


@pytest.mark.parametrize("suffix", ["pth", "npz", "safetensors"])
def test_the_same_state_gives_the_same_file(tmp_path, suffix, monkeypatch):
    files = []
    for moment in (1e9, 1.5e9):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        monkeypatch.setattr("time.localtime", lambda *_, moment=moment: time.gmtime(moment))
        tg.save({"a": np.arange(3), "b": np.ones((2, 2))}, tmp_path / f"a.{suffix}")
        files.append((tmp_path / f"a.{suffix}").read_bytes())
    assert files[0] == files[1]


def test_what_a_pth_file_does_not_hold(tmp_path):
    for thing in (nn.Linear(1, 1), len, np.array(["a"]), np.array([1j]), np.array([None])):
        with pytest.raises(TypeError, match=r"save: can't write a .*; a \.pth file holds tensors, numbers, texts, and"):
            tg.save({"a": [thing]}, tmp_path / "a.pth")
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(ValueError, match="it holds itself, or containers in containers more than 100 deep"):
        tg.save(itself, tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []


# Files that are no paths, and places that are no devices --------------------------------------------------------------


def test_open_files(torch, tmp_path):
    state = {"a": np.arange(3.0)}
    buffer = io.BytesIO()
    tg.save(state, buffer)
    same(tg.load(io.BytesIO(buffer.getvalue()))["a"], state["a"])
    assert torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)["a"].tolist() == [0, 1, 2]
    for options in FORMATS.values():
        theirs = io.BytesIO()
        torch.save({"a": torch.arange(3.0)}, theirs, **options)
        theirs.seek(0)
        same(tg.load(theirs)["a"], np.arange(3, dtype="float32"))
    for suffix in ("npz", "safetensors"):
        tg.save(state, tmp_path / f"a.{suffix}")
        with (tmp_path / f"a.{suffix}").open("rb") as file:
            same(tg.load(file)["a"], state["a"])
    with pytest.raises(ValueError, match="load: BytesIO can't be read; it is damaged"):
        tg.load(io.BytesIO(b"nothing"))


def test_map_location_as_pytorch_has_it(tmp_path):
    tg.save({"a": [np.arange(3.0)], "b": collections.Counter([1, 1])}, tmp_path / "a.pth")
    seen = []

    def double(tensor: Any, place: str) -> Any:
        seen.append(place)
        return tensor * 2

    for location, expected in (
        (double, [0, 2, 4]),
        (lambda tensor, _: tensor, [0, 1, 2]),
        (lambda _tensor, _: None, [0, 1, 2]),
        ({"cuda:0": "cpu"}, [0, 1, 2]),
        ({"cpu": "cpu"}, [0, 1, 2]),
        (tg.device("cpu"), [0, 1, 2]),
    ):
        found = tg.load(tmp_path / "a.pth", map_location=location)
        assert found["a"][0].tolist() == expected and found["b"] == {1: 2}
    assert seen == ["cpu"]
    with pytest.raises(TypeError, match="load: map_location returned a int, not a tensor or None"):
        tg.load(tmp_path / "a.pth", map_location=lambda *_: 3)
    with pytest.raises(ValueError, match="device: 'gpu' is unknown"):
        tg.load(tmp_path / "a.pth", map_location="gpu")


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
        {"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4), "c": entry("F32", [1], 4, 8)},
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 4, 8)},
        {"a": entry("U8", [3], 0, 3), "b": entry("F32", [1], 4, 8)},
        {"a": entry("F32", [True, 2], 0, 8)},
        {"a": entry("F32", [2], 0, 8), "__metadata__": entry("F32", [0], 8, 8)},
        {"a": entry("F32", [2], 0, 8), "__metadata__": {"format": 1}},
        {"a": entry("F32", [2.0], 0, 8)},
        [],
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(ValueError, match=r"load: .*a\.safetensors can't be read"):
        tg.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"U8","shape":[4],"shape":[8],"data_offsets":[0,8]}}',
        b'{"a":' * 100_000,
        b'{"a":{"dtype":"U8","shape":[1' + b"0" * 5000 + b'],"data_offsets":[0,8]}}',
        b'{"\xff":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}',
    ],
)
def test_a_header_that_is_no_proper_json_is_refused(tmp_path, header):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(ValueError, match=r"load: .*a\.safetensors can't be read"):
        tg.load(tmp_path / "a.safetensors")


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["__metadata_", "a.npy", "a", "../a", "/a", "a/b", "a\\b", "file", "self", "data.pkl", "", " ", "ü", "\n"]
)


@given(names=st.lists(NAMES, unique=True, max_size=6), suffix=st.sampled_from(["safetensors", "npz", "pth"]))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_tensor_may_have_any_name(tmp_path, names, suffix):
    tg.save({name: np.array([i, -i]) for i, name in enumerate(names)}, tmp_path / f"a.{suffix}")
    found = tg.load(tmp_path / f"a.{suffix}")
    assert {name: value.tolist() for name, value in found.items()} == {name: [i, -i] for i, name in enumerate(names)}


def test_names_that_a_format_can_not_have(tmp_path):
    with pytest.raises(ValueError, match="can't hold a tensor called __metadata__; give it another name"):
        tg.save({"__metadata__": np.ones(2)}, tmp_path / "a.safetensors")
    for suffix in ("npz", "pth"):
        tg.save({"__metadata__": np.ones(2)}, tmp_path / f"a.{suffix}")
        same(tg.load(tmp_path / f"a.{suffix}")["__metadata__"], np.ones(2))
    with pytest.raises(ValueError, match=r"can't hold a tensor called 'a\\x00b'; give it another name"):
        tg.save({"a": np.ones(2), "a\0b": np.ones(3)}, tmp_path / "b.npz")
    with pytest.raises(TypeError, match="save: 'a' holds complex128 numbers, which .safetensors has no code for"):
        tg.save({"a": np.ones(2, "complex128")}, tmp_path / "b.safetensors")
    assert not list(tmp_path.glob("b.*"))


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


@pytest.mark.parametrize("suffix", ["pth", "npz", "safetensors"])
def test_a_folder_is_no_file(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").mkdir()
    with pytest.raises(ValueError, match=rf"load: .*a\.{suffix} can't be read; .*\(.*directory|denied"):
        tg.load(tmp_path / f"a.{suffix}")


def rezipped(path: Path, **options: Any) -> Path:
    """The same archive, compressed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, **options}.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("suffix", ["pth", "npz"])
def test_an_archive_that_unfolds_to_fill_the_memory(tmp_path, suffix):
    tg.save({"a": np.zeros(3_000_000)}, tmp_path / f"a.{suffix}")
    with pytest.raises(
        ValueError, match=r"a\..* can't be read.* bytes unfold to 24,00.*: it was made to fill the memory"
    ):
        tg.load(rezipped(tmp_path / f"a.{suffix}"))
    tg.save({"a": np.zeros(1000)}, tmp_path / f"a.{suffix}")
    same(tg.load(rezipped(tmp_path / f"a.{suffix}"))["a"], np.zeros(1000))


@pytest.mark.parametrize("suffix", ["pth", "npz"])
def test_damage_to_a_zips_directory_loses_nothing_in_silence(tmp_path, suffix):
    """Every byte of the directory and its end, changed: the whole state, or an error that names the file."""
    tg.save({"a": np.ones(3), "b": np.arange(4)}, tmp_path / f"a.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    whole = 0
    for at in range(data.index(b"PK\x01\x02"), len(data)):
        for change in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= change
            (tmp_path / "b").write_bytes(damaged)
            found = None
            with contextlib.suppress(ValueError):
                found = tg.load(tmp_path / "b")
            if found is None:
                with pytest.raises(ValueError, match=r"^load: .*b can't be read; it is damaged"):
                    tg.load(tmp_path / "b")
            else:
                whole += 1
                same(found["a"], np.ones(3))
                same(found["b"], np.arange(4))
    assert whole > 10  # dates, versions, attributes


def test_an_array_that_claims_more_than_its_member(tmp_path):
    content = io.BytesIO()
    np.save(content, np.zeros(8))
    claim = (
        content.getvalue().replace(b"(8,), }  ", b"(2**50,)}", 1).replace(b"(8,)", b"(8000000000000,)")[: -0 or None]
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", claim)
    with pytest.raises(ValueError, match=r"a\.npz can't be read"):
        tg.load(tmp_path / "a.npz")


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
    with pytest.raises(ValueError, match=r"save: a\.bin must end with \.safetensors, \.npz, \.pth or \.pt"):
        tg.save({}, tmp_path / "a.bin")
    for suffix in ("pth", "npz"):
        with pytest.raises(TypeError, match=r"save: needs .* got Linear; give model\.state_dict\(\)"):
            tg.save(nn.Linear(1, 1), tmp_path / f"a.{suffix}")
    with pytest.raises(TypeError, match=r"load: needs a path or an open file, got int"):
        tg.load(3)
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
