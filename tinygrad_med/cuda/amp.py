"""What PyTorch has under `torch.cuda.amp`: `amp` for the GPU, by older names."""

from __future__ import annotations

from typing import Any

from tinygrad_med import amp
from tinygrad_med.dtypes import float16


class autocast(amp.autocast):
    """`amp.autocast("cuda")`."""

    def __init__(self, enabled: bool = True, dtype: Any = float16, cache_enabled: bool = True) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)

    def _another(self) -> autocast:
        return autocast(self._enabled, self.dtype)


class GradScaler(amp.GradScaler):
    """`amp.GradScaler("cuda")`."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
