"""Each optimizer takes PyTorch's path, step by step; and what all of them share: groups, states, errors, blocks."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn, optim
from tinygrad_med.optim import optimizer as shared_parts

SHAPES = [(3, 4), (5,), (), (2, 1, 3)]

SGD_OPTIONS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.05},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"lr": 0.1, "momentum": 0.8, "dampening": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.01, "maximize": True, "foreach": False},
]
ADAM_OPTIONS = [
    {},
    {"lr": 0.05, "betas": (0.8, 0.95)},
    {"lr": 0.05, "weight_decay": 0.1},
    {"lr": 0.05, "eps": 1e-3},
    {"lr": 0.05, "betas": (0.5, 0.5), "amsgrad": True},
    {"lr": 0.05, "amsgrad": True, "weight_decay": 0.1, "betas": (0.0, 0.9)},
    {"lr": 0.05, "weight_decay": 0.1, "maximize": True, "fused": False},
]
RMSPROP_OPTIONS = [
    {},
    {"lr": 0.05, "alpha": 0.7, "weight_decay": 0.1},
    {"lr": 0.05, "momentum": 0.8},
    {"lr": 0.05, "centered": True, "eps": 1e-3},
    {"lr": 0.05, "momentum": 0.8, "centered": True, "weight_decay": 0.1, "maximize": True, "foreach": False},
]
ADAGRAD_OPTIONS = [
    {},
    {"lr": 0.5, "lr_decay": 0.1},
    {"lr": 0.5, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3, "maximize": True},
]
CASES = [
    *(("RMSprop", options) for options in RMSPROP_OPTIONS),
    *(("Adagrad", options) for options in ADAGRAD_OPTIONS),
    *(("SGD", options) for options in SGD_OPTIONS),
    *(("Adam", options) for options in ADAM_OPTIONS),
    *(("AdamW", options) for options in ADAM_OPTIONS),
]


class Twins:
    """The same parameters in both libraries, and a loss whose gradients turn, grow, vanish and are missing."""

    def __init__(self, torch, seed=0):
        rng = np.random.default_rng(seed)
        values = [rng.standard_normal(shape) for shape in SHAPES]
        self.rng = rng
        self.ours = [tg.tensor(v, requires_grad=True) for v in values]
        self.theirs = [torch.tensor(v, requires_grad=True) for v in values]
        self.torch = torch

    def set_gradients(self, t):
        for i, (p, q) in enumerate(zip(self.ours, self.theirs, strict=True)):
            g = np.cos(p.detach().numpy() * 3) + self.rng.standard_normal(p.shape)
            g = np.asarray(g * (t % 7 != 3))  # now and then all zero
            missing = i == 1 and (t < 3 or t % 5 == 0)  # a parameter that begins late, and pauses
            p.grad = None if missing else tg.tensor(g)
            q.grad = None if missing else self.torch.tensor(g)

    def assert_equal(self):
        for p, q in zip(self.ours, self.theirs, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-12)


def groups(parameters, separate):
    """One list, or two groups with options of their own."""
    return [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.02}] if separate else parameters


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_fifty_steps_are_pytorchs(torch, name, options, separate):
    twins = Twins(torch)
    ours = getattr(optim, name)(groups(twins.ours, separate), **options)
    theirs = getattr(torch.optim, name)(groups(twins.theirs, separate), **options)
    for t in range(50):
        twins.set_gradients(t)
        ours.step()
        theirs.step()
        twins.assert_equal()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "LBFGS"])
def test_defaults_are_pytorchs(torch, name):
    ours, theirs = getattr(optim, name)([tg.zeros(1)]), getattr(torch.optim, name)([torch.zeros(1)])
    assert ours.defaults == {option: theirs.defaults[option] for option in ours.defaults}


def test_formulas():
    """The first two steps by hand, without PyTorch."""
    w, g = 1.0, 0.5
    p = tg.tensor([w], dtype=tg.float64, requires_grad=True)
    sgd = optim.SGD([p], lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.2)
    v = g + 0.2 * w
    w1 = w - 0.1 * v
    v = 0.9 * v + 0.5 * (g + 0.2 * w1)
    for expected in (w1, w1 - 0.1 * v):
        p.grad = tg.tensor([g], dtype=tg.float64)
        sgd.step()
        assert p.item() == pytest.approx(expected, rel=1e-14)

    p = tg.tensor([1.0], dtype=tg.float64, requires_grad=True)
    adam, m, v, w = optim.AdamW([p], lr=0.1, weight_decay=0.2), 0.0, 0.0, 1.0
    for t in (1, 2):
        p.grad = tg.tensor([g * t], dtype=tg.float64)
        adam.step()
        m, v = 0.9 * m + 0.1 * g * t, 0.999 * v + 0.001 * (g * t) ** 2
        w = w - 0.1 * 0.2 * w - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        assert p.item() == pytest.approx(w, rel=1e-13)


def test_a_model_learns_the_same_way(torch):
    """Real gradients, `zero_grad` and a net in both libraries."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((32, 6)), rng.integers(0, 3, 32)
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    ours = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    losses = []
    for lib, model, opt in ((tg, ours, optim.Adam), (torch, theirs, torch.optim.Adam)):
        optimizer, history = opt(model.parameters(), lr=0.05), []
        for _ in range(50):
            optimizer.zero_grad()
            loss = lib.nn.functional.cross_entropy(model(lib.tensor(x)), lib.tensor(y))
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        losses.append(history)
    np.testing.assert_allclose(*losses, rtol=1e-10)
    assert losses[0][-1] < 0.5 * losses[0][0]


