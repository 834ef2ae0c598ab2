"""More models than fit into the memory that they may hold: which are in memory, and what is told of the others
(engine/models/memory_limit.py)."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from inferd.engine.files.overlay import Overlay
from inferd.engine.loading.room import SESSION_BYTES
from inferd.engine.models import versions
from inferd.engine.models.entry import ON_DEMAND
from inferd.engine.models.labels import LabelFile
from inferd.errors import FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from tests import models
from tests.engine.models.test_lifecycle import DOUBLED, IDENTITY, LIMIT_S, World, released, there
from tests.engine.models.test_repository import infer
from tests.engine.running.test_run_limit import made
from tests.engine.test_model import submit
from tests.fake_backend import FakeBackend
from tests.server_fixtures import until

TWO_MODELS = 5 * SESSION_BYTES // 2


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three models, of which two fit."""
    world = World(tmp_path / "models", LabelFile(tmp_path / "labels.json"), memory_bytes=TWO_MODELS)
    for name in "abc":
        world.write(name, 1, IDENTITY)
    yield world
    world.life.stop(LIMIT_S)
    world.repository.close()


def demand(world: World, name: str) -> None:
    world.life.demand(name).result(LIMIT_S)


def test_a_model_that_was_used_least_recently_leaves_for_one_that_is_asked_for(world: World) -> None:
    repository = world.start().repository
    assert repository.models() == []
    assert repository.index() == [(name, "1", "READY", ON_DEMAND) for name in "abc"]
    with pytest.raises(Unavailable, match="model 'a' is not in memory now"):
        repository.lookup("a", "")
    for name in "ab":
        demand(world, name)
        assert infer(repository, name) == 1
    demand(world, "a")
    left = weakref.ref(repository.lookup("b", ""))
    repository.lookup("a", "")._started_ns = repository.lookup("b", "").used_ns + 1  # it ran within the same tick of the coarse clock
    demand(world, "c")
    assert released(left), "it has left before c was loaded"
    assert (repository.names(), repository.on_demand, repository.evictions) == ({"a", "c"}, {"b"}, 1)
    assert world.index() == [(name, "1", "READY") for name in "abc"]
    assert world.reasons() == {"1": ""}
    assert repository.memory_bytes() == sum(model.memory_bytes for model in repository.models()) <= TWO_MODELS
    assert repository.left_requests == 1
    demand(world, "b")
    assert infer(repository, "b", value=3) == 3


def test_a_model_that_has_something_to_do_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend()
    busy = made([backend])
    busy.memory_bytes = TWO_MODELS - SESSION_BYTES
    world.start()
    world.repository._entry(busy.name).models = (busy,)
    world.repository._routing.fill()
    running = submit(busy, 1)
    backend.wait_for_run()
    monkeypatch.setattr(versions, "ROOM_WAIT_S", 0.0)
    with pytest.raises(ResourceExhausted, match="there is no room for model 'a': all models in memory are in use") as caught:
        demand(world, "a")
    assert caught.value.retry_after_ns
    assert world.repository.is_on_demand("a", ""), "it may be asked for again"
    assert world.repository["a"].loads is None
    monkeypatch.setattr(versions, "ROOM_WAIT_S", LIMIT_S)
    waits = world.life.demand("a")
    backend.release()
    assert running.response[0, 0] == 2
    waits.result(LIMIT_S)
    assert (world.repository.names(), world.repository.on_demand) == ({"a"}, {"b", "c", "double"})


def test_a_load_that_fails_is_told_and_not_tried_again_until_the_files_change(world: World) -> None:
    file = world.write("a", 1, b"half")
    world.start()
    assert world.repository.is_on_demand("a", "1")
    with pytest.raises(FailedPrecondition, match="failed to load 'a': model 'a' cannot be loaded"):
        demand(world, "a")
    assert not world.repository.is_on_demand("a", "")
    with pytest.raises(Unavailable, match="model 'a' could not be loaded"):
        world.repository.lookup("a", "")
    assert ("a", "1", "UNAVAILABLE") in world.index()
    file.write_bytes(DOUBLED)
    world.compare("a")
    assert ("a", "1", "READY") in world.index()
    demand(world, "a")
    assert infer(world.repository, "a", value=3) == 6
    assert world.repository["a"].loads == (1, False)


