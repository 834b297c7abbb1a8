"""Which of our modules answers for which of PyTorch's, torchvision's and fastai's."""

from __future__ import annotations

WHERE: dict[str, str | None] = {
    "torch": "tinygrad_med",
    "torch.accelerator": "tinygrad_med.accelerator",
    "torch.amp": "tinygrad_med.amp",
    "torch.amp.autocast_mode": "tinygrad_med.amp",
    "torch.amp.grad_scaler": "tinygrad_med.amp",
    "torch.autograd": "tinygrad_med.autograd",
    "torch.autograd.function": "tinygrad_med.autograd.function",
    "torch.autograd.functional": "tinygrad_med.autograd.functional",
    "torch.backends": "tinygrad_med.backends",
    "torch.backends.cuda": "tinygrad_med.backends.cuda",
    "torch.backends.cudnn": "tinygrad_med.backends.cudnn",
    "torch.backends.mps": "tinygrad_med.backends.mps",
    "torch.cuda": "tinygrad_med.cuda",
    "torch.cuda.amp": "tinygrad_med.cuda.amp",
    "torch.linalg": "tinygrad_med.linalg",
    "torch.nn": "tinygrad_med.nn",
    "torch.nn.functional": "tinygrad_med.nn.functional",
    "torch.nn.init": "tinygrad_med.nn.init",
    "torch.nn.modules": "tinygrad_med.nn",
    "torch.nn.parameter": "tinygrad_med.nn",
    "torch.nn.utils": "tinygrad_med.nn.utils",
    "torch.optim": "tinygrad_med.optim",
    "torch.optim.lr_scheduler": "tinygrad_med.optim.lr_scheduler",
    "torch.optim.optimizer": "tinygrad_med.optim",
    "torch.random": "tinygrad_med.random",
    "torch.utils": "tinygrad_med.utils",
    "torch.utils.checkpoint": "tinygrad_med.utils.checkpoint",
    "torch.utils.data": "tinygrad_med.utils.data",
    "torch.utils.dlpack": "tinygrad_med.utils.dlpack",
    "torch.utils.data.dataloader": "tinygrad_med.utils.data",
    "torch.utils.data.dataset": "tinygrad_med.utils.data",
    "torch.utils.data.sampler": "tinygrad_med.utils.data",
    "torch.utils.tensorboard": "tinygrad_med.utils.tensorboard",
    "torchvision": None,
    "torchvision.models": "tinygrad_med.models",
    "torchvision.transforms": "tinygrad_med.transforms",
    "torchvision.transforms.functional": "tinygrad_med.transforms.functional",
    "fastai": None,
    "fastai.basics": "tinygrad_med.vision.all",
    "fastai.callback": None,
    "fastai.callback.all": "tinygrad_med.vision.all",
    "fastai.callback.core": "tinygrad_med.vision.all",
    "fastai.callback.hook": "tinygrad_med.vision.hooks",
    "fastai.data": None,
    "fastai.data.all": "tinygrad_med.vision.all",
    "fastai.data.transforms": "tinygrad_med.vision.all",
    "fastai.interpret": "tinygrad_med.vision.all",
    "fastai.learner": "tinygrad_med.vision.all",
    "fastai.metrics": "tinygrad_med.learner.metrics",
    "fastai.vision": None,
    "fastai.vision.all": "tinygrad_med.vision.all",
    "fastai.vision.augment": "tinygrad_med.vision.all",
    "fastai.vision.core": "tinygrad_med.vision.all",
    "fastai.vision.data": "tinygrad_med.vision.all",
    "fastai.vision.learner": "tinygrad_med.vision.all",
}
"""By their name ours; `None` for a package that only holds others."""

ELSEWHERE = {
    "torch.autograd.gradcheck": "tinygrad_med.testing",
    "torch.autograd.gradgradcheck": "tinygrad_med.testing",
}
"""By PyTorch's name of something, our module that has it, where that is another one than `WHERE` says."""

NAME_OF = {ours: name for name, ours in reversed(WHERE.items()) if ours and name.startswith("torch")}
"""By the name of one of our modules the first that it answers for."""

PACKAGES = ("torch", "torchvision", "fastai")
"""The libraries that are answered for, whole."""
