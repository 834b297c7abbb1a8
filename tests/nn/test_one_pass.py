"""Convolution, batch normalization, sum and relu in one pass: the same numbers, and nothing that anybody could miss."""

import copy

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import explain, models, nn
from tinygrad_med.nn import functional as F, one_pass
from tinygrad_med.nn.one_pass import conv_norm


@pytest.fixture
def passes(monkeypatch):
    """How many convolutions have taken their normalization or relu with them."""
    made = []
    original = one_pass._in_one_pass

    def counting(*args):
        array = original(*args)
        made.append(array is not None)
        return array

    monkeypatch.setattr(one_pass, "_in_one_pass", counting)
    return lambda: sum(made)


def trained(module, seed=0):
    """The module with statistics and parameters that do something, in use."""
    rng = np.random.default_rng(seed)
    for part in module.modules():
        if isinstance(part, one_pass.NORMS):
            for tensor, low in ((part.weight, -1), (part.bias, -1), (part.running_mean, -1), (part.running_var, 0.2)):
                if tensor is not None:
                    with tm.no_grad():
                        tensor.copy_(tm.tensor(rng.uniform(low, 1.5, tensor.shape), dtype=tensor.dtype))
    return module.eval()


def images(*shape, dtype="float32", seed=1):
    return tm.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def close(found, expected, dtype="float32"):
    tolerance = 1e-12 if str(dtype).endswith("64") else 3e-6
    expected = expected.detach().numpy()
    assert found.dtype == tm.as_tensor(expected).dtype
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}])
def test_it_is_the_modules_one_after_the_other(dtype, axes, bias, options, passes):
    conv = getattr(nn, f"Conv{axes}d")(4, 6, 3, 2, 1, groups=2, bias=bias, dtype=dtype)
    norm = trained(getattr(nn, f"BatchNorm{axes}d")(6, dtype=dtype, **options))
    x, plus = images(2, 4, *(7, 6, 5)[:axes], dtype=dtype), images(2, 6, *(4, 3, 3)[:axes], dtype=dtype)
    expected = norm(conv(x))
    with tm.no_grad():
        close(conv_norm(conv, norm, x), expected, dtype)
        close(conv_norm(conv, norm, x, then=F.relu), F.relu(expected), dtype)
        close(conv_norm(conv, norm, x, plus=plus, then=nn.ReLU()), F.relu(expected + plus), dtype)
        close(conv_norm(conv, None, x, then=F.relu), F.relu(conv(x)), dtype)
        close(nn.Sequential(conv, norm, nn.ReLU())(x), F.relu(expected), dtype)
        close(nn.Sequential(conv, nn.ReLU(), norm)(x), norm(F.relu(conv(x))), dtype)
    assert passes() == 6


