"""Models that come and go in a running server, by RPC and by their files: on both transports, and under load."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from inferd.engine.files import watching
from inferd.engine.files.overlay import PREFIX
from inferd.errors import ConfigError
from inferd.protocol import SERVICES, health, options
from inferd.serving.parts.model_control.rpc import ModelControl
from inferd.serving.server import Server
from tests import models
from tests.engine.remote.web_server import WebServer
from tests.server_fixtures import TRANSPORTS, ServerFixture, until
from tests.wire import Caller, infer_request, outputs_of, status_of

IDENTITY, DOUBLED = models.identity(), models.doubled()
ROWS = np.full((1, 16), 3, np.float32)
LIMIT_S = 30


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    """With explicit control; tests use models of their own."""
    folder = models.repository(tmp_path_factory.mktemp("models"), {"first": IDENTITY, "bystander": IDENTITY})
    with ServerFixture(folder, transport=request.param, model_control="explicit", load_model=("first", "bystander")) as served:
        yield served


@pytest.fixture
def folder(served: ServerFixture) -> Path:
    return Path(served.settings.models[0])


@pytest.fixture
def client(served: ServerFixture) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.address) as client:
        yield client


@pytest.fixture
def caller(served: ServerFixture) -> Iterator[Caller]:
    with Caller(served.address) as caller:
        yield caller


def answer(caller: Caller, name: str, version: str = "") -> tuple[str, float]:
    """The version that answers, and the first number of what it makes of threes."""
    response = caller.infer(infer_request(name, {"x": ROWS}, version=version))
    return response.model_version, float(outputs_of(response)["y"][0, 0])


def control(caller: Caller, method: str, **fields: Any) -> Any:
    request, response = getattr(options, f"{method}Request"), getattr(options, f"{method}Response")
    call = caller.channel.unary_unary(
        f"/inferd.v1.ModelControl/{method}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )
    return call(request(**fields), timeout=LIMIT_S)


def index(client: triton.InferenceServerClient, name: str) -> list[tuple[str, str]]:
    return [(entry.version, entry.state) for entry in client.get_model_repository_index().models if entry.name == name]


def rejected(call: Callable[[], Any]) -> str:
    with pytest.raises(InferenceServerException) as caught:
        call()
    return f"{caught.value.status()}: {caught.value.message()}"


def test_the_methods_are_those_of_the_protocol() -> None:
    for path, method in ModelControl().methods().items():
        service, name = path[1:].split("/")
        descriptor = SERVICES[service].methods_by_name[name]
        assert method.request_type.DESCRIPTOR is descriptor.input_type
        assert method.response_type.DESCRIPTOR is descriptor.output_type


def test_triton_s_own_example(client: triton.InferenceServerClient, folder: Path, caller: Caller) -> None:
    """simple_grpc_model_control.py."""
    assert "model_repository" in client.get_server_metadata().extensions
    models.repository(folder, {"a": IDENTITY})
    client.load_model("a")
    assert client.is_model_ready("a")
    assert answer(caller, "a") == ("1", 3)
    client.unload_model("a")
    assert not client.is_model_ready("a")
    assert index(client, "a") == [("1", "UNAVAILABLE")]
    assert "NOT_FOUND: failed to load 'wrong_model_name', failed to poll from model repository" in rejected(
        lambda: client.load_model("wrong_model_name")
    )


def test_a_version_that_is_loaded_beside_another_and_one_that_fails(
    client: triton.InferenceServerClient, folder: Path, caller: Caller
) -> None:
    models.repository(folder, {"b": {1: IDENTITY, 2: DOUBLED}})
    client.load_model("b")
    assert answer(caller, "b") == ("2", 6)
    caller.ask("RepositoryModelLoad", model_name="b", parameters={"version": {"int64_param": 1}})
    assert answer(caller, "b", "1") == ("1", 3)
    caller.ask("RepositoryModelUnload", model_name="b", parameters={"version": {"string_param": "2"}})
    assert answer(caller, "b") == ("1", 3)
    models.repository(folder, {"b": {3: b"half"}})
    assert "FAILED_PRECONDITION: failed to load 'b': model 'b' cannot be loaded" in rejected(lambda: client.load_model("b"))
    (failed,) = [entry for entry in client.get_model_repository_index().models if entry.name == "b" and entry.version == "3"]
    assert failed.state == "UNAVAILABLE"
    assert failed.reason.startswith("the last load failed: ")
    assert str(folder) not in failed.reason
    assert answer(caller, "b") == ("1", 3)


def test_a_configuration_that_a_client_sends(client: triton.InferenceServerClient, folder: Path, caller: Caller) -> None:
    models.repository(folder, {"c": IDENTITY}, {"c": "max_batch_size: 5"})
    models.write(folder, "single", IDENTITY)
    for name in ("c", "single"):
        client.load_model(name, config=json.dumps({"max_batch_size": 2}))
        assert client.get_model_config(name).config.max_batch_size == 2
        assert answer(caller, name) == ("1", 3)
    client.load_model("c")
    assert client.get_model_config("c").config.max_batch_size == 5
    wrong = {"max_batch_size": 0, "nonsense": 1}
    assert "INVALID_ARGUMENT: failed to load 'c': parameters: config: expected a ModelConfig" in rejected(
        lambda: client.load_model("c", config=json.dumps(wrong))
    )
    elsewhere = rejected(lambda: client.load_model("c", config=json.dumps({"default_model_filename": "/etc/passwd"})))
    assert "default_model_filename is '.../passwd'" in elsewhere
    against = {"input": [{"name": "z", "data_type": "TYPE_FP32", "dims": [16]}]}
    said = rejected(lambda: client.load_model("c", config=json.dumps(against)))
    assert "FAILED_PRECONDITION: failed to load 'c': parameters: config of model 'c': " in said
    assert client.get_model_config("c").config.max_batch_size == 5


def test_files_that_a_client_sends(
    client: triton.InferenceServerClient, caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept as long as the model is made of them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client.load_model("sent", config="{}", files={"file:3/model.onnx": DOUBLED})
    assert answer(caller, "sent") == ("3", 6)
    assert "FAILED_PRECONDITION" in rejected(lambda: client.load_model("sent", config="{}", files={"file:4/model.onnx": b"half"}))
    assert len(list(tmp_path.iterdir())) == 1
    client.unload_model("sent")
    assert list(tmp_path.iterdir()) == []
    client.load_model("first", config="{}", files={"file:2/model.onnx": DOUBLED})
    assert answer(caller, "first") == ("2", 6)
    client.load_model("first")
    assert answer(caller, "first") == ("1", 3)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"file:1/model.onnx": {"bytes_param": b"x"}}, "files were sent without a config"),
        *(
            ({"config": {"string_param": "{}"}, f"file:{path}": {"bytes_param": b"x"}}, "expected file:VERSION/NAME")
            for path in (
                "model.onnx",
                "../x",
                "1/../../x",
                "/etc/x",
                "1/",
                "01/x",
                "1/.x",
                "1//x",
                "x/model.onnx",
                "1/x\0",
                "9" * 19 + "/x",
            )
        ),
        ({"config": {"int64_param": 1}}, "config: expected a string, a ModelConfig as JSON, got a number"),
        ({"config": {"string_param": "["}}, "config: expected a ModelConfig as JSON"),
        *(({"config": {"string_param": text}}, f"expected a ModelConfig as JSON, an object, got '{text}'") for text in ("null", "[]", "1")),
        ({"config": {"string_param": "{}"}, "file:1/x": {"string_param": "x"}}, "expected bytes, got a string"),
        ({"version": {"int64_param": 0}}, "version: expected a number from 1"),
        ({"version": {"string_param": "latest"}}, "version: expected a number from 1"),
        ({"other": {"bool_param": True}}, "expected config, file:VERSION/NAME or version, got 'other'"),
    ],
)
def test_parameters_that_are_wrong(caller: Caller, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        caller.ask("RepositoryModelLoad", model_name="first", parameters=parameters)
    code, message = status_of(caught.value)
    assert code == "INVALID_ARGUMENT"
    assert words in message
    assert len(message) < 400
    assert answer(caller, "first") == ("1", 3)


def test_a_load_with_too_many_parameters_is_rejected_before_it_is_parsed(caller: Caller) -> None:
    """Each cost the event loop 4 us: a million of them, 22 MB, stopped it for seconds."""
    entry = b"\x1a\x0a\x0a\x06file:1\x12\x00"
    send = caller.channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
    with pytest.raises(grpc.RpcError) as caught:
        send(b"\x0a\x05first" + entry * 1_000_000, timeout=LIMIT_S)
    assert status_of(caught.value)[0] == "RESOURCE_EXHAUSTED"
    assert "expected a message of at most 8192 fields" in status_of(caught.value)[1]
    parameters = {f"file:1/{number}": {"bytes_param": b"x"} for number in range(1500)}
    with pytest.raises(grpc.RpcError, match="parameters: expected at most 1026, 1024 files with config and version, got 1500"):
        caller.ask("RepositoryModelLoad", model_name="first", parameters=parameters)
    assert answer(caller, "first") == ("1", 3)


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ('{"input": [' + ",".join(["{}"] * 100_000) + "]}", "RESOURCE_EXHAUSTED", "config: expected at most 16384 names and values"),
        ('{"parameters": ' + "[" * 200_000, "INVALID_ARGUMENT", "config: expected a ModelConfig as JSON"),
    ],
    ids=["wide", "deep"],
)
def test_a_configuration_that_would_take_long_to_read(caller: Caller, config: str, code: str, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        caller.ask("RepositoryModelLoad", model_name="first", parameters={"config": {"string_param": config}})
    assert (status_of(caught.value)[0], words in status_of(caught.value)[1]) == (code, True)


@pytest.mark.parametrize("name", ["../first", "", ".git", "a/b", "x" * 5000, "\u20ac" * 100, "x\ny", "x\x1b[31m", "x\u202ey"])
def test_names_of_models_that_are_sent(caller: Caller, name: str) -> None:
    parameters = {"config": {"string_param": "{}"}, "file:1/model.onnx": {"bytes_param": b"x"}}
    with pytest.raises(grpc.RpcError, match=r"model_name: expected a name that can be a folder's"):
        caller.ask("RepositoryModelLoad", model_name=name, parameters=parameters)
    for parameters in ({"unload_dependents": {"int64_param": 1}}, {"other": {"bool_param": True}}):
        with pytest.raises(grpc.RpcError, match="unload_dependents"):
            caller.ask("RepositoryModelUnload", model_name="bystander", parameters=parameters)
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        with pytest.raises(grpc.RpcError, match="repository_name: naming a repository is not supported"):
            caller.ask(method, model_name="bystander", repository_name="x")


def test_labels(client: triton.InferenceServerClient, folder: Path, caller: Caller) -> None:
    models.repository(folder, {"d": {1: IDENTITY, 2: DOUBLED}})
    client.load_model("d")
    control(caller, "SetLabel", model_name="d", label="stable", version=2)
    assert answer(caller, "d", "stable") == ("2", 6)
    control(caller, "SetLabel", model_name="d", label="stable", version=1)
    assert answer(caller, "d", "stable") == ("1", 3)
    assert caller.ask("ModelMetadata", name="d", properties=True).properties["label.stable"] == "1"
    assert caller.statistics("d", "stable").version == "1"
    assert client.is_model_ready("d", "stable")
    (entry,) = [entry for entry in client.get_model_repository_index().models if (entry.name, entry.version) == ("d", "1")]
    assert entry.reason == "label stable"
    assert control(caller, "Rollback", model_name="d", label="stable").version == 2
    assert answer(caller, "d", "stable") == ("2", 6)
    control(caller, "RemoveLabel", model_name="d", label="stable")
    for method, fields, code in (
        ("Rollback", {"label": "stable"}, "NOT_FOUND"),
        ("RemoveLabel", {"label": "stable"}, "NOT_FOUND"),
        ("SetLabel", {"label": "stable", "version": 0}, "INVALID_ARGUMENT"),
        ("SetLabel", {"label": "0", "version": 2}, "INVALID_ARGUMENT"),
        ("SetLabel", {"label": "stable", "version": 9}, "NOT_FOUND"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            control(caller, method, model_name="d", **fields)
        assert status_of(caught.value)[0] == code


def test_health_follows_every_change(client: triton.InferenceServerClient, folder: Path, caller: Caller, served: ServerFixture) -> None:
    models.repository(folder, {"e": IDENTITY})
    watch = caller.channel.unary_stream(
        "/grpc.health.v1.Health/Watch", health.HealthCheckRequest.SerializeToString, health.HealthCheckResponse.FromString
    )(health.HealthCheckRequest(service="e"), timeout=LIMIT_S)
    told = (health.HealthCheckResponse.ServingStatus.Name(response.status) for response in watch)
    assert next(told) == "SERVICE_UNKNOWN"
    client.load_model("e")
    while (status := next(told)) == "NOT_SERVING":  # while it was loaded
        pass
    assert status == "SERVING"
    client.unload_model("e")
    assert next(told) == "SERVICE_UNKNOWN"
    watch.cancel()
    page = {family.name: family for family in served.server.parts.metrics().page()}
    assert {sample.labels["model"]: sample.value for sample in page["inferd_model_load_failing"].samples}["e"] == 0


def test_a_model_of_which_nothing_could_be_loaded_is_not_ready(
    client: triton.InferenceServerClient, folder: Path, caller: Caller, served: ServerFixture
) -> None:
    check = caller.channel.unary_unary(
        "/grpc.health.v1.Health/Check", health.HealthCheckRequest.SerializeToString, health.HealthCheckResponse.FromString
    )

    def told() -> tuple[str, bool, dict[str, float]]:
        """By health, by ModelReady, and by the metric of each version."""
        status = check(health.HealthCheckRequest(service="f"), timeout=LIMIT_S).status
        (family,) = [family for family in served.server.parts.metrics().page() if family.name == "inferd_model_ready"]
        versions = {sample.labels["version"]: sample.value for sample in family.samples if sample.labels["model"] == "f"}
        return health.HealthCheckResponse.ServingStatus.Name(status), client.is_model_ready("f"), versions

    models.repository(folder, {"f": b"half"})
    assert "failed to load 'f'" in rejected(lambda: client.load_model("f"))
    assert told() == ("NOT_SERVING", False, {"": 0})
    models.repository(folder, {"f": IDENTITY})
    client.load_model("f")
    assert told() == ("SERVING", True, {"1": 1})
    models.repository(folder, {"f": {2: b"half"}})
    assert "failed to load 'f'" in rejected(lambda: client.load_model("f"))
    assert told() == ("SERVING", True, {"1": 1}), "version 1 goes on serving"
    client.unload_model("f")


def test_state_is_kept_in_the_folder_that_is_named_for_it(tmp_path: Path) -> None:
    folder, state = models.repository(tmp_path / "models", {"g": IDENTITY}), tmp_path / "state"
    with ServerFixture(folder, state_dir=str(state), model_control="poll") as served, Caller(served.address) as caller:
        control(caller, "SetLabel", model_name="g", label="stable", version=1)
        assert caller.ask("ModelMetadata", name="g", properties=True).properties["check.rows"] == "independent"
    assert {file.name for file in state.iterdir()} == {"checks.jsonl", "labels.json"}
    assert [entry.name for entry in folder.iterdir()] == ["g"]


def test_a_server_begins_and_ends_without_what_a_killed_one_left_and_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of what clients sent to the killed one; and a request whose batch waits for more of them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    left = tmp_path / "temporary" / f"{PREFIX}left"
    left.mkdir(parents=True)
    folder = models.repository(tmp_path / "models", {"m": IDENTITY}, {"m": "dynamic_batching { max_queue_delay_microseconds: 60000000 }"})
    with ServerFixture(folder, model_control="explicit", load_model=("m",)) as served, Caller(served.address) as caller:
        assert not left.exists()
        model = served.server.repository.lookup("m", "")
        waiting = caller.start(infer_request("m", {"x": ROWS}).SerializeToString(), timeout=20 * LIMIT_S)
        until(lambda: model.queues.depth == 1)
        served.__exit__()
        assert waiting.result()


# ---- under load ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inline", ["on", "off"])
def test_no_request_notices_that_its_version_is_replaced(tmp_path: Path, inline: str) -> None:
    """Version 1 gives its input back, version 2 the double: each response says which one made it, and is right for that."""
    folder = models.repository(tmp_path, {"m": {1: IDENTITY, 2: DOUBLED}})
    failures: list[object] = []
    counts = {"1": 0, "2": 0}
    done = threading.Event()

    def ask() -> None:
        with Caller(served.address) as caller:
            while not done.is_set():
                try:
                    version, number = answer(caller, "m", "live")
                    counts[version] += 1
                    if number != 3 * int(version):
                        failures.append((version, number))
                except Exception as error:
                    failures.append(error)
                    return

    with ServerFixture(folder, model_control="explicit", load_model=("m",), inline=inline) as served, Caller(served.address) as caller:
        control(caller, "SetLabel", model_name="m", label="live", version=2)
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(12):
            version = 1 + turn % 2
            control(caller, "SetLabel", model_name="m", label="live", version=version)  # loads it, and lets go of the other
            seen = counts[str(version)]
            until(lambda seen=seen, version=version: counts[str(version)] > seen + 5 or failures)
            assert answer(caller, "m", "live")[0] == str(version)
        done.set()
        for thread in threads:
            thread.join(LIMIT_S)
    assert failures == []


# ---- by files, and not at all --------------------------------------------------------------------------------------


def test_files_that_change_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "find_spec", lambda name: None)
    folder = models.repository(tmp_path, {"m": {1: IDENTITY}})
    monkeypatch.setattr("inferd.serving.models.SETTLE_S", 0.01)
    with ServerFixture(folder, model_poll_s=1) as served, Caller(served.address) as caller:
        assert answer(caller, "m") == ("1", 3)
        models.repository(folder, {"m": {2: DOUBLED}, "new": DOUBLED})
        until(lambda: answer(caller, "m") == ("2", 6))
        until(lambda: caller.ask("ModelReady", name="new").ready)
        control(caller, "SetLabel", model_name="m", label="stable", version=2)
        for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
            with pytest.raises(grpc.RpcError) as caught:
                caller.ask(method, model_name="m")
            code, message = status_of(caught.value)
            assert code == "UNAVAILABLE"
            assert message.startswith("explicit model load / unload is not allowed if polling is enabled")


def test_a_server_whose_models_stay(tmp_path: Path) -> None:
    file = models.write(tmp_path, "m", IDENTITY)
    with ServerFixture(file) as served, Caller(served.address) as caller:
        with pytest.raises(grpc.RpcError, match="explicit model load / unload is not allowed"):
            caller.ask("RepositoryModelLoad", model_name="m")
        with pytest.raises(grpc.RpcError, match="labels do not move with --model-control none"):
            control(caller, "SetLabel", model_name="m", label="stable", version=1)
        assert (served.server.models._lifecycle, served.server.models._watcher) == (None, None)


@pytest.mark.parametrize(("settings", "words"), [({"load_model": ("x",)}, "load_model: .* got 'x', which is not there"), ({}, "")])
async def test_what_an_explicit_server_starts_with(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    folder = models.repository(tmp_path, {"m": IDENTITY})
    made = ServerFixture(folder, model_control="explicit", **settings).settings
    server = Server(made)
    if words:
        with pytest.raises(ConfigError, match=words):
            await server.start()
        return
    await server.start()
    assert server.summaries() == []
    await server.stop()


def test_a_load_asks_the_store_again(tmp_path: Path) -> None:
    with (
        WebServer(IDENTITY, name="m.onnx") as store,
        ServerFixture(store.url, model_control="explicit", load_model=("m",), model_cache=str(tmp_path)) as served,
        triton.InferenceServerClient(served.address) as client,
        Caller(served.address) as caller,
    ):
        store.content, store.tag = DOUBLED, '"2"'
        client.load_model("m")
        assert answer(caller, "m") == ("1", 6)
        store.status = 404
        with pytest.raises(InferenceServerException, match=r"failed to load 'm': .* the server responded with 404 Not Found"):
            client.load_model("m")
        assert answer(caller, "m") == ("1", 6)
