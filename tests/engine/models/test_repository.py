"""Models on disk, lookup by name and version, and start-up that names every failure."""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from inferd._core.batching.batch import Batch
from inferd._core.batching.local import LocalRequest
from inferd._core.grpc.call import Call
from inferd.config import Settings
from inferd.engine.configuration.checkup import check_config
from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.files.places import find_places
from inferd.engine.loading.planner import Host
from inferd.engine.model import THREAD_IDLE_NS
from inferd.engine.models.repository import Repository
from inferd.engine.runtime import devices
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.errors import ConfigError, InvalidArgument, NotFound, StartError, Unavailable
from inferd.serving.summary import summaries
from inferd.steps.picture_memory import memory as picture_memory
from tests import models
from tests.record.records import columns, record, tapped

Load = Callable[..., Repository]
IDENTITY, DOUBLED = models.identity(), models.doubled()


@pytest.fixture
def made() -> Iterator[list[Repository]]:
    opened: list[Repository] = []
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
def load(made: list[Repository]) -> Load:
    def load(*paths: Path, **defaults: object) -> Repository:
        opened = Repository(Defaults(**defaults), deliver=Batch.deliver, host=Host(4, 4))  # type: ignore[arg-type]
        made.append(opened)
        opened.load([str(path) for path in paths])
        return opened

    return load


def skipped(repository: Repository) -> set[str]:
    return {entry.name for entry in repository.entries() if entry.skipped}


def listed(repository: Repository) -> list[tuple[str, str, str]]:
    return [entry[:3] for entry in repository.index()]


class Asked(Call):
    """Keeps its response."""

    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()
        self.response: dict[str, np.ndarray] | Exception | None = None

    def reply(self, message: object) -> None:
        self.response = message  # type: ignore[assignment]
        self.done.set()

    def fail(self, error: Exception) -> None:
        self.response = error
        self.done.set()


def infer(repository: Repository, name: str, version: str = "", value: float = 1.0) -> float:
    """The first number of the response to one row of `value`."""
    model = repository.lookup(name, version)
    request, asked = LocalRequest([("x", "FP32", np.full((1, 16), value, np.float32))]), Asked()
    model.check(request)
    model.submit(request, asked)
    assert asked.done.wait(30)
    assert isinstance(asked.response, dict)
    return float(asked.response["y"][0, 0])


# ---- where models lie ----------------------------------------------------------------------------------------------


def test_a_single_file(tmp_path: Path, load: Load) -> None:
    assert listed(load(models.write(tmp_path, "net", IDENTITY))) == [("net", "1", "READY")]


def test_a_model_folder(tmp_path: Path, load: Load) -> None:
    models.write(tmp_path / "flat", "model", IDENTITY)
    models.repository(tmp_path, {"numbered": {2: IDENTITY}}, {"numbered": "max_batch_size: 3"})
    opened = load(tmp_path / "flat", tmp_path / "numbered")
    assert listed(opened) == [("flat", "1", "READY"), ("numbered", "2", "READY")]
    assert opened.lookup("numbered", "").config.max_batch_size == 3


def test_a_repository_with_everything_in_it(tmp_path: Path, load: Load) -> None:
    models.repository(tmp_path, {"a": IDENTITY, "b": {1: IDENTITY, 3: DOUBLED}})
    models.write(tmp_path, "c", IDENTITY)
    models.write(tmp_path / "d", "model", IDENTITY)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "train.py").write_text("")
    (tmp_path / ".git").mkdir()
    models.write(tmp_path / "__pycache__", "odd", b"")
    (tmp_path / "README.md").write_text("")
    (tmp_path / "b" / "notes").mkdir()
    (tmp_path / "b" / "03").mkdir()
    assert [entry[:2] for entry in listed(load(tmp_path))] == [("a", "1"), ("b", "3"), ("c", "1"), ("d", "1")]


def test_several_paths_and_settings_of_the_server(tmp_path: Path, made: list[Repository]) -> None:
    opened = Repository(Settings(max_batch_size=5), deliver=Batch.deliver)
    made.append(opened)
    opened.load([models.write(tmp_path, "a", IDENTITY), models.write(tmp_path, "b", IDENTITY)])
    assert [(model.name, model.config.max_batch_size) for model in opened.models()] == [("a", 5), ("b", 5)]


