"""TLS on one connection, between real clients of the standard library and a server whose turns a test gives."""

from __future__ import annotations

import fcntl
import select
import socket
import ssl
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
import trustme

from inferd._core.net.stream_socket import StreamSocket
from tests._core.http2_client import INFER, headers
from tests._core.http2_sockets import CLOSED, DRAINING, OPEN, OPENING, READ_NBYTES, UNKNOWN, Peer, Sockets, Told
from tests.wire import LIMIT_S

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
S = 10**9


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def context(authority: trustme.CA) -> ssl.SSLContext:
    """The server's."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_alpn_protocols(["h2"])
    authority.issue_cert("localhost").configure_cert(made)
    return made


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with Sockets(infer=lambda call: call.reply(call.message)) as made:
        yield made


def client_context(authority: trustme.CA, version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.maximum_version = version
    authority.configure_trust(made)
    made.set_alpn_protocols(["h2"])
    return made


def records(sockets: Sockets, connection: StreamSocket, client: socket.socket, authority: trustme.CA) -> ssl.SSLObject:
    """The client's side between two buffers, its handshake made: the test sends what it likes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = client_context(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    client.setblocking(False)

    def is_shaken() -> bool:
        with suppress(BlockingIOError):
            incoming.write(client.recv(1 << 16))
        try:
            made.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            client.sendall(outgoing.read())
        return True

    sockets.until(is_shaken)
    sockets.until(lambda: connection.tls is not None and connection.tls.established)
    made.outgoing = outgoing  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_calls_by_tls(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA, version: ssl.TLSVersion, kind: str) -> None:
    """Of many records each, through sockets that take little at a time."""
    connection, client = sockets.connect(kind, context=context, sent_nbytes=10_000)
    peer = Peer(sockets, client, client_context(authority, version))
    peer.until(lambda: connection.state == OPEN)
    message = bytes(range(256)) * 60
    streams = [peer.ask(INFER, message) for _ in range(4)]
    peer.until(lambda: peer.ended == set(streams))
    assert [peer.bodies[stream][5:] for stream in streams] == [message] * 4
    assert connection.client.told == ["handshake_made"]
    peer.tls.close()
    sockets.until(lambda: connection.state == CLOSED)
    assert connection.client.told == ["handshake_made", "released"]


