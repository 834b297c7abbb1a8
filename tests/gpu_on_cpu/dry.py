"""What a piece of code asks of the GPU, counted without doing it: launches, bytes, synchronisations.

A dry run has the shapes of the real one and none of its numbers, so a step of full size takes a second. Run it with
GPU_ON_CPU_POOL=0, so that the bytes behind a plain pointer are known.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Work:
    """One thing that the GPU was asked to do."""

    kind: str  # kernel, product, memset, copy, sync, graph
    name: str  # of the kernel or the product; DD, HD, DH of a copy: from and to device or host
    bytes: int = 0  # each array among the arguments once, whole; broadcast dims are no bytes
    blocks: int = 0
    threads: int = 0  # of a block
    flops: int = 0


@dataclass
class Counts:
    """All that was asked for, in order."""

    work: list[Work] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Work]:
        """The work of these kinds."""
        return [w for w in self.work if w.kind in kinds]

    @property
    def launches(self) -> int:
        """Kernels and products: what the host must launch."""
        return len(self.of("kernel", "product"))

    @property
    def gigabytes(self) -> float:
        """That kernels, products, copies on the device and memsets move."""
        return sum(w.bytes for w in self.of("kernel", "product", "memset", "copy") if w.name not in ("HD", "DH")) / 1e9

    @property
    def synchronisations(self) -> int:
        """How often the host waits."""
        return len(self.of("sync"))

    def narrow(self, bytes: int = 1_000_000) -> list[Work]:
        """Kernels that move more than so many bytes in fewer blocks than the card has units: most of it idles."""
        units = _library().gpu_units()
        return [w for w in self.of("kernel") if w.bytes > bytes and w.blocks < units]


def _library() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


@contextlib.contextmanager
def counted(dry: bool = True) -> Iterator[Counts]:
    """Count what is asked of the GPU inside; `dry`: and don't do it. Small copies to the GPU are done all the same."""
    library, counts = _library(), Counts()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        library.gpu_trace(str(trace).encode())
        library.gpu_dry(int(dry))
        try:
            yield counts
        finally:
            library.gpu_dry(0)
            library.gpu_trace(None)
            counts.work += map(_read, trace.read_text().splitlines())


def _read(line: str) -> Work:
    kind, _, rest = line.partition(" ")
    name, _, _ = rest.partition(" ")
    number = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)}
    return Work(
        kind.lower(),
        name,
        number.get("bytes", 0),
        number.get("grid", 0),
        number.get("block", 0),
        number.get("flops", 0),
    )
