"""PyTorch's `torch.utils`: what a training may use besides: `utils.data`, `utils.checkpoint`, `utils.dlpack`."""

from tinygrad_med.utils import checkpoint as checkpoint, data as data, dlpack as dlpack
