"""One step of an optimizer for all its parameters: one launch, where array code needs several for each of them.

What a step does to one parameter is told in `optim/`, as array code; these kernels do the same to many at once. Where
the arrays of the parameters are travels with the launch, so nothing is copied to the GPU before. So do rates and other
numbers; but in a CUDA graph, whose launches are always the same, they are `Held` on the GPU, where they can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinygrad_med.backend import Array, array_module

from .compiled import Kernel, compiles

AT_ONCE = 64
"""Parameters per launch: 4096 bytes of arguments hold the addresses of so many."""
BLOCKS = 64
"""Of 256 threads, for each parameter."""

ALL = """
struct Arrays { T* w[AT_ONCE]; const T* g[AT_ONCE]; STATE long long size[AT_ONCE]; };

extern "C" __global__ void NAME(Arrays all, NUMBERS) {
  HELD
  T* w_ = all.w[blockIdx.y]; const T* g_ = all.g[blockIdx.y]; LOCAL
  long long size = all.size[blockIdx.y];
  for (long long i = blockIdx.x * 256LL + threadIdx.x; i < size; i += gridDim.x * 256LL) {
    A w = A(w_[i]), g = A(g_[i]);
    if (maximize) g = -g;
    UPDATE
    w_[i] = T(w);
  }
}
"""


_hold = Kernel(
    "hold_numbers",
    """
struct Numbers { double of[MOST]; };
extern "C" __global__ void hold_numbers(Numbers numbers, double* held, long long count) {
  if (threadIdx.x < count) held[threadIdx.x] = numbers.of[threadIdx.x];
}
""",
)
MOST = 16
"""So many numbers an optimizer's kernel has at most."""


class Held:
    """The numbers of one launch in a CUDA graph: in memory of the GPU, which is written before a replay."""

    def __init__(self) -> None:
        self.array: Array = None
        self.numbers: list[float] = []

    def hold(self, numbers: list[float], like: Array) -> bool:
        """Make room while the graph is captured; later write the numbers, where they are others than before."""
        if self.array is None:  # not of the graph's memory: what lay there earlier in the graph would be written anew
            xp = array_module(like)
            self.array = xp.ndarray(len(numbers), "float64", xp.get_default_memory_pool().malloc(8 * len(numbers)))
            return False
        if numbers != self.numbers:
            by_value = numpy.array((numbers + [0.0] * MOST)[:MOST]).view(f"V{8 * MOST}")
            _hold((1,), (MOST,), by_value, self.array, len(numbers), T="float64", MOST=MOST)
            self.numbers = numbers
        return True


