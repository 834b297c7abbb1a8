"""What outputs mean follows from the loss: probabilities, answers, losses of each image; and the metrics."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn
from tinygrad_med.learner import ClassificationInterpretation, Learner, accuracy, accuracy_multi, error_rate
from tinygrad_med.nn import functional as F

RNG = np.random.default_rng(0)
X = RNG.standard_normal((7, 3)).astype(np.float32)
CLASSES = np.array([0, 2, 1, 1, 0, 2, 1])
YES_NO = np.array([0, 1, 1, 0, 1, 0, 1], np.float32)
LABELS = (RNG.random((7, 4)) > 0.5).astype(np.float32)
NUMBERS = RNG.standard_normal((7, 1)).astype(np.float32)


def learner(loss_func, y, outputs, *, x=X, **options):
    """Of one linear layer, or of another model, whose data come in batches of 4 and 3."""
    model = nn.Linear(3, outputs) if isinstance(outputs, int) else outputs
    batches = [(x[:4], y[:4]), (x[4:], y[4:])]
    dls = SimpleNamespace(train=batches, valid=batches, vocab=options.pop("vocab", None))
    return Learner(dls, model, loss_func, progress=False, **options)


def raw(learn):
    with tg.no_grad():
        return learn.model(tg.tensor(X)).numpy()


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


WEIGHT = tg.tensor([1.0, 2.0, 0.5])


@pytest.mark.parametrize(
    "loss",
    [
        F.cross_entropy,
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1, reduction="sum"),
        functools.partial(F.cross_entropy, label_smoothing=0.1),
    ],
)
def test_one_of_several_classes(loss):
    learn = learner(loss, CLASSES, 3)
    probabilities, labels, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    z = raw(learn)
    np.testing.assert_allclose(probabilities.numpy(), softmax(z), rtol=1e-5)
    assert decoded.tolist() == z.argmax(1).tolist() and labels.tolist() == CLASSES.tolist()
    smoothing = 0.1 if loss is not F.cross_entropy and getattr(loss, "label_smoothing", 1) else 0.0
    weight = WEIGHT.numpy() if getattr(loss, "weight", None) is not None else np.ones(3)
    logs = weight * np.log(softmax(z))
    expected = -(1 - smoothing) * logs[np.arange(7), CLASSES] - smoothing * logs.mean(1)
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-4)


def test_log_probabilities():
    learn = learner(nn.NLLLoss(), CLASSES, nn.Sequential(nn.Linear(3, 3), nn.LogSoftmax(1)))
    probabilities, _, decoded = learn.get_preds(with_decoded=True)
    np.testing.assert_allclose(probabilities.numpy(), np.exp(raw(learn)), rtol=1e-5)
    assert decoded.tolist() == raw(learn).argmax(1).tolist()


@pytest.mark.parametrize("loss", [F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss()])
@pytest.mark.parametrize(("y", "outputs"), [(YES_NO[:, None], 1), (LABELS, 4)])
def test_yes_or_no(loss, y, outputs):
    """One logit per image, or several labels: each by itself, not one of all."""
    learn = learner(loss, y, outputs)
    probabilities, _, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    p = sigmoid(raw(learn))
    np.testing.assert_allclose(probabilities.numpy(), p, rtol=1e-5)
    np.testing.assert_array_equal(decoded.numpy(), p > 0.5)
    np.testing.assert_allclose(losses.numpy(), -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(1), rtol=1e-4)


def test_probabilities_stay_as_they_are():
    learn = learner(nn.BCELoss(), YES_NO[:, None], nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()))
    np.testing.assert_array_equal(learn.get_preds()[0].numpy(), raw(learn))


@pytest.mark.parametrize("loss", [F.mse_loss, nn.L1Loss()])
def test_numbers(loss):
    learn = learner(loss, NUMBERS, 1)
    found, _, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    z = raw(learn)
    np.testing.assert_array_equal(found.numpy(), z)
    np.testing.assert_array_equal(decoded.numpy(), z)
    expected = (z - NUMBERS) ** 2 if loss is F.mse_loss else abs(z - NUMBERS)
    np.testing.assert_allclose(losses.numpy(), expected[:, 0], rtol=1e-5)


def test_a_loss_of_ones_own():
    def margin(output, y):
        return (output[:, 0] * (1 - 2 * y)).clamp(min=0).mean()

    learn = learner(margin, YES_NO, 1)
    with pytest.raises(
        ValueError, match="what outputs mean follows from the loss, and margin is none of cross_entropy"
    ):
        learn.get_preds()
    assert learn.get_preds(act=lambda x: x * 2)[0].shape == (7, 1)
    losses = learn.get_preds(act=lambda x: x, with_loss=True)[2]  # one by one, since it has no reduction
    np.testing.assert_allclose(losses.numpy(), np.maximum(raw(learn)[:, 0] * (1 - 2 * YES_NO), 0), rtol=1e-5)
    margin.activation, margin.decodes = tg.tanh, lambda x: (x[:, 0] > 0).long()
    probabilities, _, decoded = learn.get_preds(with_decoded=True)
    np.testing.assert_allclose(probabilities.numpy(), np.tanh(raw(learn)), rtol=1e-5)
    assert decoded.tolist() == (raw(learn)[:, 0] > 0).astype(int).tolist()


def test_outputs_of_any_nesting():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 1)

        def forward(self, x):
            return {"a": self.a(x), "b": [self.b(x)]}

    def loss(output, y):
        return F.cross_entropy(output["a"], y.long()) + F.mse_loss(output["b"][0][:, 0], y)

    learn = learner(loss, YES_NO, Two(), metrics=lambda output, y: accuracy(output["a"], y))
    whole = learn.model(tg.tensor(X))
    expected = [loss(whole, tg.tensor(YES_NO)).item(), accuracy(whole["a"], tg.tensor(YES_NO))]
    np.testing.assert_allclose(learn.validate(), expected, rtol=1e-6)
    found, _, losses = learn.get_preds(act=lambda output: output["b"][0], with_loss=True)
    np.testing.assert_allclose(found.numpy(), whole["b"][0].detach().numpy(), rtol=1e-5)
    assert losses.mean().item() == pytest.approx(expected[0], rel=1e-5)


def test_a_number_for_a_whole_batch_is_no_output():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 1)

        def forward(self, x):
            return self.a(x).mean()

    with pytest.raises(ValueError, match="the model gives one number for a whole batch"):
        learner(F.mse_loss, NUMBERS, Mean()).get_preds()


# ---------------------------------------------------------------- the interpretation


def test_one_logit_is_counted_and_sorted_right():
    learn = learner(nn.BCEWithLogitsLoss(), YES_NO[:, None], 1, vocab=["no", "yes"])
    found = ClassificationInterpretation.from_learner(learn)
    p = sigmoid(raw(learn))[:, 0]
    expected = np.zeros((2, 2), int)
    np.add.at(expected, (YES_NO.astype(int), (p > 0.5).astype(int)), 1)
    assert found.confusion_matrix().tolist() == expected.tolist()
    losses = -(YES_NO * np.log(p) + (1 - YES_NO) * np.log(1 - p))
    assert found.top_losses()[1].tolist() == np.argsort(-losses).tolist()


@pytest.mark.parametrize(("loss", "y", "outputs"), [(nn.BCEWithLogitsLoss(), LABELS, 4), (F.mse_loss, NUMBERS, 1)])
def test_no_confusion_without_classes(loss, y, outputs):
    learn = learner(loss, y, outputs, vocab=list("abcd"))
    found = ClassificationInterpretation.from_learner(learn)
    assert len(found.top_losses(3)[1]) == 3
    with pytest.raises(ValueError, match="confusion_matrix: is of classes, one per image; this model gives"):
        found.confusion_matrix()


# ---------------------------------------------------------------- the metrics


def test_labels_in_a_column_are_labels():
    """MedMNIST's form (N, 1): not every answer against every label."""
    output = tg.tensor(RNG.standard_normal((7, 3)))
    right = (output.numpy().argmax(1) == CLASSES).mean()
    for shape in ((7,), (7, 1)):
        y = tg.tensor(CLASSES.reshape(shape))
        assert accuracy(output, y) == pytest.approx(right) and error_rate(output, y) == pytest.approx(1 - right)
    dense = tg.tensor(RNG.standard_normal((2, 3, 4, 4)))
    labels = RNG.integers(0, 3, (2, 4, 4))
    assert accuracy(dense, tg.tensor(labels)) == pytest.approx((dense.numpy().argmax(1) == labels).mean())


