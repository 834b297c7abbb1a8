"""What PyTorch has under `torch.amp`: training with products in float16, weights and gradients in float32.

    scaler = amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        with amp.autocast("cuda"):
            loss = criterion(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

Gradients that pass through float16 are 0 below 6e-8. So the loss is multiplied by a large number, and the gradients are
divided by it when they have become float32 (Micikevicius et al. 2018, arXiv:1710.03740). `engine/autocast.py` says
which operations run in which dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.dtypes import float16, float32
from tinygrad_med.engine.autocast import autocast as autocast, is_autocast_enabled as is_autocast_enabled
from tinygrad_med.engine.switches import no_grad


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` knows devices of this type."""
    return device_type in ("cuda", "cpu")


class GradScaler:
    """Multiplies losses by a scale, divides gradients by it, and finds a scale at which these are finite.

    A step whose gradients are not all finite is left out, and the scale gets smaller; after so many steps in a row that
    were finite it grows. The first few are often left out; on the CPU NumPy then warns of an overflow.

    Args:
        device: `"cuda"` or `"cpu"`; without CUDA a scaler for it does nothing, with a warning.
        init_scale: the scale at first.
        growth_factor: what it is multiplied by after `growth_interval` steps with finite gradients; above 1.
        backoff_factor: what it is multiplied by where a gradient is not finite; below 1.
        growth_interval: so many steps.
        enabled: `False` for a scaler that leaves everything as it is.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if enabled and device == "cuda" and (missing := backend.cuda_problem()):
            warnings.warn(
                f"GradScaler: there is no CUDA here ({missing}); nothing is scaled", UserWarning, stacklevel=2
            )
            enabled = False
        if not growth_factor > 1:
            raise ValueError(f"GradScaler: growth_factor={growth_factor} must be greater than 1")
        if not backoff_factor < 1:
            raise ValueError(f"GradScaler: backoff_factor={backoff_factor} must be less than 1")
        self._enabled = enabled
        self._scale, self._growth_tracker = float(init_scale), 0
        self._growth_factor, self._backoff_factor, self._growth_interval = (
            growth_factor,
            backoff_factor,
            growth_interval,
        )
        self._used = False
        self._finite: dict[int, list[Any]] = {}
        self._stepped: set[int] = set()

    # A step -----------------------------------------------------------------------------------------------------------

    def scale(self, outputs: Any) -> Any:
        """The loss, or several in a list, times the scale, in the graph; in float32 where a loss has no dims."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            backend.refuse_captured(
                "a loss is scaled by a number of the CPU", "capture without a scaler, in float32 or with a fixed factor"
            )
            self._used = True
            factor = backend.module_of(outputs.device).asarray(self._scale, float32)
            return outputs * wrap(factor)
        if isinstance(outputs, Iterable):
            scaled = (self.scale(x) for x in outputs)
            return type(outputs)(scaled) if isinstance(outputs, list | tuple) else scaled
        raise ValueError(f"GradScaler.scale: needs a tensor, or several, got {type(outputs).__name__}")

    @no_grad()
    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, in place; before they are clipped.

        `step` does it where it was not done.

        Raises:
            RuntimeError: twice for one optimizer, or after its step; or where `scale` was never called.
            ValueError: for gradients in float16: the parameters must be float32, autocast converts them.
        """
        if not self._enabled:
            return
        self._refuse_unused("unscale_")
        if id(optimizer) in self._stepped:
            raise RuntimeError("GradScaler.unscale_: it comes before step(); call update() at the end of a step")
        if id(optimizer) in self._finite:
            raise RuntimeError("GradScaler.unscale_: the gradients are unscaled already; call update() after the step")
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if any(g.dtype == float16 for g in gradients):
            raise ValueError(
                "GradScaler.unscale_: gradients in float16 would lose what scaling saved; keep the parameters in "
                "float32 (no .half()), autocast converts them"
            )
        for g in gradients:
            g.mul_(1 / self._scale)
        self._finite[id(optimizer)] = [backend.array_module(g.array).isfinite(g.array).all() for g in gradients]

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step()` on unscaled gradients, unless one of them is infinite or NaN.

        Returns:
            What the optimizer's step returned; `None` where it was left out.

        Raises:
            RuntimeError: twice before `update`; with a closure; where no parameter has a gradient.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if args or "closure" in kwargs:
            raise RuntimeError("GradScaler.step: a closure is not supported; compute the loss before")
        self._refuse_unused("step")
        if id(optimizer) in self._stepped:
            raise RuntimeError("GradScaler.step: it was called already; call update() after each step")
        if id(optimizer) not in self._finite:
            self.unscale_(optimizer)
        if not self._finite[id(optimizer)]:
            del self._finite[id(optimizer)]
            raise RuntimeError("GradScaler.step: no parameter of this optimizer has a gradient; call backward() first")
        self._stepped.add(id(optimizer))
        return optimizer.step(**kwargs) if self._are_finite(id(optimizer)) else None

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """The scale for the next step: smaller where a gradient was not finite, larger after many that were; or given.

        Raises:
            RuntimeError: where no optimizer's gradients were unscaled, by `step` or `unscale_`.
        """
        if not self._enabled:
            return
        self._refuse_unused("update")
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._finite:
            raise RuntimeError("GradScaler.update: there was no step to learn from; call step(optimizer) first")
        elif not all(map(self._are_finite, self._finite)):
            self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                self._scale, self._growth_tracker = self._scale * self._growth_factor, 0
        self._finite, self._stepped = {}, set()

    def _are_finite(self, optimizer: int) -> bool:
        """Whether all gradients were; asked of each GPU once."""
        by_device: dict[Any, list[Any]] = {}
        for flag in self._finite[optimizer]:
            by_device.setdefault(backend.device_of(flag), []).append(flag)
        found = [bool(backend.array_module(flags[0]).stack(flags).all()) for flags in by_device.values()]
        self._finite[optimizer] = found
        return all(found)

    def _refuse_unused(self, function: str) -> None:
        if not self._used:
            raise RuntimeError(f"GradScaler.{function}: no loss was scaled; call scaler.scale(loss).backward() first")

    # Its numbers ------------------------------------------------------------------------------------------------------

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The scale; 1 where nothing is scaled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by where it grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Another one."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by where a gradient is not finite."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Another one."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many steps the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Another one."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on, by PyTorch's names; empty where nothing is scaled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, ours or PyTorch's.

        Raises:
            RuntimeError: for the empty state of a scaler that was not enabled.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("GradScaler.load_state_dict: the state is empty; its scaler was not enabled")
        self._scale = float(state_dict["scale"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval, self._growth_tracker = state_dict["growth_interval"], state_dict["_growth_tracker"]
