"""All that decides how training goes on, as one flat dict of tensors that can be saved, and back again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import as_tensor, tensor
from tinygrad_med.nn import Module
from tinygrad_med.optim import Optimizer


def snapshot(
    model: Module, optimizer: Optimizer | None = None, facts: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """The state of the model under `model.…`, that of the optimizer under `optimizer.<parameter>.…`.

    The options of the optimizer (learning rate, momentum) are not in it: a schedule sets them.

    Args:
        model, optimizer: whose state.
        facts: what else there is to know of the run, such as its options and how far it came: anything that JSON
            holds. They stand under `facts`, the bytes of the text as a uint8 tensor; `facts_of` reads them.
    """
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    if optimizer is not None:
        for number, memory in optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{number}.{name}": as_tensor(value) for name, value in memory.items()}
    if facts is not None:
        state["facts"] = tensor(numpy.frombuffer(json.dumps(facts).encode(), numpy.uint8))
    return state


def facts_of(state: Mapping[str, Tensor], run: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The facts that `snapshot` was given, provided that the state is of this run.

    Args:
        state: what `snapshot` returned.
        run: those of the facts that make a run what it is; the state must have the same.
        file: which the state was loaded from, for the error.

    Returns:
        All facts, as they come back from JSON: a tuple as a list.

    Raises:
        ValueError: the state is of another run, or doesn't say of which.
    """
    facts = json.loads(state["facts"].numpy().tobytes()) if "facts" in state else {}
    if missing := [name for name in run if name not in facts]:
        raise ValueError(
            f"{file} doesn't say {', '.join(missing)} of its run; another version of this program wrote it; move it "
            "away, and begin anew"
        )
    ours = json.loads(json.dumps(run))
    others = [f"{name}={facts[name]!r} instead of {ours[name]!r}" for name in ours if facts[name] != ours[name]]
    if others:
        raise ValueError(f"{file} is of a run with {', '.join(others)}; finish that one, or move the file away")
    return facts


def restore(state: Mapping[str, Tensor], model: Module, optimizer: Optimizer | None = None) -> None:
    """Load what `snapshot` returned."""
    model.load_state_dict({n.removeprefix("model."): value for n, value in state.items() if n.startswith("model.")})
    if optimizer is None:
        return
    whole = {**optimizer.state_dict(), "state": {}}
    for name, value in state.items():
        if name.startswith("optimizer."):
            _, number, option = name.split(".")
            whole["state"].setdefault(int(number), {})[option] = value
    optimizer.load_state_dict(whole)
