"""Schedules: the learning rate as a function of time.

A schedule belongs to an optimizer and sets `group["lr"]` when it is made, and anew at every `step()`, which is to come
after the optimizer's. Each computes the rate from the time and the group's first rate, not from the rate before. So a
rate that was set by hand in between, or by another schedule, would be lost, and `step()` refuses to go on. The first
rate is the one that the optimizer has when the schedule is made, whoever set it: by hand, by a schedule before, or by
loading a state. (PyTorch's schedules that multiply do the same; its `LambdaLR` goes back to the very first.)
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.engine.errors import answers
from tinygrad_med.optim.optimizer import Group, Optimizer, number

Factor = Callable[[int], float]
"""What a learning rate is multiplied by, as a function of the time."""


def refuse_captured() -> None:
    """Raise an error where a CUDA graph is captured."""
    backend.refuse_captured("a schedule sets rates", "call its step() beside the replays, which use the new rates")


class LRScheduler:
    """Base of the schedules that know their time; a subclass says in `lr_at` what the rate is then.

    Args:
        optimizer: whose learning rates to set.
        last_epoch: how often `step()` ran before, when training goes on; then the groups must have their `initial_lr`.

    Attributes:
        last_epoch: the time t: how often `step()` ran.
        base_lrs: the first learning rate of each group.
    """

    has_own_start = False
    """Whether the schedule is told its first rates, instead of taking those of the optimizer."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group["initial_lr"] = number(group["lr"], f"{type(self).__name__}: lr")
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: to go on at {last_epoch=}, group {i} needs its 'initial_lr'")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch, self._last_lr = last_epoch, self._rates()
        self.step()

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: needs an optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer

    def step(self) -> None:
        """Let one unit of time pass, an epoch or a batch, and set the learning rates.

        Raises:
            RuntimeError: where the rates are not those that this schedule set last, or a group was added; while a CUDA
                graph is captured.
        """
        refuse_captured()
        self._groups()
        rates = self._rates()
        if rates != self._last_lr:
            raise RuntimeError(
                f"{type(self).__name__}: the learning rates are {rates}, but this schedule set {self._last_lr}; an "
                "optimizer has one schedule at a time, and rates set by hand need none; write a LambdaLR that does "
                "both; where an optimizer's state was loaded, load its schedule's too"
            )
        self.last_epoch += 1
        self._set_rates()

    def _groups(self) -> list[Group]:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise RuntimeError(
                f"{type(self).__name__}: the optimizer has {len(groups)} groups, but the schedule is for "
                f"{len(self.base_lrs)}; add groups before a schedule is made, or make a new one"
            )
        return groups

    def _rates(self) -> list[float]:
        return [number(group["lr"], f"{type(self).__name__}: lr") for group in self.optimizer.param_groups]

    def _set_rates(self) -> None:
        for group, base_lr in zip(self._groups(), self.base_lrs, strict=True):
            self.set_group(group, self.last_epoch, base_lr)
        self._last_lr = self._rates()

    def set_group(self, group: Group, t: int, base_lr: float) -> None:
        """Set the options of a group for time t."""
        group["lr"] = self.lr_at(t, base_lr)

    def lr_at(self, t: int, base_lr: float) -> float:
        """The learning rate at time t, of a group that starts with `base_lr`."""
        raise NotImplementedError(f"{type(self).__name__}: define lr_at(self, t, base_lr)")

    def get_last_lr(self) -> list[float]:
        """The learning rates of the groups, as set last."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, and set the learning rates anew (PyTorch waits for the next `step()`).

        They are then right whether the optimizer's state is loaded before the schedule is made, after, or last.

        Raises:
            RuntimeError: where the state is for another number of groups.
        """
        vars(self).update(state_dict)
        self._set_rates()

    def go_to(self, t: int) -> None:
        """Set the learning rates of time t, as if `step()` had run t times."""
        self.last_epoch = t
        self._set_rates()

    def _of_group(self, name: str, value: float | Sequence[float], i: int) -> float:
        if not isinstance(value, Sequence):
            return value
        groups = len(self.optimizer.param_groups)
        if len(value) != groups:
            raise ValueError(
                f"{type(self).__name__}: {name} has {len(value)} values for {groups} groups; give one for each"
            )
        return value[i]


