"""Shares of requests that are recorded, as record_sample says them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse_samples(items: Iterable[str]) -> dict[str, float]:
    """The share of each model, and of all others under ''. Without items every request is recorded. Raises ValueError that says what is
    wrong."""
    shares: dict[str, float] = {}
    for item in items:
        model, _, text = item.rpartition("=")
        try:
            share = float(text)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            raise ValueError(f"expected a share from 0 to 1, such as 0.01 or MODEL=0.01, got {item!r:.100}")
        if model in shares:
            raise ValueError(f"expected one share {f'for the model {model!r:.100}' if model else 'for all models'}, got several")
        shares[model] = share
    return {"": 0.0 if shares else 1.0} | shares
