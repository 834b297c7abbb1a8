"""Images with or without the dim of the batch: what convolution and pooling share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from tinygrad_med.ops.shape import squeeze, unsqueeze

F = TypeVar("F", bound=Callable[..., Any])


def batch_optional(axes: int) -> Callable[[F], F]:
    """Let a function of (N, C, *size), with so many spatial axes, take one image (C, *size) and give one result.

    It also lets `input`, PyTorch's name, stand for the first argument.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not args and "input" in kwargs:
                args = (kwargs.pop("input"),)
            if not args or len(args[0].shape) != axes + 1:
                return function(*args, **kwargs)
            results = function(unsqueeze(args[0], 0), *args[1:], **kwargs)
            if isinstance(results, tuple):
                return type(results)(*(squeeze(z, 0) for z in results))
            return squeeze(results, 0)

        return call  # type: ignore[return-value]

    return decorate
