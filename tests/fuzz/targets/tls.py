"""A connection by TLS, read in turns from a socket, held against OpenSSL that has all of it at once: the same content arrives, or the same
bytes are rejected; a hello is answered when all of it is there, and never before; and nothing is left in the end.

Input: 1 byte, and where that is even the first bytes of a client; where it is odd steps of 3 bytes each: which of STEPS, and a number.
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from inferd._core.http2.http2_state import Http2State
from inferd._core.http2.session import Session
from inferd._core.net.poller import Poller
from inferd._core.net.stream_socket import StreamSocket
from inferd._core.net.tls import Tls
from tests._core.server_limits import LIMITS
from tests.fuzz.targets import wires
from tests.fuzz.targets.framing import check_held, held
from tests.fuzz.targets.wires import frame
from tests.tls_records import ALERT, CLOSE_NOTIFY, CONTENT, HANDSHAKE, MAX_CONTENT_NBYTES, Contexts, header, key_update

MODULES = ("net.tls", "net.stream_socket", "net.lingering_close", "net.poller")
DICTIONARY = (b"\x16\x03\x01", b"\x16\x03\x03", b"\x17\x03\x03", b"\x14\x03\x03\0\1\1", b"\x15\x03\x03\0\2\1\0", b"\1\0\0")
RECORD_NBYTES = 5  # its header
CLOSED = 4  # _core/net/stream_socket.pxd
MAX_HANDSHAKE_NBYTES = 24 << 10  # _core/net/tls.pxd
PIECE_NBYTES = 32 << 10  # that a socket takes in any case
WINDOW_NBYTES = (1 << 31) - 1
LARGE_NS = 10**12
MAX_STEPS = 16
LEAST_CUT_NBYTES = 8
# Content of clients: HTTP/2 that asks for nothing.
UNKNOWN = frame(0xFF, 0, 0, random.Random(0).randbytes(1000))
LOTS = wires.PREFACE + frame(wires.SETTINGS) + MAX_STEPS * MAX_CONTENT_NBYTES // len(UNKNOWN) * UNKNOWN
# SSL_OP_ALLOW_NO_DHE_KEX and SSL_OP_PREFER_NO_DHE_KEX of OpenSSL's ssl.h
BY_SECRET_ALONE, RATHER_BY_SECRET_ALONE = 1 << 10, 1 << 35


class Resuming(Contexts):
    """Contexts whose handshakes resume one session, without a certificate and without a key exchange: those are most of the time of a
    handshake, and OpenSSL's own."""

    def __init__(self) -> None:
        super().__init__()
        for context in (self.client, self.server):
            context.options |= BY_SECRET_ALONE
            context.set_ecdh_curve("prime256v1")
        self.server.options |= RATHER_BY_SECRET_ALONE
        said, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.client.wrap_bio(back, said, server_hostname="localhost")
        server = self.server.wrap_bio(said, back, server_side=True)
        for shake in (client.do_handshake, server.do_handshake, client.do_handshake, server.do_handshake, client.read):
            with suppress(ssl.SSLWantReadError):
                shake()
        self.session = client.session
        self.records(client)
        self.server.num_tickets = 0


CONTEXTS = Resuming()


def unused(*_: object) -> Any:
    raise AssertionError


SCHEDULED: list[Callable[[], None]] = []
SERVER = Http2State(
    {}, start=unused, reject=unused, unserved=unused, schedule=SCHEDULED.append, call_later=lambda seconds, callback: None,
    run_on_thread=unused, **LIMITS | {"max_control_frame_rate": 10**6, "connection_window_nbytes": WINDOW_NBYTES},
)  # fmt: skip


def check(data: bytes) -> None:
    before = held()
    if data and data[0] & 1:
        check_records([struct.unpack_from("<BH", data, at) for at in range(1, len(data) - 2, 3)][:MAX_STEPS])
    elif data:
        check_hello(data[1:])
    assert (SERVER.connections, len(SERVER.lingering)) == (0, 0)
    check_held(before)


def check_hello(said: bytes) -> None:
    plain, served = Plain(), Served()
    for side in (plain, served):
        side.take(said)
    answers = [side.answer()[:1] for side in (plain, served)]
    failures = served.failures
    served.end()
    if len(said) <= MAX_HANDSHAKE_NBYTES:
        assert answers[0] == answers[1]
        assert failures == (plain.failure is not None)


# ---- both ends of a connection


class Plain:
    """OpenSSL's own server, which has everything at once."""

    def __init__(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = CONTEXTS.server.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.found = bytearray()
        self.failure: ssl.SSLError | None = None
        self.is_over = False  # nothing more is read

    def take(self, content: bytes | bytearray) -> None:
        self.incoming.write(content)

    def answer(self) -> bytes:
        self.read()
        return self.outgoing.read()

    def read(self) -> None:
        try:
            self.session.do_handshake()
            while piece := self.session.read(MAX_CONTENT_NBYTES):
                self.found += piece
            self.is_over = True  # the client's word
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError) as error:
            self.is_over = isinstance(error, ssl.SSLZeroReturnError)
        except ssl.SSLError as error:
            self.is_over, self.failure = True, error


