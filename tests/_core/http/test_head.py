"""One HTTP request before its body: what its request line and its fields mean, and which of them are rejected."""

from __future__ import annotations

import time

import pytest
from native_access import head_of

from inferd._core.http.response import status_of
from inferd.errors import RequestError

INFER = "/v2/models/m/infer"


@pytest.mark.parametrize(
    ("verb", "target", "found"),
    [
        ("POST", "/v2/models/m/infer", (b"m", b"")),
        ("POST", "/v2/models/m/versions/3/infer", (b"m", b"3")),
        ("POST", "/v2/models/m/infer?x=/v2", (b"m", b"")),
        ("POST", "/v2/models/a%20b%2Fc/versions/%33/infer", (b"a b/c", b"3")),
        ("POST", "/v2/models/infer/infer", (b"infer", b"")),
        ("POST", "/v2/models/m/versions/infer/infer", (b"m", b"infer")),
        ("GET", "/v2/models/m/infer", None),
        ("POST", "/v2/models/infer", None),
        ("POST", "/v2/models//infer", None),
        ("POST", "/v2/models/m/versions//infer", None),
        ("POST", "/v2/models/m/versions/infer", None),
        ("POST", "/v2/models/m/versions/1/2/infer", None),
        ("POST", "/v2/models/m/other/1/infer", None),
        ("POST", "/v2/models/m/infer/", None),
        ("POST", "/v2/models/m/inferx", None),
        ("POST", "/V2/models/m/infer", None),
        ("POST", "/infer", None),
    ],
)
def test_address_of_an_inference(verb: str, target: str, found: tuple[bytes, bytes] | None) -> None:
    head = head_of(verb, target)
    assert (head.is_infer, head.model_name, head.model_version) == (found is not None, *(found or (b"", b"")))


def test_request_line() -> None:
    head = head_of("PUT", "/a/b?c=d?e")
    assert (head.verb_name, head.target, head.path, head.query) == (b"PUT", b"/a/b?c=d?e", b"/a/b", b"c=d?e")
    assert (head_of("GET", "/a").query, head_of("OPTIONS", "*").path) == (b"", b"*")


@pytest.mark.parametrize("target", ["", "a", "*", "http://x/y", "x:443", "/a b", "/a\x00", "/\x7f", "/é", "/a#b"])
def test_target_that_is_no_path(target: str) -> None:
    with pytest.raises(RequestError, match="request target: expected") as caught:
        head_of("GET", target)
    assert status_of(caught.value) == 400


@pytest.mark.parametrize("name", ["%", "%4", "%4x", "%x4", "a%"])
def test_percent_without_digits(name: str) -> None:
    with pytest.raises(RequestError, match="two hexadecimal digits"):
        head_of("POST", f"/v2/models/{name}/infer")


def test_fields_in_any_case() -> None:
    head = head_of(
        "POST",
        INFER,
        [
            ("hOST", "h:1"),
            ("content-TYPE", "Multipart/Form-Data ; boundary=X"),
            ("Content-Length", "0012"),
            ("Content-Encoding", "GZip"),
            ("Inference-Header-Content-Length", "7"),
            ("Authorization", "Bearer t"),
            ("Accept", "a/b"),
            ("Origin", "https://o"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "a"),
            ("X-Request-ID", "r"),
            ("traceparent", "00-1"),
            ("Expect", "100-Continue"),
            ("User-Agent", "x"),
        ],
    )
    assert (head.host, head.content_type, head.content_type_whole) == (
        b"h:1",
        b"multipart/form-data",
        b"Multipart/Form-Data ; boundary=X",
    )
    assert (head.content_nbytes, head.content_coding_name, head.json_nbytes) == (12, "gzip", 7)
    assert (head.authorization, head.accept, head.origin) == (b"Bearer t", b"a/b", b"https://o")
    assert head.access_control_request_method == b"POST"
    assert (head.request_id, head.traceparent, head.expects_continue) == (b"r", b"00-1", True)