class StepLR(LRScheduler):
    """lr₀ · γ^⌊t / step_size⌋"""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        if step_size < 1:
            raise ValueError(f"StepLR: step_size={step_size} must be at least 1")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: float) -> float:
        """The formula of the class."""
        return base_lr * self.gamma ** (t // self.step_size)


class ExponentialLR(LRScheduler):
    """lr₀ · γᵗ"""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: float) -> float:
        """The formula of the class."""
        return float(base_lr * self.gamma**t)


class _OfFunctions(LRScheduler):
    """Base of the schedules by a function of the time, or by one for each group; they are no part of the state."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1) -> None:
        self._attach(optimizer)
        name, groups = type(self).__name__, len(optimizer.param_groups)
        functions = list(lr_lambda) if isinstance(lr_lambda, Sequence) else [lr_lambda] * groups
        for function in functions:
            if not callable(function):
                raise TypeError(f"{name}: needs a function of the time, or one per group, got {function!r}")
        if len(functions) != groups:
            raise ValueError(f"{name}: lr_lambda has {len(functions)} functions for {groups} groups; give one for each")
        self.lr_lambdas = functions
        super().__init__(optimizer, last_epoch)

    def set_group(self, group: Group, t: int, base_lr: float) -> None:
        """Set the learning rate of a group for time t."""
        i = next(i for i, g in enumerate(self.optimizer.param_groups) if g is group)
        group["lr"] = base_lr * self.factor(self.lr_lambdas[i], t)

    def factor(self, function: Factor, t: int) -> float:
        """What the first rate is multiplied by at time t."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and the functions."""
        return {name: value for name, value in super().state_dict().items() if name != "lr_lambdas"}


class LambdaLR(_OfFunctions):
    """lr₀ · λ(t), with any function λ, or one for each group."""

    def factor(self, function: Factor, t: int) -> float:
        """The formula of the class."""
        return function(t)


class ConstantLR(LRScheduler):
    """lr₀ · factor for the first `total_iters` steps, then lr₀"""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: {factor=} must be between 0 and 1")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: float) -> float:
        """The formula of the class."""
        return base_lr * (self.factor if t < self.total_iters else 1.0)


class PolynomialLR(LRScheduler):
    """lr₀ · (1 − t / total_iters)^power, and 0 from then on"""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        if total_iters < 1:
            raise ValueError(f"PolynomialLR: {total_iters=} must be at least 1")
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: float) -> float:
        """The formula of the class."""
        return float(base_lr * (1 - min(t / self.total_iters, 1.0)) ** self.power)


class MultiplicativeLR(_OfFunctions):
    """lr₀ · λ(1) · … · λ(t), with any function λ, or one for each group."""

    def factor(self, function: Factor, t: int) -> float:
        """The formula of the class."""
        return math.prod(function(k) for k in range(1, t + 1))


class MultiStepLR(LRScheduler):
    """lr₀ · γ^(number of milestones reached by t)"""

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: float) -> float:
        """The formula of the class."""
        return float(base_lr * self.gamma ** bisect.bisect_right(self.milestones, t))


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from lr₀ down to `eta_min` at `T_max`, then up again, and so on (without the restarts of
    Loshchilov and Hutter 2017, arXiv:1608.03983)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max={T_max} must be at least 1")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: float) -> float:
        """The formula of the class."""
        return _cosine(base_lr, self.eta_min, t / self.T_max)


