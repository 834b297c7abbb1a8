"""PyTorch's `torch.utils.tensorboard`: what TensorBoard draws, written by tensorboardX where that is installed."""

from __future__ import annotations

import functools
from typing import Any

from tinygrad_med._files import optional
from tinygrad_med.core.tensor import Tensor


class SummaryWriter:
    """Writes numbers, pictures, histograms … to a folder that `tensorboard --logdir runs` shows.

    Its methods are tensorboardX's, which are PyTorch's: `add_scalar("Train/Loss", loss, step)`, `add_scalars`,
    `add_image`, `add_histogram`, `add_figure`, `add_text`, `flush`, `close` …; tensors may be given as they are.

    Args:
        log_dir: the folder; by default a new one in `runs`, named by the time and the machine.
        comment: what the name of that folder ends with.
        options: `purge_step`, `max_queue`, `flush_secs`, `filename_suffix`.

    Raises:
        ImportError: where tensorboardX is not installed; it says how to install it.
    """

    def __init__(self, log_dir: Any = None, comment: str = "", **options: Any) -> None:
        written = optional("tensorboardX", "SummaryWriter", "tensorboard").SummaryWriter
        self._writer = written(None if log_dir is None else str(log_dir), comment=comment, **options)
        self.log_dir = self._writer.logdir

    def add_graph(self, *args: Any, **kwargs: Any) -> None:
        """Refuse."""
        raise NotImplementedError(
            "add_graph: tensorboardX can draw PyTorch's graphs only; tinygrad_med.explain has a page for ours"
        )

    def get_logdir(self) -> str:
        """The folder."""
        return str(self.log_dir)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._writer, name)

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            return method(*map(_plain, args), **{key: _plain(value) for key, value in kwargs.items()})

        return call

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.close()


def _plain(value: Any) -> Any:
    """Tensors as arrays, within lists and dicts too."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
