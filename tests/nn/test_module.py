"""What a module is: its parts, its state, its copies, what holds for the whole tree, and how it prints."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn
from tinygrad_med.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()  # noqa: UP008 - the old style of the tutorials
        self.scale = nn.Parameter(tg.ones(3))
        self.body = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3, bias=False))
        self.head = nn.Linear(3, 2)
        self.register_buffer("count", tg.tensor(7))
        self.register_buffer("scratch", tg.zeros(2), persistent=False)
        self.register_buffer("unused", None)
        self.register_parameter("offset", None)

    def forward(self, x):
        return self.head(self.body(x) * self.scale)


KEYS = ["scale", "count", "body.0.weight", "body.0.bias", "body.2.weight", "head.weight", "head.bias"]


@pytest.fixture
def net() -> Net:
    tg.manual_seed(0)
    return Net()


# ---------------------------------------------------------------- its parts


def test_parts_are_found_by_their_paths(net):
    assert [name for name, _ in net.named_parameters()] == [k for k in KEYS if k != "count"]
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert [name for name, _ in net.named_buffers()] == ["count", "scratch"]
    assert [name for name, _ in net.named_modules()] == ["", "body", "body.0", "body.1", "body.2", "head"]
    assert [name for name, _ in net.named_children()] == ["body", "head"]
    assert list(net.children()) == [net.body, net.head]
    assert list(net.modules())[:2] == [net, net.body]
    assert [p.shape for p in net.parameters()] == [(3,), (3, 4), (3,), (3, 3), (2, 3), (2,)]
    assert [b.shape for b in net.buffers(recurse=False)] == [(), (2,)]
    assert net._modules.get("body") is net.body


def test_state_keys_are_pytorchs(torch, net):
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(3))
            self.body = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3, bias=False))
            self.head = torch.nn.Linear(3, 2)
            self.register_buffer("count", torch.tensor(7))
            self.register_buffer("scratch", torch.zeros(2), persistent=False)

    theirs = Theirs()
    assert list(net.state_dict()) == list(theirs.state_dict()) == KEYS
    net.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    assert all(np.array_equal(net.state_dict()[k].numpy(), v.numpy()) for k, v in theirs.state_dict().items())


def test_a_shared_part_counts_once_and_has_two_names():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    assert len(list(net.parameters())) == 2
    assert len(list(net.modules())) == 3
    assert len(list(net.children())) == 2
    assert len(net) == 3
    assert [name for name, _ in net.named_modules(remove_duplicate=False)] == ["", "0", "1", "2"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert "6 parameters" in repr(net)
    net.load_state_dict(net.state_dict())


def test_assigning_replaces_and_deleting_forgets(net):
    net.head = nn.Linear(3, 5)
    assert net(tg.zeros(1, 4)).shape == (1, 5)
    del net.scale, net.count
    assert [k for k in net.state_dict() if "." not in k] == []
    with pytest.raises(AttributeError, match="scale"):
        del net.scale
    net.scratch = nn.Parameter(tg.zeros(2))  # a buffer becomes a parameter
    assert "scratch" in dict(net.named_parameters())
    assert "scratch" not in dict(net.named_buffers())
    net.head.bias = None
    assert "head.bias" not in net.state_dict()
    net.head.bias = nn.Parameter(tg.zeros(5))
    assert "head.bias" in net.state_dict()


def test_a_buffer_stays_one_when_assigned(net):
    net.count = tg.tensor(9)
    assert net.state_dict()["count"].item() == 9


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("scale", tg.ones(3), r"Net.scale is a parameter, Tensor can't take its place; assign nn.Parameter\(…\)"),
        ("head", 3, "Net.head is a module, int can't take its place"),
        ("count", 3, "Net.count is a buffer, int can't take its place"),
    ],
)
def test_a_part_is_not_replaced_by_something_else(net, name, value, text):
    with pytest.raises(TypeError, match=text):
        setattr(net, name, value)


def test_registering_refuses_what_makes_no_sense(net):
    with pytest.raises(KeyError, match="'a.b' can't be the name of a part; give a name without dots"):
        net.register_buffer("a.b", tg.zeros(1))
    with pytest.raises(KeyError, match="has an attribute 'forward' already"):
        net.add_module("forward", nn.ReLU())
    with pytest.raises(TypeError, match="x must be a Tensor or None, got list"):
        net.register_buffer("x", [1.0])
    with pytest.raises(TypeError, match="x must be a Tensor or None, got Parameter"):
        net.register_buffer("x", nn.Parameter(tg.zeros(1)))
    with pytest.raises(TypeError, match="x must be a Parameter or None, got Tensor"):
        net.register_parameter("x", tg.zeros(1))
    with pytest.raises(TypeError, match="x must be a Module or None, got type"):
        net.register_module("x", nn.ReLU)


def test_a_missing_init_is_named():
    class Forgetful(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(2, 2)

    with pytest.raises(
        AttributeError, match=r"Forgetful: call super\(\).__init__\(\) first in __init__, before assigning fc"
    ):
        Forgetful()

    class Empty(nn.Module):
        def __init__(self):
            self.n = 3

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match=r"Empty: call super\(\).__init__\(\) first"):
        Empty()(1)


def test_a_missing_forward_is_named():
    class Silent(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Silent has no forward; define `def forward\(self, x\): …`"):
        Silent()(1)


def test_parameter():
    array = np.arange(3.0)
    p = nn.Parameter(tg.from_numpy(array))
    assert p.requires_grad
    assert p.is_leaf
    assert p.array is array
    assert repr(p).startswith("Parameter containing:\ntensor([0., 1., 2.]")
    assert not nn.Parameter(tg.zeros(2), requires_grad=False).requires_grad
    assert type(p * 2) is tg.Tensor
    x = tg.ones(2, requires_grad=True) * 3
    assert nn.Parameter(x).is_leaf
    with pytest.raises(RuntimeError, match="a int64 tensor can't carry a gradient"):
        nn.Parameter(tg.tensor([1, 2]))


# ---------------------------------------------------------------- the state


def test_load_state_dict_writes_in_place_and_converts(net):
    state = {k: v.numpy().astype("float64") for k, v in Net().state_dict().items()}
    arrays = [p.array for p in net.parameters()]
    assert net.load_state_dict(state) == ([], [])
    assert all(p.array is a for p, a in zip(net.parameters(), arrays, strict=True))
    for key, tensor in net.state_dict().items():
        assert np.array_equal(tensor.numpy(), state[key].astype(tensor.dtype))


def test_loading_is_noticed_by_a_graph_that_needs_the_old_values(net):
    y = net(tg.ones(2, 4)).sum()
    net.load_state_dict(Net().state_dict())
    with pytest.raises(RuntimeError, match=r"overwritten in place at .*test_module.py"):
        y.backward()


def test_load_state_dict_reports_everything_and_loads_nothing(net):
    before = copy.deepcopy(net.state_dict())
    state = {k: tg.zeros(v.shape) for k, v in before.items()}
    del state["scale"], state["head.bias"]
    state |= {"fc.weight": tg.zeros(1, 2), "note": "hi", "head.weight": tg.zeros(6, 3), "body.0.bias": 1.0}
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    head, *lines = str(error.value).splitlines()
    assert head.startswith(
        "load_state_dict: the state doesn't fit Net, nothing was loaded; strict=False loads the keys"
    )
    assert lines == [
        "  missing: scale (3,)",
        "  missing: head.bias (2,)",
        "  unexpected: fc.weight (1, 2)",
        "  unexpected: note",
        "  not a tensor: body.0.bias is a float",
        "  another shape: head.weight is (2, 3) here, (6, 3) in the state",
    ]
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state, strict=False)
    assert "missing" not in str(error.value)
    assert "another shape: head.weight" in str(error.value)
    assert all(np.array_equal(v.numpy(), before[k].numpy()) for k, v in net.state_dict().items())


def test_load_state_dict_not_strict_loads_what_fits(net):
    keys = net.load_state_dict({"scale": tg.zeros(3), "fc.weight": tg.zeros(1)}, strict=False)
    assert keys.missing_keys == [k for k in KEYS if k != "scale"]
    assert keys.unexpected_keys == ["fc.weight"]
    assert net.scale.tolist() == [0, 0, 0]


def test_load_state_dict_wants_a_dict(net):
    with pytest.raises(TypeError, match="needs a dict of tensors by name, got Net"):
        net.load_state_dict(net)


def test_state_dict_shares_memory_and_has_no_graph(net):
    state = net.state_dict(prefix="model.")
    assert list(state) == [f"model.{k}" for k in KEYS]
    assert state["model.scale"].array is net.scale.array
    assert not state["model.scale"].requires_grad


# ---------------------------------------------------------------- copies


def test_deepcopy_is_independent(net):
    net(tg.ones(2, 4)).sum().backward()
    twin = copy.deepcopy(net)
    assert list(twin.state_dict()) == KEYS
    with tg.no_grad():
        twin.scale += 1
        twin.scale.grad += 1
    assert net.scale.tolist() == [1, 1, 1]
    assert not np.array_equal(net.scale.grad.numpy(), twin.scale.grad.numpy())
    assert isinstance(twin.scale, nn.Parameter)
    assert np.array_equal(copy.deepcopy(net)(tg.ones(2, 4)).detach().numpy(), net(tg.ones(2, 4)).detach().numpy())


def test_deepcopy_keeps_shared_parts_shared():
    shared = nn.Linear(2, 2)
    twin = copy.deepcopy(nn.Sequential(shared, shared))
    assert twin[0] is twin[1] is not shared


def test_pickle(net):
    net.head.requires_grad_(False)
    twin = pickle.loads(pickle.dumps(net.eval()))
    assert not twin.training
    assert not twin.head.weight.requires_grad
    assert isinstance(twin.scale, nn.Parameter)
    assert np.array_equal(twin(tg.ones(2, 4)).detach().numpy(), net(tg.ones(2, 4)).detach().numpy())


# ---------------------------------------------------------------- the whole tree


def test_train_and_eval(net):
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.body.train()
    assert [m.training for m in net.modules()] == [False, True, True, True, True, False]


def test_requires_grad_freezes(net):
    assert net.body.requires_grad_(False) is net.body
    net(tg.ones(2, 4)).sum().backward()
    assert all(p.grad is None for p in net.body.parameters())
    assert net.head.weight.grad is not None


def test_zero_grad(net):
    net(tg.ones(2, 4)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all(not p.grad.numpy().any() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_to_keeps_the_parameters_and_converts_grads_and_buffers(net):
    net(tg.ones(2, 4)).sum().backward()
    parameters = list(net.parameters())
    mine = net.scratch
    assert net.double() is net
    assert all(p is q for p, q in zip(net.parameters(), parameters, strict=True))
    assert all(p.dtype == p.grad.dtype == tg.float64 and p.is_leaf and p.requires_grad for p in parameters)
    assert (net.scratch.dtype, net.count.dtype, mine.dtype) == (tg.float64, tg.int64, tg.float32)
    net(tg.ones(2, 4).double()).sum().backward()
    assert net.half().scale.dtype == tg.float16
    assert net.float().scale.dtype == tg.float32
    assert net.to("cpu", tg.float64, non_blocking=True).scale.dtype == tg.float64
    assert net.to(tg.zeros(1)).scale.dtype == tg.float32
    assert net.cpu().scale.device == "cpu"


def test_integer_buffers_are_not_rounded_on_the_way():
    net = nn.Module()
    net.register_buffer("count", tg.tensor(2**53 + 1))
    assert net.half().count.item() == 2**53 + 1


def test_to_an_integer_dtype_is_refused(net):
    with pytest.raises(TypeError, match="to: parameters and float buffers need a float type, got int64"):
        net.to(tg.int64)
    assert net.scale.dtype == tg.float32


@pytest.mark.cuda
def test_cuda_and_back(net):
    parameters = list(net.parameters())
    net(tg.ones(2, 4)).sum().backward()
    net.cuda()
    assert all(p is q and p.is_cuda and p.grad.is_cuda for p, q in zip(net.parameters(), parameters, strict=True))
    assert net.count.is_cuda
    net(tg.ones(2, 4).cuda()).sum().backward()
    assert not net.cpu().scale.grad.is_cuda


def test_cuda_without_a_card_says_why(net):
    if tg.cuda.is_available():
        pytest.skip("there is a CUDA card")
    with pytest.raises(RuntimeError, match="cuda: "):
        net.cuda()


def test_apply_goes_children_first(net):
    order = []
    assert net.apply(order.append) is net
    assert [type(m).__name__ for m in order] == ["Linear", "ReLU", "Linear", "Sequential", "Linear", "Net"]


# ---------------------------------------------------------------- how it prints


def test_repr_is_a_tree_with_counts(net):
    net.head.requires_grad_(False)
    assert repr(net) == (
        "Net(\n"
        "  (body): Sequential(\n"
        "    (0): Linear(in_features=4, out_features=3, bias=True)   15\n"
        "    (1): ReLU()\n"
        "    (2): Linear(in_features=3, out_features=3, bias=False)   9\n"
        "  )                                                         24\n"
        "  (head): Linear(in_features=3, out_features=2, bias=True)   8\n"
        ")                                                           35 parameters, 8 of them frozen"
    )
    assert repr(nn.ReLU()) == "ReLU()"
    assert repr(nn.Linear(128, 10)) == "Linear(in_features=128, out_features=10, bias=True)  1,290 parameters"


# ---------------------------------------------------------------- containers


def test_sequential_by_index_name_and_slice():
    net = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    assert net[1][-1].weight.shape == (2, 4)
    part = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())[1:]
    assert list(part.state_dict()) == []
    assert [name for name, _ in part.named_children()] == ["1", "2"]
    named = nn.Sequential(OrderedDict([("fc", nn.Linear(2, 3)), ("act", nn.ReLU())]))
    assert named.fc is named[0]
    assert list(named.state_dict()) == ["fc.weight", "fc.bias"]
    assert named(tg.ones(1, 2)).shape == (1, 3)
    with pytest.raises(IndexError, match="Sequential: index 2 is out of range for 2 modules"):
        named[2]
    with pytest.raises(TypeError, match="0 must be a Module or None, got function"):
        nn.Sequential(F.relu)


def test_sequential_grows_and_shrinks():
    net = nn.Sequential().append(nn.Linear(2, 3)).extend([nn.ReLU(), nn.Linear(3, 4)])
    assert len(net) == 3
    assert [type(m).__name__ for m in net] == ["Linear", "ReLU", "Linear"]
    net[1] = nn.Tanh()
    net.insert(0, nn.Identity())
    assert [type(m).__name__ for m in net] == ["Identity", "Linear", "Tanh", "Linear"]
    del net[0]
    del net[-2:]
    assert list(net.state_dict()) == ["0.weight", "0.bias"]


def test_module_list_and_dict():
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(12)])
    assert len(list(layers.parameters())) == 24
    assert list(layers) == [layers[i] for i in range(12)]
    assert isinstance(layers[2:4], nn.ModuleList)
    assert [name for name, _ in layers[2:4].named_children()] == ["0", "1"]
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        layers(1)
    heads = nn.ModuleDict({"acl": nn.Linear(2, 1)})
    heads["meniscus"] = nn.Linear(2, 1)
    assert list(heads) == list(heads.keys()) == ["acl", "meniscus"]
    assert "acl" in heads
    assert len(heads) == len(list(heads.values())) == 2
    del heads["acl"]
    assert [name for name, _ in heads.items()] == ["meniscus"]


def test_a_missing_name_says_what_there_is():
    with pytest.raises(AttributeError, match="no attribute 'LeakyRelu'; did you mean LeakyReLU"):
        nn.LeakyRelu  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'cross_entropi'; did you mean cross_entropy"):
        F.cross_entropi  # noqa: B018


def test_a_submodule_by_its_name():
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    assert net.get_submodule("") is net
    assert all(net.get_submodule(name) is module for name, module in net.named_modules())
    with pytest.raises(AttributeError, match="Sequential has no part '2'; it has 0, 1"):
        net.get_submodule("1.2")


def test_what_a_notebook_shows_of_loading():
    layer = nn.Linear(2, 3)
    assert repr(layer.load_state_dict(layer.state_dict())) == "<All keys matched successfully>"
    keys = layer.load_state_dict({"weight": layer.weight, "more": layer.bias}, strict=False)
    assert repr(keys) == "IncompatibleKeys(missing_keys=['bias'], unexpected_keys=['more'])"


def test_a_parameter_or_a_buffer_by_its_name():
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3)))
    assert all(net.get_parameter(name) is p for name, p in net.named_parameters())
    assert all(net.get_buffer(name) is b for name, b in net.named_buffers())
    with pytest.raises(AttributeError, match="Linear has no parameter 'wieght'; did you mean weight"):
        net.get_parameter("0.wieght")
    with pytest.raises(AttributeError, match="Linear has no buffer 'running_mean'; it has none"):
        net.get_buffer("0.running_mean")


def test_what_a_module_has_is_not_written_past_it():
    """PyTorch's code that writes into `_modules` would have no effect here."""
    for parts in ("_modules", "_parameters", "_buffers"):
        with pytest.raises(TypeError, match="does not support item assignment"):
            getattr(nn.Linear(2, 3), parts)["weight"] = nn.Parameter(tg.ones(3, 2))


