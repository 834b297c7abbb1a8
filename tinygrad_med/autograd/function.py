"""`autograd.Function`: a derivative of one's own, written as PyTorch writes it.

    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x**2 * g

    z = Cube.apply(x)

It is a thin way to a primitive: `apply` calls one whose forward is the Function's and whose rule is its backward. A new
operation is shorter as a `@primitive`: forward and rules then take arrays, and the engine saves what the rules name.

Several outputs are one long vector for the primitive, and are cut out of it again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.switches import is_grad_enabled, no_grad, set_grad_enabled


class FunctionCtx:
    """What a forward leaves for the backward: saved tensors, and whatever else is set on it.

    Attributes:
        needs_input_grad: per argument, whether its gradient is wanted.
        saved_tensors: in `backward`, the tensors that `save_for_backward` got. Arguments and outputs of the Function
            are the ones of the graph, so that a derivative of the derivative flows through them.
    """

    needs_input_grad: tuple[bool, ...]

    def __init__(self) -> None:
        self._saved: tuple[Tensor | None, ...] = ()
        self._constant: tuple[Tensor, ...] = ()
        self._restored: tuple[Tensor | None, ...] | None = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors, or `None`, for the backward."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The saved tensors."""
        if self._restored is None:
            raise RuntimeError("saved_tensors: they are there in backward; in forward you have them at hand")
        return self._restored

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Say that no gradient flows through these outputs; nor does it through any that are not floats."""
        self._constant = outputs

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Refused: a Function here must not write to its arguments."""
        raise NotImplementedError("mark_dirty: a Function must not write to its arguments here; return a new tensor")

    def set_materialize_grads(self, value: bool) -> None:
        """Nothing: outputs that nobody used have a gradient of zeros in any case, which gives what `None` would."""


class Function:
    """An operation with a backward of its own; see the top of this file. It is called by `apply`, and has no state."""

    @staticmethod
    def forward(*args: Any) -> Any:
        """The outputs, a tensor or several: `forward(ctx, *args)`, or without ctx beside a `setup_context`."""
        raise NotImplementedError("Function: define a static method forward(ctx, *args)")

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """What to keep for the backward, where the forward takes no ctx."""

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Any) -> Any:
        """For the gradients of the outputs those of the arguments: as many, `None` for what is no tensor."""
        raise NotImplementedError("Function: define a static method backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call the operation.

        Args:
            args: those of the forward. Gradients flow to tensors that require one, not to tensors inside lists.

        Raises:
            TypeError: if the forward returns no tensors.
            RuntimeError: in the walk, if the backward returns another number of gradients than there are arguments.
        """
        call = _Call(cls, args)
        flowing = [args[i] for i in call.flowing]
        return call.outputs_of(_function(*flowing, call=call) if flowing else wrap(call.forward(())))


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Say of a Function's backward, which may then use NumPy, that it has no derivative itself: to ask for one is a
    RuntimeError."""

    @functools.wraps(backward)
    def call(ctx: FunctionCtx, *grads: Any) -> Any:
        with no_grad():
            found = backward(ctx, *grads)
        if not is_grad_enabled():
            return found
        several = found if isinstance(found, tuple) else (found,)
        made = tuple(_Once.apply(d, *grads, *ctx.saved_tensors) if isinstance(d, Tensor) else d for d in several)
        return made if isinstance(found, tuple) else made[0]

    return call


class _Once(Function):
    """What a backward without derivative returned, from what it was computed of."""

    @staticmethod
    def forward(ctx: FunctionCtx, d: Tensor, *_: Any) -> Tensor:  # noqa: ARG004 - of PyTorch's form
        """The gradient."""
        return d.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Any) -> Any:  # noqa: ARG004 - of PyTorch's form
        """Refused."""
        raise RuntimeError("once_differentiable: the backward of this Function has no derivative")


