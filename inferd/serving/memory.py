"""Memory that the C library keeps for later, given back to the system. Never in here: when."""

from __future__ import annotations

import ctypes

__all__ = ["give_back"]

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's


def give_back() -> None:
    """Pages that hold nothing are the system's again, some milliseconds later. Nothing where the C library is not glibc."""
    if _trim is not None:
        _trim(0)
