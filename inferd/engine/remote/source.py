"""A place that models are fetched from: what it lists, how bytes are read, and how it fails. Object stores, web servers and registries
each are a Source. Never in here: files on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Changed", "Item", "NoRanges", "Source", "SourceError"]


class Item(NamedTuple):
    """One thing to be downloaded. name: where it lies below the folder that is fetched. tag: another one whenever its bytes are others.
    sha256: of its bytes, where the source itself says so, else ''."""

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
    """An item is not what was listed any longer."""


class NoRanges(SourceError):
    """The source gives whole items only: a download that was cut off begins anew."""


class Source(Protocol):
    """ranges: whether an item can be read from its middle. archive: None for files as they are; else items are tar archives, of which the
    folder of that name counts, '' for all of it. Items may be read on several threads at the same time."""

    ranges: bool
    archive: str | None

    def list(self) -> Sequence[Item]:
        """All items. Raises SourceError, also where there are none."""
        ...

    def read(self, item: Item, first: int, last: int) -> Iterator[bytes]:
        """Bytes `first` to `last`, the latter excluded, in pieces of any size; fewer where the connection was cut. Raises SourceError."""
        ...
