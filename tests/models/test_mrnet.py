"""MRNet: the tutorial's text as written, PyTorch's numbers, memory in chunks, and explanations that add up."""

from __future__ import annotations

import copy
import functools
import importlib
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tm
from tinygrad_med import models, nn
from tinygrad_med.models.mrnet import MRNet
from tinygrad_med.series_cam import explain

SIDE = 64  # AlexNet's features need 63
LABELS = ("abnormal", "acl", "meniscus")

# The text of the tutorial's class; only its indentation, which the web page swallowed, is ours.
TUTORIAL = '''
class MRnet(nn.Module):
    """MRnet uses pretrained resnet50 as a backbone to extract features"""
    def __init__(self): # add conf file
        super(MRnet,self).__init__()
        # init three backbones for three axis
        self.axial = models.alexnet(pretrained=True).features
        self.coronal = models.alexnet(pretrained=True).features
        self.saggital = models.alexnet(pretrained=True).features
        self.pool_axial = nn.AdaptiveAvgPool2d(1)
        self.pool_coronal = nn.AdaptiveAvgPool2d(1)
        self.pool_saggital = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(in_features=3*256,out_features=1)
        )
    def forward(self,x):
        """ Input is given in the form of `[image1, image2, image3]` where
        `image1 = [1, slices, 3, 224, 224]`. Note that `1` is due to the
        dataloader assigning it a single batch.
        """
        # squeeze the first dimension as there
        # is only one patient in each batch
        images = [torch.squeeze(img, dim=0) for img in x]
        image1 = self.axial(images[0])
        image2 = self.coronal(images[1])
        image3 = self.saggital(images[2])
        image1 = self.pool_axial(image1).view(image1.size(0), -1)
        image2 = self.pool_coronal(image2).view(image2.size(0), -1)
        image3 = self.pool_saggital(image3).view(image3.size(0), -1)
        image1 = torch.max(image1,dim=0,keepdim=True)[0]
        image2 = torch.max(image2,dim=0,keepdim=True)[0]
        image3 = torch.max(image3,dim=0,keepdim=True)[0]
        output = torch.cat([image1,image2,image3], dim=1)
        output = self.fc(output)
        return output
'''


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`pretrained=True` is noted, and nothing is fetched."""
    asked: list[str] = []

    def note(net: nn.Module, name: str, pretrained: bool, weights: str | None, head: str) -> None:
        asked.extend([name] if pretrained else [])

    for name in ("alexnet", "resnet", "squeezenet", "vgg"):
        monkeypatch.setattr(importlib.import_module(f"tinygrad_med.models.{name}"), "load_pretrained", note)
    return asked


def tutorial_model(library: Any, networks: Any, labels: int) -> Any:
    """The tutorial's model, of one library or of the other, with 1 output as written or 3 as the text says."""
    names = {"torch": library, "nn": library.nn, "models": networks}
    exec(TUTORIAL.replace("out_features=1", f"out_features={labels}"), names)
    return names["MRnet"]()


@functools.cache
def pytorchs_backbone(torch: Any) -> Any:
    """AlexNet's features in PyTorch; its classifier, which takes a second to draw and is not used, is left behind."""
    torch.manual_seed(0)
    return importlib.import_module("benchmarks.torch_networks").AlexNet().features.double()


def theirs(torch: Any, labels: int) -> Any:
    """The tutorial's model in PyTorch, in float64, with three different backbones."""
    networks = SimpleNamespace(
        alexnet=lambda pretrained: SimpleNamespace(features=copy.deepcopy(pytorchs_backbone(torch)))
    )
    model = tutorial_model(torch, networks, labels).double()
    with torch.no_grad():
        for plane, factor in ((model.coronal, 0.9), (model.saggital, 1.1)):
            for p in plane.parameters():
                p *= factor
    return model


@functools.cache
def untrained(labels: int, backbone: str) -> MRNet:
    tm.manual_seed(0)
    return MRNet(labels, backbone)


def mrnet(labels: int = 3, backbone: str = "alexnet", chunk: int | None = None) -> MRNet:
    """A new MRNet; copied, since drawing the numbers of AlexNet's classifier takes a second, and nobody uses them."""
    model = copy.deepcopy(untrained(labels, backbone))
    model.chunk = chunk
    return model


def float64_model(chunk: int | None = None, backbone: str = "alexnet") -> MRNet:
    return mrnet(chunk=chunk, backbone=backbone).to(tm.float64)


