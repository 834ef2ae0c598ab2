"""Requests for models that are not in memory, on both transports: they wait, and the server says what is true meanwhile."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from inferd.engine.loading.room import SESSION_BYTES
from inferd.engine.models.entry import ON_DEMAND
from inferd.errors import ConfigError, StartError
from inferd.protocol import health, inference
from inferd.serving.server import Server
from tests import models
from tests.rest import Answer, Asker, infer_body
from tests.server_fixtures import TRANSPORTS, ServerFixture, until
from tests.wire import LIMIT_S, SERVICE, Caller, Held, infer_request, outputs_of, status_of

IDENTITY, DOUBLED = models.identity(), models.doubled()
NAMES = [f"m{number}" for number in range(8)]
THREE_MODELS = 7 * SESSION_BYTES // 2
MOST = 3


def request_of(name: str, value: float = 3, version: str = "") -> inference.ModelInferRequest:
    return infer_request(name, {"x": np.full((1, 16), value, np.float32)}, version=version)


def answer(caller: Caller, name: str, value: float = 3, version: str = "") -> float:
    return float(outputs_of(caller.infer(request_of(name, value, version)))["y"][0, 0])


def status(caller: Caller, name: str) -> int:
    check = caller.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health.HealthCheckRequest.SerializeToString,
        response_deserializer=health.HealthCheckResponse.FromString,
    )
    return int(check(health.HealthCheckRequest(service=name), timeout=LIMIT_S).status)


def samples(served: ServerFixture) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{served.metrics}/metrics", timeout=LIMIT_S) as page:
        families = parse_text(page.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


@pytest.fixture(params=TRANSPORTS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerFixture]:
    """Eight models in the memory of three."""
    folder = models.repository(tmp_path, {**dict.fromkeys(NAMES, IDENTITY), "twice": {1: IDENTITY, 2: DOUBLED}, "broken": b"half"})
    with ServerFixture(folder, transport=request.param, http_port=0, model_memory=THREE_MODELS, max_queue_requests=MOST) as served:
        yield served


@pytest.fixture
def caller(served: ServerFixture) -> Iterator[Caller]:
    with Caller(served.address) as caller:
        yield caller


def on_demand(served: ServerFixture) -> Any:
    made = served.server.models.on_demand
    assert made is not None
    return made


@pytest.fixture
def gate(served: ServerFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Loads wait for it."""
    opened = threading.Event()
    load = served.server.repository.loader.load

    def held(*arguments: Any) -> Any:
        assert opened.wait(LIMIT_S)
        return load(*arguments)

    monkeypatch.setattr(served.server.repository.loader, "load", held)
    yield opened
    opened.set()


def wait_for(served: ServerFixture, *counts: int) -> None:
    """Until so many requests wait for each model."""
    until(lambda: [len(each) for each in list(on_demand(served)._waiting.values())] == list(counts))


def test_more_models_than_fit_are_served(served: ServerFixture, caller: Caller) -> None:
    def round_of(first: int) -> None:
        for number in range(20):
            assert answer(caller, NAMES[(first + number) % len(NAMES)], number) == number

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(round_of, range(0, 9, 3)))
    seen = samples(served)
    assert seen["inferd_model_hits_total"] + seen["inferd_model_misses_total"] == 60
    assert seen["inferd_model_miss_duration_seconds_count"] == seen["inferd_model_misses_total"] >= len(NAMES)
    assert seen["inferd_model_evictions_total"] >= len(NAMES) - 3
    assert seen["inferd_model_memory_bytes"] <= THREE_MODELS
    assert seen["inferd_models_on_demand"] >= len(NAMES) + 2 - 3


def test_requests_by_rest_bring_their_model_too(served: ServerFixture, gate: threading.Event) -> None:
    body = infer_body("x", "FP32", [1, 16], [3] * 16)
    name = served.on_loop(lambda: max(served.server.repository.on_demand))

    def ask() -> Answer:
        with Asker(served.http) as asker:
            return asker.post(f"/v2/models/{name}/infer", body)

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask) for _ in range(2)]
        wait_for(served, 2)
        gate.set()
        assert {each.result().status for each in asked} == {200}


def test_what_is_told_of_a_model_that_is_not_in_memory(served: ServerFixture, caller: Caller) -> None:
    index = {(entry.name, entry.version): (entry.state, entry.reason) for entry in caller.ask("RepositoryIndex", ready=True).models}
    assert index == {(name, "2" if name == "twice" else "1"): ("READY", ON_DEMAND) for name in (*NAMES, "twice", "broken")}
    assert caller.ask("ModelReady", name="m0").ready
    assert not caller.ask("ModelReady", name="m0", version="2").ready
    assert [status(caller, name) for name in ("m0", "m0/1", "twice/2")] == [health.HealthCheckResponse.SERVING] * 3
    caller.ask("TraceSetting", model_name="m0")
    assert served.server.repository.models() == [], "none of these loads it"
    assert caller.rejected(request_of("m0", version="2"))[0] == "NOT_FOUND"
    assert caller.rejected(request_of("m0", version="x"))[0] == "INVALID_ARGUMENT"
    assert caller.rejected(request_of("m9"))[0] == "NOT_FOUND"
    assert caller.ask("ModelMetadata", name="twice").versions == ["2"]
    assert caller.ask("ModelConfig", name="m0").config.name == "m0"
    assert served.server.repository.names() == {"m0", "twice"}
    assert answer(caller, "twice") == 6