# ---------------------------------------------------------------- the state


@pytest.mark.parametrize(("name", "options"), [CASES[4], CASES[7], CASES[13], CASES[-1]])
def test_state_goes_to_pytorch_and_back(torch, name, options):
    twins = Twins(torch)
    ours, theirs = getattr(optim, name)(twins.ours, **options), getattr(torch.optim, name)(twins.theirs, **options)
    for t in range(8):
        twins.set_gradients(t)
        ours.step()
        theirs.step()

    mine, reference = ours.state_dict(), theirs.state_dict()
    assert mine["state"].keys() == reference["state"].keys()
    for number, state in mine["state"].items():
        assert state.keys() == reference["state"][number].keys()
    assert [group["params"] for group in mine["param_groups"]] == [[0, 1, 2, 3]]

    def plain(x):
        return x.numpy() if isinstance(x, torch.Tensor) else x

    from_torch = getattr(optim, name)(twins.ours)
    state = {n: {k: plain(v) for k, v in s.items()} for n, s in reference["state"].items()}
    from_torch.load_state_dict({"state": state, "param_groups": reference["param_groups"]})
    to_torch = getattr(torch.optim, name)(twins.theirs)
    state = {
        n: {k: torch.tensor(v.numpy() if isinstance(v, tg.Tensor) else v) for k, v in s.items()}
        for n, s in mine["state"].items()
    }
    theirs_group = {**to_torch.state_dict()["param_groups"][0], **mine["param_groups"][0]}
    to_torch.load_state_dict({"state": state, "param_groups": [theirs_group]})
    for t in range(8, 16):
        twins.set_gradients(t)
        from_torch.step()
        to_torch.step()
        twins.assert_equal()


def test_training_goes_on_from_a_state():
    def train(p, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            ((p - 3) ** 2).sum().backward()
            optimizer.step()

    p = tg.zeros(3, requires_grad=True)
    whole = optim.Adam([p], lr=0.1)
    train(p, whole, 4)
    q, state = copy.deepcopy(p), pickle.loads(pickle.dumps(whole.state_dict()))
    train(p, whole, 4)
    resumed = optim.Adam([q], lr=99.0)
    resumed.load_state_dict(state)
    assert resumed.param_groups[0]["lr"] == 0.1
    train(q, resumed, 4)
    assert q.tolist() == p.tolist()


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64])
def test_a_loaded_state_is_a_copy_in_the_dtype_of_the_parameter(dtype):
    p = tg.ones(2, requires_grad=True)
    p.grad = tg.ones(2)
    source = optim.SGD([p], momentum=0.9)
    source.step()
    q = tg.ones(2, dtype=dtype, requires_grad=True)
    target = optim.SGD([q], momentum=0.9)
    target.load_state_dict(source.state_dict())
    assert target.state[q]["momentum_buffer"].dtype == dtype
    source.state[p]["momentum_buffer"].zero_()
    assert target.state[q]["momentum_buffer"].tolist() == [1, 1]


