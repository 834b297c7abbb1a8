"""All that decides how training goes on, as one flat dict of tensors that can be saved, and back again."""

from __future__ import annotations

from collections.abc import Mapping

from tinygrad_med.creation import as_tensor
from tinygrad_med.nn import Module
from tinygrad_med.optim import Optimizer
from tinygrad_med.tensor import Tensor


def snapshot(model: Module, optimizer: Optimizer | None = None) -> dict[str, Tensor]:
    """The state of the model under `model.…`, that of the optimizer under `optimizer.<parameter>.…`.

    The options of the optimizer (learning rate, momentum) are not in it: a schedule sets them.
    """
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    if optimizer is not None:
        for number, memory in optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{number}.{name}": as_tensor(value) for name, value in memory.items()}
    return state


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
