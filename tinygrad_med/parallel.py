"""Data-parallel training: several processes, the ranks, learn one model, each from its part of every batch.

    mpirun -n 4 python train.py

    ranks = parallel.join()                            # Ranks: this one's number, and how many there are
    model = build()                                    # the same on all: by one seed, and then
    ranks.broadcast(model)                             # by rank 0's word
    with ranks.summing(model.parameters()):
        for batch in batches:                          # the same batches, in the same order, on all ranks
            part = ranks.share(len(batch))
            loss = loss_func(model(x[batch][part.rows]), y[batch][part.rows]) * part.weight
            loss.backward()                            # leaves in `.grad` the sum over the ranks
            optimizer.step()                           # so all ranks take the same step

The loss of a batch is a mean over its rows. A rank's part has `part.weight` of them, and the means of the parts, so
weighted, sum to the mean of the batch; hence their gradients sum to its gradient. This is what one process would have
computed, but for the order of the additions. What looks at several rows at once is not split by that: batch-norm takes
the statistics of its own part, unless it is a `SyncBatchNorm`; a dropout draws for its own part.

The sum is computed while the walk goes on (`Summing`). The messages are MPI's (mpi4py, the extra `mpi`); between GPUs
they are NCCL's, after `ranks.take_gpu()` (what of that has been run: see `backend/nccl.py`). `Ranks()` is a single
process, which talks to nobody: with it the same program runs without MPI.

If a process dies, `mpirun` ends the others; an exception that nobody handles ends all of them at once; and a rank that
waits longer than `timeout` for the others, because one hangs, raises `TimeoutError`, with the same end.
"""

from __future__ import annotations

import contextlib
import copy
import socket
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy

from tinygrad_med import backend, cuda
from tinygrad_med._files import optional
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.creation import full
from tinygrad_med.engine import errors
from tinygrad_med.engine.switches import no_grad
from tinygrad_med.engine.walk import collected
from tinygrad_med.engine.writes import writes
from tinygrad_med.nn import Module
from tinygrad_med.nn.normalization import _BatchNorm
from tinygrad_med.ops import cat, rsqrt

BUCKET = 4 * 2**20
"""Bytes of gradients that are summed by one message: enough for the bandwidth, and few enough to begin early."""

TIMEOUT = 1800.0
"""Seconds that a rank waits for the others; PyTorch's default for messages between CPUs."""


class Share(NamedTuple):
    """A rank's part of a batch: which rows, and the weight of their mean in the mean of the batch."""

    rows: slice
    weight: float


