"""All that decides how a training goes on, in one file, and back again.

`Checkpoint` is what a loop of one's own uses; a `Learner` has its callback `SaveCheckpoint`, which uses it too.
`snapshot` and `restore` are what both are made of: one flat dict of tensors that `save` can write. `to_pth` is the door
to PyTorch, for a training that has become too large for this package.
"""

from __future__ import annotations

import contextlib
import glob
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from tinygrad_med._files import DAMAGE, naming_damage, say
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import tensor
from tinygrad_med.nn import Module
from tinygrad_med.random import default_generator
from tinygrad_med.serialization import PTH, load, save


class Checkpoint:
    """The file of a training that can be broken off at any moment, by Ctrl-C, a kill or a power cut.

        checkpoint = Checkpoint(out / "last.safetensors", run=vars(args), model=model, optimizer=optimizer,
                                scheduler=scheduler)
        history = checkpoint.load()["history"] if args.resume else []
        for epoch in range(len(history), args.epochs):
            history.append(train(model, optimizer, epoch))
            scheduler.step()
            checkpoint.save(history=history)

    The file holds the state of the model and of all parts, the optimizer's options included, the place in the stream of
    random numbers, and the facts. So the training ends with the same bits as one that was not broken off, provided that
    what an epoch does depends on nothing else, such as a generator of its own that goes on from epoch to epoch.

    Writing is to a temporary name, then to the disk, then renamed; the file before the last stays beside it, as
    `last-before.safetensors`. If the last one is damaged or gone, `load` takes that, and says so.

    Args:
        file: ends with `.safetensors`; its folder is made at the first `save`.
        run: those facts that make a run what it is: options, where the data is. Anything that JSON holds; other things,
            such as paths, are taken by their text. A file of a run with other facts is refused.
        model: the module.
        parts: what else has `state_dict()` and `load_state_dict()`: optimizer, scheduler …
    """

    def __init__(self, file: str | Path, run: Mapping[str, Any] | None = None, *, model: Module, **parts: Any) -> None:
        self.file = Path(file)
        if self.file.suffix != ".safetensors":
            raise ValueError(f"Checkpoint: {self.file.name} must end with .safetensors")
        self.before = self.file.with_stem(f"{self.file.stem}-before")
        self.run, self.model = dict(run or {}), model
        self.parts = {"random": Randomness(), **parts}

    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return self.file.exists() or self.before.exists()

    def save(self, **facts: Any) -> Path:
        """Write where the training is, with more facts about it (anything that JSON holds); returns the file.

        Raises:
            OSError: the file can't be written; the one before is still there.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        state = snapshot(self.model, facts={**facts, **self.run}, **self.parts)
        fresh = self.file.with_stem(f"{self.file.stem}-fresh")
        try:
            save(state, fresh)
            if self.file.exists():
                self.file.replace(self.before)
            fresh.replace(self.file)
        finally:
            fresh.unlink(missing_ok=True)
        return self.file

    def load(self) -> dict[str, Any]:
        """Put the model and all parts where they were; returns the facts that were saved, those of the run among them.

        Raises:
            FileNotFoundError: there is no file.
            ValueError: it is damaged and there is none before it, or it is of another run or another model.
        """
        facts, apply = self.read()
        apply()
        return facts

    def read(self) -> tuple[dict[str, Any], Any]:
        """The facts that were saved, and a function that puts the model and all parts where they were."""
        file, state, damage = self._read()
        facts = facts_of(state, self.run, file)
        if damage:
            say(f"{damage}; going on from the checkpoint before it, {file.name}")

        def apply() -> None:
            try:
                restore(state, self.model, **self.parts)
            except DAMAGE as error:
                raise ValueError(f"{file} is of another model or version of this program ({error})") from error

        return facts, apply

    def demand_usable(self) -> None:
        """Raise what `load` raises, but for what it says of the model and the parts; they stay as they are."""
        file, state, _ = self._read()
        facts_of(state, self.run, file)

    def _read(self) -> tuple[Path, dict[str, Tensor], str]:
        """The file that can be read, what is in it, and what is wrong with the last one where it is that before."""
        self._sweep()
        if not self.exists():
            raise FileNotFoundError(f"there is no checkpoint {self.file}; begin without resuming")
        try:
            return self.file, load(self.file), ""
        except (FileNotFoundError, ValueError) as error:
            if not self.before.exists():
                raise ValueError(f"{error}; there is none before it: begin without resuming") from error
            try:
                return self.before, load(self.before), str(error)
            except ValueError as earlier:
                raise ValueError(
                    f"{error}; nor can {self.before.name}, the checkpoint before it: begin without resuming"
                ) from earlier

    def remove(self) -> None:
        """Delete the files: the training has ended, and what it led to is elsewhere."""
        self.file.unlink(missing_ok=True)
        self.before.unlink(missing_ok=True)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what a run left half-written that was killed."""
        for left_behind in self.file.parent.glob(f"{glob.escape(self.file.stem)}*.partial"):
            left_behind.unlink(missing_ok=True)


class Randomness:
    """The stream of random numbers, as a part of a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""
        return default_generator.get_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        default_generator.set_state(state)


class Order:
    """Where a loader is in its sequence of orders, as a part of a checkpoint: how often it was gone through, and, if it
    has a generator of its own, where that stands."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.generator = loader, getattr(loader, "generator", None)

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        own = {} if self.generator is None else {"generator": self.generator.get_state()}
        return {"epoch": getattr(self.loader, "epoch", None), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        if state["epoch"] is not None:
            self.loader.epoch = state["epoch"]
        if self.generator is not None and "generator" in state:
            self.generator.set_state(state["generator"])


@contextlib.contextmanager
def as_it_was(loader: Any) -> Iterator[None]:
    """Afterwards, random numbers and the order of the data go on as if nothing had happened."""
    parts: list[Any] = [Randomness(), Order(loader)]
    states = [part.state_dict() for part in parts]
    try:
        yield
    finally:
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)


