"""Random programs of tensors, run here and in PyTorch, step by step: the same values, gradients and refusals.

A program is a list of steps on a pool of tensors that grows: operations, also without a graph and inside of a
checkpoint; views, and writes into them; hooks, `retain_grad`, new leaves; gradients of whatever there is, of first and
second order, by `grad` and by `backward`, which may free the graph. It is plain data, drawn from a seed, so that one
that fails can be run again, and made smaller by leaving out steps.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import tinygrad_med as tm
from tinygrad_med import autograd
from tinygrad_med.utils.checkpoint import checkpoint

X = [[0.3, -1.2, 0.7], [1.5, 0.4, -0.6]]
W = [[0.9, 0.2, -0.5], [-0.8, 1.1, 0.6]]
LARGEST, MOST = 1e3, 120  # a result beyond is compared, and not worked with: see `_grow`
LAST = 4  # results whose gradients are compared at the end
ERRORS = (RuntimeError, IndexError, ValueError, TypeError)
Act = Callable[[ModuleType, Any, Any], Any]  # of the library, a tensor and another one

KEYS = [0, 1, (0, 1), slice(1, None), (slice(None), 0), (Ellipsis, slice(0, 2)), (slice(None), [1, 0])]

NORM: Act = lambda lib, t, o: t.norm()  # noqa: E731 - it stands in the list below, and is asked for: see `_compare`
OPERATIONS: list[Act] = [
    lambda lib, t, o: t * 0.5 + o,
    lambda lib, t, o: t - o * 2,
    lambda lib, t, o: (t * o).tanh(),
    lambda lib, t, o: t / (o * o + 1),
    lambda lib, t, o: 1.5 - t,
    lambda lib, t, o: t**2 * 0.3,
    lambda lib, t, o: (t * o + 1) ** 3 * 0.1,
    lambda lib, t, o: t.tanh(),
    lambda lib, t, o: t.sigmoid() * o,
    lambda lib, t, o: t.relu(),
    lambda lib, t, o: (-t * t).exp(),
    lambda lib, t, o: t.sin() + t.cos() * o,
    lambda lib, t, o: (t.abs() + 1).log(),
    lambda lib, t, o: (t * t + 0.5).sqrt(),
    lambda lib, t, o: t.clamp(-0.5, 0.8),
    lambda lib, t, o: lib.maximum(t, o),
    lambda lib, t, o: lib.minimum(t, o * 0.5),
    lambda lib, t, o: lib.where(t > o, t, o * 0.3),
    lambda lib, t, o: lib.atan2(t, o * o + 1),
    lambda lib, t, o: lib.lerp(t, o, 0.3),
    lambda lib, t, o: lib.addcmul(t, o, o, value=0.2),
    lambda lib, t, o: t @ o * 0.3,
    lambda lib, t, o: t @ o.permute(*reversed(range(o.ndim))) * 0.3,
    lambda lib, t, o: t.sum() * 0.2,
    lambda lib, t, o: t.sum(0) * 0.2,
    lambda lib, t, o: t.mean(-1, keepdim=True),
    lambda lib, t, o: t.amax(-1),
    lambda lib, t, o: t.max(),
    lambda lib, t, o: t.prod(),
    lambda lib, t, o: t.var(0),
    lambda lib, t, o: t.logsumexp(-1),
    lambda lib, t, o: t.softmax(-1),
    lambda lib, t, o: t.log_softmax(0),
    lambda lib, t, o: t.cumsum(-1),
    NORM,
    lambda lib, t, o: lib.cat([t, o]),
    lambda lib, t, o: lib.cat([t, t * o], -1),
    lambda lib, t, o: lib.stack([t, o, t]),
    lambda lib, t, o: t.flip(0),
    lambda lib, t, o: t.roll(1, -1),
    lambda lib, t, o: t.repeat(2, 1),
    lambda lib, t, o: t.tril(),
    lambda lib, t, o: t[[1, 0]],
    lambda lib, t, o: t[[0, 0, 1]],
    lambda lib, t, o: t[..., [1, 0, 1]],
    lambda lib, t, o: t[t > 0.2],
    lambda lib, t, o: t.gather(-1, lib.tensor([[0, 1, 1], [1, 0, 0]])),
    lambda lib, t, o: t.index_select(0, lib.tensor([1, 1, 0])),
    lambda lib, t, o: lib.zeros(t.shape, dtype=lib.float64),
    lambda lib, t, o: lib.zeros_like(t),
    lambda lib, t, o: t.clone(),
    lambda lib, t, o: t.detach() * o,
    lambda lib, t, o: t.double(),
    lambda lib, t, o: t.contiguous() * 2,
]
VIEWS: list[Act] = [
    *(lambda lib, t, o, key=key: t[key] for key in KEYS[:6]),
    lambda lib, t, o: t.reshape(-1),
    lambda lib, t, o: t.permute(*reversed(range(t.ndim))),
    lambda lib, t, o: t[None],
    lambda lib, t, o: t.unsqueeze(-1),
    lambda lib, t, o: t.squeeze(0),
    lambda lib, t, o: t.detach(),
    lambda lib, t, o: t.view(-1),
    lambda lib, t, o: t.transpose(0, -1),
    lambda lib, t, o: t.narrow(0, 0, 1),
    lambda lib, t, o: t.chunk(2, -1)[1],
    lambda lib, t, o: t.unbind(0)[0],
    lambda lib, t, o: t.diagonal(),
    lambda lib, t, o: t.expand(2, *t.shape),
    lambda lib, t, o: t[::2],
]
THROUGH_A_VIEW: list[Act] = [  # as `t[key] *= 0.5` and `t[key] += o` have it
    *(lambda lib, t, o, key=key: t.__setitem__(key, t[key].mul_(0.5)) for key in KEYS[:6]),
    *(lambda lib, t, o, key=key: t.__setitem__(key, t[key].add_(o)) for key in KEYS[:6]),
]
WRITES: list[Act] = [
    lambda lib, t, o: t.mul_(0.5),
    lambda lib, t, o: t.add_(o),
    lambda lib, t, o: t.sub_(o, alpha=0.5),
    lambda lib, t, o: t.mul_(o),
    lambda lib, t, o: t.div_(o * o + 1),
    lambda lib, t, o: t.tanh_(),
    lambda lib, t, o: t.sigmoid_(),
    lambda lib, t, o: t.relu_(),
    lambda lib, t, o: t.neg_(),
    lambda lib, t, o: t.copy_(o),
    lambda lib, t, o: t.zero_(),
    lambda lib, t, o: t.fill_(0.4),
    lambda lib, t, o: t.clamp_(-0.4, 0.4),
    lambda lib, t, o: t.masked_fill_(t > 0.3, 0.1),
    lambda lib, t, o: t.lerp_(o, 0.3),
    lambda lib, t, o: t.addcmul_(o, o, value=0.1),
    lambda lib, t, o: t.index_add_(0, lib.tensor([0, 0]), o),
    *(lambda lib, t, o, key=key: t.__setitem__(key, 0.25) for key in KEYS),
    *(lambda lib, t, o, key=key: t.__setitem__(key, o) for key in KEYS),
    *THROUGH_A_VIEW,
    lambda lib, t, o: t.__setitem__(t > 0.2, 0.3),
]
HOOKS: list[Callable[[Any], Any]] = [lambda g: None, lambda g: g * 0.5, lambda g: g.tanh(), lambda g: -g]
CHOICES = {
    **dict.fromkeys(["operation", "quiet operation", "checkpoint"], OPERATIONS),
    "view": VIEWS,
    **dict.fromkeys(["write", "quiet write"], WRITES),
}
KINDS = {
    "operation": 8,
    "quiet operation": 1,
    "checkpoint": 2,
    "view": 4,
    "write": 5,
    "quiet write": 1,
    "hook": 2,
    "unhook": 1,
    "retain": 1,
    "leaf": 1,
    "walk": 3,
    "walk of a walk": 1,
    "backward": 1,
    "last backward": 1,
}
"""How often each kind of step is drawn."""

# Either library refuses something that the other one does. A refusal has no wrong numbers, so each kind is counted, and
# allowed if it stands here; any other is a failure.
REFUSED = {
    "lost here": "a constant's numbers got a derivative through a view of it; PyTorch makes a result of the constant",
    "detached tensor": "the same, where what is written is a detached tensor",
    "overwritten in place": "a derivative needs what is no longer there, where PyTorch saves other values",
    "without dims": "a view of a number, which is a value here, and no memory that could be written",
    "was walked before": "the walk frees every operation, in PyTorch only those that save something",
    "one place in memory": "`expand` left several elements one place; PyTorch refuses some writes there, not all",
    "may be read only": "the same, where one of those elements is written",
}
"""What we alone refuse, by the message, and why."""
REFUSED_THERE = {
    "modified by an inplace operation": "a derivative needs a value that was written since, of which we kept a copy",
    "refer to a single memory location": "an operand in the memory that is written, as in x.index_add_(0, i, x)",
    "returns multiple views": "a write to what unbind or chunk gave, or to their operand, which PyTorch doesn't follow",
    "view size is not compatible": "`view` of what lies otherwise in memory: here it is `reshape`, which copies then",
    "second time": "a walk along what an earlier one freed, where PyTorch saved a value that we don't need",
}
"""What PyTorch alone refuses, by the message, and why."""


RESULT_USED = ("ReluBackward0", "ProdBackward0", "LinalgVectorNormBackward0", "DivBackward0")
"""Operations of PyTorch whose derivative one library computes with their result: see `_Both._unlike`."""


class Step(NamedTuple):
    """What is done, and with which tensors: places in the pool and in the list of choices, modulo their lengths."""

    kind: str
    i: int
    j: int
    k: int


def drawn(seed: int) -> list[Step]:
    """The program of this seed."""
    random = Random(seed)
    kinds = random.choices([*KINDS], [*KINDS.values()], k=random.randrange(3, 15))
    return [Step(kind, *(random.randrange(10**6) for _ in range(3))) for kind in kinds]


def smaller(torch: ModuleType, program: list[Step]) -> list[Step]:
    """The program without the steps that its failure doesn't need."""

    def fails(steps: list[Step]) -> bool:
        try:
            run(torch, steps)
        except AssertionError:
            return True
        return False

    i = 0
    while i < len(program):
        without = program[:i] + program[i + 1 :]
        program, i = (without, 0) if fails(without) else (program, i + 1)
    return program


