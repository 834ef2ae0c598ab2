"""Inference, the part in ../../service.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferd.part import Part
    from inferd.serving.parts.registry import Parts


def make(parts: Parts) -> Part:
    return parts.service
