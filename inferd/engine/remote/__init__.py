"""Models behind URLs, as folders of this machine. fetching.py is the door: it gives a path, and nothing else knows of URLs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.config import is_url

if TYPE_CHECKING:
    from inferd.config import Settings
    from inferd.engine.remote.cache import Cache

__all__ = ["limits_of", "local_paths"]


def local_paths(settings: Settings) -> list[Path]:
    """The paths of `models`, each URL fetched. Stores are asked side by side: the slowest one says how long a start takes, and not the
    sum of all. Raises ConfigError, StartError."""
    if not any(map(is_url, settings.models)):
        return [Path(model) for model in settings.models]
    from inferd.engine.remote.download import side_by_side
    from inferd.engine.remote.fetching import fetch

    limits = limits_of(settings)
    urls = list(dict.fromkeys(filter(is_url, settings.models)))
    fetched = dict(zip(urls, side_by_side([partial(fetch, url, *limits) for url in urls]), strict=True))
    return [fetched[model] if is_url(model) else Path(model) for model in settings.models]


def limits_of(settings: Settings) -> tuple[Cache, int, float]:
    """What `fetch` is told: the cache, the most bytes and the longest time of a download."""
    from inferd.engine.remote.cache import Cache, default_folder

    cache = Cache(Path(settings.model_cache) if settings.model_cache else default_folder(), settings.model_cache_bytes)
    return cache, settings.model_download_bytes, settings.model_download_timeout_s
