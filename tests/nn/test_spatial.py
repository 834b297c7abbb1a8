"""The layers of images and of normalization: PyTorch's defaults, state, first numbers and results; and their errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_med as tg
from tinygrad_med import nn

IMAGES = np.random.default_rng(0).standard_normal((3, 4, 9, 10))

# (layer, positional arguments, options, input shape)
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv2d", (4, 6, 3), {}, (3, 4, 9, 10)),
    ("Conv2d", (4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, False), {}, (3, 4, 9, 10)),
    ("Conv2d", (4, 4, 3), {"padding": "same", "groups": 4}, (3, 4, 9, 10)),
    ("Conv2d", (4, 4, 3), {"padding": 2, "padding_mode": "reflect"}, (3, 4, 9, 10)),
    ("Conv2d", (4, 4, (2, 3)), {"padding": "same", "padding_mode": "circular", "dilation": 2}, (4, 9, 10)),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1}, (3, 4, 9)),
    ("Conv1d", (4, 6, 3), {"padding": 3, "padding_mode": "replicate"}, (4, 9)),
    ("Conv3d", (4, 6, (3, 2, 1)), {"stride": (1, 2, 1), "padding": 1, "groups": 2}, (2, 4, 5, 6, 7)),
    ("ConvTranspose1d", (4, 6, 3, 2), {"output_padding": 1}, (3, 4, 9)),
    ("ConvTranspose3d", (4, 6, 3, 2), {"bias": False}, (4, 3, 2, 4)),
    ("ConvTranspose2d", (4, 6, 3), {}, (3, 4, 9, 10)),
    ("ConvTranspose2d", (4, 6, 3, 2, 1, 1, 2, False, 2), {}, (3, 4, 9, 10)),
    ("MaxPool2d", (3,), {}, (3, 4, 9, 10)),
    ("MaxPool2d", (3, 2, 1, 1), {"ceil_mode": True}, (3, 4, 9, 10)),
    ("AvgPool2d", (2,), {}, (3, 4, 9, 10)),
    ("AvgPool2d", (3, 2, 1, True, False), {}, (3, 4, 9, 10)),
    ("AvgPool2d", (3, 2, 1), {"divisor_override": 4}, (4, 9, 10)),
    ("AvgPool1d", (3, 2, 1, True, False), {}, (4, 9)),
    ("AvgPool3d", (3, 2, 1, True, False, 2), {}, (3, 4, 5, 6, 7)),
    ("MaxPool1d", (3, 2), {}, (3, 4, 9)),
    ("MaxPool3d", ((1, 2, 3),), {"padding": (0, 1, 1)}, (4, 5, 6, 7)),
    ("LPPool1d", (2, 3), {}, (3, 4, 9)),
    ("LPPool2d", (2, 3, 2), {"ceil_mode": True}, (4, 9, 10)),
    ("LPPool3d", (math.inf, 2), {}, (3, 4, 5, 6, 7)),
    ("AdaptiveAvgPool1d", (4,), {}, (3, 4, 9)),
    ("AdaptiveAvgPool3d", ((2, None, 3),), {}, (4, 5, 6, 7)),
    ("AdaptiveMaxPool1d", (4,), {}, (4, 9)),
    ("AdaptiveMaxPool3d", (2,), {}, (3, 4, 5, 6, 7)),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, (3, 4, 9, 10)),
    ("UpsamplingBilinear2d", ((5, 20),), {}, (3, 4, 9, 10)),
    ("AdaptiveAvgPool2d", ((2, 3),), {}, (3, 4, 9, 10)),
    ("AdaptiveMaxPool2d", (3,), {}, (3, 4, 9, 10)),
    ("Upsample", (), {"scale_factor": 2}, (3, 4, 9, 10)),
    ("Upsample", ((5, 20),), {"mode": "bilinear"}, (3, 4, 9, 10)),
    ("Unfold", (3,), {"stride": 2}, (3, 4, 9, 10)),
    ("Fold", ((9, 10), 3), {"stride": 2}, (3, 36, 16)),
    ("BatchNorm1d", (4,), {}, (5, 4)),
    ("BatchNorm1d", (4,), {"momentum": None}, (5, 4, 3)),
    ("BatchNorm3d", (4,), {}, (3, 4, 5, 6, 7)),
    ("BatchNorm2d", (4,), {}, (3, 4, 9, 10)),
    ("BatchNorm2d", (4, 0.1, 0.3, False), {}, (3, 4, 9, 10)),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, (3, 4, 9, 10)),
    ("LayerNorm", ((9, 10),), {}, (3, 4, 9, 10)),
    ("LayerNorm", (10,), {"bias": False}, (3, 4, 9, 10)),
    ("LayerNorm", (10,), {"elementwise_affine": False}, (3, 4, 9, 10)),
    ("GroupNorm", (2, 4), {}, (3, 4, 9, 10)),
    ("GroupNorm", (2, 4), {"affine": False}, (3, 4, 9, 10)),
]


@pytest.mark.parametrize(("name", "arguments", "options", "shape"), LAYERS)
def test_a_layer_is_pytorchs(torch, name, arguments, options, shape):
    ours, theirs = (getattr(library, name)(*arguments, **options).double() for library in (nn, torch.nn))
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert {k: (v.shape, v.dtype) for k, v in ours.state_dict().items()} == {
        k: (v.shape, v.dtype) for k, v in state.items()
    }
    rng = np.random.default_rng(0)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        if training:
            state = {
                k: v if k.startswith(("running", "num")) else rng.standard_normal(v.shape) for k, v in state.items()
            }
            theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
            ours.load_state_dict(state)
        x = rng.standard_normal(shape)
        np.testing.assert_allclose(
            ours(tg.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-10, atol=1e-12
        )
        state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}
        for key, value in state.items():
            np.testing.assert_allclose(ours.state_dict()[key].numpy(), value, rtol=1e-12)


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_first_weights_are_uniform_within_pytorchs_bound(torch, name):
    ours = getattr(nn, name)(16, 32, 5, groups=2)
    theirs = getattr(torch.nn, name)(16, 32, 5, groups=2)
    fan_in = ours.weight.shape[1] * 25
    for key, parameter in ours.named_parameters():
        values, reference = parameter.detach().numpy(), theirs.get_parameter(key).detach().numpy()
        assert 0.9 / np.sqrt(fan_in) < np.abs(values).max() <= 1 / np.sqrt(fan_in)
        np.testing.assert_allclose(np.abs(values).max(), np.abs(reference).max(), rtol=0.15)
        assert abs(values.mean()) < 0.2 / np.sqrt(fan_in)


def test_a_generator_gives_the_same_first_weights():
    first, second = (nn.Conv2d(1, 2, 3, generator=tg.Generator(3)) for _ in range(2))
    np.testing.assert_array_equal(first.weight.detach().numpy(), second.weight.detach().numpy())


def test_layers_say_what_they_are():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2),
    )
    text = repr(net)
    assert "Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)" in text
    assert "BatchNorm2d(8, eps=1e-05, momentum=0.1)" in text
    assert "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)" in text
    assert "Upsample(scale_factor=2, mode='nearest')" in text


def test_the_output_size_of_a_transposed_convolution_can_be_chosen(torch):
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 6))
    layers = [library.ConvTranspose2d(4, 3, 3, stride=2, padding=1).double() for library in (nn, torch.nn)]
    layers[0].load_state_dict({key: value.numpy() for key, value in layers[1].state_dict().items()})
    for size in ((9, 11), (10, 12), (10, 11)):
        ours, theirs = layers[0](tg.tensor(x), size), layers[1](torch.tensor(x), size)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpooling_puts_back_what_pooling_took(torch, axes):
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6, 5)[: axes + 2])
    results = []
    for library in (tg, torch):
        pool = getattr(library.nn, f"MaxPool{axes}d")(3, 2, 1, return_indices=True)
        unpool = getattr(library.nn, f"MaxUnpool{axes}d")(3, 2, 1)
        z, indices = pool(library.tensor(x))
        results.append(unpool(z, indices, x.shape).numpy())
    np.testing.assert_array_equal(*results)
    assert set(results[0][results[0] != 0]) <= set(x.flat)
    with pytest.raises(ValueError, match=f"max_unpool{axes}d: output_size=.* when pooled"):
        getattr(nn, f"MaxUnpool{axes}d")(3, 2, 1)(tg.ones(*z.shape), tg.zeros(*z.shape).long(), [40] * axes)


def test_dropout2d_drops_whole_channels():
    layer = nn.Dropout2d(0.25, generator=tg.Generator(0))
    z = layer(tg.ones(50, 40, 3, 3)).numpy()
    assert set(np.unique(z)) == {0, np.float32(1 / 0.75)}
    assert (z == z[:, :, :1, :1]).all()
    np.testing.assert_allclose((z == 0).mean(), 0.25, atol=0.03)
    x = tg.ones(1, 2, 3, 3)
    assert layer.eval()(x) is x


def test_fusing_keeps_the_layers_and_their_result():
    conv, bn = nn.Conv2d(4, 6, 3).double(), nn.BatchNorm2d(6).double()
    x = tg.tensor(IMAGES)
    with tg.no_grad():
        bn(conv(x))
        conv.eval(), bn.eval()
        fused = nn.fuse_conv_bn_eval(conv, bn)
        np.testing.assert_allclose(fused(x).numpy(), bn(conv(x)).numpy(), rtol=1e-12)
    assert fused.weight is not conv.weight


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: nn.Conv2d(3, 4, 3, groups=2),
            ValueError,
            "Conv2d: groups=2 must divide in_channels=3 and out_channels=4",
        ),
        (lambda: nn.Conv2d(4, 4, 3, groups=0), ValueError, "Conv2d: groups=0 must divide"),
        (
            lambda: nn.Conv2d(2, 4, 3, padding="full"),
            ValueError,
            "Conv2d: padding='full' is unknown; give numbers, 'same' or 'valid'",
        ),
        (
            lambda: nn.Conv2d(4, 4, 3, padding_mode="mirror"),
            ValueError,
            "Conv2d: padding_mode='mirror' is unknown; give one of .*'reflect'",
        ),
        (
            lambda: nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect"),
            ValueError,
            "ConvTranspose2d: padding_mode='reflect' is not supported, only 'zeros', as in PyTorch",
        ),
        (
            lambda: nn.ConvTranspose2d(4, 4, 3, stride=2)(tg.ones(4, 5, 5), output_size=(14, 14)),
            ValueError,
            r"ConvTranspose2d: output_size=\(14, 14\) is not possible; the smallest is \(11, 11\)",
        ),
        (lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm: num_groups=3 must divide num_channels=4"),
        (lambda: nn.Dropout2d(1.5), ValueError, "Dropout2d: p=1.5 is not a probability"),
        (
            lambda: nn.BatchNorm2d(4)(tg.ones(3, 4)),
            ValueError,
            r"BatchNorm2d: expects \(N, C, H, W\), got shape \(3, 4\)",
        ),
        (lambda: nn.BatchNorm1d(4)(tg.ones(3, 4, 2, 2)), ValueError, r"BatchNorm1d: expects \(N, C\) or \(N, C, L\)"),
        (lambda: nn.BatchNorm1d(4)(tg.ones(1, 4)), ValueError, r"batch_norm: x \(1, 4\) has one value per channel"),
        (lambda: nn.BatchNorm2d(4)(tg.ones(1, 3, 2, 2)), ValueError, r"batch_norm: x \(1, 3, 2, 2\) has 3 channels"),
        (
            lambda: nn.Conv2d(3, 4, 3)(tg.ones(2, 1, 8, 8)),
            ValueError,
            r"conv2d: x has 1 channels \(2, 1, 8, 8\), weight expects 3 \(4, 3, 3, 3\); give x 3 channels",
        ),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=f"^{text}"):
        call()


def test_a_batch_of_one_that_is_refused_is_not_counted():
    layer = nn.BatchNorm1d(4)
    with pytest.raises(ValueError, match="one value per channel"):
        layer(tg.ones(1, 4))
    assert layer.num_batches_tracked.item() == 0
