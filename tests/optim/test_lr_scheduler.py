"""Each schedule sets PyTorch's learning rates and momenta, and goes on from its state."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import optim
from tinygrad_med.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

CASES = [
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 1, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [30, 4, 4, 11], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    ("CosineAnnealingLR", {"T_max": 50}),
    ("CosineAnnealingLR", {"T_max": 8, "eta_min": 0.003}),  # up again, and down
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.7, "total_iters": 11}),
    ("PolynomialLR", {"total_iters": 30, "power": 2.0}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 1 - 1 / (1 + t)}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.95**t, lambda t: t // 3]}),
    ("MultiplicativeLR", {"lr_lambda": [lambda t: 0.95, lambda t: 1 / (1 + t)]}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 30}),
    ("CosineAnnealingWarmRestarts", {"T_0": 7}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.001}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": [0.4, 0.2], "step_size_up": 6, "step_size_down": 9}),
    ("CyclicLR", {"base_lr": [0.01, 0.02], "max_lr": 0.4, "step_size_up": 5, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.4, "step_size_up": 5, "mode": "exp_range", "gamma": 0.95}),
    (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.4, "step_size_up": 4, "scale_fn": lambda c: 1 / c, "cycle_momentum": False},
    ),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 50}),
    ("OneCycleLR", {"max_lr": [0.4, 0.1], "epochs": 10, "steps_per_epoch": 5, "pct_start": 0.25, "div_factor": 5}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 57, "three_phase": True, "final_div_factor": 100.0}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 61, "anneal_strategy": "linear", "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.4, "total_steps": 50, "base_momentum": [0.7, 0.6], "max_momentum": 0.8}),
]


def make_optimizer(lib, kind="SGD"):
    w, b = (lib.tensor([x], dtype=lib.float64, requires_grad=True) for x in (1.0, -2.0))
    options = {"lr": 0.1, "momentum": 0.9} if kind == "SGD" else {"lr": 0.1}
    return getattr(lib.optim, kind)([{"params": [w]}, {"params": [b], "lr": 0.03}], **options)


def options(optimizer):
    return [(g["lr"], *([g["momentum"]] if "momentum" in g else g["betas"])) for g in optimizer.param_groups]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_fifty_steps_are_pytorchs(torch, name, arguments, kind):
    """The rates, the momenta, and the parameters that they lead to."""
    histories = []
    for lib in (tg, torch):
        optimizer = make_optimizer(lib, kind)
        schedule = getattr(lib.optim.lr_scheduler, name)(optimizer, **arguments)
        parameters = [group["params"][0] for group in optimizer.param_groups]
        history = []
        for _ in range(50):
            history.append((options(optimizer), [p.item() for p in parameters], schedule.get_last_lr()))
            optimizer.zero_grad()
            sum((p * p + p.sin()).sum() / 4 for p in parameters).backward()
            optimizer.step()
            schedule.step()
        histories.append(history)
    for (ours, p, rates), (theirs, q, their_rates) in zip(*histories, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(p, q, rtol=1e-10)
        np.testing.assert_allclose(rates, their_rates, rtol=1e-10, atol=1e-15)


WARM_UP = ("LinearLR", {"start_factor": 0.1, "total_iters": 4})
SEQUENCES = [
    ([WARM_UP, ("ExponentialLR", {"gamma": 0.9})], [4]),
    ([WARM_UP, ("CosineAnnealingLR", {"T_max": 20}), ("StepLR", {"step_size": 3})], [6, 30]),
    ([WARM_UP, ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2}), ("LinearLR", {})], [5, 33]),
    ([("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}), ("MultiStepLR", {"milestones": [3, 8]})], [10]),
]


def sequence(lib, optimizer, parts, milestones):
    made = [getattr(lib.optim.lr_scheduler, name)(optimizer, **arguments) for name, arguments in parts]
    return lib.optim.lr_scheduler.SequentialLR(optimizer, made, milestones=milestones)


@pytest.mark.parametrize(("parts", "milestones"), SEQUENCES)
def test_a_sequence_is_pytorchs(torch, parts, milestones):
    found = []
    for lib in (tg, torch):
        schedule = sequence(lib, make_optimizer(lib), parts, milestones)
        rates = [schedule.get_last_lr()]
        for _ in range(50):
            schedule.optimizer.step()
            schedule.step()
            rates.append([group["lr"] for group in schedule.optimizer.param_groups])
            assert schedule.get_last_lr() == rates[-1]
        found.append(rates)
    np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("parts", "milestones"), SEQUENCES)
@pytest.mark.parametrize("steps", [2, 7, 34])
def test_a_sequence_goes_on_from_its_state(parts, milestones, steps):
    whole = sequence(tg, make_optimizer(tg), parts, milestones)
    run(whole, range(steps))
    state = pickle.loads(pickle.dumps(whole.state_dict()))
    resumed = sequence(tg, make_optimizer(tg), parts, milestones)
    resumed.load_state_dict(state)
    assert options(resumed.optimizer) == options(whole.optimizer)
    assert run(resumed, range(8)) == run(whole, range(8))


def test_warm_restarts_take_fractions_of_an_epoch(torch):
    found = []
    for lib in (tg, torch):
        schedule = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(make_optimizer(lib), 2, T_mult=2)
        rates = []
        for i in range(30):
            schedule.step(i / 4)
            rates.append(schedule.get_last_lr())
        found.append(rates)
    np.testing.assert_allclose(*found, rtol=1e-10)


@pytest.mark.parametrize(("name", "arguments"), CASES)
@pytest.mark.parametrize("loaded", [False, True])
def test_a_second_schedule_begins_with_the_rate_that_it_finds(name, arguments, loaded):
    """A rate set by hand after a first schedule, also in a state that was loaded, is not thrown away."""
    optimizer = make_optimizer(tg)
    run(StepLR(optimizer, 1, gamma=0.5), range(2))
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    if loaded:
        state, optimizer = optimizer.state_dict(), make_optimizer(tg)
        optimizer.load_state_dict(state)
    fresh = make_optimizer(tg)
    for group in fresh.param_groups:
        group["lr"] = 0.001
    second, expected = (getattr(optim.lr_scheduler, name)(o, **arguments) for o in (optimizer, fresh))
    assert second.get_last_lr() == expected.get_last_lr()
    assert run(second, range(9)) == run(expected, range(9))


@pytest.mark.parametrize("name", ["StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR"])
def test_as_pytorchs_second_schedules_do(torch, name):
    arguments = dict(CASES)[name]
    found = []
    for lib in (tg, torch):
        optimizer = make_optimizer(lib)
        first = lib.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        run(first, range(2))
        optimizer.param_groups[0]["lr"] = 0.001
        schedule = getattr(lib.optim.lr_scheduler, name)(optimizer, **arguments)
        found.append([schedule.get_last_lr(), *(rate for (rate,) in [[o] for o in run(schedule, range(3))])][1:])
    np.testing.assert_allclose(*found, rtol=1e-10)


def test_the_rate_may_be_a_tensor():
    plain, given = make_optimizer(tg), make_optimizer(tg)
    for group in given.param_groups:
        group["lr"] = tg.tensor(group["lr"], dtype=tg.float64)
    for optimizer in (plain, given):
        run(CosineAnnealingLR(optimizer, 8), range(5))
    assert [g["lr"] for g in plain.param_groups] == [g["lr"] for g in given.param_groups]


def test_formulas():
    """The corners by hand, without PyTorch."""

    def rates(schedule, n):
        found = []
        for _ in range(n):
            found.append(schedule.get_last_lr()[0])
            schedule.step()
        return found

    def sgd():
        return optim.SGD([tg.zeros(1, requires_grad=True)], lr=0.8, momentum=0.9)

    assert rates(StepLR(sgd(), 2, gamma=0.5), 5) == [0.8, 0.8, 0.4, 0.4, 0.2]
    assert rates(MultiStepLR(sgd(), [1, 3], gamma=0.5), 5) == [0.8, 0.4, 0.4, 0.2, 0.2]
    cosine = rates(CosineAnnealingLR(sgd(), 4), 5)
    assert cosine == pytest.approx([0.4 * (1 + math.cos(math.pi * t / 4)) for t in range(5)])
    optimizer = sgd()
    cycle = rates(OneCycleLR(optimizer, 1.0, 10, pct_start=0.5), 10)
    assert cycle[0] == pytest.approx(1 / 25)
    assert cycle[4] == max(cycle) == 1
    assert cycle[9] == pytest.approx(1 / 25 / 1e4)


PLATEAUS = [
    {"patience": 2},
    {"patience": 0, "factor": 0.5, "cooldown": 3},
    {"patience": 1, "threshold": 0.05, "threshold_mode": "abs", "min_lr": 0.004},
    {"patience": 1, "mode": "max", "min_lr": [0.01, 0.0]},
    {"patience": 3, "mode": "max", "threshold": 0.02, "threshold_mode": "abs", "factor": 0.3},
    {"patience": 0, "factor": 0.5, "eps": 0.01},
]


@pytest.mark.parametrize("arguments", PLATEAUS)
def test_reduce_on_plateau_is_pytorchs(torch, arguments):
    rng = np.random.default_rng(3)
    metrics = [*(np.exp(-np.arange(30) / 10) + 0.1 * rng.random(30)), math.nan, math.inf, *rng.random(18)]
    histories = []
    for lib in (tg, torch):
        optimizer = make_optimizer(lib)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **arguments)
        history = []
        for metric in metrics:
            schedule.step(lib.tensor(metric))
            history.append([options(optimizer), schedule.num_bad_epochs, schedule.cooldown_counter, schedule.best])
        histories.append(history)
    assert histories[0][-1] != histories[0][0]
    for ours, theirs in zip(*histories, strict=True):
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)
        assert ours[1:3] == theirs[1:3]
        assert ours[3] == pytest.approx(theirs[3], rel=1e-6)


METRICS = [1.0, 0.9, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0, 1.1, 1.2, 1.3, 1.4]
ORDERS = {
    "first the optimizer's state": ("optimizer's state", "schedule", "schedule's state"),
    "first the schedule": ("schedule", "optimizer's state", "schedule's state"),
    "last the optimizer's state": ("schedule", "schedule's state", "optimizer's state"),
    "without the optimizer's state": ("schedule", "schedule's state"),
}


def run(schedule, steps):
    """The groups' options after each of the steps; a metric goes to the one schedule that asks for it."""
    found = []
    for t in steps:
        schedule.optimizer.step()
        schedule.step(*([METRICS[t % len(METRICS)]] if type(schedule).__name__ == "ReduceLROnPlateau" else []))
        found.append(options(schedule.optimizer))
    return found


