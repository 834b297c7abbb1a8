"""Class activation maps: against PyTorch, against networks whose maps are known, and what is said if there is none."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import cam, models, nn
from tinygrad_med.random import Generator

ALL = cam.METHODS | cam.INPUT_METHODS
ANY_HEAD = [name for name in ALL if name != "CAM"]
TOLERANCE = 1e-8


# ---------------------------------------------------------------- the same networks in both libraries


def body(lib):
    """Eight blocks, as the tutorial's slider has them: 3 channels to 6, a fourth of the size."""
    n = lib.nn
    return n.Sequential(
        *(n.Conv2d(3, 4, 3, padding=1), n.BatchNorm2d(4), n.ReLU(), n.MaxPool2d(2)),
        *(n.Conv2d(4, 6, 3, padding=1), n.BatchNorm2d(6), n.ReLU(inplace=True), n.AvgPool2d(2)),
    )


def plain(lib):
    n = lib.nn
    return n.Sequential(body(lib), n.Sequential(n.AdaptiveAvgPool2d(1), n.Flatten(), n.Linear(6, 3)))


def fastai(lib):
    """fastai's head; its last layer has six columns, as many as the body has channels."""

    class ConcatPool(lib.nn.Module):
        def forward(self, x):
            flat = x.flatten(2)
            return lib.cat([flat.max(2)[0], flat.mean(2)], 1)

    n = lib.nn
    first = (n.BatchNorm1d(12), n.Dropout(0.25), n.Linear(12, 6, bias=False), n.ReLU(inplace=True))
    return n.Sequential(body(lib), n.Sequential(ConcatPool(), *first, n.BatchNorm1d(6), n.Dropout(0.5), n.Linear(6, 3)))


def flat(lib):
    """AlexNet's kind of head, in which every place has its own weight."""
    n = lib.nn
    return n.Sequential(
        body(lib), n.Sequential(n.Flatten(), n.Dropout(0.5), n.Linear(150, 8), n.ReLU(), n.Linear(8, 3))
    )


HEADS = {"plain": plain, "fastai": fastai, "flat": flat}


def randomise(net, seed=0):
    """Batch norms that do something, so that no map is right by luck."""
    rng = np.random.default_rng(seed)
    for name, value in net.state_dict().items():
        if value.ndim == 1:
            numbers = rng.uniform(0.5, 1.5, tuple(value.shape)) * (1 if "var" in name or "weight" in name else 0.2)
            value.copy_(tg.tensor(numbers))


@pytest.fixture(scope="module")
def pair(torch):
    """`pair(build)`: our network, PyTorch's with the same weights in float64, and an image for each."""

    def build_pair(build, theirs=None, size=20, seed=0):
        tg.manual_seed(seed)
        ours = build(tg).double()
        randomise(ours)
        reference = (theirs or build)(torch).double().eval()
        reference.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
        image = np.random.default_rng(seed).standard_normal((1, 3, size, size))
        return ours, reference, tg.tensor(image), torch.from_numpy(image)

    return build_pair


@pytest.fixture(scope="module")
def reference(torch):
    from tests import cam_torch

    return cam_torch


def assert_same(found, expected):
    expected = expected.detach().numpy()
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCE, f"differs from PyTorch's by {error:.1e} of the largest value"


# ---------------------------------------------------------------- against PyTorch


@pytest.mark.parametrize("block", range(-8, 0))
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", [name for name in cam.METHODS if name != "CAM"])
def test_methods_at_a_block_equal_pytorchs(pair, reference, name, head, block):
    ours, theirs, x, x_torch = pair(HEADS[head])
    found = cam.METHODS[name](ours, x, 1, block)
    assert_same(found.raw, reference.METHODS[name](theirs, x_torch, 1, theirs[0][block]))
    assert found.score == pytest.approx(theirs(x_torch)[0, 1].item(), rel=1e-12)
    assert found.class_index == 1 and found.method == name


def test_cam_equals_pytorchs(pair, reference):
    ours, theirs, x, x_torch = pair(plain)
    for c in range(3):
        assert_same(cam.cam(ours, x, c).raw, reference.cam(theirs, x_torch, c, theirs[0][-1]))


