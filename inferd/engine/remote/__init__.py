"""Fetches models from URLs into folders of this machine. fetching.py returns a path, and no other part of the engine knows of URLs."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.config import is_url, without_secrets
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.config import Settings
    from inferd.engine.remote.cache import Cache
    from inferd.engine.remote.until import Until

log = logging.getLogger("inferd.engine")


def local_paths(settings: Settings) -> list[Path]:
    """The paths of `models`, each URL fetched. All stores are read at once, so a start takes as long as the slowest.
    model_download_timeout_s is for all together. Raises ConfigError, StartError."""
    if not any(map(is_url, settings.models)):
        return [Path(model) for model in settings.models]
    from inferd.engine.remote.download import side_by_side
    from inferd.engine.remote.fetching import fetch
    from inferd.engine.remote.until import Until

    limits = limits_of(settings)
    until = Until(limits[2])
    works = {url: partial(fetch, url, *limits, until.beside()) for url in filter(is_url, settings.models)}
    fetched = dict(zip(works, side_by_side(list(works.values()), lambda left: _tell(list(works), left, until)), strict=True))
    return [fetched[model] if is_url(model) else Path(model) for model in settings.models]


def _tell(urls: Sequence[str], left: Sequence[int], until: Until) -> None:
    """Logs the URLs that a start waits for. left: their indices."""
    shown = ", ".join(f"'{without_secrets(urls[at])}'" for at in left)
    log.info(
        *("waiting for %s; for %.0f s more at most (model_download_timeout_s)", shown, max(until.left_s, 0)),
        extra=event("model_stores_waited", urls=[without_secrets(urls[at]) for at in left]),
    )


def limits_of(settings: Settings) -> tuple[Cache, int, float]:
    """The limits for `fetch`: the cache, the most bytes and the longest time of a download."""
    from inferd.engine.remote.cache import Cache, default_folder

    cache = Cache(Path(settings.model_cache) if settings.model_cache else default_folder(), settings.model_cache_bytes)
    return cache, settings.model_download_bytes, settings.model_download_timeout_s
