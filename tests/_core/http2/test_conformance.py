"""RFC 9113, frame by frame: every frame type, right and wrong, in every state of a stream and of a connection, and what the session does.

The tables are written by hand from the RFC, not from what the session did. From each row many cases are generated: payloads, flags that
mean nothing, the reserved bit, END_STREAM. After each case the session is still of use, or it has ended with the code that the table
says; another session is served; and nothing of it is held.

The words are those of http2_wire.py. Behind one stands, where libnghttp2 does what is allowed and not what is asked first:

    *   the RFC asks for a stream error here, and lets an endpoint take it for a connection error (5.4.1)
    +   the RFC lets an endpoint take it for an error (5.1, "closed"); it is ignored, as it must be after an RST_STREAM of our own

Either is right. What is not as the RFC asks:

    !   headers of a stream that was passed over are an unexpected stream identifier (5.1.1), for which the RFC asks for a connection error,
        PROTOCOL_ERROR. libnghttp2 remembers no stream that is closed, and ignores them as those of any, which may have been sent before
        our RST_STREAM came. It does no harm: no stream is opened, HPACK's table stays in step, and such frames count as others that ask
        for nothing (test_flood_policy.py). To tell the two would take memory of each stream that was reset, for as long as a client likes.

Priorities by dependency are RFC 7540's, which 9113 (5.3.2) lets nobody rely on: that one stream depends on itself may
be overlooked.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from tests._core.http2.test_session import raw_frame
from tests._core.http2_client import EMPTY_SETTINGS, PREFACE, drain, frame
from tests._core.http2_wire import (
    ACK,
    BLOCK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    HOT_BLOCK,
    LAST_ID,
    MAX_FRAME_NBYTES,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RESERVED,
    RST_STREAM,
    SETTINGS,
    STREAM_ID,
    TRAILERS,
    WINDOW_UPDATE,
    Frame,
    Wire,
    check,
    setting,
    u32,
)

pytestmark = pytest.mark.usefixtures("nothing_stays")

# ---- frames in the states of a stream


def opened(wire: Wire) -> None:
    wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK))


def half(wire: Wire) -> None:
    """Half-closed (remote): the client has sent all of its request."""
    wire.send(raw_frame(HEADERS, END_HEADERS | END_STREAM, STREAM_ID, BLOCK))


def ended(wire: Wire) -> None:
    """By END_STREAM of both sides."""
    wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, HOT_BLOCK), raw_frame(DATA, END_STREAM, STREAM_ID, frame(b"x")))


def reset(wire: Wire) -> None:
    """By the client."""
    wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK), raw_frame(RST_STREAM, 0, STREAM_ID, u32(8)))


def cut(wire: Wire) -> None:
    """By the server, whose response is whole while the client sends: half-closed (local) for no longer than one write lasts (8.1)."""
    wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK))
    wire.served.started[-1][0].end()
    assert [one.kind for one in wire.send()] == [HEADERS, HEADERS, RST_STREAM]


def passed(wire: Wire) -> None:
    """Never used, and closed since a later one is (5.1.1)."""
    wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID + 2, BLOCK))


def leaving(wire: Wire) -> None:
    """GOAWAY was said twice; one stream is still open, and this one comes too late."""
    wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID - 2, BLOCK))
    drain(wire.connection)
    assert [one.kind for one in wire.send()] == [GOAWAY, GOAWAY]


STATES: dict[str, Callable[[Wire], None]] = {
    "idle": lambda wire: None,
    "open": opened,
    "half": half,
    "ended": ended,
    "reset": reset,
    "cut": cut,
    "passed": passed,
    "leaving": leaving,
    "zero": lambda wire: None,  # the connection itself
    "even": lambda wire: None,  # idle, and a server's to open
}
NUMBERS = {"zero": 0, "even": 4}  # of streams; else STREAM_ID
UNKNOWN = (10, 11, 12, 13, 16, 32, 127, 240, 255)  # types; ALTSVC, ORIGIN and PRIORITY_UPDATE among them (5.5)
IDLE_FLAGS = {DATA: 0xF6, HEADERS: 0xD2, SETTINGS: 0xFE, PING: 0xFE, PUSH_PROMISE: 0xF3, CONTINUATION: 0xFB}  # without a meaning; else all


def padded(payload: bytes, nbytes: int) -> bytes:
    return b"%c%b%b" % (nbytes, payload, bytes(nbytes))


def frames(number: int) -> dict[str, list[tuple[int, int, bytes]]]:
    """The rows of the table: (type, flags, payload) of frames that mean the same on this stream."""
    whole, last, itself = END_HEADERS, END_HEADERS | END_STREAM, u32(number) + b"\0"
    return {
        "DATA": [
            *((DATA, flags, payload) for flags in (0, END_STREAM) for payload in (b"", b"\0", frame(b"x"))),
            *((DATA, PADDED, padded(b"\0", nbytes)) for nbytes in (0, 1, 255)),
        ],
        "DATA padding": [(DATA, PADDED, payload) for payload in (b"", b"\1", b"\4\0\0\0", b"\xff")],
        "HEADERS": [
            *((HEADERS, flags, BLOCK) for flags in (whole, last)),
            (HEADERS, whole | PADDED, padded(BLOCK, 7)),
            (HEADERS, last | PADDED | HAS_PRIORITY, padded(u32(0) + b"\x0f" + BLOCK, 255)),
        ],
        "HEADERS itself": [(HEADERS, flags | HAS_PRIORITY, itself + BLOCK) for flags in (whole, last)],
        "HEADERS padding": [(HEADERS, whole | PADDED, payload) for payload in (b"", b"\1", b"\xff" + BLOCK)],
        "HEADERS short": [(HEADERS, whole | HAS_PRIORITY, bytes(nbytes)) for nbytes in range(5)],
        "trailers": [(HEADERS, last, payload) for payload in (TRAILERS, b"")],
        "trailers, more": [(HEADERS, whole, payload) for payload in (TRAILERS, b"")],
        "PRIORITY": [(PRIORITY, 0, u32(other) + b"\x0f") for other in (0, 3, RESERVED | 3, LAST_ID)],
        "PRIORITY itself": [(PRIORITY, 0, itself)],
        "PRIORITY length": [(PRIORITY, 0, bytes(nbytes)) for nbytes in (0, 4, 6, 100)],
        "RST_STREAM": [(RST_STREAM, 0, u32(code)) for code in (*range(14), 99, 2**32 - 1)],
        "RST_STREAM length": [(RST_STREAM, 0, bytes(nbytes)) for nbytes in (0, 3, 5, 100)],
        "SETTINGS": [(SETTINGS, 0, payload) for payload in (b"", struct.pack(">HI", 4, 100), struct.pack(">HI", 0xFF, 1) * 2)],
        "SETTINGS length": [(SETTINGS, 0, bytes(nbytes)) for nbytes in (1, 5, 7)] + [(SETTINGS, ACK, bytes(6))],
        "PUSH_PROMISE": [(PUSH_PROMISE, flags, u32(2) + BLOCK) for flags in (0, END_HEADERS)],
        "PING": [(PING, 0, payload) for payload in (bytes(8), b"12345678")],
        "PING ACK": [(PING, ACK, bytes(8))],
        "PING length": [(PING, flags, bytes(nbytes)) for flags in (0, ACK) for nbytes in (0, 7, 9)],
        "GOAWAY": [(GOAWAY, 0, u32(0) + u32(code) + text) for code in (0, 1, 99) for text in (b"", b"why")],
        "GOAWAY length": [(GOAWAY, 0, bytes(nbytes)) for nbytes in (0, 4, 7)],
        "WINDOW_UPDATE": [(WINDOW_UPDATE, 0, u32(increment)) for increment in (1, 1000, RESERVED | 1)],
        "WINDOW_UPDATE 0": [(WINDOW_UPDATE, 0, u32(increment)) for increment in (0, RESERVED)],
        "WINDOW_UPDATE big": [(WINDOW_UPDATE, 0, u32(LAST_ID))],
        "WINDOW_UPDATE length": [(WINDOW_UPDATE, 0, bytes(nbytes)) for nbytes in (0, 3, 5)],
        "CONTINUATION": [(CONTINUATION, flags, payload) for flags in (0, END_HEADERS) for payload in (b"", BLOCK)],
        "unknown": [(kind, 0, payload) for kind in UNKNOWN for payload in (b"", b"x" * 300)],
    }


TABLE = """
                      idle     open     half       ended    reset    cut      passed   leaving  zero     even      in the RFC
