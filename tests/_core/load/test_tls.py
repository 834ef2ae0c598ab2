"""The load generator's connections by TLS against h2 behind Python's ssl: what is said there is what is said in plaintext."""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trustme

from inferd._core.load.generator import Generator
from inferd._core.load.http2 import Http2
from inferd._core.load.tls import Tls
from inferd.bench.worker import CODES
from tests._core.load.test_generator import HEADERS, Server, counted, pump, response
from tests.certificates import SERVER_NAME, Files
from tests.http2_peer import framed
from tests.wire import LIMIT_S

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


class Side:
    """TLS on one end of a socket pair, between two buffers."""

    def __init__(self, context: ssl.SSLContext, end: socket.socket, *, server: bool) -> None:
        self.incoming, self.outgoing, self.socket = ssl.MemoryBIO(), ssl.MemoryBIO(), end
        name = {} if server else {"server_hostname": SERVER_NAME}
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_side=server, **name)

    def shake(self) -> bool:
        """A step of the handshake, and whether that was the last."""
        self.take()
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.send()
        return True

    def take(self) -> None:
        with suppress(BlockingIOError):
            self.incoming.write(self.socket.recv(1 << 20))

    def send(self) -> None:
        self.socket.sendall(self.outgoing.read())


class Pipe:
    """What `Server` takes for its socket: the plaintext on the server's side."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.most = 1 << 20  # bytes of TLS that are sent at once
        self.unsent = b""

    def recv(self, nbytes: int) -> bytes:
        self.side.take()
        content = b""
        while True:
            try:
                piece = self.side.session.read(nbytes)
            except ssl.SSLWantReadError:
                break
            if not piece:
                break
            content += piece
        if not content:
            raise BlockingIOError
        return content

    def sendall(self, content: bytes) -> None:
        if content:
            self.side.session.write(content)
        self.flush()

    def flush(self) -> None:
        """As much as the kernel takes; whoever reads, sends what is left."""
        self.unsent += self.side.outgoing.read()
        with suppress(BlockingIOError):
            self.unsent = self.unsent[self.side.socket.send(self.unsent[: self.most]) :]

    def close(self) -> None:
        self.side.socket.close()


class TlsServer(Server):
    """The same by TLS. Its SETTINGS have come before the generator has the connection. wrap: makes the client's session another."""

    def __init__(self, generator: Generator, contexts: Contexts, *, wrap: Callable[[ssl.SSLObject], Any] = lambda session: session) -> None:
        super().__init__(Generator((b"nobody's",), Http2(HEADERS)))  # whose connection is a plain one, and is not used
        self.plain = self.socket, self.client
        ours, theirs = socket.socketpair()
        self.side, self.theirs = Side(contexts[0], ours, server=True), Side(contexts[1], theirs, server=False)
        for end in (ours, theirs):
            end.setblocking(False)
        limit_s = time.monotonic() + LIMIT_S
        done = [False, False]
        while not all(done):
            assert time.monotonic() < limit_s
            done = [done[0] or self.side.shake(), done[1] or self.theirs.shake()]
        self.pipe: Any = Pipe(self.side)
        self.socket, self.client = self.pipe, theirs
        self.send()
        self.theirs.take()  # as a handshake may read more than it needs
        generator.add(theirs.fileno(), 0, Tls(wrap(self.theirs.session), self.theirs.incoming, self.theirs.outgoing))

    def close(self) -> None:
        super().close()
        for end in self.plain:
            end.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made(tmp_path_factory.mktemp("files"))


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def contexts(request: pytest.FixtureRequest, files: Files) -> Contexts:
    """Of the server and of the client, which speak one version."""
    return made_contexts(files.authority, request.param)


def made_contexts(authority: trustme.CA, version: ssl.TLSVersion) -> Contexts:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert(SERVER_NAME).configure_cert(server)
    authority.configure_trust(client)
    for context in (server, client):
        context.minimum_version = context.maximum_version = version
    return server, client


@pytest.fixture
def made(contexts: Contexts) -> Iterator[Callable[..., tuple[Generator, TlsServer]]]:
    """Makes a generator with one connection by TLS, whose server has sent its SETTINGS, and closes all at the end."""
    pairs: list[tuple[Generator, TlsServer]] = []

    def make(bodies: tuple[bytes, ...] = (b"question",), **options: Any) -> tuple[Generator, TlsServer]:
        generator = Generator(bodies, Http2(HEADERS))
        server = TlsServer(generator, contexts, **options)
        pairs.append((generator, server))
        return generator, server

    yield make
    for generator, server in pairs:
        generator.close()
        server.close()


def message(generator: Generator, code: str) -> str:
    return generator.messages()[CODES.index(code)].decode()


def test_what_came_with_the_end_of_the_handshake_is_read(made) -> None:
    """Nothing more comes to wake the loop."""
    generator, _ = made()
    assert not generator.greet(time.monotonic_ns()), "the server's SETTINGS are there"


@pytest.mark.parametrize("most", [1 << 20, 61])
def test_questions_and_responses_of_any_size(made, most: int) -> None:
    """Records are cut anywhere on their way; a body of more than the kernel and all buffers hold waits until it is read."""
    bodies = (b"first", random.Random(1).randbytes(3_000_000), b"last")
    generator, server = made(bodies)
    server.pipe.most = most
    generator.start(0, streams=2, requests=3)
    pump(generator, server, lambda: len(server.requests) >= 2)
    large = response(id="x" * (4000 if most < 100 else 900_000)).SerializeToString()
    for stream in (1, 3):
        server.answer(stream, framed(large), step=16_000)
    pump(generator, server, lambda: len(server.requests) == 3)
    server.answer(5)
    pump(generator, server, lambda: not generator.outstanding)
    assert [server.requests[stream] for stream in (1, 3, 5)] == [framed(body) for body in bodies]
    assert counted(generator)[0] == {"OK": 3}


