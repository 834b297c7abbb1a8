"""PyTorch's `torch.backends`: switches of the libraries that compute. One means something here: TF32 on a GPU.

The others may be set and change nothing: what is computed on the CPU is the same each time as it is.
"""

from __future__ import annotations

from tinygrad_med.backends import cuda as cuda, cudnn as cudnn, mps as mps