@pytest.mark.parametrize("head", HEADS)
def test_methods_at_the_input_equal_pytorchs(torch, pair, reference, head):
    ours, theirs, x, x_torch = pair(HEADS[head])
    assert_same(
        cam.guided_backpropagation(ours, x, 2).raw, reference.guided_backpropagation(theirs, x_torch, 2, block=None)
    )
    noise = torch.from_numpy(0.15 * Generator(7).rng.standard_normal((6, 3, 20, 20)))
    assert_same(
        cam.smooth_grad(ours, x, 2, samples=6, generator=Generator(7)).raw,
        reference.smooth_grad(theirs, x_torch, 2, None, noise=noise),
    )
    assert_same(
        cam.integrated_gradients(ours, x, 2, steps=5).raw,
        reference.integrated_gradients(theirs, x_torch, 2, None, steps=5),
    )


BY_GRADIENT = ["Grad-CAM", "Grad-CAM++", "XGrad-CAM", "LayerCAM"]


@pytest.fixture(scope="module")
def resnets(torch, pair):
    """Our ResNet-18, PyTorch's in two parts of which the first has the eight blocks, and an image for each."""
    from benchmarks.torch_networks import ResNet18

    ours, theirs, *images = pair(lambda _: models.resnet18(num_classes=3), lambda _: ResNet18(3), size=48)
    start = theirs.conv1, theirs.bn1, torch.nn.ReLU(), theirs.maxpool
    blocks = torch.nn.Sequential(*start, theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4)
    return ours, torch.nn.Sequential(blocks, theirs.avgpool, torch.nn.Flatten(), theirs.fc).eval(), *images


@pytest.mark.parametrize("block", range(-8, 0))
def test_resnet18_at_every_block(resnets, reference, block):
    ours, theirs, x, x_torch = resnets
    for name in BY_GRADIENT:
        expected = reference.METHODS[name](theirs, x_torch, 2, theirs[0][block])
        assert_same(cam.METHODS[name](ours, x, 2, block).raw, expected)


@pytest.mark.parametrize("name", ["CAM", "Score-CAM", "Ablation-CAM", "guided backpropagation", "integrated gradients"])
def test_resnet18_by_the_other_methods(resnets, reference, name):
    ours, theirs, x, x_torch = resnets
    block = -4 if name in ("Score-CAM", "Ablation-CAM") else -1  # -4: the last block of only 64 channels
    few = {"steps": 3} if name == "integrated gradients" else {}
    where = {"block": block} if name in cam.METHODS else {}
    found = ALL[name](ours, x, 0, **where, **few)
    assert_same(found.raw, reference.METHODS[name](theirs, x_torch, 0, theirs[0][block], **few))


def test_alexnet(torch, pair, reference):
    from benchmarks.torch_networks import AlexNet

    def small_head(lib, net):
        net.classifier = lib.nn.Sequential(lib.nn.Dropout(0.5), lib.nn.Linear(256 * 6 * 6, 3))
        return net

    ours, theirs, x, x_torch = pair(
        lambda lib: small_head(lib, models.alexnet()), lambda lib: small_head(lib, AlexNet()), size=64
    )
    for block in range(-8, 0):
        expected = reference.grad_cam(theirs, x_torch, 1, theirs.features[block])
        assert_same(cam.grad_cam(ours, x, 1, block).raw, expected)
    assert_same(cam.guided_backpropagation(ours, x, 1).raw, reference.guided_backpropagation(theirs, x_torch, 1, None))


# ---------------------------------------------------------------- against networks whose map is known


@pytest.fixture
def mean_of_channel():
    """A network whose score for class k is the mean of the image's channel k, and a positive image."""
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 3, 1, bias=False)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, bias=False)),
    ).double()
    identity = np.eye(3)
    net.load_state_dict({"0.0.weight": tg.tensor(identity[:, :, None, None]), "1.2.weight": tg.tensor(identity)})
    return net, np.random.default_rng(0).uniform(0.5, 2, (3, 4, 5))


