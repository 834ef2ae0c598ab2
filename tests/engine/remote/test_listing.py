"""Lists of stores that do not stop: by count, by memory, by time."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import pytest

from inferd.engine.remote.listing import MAX_OBJECTS, MEMORY_BYTES, gathered, listed
from inferd.engine.remote.source import SourceError
from inferd.engine.remote.until import Until
from tests.engine.remote.hostile_store import PAGE, HostileStore
from tests.wire import LIMIT_S

URL = "s3://bucket/m"


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], HostileStore]:
    def made(how: str) -> HostileStore:
        store = HostileStore(how)
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        return store

    return made


def test_a_response_without_an_end(hostile: Callable[[str], HostileStore]) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with hostile("endless") as store:
        with pytest.raises(SourceError, match="cannot be read in 512 MiB of memory: name a folder with fewer objects") as caught:
            listed(URL, Until(LIMIT_S))
        assert not caught.value.again
        assert store.sent < 2 * MEMORY_BYTES
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 256 << 10, "this process holds none of it"


def test_always_another_page_without_objects(hostile: Callable[[str], HostileStore]) -> None:
    with hostile("empty"), pytest.raises(SourceError, match=r"longer than 1 s \(model_download_timeout_s\)") as caught:
        listed(URL, Until(1))
    assert caught.value.again


def test_always_another_page_with_objects(hostile: Callable[[str], HostileStore]) -> None:
    with hostile("full") as store:
        with pytest.raises(SourceError, match="there are more than 100000 objects: name a folder with fewer"):
            listed(URL, Until(LIMIT_S))
        assert store.asked < 2 * MAX_OBJECTS / PAGE


def test_names_are_counted_too() -> None:
    class At:
        def isoformat(self) -> str:
            return ""

    def meta(path: str) -> dict[str, Any]:
        return {"path": path, "size": 1, "e_tag": None, "last_modified": At()}

    assert gathered([[meta("a")], [meta("b")]]) == [("a", 1, None, ""), ("b", 1, None, "")]
    with pytest.raises(SourceError, match="names of its objects have more than 32 MiB"):
        gathered([meta("n" * (1 << 20))] for _ in range(40))
