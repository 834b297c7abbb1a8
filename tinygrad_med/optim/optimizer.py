"""What all optimizers share: groups of parameters with their options, a state per parameter, and how a step runs.

An optimizer sees leaves and their gradients, nothing else, and writes the leaves in place. A subclass says in `update`
what a step does to one parameter, as a few lines of array arithmetic. Parameters are much larger than the processor's
cache, and each operation of those lines would fetch them from memory again; so the base class cuts them into blocks,
and every operation is done on one block while it is in the cache. Blocks don't depend on one another: several threads
work on them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.cpu.threads import parallel_for
from tinygrad_med.backend.gpu.optimizers import Held
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.conversions import as_array, own_memory
from tinygrad_med.engine.switches import enable_grad
from tinygrad_med.engine.writes import writes

Group = dict[str, Any]
"""Parameters under `"params"`, and the options that hold for them."""

Move = tuple[Callable[..., object], tuple[Any, ...]]
"""A function that works in place on corresponding blocks of arrays, and the arrays."""

BLOCK = 2**19
"""Bytes of a block: the two to four arrays of an update fit into a core's cache, and threads rarely meet."""


class Optimizer:
    """Base of the optimizers.

    Args:
        params: leaves, or pairs of a name and a leaf, as `model.named_parameters()` gives; or groups: dicts with either
            under `"params"` and the options that are theirs alone. Names are kept under `"param_names"`, in states too.
        defaults: the options of the groups that don't set them.

    Attributes:
        param_groups: the groups; change their options (`group["lr"] = …`) between steps as you like. An option may be
            a tensor of one element, whose value is read at each step.
        state: what the optimizer remembers, a dict per parameter.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(f"{self._name}: params must be a list of tensors or of groups; put it in brackets")
        groups = list(params)
        if not groups:
            raise ValueError(f"{self._name}: got no parameters; was the iterator used up before?")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def refuse_differentiable(self, differentiable: bool) -> None:
        """Refuse steps that gradients flow through."""
        if differentiable:
            raise ValueError(
                f"{self._name}: differentiable=True is not supported, a step is outside of the graph; compute the new "
                "parameters by operations, w - lr * g, with grad(…, create_graph=True)"
            )

    # The groups -------------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Optimize more parameters: those under `"params"`, with the other entries as their options."""
        if "params" not in param_group:
            raise TypeError(f"{self._name}: a group is a dict with its tensors under 'params'")
        params = param_group["params"]
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{self._name}: a set of parameters has no order; give a list")
        used_up = isinstance(params, Iterator)
        params = [params] if isinstance(params, Tensor) else list(params)
        if used_up and not params:
            raise ValueError(f"{self._name}: the group's iterator has no parameters; was it used up before?")
        names = [p[0] for p in params if isinstance(p, tuple)] or param_group.get("param_names", [])
        params = [p[1] if isinstance(p, tuple) and len(p) == 2 else p for p in params]
        everywhere = not self.param_groups or bool(names) == ("param_names" in self.param_groups[0])
        if (names and len(names) < len(params)) or not everywhere:
            raise ValueError(f"{self._name}: some parameters have names, others none; give (name, tensor) for all")
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: parameter {i} is a {type(p).__name__}, not a tensor")
            if not p.is_leaf:
                raise ValueError(f"{self._name}: parameter {i} is the result of {p.origin}; optimize the leaves")
        group = {**self.defaults, **param_group, "params": params} | ({"param_names": names} if names else {})
        every = [id(p) for g in [*self.param_groups, group] for p in g["params"]]
        if len(set(every)) < len(every):
            raise ValueError(f"{self._name}: a parameter appears twice, each step would move it twice; name it once")
        self.check(self._numbers(group))
        self.param_groups.append(group)

    def _numbers(self, group: Group) -> Group:
        """The group with plain numbers where its options are tensors, whose values may change from step to step."""

        def plain(name: str, value: Any) -> Any:
            if isinstance(value, (tuple, list)):
                return type(value)(plain(name, v) for v in value)
            return number(value, f"{self._name}: {name}") if isinstance(value, Tensor) else value

        return {
            name: value if name == "params" or type(value) in (float, int, bool) else plain(name, value)
            for name, value in group.items()
        }

    def check(self, group: Group) -> None:
        """Raise a ValueError for options that make no sense; those that are tensors come as numbers."""
        self.not_negative(group, "lr", "weight_decay")

    def not_negative(self, group: Group, *options: str) -> None:
        """Raise a ValueError where one of these options is negative, or not a number."""
        for option in options:
            if not group[option] >= 0:
                raise ValueError(f"{self._name}: {option}={group[option]} must not be negative")

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    # A step -----------------------------------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or, with `set_to_none=False`, set them to zero in place."""
        for p in self._parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad = p.grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        Args:
            closure: computes the loss and its gradients anew; called first.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        try:
            self._move_all([self._numbers(group) for group in self.param_groups])
        except MemoryError as error:
            raise backend.out_of_memory(self._name, error) from error
        return loss

    def _move_all(self, groups: Sequence[Group]) -> None:
        """One step of all parameters, in blocks."""
        parameters = [(p, group) for group in groups for p in group["params"] if p.grad is not None]
        if backend.captured.graph is not None and parameters:
            backend.captured.graph.before_replay.append(_Captured(self, parameters).renumber)
            return
        jobs = [job for p, group in parameters for job in self._jobs(p, group)]
        if _any_on_gpu(parameters):
            _on_gpu(jobs)
        elif sum(p.array.nbytes for p, _ in parameters) < 4 * BLOCK:  # too little for a second thread
            for move, block in jobs:
                move(*block)
        else:
            parallel_for(lambda i: jobs[i][0](*jobs[i][1]), len(jobs))

    def _jobs(self, p: Tensor, group: Group) -> Iterator[Move]:
        """What is to be done for one parameter, block by block."""
        grad = p.grad
        if grad is not None and grad.shape != p.shape:
            raise ValueError(f"{self._name}: the gradient has shape {grad.shape}, its parameter {p.shape}")
        writes.note(p.array)
        p.array = own_memory(p.array)
        move, arrays = self.update(p, self.state[p], group)
        if backend.cuda_in_use:
            backend.same_device(self._name, [a for a in arrays if backend.is_array(a)])
        for block in [arrays] if _any_on_gpu([(p, group)]) else blocks(arrays):
            yield move, block

    def update(self, p: Tensor, state: dict[str, Any], group: Group) -> Move:
        """One step of one parameter: what to do to each block, and the arrays to cut, `p.array` first."""
        raise NotImplementedError(f"{self._name}: define update(self, p, state, group)")

    # The state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state and the options in PyTorch's layout, where a parameter is its number, counted through the groups.

        The tensors of the state share the memory of the optimizer.
        """
        numbers = {p: i for i, p in enumerate(self._parameters())}
        groups = [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        states = {i: dict(self.state[p]) for p, i in numbers.items() if self.state.get(p)}
        return {"state": states, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state and its options; tensors are copied, in the dtype and to the device of their parameter."""
        if not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError(
                f"load_state_dict: got {list(state_dict)}; needs an optimizer's 'state' and 'param_groups'"
            )
        saved = state_dict["param_groups"]
        sizes, saved_sizes = ([len(group["params"]) for group in groups] for groups in (self.param_groups, saved))
        if sizes != saved_sizes:
            raise ValueError(f"load_state_dict: the groups have {sizes} parameters here, {saved_sizes} in the state")
        groups = [{**mine, **new, "params": mine["params"]} for mine, new in zip(self.param_groups, saved, strict=True)]
        for group in groups:
            self.check(self._numbers(group))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        numbers = (number for group in saved for number in group["params"])
        for p, number in zip(self._parameters(), numbers, strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                state[p][name] = self.load_value(value, p, f"{name} of parameter {number}")
        self.state, self.param_groups = state, groups

    def load_value(self, value: Any, p: Tensor, what: str) -> Any:
        """One value of a state that is loaded: a copy of a tensor, as p is; another thing as it is."""
        shape = getattr(value, "shape", None)
        if shape is None:
            return value
        if tuple(shape) == p.shape:
            return wrap(as_array(value, p.dtype, p.device).copy())
        if tuple(shape) == ():  # PyTorch keeps the number of steps in a tensor
            return value.item()
        raise ValueError(f"load_state_dict: {what} has shape {tuple(shape)}, the parameter {p.shape}")

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            count = sum(p.numel() for p in group["params"])
            options = ", ".join(
                f"{name}={value}" for name, value in group.items() if name not in ("params", "param_names")
            )
            lines.append(f"  group {i}: {options}; {count:,} parameters in {len(group['params'])} tensors")
        return "\n".join([*lines, ")"])


def _on_gpu(jobs: Iterable[Move]) -> None:
    """Do the jobs of parameters on a GPU: those of the same move all at once, where there is a kernel for it."""
    same: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    for move, arrays in jobs:
        same[move, arrays[0].dtype, backend.device_of(arrays[0])].append(arrays)
    for (move, _, _), parameters in same.items():
        backend.array_module(parameters[0][0])  # of several GPUs the parameters' computes
        if not (hasattr(move, "to_all") and move.to_all(parameters)):
            for arrays in parameters:
                move(*arrays)


class _Captured:
    """A step in the CUDA graph that is captured now, whose numbers (rates, the count of steps) each replay has anew.

    Raises:
        RuntimeError: where a parameter had no step before, or there is no kernel that finds its numbers on the GPU.
    """

    def __init__(self, optimizer: Optimizer, parameters: list[tuple[Tensor, Group]]) -> None:
        self.optimizer, name = optimizer, optimizer._name
        places = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
        self.parameters = [(p, p.grad, places[id(p)]) for p, _ in parameters]
        before = {p: dict(optimizer.state[p]) for p, _ in parameters}
        same: dict[Any, list[int]] = defaultdict(list)
        jobs = [job for p, group in parameters for job in optimizer._jobs(p, group)]
        begun = [p for p, _ in parameters if optimizer.state[p].keys() != before[p].keys()]
        for p, _ in parameters:  # nothing was done: the counts are the first replay's
            optimizer.state[p].clear()
            optimizer.state[p].update(before[p])
        if begun:
            raise RuntimeError(
                f"CUDA graph: {name} begins its state of a parameter of shape {begun[0].shape} while it is captured; "
                "run the step once before"
            )
        for i, (move, arrays) in enumerate(jobs):
            same[move, arrays[0].dtype, backend.device_of(arrays[0])].append(i)
        self.launches = [(Held(), numbers) for numbers in same.values()]
        for held, numbers in self.launches:
            whole = getattr(jobs[numbers[0]][0], "to_all", None)
            if whole is None or not whole([jobs[i][1] for i in numbers], held):
                raise RuntimeError(
                    f"CUDA graph: {name} computes with numbers of the CPU, as rates are, which the graph's replays "
                    "would not change; SGD, Adam and AdamW can be captured, where parameters and gradients are "
                    "contiguous and of one dtype; or call step() after a replay"
                )
        self.addresses = [tuple(map(backend.address, arrays)) for _, arrays in jobs]

    def renumber(self) -> None:
        """Count the step, and give the graph its numbers.

        Raises:
            RuntimeError: where a parameter, or what the optimizer remembers of it, has other memory than before.
        """
        groups = [self.optimizer._numbers(group) for group in self.optimizer.param_groups]
        jobs: list[Move] = []
        for p, grad, place in self.parameters:
            p.grad = grad
            jobs += self.optimizer._jobs(p, groups[place])
        if [tuple(map(backend.address, arrays)) for _, arrays in jobs] != self.addresses:
            raise RuntimeError(
                f"CUDA graph: {self.optimizer._name}'s state, or a parameter, is not in the memory that it was in when "
                "the graph was captured, as after load_state_dict; capture it anew"
            )
        for held, numbers in self.launches:
            moves = {jobs[i][0] for i in numbers}
            if len(moves) > 1:
                raise RuntimeError(
                    f"CUDA graph: {self.optimizer._name} moves parameters with different numbers that it moved with "
                    "the same when the graph was captured; capture it anew"
                )
            again: Any = moves.pop()
            again.to_all([jobs[i][1] for i in numbers], held)


def _any_on_gpu(parameters: list[tuple[Tensor, Group]]) -> bool:
    """Whether a parameter is on a GPU."""
    return backend.cuda_in_use and any(p.is_cuda for p, _ in parameters)


def blocks(arrays: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Arrays of one shape, cut along the first dim into views of about `BLOCK` bytes each."""
    shape, size = arrays[0].shape, arrays[0].nbytes
    if size <= BLOCK or not shape:
        yield arrays
        return
    rows = max(1, BLOCK * shape[0] // size)
    for start in range(0, shape[0], rows):
        yield tuple(array[start : start + rows] for array in arrays)


def zeros_like(p: Tensor) -> Tensor:
    """The beginning of a running mean over the gradients of p."""
    return wrap(backend.array_module(p.array).zeros_like(p.array))


def number(value: Any, what: str) -> Any:
    """An option's value as a number: a tensor of one element as what it holds.

    Raises:
        ValueError: a tensor of another size.
    """
    if not isinstance(value, Tensor):
        return value
    if value.numel() != 1:
        raise ValueError(f"{what} is a tensor of shape {value.shape}; give one number")
    return value.item()