def resume(lib, name, arguments, order):
    """What six steps set after a training was broken off at six and taken up in this order."""

    def make(optimizer):
        return getattr(lib.optim.lr_scheduler, name)(optimizer, **arguments)

    schedule = make(make_optimizer(lib))
    run(schedule, range(6))
    saved = [one.state_dict() for one in (schedule.optimizer, schedule)]
    of_optimizer, of_schedule = pickle.loads(pickle.dumps(saved))
    optimizer = make_optimizer(lib)
    for action in ORDERS[order]:
        if action == "schedule":
            schedule = make(optimizer)
        elif action == "schedule's state":
            schedule.load_state_dict(of_schedule)
        else:
            optimizer.load_state_dict(of_optimizer)
    before = options(optimizer)
    return schedule, before, run(schedule, range(6, 12))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_schedule_goes_on_from_its_state(torch, name, arguments, order):
    """As one that was not broken off, at once and after each step; and, given both states, as PyTorch's."""
    whole = getattr(optim.lr_scheduler, name)(make_optimizer(tg), **arguments)
    expected = run(whole, range(12))
    schedule, before, found = resume(tg, name, arguments, order)
    assert [before, *found] == expected[5:]
    assert schedule.get_last_lr() == whole.get_last_lr()
    assert "optimizer" not in schedule.state_dict()
    # Without the optimizer's state PyTorch multiplies the rates of the new one; these two multiply loaded ones.
    multiplied = name in ("LinearLR", "ConstantLR") and order == "first the optimizer's state"
    if "optimizer's state" in ORDERS[order] and not multiplied:
        np.testing.assert_allclose(found, resume(torch, name, arguments, order)[2], rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("arguments", PLATEAUS)
def test_reduce_on_plateau_goes_on_as_pytorchs(torch, arguments, order):
    (schedule, *ours), (reference, *theirs) = (
        resume(lib, "ReduceLROnPlateau", arguments, order) for lib in (tg, torch)
    )
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-12)
    assert (schedule.best, schedule.last_epoch) == (reference.best, reference.last_epoch)