@pytest.mark.parametrize(
    ("make", "count"),
    [(models.resnet18, 20), (models.resnet50, 53), (models.squeezenet1_1, 26), (models.alexnet, 5), (models.vgg16, 13)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_networks_predict_the_same(make, count, passes):
    net = trained(make(num_classes=3)) if make is not models.vgg16 else models.vgg.vgg16_features().eval()
    net = net.features if make is models.alexnet else net
    x = images(2, 3, 65, 65)
    expected = net(x)  # with a graph: one after the other
    assert passes() == 0
    with tm.no_grad():
        close(net(x), expected)
    assert passes() == count


def test_a_fused_network_takes_relu_along(passes):
    net = trained(models.resnet18(num_classes=3))
    x = images(1, 3, 64, 64)
    with tm.no_grad():
        close(net.fused()(x), net(x))
    assert passes() == 40


def test_what_changes_between_calls_counts(passes):
    net = trained(models.resnet18(num_classes=3))
    block, x = net.layer2[0], images(2, 64, 9, 9)

    def check():
        with tm.no_grad():
            found = block(x)
        close(found, block(x))

    check()
    with tm.no_grad():
        block.conv1.weight.mul_(1.5)
        block.bn1.running_var.add_(1.0)
        block.bn2.running_mean.array[...] = 3  # also what no version says
    check()
    block.bn1.eps = 0.5
    check()
    block.load_state_dict(copy.deepcopy(trained(models.resnet18(num_classes=3), seed=5).layer2[0].state_dict()))
    check()
    block.requires_grad_(False)
    check()
    assert passes() >= 15


def test_in_training_the_statistics_are_the_batch_s(passes):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    alike, x = copy.deepcopy(net), images(5, 3, 8, 8)
    expected = alike[2](alike[1](alike[0](x)))
    with tm.no_grad():
        found = net(x)
    assert passes() == 0
    np.testing.assert_array_equal(found.numpy(), expected.detach().numpy())
    np.testing.assert_array_equal(net[1].running_var.numpy(), alike[1].running_var.numpy())
    without = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    with tm.no_grad():
        np.testing.assert_array_equal(without(x).numpy(), without[1](without[0](x)).numpy())
    assert passes() == 0


@pytest.mark.parametrize("with_plus", [False, True])
def test_training_in_one_pass_is_the_same_to_the_bit(with_plus, monkeypatch):
    conv, norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
    alike = copy.deepcopy((conv, norm))
    x, plus = images(4, 3, 9, 9), images(4, 8, 9, 9) if with_plus else None
    weights, used = images(4, 8, 9, 9, seed=3), []
    normed = one_pass._normed
    monkeypatch.setattr(one_pass, "_normed", lambda *args: used.append(1) or normed(*args))

    def step(conv, norm, forward):
        leaves = [tm.tensor(v.numpy(), requires_grad=True) for v in (x, plus) if v is not None]
        z = forward(conv, norm, *leaves)
        gradients = tm.autograd.grad((z * weights).sum(), [*leaves, *conv.parameters(), *norm.parameters()])
        return [z, *gradients, *norm.buffers()]

    found = step(conv, norm, lambda conv, norm, x, plus=None: conv_norm(conv, norm, x, plus=plus, then=F.relu))
    assert used
    expected = step(*alike, lambda conv, norm, x, plus=0: F.relu(norm(conv(x)) + plus))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())


def test_second_derivatives_of_training_in_one_pass():
    conv, norm = nn.Conv2d(2, 3, 3, dtype="float64"), nn.BatchNorm2d(3, dtype="float64")

    def penalty(forward):
        x = images(3, 2, 6, 6, dtype="float64").requires_grad_()
        (g,) = tm.autograd.grad((forward(x) ** 2).sum(), [x], create_graph=True)
        return tm.autograd.grad((g**2).sum(), [x, conv.weight, norm.weight])

    found = penalty(lambda x: conv_norm(conv, norm, x, then=F.relu))
    for one, other in zip(found, penalty(lambda x: F.relu(norm(conv(x)))), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-9 * np.abs(other.numpy()).max())


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("name", ["conv1", "bn1", "relu", "layer1.0.conv2", "layer1.0.bn2", "layer2.0.downsample.0"])
def test_hooks_see_what_they_see_one_after_the_other(kind, name):
    net = trained(models.resnet18(num_classes=3))
    x, seen = images(2, 3, 40, 40), []
    handle = getattr(net.get_submodule(name), kind)(lambda _module, inputs, *output: seen.append((*inputs, *output)))
    net(x)
    with tm.no_grad():
        net(x)
    assert len(seen) == 2
    for one, other in zip(*seen, strict=True):
        close(other, one)
    handle.remove()
    with tm.no_grad():
        net(x)
    assert len(seen) == 2


def test_a_hook_changes_the_result():
    conv, norm, x = nn.Conv2d(2, 3, 3), trained(nn.BatchNorm2d(3)), images(1, 2, 6, 6)
    norm.register_forward_hook(lambda _module, _inputs, output: output * 0)
    with tm.no_grad():
        assert not conv_norm(conv, norm, x, then=F.relu).numpy().any()


def test_who_watches_sees_every_operation(passes):
    net, x = trained(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())), images(1, 2, 6, 6)
    with tm.no_grad(), explain.watch() as watched:
        net(x)
    assert passes() == 0
    assert [str(node.primitive) for node in watched.nodes][-1] == "relu"
    with tm.no_grad(), tm.autograd.by_definition():
        net(x)
    assert passes() == 0


def test_own_forwards_are_called(passes):
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    x, norm = images(1, 2, 6, 6), trained(nn.BatchNorm2d(3))
    doubled, replaced = Doubled(2, 3, 3), nn.Conv2d(2, 3, 3)
    replaced.forward = lambda x: x[:, :1].repeat(1, 3, 1, 1)
    for conv in (doubled, replaced, nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")):
        with tm.no_grad():
            np.testing.assert_array_equal(conv_norm(conv, norm, x).numpy(), norm(conv(x)).numpy())
    assert passes() == 0


def test_one_image_and_other_dtypes_go_as_before(passes):
    conv, norm = nn.Conv2d(2, 3, 3), trained(nn.BatchNorm2d(3))
    with tm.no_grad():
        assert conv_norm(conv, None, images(2, 6, 6), then=F.relu).shape == (3, 4, 4)
        assert (
            conv_norm(conv, norm, images(1, 2, 6, 6, dtype="float64")).dtype
            == norm(conv(images(1, 2, 6, 6, dtype="float64"))).dtype
        )
        assert passes() == 0
        assert conv_norm(conv, norm, images(0, 2, 6, 6), then=F.relu).shape == (0, 3, 4, 4)
    assert passes() == 1


@pytest.mark.parametrize(
    ("conv", "norm", "shape"),
    [
        (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(4), (1, 2, 6, 6)),
        (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), (1, 5, 6, 6)),
        (nn.Conv2d(2, 3, 3), nn.BatchNorm1d(3), (1, 2, 6, 6)),
    ],
)
def test_errors_are_those_of_the_modules(conv, norm, shape):
    x = images(*shape)
    with pytest.raises(ValueError, match=".") as expected:
        norm.eval()(conv(x))
    with tm.no_grad(), pytest.raises(ValueError, match=".") as found:
        conv_norm(conv, norm.eval(), x)
    assert str(found.value) == str(expected.value)


def test_autocast_has_its_dtypes(passes):
    conv, norm, x = nn.Conv2d(2, 3, 3), trained(nn.BatchNorm2d(3)), images(1, 2, 6, 6)
    with tm.no_grad(), tm.autocast("cpu", dtype=tm.float16):
        assert conv_norm(conv, None, x, then=F.relu).dtype == tm.float16
        assert conv_norm(conv, norm, x).dtype == norm(conv(x)).dtype
    assert passes() == 0