def test_many_responses_at_once_do_not_fit_the_buffer(made) -> None:
    """More than a read of the socket takes, and the last of them in a record whose beginning came before."""
    generator, server = made()
    generator.start(0, streams=50, requests=50)
    pump(generator, server, lambda: len(server.requests) == 50)
    large = framed(response(id="x" * 30_000).SerializeToString())
    for stream in list(server.requests):
        server.answer(stream, large, step=16_000)
    assert len(server.pipe.unsent) > 1_000_000
    pump(generator, server, lambda: not generator.outstanding)
    assert counted(generator)[0] == {"OK": 50}


def under_way(made: Any, **options: Any) -> tuple[Generator, TlsServer]:
    generator, server = made(**options)
    generator.start(0, streams=1, requests=1)
    pump(generator, server, lambda: bool(server.requests))
    return generator, server


def until_dead(generator: Generator) -> list[int]:
    limit_s = time.monotonic() + LIMIT_S
    while not (dead := generator.take_dead()):
        assert time.monotonic() < limit_s
        generator.run(time.monotonic_ns() + 500_000)
    return dead


def test_a_response_before_the_end_counts_and_the_end_is_an_end(made) -> None:
    generator, server = under_way(made)
    server.http2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    server.http2.send_data(1, framed(response().SerializeToString()))
    server.http2.send_headers(1, [("grpc-status", "0")], end_stream=True)
    server.side.session.write(server.http2.data_to_send())
    with pytest.raises(ssl.SSLWantReadError):
        server.side.session.unwrap()  # close_notify, in the same bytes as the response
    server.pipe.flush()
    assert until_dead(generator) == [0]
    assert counted(generator)[0] == {"OK": 1}
    generator, server = under_way(made)
    with pytest.raises(ssl.SSLWantReadError):
        server.side.session.unwrap()
    server.pipe.flush()
    until_dead(generator)
    assert counted(generator)[0] == {"connection": 1}
    assert message(generator, "connection") == "the server closed the connection"


def test_a_socket_that_ends_without_a_word_of_tls_is_no_other_end(made) -> None:
    """As every gRPC server does it."""
    generator, server = under_way(made)
    server.side.socket.shutdown(socket.SHUT_WR)
    until_dead(generator)
    assert message(generator, "connection") == "the server closed the connection"


def test_what_is_no_tls_ends_the_connection(made) -> None:
    generator, server = under_way(made)
    server.side.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(40))
    until_dead(generator)
    assert counted(generator)[0] == {"connection": 1}
    assert message(generator, "connection").startswith("TLS: ")


def test_bytes_that_were_changed_on_the_way_end_the_connection(made) -> None:
    generator, server = under_way(made)
    server.side.session.write(b"\0\0\0\4\1\0\0\0\0")
    content = bytearray(server.side.outgoing.read())
    content[-1] ^= 1
    server.side.socket.sendall(content)
    until_dead(generator)
    assert message(generator, "connection") in ("TLS: record layer failure", "TLS: decryption failed or bad record mac")


def test_a_server_that_does_not_take_the_certificate_says_so(files: Files) -> None:
    """By TLS 1.3 it does so after what is the handshake for the client."""
    server_context, client_context = made_contexts(files.authority, ssl.TLSVersion.TLSv1_3)
    server_context.verify_mode = ssl.CERT_REQUIRED
    generator = Generator((b"question",), Http2(HEADERS))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        server, client = Side(server_context, ours, server=True), Side(client_context, theirs, server=False)
        assert not client.shake()
        assert not server.shake()
        assert client.shake(), "that is all of it"
        with pytest.raises(ssl.SSLError):
            server.shake()  # and sends its alert
        generator.add(theirs.fileno(), 0, Tls(client.session, client.incoming, client.outgoing))
        generator.start(0, streams=1, requests=1)
        until_dead(generator)
        generator.close()
        assert message(generator, "connection") == "TLS: tlsv13 alert certificate required"


class Interrupted:
    """A session on whose way Ctrl-C comes, once it is armed."""

    def __init__(self, session: ssl.SSLObject) -> None:
        self.session: Any = session
        self.armed = ""

    def read(self, nbytes: int, buffer: memoryview) -> int:
        if self.armed == "read":
            raise KeyboardInterrupt
        count: int = self.session.read(nbytes, buffer)
        return count

    def write(self, content: memoryview) -> int:
        if self.armed == "write":
            raise KeyboardInterrupt
        count: int = self.session.write(content)
        return count


@pytest.mark.parametrize("moment", ["read", "write"])
def test_ctrl_c_in_the_midst_of_it_is_the_callers(made, moment: str) -> None:
    sessions: list[Interrupted] = []

    def wrap(session: ssl.SSLObject) -> Interrupted:
        sessions.append(Interrupted(session))
        return sessions[0]

    generator, server = under_way(made, wrap=wrap)
    sessions[0].armed = moment
    server.http2.ping(b"12345678")  # is to be read, and to be answered
    server.send()
    with pytest.raises(KeyboardInterrupt):
        generator.run(time.monotonic_ns() + int(LIMIT_S * 1e9))
    assert generator.take_dead() == [0], "bytes may be lost, so nothing that follows can be read"