def run(torch: ModuleType, program: list[Step]) -> Counter[str]:
    """Run a program in both. Where one library alone refuses a step that changes something, it ends there.

    Returns:
        How many steps of each kind were run, and what was compared and refused.

    Raises:
        AssertionError: they differ.
    """
    both = _Both(torch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's about variances of one number, and of tensors without .grad
        goes_on = all(both.step(step) for step in program)
        last = range(max(2, len(both.ours.pool) - LAST), len(both.ours.pool)) if goes_on else ()
        all(both.step(Step("walk", place, 0, 0)) for place in last)
    return both.counts


class _Side:
    """One library's tensors."""

    def __init__(self, lib: ModuleType, function: Callable[..., Any], checkpoint: Callable[..., Any]) -> None:
        self.lib, self.grad, self.checkpoint = lib, function, checkpoint
        self.leaves = [lib.tensor(values, dtype=lib.float64, requires_grad=True) for values in (X, W)]
        self.pool = [*self.leaves]
        self.retained: list[Any] = []
        self.handles: list[tuple[int, Any]] = []  # of each hook, the place in the pool and what removes it
        self.seen: dict[int, list[Any]] = {}  # by hook, the gradients it was called with

    def hook(self, i: int, k: int) -> None:
        """Register a hook that notes what it gets."""
        number = len(self.handles)

        def note(g: Any) -> Any:
            self.seen.setdefault(number, []).append(g.detach().clone())
            return HOOKS[k % len(HOOKS)](g)

        self.handles.append((i, self.pool[i].register_hook(note)))

    def weights(self, i: int) -> Any:
        """An upstream gradient for a tensor of the pool, each element another."""
        t = self.pool[i]
        return (self.lib.arange(1.0, t.numel() + 1, dtype=self.lib.float64) * 0.1).reshape(t.shape)


class _Both:
    """A program's state in both libraries."""

    def __init__(self, torch: ModuleType) -> None:
        from torch.utils.checkpoint import checkpoint as theirs

        self.ours = _Side(tm, autograd.grad, checkpoint)
        self.theirs = _Side(
            torch,
            torch.autograd.grad,
            lambda *arguments: theirs(*arguments, use_reentrant=False, determinism_check="none"),
        )
        self.counts: Counter[str] = Counter()
        self.recomputed: set[int] = set()  # places of what a checkpoint made
        self.twice = False  # a gradient was computed with its graph
        self.norm_of_zeros = False  # was computed
        self.written: list[tuple[np.ndarray, bool]] = []  # theirs, and whether it was a view that became a result

    def step(self, step: Step) -> bool:
        """Run a step; whether the program can go on."""
        kind, n = step.kind, len(self.ours.pool)
        i, j = step.i % n, step.j % n
        self.counts[kind] += 1
        if kind in CHOICES:
            return self._act(kind, CHOICES[kind][step.k % len(CHOICES[kind])], i, j, step.k)
        if kind in ("hook", "retain") and self._unlike(i):
            self.counts["left out: a hook that PyTorch calls for its own way to a derivative"] += 1
            return True
        if kind == "hook":
            return self._agree(lambda side: side.hook(i, step.k)) is not _END
        if kind == "unhook":
            for side in (self.ours, self.theirs):
                if side.handles:
                    side.handles[step.k % len(side.handles)][1].remove()
            return True
        if kind == "retain":
            return self._retain(i)
        if kind == "leaf":
            for side in (self.ours, self.theirs):
                side.pool.append(side.pool[i].detach().clone().requires_grad_())
                side.leaves.append(side.pool[-1])
            return True
        if "walk" in kind:
            return self._walk(i, again=kind == "walk of a walk")
        return self._backward(i, retain=kind == "backward")

    def _agree(self, act: Callable[[_Side], Any], changes: bool = True) -> Any:
        """What an act gives for (us, them); `None` where both refuse it; the end where one does."""
        theirs: Any = None
        refused = ""
        try:
            theirs = act(self.theirs)
        except ERRORS as error:
            refused = str(error) or repr(error)
        try:
            ours = act(self.ours)
        except ERRORS as error:
            if refused:
                self.counts["refused by both"] += 1
                return None
            text = str(error)
            self._count_refusal("here", REFUSED, text)
            return _END
        if refused:
            self._count_refusal("by PyTorch", REFUSED_THERE, refused)
            return _END if changes else None
        return ours, theirs

    def _count_refusal(self, where: str, allowed: dict[str, str], text: str) -> None:
        """Count what one library alone refuses."""
        kind = next((kind for kind in allowed if kind in text), None)
        assert kind, f"refused {where} alone: {text}"
        self.counts[f"refused {where} alone: {kind}"] += 1

    def _act(self, kind: str, act: Act, i: int, j: int, k: int) -> bool:
        """An operation, a view or a write."""
        t, o = (np.asarray(self.theirs.pool[place].detach()) for place in (i, j))
        if act in VIEWS and not t.ndim:
            return True  # a result without dims is a value rather than memory, see Tensor
        # where what is written overlaps with where, PyTorch's order of reading and writing is not defined
        apart = "write" in kind and i != j and np.shares_memory(t, o)
        second = OPERATIONS[k // 100 % len(OPERATIONS)]

        if "write" in kind:
            self._unhook_views_of(i)
        elif act is NORM or (kind == "checkpoint" and second is NORM):
            self._note_norm(act, i, j)

        between: list[Any] = []  # PyTorch's result of the first operation of a checkpoint

        def part(side: _Side, a: Any, b: Any) -> Any:
            z = act(side.lib, a, b)
            if side is self.theirs:
                between.append(z.detach())
            elif between and z.shape == between[0].shape:
                _take_last_digits(z.detach().numpy(), between[0].numpy())
            return second(side.lib, z, b)

        def do(side: _Side) -> Any:
            t, o = side.pool[i], side.pool[j]
            with side.lib.no_grad() if "quiet" in kind else nullcontext():
                if kind == "checkpoint":
                    return side.checkpoint(lambda a, b: part(side, a, b), t, o)
                return act(side.lib, t, o.clone() if apart else o)

        constant = not self.theirs.pool[i].requires_grad
        try:
            found = self._agree(do, changes="write" in kind)
        except AssertionError as error:
            # a view of a constant, which `t[key].add_(o)` in the same step has made a result: no leaf is written
            if not constant or "a leaf Variable that requires grad" not in str(error):
                raise
            self.counts["refused by PyTorch alone: a leaf Variable, where a constant was written twice"] += 1
            return False
        if found is _END:
            return False
        if "write" in kind:
            if found is not None:
                t = self.theirs.pool[i]
                others = [z for place, z in enumerate(self.theirs.pool) if place != i]
                looked_at = any(np.shares_memory(t.detach().numpy(), z.detach().numpy()) for z in others)
                view = t._is_view() or (act in THROUGH_A_VIEW and looked_at)
                self.written.append((t.detach().numpy(), kind == "write" and view))
            for ours, theirs in zip(self.ours.pool, self.theirs.pool, strict=True):
                if theirs.requires_grad and not ours.requires_grad:  # a view of the constant was written
                    if self._agree(lambda side, pair=(ours, theirs): pair[side is self.theirs] * 1) is not _END:
                        self._assert_unwritten(theirs)
                    return False
                self._compare("value", ours, theirs)
        elif found is not None:
            self._compare("value", *found)
            if act in VIEWS and self._of_other_layouts(i, *found):
                self.counts["left out: reshape, a view of one layout and a copy of the other"] += 1
                found = [z.clone() for z in found]
            if self._grow(*found) and kind == "checkpoint":
                self.recomputed.add(len(self.ours.pool) - 1)
        return True

    def _assert_unwritten(self, theirs: Any) -> None:
        """Assert that a tensor has no derivative: it looks at the memory that was written, but at no element of it.

        PyTorch makes a result of every tensor that looks at that memory, ours stays a constant then.
        """
        self.counts["left out: a constant beside what was written, a result without derivative in PyTorch"] += 1

        def gradients(side: _Side) -> Any:
            if side is self.ours:
                return ()
            return side.grad(theirs.sum(), side.leaves, retain_graph=True, allow_unused=True)

        found = self._agree(gradients, changes=False)
        assert found is None or not any(g is not None and g.any() for g in found[1]), "a derivative was lost"

    def _note_norm(self, act: Act, i: int, j: int) -> None:
        """Note whether the norm of zeros is to be computed, at once or, in a checkpoint, of what `act` gives."""
        lib, t, o = self.theirs.lib, self.theirs.pool[i].detach(), self.theirs.pool[j].detach()
        with suppress(*ERRORS):  # which both will refuse
            self.norm_of_zeros |= not (t if act is NORM else act(lib, t, o)).any()

    def _unlike(self, i: int) -> bool:
        """Whether PyTorch would call a hook on this tensor with gradients that don't come by here.

        In a derivative of second order that is so where the first was computed with the tensor, the result of an
        operation: PyTorch's relu, prod and norm use it, ours their operand, and with div it is the other way; and what
        a checkpoint computes again is another tensor here. Where a view of the tensor was written, which there has
        become a result of the tensor; here it is one of what was written. And where the tensor is a view of what was
        written since: then it is a new result there, of which nothing was computed before.
        """
        t = self.theirs.pool[i]
        try:
            made_by = t.grad_fn
        except RuntimeError:  # a view that unbind or chunk gave, whose memory was written
            return False
        if i in self.recomputed or (made_by is not None and made_by.name() in RESULT_USED):
            return True
        array = t.detach().numpy()
        return any(np.shares_memory(array, one) for one, result in self.written if t._is_view() or result)

    def _of_other_layouts(self, i: int, *results: Any) -> bool:
        """Whether one library gave a view and the other one a copy, because their operands lie otherwise in memory.

        PyTorch: "you should not depend on the copying vs. viewing behavior" of reshape. Which layout a result has
        is promised by neither: here it is NumPy's, for instance after an index along the last dim.
        """
        pairs = [
            [x.detach().numpy() for x in (result, side.pool[i])]
            for result, side in zip(results, (self.ours, self.theirs), strict=True)
        ]
        return np.shares_memory(*pairs[0]) != np.shares_memory(*pairs[1]) and pairs[0][1].strides != pairs[1][1].strides

    def _unhook_views_of(self, i: int) -> None:
        """Remove the hooks of views that look at what is to be written.

        PyTorch gives a view another place in the graph after each write. A hook stays at the place before: there it is
        called if something had been computed from the view before the write, and else never. Here it is called in any
        case, with the gradient of what is left of before, be it zero.
        """
        written = self.theirs.pool[i].detach().numpy()
        for number, (place, _) in enumerate(self.theirs.handles):
            t = self.theirs.pool[place]
            if t._is_view() and np.shares_memory(written, t.detach().numpy()):
                self.counts["left out: a hook of a view, after a write to its memory"] += 1
                for side in (self.ours, self.theirs):
                    side.handles[number][1].remove()

    def _grow(self, ours: Any, theirs: Any) -> bool:
        """Put results into the pool.

        Large ones are left out: the sine of 1e6 is rounding to ten digits only, which would look like a mistake; and a
        pool of many elements is slow, nothing else.
        """
        if not 0 < theirs.numel() <= MOST or not bool((theirs.detach().abs() <= LARGEST).all()):
            self.counts["left out: a result that is empty, has many elements, or is not below 1e3"] += 1
            return False
        _take_last_digits(ours.detach().numpy(), theirs.detach().numpy())  # of a gradient; of others that is done
        if ours.requires_grad != theirs.requires_grad:
            ours, theirs = ours.detach().clone(), theirs.detach().clone()  # see `_compare`
        self.ours.pool.append(ours)
        self.theirs.pool.append(theirs)
        return True

    def _retain(self, i: int) -> bool:
        found = self._agree(lambda side: side.pool[i].retain_grad())
        if found not in (None, _END) and not self.theirs.pool[i].is_leaf:
            for side in (self.ours, self.theirs):
                side.retained.append(side.pool[i])
        return found is not _END

    def _walk(self, i: int, again: bool) -> bool:
        def gradients(side: _Side) -> Any:
            t = side.pool[i]
            if not t.requires_grad:
                return []
            return side.grad(t, side.leaves, side.weights(i), retain_graph=True, create_graph=again, allow_unused=True)

        found = self._agree(gradients, changes=False)
        if found is _END:
            return False
        if found is None:  # each may have gone some of the way, before it came to what it refuses
            for side in (self.ours, self.theirs):
                side.seen.clear()
                for t in side.retained:
                    t.grad = None
            return True
        self._compare_gradients(*found)
        if again:
            self.twice = True
            for ours, theirs in zip(*found, strict=True):
                if theirs is not None and ours is not None:
                    # PyTorch's may be one number, expanded, which it doesn't let be written; ours is always whole
                    self._grow(ours.clone(), theirs.clone())
        return True

    def _backward(self, i: int, retain: bool) -> bool:
        def walk(side: _Side) -> Any:
            if side.pool[i].requires_grad:
                side.pool[i].backward(side.weights(i), retain_graph=retain)
            return True

        if self._agree(walk) in (None, _END):
            return False
        for name in ("leaves", "retained"):
            self._compare_gradients(*([t.grad for t in getattr(side, name)] for side in (self.ours, self.theirs)))
        return True

    def _compare_gradients(self, ours: Any, theirs: Any) -> None:
        assert len(ours) == len(theirs), "one of both has a graph, the other one not"
        for a, b in zip(ours, theirs, strict=True):
            if a is None or b is None:  # unused: PyTorch may say so, or give zeros
                there = a if b is None else b
                assert there is None or not np.asarray(there.detach()).any(), f"a gradient is {a}, not {b}"
            else:
                self._compare("gradient", a, b)
        seen, others = self.ours.seen, self.theirs.seen
        for number in self._called_with_zeros():
            self.counts["left out: a hook called with zeros, where PyTorch's checkpoint leaves no gradient"] += 1
            del seen[number]
        assert seen.keys() == others.keys(), f"the hooks {[*seen]} were called, not {[*others]}"
        for number, calls in seen.items():
            assert len(calls) == len(others[number]), (
                f"hook {number} was called {len(calls)} times, not {len(others[number])}"
            )
            for a, b in zip(calls, others[number], strict=True):
                self._compare("hook's gradient", a, b)
        seen.clear()
        others.clear()

    def _called_with_zeros(self) -> list[int]:
        """The hooks that are called here alone, with zeros, after a gradient was computed through a checkpoint.

        That gradient is the result of a checkpoint itself, with those of the other arguments, and an argument that only
        those depend on gets zeros: see `checkpoint`. PyTorch leaves none there; with use_reentrant=True it would do the
        same, but that way has no derivative of second order.
        """
        if not (self.twice and self.recomputed):
            return []
        alone = self.ours.seen.keys() - self.theirs.seen.keys()
        return [number for number in alone if not any(np.asarray(g).any() for g in self.ours.seen[number])]

    def _compare(self, what: str, ours: Any, theirs: Any) -> None:
        """Assert that both are the same, but for their last digits; those of ours are made PyTorch's then.

        Otherwise rounding could decide further on which of two equal elements is the largest, and gets the gradient.
        """
        self.counts[f"compared: {what}"] += 1
        # a gradient may have a graph that says it is constant; PyTorch and we leave out different ones
        assert ours.requires_grad == theirs.requires_grad or what == "gradient", f"requires_grad={ours.requires_grad}"
        a, b = ours.detach().numpy(), theirs.detach().numpy()
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"a {what} is {a.dtype} {a.shape}, not {b.dtype} {b.shape}"
        if not np.array_equal(a, b, equal_nan=True):
            lost = np.isnan(b) & ~np.isnan(a)
            if self.twice and self.norm_of_zeros and lost.any():
                # where the norm has a kink the gradient is 0, and its own here too; PyTorch's is 0/0
                self.counts["left out: a gradient of second order of the norm of zeros, NaN in PyTorch"] += 1
                b = np.where(lost, a, b)
            scale = max(1.0, float(np.nanmax(np.abs(b), initial=0)))
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * scale, err_msg=what)
            if what == "value":
                _take_last_digits(a, b)


def _take_last_digits(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Let numbers that differ by rounding alone be the same; another difference stays, and is found."""
    if not np.array_equal(ours, theirs, equal_nan=True) and np.allclose(ours, theirs, rtol=1e-12, atol=1e-14):
        ours[...] = theirs


class _End:
    pass


_END = _End()
