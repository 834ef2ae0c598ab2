"""The response to an error: its status, headers and body, whichever HTTP carries it."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime

import pytest

from inferd import errors
from inferd._core.http.response import decompression_error, error_body, error_headers, http_date, reason_phrase, status_of

STATUSES = {
    "Cancelled": 499, "InvalidArgument": 400, "DeadlineExceeded": 504, "NotFound": 404, "PermissionDenied": 403, "ResourceExhausted": 429,
    "FailedPrecondition": 412, "Aborted": 503, "Unimplemented": 501, "Internal": 500, "Unavailable": 503, "Unauthenticated": 401,
}  # fmt: skip


def test_each_error_has_its_status() -> None:
    kinds = {name: kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), errors.RequestError)}
    del kinds["RequestError"]
    assert {name: status_of(kind("x")) for name, kind in kinds.items()} == STATUSES
    assert all(reason_phrase(status) for status in STATUSES.values())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ResourceExhausted("x", reason="message_size"), 413),
        (errors.ResourceExhausted("x", reason="header_size"), 431),
        (errors.Unimplemented("x", reason="media_type"), 415),
        (errors.DeadlineExceeded("x", reason="stalled"), 408),
        (errors.Internal("x", reason="compression"), 400),  # the client's bytes are no gzip
    ],
)
def test_reasons_with_a_status_of_their_own(error: errors.RequestError, status: int) -> None:
    assert status_of(error) == status


def test_texts_of_decompression_speak_of_http() -> None:
    bomb = errors.ResourceExhausted(
        "request message: expected less (max_message_bytes; less where a method needs less)", reason="message_size"
    )
    told = decompression_error(bomb, "gzip")
    assert (str(told), status_of(told)) == ("request body: expected less (max_message_bytes; less where a path needs less)", 413)
    told = decompression_error(errors.Internal("as grpc-encoding says", reason="compression"), "gzip")
    assert (str(told).startswith("request body: expected gzip, as Content-Encoding says, whole and in one piece"), status_of(told)) == (
        True,
        400,
    )
    late = errors.DeadlineExceeded("x")
    assert decompression_error(late, "gzip") is late


CLOCK_REALTIME_COARSE = 5  # of <time.h>: the clock of time(NULL), some milliseconds behind


def test_date_is_now() -> None:
    before = int(time.clock_gettime(CLOCK_REALTIME_COARSE))
    date = http_date().decode()
    assert before <= parsedate_to_datetime(date).timestamp() <= time.time()
    assert date.endswith(" GMT")


def test_body_is_json_whatever_the_text() -> None:
    for text in ('input "x": expected\n\x00é', "the same", "the same", "\udcff"):
        assert json.loads(error_body(errors.InvalidArgument(text))) == {"error": text, "code": "INVALID_ARGUMENT"}
    assert json.loads(error_body(errors.NotFound("the same"))) == {"error": "the same", "code": "NOT_FOUND"}


def test_headers() -> None:
    assert error_headers(errors.ResourceExhausted("x", retry_after_ns=1_000_000_001)) == (
        (b"retry-after", b"2"),
        (b"retry-after-ms", b"1001"),
    )
    assert error_headers(errors.ResourceExhausted("x", retry_after_ns=1)) == ((b"retry-after", b"1"), (b"retry-after-ms", b"1"))
    assert error_headers(errors.Unauthenticated("x")) == ((b"www-authenticate", b"Bearer"),)
    assert error_headers(errors.InvalidArgument("x")) == ()