class _Call:
    """One call of a Function: its arguments and its context, for the forward and for the backward."""

    def __init__(self, function: type[Function], args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args
        wanted = tuple(is_grad_enabled() and isinstance(x, Tensor) and x.requires_grad for x in args)
        self.flowing = [i for i, want in enumerate(wanted) if want]
        self.ctx = FunctionCtx()
        self.ctx.needs_input_grad = wanted
        self._of: Any = None  # the upstream gradient of `_found`
        self._found: dict[int, Any] = {}
        self._saved: list[tuple[str, Any]] = []  # ("input" or "output", its place), or ("constant", the tensor)

    def forward(self, xs: Sequence[Any]) -> Any:
        """The outputs through which gradients flow: one array, or all of them one behind the other."""
        given = [x.detach() if isinstance(x, Tensor) else x for x in self.args]
        for i, x in zip(self.flowing, xs, strict=True):
            given[i] = wrap(x)
        with no_grad():
            if self.function.setup_context is Function.setup_context:
                result = self.function.forward(self.ctx, *given)
            else:
                result = self.function.forward(*given)
                self.function.setup_context(self.ctx, tuple(given), result)
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        if not outputs or not all(isinstance(z, Tensor) for z in outputs):
            got = ", ".join(type(z).__name__ for z in outputs)
            raise TypeError(f"{self.function.__name__}.forward: must return a tensor or several, got {got or 'none'}")
        self.outputs, self.several = list(outputs), isinstance(result, (tuple, list))
        constant = {id(z) for z in self.ctx._constant}
        self.cut = [k for k, z in enumerate(outputs) if z.is_floating_point() and id(z) not in constant]
        self.shapes = [z.shape for z in outputs]
        self._note_saved([given[i] for i in self.flowing])
        arrays = [outputs[k].array for k in self.cut]
        if len({str(a.dtype) for a in arrays}) > 1:
            raise TypeError(f"{self.function.__name__}.forward: its float outputs must have one dtype")
        if len(arrays) < 2:
            return arrays[0] if arrays else outputs[0].array
        return backend.array_module(*arrays).concatenate([a.reshape(-1) for a in arrays])

    def outputs_of(self, z: Tensor) -> Any:
        """What `apply` returns, from the primitive's output."""
        flowing = dict(zip(self.cut, self._pieces(z), strict=True))
        outputs = tuple(flowing.get(k, output) for k, output in enumerate(self.outputs))
        del self.outputs
        return outputs if self.several else outputs[0]

    def _pieces(self, z: Tensor) -> list[Tensor]:
        """The outputs through which gradients flow, or their gradients, cut out of one vector."""
        shapes = [self.shapes[k] for k in self.cut]
        if len(shapes) < 2:
            return [z] * len(shapes)
        pieces, start = [], 0
        for shape in shapes:
            pieces.append(z[start : start + math.prod(shape)].reshape(shape))
            start += math.prod(shape)
        return pieces

    def _note_saved(self, inputs: list[Any]) -> None:
        """Of what was saved, remember arguments and outputs by their place; the record keeps them."""
        places = {id(x): ("input", i) for i, x in enumerate(inputs)}
        places |= {id(self.outputs[k]): ("output", i) for i, k in enumerate(self.cut)}
        self._saved = [places.get(id(x), ("constant", x)) for x in self.ctx._saved]
        self.ctx._saved = self.ctx._constant = ()

    def gradient(self, i: int, g: Any, xs: Any, z: Any) -> Any:
        """The gradient of operand i: all of them come from one call of the backward, at the first that is asked for."""
        if self._of is not g or i not in self._found:
            self._of, self._found = g, dict(enumerate(self._backward(g, xs, z)))
        return self._found.pop(i)

    def _backward(self, g: Any, xs: Any, z: Any) -> list[Any]:
        graph = isinstance(g, Tensor)  # under create_graph
        name = self.function.__name__
        g, z, *xs = (x if isinstance(x, Tensor) else wrap(x) for x in (g, z, *xs))
        outputs, flowing = self._pieces(z), dict(zip(self.cut, self._pieces(g), strict=True))
        restored: dict[str, Callable[[Any], Any]] = {
            "input": lambda i: xs[i],
            "output": lambda i: outputs[i],
            "constant": lambda x: x,
        }
        self.ctx._restored = tuple(restored[kind](what) for kind, what in self._saved)
        grads = [flowing.get(k) for k in range(len(self.shapes))]
        with set_grad_enabled(graph):
            found = self.function.backward(self.ctx, *grads)
        self.ctx._restored = None
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(found) < len(self.args) or any(d is not None for d in found[len(self.args) :]):
            raise RuntimeError(f"{name}.backward: returned {len(found)} gradients for {len(self.args)} arguments")
        wanted = [found[i] for i in self.flowing]
        if wrong := [type(d).__name__ for d in wanted if d is not None and not isinstance(d, Tensor)]:
            raise RuntimeError(f"{name}.backward: must return tensors or None, got {wrong[0]}")
        return wanted if graph else [None if d is None else d.array for d in wanted]


@primitive
def _function(xp: Any, *xs: Any, call: _Call) -> Any:  # noqa: ARG001 - the Function's forward takes tensors
    """z = the outputs of a Function's forward, several of them one behind the other

    ∂xs: what its backward returns for g
    """
    return call.forward(xs)


_function.vjp(xs=lambda g, i, xs, z, call: call.gradient(i, g, xs, z))
