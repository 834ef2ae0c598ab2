"""How long a connection lasts: who is asked whether it is there, who is told to leave, and who is cut off. The clock is a number."""

from __future__ import annotations

import h2.events
from h2.connection import ConnectionState

from inferd._core.http2.stream import Http2Call
from tests._core.http2.test_session import raw_frame
from tests._core.http2_client import STREAM, Client, Served, frame
from tests._core.net.test_stall_policy import S

OK = (0, "")
HIGHEST_STREAM = 2**31 - 1


def echo(call: Http2Call) -> None:
    call.reply(call.message)


class Watched(Client):
    """A client that notes PINGs, and is deaf where it is told."""

    def __init__(self, served: Served, *, max_age_s: int = 0) -> None:
        self.pinged = 0
        super().__init__(served, max_age_ns=max_age_s * S)

    def take(self, event: h2.events.Event) -> None:
        self.pinged += isinstance(event, h2.events.PingReceived)
        super().take(event)
        if isinstance(event, h2.events.ConnectionTerminated):
            self.h2.state_machine.state = ConnectionState.CLIENT_OPEN  # for h2 the first GOAWAY ends all

    def look(self, now_s: float, *, waiting_nbytes: int = 0, deaf: bool = False) -> bool:
        cut = self.connection.take_keepalive_step(int(now_s * S), waiting_nbytes)
        if deaf:
            self.served.run_scheduled()
        else:
            self.exchange()
        return cut


# ---- keepalive


def kept(**limits: int) -> Watched:
    return Watched(Served(echo, keepalive_ns=60 * S, keepalive_timeout_ns=20 * S, **limits))


def test_a_silent_client_is_asked_and_stays_when_it_answers() -> None:
    client = kept()
    for now_s, pinged in ((0, 0), (59, 0), (60, 1), (61, 1), (120, 1), (121, 2), (122, 2), (182, 3)):
        assert not client.look(now_s)
        assert client.pinged == pinged, now_s
    assert client.served.server.totals["dead"] == 0
    assert client.status(client.call(b"still here")) == OK


def test_a_client_that_does_not_answer_is_cut_off() -> None:
    client = kept()
    client.look(0)
    assert [client.look(now_s, deaf=True) for now_s in (60, 70, 79)] == [False] * 3
    assert client.served.server.totals["dead"] == 0
    assert client.look(80, deaf=True)
    assert client.served.server.totals["dead"] == 1


def test_terms_that_change_count_for_open_connections() -> None:
    client = kept()
    client.look(0)
    client.served.server.set_keepalive(0, 10 * S, 5 * S, 0, 0)
    assert [client.look(now_s, deaf=True) for now_s in (9, 10, 14)] == [False] * 3
    assert client.look(15, deaf=True)
    client = kept()
    client.look(0)
    client.served.server.set_keepalive(0, 0, 20 * S, 30 * S, 0)
    client.look(59)
    assert client.pinged == 0
    assert client.served.server.totals["idle"] == 1


def test_without_a_timeout_a_ping_waits_for_ever() -> None:
    """So it is in a drain, which has limits of its own."""
    client = kept()
    client.look(0)
    client.look(60, deaf=True)
    client.served.server.set_keepalive(0, 0, 0, 0, 0)
    assert not client.look(10_000, deaf=True)


def test_anything_that_comes_is_an_answer() -> None:
    client = kept()
    client.look(0)
    client.look(60, deaf=True)
    client.connection.receive(raw_frame(0xFE, 0, 0, b"of a type that nobody knows"))
    assert not client.look(80, deaf=True)
    assert not client.look(139, deaf=True)
    assert not client.look(140, deaf=True)
    assert client.look(160, deaf=True)


def test_a_client_that_speaks_is_not_asked() -> None:
    client = kept()
    for now_s in range(0, 600, 30):
        client.call(b"x")
        assert not client.look(now_s)
    assert client.pinged == 0


def test_a_call_that_waits_does_not_keep_a_dead_client() -> None:
    client = Watched(served := Served(keepalive_ns=60 * S, keepalive_timeout_ns=20 * S))
    client.call(b"x")
    assert [client.look(now_s, deaf=True) for now_s in (0, 60, 79, 80)] == [False, False, False, True]
    served.calls[0].cancel()