class LinearLR(LRScheduler):
    """lr₀ · factor, where the factor goes in a line from `start_factor` to `end_factor` in `total_iters` steps"""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: {start_factor=} must be more than 0, and at most 1")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: {end_factor=} must be between 0 and 1")
        if total_iters < 1:
            raise ValueError(f"LinearLR: {total_iters=} must be at least 1")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: float) -> float:
        """The formula of the class."""
        return base_lr * _line(self.start_factor, self.end_factor, min(t / self.total_iters, 1.0))


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from lr₀ down to `eta_min`, again and again: the first in `T_0` steps, each `T_mult` times as long
    as the one before (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Attributes:
        T_cur: how far the time is within the current cosine, which lasts `T_i`.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if value != int(value) or value < 1:
                raise ValueError(f"CosineAnnealingWarmRestarts: {name}={value!r} must be an int, at least 1")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self.T_cur, self.T_i = self._place(max(last_epoch, 0))
        self.T_cur -= last_epoch == -1  # the first step leads to 0
        super().__init__(optimizer, last_epoch)

    def _place(self, t: float) -> tuple[float, int]:
        """How far time t is within its cosine, and how long that lasts."""
        length = self.T_0
        while t >= length:
            if self.T_mult == 1:
                return t % length, length
            t, length = t - length, length * self.T_mult
        return t, length

    def step(self, epoch: float | None = None) -> None:
        """Let one unit of time pass; or, with `epoch`, set the rates of that time, which may be a fraction."""
        if epoch is not None and epoch < 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: {epoch=} must not be negative")
        if epoch is None:
            place = self.T_cur + 1
            self.T_cur, self.T_i = (place, self.T_i) if place < self.T_i else (place - self.T_i, self.T_i * self.T_mult)
        else:
            self.T_cur, self.T_i = self._place(epoch)
            self.last_epoch = math.floor(epoch) - 1
        super().step()

    def go_to(self, t: int) -> None:
        """Set the learning rates of time t."""
        self.T_cur, self.T_i = self._place(t)
        super().go_to(t)

    def lr_at(self, t: int, base_lr: float) -> float:  # noqa: ARG002 - the place in the cosine is the time
        """The formula of the class."""
        return _cosine(base_lr, self.eta_min, self.T_cur / self.T_i)


class SequentialLR(LRScheduler):
    """One schedule after another: from each milestone on the next, whose time begins there.

    All begin with the rate that the optimizer had before the first of them was made, except those that are told theirs.

    Args:
        optimizer: whose learning rates to set.
        schedulers: schedules of this optimizer, not `ReduceLROnPlateau`.
        milestones: the times at which the second, third … begins.
        last_epoch: how often `step()` ran before, when training goes on.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self._attach(optimizer)
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: got {len(schedulers)} schedules and {len(milestones)} milestones; give at least one "
                "schedule, and a milestone between each and the next"
            )
        for i, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"SequentialLR: schedule {i} is a {type(scheduler).__name__}")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"SequentialLR: schedule {i} is a ReduceLROnPlateau, whose step() needs a metric")
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: schedule {i} belongs to another optimizer")
        if sorted(set(milestones)) != list(milestones):
            raise ValueError(f"SequentialLR: milestones={list(milestones)} must increase")
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.base_lrs = self._schedulers[0].base_lrs
        for scheduler in self._schedulers:
            if not scheduler.has_own_start:
                scheduler.base_lrs = list(self.base_lrs)
        self.go_to(last_epoch + 1)

    def _set_rates(self) -> None:
        i = bisect.bisect_right(self._milestones, self.last_epoch)
        self._schedulers[i].go_to(self.last_epoch - (self._milestones[i - 1] if i else 0))
        self._last_lr = self._rates()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; of the schedules their states."""
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, and set the learning rates anew."""
        states = state_dict["_schedulers"]
        if len(states) != len(self._schedulers):
            raise ValueError(f"SequentialLR: the state is of {len(states)} schedules, here are {len(self._schedulers)}")
        for scheduler, state in zip(self._schedulers, states, strict=True):
            scheduler.load_state_dict(state)
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "_schedulers"})


class CyclicLR(LRScheduler):
    """Up and down in straight lines between two rates, a `step()` after every batch; the momentum goes the other way
    (Smith 2015, arXiv:1506.01186).

    Args:
        optimizer: with an option `momentum` or `betas`, unless `cycle_momentum=False`.
        base_lr, max_lr: the lowest and the highest rate, one number or one per group.
        step_size_up, step_size_down: the steps of the way up, and of that down, by default as many.
        mode: `"triangular"`: all cycles alike; `"triangular2"`: each half as high as the one before; `"exp_range"`: the
            height shrinks by `gamma` at every step.
        gamma: of `"exp_range"`.
        scale_fn: instead of `mode`: a function for the height, of the cycle (1, 2, …) or of the step; no part of the
            state.
        scale_mode: `"cycle"` or `"iterations"`, what `scale_fn` gets.
        cycle_momentum: whether the momentum (β₁ of Adam) goes from `max_momentum` to `base_momentum` and back.
        base_momentum, max_momentum: one number or one per group.
        last_epoch: how often `step()` ran before, when training goes on.
    """

    has_own_start = True

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(f"CyclicLR: {mode=} is unknown; give 'triangular', 'triangular2' or 'exp_range'")
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(f"CyclicLR: {scale_mode=} is unknown; give 'cycle' or 'iterations'")
        down = step_size_up if step_size_down is None else step_size_down
        if step_size_up < 1 or down < 1:
            raise ValueError(f"CyclicLR: step_size_up={step_size_up}, step_size_down={down} must be at least 1")
        _wants_momentum(self, optimizer, cycle_momentum)
        self.total_size, self.step_ratio = float(step_size_up + down), step_size_up / (step_size_up + down)
        self.mode, self.gamma, self.cycle_momentum = mode, gamma, cycle_momentum
        self.scale_fn, self.scale_mode = scale_fn, scale_mode
        if last_epoch == -1:
            for i, group in enumerate(optimizer.param_groups):
                group["lr"] = self._of_group("base_lr", base_lr, i)
                group["max_lr"] = self._of_group("max_lr", max_lr, i)
                if cycle_momentum:
                    group["base_momentum"] = self._of_group("base_momentum", base_momentum, i)
                    group["max_momentum"] = self._of_group("max_momentum", max_momentum, i)
        super().__init__(optimizer, last_epoch)

    def set_group(self, group: Group, t: int, base_lr: float) -> None:
        """Set the learning rate and the momentum of a group for time t."""
        cycle = math.floor(1 + t / self.total_size)
        x = 1.0 + t / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height *= self._scale(cycle, t)
        group["lr"] = base_lr + (group["max_lr"] - base_lr) * height
        if self.cycle_momentum:
            set_momentum(group, _line(group["max_momentum"], group["base_momentum"], height))

    def _scale(self, cycle: int, t: int) -> float:
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else t)
        return {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": self.gamma**t}[self.mode]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and the function."""
        return {name: value for name, value in super().state_dict().items() if name != "scale_fn"}


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down to almost nothing, in one cycle over the whole training, a `step()` after every batch;
    the momentum goes the other way (Smith and Topin 2019, arXiv:1708.07120).

    Args:
        optimizer: with an option `momentum` or `betas`, unless `cycle_momentum=False`.
        max_lr: the highest rate, one number or one per group.
        total_steps: the number of batches; or give `epochs` and `steps_per_epoch`.
        pct_start: the share of the steps in which the rate rises.
        anneal_strategy: `"cos"` or `"linear"`, the form of the ways up and down.
        cycle_momentum: whether the momentum (β₁ of Adam) goes from `max_momentum` to `base_momentum` and back.
        div_factor: the rate starts at max_lr / div_factor,
        final_div_factor: and ends at that / final_div_factor.
        three_phase: come down to the first rate in as many steps as it went up, and only then to the last.
        last_epoch: how often `step()` ran before, when training goes on.
    """

    has_own_start = True

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1:
            raise ValueError(f"OneCycleLR: {total_steps=} must be at least 1")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: {pct_start=} is a share, between 0 and 1")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: {anneal_strategy=} is unknown; give 'cos' or 'linear'")
        _wants_momentum(self, optimizer, cycle_momentum)
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        top = pct_start * total_steps - 1
        # Until when a phase lasts, and the group's options between which rate and momentum go meanwhile.
        up = (top, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))
        if three_phase:
            down = (2 * top, ("max_lr", "initial_lr"), ("base_momentum", "max_momentum"))
            self.phases = [up, down, (total_steps - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum"))]
        else:
            self.phases = [up, (total_steps - 1, ("max_lr", "min_lr"), ("base_momentum", "max_momentum"))]
        if last_epoch == -1:
            for i, group in enumerate(optimizer.param_groups):
                group["max_lr"] = self._of_group("max_lr", max_lr, i)
                group["lr"] = group["initial_lr"] = group["max_lr"] / div_factor
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["base_momentum"] = self._of_group("base_momentum", base_momentum, i)
                    group["max_momentum"] = self._of_group("max_momentum", max_momentum, i)
        super().__init__(optimizer, last_epoch)

    def set_group(self, group: Group, t: int, base_lr: float) -> None:  # noqa: ARG002 - the group has its rates
        """Set the learning rate and the momentum of a group for time t."""
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: step {t} of {self.total_steps}; total_steps is the batches of all epochs")
        ends = [end for end, _, _ in self.phases[:-1]]
        i = bisect.bisect_left(ends, t)  # the first phase that lasts until t, else the last one
        end, (rate, next_rate), (momentum, next_momentum) = self.phases[i]
        start = ends[i - 1] if i else 0.0
        done = (t - start) / (end - start) if end > start else 1.0
        anneal = _cosine if self.anneal_strategy == "cos" else _line
        group["lr"] = anneal(group[rate], group[next_rate], done)
        if self.cycle_momentum:
            set_momentum(group, anneal(group[momentum], group[next_momentum], done))


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rate by `factor` when a metric has not become better for more than `patience` epochs.

    Args:
        optimizer: whose learning rates to set.
        mode: `"min"` for a loss, `"max"` for an accuracy.
        factor: less than 1.
        patience: how many epochs without improvement to wait through.
        threshold: by how much a value must beat the best to be better:
        threshold_mode: `"rel"`, by this share of the best, or `"abs"`, by this much.
        cooldown: how many epochs after a reduction not to count.
        min_lr: the lowest rate, one number or one per group.
        eps: a reduction by no more than this is left out.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self._attach(optimizer)
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: {factor=} must be less than 1")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: {mode=} is unknown; give 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: {threshold_mode=} is unknown; give 'rel' or 'abs'")
        self._of_group("min_lr", min_lr, 0)
        self.min_lr = min_lr
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0
        self._last_lr = self._rates()

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Take note of an epoch's metric, a number or a tensor of one element, and reduce the rates if it is time."""
        refuse_captured()
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for i, group in enumerate(self.optimizer.param_groups):
                rate = number(group["lr"], "ReduceLROnPlateau: lr")
                reduced = max(rate * self.factor, self._of_group("min_lr", self.min_lr, i))
                if rate - reduced > self.eps:
                    group["lr"] = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._rates()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state; the learning rates, which no formula gives, are in the state of the optimizer."""
        vars(self).update(state_dict)

    def _is_better(self, value: float) -> bool:
        threshold = -self.threshold if self.mode == "min" else self.threshold
        bar = self.best * (1 + threshold) if self.threshold_mode == "rel" else self.best + threshold
        return value < bar if self.mode == "min" else value > bar


def set_momentum(group: Group, value: float) -> None:
    """Set a group's momentum: `momentum`, or the first of `betas`."""
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def _wants_momentum(schedule: LRScheduler, optimizer: Optimizer, cycle_momentum: bool) -> None:
    if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
        raise ValueError(
            f"{type(schedule).__name__}: the optimizer has no momentum to cycle; pass cycle_momentum=False"
        )


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _line(start: float, end: float, done: float) -> float:
    return start + (end - start) * done


__getattr__ = answers(globals(), "LambdaLR takes a function of the time")
