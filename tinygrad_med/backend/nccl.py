"""Sums over several GPUs, one per process, by NVIDIA's NCCL through `cupyx.distributed`.

Nobody has run this on two cards yet. What has run is all up to NCCL's own sum: in `tests/test_parallel.py` two ranks
train by this file and the real CuPy, each on its own GPU out of a CPU (`tests/gpu_on_cpu`), where MPI sums in NCCL's
place. So the messages, and their order, are as they will be; that NCCL answers, how fast, and that its sums run beside
the walk, is not shown.
"""

from __future__ import annotations

from tinygrad_med.backend import Array, module_of


class Nccl:
    """The GPUs of `size` processes; all make it at the same time, each with its own GPU in use.

    Args:
        size, rank: how many processes, and which this one is.
        host, port: where rank 0 listens while they find each other.
    """

    def __init__(self, size: int, rank: int, host: str, port: int) -> None:
        self.cupy = module_of("cuda")  # this rank's own GPU is CuPy's current one
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