def test_room_for_pictures_is_what_the_settings_say(made: list[Repository], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_memory, "limit_bytes", 7)
    monkeypatch.setattr(picture_memory, "_asked_bytes", 0)
    made.append(Repository(Defaults(), deliver=Batch.deliver))
    assert picture_memory.limit_bytes == 7
    made.append(Repository(Settings(picture_memory_bytes=5 << 20), deliver=Batch.deliver))
    assert picture_memory.limit_bytes == 5 << 20
    made.append(Repository(Settings(picture_memory_bytes=2 << 20), deliver=Batch.deliver))
    assert picture_memory.limit_bytes == 5 << 20


def test_a_relative_folder_has_a_name(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    models.write(tmp_path / "net", "model", IDENTITY)
    monkeypatch.chdir(tmp_path / "net")
    assert listed(load(Path())) == [("net", "1", "READY")]


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["5"]),
        ("version_policy { latest { num_versions: 2 } }", ["3", "5"]),
        ("version_policy { latest { num_versions: 9 } }", ["1", "3", "5"]),
        ("version_policy { all { } }", ["1", "3", "5"]),
        ("version_policy { specific { versions: [3, 1] } }", ["1", "3"]),
    ],
)
def test_version_policy(tmp_path: Path, load: Load, policy: str, served: list[str]) -> None:
    models.repository(tmp_path, {"m": {1: IDENTITY, 3: IDENTITY, 5: IDENTITY}}, {"m": policy})
    assert [version for _, version, _ in listed(load(tmp_path))] == served


def test_default_model_filename(tmp_path: Path, load: Load) -> None:
    models.repository(tmp_path, {}, {"m": 'default_model_filename: "net.onnx"'})
    models.write(tmp_path / "m" / "1", "net", IDENTITY)
    assert listed(load(tmp_path)) == [("m", "1", "READY")]


def test_config_toml(tmp_path: Path, load: Load) -> None:
    models.repository(tmp_path, {"m": IDENTITY})
    (tmp_path / "m" / "config.toml").write_text("max_batch_size = 2\n[inferd]\nmax_queue_requests = 7\n")
    config = load(tmp_path).lookup("m", "").config
    assert (config.max_batch_size, config.inferd.max_queue_requests) == (2, 7)


def test_labels_must_be_there(tmp_path: Path, load: Load) -> None:
    models.repository(tmp_path, {"m": IDENTITY}, {"m": 'output { name: "y" label_filename: "labels.txt" }'})
    with pytest.raises(ConfigError, match=r"label_filename: there is no file 'labels.txt' in the model's folder"):
        load(tmp_path)
    (tmp_path / "m" / "labels.txt").write_text("cat\n")
    load(tmp_path)


@pytest.mark.parametrize("name", ["../../labels.txt", "/labels.txt", "labels.txt"])
@pytest.mark.parametrize("kind", ["label_filename", "labels of a step"])
def test_labels_stay_inside_the_repository(tmp_path: Path, load: Load, name: str, kind: str) -> None:
    """By a symbolic link, too: one that leads elsewhere in the repository is taken."""
    secret = tmp_path / "labels.txt"
    secret.write_text("secret\n" * 16)
    name = str(secret) if name.startswith("/") else name
    step = f'inferd {{ postprocess {{ output: "y" steps {{ top_k {{ labels: "{name}" }} }} }} }}'
    text = f'output {{ name: "y" label_filename: "{name}" }}' if kind == "label_filename" else step
    folder = models.repository(tmp_path / "models", {"m": IDENTITY}, {"m": text})
    (folder / "m" / "labels.txt").symlink_to(secret)
    with pytest.raises(ConfigError, match=r"must lie in the model's folder|is a symbolic link that leaves the model repository") as caught:
        load(folder)
    assert str(tmp_path) not in str(caught.value).replace(name, "")
    if name == "labels.txt":
        (folder / "m" / "labels.txt").unlink()
        (folder / "labels.txt").write_text("cat\n" * 16)
        (folder / "m" / "labels.txt").symlink_to("../labels.txt")
        load(folder)
        with pytest.raises(ConfigError, match="leaves the model repository"):
            load(folder / "m")  # which is all that there is to serve then


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "link to nothing", "link to itself", "link to a folder"])
@pytest.mark.parametrize("file", ["config.pbtxt", "config.toml"])
def test_a_configuration_that_is_no_regular_file(tmp_path: Path, load: Load, kind: str, file: str) -> None:
    folder = models.repository(tmp_path / "models", {"m": IDENTITY})
    path = folder / "m" / file
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path.symlink_to({"link to nothing": "nowhere", "link to itself": file, "link to a folder": "."}[kind])
    with pytest.raises(ConfigError, match=rf"{file} of model 'm': expected a regular file, got a"):
        load(folder)
    path.rmdir() if kind == "folder" else path.unlink()
    (folder / "m" / "real").write_text("max_batch_size: 2" if file == "config.pbtxt" else "max_batch_size = 2")
    path.symlink_to("real")
    assert load(folder).lookup("m", "").config.max_batch_size == 2