class Ranks:
    """The processes of a training. As it stands, one process alone; `join` returns many.

    Attributes:
        rank: the number of this one; rank 0 writes files and prints.
        size: how many there are.
        idle: whether the last share was empty.
        neighbours: this one's number among the ranks on its machine, and how many these are.
    """

    rank = 0
    size = 1
    idle = False
    neighbours = (0, 1)

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranks:
        """Themselves: a copy of a model with a `SyncBatchNorm` talks to the same processes."""
        return self

    def share(self, count: int) -> Share:
        """This rank's part of `count` rows, the same number on all ranks.

        The parts are as equal as can be. Where there are fewer rows than ranks, some ranks get the first row with
        weight 0: they compute along, and contribute zeros.
        """
        if count < 1:
            raise ValueError("share: the batch has no rows")
        start, stop = (count * r // self.size for r in (self.rank, self.rank + 1))
        self.idle = stop == start
        return Share(slice(0, 1), 0.0) if self.idle else Share(slice(start, stop), (stop - start) / count)

    def sum(self, array: Any) -> Any:
        """The sum of an array over the ranks; they must have one shape and dtype."""
        return array

    def gather(self, array: numpy.ndarray) -> numpy.ndarray:
        """The arrays of all ranks, one behind the other along the first axis, on every rank.

        That of a rank whose last share was empty is left out.
        """
        return array

    def broadcast(self, model: Module) -> None:
        """Write the parameters and buffers of rank 0 into those of the others."""

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    @contextlib.contextmanager
    def rank_0_first(self) -> Iterator[None]:
        """Run the block on rank 0, then on all others: what makes files that they read."""
        if self.rank:
            self.barrier()
        yield
        if not self.rank:
            self.barrier()

    def take_gpu(self) -> None:
        """Let "cuda" mean a GPU of this rank's own from now on: of a machine's ranks the first takes the first.

        Raises:
            RuntimeError: the machine has fewer GPUs than ranks, or none; NCCL wants one for each.
        """

    def abort(self, status: int = 1) -> None:
        """End all ranks now; the exit status of `mpirun` is `status`. A single process goes on."""

    @contextlib.contextmanager
    def summing(self, parameters: Iterable[Tensor], bucket: int = BUCKET) -> Iterator[Summing | None]:
        """Let every walk of this thread within the block leave in `parameters` the sum of the ranks' gradients.

        Args:
            parameters: leaves of one dtype, on one device, the same in the same order on all ranks.
            bucket: bytes of gradients to a message.
        """
        del parameters, bucket
        yield None

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each `.grad` by its sum over the ranks, where a rank has accumulated the gradients of several walks.

        Unlike `summing` this begins when all walks are over. A parameter has a gradient afterwards if any rank had one.
        """


class MPIRanks(Ranks):
    """The processes that `mpirun` started. Made by `join`.

    Args:
        MPI: the module `mpi4py.MPI`.
        timeout: how many seconds to wait for the others.
    """

    def __init__(self, MPI: Any, timeout: float = TIMEOUT) -> None:
        self.MPI, self.timeout = MPI, timeout
        self.comm = MPI.COMM_WORLD.Dup()
        self.of_gradients = MPI.COMM_WORLD.Dup()  # so that their messages meet no others
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        near = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
        self.neighbours = near.Get_rank(), near.Get_size()
        self._nccl: Any = None

    def sum(self, array: Any) -> Any:
        """The sum of an array over the ranks."""
        xp = backend.array_module(array)
        total = xp.array(array, order="C")
        self.start_sum(total, self.comm).wait()
        return total

    def gather(self, array: numpy.ndarray) -> numpy.ndarray:
        """The arrays of all ranks, one behind the other."""
        array = numpy.ascontiguousarray(array[:0] if self.idle else array)
        lengths = numpy.zeros(self.size, numpy.int64)
        lengths[self.rank] = len(array)
        lengths = self.sum(lengths)
        whole = numpy.zeros((int(lengths.sum()), *array.shape[1:]), array.dtype)
        start = int(lengths[: self.rank].sum())
        whole[start : start + len(array)] = array
        counts = [int(n) * whole[:1].nbytes for n in lengths]
        message = [whole.view(numpy.uint8).reshape(-1), counts, None, self.MPI.BYTE]
        self.wait(self.comm.Iallgatherv(self.MPI.IN_PLACE, message), "a gathering of arrays")
        return whole

    def broadcast(self, model: Module) -> None:
        """Write the parameters and buffers of rank 0 into those of the others."""
        for name, value in model.state_dict().items():
            array = numpy.ascontiguousarray(backend.to_numpy(value.array))
            self.wait(self.comm.Ibcast([array.reshape(-1).view(numpy.uint8), self.MPI.BYTE], 0), f"rank 0's {name}")
            if self.rank:
                writes.note(value.array)
                value.array[...] = backend.to_device(array.reshape(value.shape), value.device)

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.wait(self.comm.Ibarrier(), "a barrier")

    def take_gpu(self) -> None:
        """Let "cuda" mean a GPU of this rank's own from now on."""
        (number, ranks), gpus = self.neighbours, cuda.device_count()
        if 0 < gpus < ranks:
            raise RuntimeError(f"{ranks} ranks on a machine with {gpus} GPUs: NCCL wants one for each; start {gpus}")
        cuda.set_device(number)

    def abort(self, status: int = 1) -> None:
        """End all ranks now."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        self.MPI.COMM_WORLD.Abort(status)

    def wait(self, request: Any, what: str) -> None:
        """Wait for a message.

        Raises:
            TimeoutError: the others did not come.
        """
        end = time.monotonic() + self.timeout
        while not request.Test():
            if time.monotonic() > end:
                raise TimeoutError(
                    f"rank {self.rank} of {self.size} waited {self.timeout:g} s for the others in {what}: one of them "
                    "hangs, or takes another way through the program; all end here"
                )
            time.sleep(0)  # let another process have the core

    def start_sum(self, array: Any, comm: Any) -> Pending:
        """Begin to replace a contiguous array by its sum over the ranks."""
        if array.dtype.kind == "f" and array.dtype.itemsize < 4:
            raise TypeError(f"a sum over the ranks of {array.dtype}: MPI has none; use float32 or float64")
        if isinstance(array, numpy.ndarray):
            return MPISum(self, array, comm)
        if self._nccl is None:
            from tinygrad_med.backend.nccl import Nccl

            self._nccl = Nccl(self.size, self.rank, *self._meeting_point())
        return NcclSum(self._nccl, array)

    def _meeting_point(self) -> tuple[str, int]:
        """A host and a free port of rank 0's."""
        found = None
        if self.rank == 0:
            with socket.socket() as free:
                free.bind(("", 0))
                found = socket.gethostname(), free.getsockname()[1]
        return self.comm.bcast(found, root=0)

    @contextlib.contextmanager
    def summing(self, parameters: Iterable[Tensor], bucket: int = BUCKET) -> Iterator[Summing | None]:
        """Let every walk of this thread within the block leave in `parameters` the sum of the ranks' gradients."""
        collector = Summing(self, list(parameters), bucket)
        with collected(collector):
            yield collector

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each `.grad` by its sum over the ranks."""
        leaves = [p for p in parameters if p.requires_grad]
        gradients = Gradients(self, leaves, BUCKET)
        for i, p in enumerate(leaves):
            if p.grad is not None:
                gradients.put(i, p.grad.array)
        gradients.start(everything=True)
        for i, g in gradients.finish():
            leaves[i].grad = wrap(g.copy())


def join(timeout: float = TIMEOUT) -> Ranks:
    """The ranks that `mpirun` started, this process among them; without `mpirun` it is alone.

    From here on, an exception that nobody handles ends all ranks.

    Args:
        timeout: how many seconds to wait for the others before that is an error.

    Raises:
        ImportError: mpi4py is not installed.
    """
    MPI = optional("mpi4py.MPI", "data-parallel training", "mpi")
    ranks = MPIRanks(MPI, timeout)
    show = sys.excepthook

    def end_all(kind: Any, error: Any, traceback: Any) -> None:
        show(kind, error, traceback)
        if ranks.size > 1:
            print(f"rank {ranks.rank} of {ranks.size} failed; it ends the others", file=sys.stderr)  # noqa: T201
            ranks.abort()

    sys.excepthook = end_all
    return ranks


# Sums that are under way --------------------------------------------------------------------------------------------


class Pending:
    """A sum that was begun."""

    def advance(self) -> None:
        """Let the messages go on; many MPIs move them only while they are asked."""

    def wait(self) -> None:
        """Wait for the end."""


class MPISum(Pending):
    """A sum of NumPy arrays by MPI."""

    def __init__(self, ranks: MPIRanks, array: numpy.ndarray, comm: Any) -> None:
        self.ranks, self.array = ranks, array
        self.request = comm.Iallreduce(ranks.MPI.IN_PLACE, array, op=ranks.MPI.SUM)

    def advance(self) -> None:
        """Let the messages go on."""
        self.request.Test()

    def wait(self) -> None:
        """Wait for the end."""
        self.ranks.wait(self.request, f"a sum of {self.array.nbytes:,} bytes")


class NcclSum(Pending):
    """A sum of CuPy arrays by NCCL."""

    def __init__(self, nccl: Any, array: Any) -> None:
        self.nccl = nccl
        nccl.start_sum(array)

    def wait(self) -> None:
        """Let the GPU wait for the end."""
        self.nccl.finish()


class Gradients:
    """One flat array for the gradients of all parameters, and the messages that sum it, bucket by bucket.

    The parameters stand in it in reverse: those of the last layers, whose gradients are there first, come first. Behind
    them stands for each parameter whether this rank has a gradient for it; so all ranks learn whether any has.

    Args:
        ranks: the processes.
        leaves: the parameters.
        bucket: bytes to a message.
    """

    def __init__(self, ranks: MPIRanks, leaves: list[Tensor], bucket: int) -> None:
        kinds = sorted({f"{p.dtype} on {p.device}" for p in leaves})
        if len(kinds) != 1:
            raise ValueError(
                f"gradients of {', '.join(kinds) or 'no parameters'}: the ranks sum those of one dtype on one device"
            )
        self.ranks, self.leaves = ranks, leaves
        self.places: list[slice] = [slice(0)] * len(leaves)
        self.buckets: list[tuple[slice, set[int]]] = []  # what a message sums, and the leaves that it waits for
        start = begun = 0
        waits: set[int] = set()
        for i in reversed(range(len(leaves))):
            self.places[i] = slice(start, start + leaves[i].numel())
            start += leaves[i].numel()
            waits.add(i)
            if (start - begun) * leaves[i].dtype.itemsize >= bucket:
                self.buckets.append((slice(begun, start), waits))
                begun, waits = start, set()
        self.buckets.append((slice(begun, start + len(leaves)), waits))
        self.flags = start
        self.flat = backend.array_module(leaves[0].array).empty(start + len(leaves), leaves[0].dtype)
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.flat[self.flags :] = 0
        self.given: set[int] = set()  # the leaves that have their flag, for a flag itself would be waited for on a GPU
        self.pending: list[Pending] = []

    def put(self, i: int, g: Any) -> None:
        """Take the gradient of leaf i; it is complete."""
        errors.refuse_dtype(self.leaves[i], g)
        self.flat[self.places[i]].reshape(self.leaves[i].shape)[...] = g
        self.flat[self.flags + i] = 1
        self.given.add(i)

    def start(self, everything: bool = False) -> None:
        """Begin the sums of the buckets that are complete; all ranks begin them in the same order.

        With `everything` those of all others too, with zeros for the gradients that are missing.
        """
        last = len(self.buckets) - 1  # it has the flags, which are known at the end
        while (n := len(self.pending)) <= last:
            place, waits = self.buckets[n]
            missing = waits - self.given
            if not everything and (n == last or missing):
                break
            for i in missing:
                self.flat[self.places[i]] = 0
            self.pending.append(self.ranks.start_sum(self.flat[place], self.ranks.of_gradients))

    def finish(self) -> Iterator[tuple[int, Any]]:
        """Wait for the sums; yields the leaves for which any rank has a gradient, and a view of it each."""
        for sum in self.pending:
            sum.wait()
        has = backend.to_numpy(self.flat[self.flags :])
        for i, leaf in enumerate(self.leaves):
            if has[i]:
                yield i, self.flat[self.places[i]].reshape(leaf.shape)


class Summing:
    """The collector of `summing`: copies each parameter's gradient into the flat array, and sums complete buckets.

    The walk gives a gradient when it has passed all operations that used the parameter; so the last layers are summed
    while it works on the first ones. Where somebody watches it, and where `backward` was given `inputs`, it gives them
    all at its end.

    A walk within the walk belongs to an operation that computes something again (`utils.checkpoint`), and hands the
    gradients on to it. One that leaves them in the parameters itself is refused: see `Ranks.sum_gradients`.

    Attributes:
        leaves: the parameters.
        bytes: what the last walk gave to the messages.
        waited: seconds that the last walk waited for them at its end: what the overlap did not hide.
    """

    def __init__(self, ranks: MPIRanks, parameters: list[Tensor], bucket: int) -> None:
        self.ranks, self.parameters, self.bucket = ranks, parameters, bucket
        self.leaves: Collection[Tensor] = set(parameters)
        self.gradients: Gradients | None = None
        self.walking = False
        self.bytes, self.waited = 0, 0.0

    def walk(self, steps: Iterator[Any]) -> Iterator[Any]:
        """The steps, with the sums over the ranks in place of the parameters' gradients."""
        if self.walking:
            yield from self._inner(steps)
            return
        self.walking = True
        try:
            gradients = self._begin()
            number = {leaf: i for i, leaf in enumerate(gradients.leaves)}
            for node, g, contributions in steps:
                if isinstance(g, Tensor):
                    raise RuntimeError("create_graph: a gradient that is summed over the ranks has no derivative")
                if isinstance(node, Tensor) and node in number:
                    gradients.put(number[node], g)
                    gradients.start()
                else:
                    yield node, g, contributions
                for sum in gradients.pending:
                    sum.advance()
            gradients.start(everything=True)
            self.bytes, begun = gradients.flat.nbytes, time.perf_counter()
            for i, total in gradients.finish():
                yield gradients.leaves[i], total, ()
            self.waited = time.perf_counter() - begun
        finally:
            self.walking = False

    def _begin(self) -> Gradients:
        leaves = [p for p in self.parameters if p.requires_grad]
        if self.gradients is None or list(map(id, self.gradients.leaves)) != list(map(id, leaves)):
            self.gradients = Gradients(self.ranks, leaves, self.bucket)
        self.gradients.reset()
        return self.gradients

    def _inner(self, steps: Iterator[Any]) -> Iterator[Any]:
        for node, g, contributions in steps:
            before = node._grad if isinstance(node, Tensor) else None
            yield node, g, contributions
            if isinstance(node, Tensor) and node in self.leaves and node._grad is not before:
                raise RuntimeError(
                    "a backward() within the walk left a gradient in a parameter, where the ranks would not sum it (as "
                    "MRNet's chunk=… does); use ranks.sum_gradients(parameters) after the walk instead of summing"
                )


# Batch-norm over all ranks ------------------------------------------------------------------------------------------


@primitive
def all_reduce(xp: Any, x: Any, *, ranks: Ranks) -> Any:  # noqa: ARG001 - the ranks find the array library
    """z = Σ x of all ranks, on every rank

    ∂x: Σ g of all ranks
    """
    z = ranks.sum(x)
    return z.copy() if z is x else z


all_reduce.vjp(x=lambda g, ranks: all_reduce(g, ranks=ranks))


class SyncBatchNorm(_BatchNorm):
    """Batch-norm with the statistics of the whole batch, over all ranks: what one process would have computed.

    Two messages forward and two back for each layer. As in PyTorch, `convert_sync_batchnorm` puts it in the place of a
    model's layers. The ranks' parts may differ in size; the row of a rank whose share is empty counts nothing.

    Attributes:
        ranks: the processes.
    """

    shapes = "what the layer before it gives"
    ranks: Ranks

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, ranks: Ranks) -> Module:
        """A model in which every batch-norm is one over the ranks; parameters and buffers stay the same.

        It is the model itself, unless that is a single layer. Convert it again for other ranks: for `Ranks()`, where
        one process goes on alone.
        """
        if isinstance(module, _BatchNorm):
            converted = copy.copy(module)
            converted.__class__ = cls
            converted.dims, converted.shapes = module.dims, module.shapes
            converted.ranks = ranks
            return converted
        for name, child in list(module.named_children()):
            setattr(module, name, cls.convert_sync_batchnorm(child, ranks))
        return module

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, …) -> (N, C, …)"""
        if not self.training:
            return super().forward(x)
        if x.ndim not in self.dims:
            raise ValueError(f"SyncBatchNorm: expects {self.shapes}, got shape {x.shape}")
        given, x = x.dtype, x.float() if x.dtype == "float16" else x  # MPI sums no float16, and squares overflow in it
        counts = 0.0 if self.ranks.idle else 1.0
        dims, shape = [d for d in range(x.ndim) if d != 1], (1, -1, *(1,) * (x.ndim - 2))
        own = full((1,), counts * (x.numel() // x.shape[1]), dtype=x.dtype, device=str(x.device))
        sums = all_reduce(cat([x.sum(dims) * counts, own]), ranks=self.ranks)
        count = float(sums[-1].item())
        if count < 2:
            raise ValueError("SyncBatchNorm: one value per channel has no variance; give more rows")
        mean = sums[:-1] / count
        centred = x - mean.reshape(shape)
        var = all_reduce((centred * centred).sum(dims) * counts, ranks=self.ranks) / count
        self._track(mean, var * (count / (count - 1)))
        z = centred * rsqrt(var + self.eps).reshape(shape)
        z = z if self.weight is None else z * self.weight.reshape(shape)
        return (z if self.bias is None else z + self.bias.reshape(shape)).to(given)

    @no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean += share * (mean - self.running_mean)
        self.running_var += share * (var - self.running_var)