def ours_with(state: dict[str, np.ndarray], labels: int, chunk: int | None = None) -> MRNet:
    """Our MRNet in float64 with the tutorial model's parameters."""
    model = mrnet(labels, chunk=chunk).to(tm.float64)
    model.load_state_dict({k.replace("saggital", "sagittal").replace("fc.0", "fc"): v for k, v in state.items()})
    return model


def written_with(state: dict[str, np.ndarray], labels: int) -> Any:
    """The tutorial's model in our engine, likewise."""
    features = [mrnet(labels).axial for _ in range(3)]
    networks = SimpleNamespace(alexnet=lambda pretrained: SimpleNamespace(features=features.pop()))
    model = tutorial_model(tm, networks, labels).to(tm.float64)
    model.load_state_dict(state)
    return model


def exam(slices: tuple[int, int, int], seed: int = 0, dtype: Any = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((s, 3, SIDE, SIDE)).astype(dtype) for s in slices]


def close(a: Any, b: Any, tolerance: float = 1e-9) -> bool:
    return bool(np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-300))


# ---------------------------------------------------------------- the tutorial


def test_the_class_is_the_tutorials(shared: Path):
    (seed,) = (shared / "seeds").glob("003_*")
    text = seed.read_text("utf-8")
    start = text.index("class MRnet(nn.Module):")
    written = text[start : text.index("return output", start) + len("return output")]
    assert [line.strip() for line in TUTORIAL.strip().splitlines()] == [line.strip() for line in written.splitlines()]


def test_the_tutorials_text_runs(no_download: list[str]):
    model = tutorial_model(tm, models, 1)
    assert no_download == ["alexnet"] * 3
    loader_gives = [tm.tensor(series[None]) for series in exam((2, 1, 3), dtype=np.float32)]  # (1, slices, 3, H, W)
    output = model(loader_gives)
    assert output.shape == (1, 1)
    weights = tm.FloatTensor([2.223])
    criterion = nn.BCEWithLogitsLoss(pos_weight=weights)
    criterion(output, tm.FloatTensor([[1]])).backward()
    assert all(p.grad is not None for p in model.parameters())


# ---------------------------------------------------------------- PyTorch's numbers


def five_steps(library: Any, model: Any, series: list[Any], y: Any, pos_weight: Any) -> dict[str, Any]:
    """Logits, loss and gradients of the first of five steps, the parameters after the last."""
    criterion = library.nn.BCEWithLogitsLoss(pos_weight=pos_weight)
    optimizer = importlib.import_module(f"{library.__name__}.optim").Adam(
        model.parameters(), lr=1e-3, weight_decay=0.01
    )
    facts: dict[str, Any] = {}
    for step in range(5):
        optimizer.zero_grad()
        output = model(series)
        loss = criterion(output, y)
        loss.backward()
        if step == 0:
            facts |= {"logits": output.detach().numpy().copy(), "loss": np.array(loss.item())}
            facts |= {f"gradient {i}": p.grad.numpy().copy() for i, p in enumerate(model.parameters())}
        optimizer.step()
    return facts | {f"parameter {i}": p.detach().numpy() for i, p in enumerate(model.parameters())}


def tied() -> list[np.ndarray]:
    """Series in which every slice has a twin: all maxima are ties."""
    return [np.concatenate([series, series[::-1]]) for series in exam((2, 1, 3))]


CASES = {
    "one slice, the tutorial's text": (exam((1, 1, 1)), 3, written_with),
    "one label, the tutorial's text": (exam((3, 1, 2)), 1, written_with),
    "60 slices": (exam((60, 1, 1)), 3, ours_with),
    "in chunks": (exam((5, 1, 2)), 3, functools.partial(ours_with, chunk=2)),
    "ties": (tied(), 3, ours_with),
    "ties, in chunks": (tied(), 3, functools.partial(ours_with, chunk=3)),
}


@pytest.mark.parametrize("case", CASES)
def test_an_exam_gives_pytorchs_numbers(case: str, torch: Any):
    """Logits, loss, every gradient and five steps of Adam, with pos_weight."""
    arrays, labels, build = CASES[case]
    reference = theirs(torch, labels)
    state = {key: value.detach().numpy().copy() for key, value in reference.state_dict().items()}
    y, pos_weight = np.array([[1.0, 0.0, 1.0][:labels]]), np.array([0.24, 4.4, 1.8])[:labels]
    expected, found = (
        five_steps(
            library, model, [library.tensor(a[None]) for a in arrays], library.tensor(y), library.tensor(pos_weight)
        )
        for library, model in ((torch, reference), (tm, build(state, labels)))
    )
    assert found.keys() == expected.keys()
    assert [name for name in expected if not close(found[name], expected[name])] == []


