"""The module: a function with parameters.

A module's parameters are the `Parameter`s among its attributes, its children the `Module`s among them: assigning is
registering, deleting is forgetting, and copying or pickling a module is copying or pickling its attributes. Only
buffers (tensors that belong to the state, but are not learned) need a list of names, because a plain tensor as an
attribute is nobody's state.

Everything else follows from one walk over the tree, `named_modules`: the parameters, the state, its loading, the
conversion to another dtype or device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine.errors import did_you_mean
from tinygrad_med.engine.hooks import RemovableHandle
from tinygrad_med.engine.switches import no_grad
from tinygrad_med.nn.hooks import Gradients, through_gate

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A leaf that is to be learned; as an attribute of a module it is one of the module's parameters.

    Args:
        data: numbers, an array or a tensor, whose memory it shares and whose history it drops.
        requires_grad: whether `backward()` leaves a gradient here; `False` freezes it.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not find, and what it found no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:  # what a notebook shows below the cell
        if not any(self):
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def _no_forward(self: Module, *_: Any, **__: Any) -> Any:
    raise NotImplementedError(f"{type(self).__name__} has no forward; define `def forward(self, x): …` in the class")


class Module:
    """A function with parameters: write `__init__`, which sets its parts as attributes, and `forward`.

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(784, 32)
                self.out = nn.Linear(32, 10)

            def forward(self, x):
                return self.out(F.relu(self.hidden(x)))

    Attributes:
        training: whether layers such as dropout behave as in training; set by `train()` and `eval()`.
        forward: the function itself; call the module, not `forward`, so that its hooks run.
    """

    training: bool
    forward: Callable[..., Any] = _no_forward

    def __init__(self) -> None:
        self.training = True
        self._persistent: dict[str, bool] = {}  # the names of the buffers, and whether state_dict() has them
        self._forward_pre_hooks: list[Callable[..., Any]] = []
        self._forward_hooks: list[Callable[..., Any]] = []
        self._backward_hooks: list[Callable[..., Any]] = []

    # Calling ----------------------------------------------------------------------------------------------------------

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward`, and the hooks around it."""
        self._require_init("calling it")
        for hook in list(self._forward_pre_hooks):
            replaced = hook(self, inputs)
            if replaced is not None:
                inputs = replaced if isinstance(replaced, tuple) else (replaced,)
        output = self._watched_forward(inputs, options) if self._backward_hooks else self.forward(*inputs, **options)
        for hook in list(self._forward_hooks):
            replaced = hook(self, inputs, output)
            output = output if replaced is None else replaced
        return output

    def _watched_forward(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """`forward` between two gates, at which the backward hooks see the gradients."""
        grad_output: Gradients = ()

        def run_hooks(grad_input: Gradients) -> Gradients:
            for hook in list(self._backward_hooks):
                replaced = hook(self, grad_input, grad_output)
                if replaced is not None:
                    grad_input = replaced if isinstance(replaced, tuple) else (replaced,)
            return grad_input

        def at_output(gradients: Gradients) -> None:
            nonlocal grad_output
            grad_output = gradients
            if not gated:  # nothing flows back to the inputs, no second gate will run the hooks
                run_hooks((None,) * len(inputs))

        entered = through_gate(inputs, run_hooks)
        gated = any(x is not original for x, original in zip(entered, inputs, strict=True))
        output = self.forward(*entered, **options)
        if not isinstance(output, (Tensor, tuple, list)):
            raise TypeError(
                f"{type(self).__name__}: a module with a backward hook must return a tensor or a tuple of tensors, "
                f"got {type(output).__name__}"
            )
        left = through_gate((output,) if isinstance(output, Tensor) else output, at_output)
        return left[0] if isinstance(output, Tensor) else left

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call `hook(module, inputs)` before `forward`; what it returns, if anything, replaces the inputs."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> RemovableHandle:
        """Call `hook(module, inputs, output)` after `forward`; what it returns, if anything, replaces the output.

        The handle takes the hook out again: `handle.remove()`, or `with module.register_forward_hook(…):`.
        """
        return RemovableHandle(self._forward_hooks, hook)

    def register_full_backward_hook(self, hook: Callable[[Any, Gradients, Gradients], Any]) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the module's inputs are complete.

        `grad_input` has one gradient per positional input: what flows back through this module, not through other uses
        of the input; `None` for what requires no gradient (PyTorch may give zeros). A tuple that the hook returns
        replaces it. `grad_output` has one gradient per output. Both are tensors outside the graph, except in a walk
        with `create_graph`.
        """
        return RemovableHandle(self._backward_hooks, hook)

    # Its parts --------------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        current = vars(self).get(name)
        if isinstance(value, (Parameter, Module)):
            self._require_init(f"assigning {name}")
            self._persistent.pop(name, None)
        elif value is None:
            pass
        elif isinstance(current, Parameter):
            raise TypeError(
                f"{type(self).__name__}.{name} is a parameter, {type(value).__name__} can't take its place; assign "
                f"nn.Parameter(…), or write its numbers: with no_grad(): module.{name}.copy_(…)"
            )
        elif isinstance(current, Module):
            raise TypeError(f"{type(self).__name__}.{name} is a module, {type(value).__name__} can't take its place")
        elif name in vars(self).get("_persistent", ()) and not isinstance(value, Tensor):
            raise TypeError(f"{type(self).__name__}.{name} is a buffer, {type(value).__name__} can't take its place")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._persistent.pop(name, None)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """The same as assigning an attribute; `None` says that the module does without this parameter."""
        self._register(name, parameter, Parameter)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as assigning an attribute, also for names that are no Python names, such as "0"."""
        self._register(name, module, Module)

    add_module = register_module

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Make a tensor part of the state: it moves with `to()` and `cuda()`, but is not learned.

        Args:
            name: the attribute.
            tensor: the buffer, or `None` for one that is not in use.
            persistent: whether `state_dict()` has it.
        """
        self._register(name, tensor, Tensor)
        self._persistent[name] = persistent

    def _register(self, name: str, value: Any, kind: type) -> None:
        self._require_init(f"registering {name}")
        owner = type(self).__name__
        if not name or "." in name:
            raise KeyError(f"{owner}: {name!r} can't be the name of a part; give a name without dots")
        if value is not None and (not isinstance(value, kind) or (isinstance(value, Parameter) and kind is Tensor)):
            raise TypeError(f"{owner}: {name} must be a {kind.__name__} or None, got {type(value).__name__}")
        parts = self._parameters.keys() | self._modules.keys() | self._persistent.keys()
        if name not in parts and getattr(self, name, None) is not None:
            raise KeyError(f"{owner}: it has an attribute {name!r} already; choose another name")
        setattr(self, name, value)

    def _require_init(self, doing: str) -> None:
        if "_persistent" not in vars(self):
            raise AttributeError(f"{type(self).__name__}: call super().__init__() first in __init__, before {doing}")

    @property
    def _parameters(self) -> Mapping[str, Parameter]:  # to be read; what is written to it would not come to the module
        return MappingProxyType({name: value for name, value in vars(self).items() if isinstance(value, Parameter)})

    @property
    def _buffers(self) -> Mapping[str, Tensor]:
        return MappingProxyType({name: vars(self)[name] for name in self._persistent if vars(self)[name] is not None})

    @property
    def _modules(self) -> Mapping[str, Module]:
        return MappingProxyType({name: value for name, value in vars(self).items() if isinstance(value, Module)})

    # The walk over the tree -------------------------------------------------------------------------------------------

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths ("features.0"), a module before its children.

        A module that hangs in several places comes once, unless `remove_duplicate=False`.
        """
        return self._walk(prefix, set() if remove_duplicate else None)

    def _walk(self, path: str, seen: set[Module] | None) -> Iterator[tuple[str, Module]]:
        if seen is not None:
            if self in seen:
                return
            seen.add(self)
        yield path, self
        for name, child in self._modules.items():
            yield from child._walk(_join(path, name), seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def get_submodule(self, target: str) -> Module:
        """The module of a name that `named_modules` has, like `layer4.1.conv2`; the module itself for `""`.

        Raises:
            AttributeError: if there is none; it names what there is.
        """
        module = self
        for name in target.split(".") if target else ():
            if name not in module._modules:
                hint = did_you_mean(name, module._modules, f"it has {', '.join(module._modules) or 'no parts'}")
                raise AttributeError(f"{type(module).__name__} has no part {name!r}; {hint}")
            module = module._modules[name]
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a name that `named_parameters` has, like `layer4.1.conv2.weight`, or an AttributeError."""
        return self._part(target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a name that `named_buffers` has, like `layer4.1.bn2.running_mean`, or an AttributeError."""
        return self._part(target, "_buffers", "buffer")

    def _part(self, target: str, kind: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        parts = getattr(owner, kind)
        if name not in parts:
            hint = did_you_mean(name, parts, f"it has {', '.join(parts) or 'none'}")
            raise AttributeError(f"{type(owner).__name__} has no {what} {name!r}; {hint}")
        return parts[name]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules among the attributes, each once."""
        return _each_once(iter(self._modules.items()))

    def children(self) -> Iterator[Module]:
        """The modules among the attributes, each once."""
        return (child for _, child in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their paths ("features.0.weight"), each once; `recurse=False`: without the children's."""
        owners = self._owners(prefix, recurse)
        found = ((_join(path, name), p) for path, module in owners for name, p in module._parameters.items())
        return _each_once(found) if remove_duplicate else found

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once; `recurse=False`: without the children's."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their paths, each once; `recurse=False`: without the children's."""
        owners = self._owners(prefix, recurse)
        found = ((_join(path, name), b) for path, module in owners for name, b in module._buffers.items())
        return _each_once(found) if remove_duplicate else found

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once; `recurse=False`: without the children's."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def _owners(self, prefix: str, recurse: bool) -> Iterator[tuple[str, Module]]:
        """The places to look for parts in; a module in two places counts twice, its parts have two names."""
        return self._walk(prefix, None) if recurse else iter([(prefix, self)])

    def apply(self: M, function: Callable[[Module], object]) -> M:
        """Call `function(module)` for every module, children first; returns the module itself."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # The state --------------------------------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """The parameters and persistent buffers by their paths, PyTorch's keys.

        The tensors share the memory of the module: training goes on in them. `copy.deepcopy(module.state_dict())` keeps
        the state of now.
        """
        state: dict[str, Tensor] = {}
        for path, module in self._owners(prefix.removesuffix("."), recurse=True):
            kept = {name: b for name, b in module._buffers.items() if module._persistent[name]}
            for name, tensor in {**module._parameters, **kept}.items():
                state[_join(path, name)] = tensor.detach()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Write a state into the parameters and buffers, in their dtype and on their device.

        Args:
            state_dict: tensors or arrays by path, as `state_dict()` returns them.
            strict: insist that the paths are the same on both sides. A tensor of another shape is an error either way.
                Only the `num_batches_tracked` of batch normalization may be missing, as in PyTorch: states from before
                version 0.4.1 don't say how many batches their running statistics come from.

        Returns:
            The missing and the unexpected keys.

        Raises:
            RuntimeError: with everything that doesn't fit, key by key; nothing is loaded then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: needs a dict of tensors by name, got {type(state_dict).__name__}")
        own = self.state_dict()
        missing = [key for key in own if key not in state_dict and not key.endswith("num_batches_tracked")]
        unexpected = [key for key in state_dict if key not in own]
        complaints = []
        if strict:
            complaints += [f"missing: {key} {own[key].shape}" for key in missing]
            complaints += [f"unexpected: {key} {getattr(state_dict[key], 'shape', '')}".rstrip() for key in unexpected]
        values = {key: state_dict[key] for key in own if key in state_dict}
        for key, value in values.items():
            shape = getattr(value, "shape", None)
            if shape is None:
                complaints.append(f"not a tensor: {key} is a {type(value).__name__}")
            elif tuple(shape) == (1,) and own[key].shape == ():  # as PyTorch before 0.4 wrote it
                values[key] = value.reshape(())
            elif tuple(shape) != own[key].shape:
                complaints.append(f"another shape: {key} is {own[key].shape} here, {tuple(shape)} in the state")
        if complaints:
            hint = _hint(own, state_dict)
            raise RuntimeError(
                f"load_state_dict: the state doesn't fit {type(self).__name__}, nothing was loaded; "
                + (hint or "strict=False loads the keys that are on both sides, if their shapes agree\n  ")
                + ("" if hint else "\n  ".join(complaints))
            )
        parameters, buffers = (named(remove_duplicate=False) for named in (self.named_parameters, self.named_buffers))
        targets: dict[str, Tensor] = {**dict(parameters), **dict(buffers)}
        with no_grad():
            for key, value in values.items():
                targets[key].copy_(value)
        return IncompatibleKeys(missing, unexpected)

    # What holds for the whole tree ------------------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Let every module behave as in training, or, with `False`, as in evaluation; returns the module itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """The same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Thaw the parameters, or, with `False`, freeze them; returns the module itself."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the parameters, or, with `set_to_none=False`, set them to zero in place."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad = p.grad.detach().zero_()

    def to(
        self: M,
        *targets: Any,
        dtype: Any = None,
        device: str | None = None,
        non_blocking: bool = False,  # noqa: ARG002 - PyTorch's argument
        memory_format: Any = None,  # noqa: ARG002 - likewise
    ) -> M:
        """Take all parameters, gradients and buffers to another dtype (the floats among them) or device.

        `module.to("cuda")`, `module.to(float64)`, `module.to(other_tensor)`, as `Tensor.to`. The `Parameter`s remain
        the same objects with other numbers, so an optimizer that has them keeps them. Returns the module itself.
        `non_blocking` and `memory_format` are accepted and do nothing.
        """

        def convert(x: Tensor) -> Tensor:
            x = x.detach()
            if not x.is_floating_point():  # a counter keeps its dtype, and follows an empty tensor to its device
                return x.to(device=x.flatten()[:0].to(*targets, dtype=dtype, device=device).device)
            moved = x.to(*targets, dtype=dtype, device=device)
            if not moved.is_floating_point():
                raise TypeError(f"to: parameters and float buffers need a float type, got {moved.dtype}")
            return moved

        for p in self.parameters():
            p.array = convert(p).array
            p.grad = None if p.grad is None else convert(p.grad)
        for module in self.modules():
            for name, buffer in module._buffers.items():
                setattr(module, name, convert(buffer))
        return self

    def double(self: M) -> M:
        """The module in float64."""
        return self.to("float64")

    def float(self: M) -> M:
        """The module in float32."""
        return self.to("float32")

    def half(self: M) -> M:
        """The module in float16."""
        return self.to("float16")

    def cuda(self: M, device: int | str | None = None) -> M:
        """The module on a GPU."""
        return self.to(device=f"cuda:{device}" if isinstance(device, int) else device or "cuda")

    def cpu(self: M) -> M:
        """The module on the CPU."""
        return self.to(device="cpu")

    # How it prints ----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses: the settings of the layer."""
        return ""

    def __repr__(self) -> str:
        """The tree; each line of it ends with the number of parameters there."""
        rows = self._tree(type(self).__name__)
        width = max(len(text) for text, _ in rows)
        lines = [f"{text:{width}}  {count:>{len(f'{rows[-1][1]:,}')},}" if count else text for text, count in rows]
        frozen = sum(p.numel() for p in self.parameters() if not p.requires_grad)
        note = f" parameters, {frozen:,} of them frozen" if frozen else " parameters"
        return "\n".join(lines) + (note if rows[-1][1] else "")

    def _tree(self, title: str) -> list[tuple[str, int]]:
        """The lines of `repr` and the number of parameters of each; the last line has the total."""
        total = sum(p.numel() for p in self.parameters())
        if not self._modules:
            return [(f"{title}({self.extra_repr()})", total)]
        rows = [(f"{title}({self.extra_repr()}", 0)]
        for name, child in self._modules.items():
            rows += [(f"  {text}", count) for text, count in child._tree(f"({name}): {type(child).__name__}")]
        return [*rows, (")", total)]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


T = TypeVar("T", Parameter, Tensor, Module)


def _each_once(named: Iterator[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Without what came before under another name."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _hint(own: Mapping[str, Any], state: Mapping[str, Any]) -> str | None:
    """Why the keys of a state are others than the module's own, where it is one thing that explains all of them."""
    for key, part in state.items():
        if isinstance(part, Mapping) and any(name in own or _after_dot(name) in own for name in part):
            return f"it is a checkpoint, in which the module's state is called {key!r}: give state[{key!r}]"
    prefixes = {str(key).partition(".")[0] for key in state}
    if len(prefixes) == 1 and sum(_after_dot(key) in own for key in state) * 2 > len(own):
        prefix = f"{prefixes.pop()}."
        return (
            f"all of its keys begin with {prefix!r}, as those of a module in another one do (DataParallel's, for one): "
            f"give {{key.removeprefix({prefix!r}): value for key, value in state.items()}}"
        )
    prefixes = {key.partition(".")[0] for key in own}
    if len(prefixes) == 1 and sum(_after_dot(key) in state for key in own) * 2 > len(own):
        return f"it is the state of its part .{prefixes.pop()}: load it into that"
    return None


def _after_dot(key: Any) -> str:
    return str(key).partition(".")[2]
