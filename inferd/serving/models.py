"""The models of one server: loaded at its start, then changed by their files or by clients (model_control). Never in here: how."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd.config import is_url
from inferd.engine.checks import contract
from inferd.engine.checks.contract import Contracts
from inferd.engine.files.overlay import remove_left_folders
from inferd.engine.files.places import find_place, survey
from inferd.engine.files.roots import as_roots
from inferd.engine.files.watching import SETTLE_S, Watcher
from inferd.engine.models.labels import FILE, LabelFile
from inferd.engine.models.lifecycle import Lifecycle
from inferd.engine.remote import local_paths
from inferd.errors import ConfigError, RequestError, StartError, Unavailable
from inferd.serving.memory.trimming import giving_back, watch_heap
from inferd.serving.on_demand import OnDemand
from inferd.serving.parts.model_control.rpc import ModelControl

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from inferd.config import Settings
    from inferd.engine.files.roots import Root
    from inferd.engine.models.repository import Repository
    from inferd.engine.remote.refreshing import Refresher

log = logging.getLogger(__name__)


def control_mode(settings: Settings) -> str:
    """none, poll or explicit."""
    if settings.model_control != "auto":
        return settings.model_control
    return "poll" if _folders(settings) else "none"


def _folders(settings: Settings) -> list[Path]:
    """The folders of this machine among the models."""
    return [Path(path) for path in settings.models if not is_url(path) and Path(path).is_dir()]


class Models:
    def __init__(self, settings: Settings, repository: Repository, loop: asyncio.AbstractEventLoop) -> None:
        self._settings, self._repository, self._loop = settings, repository, loop
        self._mode = control_mode(settings)
        self._labels = LabelFile(self.state_file(FILE))
        self._watcher: Watcher | None = None
        self._refresher: Refresher | None = None
        self._lifecycle: Lifecycle | None = None
        if self._mode != "none" or settings.model_memory:
            self._lifecycle = Lifecycle(
                repository,
                [],
                on_loop=self._on_loop,
                giving_back=giving_back,
                begin=watch_heap,
                label_file=self._labels,
                memory_bytes=settings.model_memory,
            )
        self.changing = self._lifecycle if self._mode != "none" else None
        self.control: ModelControl = ModelControl(self.changing, explicit=self._mode == "explicit")
        self.on_demand: OnDemand | None = None
        if settings.model_memory and self._lifecycle is not None:
            most, wait_s = settings.max_queue_requests, settings.model_wait_s
            self.on_demand = OnDemand(repository, self._lifecycle.demand, loop, most=most, wait_s=wait_s)

    def state_file(self, name: str) -> Path | None:
        """The file in state_dir, else in the first repository that can be written to; None: there is neither."""
        if self._settings.state_dir is not None:
            return Path(self._settings.state_dir) / name
        return next((folder / f".inferd-{name}" for folder in _folders(self._settings) if os.access(folder, os.W_OK)), None)

    def load(self) -> None:
        """Loads the models of the start. Raises ConfigError and StartError. On a thread that may wait, never on the loop."""
        watch_heap()
        self._load()
        if self._lifecycle is not None:
            self._lifecycle.start()
        if self.on_demand is not None:
            assert self._lifecycle is not None
            log.info(
                "%d models are on demand: each is loaded for its first request, and all in memory may hold %d KiB (model_memory)",
                *(len(self._repository.on_demand), self._settings.model_memory >> 10),
            )
            for name in filter("*".__ne__, self._settings.load_model):
                try:
                    self._lifecycle.load(name).result()
                except RequestError as error:
                    raise StartError(f"load_model: {error}") from None

    def _load(self) -> None:
        on_demand = self.on_demand is not None
        paths = local_paths(self._settings)
        roots = as_roots(paths)
        urls = {url: path for url, path in zip(self._settings.models, paths, strict=True) if is_url(url)}
        if urls and self._mode != "none":
            from inferd.engine.remote.refreshing import Refresher  # it imports all that fetches

            self._refresher = Refresher(urls, self._settings, self._settings.model_poll_s)
        if self._settings.load_model and self._mode != "explicit" and not on_demand:
            raise ConfigError(f"load_model: expected model_control explicit beside it, or model_memory, got {self._mode}")
        if self._lifecycle is not None:
            self._lifecycle.files.roots = roots
            self._labels.begin()
            self._repository.label(self._labels.read())
            self._repository.loader.contracts = Contracts(_contract_file(self._settings))
        if self._mode == "explicit":
            remove_left_folders()
            for path in paths:
                if not path.exists():
                    raise ConfigError(
                        f"models: there is no file or folder {str(path)!r}; name a .onnx file, a model's folder or a repository"
                    )
            names = self._settings.load_model
            places = survey(roots)[0].values() if "*" in names else [_place(roots, name) for name in dict.fromkeys(names)]
            self._repository.load_places(list(places), on_demand=on_demand)
            return
        if self._mode == "poll":
            lifecycle = self._lifecycle
            assert lifecycle is not None
            self._watcher = Watcher(roots, lifecycle.compare, self._settings.model_poll_s, settle_s=SETTLE_S, file=self._labels.path)
        self._repository.load(roots, on_demand=on_demand)

    def start(self) -> None:
        """From now on models come and go."""
        if self._mode == "explicit" and self._refresher is not None and self._lifecycle is not None:
            self._lifecycle.update_stores = self._refresher.update_all
        for each in (self._watcher, self._refresher):
            if each is not None and self._mode == "poll":
                each.start()

    def leave(self) -> None:
        """From now on models stay as they are. A load under way goes on."""
        for each in (self._watcher, self._refresher):
            if each is not None:
                each.stop()
        if self._lifecycle is not None:
            self._lifecycle.leave()

    def stop(self, timeout_s: float) -> bool:
        """Leaves, and waits for a load under way. False: it still runs after that time, and its model will be thrown away. Not on the
        loop."""
        self.leave()
        return self._lifecycle is None or self._lifecycle.stop(timeout_s)

    def _on_loop(self, function: Callable[[], Any]) -> Any:
        done: Future[Any] = Future()

        def call() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed
            raise Unavailable("the server has stopped") from None
        return done.result()


def _place(roots: list[Root], name: str) -> Any:
    place = find_place(roots, name)
    if place is None:
        raise ConfigError(f"load_model: expected models of the repository, got {name!r}, which is not there")
    return place


def _contract_file(settings: Settings) -> Path | None:
    """The file in state_dir. A repository gets none: nobody expects that a server that only serves writes into it."""
    return None if settings.state_dir is None else Path(settings.state_dir) / contract.FILE
