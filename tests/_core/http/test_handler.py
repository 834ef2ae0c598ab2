"""HttpService: which handler a request goes to, and which pages may read its response."""

from __future__ import annotations

from typing import Any

import pytest

from inferd._core.grpc.call import Call
from inferd._core.http.handler import HttpHandler, HttpService
from inferd._core.http.head import Head
from inferd.errors import NotFound

INFER, OTHER = Head.of("POST", "/v2/models/m/infer"), Head.of("GET", "/v2/health/live")


def test_inferences_and_others_have_handlers() -> None:
    taken: list[Any] = []
    service = HttpService(lambda call, head: taken.append(("infer", call, head)), lambda call, head: taken.append(("other", call, head)))
    call = Call()
    service(call, INFER)
    service(call, OTHER)
    assert taken == [("infer", call, INFER), ("other", call, OTHER)]
    service.check(call, OTHER)
    assert len(taken) == 2


def test_request_is_rejected_before_its_body() -> None:
    def admits(call: Call, head: Head) -> None:
        raise NotFound("no such path")

    service = HttpService(print, print, admits=admits)
    service.check(Call(), INFER)  # the inference's handler has its own say
    with pytest.raises(NotFound):
        service.check(Call(), OTHER)


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        ((), None),
        ((b"*",), ((b"access-control-allow-origin", b"*"),)),
        ((b"https://a", b"https://b"), ((b"access-control-allow-origin", b"https://a"), (b"vary", b"origin"))),
        ((b"https://b",), ((b"vary", b"origin"),)),
    ],
)
def test_pages_that_may_read_the_response(origins: tuple[bytes, ...], allowed: Any) -> None:
    head = Head.of("POST", "/v2/models/m/infer", [("Origin", "https://a")])
    service = HttpService(print, print, origins)
    service.check(Call(), head)
    assert head.response_headers == allowed
    service.check(Call(), INFER)
    assert INFER.response_headers is None


def test_handler_without_take() -> None:
    with pytest.raises(NotImplementedError):
        HttpHandler()(Call(), OTHER)
