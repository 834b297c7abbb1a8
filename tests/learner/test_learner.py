"""The loop: it learns, with the rates of the schedules, only what may learn; and it says what it saw."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med import optim
from tinygrad_med.learner import Callback, CancelFit, DivergedError, Learner, SaveCheckpoint, accuracy, error_rate
from tinygrad_med.learner.recorder import Smooth
from tinygrad_med.nn import functional as F


class Watch(Callback):
    """Notes the rates, the momentum and what may learn, at every step."""

    def __init__(self):
        self.rates, self.moms, self.frozen, self.calls = [], [], [], []

    def before_fit(self, learn):
        self.calls.append("before_fit")

    def before_batch(self, learn):
        by_layer = {group["layer"]: group["lr"] for group in learn.optimizer.param_groups}
        self.rates.append([by_layer[layer] for layer in sorted(by_layer)])
        self.moms.append(learn.optimizer.param_groups[0]["betas"][0])
        self.frozen.append([name for name, p in learn.model.named_parameters() if not p.requires_grad])

    def after_epoch(self, learn):
        self.calls.append(f"epoch {learn.epoch}")

    def after_fit(self, learn):
        self.calls.append("after_fit")


def half_cosines(position, pct, start, middle, end):
    """fastai's published formula: SchedCos from start to middle, then to end."""
    if position < pct:
        return start + (1 + np.cos(np.pi * (1 - position / pct))) * (middle - start) / 2
    return middle + (1 + np.cos(np.pi * (1 - (position - pct) / (1 - pct)))) * (end - middle) / 2


def test_fine_tune_runs_at_fastais_rates_step_by_step(new_learner):
    watch = Watch()
    learn = new_learner(cbs=[watch])
    learn.fine_tune(3, base_lr=2e-3)
    steps = 5  # an epoch
    frozen = [half_cosines(k / steps, 0.99, 2e-3 / 25, 2e-3, 2e-3 / 1e5) for k in range(steps)]
    whole = [half_cosines(k / (3 * steps), 0.3, 1e-3 / 5, 1e-3, 1e-3 / 1e5) for k in range(3 * steps)]
    expected = [[lr / 10, lr] for lr in frozen] + [[lr / 100, lr] for lr in whole]
    np.testing.assert_allclose(watch.rates, expected, rtol=1e-9)
    moms = [half_cosines(k / steps, 0.99, 0.95, 0.85, 0.95) for k in range(steps)]
    moms += [half_cosines(k / (3 * steps), 0.3, 0.95, 0.85, 0.95) for k in range(3 * steps)]
    np.testing.assert_allclose(watch.moms, moms, rtol=1e-12)
    assert watch.frozen == [["0.0.weight", "0.0.bias"]] * steps + [[]] * 3 * steps  # batch-norm learns all the time
    assert watch.calls == [
        "before_fit",
        "epoch 0",
        "after_fit",
        "before_fit",
        "epoch 0",
        "epoch 1",
        "epoch 2",
        "after_fit",
    ]


def test_frozen_weights_stay_and_others_move(new_learner):
    learn = new_learner()
    before = {name: p.numpy().copy() for name, p in learn.model.state_dict().items()}
    learn.freeze()
    learn.fit(1)
    moved = {name for name, p in learn.model.state_dict().items() if not np.array_equal(p.numpy(), before[name])}
    assert moved == before.keys() - {"0.0.weight", "0.0.bias"}
    without = new_learner(train_bn=False)
    without.freeze()
    assert [name for name, p in without.model.named_parameters() if p.requires_grad] == ["1.1.weight", "1.1.bias"]
    without.unfreeze()
    assert all(p.requires_grad for p in without.model.parameters())


def test_weights_decay_but_biases_and_normalizations_do_not(new_learner):
    learn = new_learner()
    decays = {id(p): group["weight_decay"] for group in learn.optimizer.param_groups for p in group["params"]}
    found = {name: decays[id(p)] for name, p in learn.model.named_parameters()}
    assert found == {name: 0.01 if name in ("0.0.weight", "1.1.weight") else 0.0 for name in found}
    assert [group["eps"] for group in learn.optimizer.param_groups] == [1e-5] * 4
    assert {group["betas"][1] for group in learn.optimizer.param_groups} == {0.99}


