"""Orders that wait while the loader's thread is busy with another."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from inferd.engine.files.places import find_places
from inferd.engine.models import orders
from inferd.errors import FailedPrecondition, InferdError, ResourceExhausted, Unavailable
from tests.engine.models.test_lifecycle import IDENTITY, LIMIT_S, World, released
from tests.engine.models.test_repository import infer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "models")
    yield made
    made.life.stop(LIMIT_S)
    made.repository.close()


@pytest.fixture
def gate(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The loader's thread waits for it, in a load of model "slow" that has begun."""
    entered, opened = threading.Event(), threading.Event()
    world.write("m", 1, IDENTITY)
    world.write("slow", 1, IDENTITY)
    world.repository.load_places(find_places([world.folder / "m"])[0])
    world.life.start()
    load = world.repository.loader.load

    def held(selected: Any, *rest: Any) -> Any:
        if selected.place.name == "slow":
            entered.set()
            assert opened.wait(LIMIT_S)
        return load(selected, *rest)

    monkeypatch.setattr(world.repository.loader, "load", held)
    world.life.load("slow")
    assert entered.wait(LIMIT_S)
    yield opened
    opened.set()


def test_an_order_that_waits_is_not_given_twice(world: World, gate: threading.Event) -> None:
    with pytest.raises(Unavailable, match="model 'slow' is being loaded"):
        world.repository.lookup("slow", "")
    assert ("slow", "1", "LOADING") in world.index()
    assert infer(world.repository, "m") == 1
    done: list[str] = []

    def sent(name: str) -> Callable[[object], Any]:
        return lambda _found: done.append(name)

    first, second, third = sent("first"), sent("second"), sent("third")
    asked = [world.life.load("m", None, each) for each in (first, first, second, first, third)]
    assert asked[0].cancel(), "another waits for it, too"
    assert asked[4].cancel()
    gone = world.life.unload("m")
    again = world.life.load("m")
    gate.set()
    for each in (*asked[1:4], gone, again):
        each.result(LIMIT_S)
    assert done == ["first", "second", "first"], "nobody waits for the third"
    assert sorted(world.index()) == [("m", "1", "READY"), ("slow", "1", "READY")]


def test_what_clients_sent_has_a_limit_and_is_given_up_with_its_order(
    world: World, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "MAX_SENT_NBYTES", 100)

    class Sent:
        def __call__(self, found: object) -> Any:
            raise FailedPrecondition("wrong") from ValueError(self)

    def load(nbytes: int) -> tuple[Future[None], weakref.ref[Any]]:
        sent = Sent()
        return world.life.load("sent", None, sent, nbytes), weakref.ref(sent)

    left, nobodys = load(100)
    with pytest.raises(ResourceExhausted, match="hold 100 bytes of files that clients sent: with 1 more they would pass the limit of 100"):
        load(1)[0].result(LIMIT_S)
    world.life.load("m")
    assert left.cancel()
    assert nobodys() is None, "while another load goes on"
    failing, failed = load(100)
    gate.set()
    with pytest.raises(FailedPrecondition):
        failing.result(LIMIT_S)
    assert released(failed), "its error is kept, and holds nothing of it"
    awaited = weakref.ref(failing)
    del failing
    assert released(awaited), "no cycle keeps it, and with it the frames of those who await it"
    with pytest.raises(FailedPrecondition):
        load(100)[0].result(LIMIT_S)


def test_orders_are_left_quickly(world: World, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each who leaves looks at nobody else: thousands leave in one step of the event loop."""
    looks: list[object] = []
    cancelled = Future.cancelled
    monkeypatch.setattr(Future, "cancelled", lambda future: looks.append(future) or cancelled(future))
    asked = [world.life.load("m", 7) for _ in range(100)]
    for each in asked:
        each.cancel()
    assert len(looks) == 100
    assert not world.life._orders._last


def test_too_many_orders_are_rejected(world: World, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "MAX_ORDERS", 2)
    kept = [world.life.load("m"), world.life.unload("m")]
    with pytest.raises(ResourceExhausted, match="2 loads and unloads wait"):
        world.life.load("m").result(LIMIT_S)
    gate.set()
    for each in kept:
        each.result(LIMIT_S)


def test_what_is_loaded_while_the_server_stops_serves_nothing(world: World, gate: threading.Event) -> None:
    waiting = world.life.load("m", 1)
    assert not world.life.stop(0.0)
    with pytest.raises(Unavailable, match="the server stops"):
        world.life.unload("m").result(LIMIT_S)
    gate.set()
    with pytest.raises(InferdError, match="the server stops"):
        waiting.result(LIMIT_S)
    assert world.life.stop(LIMIT_S)
    assert not world.repository["slow"].serving
