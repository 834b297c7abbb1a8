"""What all examples do alike: one line for a mistake, an earlier run out of the way, Ctrl-C as an early end."""

from __future__ import annotations

import argparse
import os
from argparse import Namespace
from pathlib import Path

import command
import pytest

import tinygrad_med as torch
from tinygrad_med import nn, optim
from tinygrad_med._files import writing
from tinygrad_med.learner import DivergedError
from tinygrad_med.parallel import Ranks


def options(out: Path, **more: object) -> Namespace:
    return Namespace(**{"out": out, "resume": False, "debug": False, "ranks": Ranks(), "data_parallel": False, **more})


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError, ImportError, DivergedError])
def test_a_mistake_is_one_line(error, tmp_path, capsys):
    def story(_):
        raise error("this file\nis not there")

    assert command.run(story, options(tmp_path)) == 2
    assert capsys.readouterr().err == "error: this file is not there\n"
    with pytest.raises(error, match="this file"):
        command.run(story, options(tmp_path, debug=True))


def test_a_fault_of_ours_is_a_traceback(tmp_path):
    def story(_):
        raise IndexError

    with pytest.raises(IndexError):
        command.run(story, options(tmp_path))


def test_an_earlier_run_is_moved_aside(tmp_path, capsys):
    out = tmp_path / "run"
    for number in range(3):
        command.Run(options(out), {})
        (out / "history.csv").write_text(str(number))
    assert {folder.name: (folder / "history.csv").read_text() for folder in tmp_path.iterdir()} == {
        "run-1": "0",
        "run-2": "1",
        "run": "2",
    }
    assert "which is now" in capsys.readouterr().out