def test_load_state_dict_says_what_does_not_fit():
    p = tg.zeros(2, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.5, momentum=0.9)
    with pytest.raises(ValueError, match=r"got \['weight'\]; needs an optimizer's 'state' and 'param_groups'"):
        optimizer.load_state_dict({"weight": 1})
    with pytest.raises(ValueError, match=r"the groups have \[1\] parameters here, \[2\] in the state"):
        optimizer.load_state_dict(optim.SGD([tg.zeros(2), tg.zeros(1)]).state_dict())
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"momentum_buffer of parameter 0 has shape \(3,\), the parameter \(2,\)"):
        optimizer.load_state_dict({**state, "state": {0: {"momentum_buffer": tg.zeros(3)}}})
    group = {**state["param_groups"][0], "lr": 1.0, "momentum": -1.0}
    with pytest.raises(ValueError, match="momentum=-1.0 must not be negative"):
        optimizer.load_state_dict({**state, "param_groups": [group]})
    assert optimizer.param_groups[0]["lr"] == 0.5


# ---------------------------------------------------------------- groups and steps


def test_groups_have_pytorchs_structure():
    w, b = tg.zeros(2, requires_grad=True), tg.zeros(1, requires_grad=True)
    optimizer = optim.SGD([{"params": w, "lr": 1.0, "name": "head"}], momentum=0.9)
    optimizer.add_param_group({"params": [b]})
    first, second = optimizer.param_groups
    assert (first["lr"], first["momentum"], first["name"], first["params"]) == (1.0, 0.9, "head", [w])
    assert (second["lr"], second["momentum"]) == (1e-3, 0.9)
    second["lr"] = 0.5
    for p in (w, b):
        p.grad = tg.ones(p.shape)
    optimizer.step()
    assert (w.tolist(), b.tolist()) == ([-1, -1], [-0.5])
    assert "group 1: lr=0.5, momentum=0.9" in repr(optimizer)


def test_step_leaves_the_gradient_alone_and_writes_in_place():
    p = tg.ones(3, requires_grad=True)
    array, p.grad = p.array, tg.ones(3)
    optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1).step()
    assert p.array is array
    assert p.grad.tolist() == [1, 1, 1]


def test_step_is_noticed_by_a_graph_that_needs_the_old_values():
    p = tg.ones(3, requires_grad=True)
    loss = (p * p).sum()
    p.grad = tg.ones(3)
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match=r"overwritten in place at .*test_optimizers.py"):
        loss.backward()


