"""Every version lives as the table says, and its events tell of it in that order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inferd.engine.models.changes import LIFE, Change, Event
from inferd.errors import FailedPrecondition
from tests.engine.models.test_lifecycle import DOUBLED, IDENTITY, LIMIT_S, World
from tests.server_fixtures import until

BEGINNINGS = {Event.LOADING, Event.STARTING}


class Lives:
    """The events of each load of a version, in the order in which they were told."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], list[list[Event]]] = {}
        self.wrong: list[str] = []

    def heard(self, change: Change) -> None:
        if change.event not in LIFE or not change.version:
            return
        lives = self.told.setdefault((change.name, change.version), [])
        life = next((life for life in reversed(lives) if change.event in LIFE[life[-1]].next), None)
        if life is not None:
            life.append(change.event)
        elif change.event in BEGINNINGS:
            lives.append([change.event])
        else:
            self.wrong.append(f"{change.event} after {lives}")
        if change.model is not None and change.model.state is not LIFE[change.event].state:
            self.wrong.append(f"{change.event}: {change.model.state}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "models")
    yield made
    made.life.stop(LIMIT_S)
    made.repository.close()


def test_the_table_leads_from_a_beginning_to_an_end() -> None:
    followers = {event for stage in LIFE.values() for event in stage.next}
    assert followers | BEGINNINGS == set(LIFE)
    assert {event for event, stage in LIFE.items() if not stage.next} == {Event.GONE, Event.FAILED}


def test_versions_live_as_the_table_says(world: World) -> None:
    lives = Lives()
    world.repository.changes.subscribe(lives.heard)
    world.write("m", 1, IDENTITY)
    world.start()
    world.write("m", 1, DOUBLED)
    world.compare()
    world.write("m", 2, b"broken")
    with pytest.raises(FailedPrecondition):
        world.load("m")
    world.write("m", 2, IDENTITY)
    world.load("m")
    world.unload("m")
    until(lambda: not world.repository["m"].leaving)
    assert lives.wrong == []
    started = [Event.STARTING, Event.STARTED, Event.LEAVING, Event.GONE]
    assert lives.told == {
        ("m", 1): [started, [Event.LOADING, *started]],
        ("m", 2): [[Event.LOADING, Event.FAILED], [Event.LOADING, *started]],
    }
