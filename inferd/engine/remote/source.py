"""A place that models are fetched from: its list, how bytes are read, and how it fails. Object stores, web servers and registries each
are a Source. Never in here: files on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Item(NamedTuple):
    """One thing to download. name: its path below the fetched folder. tag: changes whenever its bytes change. sha256: of its bytes, if the
    source knows it, else ''."""

    name: str
    nbytes: int
    tag: str
    sha256: str = ""


class SourceError(Exception):
    """A source could not be read. Its text holds no secret. again: a later attempt may succeed."""

    def __init__(self, text: str, *, again: bool = False) -> None:
        super().__init__(text)
        self.again = again


class Changed(SourceError):
    """An item has changed since it was listed."""


class NoRanges(SourceError):
    """The source sends whole items only, so that an interrupted download begins anew."""


class Source(Protocol):
    """ranges: whether an item can be read from its middle. archive: None: items are files; else they are tar archives, of which this folder
    is unpacked, '' for all. Several threads may read items at the same time."""

    ranges: bool
    archive: str | None

    def list(self) -> Sequence[Item]:
        """All items. Raises SourceError, also where there are none."""
        ...

    def read(self, item: Item, first: int, last: int) -> Iterator[bytes]:
        """Bytes `first` to `last`, the latter excluded, in pieces of any size; fewer where the connection was cut. Raises SourceError."""
        ...
