"""The table of paths as clients see it, on every server that speaks REST; what each method does is tested beside it, over gRPC."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from native_access import head_of

from inferd._core.http.response import status_of
from inferd.errors import InvalidArgument, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable
from inferd.protocol import inference
from inferd.serving.parts.model_control.part import ModelControlPart, _load_parameters
from inferd.serving.parts.model_control.rpc import ModelControl
from inferd.serving.rest.service import INFER, RestService, error_response, split
from tests import models
from tests.rest import Asker, infer_body
from tests.server_fixtures import ServerFixture, until
from tests.wire import LIMIT_S, Caller, infer_request

HERE, OTHER = "https://app.example", "https://evil.example"
MODEL = {"name": "x", "datatype": "FP32", "shape": [-1, 16]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    folder = models.repository(
        tmp_path_factory.mktemp("models"),
        {"identity": models.identity(), "versions": {1: models.identity(), 3: models.doubled()}, "unloaded": models.identity()},
        {"versions": "version_policy { all {} }"},
    )
    rules = {"model_control": "explicit", "load_model": ("identity", "versions"), "cors_origin": (HERE,)}
    with ServerFixture(folder, http_port=0, **rules) as server:
        yield server


@pytest.fixture
def asker(served: ServerFixture) -> Iterator[Asker]:
    with Asker(served.http) as asker:
        yield asker


def ones() -> dict[str, Any]:
    return infer_body("x", "FP32", [1, 16], [1] * 16)


# ---- what may be read


def test_the_server(asker: Asker) -> None:
    found = asker.get("/v2").json
    assert found["name"] == "inferd"
    assert {"statistics", "model_repository", "binary_tensor_data"} <= set(found["extensions"])
    assert asker.get("/v2/health/live").json == {"live": True}
    assert asker.get("/v2/health/ready").json == {"ready": True}


def test_models_and_versions(asker: Asker) -> None:
    found = asker.get("/v2/models/versions").json
    assert (found["name"], found["versions"], found["inputs"]) == ("versions", ["1", "3"], [MODEL])
    assert asker.get("/v2/models/versions/versions/1").json["versions"] == ["1"]
    assert asker.get("/v2/models/versions/ready").json == {"name": "versions", "ready": True}
    for path in ("versions/versions/2/ready", "nosuch/ready"):
        answer = asker.get(f"/v2/models/{path}")
        assert (answer.status, answer.json["ready"]) == (503, False)
    config = asker.get("/v2/models/versions/versions/3/config").json
    assert (config["name"], config["input"][0]["dims"]) == ("versions", [16])  # a number, as Triton has it


def test_statistics_grow(asker: Asker) -> None:
    def counted(path: str) -> int:
        return sum(each["inference_count"] for each in asker.get(path).json["model_stats"])

    paths = ("/v2/models/stats", "/v2/models/versions/stats", "/v2/models/versions/versions/3/stats")
    before = [counted(path) for path in paths]
    assert asker.post("/v2/models/versions/infer", ones()).status == 200
    assert [counted(path) for path in paths] == [count + 1 for count in before]


def test_the_log_and_traces(asker: Asker) -> None:
    before = asker.get("/v2/logging").json
    assert asker.post("/v2/logging", {"log_verbose_level": 1, "log_error": True}).json["log_verbose_level"] == 1
    assert asker.post("/v2/logging", {name: value for name, value in before.items() if name != "log_file"}).json == before
    assert asker.get("/v2/trace/setting").json == asker.get("/v2/models/identity/trace/setting").json
    assert asker.post("/v2/trace/setting", {"trace_level": ["OFF"], "trace_rate": None}).json["trace_level"] == ["OFF"]
    assert asker.post("/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}).status == 501


# ---- models that come and go


def test_models_are_loaded_and_unloaded(asker: Asker, served: ServerFixture) -> None:
    def states(**asked: bool) -> dict[str, str]:
        return {model["name"]: model.get("state", "") for model in asker.post("/v2/repository/index", asked).json}

    assert (states()["unloaded"], "unloaded" in states(ready=True)) == ("", False)
    loaded = asker.post("/v2/repository/models/unloaded/load")
    assert (loaded.status, loaded.body) == (200, b"")
    assert states(ready=True)["unloaded"] == "READY"
    assert asker.post("/v2/repository/models/unloaded/unload", {"parameters": {"unload_dependents": False}}).status == 200
    assert "unloaded" not in states(ready=True)


def test_a_model_that_the_client_sends(asker: Asker) -> None:
    content = base64.b64encode(models.doubled()).decode()
    parameters = {"config": '{"max_batch_size": 8}', "file:1/model.onnx": content}
    assert asker.post("/v2/repository/models/sent/load", {"parameters": parameters}).status == 200
    assert asker.post("/v2/models/sent/infer", ones()).json["outputs"][0]["data"] == [2] * 16
    assert asker.post("/v2/repository/models/sent/unload").status == 200


def test_load_without_model_control_is_rejected_before_its_body() -> None:
    head: Any = SimpleNamespace(path=b"/v2/repository/models/m/load", verb_name=b"POST", origin=None, authorization=None, is_infer=False)
    call: Any = None
    with pytest.raises(Unavailable, match="--model-control explicit") as caught:
        RestService(ModelControlPart(ModelControl()).resources()).admit(call, head)
    assert status_of(caught.value) == 412  # another replica would say the same: 503 would have clients try again
    lifecycle: Any = object()
    RestService(ModelControlPart(ModelControl(lifecycle, explicit=True)).resources()).admit(call, head)


def test_load_decodes_nothing_but_parameters() -> None:
    assert _load_parameters(b'{"other": [[]], "parameters": {"config": "a", "version": 1}}') == {"config": "a", "version": 1}
    for body in (b'{"parameters": {"a": [[]]}}', b'{"parameters": {"a": {}}}', b"[[]]"):
        with pytest.raises(InvalidArgument, match="expected a JSON object with parameters"):
            _load_parameters(body)


def test_a_load_with_too_many_parameters_is_rejected_before_it_is_read(asker: Asker) -> None:
    """A million of them stopped the event loop for seconds. Quotes that a backslash escapes are those of a configuration."""
    many = b'{"parameters": {' + b",".join(b'"file:1/%d":""' % number for number in range(300_000)) + b"}}"
    for body in (many, many.replace(b'"file:', b'"\\\\\\"file:')):
        refused = asker.post("/v2/repository/models/x/load", body)
        assert (refused.status, "expected at most 1026 parameters" in refused.error) == (413, True), refused.error
    quotes = json.dumps({"parameters": {"config": '"' * 100_000}}).encode()
    assert "expected a ModelConfig as JSON" in asker.post("/v2/repository/models/x/load", quotes).error


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v2/repository/models/x/load", {"parameters": {"file:1/model.onnx": "?"}}, 400, "as a string in base64"),
        ("/v2/repository/models/x/load", {"parameters": {"own": 1}}, 400, "expected config, file:VERSION/NAME or version"),
        ("/v2/repository/models/x/load", {"parameters": [1]}, 400, "Expected `object`, got `array` - at `$.parameters`"),
        ("/v2/repository/models/x/load", {"parameters": {"config": 0.5}}, 400, "parameters.config: expected true, false"),
        ("/v2/repository/index", b"[]", 400, "body: expected a JSON object"),
        ("/v2/repository/index", {"ready": 1}, 400, "ready: expected true or false"),
        ("/v2/logging", {"log_info": [1]}, 400, "log_info: expected true, false"),
        ("/v2/logging", b'{"log_info": ' + b"[" * 60_000, 400, "body: expected a JSON object"),
        ("/v2/trace/setting", {"trace_level": [1]}, 400, "trace_level: expected a string"),
        ("/v2/models/versions/rollout", {"kind": "SHADOWS"}, 400, "kind: invalid enum value 'SHADOWS'; the body is an object"),
        ("/v2/models/versions/rollout", {"kind": "CANARY", "steps": [2]}, 400, "steps: expected at most 100 shares that rise"),
        ("/v2/models/versions/rollout/stop", {"reason": "a" * 1001}, 400, "reason: expected at most 1000 characters, got 1001"),
        ("/v2/models/versions/rollout/outcomes", {"outcomes": [{}] * 1001}, 400, "outcomes: expected at most 1000, got 1001"),
        ("/v2/models/nosuch/rollout/promote", b"", 404, "rollout: model 'nosuch' has none"),
        ("/v2/models/versions/versions/1/rollout", {"kind": "CANARY"}, 404, "a rollout is of a model, not of a version"),
        ("/v2/logging", b'{"a":"' + b"x" * (70 << 10) + b'"}', 413, "expected at most 65536 bytes"),
    ],
)
def test_bodies_that_are_wrong(asker: Asker, path: str, body: Any, status: int, words: str) -> None:
    answer = asker.post(path, body)
    assert (answer.status, words in answer.error) == (status, True), answer.error


# ---- rollouts


def test_a_canary_from_its_start_to_its_end(asker: Asker, served: ServerFixture) -> None:
    """A key sticks to its version over all protocols. A path with a version is not divided."""
    path, keys = "/v2/models/versions/rollout", [f"user {place}" for place in range(24)]

    def versions(model: str = "versions") -> list[str]:
        return [asker.post(f"/v2/models/{model}/infer", ones(), inferd_key=key).json["model_version"] for key in keys]

    assert asker.get(path).status == 404
    begun = asker.post(path, {"kind": "CANARY", "candidate_version": 1, "steps": [0.5, 1], "guards": {"outcome": 0.5}}).json
    assert (begun["state"], begun["stable_version"], begun["steps"], begun["guards"]) == ("RUNNING", 3, [0.5, 1], {"outcome": 0.5})
    assert asker.get(path).json["id"] == begun["id"]
    assert [each["id"] for each in asker.get("/v2/rollouts").json["rollouts"]] == [begun["id"]]
    found = versions()
    assert set(found) == {"1", "3"}
    assert versions() == found
    with Caller(served.address) as caller:
        assert over_grpc(caller, keys) == (found, found)
    assert set(versions("versions/versions/3")) == {"3"}
    outcomes = [{"request_id": f"request {place}" + "x" * 64, "good": True} for place in range(1000)]  # more than other bodies may hold
    assert asker.post(f"{path}/outcomes", {"outcomes": outcomes}).json == {"joined": 0, "unknown": 1000}
    ended = asker.post(f"{path}/rollback", {"reason": "enough"}).json
    assert (ended["state"], ended["reason"]) == ("ROLLED_BACK", "enough")
    assert set(versions()) == {"3"}
    audit = Path(served.settings.models[0], ".inferd-rollouts.audit.jsonl")
    until(lambda: [json.loads(line)["decision"] for line in audit.read_text().splitlines()] == ["started", "rolled_back"])
    again = asker.post(f"{path}/stop")
    assert (again.status, "has ended: ROLLED_BACK, enough" in again.error) == (412, True)


def over_grpc(caller: Caller, keys: list[str]) -> tuple[list[str], list[str]]:
    """The versions that respond to each key, by single calls and by streams."""
    service, request = "/inference.GRPCInferenceService", infer_request("versions", {"x": np.ones((1, 16), np.float32)})
    stream = caller.channel.stream_stream(
        f"{service}/ModelStreamInfer", inference.ModelInferRequest.SerializeToString, inference.ModelStreamInferResponse.FromString
    )
    named = [(("inferd-key", key),) for key in keys]
    streams = [next(stream(iter([request]), timeout=LIMIT_S, metadata=metadata)).infer_response.model_version for metadata in named]
    return [caller.infer(request, metadata=metadata).model_version for metadata in named], streams


# ---- paths and verbs


@pytest.mark.parametrize(
    ("path", "code"),
    [("/", "NOT_FOUND"), ("/v1/models", "NOT_FOUND"), ("/v2/models/identity/infers", "NOT_FOUND"), ("/v2/models/nosuch", "NOT_FOUND")],
)
def test_what_is_not_there(asker: Asker, path: str, code: str) -> None:
    answer = asker.get(path)
    assert (answer.status, answer.json["code"]) == (404, code)


def test_shared_memory_says_what_to_do_instead(asker: Asker) -> None:
    answer = asker.get("/v2/systemsharedmemory/status")
    assert (answer.status, "send tensors in binary" in answer.error) == (501, True)


def test_verbs(asker: Asker) -> None:
    answer = asker.get("/v2/models/identity/infer")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert "expected POST, OPTIONS, got GET" in answer.error
    answer = asker.ask("DELETE", "/v2")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    answer = asker.ask("OPTIONS", "/v2/logging")
    assert (answer.status, answer.headers["allow"], answer.body) == (204, "GET, POST, HEAD, OPTIONS", b"")
    answer = asker.ask("OPTIONS", "*")
    assert (answer.status, answer.headers["allow"], answer.body) == (204, "GET, HEAD, POST, OPTIONS", b"")
    assert asker.get("/*").status == 404


def test_head_is_get_without_a_body(asker: Asker) -> None:
    read, answer = asker.get("/v2"), asker.ask("HEAD", "/v2")
    assert (answer.status, answer.body) == (200, b"")
    assert {name: answer.headers[name] for name in ("content-length", "content-type")} == {
        "content-length": str(len(read.body)),
        "content-type": "application/json",
    }


def test_names_are_percent_decoded(asker: Asker) -> None:
    assert asker.get("/v2/models/%69dentity/versions/%31").json["name"] == "identity"
    assert asker.get("/v2/models/%ff").status == 400


@pytest.mark.parametrize(
    ("path", "resource", "model", "version"),
    [
        ("/v2/", "v2", "", ""),
        ("/v2/models/m/versions/stable/infer", INFER, "m", "stable"),
        ("/v2/models/a%2Fb/infer", INFER, "a/b", ""),
        ("/v2/models/stats", "v2/models/stats", "", ""),
        ("/v2/models/stats/stats", "v2/models/{model}/stats", "stats", ""),
        ("/v2/models/versions/versions/1", "v2/models/{model}", "versions", "1"),
        ("/v2/models/m/versions", "v2/models/{model}/versions", "m", ""),
        ("/v2/repository/models/m/load", "v2/repository/models/{model}/load", "m", ""),
    ],
)
def test_a_path_names_a_resource(path: str, resource: str, model: str, version: str) -> None:
    assert split(path.encode()) == (resource, model, version)


# ---- browsers


def test_pages_of_an_allowed_origin_may_call(asker: Asker) -> None:
    answer = asker.post("/v2/models/identity/infer", ones(), origin=HERE)
    assert (answer.status, answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (200, HERE, "origin")
    answer = asker.ask("OPTIONS", "/v2/models/identity/infer", origin=HERE, access_control_request_method="POST")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, HERE)
    assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert {"inference-header-content-length", "inferd-key"} <= set(answer.headers["access-control-allow-headers"].split(", "))


def test_other_pages_change_nothing_and_read_nothing(asker: Asker, served: ServerFixture) -> None:
    answer = asker.post("/v2/models/identity/infer", ones(), origin=OTHER)
    assert (answer.status, "--cors-origin" in answer.error) == (403, True)
    assert "access-control-allow-origin" not in asker.get("/v2", origin=OTHER).headers
    assert "access-control-allow-methods" not in asker.ask("OPTIONS", "/v2", origin=OTHER, access_control_request_method="GET").headers
    assert asker.post("/v2/models/identity/infer", ones(), origin=f"http://{served.http}").status == 200  # the server's own page


def test_a_browser_s_name_for_a_loopback_address(asker: Asker) -> None:
    """DNS rebinding: a page of evil.example, whose name leads here by now, is of the same origin as this server. Proxies are no browsers,
    and pass on any Host."""
    for host, status in {"localhost": 200, "127.0.0.1:8000": 200, "[::1]:80": 200, "APP.example": 200, "evil.example:8000": 403}.items():
        for field in ("accept-language", "sec-fetch-site"):
            answer = asker.get("/v2", host=host, **{field: "x"})
            assert answer.status == status, host
        answer = asker.post("/v2/models/identity/infer", ones(), host=host, origin=f"http://{host}")
        assert (answer.status, status == 403 and "--cors-origin" not in answer.error) == (status, False), host
    for host in ("model.namespace.svc", "evil.example"):
        assert asker.get("/v2", host=host).status == asker.post("/v2/models/identity/infer", ones(), host=host).status == 200


def test_a_browser_s_name_for_an_address_that_others_reach() -> None:
    head = head_of("POST", "/v2", [("Host", "a.example"), ("Accept-Language", "en"), ("Origin", "https://a.example")])
    call: Any = None
    RestService(()).screen(call, head)
    RestService((), ["*"], is_local=True).screen(call, head)
    with pytest.raises(PermissionDenied, match="Host: expected localhost"):
        RestService((), is_local=True).screen(call, head)


# ---- errors


def test_statuses_of_errors() -> None:
    wrong = error_response(InvalidArgument("x"))
    assert (wrong.status, json.loads(wrong.body)) == (400, {"error": "x", "code": "INVALID_ARGUMENT"})
    full = error_response(ResourceExhausted("full", retry_after_ns=1_000_000_001))
    assert (full.status, dict(full.headers)[b"retry-after"], dict(full.headers)[b"retry-after-ms"]) == (429, b"2", b"1001")
    assert error_response(ResourceExhausted("large", reason="message_size")).status == 413
    assert dict(error_response(Unauthenticated("who?")).headers)[b"www-authenticate"] == b"Bearer"


def test_rest_and_grpc_are_counted_together(asker: Asker, served: ServerFixture) -> None:
    with Caller(served.address) as caller:
        count = caller.ask("ModelStatistics", name="identity").model_stats[0].inference_count
        assert asker.post("/v2/models/identity/infer", ones()).status == 200
        assert caller.ask("ModelStatistics", name="identity").model_stats[0].inference_count == count + 1
