"""Hooks: functions that see a gradient when it is complete, and may replace it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygrad_med.core.tensor import Tensor


class RemovableHandle:
    """Takes a hook out again: by `remove()`, or at the end of a `with` block."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook
        hooks.append(hook)

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Retain:
    """The hook of `retain_grad`: leaves what all other hooks made of the gradient in the tensor's `grad`."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)

    @staticmethod
    def of(tensor: Tensor, hook: Any) -> bool:
        """Whether `hook` retains the gradient of this tensor."""
        return isinstance(hook, Retain) and hook.tensor() is tensor

    @staticmethod
    def is_there(tensor: Tensor) -> bool:
        """Whether the tensor's gradient is kept as it is; that of a leaf always is."""
        return tensor.origin is None or any(Retain.of(tensor, hook) for hook in tensor.origin.hooks or ())

    def __call__(self, gradient: Tensor) -> None:
        """Leave the gradient."""
        if (tensor := self.tensor()) is not None:
            tensor.grad = gradient.clone() if tensor._grad is None else tensor._grad + gradient


def run_hooks(hooks: list[Any] | None, g: Any, create_graph: bool) -> Any:
    """The gradient (an array, or a tensor if `create_graph`) after the hooks have seen, and perhaps replaced it."""
    if not hooks:
        return g
    from tinygrad_med.core.tensor import Tensor, wrap

    tensor = g if create_graph else wrap(g.copy())
    for hook in sorted(hooks, key=lambda hook: isinstance(hook, Retain)):  # in their order, those of retain_grad last
        replaced = hook(tensor)
        if replaced is None:
            continue
        if not isinstance(replaced, Tensor) or replaced.dtype != tensor.dtype:
            got = f"a {replaced.dtype} tensor" if isinstance(replaced, Tensor) else type(replaced).__name__
            raise RuntimeError(
                f"gradient hook: returned {got}; return a {tensor.dtype} tensor, or None to change nothing"
            )
        if replaced.shape != tensor.shape:
            raise RuntimeError(f"gradient hook: returned shape {replaced.shape}, the gradient has {tensor.shape}")
        tensor = replaced
    return tensor if create_graph else tensor.array.copy()  # a hook may keep what it got, and what it returned