# ---------------------------------------------------------------- chunks


def gradients(model: MRNet, arrays: list[np.ndarray]) -> list[np.ndarray]:
    model.zero_grad()
    nn.BCEWithLogitsLoss()(
        model([tm.tensor(a) for a in arrays]), tm.tensor([[1.0, 0.0, 1.0]], dtype=tm.float64)
    ).backward()
    return [p.grad.numpy().copy() for p in model.parameters()]


@pytest.mark.parametrize(("chunk", "backbone"), [(1, "alexnet"), (3, "alexnet"), (100, "alexnet"), (2, "squeezenet")])
def test_chunks_change_nothing(chunk: int, backbone: str):
    arrays = exam((5, 1, 4))
    whole, parts = float64_model(backbone=backbone), float64_model(chunk, backbone=backbone)
    assert all(close(b, a) for a, b in zip(gradients(whole, arrays), gradients(parts, arrays), strict=True))


def test_two_exams_accumulate_in_chunks():
    first, second = exam((2, 2, 2), seed=1), exam((3, 1, 2), seed=2)
    model = float64_model(chunk=1)
    apart = [a + b for a, b in zip(gradients(model, first), gradients(model, second), strict=True)]
    gradients(model, first)
    y = tm.tensor([[1.0, 0.0, 1.0]], dtype=tm.float64)
    nn.BCEWithLogitsLoss()(model([tm.tensor(a) for a in second]), y).backward()
    assert all(close(p.grad.numpy(), g) for p, g in zip(model.parameters(), apart, strict=True))


def test_only_winners_are_computed_again(monkeypatch: pytest.MonkeyPatch):
    """A slice that shows less than another of every channel is looked at once, the other one twice."""
    model = float64_model(chunk=1)
    seen: list[int] = []
    model.axial.register_forward_hook(lambda _, inputs, output: seen.append(len(inputs[0])))
    arrays = exam((1, 1, 1))
    arrays[0] = np.concatenate([arrays[0], arrays[0], arrays[0]])  # ties: the first wins all
    gradients(model, arrays)
    assert seen == [1, 1, 1, 1]


def test_chunks_bound_the_memory():
    """What a step needs beside the gradients shrinks to less than half, where a chunk is an eighth."""
    series = [
        tm.tensor(np.random.default_rng(0).standard_normal((slices, 3, 160, 160), np.float32)) for slices in (24, 1, 1)
    ]

    def peak(chunk: int | None) -> int:
        model = mrnet(chunk=chunk)
        tracemalloc.start()
        model(series).sum().backward()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size - sum(p.numel() * 4 for p in model.parameters())

    whole, parts = peak(None), peak(2)
    assert parts < 0.5 * whole, (parts, whole)


def test_a_frozen_backbone_and_no_grad_in_chunks():
    model = mrnet(chunk=2)
    for plane in (model.axial, model.coronal):
        for p in plane.parameters():
            p.requires_grad = False
    series = [tm.tensor(a) for a in exam((3, 2, 1), dtype=np.float32)]
    model(series).sum().backward()
    assert all(p.grad is None for p in model.axial.parameters())
    assert all(p.grad is not None for p in [*model.sagittal.parameters(), *model.fc.parameters()])
    with tm.no_grad():
        assert not model(series).requires_grad


def test_a_gradient_of_zero_reaches_every_parameter():
    model = mrnet(chunk=1)
    (model([tm.tensor(a) for a in exam((2, 1, 1), dtype=np.float32)]).sum() * 0).backward()
    assert all(p.grad is not None and not p.grad.numpy().any() for p in model.parameters())


def test_what_chunks_refuse():
    series = [tm.tensor(a) for a in exam((2, 1, 1), dtype=np.float32)]
    with pytest.raises(ValueError, match=r"chunk=0 must be at least 1, or None"):
        mrnet(chunk=0)(series)
    with pytest.raises(ValueError, match=r"no gradient flows to the slices; set model.chunk = None"):
        mrnet(chunk=1)([series[0].requires_grad_(), *series[1:]])
    model = mrnet(backbone="resnet18", chunk=1)
    series = [tm.tensor(a) for a in exam((2, 1, 1), dtype=np.float32)]
    with pytest.raises(ValueError, match=r"BatchNorm2d in training.*model.axial.eval\(\), or set model.chunk = None"):
        model(series)
    model.eval()
    assert model(series).shape == (1, 3)