def test_no_fields() -> None:
    head = head_of("GET", "/")
    assert (head.host, head.content_type, head.authorization, head.origin, head.request_id) == (None,) * 5
    assert (head.content_nbytes, head.json_nbytes, head.timeout_ns, head.expects_continue) == (-1, -1, -1, False)
    assert (head.content_coding_name, head.accept_coding_name) == ("identity", "identity")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"), ("deflate", "deflate"), ("deflate, gzip", "gzip"), ("gzip;q=0.5,deflate", "deflate"), ("GZIP ; Q=0.1", "gzip"),
        ("gzip;q=0", "identity"), ("gzip;q=0.000, deflate;q=0", "identity"), ("br, zstd, *", "identity"), ("", "identity"),
        ("gzip;q=1.5", "gzip"), ("gzip;q=x", "identity"), ("gzip;;", "gzip"), (",,deflate", "deflate"), ("gzipped", "identity"),
    ],
)  # fmt: skip
def test_coding_that_the_client_likes(accepted: str, coding: str) -> None:
    assert head_of("GET", "/", [("Accept-Encoding", accepted)]).accept_coding_name == coding


def test_deadline_is_the_smaller_timeout() -> None:
    fields = [("Inferd-Timeout-Ms", "250"), ("X-Envoy-Expected-Rq-Timeout-Ms", "200")]
    for both in (fields, fields[::-1]):
        head = head_of("GET", "/", both)
        assert head.timeout_ns == 200_000_000
        assert head.deadline_ns(5) == 200_000_005
    assert head_of("GET", "/", [("Inferd-Timeout-Ms", "9" * 18)]).deadline_ns(time.monotonic_ns()) > time.monotonic_ns()  # no overflow


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Content-Length", "+5", 400), ("Content-Length", "-5", 400), ("Content-Length", "5,5", 400), ("Content-Length", "", 400),
        ("Content-Length", "5 ", 400), ("Content-Length", "0x5", 400), ("Content-Length", "1" * 19, 400), ("Content-Length", "\xb2", 400),
        ("Inference-Header-Content-Length", "x", 400), ("Inferd-Timeout-Ms", "1.5", 400), ("Expect", "200-ok", 417),
        ("Content-Encoding", "br", 415), ("Content-Encoding", "gzip, gzip", 415), ("Host", "a\nb", 400), ("X-Request-Id", "a\0", 400),
    ],
)  # fmt: skip
def test_wrong_field(name: str, value: str, status: int) -> None:
    with pytest.raises(RequestError, match=f"header {name}: expected") as caught:
        head_of("POST", INFER, [(name, value)])
    assert status_of(caught.value) == status


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Content-Type", "Content-Encoding", "Inferd-Timeout-Ms", "Origin", "Expect"])
def test_field_that_comes_twice(name: str) -> None:
    value = {"Content-Encoding": "gzip", "Expect": "100-continue"}.get(name, "5")
    with pytest.raises(RequestError, match=f"header {name}: expected it once"):
        head_of("POST", INFER, [(name, value), (name.upper(), value)])


def test_fields_that_may_come_twice() -> None:
    twice = [("Authorization", "Bearer a"), ("Accept", "a"), ("Accept-Encoding", "br"), ("Access-Control-Request-Headers", "a")]
    head = head_of("GET", "/", [*twice, ("Authorization", "Bearer b"), ("Accept", "b"), ("Accept-Encoding", "gzip")])
    assert (head.authorization, head.accept, head.accept_coding_name) == (b", ", b"a", "gzip")


def test_fields_that_proxies_add() -> None:
    fields = [("X-Request-Id", "1"), ("traceparent", "00-1"), ("X-Envoy-Expected-Rq-Timeout-Ms", "9")]
    head = head_of("GET", "/", [*fields, ("X-Request-Id", "2"), ("traceparent", "00-2"), ("X-Envoy-Expected-Rq-Timeout-Ms", "8")])
    assert (head.request_id, head.traceparent, head.timeout_ns) == (b"1", None, 8_000_000)


def test_first_error_counts() -> None:
    with pytest.raises(RequestError, match="Content-Length"):
        head_of("POST", INFER, [("Content-Length", "x"), ("Expect", "y")])


def test_json_longer_than_the_body() -> None:
    fields = [("Content-Length", "10"), ("Inference-Header-Content-Length", "11")]
    with pytest.raises(RequestError, match="expected at most the length of the body, 10, got 11"):
        head_of("POST", INFER, fields)
    assert head_of("POST", INFER, [*fields, ("Content-Encoding", "gzip")]).json_nbytes == 11  # of the decompressed body


def test_long_request_id_is_not_repeated() -> None:
    assert head_of("GET", "/", [("X-Request-Id", "x" * 257)]).request_id is None