def test_closure_runs_with_gradients_and_its_loss_comes_back():
    p = tg.tensor([2.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        assert optimizer.step(closure).item() == 4
    assert p.item() == 1


def test_zero_grad():
    p = tg.ones(2, requires_grad=True)
    optimizer = optim.SGD([p])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is None
    p.sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None


def test_a_numpy_scalar_is_moved_too():
    p = tg.ones(3).sum().detach().requires_grad_()
    p.grad = tg.tensor(1.0)
    optim.Adam([p], lr=0.5).step()
    assert p.item() == pytest.approx(2.5)


def test_a_module_that_changes_its_dtype_keeps_its_optimizer():
    layer = nn.Linear(2, 1)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    layer.double()
    before = layer.weight.tolist()
    layer(tg.ones(1, 2).double()).sum().backward()
    optimizer.step()
    assert layer.weight.dtype == tg.float64
    assert layer.weight.tolist() == [[w - 0.1 for w in before[0]]]


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_large_parameters_are_cut_into_blocks(name):
    """Cut and not cut, on threads and not, in any layout: the same numbers, bit for bit."""
    rng = np.random.default_rng(0)
    shape = (1100, 700)
    w, g = rng.standard_normal((2, *shape)).astype("float32")
    options = {"momentum": 0.9, "lr": 0.1} if name == "SGD" else {"lr": 0.1}
    results = []
    for layout, block in (("C", 2**19), ("C", 2**40), ("F", 2**19), ("C", 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shared_parts, "BLOCK", block)
            p = tg.from_numpy(np.array(w, order=layout)).requires_grad_()
            optimizer = getattr(optim, name)([p], **options)
            for factor in (1, -2, 3):
                p.grad = tg.from_numpy(g * np.float32(factor))
                optimizer.step()
            results.append(p.detach().numpy())
    assert all(np.array_equal(results[0], r) for r in results[1:])
    cuts = list(shared_parts.blocks((w, g)))
    assert len(cuts) > 1
    assert all(a.nbytes <= shared_parts.BLOCK and a.shape == b.shape for a, b in cuts)
    assert np.array_equal(np.concatenate([a for a, _ in cuts]), w)


def test_float32_stays_float32():
    for make in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad):
        p = tg.ones(3, requires_grad=True)
        p.grad = tg.ones(3)
        optimizer = make([p], lr=0.1, weight_decay=0.1)
        optimizer.step()
        assert p.dtype == tg.float32
        assert all(s.dtype == tg.float32 for s in optimizer.state[p].values() if isinstance(s, tg.Tensor))


@pytest.mark.cuda
@pytest.mark.parametrize(("name", "options"), CASES)
def test_cuda_takes_the_same_steps(name, options):
    w, g = np.random.default_rng(0).standard_normal((2, 5, 3))
    results = []
    for device in ("cpu", "cuda"):
        p = tg.tensor(w, device=device, requires_grad=True)
        optimizer = getattr(optim, name)([p], **options)
        for t in range(10):
            p.grad = tg.tensor(g * (t - 4), device=device)
            optimizer.step()
        results.append(p.detach().cpu().numpy())
    np.testing.assert_allclose(*results, rtol=1e-12)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rate_may_be_a_tensor_that_changes(torch, name, dtype):
    """As in PyTorch its value is read at each step; our parameters keep their dtype, whatever that of the rate is."""
    found = []
    for lib in (tg, torch):
        p = lib.tensor([1.0, -2.0], dtype=getattr(lib, dtype), requires_grad=True)
        rate = lib.tensor(0.5, dtype=lib.float64)
        optimizer = getattr(lib.optim, name)([p], lr=rate, weight_decay=lib.tensor(0.1).item())
        for t in range(3):
            p.grad = lib.tensor([1.0, 3.0], dtype=getattr(lib, dtype))
            optimizer.step()
            rate.fill_(0.1 * t)
        assert p.dtype == getattr(lib, dtype)
        found.append(p.detach().numpy())
    np.testing.assert_allclose(*found, rtol=1e-6 if dtype == "float32" else 1e-12)


# ---------------------------------------------------------------- L-BFGS


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "max_iter": 1},  # with 40 steps in mind, of 4 parameters, both would be led by rounding errors
        {"lr": 0.5, "history_size": 3, "max_iter": 5},
        {"line_search_fn": "strong_wolfe"},
        {"line_search_fn": "strong_wolfe", "lr": 3.0, "max_iter": 7, "max_eval": 9, "history_size": 2},
        {"lr": 0.1, "tolerance_grad": 0.5, "tolerance_change": 1e-2},
    ],
)
def test_twenty_steps_of_lbfgs_are_pytorchs(torch, options):
    """Down Rosenbrock's valley, in two parameters; evaluations and loss too."""
    histories = []
    for lib in (tg, torch):
        a, b = (lib.tensor(v, dtype=lib.float64, requires_grad=True) for v in ([-1.5, 1.0, 0.3], 2.0))
        optimizer = lib.optim.LBFGS([a, b], **options)

        def closure(a=a, b=b, optimizer=optimizer):
            optimizer.zero_grad()
            loss = ((1 - a) ** 2).sum() + 10 * ((a[1:] - a[:-1] ** 2) ** 2).sum() + (b - a.sum()) ** 2
            loss.backward()
            return loss

        history = []
        for _ in range(20):
            loss = optimizer.step(closure).item()
            state = optimizer.state[a]
            history.append([loss, *a.tolist(), b.item(), state["func_evals"], state["n_iter"]])
        histories.append(history)
    np.testing.assert_allclose(*histories, rtol=1e-7, atol=1e-10)
    assert histories[0][-1][0] < histories[0][0][0]


