"""The REST form of RPCs: paths, bodies, statuses. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inferd_client import InferenceError, calls, codec, messages, rest, rest_infer
from inferd_client.rest import HttpResponse

OK = 200
ROLLOUTS = "/inferd.v1.Rollouts"
FEEDBACK = "/inferd.v1.Feedback"


def response(status: int, document: Any = None, **headers: str) -> HttpResponse:
    body = b"" if document is None else document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, memoryview(body))


@pytest.mark.parametrize(
    ("rpc", "request_", "asked", "document", "said"),
    [
        (calls.SERVER_LIVE, messages.ServerLiveRequest(), "GET /v2/health/live", None, messages.ServerLiveResponse(live=True)),
        (calls.SERVER_READY, messages.ServerReadyRequest(), "GET /v2/health/ready", {"ready": False}, messages.ServerReadyResponse()),
        (
            calls.MODEL_READY,
            messages.ModelReadyRequest(name="größe 1/2", version="stable"),
            "GET /v2/models/gr%C3%B6%C3%9Fe%201%2F2/versions/stable/ready",
            {},
            messages.ModelReadyResponse(ready=True),
        ),
        (
            calls.MODEL_METADATA,
            messages.ModelMetadataRequest(name="m"),
            "GET /v2/models/m",
            {"name": "m", "versions": None, "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "new": 1},
            messages.ModelMetadataResponse(
                name="m", inputs=[messages.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, 2])]
            ),
        ),
        (
            calls.MODEL_CONFIG,
            messages.ModelConfigRequest(name="m", version="2"),
            "GET /v2/models/m/versions/2/config",
            {"name": "m", "max_batch_size": 8, "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["2"]}]},
            messages.ModelConfigResponse(
                config=messages.ModelConfig(
                    name="m", max_batch_size=8, input=[messages.ModelInput(name="x", data_type=messages.TYPE_FP32, dims=[2])]
                )
            ),
        ),
        (
            calls.MODEL_STATISTICS,
            messages.ModelStatisticsRequest(),
            "GET /v2/models/stats",
            {"model_stats": [{"name": "m", "inference_count": 3}]},
            messages.ModelStatisticsResponse(model_stats=[messages.ModelStatistics(name="m", inference_count=3)]),
        ),
        (
            calls.REPOSITORY_INDEX,
            messages.RepositoryIndexRequest(ready=True),
            'POST /v2/repository/index {"ready": true}',
            [{"name": "m", "version": "1", "state": "READY"}],
            messages.RepositoryIndexResponse(models=[messages.RepositoryIndexResponse.ModelIndex(name="m", version="1", state="READY")]),
        ),
        (
            calls.HEALTH_CHECK,
            messages.HealthCheckRequest(service="m/3"),
            "GET /v2/models/m/versions/3/ready",
            None,
            messages.HealthCheckResponse(status=1),
        ),
        (
            calls.Rpc(f"{ROLLOUTS}/Start", messages.RolloutStatus),
            messages.StartRolloutRequest(model_name="m", kind=messages.CANARY, candidate_version=2, steps=[0.5, 1], guards={"errors": 0.1}),
            'POST /v2/models/m/rollout {"kind": "CANARY", "candidate_version": 2, "steps": [0.5, 1.0], "guards": {"errors": 0.1}}',
            {"id": "a", "kind": "CANARY", "counts": {"seen": 1 << 60}},
            messages.RolloutStatus(id="a", kind=messages.CANARY, counts={"seen": 1 << 60}),
        ),
        (
            calls.Rpc(f"{ROLLOUTS}/Status", messages.RolloutStatusResponse),
            messages.RolloutStatusRequest(model_name="m"),
            "GET /v2/models/m/rollout",
            {"id": "a"},
            messages.RolloutStatusResponse(rollouts=[messages.RolloutStatus(id="a")]),
        ),
        (
            calls.Rpc(f"{ROLLOUTS}/Status", messages.RolloutStatusResponse),
            messages.RolloutStatusRequest(),
            "GET /v2/rollouts",
            {"rollouts": []},
            messages.RolloutStatusResponse(),
        ),
        (
            calls.Rpc(f"{ROLLOUTS}/RollBack", messages.RolloutStatus),
            messages.RolloutRequest(model_name="m", reason="slower"),
            'POST /v2/models/m/rollout/rollback {"reason": "slower"}',
            {"id": "a"},
            messages.RolloutStatus(id="a"),
        ),
        (
            calls.Rpc(f"{ROLLOUTS}/Report", messages.ReportOutcomesResponse),
            messages.ReportOutcomesRequest(model_name="m", outcomes=[messages.Outcome(request_id="r", good=True)]),
            'POST /v2/models/m/rollout/outcomes {"outcomes": [{"request_id": "r", "good": true}]}',
            {"joined": 1, "unknown": 0},
            messages.ReportOutcomesResponse(joined=1),
        ),
        (
            calls.Rpc(f"{FEEDBACK}/Report", messages.ReportLabelsResponse),
            messages.ReportLabelsRequest(model_name="m", labels=[messages.RequestLabel(request_id="r", row=2, number=0)]),
            'POST /v2/models/m/feedback {"labels": [{"request_id": "r", "row": 2, "number": 0.0}]}',
            {"joined": 1, "late": 0},
            messages.ReportLabelsResponse(joined=1),
        ),
        (
            calls.Rpc(f"{FEEDBACK}/Performance", messages.PerformanceResponse),
            messages.PerformanceRequest(model_name="m", model_version=2, slice="a&b", buckets=3),
            "GET /v2/models/m/versions/2/performance?slice=a%26b&buckets=3",
            {"labels": {"joined": 1}},
            messages.PerformanceResponse(labels={"joined": 1}),
        ),
        (
            calls.Rpc(f"{FEEDBACK}/Performance", messages.PerformanceResponse),
            messages.PerformanceRequest(model_name="m"),
            "GET /v2/models/m/performance",
            {},
            messages.PerformanceResponse(),
        ),
    ],
)
def test_what_is_asked_and_said(rpc: calls.Rpc[Any], request_: Any, asked: str, document: Any, said: Any) -> None:
    made = rest.request_of(rpc.path, request_.SerializeToString())
    assert " ".join(filter(None, (made.verb, made.target, b"".join(made.parts).decode()))) == asked
    assert calls.read(rpc, rest.message_of(rpc.path, response(OK, document))) == said


def test_orders() -> None:
    load = calls.load_request("m", 3, "{}")
    made = rest.request_of(load.rpc.path, load.request)
    assert (made.verb, made.target) == ("POST", "/v2/repository/models/m/load")
    assert json.loads(b"".join(made.parts)) == {"parameters": {"version": 3, "config": "{}"}}
    assert rest.message_of(load.rpc.path, response(OK)) == b""


def test_statuses_that_say_no() -> None:
    for status in (400, 404, 503):
        assert rest.message_of(calls.MODEL_READY.path, response(status, {"error": "no"})) == b""
    assert rest.message_of(calls.SERVER_READY.path, response(503)) == b""
    with pytest.raises(InferenceError, match="NOT_FOUND"):
        rest.message_of(calls.HEALTH_CHECK.path, response(404))
    assert not rest.takes_binary(response(404))


def test_what_http_has_not() -> None:
    with pytest.raises(InferenceError, match="UNIMPLEMENTED: SetLabel is not to be had over HTTP; ask the server's gRPC address"):
        rest.request_of("/inferd.v1.ModelControl/SetLabel", b"")


@pytest.mark.parametrize(
    ("came", "code", "message", "retry_after"),
    [
        (response(400, {"error": "field x", "code": "OUT_OF_RANGE"}), grpc.StatusCode.OUT_OF_RANGE, "field x", None),
        (response(422, {"detail": [{"loc": ["x"]}]}), grpc.StatusCode.INVALID_ARGUMENT, '[{"loc": ["x"]}]', None),
        (response(429, {"error": "full"}, retry_after="1", retry_after_ms="20"), grpc.StatusCode.RESOURCE_EXHAUSTED, "full", 0.02),
        (response(502, b"<" * 9999), grpc.StatusCode.UNAVAILABLE, "HTTP 502: <<<", None),
        (response(503, b"<html>", retry_after="2"), grpc.StatusCode.UNAVAILABLE, "HTTP 503: <html>", 2.0),
        (response(413, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), grpc.StatusCode.RESOURCE_EXHAUSTED, "HTTP 413", None),
        (response(302), grpc.StatusCode.UNKNOWN, "HTTP 302", None),
        (response(OK, b"{"), grpc.StatusCode.INTERNAL, "the server's response cannot be read: Expecting", None),
    ],
)
def test_errors(came: HttpResponse, code: grpc.StatusCode, message: str, retry_after: float | None) -> None:
    with pytest.raises(InferenceError) as raised:
        rest.document_of(came)
    assert (raised.value.code, raised.value.retry_after) == (code, retry_after)
    assert message in raised.value.message
    assert len(raised.value.message) < 1100


@pytest.mark.parametrize(("coding", "message"), [("br", "expected the content-encoding gzip or deflate, got 'br'"), ("gzip", "Error -3")])
def test_bodies_that_cannot_be_unpacked(coding: str, message: str) -> None:
    with pytest.raises(InferenceError, match=f"INTERNAL: the server's response cannot be read: {message}"):
        rest.received(OK, [("Content-Encoding", coding)], b"no gzip")


@pytest.mark.parametrize("pair", [("x-a", b"bytes"), ("x-a", "a\r\nb"), ("x a", "b"), ("content-length", "3")])
def test_metadata_that_is_no_header(pair: tuple[str, str | bytes]) -> None:
    with pytest.raises(ValueError, match=f"metadata: '?{pair[0]}"):
        rest.with_headers(rest.SERVER_METADATA, (pair,), None, None)


def test_tensors_as_bytes_are_not_copied() -> None:
    array = np.arange(3, dtype=np.float32)
    message = codec.encode_infer_request("m", {"x": array}, request_id="r", outputs=["y"], parameters={"priority": 1})
    made = rest_infer.infer_request(message, binary=True)
    text, raw = made.parts
    assert json.loads(text) == {
        "id": "r",
        "parameters": {"priority": 1, "binary_data_output": True},
        "inputs": [{"name": "x", "shape": [3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}],
        "outputs": [{"name": "y"}],
    }
    assert (made.target, dict(made.headers)[rest.JSON_NBYTES]) == ("/v2/models/m/infer", str(len(text)))
    assert isinstance(raw, memoryview)
    assert raw.obj is message


@pytest.mark.parametrize(
    ("array", "datatype", "message"),
    [
        (np.float32([1, np.nan]), "FP32", "there is no NaN and no infinity in JSON"),
        (np.uint16([1]), "BF16", "BF16 is no number of JSON"),
        (np.array([b"\xff"], object), "BYTES", "these bytes are no text in UTF-8"),
    ],
)
def test_what_json_cannot_hold(array: Any, datatype: str, message: str) -> None:
    request = codec.encode_infer_request("m", {"x": array}, datatypes={"x": datatype})
    with pytest.raises(ValueError, match=f"input 'x': this server takes JSON alone, and {message}"):
        rest_infer.infer_request(request, binary=False)


def output(**more: Any) -> dict[str, Any]:
    return {"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], **more}]}


@pytest.mark.parametrize("data", [[1, 2.5], [[1], [2.5]]])
def test_numbers_flat_or_nested(data: Any) -> None:
    said = output(data=data, parameters={"content_type": "np"}) | {"model_version": None, "parameters": {"a": 1, "b": [], "c": None}}
    result = codec.decode_infer_response(rest_infer.infer_message(response(OK, said)))
    assert result["y"].tolist() == [1, 2.5]
    assert (result.model_version, result.parameters) == ("", {"a": 1})


@pytest.mark.parametrize(
    ("came", "message"),
    [
        (response(OK, output(parameters={"binary_data_size": 8})), "output 'y' says 8 bytes, but 0 are left"),
        (response(OK, output(parameters={"binary_data_size": -1})), "output 'y' says -1 bytes"),
        (response(OK, output(parameters={"binary_data_size": "8"})), "cannot be read"),
        (response(OK, output()), "cannot be read: 'data'"),
        (response(OK, output(data=["a", "b"])), "cannot be read: could not convert string"),
        (response(OK, [1]), "cannot be read"),
        (response(OK, output(data=[1, 2]), inference_header_content_length="x"), "cannot be read: invalid literal"),
        (response(OK, output(data=[1, 2]), inference_header_content_length="-2"), "inference-header-content-length is -2"),
    ],
)
def test_responses_that_are_none(came: HttpResponse, message: str) -> None:
    with pytest.raises(InferenceError, match=message) as raised:
        rest_infer.infer_message(came)
    assert raised.value.code is grpc.StatusCode.INTERNAL


WORDS = st.sampled_from(["outputs", "name", "datatype", "shape", "data", "parameters", "binary_data_size", "FP32", "BYTES", "INT8", "x"])
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=True) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)
OUTPUT = st.fixed_dictionaries(
    {"name": WORDS, "datatype": WORDS, "shape": st.lists(st.integers(-1, 2**33), max_size=3)}, optional={"data": VALUES}
)


@given(VALUES | st.fixed_dictionaries({"outputs": st.lists(OUTPUT, max_size=2)}) | st.binary(), st.none() | st.integers(-1, 300))
def test_any_response_is_read_or_an_error(document: Any, end: int | None) -> None:
    came = response(OK, document, **({} if end is None else {"inference_header_content_length": str(end)}))
    for read in (
        lambda: codec.decode_infer_response(rest_infer.infer_message(came)),
        *(partial(rest.message_of, rpc.path, came) for rpc in (calls.MODEL_METADATA, calls.MODEL_CONFIG, calls.REPOSITORY_INDEX)),
        lambda: rest.takes_binary(came),
    ):
        assert code_of(read) in (None, grpc.StatusCode.INTERNAL)


def code_of(read: Callable[[], object]) -> grpc.StatusCode | None:
    try:
        read()
    except InferenceError as error:
        return error.code
    return None
