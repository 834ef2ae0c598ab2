"""The path of a request that came by REST, from its body to its response. What it shares with ModelInfer's is in test_path.py."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from native_access import head_of

from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.http.head import Head
from inferd._core.inference.batched_route import BatchedRoute
from inferd._core.inference.rest_path import RestInfer
from inferd._core.rest.decode import decode_rest_request
from inferd._core.rest.raw import request_of_tensors
from inferd._core.tensor.signature import Signature
from inferd.errors import InvalidArgument, NotFound, ResourceExhausted
from tests._core.inference.test_path import HOUR_NS, Instance, World

LONG_NBYTES = 1 << 17


class Asked(Call):
    """One inference by REST, and what came of it."""

    def __init__(self, body: Any, target: str = "/v2/models/double/infer", **fields: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        super().__init__("/v2/models/double/infer", Message(content))
        self.given: list[Any] = []
        self.head = head_of("POST", target, [(name.replace("_", "-"), value) for name, value in fields.items()])
        self.response: bytes | None = None
        self.error: Exception | None = None

    def reply(self, message: Any) -> None:
        self.response = bytes(message)

    def fail(self, error: Exception) -> None:
        self.error = error

    def run_on_thread(self, work: Any) -> None:
        self.given.append(work)

    @property
    def data(self) -> Any:
        assert self.response is not None
        return json.loads(self.response)["outputs"][0]["data"]


def body_of(value: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [value] * 4}], **more}


class RestWorld(World):
    def __init__(self, **policy: Any) -> None:
        super().__init__(**policy)
        self.unpacked: list[tuple[Call, Head]] = []
        self.rest_infer = RestInfer(self.routes, self.find)
        self.rest_infer.unpack = lambda call, head: self.unpacked.append((call, head))

    def infer(self, call: Asked) -> Asked:
        self.rest_infer(call, call.head)
        return call


def test_requests_of_both_protocols_share_a_run() -> None:
    world = RestWorld()
    calls = [world.infer(Asked(body_of(1))), world.infer(Asked(body_of(2), "/v2/models/double/versions/3/infer"))]
    world.turn()
    assert [call.data for call in calls] == [[2] * 4, [4] * 4]
    assert world.backend.rows == [2]


def test_a_model_that_the_table_does_not_have_is_looked_for() -> None:
    world = RestWorld()
    call = world.infer(Asked(body_of(), "/v2/models/double/versions/03/infer"))
    world.turn()
    assert (call.data, world.missing) == ([2] * 4, [("double", "03")])
    with pytest.raises(NotFound):
        world.infer(Asked(body_of(), "/v2/models/other/infer"))


def test_a_wrong_request_is_rejected_before_it_waits() -> None:
    world = RestWorld()
    with pytest.raises(InvalidArgument, match="input 'z' is not an input of this model"):
        world.infer(Asked({"inputs": [{**body_of()["inputs"][0], "name": "z"}]}))
    assert world.route.rejected["OTHER"] == 1
    world = RestWorld(max_queue_requests=1)
    world.infer(Asked(body_of()))
    with pytest.raises(ResourceExhausted):
        world.infer(Asked(body_of()))


def test_a_long_body_goes_to_a_thread_and_comes_back_as_a_request() -> None:
    world = RestWorld()
    call = world.infer(Asked(body_of(note=[0] * LONG_NBYTES)))
    assert world.unpacked == [(call, call.head)]
    world.rest_infer.go_on(call, decode_rest_request(call.message, call.head))
    world.turn()
    assert call.data == [2] * 4


def test_a_request_whose_model_waits_is_kept() -> None:
    world, waiting = RestWorld(), []
    world.rest_infer.wait = lambda call, request: waiting.append((call, request)) or True
    call = world.infer(Asked(body_of(), "/v2/models/late/versions/stable/infer"))
    [(kept, request)] = waiting
    assert (kept, request.model_name, request.model_version) == (call, "late", "stable")
    assert not world.missing


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\xff\xd8", "application/x-www-form-urlencoded"),
        (b'{"age":3}', "application/json"),
        (b"{}", "text/plain"),
    ],
)
def test_a_body_that_is_no_request_in_json_is_for_another(body: bytes, content_type: str) -> None:
    world, taken = RestWorld(), []
    with pytest.raises(InvalidArgument):
        world.infer(Asked(body, content_type=content_type))
    world.rest_infer.raw = lambda call, head: taken.append((call, head)) or True
    call = world.infer(Asked(body, content_type=content_type))
    assert taken == [(call, call.head)]
    request = request_of_tensors([("x", "FP32", (1, 4), np.full(4, 5, np.float32))], call.head)
    world.rest_infer.go_on(call, request)
    world.turn()
    assert call.data == [10] * 4


def test_what_the_other_does_not_take_is_a_request_after_all() -> None:
    world = RestWorld()
    world.rest_infer.raw = lambda call, head: False
    with pytest.raises(InvalidArgument, match="malformed JSON"):
        world.infer(Asked(b"\xff\xd8", content_type="image/jpeg"))
    call = world.infer(Asked(b" \n" + json.dumps(body_of()).encode(), content_type="text/json"))
    world.turn()
    assert call.data == [2] * 4


def test_raw_bytes_are_the_only_input_of_a_model() -> None:
    world = RestWorld()
    call = world.infer(Asked(np.full(4, 3, np.float32).tobytes(), Inference_Header_Content_Length="0"))
    world.turn()
    assert call.response is not None
    assert call.response[call.head.response_json_nbytes :] == np.full(4, 6, np.float32).tobytes()
    with pytest.raises(InvalidArgument, match="got 15 bytes"):
        world.infer(Asked(bytes(15), Inference_Header_Content_Length="0"))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([("x", "FP32", (-1, 4)), ("z", "FP32", (-1, 4))], "is for models of one input, this one has 2"),
        ([("x", "FP32", (-1, -1, -1))], "several axes of any size"),
    ],
)
def test_raw_bytes_do_not_tell_what_they_are(inputs: list[Any], words: str) -> None:
    world = RestWorld()
    signature = Signature("other", "1", inputs, [("y", "FP32", (-1, 4))], 8)
    world.routes.fill(
        {("other", ""): BatchedRoute(world, signature, world.batcher, Instance("other", world.backend), world.scheduled.append)}
    )
    with pytest.raises(InvalidArgument, match=words):
        world.infer(Asked(bytes(16), "/v2/models/other/infer", Inference_Header_Content_Length="0"))


def test_a_long_response_does_not_hold_the_event_loop() -> None:
    signature = Signature("wide", "1", [("x", "FP32", (-1, -1))], [("y", "FP32", (-1, -1))], 8)
    world = RestWorld()
    route = BatchedRoute(world, signature, world.batcher, Instance("wide", world.backend), world.scheduled.append)
    route.inline, route.turn_ns = True, HOUR_NS
    world.routes.fill({("wide", ""): route})
    call = Asked({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3000], "data": [0.25] * 3000}]}, "/v2/models/wide/infer")
    world.infer(call)
    world.turn()
    [work] = call.given
    assert call.response is None
    work.run()
    work.done()
    assert call.data == [0.5] * 3000
