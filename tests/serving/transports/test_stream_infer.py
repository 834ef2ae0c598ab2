"""ModelStreamInfer from socket to socket, on both transports: order, errors in band and as a status, backpressure, and every way to end."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import pytest

from inferd._core.grpc.message import Message
from inferd.protocol import inference
from inferd.serving.transports import stream_infer
from inferd.serving.transports.grpcio import StreamedCall
from tests import models
from tests.server_fixtures import TRANSPORTS, ServerFixture, until
from tests.wire import LIMIT_S, SERVICE, Caller, Held, infer_request, outputs_of, rows

STREAM_INFER = f"/{SERVICE}/ModelStreamInfer"
MOST = 4  # max_stream_requests
MAX_MESSAGE_BYTES = 1 << 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(
        tmp_path_factory.mktemp("streams"),
        {"identity": models.identity(), "slow": models.slow(60), "failing": models.failing(), "typed": models.identity("INT32", (9000,))},
        {"slow": "max_batch_size: 1"},
    )


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, files: Path) -> Iterator[ServerFixture]:
    with ServerFixture(files, transport=request.param, max_stream_requests=MOST, max_message_bytes=MAX_MESSAGE_BYTES) as server:
        yield server


class Stream:
    """One stream on a connection of its own, whose requests are sent one by one."""

    def __init__(self, served: ServerFixture, *metadata: tuple[str, str], timeout: float = LIMIT_S) -> None:
        self.caller = Caller(served.address)
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        serve = self.caller.channel.stream_stream(STREAM_INFER, response_deserializer=inference.ModelStreamInferResponse.FromString)
        self.call: Any = serve(iter(self._messages.get, None), timeout=timeout, metadata=metadata)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._messages.put(None)
        self.call.cancel()
        self.caller.channel.close()

    def send(self, *requests: inference.ModelInferRequest | bytes, end: bool = False) -> None:
        for request in requests:
            self._messages.put(request if isinstance(request, bytes) else request.SerializeToString())
        if end:
            self._messages.put(None)

    def responses(self, count: int) -> list[inference.ModelStreamInferResponse]:
        return [next(self.call) for _ in range(count)]

    def rest(self) -> tuple[list[inference.ModelStreamInferResponse], str]:
        """The responses to the end of the stream, and its status."""
        found = []
        with suppress(grpc.RpcError):
            found.extend(self.call)
        return found, self.call.code().name


def request_of(number: int, model: str = "identity", width: int = 16) -> inference.ModelInferRequest:
    return infer_request(model, {"x": rows(1, width, number)}, id=str(number))


def told(responses: list[inference.ModelStreamInferResponse]) -> list[tuple[str, str]]:
    return [(response.infer_response.id, response.error_message) for response in responses]


def successes(served: ServerFixture, model: str) -> int:
    with Caller(served.address) as caller:
        return int(caller.statistics(model).inference_stats.success.count)


def test_responses_come_in_the_order_of_requests(served: ServerFixture) -> None:
    """As in Triton, though a fast model answers before a slow one. Far more requests than may be in flight."""
    slow = {0, 30, 99}
    with Stream(served) as stream:
        stream.send(*(request_of(number, "slow", 64) if number in slow else request_of(number) for number in range(100)), end=True)
        found, status = stream.rest()
    assert status == "OK"
    assert [response.infer_response.id for response in found] == [str(number) for number in range(100)]
    for number, response in enumerate(found):
        assert response.error_message == ""
        assert response.infer_response.parameters["triton_final_response"].bool_param
        y = outputs_of(response.infer_response)["y"]
        np.testing.assert_allclose(y, rows(1, 64 if number in slow else 16, number), rtol=0.01, atol=0.05)


def test_a_response_holds_what_model_infer_answers(served: ServerFixture) -> None:
    """Typed contents that a thread unpacks, too."""
    long = infer_request("typed", {"x": np.arange(9000, dtype=np.int32).reshape(1, 9000)}, typed=True, id="long")
    assert long.ByteSize() > 16 << 10
    with Stream(served) as stream:
        stream.send(long, request_of(1), end=True)
        found, _ = stream.rest()
        for request, response in zip((long, request_of(1)), found, strict=True):
            alone = stream.caller.infer(request)
            alone.parameters["triton_final_response"].bool_param = True
            assert response == inference.ModelStreamInferResponse(infer_response=alone)


def test_wrong_requests_are_told_in_band_and_the_stream_goes_on(served: ServerFixture) -> None:
    wrong = infer_request("identity", {"x": rows(1, 15)}, id="wrong")
    unknown = infer_request("nobody", {"x": rows(1)}, id="unknown")
    failing = infer_request("failing", {"x": np.array([[9]])}, id="failing")
    with Stream(served) as stream:
        stream.send(request_of(1), wrong, unknown, failing, b"\xff\xff", request_of(2), end=True)
        found, status = stream.rest()
        alone = [stream.caller.rejected(each)[1] for each in (wrong, unknown, failing, b"\xff\xff")]
    assert status == "OK"
    assert told(found) == [("1", ""), *zip(("wrong", "unknown", "failing", ""), alone, strict=True), ("2", "")]
    assert [response.infer_response.model_name for response in found] == ["identity", "identity", "nobody", "failing", "", "identity"]
    assert all(response.infer_response.parameters["triton_final_response"].bool_param for response in found)


def test_a_client_may_ask_for_a_status_instead(served: ServerFixture) -> None:
    """For a failure. A request that is wrong by itself stays in band, as in Triton."""
    wrong = infer_request("identity", {"x": rows(1, 15)}, id="wrong")
    failing = infer_request("failing", {"x": np.array([[9]])})
    with Stream(served, ("triton_grpc_error", "true")) as stream:
        stream.send(request_of(1), wrong, request_of(2), failing, request_of(3))
        found, status = stream.rest()
        assert told(found) == [("1", ""), ("wrong", stream.caller.rejected(wrong)[1]), ("2", "")]
        assert (status, stream.call.details()) == stream.caller.rejected(failing)


def test_a_too_large_message_ends_the_stream(served: ServerFixture) -> None:
    with Stream(served) as stream:
        stream.send(request_of(1))
        stream.responses(1)
        stream.send(bytes(MAX_MESSAGE_BYTES + 1))
        assert stream.rest() == ([], "RESOURCE_EXHAUSTED")
    with Caller(served.address) as caller:
        caller.infer(request_of(2))


def test_an_empty_stream(served: ServerFixture) -> None:
    with Stream(served) as stream:
        stream.send(end=True)
        assert stream.rest() == ([], "OK")


def test_a_stream_that_is_cancelled_runs_no_more(served: ServerFixture) -> None:
    held, before = Held(served), successes(served, "slow")
    model = served.server.repository.lookup("slow", "")
    with Stream(served) as stream:
        stream.send(*(request_of(number, "slow", 64) for number in range(50)))
        stream.responses(1)
        until(lambda: model.queues.depth == MOST - 1)
        stream.call.cancel()
    held.check()
    assert successes(served, "slow") < before + 50


def test_a_client_that_does_not_read_is_not_read(served: ServerFixture) -> None:
    """What it sends waits in the windows. When it reads, it gets all."""
    held, before = Held(served), successes(served, "typed")
    request = infer_request("typed", {"x": np.zeros((3, 9000), np.int32)})
    with Stream(served) as stream:
        stream.send(*[request] * 300, end=True)
        stream.responses(1)
        with Caller(served.address) as other:
            for number in range(20):
                other.infer(request_of(number))
        assert successes(served, "typed") - before < 200
        assert len(stream.rest()[0]) == 299
    held.check()


async def test_a_stream_of_grpcio_holds_so_many_bytes_and_is_not_read() -> None:
    """Requests, and responses that were not taken."""
    total, read = 0, 0
    held = stream_infer.Held(100, most_nbytes=10)

    def hold(nbytes: int) -> None:
        nonlocal total
        total += nbytes
        held.change(0, nbytes)

    async def next_message() -> bytes | None:
        nonlocal read
        read += 1
        return bytes(6) if read < 6 else None

    def begin(message: bytes) -> StreamedCall:
        call = StreamedCall("m", Message.wrap(message), 0, hold)
        if read == 1:
            call.reply(bytes(20))
        return call

    async with aclosing(stream_infer.in_flight(next_message, begin, StreamedCall.leave, held)) as calls:
        await anext(calls)
        assert (read, total) == (1, 26)
        await anext(calls)
        await asyncio.sleep(0)
        assert (read, total) == (3, 12)
    assert total == 0


def test_a_deadline_is_the_whole_streams(served: ServerFixture) -> None:
    held, before = Held(served), successes(served, "slow")
    with Stream(served, timeout=0.2) as stream:
        stream.send(*(request_of(number, "slow", 64) for number in range(50)))
        assert stream.rest()[1] == "DEADLINE_EXCEEDED"
    held.check()
    assert successes(served, "slow") < before + 50


def test_a_client_that_leaves_while_its_responses_are_written(served: ServerFixture) -> None:
    """At any moment: a reader that outlives its call would end the process."""
    held = Held(served)
    for moment in range(40):
        with Stream(served, timeout=0.005 + 0.001 * moment) as stream:
            stream.send(*(request_of(number, "slow", 64) for number in range(20)))
            assert stream.rest()[1] == "DEADLINE_EXCEEDED"
    held.check()


def test_a_drain_answers_what_is_in_flight(served: ServerFixture, files: Path) -> None:
    """And begins no more, however many there are."""
    with ServerFixture(files, transport=served.transport, max_stream_requests=MOST) as own, Stream(own) as stream:
        stream.send(*(request_of(number, "slow", 64) for number in range(400)))
        stream.responses(1)
        own.__exit__()
        found, status = stream.rest()
    assert told(found) == [(str(number), "") for number in range(1, len(found) + 1)]
    assert MOST - 1 <= len(found) < 399
    assert status == "UNAVAILABLE"
