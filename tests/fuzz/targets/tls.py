"""What comes to a TLS port. Hellos are held against OpenSSL, which answers one when all of it is there, and never before; and the records
of a connection, which TlsReader gives to OpenSSL a few at a time, in turns, against OpenSSL that has them all at once.

Input: 1 byte, and where that is even what a client says first; where it is odd steps of 3 bytes each: which of STEPS, and a number.
"""

from __future__ import annotations

import random
import ssl
import struct
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from inferd._core.http2.tls_reader import TlsReader

from inferd.serving.ports import MAX_HELLO_RECORDS, RECORD_NBYTES, hello_nbytes
from tests.tls_records import ALERT, CLOSE_NOTIFY, CONTENT, HANDSHAKE, MAX_CONTENT_NBYTES, Contexts, header, key_update

MODULES = ("http2.tls_reader",)  # without LINES: to trace those that read a hello takes longer than all else in Python here
DICTIONARY = (b"\x16\x03\x01", b"\x16\x03\x03", b"\x17\x03\x03", b"\x14\x03\x03\0\1\1", b"\x15\x03\x03\0\2\1\0", b"\1\0\0")
MAX_RECORD_NBYTES = RECORD_NBYTES + 0xFFFF
# TlsReader's, by its contract.
CHUNK_NBYTES, SLICE_RECORDS = 16 << 10, 4
MAX_HANDSHAKE_RECORDS, MAX_HANDSHAKE_NBYTES, TOO_MUCH = 64, 24 << 10, "before the handshake was made"
CLOSING_NBYTES, CLOSING_RECORDS, CLOSED = 64 << 10, 512, "on a connection that is closed"
LEAST_NBYTES = 9  # of a record that is not idle
NEVER_NS = 1 << 60
ROOMS = (1 << 16, 1 << 18, MAX_CONTENT_NBYTES, 1000, LEAST_NBYTES, 1)  # that a loop reads into
MAX_STEPS = 16
LEAST_CUT_NBYTES = 8
LOTS = random.Random(0).randbytes(MAX_STEPS * MAX_CONTENT_NBYTES)  # what clients have to say
ROOM = memoryview(bytearray(len(LOTS) + 1))  # to read into; to make it anew took as long as a handshake
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


def check(data: bytes) -> None:
    if data and data[0] & 1:
        check_records([struct.unpack_from("<BH", data, at) for at in range(1, len(data) - 2, 3)][:MAX_STEPS])
    elif data:
        check_hello(data[1:])


# ---- what a client says first


def check_hello(said: bytes) -> None:
    wanted = hello_nbytes(said)
    assert wanted == plain_hello_nbytes(said)
    answered, rejection = handshake(Side(), said)
    assert not answered or wanted <= len(said), "all of the hello is there"
    read = handshake(Reading(), said)
    if read[1] is not None and TOO_MUCH in read[1]:
        assert records_in(said) > MAX_HANDSHAKE_RECORDS or len(said) > MAX_HANDSHAKE_NBYTES
    else:
        assert read == (answered, rejection)


def plain_hello_nbytes(said: bytes, records: int = MAX_HELLO_RECORDS, content: bytes = b"") -> int:
    """Of what is left, when so many records may follow, and those before had that content."""
    if records == 0 or (len(content) >= 4 and len(content) >= 4 + int.from_bytes(content[1:4])):
        return 0
    if len(said) < RECORD_NBYTES:
        return RECORD_NBYTES
    kind, _, nbytes = struct.unpack_from(">BHH", said)
    if kind != HANDSHAKE or nbytes == 0:
        return 0
    end = RECORD_NBYTES + nbytes
    return end + (plain_hello_nbytes(said[end:], records - 1, content + said[RECORD_NBYTES:end]) if len(said) >= end else 0)


def handshake(side: Side, said: bytes) -> tuple[bool, str | None]:
    """Whether it answers, and why it rejects."""
    side.incoming.write(said)
    side.shake()
    return (bytes(side.last) + side.outgoing.read(1))[:1] == bytes((HANDSHAKE,)), side.end


def records_in(said: bytes | bytearray) -> int:
    """Whole ones."""
    count = at = 0
    while len(said) >= at + RECORD_NBYTES:
        at += RECORD_NBYTES + int.from_bytes(said[at + 3 : at + RECORD_NBYTES])
        count += len(said) >= at
    return count


# ---- both ends of a connection


