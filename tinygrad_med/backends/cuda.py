"""Products on a GPU: with `backends.cuda.matmul.allow_tf32 = True` tensor cores may round float32 to 10 bits."""

from __future__ import annotations

from tinygrad_med import backend


class _Matmul:
    """The switch, which is that of `set_float32_matmul_precision`, too."""

    @property
    def allow_tf32(self) -> bool:
        """Whether products of float32 matrices, and convolutions, may be computed in TF32 on a GPU; off at first."""
        return backend.tf32

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        if not isinstance(allowed, bool):
            raise TypeError(f"allow_tf32: give True or False, got {allowed!r}")
        backend.allow_tf32(allowed)


matmul = _Matmul()


def is_built() -> bool:
    """Whether CuPy is installed."""
    return backend.cupy_is_installed()
