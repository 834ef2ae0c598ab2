"""TlsReader is Python's SSLObject, but for whose turn it is: the same content, however the bytes come."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd._core.http2.tls_reader import TlsReader
from tests.certificates import Files

NEVER_NS = 1 << 60


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The client's and the server's."""
    files = Files.made(tmp_path_factory.mktemp("tls"))
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files.authority.configure_trust(client)
    server.load_cert_chain(files.settings()["tls_cert"], files.settings()["tls_key"])
    return client, server


class Pair:
    """A client, and the server's reader with what the loop has of it. turn_ns: of the reader."""

    def __init__(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext], turn_ns: int = NEVER_NS) -> None:
        self.back, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = contexts[0].wrap_bio(self.back, self.out, server_hostname="localhost")
        self.incoming, self.inner, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
        self.outgoing = outgoing
        self.sent: list[bytes] = []  # at once, not by the loop
        session = contexts[1].wrap_bio(self.inner, outgoing, server_side=True)
        self.reader = TlsReader(session, self.incoming, self.inner, outgoing, self.sent.append)
        self.reader.turn_ns = turn_ns
        self.scheduled: list[Callable[[], object]] = []
        self.told: list[int] = []

    def shake(self) -> Pair:
        """The handshake, and the server's tickets."""
        done = [False, False]
        while not all(done):
            for side, make in enumerate((self.client.do_handshake, self.reader.do_handshake)):
                try:
                    make()
                    done[side] = True
                except ssl.SSLWantReadError:
                    pass
                self.incoming.write(self.out.read())
                self.back.write(self.outgoing.read())
        self.reader.take_turns(self.scheduled.append, self.told.append)
        return self

    def records(self, *contents: bytes) -> bytes:
        for content in contents:
            self.client.write(content)
        return self.out.read()

    def read(self, most: int = 1 << 18) -> bytes:
        """All that there is, as the loop reads it."""
        found = b""
        while self.incoming.pending + self.reader.pending() > 0:
            room = memoryview(bytearray(most))
            try:
                count = self.reader.read(most, room)
            except ssl.SSLWantReadError:
                break
            if count == 0:
                break
            found += room[:count]
        return found

    def run_scheduled(self) -> None:
        waiting, self.scheduled[:] = list(self.scheduled), []
        for callback in waiting:
            callback()


def test_everything_else_is_the_objects_own(contexts: Any) -> None:
    pair = Pair(contexts).shake()
    assert pair.reader.version() == pair.client.version() == "TLSv1.3"
    assert pair.reader.write(b"an answer") == 9
    pair.back.write(pair.outgoing.read())
    assert pair.client.read(100) == b"an answer"
    with pytest.raises(AttributeError, match="no_such"):
        pair.reader.no_such  # noqa: B018


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.integers(1, 40), st.integers(1, 70_000)), max_size=12), st.integers(0, 2**32), st.integers(1, 1 << 17))
def test_content_is_the_same_however_it_comes(contexts: Any, sizes: list[int], seed: int, most: int) -> None:
    """In pieces of any size, and into buffers of any."""
    pair, lots = Pair(contexts).shake(), random.Random(seed)
    contents = [lots.randbytes(size) for size in sizes]
    sent = pair.records(*contents)
    found = b""
    while sent:
        cut = lots.choice((1, 5, 100, 20_000, len(sent)))
        pair.incoming.write(sent[:cut])
        sent = sent[cut:]
        found += pair.read(most)
    assert found == b"".join(contents)
    assert pair.reader.pending() == 0
    assert not pair.reader.is_over


def test_read_without_a_buffer(contexts: Any) -> None:
    pair = Pair(contexts).shake()
    pair.incoming.write(pair.records(b"some", b"more"))
    assert [pair.reader.read(100), pair.reader.read(100)] == [b"some", b"more"]
    with pytest.raises(ssl.SSLWantReadError):
        pair.reader.read(100)


def test_a_turn_ends_and_the_rest_waits_for_the_next(contexts: Any) -> None:
    pair = Pair(contexts, turn_ns=0).shake()
    pair.incoming.write(pair.records(b"one", b"two", b"three"))
    found = [pair.read()]
    while pair.reader.is_over:
        assert pair.read() == b"", "not before the next turn"
        assert len(pair.scheduled) == 1, "it is told once a turn"
        pair.run_scheduled()
        pair.reader.begin_turn()
        found.append(pair.read())
    assert found == [b"one", b"two", b"three", b""]


def test_what_is_all_read_leaves_the_next_turn_whole(contexts: Any) -> None:
    pair = Pair(contexts, turn_ns=NEVER_NS).shake()
    for _ in range(100):
        pair.incoming.write(pair.records(b"small"))
        assert pair.read() == b"small"
        assert pair.reader.pending() == 0
    assert (pair.scheduled, pair.told) == ([], [])


def test_records_without_content_are_told(contexts: Any) -> None:
    """Of less than the header of a frame; those with more are not counted."""
    pair = Pair(contexts).shake()
    pair.incoming.write(pair.records(*[b"x"] * 200, *[bytes(9)] * 500))
    assert len(pair.read()) == 200 + 4500
    assert pair.scheduled == []
    pair.incoming.write(pair.records(*[b"x"] * 60))
    pair.read()
    assert len(pair.scheduled) == 1
    pair.run_scheduled()
    assert pair.told == [260]
    assert not pair.reader.is_over


