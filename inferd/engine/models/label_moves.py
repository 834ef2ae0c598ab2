"""Moves of labels: the versions that they name are loaded first, then the file is written, then requests follow.

Another process of the server may move labels in the same file. Never in here: the form of the table and its file (labels.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from inferd.engine.files.places import SHOWN_NAMES, shown
from inferd.engine.models.labels import moved, removed, shown_versions, versions_of
from inferd.errors import ConfigError, FailedPrecondition, InferdError, NotFound
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferd.engine.models.labels import Label, LabelFile, Table
    from inferd.engine.models.model_files import ModelFiles
    from inferd.engine.models.versions import Versions

log = logging.getLogger("inferd.engine")


class LabelMoves:
    """Owns the file of labels. All on the loader's thread."""

    def __init__(self, file: LabelFile, files: ModelFiles, versions: Versions) -> None:
        self._file, self._files, self._versions = file, files, versions
        self._repository = versions.repository

    def put(self, name: str, label: str, version: int, only_new: bool) -> None:
        """Moves a label to that version; 0: removes it. only_new: see Lifecycle.label."""
        if not version:
            self.move(name, lambda table: removed(table, name, label))
            return
        if not self._repository[name].versions:
            raise NotFound(f"label: model {shown(name)} is not loaded")
        self.move(name, lambda table: table if only_new and label in table.get(name, {}) else moved(table, name, label, version))

    def move(self, name: str, change: Callable[[Table], Table]) -> None:
        """Changes the labels of one model: loads the versions that they name, writes the file, and then lets requests follow them."""
        after = change(self._table()).get(name, {})
        self._file.check_kept()  # else the load would be in vain
        while True:
            self._serve_labelled(name, after)
            with self._file.locked():
                table = change(self._table())  # a load takes long: another process may have moved labels meanwhile
                if (now := table.get(name, {})) == after:
                    self._file.write(table)
                    break
            after = now
        self._follow(name, after)

    def adopt(self) -> None:
        """Follows labels that another process, or a person by hand, has moved in the file."""
        table = self._table()
        for name in sorted({*table, *self._repository.labels}):
            if versions_of(table, name) != versions_of(self._repository.labels, name):
                try:
                    self._serve_labelled(name, table.get(name, {}))
                    self._follow(name, table.get(name, {}))
                except InferdError as error:
                    log.error("labels of model '%s' stay as they are: %s", name, error)

    def _table(self) -> Table:
        """The labels in the file: another process may have moved some."""
        try:
            return self._repository.labels if self._file.path is None else self._file.read()
        except ConfigError as error:
            log.error("%s", error)
            raise FailedPrecondition("the file of labels is broken, and they stay as they are; the server's log says where") from None

    def _serve_labelled(self, name: str, labels: Mapping[str, Label]) -> None:
        """Loads versions that these labels of a model name and did not name before."""
        before, after = versions_of(self._repository.labels, name), versions_of({name: labels}, name)
        place = self._files.place(name)
        there = [] if place is None else sorted(place.files)
        named = {version for label, version in after.items() if before.get(label) != version}
        if missing := named - set(there):
            has = ", ".join(map(str, there[-SHOWN_NAMES:])) or "none"
            raise NotFound(f"label: model '{name}' has no version {min(missing)}; it has {has}")
        serving = set(self._repository[name].serving)
        if place is not None and named - serving and (why := self._versions.bring(place, named | serving)):
            raise FailedPrecondition(f"the label stays where it is: {why}")

    def _follow(self, name: str, labels: Mapping[str, Label]) -> None:
        """Lets requests follow the labels of a model, and then unloads versions that nothing names. Labels of other models do not change,
        even if the file has changed them: their versions may not be loaded yet."""
        self._versions.call(partial(self._repository.label, {**self._repository.labels, name: labels}))
        named = versions_of(self._repository.labels, name)
        shown = shown_versions(self._repository.labels, name)
        said = ", ".join(f"{label}={version}" for label, version in sorted(shown.items())) or "none"
        log.info("model '%s' has the labels %s", name, said, extra=event("labels_moved", model=name, labels=named))
        if (place := self._files.place(name)) is not None:
            self._versions.offer_or_bring(place)
