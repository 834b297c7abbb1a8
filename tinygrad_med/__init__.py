"""tinygrad_med: an autograd engine to read in an afternoon, with PyTorch's names.

    import tinygrad_med as torch

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad  # tensor([2., 4.])

Reading order: `core/tensor`, `core/primitive`, `core/backward`, then `ops/` from `elementwise` on, and `operators`
which hangs the operations onto `Tensor`.
"""

from __future__ import annotations

from importlib.util import find_spec as _find_spec
from math import e as e, inf as inf, nan as nan, pi as pi
from types import ModuleType as _ModuleType
from typing import Any

from numpy import iinfo as iinfo

from tinygrad_med import (
    accelerator as accelerator,
    amp as amp,
    autograd as autograd,
    backends as backends,
    cuda as cuda,
    linalg as linalg,
    nn as nn,
    operators as operators,
    optim as optim,
    random as random,
    utils as utils,
)
from tinygrad_med.amp import autocast as autocast, is_autocast_enabled as is_autocast_enabled
from tinygrad_med.autograd import (
    enable_grad as enable_grad,
    grad as grad,
    inference_mode as inference_mode,
    is_grad_enabled as is_grad_enabled,
    no_grad as no_grad,
    set_grad_enabled as set_grad_enabled,
)
from tinygrad_med.backend import (
    Device as device,
    get_float32_matmul_precision as get_float32_matmul_precision,
    set_float32_matmul_precision as set_float32_matmul_precision,
)
from tinygrad_med.backend.cpu import get_num_threads as get_num_threads, set_num_threads as set_num_threads
from tinygrad_med.core.primitive import primitive as primitive
from tinygrad_med.core.tensor import Tensor as Tensor
from tinygrad_med.creation import (
    BoolTensor as BoolTensor,
    ByteTensor as ByteTensor,
    DoubleTensor as DoubleTensor,
    FloatTensor as FloatTensor,
    IntTensor as IntTensor,
    LongTensor as LongTensor,
    ShortTensor as ShortTensor,
    arange as arange,
    as_tensor as as_tensor,
    as_tensor as asarray,
    empty as empty,
    empty_like as empty_like,
    eye as eye,
    from_dlpack as from_dlpack,
    from_numpy as from_numpy,
    full as full,
    full_like as full_like,
    linspace as linspace,
    logspace as logspace,
    ones as ones,
    ones_like as ones_like,
    scalar_tensor as scalar_tensor,
    tensor as tensor,
    tril_indices as tril_indices,
    triu_indices as triu_indices,
    zeros as zeros,
    zeros_like as zeros_like,
)
from tinygrad_med.dtypes import (
    bool_ as bool,
    finfo as finfo,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    get_default_dtype as get_default_dtype,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    set_default_dtype as set_default_dtype,
    uint8 as uint8,
)
from tinygrad_med.engine.conversions import Size as Size
from tinygrad_med.engine.errors import no_attribute as _no_attribute
from tinygrad_med.ops import *  # noqa: F403 - the operations are the public face
from tinygrad_med.random import (
    Generator as Generator,
    bernoulli as bernoulli,
    default_generator as default_generator,
    get_rng_state as get_rng_state,
    initial_seed as initial_seed,
    manual_seed as manual_seed,
    multinomial as multinomial,
    normal as normal,
    poisson as poisson,
    rand as rand,
    rand_like as rand_like,
    randint as randint,
    randint_like as randint_like,
    randn as randn,
    randn_like as randn_like,
    randperm as randperm,
    seed as seed,
    set_rng_state as set_rng_state,
)
from tinygrad_med.serialization import load as load, save as save

float = float32
double = float64
half = float16
long = int64
short = int16
int = int32

contiguous_format, preserve_format, channels_last = "contiguous_format", "preserve_format", "channels_last"
strided = "strided"
newaxis = None

__version__ = "0.1.0"

for _name, _value in list(globals().items()):  # the files of ops/ came with the operations; torch.shape is no name
    if isinstance(_value, _ModuleType) and _value.__name__.startswith("tinygrad_med.ops."):
        del globals()[_name]


def __getattr__(name: str) -> Any:
    if hasattr(Tensor, name):
        raise AttributeError(f"module 'tinygrad_med' has no attribute {name!r}; tensors have it, x.{name}")
    if not name.startswith("_") and _find_spec(f"tinygrad_med.{name}"):
        raise AttributeError(f"tinygrad_med.{name} is there once it is imported: import tinygrad_med.{name}")
    known = [known for known, value in globals().items() if callable(value) and not known.startswith("_")]
    raise _no_attribute("module 'tinygrad_med'", name, known)
