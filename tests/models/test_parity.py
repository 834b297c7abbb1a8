"""ResNet-18 and -50, VGG-16 and AlexNet beside PyTorch's: logits, loss, every gradient and statistic, step by step."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import models, nn, optim

IMAGES = np.random.default_rng(0).standard_normal((3, 3, 64, 64))
CLASSES = np.array([2, 0, 9])


@pytest.fixture(scope="module")
def torch_models(torch: ModuleType) -> ModuleType:
    return importlib.import_module("benchmarks.torch_networks")


TORCHS = {"resnet18": "ResNet18", "resnet50": "ResNet50", "alexnet": "AlexNet", "vgg16": "VGG16"}


def pair_of(torch: ModuleType, torch_models: ModuleType, name: str) -> tuple[Any, Any]:
    """The network twice, in float64, with PyTorch's first weights."""
    torch.manual_seed(0)
    options = {} if name.startswith("resnet") else {"dropout": 0}
    theirs = getattr(torch_models, TORCHS[name])(10, **options)
    ours = getattr(models, name)(num_classes=10, **options)
    narrow = {"alexnet": ((1, 256 * 6 * 6), (4, 64), (6, 64)), "vgg16": ((0, 512 * 7 * 7), (3, 64), (6, 64))}
    for library, net in ((torch.nn, theirs), (nn, ours)):  # narrower, to be quick
        for i, before in narrow.get(name, ()):
            net.classifier[i] = library.Linear(before, 10 if i == 6 else 64)
    theirs, ours = theirs.double(), ours.double()
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def assert_close(ours: Any, theirs: Any, what: str) -> None:
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    assert a.shape == b.shape, what
    assert np.abs(a - b).max() <= 1e-9 * np.abs(b).max(), what


@pytest.mark.parametrize(
    ("name", "training", "steps"),
    [
        ("resnet18", True, 5),
        ("resnet18", False, 5),
        ("alexnet", True, 5),
        ("resnet50", True, 2),
        ("resnet50", False, 2),
        ("vgg16", True, 1),
    ],
)
def test_steps_of_training(torch, torch_models, name, training, steps):
    ours, theirs = (net.train(training) for net in pair_of(torch, torch_models, name))
    x, y, torch_x, torch_y = tg.tensor(IMAGES), tg.tensor(CLASSES), torch.tensor(IMAGES), torch.tensor(CLASSES)
    settings = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
    optimizer, torch_optimizer = (
        optim.SGD(ours.parameters(), **settings),
        torch.optim.SGD(theirs.parameters(), **settings),
    )
    for step in range(steps):
        logits, torch_logits = ours(x), theirs(torch_x)
        assert_close(logits, torch_logits, f"logits at step {step}")
        loss, torch_loss = (
            nn.functional.cross_entropy(logits, y),
            torch.nn.functional.cross_entropy(torch_logits, torch_y),
        )
        assert_close(loss, torch_loss, f"loss at step {step}")
        optimizer.zero_grad()
        torch_optimizer.zero_grad()
        loss.backward()
        torch_loss.backward()
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert_close(p.grad, q.grad, f"gradient of {key} at step {step}")
        optimizer.step()
        torch_optimizer.step()
        for key, value in theirs.state_dict().items():
            assert_close(ours.state_dict()[key], value, f"{key} after step {step}")


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "alexnet"])
def test_the_state_has_pytorchs_keys_and_shapes(torch, torch_models, name):
    ours, theirs = getattr(models, name)(), getattr(torch_models, TORCHS[name])()
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    assert list(ours.state_dict()) == list(shapes)


@pytest.fixture(params=["resnet18", "resnet34", "resnet50", "alexnet", "squeezenet1_1", "vgg16"])
def build(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    return getattr(models, request.param)


SIZES = {
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "alexnet": 61_100_840,
    "squeezenet1_1": 1_235_496,
}


def test_the_number_of_parameters_is_torchvisions(build):
    assert sum(p.numel() for p in build().parameters()) == SIZES[build.__name__]


def test_the_number_of_classes_can_be_chosen(build):
    net = build(num_classes=7).eval()
    with tg.no_grad():
        assert net(tg.zeros(2, 3, 64, 64)).shape == (2, 7)


def test_squeezenet_has_torchvisions_names():
    state = models.squeezenet1_1().state_dict()
    assert len(state) == 52
    shapes = {
        "features.0.weight": (64, 3, 3, 3),
        "features.3.squeeze.weight": (16, 64, 1, 1),
        "features.4.expand1x1.bias": (64,),
        "features.12.expand3x3.weight": (256, 64, 3, 3),
        "classifier.1.weight": (1000, 512, 1, 1),
    }
    assert {key: state[key].shape for key in shapes} == shapes


def test_vgg16_has_torchvisions_names():
    state = models.vgg16(num_classes=10).state_dict()
    convolutions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    names = [*(f"features.{i}" for i in convolutions), *(f"classifier.{i}" for i in (0, 3, 6))]
    assert list(state) == [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    assert state["features.28.weight"].shape == (512, 512, 3, 3)
    assert state["classifier.0.weight"].shape == (4096, 25088)


def test_resnet34_has_torchvisions_names():
    state = models.resnet34().state_dict()
    assert len(state) == 218
    assert state["layer3.5.bn2.num_batches_tracked"].shape == ()
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)


def test_resnets_first_weights_keep_the_size_of_gradients():
    weight = models.resnet18().layer2[0].conv2.weight.detach().numpy()
    np.testing.assert_allclose(weight.std(), np.sqrt(2 / (128 * 9)), rtol=0.01)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_folding_batch_norm_into_convolutions_changes_nothing(name):
    net = getattr(models, name)(num_classes=5).double()
    with tg.no_grad():
        net(tg.tensor(IMAGES))  # running statistics of their own
        net.eval()
        fused = net.fused()
        np.testing.assert_allclose(fused(tg.tensor(IMAGES)).numpy(), net(tg.tensor(IMAGES)).numpy(), rtol=1e-9)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_folding_in_training_is_refused():
    with pytest.raises(ValueError, match=r"fuse_conv_bn_eval: .*call eval\(\) first"):
        models.resnet18(num_classes=5).fused()


def test_the_small_cnn_learns():
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 32)
    x = rng.standard_normal((32, 1, 16, 16)).astype("float32")
    x[y == 1, :, :8] += 1.5
    net = models.small_cnn(2, channels=(4, 8))
    optimizer = optim.Adam(net.parameters(), lr=0.02)
    for _ in range(20):
        loss = nn.functional.cross_entropy(net(tg.tensor(x)), tg.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