class AllAtOnce(Kernel):
    """A kernel that updates w from g, and the arrays of its state, for many parameters.

    Args:
        name: of the kernel.
        state: the names of the arrays of the state.
        numbers: what comes with a call, in this order, after `maximize`.
        update: the statements for one number of each array; of the array v_ it is v_[i].
    """

    def __init__(self, name: str, state: Sequence[str], numbers: Sequence[str], update: str) -> None:
        text = ALL.replace("NAME", name).replace("UPDATE", update)
        text = text.replace("STATE", " ".join(f"T* {v}[AT_ONCE];" for v in state))
        text = text.replace("LOCAL", " ".join(f"T* {v}_ = all.{v}[blockIdx.y];" for v in state))
        given = ["long long maximize", *(f"double {n}" for n in numbers)]
        super().__init__(name, text.replace("NUMBERS", ", ".join(given)).replace("HELD", ""))
        held = "\n  ".join(f"{number} = held[{i}];" for i, number in enumerate(given))
        self.held = Kernel(name, text.replace("NUMBERS", "const double* held").replace("HELD", held))
        self.count, self.numbers = 2 + len(state), numbers

    def update(
        self, parameters: Sequence[tuple[Array, ...]], held: Held | None, maximize: bool, **numbers: float
    ) -> bool:
        """Move parameters (w, g, *state), each with the same numbers; say no where the kernel can't, and do nothing.

        With `held` put that into the CUDA graph that is captured, or, later, change its numbers.
        """
        T = parameters[0][0].dtype
        for w, g, *state in parameters:
            if not compiles(w, g, *state) or w.dtype != T or not all(a.flags.c_contiguous for a in (w, *state)):
                return False
        given: list[Any] = [int(maximize), *(float(numbers[name]) for name in self.numbers)]
        kernel: Kernel = self
        if held is not None:
            if held.hold([float(n) for n in given], parameters[0][0]):
                return True
            kernel, given = self.held, [held.array]
        for start in range(0, len(parameters), AT_ONCE):
            some = [(w, array_module(g).ascontiguousarray(g), *state) for w, g, *state in parameters[start:][:AT_ONCE]]
            table = numpy.zeros((self.count + 1, AT_ONCE), "int64")
            for i, arrays in enumerate(some):
                table[:, i] = *(a.data.ptr for a in arrays), arrays[0].size
            most = -(-max(arrays[0].size for arrays in some) // 256)
            grid = min(BLOCKS, most), len(some)
            by_value = table.reshape(-1).view(f"V{table.nbytes}")
            kernel(grid, (256,), by_value, *given, T=T.name, AT_ONCE=AT_ONCE)
        return True


_sgd = AllAtOnce("sgd", [], ["lr", "decay"], "if (decay != 0) g += A(decay) * w;  w -= A(lr) * g;")
_sgd_momentum = AllAtOnce(
    "sgd_momentum",
    ["v"],
    ["lr", "decay", "momentum", "share", "nesterov"],
    """if (decay != 0) g += A(decay) * w;
    A v = A(v_[i]) * A(momentum) + A(share) * g;
    v_[i] = T(v);
    w -= A(lr) * (nesterov != 0 ? g + A(momentum) * v : v);""",
)
ADAM = """w *= A(shrink);
    if (decay != 0) g += A(decay) * w;
    A m = A(m_[i]), v = A(v_[i]);
    m += A(1 - beta1) * (g - m);
    v += A(1 - beta2) * (g * g - v);
    m_[i] = T(m); v_[i] = T(v);
    LARGEST
    w -= A(rate) * (m / (sqrt(v) + A(eps)));"""
OF_ADAM = ["rate", "beta1", "beta2", "eps", "decay", "shrink"]
_adam = AllAtOnce("adam", ["m", "v"], OF_ADAM, ADAM.replace("LARGEST", ""))
_amsgrad = AllAtOnce(
    "amsgrad",
    ["m", "v", "largest"],
    OF_ADAM,
    ADAM.replace("LARGEST", "A most = A(largest_[i]); if (v < most) v = most; largest_[i] = T(v);"),
)


def sgd(
    parameters: Sequence[tuple[Array, ...]],
    held: Held | None = None,
    *,
    lr: float,
    momentum: float,
    share: float,
    decay: float,
    nesterov: bool,
    maximize: bool,
) -> bool:
    """As `optim.sgd.Downhill` to every (w, g) or (w, g, v); says no, and does nothing, where the kernel can't."""
    if not momentum:
        return _sgd.update(parameters, held, maximize, lr=lr, decay=decay)
    more = {"momentum": momentum, "share": share, "nesterov": nesterov}
    return _sgd_momentum.update(parameters, held, maximize, lr=lr, decay=decay, **more)


def adam(
    parameters: Sequence[tuple[Array, ...]],
    held: Held | None = None,
    *,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    shrink: float,
    maximize: bool,
) -> bool:
    """As `optim.adam.Steady` to every (w, g, m, v) or (w, g, m, v, largest); says no where the kernel can't."""
    kernel = _adam if len(parameters[0]) == 4 else _amsgrad
    numbers = {"rate": rate, "beta1": beta1, "beta2": beta2, "eps": eps, "decay": decay, "shrink": shrink}
    return kernel.update(parameters, held, maximize, **numbers)
