"""What each of several ranks does of a learner's work: its part of every batch, and then all have the outputs of all.

See `parallel`. Alone, with `Ranks()`, that is all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import from_numpy
from tinygrad_med.data.loader import DataLoader
from tinygrad_med.learner.outputs import at
from tinygrad_med.parallel import Ranks


def shares(loader: Any, ranks: Ranks) -> Iterator[tuple[Any, float]]:
    """Of each batch this rank's rows, and the weight of their mean in the mean of the batch.

    A loader of `data.loader` makes only the items of this rank. Others make whole batches, which must be the same on
    all ranks, of tensors or arrays in any nesting.
    """
    if ranks.size == 1:
        for batch in loader:
            yield batch, 1.0
    elif isinstance(loader, DataLoader):
        counts = map(len, loader.batches())
        for count, batch in zip(counts, loader.parts(lambda n: ranks.share(n).rows), strict=True):
            yield batch, ranks.share(count).weight  # once more: the loader is ahead
    else:
        for batch in loader:
            part = ranks.share(len(batch[-1]))
            yield at(tuple(batch), part.rows), part.weight


def together(value: Any, ranks: Ranks) -> Any:
    """The rows of all ranks, one behind the other, of a tensor or of all in a tuple, list or dict."""
    if ranks.size == 1:
        return value
    if isinstance(value, dict):
        return {name: together(part, ranks) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(together(part, ranks) for part in value)
    rows: Tensor = from_numpy(ranks.gather(value.cpu().numpy())).to(device=value.device)
    return rows
