"""HttpService: which handler a request goes to, and what is rejected before its body."""

from __future__ import annotations

from typing import Any

import pytest
from native_access import head_of, screen_and_admit

from inferd._core.grpc.call import Call
from inferd._core.http.handler import HttpHandler, HttpService
from inferd._core.http.head import Head
from inferd.errors import NotFound

INFER, OTHER = head_of("POST", "/v2/models/m/infer"), head_of("GET", "/v2/health/live")


def test_inferences_and_others_have_handlers() -> None:
    taken: list[Any] = []
    service = HttpService(lambda call, head: taken.append(("infer", call, head)), lambda call, head: taken.append(("other", call, head)))
    call = Call()
    service(call, INFER)
    service(call, OTHER)
    assert taken == [("infer", call, INFER), ("other", call, OTHER)]
    screen_and_admit(service, call, OTHER)
    assert len(taken) == 2


def test_request_is_rejected_before_its_body() -> None:
    asked: list[tuple[str, Head]] = []

    def admits(call: Call, head: Head) -> None:
        asked.append(("admit", head))
        raise NotFound("no such path")

    service = HttpService(print, print, lambda call, head: asked.append(("screen", head)), admits)
    screen_and_admit(service, Call(), INFER)  # the hot path does without both
    assert asked == []
    with pytest.raises(NotFound):
        screen_and_admit(service, Call(), OTHER)
    assert asked == [("screen", OTHER), ("admit", OTHER)]
    for field in ("Origin", "Accept-Language", "sec-fetch-site"):
        of_browser = head_of("POST", "/v2/models/m/infer", [(field, "https://a")])
        asked.clear()
        screen_and_admit(service, Call(), of_browser)
        assert asked == [("screen", of_browser)]


def test_handler_without_take() -> None:
    with pytest.raises(NotImplementedError):
        HttpHandler()(Call(), OTHER)
