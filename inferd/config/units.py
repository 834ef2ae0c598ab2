"""Sizes, durations and shares for people: 64MiB, 100ms, 2 %. Reading is exact: a text that is no whole number of its unit is an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SIZES = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4, "kib": KiB, "mib": MiB, "gib": GiB, "tib": TiB}
DURATIONS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000}
QUANTITY = re.compile(r"(?=\.?[0-9])([0-9]*)(?:\.([0-9]+))?\s*([A-Za-zµ]*)", re.ASCII)


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.3g} %"


def parse_duration(text: str) -> int:
    """Nanoseconds of "5s", "100ms" or "0.5"; a number alone is seconds. ValueError for anything else."""
    return parse_quantity(text.strip() if text.strip()[-1:].isalpha() else text.strip() + "s", DURATIONS, "ns")


def parse_quantity(text: str, units: Mapping[str, int], own_unit: str) -> int:
    """A number with a unit, in `own_unit`; without a unit it is in `own_unit`. Exact: what is no whole number of it is rejected."""
    match = QUANTITY.fullmatch(text)
    if match is None or len(text) > 40:
        raise ValueError(text)
    whole, fraction, unit = match[1], match[2] or "", match[3].lower().replace("µ", "u")
    own = units.get(own_unit, 1)
    scale = units.get(unit, 0) if unit else own
    value, rest = divmod(int(whole + fraction) * scale, own * int("1" + "0" * len(fraction)))
    if not scale or rest:
        raise ValueError(text)
    return value
