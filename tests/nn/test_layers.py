"""The simple layers and `nn.functional`: values and gradients against PyTorch, dropout, and what they refuse."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn
from tinygrad_med.nn import functional as F

# name, arguments, shape of the input
LAYERS = [
    ("Identity", (), {}, (2, 3)),
    ("Identity", (54, "unused"), {"either": True}, (2, 3)),
    ("Flatten", (), {}, (2, 3, 4, 5)),
    ("Flatten", (0, 2), {}, (2, 3, 4, 5)),
    ("ReLU", (), {}, (4, 5)),
    ("ReLU", (), {"inplace": True}, (4, 5)),
    ("LeakyReLU", (), {}, (4, 5)),
    ("LeakyReLU", (0.3, True), {}, (4, 5)),
    ("GELU", (), {}, (4, 5)),
    ("GELU", ("tanh",), {}, (4, 5)),
    ("SiLU", (), {}, (4, 5)),
    ("SiLU", (True,), {}, (4, 5)),
    ("Tanh", (), {}, (4, 5)),
    ("Sigmoid", (), {}, (4, 5)),
    ("Softplus", (), {}, (4, 5)),
    ("Softplus", (2.0, 1.0), {}, (4, 5)),
    ("Softmax", (1,), {}, (4, 5)),
    ("Softmax", (), {"dim": 0}, (4, 5, 2)),
    ("LogSoftmax", (-1,), {}, (4, 5)),
    ("Dropout", (0.0,), {}, (4, 5)),
]


def compare(torch, ours, theirs, *arrays):
    """Value and gradients, upstream gradient random, of two functions of the float arrays among `arrays`."""
    results = []
    for lib, function in ((tg, ours), (torch, theirs)):
        tensors = [lib.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        y = function(*(t * 1 if t.requires_grad else t for t in tensors))  # torch writes an input in place, but no leaf
        y.backward(lib.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape))))
        results.append([y.detach().numpy(), *(t.grad.numpy() for t in tensors if t.requires_grad)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "arguments", "keywords", "shape"), LAYERS)
def test_layers_are_pytorchs(torch, name, arguments, keywords, shape):
    x = 3 * np.random.default_rng(0).standard_normal(shape)
    ours, theirs = (getattr(lib, name)(*arguments, **keywords) for lib in (nn, torch.nn))
    compare(torch, ours, theirs, x)
    assert list(ours.state_dict()) == []
    assert repr(ours).startswith(name)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4), (0, 4)])
def test_linear(torch, shape, bias):
    theirs = torch.nn.Linear(4, 3, bias=bias).double()
    ours = nn.Linear(4, 3, bias=bias, dtype=tg.float64)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    compare(torch, ours, theirs, np.random.default_rng(0).standard_normal(shape))
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-10, atol=1e-12)
    assert repr(ours).startswith(f"Linear(in_features=4, out_features=3, bias={bias})  {15 if bias else 12} parameters")


@pytest.mark.parametrize("arguments", [{}, {"p": 1.0, "dim": 0}, {"p": 3.0, "dim": -1}, {"eps": 2.0}])
def test_normalize(torch, arguments):
    x = np.random.default_rng(0).standard_normal((3, 4))
    compare(torch, *(lambda x, lib=lib: lib.normalize(x, **arguments) for lib in (F, torch.nn.functional)), x)


@pytest.mark.parametrize("num_classes", [-1, 5])
def test_one_hot(torch, num_classes):
    labels = np.array([[0, 3], [1, 2]])
    ours, theirs = (lib.nn.functional.one_hot(lib.tensor(labels), num_classes) for lib in (tg, torch))
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert ours.dtype == tg.int64
    nothing = [lib.nn.functional.one_hot(lib.zeros(2, 0).long(), 3) for lib in (tg, torch)]
    assert nothing[0].shape == tuple(nothing[1].shape) == (2, 0, 3)


@pytest.mark.parametrize(
    ("labels", "num_classes", "kind", "text"),
    [
        (tg.tensor([0, 3]), 3, ValueError, "class 3 needs num_classes of at least 4, got 3"),
        (tg.tensor([0, -1]), -1, ValueError, "a class must not be negative, got -1"),
        (tg.zeros(0).long(), -1, ValueError, "an empty tensor has no largest class; give num_classes"),
        (tg.tensor([0.0]), 3, TypeError, "the classes must be integers, got float32; use .long"),
        (tg.tensor([True]), -1, TypeError, "the classes must be integers, got bool; use .long"),
    ],
)
def test_one_hot_refuses_what_pytorchs_does(torch, labels, num_classes, kind, text):
    with pytest.raises(RuntimeError):
        torch.nn.functional.one_hot(torch.tensor(labels.numpy()), num_classes)
    with pytest.raises(kind, match=f"^one_hot: {text}"):
        F.one_hot(labels, num_classes)


def test_binary_cross_entropy_at_its_ends(torch):
    """Where a logarithm is infinite: PyTorch's values and gradients, no NaN."""
    x, y = np.array([0.0, 0.0, 1.0, 1.0, 0.3]), np.array([0.0, 1.0, 0.0, 1.0, 0.5])
    found = []
    for lib in (tg, torch):
        p = lib.tensor(x, requires_grad=True)
        loss = lib.nn.BCELoss(weight=lib.tensor(2.0), reduction="sum")(p, lib.tensor(y))
        loss.backward()
        found.append((loss.item(), p.grad.numpy()))
    assert found[0][0] == pytest.approx(found[1][0]) and found[0][0] > 400
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-7)  # PyTorch's 10⁻¹² is a float32
    with pytest.raises(ValueError, match="must be probabilities, between 0 and 1; for logits use"):
        F.binary_cross_entropy(tg.tensor([1.5]), tg.tensor([1.0]))


