"""Models behind URLs, as folders of this machine. fetching.py is the door: it gives a path, and nothing else knows of URLs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inferd.config import is_url

if TYPE_CHECKING:
    from inferd.config import Settings

__all__ = ["local_paths"]


def local_paths(settings: Settings) -> list[Path]:
    """The paths of `models`, each URL fetched. Raises ConfigError, StartError."""
    if not any(map(is_url, settings.models)):
        return [Path(model) for model in settings.models]
    from inferd.engine.remote.cache import Cache, default_folder
    from inferd.engine.remote.fetching import fetch

    folder = Path(settings.model_cache) if settings.model_cache else default_folder()
    cache = Cache(folder, settings.model_cache_bytes)
    limits = settings.model_download_bytes, settings.model_download_timeout_s
    return [fetch(model, cache, *limits) if is_url(model) else Path(model) for model in settings.models]
