"""Header fields (RFC 9113, 8.2 and 8.3) and HPACK: a malformed request is reset, a block that cannot be read ends the connection."""

from __future__ import annotations

import pytest

from tests._core.http2.test_conformance import STATES
from tests._core.http2.test_session import raw_frame
from tests._core.http2_wire import (
    BLOCK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    STREAM_ID,
    Frame,
    Wire,
    check,
    fields,
    literal,
)

pytestmark = pytest.mark.usefixtures("nothing_stays")


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [one for one in fields() if one[0] != name]


def with_value(name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    return [(known, value if known == name else old) for known, old in fields()]


PSEUDO = (b":method", b":scheme", b":path", b":authority")
MALFORMED = {
    **{f"no {name.decode()}": without(name) for name in PSEUDO},  # 8.3.1; without :authority there must be a host
    **{f"{name.decode()} twice": [(name, dict(fields())[name]), *fields()] for name in PSEUDO},
    **{f"{name.decode()} behind others": [*without(name), (name, dict(fields())[name])] for name in PSEUDO},
    **{f"{name.decode()} empty": with_value(name, b"") for name in PSEUDO},
    **{f"{name.decode()} of an answer, or of nobody": [(name, b"200"), *fields()] for name in (b":status", b":x", b":", b":protocol")},
    **{f"{name.decode()} is HTTP/1's": [*fields(), (name, b"x")] for name in (b"connection", b"keep-alive", b"proxy-connection")},
    **{f"{name.decode()} is HTTP/1's": [*fields(), (name, b"x")] for name in (b"transfer-encoding", b"upgrade")},
    **{f"te: {value.decode()}": with_value(b"te", value) for value in (b"gzip", b"trailers, deflate")},
    **{
        f"name {name!r}": [*fields(), (name, b"x")]
        for name in (b"A", b"Content-Type", b"aB", b"", b"a b", b"a:", b"a\0", b"\xff", b"a\x7f")
    },
    **{f"value {value!r}": [*fields(), (b"a", value)] for value in (b"\0", b"\r", b"\n", b"x\r\ny", b" x", b"x ", b"\tx", b"\x7f", b"\1")},
    **{f"content-length: {value!r}": [*fields(), (b"content-length", value)] for value in (b"", b"x", b"-1", b"1 ", b"9" * 20)},
    "content-length twice": [*fields(), (b"content-length", b"5"), (b"content-length", b"6")],
    "host twice": [*fields(), (b"host", b"test"), (b"host", b"other")],
    ":path without a slash": with_value(b":path", b"x"),
    ":path *": with_value(b":path", b"*"),
    ":method of two words": with_value(b":method", b"PO ST"),
    "CONNECT with a path": with_value(b":method", b"CONNECT"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request(name: str) -> None:
    """8.1.1: a stream error. Nobody hears of the call."""
    for flags in (END_HEADERS, END_HEADERS | END_STREAM):
        wire = Wire()
        came = wire.send(raw_frame(HEADERS, flags, STREAM_ID, literal(*MALFORMED[name])))
        assert wire.outcome(came, STREAM_ID) == "s:PROTO"
        assert wire.served.started == []
        wire.close()


WELL_FORMED = {
    "as it is": fields(),
    "host instead of :authority": [*without(b":authority"), (b"host", b"test")],
    "without te": without(b"te"),
    "cookie": [*fields(), (b"cookie", b"a=b"), (b"cookie", b"c=d")],
    "bytes beyond ASCII": [*fields(), (b"a", b"\xff\x80")],
    "an empty value": [*fields(), (b"a", b"")],
    "another scheme": with_value(b":scheme", b"ftp"),
    "an order of its own": [fields()[2], fields()[0], fields()[3], fields()[1], *fields()[4:]],
}


@pytest.mark.parametrize("name", WELL_FORMED)
def test_a_request_that_is_well_formed(name: str) -> None:
    wire = Wire()
    assert wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, literal(*WELL_FORMED[name]))) == []
    assert len(wire.served.started) == 1
    wire.close()


@pytest.mark.parametrize(
    ("announced", "pieces", "expected"),
    [
        (5, (b"\0\0\0\0\0",), "-"),
        (5, (b"\0\0", b"\0\0\0"), "-"),
        (0, (b"",), "-"),
        (4, (b"\0\0\0\0\0",), "s:PROTO"),
        (6, (b"\0\0\0\0\0",), "s:PROTO"),
        (6, (b"\0\0\0\0\0", b""), "s:PROTO"),
        (0, (b"\0",), "s:PROTO"),
        (1, (b"",), "s:PROTO"),
    ],
)
def test_content_length_is_kept(announced: int, pieces: tuple[bytes, ...], expected: str) -> None:
    """8.1.1: it equals what the DATA frames hold."""
    block = literal(*fields(), (b"content-length", b"%d" % announced))
    body = [raw_frame(DATA, END_STREAM if piece is pieces[-1] else 0, STREAM_ID, piece) for piece in pieces]
    check(expected, lambda wire: wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, block), *body))


@pytest.mark.parametrize(
    "field", [(b":path", b"/"), (b":status", b"200"), (b"A", b"b"), (b"connection", b"x"), (b"te", b"gzip"), (b"a", b"\n")]
)
def test_trailers_that_are_malformed(field: tuple[bytes, bytes]) -> None:
    opened = raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK)
    check("s:PROTO", lambda wire: wire.send(opened, raw_frame(HEADERS, END_HEADERS | END_STREAM, STREAM_ID, literal(field))))


# ---- HPACK (RFC 7541): what cannot be read ends the connection, whose table is lost (4.3)

UNREADABLE = {
    "index 0": b"\x80",
    "an index beyond the table": b"\xbe",
    "an index far beyond it": b"\xff\x49",
    "a name beyond the table": b"\x7f\xff\x01",
    "Huffman padding of zeros": b"\0\1a\x81\x00",
    "Huffman padding of a byte": b"\0\1a\x82\x1f\xff",
    "Huffman EOS": b"\0\1a\x84\xff\xff\xff\xff",
    "a table larger than we allow": b"\x3f\xe2\x1f",
    "a number without end": b"\xff" + b"\xff" * 10 + b"\1",
    "a number cut off": b"\x7f",
    "a name cut off": b"\0\5ab",
    "a value cut off": b"\0\1a\5b",
    "a value that is missing": b"\0\1a",
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("before", [b"", BLOCK])
def test_a_header_block_that_cannot_be_read(name: str, before: bytes) -> None:
    check("c:HPACK", lambda wire: wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, before + UNREADABLE[name])))


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("state", ["ended", "reset", "cut", "passed"])
def test_a_header_block_is_read_for_a_stream_that_is_closed(name: str, state: str) -> None:
    """5.1: its header compression counts, whatever becomes of the frame."""

    def sent(wire: Wire) -> list[Frame]:
        STATES[state](wire)
        return wire.send(raw_frame(HEADERS, END_HEADERS | END_STREAM, STREAM_ID, UNREADABLE[name]))

    check("c:HPACK", sent)


def test_a_table_that_changes_its_size() -> None:
    """At the front of a block, twice at most would do (RFC 7541, 4.2); behind a field never."""
    wire = Wire()
    for number, front in enumerate((b"\x20", b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f")):
        assert wire.send(raw_frame(HEADERS, END_HEADERS, 1 + 2 * number, front + BLOCK)) == []
    assert len(wire.served.started) == 3
    wire.close()
    check("c:HPACK", lambda wire: wire.send(raw_frame(HEADERS, END_HEADERS, STREAM_ID, BLOCK + b"\x20")))