def test_it_learns(new_learner):
    learn = new_learner(metrics=[accuracy, error_rate])
    learn.fit_one_cycle(8, 2e-2)
    last = learn.recorder.values[-1]
    assert list(last) == ["epoch", "train_loss", "valid_loss", "accuracy", "error_rate"]
    assert last["accuracy"] >= 0.95 and last["accuracy"] + last["error_rate"] == pytest.approx(1)
    assert last["valid_loss"] < learn.recorder.values[0]["valid_loss"]


def test_the_same_seed_gives_the_same_training(new_learner, state_of, same):
    first, second = new_learner(), new_learner()
    torch.manual_seed(1)
    first.fine_tune(2)
    torch.manual_seed(1)
    second.fine_tune(2)
    assert same(state_of(first), state_of(second)) and first.recorder.history == second.recorder.history


def test_validation_weighs_every_image_alike(new_learner):
    learn = new_learner()  # 20 validation images in batches of 8, 8 and 4
    learn.model.eval()
    points = learn.dls.valid.dataset
    with torch.no_grad():
        output = learn.model(torch.from_numpy(points.x))
    y = torch.tensor(points.y)
    np.testing.assert_allclose(learn.validate(), [F.cross_entropy(output, y).item(), accuracy(output, y)], rtol=1e-6)
    probabilities, targets, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    np.testing.assert_allclose(probabilities.numpy(), F.softmax(output, 1).numpy(), rtol=1e-5)
    assert targets.tolist() == y.tolist() and decoded.tolist() == output.argmax(1).tolist()
    assert losses.shape == (20,) and losses.mean().item() == pytest.approx(learn.validate()[0], rel=1e-6)


def test_the_recorded_loss_is_fastais_running_mean():
    smooth, values = Smooth(0.98), [3.0, 1.0, 2.0]
    weights = [0.98**2, 0.98, 1]
    assert smooth.add(values[0]) == pytest.approx(3)
    smooth.add(values[1])
    assert smooth.add(values[2]) == pytest.approx(np.average(values, weights=weights))


def test_the_recorder_remembers_the_last_training_and_the_history(new_learner):
    learn = new_learner()
    learn.fine_tune(2, base_lr=2e-3)
    recorder = learn.recorder
    assert len(recorder.lrs) == len(recorder.moms) == len(recorder.losses) == 10 and recorder.ends == [5, 10]
    assert len(recorder.values) == 2 and len(recorder.history) == 3 and max(recorder.lrs) <= 1e-3


def test_plots(new_learner):
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    learn = new_learner()
    learn.fit_one_cycle(3)
    train, valid = learn.recorder.plot_loss(skip_start=5).lines
    assert train.get_ydata().tolist() == learn.recorder.losses[5:]
    assert valid.get_xydata().tolist() == [
        [end, row["valid_loss"]] for end, row in zip([10, 15], learn.recorder.values[1:], strict=True)
    ]
    rate, momentum = learn.recorder.plot_sched().axes
    assert rate.lines[0].get_ydata().tolist() == learn.recorder.lrs
    assert momentum.lines[0].get_ydata().tolist() == learn.recorder.moms
    plt.close("all")