def test_a_client_that_does_not_read_is_not_asked() -> None:
    """The PING would wait behind what it does not take: that has a limit of its own."""
    client = kept()
    client.look(0)
    assert not client.look(100, waiting_nbytes=1, deaf=True)
    client.connection.pause_writing()
    assert not client.look(200, deaf=True)
    assert not client.look(1000, deaf=True)
    client.connection.resume_writing()
    client.look(1001)
    assert client.pinged == 1


def test_without_keepalive_nobody_is_asked() -> None:
    client = Watched(Served(echo))
    assert [client.look(now_s) for now_s in (0, 10_000, 1_000_000)] == [False] * 3
    assert client.pinged == 0


def test_before_the_preface_nothing_is_said() -> None:
    """Whoever speaks HTTP/1.1 would take it for garbage; the preface has a limit of its own."""
    client = Client(Served(keepalive_ns=S, max_idle_ns=S), greet=False)
    assert [client.connection.take_keepalive_step(now_s * S, 0) for now_s in (0, 10, 100)] == [False] * 3
    client.served.run_scheduled()
    assert client.written == []


# ---- age and idleness


def test_an_old_connection_leaves_in_two_steps_after_its_calls() -> None:
    client = Watched(served := Served(), max_age_s=100)
    client.look(0)
    first = client.call(b"under way")
    assert not client.look(99)
    assert client.goaways == []
    assert not client.look(100)
    assert [goaway.last_stream_id for goaway in client.goaways] == [HIGHEST_STREAM]
    second = client.call(b"was on its way")
    assert not client.look(101)
    assert [goaway.last_stream_id for goaway in client.goaways] == [HIGHEST_STREAM, second]
    assert not client.closed_by_server
    for call in served.calls:
        call.reply(b"answer")
    client.exchange()
    assert [client.status(stream_id) for stream_id in (first, second)] == [OK, OK]
    assert client.closed_by_server
    assert (served.server.totals["retired"], served.server.totals["overdue"], served.server.totals["idle"]) == (1, 0, 0)


def test_a_silent_stream_of_an_old_connection_has_its_grace_and_is_cut_off() -> None:
    client = Watched(served := Served(age_grace_ns=30 * S), max_age_s=100)
    stream_id = client.open(STREAM)
    client.send(stream_id, frame(b"watch"), end=False)
    assert served.started[0][0].take_message() is not None
    for now_s in (0, 1000):  # it is no stall, as it is in a drain
        assert not client.connection.end_late_calls(now_s * S, -1, S, S)
    assert [client.look(now_s) for now_s in (0, 100, 101, 129)] == [False] * 4
    assert client.look(130)
    assert served.server.totals["overdue"] == 1
    client.connection.close()


def test_without_a_grace_calls_take_as_long_as_they_take() -> None:
    client = Watched(served := Served(), max_age_s=100)
    stream_id = client.call(b"x")
    assert [client.look(now_s) for now_s in (0, 100, 101, 1_000_000)] == [False] * 4
    served.calls[0].reply(b"y")
    client.exchange()
    assert client.status(stream_id) == OK
    assert client.closed_by_server


def test_a_connection_without_calls_leaves() -> None:
    client = Watched(served := Served(echo, max_idle_ns=60 * S))
    client.look(0)
    client.call(b"between two looks")
    assert not client.look(50)
    assert not client.look(109)
    assert client.goaways == []
    assert not client.look(110)
    assert not client.look(111)
    assert [goaway.error_code for goaway in client.goaways] == [0, 0]
    assert client.closed_by_server
    assert (served.server.totals["idle"], served.server.totals["retired"]) == (1, 0)


def test_a_connection_with_a_call_is_not_idle() -> None:
    client = Watched(served := Served(max_idle_ns=60 * S))
    client.call(b"x")
    for now_s in (0, 100, 1000):
        assert not client.look(now_s)
    assert client.goaways == []
    served.calls[0].reply(b"y")
    client.exchange()
    assert not client.look(1059)
    assert client.goaways == []
    client.look(1060)
    assert len(client.goaways) == 1
    client.connection.close()
