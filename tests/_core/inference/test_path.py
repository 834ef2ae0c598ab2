"""The path of a request, from its message to its response. What a model does around it is in engine/test_model.py and test_executor.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_access import ConstantRoute

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.request import Request
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.inference.batched_route import BatchedRoute
from inferd._core.inference.path import ModelInfer, Route, Runner
from inferd._core.inference.routes import Routes
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd.errors import Internal, InvalidArgument, NotFound
from inferd.protocol import inference as pb
from tests.fake_backend import FakeBackend

SIGNATURE = Signature("double", "3", [("x", "FP32", (-1, 4))], [("y", "FP32", (-1, 4))], 8)
HOUR_NS = 3600 * 10**9


class Asked(Call):
    """One call of ModelInfer, and what came of it."""

    def __init__(self, model: str = "double", version: str = "", value: float = 1.0, **changes: Any) -> None:
        request = pb.ModelInferRequest(model_name=model, model_version=version, **changes)
        request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
        request.raw_input_contents.append(np.full(4, value, "<f4").tobytes())
        super().__init__("/test/ModelInfer", Message(request.SerializeToString()))
        self.response: Any = None
        self.error: Exception | None = None

    def reply(self, message: Any) -> None:
        self.response = pb.ModelInferResponse.FromString(bytes(message))

    def fail(self, error: Exception) -> None:
        self.error = error

    @property
    def value(self) -> float:
        return float(np.frombuffer(self.response.raw_output_contents[0], "<f4")[0])


class Instance(Runner):
    def run_failed(self, batch: Batch, error: Exception) -> None:
        batch.fail(Internal(f"failed: {error}"))


class World:
    """One model on an event loop that turns when a test says so."""

    def __init__(self, **policy: Any) -> None:
        self.scheduled: list[Any] = []
        self.left: list[str] = []
        self.missing: list[tuple[str, str]] = []
        self.backend = FakeBackend()
        self.batcher = Batcher(8, Statistics(8), name="'double' version 3", **policy)
        self.route = BatchedRoute(self, SIGNATURE, self.batcher, Instance("double", self.backend), self.scheduled.append)
        self.route.inline, self.route.turn_ns = True, HOUR_NS
        self.routes = Routes()
        self.routes.fill({("double", "3"): self.route, ("double", ""): self.route})
        self.model_infer = ModelInfer(self.routes, self.find)

    def find(self, name: str, version: str) -> Route:
        self.missing.append((name, version))
        if version == "03":
            return self.route
        raise NotFound("no such model")

    def leave_loop(self, why: str) -> None:
        self.left.append(why)
        self.route.inline = False

    def turn(self) -> None:
        scheduled, self.scheduled[:] = self.scheduled[:], []
        for callback in scheduled:
            callback()


def test_what_one_iteration_gathers_is_one_run_and_every_call_gets_its_own_response() -> None:
    world = World()
    calls = [Asked("double", version, value, id=f"{value}") for version, value in (("", 1), ("3", 2), ("", 3))]
    for call in calls:
        world.model_infer(call)
    assert (len(world.scheduled), world.backend.rows) == (1, [])
    world.turn()
    assert [call.value for call in calls] == [2, 4, 6]
    assert [(call.response.model_name, call.response.model_version) for call in calls] == [("double", "3")] * 3
    assert (world.backend.rows, world.missing, world.scheduled) == ([3], [], [])
    assert world.batcher.statistics.request.count == world.batcher.statistics.execute.count == 3


def test_a_name_that_the_table_has_not_is_looked_for_once_more() -> None:
    world = World()
    with pytest.raises(NotFound):
        world.model_infer(Asked("other"))
    spelled = Asked("double", "03")
    world.model_infer(spelled)
    world.turn()
    assert spelled.value == 2
    assert world.missing == [("other", ""), ("double", "03")]


def test_a_request_may_wait_for_its_model_and_come_back() -> None:
    world = World()
    waiting: list[tuple[Call, Any]] = []
    world.model_infer.wait = lambda call, request: request.model_name == "later" and not waiting.append((call, request))
    later = Asked("later", value=5)
    world.model_infer(later)
    world.model_infer(Asked())
    with pytest.raises(NotFound):
        world.model_infer(Asked("other"))
    world.routes.fill({("later", ""): world.route})
    world.model_infer(*waiting.pop())
    world.turn()
    assert later.value == 10
    assert world.missing == [("other", "")]


def test_typed_contents_that_take_long_come_back_decoded() -> None:
    world = World()
    taken: list[Call] = []
    world.model_infer.unpack = taken.append
    message = pb.ModelInferRequest(model_name="double")
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend([1.0] * 10_000)
    call = Call("/test/ModelInfer", Message(message.SerializeToString()))
    world.model_infer(call)
    assert (taken, world.batcher.depth) == ([call], 0)
    decoded = Asked()
    request = decode_infer_request(decoded.message)
    world.model_infer(decoded, request)
    world.turn()
    assert decoded.value == 2


def test_a_run_that_fails_is_for_the_instance_and_its_calls_are_answered() -> None:
    world = World()
    world.backend.raises = ValueError("broken")
    call = Asked()
    world.model_infer(call)
    world.turn()
    assert str(call.error) == "failed: broken"
    assert world.batcher.statistics.runs == 0


class Constant(Route):
    """A route without a model: every request gets the same response at once."""

    def __init__(self, signature: Signature, response: pb.ModelInferResponse) -> None:
        super().__init__(signature)
        self.message = Message(response.SerializeToString())

    def check(self, request: Request) -> None:
        request.check(self.signature)

    def submit(self, request: Request, call: Call) -> None:
        call.reply(self.message)


def test_another_route_answers_by_itself() -> None:
    world = World()
    answer = pb.ModelInferResponse(model_name="constant", model_version="1", raw_output_contents=[np.full(4, 7, "<f4").tobytes()])
    for answers in (Constant(SIGNATURE, answer), ConstantRoute(SIGNATURE, Message(answer.SerializeToString()))):
        world.routes.fill({("constant", ""): answers, ("double", ""): world.route})
        constant, double = Asked("constant"), Asked()
        world.model_infer(constant)
        world.model_infer(double)
        assert (constant.value, constant.response.model_name) == (7, "constant")
        world.turn()
        assert double.value == 2
        with pytest.raises(InvalidArgument):
            world.model_infer(Asked("constant", outputs=[{"name": "nothing"}]))


def test_the_base_route_takes_no_request() -> None:
    world = World()
    world.routes.fill({("nothing", ""): Route(SIGNATURE)})
    with pytest.raises(NotImplementedError):
        world.model_infer(Asked("nothing"))
