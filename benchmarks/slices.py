"""The p99 of each slice of a load, from what `inferd bench --samples` keeps. Their median does not move with the few slices that something
else on the machine disturbed."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["CODE", "DONE", "INTENDED", "p99s_ms"]

SLICE_S, SLICE_REQUESTS = 1.0, 100  # the least
INTENDED, DONE, CODE = 0, 2, 3  # columns of the samples; ns


def p99s_ms(samples: np.ndarray[Any, Any], seconds: float) -> list[float]:
    """Counted from the intended start. seconds: of the load; slices have equally many requests."""
    samples = samples[samples[:, INTENDED].argsort()]
    count = min(seconds / SLICE_S, len(samples) / SLICE_REQUESTS)
    return [float(np.quantile(each[:, DONE] - each[:, INTENDED], 0.99)) / 1e6 for each in np.array_split(samples, max(1, int(count)))]
