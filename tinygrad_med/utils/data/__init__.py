"""PyTorch's `torch.utils.data`: from data sets that are indexed, or gone through, to batches of tensors.

    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    for x, y in loader:

Knows no file format; `tinygrad_med.data` reads those, with a loader of its own that yields arrays.
"""

from tinygrad_med.engine.errors import answers
from tinygrad_med.utils.data.collate import default_collate as default_collate, default_convert as default_convert
from tinygrad_med.utils.data.dataset import (
    ChainDataset as ChainDataset,
    ConcatDataset as ConcatDataset,
    Dataset as Dataset,
    IterableDataset as IterableDataset,
    StackDataset as StackDataset,
    Subset as Subset,
    TensorDataset as TensorDataset,
    random_split as random_split,
)
from tinygrad_med.utils.data.loader import DataLoader as DataLoader
from tinygrad_med.utils.data.sampler import (
    BatchSampler as BatchSampler,
    RandomSampler as RandomSampler,
    Sampler as Sampler,
    SequentialSampler as SequentialSampler,
    SubsetRandomSampler as SubsetRandomSampler,
    WeightedRandomSampler as WeightedRandomSampler,
)
from tinygrad_med.utils.data.workers import WorkerInfo as WorkerInfo, get_worker_info as get_worker_info

__getattr__ = answers(globals(), "see Dataset and DataLoader")
