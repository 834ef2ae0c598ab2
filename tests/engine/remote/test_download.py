"""Sources that send too much. Downloads that are cut off and go on are in test_web.py."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inferd.engine.remote.download import download
from inferd.engine.remote.source import Item, SourceError
from inferd.engine.remote.until import Until
from tests.wire import LIMIT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Endless:
    """A store that never stops sending."""

    archive: str | None = None

    def __init__(self, *, ranges: bool) -> None:
        self.ranges = ranges

    def list(self) -> Sequence[Item]:
        return [Item("a.onnx", 10, "1")]

    def read(self, item: Item, first: int, last: int) -> Iterator[bytes]:
        yield from repeat(b"xyz")


@pytest.mark.parametrize("ranges", [True, False])
def test_more_of_a_file_than_there_is(tmp_path: Path, ranges: bool) -> None:
    source = Endless(ranges=ranges)
    folder = tmp_path / "files"
    folder.mkdir()
    with pytest.raises(SourceError, match="sent more of the file than") as caught:
        download(source, source.list(), folder, Until(LIMIT_S), "here")
    assert not caught.value.again