def test_last_epoch_goes_on_without_a_state():
    optimizer = make_optimizer(tg)
    schedule = StepLR(optimizer, 2, gamma=0.5)
    for _ in range(3):
        schedule.step()
    again = StepLR(optimizer, 2, gamma=0.5, last_epoch=2)
    assert again.last_epoch == 3
    assert again.get_last_lr() == schedule.get_last_lr() == [0.05, 0.015]
    with pytest.raises(KeyError, match="to go on at last_epoch=2, group 0 needs its 'initial_lr'"):
        StepLR(make_optimizer(tg), 2, last_epoch=2)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda o: StepLR("sgd", 3), TypeError, "StepLR: needs an optimizer, got str"),
        (lambda o: StepLR(o, 0), ValueError, "StepLR: step_size=0 must be at least 1"),
        (
            lambda o: LambdaLR(o, [abs]),
            ValueError,
            "lr_lambda has 1 functions for 2 groups; give one for each",
        ),
        (lambda o: LambdaLR(o, [abs, 2]), TypeError, "LambdaLR: needs a function of the time, or one per group, got 2"),
        (lambda o: LambdaLR(o, 0.5), TypeError, "LambdaLR: needs a function of the time, or one per group, got 0.5"),
        (lambda o: CosineAnnealingLR(o, 0), ValueError, "CosineAnnealingLR: T_max=0 must be at least 1"),
        (lambda o: OneCycleLR(o, 1.0), ValueError, "OneCycleLR: give total_steps, or epochs and steps_per_epoch"),
        (lambda o: OneCycleLR(o, 1.0, 0), ValueError, "OneCycleLR: total_steps=0 must be at least 1"),
        (lambda o: OneCycleLR(o, 1.0, 5, pct_start=1.5), ValueError, "OneCycleLR: pct_start=1.5 is a share"),
        (
            lambda o: OneCycleLR(o, 1.0, 5, anneal_strategy="up"),
            ValueError,
            "anneal_strategy='up' is unknown",
        ),
        (
            lambda o: OneCycleLR(o, [1.0], 5),
            ValueError,
            "max_lr has 1 values for 2 groups; give one for each",
        ),
        (lambda o: ReduceLROnPlateau(o, factor=1.0), ValueError, "ReduceLROnPlateau: factor=1.0 must be less than 1"),
        (lambda o: ReduceLROnPlateau(o, mode="up"), ValueError, "mode='up' is unknown; give 'min' or 'max'"),
        (lambda o: ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "threshold_mode='x' is unknown; give 'rel'"),
        (lambda o: ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, "min_lr has 1 values for 2 groups"),
        (lambda o: LinearLR(o, start_factor=0), ValueError, "LinearLR: start_factor=0 must be more than 0"),
        (lambda o: LinearLR(o, end_factor=2), ValueError, "LinearLR: end_factor=2 must be between 0 and 1"),
        (lambda o: CosineAnnealingWarmRestarts(o, 0), ValueError, "T_0=0 must be an int, at least 1"),
        (lambda o: CosineAnnealingWarmRestarts(o, 2, 1.5), ValueError, "T_mult=1.5 must be an int, at least 1"),
        (lambda o: CosineAnnealingWarmRestarts(o, 2).step(-1), ValueError, "epoch=-1 must not be negative"),
        (lambda o: CyclicLR(o, 0.1, 1.0, mode="x"), ValueError, "CyclicLR: mode='x' is unknown"),
        (lambda o: CyclicLR(o, 0.1, 1.0, 0), ValueError, "step_size_up=0, step_size_down=0 must be at least 1"),
        (lambda o: SequentialLR(o, [], []), ValueError, "SequentialLR: got 0 schedules and 0 milestones"),
        (lambda o: SequentialLR(o, [StepLR(o, 1)], [3]), ValueError, "got 1 schedules and 1 milestones"),
        (lambda o: SequentialLR(o, [StepLR(o, 1), 3], [3]), TypeError, "SequentialLR: schedule 1 is a int"),
        (lambda o: SequentialLR(o, [ReduceLROnPlateau(o)], []), ValueError, "whose .* needs a metric"),
        (lambda o: SequentialLR(o, [StepLR(make_optimizer(tg), 1)], []), ValueError, "belongs to another optimizer"),
        (
            lambda o: SequentialLR(o, [StepLR(o, 1), StepLR(o, 1), StepLR(o, 1)], [3, 2]),
            ValueError,
            r"milestones=\[3, 2\] must increase",
        ),
        (LRScheduler, NotImplementedError, r"LRScheduler: define lr_at\(self, t, base_lr\)"),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make(make_optimizer(tg))


