"""One client's socket: what is read, what is written, and how it ends. Over real sockets; a test gives the turns."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from h2.settings import SettingCodes

from inferd._core.grpc.call import Call
from inferd._core.http1.session import Http1Session
from inferd._core.http2.session import Session
from inferd._core.net.stream_socket import StreamSocket
from tests._core.http2_client import INFER, frame, headers
from tests._core.http2_sockets import CLOSED, CLOSING, DRAINING, GREETING, OPEN, OPENING, READ_NBYTES, UNKNOWN, Peer, Sockets, Told
from tests.tls_records import Contexts

MAX_UNSENT_NBYTES = 512 << 10  # _core/net/limits.pxd
PING = b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"
NO_PING = b"\0\0\0\x06\0\0\0\0\0"  # one without its bytes: an error of the connection
RESET = b"\1\0\0\0\0\0\0\0"
WIDE = 8 << 20  # a window
S = 10**9


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with Sockets(infer=lambda call: call.reply(call.message)) as made:
        yield made


def greeted(sockets: Sockets, kind: str = "unix", sent_nbytes: int = 0) -> tuple[StreamSocket, Peer]:
    """A client whose windows let much through."""
    connection, client = sockets.connect(kind, sent_nbytes=sent_nbytes)
    peer = Peer(sockets, client)
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WIDE})
    peer.h2.increment_flow_control_window(WIDE)
    peer.h2.ping(b"12345678")
    peer.until(lambda: peer.pings)
    return connection, peer


def send_all(sockets: Sockets, peer: Peer) -> None:
    """Of a client that reads nothing meanwhile."""
    content = peer.h2.data_to_send()
    while content:
        with suppress(BlockingIOError):
            content = content[peer.socket.send(content) :]
        sockets.turn()


def received(client: socket.socket) -> bytes:
    """All that is there, or comes until the end."""
    found = b""
    with suppress(BlockingIOError, ConnectionResetError):
        while piece := client.recv(1 << 16):
            found += piece
    return found


# ---- reading


@pytest.mark.parametrize("odd", ["a descriptor", "urgent data"])
def test_bytes_behind_a_read_that_ends_early_are_read(sockets: Sockets, odd: str) -> None:
    """At a descriptor, or at urgent data, the kernel ends a read though more bytes are there, and tells of them once."""
    _, peer = greeted(sockets, "unix" if odd == "a descriptor" else "tcp")
    stream = peer.ask(INFER, b"x" * 1000)
    content, client = peer.h2.data_to_send(), peer.socket
    client.send(content[:100])
    if odd == "a descriptor":
        socket.send_fds(client, [content[100:200]], [client.fileno()])
        client.send(content[200:])
    else:
        client.send(content[100:200])
        client.send(b"!", socket.MSG_OOB)
        client.send(content[200:])
    peer.until(lambda: stream in peer.ended)


def test_a_message_that_has_begun_lets_other_frames_cost_no_less(sockets: Sockets) -> None:
    """A turn reads 64 KiB of a large message. Frames behind a piece of it wait for turns of their own, each of 4 KiB."""
    _, peer = greeted(sockets)
    stream = peer.h2.get_next_available_stream_id()
    peer.h2.send_headers(stream, headers(INFER))
    peer.h2.send_data(stream, b"\0" + (32 << 20).to_bytes(4, "big") + bytes(1000))
    send_all(sockets, peer)
    sockets.poller.budget_ns = 0
    reads = []
    data = b"\0\x20\0\0\0" + stream.to_bytes(4, "big") + bytes(8 << 10)
    sent = data + 60 * UNKNOWN
    for rounds in (1, 2):
        peer.socket.sendall(sent)
        while sum(reads) < rounds * len(sent):
            before = sockets.server.totals["received_nbytes"]
            sockets.turn()
            reads.append(sockets.server.totals["received_nbytes"] - before)
    assert max(reads) <= len(data) + READ_NBYTES
    assert sum(reads) == 2 * len(sent)


def turns_until_pong(sockets: Sockets, peer: Peer) -> int:
    pings, turns = peer.pings, 0
    peer.h2.ping(b"12345678")
    while peer.pings == pings:
        peer.move()
        sockets.turn()
        turns += 1
    return turns


def test_new_clients_wait_behind_those_that_are_there(sockets: Sockets) -> None:
    """Counted in turns: each iteration has one. The first calls of many may be dear."""
    _, peer = greeted(sockets)
    sockets.settle()
    sockets.poller.budget_ns = 0
    for _ in range(50):
        sockets.connect()[1].sendall(GREETING + PING * 100)
    sockets.turn()
    assert turns_until_pong(sockets, peer) <= 5


def test_the_ends_of_many_wait_behind_a_client_with_credit(sockets: Sockets) -> None:
    """Counted in turns: each iteration has one."""
    _, peer = greeted(sockets)
    others = [greeted(sockets)[1] for _ in range(50)]
    for other in (peer, *others):
        pings = other.pings
        other.h2.ping(b"12345678")
        other.until(lambda other=other, pings=pings: other.pings > pings)
    sockets.settle()
    sockets.poller.budget_ns = 0
    for other in others:
        other.socket.shutdown(socket.SHUT_WR)
    assert turns_until_pong(sockets, peer) <= 5


# ---- states


def test_the_states_of_a_connection_that_drains() -> None:
    held: list[Call] = []
    with Sockets(infer=held.append) as sockets:
        connection, client = sockets.connect()
        assert connection.state == OPENING
        peer = Peer(sockets, client)
        peer.ask(INFER, b"x")
        peer.until(lambda: held)
        assert connection.state == OPEN
        for _ in range(2):
            connection.drain()
            assert connection.state == DRAINING
        connection.take_keepalive_step(1, 0)
        connection.take_keepalive_step(S, 0)
        peer.until(lambda: len(peer.goaways) == 2)
        assert (connection.state, connection.client.told) == (DRAINING, []), "a call goes on to its end"
        held.pop().reply(b"y")
        peer.until(lambda: connection.state == CLOSED)
        peer.until(lambda: peer.closed)
        assert (peer.bodies, peer.goaways) == ({1: frame(b"y")}, [0, 0])
        connection.drain()
        connection.close()
        assert (connection.state, connection.client.told) == (CLOSED, ["released"])


@pytest.mark.parametrize("state", [OPENING, OPEN, DRAINING])
@pytest.mark.parametrize("ends", ["abort", "error", "end", "reset"])
def test_every_state_may_end(sockets: Sockets, state: int, ends: str) -> None:
    """And leaves nothing: no socket, no flush, no connection in the count."""
    connection, client = sockets.connect("tcp")
    if state > OPENING:
        client.sendall(GREETING)
        sockets.until(lambda: connection.state == OPEN)
    if state == DRAINING:
        connection.drain()
        assert connection.state == DRAINING
    if ends == "abort":
        connection.abort()
        assert (connection.state, connection.socket) == (CLOSING, None)
        connection.abort()
    elif ends == "error":
        client.sendall(NO_PING if state > OPENING else 24 * b"x")
    else:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET if ends == "reset" else bytes(8))
        client.close()
    sockets.until(lambda: connection.state == CLOSED)
    assert connection.client.told == ["released"]
    assert (connection.socket, connection.descriptor, connection.unsent_nbytes) == (None, -1, 0)
    client.close()
    sockets.until(lambda: not sockets.server.lingering)
    assert (sockets.server.connections, len(sockets.poller)) == (0, 0)


# ---- reading


def test_a_request_a_byte_at_a_time(sockets: Sockets) -> None:
    connection, client = sockets.connect()
    peer = Peer(sockets, client)
    peer.ask(INFER, b"slow")
    for byte in peer.h2.data_to_send():
        client.sendall(bytes([byte]))
        sockets.turn()
    peer.until(lambda: peer.ended)
    assert peer.bodies == {1: frame(b"slow")}
    assert connection.state == OPEN


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_what_came_before_the_end_is_answered(sockets: Sockets, kind: str) -> None:
    """A client that says all and shuts its side: the responses that are there leave before the socket closes."""
    connection, client = sockets.connect(kind)
    peer = Peer(sockets, client)
    streams = [peer.ask(INFER, b"last") for _ in range(600)]  # more frames than a turn writes
    peer.h2.ping(b"12345678")
    client.setblocking(True)
    client.sendall(peer.h2.data_to_send())
    client.setblocking(False)
    client.shutdown(socket.SHUT_WR)
    sockets.until(lambda: connection.state == CLOSED)
    peer.until(lambda: peer.closed)
    assert peer.pings == 1
    assert [peer.bodies[stream] for stream in streams] == 600 * [frame(b"last")]
    sockets.until(lambda: not sockets.server.lingering)


@pytest.mark.parametrize("ends", ["close", "reset", "abort"])
def test_calls_of_a_client_that_has_left_are_given_up(ends: str) -> None:
    held: list[Call] = []
    with Sockets(infer=held.append) as sockets:
        connection, client = sockets.connect("tcp")
        peer = Peer(sockets, client)
        peer.ask(INFER, b"x")
        peer.until(lambda: held)
        if ends == "abort":
            connection.abort()
        else:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET if ends == "reset" else bytes(8))
            client.close()
        sockets.until(lambda: connection.state == CLOSED)
        call = held.pop()
        assert call.settled
        call.reply(b"too late")
        sockets.server.flush()
        assert (sockets.server.calls, sockets.server.totals["abandoned"]) == (0, 1)


def test_a_connection_that_is_aborted_within_its_turn() -> None:
    """By a call of its own: nothing more is read of it, and nothing written."""
    calls: list[Call] = []

    def abort(call: Call) -> None:
        calls.append(call)
        connection.abort()
        call.reply(b"nobody reads it")

    with Sockets(infer=abort) as sockets:
        connection, client = sockets.connect()
        other, _ = sockets.connect()
        peer = Peer(sockets, client)
        for _ in range(3):
            peer.ask(INFER, b"x")
        client.sendall(peer.h2.data_to_send())
        sockets.settle()
        assert (connection.state, connection.client.told, other.state) == (CLOSED, ["released"], OPENING)
        assert b"nobody reads it" not in received(client)
        assert sockets.server.calls == 0
    calls.clear()  # the server refers to its handler, unseen by the collector


def test_a_connection_and_its_protocols_are_three_classes_deep_at_most() -> None:
    for kind in (StreamSocket, Session, Http1Session):
        assert len(kind.__mro__) <= 1 + 3, "object counts for none"


def test_an_error_of_one_connection_is_the_end_of_that_one(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Told):
        def released(self, connection: StreamSocket) -> None:
            super().released(connection)
            raise ArithmeticError("released() fails")

    with Sockets() as sockets:
        connection, client = sockets.connect(told=Broken())
        other, second = sockets.connect()
        client.sendall(GREETING + NO_PING)
        second.sendall(GREETING)
        sockets.settle()
        assert (connection.state, other.state) == (CLOSED, OPEN)
        assert "released() fails" in caplog.text


# ---- writing


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_what_the_socket_does_not_take_is_written_when_it_can(sockets: Sockets, kind: str) -> None:
    """More than a turn writes, too, in the right order, while another connection is served."""
    connection, peer = greeted(sockets, kind, sent_nbytes=10_000)
    _, other = greeted(sockets)
    messages = [bytes([number]) * 16_000 for number in range(100)]
    streams = [peer.ask(INFER, message) for message in messages]
    send_all(sockets, peer)
    sockets.until(lambda: connection.unsent_nbytes)
    stream = other.ask(INFER, b"me too")
    other.until(lambda: stream in other.ended)
    peer.until(lambda: len(peer.ended) == len(streams))
    assert [peer.bodies[stream][5:] for stream in streams] == messages
    assert connection.unsent_nbytes == 0


def test_nothing_is_asked_of_http_2_while_the_socket_takes_nothing(sockets: Sockets) -> None:
    """So little waits in `unsent`, however much the calls have."""
    connection, peer = greeted(sockets, sent_nbytes=10_000)
    for _ in range(200):
        peer.ask(INFER, bytes(16_000))
    send_all(sockets, peer)
    sockets.settle()
    assert sockets.server.totals["calls"] == 200
    assert 0 < connection.unsent_nbytes <= 512 << 10
    assert connection.acknowledged_nbytes() < 50_000
    assert connection.state == OPEN


def test_a_client_that_reads_nothing_is_found_out_by_its_counts(sockets: Sockets) -> None:
    connection, peer = greeted(sockets, sent_nbytes=10_000)
    for _ in range(10):
        peer.ask(INFER, bytes(16_000))
    send_all(sockets, peer)
    sockets.settle()

    def stalls(now_s: int) -> bool:
        return connection.end_late_calls(now_s * S, connection.acknowledged_nbytes(), 10 * S, 10 * S)

    assert not stalls(1)
    assert not stalls(10)
    peer.socket.recv(30_000)
    assert not stalls(11), "it has read"
    assert not stalls(20)
    assert stalls(21)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_the_output_of_a_connection_that_ends_for_an_error_reaches_its_client(sockets: Sockets, kind: str) -> None:
    """What waits for the socket, and GOAWAY behind it. Calls whose responses nothing was taken of yet end without one."""
    connection, peer = greeted(sockets, kind, sent_nbytes=10_000)
    streams = [peer.ask(INFER, bytes(16_000)) for _ in range(10)]
    send_all(sockets, peer)
    sockets.until(lambda: connection.unsent_nbytes and sockets.server.totals["calls"] == 10)
    peer.socket.sendall(NO_PING)
    peer.until(lambda: peer.closed)
    assert peer.received_nbytes == sockets.server.totals["sent_nbytes"]
    assert peer.ended
    assert peer.ended == set(streams[: len(peer.ended)])
    assert peer.goaways == [6]
    assert connection.state == CLOSED
    peer.socket.close()
    sockets.until(lambda: not sockets.server.lingering)


# ---- by TLS: output that nobody here has asked for


def test_key_updates_of_a_client_that_reads_nothing_fill_no_memory() -> None:
    """TLS 1.3 answers each. Made by hand: Python's ssl sends none."""
    contexts = Contexts()
    with Sockets() as sockets:
        connection, client = sockets.connect(context=contexts.server, sent_nbytes=10_000)
        raw = sockets.opened.enter_context(client.dup())
        raw.setblocking(False)
        peer = Peer(sockets, client, contexts.client)
        peer.until(lambda: peer.shaken)
        records, most = contexts.records(peer.tls), 0
        for _ in range(3000):
            updates = b"".join(records.key_update(answered=True) for _ in range(100))
            while updates and connection.state < CLOSING:
                with suppress(BlockingIOError, BrokenPipeError):
                    updates = updates[raw.send(updates) :]
                sockets.turn()
                most = max(most, connection.unsent_nbytes)
            if connection.state >= CLOSING:
                break
        sockets.settle()
        assert most <= MAX_UNSENT_NBYTES + (64 << 10)
        assert connection.state == CLOSED
        assert sockets.server.totals["flooding"] == 1