class Told:
    """A client that counts what its connection tells."""

    failures = 0

    def age_ns(self) -> int:
        return 0

    def handshake_made(self, connection: StreamSocket) -> bool:
        return True

    def failed(self, connection: StreamSocket, error: Exception) -> None:
        assert isinstance(error, OSError), error
        self.failures += 1

    def released(self, connection: StreamSocket) -> None:
        pass


class Served:
    """A connection on a socket, in turns."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.far.setblocking(False)
        self.poller = Poller(SCHEDULED.append)
        tls = Tls(lambda incoming, outgoing: CONTEXTS.server.wrap_bio(incoming, outgoing, server_side=True))
        self.told = Told()
        self.connection = StreamSocket(SERVER, Session(SERVER), near, tls, self.told)
        self.connection.start(self.poller)
        self.before = SERVER.totals["received_nbytes"]
        self.sent = bytearray()

    def take(self, content: bytes | bytearray) -> None:
        for at in range(0, len(content), PIECE_NBYTES):
            with suppress(BrokenPipeError, ConnectionResetError):
                self.far.send(content[at : at + PIECE_NBYTES])
            self.settle()

    def settle(self) -> None:
        """Until there is no turn any more."""
        self.poller.serve()
        while SCHEDULED:
            SCHEDULED.pop(0)()
        with suppress(BlockingIOError, ConnectionResetError):
            while piece := self.far.recv(1 << 16):
                self.sent += piece

    def answer(self) -> bytes:
        answered = bytes(self.sent)
        self.sent.clear()
        return answered

    @property
    def failures(self) -> int:
        return self.told.failures

    @property
    def found_nbytes(self) -> int:
        return SERVER.totals["received_nbytes"] - self.before

    def end(self) -> None:
        self.far.close()
        self.poller.budget_ns = LARGE_NS
        self.settle_closed()
        assert self.connection.state == CLOSED
        assert len(self.poller) == 0
        self.poller.close()

    def settle_closed(self) -> None:
        self.poller.serve()
        while SCHEDULED:
            SCHEDULED.pop(0)()
        for closing in list(SERVER.lingering):
            closing.abort()

    # The step that is a server's.

    def budget(self, number: int) -> None:
        """An iteration has one turn, or all that it needs."""
        self.poller.budget_ns = 0 if number & 1 else LARGE_NS


class Client:
    """A client whose hello was answered. Its bytes wait until they are delivered, the last ones of its handshake, too."""

    def __init__(self, side: Plain | Served) -> None:
        self.side = side
        back, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        shaking = CONTEXTS.client.wrap_bio(back, out, server_hostname="localhost", session=CONTEXTS.session)
        with suppress(ssl.SSLWantReadError):
            shaking.do_handshake()
        side.take(out.read())
        back.write(side.answer())
        shaking.do_handshake()
        self.waiting = bytearray(out.read())
        self.records = CONTEXTS.records(shaking)
        self.said_nbytes = 0  # of LOTS

    def send(self, kind: int, content: bytes, padding_nbytes: int = 0) -> None:
        self.waiting += self.records.record(kind, content, padding_nbytes)

    def say(self, nbytes: int, padding_nbytes: int = 0) -> None:
        self.send(CONTENT, LOTS[self.said_nbytes : self.said_nbytes + nbytes], padding_nbytes)
        self.said_nbytes += nbytes

    # The steps that are a client's.

    def content(self, number: int) -> None:
        self.say(number % (MAX_CONTENT_NBYTES + 1))

    def small(self, number: int) -> None:
        for _ in range(number >> 4 & 0x1F):
            self.say(number & 15)

    def padded(self, number: int) -> None:
        self.say(number & 15, number >> 4)

    def key_updates(self, number: int) -> None:
        for _ in range(1 + (number >> 1) % 4):
            self.waiting += self.records.key_update(answered=bool(number & 1))

    def other(self, number: int) -> None:
        """Of another kind: alerts, handshake messages cut anywhere, what no client sends."""
        kind = number & 0xFF
        if kind != CONTENT:
            messages = (key_update(answered=False) if kind == HANDSHAKE else CLOSE_NOTIFY) * 128
            self.send(kind, messages[: number >> 8])

    def leave(self, number: int) -> None:
        self.send(ALERT, CLOSE_NOTIFY)

    def plaintext(self, number: int) -> None:
        self.waiting += header(number & 0xFF, number >> 8) + b"\1" * (number >> 8)

    def flip(self, number: int) -> None:
        if self.waiting:
            self.waiting[number % len(self.waiting)] ^= 1 << number % 8

    def cut(self, number: int) -> None:
        """Bytes of the end: elsewhere what is encrypted, which is not the same twice, would be read as a record's header. And not too few
        of them, which those that follow could be equal to."""
        del self.waiting[max(0, len(self.waiting) - LEAST_CUT_NBYTES - number) :]

    def deliver(self, number: int) -> None:
        """So many bytes, or all."""
        self.side.take(self.waiting[: number or None])
        del self.waiting[: number or None]


Step = Callable[[Any, int], None]
OF_CLIENTS: tuple[Step, ...] = (
    *(Client.content, Client.small, Client.padded, Client.key_updates, Client.other),
    *(Client.leave, Client.plaintext, Client.flip, Client.cut, Client.deliver),
)
STEPS = (*OF_CLIENTS, Served.budget)


def check_records(steps: list[tuple[int, int]]) -> None:
    plain, served = Plain(), Served()
    clients = Client(plain), Client(served)
    for name, number in steps:
        step = STEPS[name % len(STEPS)]
        for one in clients if step in OF_CLIENTS else (served,):
            step(one, number)
    for client in clients:
        client.deliver(0)
    plain.read()
    state, failures, found_nbytes = served.connection.state, served.failures, served.found_nbytes
    served.end()
    assert LOTS[: clients[0].said_nbytes].startswith(plain.found)
    assert found_nbytes == len(plain.found)
    assert (state == CLOSED) == plain.is_over
    assert failures == (plain.failure is not None)


# ---- where it all began


def mutate(data: bytes, seed: int) -> bytes:
    """Steps more, fewer and others; a hello in other records."""
    source = random.Random(seed)
    if not data or not data[0] & 1:
        return (data[:1] or b"\0") + in_records(b"".join(fragments(data[1:])), source)
    steps = [data[at : at + 3] for at in range(1, len(data) - 2, 3)]
    for _ in range(source.choice((1, 1, 2, 4))):
        at = source.randrange(len(steps) + 1)
        match source.randrange(4):
            case 0 if steps:
                del steps[at % len(steps)]
            case 1 if steps:
                steps.insert(at, source.choice(steps))
            case _:
                steps.insert(at, some_step(source))
    return data[:1] + b"".join(steps)


def some_step(source: random.Random) -> bytes:
    return struct.pack("<BH", source.randrange(len(STEPS)), source.choice((0, 1, 2, 3, 0x4015, 0x4000, source.randrange(1 << 16))))


def fragments(said: bytes) -> list[bytes]:
    """The contents of records, whole or not."""
    found = []
    while len(said) >= RECORD_NBYTES:
        end = RECORD_NBYTES + int.from_bytes(said[3:RECORD_NBYTES])
        found.append(said[RECORD_NBYTES:end])
        said = said[end:]
    return found


def in_records(message: bytes, source: random.Random) -> bytes:
    """Of one size, but for the last."""
    said = b""
    nbytes = source.choice((1, 50, 200, 5000, max(1, len(message) - source.randrange(1, 6))))
    for at in range(0, len(message), nbytes):
        piece = message[at : at + nbytes]
        said += header(source.choice((HANDSHAKE,) * 20 + (CONTENT,)), len(piece)) + piece
    return said


def steps(*named: tuple[Step, int]) -> bytes:
    return b"\1" + b"".join(struct.pack("<BH", STEPS.index(step), number) for step, number in named)


def seeds() -> list[bytes]:
    source = random.Random(0)
    out = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        CONTEXTS.client.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    hello = out.read()
    hellos = [hello, hello[:100], hello + hello, b"GET / HTTP/1.1\r\n\r\n", *(in_records(hello[RECORD_NBYTES:], source) for _ in range(8))]
    content, small, updates = (Client.content, 1000), (Client.small, 0x01F1), (Client.key_updates, 31)
    deliver, turns = (Client.deliver, 0), (Served.budget, 1)
    sent = [
        steps(content, deliver),
        steps(deliver, small, updates, deliver, turns),
        steps(turns, deliver, content, updates, small, content, deliver),
        steps(deliver, (Client.content, 1 << 14), (Client.deliver, 5), (Client.deliver, 8000)),
        steps(deliver, (Client.padded, 0x4005), (Client.small, 0x01F0), (Client.other, 0x0316), (Client.other, 0x0216), content),
        steps(deliver, content, (Client.leave, 0), deliver, small, deliver),
        steps(deliver, content, (Client.flip, 300), content, (Client.cut, 20), deliver, (Client.plaintext, 0x0114)),
        steps((Client.plaintext, 0x0114), (Client.leave, 0), deliver, (Client.other, 0x0517)),
    ]
    return [b"\0" + said for said in hellos] + sent
