"""Files that an operator names: read whole, with a limit, and where they hold secrets read again when they are replaced.

A replacement is found whether a file is renamed, written in place, or linked elsewhere, as Kubernetes does with secrets. Files that cannot
be read, or do not fit together yet, are tried again until their contents are taken. Never in here: what a file means.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, TypeVar

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

Made = TypeVar("Made")
State = tuple[int, ...]  # numbers of a file's stat(): another file, or other content, has others


def read_file(path: str | Path, limit: int, setting: str) -> bytes:
    """The content of a regular file. Raises OSError, and ConfigError that begins with `setting`: for more bytes than `limit`, and for a
    pipe or a device, which would block the reader."""
    return _read(path, limit, setting)[0]


def require_secret(path: str, setting: str) -> None:
    """ConfigError where there is no such file. It does not repeat what was given, which may be the secret in place of its file."""
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no path has such characters"
        raise ConfigError(
            f"{setting}: expected the path of a file that can be read: {why}; the path is not repeated here, for it may be the secret "
            "itself"
        ) from None


class Watched:
    """Files that make one thing together. paths: as they stand in the settings, by setting. limit: bytes that each may have."""

    def __init__(self, paths: Mapping[str, str], limit: int) -> None:
        self.paths = paths
        self._limit = limit
        self._taken: dict[str, State] = {}  # what the files were when their contents were taken
        self._said = ""  # in the log, of what is wrong since
        self.failures = 0  # looks that found a file gone or wrong

    def read(self, make: Callable[[Mapping[str, bytes]], Made]) -> Made:
        """The result of `make` for the contents, by setting. ConfigError, of a file or raised by `make`: nothing is taken."""
        found = {setting: self._read(setting, path) for setting, path in self.paths.items()}
        made = make({setting: content for setting, (content, _) in found.items()})
        self._taken = {setting: state for setting, (_, state) in found.items()}
        self._said = ""
        return made

    def read_again(self, make: Callable[[Mapping[str, bytes]], Made], asked: bool, otherwise: str) -> Made | None:
        """The same where a file is not what was taken last, or, when `asked`, in any case. None: it is, or what is there is wrong. That
        is said in the log with what holds `otherwise`, once or whenever asked, and tried again the next time."""
        if not (asked or self._changed()):
            self._said = ""
            return None
        try:
            return self.read(make)
        except ConfigError as error:
            self.failures += 1
            if asked or str(error) != self._said:
                log.error("%s; %s", error, otherwise)
            self._said = str(error)
            return None

    def _read(self, setting: str, path: str) -> tuple[bytes, State]:
        try:
            return _read(path, self._limit, setting)
        except OSError as error:
            raise ConfigError(f"{setting}: expected a file that can be read, got '{path}': {error.strerror}") from None

    def _changed(self) -> bool:
        """A file that is gone is another, too."""
        return any(self._taken.get(setting) != _state_of(path) for setting, path in self.paths.items())


def _read(path: str | Path, limit: int, setting: str) -> tuple[bytes, State]:
    """The content, and the state that it had before: what is written meanwhile shows as a change."""
    with open(path, "rb", opener=_opened) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            kind = "a pipe" if stat.S_ISFIFO(found.st_mode) else "a device"
            raise ConfigError(f"{setting}: expected a regular file, got '{path}', which is {kind}")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ConfigError(f"{setting}: expected at most {limit} bytes, '{path}' has more")
    return content, _state(found)


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)  # a pipe is opened without waiting for who writes it


def _state_of(path: str) -> State | None:
    try:
        return _state(os.stat(path))
    except OSError:
        return None


def _state(found: os.stat_result) -> State:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