def test_fields_without_effect_are_told(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    text = 'optimization { cuda { graphs: true } } metric_tags { key: "team" value: "search" }'
    models.repository(tmp_path, {"m": IDENTITY}, {"m": text})
    load(tmp_path)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.partition(" has no effect")[0] for line in told] == [
        "config.pbtxt of model 'm': metric_tags",
        "config.pbtxt of model 'm': optimization.cuda.graphs",
    ]


def test_zeros_that_a_model_does_not_take_are_one_line(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    gather = helper.make_node("Gather", ["table", "index"], ["y"])
    beyond = helper.make_node("Add", ["x", "far"], ["index"])
    content = models.model(
        [beyond, gather], [("x", "INT64", (1,))], [("y", "FP32", (1,))], {"far": np.int64(9), "table": np.ones(4, np.float32)}
    )
    with caplog.at_level(logging.INFO):
        load(models.write(tmp_path, "m", content))
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (
        "zeros failed as a warm-up, its first requests may be slow: Non-zero status code returned while running Gather"
        in record.getMessage()
    )
    assert not any(record.exc_info for record in caplog.records)


def test_rows_that_fit_no_memory(tmp_path: Path, load: Load) -> None:
    models.repository(
        tmp_path,
        {"m": models.identity(dims=("s",))},
        {"m": f'input {{ name: "x" dims: [{1 << 55}] }} output {{ name: "y" dims: [{1 << 55}] }} max_batch_size: 8'},
    )
    with pytest.raises(ConfigError, match=r"model 'm': the arrays of a run of 8 rows do not fit .* set a smaller max_batch_size"):
        load(tmp_path)


# ---- lookup --------------------------------------------------------------------------------------------------------


@pytest.fixture
def versions(tmp_path: Path, load: Load) -> Repository:
    models.repository(tmp_path, {"m": {1: IDENTITY, 10: DOUBLED}, "other": IDENTITY}, {"m": "version_policy { all {} }"})
    return load(tmp_path)


def test_the_newest_is_a_number_not_a_text(versions: Repository) -> None:
    assert versions.lookup("m", "").version == 10
    assert versions.lookup("m", "1").version == 1
    assert versions.lookup("m", "0010").version == 10
    assert versions.lookup("m", "") is versions.lookup("m", "10")


def test_each_version_answers_for_itself(versions: Repository) -> None:
    assert infer(versions, "m", "1", 3) == 3
    assert infer(versions, "m", "10", 3) == 6
    assert infer(versions, "m", "", 3) == 6


@pytest.mark.parametrize("version", ["x", "1.0", "-1", "0", "1 ", "٣", "9" * 19, "9" * 5000, "1e3"])
def test_a_version_that_is_no_number(versions: Repository, version: str) -> None:
    with pytest.raises(InvalidArgument, match="model_version: expected a number from 1") as caught:
        versions.lookup("m", version)
    assert len(str(caught.value)) < 300


def test_unknown_names_and_versions(versions: Repository) -> None:
    with pytest.raises(NotFound, match=r"no model 'x'; name one of the repository index") as caught:
        versions.lookup("x", "")
    assert "other" not in str(caught.value)  # who may infer may not list, by a proxy's rules
    with pytest.raises(NotFound, match=r"model 'm' serves no version 2; it serves 1, 10, and no version means the newest"):
        versions.lookup("m", "2")
    with pytest.raises(NotFound) as caught:
        versions.lookup("x" * 100_000, "")
    assert len(str(caught.value)) < 300


def test_before_loading_and_after_closing(tmp_path: Path, load: Load) -> None:
    empty = Repository(deliver=Batch.deliver)
    with pytest.raises(NotFound, match="there is no model 'm'"):
        empty.lookup("m", "")
    empty.expire(0)
    empty.close()
    opened = load(models.write(tmp_path, "m", IDENTITY))
    model = opened.lookup("m", "")
    assert opened.drain(10.0)
    with pytest.raises(Unavailable, match="model 'm' version 1 is UNLOADING"):
        opened.lookup("m", "")
    with pytest.raises(Unavailable):
        model.submit(LocalRequest([]), Asked())
    opened.close()
    opened.close()
    assert listed(opened) == [("m", "1", "UNAVAILABLE")]
    with pytest.raises(Unavailable):
        opened.lookup("m", "1")


# ---- start-up that fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lay_out", "words"),
    [
        (lambda folder: folder / "none", ["there is no file or folder", "none"]),
        (lambda folder: folder, ["nothing to serve", "name/1/model.onnx"]),
        (lambda folder: models.write(folder / "m", "net", IDENTITY).parents[1], ["folder 'm' holds .onnx files", "rename"]),
        (lambda folder: models.repository(folder, {}, {"m": ""}), ["model 'm' has no version folder", "m/1/model.onnx"]),
        (
            lambda folder: models.repository(folder, {"m": {10**19 - 1: IDENTITY}}),
            ["model 'm' has no version", "'9999999999999999999'", "1 to 922"],
        ),
        (lambda folder: models.repository(folder, {"m": {10**20: IDENTITY}, "n": IDENTITY}), ["model 'm' has no version", "'1000"]),
        (lambda folder: models.repository(folder, {"m": {0: IDENTITY}}) / "m", ["model 'm' has no version", "'0'", "m/1/model.onnx"]),
        (
            lambda folder: models.repository(folder, {"m": {0: IDENTITY}}).joinpath("m/0").rename(folder / "m" / "01").parents[1],
            ["model 'm' has no version", "'01'", "without leading zeros", "m/1/model.onnx"],
        ),
        (
            lambda folder: models.repository(folder, {"m": IDENTITY}).joinpath("m/1").rename(folder / "m" / "latest").parents[1],
            ["folder 'm' holds latest/model.onnx and no version", "a folder named by a number", "rename it to 1"],
        ),
        (lambda folder: models.repository(folder, {}, {"m/1": ""}) / "m", ["version 1", "no file 'model.onnx'"]),
        (lambda folder: models.write(folder / "m" / "1", "net", IDENTITY).parents[2], ["no file 'model.onnx'", "net.onnx"]),
        (
            lambda folder: models.repository(folder, {"m": IDENTITY}, {"m": "version_policy { specific { versions: [3, 4] } }"}),
            ["[3, 4]", "there is [1]"],
        ),
        (
            lambda folder: models.repository(folder, {"m": IDENTITY}, {"m": 'default_model_filename: "../../x.onnx"'}),
            ["default_model_filename", "must lie in"],
        ),
        (lambda folder: models.repository(folder, {"m": b"junk"}), ["model 'm' cannot be loaded"]),
        (lambda folder: models.write(folder, "m", b"").rename(folder / "m.joblib"), ["m.joblib", "inferd features export"]),
        (lambda folder: models.write(folder, "m", b"").rename(folder / "m.pt"), ["m.pt", "torch.onnx.export"]),
        (lambda folder: models.repository(folder, {"m": models.sequence_output()}), ["model 'm': output 'y'", "no request can carry"]),
    ],
)
def test_what_cannot_be_served_is_named(tmp_path: Path, load: Load, lay_out, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(lay_out(tmp_path))
    for word in words:
        assert word in str(caught.value)


def test_a_file_that_is_no_model(tmp_path: Path, load: Load) -> None:
    (tmp_path / "net.pt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"not an \.onnx file"):
        load(tmp_path / "net.pt")
    with pytest.raises(ConfigError, match="no path was given"):
        load()


def test_two_models_of_one_name(tmp_path: Path, load: Load) -> None:
    with pytest.raises(ConfigError, match="two models named 'm'"):
        load(models.write(tmp_path / "a", "m", IDENTITY), models.write(tmp_path / "b", "m", IDENTITY))


def test_every_failure_is_named_and_nothing_runs(tmp_path: Path, load: Load) -> None:
    models.repository(tmp_path, {"a": IDENTITY, "b": b"junk", "c": IDENTITY, "d": IDENTITY}, {"d": "max_batch: 1"})
    before = threading.active_count()
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    text = str(caught.value)
    assert text.startswith("2 of 4 models cannot be served:\n  - ")
    assert "model 'b'" in text
    assert "model 'd'" in text
    assert threading.active_count() == before


def test_a_model_that_fails_can_be_skipped(tmp_path: Path, made: list[Repository], caplog: pytest.LogCaptureFixture) -> None:
    """auto: in a repository, and not where it was named; one that is served is enough."""

    def load(mode: str, *paths: Path) -> Repository:
        made.append(Repository(deliver=Batch.deliver, host=Host(4, 4), on_model_error=mode))
        made[-1].load(paths)
        return made[-1]

    found, named = tmp_path / "found", tmp_path / "named"
    models.repository(found, {"a": IDENTITY, "b": {1: b"junk", 2: b"junk"}}, {"b": "version_policy { all { } }"})
    models.write(found / "c", "net", IDENTITY)
    models.write(named, "d", b"junk")
    opened = load("auto", found)
    assert listed(opened) == [("a", "1", "READY"), ("b", "", "UNAVAILABLE"), ("c", "", "UNAVAILABLE")]
    assert skipped(opened) == {"b", "c"}
    assert "skipped: model 'b' cannot be loaded" in caplog.text
    with pytest.raises(Unavailable, match=r"model 'b' could not be loaded; the server's log says why$"):
        opened.lookup("b", "")
    assert infer(opened, "a") == 1
    for mode, paths in (("exit", [found]), ("auto", [found, named / "d.onnx"]), ("skip", [named / "d.onnx"])):
        with pytest.raises(ConfigError):
            load(mode, *paths)
    assert skipped(load("skip", found, named / "d.onnx")) == {"b", "c", "d"}


@pytest.mark.parametrize("path", [".", "m"])
def test_a_version_that_fails_keeps_no_other_from_serving(
    tmp_path: Path, path: str, load: Load, made: list[Repository], caplog: pytest.LogCaptureFixture
) -> None:
    models.repository(tmp_path, {"m": {1: IDENTITY, 2: b"junk", 3: IDENTITY}}, {"m": "version_policy { all { } }"})
    with pytest.raises(ConfigError, match="model 'm' cannot be loaded"):
        load(tmp_path / path)  # with on_model_error exit
    made.append(opened := Repository(deliver=Batch.deliver, host=Host(4, 4), on_model_error="auto"))
    opened.load(tmp_path / path)
    assert listed(opened) == [("m", "1", "READY"), ("m", "2", "UNAVAILABLE"), ("m", "3", "READY")]
    assert skipped(opened) == set()
    assert opened["m"].broken[2].startswith("the last load failed: model 'm' cannot be loaded")
    assert [(each.version, bool(each.error)) for each in summaries(opened)] == [(1, False), (3, False), (2, True)]
    assert "model 'm' version 2 was not loaded: model 'm' cannot be loaded" in caplog.text
    assert caplog.text.rstrip().endswith("; version 1, 3 is served")
    assert infer(opened, "m") == 1
    with pytest.raises(NotFound, match="serves no version 2; it serves 1, 3"):
        opened.lookup("m", "2")


@pytest.mark.parametrize(
    ("file", "cure"),
    [
        ("config.pbtxt", "version_policy { all { } } in its config.pbtxt"),
        ("config.toml", "version_policy.all = {} at the top of its config.toml"),
    ],
)
def test_versions_that_are_not_served_are_named(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture, file: str, cure: str) -> None:
    caplog.set_level(logging.INFO)
    folder = models.repository(tmp_path, {"m": {1: IDENTITY, 2: IDENTITY, 3: DOUBLED}})
    (folder / "m" / file).touch()
    opened = load(folder)
    assert f"model 'm': serves version 3, the newest, and not 1, 2; {cure} serves all" in caplog.text
    with pytest.raises(NotFound, match=rf"version 1 is there, and by default only the newest is served; {re.escape(cure)} serves all$"):
        opened.lookup("m", "1")
    with pytest.raises(NotFound, match=r"serves no version 4; it serves 3, and no version means the newest"):
        opened.lookup("m", "4")
    (place,), _ = find_places([folder])
    assert [text for _, kind, _, text in check_config(place) if kind == "ignored"] == [
        f"not served, for 3 is the newest: {cure} serves all"
    ]


def test_a_version_that_a_policy_leaves_out(tmp_path: Path, load: Load) -> None:
    folder = models.repository(
        tmp_path, {"m": {1: IDENTITY, 2: IDENTITY, 3: DOUBLED}}, {"m": "version_policy { specific { versions: [1, 3] } }"}
    )
    with pytest.raises(NotFound, match=r"serves no version 2; it serves 1, 3; its version_policy leaves version 2 out$"):
        load(folder).lookup("m", "2")


def test_a_missing_version_of_a_policy_costs_no_other(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    policy = "version_policy { specific { versions: [1, 4] } }"
    models.repository(tmp_path, {"m": {1: IDENTITY, 2: IDENTITY}}, {"m": policy})
    assert listed(load(tmp_path)) == [("m", "1", "READY")]
    assert "version_policy.specific names version 4, and there is [1, 2]: the others are served" in caplog.text


def test_a_machine_that_says_no_is_a_start_error(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_there", lambda: True)
    models.repository(tmp_path, {"a": IDENTITY, "b": IDENTITY}, dict.fromkeys("ab", "instance_group { kind: KIND_GPU }"))
    if "CUDAExecutionProvider" in OnnxModel.load(IDENTITY).providers:
        pytest.skip("there is a GPU")
    with pytest.raises(StartError, match="2 of 2 models"):
        load(tmp_path)
    (tmp_path / "a" / "1" / "model.onnx").write_bytes(b"junk")
    (tmp_path / "a" / "config.pbtxt").unlink()
    with pytest.raises(ConfigError, match="2 of 2 models"):
        load(tmp_path)


def test_a_warmup_from_a_file(tmp_path: Path, load: Load) -> None:
    """Which the model takes: zeros it does not."""
    x = 'inputs { key: "x" value { data_type: TYPE_FP32 dims: [16] input_data_file: "row" } }'
    text = f'max_batch_size: 8 model_warmup {{ name: "w" batch_size: 2 {x} }}'
    models.repository(tmp_path, {"m": IDENTITY}, {"m": text})
    with pytest.raises(ConfigError, match=r"input_data_file: there is no file 'warmup/row' in the model's folder"):
        load(tmp_path)
    (tmp_path / "m" / "warmup").mkdir()
    (tmp_path / "m" / "warmup" / "row").write_bytes(bytes(63))
    with pytest.raises(ConfigError, match=r"'row' has 63 bytes: a row of FP32\[16\] has 64 bytes"):
        load(tmp_path)
    (tmp_path / "m" / "warmup" / "row").write_bytes(bytes(64))
    load(tmp_path)


def test_a_warmup_from_a_record(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """Below the folder `warmup`, too."""
    models.repository(tmp_path, {"double": models.identity(dims=(4,)), "other": models.identity(dims=(4,))})
    file = record(tmp_path / "double" / "warmup" / "recorded", columns(tapped(), tapped(rows=3)))
    with caplog.at_level(logging.INFO, "inferd.engine"):
        load(tmp_path)
    assert "model 'double' version 1: 2 recorded requests have warmed it up" in caplog.text
    (tmp_path / "other" / "warmup").mkdir()
    shutil.copy(file, tmp_path / "other" / "warmup" / "r.arrow")
    with pytest.raises(ConfigError, match=r"warm-up by .*/r\.arrow: expected requests of the model 'other', got a record of: double"):
        load(tmp_path)


def test_a_failing_warmup_of_the_configuration(tmp_path: Path, load: Load) -> None:
    warmup = 'model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_INT64 dims: [1] random_data: true } } }'
    models.repository(tmp_path, {"m": models.failing()}, {"m": warmup})
    with pytest.raises(StartError, match="model_warmup 'w' failed"):
        load(tmp_path)


def test_folders_that_look_like_versions_are_named(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    folder = models.repository(tmp_path, {"m": {1: IDENTITY, 2: IDENTITY, 3: IDENTITY}}) / "m"
    (folder / "2").rename(folder / "02")
    (folder / "3").rename(folder / "latest")
    (folder / "4").mkdir()
    (folder / "warmup").mkdir()
    assert listed(load(tmp_path)) == [("m", "1", "READY")]
    assert "model 'm': folder '4' is empty; '02', 'latest' is not served: a version is a folder named by a number from 1" in caplog.text


def test_an_empty_version_is_told_once(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"folder '1' is empty: put the model at m/1/model\.onnx"):
        load(tmp_path)
    assert not caplog.records


@pytest.mark.parametrize("link", ["m", "m/1", "m/1/model.onnx", "m/labels.txt", "m/warmup", "m.onnx"])
def test_a_link_out_of_the_repository_costs_its_model_alone(tmp_path: Path, made: list[Repository], link: str) -> None:
    """One that leads elsewhere in the repository, as Kubernetes makes them, is taken."""
    outside = models.repository(tmp_path / "outside", {"m": IDENTITY}) / "m"
    (outside / "labels.txt").touch()
    (outside / "warmup").mkdir()
    (outside / "warmup" / "row").touch()
    models.write(tmp_path / "outside", "m", IDENTITY)
    folder = models.repository(tmp_path / "models", {"good": IDENTITY} | ({} if link in ("m", "m.onnx") else {"m": IDENTITY}))
    models.repository(folder / "..one", {"inside": IDENTITY})
    (folder / "..data").symlink_to("..one")
    (folder / "inside").symlink_to("..data/inside")
    if link in ("m/1", "m/1/model.onnx"):
        (folder / "m" / "1" / "model.onnx").unlink()
    if link == "m/1":
        (folder / "m" / "1").rmdir()
    (folder / link).symlink_to(tmp_path / "outside" / link)
    made.append(Repository(deliver=Batch.deliver, on_model_error="auto"))
    made[-1].load(folder)
    assert made[-1].names() == {"good", "inside"}
    (entry,) = [entry for entry in made[-1].index() if entry.state == "UNAVAILABLE"]
    assert f"model 'm': '{link}' is a symbolic link that leaves the model repository: put a copy of its target there" in entry.reason


def test_a_model_that_fits_into_no_memory_is_rejected_at_once(tmp_path: Path, made: list[Repository]) -> None:
    models.repository(tmp_path, {"good": IDENTITY, "large": IDENTITY})
    os.truncate(tmp_path / "large" / "1" / "model.onnx", 10 << 40)
    made.append(Repository(deliver=Batch.deliver, on_model_error="auto"))
    made[-1].load(tmp_path)
    assert made[-1].names() == {"good"}
    assert "model 'large' version 1 does not fit into memory: its files have 10485760 MiB" in made[-1]["large"].skipped


# ---- life ----------------------------------------------------------------------------------------------------------


def test_a_model_is_active_until_expire_finds_nothing_at_it(tmp_path: Path, load: Load) -> None:
    opened = load(models.repository(tmp_path, {"asked": IDENTITY, "idle": IDENTITY}), inline="off")
    now_ns, limit_s = time.monotonic_ns(), time.monotonic() + 30
    for _ in range(2):
        assert opened.upkeep.active == set()
        assert infer(opened, "asked") == 1
        assert opened.upkeep.active == {opened.lookup("asked", "")}
        while opened.upkeep.active and time.monotonic() < limit_s:
            opened.expire(now_ns := now_ns + THREAD_IDLE_NS)


def test_the_limits_of_queues_follow_the_settings_but_for_a_model_s_own(tmp_path: Path, load: Load) -> None:
    folder = models.repository(tmp_path, {"plain": IDENTITY, "own": DOUBLED}, {"own": "inferd { max_queue_requests: 7 }"})
    opened = load(folder, max_queue_requests=5, max_queue_bytes=100)
    opened.upkeep.limit_queues(Settings(max_queue_requests=50, max_queue_bytes=0, max_queue_wait_us=9))
    found = {model.name: model.config.inferd for model in opened.models()}
    assert {name: (own.max_queue_requests, own.max_queue_bytes, own.max_queue_wait_us) for name, own in found.items()} == {
        "plain": (50, 0, 9),
        "own": (7, 0, 9),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("'/srv/customer acme/secret repo/m/1/model.onnx': it is cut", "'.../model.onnx': it is cut"),
        ("file:/etc/secrets/token is no model", ".../token is no model"),
        ("open /srv/models/m.onnx failed", "open .../m.onnx failed"),
        ("https://store/models/m.onnx: 404, and 3/4 of it", "https://store/models/m.onnx: 404, and 3/4 of it"),
    ],
)
def test_clients_see_no_folders(text: str, told: str) -> None:
    assert Repository(deliver=Batch.deliver).failed("m", 1, StartError(text)) == told


def test_clients_cannot_make_a_reason_long() -> None:
    repository = Repository(deliver=Batch.deliver)
    assert len(repository.failed("m", 1, StartError("x" * 10**6))) == 2000
