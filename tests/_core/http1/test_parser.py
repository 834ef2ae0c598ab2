"""Requests of HTTP/1.1 out of bytes. The table of tricks is the specification: each row is how a proxy in front and a server behind it may
come to read the same bytes as different requests, or how one client may hold or cost too much."""

from __future__ import annotations

import socket
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd._core.grpc import message
from inferd._core.http.head import Head
from inferd._core.http.response import status_of
from inferd._core.http1.parser import Parser
from inferd.errors import RequestError

MAX_HEADER_NBYTES = 4096
MAX_BODY_NBYTES = 100_000
LENGTH, CHUNKED = b"Content-Length: 5", b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def request(*fields: bytes, line: bytes = b"POST /x HTTP/1.1", body: bytes = b"", host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join([line, *filter(None, [host]), *fields, b"", body])


def chunked(body: bytes) -> bytes:
    return request(CHUNKED, body=body)


def parsed(*pieces: bytes) -> tuple[list[tuple[Head, bytes]], RequestError | None]:
    """The requests in these bytes, and the error that ended them."""
    parser = Parser(MAX_HEADER_NBYTES, MAX_BODY_NBYTES)
    found: list[tuple[Head, bytes]] = []
    try:
        for piece in pieces:
            parser.receive(piece, found)
    except RequestError as error:
        return found, error
    return found, None


def summary(*pieces: bytes) -> tuple[list[tuple[bytes, bytes, bytes, bool]], str]:
    found, error = parsed(*pieces)
    return [(head.verb_name, head.target, body, head.keep_alive) for head, body in found], str(error)


RIGHT: dict[str, tuple[bytes, bytes]] = {  # bytes, and the body that they hold
    "length": (request(LENGTH, body=b"hello"), b"hello"),
    "no body": (request(), b""),
    "length 0": (request(b"Content-Length: 0"), b""),
    "zeros in front": (request(b"Content-Length: 0005", body=b"hello"), b"hello"),
    "chunks": (chunked(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), b"hello"),
    "no chunks": (chunked(b"0\r\n\r\n"), b""),
    "upper case": (request(b"TRANSFER-ENCODING: CHUNKED", body=b"A\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    "extensions": (chunked(b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'), b"hello"),
    "trailers": (chunked(CHUNKS[:-2] + b"X: y\r\nConnection: close\r\nHost: b\r\nContent-Encoding: br\r\n\r\n"), b"hello"),
    "body of GET": (request(LENGTH, line=b"GET /x HTTP/1.1", body=b"hello"), b"hello"),
    "upgrade": (request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA", LENGTH, body=b"hello"), b"hello"),
    "upgrade, chunks": (request(b"Connection: Upgrade", b"Upgrade: websocket", CHUNKED, body=CHUNKS), b"hello"),
    "upgrade, no body": (request(b"Connection: Upgrade", b"Upgrade: h2c"), b""),
    "expect": (request(b"Expect: 100-continue", LENGTH, body=b"hello"), b"hello"),
    "empty line in front": (b"\r\n" + request(LENGTH, body=b"hello"), b"hello"),
    "8-bit value": (request(b"X: \xff\x80", LENGTH, body=b"hello"), b"hello"),
    "spaces around a value": (request(b"X:   a  ", b"Content-Length:  5 ", body=b"hello"), b"hello"),
    "old keep-alive": (request(b"Connection: Keep-Alive", LENGTH, line=b"POST /x HTTP/1.0", host=b"", body=b"hello"), b"hello"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_requests_one_behind_the_other(name: str) -> None:
    source, body = RIGHT[name]
    found, error = parsed(source + source)
    assert error is None
    assert [each for _, each in found] == [body, body]
    assert all(head.keep_alive for head, _ in found)


WRONG: dict[str, tuple[bytes, int]] = {  # bytes, and the status of the response, after which the connection ends
    # How long the body is.
    "two lengths": (request(LENGTH, b"Content-Length: 6", body=b"hello"), 400),
    "twice the same length": (request(LENGTH, LENGTH, body=b"hello"), 400),
    "list of lengths": (request(b"Content-Length: 5, 5", body=b"hello"), 400),
    "length, then chunks": (request(LENGTH, CHUNKED, body=CHUNKS), 400),
    "chunks, then length": (request(CHUNKED, LENGTH, body=CHUNKS), 400),
    "length with +": (request(b"Content-Length: +5", body=b"hello"), 400),
    "length with -": (request(b"Content-Length: -5", body=b"hello"), 400),
    "hexadecimal length": (request(b"Content-Length: 0x5", body=b"hello"), 400),
    "length of two words": (request(b"Content-Length: 5 5", body=b"hello"), 400),
    "length without digits": (request(b"Content-Length:", body=b"hello"), 400),
    "length beyond 64 bits": (request(b"Content-Length: 18446744073709551621", body=b"hello"), 400),
    "length beyond a double": (request(b"Content-Length: 1e1", body=b"hello"), 400),
    "length behind a vertical tab": (request(b"Content-Length:\x0b5", body=b"hello"), 400),
    "space before the colon": (request(b"Content-Length : 5", body=b"hello"), 400),
    "tab before the colon": (request(b"Transfer-Encoding\t: chunked", body=CHUNKS), 400),
    "xchunked": (request(b"Transfer-Encoding: xchunked", body=CHUNKS), 501),
    "chunked, identity": (request(b"Transfer-Encoding: chunked, identity", body=CHUNKS), 400),
    "identity, chunked": (request(b"Transfer-Encoding: identity, chunked", body=CHUNKS), 501),
    "gzip, chunked": (request(b"Transfer-Encoding: gzip, chunked", body=CHUNKS), 501),
    "identity": (request(b"Transfer-Encoding: identity", body=CHUNKS), 501),
    "identity with a length": (request(b"Transfer-Encoding: identity", LENGTH, body=b"hello"), 400),
    "empty coding": (request(b"Transfer-Encoding:", LENGTH, body=b"hello"), 501),
    "comma in front": (request(b"Transfer-Encoding: ,chunked", body=CHUNKS), 501),
    "comma behind": (request(b"Transfer-Encoding: chunked,", body=CHUNKS), 400),
    "quoted coding": (request(b'Transfer-Encoding: "chunked"', body=CHUNKS), 501),
    "parameter of the coding": (request(b"Transfer-Encoding: chunked;q=1", body=CHUNKS), 501),
    "coding twice": (request(CHUNKED, CHUNKED, body=CHUNKS), 400),
    "coding and identity": (request(CHUNKED, b"Transfer-Encoding: identity", body=CHUNKS), 400),
    "identity and coding": (request(b"Transfer-Encoding: identity", CHUNKED, body=CHUNKS), 501),
    "vertical tab before the coding": (request(b"Transfer-Encoding: \x0bchunked", body=CHUNKS), 400),
    "no-break space behind the coding": (request(b"Transfer-Encoding: chunked\xa0", body=CHUNKS), 501),
    "coding on a second line": (request(b"Transfer-Encoding:\r\n chunked", body=CHUNKS), 400),
    "chunks of HTTP/1.0": (request(CHUNKED, line=b"POST /x HTTP/1.0", body=CHUNKS), 400),
    # Lines.
    "bare LF behind the request line": (b"GET /x HTTP/1.1\nHost: a\r\n\r\n", 505),
    "bare LF behind a field": (b"GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "bare LF at the end": (b"GET /x HTTP/1.1\r\nHost: a\r\n\n", 400),
    "bare CR in a value": (b"GET /x HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    "CR CR LF": (b"GET /x HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
    "CR without LF at the end": (b"GET /x HTTP/1.1\r\nHost: a\r\n\rGET /y HTTP/1.1\r\n\r\n", 400),
    "folded line": (request(b"X: a\r\n b"), 400),
    "folded by a tab": (request(b"X: a\r\n\tb"), 400),
    "space before the first field": (b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "two empty lines in front": (b"\r\n\r\n" + request(), 400),
    "LF in front": (b"\n" + request(), 400),
    "CR in front": (b"\r" + request(), 400),
    "space in front": (b" " + request(), 400),
    "NUL in a value": (request(b"X: a\0b"), 400),
    "NUL in a name": (request(b"X\0: a"), 400),
    "control character in a value": (request(b"X: \x01"), 400),
    "DEL in a value": (request(b"X: \x7f"), 400),
    "no name": (request(b": a"), 400),
    "no colon": (request(b"abc"), 400),
    "parenthesis in a name": (request(b"a(b: c"), 400),
    # Chunks.
    "size with +": (chunked(b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    "size with -": (chunked(b"-5\r\nhello\r\n0\r\n\r\n"), 400),
    "size with 0x": (chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "space before a size": (chunked(b" 5\r\nhello\r\n0\r\n\r\n"), 400),
    "space behind a size": (chunked(b"5 \r\nhello\r\n0\r\n\r\n"), 400),
    "space before an extension": (chunked(b"5 ;a\r\nhello\r\n0\r\n\r\n"), 400),
    "size beyond 64 bits": (chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), 400),
    "size without digits": (chunked(b"\r\nhello\r\n0\r\n\r\n"), 400),
    "LF behind a size": (chunked(b"5\nhello\r\n0\r\n\r\n"), 400),
    "LF behind a chunk": (chunked(b"5\r\nhello\n0\r\n\r\n"), 400),
    "bytes behind a chunk": (chunked(b"5\r\nhelloXX0\r\n\r\n"), 400),
    "LF behind the last size": (chunked(b"5\r\nhello\r\n0\n\r\n"), 400),
    "LF at the very end": (chunked(b"5\r\nhello\r\n0\r\n\n"), 400),
    "LF in an extension": (chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
    "CR in an extension": (chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400),
    "line end in a quoted extension": (chunked(b'5;a="x\r\ny"\r\nhello\r\n0\r\n\r\n'), 400),
    "extension of megabytes": (chunked(b"5;a=" + b"x" * 2_000_000 + b"\r\nhello\r\n0\r\n\r\n"), 400),
    "megabytes of zeros in a size": (chunked(b"0" * 2_000_000 + b"5\r\nhello\r\n0\r\n\r\n"), 400),
    "trailers of megabytes": (chunked(b"0\r\n" + b"X: y\r\n" * 400_000 + b"\r\n"), 400),
    "length among the trailers": (chunked(b"0\r\nContent-Length: 5\r\n\r\nhello"), 400),
    "coding among the trailers": (chunked(b"0\r\nTransfer-Encoding: x\r\n\r\n"), 400),
    "folded trailer": (chunked(b"0\r\nX: y\r\n z\r\n\r\n"), 400),
    # Where the request goes.
    "no host": (request(host=b""), 400),
    "two hosts": (request(b"Host: a"), 400),
    "two hosts that differ": (request(b"host: b"), 400),
    "host of two words": (request(host=b"Host: a b"), 400),
    "host with a user": (request(host=b"Host: a@b"), 400),
    "host with a path": (request(host=b"Host: a/b"), 400),
    "absolute target of another host": (request(line=b"GET http://b/x HTTP/1.1"), 400),
    "absolute target of another scheme": (request(line=b"GET ftp://a/x HTTP/1.1"), 400),
    "authority as the target": (request(line=b"GET a:80 HTTP/1.1"), 400),
    "CONNECT": (request(line=b"CONNECT a:80 HTTP/1.1"), 400),
    "* of GET": (request(line=b"GET * HTTP/1.1"), 400),
    "space in the target": (request(line=b"GET /a b HTTP/1.1"), 505),
    "8 bits in the target": (request(line=b"GET /\xe9 HTTP/1.1"), 400),
    "NUL in the target": (request(line=b"GET /\0 HTTP/1.1"), 400),
    "fragment": (request(line=b"GET /#a HTTP/1.1"), 400),
    # Versions and methods.
    "HTTP/0.9": (b"GET /x\r\n", 505),
    "HTTP/0.9 with a URL": (b"GET http://a\r\n\r\n", 505),
    "HTTP/0.9 with CR": (b"GET /x,\r\r\n", 505),
    "HTTP/0.9 with half a scheme": (b"GET http\n", 400),
    "HTTP/0.9 with fields": (b"GET /x\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 505),
    "HTTP/0.9 by name": (request(line=b"GET /x HTTP/0.9"), 505),
    "HTTP/1.2": (request(line=b"GET /x HTTP/1.2"), 505),
    "HTTP/1.10": (request(line=b"GET /x HTTP/1.10"), 505),
    "HTTP/2.0": (request(line=b"GET /x HTTP/2.0"), 505),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "http/1.1": (request(line=b"GET /x http/1.1"), 505),
    "ICE": (request(line=b"SOURCE /x ICE/1.0"), 505),
    "RTSP": (request(line=b"OPTIONS /x RTSP/1.0"), 505),
    "two spaces behind the method": (request(line=b"GET  /x HTTP/1.1"), 505),
    "two spaces behind the target": (request(line=b"GET /x  HTTP/1.1"), 505),
    "space behind the version": (request(line=b"GET /x HTTP/1.1 "), 505),
    "tabs": (request(line=b"GET\t/x\tHTTP/1.1"), 400),
    "lower case method": (request(line=b"get /x HTTP/1.1"), 400),
    "unknown method": (request(line=b"FOO /x HTTP/1.1"), 400),
    "parenthesis in the method": (request(line=b"GE(T /x HTTP/1.1"), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    # Sizes, and fields of any HTTP.
    "long head": (request(b"X: " + b"y" * MAX_HEADER_NBYTES), 431),
    "long head without an end": (request(b"X: " + b"y" * 1_000_000)[:-4], 431),
    "many fields": (request(*[b"a: b"] * 1000), 431),
    "long body": (request(b"Content-Length: %d" % (MAX_BODY_NBYTES + 1)), 413),
    "long body of chunks": (chunked(b"%x\r\n" % (MAX_BODY_NBYTES + 1) + bytes(MAX_BODY_NBYTES + 1) + b"\r\n0\r\n\r\n"), 413),
    "chunk of more than the limit": (chunked(b"ffffffffffffffff\r\n"), 413),
    "chunk of more than is left": (chunked(b"5\r\nhello\r\n%x\r\n" % (MAX_BODY_NBYTES - 4)), 413),
    "expectation": (request(b"Expect: x", LENGTH, body=b"hello"), 417),
    "coding of the content": (request(b"Content-Encoding: br", LENGTH, body=b"hello"), 415),
}


@pytest.mark.parametrize("name", WRONG)
def test_trick(name: str) -> None:
    source, status = WRONG[name]
    found, error = parsed(request() + source + request())  # a request behind it is never read
    assert len(found) == 1
    assert error is not None
    assert status_of(error) == status
    assert "expected" in str(error)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("length, then chunks", "expected one of Content-Length and Transfer-Encoding"),
        ("chunks, then length", "expected one of Content-Length and Transfer-Encoding"),
        ("identity with a length", "expected one of Content-Length and Transfer-Encoding"),
        ("twice the same length", "header Content-Length: expected it once (llhttp: "),
        ("gzip, chunked", "got 'gzip, chunked'; send chunks"),
        ("length with +", "expected one number of digits (llhttp: "),
        ("host of two words", "got 'a b'"),
        ("NUL in a name", "on one line (llhttp: "),
        ("size with 0x", "hexadecimal digits (llhttp: "),
        ("fragment", "got byte 0x23; percent-encode it"),
        ("expectation", "got 'x'; leave it out"),
        ("TLS", "got a TLS handshake; this port speaks without TLS: use http://"),
    ],
)
def test_rejection_says_what_came(name: str, words: str) -> None:
    _, error = parsed(WRONG[name][0])
    assert words in str(error)


@pytest.mark.parametrize("name", [name for name, (source, _) in WRONG.items() if len(source) <= 2_000] + list(RIGHT))
def test_splits_change_nothing(name: str) -> None:
    """At every byte boundary, and one byte at a time."""
    source = (WRONG | RIGHT)[name][0] + request(LENGTH, body=b"again")  # type: ignore[operator]
    whole = summary(source)
    assert summary(*(source[at : at + 1] for at in range(len(source)))) == whole
    for at in range(1, len(source)):
        assert summary(source[:at], source[at:]) == whole


@settings(max_examples=60)
@given(st.data())
def test_many_pieces_change_nothing(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(RIGHT)), min_size=1, max_size=4))
    source = b"".join(RIGHT[name][0] for name in names)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(source) - 1), max_size=8)))
    pieces = [source[begin:end] for begin, end in pairwise([0, *cuts, len(source)])]
    assert summary(*pieces) == summary(source)


@pytest.mark.parametrize(
    ("line", "fields", "stays"),
    [
        (b"GET /x HTTP/1.1", [], True),
        (b"GET /x HTTP/1.1", [b"Connection: close"], False),
        (b"GET /x HTTP/1.1", [b"Connection: Foo, CLOSE"], False),
        (b"GET /x HTTP/1.1", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"GET /x HTTP/1.1", [b"Connection: closed"], True),
        (b"GET /x HTTP/1.0", [], False),
        (b"GET /x HTTP/1.0", [b"Connection: keep-alive"], True),
        (b"GET /x HTTP/1.0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_connection_stays_open(line: bytes, fields: list[bytes], stays: bool) -> None:
    [(head, _)], _ = parsed(request(*fields, line=line))
    assert head.keep_alive is stays


@pytest.mark.parametrize(
    ("target", "path"), [(b"http://a/x?y", b"/x?y"), (b"HTTPS://A/", b"/"), (b"http://a", b"/"), (b"/a//b/../c", b"/a//b/../c")]
)
def test_target(target: bytes, path: bytes) -> None:
    [(head, _)], _ = parsed(request(line=b"GET " + target + b" HTTP/1.1"))
    assert head.target == path


def test_the_same_head_again() -> None:
    """It is not parsed again, and is a Head of its own; a head that differs in one byte is parsed."""
    source = request(
        b"Inferd-Timeout-Ms: 1000", b"X-Request-Id: 1", b"Connection: keep-alive", LENGTH, line=b"POST /x HTTP/1.0", body=b"hello"
    )
    parser, found = Parser(MAX_HEADER_NBYTES, MAX_BODY_NBYTES), list[tuple[Head, bytes]]()
    parser.receive(source, found)
    first = found[0][0]
    first.response_json_nbytes, first.response_headers, first.max_body_nbytes = 5, (), 1
    parser.receive(source + source.replace(b"Id: 1", b"Id: 2") + source, found)
    heads = [head for head, _ in found]
    assert [head.request_id for head in heads] == [b"1", b"1", b"2", b"1"]
    names = [name for name in dir(first) if not name.startswith("_") and name not in ("of", "deadline_ns")]
    wanted = {name: getattr(parsed(source)[0][0][0], name) for name in names}
    assert {name: getattr(heads[1], name) for name in names} == wanted
    assert heads[1].deadline_ns(5) == first.deadline_ns(5) == 10**9 + 5
    assert [body for _, body in found] == [b"hello"] * 4


def test_methods() -> None:
    for name in (b"GET", b"HEAD", b"POST", b"OPTIONS", b"PUT", b"DELETE", b"M-SEARCH"):
        [(head, _)], _ = parsed(request(line=name + b" /x HTTP/1.1"))
        assert head.verb_name == name


def test_long_bodies_of_both_kinds() -> None:
    body = bytes(range(256)) * 300
    ends = [*range(0, len(body), 1000), len(body)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (end - begin, body[begin:end]) for begin, end in pairwise(ends)) + b"0\r\n\r\n"
    source = chunked(chunks) + request(b"Content-Length: %d" % len(body), body=body)
    for step in (777, 4096, len(source)):
        found, error = parsed(*(source[at : at + step] for at in range(0, len(source), step)))
        assert error is None
        assert [each == body for _, each in found] == [True, True]


def test_what_a_body_lacks() -> None:
    """By it, a connection decides how much to read."""
    for source, lacks in (
        (request(b"Content-Length: 9000", body=b"x"), 8999),
        (chunked(b"1000\r\nx"), 4095),
        (chunked(b"4\r\nfour\r\n10"), 16),
        (chunked(b"%x\r\n" % MAX_BODY_NBYTES), MAX_BODY_NBYTES),
        (chunked(CHUNKS), 0),
    ):
        parser = Parser(MAX_HEADER_NBYTES, MAX_BODY_NBYTES)
        parser.receive(source, [])
        assert parser.missing_nbytes == lacks


def test_memory_is_charged_as_bytes_come() -> None:
    parser, found = Parser(MAX_HEADER_NBYTES, 1 << 30), list[tuple[Head, bytes]]()
    before = message.in_use()
    parser.receive(request(b"Content-Length: %d" % (1 << 30), body=bytes(1000)), found)
    assert message.in_use() - before <= 8192
    del parser
    assert message.in_use() == before


def test_error_frees_what_came() -> None:
    parser, found = Parser(MAX_HEADER_NBYTES, MAX_BODY_NBYTES), list[tuple[Head, bytes]]()
    before = message.in_use()
    with pytest.raises(RequestError):
        parser.receive(chunked(b"5\r\nhelloXX"), found)
    assert (message.in_use(), parser.body) == (before, None)


def test_request_of_a_real_client() -> None:
    """Python's http.client sends it, in chunks."""
    import http.client
    import threading

    listener = socket.create_server(("127.0.0.1", 0))
    client = http.client.HTTPConnection(*listener.getsockname()[:2], timeout=10)
    sending = threading.Thread(target=client.request, args=("POST", "/v2/models/m/infer", iter([b"hel", b"lo"])))
    sending.start()
    accepted, _ = listener.accept()
    parser, found = Parser(MAX_HEADER_NBYTES, MAX_BODY_NBYTES), list[tuple[Head, bytes]]()
    while not found:
        parser.receive(accepted.recv(4096), found)
    sending.join()
    for each in (client, accepted, listener):
        each.close()
    [(head, body)] = found
    assert (head.is_infer, head.model_name, body) == (True, b"m", b"hello")
