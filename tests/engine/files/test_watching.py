"""When a change of a model's files is told: by a policy with made-up times, and once by real files."""

from __future__ import annotations

import os
import queue
from contextlib import suppress
from pathlib import Path

import pytest

from inferd.engine.files import watching
from inferd.engine.files.watching import Settling, Watcher, look
from inferd.errors import ConfigError
from tests import models
from tests.server_fixtures import until

OLD, NEW, NEWER = {"f": (1,)}, {"f": (2,)}, {"f": (3,)}
IDENTITY, DOUBLED = models.identity(), models.doubled()


def test_a_change_is_told_once_it_has_settled() -> None:
    policy = Settling(10, {"m": OLD, "other": OLD})
    assert policy.settled
    assert policy.saw({"m": NEW, "other": OLD}, 100) == set()
    assert not policy.settled
    assert policy.saw({"m": NEW, "other": OLD}, 109) == set()
    assert policy.saw({"m": NEWER, "other": OLD}, 110) == set(), "it is still being written"
    assert policy.saw({"m": NEWER, "other": OLD}, 119) == set()
    assert policy.saw({"m": NEWER, "other": OLD}, 120) == {"m"}
    assert policy.settled
    assert policy.saw({"m": NEWER, "other": OLD}, 500) == set()


def test_models_that_are_new_and_gone() -> None:
    policy = Settling(10, {"gone": OLD})
    assert policy.saw({"new": OLD}, 0) == set()
    assert policy.saw({"new": OLD}, 10) == {"new", "gone"}
    assert policy.saw({"gone": OLD, "new": OLD}, 20) == set()
    assert policy.saw({"new": OLD}, 25) == set(), "it came and went before it settled"
    assert policy.settled
    assert policy.saw({"new": OLD}, 100) == set()


def test_a_change_that_is_undone_is_none() -> None:
    policy = Settling(10, {"m": OLD})
    assert policy.saw({"m": NEW}, 0) == set()
    assert policy.saw({"m": OLD}, 5) == set()
    assert policy.settled
    assert policy.saw({"m": NEW}, 11) == set(), "time counts from the change"


def test_a_look_shows_what_a_model_is_made_of(tmp_path: Path) -> None:
    folder = models.repository(tmp_path / "models", {"a": {1: IDENTITY, 2: IDENTITY}, "b": IDENTITY}, {"a": ""})
    state = tmp_path / "labels.json"
    before = look([folder], state)
    assert {name: len(stamps) for name, stamps in before.items()} == {"a": 3, "b": 1}
    state.write_text("{}")
    (folder / "a" / "config.pbtxt").write_text("max_batch_size: 2")
    models.write(folder / "c", "odd", IDENTITY)  # no model, but it looks like one
    after = look([folder], state)
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == {"", "a", "c"}
    with pytest.raises(ConfigError):
        look([tmp_path / "none"])


@pytest.mark.parametrize("events", [True, False], ids=["events", "looks alone"])
def test_a_new_version_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: bool) -> None:
    if events:
        pytest.importorskip("watchfiles")
    else:
        monkeypatch.setattr(watching, "find_spec", lambda name: None)
    folder = models.repository(tmp_path, {"m": IDENTITY})
    told: queue.SimpleQueue[set[str]] = queue.SimpleQueue()
    watcher = Watcher([folder], told.put, 3600 if events else 0.01, settle_s=0.01)
    watcher.start()
    try:
        for version in range(2, 100):  # the system sends no events of what happened before it was asked for them
            models.repository(folder, {"m": {version: DOUBLED}})
            with suppress(queue.Empty):
                assert told.get(timeout=0.5) == {"m"}
                break
        else:
            pytest.fail("nobody heard of it")
    finally:
        watcher.stop()


def test_folders_whose_events_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A link out of the repository, to a system's folders say, is not followed."""
    folder = models.repository(tmp_path / "models", {"m": {1: IDENTITY, 2: IDENTITY}}).resolve()
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (folder / "usr").symlink_to(tmp_path / "outside")
    (folder / "m" / "loop").symlink_to(folder)
    (folder / ".git" / "objects").mkdir(parents=True)
    (folder / "..one" / "inside").mkdir(parents=True)
    (folder / "inside").symlink_to("..one/inside")
    watched = [folder, folder / "..one" / "inside", folder / "m", folder / "m" / "1", folder / "m" / "2"]
    watcher = Watcher([folder], print, 3600)
    assert watcher._folders() == {*watched}
    monkeypatch.setattr(watching, "MAX_WATCHES", 3)
    assert [watcher._folders() for _ in range(2)] == [{*watched[:3]}] * 2, "the highest first"
    assert caplog.text.count("more than 3 folders: a change in the others is found within 3600 s") == 1


def test_a_name_that_is_no_text_ends_no_events(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("watchfiles")
    folder = models.repository(tmp_path, {"m": IDENTITY})
    told: queue.SimpleQueue[set[str]] = queue.SimpleQueue()
    watcher = Watcher([folder], told.put, 3600, settle_s=0.01)
    watcher.start()
    numbers = iter(range(2, 10_000))

    def is_lost() -> bool:
        (folder / os.fsdecode(b"\xff%d" % next(numbers))).touch()
        return "they are asked for anew" in caplog.text

    def is_heard() -> bool:
        models.repository(folder, {"m": {next(numbers): DOUBLED}})
        with suppress(queue.Empty):
            return "m" in told.get(timeout=0.5)
        return False

    try:
        until(is_lost)
        while not told.empty():
            told.get()
        until(is_heard)
    finally:
        watcher.stop()


def test_a_repository_that_is_gone_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(watching, "find_spec", lambda name: None)
    folder = models.repository(tmp_path / "models", {"m": IDENTITY})
    watcher = Watcher([folder], print, 3600)
    folder.rename(tmp_path / "away")
    assert [watcher._look() for _ in range(3)] == [None] * 3
    assert caplog.text.count("the models that are loaded go on serving") == 1
    (tmp_path / "away").rename(folder)
    assert watcher._look()