def test_linear_by_hand():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": tg.tensor([[2.0, -1.0]]), "bias": tg.tensor([0.5])})
    assert layer(tg.tensor([[3.0, 4.0]])).tolist() == [[2.5]]


def test_linear_refuses():
    with pytest.raises(ValueError, match=r"linear: x \(5, 3\) must end with the \(4,\) inputs"):
        nn.Linear(4, 2)(tg.zeros(5, 3))
    with pytest.raises(ValueError, match="Linear: in_features=-1 and out_features=2 must not be negative"):
        nn.Linear(-1, 2)


# ---------------------------------------------------------------- losses

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.standard_normal((6, 4)), RNG.integers(0, 4, 6)
TARGETS, CLASS_WEIGHTS = RNG.random((6, 4)), RNG.random(4) + 0.5
LOSSES = [
    ("CrossEntropyLoss", {}, (LOGITS, LABELS)),
    ("CrossEntropyLoss", {"weight": CLASS_WEIGHTS, "ignore_index": 2, "label_smoothing": 0.1}, (LOGITS, LABELS)),
    ("NLLLoss", {}, (LOGITS, LABELS)),
    ("NLLLoss", {"weight": CLASS_WEIGHTS, "ignore_index": 1}, (LOGITS, LABELS)),
    ("BCELoss", {}, (1 / (1 + np.exp(-LOGITS)), TARGETS)),
    ("BCELoss", {"weight": CLASS_WEIGHTS}, (1 / (1 + np.exp(-LOGITS)), TARGETS)),
    ("BCEWithLogitsLoss", {}, (LOGITS, TARGETS)),
    ("BCEWithLogitsLoss", {"weight": CLASS_WEIGHTS, "pos_weight": 3 * CLASS_WEIGHTS}, (LOGITS, TARGETS)),
    ("MSELoss", {}, (LOGITS, TARGETS)),
    ("L1Loss", {}, (LOGITS, TARGETS)),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "options", "arrays"), LOSSES)
def test_losses_are_pytorchs(torch, name, options, arrays, reduction):
    def build(lib):
        converted = {k: lib.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return getattr(lib.nn, name)(reduction=reduction, **converted)

    ours, theirs = build(tg), build(torch)
    compare(torch, ours, theirs, *arrays)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_weights_of_losses_move_with_them_and_the_givers_stay():
    weights = tg.ones(3)
    criterion = nn.BCEWithLogitsLoss(pos_weight=weights).double()
    assert criterion.pos_weight.dtype == tg.float64
    assert weights.dtype == tg.float32
    assert list(criterion.parameters()) == []


def test_losses_refuse():
    with pytest.raises(ValueError, match="MSELoss: reduction='avg' is unknown; give 'mean', 'sum' or 'none'"):
        nn.MSELoss(reduction="avg")
    with pytest.raises(TypeError, match="CrossEntropyLoss: weight must be a Tensor or None, got list"):
        nn.CrossEntropyLoss([1.0, 2.0])
    with pytest.raises(ValueError, match="must have the shape of input"):
        nn.BCEWithLogitsLoss()(tg.zeros(3, 1), tg.zeros(3))


# ---------------------------------------------------------------- dropout


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = tg.ones(200, 500)
    y = F.dropout(x, 0.3, generator=tg.Generator(0)).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.005)
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert y.dtype == np.float32
    rows = (y == 0).mean(1)
    assert rows.std() == pytest.approx((0.3 * 0.7 / 500) ** 0.5, rel=0.2)  # each element by itself


