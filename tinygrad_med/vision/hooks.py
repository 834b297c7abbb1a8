"""fastai's hooks: look at what goes into and out of a module, and keep something of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.nn import Module


class Hook:
    """Keeps what `hook_func(module, inputs, outputs)` returns, at every call of the module.

    Args:
        module: where to look.
        hook_func: gets the module, its inputs and its output; or, with `is_forward=False`, the gradients of its inputs
            and of its outputs, both as tuples.
        is_forward: look at the way forward, or at the way back.
        detach: show tensors outside the graph.

    Attributes:
        stored: what `hook_func` returned the last time; `None` before.

    The hook is taken out by `remove()`, or at the end of a `with` block.
    """

    def __init__(
        self, module: Module, hook_func: Callable[[Any, Any, Any], Any], is_forward: bool = True, detach: bool = True
    ) -> None:
        self.hook_func, self.detach, self.stored = hook_func, detach, None
        register = module.register_forward_hook if is_forward else module.register_full_backward_hook
        self._handle = register(self._look)

    def _look(self, module: Module, inputs: Any, outputs: Any) -> None:
        if self.detach:
            inputs, outputs = _detached(inputs), _detached(outputs)
        self.stored = self.hook_func(module, inputs, outputs)

    def remove(self) -> None:
        """Take the hook out."""
        self._handle.remove()

    def __enter__(self) -> Hook:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def hook_output(module: Module) -> Hook:
    """A hook that keeps the output of a module."""
    return Hook(module, lambda _module, _inputs, output: output)


def _detached(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_detached, value))
    return value.detach() if isinstance(value, Tensor) else value
