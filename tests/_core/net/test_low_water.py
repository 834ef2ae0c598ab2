"""How many bytes of a large message a socket waits for before it wakes the loop, and who is not kept waiting for them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from inferd._core.net.low_water import LowWater
from tests._core.http2_client import INFER, STREAM, Client, Served, frame

BUFFER = 64 << 10  # what the session takes at a time
MOST = 256 << 10


class Gathering:
    """Clients whose sessions all set the low-water mark of one TCP socket: no other kind looks at it."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.clients: list[Client] = []

    def client(self, served: Served) -> Client:
        self.clients.append(Client(served, greet=False))
        self.clients[-1].connection.low_water = LowWater(served.server.gathering, self.socket.fileno())
        self.clients[-1].greet()
        return self.clients[-1]

    @property
    def low_water(self) -> int:
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@pytest.fixture
def gathering() -> Iterator[Gathering]:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            gathering = Gathering(accepted)
            yield gathering
            for client in gathering.clients:
                client.connection.close()  # gives back the messages that did not come whole
                client.served.calls.clear()  # and those that did
            gathering.clients.clear()


def upload(client: Client, nbytes: int, path: str = INFER) -> bytes:
    """What a client sends for a message of so many bytes, headers included, in HTTP/2's default frames."""
    stream_id = client.h2.get_next_available_stream_id()
    client.open(path)
    body = frame(bytes(nbytes))
    for at in range(0, len(body), 16 << 10):
        client.h2.send_data(stream_id, body[at : at + (16 << 10)])
    client.h2.end_stream(stream_id)
    return client.h2.data_to_send()


def test_the_loop_sleeps_until_a_good_piece_of_a_large_message_is_there(gathering: Gathering) -> None:
    client = gathering.client(served := Served())
    wire = upload(client, 600_000)
    marks = []
    for at in range(0, len(wire), BUFFER):
        client.connection.receive(wire[at : at + BUFFER])
        marks.append(gathering.low_water)
    assert marks[:5] == [MOST] * 5  # 600 to 272 KB are missing
    for read, mark in enumerate(marks[5:8], 6):  # and then less: what is missing, never more, or the end would not be heard
        assert len(wire) - read * BUFFER - 500 < mark <= len(wire) - read * BUFFER
    assert marks[8:] == [1, 1]  # 10 KB are missing; none
    assert len(served.calls[0].message) == 600_000
    assert [seconds for seconds, _ in served.later] == [0.005]


def test_small_messages_are_read_as_they_come(gathering: Gathering) -> None:
    client = gathering.client(served := Served())
    for _ in range(20):
        client.connection.receive(upload(client, 10_000))
        assert gathering.low_water == 1
    assert served.later == []


def test_a_slow_upload_is_read_as_it_comes(gathering: Gathering) -> None:
    client = gathering.client(served := Served())
    wire = upload(client, 600_000)
    for at in range(0, len(wire), 16 << 10):
        client.connection.receive(wire[at : at + (16 << 10)])
        assert gathering.low_water == 1
    assert served.later == []
    assert len(served.calls) == 1


def test_who_pauses_within_a_message_is_soon_read_as_it_comes(gathering: Gathering) -> None:
    client = gathering.client(served := Served())
    wire = upload(client, 600_000)
    client.connection.receive(wire[:BUFFER])
    assert gathering.low_water == MOST
    begun_ns = time.monotonic_ns()
    served.later.pop()
    served.server.gathering.end(begun_ns)  # the timer, a moment later on any machine
    assert gathering.low_water == 1
    client.connection.receive(wire[BUFFER : BUFFER + 1000])
    assert gathering.low_water == 1
    client.connection.receive(wire[BUFFER + 1000 : 3 * BUFFER])  # fast again
    assert gathering.low_water == MOST
    assert len(served.later) == 1


def test_who_pauses_is_not_waited_for_again_and_again(gathering: Gathering) -> None:
    """Small calls beside uploads that come in bursts would be late each time."""
    client = gathering.client(served := Served(lambda call: call.reply(b"")))
    wire = upload(client, 600_000)
    client.connection.receive(wire[:BUFFER])
    assert gathering.low_water == MOST
    served.server.gathering.end(time.monotonic_ns() + 1_000_000)
    client.connection.receive(wire[BUFFER:])
    for _ in range((16 << 20) // 600_000):
        assert gathering.low_water == 1
        client.connection.receive(upload(client, 600_000))
        client.exchange()
    client.connection.receive(upload(client, 600_000)[:BUFFER])
    assert gathering.low_water == MOST


def test_who_was_read_just_now_has_not_paused(gathering: Gathering) -> None:
    client = gathering.client(served := Served())
    wire = upload(client, 600_000)
    client.connection.receive(wire[:BUFFER])
    begun_ns = time.monotonic_ns()
    client.connection.receive(wire[BUFFER : BUFFER + 20_000])
    served.server.gathering.end(begun_ns + 1_000_000)
    assert gathering.low_water == 1
    client.connection.receive(wire[BUFFER + 20_000 : 2 * BUFFER + 20_000])
    assert gathering.low_water == MOST


def test_messages_side_by_side_wait_for_the_one_that_lacks_least(gathering: Gathering) -> None:
    client = gathering.client(Served())
    first, second = client.open(), client.open()
    client.send(first, frame(bytes(500_000))[:-100_000], end=False)
    client.h2.send_data(first, bytes(10_000))
    for _ in range(3):
        client.h2.send_data(second, frame(bytes(500_000))[: 16 << 10])
    client.exchange()
    assert gathering.low_water == 90_000


def test_one_timer_for_all_connections_and_none_for_one_that_is_gone(gathering: Gathering) -> None:
    served = Served()
    clients = [gathering.client(served) for _ in range(2)]
    for client in clients:
        client.connection.receive(upload(client, 600_000)[:BUFFER])
    assert len(served.later) == 1
    for client in clients:
        client.connection.close()
    served.run_later()
    assert gathering.low_water == MOST  # the number may be another socket's by now


def test_never_more_than_the_window_lets_a_client_send(gathering: Gathering) -> None:
    client = gathering.client(Served(connection_window_nbytes=65_535))
    stream_id = client.open()
    for _ in range(3):
        client.h2.send_data(stream_id, frame(bytes(600_000))[: 16 << 10])
    client.exchange()
    assert gathering.low_water == 65_535 // 2


@pytest.mark.parametrize("path", [INFER, STREAM])
def test_a_rejected_upload_is_not_waited_for(gathering: Gathering, path: str) -> None:
    client = gathering.client(served := Served(max_message_nbytes=100_000))
    client.connection.receive(upload(client, 600_000, path)[:BUFFER])
    assert len(served.errors) == 1
    assert gathering.low_water == 1


def test_without_a_descriptor_nothing_waits() -> None:
    client = Client(served := Served(lambda call: call.reply(b"")))
    client.connection.receive(upload(client, 600_000))
    client.exchange()
    assert served.later == []
    assert client.ended


def test_no_timer_no_waiting(gathering: Gathering) -> None:
    """A loop that is closing takes no timer: the upload goes on as if nothing were."""
    client = gathering.client(served := Served())

    class Closed(list[object]):
        def append(self, _: object) -> None:
            raise RuntimeError("Event loop is closed")

    served.later = Closed()  # type: ignore[assignment]
    client.connection.receive(upload(client, 600_000)[:BUFFER])
    assert gathering.low_water == 1