def test_dropout_is_linear_in_what_it_kept():
    x = tg.randn(50, dtype=tg.float64, requires_grad=True, generator=tg.Generator(1))
    y = F.dropout(x, 0.4, generator=tg.Generator(0))
    factor = (y / x).detach()
    (g,) = tg.autograd.grad((y**3).sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), (3 * factor * y**2).detach().numpy(), rtol=1e-12)
    (gg,) = tg.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(gg.numpy(), (6 * factor**2 * y).detach().numpy(), rtol=1e-12)


def test_dropout_follows_its_generator_and_the_seed():
    x = tg.ones(100)

    def draw(layer):
        return layer(x).tolist()

    assert draw(nn.Dropout(generator=tg.Generator(3))) == draw(nn.Dropout(generator=tg.Generator(3)))
    layer = nn.Dropout(0.5)
    tg.manual_seed(1)
    first, second = draw(layer), draw(layer)
    tg.manual_seed(1)
    assert draw(layer) == first != second


def test_dropout_in_use_and_at_the_ends():
    x = tg.randn(5)
    layer = nn.Dropout(0.9).eval()
    assert layer(x) is x
    assert F.dropout(x, 0.5, False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).tolist() == [0] * 5
    assert repr(layer) == "Dropout(p=0.9)"
    for refuse in (nn.Dropout, lambda p: F.dropout(x, p)):
        with pytest.raises(ValueError, match="p=1.5 is not a probability; give the share of elements to drop"):
            refuse(1.5)


# ---------------------------------------------------------------- functional


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("relu", ()),
        ("relu", (True,)),
        ("leaky_relu", (0.2, True)),
        ("gelu", ()),
        ("tanh", ()),
        ("sigmoid", ()),
        ("logsigmoid", ()),
        ("softplus", (2.0, 0.5)),
        ("softmax", (1,)),
        ("log_softmax", (0,)),
        ("pad", ((1, 2, 0, 3),)),
        ("pad", ((1, -1), "constant", 5.0)),
        ("dropout", (0.5, False)),
    ],
)
def test_functions_are_pytorchs(torch, name, arguments):
    x = 3 * np.random.default_rng(0).standard_normal((4, 5))
    ours, theirs = (getattr(lib, name) for lib in (F, torch.nn.functional))
    compare(torch, lambda t: ours(t, *arguments), lambda t: theirs(t, *arguments), x)


def test_softmax_in_another_dtype(torch):
    x = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")
    for name in ("softmax", "log_softmax"):
        ours = getattr(F, name)(tg.tensor(x), dim=1, dtype=tg.float64)
        theirs = getattr(torch.nn.functional, name)(torch.tensor(x), dim=1, dtype=torch.float64)
        assert ours.dtype == tg.float64
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


def test_softmax_wants_a_dim():
    for refuse in (nn.Softmax, nn.LogSoftmax, lambda: F.softmax(tg.zeros(2, 3)), lambda: F.log_softmax(tg.zeros(2, 3))):
        with pytest.raises(
            TypeError, match=r"say along which dim probabilities sum to 1; dim=1 for classes in \(N, C\)"
        ):
            refuse()


def test_every_simple_layer_is_among_the_cases():
    tested = {name for name, *_ in LAYERS + LOSSES} | {"Linear", "Bilinear", "AlphaDropout"}
    from tinygrad_med.nn import layers

    own = {n for n, c in vars(layers).items() if inspect.isclass(c) and c.__module__ == layers.__name__}
    assert {n for n in own if not n.startswith("_")} == tested


INPLACE = ["ReLU", "LeakyReLU", "ELU", "CELU", "SELU", "Hardtanh", "ReLU6", "Hardsigmoid", "Hardswish", "Mish", "SiLU"]


