"""When a server looks at all that it holds, for garbage that counting references does not find."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from inferd.serving.memory.garbage import FULL_LOOKS, FULL_S, LAST, MOST_LOOKS, NEW, YOUNG, Garbage
from tests import models
from tests.server_fixtures import ServerFixture

by_generations = pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python looks at a part of everything at a time from 3.14 on")


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    found = Garbage()
    found.begin(100.0)
    yield found
    found.end()


class Cycle:
    def __init__(self) -> None:
        self.me = self


def old_cycle() -> weakref.ref[Cycle]:
    """One that has been seen alive by both of the quick looks."""
    cycle = Cycle()
    gc.collect(1)
    gc.collect(1)
    return weakref.ref(cycle)


def pass_on(looks: int) -> None:
    while gc.get_count()[2] < looks:
        gc.collect(1)


@by_generations
def test_everything_is_looked_at_once_in_a_while(garbage: Garbage) -> None:
    cycle = old_cycle()
    pass_on(FULL_LOOKS)
    garbage.collect_if_due(100.0 + FULL_S - 0.1)
    assert cycle() is not None
    garbage.collect_if_due(100.0 + FULL_S)
    assert cycle() is None
    cycle = old_cycle()
    pass_on(FULL_LOOKS)
    garbage.collect_if_due(100.0 + 2 * FULL_S - 0.1)
    assert cycle() is not None


@by_generations
def test_where_nothing_comes_anew_nothing_is_looked_at(garbage: Garbage) -> None:
    cycle = old_cycle()
    assert gc.get_count()[2] < FULL_LOOKS
    garbage.collect_if_due(100.0 + FULL_S)
    assert cycle() is not None


@by_generations
def test_where_much_comes_anew_it_is_not_waited_for(garbage: Garbage) -> None:
    cycle = old_cycle()
    pass_on(MOST_LOOKS - 1)
    garbage.collect_if_due(100.1)
    assert cycle() is not None
    pass_on(MOST_LOOKS)
    garbage.collect_if_due(100.1)
    assert cycle() is None


@by_generations
def test_a_server_leaves_python_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.unfreeze()  # the objects that tests/conftest.py has frozen
    monkeypatch.setattr(Garbage, "_frozen", False)
    before = gc.get_threshold()
    with ServerFixture(models.repository(tmp_path, {"identity": models.identity()})) as served:
        assert gc.get_threshold() == (NEW, YOUNG, LAST)
        frozen = gc.get_freeze_count()
        assert frozen > 0
        served.on_loop(served.server.stop)
        assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before


@by_generations
def test_the_last_of_several_servers_leaves_python_as_it_was() -> None:
    before = gc.get_threshold()
    first, second = Garbage(), Garbage()
    for each in (first, second):
        each.begin(0.0)
    for _ in range(2):
        first.end()
        assert gc.get_threshold() == (NEW, YOUNG, LAST)
    second.end()
    assert gc.get_threshold() == before


def test_objects_that_the_program_froze_itself_stay_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.freeze()
    monkeypatch.setattr(Garbage, "_frozen", False)  # found out
    before = gc.get_freeze_count()
    garbage = Garbage()
    garbage.begin(0.0)
    garbage.end()
    assert gc.get_freeze_count() >= before


def test_what_was_not_begun_does_not_end() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    garbage = Garbage()
    garbage.collect_if_due(0.0)
    garbage.end()
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
