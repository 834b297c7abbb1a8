"""Apple's GPUs, which are not used."""

from __future__ import annotations


def is_available() -> bool:
    """No."""
    return False


def is_built() -> bool:
    """No."""
    return False