class Side:
    """A server: OpenSSL's own."""

    def __init__(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.last = bytearray()  # what the reader sends of it by itself, to a client that is rejected
        self.session: Any = self.made(self.incoming)
        self.shaken = False
        self.room = memoryview(b"")
        self.found = bytearray()
        self.end: str | None = None  # why nothing more is read

    def made(self, incoming: ssl.MemoryBIO) -> Any:
        return CONTEXTS.server.wrap_bio(incoming, self.outgoing, server_side=True)

    def take(self, content: bytes | bytearray) -> None:
        """That has come."""
        self.incoming.write(content)

    def attempt(self, act: Callable[[], object]) -> bool:
        """Nothing is raised but an SSLError. Whether nothing was."""
        try:
            act()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self.end = getattr(error, "reason", None) or str(error)  # the reader's own have none
            return False
        return True

    def shake(self) -> None:
        if not self.shaken and self.end is None:
            self.shaken = self.attempt(self.session.do_handshake)

    def read(self, room_nbytes: int) -> None:
        """As a loop does: until there is nothing more, or no more room."""
        self.shake()
        self.room = ROOM[len(ROOM) - room_nbytes :]  # its end is the memory's end, so that the sanitizer sees what is written behind it
        while self.shaken and self.end is None and self.room and self.attempt(self.read_record):
            pass

    def read_record(self) -> int:
        """Or what there is room for."""
        nbytes: int = self.session.read(len(self.room), self.room)
        self.found += self.room[:nbytes]
        self.room = self.room[nbytes:]
        if nbytes == 0:
            self.end = "the client's word"
        return nbytes


class Reading(Side):
    """One that takes turns."""

    def made(self, incoming: ssl.MemoryBIO) -> Any:
        self.inner = ssl.MemoryBIO()
        self.scheduled: list[Callable[[], object]] = []
        self.told = 0  # idle records
        self.doubtful = 0  # that filled what they were read into, so that nobody can say whether they are idle
        self.taken = bytearray()
        self.closed: Closed | None = None
        self.unwrapped = False
        own = super().made(self.inner)
        self.own = weakref.ref(own)
        reader = TlsReader(own, incoming, self.inner, self.outgoing, self.last.extend)
        reader.turn_ns = NEVER_NS
        return reader

    def take(self, content: bytes | bytearray) -> None:
        super().take(content)
        self.taken += content

    def shake(self) -> None:
        if not self.shaken:
            super().shake()
            if self.shaken:
                self.session.take_turns(self.scheduled.append, self.tell)

    def tell(self, idle_records: int) -> None:
        self.told += idle_records

    def read(self, room_nbytes: int) -> None:
        was_over, before = self.session.is_over, (len(self.found), self.end)
        super().read(room_nbytes)
        assert not was_over or (len(self.found), self.end) == before, "it is the others' turn"
        assert len(self.scheduled) == 1 if self.session.is_over > was_over else len(self.scheduled) <= 1
        if self.shaken and self.end is None and self.closed is None and self.session.turn_ns == 0:
            assert self.session.is_over, "it has taken its time"
        assert self.inner.pending <= MAX_RECORD_NBYTES + CHUNK_NBYTES

    def read_record(self) -> int:
        nbytes = super().read_record()
        self.doubtful += 0 < nbytes < LEAST_NBYTES and not self.room
        return nbytes

    def read_rest(self) -> None:
        """In as many turns as that takes."""
        for _ in range(2 * records_in(self.taken) + len(self.taken) // ROOMS[0] + 2):
            self.turn(self.session.turn_ns == 0)
            unread = self.incoming.pending, self.session.pending(), len(self.found)
            self.read(ROOMS[0])
            if self.end is not None or unread == (self.incoming.pending, self.session.pending(), len(self.found)):
                return
        raise AssertionError("it takes no end")

    # The steps that are a server's, each with a number up to 65,535.

    def read_into(self, number: int) -> None:
        if not self.unwrapped:
            self.read(ROOMS[number % len(ROOMS)])

    def turn(self, number: int) -> None:
        """What was scheduled is called, and the next turn begins, or not yet; it has no time, or all that it needs."""
        self.session.turn_ns = 0 if number & 1 else NEVER_NS
        waiting, self.scheduled[:] = list(self.scheduled), []
        for callback in waiting:
            callback()
        if not number & 2:
            self.session.begin_turn()

    def close(self, number: int = 0) -> None:
        if self.closed is None:
            self.closed = Closed(len(self.taken), self.incoming.pending + self.session.pending(), len(self.found))
        self.session.close()

    def unwrap(self, number: int) -> None:
        if self.shaken and self.end is None:
            self.close()
            self.unwrapped = True
            self.attempt(self.session.unwrap)


class Closed:
    """How a connection was when its server had closed it, in bytes: what had come, and had not been read, and had been found."""

    def __init__(self, taken: int, unread: int, found: int) -> None:
        self.taken, self.unread, self.found = taken, unread, found

    def check(self, reading: Reading, *, cut_off: bool) -> None:
        """Little more is found, and who sends no more than little is not cut off."""
        begun_nbytes = MAX_CONTENT_NBYTES  # OpenSSL may have most of a record that is not whole
        assert len(reading.found) - self.found <= begun_nbytes + self.unread + CLOSING_NBYTES
        sent_nbytes = self.unread + len(reading.taken) - self.taken
        records = records_in(reading.taken) - records_in(reading.taken[: max(0, self.taken - self.unread)])
        assert not cut_off or sent_nbytes > CLOSING_NBYTES or records > CLOSING_RECORDS


class Client:
    """Whose hello was answered. What it sends waits until it is delivered, the last of its handshake, too."""

    def __init__(self, side: Side) -> None:
        self.side = side
        back, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        shaking = CONTEXTS.client.wrap_bio(back, out, server_hostname="localhost", session=CONTEXTS.session)
        with suppress(ssl.SSLWantReadError):
            shaking.do_handshake()
        side.take(out.read())
        side.shake()
        back.write(side.outgoing.read())
        shaking.do_handshake()
        self.waiting = bytearray(out.read())
        self.records = CONTEXTS.records(shaking)
        self.said_nbytes = 0  # of LOTS
        self.idle = 0  # records
        self.spoiled = False

    def send(self, kind: int, content: bytes, padding_nbytes: int = 0) -> None:
        self.waiting += self.records.record(kind, content, padding_nbytes)
        self.idle += kind != CONTENT or len(content) < LEAST_NBYTES

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
            self.idle += 1

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
        self.spoiled = True

    def flip(self, number: int) -> None:
        if self.waiting:
            self.waiting[number % len(self.waiting)] ^= 1 << number % 8
            self.spoiled = True

    def cut(self, number: int) -> None:
        """Bytes of the end: elsewhere what is encrypted, which is not the same twice, would be read as a record's header. And not too few
        of them, which those that follow could be equal to."""
        del self.waiting[max(0, len(self.waiting) - LEAST_CUT_NBYTES - number) :]
        self.spoiled = True

    def deliver(self, number: int) -> None:
        """So many bytes, or all."""
        self.side.take(self.waiting[: number or None])
        del self.waiting[: number or None]


Step = Callable[[Any, int], None]
OF_CLIENTS: tuple[Step, ...] = (
    *(Client.content, Client.small, Client.padded, Client.key_updates, Client.other),
    *(Client.leave, Client.plaintext, Client.flip, Client.cut, Client.deliver),
)
OF_READING: tuple[Step, ...] = (Reading.read_into, Reading.turn, Reading.close, Reading.unwrap)
STEPS = (*OF_CLIENTS, *OF_READING)


def check_records(steps: list[tuple[int, int]]) -> None:
    plain, reading = Side(), Reading()
    clients = Client(plain), Client(reading)
    for name, number in steps:
        step = STEPS[name % len(STEPS)]
        for one in clients if step in OF_CLIENTS else (reading,):
            step(one, number)
    for client in clients:
        client.deliver(0)
    plain.read(len(LOTS) + 1)
    if not reading.unwrapped:
        reading.read_rest()
    check_found(plain, reading, clients[1])
    check_gone(reading)


def check_found(plain: Side, reading: Reading, client: Client) -> None:
    """Nothing is lost and nothing invented, and records are counted as they are; limits hold, and nobody is cut off before them."""
    assert LOTS[: client.said_nbytes].startswith(plain.found)
    assert plain.found.startswith(reading.found)
    cut_off = reading.closed is not None and CLOSED in (reading.end or "")
    if reading.closed is not None:
        reading.closed.check(reading, cut_off=cut_off)
    if not cut_off and not reading.unwrapped:
        assert (reading.end, reading.found) == (plain.end, plain.found)
    if reading.shaken:
        reading.session.tell_now()
        assert reading.told <= records_in(reading.taken)
    if plain.shaken and not (plain.end or reading.closed or client.spoiled):
        assert client.idle - reading.doubtful - SLICE_RECORDS < reading.told <= client.idle, "a slice may have had the handshake's end"
        assert plain.found == LOTS[: client.said_nbytes]
        assert reading.session.pending() == 0


def check_gone(reading: Reading) -> None:
    """Nothing is told any more, and nothing is kept."""
    told = reading.told
    reading.session.take_turns(None, None)
    reading.turn(0)
    assert reading.told == told
    del reading.session
    assert reading.own() is None
    assert reading.incoming.pending == 0 or reading.end is not None or reading.unwrapped or not reading.shaken


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
    deliver, read, turns = (Client.deliver, 0), (Reading.read_into, 0), (Reading.turn, 1)
    sent = [
        steps(content, deliver, read),
        steps(deliver, read, small, updates, deliver, read, turns, read),
        steps(deliver, read, turns, content, updates, small, content, deliver, read, turns, read, turns),
        steps(deliver, read, (Client.content, 1 << 14), (Client.deliver, 5), read, (Client.deliver, 8000), read, (Reading.read_into, 3)),
        steps(deliver, read, (Client.padded, 0x4005), (Client.small, 0x01F0), (Client.other, 0x0316), (Client.other, 0x0216), content),
        steps(deliver, read, content, (Reading.close, 0), small, deliver, read),
        steps(deliver, read, content, (Client.leave, 0), deliver, (Reading.unwrap, 0)),
        steps(deliver, read, (Client.content, 16000), deliver, (Reading.close, 0), read, (Client.content, 9000), deliver, read),
        steps(deliver, read, content, (Client.flip, 300), content, (Client.cut, 20), deliver, read, (Client.plaintext, 0x0114)),
        steps((Client.plaintext, 0x0114), (Client.leave, 0), deliver, read, (Client.other, 0x0517)),
    ]
    return [b"\0" + said for said in hellos] + sent
