"""A body with a new head: the numbers that pass through, the groups that learn, and what the heads are made of."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_med as torch
from tinygrad_med import models, nn
from tinygrad_med.models.transfer import AdaptiveConcatPool2d, layer_groups, with_head


@pytest.fixture(scope="module")
def net():
    return models.resnet18(num_classes=3).eval()


def test_body_and_its_own_layers_are_the_network(net):
    x = torch.randn(1, 3, 32, 32)
    model = with_head(net, 3, "plain")
    model[1][-1] = net.fc
    with torch.no_grad():
        np.testing.assert_array_equal(model.eval()(x).numpy(), net(x).numpy())
    assert len(model[0]) == 8 and model[0][-1] is net.layer4 and model[0][-8] is net.conv1


def test_concat_pooling_is_maximum_then_mean():
    x = torch.tensor([[[[1.0, 2], [3, 6]], [[-1.0, -2], [-3, -6]]]])
    assert AdaptiveConcatPool2d()(x).flatten().tolist() == [6, -1, 3, -3]


def test_heads(net):
    torch.manual_seed(0)
    concat, plain = (with_head(net, 2, head)[1] for head in ("concat", "plain"))
    kinds = [
        "AdaptiveConcatPool2d",
        "Flatten",
        *("BatchNorm1d", "Dropout", "Linear", "ReLU"),
        "BatchNorm1d",
        "Dropout",
        "Linear",
    ]
    assert [type(layer).__name__ for layer in concat] == kinds
    assert [layer.p for layer in concat if isinstance(layer, nn.Dropout)] == [0.25, 0.5]
    assert concat[4].weight.shape == (512, 1024) and concat[8].weight.shape == (2, 512)
    assert concat[4].bias is None and concat[8].bias is None
    assert concat[4].weight.detach().std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.01)  # Kaiming
    assert plain[-1].weight.shape == (2, 512) and not plain[-1].bias.detach().numpy().any()
    with pytest.raises(ValueError, match="head='deep' is unknown; give one of concat, plain"):
        with_head(net, 2, "deep")


def test_groups_have_all_parameters_once(net):
    model = with_head(net, 2)
    groups = layer_groups(model)
    assert [len(group) for group in groups] == [6, 2, 1]
    ids = [id(p) for group in groups for module in group for p in module.parameters()]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}
