"""Neural networks: `module` (what a module is), `containers`, `init`, `functional`, `layers` and `utils`."""

from __future__ import annotations

import difflib
from typing import Any

from tinygrad_med.nn import functional as functional
from tinygrad_med.nn import init as init
from tinygrad_med.nn import utils as utils
from tinygrad_med.nn.containers import ModuleDict as ModuleDict
from tinygrad_med.nn.containers import ModuleList as ModuleList
from tinygrad_med.nn.containers import Sequential as Sequential
from tinygrad_med.nn.layers import GELU as GELU
from tinygrad_med.nn.layers import BCELoss as BCELoss
from tinygrad_med.nn.layers import BCEWithLogitsLoss as BCEWithLogitsLoss
from tinygrad_med.nn.layers import CrossEntropyLoss as CrossEntropyLoss
from tinygrad_med.nn.layers import Dropout as Dropout
from tinygrad_med.nn.layers import Flatten as Flatten
from tinygrad_med.nn.layers import Identity as Identity
from tinygrad_med.nn.layers import L1Loss as L1Loss
from tinygrad_med.nn.layers import LeakyReLU as LeakyReLU
from tinygrad_med.nn.layers import Linear as Linear
from tinygrad_med.nn.layers import LogSoftmax as LogSoftmax
from tinygrad_med.nn.layers import MSELoss as MSELoss
from tinygrad_med.nn.layers import NLLLoss as NLLLoss
from tinygrad_med.nn.layers import ReLU as ReLU
from tinygrad_med.nn.layers import Sigmoid as Sigmoid
from tinygrad_med.nn.layers import SiLU as SiLU
from tinygrad_med.nn.layers import Softmax as Softmax
from tinygrad_med.nn.layers import Softplus as Softplus
from tinygrad_med.nn.layers import Tanh as Tanh
from tinygrad_med.nn.module import IncompatibleKeys as IncompatibleKeys
from tinygrad_med.nn.module import Module as Module
from tinygrad_med.nn.module import Parameter as Parameter
from tinygrad_med.nn.normalization import BatchNorm1d as BatchNorm1d
from tinygrad_med.nn.normalization import BatchNorm2d as BatchNorm2d
from tinygrad_med.nn.normalization import GroupNorm as GroupNorm
from tinygrad_med.nn.normalization import LayerNorm as LayerNorm
from tinygrad_med.nn.normalization import fuse_conv_bn_eval as fuse_conv_bn_eval
from tinygrad_med.nn.spatial import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from tinygrad_med.nn.spatial import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from tinygrad_med.nn.spatial import AvgPool2d as AvgPool2d
from tinygrad_med.nn.spatial import Conv2d as Conv2d
from tinygrad_med.nn.spatial import ConvTranspose2d as ConvTranspose2d
from tinygrad_med.nn.spatial import Dropout2d as Dropout2d
from tinygrad_med.nn.spatial import Fold as Fold
from tinygrad_med.nn.spatial import MaxPool2d as MaxPool2d
from tinygrad_med.nn.spatial import Unfold as Unfold
from tinygrad_med.nn.spatial import Upsample as Upsample


def __getattr__(name: str) -> Any:
    close = difflib.get_close_matches(name, [known for known in globals() if known[0].isupper()], n=2)
    hint = f"did you mean {' or '.join(close)}?" if close else "write it as a Module with a forward of tinygrad_med.ops"
    raise AttributeError(f"module 'tinygrad_med.nn' has no attribute {name!r}; {hint}")