def test_a_model_that_fits_nowhere(world: World) -> None:
    world.write("large", 1, models.identity(dims=(1 << 13,)))  # its buffers are known once it was loaded
    world.start()
    demand(world, "a")
    for _ in "before and after":
        with pytest.raises(FailedPrecondition, match=r"model 'large' takes about \d+ KiB, and model_memory is 640 KiB"):
            demand(world, "large")
        assert world.repository.names() == {"a"}, "no model leaves for one that does not fit"
        world.compare("large")


def test_versions_of_one_model_count_together(world: World) -> None:
    for version in (1, 2, 3):
        world.write("m", version, IDENTITY, "version_policy: { all {} }")
    world.start()
    with pytest.raises(FailedPrecondition, match="model 'm' takes about"):
        demand(world, "m")
    assert world.repository.memory_bytes() == 0
    demand(world, "a")


def test_a_broken_version_of_a_model_that_is_not_in_memory(world: World) -> None:
    world.start()
    world.write("a", 2, b"half")
    world.compare("a")
    for _ in range(2):
        demand(world, "a")
        assert infer(world.repository, "a", value=3) == 3
        assert ("a", "2", "UNAVAILABLE") in world.index()
        for name in "bc":
            demand(world, name)
        assert world.repository.is_on_demand("a", "")
    assert world.repository["a"].loads.failures == 1, "it is not tried again at each request"


def test_what_a_client_sent_and_cannot_be_loaded_takes_no_model_away(world: World) -> None:
    world.start()

    with pytest.raises(FailedPrecondition, match="max_batch_size"):
        world.life.load("a", sent=lambda base: Overlay.of_config(there(base), "max_batch_size: -5")).result(LIMIT_S)
    demand(world, "a")
    assert infer(world.repository, "a", value=3) == 3


def test_files_that_come_change_and_go(world: World) -> None:
    world.start()
    demand(world, "a")
    world.write("a", 2, DOUBLED)
    world.write("b", 2, DOUBLED)
    world.write("d", 1, b"", "max_batch_size: wrong")
    world.write("e", 1, IDENTITY)
    shutil.rmtree(world.folder / "c")
    world.compare()
    assert infer(world.repository, "a", value=3) == 6, "it was in memory, and is replaced"
    assert world.repository.names() == {"a"}
    until(lambda: ("a", "1", "UNLOADING") not in world.index())
    assert world.index() == [
        *(("a", "1", "UNAVAILABLE"), ("a", "2", "READY")),
        *(("b", "2", "READY"), ("d", "", "UNAVAILABLE"), ("e", "1", "READY")),
    ]
    with pytest.raises(NotFound, match="model 'b' serves no version 1; it serves 2; its version_policy leaves version 1 out"):
        world.repository.lookup("b", "1")
    with pytest.raises(NotFound, match="there is no model 'c'"):
        world.repository.lookup("c", "")
    shutil.rmtree(world.folder / "b")
    with pytest.raises(FailedPrecondition, match="its files are gone"):
        demand(world, "b")
    world.compare("b")
    with pytest.raises(NotFound, match="there is no model 'b'"):
        world.repository.lookup("b", "")


def test_labels_and_single_versions(world: World) -> None:
    world.write("a", 2, DOUBLED)
    repository = world.start().repository
    world.life.label("a", "old", 1).result(LIMIT_S)
    assert sorted(repository["a"].serving) == [1, 2]
    for name in "bc":
        demand(world, name)
    assert repository.on_demand == {"a"}
    assert [repository.is_on_demand("a", version) for version in ("", "1", "2", "02", "old", "3", "new")] == [True] * 5 + [False] * 2
    with pytest.raises(FailedPrecondition, match="label 'old' names version 1; move or remove it first"):
        world.unload("a", 1)
    world.life.label("a", "new", 2).result(LIMIT_S)
    for name in "bc":
        demand(world, name)
    world.life.label("a", "new", 0).result(LIMIT_S)
    assert repository.on_demand == {"a"}, "to remove a label loads nothing"
    world.unload("a", 2)
    assert [repository.is_on_demand("a", version) for version in ("", "1", "2")] == [True, True, False]
    assert ("a", "2", "UNAVAILABLE") in world.index()
    demand(world, "a")
    assert [infer(repository, "a", version, value=3) for version in ("", "old")] == [3, 3]
    world.unload("a")
    world.unload("b")
    demand(world, "b")  # by a request that came before
    assert repository.on_demand | repository.names() == {"c"}
    with pytest.raises(NotFound):
        repository.lookup("b", "")
    world.load("b")
    assert infer(repository, "b") == 1
