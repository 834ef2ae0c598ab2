"""The monitor as a part of the server: its RPC, path and metrics, and its life. Never in here: how a version is judged."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from inferd.errors import ConfigError
from inferd.monitor.settings import Settings
from inferd.part import Part
from inferd.system.mounts import remote_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inferd.config import ServerSettings
    from inferd.engine.model import Model
    from inferd.engine.models.repository import Repository
    from inferd.monitor.notices import Notices
    from inferd.monitor.watch import Watch
    from inferd.part import Method, Resource, Table
    from inferd.part.part import Version

log = logging.getLogger("inferd.monitor")

STOP_S = 5.0  # for the last windows to be written


class Given(Protocol):
    settings: ServerSettings
    repository: Repository

    def state_file(self, name: str) -> Path | None: ...


def make(given: Given) -> Part | None:
    return MonitorPart(given) if given.settings.of(Settings).drift else None


def _local(folder: Path | None) -> Path | None:
    """None for a folder whose files cannot be mapped safely: then each process counts for itself."""
    if folder is not None and (kind := remote_type(folder.parent)):
        log.warning(
            "drift: %s is on a file system of type %s, so each process counts for itself: set state_dir to a local folder", folder, kind
        )
        return None
    return folder


def _notices(settings: Settings) -> Notices | None:
    """None: nobody is told. Raises ConfigError."""
    if not settings.drift_webhook and not settings.drift_command:
        return None
    from inferd.monitor.notices import Notices, Ways, key_in

    url = settings.drift_webhook or ""
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError("drift_webhook: expected a URL that begins with http:// or https://")
    key = key_in(Path(settings.drift_webhook_key) if settings.drift_webhook_key else None)
    return Notices(Ways(url, key, settings.drift_command, float(settings.drift_cool_down_s)))


class MonitorPart(Part):
    def __init__(self, given: Given) -> None:
        from inferd.monitor.rpc import MonitorControl
        from inferd.monitor.watcher import FOLDER, Watcher

        own = given.settings.of(Settings)
        self._repository = given.repository
        self._notices = _notices(own)
        changed = (lambda _: None) if self._notices is None else self._tell
        self.watcher = Watcher(_local(given.state_file(FOLDER)), own.drift_window_rows, own.drift_window_s, changed=changed)
        self._control = MonitorControl(self.watcher, self._serves)
        self._learning: set[asyncio.Future[None]] = set()

    def methods(self) -> Mapping[str, Method]:
        return self._control.methods()

    def resources(self) -> Sequence[Resource]:
        from inferd.monitor.paths import MonitorPaths

        return MonitorPaths(self._control).resources()

    def metrics(self) -> Iterable[Table]:
        from inferd.monitor.metrics import tables_of

        return tables_of(self.watcher, self._notices)

    async def start(self) -> None:
        self.watcher.start()
        if self._notices is not None:
            self._notices.start()

    def starting(self, version: Version) -> None:
        """A file is read, which takes a thread's time: on the loop, the first requests of the version may pass uncounted."""
        model = cast("Model", version)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.watcher.watch(model)
            return
        reading = loop.run_in_executor(None, self.watcher.watch, model)
        self._learning.add(reading)
        reading.add_done_callback(self._learning.discard)

    async def stop(self) -> None:
        if self._notices is not None:
            self._notices.stop()
        await asyncio.to_thread(self.watcher.stop, STOP_S)

    def _tell(self, watch: Watch) -> None:
        assert self._notices is not None
        self._notices.tell(watch.name, watch.version, watch.told())

    def _serves(self, model: str) -> bool:
        return bool(self._repository[model].models) or model in self._repository.on_demand