# ---------------------------------------------------------------- the model


@pytest.mark.parametrize(
    ("backbone", "channels", "name", "first"),
    [
        ("alexnet", 256, "alexnet", "0.weight"),
        ("resnet18", 512, "resnet18", "conv1.weight"),
        ("resnet50", 2048, "resnet50", "conv1.weight"),
        ("squeezenet", 512, "squeezenet1_1", "0.weight"),
        ("vgg16", 512, "vgg16", "0.weight"),
    ],
)
def test_backbones(backbone: str, channels: int, name: str, first: str, no_download: list[str]):
    model = MRNet(1, backbone, pretrained=True)
    assert no_download == [name] * 3
    assert model.fc.weight.shape == (1, 3 * channels)
    assert next(iter(model.axial.state_dict())) == first
    assert model([tm.tensor(a) for a in exam((2, 1, 3), dtype=np.float32)]).shape == (1, 1)


def test_what_the_model_refuses():
    with pytest.raises(
        ValueError, match=r"no backbone 'vgg'; give one of alexnet, resnet18, resnet50, squeezenet, vgg16"
    ):
        MRNet(backbone="vgg")
    series = [tm.tensor(a) for a in exam((2, 1, 3), dtype=np.float32)]
    with pytest.raises(ValueError, match=r"needs three series \(axial, coronal, sagittal\), got 2"):
        mrnet()(series[:2])
    for bad in (series[0][0], series[0][:0], tm.zeros(2, 1, 3, SIDE, SIDE)):
        with pytest.raises(ValueError, match=r"a series must be \(slices, 3, H, W\) with at least one slice.*got \("):
            mrnet()([bad, *series[1:]])


# ---------------------------------------------------------------- explanations


