"""Labels: the table, its file, and versions that are served because a label names them."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from inferd.engine.files import kept_file
from inferd.engine.models import labels
from inferd.engine.models.labels import DAMAGED, Label, LabelFile, Table, moved, removed, rolled_back, shown_versions, versions_of
from inferd.errors import ConfigError, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from tests.engine.models.test_lifecycle import DOUBLED, IDENTITY, LIMIT_S, World
from tests.engine.models.test_repository import infer


@pytest.fixture
def world(tmp_path: Path):
    made = World(tmp_path / "models", LabelFile(tmp_path / "state" / "labels.json"))
    yield made
    made.life.stop(LIMIT_S)
    made.repository.close()


# ---- the table -----------------------------------------------------------------------------------------------------


def test_a_label_moves_and_goes_back() -> None:
    table: Table = {}
    for version in (1, 2, 2):
        table = moved(table, "m", "stable", version)
    table = moved(table, "m", "canary", 3)
    assert versions_of(table, "m") == {"stable": 2, "canary": 3}
    table = rolled_back(table, "m", "stable")
    assert versions_of(table, "m")["stable"] == 1
    assert versions_of(rolled_back(table, "m", "stable"), "m")["stable"] == 2
    assert versions_of(removed(table, "m", "canary"), "m") == {"stable": 1}
    assert versions_of(table, "other") == {}


@pytest.mark.parametrize("name", ["", "1", "01", "-1", "a b", "a/b", "ü", "a" * 65, "\n", "stable\n"])
def test_names_that_no_label_has(name: str) -> None:
    with pytest.raises(InvalidArgument, match="label: expected a letter, then up to 63") as caught:
        moved({}, "m", name, 1)
    assert len(str(caught.value)) < 250


def test_what_is_not_there_cannot_move(monkeypatch: pytest.MonkeyPatch) -> None:
    table = moved({}, "m", "stable", 1)
    with pytest.raises(FailedPrecondition, match="has named no version but 1: there is no way back"):
        rolled_back(table, "m", "stable")
    for change in (rolled_back, removed):
        with pytest.raises(NotFound, match="model 'm' has no label 'canary'"):
            change(table, "m", "canary")
    monkeypatch.setattr(labels, "MAX_LABELS", 1)
    with pytest.raises(ResourceExhausted, match="model 'm' has 1 labels, which is the limit"):
        moved(table, "m", "canary", 1)
    assert moved(table, "m", "stable", 2)


def test_the_file_holds_the_table(tmp_path: Path) -> None:
    file = LabelFile(tmp_path / "new" / "labels.json")
    assert file.read() == {}
    file.write({"m": {"stable": Label(2, 1)}, "empty": {}})
    assert file.read() == {"m": {"stable": Label(2, 1)}}
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["labels.json"]


def test_a_label_that_was_written_wrong_costs_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = ['"1": {"version": 2}', '"": {"version": 1}', '"s p": {"version": 1}', '"a": {"version": 0}', '"b": {"version": "2"}', '"c": 2']
    wrong.append(f'"d": {{"version": {1 << 80}}}')
    (tmp_path / "labels.json").write_text('{"m": {\n' + ",\n".join([*wrong, '"stable": {"version": 1}']) + "}}")
    assert LabelFile(tmp_path / "labels.json").read() == {"m": {"stable": Label(1)}}
    said = [record.getMessage() for record in caplog.records]
    assert [f"line {line}: a label of model 'm' is left out: " in text for line, text in enumerate(said, 2)] == [True] * len(wrong)
    assert said[0].endswith("expected a letter, then up to 63 letters, digits, '_', '.' or '-', got '1'; mend or remove it")
    assert "'a': Expected `int` >= 1 - at `$.version`" in said[3]


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff"])
def test_a_file_that_holds_no_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"labels: '.*labels.json' cannot be read: .*; mend the file, or remove it"):
        LabelFile(tmp_path / "labels.json").read()


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(FailedPrecondition, match=r"^labels cannot be written \(.*\), and stay as they are; the server's log says where$"):
        LabelFile(tmp_path / "state" / "labels.json").write({})
    assert str(tmp_path) in caplog.text
    with pytest.raises(FailedPrecondition, match=r"label: there is no folder .* --state-dir FOLDER"):
        LabelFile(None).write({})


def test_a_damaged_label_is_shown_as_such() -> None:
    table = {"m": {"stable": Label(DAMAGED), "canary": Label(2)}}
    assert shown_versions(table, "m") == {"stable": "damaged", "canary": "2"}


# ---- versions ------------------------------------------------------------------------------------------------------


def test_requests_follow_a_label(world: World) -> None:
    """The version policy selects the newest alone; what a label names is served, too. `stable` names what gets all other requests."""
    world.write("m", 1, IDENTITY)
    world.start()
    for label in ("other", "stable"):
        world.life.label("m", label, 1).result(LIMIT_S)
    world.write("m", 2, DOUBLED)
    world.compare()
    assert [infer(world.repository, "m", version, 3) for version in ("stable", "1", "", "2")] == [3, 3, 3, 6]
    world.life.label("m", "stable", 0).result(LIMIT_S)
    assert [infer(world.repository, "m", version, 3) for version in ("other", "")] == [3, 6]
    world.life.label("m", "stable", 1).result(LIMIT_S)
    world.life.label("m", "other", 0).result(LIMIT_S)
    assert world.reasons() == {"1": "label stable", "2": ""}
    world.life.label("m", "stable", 2).result(LIMIT_S)
    assert infer(world.repository, "m", "stable", 3) == 6
    assert sorted(world.repository["m"].serving) == [2], "nobody asks for version 1 any more"
    world.life.roll_back("m", "stable").result(LIMIT_S)
    assert infer(world.repository, "m", "stable", 3) == 3
    assert sorted(world.repository["m"].serving) == [1, 2]
    world.life.label("m", "stable", 0).result(LIMIT_S)
    with pytest.raises(InvalidArgument, match=r"a label of the model, or nothing for the newest: .* 'stable'"):
        world.repository.lookup("m", "stable")


def test_labels_are_there_after_a_restart(world: World, tmp_path: Path) -> None:
    world.write("m", 1, IDENTITY)
    world.write("m", 2, DOUBLED)
    world.start()
    world.life.label("m", "stable", 1).result(LIMIT_S)
    again = World(world.folder)
    again.repository.label(LabelFile(tmp_path / "state" / "labels.json").read())
    again.repository.load(world.folder)
    assert [infer(again.repository, "m", version, 3) for version in ("stable", "", "2")] == [3, 3, 6]
    again.repository.close()


def test_a_broken_version_keeps_its_label_at_the_start(tmp_path: Path) -> None:
    """Requests for `stable` get no other version."""
    world = World(tmp_path)
    world.write("m", 1, b"half")
    world.write("m", 2, DOUBLED)
    world.repository.label({"m": {"stable": Label(1)}})
    world.start()
    assert infer(world.repository, "m", "2", 3) == 6
    for version in ("", "stable"):
        with pytest.raises(Unavailable, match="label 'stable' of model 'm' names version 1, which takes no requests now"):
            world.repository.lookup("m", version)
    world.write("m", 1, IDENTITY)
    world.compare("m")
    assert [infer(world.repository, "m", version, 3) for version in ("", "stable", "2")] == [3, 3, 6]
    world.life.stop(LIMIT_S)
    world.repository.close()


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_label_that_cannot_move_stays(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("m", 1, IDENTITY)
    world.write("m", 2, DOUBLED)
    world.start()
    world.life.label("m", "stable", 2).result(LIMIT_S)
    world.write("m", 1, b"half")
    with pytest.raises(FailedPrecondition, match="the label stays where it is: model 'm' cannot be loaded"):
        world.life.label("m", "stable", 1).result(LIMIT_S)
    for name, version, words in (("m", 7, "model 'm' has no version 7; it has 1, 2"), ("x", 1, "model 'x' is not loaded")):
        with pytest.raises(NotFound, match=words):
            world.life.label(name, "stable", version).result(LIMIT_S)
    world.write("m", 1, IDENTITY)
    monkeypatch.setattr(kept_file.os, "replace", full)
    with pytest.raises(FailedPrecondition, match="labels cannot be written"):
        world.life.label("m", "stable", 1).result(LIMIT_S)
    assert infer(world.repository, "m", "stable", 3) == 6
    assert [entry.name for entry in (tmp_path / "state").iterdir()] == ["labels.json"]
    with pytest.raises(FailedPrecondition, match="label 'stable' names version 2; move or remove it first"):
        world.unload("m", 2)


def test_a_label_whose_version_is_gone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write("m", 1, IDENTITY)
    world.start()
    world.life.label("m", "stable", 1).result(LIMIT_S)
    world.write("m", 2, DOUBLED)
    shutil.rmtree(world.folder / "m" / "1")
    world.compare()
    with pytest.raises(Unavailable, match="label 'stable' of model 'm' names version 1, which takes no requests now"):
        world.repository.lookup("m", "stable")
    with pytest.raises(Unavailable, match="label 'stable' of model 'm' names version 1, which takes no requests now"):
        world.repository.lookup("m", "")
    (gone, _) = world.repository.index()
    assert (gone.version, gone.state, gone.reason) == ("1", "UNAVAILABLE", "label stable names it, and it is not there")
    (warning,) = [each.message for each in caplog.records if "label 'stable'" in each.message]
    assert warning.startswith("model 'm': label 'stable' names version 1, which is not served: requests without a version are rejected")
    world.write("m", 1, IDENTITY)
    world.compare()
    assert infer(world.repository, "m", "stable", 3) == 3
    assert [each.state for each in world.repository.index()] == ["READY", "READY"]


def test_labels_that_another_process_moves(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world.write("m", 1, IDENTITY)
    world.write("m", 2, DOUBLED)
    world.start()
    file = LabelFile(tmp_path / "state" / "labels.json")
    file.write({"m": {"stable": Label(1)}, "elsewhere": {"stable": Label(1)}})
    world.compare("")
    assert infer(world.repository, "m", "stable", 3) == 3
    world.life.label("m", "canary", 2).result(LIMIT_S)
    assert versions_of(file.read(), "m") == {"stable": 1, "canary": 2}
    assert versions_of(file.read(), "elsewhere") == {"stable": 1}
    assert file.path is not None
    file.path.write_text("{")
    with pytest.raises(FailedPrecondition, match="the file of labels is broken"):
        world.compare("")
    assert infer(world.repository, "m", "stable", 3) == 3


def test_two_processes_move_labels(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one moves labels while this one loads what its label names, and this one follows only what it has loaded."""
    for name in "mn":
        for version in (1, 2):
            world.write(name, version, DOUBLED)
    world.start()
    file = world.life._labels._file
    bring = world.life._versions.bring

    def slow(*given: object, **named: object) -> str:
        monkeypatch.setattr(world.life._versions, "bring", bring)
        file.write(moved(moved(file.read(), "m", "other", 2), "n", "stable", 1))
        return bring(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(world.life._versions, "bring", slow)
    world.life.label("m", "stable", 1).result(LIMIT_S)
    assert versions_of(file.read(), "m") == {"stable": 1, "other": 2}
    assert versions_of(world.repository.labels, "m") == {"stable": 1, "other": 2}
    assert versions_of(world.repository.labels, "n") == {}, "its version is not loaded yet"
    assert versions_of(file.read(), "n") == {"stable": 1}
    world.compare("")
    assert infer(world.repository, "n", version="stable", value=3) == 6


@pytest.mark.parametrize("labels", ['{"stable": {"version": "one"}}', "null", "[1]"])
def test_a_damaged_stable_stops_requests_without_a_version(world: World, tmp_path: Path, labels: str) -> None:
    """They do not go to the newest version."""
    world.write("m", 1, IDENTITY)
    world.write("m", 2, DOUBLED)
    path = tmp_path / "state" / "labels.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'{{"m": {labels}}}')
    world.repository.label(LabelFile(path).read())
    world.repository.load([tmp_path / "models"])
    with pytest.raises(Unavailable, match="label 'stable' of model 'm' cannot be read"):
        world.repository.lookup("m", "")
    assert world.repository.lookup("m", "2").version == 2


def test_a_label_that_nothing_would_keep_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    world.write("m", 1, IDENTITY)
    world.write("m", 2, DOUBLED)
    world.start()
    brought: list[object] = []
    monkeypatch.setattr(world.life._versions, "bring", lambda *arguments: brought.append(arguments))
    with pytest.raises(FailedPrecondition, match="--state-dir FOLDER"):
        world.life.label("m", "stable", 1).result(LIMIT_S)
    assert brought == []
    world.life.stop(LIMIT_S)
    world.repository.close()