def test_the_line_search_is_pytorchs(torch):
    """Over hills, and down to edges near which the slope jumps, from short and far too long first steps: as many
    evaluations, and the same points.

    One search each: over hills a second one would grow the first one's rounding errors to any size.
    """
    rng = np.random.default_rng(0)
    for trial in range(200):
        sharp = trial % 2
        start, waves, phase = rng.standard_normal(3) * 3, rng.uniform(0.5, 4, 3), rng.uniform(0, 6, 3)
        rate, most = 10 ** rng.uniform(-2, 2), int(rng.integers(3, 25))
        found = []
        for lib in (tg, torch):
            p, w, f = (lib.tensor(v, dtype=lib.float64) for v in (start, waves, phase))
            p.requires_grad_()
            optimizer = lib.optim.LBFGS([p], lr=rate, max_iter=1, max_eval=most, line_search_fn="strong_wolfe")

            def closure(p=p, w=w, f=f, optimizer=optimizer, sharp=sharp):
                optimizer.zero_grad()
                away = (w * (p - f))[:1]
                loss = ((away**2 + 1e-8).sqrt() + 0.9 * away).sum() if sharp else (p**2 / 20 + (w * p + f).cos()).sum()
                loss.backward()
                return loss

            loss = optimizer.step(closure).item()
            found.append([loss, *p.tolist(), optimizer.state[p]["func_evals"]])
        np.testing.assert_allclose(*found, rtol=1e-7, atol=1e-9)


