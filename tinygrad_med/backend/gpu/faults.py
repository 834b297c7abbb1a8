"""Mistakes that a GPU finds while nobody waits for it: noted there, raised when numbers next come back.

To look at an index on the CPU would mean to wait for all work that was asked of the GPU so far, at every step of a
training loop. So a kernel looks, and notes the first that is outside; what it finds is raised by whatever next waits
for the GPU anyway: `item()`, `cpu()`, `tolist()`, printing, `cuda.synchronize()`. So nobody sees a number that was
computed with a wrong index, though parameters may have moved by it. PyTorch's kernels stop in this case, just as late,
and the process has to start anew.
"""

from __future__ import annotations

from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend import Array, array_module

from .compiled import MANY_BLOCKS, Kernel, get_compiled

_texts: list[str] = []
_notes: dict[int, Array] = {}
"""Per GPU what was noted: the number of the text, from 1, or 0 for nothing; and the index."""
_looked: set[int] = set()
"""The GPUs that were asked to look since the last time that somebody asked what they found."""

_look = Kernel(
    "outside",
    """
extern "C" __global__ void outside(
    const INTEGER* index, long long* note, long long size, long long low, long long high, long long text) {
  for (long long i = blockIdx.x * 256LL + threadIdx.x; i < size; i += gridDim.x * 256LL) {
    long long at = index[i];
    if ((at < low || at >= high)
        && atomicCAS((unsigned long long*)note, 0ull, (unsigned long long)text) == 0) note[1] = at;
  }
}
""",
)


def look_later(index: Array, low: int, high: int, text: str) -> bool:
    """Have the GPU look for an index outside of low … high − 1; False where the caller must look himself.

    Args:
        index: integers.
        low, high: the bounds.
        text: of the IndexError, with {} for the index.
    """
    xp = array_module(index)
    if not (get_compiled() and hasattr(xp, "RawKernel") and index.dtype in ("int64", "int32")):
        return False
    if text not in _texts:
        _texts.append(text)
    device = index.device.id
    prepare(device)
    _looked.add(device)
    if backend.captured.graph is not None:
        backend.captured.graph.before_replay.append(lambda: _looked.add(device))
    blocks = min(-(-index.size // 256), MANY_BLOCKS)
    given = xp.ascontiguousarray(index), _notes[device], index.size, low, high, _texts.index(text) + 1
    if index.size:
        _look((blocks,), (256,), *given, T="float32", INTEGER="int" if index.dtype == "int32" else "long long")
    return True


def prepare(device: int) -> None:
    """Have the place for notes on the current GPU, of that number; it must be there before a CUDA graph is captured."""
    if device not in _notes:
        _notes[device] = backend.require_cupy().zeros(2, "int64")
        backend.before_reading = raise_noted


def raise_noted(*_: Any) -> None:
    """Raise an IndexError if a GPU has found an index outside since this was asked last."""
    while _looked:
        note = _notes[_looked.pop()]
        text, at = (int(x) for x in note.get())
        if text:
            note.device.use()
            note.fill(0)
            raise IndexError(_texts[text - 1].format(at))