def test_maps_known_by_hand(mean_of_channel):
    net, image = mean_of_channel
    own, mean = image[1], image[1].mean()

    def scaled(channel):
        return (channel - channel.min()) / (channel.max() - channel.min())

    increase = np.exp([(own * scaled(channel)).mean() for channel in image])  # y of the masked images
    expected = {
        "CAM": own,
        "Grad-CAM": own / 20,
        "Grad-CAM++": own / (2 + mean),  # Σ α G⁺ = 20 · 1/(2 + mean) · 1/20
        "XGrad-CAM": own / 20,
        "LayerCAM": own / 20,
        "Score-CAM": np.tensordot(increase / increase.sum(), image, 1),
        "Ablation-CAM": own,  # the score is lost whole, or not at all
        "guided backpropagation": np.full((4, 5), 1 / 20),
        "SmoothGrad": np.full((4, 5), 1 / 20),
        "integrated gradients": own / 20,
    }
    assert set(expected) == set(ALL)
    for name, values in expected.items():
        found = ALL[name](net, tg.tensor(image), 1)
        np.testing.assert_allclose(found.raw, values, rtol=1e-12, atol=1e-15, err_msg=name)
        assert found.score == pytest.approx(mean, rel=1e-12)


def test_methods_at_the_input_give_a_value_per_channel(mean_of_channel):
    net, image = mean_of_channel
    for name in cam.INPUT_METHODS:
        found = cam.INPUT_METHODS[name](net, tg.tensor(image), 1)
        assert found.attribution.shape == (3, 4, 5)
        assert np.abs(found.attribution[[0, 2]]).max() == 0 < np.abs(found.attribution[1]).min()
    assert cam.grad_cam(net, tg.tensor(image), 1).attribution is None


def test_grad_cam_is_cam_over_the_places_with_the_plain_head():
    tg.manual_seed(0)
    net, x = plain(tg).double(), tg.randn(3, 20, 20, dtype=tg.float64)
    np.testing.assert_allclose(cam.cam(net, x, 0).raw, 25 * cam.grad_cam(net, x, 0).raw, rtol=1e-10)
    mean_plus_bias = cam.cam(net, x, 0).raw.mean() + net[1][-1].bias[0].item()
    assert cam.cam(net, x, 0).score == pytest.approx(mean_plus_bias, rel=1e-12)