def test_lbfgs_goes_on_from_its_state():
    def start():
        p = tg.tensor([-1.5, 1.0, 0.3], dtype=tg.float64, requires_grad=True)
        return p, optim.LBFGS([p], lr=0.3, max_iter=3, history_size=2)

    def step(p, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = ((1 - p) ** 2).sum() + 10 * ((p[1:] - p[:-1] ** 2) ** 2).sum()
            loss.backward()
            return loss

        return optimizer.step(closure).item()

    p, whole = start()
    for _ in range(4):
        step(p, whole)
    q, resumed = start()
    q.data.copy_(p.detach())
    resumed.load_state_dict(pickle.loads(pickle.dumps(whole.state_dict())))
    assert [step(p, whole) for _ in range(4)] == [step(q, resumed) for _ in range(4)]


def test_a_missing_gradient_is_zero_for_lbfgs():
    p, unused = tg.tensor([3.0], requires_grad=True), tg.tensor([5.0], requires_grad=True)
    optimizer = optim.LBFGS([p, unused])

    def closure():
        optimizer.zero_grad()
        loss = ((p - 1) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert p.item() == pytest.approx(1) and unused.item() == 5


# ---------------------------------------------------------------- errors


def leaf():
    return tg.zeros(1, requires_grad=True)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: optim.SGD([]), ValueError, r"SGD: got no parameters; was the iterator used up before\?"),
        (lambda: optim.Adam(leaf()), TypeError, "Adam: params must be a list of tensors or of groups"),
        (lambda: optim.SGD([leaf()] * 2), ValueError, "SGD: a parameter appears twice, each step would move it twice"),
        (lambda: optim.SGD([leaf() * 2]), ValueError, "parameter 0 is the result of <.*; optimize the leaves"),
        (lambda: optim.SGD([leaf(), 3]), TypeError, "SGD: parameter 1 is a int, not a tensor"),
        (lambda: optim.SGD([{"lr": 1}]), TypeError, "SGD: a group is a dict with its tensors under 'params'"),
        (lambda: optim.SGD([{"params": {leaf()}}]), TypeError, "SGD: a set of parameters has no order; give a list"),
        (lambda: optim.SGD([leaf()], lr=-1), ValueError, "SGD: lr=-1 must not be negative"),
        (lambda: optim.Adam([leaf()], lr=float("nan")), ValueError, "Adam: lr=nan must not be negative"),
        (lambda: optim.SGD([{"params": leaf(), "lr": -2}]), ValueError, "SGD: lr=-2 must not be negative"),
        (lambda: optim.SGD([leaf()], momentum=-1), ValueError, "SGD: momentum=-1 must not be negative"),
        (lambda: optim.SGD([leaf()], weight_decay=-1), ValueError, "SGD: weight_decay=-1 must not be negative"),
        (lambda: optim.SGD([leaf()], nesterov=True), ValueError, "SGD: nesterov=True needs momentum > 0"),
        (lambda: optim.AdamW([leaf()], betas=(0.9, 1.0)), ValueError, r"AdamW: betas=\(0.9, 1.0\) must be two numbers"),
        (lambda: optim.SGD([{"params": iter([])}]), ValueError, "SGD: the group's iterator has no parameters; was it"),
        (
            lambda: optim.SGD([leaf()], lr=tg.ones(2)),
            ValueError,
            r"SGD: lr is a tensor of shape \(2,\); give one number",
        ),
        (lambda: optim.Adam([leaf()], lr=tg.tensor(-1.0)), ValueError, "Adam: lr=-1.0 must not be negative"),
        (lambda: optim.RMSprop([leaf()], momentum=-1), ValueError, "RMSprop: momentum=-1 must not be negative"),
        (lambda: optim.Adagrad([leaf()], lr_decay=-1), ValueError, "Adagrad: lr_decay=-1 must not be negative"),
        (lambda: optim.LBFGS([leaf()], line_search_fn="x"), ValueError, "LBFGS: line_search_fn='x' is unknown"),
        (lambda: optim.LBFGS([leaf()]).step(), TypeError, r"LBFGS: step\(\) needs a closure"),
        (lambda: optim.LBFGS([{"params": leaf()}, {"params": leaf()}]), ValueError, "LBFGS: takes one group"),
        (lambda: optim.Adam([leaf()], eps=-1), ValueError, "Adam: eps=-1 must not be negative"),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_a_gradient_of_another_shape_is_refused():
    p = tg.zeros(2, requires_grad=True)
    p.grad = tg.ones(1)
    with pytest.raises(ValueError, match=r"SGD: the gradient has shape \(1,\), its parameter \(2,\)"):
        optim.SGD([p]).step()


def test_an_optimizer_without_update_says_so():
    p = tg.zeros(1, requires_grad=True)
    p.grad = tg.ones(1)
    with pytest.raises(NotImplementedError, match=r"Optimizer: define update\(self, p, state, group\)"):
        optim.Optimizer([p], {"lr": 0.1, "weight_decay": 0.0}).step()


def test_names_of_parameters_are_kept_as_in_pytorch(torch):
    found = []
    for lib in (tg, torch):
        model = lib.nn.Linear(2, 2)
        named = lib.optim.SGD(model.named_parameters(), lr=0.1)
        plain = lib.optim.SGD(model.parameters(), lr=0.1)
        groups = lib.optim.SGD([{"params": [("w", model.weight)]}, {"params": [("b", model.bias)], "lr": 1.0}], lr=0.1)
        assert named.param_groups[0]["params"][1] is model.bias
        names = [[g.get("param_names") for g in o.state_dict()["param_groups"]] for o in (named, plain, groups)]
        named.load_state_dict(plain.state_dict())  # which has no names: they stay
        plain.load_state_dict(named.state_dict())
        names += [[g.get("param_names") for g in o.param_groups] for o in (named, plain)]
        model(lib.ones(1, 2)).sum().backward()
        before = model.bias.detach().numpy().copy()
        groups.step()
        np.testing.assert_allclose(model.bias.detach().numpy(), before - 1)
        for bad in ([("w", model.weight), model.bias], [model.weight, ("b", model.bias)]):
            with pytest.raises((ValueError, TypeError), match="names"):
                lib.optim.SGD(bad, lr=0.1)
        with pytest.raises(ValueError, match="names"):
            named.add_param_group({"params": [lib.zeros(2, requires_grad=True)]})
        found.append(names)
    assert found[0] == found[1]
    assert found[0] == [[["weight", "bias"]], [None], [["w"], ["b"]], [["weight", "bias"]], [["weight", "bias"]]]
    assert tg.optim.SGD(tg.optim.SGD(tg.nn.Linear(2, 2).named_parameters(), 0.1).param_groups).param_groups[0][
        "param_names"
    ] == ["weight", "bias"]