def test_two_schedules_at_a_time_are_refused():
    optimizer = make_optimizer(tg)
    first, second = StepLR(optimizer, 1, gamma=0.5), StepLR(optimizer, 1, gamma=0.1)
    first.step()
    with pytest.raises(RuntimeError, match=r"StepLR: the learning rates are \[0.05, 0.015\], but this schedule set"):
        second.step()


def test_a_rate_set_by_hand_is_not_lost_in_silence():
    optimizer = make_optimizer(tg)
    schedule = CosineAnnealingLR(optimizer, 8)
    optimizer.param_groups[0]["lr"] = 1.0
    with pytest.raises(
        RuntimeError, match="this schedule set .*; an optimizer has one schedule at a time, and rates set"
    ):
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == 1.0 and schedule.last_epoch == 0


def test_the_optimizers_state_alone_is_not_enough():
    optimizer = make_optimizer(tg)
    run(StepLR(optimizer, 1, gamma=0.5), range(2))
    resumed = make_optimizer(tg)
    schedule = StepLR(resumed, 1, gamma=0.5)
    resumed.load_state_dict(optimizer.state_dict())
    with pytest.raises(RuntimeError, match="where an optimizer's state was loaded, load its schedule's too"):
        schedule.step()


@pytest.mark.parametrize(
    ("name", "arguments"), [("StepLR", {"step_size": 3}), ("OneCycleLR", {"max_lr": 0.4, "total_steps": 50})]
)
def test_a_group_that_was_added(name, arguments):
    optimizer = make_optimizer(tg)
    schedule = getattr(optim.lr_scheduler, name)(optimizer, **arguments)
    state = schedule.state_dict()
    optimizer.add_param_group({"params": [tg.zeros(1, requires_grad=True)], "lr": 0.5})
    text = f"{name}: the optimizer has 3 groups, but the schedule is for 2; add groups before a schedule is made"
    with pytest.raises(RuntimeError, match=text):
        schedule.step()
    assert schedule.last_epoch == 0
    again = getattr(optim.lr_scheduler, name)(optimizer, **arguments)
    assert len(again.get_last_lr()) == 3
    with pytest.raises(RuntimeError, match=text):
        again.load_state_dict(state)


