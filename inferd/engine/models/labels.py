"""Labels of versions, such as stable and canary: names that clients send as model_version, and that move from one version to another.

A small file keeps them through a restart; each remembers the version before, for a rollback. A table is a value: a change makes a new
table, which is written to the file before it is used. Never in here: which versions are served.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from inferd.engine.files.kept_file import KeptFile, read, replace
from inferd.engine.files.places import MAX_VERSION
from inferd.errors import ConfigError, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from inferd.log import LIMITED

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("inferd.engine")

FILE = "labels.json"
STABLE = "stable"  # the version that it names gets the requests that name no version
MAX_LABELS = 64  # of one model
DAMAGED = 0  # the version of a `stable` whose entry cannot be read: requests without a version are rejected until it is set again
_NAME = re.compile("[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version that a label names. before: the version that it named before; 0: none."""

    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    before: Annotated[int, msgspec.Meta(ge=0, le=MAX_VERSION)] = 0


Table: TypeAlias = Mapping[str, Mapping[str, Label]]  # labels by model and name


def versions_of(table: Table, model: str) -> dict[str, int]:
    """A model's labels, each with the version that it names."""
    return {name: label.version for name, label in table.get(model, {}).items()}


def shown_versions(table: Table, model: str) -> dict[str, str]:
    """As versions_of, for people and clients: a DAMAGED label has the word damaged."""
    return {name: str(version) if version != DAMAGED else "damaged" for name, version in versions_of(table, model).items()}


def moved(table: Table, model: str, name: str, version: int) -> Table:
    """The table with the label at that version. Raises InvalidArgument for a malformed name, ResourceExhausted for too many labels."""
    if why := _misnamed(name):
        raise InvalidArgument(f"label: {why}")
    labels = table.get(model, {})
    if name not in labels and len(labels) >= MAX_LABELS:
        raise ResourceExhausted(f"label: model '{model}' has {MAX_LABELS} labels, which is the limit; remove one")
    old = labels.get(name, Label(0))
    return table if old.version == version else {**table, model: {**labels, name: Label(version, old.version)}}


def rolled_back(table: Table, model: str, name: str) -> Table:
    """The table with the label at the version that it named before; a second rollback undoes the first. Raises NotFound,
    FailedPrecondition."""
    label = _found(table, model, name)
    if label.version == DAMAGED:
        raise FailedPrecondition(f"label: the entry of '{name}' of model '{model}' cannot be read; set the label to a version")
    if not label.before:
        raise FailedPrecondition(f"label: '{name}' of model '{model}' has named no version but {label.version}: there is no way back")
    return {**table, model: {**table[model], name: Label(label.before, label.version)}}


def removed(table: Table, model: str, name: str) -> Table:
    """The table without that label. Raises NotFound."""
    _found(table, model, name)
    return {**table, model: {other: label for other, label in table[model].items() if other != name}}


def _misnamed(name: str) -> str:
    if _NAME.fullmatch(name):
        return ""
    return f"expected a letter, then up to 63 letters, digits, '_', '.' or '-', got {name[:100]!r}"


def _line_of(content: bytes, *keys: str) -> int:
    """The line where the last of these nested keys begins in a JSON text, found by a search and not by a parser."""
    at = 0
    for key in keys:
        found = re.compile(re.escape(msgspec.json.encode(key)) + rb"\s*:").search(content, at)
        at = found.start() if found else at
    return content.count(b"\n", 0, at) + 1


def _found(table: Table, model: str, name: str) -> Label:
    label = table.get(model, {}).get(name)
    if label is None:
        raise NotFound(f"label: model {model[:100]!r} has no label {name[:100]!r}")
    return label


class LabelFile(KeptFile):
    """The file of a table. path: None: there is no file, and no label can be set."""

    def read(self) -> Table:
        """The table that was written last; an empty one where there is no file. A broken label is left out and logged. A broken
        `stable`, or one that may have been lost, is DAMAGED. Raises ConfigError for a file that holds no table."""
        if self.path is None:
            return {}
        try:
            content = read(self.path)
            written = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
            return {model: dict(self._labels(content, model, labels)) for model, labels in written.items()}
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"labels: '{self.path}' cannot be read: {why}; mend the file, or remove it to begin without labels") from None

    def _labels(self, content: bytes, model: str, written: msgspec.Raw) -> Iterator[tuple[str, Label]]:
        try:
            labels = msgspec.json.decode(written, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as error:
            line = f", line {_line_of(content, model)}"
            log.error("labels: '%s'%s: the labels of model %r are left out: %s; mend them", self.path, line, model, error, extra=LIMITED)
            yield STABLE, Label(DAMAGED)
            return
        for name, raw in labels.items():
            why = _misnamed(name)
            try:
                label = msgspec.json.decode(raw, type=Label)
            except (msgspec.DecodeError, RecursionError) as error:
                why = why or f"{name!r}: {error}"
            if not why:
                yield name, label
                continue
            line = f", line {_line_of(content, model, name)}"
            log.error("labels: '%s'%s: a label of model %r is left out: %s; mend or remove it", self.path, line, model, why, extra=LIMITED)
            if name == STABLE:
                yield name, Label(DAMAGED)

    def check_kept(self) -> Path:
        """The path. Raises FailedPrecondition if there is no file."""
        if self.path is None:
            raise FailedPrecondition(
                "label: there is no folder that would keep it through a restart, for the server cannot write into a repository of models; "
                "start the server with --state-dir FOLDER"
            )
        return self.path

    def write(self, table: Table) -> None:
        """Replaces the file atomically. Raises FailedPrecondition."""
        path = self.check_kept()
        content = msgspec.json.format(msgspec.json.encode({model: labels for model, labels in table.items() if labels}))
        try:
            replace(path, content)
        except OSError as error:
            log.error("labels cannot be written to '%s': %s", self.path, error.strerror)
            raise FailedPrecondition(
                f"labels cannot be written ({error.strerror}), and stay as they are; the server's log says where"
            ) from None