def test_a_model_that_cannot_be_loaded(served: ServerFixture, caller: Caller) -> None:
    for ask in (lambda: caller.infer(request_of("broken")), lambda: caller.ask("ModelMetadata", name="broken")):
        with pytest.raises(grpc.RpcError) as caught:
            ask()
        assert status_of(caught.value) == ("UNAVAILABLE", "model 'broken' could not be loaded; the server's log says why")
    assert not caller.ask("ModelReady", name="broken").ready
    assert status(caller, "broken") == health.HealthCheckResponse.NOT_SERVING
    assert served.server.repository["broken"].loads == (1, True), "it was tried once"


def test_a_stream_waits_with_its_order(served: ServerFixture, caller: Caller) -> None:
    stream = caller.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer",
        request_serializer=inference.ModelInferRequest.SerializeToString,
        response_deserializer=inference.ModelStreamInferResponse.FromString,
    )
    asked = [(name, float(number)) for number, name in enumerate(("m1", "m2", "broken", "m1", "m3"))]
    found = list(stream(iter([request_of(*each) for each in asked]), timeout=LIMIT_S))
    assert [each.infer_response.model_name for each in found] == [name for name, _ in asked]
    assert [bool(each.error_message) for each in found] == [False, False, True, False, False]
    assert [outputs_of(each.infer_response)["y"][0, 0] for each in found if not each.error_message] == [0, 1, 3, 4]


def test_requests_wait_for_one_load_within_limits(served: ServerFixture, caller: Caller, gate: threading.Event) -> None:
    held = Held(served)
    waiting = [caller.start(request_of("m0", value).SerializeToString()) for value in range(MOST)]
    wait_for(served, MOST)
    assert caller.rejected(request_of("m0")) == (
        "RESOURCE_EXHAUSTED",
        f"{MOST} requests wait until model 'm0' is loaded, which is the limit (max_queue_requests); retry later",
    )
    assert caller.ask("ModelReady", name="m0").ready
    waiting[0].cancel()
    wait_for(served, MOST - 1)
    late = caller.start(request_of("m0").SerializeToString(), timeout=0.01)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_for(served, MOST - 1)
    on_demand(served)._wait_s = 0.01
    code, message = caller.rejected(request_of("m0"))
    assert (code, message) == ("UNAVAILABLE", "model 'm0' was not loaded within 0.01 s (model_wait_s); retry later")
    with pytest.raises(grpc.RpcError, match="was not loaded within"):
        caller.ask("ModelMetadata", name="m0")
    gate.set()
    responses = [inference.ModelInferResponse.FromString(each.result()) for each in waiting[1:]]
    assert [outputs_of(each)["y"][0, 0] for each in responses] == [1, 2]
    assert served.server.repository["m0"].loads.failures == 0
    held.check()


def test_a_server_that_stops_rejects_what_waits(served: ServerFixture, caller: Caller, gate: threading.Event) -> None:
    waiting = [caller.start(request_of(name).SerializeToString()) for name in ("m0", "m1")]
    wait_for(served, 1, 1)
    served._loop.call_soon_threadsafe(served._stop.set)
    for each in waiting:
        assert (each.code(), each.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "the server stops, and loads no models any more; another replica may serve",
        )


def test_models_come_and_go_by_rpc_beside_it(tmp_path: Path) -> None:
    folder = models.repository(tmp_path, dict.fromkeys(NAMES, IDENTITY))
    settings: dict[str, Any] = {"model_control": "explicit", "load_model": NAMES[:4], "model_memory": THREE_MODELS}
    with ServerFixture(folder, **settings) as served, Caller(served.address) as caller:
        assert served.server.repository.names() == set(NAMES[1:4]), "the first has left for the last"
        assert caller.rejected(request_of("m5"))[0] == "NOT_FOUND"
        caller.ask("RepositoryModelLoad", model_name="m5")
        caller.ask("RepositoryModelUnload", model_name="m0")
        caller.ask("RepositoryModelUnload", model_name="m2")
        assert [caller.rejected(request_of(name))[0] for name in ("m0", "m2")] == ["NOT_FOUND"] * 2
        assert [answer(caller, name) for name in ("m1", "m3", "m5")] == [3, 3, 3]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"load_model": ("x",)}, StartError, "load_model: failed to load 'x'"),
        (
            {"load_model": ("m",), "model_memory": 1},
            StartError,
            "load_model: failed to load 'm': model 'm' takes about 256 KiB, and",
        ),
        ({"load_model": ("m",), "model_memory": 0}, ConfigError, "expected model_control explicit beside it, or model_memory, got poll"),
        ({"on_model_error": "exit"}, ConfigError, "max_batch_size"),
    ],
)
async def test_what_keeps_a_server_from_starting(tmp_path: Path, settings: dict[str, Any], error: type[Exception], words: str) -> None:
    folder = models.repository(tmp_path, {"m": IDENTITY, "wrong": IDENTITY}, {"wrong": "max_batch_size: wrong"})
    server = Server(ServerFixture(folder, **({"model_memory": THREE_MODELS} | settings)).settings)
    with pytest.raises(error, match=words):
        await server.start()


def test_models_that_stay(tmp_path: Path) -> None:
    """Without control, too."""
    files = [models.write(tmp_path, name, IDENTITY) for name in NAMES[:5]]
    with ServerFixture(*files, model_memory=THREE_MODELS) as served, Caller(served.address) as caller:
        assert [answer(caller, name) for name in (*NAMES[:5], *NAMES[:5])] == [3] * 10
        with pytest.raises(grpc.RpcError, match="explicit model load / unload is not allowed"):
            caller.ask("RepositoryModelLoad", model_name="m0")