def test_a_folder_of_other_files_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("all of it")
    assert command.run(lambda o: command.Run(o, {}), options(tmp_path)) == 2
    assert "holds other files; choose a folder that is empty" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_noticed_before_any_work(tmp_path, capsys):
    (tmp_path / "run").mkdir(mode=0o555)
    assert command.run(lambda o: command.Run(o, {}), options(tmp_path / "run")) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_folder_that_cant_be_written_is_noticed_before_any_work(tmp_path, capsys, monkeypatch):
    """As above, also for root."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "run.txt")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert command.run(lambda o: command.Run(o, {}), options(tmp_path)) == 2
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: 'run.txt'\n"


def test_a_full_disk_is_named_with_the_file_and_what_goes_on(tmp_path, capsys, monkeypatch):
    model = nn.Linear(2, 2)
    monkeypatch.setattr("sys.argv", ["story.py", "--out", str(tmp_path / "run")])

    def story(given):
        run = command.Run(given, {}, model)
        run.save(epoch=1)
        with writing(run.folder / "history.csv"):
            raise OSError(28, "No space left on device")

    assert command.run(story, options(tmp_path / "run")) == 2
    error, advice = capsys.readouterr().err.splitlines()
    assert error == f"error: [Errno 28] No space left on device: '{tmp_path / 'run' / 'history.csv'}'"
    assert (
        advice == f"what was saved before is whole; with room again: python story.py --out {tmp_path / 'run'} --resume"
    )
    assert command.Run(options(tmp_path / "run", resume=True), {}, model).load() == {"epoch": 1}


def test_a_run_goes_on_where_its_checkpoint_is(tmp_path):
    plan = {"lr": 0.1, "slices": (6, 7)}

    def beginning():
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        return model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    model, optimizer = beginning()
    run = command.Run(options(tmp_path), plan, model, optimizer=optimizer)
    assert run.load() == {}
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    run.save(history=[{"loss": 1.0}])

    again, its_optimizer = beginning()
    facts = command.Run(options(tmp_path, resume=True), plan, again, optimizer=its_optimizer).load()
    assert facts["history"] == [{"loss": 1.0}]
    assert (again.weight == model.weight).all()
    assert its_optimizer.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()
    with pytest.raises(ValueError, match="is of a run with lr=0.1 instead of 0.2"):
        command.Run(options(tmp_path, resume=True), {**plan, "lr": 0.2}, again).load()


def test_the_command_of_a_run_is_the_same_after_it_was_gone_on_with(tmp_path, monkeypatch):
    """It stands in `run.txt` and on the page, and both are to end with the same bytes."""
    words = ["examples/x.py", "--out", "run"]
    monkeypatch.setattr("sys.argv", words)
    command.Run(options(tmp_path), {}, nn.Linear(1, 1)).save()
    said = (tmp_path / "run.txt").read_text()
    assert said == "python examples/x.py --out run\n"
    monkeypatch.setattr("sys.argv", [*words, "--resume"])
    command.Run(options(tmp_path, resume=True), {})
    assert (tmp_path / "run.txt").read_text() == said


@pytest.mark.parametrize("model", [nn.Linear(2, 1), None])  # None: a Learner keeps the checkpoint
def test_what_is_refused_stays_as_it_is(model, tmp_path, capsys):
    command.Run(options(tmp_path), {"lr": 0.1}, nn.Linear(2, 1)).save()
    (tmp_path / "run.txt").write_text("python x.py --lr 0.1")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert command.run(lambda o: command.Run(o, {"lr": 0.2}, model), options(tmp_path, resume=True)) == 2
    assert "is of a run with lr=0.1 instead of 0.2" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_damaged_checkpoint_without_one_before_it(tmp_path, capsys):
    command.Run(options(tmp_path), {}, nn.Linear(2, 1)).save()
    (tmp_path / "last.safetensors").write_bytes(b"{")
    assert command.run(lambda o: command.Run(o, {}), options(tmp_path, resume=True)) == 2
    told = capsys.readouterr().err
    assert "last.safetensors can't be read" in told and "there is none before it: begin without resuming" in told


def test_there_must_be_something_to_resume(tmp_path, capsys):
    assert command.run(lambda o: command.Run(o, {}), options(tmp_path, resume=True)) == 2
    assert "--resume: there is no last.safetensors in" in capsys.readouterr().err


def test_ctrl_c_ends_the_block_and_the_story_goes_on(tmp_path, monkeypatch, capsys):
    def story(o):
        run = command.Run(o, {}, nn.Linear(1, 1))
        with run.until_interrupted():
            run.save()
            raise KeyboardInterrupt
        (tmp_path / "index.html").touch()
        return run.end(tmp_path / "index.html")

    monkeypatch.setattr("sys.argv", ["examples/x.py", "--out", "two words"])
    assert command.run(story, options(tmp_path)) == 130
    printed = capsys.readouterr().out
    assert (tmp_path / "index.html").exists()
    assert printed.endswith("To go on: python examples/x.py --out 'two words' --resume\n")


def test_ctrl_c_outside_of_the_block_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def story(o):
        command.Run(o, {}, nn.Linear(1, 1)).save()
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["examples/x.py", "--resume"])
    assert command.run(story, options(tmp_path)) == 130
    assert capsys.readouterr().err == "\ninterrupted; to go on: python examples/x.py --resume\n"


def test_a_loop_that_has_gone_wrong_is_stopped_with_the_cause():
    x, spoilt = torch.ones(2), torch.tensor([1.0, float("nan")])
    command.demand_bounded([0.7, 120.0, 9.0], "step 2", 0.1, x)
    for losses in ([0.7, 1e6], [float("nan")], [0.7, float("inf")]):
        with pytest.raises(DivergedError, match="step 2: the loss is .* the learning rate, 0.1, is too high.*tenth"):
            command.demand_bounded(losses, "step 2", 0.1, x)
    with pytest.raises(DivergedError, match="step 2: the loss is nan, because of the data"):
        command.demand_bounded([0.7, float("nan")], "step 2", 0.1, x, spoilt)


def test_where_a_training_went_wrong_what_was_good_is_named(tmp_path, capsys):
    def story(given):
        run = command.Run(given, {}, nn.Linear(1, 1))
        if told:
            run.save()
        raise DivergedError("step 2: too high")

    told: list[str] = []
    for last in ("error: step 2: too high", f"what was good before is still in {tmp_path / 'last.safetensors'}"):
        assert command.run(story, options(tmp_path)) == 2
        told += capsys.readouterr().err.splitlines()
        assert told[-1] == last


def test_a_rate_is_a_number_above_zero():
    assert command.a_rate("1e-3") == 1e-3
    for text in ("-1", "0", "nan", "inf", "fast"):
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            command.a_rate(text)


def test_whole_numbers_have_a_least():
    assert command.at_least(6)("6") == 6
    with pytest.raises(command.argparse.ArgumentTypeError, match="5 is less than 6"):
        command.at_least(6)("5")
