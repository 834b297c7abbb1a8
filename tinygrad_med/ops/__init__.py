"""The operations, sorted by difficulty: elementwise, shape and indexing, reduce, matmul, loss, conv, resize, pool,
normalization; and `query`, which asks without computing anything to differentiate.

Here, and as methods, functions take their arguments by PyTorch's names too; among themselves the files call them as
they are written.
"""

# ruff: noqa: F403 - each file says in its `__all__` which of its names are operations

from types import FunctionType as _FunctionType

from tinygrad_med.engine.signatures import by_other_names as _by_other_names
from tinygrad_med.ops.activation import *
from tinygrad_med.ops.arithmetic import *
from tinygrad_med.ops.attention import *
from tinygrad_med.ops.conv import *
from tinygrad_med.ops.distance import *
from tinygrad_med.ops.elementary import *
from tinygrad_med.ops.elementwise import *
from tinygrad_med.ops.indexing import *
from tinygrad_med.ops.linear_algebra import *
from tinygrad_med.ops.loss import *
from tinygrad_med.ops.margin import *
from tinygrad_med.ops.matmul import *
from tinygrad_med.ops.normalization import *
from tinygrad_med.ops.norms import *
from tinygrad_med.ops.pool import *
from tinygrad_med.ops.query import *
from tinygrad_med.ops.rearrange import *
from tinygrad_med.ops.reduce import *
from tinygrad_med.ops.resize import *
from tinygrad_med.ops.sample import *
from tinygrad_med.ops.scattering import *
from tinygrad_med.ops.shape import *
from tinygrad_med.ops.statistics import *
from tinygrad_med.ops.unpool import *

_written = {name: f for name, f in globals().items() if type(f) is _FunctionType and not name.startswith("_")}
globals().update({name: _by_other_names(f) for name, f in _written.items()})
