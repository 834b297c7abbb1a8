"""Numbers and pictures arrive in the file that TensorBoard reads; without tensorboardX a clear message."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tinygrad_med
from tinygrad_med.utils.tensorboard import SummaryWriter


def events(folder):
    """(tag, step, value) of all that was written, read as the format has it: records of protocol buffers."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")  # then 4 bytes of checksum, the record, and 4 more
            event = Event.FromString(data[12 : 12 + length])
            found += [(value.tag, event.step, value) for value in event.summary.value]
            data = data[16 + length :]
    return found


def test_what_is_added_is_written(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install tensorboardX")
    with SummaryWriter(tmp_path / "run") as writer:
        writer.add_scalar("Train/Loss", 0.5, 3)
        writer.add_scalar("Train/Loss", tinygrad_med.tensor(0.25, requires_grad=True), 4)
        writer.add_scalar("Train/AUC", np.float64(0.75), global_step=4)
        writer.add_histogram("weights", tinygrad_med.randn(10), 4)
        writer.add_image("image", tinygrad_med.rand(3, 4, 5), 4)
        writer.flush()
        assert writer.get_logdir() == str(tmp_path / "run")
    written = {(tag, step): value for tag, step, value in events(tmp_path / "run")}
    assert written["Train/Loss", 3].simple_value == 0.5 and written["Train/Loss", 4].simple_value == 0.25
    assert written["Train/AUC", 4].simple_value == 0.75
    assert written["weights", 4].histo.num == 10
    assert (written["image", 4].image.height, written["image", 4].image.width) == (4, 5)


def test_a_graph_is_refused(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install tensorboardX")
    with SummaryWriter(tmp_path) as writer, pytest.raises(NotImplementedError, match="tinygrad_med.explain has a page"):
        writer.add_graph(tinygrad_med.nn.Linear(2, 2))
    with pytest.raises(AttributeError, match="add_nothing"):
        writer.add_nothing()


def test_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        ImportError, match=r'SummaryWriter needs tensorboardX.*pip install "tinygrad_med\[tensorboard\]"'
    ):
        SummaryWriter(tmp_path)
