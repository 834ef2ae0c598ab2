"""What HTTP/2 and gRPC cost without sockets: recorded requests into a session, answers out, each checked."""

from __future__ import annotations

from typing import Any

import pytest
from native_access import MemorySocket

from inferd._core.http2.stream import Http2Call
from tests._core.http2_client import EMPTY_SETTINGS, PREFACE, Client, Served, frame, in_memory

ROUNDS = 200  # requests of one recorded conversation; each stream id is used once, so every round needs its own session


def recorded(count: int, message: bytes) -> list[bytes]:
    """What a client sends for `count` calls: the greeting, then one piece a call."""
    client = Client(Served())
    pieces = [PREFACE, EMPTY_SETTINGS]
    for _ in range(count):
        stream_id = client.open()
        client.h2.send_data(stream_id, frame(message), end_stream=True)
        pieces.append(client.h2.data_to_send())
    return pieces


def echo(call: Http2Call) -> None:
    call.reply(call.message)


@pytest.mark.parametrize("streams", [1, 64], ids=lambda streams: f"{streams}-a-write")
def test_echo(benchmark: Any, streams: int) -> None:
    """`streams` requests arrive in one read and are answered in one write; FP32[1,16]-sized messages."""
    message = bytes(range(120))
    pieces = recorded(ROUNDS, message)
    greeting, calls = b"".join(pieces[:2]), pieces[2:]
    reads = [b"".join(calls[start : start + streams]) for start in range(0, ROUNDS, streams)]

    def greeted() -> tuple[tuple[Served, MemorySocket, list[bytes]], dict[str, Any]]:
        served = Served(echo)
        written: list[bytes] = []
        connection = in_memory(served.server, written.append)
        connection.receive(greeting)
        served.run_scheduled()
        written.clear()
        return (served, connection, written), {}

    def serve(served: Served, connection: MemorySocket, written: list[bytes]) -> list[bytes]:
        for read in reads:
            connection.receive(read)
            served.server.flush()
        return written

    written = benchmark.pedantic(serve, setup=greeted, rounds=100, warmup_rounds=5)
    assert len(written) == len(reads)
    assert b"".join(written).count(message) == ROUNDS
