"""Settings of rollouts."""

from __future__ import annotations

from typing import Annotated

from inferd.config.field import about
from inferd.config.part_settings import PartSettings


class Settings(PartSettings, frozen=True, kw_only=True):
    max_rollouts: Annotated[
        int,
        about("models", ge=1, le=1000),
        "Most rollouts at once, of all models. A shadow has a process of its own, with a model in memory. One that would be more is "
        "rejected with RESOURCE_EXHAUSTED.",
    ] = 4
