"""Checks names of files that come from a store: a name must not leave its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.engine.remote.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAME_BYTES = 255  # of one part: the limit of file systems
MAX_PATH_BYTES = 2048
MAX_SHOWN = 200


def check_name(name: str) -> None:
    """Raises SourceError for a name that leaves its folder, or that no file can have."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise SourceError(f"the name {_shown(name)} leaves its folder, or has an empty part: rename it in the store")
    if not name.isprintable() or "\\" in name:
        raise SourceError(f"the name {_shown(name)} has a character that no file name should have: rename it in the store")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts) or len(name.encode()) > MAX_PATH_BYTES:
        raise SourceError(f"the name {_shown(name)} is longer than a file name can be: rename it in the store")


def check_names(names: Iterable[str]) -> None:
    """Checks all names. None may be both a file and a folder. Raises SourceError."""
    there = set()
    for name in names:
        check_name(name)
        there.add(name)
    for name in there:
        folder = name
        while folder := folder.rpartition("/")[0]:
            if folder in there:
                raise SourceError(f"the name {_shown(folder)} is both a file and a folder: rename one of them in the store")


def _shown(name: str) -> str:
    return repr(name if len(name) <= MAX_SHOWN else name[:MAX_SHOWN] + "...")
