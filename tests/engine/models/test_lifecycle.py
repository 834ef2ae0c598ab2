"""Versions that come, are replaced and go while requests wait and run. There is no event loop: changes happen one at a time."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd._core.batching.batch import Batch
from inferd.config import Settings
from inferd.engine.files.overlay import Overlay
from inferd.engine.files.places import Place
from inferd.engine.loading.planner import Host
from inferd.engine.model import Model
from inferd.engine.models.changes import Change, Event
from inferd.engine.models.labels import LabelFile
from inferd.engine.models.lifecycle import Lifecycle
from inferd.engine.models.repository import Repository
from inferd.errors import ConfigError, FailedPrecondition, NotFound, StartError, Unavailable
from tests import models
from tests.engine.models.test_repository import infer
from tests.engine.running.test_run_limit import made
from tests.engine.test_model import submit
from tests.fake_backend import FakeBackend
from tests.server_fixtures import until

IDENTITY, DOUBLED = models.identity(), models.doubled()
LIMIT_S = 30.0


class World:
    """A repository on disk, loaded, and its life cycle."""

    def __init__(self, folder: Path, label_file: LabelFile | None = None, memory_bytes: int = 0) -> None:
        self.folder, self.on_demand = folder, memory_bytes > 0
        self.changes: list[Change] = []
        self.given_back = threading.Event()
        self.repository = Repository(deliver=Batch.deliver, host=Host(1, 1), on_model_error="skip")
        self.life = Lifecycle(
            self.repository,
            [folder],
            on_loop=self._on_loop,
            giving_back=self._giving_back,
            label_file=label_file,
            memory_bytes=memory_bytes,
        )
        self.repository.changes.subscribe(self._heard)
        self._loop = threading.RLock()

    def _on_loop(self, function: Callable[[], Any]) -> Any:
        with self._loop:
            return function()

    @contextmanager
    def _giving_back(self) -> Iterator[None]:
        yield
        self.given_back.set()

    def _heard(self, change: Change) -> None:
        self.changes.append(change._replace(model=None))  # which is to be freed

    def start(self) -> World:
        self.repository.load(self.life.files.roots, on_demand=self.on_demand)
        self.life.start()
        return self

    def write(self, name: str, version: int, model: bytes, config: str | None = None) -> Path:
        models.repository(self.folder, {name: {version: model}}, {} if config is None else {name: config})
        return self.folder / name / str(version) / "model.onnx"

    def load(self, name: str, version: int | None = None) -> None:
        self.life.load(name, version).result(LIMIT_S)

    def unload(self, name: str, version: int | None = None) -> None:
        self.life.unload(name, version).result(LIMIT_S)

    def compare(self, *names: str) -> None:
        self.life.compare(names or None).result(LIMIT_S)

    def index(self) -> list[tuple[str, str, str]]:
        return [entry[:3] for entry in self.repository.index()]

    def reasons(self) -> dict[str, str]:
        return {entry.version: entry.reason for entry in self.repository.index()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "models")
    yield made
    made.life.stop(LIMIT_S)
    made.repository.close()


def there(place: Place | None) -> Place:
    assert place is not None
    return place


def released(reference: weakref.ref[Any]) -> bool:
    """Without the collector of cycles, which a server calls rarely."""
    pause = threading.Event()
    for _ in range(2000):
        if reference() is None:
            return True
        pause.wait(0.005)
    return False


# ---- versions come -------------------------------------------------------------------------------------------------


def test_a_new_version_takes_over_and_the_old_one_is_freed(world: World) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    old = weakref.ref(world.repository.lookup("m", ""))
    assert infer(world.repository, "m", value=3) == 3
    world.write("m", 2, DOUBLED)
    world.compare()
    assert infer(world.repository, "m", value=3) == 6
    with pytest.raises(NotFound, match="serves no version 1; it serves 2"):
        world.repository.lookup("m", "1")
    assert released(old)
    assert world.given_back.wait(LIMIT_S)
    assert world.index() == [("m", "1", "UNAVAILABLE"), ("m", "2", "READY")]
    assert world.reasons()["1"] == "unloaded"
    assert [each.event for each in world.changes if each.version == 1] == [Event.STARTING, Event.STARTED, Event.LEAVING, Event.GONE]
    assert [each.event for each in world.changes if each.version == 2] == [Event.LOADING, Event.STARTING, Event.STARTED]
    shutil.rmtree(world.folder / "m" / "1")
    world.compare()
    assert world.index() == [("m", "2", "READY")]


def test_a_load_beside_requests_leaves_cores_to_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cores: list[int] = []
    warm_up = Model.warm_up

    def spied(model: Model, *known: Any) -> None:
        cores.append(len(os.sched_getaffinity(0)))
        warm_up(model, *known)

    monkeypatch.setattr(Model, "warm_up", spied)
    world.write("m", 1, IDENTITY)
    world.start()
    world.write("m", 2, DOUBLED)
    world.compare()
    assert cores == [len(os.sched_getaffinity(0)), 1]  # at the start, there are no requests


def test_files_that_hold_the_same_are_not_loaded_again(world: World) -> None:
    file = world.write("m", 1, IDENTITY)
    world.start()
    model, changes = world.repository.lookup("m", ""), len(world.changes)
    world.compare()
    file.unlink()
    file.write_bytes(IDENTITY)
    world.compare()
    world.load("m")
    assert world.repository.lookup("m", "") is model
    assert len(world.changes) == changes
    file.write_bytes(DOUBLED)
    world.compare("m")
    assert infer(world.repository, "m", value=3) == 6
    (world.folder / "m" / "config.pbtxt").write_text("max_batch_size: 3")
    world.compare("m")
    assert world.repository.lookup("m", "").config.max_batch_size == 3


def test_models_come_and_go_with_their_folders(world: World) -> None:
    world.write("a", 1, IDENTITY)
    world.write("b", 1, IDENTITY)
    world.start()
    shutil.rmtree(world.folder / "a")
    world.write("c", 1, DOUBLED)
    world.compare()
    with pytest.raises(NotFound, match="there is no model 'a'"):
        world.repository.lookup("a", "")
    until(lambda: world.index() == [("b", "1", "READY"), ("c", "1", "READY")])


def test_one_version_alone(world: World) -> None:
    world.write("m", 1, IDENTITY)
    world.write("m", 2, IDENTITY)
    world.write("m", 3, DOUBLED)
    world.start()
    world.load("m", 1)
    assert sorted(world.repository["m"].serving) == [1, 3]
    world.compare()
    assert sorted(world.repository["m"].serving) == [1, 3], "files that change do not undo what was asked for"
    world.unload("m", 3)
    assert sorted(world.repository["m"].serving) == [1]
    assert world.repository.lookup("m", "").version == 1
    world.load("m")
    assert sorted(world.repository["m"].serving) == [3], "as the version policy says"


# ---- loads that fail -----------------------------------------------------------------------------------------------


def test_a_load_that_fails_leaves_the_old_version_and_says_why(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    file = world.write("m", 2, b"half")
    world.compare()
    assert infer(world.repository, "m", value=3) == 3
    assert world.index() == [("m", "1", "READY"), ("m", "2", "UNAVAILABLE")]
    assert world.reasons()["2"].startswith("the last load failed: model 'm' cannot be loaded")
    assert str(world.folder) not in world.reasons()["2"]
    assert world.repository["m"].loads == (1, True)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().startswith("model 'm' version 2 was not loaded: ")
    assert record.getMessage().endswith("; version 1 goes on serving")
    file.write_bytes(DOUBLED)
    world.compare()
    assert infer(world.repository, "m", value=3) == 6
    assert world.repository["m"].loads == (1, False)
    assert world.reasons()["2"] == ""


def test_a_broken_file_in_place_of_the_one_that_serves(world: World) -> None:
    file = world.write("m", 1, IDENTITY)
    world.start()
    file.write_bytes(b"half")
    with pytest.raises(FailedPrecondition, match="failed to load 'm': model 'm' cannot be loaded"):
        world.load("m")
    assert infer(world.repository, "m", value=3) == 3
    (entry,) = world.repository.index()
    assert (entry.state, entry.reason[:20]) == ("READY", "the last load failed")
    file.write_bytes(IDENTITY)
    world.load("m")
    assert world.reasons() == {"1": ""}
    assert world.repository["m"].loads == (1, False)


def test_a_model_of_which_nothing_serves(world: World) -> None:
    world.write("good", 1, IDENTITY)
    file = world.write("m", 1, b"half")
    world.start()
    with pytest.raises(Unavailable, match="model 'm' could not be loaded"):
        world.repository.lookup("m", "")
    file.write_bytes(IDENTITY)
    world.compare("m")
    assert infer(world.repository, "m") == 1
    assert ("m", "", "UNAVAILABLE") not in world.index()


def test_a_fault_of_ours_is_told_by_the_log_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    world.write("m", 2, DOUBLED)

    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(world.repository.loader, "load", fail)
    with pytest.raises(FailedPrecondition, match=r"^failed to load 'm': the server's log says why$"):
        world.load("m")
    assert infer(world.repository, "m", value=3) == 3


def test_a_version_that_does_not_fit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    world.write("m", 2, DOUBLED)

    def check(*_: object) -> None:
        raise StartError("it has 5 MiB")

    monkeypatch.setattr(world.life._versions._room, "check", check)
    with pytest.raises(FailedPrecondition, match="it has 5 MiB"):
        world.load("m")
    assert sorted(world.repository["m"].serving) == [1]


def test_a_configuration_that_contradicts_the_graph(world: World) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    config = world.folder / "m" / "config.pbtxt"
    config.write_text('input { name: "x" data_type: TYPE_INT32 dims: [16] }')
    world.compare()
    assert infer(world.repository, "m", value=3) == 3
    assert "the last load failed: config.pbtxt of model 'm': input 'x'" in world.reasons()["1"]
    config.unlink()
    world.compare()
    assert world.reasons() == {"1": ""}


def test_all_files_that_a_model_is_made_of_count(world: World) -> None:
    text = 'model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [16] input_data_file: "row" } } }'
    world.write("m", 1, IDENTITY, f"max_batch_size: 2 {text}")
    row = world.folder / "m" / "warmup" / "row"
    row.parent.mkdir()
    row.write_bytes(bytes(64))
    world.start()
    row.write_bytes(bytes(63))
    with pytest.raises(FailedPrecondition, match="'row' has 63 bytes"):
        world.load("m")
    with pytest.raises(FailedPrecondition, match="'row' has 63 bytes"):  # by another configuration, too
        world.life.load("m", sent=lambda base: Overlay.of_config(there(base), f"max_batch_size: 3 {text}")).result(LIMIT_S)
    row.unlink()
    row.symlink_to("/etc/hostname")
    with pytest.raises(FailedPrecondition, match="'warmup' is a symbolic link that leaves the model repository"):
        world.life.load("m", sent=lambda base: Overlay.of_config(there(base), "max_batch_size: 3")).result(LIMIT_S)


def test_a_single_file_with_weights_of_another_name(world: World) -> None:
    world.folder.mkdir()
    models.write(world.folder, "e", models.with_weights_in("weights.bin"))
    weights = world.folder / "weights.bin"
    weights.write_bytes(np.float32(1).tobytes())
    world.start()
    assert infer(world.repository, "e", value=3) == 4
    weights.write_bytes(np.float32(2).tobytes())
    world.load("e")
    assert infer(world.repository, "e", value=3) == 5
    world.life.load("e", sent=lambda base: Overlay.of_config(there(base), "max_batch_size: 5")).result(LIMIT_S)
    assert world.repository.lookup("e", "").config.max_batch_size == 5
    assert infer(world.repository, "e", value=3) == 5


def test_a_version_folder_without_files_is_no_version_yet(world: World) -> None:
    world.write("m", 1, IDENTITY)
    (world.folder / "m" / "2").mkdir()
    world.start()
    assert (world.index(), world.reasons()) == ([("m", "1", "READY")], {"1": ""})
    (world.folder / "m" / "2").rmdir()
    world.compare()
    assert (world.index(), world.reasons()) == ([("m", "1", "READY")], {"1": ""})
    assert world.repository["m"].loads is None


@pytest.mark.parametrize("broken", ["model.onnx", "config.pbtxt"])
def test_a_version_that_is_gone_leaves_no_reason_behind(world: World, broken: str) -> None:
    """Also where what is left cannot be loaded."""
    file = world.write("m", 1, IDENTITY)
    world.start()
    world.write("m", 2, b"half")
    world.compare()
    shutil.rmtree(world.folder / "m" / "2")
    (file if broken == "model.onnx" else world.folder / "m" / broken).write_bytes(b"half")
    world.compare()
    assert ("m", "2", "UNAVAILABLE") not in world.index()
    assert ("m", "1", "READY") in world.index()


def test_a_repository_that_disappears_takes_no_model_with_it(world: World) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    for vanish in (lambda: shutil.rmtree(world.folder / "m"), lambda: world.folder.rmdir()):
        vanish()
        with pytest.raises(ConfigError):
            world.compare()
        assert infer(world.repository, "m", value=3) == 3


@pytest.mark.parametrize("trials", [True, False])
def test_a_load_whose_run_does_not_end(world: World, trials: bool) -> None:
    """A trial run, or one to warm up. The clock is ahead, so that the first look ends it."""
    world.write("m", 1, IDENTITY)
    world.start()
    sharing = "" if trials else "max_batch_size: 0 input { name: 'x' dims: [-1, 64] } "
    world.write("endless", 1, models.slow(10**9, always=True), sharing + "inferd { max_run_s: 1 }")
    loading = world.life.load("endless")
    until(lambda: world.repository.expire(time.monotonic_ns() + 10**12) or loading.done())
    with pytest.raises(FailedPrecondition, match="model 'endless' version 1 cannot be loaded: a run took longer than max_run_s, 1 s"):
        loading.result()
    world.load("m")


@pytest.mark.parametrize("name", ["x", "", "..", "../m", "m/1", ".m", "m\0", "m\n", "x" * 10_000, "\u20ac" * 100])
def test_names_that_no_model_has(world: World, name: str) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    with pytest.raises(NotFound, match=r"failed to load .*, failed to poll from model repository") as caught:
        world.load(name)
    assert len(str(caught.value)) < 250
    with pytest.raises(NotFound, match="failed to unload"):
        world.unload(name)
    with pytest.raises(NotFound, match="it has no version 7"):
        world.load("m", 7)
    with pytest.raises(NotFound, match="version 7 is not loaded"):
        world.unload("m", 7)
    assert world.index() == [("m", "1", "READY")]


def test_a_folder_that_cannot_be_read_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("m", 1, IDENTITY)
    world.write("secret", 1, IDENTITY)
    world.start()
    iterdir = Path.iterdir

    def denied(path: Path) -> Iterator[Path]:
        if path.name == "secret":
            raise PermissionError(errno.EACCES, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    world.write("m", 2, DOUBLED)
    world.compare()
    assert [infer(world.repository, "m", value=3), infer(world.repository, "secret", value=3)] == [6, 3]
    assert ("secret", "", "UNAVAILABLE") in world.index()
    assert "the last load failed: model 'secret': its folder cannot be read: Permission denied" in world.reasons()[""]


def test_a_folder_whose_name_cannot_be_printed_is_no_model(world: World) -> None:
    world.write("m", 1, IDENTITY)
    world.write("x\x1b[31m\n", 1, IDENTITY)
    world.start()
    world.compare()
    assert [(entry.name, entry.reason[:70]) for entry in world.repository.index()] == [
        ("m", ""),
        (r"x\x1b[31m\n", r"the last load failed: models: 'x\x1b[31m\n' has characters in its name"),
    ]


def test_two_models_of_one_name(world: World, tmp_path: Path) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    models.write(world.folder, "m", DOUBLED)
    with pytest.raises(FailedPrecondition, match="there are two models named 'm'"):
        world.load("m")
    assert infer(world.repository, "m", value=3) == 3


# ---- versions go ---------------------------------------------------------------------------------------------------


def test_an_unload_lets_what_waits_and_runs_come_to_its_end(world: World) -> None:
    backend = FakeBackend()
    model = made([backend])
    world.write("double", 1, DOUBLED)
    world.repository.load_places([])
    world.repository._entry(model.name).models = (model,)
    world.repository._routing.fill()
    world.life.start()
    running = submit(model, 1)
    backend.wait_for_run()
    waiting = submit(model, 2)
    unloaded = world.life.unload("double")
    world.life.compare(()).result(LIMIT_S)  # the order is carried out, and holds up no other
    assert world.index() == [("double", "1", "UNLOADING")]
    with pytest.raises(NotFound):
        world.repository.lookup("double", "")
    assert not unloaded.done()
    backend.release()
    assert (running.response[0, 0], waiting.response[0, 0]) == (2, 4)
    unloaded.result(LIMIT_S)
    assert backend.closed
    assert world.index() == [("double", "1", "UNAVAILABLE")]


def test_a_model_that_was_unloaded_can_be_loaded_again(world: World) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    world.unload("m")
    with pytest.raises(NotFound):
        world.repository.lookup("m", "")
    world.unload("m")
    world.load("m")
    assert infer(world.repository, "m", value=3) == 3
    assert world.index() == [("m", "1", "READY")]


def test_settings_that_were_read_again_hold_for_later_versions(world: World) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    world.repository.upkeep.limit_queues(Settings(max_queue_requests=7))
    world.write("m", 2, IDENTITY)
    world.compare()
    assert world.repository.lookup("m", "2").config.inferd.max_queue_requests == 7


def test_models_without_files_are_forgotten(world: World) -> None:
    """Those that clients send: names without end would fill the index and the metrics."""
    world.write("m", 1, IDENTITY)
    world.start()

    def load(file: bytes) -> Future[None]:
        return world.life.load("sent", None, lambda _found: Overlay.of_files("sent", "", {"1/model.onnx": file}))

    with pytest.raises(FailedPrecondition):
        load(b"half").result(LIMIT_S)
    assert world.index() == [("m", "1", "READY")]
    assert not any(entry.loads for entry in world.repository.entries())
    load(DOUBLED).result(LIMIT_S)
    with pytest.raises(FailedPrecondition):
        load(b"half").result(LIMIT_S)
    assert world.index() == [("m", "1", "READY"), ("sent", "1", "READY")]
    assert world.repository["sent"].loads.failing
    world.unload("sent")
    assert world.index() == [("m", "1", "READY")]
    assert not any(entry.loads for entry in world.repository.entries())


@pytest.mark.parametrize("entry", ["2024/", "model.onnx", "config.toml", "config.pbtxt", "2024/model.onnx"])
def test_a_stray_entry_unloads_nothing(world: World, caplog: pytest.LogCaptureFixture, entry: str) -> None:
    world.write("m", 1, IDENTITY)
    world.write("1001", 1, DOUBLED)
    world.start()
    path = world.folder / entry
    (path if entry.endswith("/") else path.parent).mkdir(exist_ok=True)
    if not entry.endswith("/"):
        path.write_bytes(IDENTITY)
    for _ in range(2):
        world.compare()
    assert world.index() == [("1001", "1", "READY"), ("m", "1", "READY")]
    assert caplog.text.count("is not served") == 1