@pytest.mark.parametrize("name", [*INPLACE, "Threshold"])
def test_inplace_writes_the_result_to_the_input(torch, name):
    """PyTorch's meaning, which shows where the input is used again."""
    arguments = (0.1, 20.0) if name == "Threshold" else ()
    found = []
    for lib in (tg, torch):
        leaf = lib.tensor(np.linspace(-4, 4, 12).reshape(3, 4), requires_grad=True)
        x = leaf * 1.5
        z = getattr(lib.nn, name)(*arguments, inplace=True)(x)
        assert z is x
        (x + 2 * z).sin().sum().backward()
        found.append((x.detach().numpy(), leaf.grad.numpy()))
        with pytest.raises(RuntimeError, match="leaf"):
            getattr(lib.nn, name)(*arguments, inplace=True)(leaf)
        with lib.no_grad():
            constant = lib.tensor([-2.0, 0.5])
            assert getattr(lib.nn, name)(*arguments, inplace=True)(constant) is constant
            found[-1] += (constant.numpy(),)
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)


def test_activations_that_are_always_in_place(torch):
    for name in ("relu_", "leaky_relu_", "elu_", "celu_", "selu_", "hardtanh_", "threshold_"):
        arguments = (0.1, 20.0) if name == "threshold_" else ()
        ours, theirs = (lib.tensor([-2.0, 0.05, 3.0]) for lib in (tg, torch))
        assert getattr(F, name)(ours, *arguments) is ours
        np.testing.assert_allclose(
            ours.numpy(), getattr(torch.nn.functional, name)(theirs, *arguments).numpy(), rtol=1e-6
        )


@pytest.mark.parametrize("name", ["Dropout", "Dropout2d"])
def test_inplace_dropout_writes_to_the_input(name):
    leaf = tg.ones(20, 30, 2, requires_grad=True)
    x = leaf * 1
    z = getattr(nn, name)(0.5, inplace=True)(x)
    z.sum().backward()
    assert z is x and set(np.unique(x.detach().numpy())) == {0, 2}
    np.testing.assert_array_equal(leaf.grad.numpy(), x.detach().numpy())
    assert getattr(nn, name)(0.5, inplace=True).eval()(x) is x


def test_alpha_dropout_keeps_mean_and_variance():
    x = tg.randn(400, 300, generator=tg.Generator(0))
    z = nn.AlphaDropout(0.3, generator=tg.Generator(1))(x).numpy()
    assert abs(z.mean()) < 0.02 and abs(z.var() - 1) < 0.03
    values, counts = np.unique(z, return_counts=True)
    assert abs(counts.max() / z.size - 0.3) < 0.01 and -2 < values[counts.argmax()] < -1
    assert nn.AlphaDropout(0.3).eval()(x) is x and not F.alpha_dropout(x, 1, True).numpy().any()


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax_draws_by_the_probabilities(hard):
    logits = tg.tensor([0.0, 1.0, 2.0]).expand(4000, 3).clone().requires_grad_()
    z = F.gumbel_softmax(logits, tau=0.5, hard=hard, generator=tg.Generator(0))
    shares = np.bincount(z.detach().numpy().argmax(1), minlength=3) / 4000
    np.testing.assert_allclose(shares, np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum(), atol=0.03)
    np.testing.assert_allclose(z.detach().sum(1).numpy(), 1, atol=1e-5)
    assert set(np.unique(z.detach().numpy().round(6))) <= {0, 1} or not hard
    (z * tg.tensor([1.0, 2.0, 3.0])).sum().backward()
    np.testing.assert_allclose(logits.grad.sum(1).numpy(), 0, atol=1e-5)
    assert logits.grad.numpy().any()


def test_an_embedding_of_vectors_that_are_there(torch):
    for lib in (tg, torch):
        weight = lib.arange(6, dtype=lib.float32).reshape(3, 2)
        frozen = lib.nn.Embedding.from_pretrained(weight)
        assert not frozen.weight.requires_grad and frozen(lib.tensor([2, 0])).tolist() == [[4.0, 5.0], [0.0, 1.0]]
        weight.mul_(2)
        assert frozen.weight.tolist() == weight.tolist()  # one memory
        learned = lib.nn.Embedding.from_pretrained(weight, freeze=False, padding_idx=2)
        learned(lib.tensor([1, 2])).sum().backward()
        assert learned.weight.grad.tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
        assert learned.weight[2].tolist() == [8.0, 10.0] and learned.padding_idx == 2
        with pytest.raises((ValueError, AssertionError)):
            lib.nn.Embedding.from_pretrained(weight[0])
    tg.manual_seed(0)
    first = tg.rand(3).tolist()
    tg.manual_seed(0)
    tg.nn.Embedding.from_pretrained(tg.zeros(3, 2))
    assert tg.rand(3).tolist() == first  # nothing is drawn