def test_progress_prints_a_table(new_learner, capsys):
    learn = new_learner(progress=True)
    learn.fit(2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    row = learn.recorder.values[1]
    assert lines[2].split()[:4] == ["1", *(f"{row[name]:.6f}" for name in ("train_loss", "valid_loss", "accuracy"))]


def test_a_callback_may_end_the_training(new_learner):
    class Enough(Callback):
        def after_batch(self, learn):
            if learn.step == 6:
                raise CancelFit

    watch = Watch()
    learn = new_learner(cbs=[Enough(), watch])
    learn.fit(5)
    assert len(learn.recorder.losses) == 7 and watch.calls[-1] == "after_fit"


@pytest.mark.parametrize("rate", [1e6, float("1e30")])
def test_a_rate_that_diverges_stops_with_advice(new_learner, rate):
    learn = new_learner(opt_func=lambda groups: optim.SGD(groups, lr=0.1))
    with (
        pytest.raises(
            DivergedError, match=r"the training loss is .* in epoch 0, step 1.* is too high.*lr_find\(\).*try a tenth"
        ),
        np.errstate(all="ignore"),
    ):
        learn.fit(5, rate)


def test_save_and_load(new_learner, state_of, same, tmp_path):
    learn = new_learner()
    learn.fit_one_cycle(1)
    path = learn.save(tmp_path / "weights")
    assert path.name == "weights.safetensors"
    other = new_learner().load(path)
    assert same(state_of(other), state_of(learn))
    assert other.recorder.history == learn.recorder.history
    torch.manual_seed(5), learn.fit_one_cycle(1)
    torch.manual_seed(5), other.fit_one_cycle(1)
    assert same(state_of(other), state_of(learn))
    model_alone = new_learner().load(learn.save(tmp_path / "model", with_opt=False), with_opt=False)
    assert same(
        {k: v.numpy() for k, v in model_alone.model.state_dict().items()},
        {k: v.numpy() for k, v in learn.model.state_dict().items()},
    )


def test_two_epochs_a_file_and_two_more_are_four(new_learner, state_of, same, tmp_path):
    """With dropout, an order of the data and random changes that go on, none of which is set by hand."""
    whole, half = new_learner(), new_learner()
    torch.manual_seed(1), whole.fit(4)
    torch.manual_seed(1), half.fit(2)
    half.save(tmp_path / "half")
    torch.manual_seed(99), torch.rand(5)
    resumed = new_learner().load(tmp_path / "half")
    resumed.fit(2)
    assert same(state_of(resumed), state_of(whole))
    assert [row["valid_loss"] for row in resumed.recorder.history] == [
        row["valid_loss"] for row in whole.recorder.history
    ]


def test_a_file_without_an_optimizer_leaves_the_optimizer_alone(new_learner, state_of, same, tmp_path):
    learn = new_learner()
    learn.fit(1)
    learn.save(tmp_path / "model", with_opt=False)
    before = state_of(learn)
    with pytest.warns(UserWarning, match="model.safetensors holds a model and no optimizer; the optimizer stays"):
        learn.load(tmp_path / "model")
    assert same(state_of(learn), before) and any(name.startswith("optimizer") for name in before)


class BrokenError(Exception):
    pass


class Break(Callback):
    """Raise after so many steps, counted over all trainings."""

    def __init__(self, steps, error=BrokenError):
        self.left, self.error = steps, error

    def after_batch(self, learn):
        self.left -= 1
        if not self.left:
            raise self.error


@pytest.mark.parametrize("steps", [3, 5, 6, 13, 20, 21, 29])
def test_a_run_that_was_broken_off_ends_with_the_same_bits(new_learner, state_of, same, tmp_path, steps):
    """fine_tune, two trainings of one and three epochs of five steps each, and a third; broken off once and again."""

    def train(learn, seed):
        torch.manual_seed(seed)
        learn.fine_tune(3)
        learn.fit(2)
        return learn

    whole = train(new_learner(), 0)
    file, run = tmp_path / "last.safetensors", {"lr": 1e-2}
    with pytest.raises(BrokenError):
        train(new_learner(cbs=[SaveCheckpoint(file, run), Break(steps)]), 0)
    again = steps > 5  # else there is nothing to go on from yet
    with pytest.raises(BrokenError):
        train(
            new_learner(cbs=[SaveCheckpoint(file, run, resume=again), Break(7 if steps < 25 else 3)]), 1 if again else 0
        )
    resumed = train(new_learner(cbs=[SaveCheckpoint(file, run, resume=True)]), 2)
    assert same(state_of(resumed), state_of(whole))
    assert resumed.recorder.history == whole.recorder.history
    assert resumed.recorder.losses == whole.recorder.losses and resumed.recorder.ends == whole.recorder.ends


def test_what_a_resumed_run_refuses(new_learner, tmp_path):
    file = tmp_path / "last.safetensors"
    new_learner(cbs=[SaveCheckpoint(file, {"lr": 1})]).fit(1)
    with pytest.raises(ValueError, match="last.safetensors is of a run with lr=1 instead of 2"):
        new_learner(cbs=[SaveCheckpoint(file, {"lr": 2}, resume=True)]).fit(1)
    with pytest.raises(ValueError, match="is of a training of 1 epochs, this one is of 3"):
        new_learner(cbs=[SaveCheckpoint(file, {"lr": 1}, resume=True)]).fit(3)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint .*none.safetensors; begin without resuming"):
        new_learner(cbs=[SaveCheckpoint(tmp_path / "none.safetensors", resume=True)]).fit(1)


def test_ctrl_c_says_where_to_go_on(new_learner, tmp_path, capsys):
    file = tmp_path / "last.safetensors"
    with pytest.raises(KeyboardInterrupt):
        new_learner(cbs=[SaveCheckpoint(file), Break(8, KeyboardInterrupt)]).fit(3)
    assert f"interrupted; {file} holds the last whole epoch" in capsys.readouterr().out


def test_nothing_is_refused_that_trains_well(new_learner, monkeypatch):
    """A validation loss far above the training loss is a warning, once; and no word of spoilt weights."""
    learn = new_learner()
    monkeypatch.setattr(Learner, "validate", lambda *_: [400.0, 0.5])
    with pytest.warns(UserWarning, match="the validation loss is 400 in epoch 0.*may be batch-norm") as warned:
        learn.fit(3)
    assert len(warned) == 1 and len(learn.recorder.values) == 3


def test_a_good_model_may_be_trained_on(new_learner, monkeypatch):
    """Its first loss is next to nothing, so that any other is many times as large."""
    losses = iter([1e-6, 0.5, 2.0, *[0.1] * 30])
    monkeypatch.setattr(Learner, "one_batch", lambda *_: next(losses))
    new_learner().fit(2)


def test_a_training_that_diverges_gives_the_last_good_weights_back(new_learner):
    learn = new_learner(opt_func=lambda groups: optim.SGD(groups, lr=0.1, momentum=0.9))
    learn.fit(1)
    good = {name: value.numpy().copy() for name, value in learn.model.state_dict().items()}
    with (
        pytest.raises(DivergedError, match="The weights are again those before this training"),
        np.errstate(all="ignore"),
    ):
        learn.fit(5, 1e25)
    for name, value in learn.model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), good[name])
    learn.fit(1)
    assert np.isfinite(learn.recorder.values[-1]["valid_loss"])


