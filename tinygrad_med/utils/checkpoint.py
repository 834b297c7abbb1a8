"""Trade time for memory: keep only the inputs of a part of a model, and compute the part again on the way back.

    y = checkpoint(block, x)  # as y = block(x), but nothing inside of block is kept

The part becomes one operation of the graph. Its operands are the tensors that it is given, and the leaves that it finds
by itself, as a module finds its parameters; its rule runs the part once more, with its graph, and walks back through
it. So `backward()`, `grad()` and derivatives of higher order go through it as through any other operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med import backend, random
from tinygrad_med.autograd.function import Function
from tinygrad_med.autograd.functional import gradients
from tinygrad_med.core.backward import records
from tinygrad_med.core.modes import next_number
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine import autocast
from tinygrad_med.engine.switches import enable_grad, is_grad_enabled
from tinygrad_med.engine.writes import writes
from tinygrad_med.nn import Sequential


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,  # noqa: ARG001 - PyTorch's; there is one way here
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, but what it computes inside is not kept: the walk computes it again.

    A batch norm in training counts a batch twice in its running statistics, as in PyTorch. Where only one of several
    results is used, an argument that it does not depend on gets zeros, as with PyTorch's `use_reentrant=True`; with its
    `False`, none. The gradients that a walk computes through a checkpoint are such results, too.

    Args:
        function: a module, or any function that returns a tensor or a tuple of tensors; it must give the same when it
            runs again.
        args, kwargs: its arguments. Gradients flow to tensors among `args` and to the parameters that it uses.
        use_reentrant: without effect.
        preserve_rng_state: draw the same numbers the second time, as a dropout must.

    Raises:
        TypeError: if it does not return a tensor or a tuple of tensors.
        RuntimeError: if it uses a tensor of the graph that is not among its arguments; and in the walk, if an argument
            was overwritten since.
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    part = _Part(function, args, kwargs, preserve_rng_state)
    return part.first_run([args[i] for i in part.flowing])


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True
) -> Any:
    """`Sequential(*functions)(input)` in so many segments, each of which is computed again on the way back.

    Args:
        functions: a `Sequential`, or the modules or functions one behind the other.
        segments: how many parts; the last one is kept in memory, as its graph is needed at once.
        input: what the first one gets.
        use_reentrant, preserve_rng_state: as for `checkpoint`.
    """
    layers = list(functions.children()) if isinstance(functions, Sequential) else list(functions)
    size = len(layers) // segments
    if not 1 <= segments <= len(layers):
        raise ValueError(f"checkpoint_sequential: {len(layers)} functions can't be cut into {segments} segments")

    def run(start: int, stop: int) -> Callable[[Any], Any]:
        def segment(x: Any) -> Any:
            for layer in layers[start:stop]:
                x = layer(x)
            return x

        return segment

    for k in range(segments - 1):
        input = checkpoint(
            run(k * size, (k + 1) * size), input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state
        )
    return run((segments - 1) * size, len(layers))(input)


class _Part:
    """A part of a model that runs twice, and finds the same random numbers both times."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], keep_rng: bool) -> None:
        self.function, self.kwargs, self.keep_rng = function, kwargs, keep_rng
        self.flowing = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
        self.args = [None if i in self.flowing else x for i, x in enumerate(args)]  # the graph keeps the others
        self.state = random.default_generator.get_state()
        self.dtypes = autocast.casting.dtypes
        self.results: tuple[Tensor, ...] = ()
        self.ended = 0  # the number of the first run's end: later writes are noticed
        self.leaves: list[Tensor] = []

    def run(self, xs: Sequence[Tensor]) -> Any:
        """The part with its graph, on these tensors in place of the arguments that gradients flow to."""
        args = list(self.args)
        for i, x in zip(self.flowing, xs, strict=True):
            args[i] = x
        with enable_grad():
            return self.function(*args, **self.kwargs)

    def again(self, xs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What `run` gave the first time."""
        for x in (*self.args, *self.kwargs.values()):
            if isinstance(x, Tensor) and backend.is_array(x.array) and (line := writes.since(x.array, self.ended)):
                raise RuntimeError(
                    f"checkpoint: an argument of shape {x.shape}, from which the walk computes again, was overwritten "
                    f"in place at {line}; clone() it first"
                )
        generator = random.default_generator
        now = generator.get_state()
        if self.keep_rng:
            generator.set_state(self.state)
        try:
            with autocast.as_it_is(self.dtypes):  # as the first time; the walk computes without autocast
                found = self.run(xs)
        finally:
            if self.keep_rng:
                generator.set_state(now)
        return found if isinstance(found, tuple) else (found,)

    def gradients(self, xs: Sequence[Tensor], seeds: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Of the results, weighted by `seeds`, the gradients of the arguments and of the leaves."""
        create_graph = is_grad_enabled()
        if create_graph:  # a part again, of the arguments and the upstream gradients
            count = len(xs)
            found: tuple[Tensor, ...] = checkpoint(
                lambda *given: self._walk(given[:count], given[count:], True), *xs, *seeds, preserve_rng_state=False
            )
            return found
        return self._walk([x.detach().requires_grad_() for x in xs], seeds, False)

    def _walk(self, xs: Sequence[Tensor], seeds: Sequence[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
        return gradients(self.again(xs), [*xs, *self.leaves], seeds, create_graph, False, "checkpoint")

    def first_run(self, xs: Sequence[Tensor]) -> Any:
        """The results, as an operation of the arguments and of the leaves that were met inside."""
        begin = next_number()
        inside = [x.detach().requires_grad_() for x in xs]
        found = self.run(inside)
        self.ended = next_number()
        several = isinstance(found, tuple)
        results = found if several else (found,)
        if not all(isinstance(z, Tensor) for z in results):
            raise TypeError("checkpoint: the function must return a tensor or a tuple of tensors")
        met = {record for z in results for record in records(z)}
        if any(record.number < begin for record in met):
            raise RuntimeError(
                "checkpoint: the function uses a tensor of the graph that is not among its arguments; pass it as one"
            )
        nodes = {id(node): node for record in met for node in record.inputs if isinstance(node, Tensor)}
        self.leaves = [leaf for leaf in nodes.values() if not any(leaf is x for x in inside)]
        self.results = tuple(wrap(z.array) for z in results)
        used = [id(x) in nodes or any(z is x for z in results) for x in inside]
        for i, x, is_used in zip(self.flowing, xs, used, strict=True):
            self.args[i] = None if is_used else x.detach().requires_grad_()  # no gradient leaves it, not even of zeros
        self.flowing = [i for i, is_used in zip(self.flowing, used, strict=True) if is_used]
        flowing = [x for x, is_used in zip(xs, used, strict=True) if is_used]
        outputs = _Recomputed.apply(self, *flowing, *self.leaves) if flowing or self.leaves else self.results
        return outputs if several else outputs[0]


class _Recomputed(Function):
    """The results of a part, from its arguments and its leaves; the backward runs it again."""

    @staticmethod
    def forward(ctx: Any, part: _Part, *operands: Tensor) -> tuple[Tensor, ...]:
        ctx.part = part
        ctx.save_for_backward(*operands[: len(part.flowing)])
        results, part.results = part.results, ()
        return results

    @staticmethod
    def backward(ctx: Any, *seeds: Tensor | None) -> tuple[Any, ...]:
        part = ctx.part
        return None, *part.gradients(ctx.saved_tensors, seeds)