# One flat dict --------------------------------------------------------------------------------------------------------


def snapshot(
    model: Module, optimizer: Any = None, facts: Mapping[str, Any] | None = None, **parts: Any
) -> dict[str, Tensor]:
    """States as tensors by name: the model's under `model.…`, those of the parts under `optimizer.…` and so on.

    What is no tensor (counts, rates, the nesting) stands under `parts`, the facts under `facts`, each as the bytes of a
    JSON text in a uint8 tensor. The tensors share the memory of the states.

    Args:
        model: a module.
        optimizer: the same as a part of this name.
        facts: what else there is to know of the run: anything that JSON holds; `facts_of` reads them.
        parts: what has a `state_dict()`, of dicts, lists, tensors, numbers and texts; `None`: left out.

    Raises:
        TypeError: for a state with something else in it.
    """
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    parts = {name: part for name, part in {"optimizer": optimizer, **parts}.items() if part is not None}
    rest = {name: _taken_apart(part.state_dict(), name, state) for name, part in parts.items()}
    if rest:
        state["parts"] = _as_bytes(rest)
    if facts is not None:
        state["facts"] = _as_bytes(facts)
    return state


def restore(state: Mapping[str, Tensor], model: Module, optimizer: Any = None, **parts: Any) -> None:
    """Load what `snapshot` returned into a model and parts.

    Raises:
        KeyError: the state has nothing of a part.
    """
    parts = {name: part for name, part in {"optimizer": optimizer, **parts}.items() if part is not None}
    rest = _from_bytes(state["parts"]) if "parts" in state else {}
    if missing := [name for name in parts if name not in rest]:
        raise KeyError(f"it holds nothing of {', '.join(missing)}")
    model.load_state_dict({n.removeprefix("model."): value for n, value in state.items() if n.startswith("model.")})
    for name, part in parts.items():
        part.load_state_dict(_put_together(rest[name], state))


def to_pth(checkpoint: str | Path, file: str | Path) -> Path:
    """Rewrite a checkpoint as PyTorch's recipe has it, so that its training goes on there; returns the file.

        state = torch.load("last.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])

    PyTorch's model must have the same names and its optimizer the same groups, as for any such file. What a `Learner`
    has trained has two groups of each layer group: first its weights, then its normalizations and biases.

    Args:
        checkpoint: what `Checkpoint`, `SaveCheckpoint` or `Learner.save` wrote, of any number of processes.
        file: ends with `.pt` or `.pth`. It gets a dict: the states of the model and of each part, and what else the
            checkpoint says, under `facts`. Where the random numbers stood is left out: PyTorch has others.

    Raises:
        ValueError: the checkpoint is damaged, or holds nothing of a model.
    """
    source, state = Path(checkpoint), load(checkpoint)
    if Path(file).suffix not in PTH:
        raise ValueError(f"to_pth: {Path(file).name} must end with .pt or .pth")
    model = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    if not model:
        raise ValueError(f"to_pth: {source} is no checkpoint: it holds nothing of a model")
    with naming_damage(f"{source} is damaged: its parts can't be read (…)"):
        rest = _from_bytes(state["parts"]) if "parts" in state else {}
        facts = _from_bytes(state["facts"]) if "facts" in state else {}
        parts = {name: _put_together(part, state) for name, part in rest.items() if name != "random"}
    save({"model": model, **parts, "facts": facts}, file)
    return Path(file)


def holds(state: Mapping[str, Tensor], part: str) -> bool:
    """Whether a snapshot has something of a part."""
    return "parts" in state and part in _from_bytes(state["parts"])


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
    with naming_damage(f"{file} is damaged: what it says of its run can't be read (…); move it away, and begin anew"):
        facts: dict[str, Any] = dict(_from_bytes(state["facts"])) if "facts" in state else {}
    if missing := [name for name in run if name not in facts]:
        raise ValueError(
            f"{file} doesn't say {', '.join(missing)} of its run; another version of this program wrote it; move it "
            "away, and begin anew"
        )
    ours = json.loads(json.dumps(run, default=_as_json))
    others = [f"{name}={facts[name]!r} instead of {ours[name]!r}" for name in ours if facts[name] != ours[name]]
    if others:
        raise ValueError(f"{file} is of a run with {', '.join(others)}; finish that one, or move the file away")
    return facts


def _as_json(value: Any) -> Any:
    return value.item() if isinstance(value, numpy.generic) else str(value)


def _as_bytes(value: Any) -> Tensor:
    return tensor(numpy.frombuffer(json.dumps(value, default=_as_json).encode(), numpy.uint8))


def _from_bytes(value: Tensor) -> Any:
    return json.loads(value.numpy().tobytes())


def _taken_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON can hold it; its tensors go into `tensors`, under names that begin with `name`."""
    if isinstance(value, numpy.generic):
        value = value.item()
    if isinstance(value, (Tensor, numpy.ndarray)):
        tensors[name] = value if isinstance(value, Tensor) else tensor(value)
        return {"tensor": name}
    if isinstance(value, Mapping):  # pairs: JSON's keys are texts only
        return {"dict": [[key, _taken_apart(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_taken_apart(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"snapshot: {name} is a {type(value).__name__}; states are of tensors, numbers, texts, lists, dicts"
    )


def _put_together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The reverse of `_taken_apart`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    items = [_put_together(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
