"""The finder: which rates it tries, when it stops, what it suggests, and that nothing remembers it."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med.learner import DivergedError
from tinygrad_med.learner.finder import steep, valley
from tinygrad_med.random import default_generator


def test_finder_then_fit_is_fit_bit_for_bit(new_learner, state_of, same):
    plain, found = new_learner(), new_learner()
    for learn in (plain, found):
        torch.manual_seed(3)
        learn.fit(1)  # so that there is a state to disturb: of the optimizer, of batch-norm, of the loader
    before = state_of(found)
    numbers = default_generator.get_state()
    found.lr_find(show_plot=False)
    assert same(state_of(found), before)
    assert found.model.training == plain.model.training and default_generator.get_state() == numbers
    assert [g["lr"] for g in found.optimizer.param_groups] == [g["lr"] for g in plain.optimizer.param_groups]
    for learn in (plain, found):
        torch.manual_seed(4)
        learn.fine_tune(2)
    assert same(state_of(found), state_of(plain)) and found.recorder.history == plain.recorder.history


def test_a_finder_that_fails_leaves_no_trace_either(new_learner, state_of, same, monkeypatch):
    learn = new_learner()
    before, numbers = state_of(learn), default_generator.get_state()
    monkeypatch.setattr("tinygrad_med.learner.finder.Smooth.add", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learn.lr_find(show_plot=False)
    assert same(state_of(learn), before) and default_generator.get_state() == numbers and learn.dls.train.epoch == 0


def test_it_tries_rates_from_1e_7_to_10_in_100_steps(new_learner):
    found = new_learner().lr_find(stop_div=False, show_plot=False)
    np.testing.assert_allclose(found.lrs, 1e-7 * 1e8 ** (np.arange(100) / 100), rtol=1e-9)
    assert found.lrs[12] < found.valley < 10 and found.lrs[9] < found.steep < 10


def test_it_stops_at_four_times_the_best_loss(new_learner, monkeypatch):
    losses = iter([1.0] * 40 + [0.25] * 40 + [100.0] * 20)
    monkeypatch.setattr("tinygrad_med.learner.learner.Learner.one_batch", lambda *_: next(losses))
    found = new_learner().lr_find(show_plot=False)
    assert len(found.losses) < 100 and found.losses[-1] > 4 * min(found.losses) >= found.losses[-2]


def test_a_loss_that_is_never_a_number_is_an_error_with_advice(new_learner, monkeypatch):
    monkeypatch.setattr("tinygrad_med.learner.learner.Learner.one_batch", lambda *_: float("nan"))
    with pytest.raises(ValueError, match="after 0 steps the loss was nan at the rate 1e-07; is the data normalized"):
        new_learner().lr_find(show_plot=False)


def test_too_few_steps_are_not_blamed_on_the_data(new_learner):
    with pytest.raises(ValueError, match="num_it=5, start_lr=1e-07, end_lr=10.0: needs at least 8 steps, as the first"):
        new_learner().lr_find(num_it=5, show_plot=False)
    new_learner().lr_find(num_it=8, stop_div=False, show_plot=False)
    with pytest.raises(ValueError, match="rates that grow from more than 0"):
        new_learner().lr_find(start_lr=0, show_plot=False)


def test_data_that_is_no_number_is_blamed(new_learner):
    learn = new_learner()
    learn.dls.train.dataset.x[5, 2] = np.nan
    with pytest.raises(ValueError, match="because of the data: 1 of 32 numbers in the images are NaN or infinite"):
        learn.lr_find(show_plot=False)


def test_noise_at_the_lowest_rates_is_no_reason_to_stop(new_learner, monkeypatch):
    losses = iter([0.01, 0.4, 0.02, *[0.05] * 60, *np.linspace(0.05, 0.001, 17), *[9.0] * 20])
    monkeypatch.setattr("tinygrad_med.learner.learner.Learner.one_batch", lambda *_: next(losses))
    assert len(new_learner().lr_find(show_plot=False).lrs) > 60


def test_steep_is_where_the_loss_falls_fastest():
    lrs = np.logspace(-5, 0, 51)
    losses = 1 / (1 + np.exp(10 * (np.log10(lrs) + 2)))  # falls around 1e-2
    assert steep(lrs, losses) == pytest.approx(1e-2, rel=0.3)


def test_valley_is_in_the_middle_of_the_longest_descent():
    lrs = np.logspace(-6, 0, 61)
    losses = np.concatenate([np.full(10, 3.0), np.linspace(3, 1, 40), np.linspace(1.5, 9, 11)])
    found = int(np.argmin(np.abs(lrs - valley(lrs, losses))))
    assert 22 <= found <= 32  # the descent runs from 10 to 49
    bumpy = losses + np.where(np.arange(61) % 5 == 0, 0.3, 0)
    assert 18 <= int(np.argmin(np.abs(lrs - valley(lrs, bumpy)))) <= 34


def test_the_plot_leaves_out_both_ends(new_learner):
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    found = new_learner().lr_find(stop_div=False)
    (ax,) = plt.gcf().axes
    assert ax.lines[0].get_xdata().tolist() == found.lrs[10:-5]
    plt.close("all")


def test_a_suggested_rate_trains(new_learner):
    learn = new_learner()
    rate = learn.lr_find(show_plot=False).valley
    try:
        learn.fit_one_cycle(5, rate)
    except DivergedError:
        pytest.fail(f"the suggested rate {rate} diverges")
    assert learn.recorder.values[-1]["valid_loss"] < learn.recorder.values[0]["valid_loss"]