@pytest.mark.parametrize(
    ("output", "target", "text"),
    [
        ((7, 1), (7,), r"the outputs have shape \(7, 1\), needs \(N, classes\).*use accuracy_multi"),
        ((7,), (7,), r"the outputs have shape \(7,\)"),
        ((7, 3), (6,), r"accuracy: \(7,\) answers to labels \(6,\)"),
        ((7, 3), (7, 3), r"accuracy: \(7,\) answers to labels \(7, 3\)"),
        ((7, 3), (1, 7), r"accuracy: \(7,\) answers to labels \(1, 7\)"),
    ],
)
def test_accuracy_refuses_what_it_would_get_wrong(output, target, text):
    with pytest.raises(ValueError, match=text):
        accuracy(tg.zeros(output), tg.zeros(target))


def test_accuracy_of_yes_and_no():
    z = RNG.standard_normal((7, 4))
    assert accuracy_multi(tg.tensor(z), tg.tensor(LABELS)) == pytest.approx(((z > 0) == LABELS).mean())
    p = tg.tensor(sigmoid(z))
    found = accuracy_multi(p, tg.tensor(LABELS), thresh=0.7, sigmoid=False)
    assert found == pytest.approx(((sigmoid(z) > 0.7) == LABELS).mean())
    one = tg.tensor(z[:, :1])
    assert accuracy_multi(one, tg.tensor(YES_NO)) == pytest.approx(((z[:, 0] > 0) == YES_NO).mean())
    with pytest.raises(ValueError, match=r"accuracy_multi: \(7, 4\) answers to labels \(7,\)"):
        accuracy_multi(tg.tensor(z), tg.tensor(YES_NO))


def test_every_metric_has_its_column():
    class Share:
        def __call__(self, output, y):
            return tg.tensor(0.25)

    part = functools.partial(accuracy_multi, sigmoid=False)
    metrics = [lambda o, y: 1.0, lambda o, y: 2.0, Share(), part, accuracy_multi, functools.partial(part, thresh=0.1)]
    learn = learner(nn.BCEWithLogitsLoss(), LABELS, 4, metrics=metrics)
    learn.fit(1)
    row = learn.recorder.values[0]
    names = ["<lambda>", "<lambda>_2", "Share", "accuracy_multi", "accuracy_multi_2", "accuracy_multi_3"]
    assert list(row) == ["epoch", "train_loss", "valid_loss", *names]
    assert (row["<lambda>"], row["<lambda>_2"], row["Share"]) == (1.0, 2.0, 0.25)