@pytest.mark.parametrize("most", [100, 16_383, 16_384, 16_385, 1 << 18])
def test_records_with_content_are_not_told_whatever_they_are_read_into(contexts: Any, most: int) -> None:
    """One that fills its buffer exactly was read to its end, too."""
    pair = Pair(contexts).shake()
    for _ in range(20):
        pair.incoming.write(pair.records(bytes(16 << 14)))
        assert len(pair.read(most)) == 16 << 14
    pair.incoming.write(pair.records(*[b"x"] * 256))
    pair.read()
    pair.run_scheduled()
    assert pair.told == [256]


def test_nothing_is_told_to_whom_does_not_listen_any_more(contexts: Any) -> None:
    pair = Pair(contexts, turn_ns=0).shake()
    pair.incoming.write(pair.records(b"one"))
    assert pair.read() == b"one"
    pair.reader.take_turns(None, None)
    pair.run_scheduled()
    assert pair.told == []


def test_a_handshake_of_many_records_is_rejected(contexts: Any) -> None:
    pair = Pair(contexts)
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    hello = pair.out.read()
    for byte in hello[5:]:
        pair.incoming.write(hello[:3] + b"\0\1" + bytes([byte]))
    with pytest.raises(ssl.SSLError, match="more than 64 records before the handshake was made"):
        pair.reader.do_handshake()


def test_a_handshake_of_many_bytes_is_rejected_before_openssl_has_them(contexts: Any) -> None:
    """In records as large as they may be."""
    pair = Pair(contexts)
    record = b"\x16\x03\x01\x40\x00"
    pair.incoming.write((record + b"\x01\x00\xff\xff" + bytes((16 << 10) - 4) + record + bytes(16 << 10))[: 24 << 10])
    with pytest.raises(ssl.SSLWantReadError):
        pair.reader.do_handshake()
    pair.incoming.write(b"\0")
    with pytest.raises(ssl.SSLError, match="more than 24576 bytes before the handshake was made"):
        pair.reader.do_handshake()
    assert pair.inner.pending > 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_comes_behind_a_handshake_is_none_of_it(contexts: Any, version: ssl.TLSVersion) -> None:
    """However much of it is there by then."""
    pair = Pair(contexts)
    pair.client.context.maximum_version = version
    made = False
    while not made:
        with suppress(ssl.SSLWantReadError):
            pair.client.do_handshake()
            made = True
            pair.client.write(b"x" * 100_000)
        pair.incoming.write(pair.out.read())
        with suppress(ssl.SSLWantReadError):
            pair.reader.do_handshake()
        pair.back.write(pair.outgoing.read())
    assert pair.read() == b"x" * 100_000


def test_little_is_read_once_the_server_has_closed(contexts: Any) -> None:
    pair = Pair(contexts, turn_ns=0).shake()
    pair.reader.close()
    pair.incoming.write(pair.records(*[b"x" * 8000] * 4))
    assert pair.read() == b"x" * 32_000
    pair.reader.close()
    pair.incoming.write(pair.records(*[b"x" * 9000] * 4))
    with pytest.raises(ssl.SSLError, match="closed"):
        pair.read()


def test_few_records_are_read_then(contexts: Any) -> None:
    pair = Pair(contexts).shake()
    pair.reader.close()
    pair.incoming.write(pair.records(*[b"x"] * 512))
    assert pair.read() == b"x" * 512
    pair.incoming.write(pair.records(b"x"))
    with pytest.raises(ssl.SSLError, match="closed"):
        pair.read()


def test_the_clients_word_at_the_end_is_read(contexts: Any) -> None:
    pair = Pair(contexts).shake()
    pair.reader.close()
    last = pair.records(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    pair.incoming.write(last + pair.out.read())
    assert pair.reader.read(100) == b"last"
    assert pair.reader.read(100) == b""
    pair.reader.unwrap()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32))
def test_any_bytes_are_an_error_or_nothing(contexts: Any, seed: int) -> None:
    """In the handshake, and behind it."""
    lots = random.Random(seed)
    garbage = b"".join(
        lots.choice((b"\x17\x03\x03\x00\x00", b"\x17\x03\x03\x40\x10", b"\x16\x03\x01\x00\x01", lots.randbytes(lots.randrange(30))))
        for _ in range(lots.randrange(1, 40))
    )
    for pair in (Pair(contexts), Pair(contexts).shake()):
        pair.incoming.write(garbage)
        with pytest.raises(ssl.SSLError):  # SSLWantReadError is one
            pair.reader.read(1 << 16)


def test_why_a_handshake_failed_is_sent_once(contexts: Any) -> None:
    """It is not left to the loop, which would send it again, or not at all."""
    pair = Pair(contexts)
    pair.incoming.write(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")  # no hello
    with pytest.raises(ssl.SSLError, match="length"):
        pair.reader.do_handshake()
    assert [content[:3] for content in pair.sent] == [b"\x15\x03\x03"]  # an alert
    assert pair.outgoing.pending == 0


def test_the_last_word_of_a_connection(contexts: Any) -> None:
    pair = Pair(contexts).shake()
    pair.reader.say_last()
    [word] = pair.sent
    pair.back.write(word)
    assert pair.client.read(100) == b""
    assert pair.outgoing.pending == 0


def test_a_client_that_takes_no_last_word_is_no_error(contexts: Any) -> None:
    def reject(content: bytes) -> None:
        raise BlockingIOError

    session = contexts[1].wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    TlsReader(session, ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO(), reject).say_last()


def test_the_context_makes_readers(contexts: Any, tmp_path: Path) -> None:
    from inferd.config import Settings
    from inferd.serving.ports import CLIENT
    from inferd.serving.tls import Tls

    context = Tls(Settings(**Files.made(tmp_path).settings())).context
    with socket.socket() as client:
        token = CLIENT.set(client)
        assert isinstance(context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True), TlsReader)
        CLIENT.reset(token)
