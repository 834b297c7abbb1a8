"""Sums over several GPUs, one per process, by NVIDIA's NCCL through `cupyx.distributed`.

Nobody has run this file on two GPUs yet: it was written by CuPy's documentation, and its names are checked against it.
"""

from __future__ import annotations

from tinygrad_med.backend import Array, require_cupy


class Nccl:
    """The GPUs of `size` processes; all make it at the same time, each with its own GPU in use.

    Args:
        size, rank: how many processes, and which this one is.
        host, port: where rank 0 listens while they find each other.
    """

    def __init__(self, size: int, rank: int, host: str, port: int) -> None:
        self.cupy = require_cupy()
        from cupyx.distributed import init_process_group

        self.group = init_process_group(size, rank, backend="nccl", host=host, port=port)
        self.stream = self.cupy.cuda.Stream(non_blocking=True)

    def start_sum(self, array: Array) -> None:
        """Begin to replace a contiguous array by its sum over the ranks, beside what the GPU computes meanwhile."""
        self.stream.wait_event(self.cupy.cuda.get_current_stream().record())
        self.group.all_reduce(array, array, "sum", self.stream)

    def finish(self) -> None:
        """Let what the GPU computes from here on wait for all sums that were begun."""
        self.cupy.cuda.get_current_stream().wait_event(self.stream.record())
