"""The maps of `tinygrad_med.cam` once more, in PyTorch with hooks, written from the papers: the reference for ours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def activation_and_gradient(model: nn.Module, x: Tensor, c: int, block: nn.Module) -> tuple[Tensor, Tensor]:
    """A and ∂y/∂A, (C, h, w) each, from a forward hook on the block and a hook on its output."""
    seen = {}

    def keep(_module, _inputs, output):
        seen["a"] = output.detach().clone()
        output.register_hook(lambda g: seen.update(g=g.clone()))

    with block.register_forward_hook(keep):
        y = model(x)[0, c]
    y.backward()
    return seen["a"][0], seen["g"][0]


def grad_cam(model, x, c, block):
    a, g = activation_and_gradient(model, x, c, block)
    return torch.einsum("k,kij->ij", g.mean((1, 2)), a)


def grad_cam_plus_plus(model, x, c, block):
    a, g = activation_and_gradient(model, x, c, block)
    alpha = g**2 / (2 * g**2 + (a.sum((1, 2), keepdim=True) * g**3))
    alpha = torch.where(g == 0, 0, alpha)
    return torch.einsum("k,kij->ij", (alpha * F.relu(g)).sum((1, 2)), a)


def xgrad_cam(model, x, c, block):
    a, g = activation_and_gradient(model, x, c, block)
    weights = [(ak / ak.sum() * gk).sum() if ak.sum() != 0 else ak.sum() for ak, gk in zip(a, g, strict=True)]
    return torch.einsum("k,kij->ij", torch.stack(weights), a)


def layer_cam(model, x, c, block):
    a, g = activation_and_gradient(model, x, c, block)
    return torch.einsum("kij,kij->ij", F.relu(g), a)


def cam(model, x, c, block):
    a, _ = activation_and_gradient(model, x, c, block)
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    return torch.einsum("k,kij->ij", last.weight[c], a)


@torch.no_grad()
def score_cam(model, x, c, block):
    seen = []
    with block.register_forward_hook(lambda _m, _i, output: seen.append(output.clone())):
        model(x)
    (a,) = seen
    masks = []
    for h in F.interpolate(a, x.shape[2:], mode="bilinear", align_corners=False)[0]:
        spread = h.max() - h.min()
        masks.append((h - h.min()) / spread if spread > 0 else torch.zeros_like(h))
    increase = model(x * torch.stack(masks)[:, None])[:, c] - model(torch.zeros_like(x))[0, c]
    return torch.einsum("k,kij->ij", torch.softmax(increase, 0), a[0])


@torch.no_grad()
def ablation_cam(model, x, c, block):
    seen = []
    with block.register_forward_hook(lambda _m, _i, output: seen.append(output.clone())):
        y = model(x)[0, c]
    (a,) = seen

    def without_each(_module, _inputs, output):
        ablated = output.repeat(output.shape[1], 1, 1, 1)
        for k, one in enumerate(ablated):
            one[k] = 0
        return ablated

    with block.register_forward_hook(without_each):
        weights = (y - model(x)[:, c]) / y.abs()
    return torch.einsum("k,kij->ij", weights, a[0])


class GuidedReLUs(TorchFunctionMode):
    """Within this block, a hook on the output of every ReLU lets only positive gradients pass."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func not in (torch.relu, torch.relu_, F.relu):
            return func(*args, **(kwargs or {}))
        output = torch.relu(args[0])
        output.register_hook(lambda g: g.clamp(min=0))
        return output


def input_gradient(model: nn.Module, x: Tensor, c: int) -> Tensor:
    """∂y/∂x, (C, H, W)."""
    x = x.detach().clone().requires_grad_()
    model(x)[0, c].backward()
    return x.grad[0]


def guided_backpropagation(model, x, c, block):
    with GuidedReLUs():
        return input_gradient(model, x, c).abs().amax(0)


def smooth_grad(model, x, c, block, *, noise: Tensor):
    """`noise`: (samples, C, H, W), of standard deviation 0.15."""
    spread = x.max() - x.min()
    gradients = [input_gradient(model, x + spread * one, c) for one in noise]
    return torch.stack(gradients).mean(0).abs().amax(0)


def integrated_gradients(model, x, c, block, *, steps=32):
    total = sum(input_gradient(model, x * ((i + 0.5) / steps), c) for i in range(steps))
    return (x[0] * total / steps).sum(0)


METHODS: dict[str, Callable[..., Tensor]] = {
    "CAM": cam,
    "Grad-CAM": grad_cam,
    "Grad-CAM++": grad_cam_plus_plus,
    "XGrad-CAM": xgrad_cam,
    "LayerCAM": layer_cam,
    "Score-CAM": score_cam,
    "Ablation-CAM": ablation_cam,
    "guided backpropagation": guided_backpropagation,
    "SmoothGrad": smooth_grad,
    "integrated gradients": integrated_gradients,
}
