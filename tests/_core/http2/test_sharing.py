"""What connections share: none may have all of the message memory, and none all of a model's turns."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from urllib.parse import unquote
from zlib import compress

import numpy as np
import pytest

from inferd._core.batching.batcher import Batcher
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc import message as pool
from inferd._core.http2.stream import Http2Call
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd.errors import Unavailable
from tests._core.http2_client import INFER, STREAM, UNARY, Client, Served, frame
from tests.leak_check import end_by_hand
from tests.wire import infer_request

OK = (0, "")
WORDS = "why, " * 99 + "why!!"
KiB, MiB = 1 << 10, 1 << 20


@pytest.fixture
def budget() -> Iterator[int]:
    """A budget of which nothing is used yet, by tests of other modules neither."""
    end_by_hand()
    held = pool.in_use()
    pool.set_budget(held + MiB)
    yield MiB
    pool.set_budget(1 << 30)
    gc.collect()
    assert pool.in_use() == held


def held(client: Client) -> int:
    """How many requests of 64 KiB a client can have waiting, and the last one's status."""
    count = 0
    while client.served.calls or count < 100:
        stream_id = client.call(bytes(64 * KiB))
        if stream_id in client.headers:
            assert client.status(stream_id)[0] == 8
            return count
        count += 1
    raise AssertionError("no limit")


def end(*clients: Client) -> None:
    for client in clients:
        client.connection.close()
        client.served.calls.clear()


@pytest.mark.parametrize(("percent", "counts"), [(50, [8, 4, 2]), (25, [4, 3, 2])])
def test_a_connection_may_hold_its_share_of_what_others_leave_free(budget: int, percent: int, counts: list[int]) -> None:
    """Of 1 MiB: 16 requests of 64 KiB. Each next connection finds less, and something is left for the one after it."""
    clients = [Client(Served(memory_percent=percent)) for _ in counts]
    assert [held(client) for client in clients] == counts
    reasons = [error.reason for client in clients for error in client.served.errors]  # type: ignore[attr-defined]
    assert reasons[:2] == ["connection_memory"] * 2  # for the last one there may be no room at all
    end(*clients)


def test_one_request_alone_may_have_all(budget: int) -> None:
    client = Client(Served(memory_percent=10))
    stream_id = client.call(bytes(500 * KiB))
    assert stream_id not in client.headers
    end(client)


def test_whatever_others_hold_a_connection_may_have_a_little(budget: int) -> None:
    """Unfinished messages, each as large as still finds room, fill all that there is; a health check comes through all the same."""
    greedy, other = Client(Served(memory_percent=99)), Client(Served(lambda call: call.reply(b"done"), memory_percent=99))
    for nbytes in (64 * KiB, 8 * KiB, 600):
        for _ in range(200):
            greedy.send(greedy.open(), frame(bytes(2 * nbytes))[: nbytes + 5], end=False)
    assert {error.reason for error in greedy.served.errors} <= {"connection_memory", "message_memory"}  # type: ignore[attr-defined]
    assert pool.in_use() > budget - 16 * KiB
    for _ in range(50):
        assert other.status(other.call(bytes(4 * KiB))) == OK
    assert other.status(other.call(bytes(64 * KiB)))[0] == 8, "more than a little finds no room"
    end(greedy, other)


def test_a_little_is_no_more_than_that(budget: int) -> None:
    """Of each connection, beyond the budget."""
    pool.set_budget(1)
    clients = [Client(Served(memory_percent=50)) for _ in range(3)]
    begun = pool.in_use()
    for client in clients:
        for _ in range(40):
            client.call(bytes(2 * KiB))
        assert len(client.served.calls) == 8
    assert pool.in_use() - begun == 3 * 16 * KiB
    end(*clients)


def test_without_a_share_there_is_the_budget(budget: int) -> None:
    client = Client(Served())
    for _ in range(14):
        assert client.call(bytes(60 * KiB)) not in client.headers
    end(client)


def test_what_was_answered_counts_no_more(budget: int) -> None:
    client = Client(Served(lambda call: call.reply(b"done"), memory_percent=50))
    for _ in range(100):
        assert client.status(client.call(bytes(64 * KiB))) == OK


def test_all_kinds_of_memory_count(budget: int) -> None:
    """Metadata, what waits behind a stream's message, and what compressed messages become."""
    client = Client(served := Served(memory_percent=50))
    watch = client.open(STREAM)
    client.send(watch, frame(b"first") + bytes(300 * KiB), end=False)
    client.open(UNARY, ("name", "x" * 1000))
    packed = client.open(INFER, ("grpc-encoding", "deflate"))
    client.send(packed, frame(compress(bytes(300 * KiB)), 1))
    assert packed not in client.headers
    assert served.conversions
    served.run_conversions()
    client.exchange()
    code, text = client.status(packed)
    assert (code, "connection_memory_percent" in unquote(text)) == (8, True)
    end(client)


def test_a_connection_that_is_gone_holds_its_share_until_its_requests_are_over(budget: int) -> None:
    calls: list[Http2Call] = []
    client = Client(served := Served(lambda call: calls.append(call), memory_percent=50))
    message_of = [client.call(bytes(64 * KiB)) for _ in range(8)]
    kept = [call.message for call in calls]
    client.connection.close()
    assert len(message_of) == 8
    assert pool.in_use() >= 8 * 64 * KiB
    other = Client(served)
    assert other.call(bytes(64 * KiB)) not in other.headers
    calls.clear()
    kept.clear()
    other.connection.close()


def test_connections_are_sources_of_their_own() -> None:
    """As the batcher sees them: two of one server differ, and all are one where turns are switched off."""
    signature = Signature("m", "1", [("x", "FP32", (-1, 4))], [("y", "FP32", (-1, 4))], 8)
    body = infer_request("m", {"x": np.ones((1, 4), np.float32)}).SerializeToString()
    for fair, first in ((True, 1), (False, 0)):
        batcher = Batcher(1, Statistics(1))

        def put(call: Http2Call, batcher: Batcher = batcher) -> None:
            request = decode_infer_request(call.message)
            request.check(signature)
            batcher.put(request, call)

        served = Served(put, fair=fair)
        busy, other = Client(served), Client(served)
        for _ in range(5):
            busy.call(body)
        other.call(body)
        assert batcher.queue.overtaken == first
        busy.connection.close()
        other.connection.close()
        batcher.close()


def rejection(client: Client) -> int:
    """The client does not read it."""
    client.connection.pause_writing()
    stream_id = client.call(b"")
    client.served.calls.pop().fail(Unavailable(WORDS))
    return stream_id


def test_what_rejections_say_counts_until_it_is_read(budget: int) -> None:
    client = Client(Served())
    before = pool.in_use()
    streams = [rejection(client) for _ in range(10)]
    assert pool.in_use() - before == 10 * len(WORDS)
    client.connection.resume_writing()
    client.exchange()
    assert {client.status(stream_id) for stream_id in streams} == {(14, WORDS)}
    assert pool.in_use() == before
    rejection(client)
    end(client)
    assert pool.in_use() == before


def test_a_rejection_whose_words_find_no_room_has_its_code(budget: int) -> None:
    client = Client(Served(memory_percent=50))
    streams = [rejection(client)]
    pool.set_budget(1)
    streams.append(rejection(client))
    client.connection.resume_writing()
    client.exchange()
    assert client.status(streams[0]) == (14, WORDS)
    code, text = client.status(streams[1])
    assert (code, "message_memory_bytes" in text) == (14, True)
    end(client)
