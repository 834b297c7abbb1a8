"""The data room: images as NumPy arrays, from files or from phantoms. It knows nothing of the engine."""

from tinygrad_med.data import medical_mnist, phantoms

__all__ = ["medical_mnist", "phantoms"]