def test_reduce_on_plateau_takes_an_added_group(torch):
    """Where one lowest rate holds for all groups, as PyTorch's does."""
    found = []
    for lib in (tg, torch):
        optimizer = make_optimizer(lib)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=0.01)
        optimizer.add_param_group({"params": [lib.zeros(1, requires_grad=True)], "lr": 0.5})
        for metric in (1.0, 2.0, 3.0):
            schedule.step(metric)
        found.append(options(optimizer))
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_reduce_on_plateau_wants_a_lowest_rate_for_an_added_group():
    optimizer = make_optimizer(tg)
    schedule = ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.01, 0.02])
    optimizer.add_param_group({"params": [tg.zeros(1, requires_grad=True)]})
    schedule.step(1.0)
    with pytest.raises(ValueError, match="ReduceLROnPlateau: min_lr has 2 values for 3 groups; give one for each"):
        schedule.step(2.0)


def test_one_schedule_may_follow_another():
    optimizer = make_optimizer(tg)
    warm_up = LambdaLR(optimizer, lambda t: (1 + t) / 4)
    for _ in range(3):
        warm_up.step()
    assert StepLR(optimizer, 1, gamma=0.5).get_last_lr() == [0.1, 0.03]


def test_one_cycle_ends():
    schedule = OneCycleLR(make_optimizer(tg), 1.0, 3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="OneCycleLR: step 4 of 3; total_steps is the batches of all epochs"):
        schedule.step()


def test_one_cycle_wants_a_momentum():
    class Plain(optim.Optimizer):
        pass

    optimizer = Plain([tg.zeros(1)], {"lr": 0.1, "weight_decay": 0.0})
    with pytest.raises(ValueError, match="the optimizer has no momentum to cycle; pass cycle_momentum=False"):
        OneCycleLR(optimizer, 1.0, 3)
    assert OneCycleLR(optimizer, 1.0, 10, cycle_momentum=False).get_last_lr() == pytest.approx([0.04])