def by_hand(model: MRNet, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """(labels, S) for each plane, what each slice contributes, by the weights of the linear layer."""
    found = []
    for k, (plane, a) in enumerate(zip((model.axial, model.coronal, model.sagittal), arrays, strict=True)):
        pooled = plane(tm.tensor(a)).mean((2, 3)).detach().numpy()  # (S, C)
        weights = model.fc.weight.detach().numpy()[:, 256 * k : 256 * (k + 1)]
        won = np.arange(len(a))[:, None] == pooled.argmax(0)
        found.append(np.einsum("lc,sc->ls", weights, pooled * won))
    return found


@pytest.mark.parametrize("block", [-1, -2])
@pytest.mark.parametrize("slices", [(5, 1, 4), (1, 1, 1)])
def test_the_numbers_add_up_to_the_logit(block: int, slices: tuple[int, int, int]):
    model, arrays = float64_model(), exam(slices)
    series = [tm.tensor(a) for a in arrays]
    found = explain(model, series, LABELS, block=block)
    logits = model(series).detach().numpy()[0]
    np.testing.assert_allclose(found.logits, logits, rtol=1e-12)
    np.testing.assert_allclose(found.bias, model.fc.bias.detach().numpy(), atol=1e-12)
    total = found.bias + sum(one.contributions.sum(1) for one in found.series.values())
    np.testing.assert_allclose(total, logits, atol=1e-12)
    for one, expected in zip(found.series.values(), by_hand(model, arrays), strict=True):
        np.testing.assert_allclose(one.contributions, expected, atol=1e-12)
        if block == -1:
            np.testing.assert_allclose(one.maps.sum((2, 3)), expected, atol=1e-12)


def test_ties_go_to_the_first_slice():
    """Planes without a product: which last bit a convolution rounds to may depend on the slice's place in the batch."""
    model = float64_model()
    for name in ("axial", "coronal", "sagittal"):
        setattr(model, name, nn.Sequential(nn.MaxPool2d(16)))
    model.fc = nn.Linear(9, len(LABELS)).to(tm.float64)
    slices = [np.repeat(a, 3, axis=0) for a in exam((1, 1, 1))]
    found = explain(model, [tm.tensor(a) for a in slices], LABELS)
    assert all(set(one.winners) == {0} for one in found.series.values())
    assert all(one.contributions[:, 0].any() for one in found.series.values())
    assert all(not one.contributions[:, 1:].any() for one in found.series.values())


def test_winners_are_the_maximum_s():
    model, arrays = float64_model(), exam((6, 1, 2))
    found = explain(model, [tm.tensor(a) for a in arrays], LABELS)
    expected = model.axial(tm.tensor(arrays[0])).mean((2, 3)).argmax(0).numpy()
    np.testing.assert_array_equal(found.series["axial"].winners, expected)


@pytest.mark.parametrize("block", [-1, -2])
def test_the_map_is_grad_cam(block: int):
    """Its formula: the gradient's mean over the places, times the activation, summed over the channels."""
    model, arrays = float64_model(), [np.random.default_rng(0).standard_normal((2, 3, 128, 128)) for _ in range(3)]
    found = explain(model, [tm.tensor(a) for a in arrays], LABELS, block=block)
    layers = list(model.axial)
    cut = len(layers) + block + 1
    activation = nn.Sequential(*layers[:cut])(tm.tensor(arrays[0])).detach().requires_grad_()
    axial = nn.Sequential(*layers[cut:])(activation)
    rest = [plane(tm.tensor(a)) for plane, a in zip((model.coronal, model.sagittal), arrays[1:], strict=True)]
    seen = [tm.max(a.mean((2, 3)), dim=0, keepdim=True)[0] for a in (axial, *rest)]
    (g,) = tm.grad(model.fc(tm.cat(seen, 1))[0, 1], activation)
    expected = (g.mean((2, 3), keepdim=True) * activation).sum(1).detach().numpy()
    assert expected.shape == {-1: (2, 3, 3), -2: (2, 7, 7)}[block]
    np.testing.assert_allclose(found.series["axial"].maps[1], expected, atol=1e-15)


@pytest.mark.parametrize(("block", "place"), [(-1, 3), (-2, 6), (-2, 8)])  # all that they see is on the picture
def test_places_lie_where_they_look(block: int, place: int):
    """Of what a place of a map sees, the middle is where the grid says: by the gradient of the place."""
    model, arrays = float64_model(), [np.random.default_rng(0).standard_normal((1, 3, 256, 256)) for _ in range(3)]
    first, step = explain(model, [tm.tensor(a) for a in arrays], LABELS, block=block).series["axial"].grid
    layers = list(model.axial)
    for middle in middles(nn.Sequential(*layers[: len(layers) + block + 1]), arrays[0], place):
        assert abs(middle - (first + step * place)) <= 2


def middles(path: nn.Module, slices: np.ndarray, place: int) -> list[float]:
    """The middle column and the middle row of all pixels that a place depends on, on one slice or another."""
    x = tm.tensor(slices, requires_grad=True)
    seen = path(x).abs().sum((0, 1))
    sees = tm.grad(seen[place, place], x)[0].abs().sum((0, 1)).numpy()
    return [float((pixels[0] + pixels[-1]) / 2) for pixels in (np.flatnonzero(sees.sum(axis)) for axis in (0, 1))]


class Small(nn.Module):
    """Three backbones of the given layers, and a logit."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.axial, self.coronal, self.sagittal = (nn.Sequential(*copy.deepcopy(layers)) for _ in range(3))

    def forward(self, series: list[Any]) -> Any:
        planes = zip((self.axial, self.coronal, self.sagittal), series, strict=True)
        return sum(plane(one).mean() for plane, one in planes).reshape(1, 1)


PATHS = {
    "dilation": lambda: [nn.Conv2d(3, 4, 3, padding=2, dilation=2)],
    "dilation and stride": lambda: [nn.Conv2d(3, 4, 5, 2, padding=1), nn.Conv2d(4, 2, 3, 2, dilation=3)],
    "even kernels": lambda: [nn.Conv2d(3, 4, 4, 3, padding=1, dilation=2), nn.ReLU(), nn.Conv2d(4, 2, 2, 1, 1)],
    "pooling": lambda: [nn.Conv2d(3, 2, 3, padding=1, dilation=2), nn.MaxPool2d(3, padding=1, dilation=2)],
    "pairs": lambda: [nn.Conv2d(3, 4, (3, 3), (2, 2), (1, 1), (2, 2)), nn.MaxPool2d((2, 2))],
}


@pytest.mark.parametrize("path", PATHS)
def test_places_lie_in_the_middle_of_what_they_see(path: str):
    """With dilation and stride, to the half of a pixel; of a maximum, by 200 slices, each pixel is the largest once."""
    tm.manual_seed(0)
    model = Small(*PATHS[path]()).to(tm.float64)
    arrays = [np.random.default_rng(0).standard_normal((200, 3, 48, 48)) for _ in range(3)]
    one = explain(model, [tm.tensor(a) for a in arrays], ["acl"]).series["axial"]
    place = one.maps.shape[-1] // 2
    assert middles(model.axial, arrays[0], place) == [one.grid.first + one.grid.step * place] * 2


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=((1, 2), (1, 2))),
        nn.Conv2d(4, 4, 3, stride=(1, 2)),
        nn.Conv2d(4, 4, (3, 5)),
        nn.Conv2d(4, 4, 3, dilation=(1, 2)),
        nn.MaxPool2d(2, (2, 1)),
    ],
    ids=repr,
)
def test_places_are_spread_evenly_behind_a_layer_that_is_not_understood(layer: nn.Module):
    model = Small(nn.Conv2d(3, 4, 3, stride=2), layer, nn.Conv2d(4, 2, 1))
    one = explain(model, [tm.tensor(a) for a in exam((1, 1, 1), dtype=np.float32)], ["acl"]).series["axial"]
    spacing = SIDE / one.maps.shape[-1]
    assert one.grid == ((spacing - 1) / 2, spacing)


def test_the_tutorials_model_can_be_explained():
    features = SimpleNamespace(features=mrnet().axial)
    model = tutorial_model(tm, SimpleNamespace(alexnet=lambda pretrained: copy.deepcopy(features)), 1)
    layers = {"axial": model.axial, "coronal": model.coronal, "sagittal": model.saggital}
    series = [tm.tensor(a[None]) for a in exam((2, 3, 1), dtype=np.float32)]
    found = explain(model, series, ["acl"], layers=layers)
    assert [one.contributions.shape for one in found.series.values()] == [(1, 2), (1, 3), (1, 1)]
    np.testing.assert_allclose(found.bias, model.fc[0].bias.detach().numpy(), atol=1e-6)
    assert all(p.grad is None for p in model.parameters())


def test_peak_and_top_slice():
    model, arrays = float64_model(), exam((5, 2, 4))
    found = explain(model, [tm.tensor(a) for a in arrays], LABELS, block=-2)
    for label in range(3):
        peak = found.peak(label)
        one = found.series[peak.series]
        row, column = (round((pixel - one.grid.first) / one.grid.step) for pixel in (peak.row, peak.column))
        assert one.maps[label][peak.slice, row, column] == max(o.maps[label].max() for o in found.series.values())
        name, best = found.top_slice(label)
        assert found.series[name].contributions[label, best] == max(
            one.contributions[label].max() for one in found.series.values()
        )


def test_the_page_of_an_exam(tmp_path: Path):
    arrays = exam((3, 1, 2))
    found = explain(float64_model(), [tm.tensor(a) for a in arrays], LABELS)
    figure = found.figure(arrays)
    titles = [axes.get_title() for axes in figure.axes]
    assert sum(title.startswith("axial, slice") for title in titles) == 3
    figure.savefig(tmp_path / "page.png")


def test_what_explain_refuses():
    series = [tm.tensor(a) for a in exam((3, 1, 2), dtype=np.float32)]
    with pytest.raises(ValueError, match=r"a series must run in one piece; set model.chunk = None"):
        explain(mrnet(chunk=1), series, LABELS)
    with pytest.raises(ValueError, match=r"expected logits of shape \(1, 2\), got \(1, 3\)"):
        explain(mrnet(), series, LABELS[:2])
    with pytest.raises(ValueError, match=r"Linear has no backbones axial, coronal, sagittal; name what to look at"):
        explain(nn.Linear(1, 1), series, LABELS)
    with pytest.raises(ValueError, match=r"the layer of knee does not run when MRNet does"):
        explain(mrnet(), series, LABELS, layers={"knee": nn.ReLU()})
    with pytest.raises(IndexError, match=r"block -99 is out of range; the backbones have the blocks -13 to -1"):
        explain(mrnet(), series, LABELS, block=-99)


class Residual(nn.Module):
    """A block of a plane whose output is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Any) -> Any:
        before = self.first(x)
        out = self.second(before)
        out += before
        return out


def test_explain_a_plane_that_writes_to_its_block() -> None:
    model, arrays = Small(Residual()).to(tm.float64), exam((2, 1, 3))
    series = [tm.tensor(a) for a in arrays]
    layers = {name: getattr(model, name)[0].second for name in ("axial", "coronal", "sagittal")}
    found = explain(model, series, ["acl"], layers=layers)
    for name, one in found.series.items():
        values = layers[name](getattr(model, name)[0].first(series[list(layers).index(name)]))
        np.testing.assert_allclose(one.contributions.sum(), values.mean().item(), rtol=1e-10)