@pytest.mark.parametrize("which", ["train", "valid"])
def test_numbers_in_the_data_that_are_none_are_blamed(new_learner, which):
    learn = new_learner()
    getattr(learn.dls, which).dataset.x[3, 1] = np.inf
    text = "because of the data: 1 of 32 numbers in the images are NaN or infinite of "
    text += "this batch" if which == "train" else "validation batch 0"
    with pytest.raises(DivergedError, match=text), np.errstate(all="ignore"):
        learn.fit(1)
    assert all(np.isfinite(value.numpy()).all() for value in learn.model.state_dict().values())


def test_a_loss_that_is_no_number_at_once_is_not_the_rates_fault(new_learner):
    learn = new_learner(loss_func=lambda output, y: output.sum() * float("nan"))
    with pytest.raises(DivergedError, match="the training loss is nan in epoch 0, step 0, before anything was learned"):
        learn.fit(1)


@pytest.mark.parametrize("lr", [-1, float("nan"), float("inf"), slice(-1e-3), slice(0, 1e-3), [0.1, -0.1]])
def test_rates_that_make_no_sense_are_refused_before_the_first_step(new_learner, lr):
    learn = new_learner()
    with pytest.raises(ValueError, match="^learning rate: .* (must be 0 or more, and finite|must be more than 0)"):
        learn.fit(1, lr)
    assert learn.recorder.losses == []


