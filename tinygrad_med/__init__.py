"""tinygrad_med: an autograd engine to read in an afternoon, with PyTorch's names.

    import tinygrad_med as torch

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad  # tensor([2., 4.])

Reading order: `tensor`, `primitive`, `backward`, then `ops/` from `elementwise` on, and `operators`, which hangs the
operations onto `Tensor`.
"""

from __future__ import annotations

from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from typing import Any

from numpy import finfo as finfo
from numpy import iinfo as iinfo

from tinygrad_med import autograd as autograd
from tinygrad_med import cuda as cuda
from tinygrad_med import nn as nn
from tinygrad_med import operators as operators
from tinygrad_med import optim as optim
from tinygrad_med import random as random
from tinygrad_med.autograd import enable_grad as enable_grad
from tinygrad_med.autograd import grad as grad
from tinygrad_med.autograd import inference_mode as inference_mode
from tinygrad_med.autograd import is_grad_enabled as is_grad_enabled
from tinygrad_med.autograd import no_grad as no_grad
from tinygrad_med.autograd import set_grad_enabled as set_grad_enabled
from tinygrad_med.backend import Device as device
from tinygrad_med.creation import FloatTensor as FloatTensor
from tinygrad_med.creation import LongTensor as LongTensor
from tinygrad_med.creation import arange as arange
from tinygrad_med.creation import as_tensor as as_tensor
from tinygrad_med.creation import empty as empty
from tinygrad_med.creation import empty_like as empty_like
from tinygrad_med.creation import eye as eye
from tinygrad_med.creation import from_numpy as from_numpy
from tinygrad_med.creation import full as full
from tinygrad_med.creation import full_like as full_like
from tinygrad_med.creation import linspace as linspace
from tinygrad_med.creation import ones as ones
from tinygrad_med.creation import ones_like as ones_like
from tinygrad_med.creation import tensor as tensor
from tinygrad_med.creation import zeros as zeros
from tinygrad_med.creation import zeros_like as zeros_like
from tinygrad_med.dtypes import bool_ as bool
from tinygrad_med.dtypes import float16 as float16
from tinygrad_med.dtypes import float32 as float32
from tinygrad_med.dtypes import float64 as float64
from tinygrad_med.dtypes import get_default_dtype as get_default_dtype
from tinygrad_med.dtypes import int32 as int32
from tinygrad_med.dtypes import int64 as int64
from tinygrad_med.dtypes import set_default_dtype as set_default_dtype
from tinygrad_med.dtypes import uint8 as uint8
from tinygrad_med.ops import *  # noqa: F403 - the operations are the public face
from tinygrad_med.primitive import primitive as primitive
from tinygrad_med.random import Generator as Generator
from tinygrad_med.random import manual_seed as manual_seed
from tinygrad_med.random import rand as rand
from tinygrad_med.random import rand_like as rand_like
from tinygrad_med.random import randint as randint
from tinygrad_med.random import randn as randn
from tinygrad_med.random import randn_like as randn_like
from tinygrad_med.random import randperm as randperm
from tinygrad_med.serialization import load as load
from tinygrad_med.serialization import save as save
from tinygrad_med.tensor import Tensor as Tensor

float = float32
double = float64
half = float16
long = int64
int = int32

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'tinygrad_med' has no attribute {name!r}; {operators.suggestion(name)}")