DATA                  c:PROTO  -        c:CLOSED*  -+       -+       -        -+       c:PROTO  c:PROTO  c:PROTO   5.1, 6.1
DATA padding          c:PROTO  c:PROTO  c:CLOSED*  -+       -+       -        -+       c:PROTO  c:PROTO  c:PROTO   6.1
HEADERS               -        s:PROTO  c:CLOSED*  -+       -+       -        -!       -        c:PROTO  c:PROTO   5.1, 5.1.1, 8.1
HEADERS itself        c:PROTO* s:PROTO  c:CLOSED*  -+       -+       -        -!       -        c:PROTO  c:PROTO   7540: 5.3.1
HEADERS padding       c:PROTO  c:PROTO  c:PROTO    c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO   6.2
HEADERS short         c:SIZE   c:SIZE   c:SIZE     c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE    4.2
trailers              s:PROTO  -        c:CLOSED*  -+       -+       -        -!       -        c:PROTO  c:PROTO   8.1, 8.3.1
trailers, more        s:PROTO  s:PROTO  c:CLOSED*  -+       -+       -        -!       -        c:PROTO  c:PROTO   8.1
PRIORITY              -        -        -          -        -        -        -        -        c:PROTO  -         6.3
PRIORITY itself       c:PROTO* c:PROTO* c:PROTO*   c:PROTO* c:PROTO* c:PROTO* c:PROTO* c:PROTO* c:PROTO  c:PROTO*  7540: 5.3.1
PRIORITY length       c:SIZE*  c:SIZE*  c:SIZE*    c:SIZE*  c:SIZE*  c:SIZE*  c:SIZE*  c:SIZE*  c:SIZE*  c:SIZE*   6.3
RST_STREAM            c:PROTO  -        -          -        -        -        -        c:PROTO  c:PROTO  c:PROTO   5.1, 6.4
RST_STREAM length     c:SIZE   c:SIZE   c:SIZE     c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE    6.4
SETTINGS              c:PROTO  c:PROTO  c:PROTO    c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  ack      c:PROTO   6.5
SETTINGS length       c:SIZE   c:SIZE   c:SIZE     c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE    6.5
PUSH_PROMISE          c:PROTO  c:PROTO  c:PROTO    c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO   8.4
PING                  c:PROTO  c:PROTO  c:PROTO    c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  ack      c:PROTO   6.7
PING ACK              c:PROTO  c:PROTO  c:PROTO    c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  -        c:PROTO   6.7
PING length           c:SIZE   c:SIZE   c:SIZE     c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE    6.7
GOAWAY                c:PROTO  c:PROTO  c:PROTO    c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  end      c:PROTO   6.8
GOAWAY length         c:SIZE   c:SIZE   c:SIZE     c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE    4.2
WINDOW_UPDATE         c:PROTO  -        -          -        -        -        -        c:PROTO  -        c:PROTO   5.1, 6.9
WINDOW_UPDATE 0       c:PROTO  c:PROTO* c:PROTO*   -        -        -        -        c:PROTO  c:PROTO  c:PROTO   6.9
WINDOW_UPDATE big     c:PROTO  s:FLOW   s:FLOW     -        -        -        -        c:PROTO  c:FLOW   c:PROTO   6.9.1
WINDOW_UPDATE length  c:SIZE   c:SIZE   c:SIZE     c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE   c:SIZE    6.9
CONTINUATION          c:PROTO  c:PROTO  c:PROTO    c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO  c:PROTO   6.10
unknown               -        -        -          -        -        -        -        -        -        -         4.1, 5.5
"""


def rows() -> dict[str, dict[str, str]]:
    """The table: outcome by row and state."""
    heading, *lines = TABLE.strip("\n").splitlines()
    states = heading.split()[: len(STATES)]
    return {line[:21].strip(): dict(zip(states, line[21:].split(), strict=False)) for line in lines}


ROWS = rows()


def allowed(row: str, state: str) -> set[str]:
    """What another libnghttp2 may do as well."""
    cell = ROWS[row][state]
    outcome = cell.rstrip("*+!")
    found = {outcome}
    if cell.endswith("*"):
        found.add("s" + outcome[1:])
    if cell.endswith("+"):
        found |= {"s:CLOSED", "c:CLOSED"}
    if cell.endswith("!"):
        found.add("c:PROTO")  # as it should be
    if row.endswith(" itself"):
        found |= allowed(row.removesuffix(" itself"), state)
    return found


def spellings(kind: int, flags: int, number: int, payload: bytes) -> Iterator[bytes]:
    """The same frame with flags that mean nothing for its type, and with the reserved bit (4.1)."""
    idle = IDLE_FLAGS.get(kind, 0xFF)
    for more in (0, idle, *(bit for bit in (1 << n for n in range(8)) if bit & idle)):
        yield raw_frame(kind, flags | more, number, payload)
    yield raw_frame(kind, flags, number | RESERVED, payload)


def test_the_table_is_whole() -> None:
    assert set(ROWS) == set(frames(STREAM_ID))
    assert all(list(row) == list(STATES) for row in ROWS.values())
    assert {kind for rows in frames(STREAM_ID).values() for kind, *_ in rows} == {*range(10), *UNKNOWN}


@pytest.mark.parametrize("row", ROWS)
def test_a_frame_in_every_state_of_a_stream(row: str) -> None:
    for state in STATES:
        number = NUMBERS.get(state, STREAM_ID)
        for kind, flags, payload in frames(number)[row]:
            for sent in spellings(kind, flags, number, payload):
                wire = Wire()
                STATES[state](wire)
                assert wire.outcome(wire.send(sent), number) in allowed(row, state), f"{sent.hex()} in state {state}"
                wire.close(calls=state != "leaving")


# ---- before the connection has begun


@pytest.mark.parametrize("position", range(len(PREFACE)))
def test_a_preface_with_a_fault(position: int) -> None:
    """3.4: a connection error, GOAWAY may be left out: who does not speak HTTP/2 is told so in HTTP/1.1."""
    for bit in range(8):
        wire = Wire(greet=False)
        damaged = bytearray(PREFACE)
        damaged[position] ^= 1 << bit
        assert wire.outcome(wire.send(damaged, EMPTY_SETTINGS), 0) == "end"
        wire.close()


@pytest.mark.parametrize("row", ROWS)
def test_a_first_frame_that_is_no_settings(row: str) -> None:
    """3.4: SETTINGS comes first, and is no ACK."""
    for number in (0, STREAM_ID):
        for kind, flags, payload in frames(number)[row]:
            wire = Wire(greet=False)
            came = wire.send(PREFACE, raw_frame(kind, flags, number, payload))
            expected = {"SETTINGS length": "c:SIZE", "SETTINGS": "c:PROTO" if number else "ack"}.get(row, "c:PROTO")
            if row == "SETTINGS length" and flags & ACK:
                expected = "c:PROTO"  # an ACK, whatever its length
            assert wire.outcome(came, number) == expected
            wire.close()


def test_a_first_frame_that_is_an_ack() -> None:
    check("c:PROTO", lambda wire: wire.send(PREFACE, raw_frame(SETTINGS, ACK, 0, b"")), greet=False)


def test_settings_were_acknowledged_and_are_again() -> None:
    """The RFC has no word for it."""
    check("c:PROTO", lambda wire: wire.send(raw_frame(SETTINGS, ACK, 0, b"")))


# ---- within a header block


@pytest.mark.parametrize("row", [row for row in ROWS if row != "CONTINUATION"])
@pytest.mark.parametrize("trailers", [False, True])
def test_a_frame_within_a_header_block(row: str, trailers: bool) -> None:
    """4.3, 6.10: nothing may come but CONTINUATION of the same stream, not even a type that nobody knows."""
    for number in (0, STREAM_ID, STREAM_ID + 2, 4):
        for kind, flags, payload in frames(number)[row]:
            wire = Wire()
            if trailers:
                wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK))
            wire.send(raw_frame(HEADERS, END_STREAM, STREAM_ID, BLOCK[:10]))
            assert wire.outcome(wire.send(raw_frame(kind, flags, number, payload)), number) == "c:PROTO"
            wire.close()


@pytest.mark.parametrize("number", [0, 1, STREAM_ID + 2, 4])
def test_a_continuation_of_another_stream(number: int) -> None:
    begun = raw_frame(HEADERS, 0, STREAM_ID, BLOCK[:10])
    check("c:PROTO", lambda wire: wire.send(begun, raw_frame(CONTINUATION, END_HEADERS, number, BLOCK[10:])))


@pytest.mark.parametrize("empty", [0, 1, 7])
@pytest.mark.parametrize("cut_at", [0, 1, 10, len(BLOCK)])
def test_a_header_block_in_pieces(cut_at: int, empty: int) -> None:
    wire = Wire()
    wire.send(raw_frame(HEADERS, END_STREAM, STREAM_ID, BLOCK[:cut_at]), *[raw_frame(CONTINUATION, 0, STREAM_ID, b"")] * empty)
    assert not wire.send(raw_frame(CONTINUATION, END_HEADERS, STREAM_ID, BLOCK[cut_at:]))
    [(call, _)] = wire.served.started
    assert call.half_closed
    wire.close()


# ---- what a connection was told


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (setting(1, 0), "ack"),  # HEADER_TABLE_SIZE
        (setting(1, 2**32 - 1), "ack"),
        (setting(2, 0), "ack"),  # ENABLE_PUSH
        (setting(2, 1), "ack"),
        (setting(2, 2), "c:PROTO"),
        (setting(3, 0), "ack"),  # MAX_CONCURRENT_STREAMS
        (setting(4, 0), "ack"),  # INITIAL_WINDOW_SIZE
        (setting(4, 2**31 - 1), "ack"),
        (setting(4, 2**31), "c:FLOW"),
        (setting(5, 16_383), "c:PROTO"),  # MAX_FRAME_SIZE
        (setting(5, 16_384), "ack"),
        (setting(5, 2**24 - 1), "ack"),
        (setting(5, 2**24), "c:PROTO"),
        (setting(6, 0), "ack"),  # MAX_HEADER_LIST_SIZE
        (setting(8, 1), "ack"),  # ENABLE_CONNECT_PROTOCOL: RFC 8441, 3
        (setting(8, 2), "c:PROTO"),
        (setting(9, 1), "c:PROTO"),  # NO_RFC7540_PRIORITIES may not change: RFC 9218, 2.1
        (setting(9, 2), "c:PROTO"),
        *((setting(number, 2**32 - 1), "ack") for number in (0, 7, 10, 0xFFFF)),  # unknown: 6.5.2
        (setting(4, 1) + setting(4, 2), "ack"),
        (setting(4, 1) + setting(2, 7), "c:PROTO"),
        (setting(0xFF, 1) * 32, "ack"),
        (setting(0xFF, 1) * 33, "c:CALM"),  # MAX_SETTINGS
    ],
)
def test_settings(payload: bytes, expected: str) -> None:
    wire = Wire()
    assert wire.outcome(wire.send(raw_frame(SETTINGS, 0, 0, payload)), 0) == expected
    wire.send(raw_frame(SETTINGS, 0, 0, setting(4, 65_535)))  # a window for the response that is asked for last
    wire.close()


def test_settings_that_make_a_window_too_large() -> None:
    """Not as the RFC has it (6.9.2: a connection error): libnghttp2 ends the streams whose windows are."""
    opened = raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK) + raw_frame(WINDOW_UPDATE, 0, STREAM_ID, u32(LAST_ID - 65_535))

    def sent(wire: Wire) -> list[Frame]:
        wire.send(opened)
        came = wire.send(raw_frame(SETTINGS, 0, 0, setting(4, 65_536)))
        return [one for one in came if one.kind != SETTINGS]

    check("s:FLOW", sent)


def test_a_client_that_leaves_while_calls_are_open() -> None:
    """6.8: it opens no stream by itself any more, and has its responses."""
    wire = Wire()
    wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, HOT_BLOCK), raw_frame(GOAWAY, 0, 0, u32(0) + u32(0) + b"why" * 100))
    came = wire.send(raw_frame(DATA, END_STREAM, STREAM_ID, frame(b"x")))
    assert [one.kind for one in came] == [HEADERS, DATA, HEADERS]
    assert wire.ended
    wire.close()


def test_a_client_that_leaves_twice_and_takes_something_back() -> None:
    """6.8: the number of the last stream may not grow."""
    first, second = (raw_frame(GOAWAY, 0, 0, u32(number) + u32(0)) for number in (0, 2))
    check("c:PROTO", lambda wire: wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK), first, second))


# ---- sizes and windows


@pytest.mark.parametrize("kind", [*range(10), *UNKNOWN])
@pytest.mark.parametrize("number", [0, STREAM_ID])
def test_a_frame_beyond_the_size_that_we_take(kind: int, number: int) -> None:
    """4.2: known from its first nine bytes. A stream error would do for some; nobody has the patience to read them."""
    announced = (MAX_FRAME_NBYTES + 1).to_bytes(3, "big") + raw_frame(kind, 0, number, b"")[3:]
    check("c:SIZE", lambda wire: wire.send(announced))


def test_before_our_settings_are_acknowledged_the_default_size_holds() -> None:
    """6.5.3"""

    def sent(nbytes: int) -> Callable[[Wire], list[Frame]]:
        opened = PREFACE + EMPTY_SETTINGS + raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK)
        return lambda wire: wire.send(opened) and wire.send(raw_frame(DATA, 0, STREAM_ID, bytes(nbytes)))

    check("-", sent(1 << 14), greet=False)
    check("c:SIZE", sent((1 << 14) + 1), greet=False)


def test_a_client_that_sends_more_than_a_streams_window() -> None:
    """6.9.1: a stream error. 1 MiB is what the window was; it is not opened while nobody takes the messages."""
    opened = raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK) + raw_frame(DATA, 0, STREAM_ID, frame(b"") + bytes(MAX_FRAME_NBYTES - 5))

    def sent(wire: Wire) -> list[Frame]:
        wire.send(opened)
        return wire.send(raw_frame(DATA, 0, STREAM_ID, b"\0"))

    check("s:FLOW", sent)


def test_streams_that_wait_leave_the_connections_window_to_others() -> None:
    """Each byte of it is consumed as it comes."""

    def sent(wire: Wire) -> list[Frame]:
        for number in (5, 7, 9, 11):
            wire.send(raw_frame(HEADERS, END_HEADERS, number, BLOCK))
            wire.send(raw_frame(DATA, 0, number, frame(b"") + bytes(MAX_FRAME_NBYTES - 5)))
        return wire.send(raw_frame(HEADERS, END_HEADERS, 13, BLOCK), raw_frame(DATA, 0, 13, bytes(100)))

    check("-", sent, 13)