def test_guided_backpropagation_by_hand():
    """y = relu(x) − 3 relu(2x): the gradient is −5 at x > 0, but the second path sends back −3, which is stopped."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1, bias=False), nn.Flatten())
    net.load_state_dict({"0.weight": tg.tensor([[[[1.0]]], [[[2.0]]]]), "2.weight": tg.tensor([[[[1.0]], [[-3.0]]]])})
    assert cam.guided_backpropagation(net, tg.full((1, 1, 1), 0.7), 0).attribution.tolist() == [[[1.0]]]
    assert cam.guided_backpropagation(net, tg.full((1, 1, 1), -0.7), 0).attribution.tolist() == [[[0.0]]]
    assert cam.integrated_gradients(net, tg.full((1, 1, 1), 0.7), 0).raw == pytest.approx(-3.5)


def test_integrated_gradients_are_complete():
    tg.manual_seed(1)
    net, x, start = plain(tg).double(), *tg.randn(2, 3, 20, 20, dtype=tg.float64)
    for baseline in (None, start):
        origin = x * 0 if baseline is None else baseline
        change = cam.grad_cam(net, x, 2).score - cam.grad_cam(net, origin, 2).score
        coarse, fine = (cam.integrated_gradients(net, x, 2, steps=steps, baseline=baseline).raw for steps in (4, 400))
        error = abs(fine.sum() - change)
        assert error <= 1e-4 * np.abs(fine).sum()
        assert error <= 0.1 * abs(coarse.sum() - change)


# ---------------------------------------------------------------- how it asks


def test_batches_change_nothing():
    tg.manual_seed(2)
    net, x = fastai(tg).double(), tg.randn(3, 20, 20, dtype=tg.float64)
    for name in ("Score-CAM", "Ablation-CAM", "SmoothGrad", "integrated gradients"):
        maps = [ALL[name](net, x, 0, batch_size=size).raw for size in (1, 4, 100)]
        np.testing.assert_allclose(maps[0], maps[1], rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(maps[0], maps[2], rtol=1e-9, atol=1e-14)


def test_no_batch_is_larger_than_asked_for():
    net, x, seen = fastai(tg), tg.randn(3, 20, 20), []
    net[1].register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    for name in ("Score-CAM", "Ablation-CAM", "SmoothGrad", "integrated gradients"):
        seen.clear()
        ALL[name](net, x, 0, batch_size=4)
        assert max(seen) == 4
        assert len(seen) <= 9


def test_smooth_grad_repeats_itself():
    net, x = fastai(tg), tg.randn(3, 20, 20)
    first, second = (cam.smooth_grad(net, x, 0, samples=2).raw for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, cam.smooth_grad(net, x, 0, samples=2, generator=Generator(1)).raw)


@pytest.mark.parametrize("name", ANY_HEAD)
def test_the_model_is_left_as_it_was(name):
    net, x = fastai(tg), tg.randn(1, 3, 20, 20, requires_grad=True)
    net.train()
    net[0][1].eval()
    net[0][0].requires_grad_(False)
    modes = [module.training for module in net.modules()]
    for i, p in enumerate(net.parameters()):
        p.grad = tg.full(p.shape, float(i))
    grads = [p.grad for p in net.parameters()]
    before = {key: value.numpy().copy() for key, value in net.state_dict().items()}
    with tg.no_grad():
        inside = ALL[name](net, x, 0).raw
    assert np.array_equal(inside, ALL[name](net, x, 0).raw)
    assert [module.training for module in net.modules()] == modes
    assert all(
        p.grad is g and (g.numpy() == i).all() for i, (p, g) in enumerate(zip(net.parameters(), grads, strict=True))
    )
    assert x.grad is None
    for key, value in net.state_dict().items():
        assert np.array_equal(value.numpy(), before[key]), key
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("name", ANY_HEAD)
def test_frozen_models_and_both_dtypes(name):
    tg.manual_seed(3)
    net, x = fastai(tg).double(), tg.randn(3, 20, 20, dtype=tg.float64)
    free = ALL[name](net, x, 0).raw
    for p in net.parameters():
        p.requires_grad_(False)
    frozen = ALL[name](net, x, 0).raw
    assert frozen.dtype == np.float64
    assert np.array_equal(free, frozen)
    single = ALL[name](net.float(), x.float(), 0).raw
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, frozen, atol=1e-3 * np.abs(frozen).max())


@pytest.mark.parametrize("name", ANY_HEAD)
@pytest.mark.parametrize("where", ["before", "behind"])
def test_hooks_leave_when_the_model_raises(name, where):
    net = plain(tg).train()

    class Broken(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    net[where == "behind"].append(Broken())
    with pytest.raises(ZeroDivisionError):
        ALL[name](net, tg.randn(3, 20, 20), 0, **({"block": -2} if name in cam.METHODS else {}))
    assert not any(module._forward_hooks for module in net.modules())
    assert all(module.training for module in net.modules())


def test_a_block_by_its_module():
    net, x = models.SmallCNN(2), tg.randn(1, 32, 32)
    by_module = cam.grad_cam(net, x, 0, net.features[3]).raw
    assert np.array_equal(by_module, cam.grad_cam(net, x, 0, -9).raw)
    assert np.array_equal(by_module, cam.grad_cam(net, x, 0, 3).raw)


@pytest.mark.parametrize(
    ("build", "first", "last"),
    [
        (lambda: models.resnet18(num_classes=2), "conv1", "layer4"),
        (lambda: models.SmallCNN(2), "features.0", "features.11"),
        (lambda: models.SqueezeNet(2), "features.0", "features.12"),
        (lambda: plain(tg), "0.0", "0.7"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)), "0", "1"),
    ],
)
def test_blocks(build, first, last):
    net = build()
    names = {id(module): name for name, module in net.named_modules()}
    found = cam.blocks(net)
    assert (names[id(found[0])], names[id(found[-1])]) == (first, last)


def test_each_device(device, mean_of_channel):
    net, image = mean_of_channel
    for name, method in ALL.items():
        on_device = method(copy.deepcopy(net).to(device), tg.tensor(image, device=device), 1)
        assert isinstance(on_device.raw, np.ndarray)
        np.testing.assert_allclose(on_device.raw, method(net, tg.tensor(image), 1).raw, rtol=1e-10, err_msg=name)


# ---------------------------------------------------------------- questions that have no answer


def test_cam_refuses_heads_without_it():
    x = tg.randn(3, 20, 20)
    for build in (fastai, flat):
        with pytest.raises(ValueError, match="not a global average pooling and one linear layer.* use grad_cam"):
            cam.cam(build(tg), x, 0)
    with pytest.raises(ValueError, match="right behind the block"):
        cam.cam(plain(tg), x, 0, block=-4)
    hidden = plain(tg)
    hidden[1].extend([nn.ReLU(), nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3)])
    with pytest.raises(ValueError, match="one linear layer"):
        cam.cam(hidden, x, 0)


@pytest.mark.parametrize("name", ANY_HEAD)
def test_what_is_refused(name):
    net, method = plain(tg), ALL[name]
    with pytest.raises(ValueError, match=r"expects one image, .* got shape \(2, 3, 20, 20\); ask one by one"):
        method(net, tg.randn(2, 3, 20, 20), 0)
    with pytest.raises(ValueError, match=r"got shape \(20, 20\)"):
        method(net, tg.randn(20, 20), 0)
    with pytest.raises(IndexError, match="class 3 is out of range, the model has 3 classes"):
        method(net, tg.randn(3, 20, 20), 3)
    with pytest.raises(ValueError, match=r"gives \(N, classes\), got shape \(\d, 6, 5, 5\)"):
        method(nn.Sequential(net[0]), tg.randn(3, 20, 20), 0, **({"block": net[0]} if name in cam.METHODS else {}))


@pytest.mark.parametrize("name", cam.METHODS)
def test_blocks_that_are_refused(name):
    net, method, x = plain(tg), cam.METHODS[name], tg.randn(3, 20, 20)
    for block in (-9, 8):
        with pytest.raises(IndexError, match=rf"block {block} is out of range; Sequential has 8 blocks, -8 .* to -1"):
            method(net, x, 0, block)
    with pytest.raises(ValueError, match="Flatten gives no images; choose a convolutional block before the head"):
        method(net, x, 0, net[1][1])
    with pytest.raises(ValueError, match="Conv2d does not run when Sequential does"):
        method(net, x, 0, nn.Conv2d(3, 3, 1))
    again = nn.ReLU()
    twice = nn.Sequential(nn.Conv2d(3, 3, 1), again, nn.Conv2d(3, 3, 1), again, nn.Flatten(), nn.Linear(1200, 2))
    with pytest.raises(ValueError, match="block 1 runs several times in one pass"):
        method(twice, x, 0, 1)


def test_a_model_without_visible_blocks():
    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.conv(x).mean((2, 3))

    net = Opaque()
    with pytest.raises(ValueError, match=r"can't tell .* of Opaque from its head; give the module itself: block=model"):
        cam.grad_cam(net, tg.randn(3, 8, 8), 0)
    assert cam.grad_cam(net, tg.randn(3, 8, 8), 0, net.conv).raw.shape == (6, 6)


# ---------------------------------------------------------------- models and questions as people have them


class Residual(nn.Module):
    """A block whose output the model changes in place, as torchvision writes it; with two outputs if asked."""

    def __init__(self, outputs=None):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.fc, self.outputs = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3), outputs

    def forward(self, x):
        x -= 0.5
        before = self.conv1(x)
        out = self.conv2(before)
        out += before
        logits = self.fc(self.pool(out).flatten(1))
        return logits if self.outputs is None else self.outputs(logits)


class WithoutWrites(Residual):
    def forward(self, x):
        before = self.conv1(x - 0.5)
        return self.fc(self.pool(self.conv2(before) + before).flatten(1))


@pytest.mark.parametrize("name", ANY_HEAD)
@pytest.mark.parametrize("block", ["conv1", "conv2"])
def test_a_model_may_write_to_what_a_block_gave(name, block):
    tg.manual_seed(4)
    net, other, x = Residual().double(), WithoutWrites().double(), tg.randn(3, 12, 12, dtype=tg.float64)
    other.load_state_dict(net.state_dict())
    where = {"block": block} if name in cam.METHODS else {}
    before = x.numpy().copy()
    found = ALL[name](net, x, 1, **where)
    np.testing.assert_allclose(found.raw, ALL[name](other, x, 1, **where).raw, rtol=1e-10)
    assert np.abs(found.raw).max() > 0
    assert np.array_equal(x.numpy(), before)


@pytest.mark.parametrize("name", ANY_HEAD)
def test_whom_and_what_one_may_ask_about(name):
    tg.manual_seed(5)
    net, x = plain(tg).eval(), tg.randn(3, 20, 20)
    best = net(x.unsqueeze(0)).argmax().item()
    expected = ALL[name](net, x, best)
    assert expected.class_index == best
    array = x.numpy().astype("float64")  # converted to the model's dtype
    for asked, image in ((None, x), (tg.tensor(best), x), (np.int64(best), x), (tg.tensor([best]), x), (best, array)):
        found = ALL[name](net, image, asked)
        assert type(found.class_index) is int and found.class_index == best
        assert np.array_equal(found.raw, expected.raw)
    assert np.array_equal(ALL[name](net, x).raw, expected.raw)
    for wrong in ("pneumonia", 1.5, tg.tensor([0, 1])):
        with pytest.raises(TypeError, match="class_index is the number of a class, or None for the predicted one"):
            ALL[name](net, x, wrong)
    with pytest.raises(TypeError, match="an image is a tensor or an array, .* not str"):
        ALL[name](net, "chest.png", 0)
    with pytest.raises(TypeError, match="an image is of floats, prepared as for training, not uint8"):
        ALL[name](net, np.zeros((3, 20, 20), "uint8"), 0)


@pytest.mark.parametrize("name", ANY_HEAD)
@pytest.mark.parametrize("outputs", [lambda y: (y, y), lambda y: {"out": y, "aux": y}], ids=["tuple", "dict"])
def test_a_model_with_two_outputs_is_told_what_to_do(name, outputs):
    where = {"block": "conv2"} if name in cam.METHODS else {}
    with pytest.raises(TypeError, match="one tensor, .* Residual gives 2 outputs; put it into a module whose forward"):
        ALL[name](Residual(outputs), tg.randn(3, 8, 8), 0, **where)


@pytest.mark.parametrize("name", cam.METHODS)
def test_a_block_by_its_name(name):
    net, x = plain(tg), tg.randn(3, 20, 20)
    assert np.array_equal(cam.METHODS[name](net, x, 0, "0.7").raw, cam.METHODS[name](net, x, 0, -1).raw)
    with pytest.raises(ValueError, match="there is no block '0.layer9': Sequential has no part 'layer9'; it has 0, 1"):
        cam.METHODS[name](net, x, 0, "0.layer9")
    with pytest.raises(TypeError, match="a block is a number, a name or a module, not list"):
        cam.METHODS[name](net, x, 0, [-1])


# ---------------------------------------------------------------- maps that show nothing


def a_map(values):
    return cam.Map(raw=np.array(values, dtype=np.float32), class_index=1, score=0.5, method="Grad-CAM")


EMPTY = {
    "negative": ([[-1.0, -2.0], [-3.0, 0.0]], "no place speaks for class 1, all values are ≤ 0"),
    "constant": ([[0.5, 0.5], [0.5, 0.5000001]], "the same value everywhere, so it points nowhere; an earlier block"),
    "one place": ([[0.5]], "the same value everywhere"),
    "zero": ([[0.0, 0.0]], "0 everywhere: nothing was active, or the score of class 1"),
    "nan": ([[1.0, np.nan]], "NaNs or infinities; run the model under autograd.detect_anomaly"),
    "infinite": ([[1.0, np.inf]], "NaNs or infinities"),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_map_that_shows_nothing_says_so(kind):
    values, reason = EMPTY[kind]
    found = a_map(values)
    assert reason in found.problem
    with pytest.raises(cam.EmptyMapError, match=rf"Grad-CAM shows nothing: .*{reason[:20]}"):
        _ = found.normalised
    with pytest.warns(UserWarning, match=rf"Grad-CAM shows nothing: .*{reason[:20]}"):
        ax = found.overlay(np.zeros((4, 4)))
    assert len(ax.images) == 1
    assert reason[:20] in " ".join(ax.texts[0].get_text().split())
    close(ax)


def close(ax):
    import matplotlib.pyplot as plt

    plt.close(ax.figure)


def test_models_that_show_nothing():
    net, x = plain(tg), tg.randn(3, 20, 20)
    for weight, problem in ((-1.0, "no place speaks for class 1"), (0.0, "0 everywhere"), (float("nan"), "NaNs")):
        with tg.no_grad():
            net[1][-1].weight.fill_(weight)
        assert problem in cam.grad_cam(net, x, 1).problem


def test_a_score_that_does_not_depend_on_the_image():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 2, 3))
            self.bias = nn.Parameter(tg.ones(1, 2))

        def forward(self, x):
            self.features(x)
            return self.bias * 1

    for name in ("Grad-CAM", "LayerCAM", "Ablation-CAM", "guided backpropagation", "integrated gradients"):
        assert "0 everywhere" in ALL[name](Deaf(), tg.randn(3, 8, 8), 0).problem


def test_normalised():
    assert a_map([[-1.0, 2.0], [4.0, 0.0]]).normalised.tolist() == [[0, 0.5], [1, 0]]


# ---------------------------------------------------------------- the overlay


IMAGES = {
    "grey": np.arange(48.0).reshape(6, 8),
    "grey, one channel": np.arange(48.0).reshape(1, 6, 8),
    "colour last": np.arange(144).reshape(6, 8, 3).astype(np.uint8),
    "colour first": tg.arange(144).float().reshape(3, 6, 8),
    "a batch of one": tg.arange(144).float().reshape(1, 3, 6, 8).requires_grad_(),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_overlay_is_the_tutorials(kind):
    ax = a_map([[-1.0, 2.0], [4.0, 0.0]]).overlay(IMAGES[kind])
    below, above = ax.images
    assert below.get_array().shape[:2] == (6, 8)
    if below.get_array().dtype.kind == "f":
        assert (below.get_array().min(), below.get_array().max()) == (0, 1)
    assert above.get_array().tolist() == [[0, 0.5], [1, 0]]
    assert (above.get_cmap().name, above.get_alpha(), above.get_interpolation()) == ("magma", 0.6, "bilinear")
    assert above.get_clim() == (0, 1)
    assert below.get_extent() == above.get_extent() == [0, 8, 6, 0]
    close(ax)


def test_overlay_on_given_axes():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert a_map([[1.0, 2.0]]).overlay(np.zeros((4, 4)), ax=ax, cmap="viridis", alpha=0.3) is ax
    assert ax.images[1].get_clim() == (0, 1)  # though the smallest value is 0.5: half is not nothing
    assert (ax.images[1].get_cmap().name, ax.images[1].get_alpha()) == ("viridis", 0.3)
    close(ax)


def test_overlay_on_a_grid():
    """Places 4 pixels apart reach 2 around their centres; pixel 1 is centred at 1.5. The picture stays in view."""
    ax = a_map([[1.0, 2.0, 0.0], [4.0, 0.0, 0.0]]).overlay(np.zeros((10, 12)), grid=cam.Grid(first=1.0, step=4.0))
    below, above = ax.images
    assert (below.get_extent(), above.get_extent()) == ([0, 12, 10, 0], [-0.5, 11.5, 7.5, -0.5])
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 12), (10, 0))
    close(ax)


@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (5, 6, 8), (8,)])
def test_overlay_refuses_what_is_no_image(shape):
    with pytest.raises(ValueError, match="overlay: expects one image"):
        a_map([[0.0, 1.0]]).overlay(np.zeros(shape))