def test_a_handshake_a_byte_at_a_time(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA) -> None:
    connection, client = sockets.connect(context=context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = client_context(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    client.setblocking(False)
    while True:
        try:
            made.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():
                client.sendall(bytes([byte]))
                sockets.settle()
            with suppress(BlockingIOError):
                incoming.write(client.recv(1 << 16))
    assert connection.state == OPENING
    client.sendall(outgoing.read())
    sockets.settle()
    assert connection.client.told == ["handshake_made"]


@pytest.mark.parametrize(
    "content", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\x05\x01\0\0\1\0", bytes(100)], ids=["http", "tls", "zeros"]
)
def test_what_is_no_handshake_is_ended(sockets: Sockets, context: ssl.SSLContext, content: bytes) -> None:
    connection, client = sockets.connect(context=context)
    client.sendall(content)
    sockets.settle()
    assert (connection.state, connection.client.told) == (CLOSED, ["failed", "released"])
    assert isinstance(connection.client.failure, ssl.SSLError)
    assert client.recv(100)[:1] == (b"\x15" if content[0] == 0x16 else b""), "an alert to who speaks TLS"


@pytest.mark.parametrize("leaves", ["at once", "within the hello", "with a reset"])
def test_a_client_that_leaves_within_its_handshake_has_failed(sockets: Sockets, context: ssl.SSLContext, leaves: str) -> None:
    connection, client = sockets.connect("tcp", context=context)
    if leaves != "at once":
        client.sendall(b"\x16\x03\x01")
        sockets.until(lambda: sockets.server.totals is not None and connection.state == OPENING)
    if leaves == "with a reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    sockets.until(lambda: connection.state == CLOSED)
    assert connection.client.told == ["failed", "released"]


def test_no_handshake_is_made_with_a_client_that_has_left(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA) -> None:
    heard: list[object] = []
    context.sni_callback = lambda *hello: heard.append(hello)
    hello = hello_of(client_context(authority))
    for leaves in (False, True):
        connection, client = sockets.connect("tcp", context=context)
        client.sendall(hello)
        if leaves:
            client.close()
        sockets.until(lambda connection=connection: heard or connection.state == CLOSED)
        assert bool(heard) is not leaves
        heard.clear()
    context.sni_callback = None


def test_behind_records_without_content_a_turn_reads_little(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA) -> None:
    connection, client = sockets.connect(context=context)
    peer = Peer(sockets, client, client_context(authority))
    peer.until(lambda: connection.state == OPEN)
    sockets.settle()
    sockets.poller.budget_ns = 0
    part = b"\x17\x03\x03\x40\0" + bytes(READ_NBYTES + 3 * 1024 - 5)  # of a record of 16 KiB
    assert peer.tls is not None
    socket.socket.sendall(peer.tls, part)  # the socket's own: as it is
    left = [READ_NBYTES + 3 * 1024]
    while left[-1]:
        sockets.turn()
        left.append(int.from_bytes(fcntl.ioctl(connection.socket, termios.FIONREAD, bytes(4)), sys.byteorder))
    assert [before - after for before, after in pairwise(left) if before > after] == [READ_NBYTES, 1024, 1024, 1024]


def test_a_handshake_has_a_limit_of_bytes(sockets: Sockets, context: ssl.SSLContext) -> None:
    """Of whatever it consists: here a hello that goes on and on."""
    connection, client = sockets.connect(context=context)
    client.setblocking(False)
    hello, sent = b"\x16\x03\x01\x40\0" + b"\x01\0\xff\xff" + bytes((16 << 10) - 4), 0
    for _ in range(4):
        with suppress(OSError):
            sent += client.send(hello)
        sockets.settle()
    assert connection.client.told == ["failed", "released"]
    with suppress(BlockingIOError):
        while client.recv(1 << 16):
            pass


def test_a_handshake_that_does_not_move_is_stalled(sockets: Sockets, context: ssl.SSLContext) -> None:
    connection, client = sockets.connect(context=context)

    def stalls(now_s: int) -> bool:
        return connection.end_late_calls(now_s * S, -1, 10 * S, 10 * S)

    assert not stalls(1)
    client.sendall(b"\x16\x03\x01")
    sockets.settle()
    assert not stalls(9)
    assert not stalls(18)
    assert stalls(19)


def test_a_client_that_may_not_go_on_is_told_so_by_tls(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA) -> None:
    class Rejected(Told):
        lets_in = False

    connection, client = sockets.connect(context=context, told=Rejected())
    peer = Peer(sockets, client, client_context(authority))
    peer.until(lambda: peer.shaken and connection.state == CLOSED)
    peer.tls.settimeout(LIMIT_S)
    assert peer.tls.recv(10) == b"", "close_notify"
    assert connection.client.told == ["handshake_made", "released"]


def test_an_error_in_established_ends_one_connection(
    sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Told):
        def handshake_made(self, connection: StreamSocket) -> bool:
            raise ArithmeticError("unreadable")

    connection, client = sockets.connect(context=context, told=Broken())
    other, second = sockets.connect(context=context)
    peer = Peer(sockets, client, client_context(authority))
    peer.until(lambda: connection.state == CLOSED)
    assert "unreadable" in caplog.text
    assert connection.client.told == ["released"]
    peer = Peer(sockets, second, client_context(authority))
    peer.until(lambda: other.state == OPEN)


def test_a_drain_that_begins_within_a_handshake(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA) -> None:
    """The handshake ends, the call is answered, and both GOAWAYs are said."""
    connection, client = sockets.connect(context=context)
    connection.drain()
    peer = Peer(sockets, client, client_context(authority))
    stream = peer.ask(INFER, b"late")
    peer.until(lambda: stream in peer.ended)
    assert connection.state == DRAINING
    connection.take_keepalive_step(1, 0)
    connection.take_keepalive_step(S, 0)
    peer.until(lambda: connection.state == CLOSED)
    peer.until(lambda: len(peer.goaways) == 2)
    assert peer.bodies[stream][5:] == b"late"


def test_a_record_that_was_changed_ends_it_with_an_alert(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA) -> None:
    """After its handshake, this is no failed one."""
    connection, client = sockets.connect(context=context)
    made: Any = records(sockets, connection, client, authority)
    made.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    record = bytearray(made.outgoing.read())
    record[-1] ^= 1
    client.sendall(record)
    sockets.settle()
    assert (connection.state, connection.client.told) == (CLOSED, ["handshake_made", "failed", "released"])


def test_close_notify_is_answered(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA) -> None:
    connection, client = sockets.connect(context=context)
    peer = Peer(sockets, client, client_context(authority))
    peer.until(lambda: connection.state == OPEN)
    with suppress(ssl.SSLWantReadError):
        peer.tls.unwrap()
    sockets.until(lambda: connection.state == CLOSED)
    peer.tls.settimeout(LIMIT_S)
    peer.tls.unwrap()


def test_handshakes_wait_behind_clients_that_have_made_theirs(sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA) -> None:
    """Counted in turns: each iteration has one. A wave of hellos would take its time at once, a millisecond each."""
    connection, client = sockets.connect(context=context)
    peer = Peer(sockets, client, client_context(authority))
    peer.until(lambda: connection.state == OPEN)
    sockets.settle()
    sockets.poller.budget_ns = 0
    hello = hello_of(client_context(authority))
    wave = [sockets.connect(context=context) for _ in range(50)]
    for _, other in wave:
        other.sendall(hello)
    sockets.turn()
    received, turns = sockets.server.totals["received_nbytes"], 0
    peer.h2.ping(b"12345678")
    peer.move()
    while sockets.server.totals["received_nbytes"] == received:
        sockets.turn()
        turns += 1
    assert turns <= 3
    for _, other in wave:  # and each has its turn in the end
        sockets.until(lambda other=other: select.select([other], [], [], 0)[0])


@pytest.mark.parametrize("record_nbytes", [READ_NBYTES, 16 << 10])
def test_records_behind_a_large_message_take_turns_of_their_own(
    sockets: Sockets, context: ssl.SSLContext, authority: trustme.CA, record_nbytes: int
) -> None:
    """A read of 64 KiB holds many records. A turn takes 4 KiB of frames, however they are cut."""
    connection, client = sockets.connect("tcp", context=context)
    peer = Peer(sockets, client, client_context(authority))
    peer.until(lambda: connection.state == OPEN)
    assert peer.tls is not None
    stream = peer.h2.get_next_available_stream_id()
    peer.h2.send_headers(stream, headers(INFER))
    peer.h2.send_data(stream, b"\0" + (32 << 20).to_bytes(4, "big") + bytes(8 << 10))
    frames = 50 * UNKNOWN
    sent = [peer.h2.data_to_send(), *(frames[at : at + record_nbytes] for at in range(0, len(frames), record_nbytes))]
    before = sockets.server.totals["received_nbytes"]
    sockets.poller.budget_ns = 0
    for record in sent:
        peer.tls.sendall(record)
    taken = [before]
    while taken[-1] - before < sum(map(len, sent)):
        sockets.turn()
        taken.append(sockets.server.totals["received_nbytes"])
    turns = [after - earlier for earlier, after in pairwise(taken) if after > earlier]
    assert max(turns) <= len(sent[0]) + 2 * READ_NBYTES
    assert max(turns[3:]) <= 2 * READ_NBYTES


def hello_of(context: ssl.SSLContext) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()
