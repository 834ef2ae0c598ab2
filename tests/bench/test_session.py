"""What a session does around a measurement."""

from __future__ import annotations

from typing import Any

from inferd.bench.generator import WORKER_DIED
from inferd.bench.measurement import ServerSide
from inferd.bench.session import Session
from tests.reports import measurement


class Reader:
    """Notes what it is told."""

    def after(self, *told: float, **named: float) -> ServerSide:
        self.told, self.named = told, named
        return ServerSide()


def test_the_server_is_asked_about_what_was_sent_and_what_was_answered() -> None:
    measured, reader = measurement(errors={"INTERNAL": 7}, sent=20_000, ended="interrupted"), Reader()
    any_session: Any = object.__new__(Session)
    any_session._look_after(reader, measured)
    assert reader.told == (20_000, measured.requests_per_second)
    assert reader.named == {"answered": measured.requests - 7, "hurried": True, "sent_more": False}


def test_what_a_worker_that_died_has_sent_is_not_known_to_be_all() -> None:
    measured, reader = measurement(sent=20_000, ended=WORKER_DIED), Reader()
    any_session: Any = object.__new__(Session)
    any_session._look_after(reader, measured)
    assert reader.named["sent_more"]
