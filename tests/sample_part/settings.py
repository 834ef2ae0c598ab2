"""Settings of the sample."""

from __future__ import annotations

from typing import Annotated

from inferd.config.field import about
from inferd.config.part_settings import PartSettings

__all__ = ["Settings"]


class Settings(PartSettings, frozen=True, kw_only=True):
    sample_name: Annotated[str, about("sample"), "What REST calls the sample."] = "sample"