def test_weight_decay_of_one_training(new_learner):
    class Note(Callback):
        decays = ()

        def before_batch(self, learn):
            self.decays = [group["weight_decay"] for group in learn.optimizer.param_groups]

    note = Note()
    learn = new_learner(cbs=[note])
    for fit in (learn.fit, learn.fit_one_cycle, learn.fine_tune):
        fit(1, wd=0.3)
        assert note.decays == [0.3, 0.0, 0.3, 0.0]
        fit(1)
        assert note.decays == [0.01, 0.0, 0.01, 0.0]
    with pytest.raises(ValueError, match="fit: wd=-1 must not be negative"):
        learn.fit(1, wd=-1)


@pytest.mark.parametrize("valid", [None, []])
def test_nothing_to_validate_is_no_divergence(new_learner, valid, capsys):
    learn = new_learner(progress=True)
    learn.dls.valid = valid
    learn.fit(1)
    row = learn.recorder.values[0]
    assert row["valid_loss"] is None and row["accuracy"] is None and row["train_loss"] > 0
    assert capsys.readouterr().out.splitlines()[1].split()[2:4] == ["-", "-"]
    with pytest.raises(ValueError, match="there are no images to look at: the loader has no batch"):
        learn.validate([])


def test_an_iterator_is_no_loader(new_learner):
    from types import SimpleNamespace

    learn = new_learner()
    with pytest.raises(TypeError, match="dls.valid can be gone through only once"):
        Learner(SimpleNamespace(train=[1], valid=iter([1])), learn.model)


def test_validation_is_of_all_images_at_once():
    """A metric that is no mean over images, and a loss with weights: both would differ if batches were averaged."""
    from types import SimpleNamespace

    from tinygrad_med import nn

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 3)).astype(np.float32), rng.integers(0, 2, 10)
    model, loss = nn.Linear(3, 2), nn.CrossEntropyLoss(torch.tensor([1.0, 5.0]))
    batches = [(x[:7], y[:7]), (x[7:], y[7:])]
    spread = lambda output, y: output[:, 0].std()  # noqa: E731
    learn = Learner(SimpleNamespace(train=batches, valid=batches), model, loss, spread, progress=False)
    with torch.no_grad():
        output = model(torch.tensor(x))
    expected = [loss(output, torch.tensor(y)).item(), output[:, 0].std().item()]
    np.testing.assert_allclose(learn.validate(), expected, rtol=1e-6)


def test_a_loader_that_shuffles_is_looked_at_in_order(new_learner):
    learn = new_learner()
    data, epoch = learn.dls.train.dataset, learn.dls.train.epoch
    _, labels = learn.get_preds(learn.dls.train)
    assert labels.tolist() == data.y.tolist() and learn.dls.train.epoch == epoch and learn.dls.train.shuffle


def test_what_makes_no_sense(new_learner):
    with pytest.raises(ValueError, match="leaves out 4 of the model's parameters"):
        new_learner(splitter=lambda m: [[m[1]]])
    for n_epoch in (0, -1):
        with pytest.raises(ValueError, match="nothing to train on"):
            new_learner().fit(n_epoch)
    with pytest.raises(ValueError, match="fit: 1.5 epochs; give a whole number"):
        new_learner().fit(1.5)


def test_any_batches_will_do():
    from types import SimpleNamespace

    from tinygrad_med import nn

    batches = [(torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1]))]
    learn = Learner(SimpleNamespace(train=batches, valid=batches), nn.Linear(3, 2), progress=False)
    learn.lr_find(show_plot=False, num_it=30)
    learn.fit(2)
    assert len(learn.recorder.values) == 2


def test_a_first_step_that_spoils_the_weights_is_noticed_in_validation(new_learner, monkeypatch):
    learn = new_learner()
    monkeypatch.setattr(Learner, "validate", lambda *_: [float("nan"), 0.5])
    with pytest.raises(DivergedError, match="the validation loss is nan in epoch 0"):
        learn.fit(1)