def test_a_memory_format_is_taken_and_changes_nothing():
    layer = nn.Conv2d(1, 2, 3)
    assert layer.to(memory_format=tg.channels_last) is layer and layer.weight.is_contiguous()


def test_containers_give_and_take():
    a, b, c = nn.ReLU(), nn.Linear(2, 2), nn.Tanh()
    for made in (nn.ModuleList([a, b, c]), nn.Sequential(a, b, c)):
        assert made.pop(1) is b and list(made) == [a, c] and list(dict(made.named_children())) == ["0", "1"]
    named = nn.ModuleDict([("a", a), ("b", b)])
    named.update({"b": c, "d": b})
    assert dict(named.items()) == {"a": a, "b": c, "d": b}
    assert named.pop("b") is c and list(named) == ["a", "d"]
    named.clear()
    assert len(named) == 0 and not list(named.parameters())
    with pytest.raises(KeyError):
        named.pop("b")


def test_a_state_under_other_names_gets_a_hint_instead_of_a_list():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = net.state_dict()

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

    for wrong, module, hint in [
        (
            {f"module.{k}": v for k, v in state.items()},
            net,
            r"begin with 'module\.', .*key\.removeprefix\('module\.'\)",
        ),
        ({"epoch": 3, "state_dict": state}, net, r"is called 'state_dict': give state\['state_dict'\]"),
        ({"model": {f"module.{k}": v for k, v in state.items()}}, net, r"give state\['model'\]"),
        (state, Outer(), r"it is the state of its part \.model: load it into that"),
    ]:
        with pytest.raises(RuntimeError, match=rf"load_state_dict: .* nothing was loaded; .*{hint}") as caught:
            module.load_state_dict(wrong)
        assert "\n" not in str(caught.value)
    other = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    with pytest.raises(RuntimeError, match=r"strict=False loads the keys .*\n  unexpected: 1\.running_mean"):
        other.load_state_dict(state)


def test_a_counter_of_shape_1_is_one_without_dims():
    """PyTorch before 0.4 had no tensors without dims."""
    net = nn.BatchNorm1d(3)
    for value in (tg.tensor([7]), np.array([7])):
        net.load_state_dict({**net.state_dict(), "num_batches_tracked": value})
        assert net.num_batches_tracked.shape == () and net.num_batches_tracked.item() == 7
        net.num_batches_tracked.zero_()
