"""Models that are not in memory, the part in ../../on_demand.py; it needs a limit on the memory of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferd.part import Part
    from inferd.serving.parts.registry import Parts


def make(parts: Parts) -> Part | None:
    return parts.models.on_demand
