"""Clients that hold memory and do not move: which call ends, when the connection does, and who may be silent. The clock is a number."""

from __future__ import annotations

import gc
import time
from urllib.parse import unquote

import h2.errors
import h2.settings
import pytest

from inferd._core.grpc import message as pool
from inferd._core.http2.stream import Http2Call
from inferd.errors import Unavailable
from tests._core.http2.test_session import raw_frame
from tests._core.http2_client import (
    EMPTY_SETTINGS,
    INFER,
    PREFACE,
    STREAM,
    TASK_NBYTES,
    UNARY,
    Client,
    Served,
    drain,
    frame,
    in_memory,
    messages,
)

S = 10**9
LIMIT_NS = 60 * S
BLOCK_NS = 5 * S
LEAST_NBYTES = 60 * 1024  # what must move in that time


def echo(call: Http2Call) -> None:
    call.reply(call.message)


class Waiting:
    """What a call waits for: a request, or the task of a stream."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def look(client: Client, now_s: float, waiting_nbytes: int = 0) -> bool:
    acknowledged_nbytes = 10**9 - waiting_nbytes if waiting_nbytes else -1
    cut = client.connection.end_late_calls(int(now_s * S), acknowledged_nbytes, LIMIT_NS, LIMIT_NS)
    client.exchange()
    return cut


def stop_reading(client: Client, stream_nbytes: int | None = None) -> None:
    """From now on no window is opened; one of `stream_nbytes` is what each stream begins with."""
    client.reads = False
    if stream_nbytes is not None:
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: stream_nbytes})
        client.exchange()


# ---- requests that do not come


@pytest.mark.parametrize("path", [INFER, UNARY])
@pytest.mark.parametrize("body", [b"", b"\0\0", frame(bytes(100))[:50], frame(bytes(100))])
def test_a_unary_request_that_does_not_come_whole(path: str, body: bytes) -> None:
    """Headers alone count as well, and a message whose end of stream is missing."""
    gc.collect()
    before = pool.in_use()
    client = Client(served := Served(echo))
    stream_id = client.open(path)
    client.send(stream_id, body, end=False)
    assert not look(client, 1)
    assert not look(client, 60.9)
    assert stream_id not in client.headers
    assert not look(client, 61)
    code, text = client.status(stream_id)
    assert code == 4
    assert "60 s (stall_timeout_s)" in unquote(text)
    assert client.resets[stream_id] == h2.errors.ErrorCodes.NO_ERROR
    assert [error.reason for error in served.errors] == ["stalled"]  # type: ignore[attr-defined]
    assert (served.server.totals["stalled"], served.server.calls) == (1, 0)
    gc.collect()
    assert pool.in_use() == before
    assert client.status(client.call(b"the connection goes on")) == (0, "")


@pytest.mark.parametrize("path", [INFER, UNARY])
def test_the_deadline_of_a_request_that_is_not_whole_is_kept(path: str) -> None:
    client = Client(served := Served(echo))
    deadline_s = time.monotonic() + 30  # from the headers on, at the earliest
    stream_id = client.open(path, ("grpc-timeout", "30S"))
    client.send(stream_id, frame(bytes(100_000))[:50_000], end=False)
    assert not look(client, deadline_s - 1)
    assert stream_id not in client.headers
    assert not look(client, deadline_s + 20)
    assert client.status(stream_id) == (4, f"{path}: the deadline passed before the request was whole")
    assert (served.server.totals["stalled"], served.server.calls) == (0, 0)


def test_a_stream_without_a_first_message_ends() -> None:
    client = Client(served := Served())
    silent, asked = client.open(STREAM), client.open(STREAM)
    client.send(asked, frame(b"x"), end=False)
    assert [call.take_message() is None for call, _ in served.started] == [True, False]
    for now_s in (0, 60, 1000):
        assert not look(client, now_s)
    assert client.status(silent)[0] == 4
    assert asked not in client.headers


@pytest.mark.parametrize("said", [b"", PREFACE[:1], PREFACE])
def test_a_connection_that_does_not_say_what_it_speaks_is_cut_off(said: bytes) -> None:
    written: list[bytes] = []
    connection = in_memory(Served().server, written.append)
    if said:
        connection.receive(said)
    connection.flush()
    assert [connection.end_late_calls(int(now_s * S), -1, 60 * S, 60 * S) for now_s in (1, 60.9, 61)] == [False, False, True]
    connection.close()


def test_a_byte_a_second_is_no_progress() -> None:
    client = Client(Served(echo))
    stream_id = client.open()
    client.send(stream_id, frame(bytes(100_000))[:10], end=False)
    for second in range(61):
        client.send(stream_id, b"x", end=False)
        assert not look(client, second)
    assert client.status(stream_id)[0] == 4


def test_the_least_rate_is_progress() -> None:
    client = Client(Served(echo))
    stream_id = client.open()
    client.send(stream_id, frame(bytes(LEAST_NBYTES))[:5], end=False)
    for second in range(60):
        client.send(stream_id, bytes(1024), end=False)
        assert not look(client, second)
    client.send(stream_id, b"")
    assert messages(client.bodies[stream_id]) == [bytes(LEAST_NBYTES)]


def test_a_stalled_call_beside_one_that_moves() -> None:
    client = Client(Served(echo))
    still, moving = client.open(), client.open()
    client.send(moving, frame(bytes(65_000))[:5], end=False)
    for second in range(61):
        client.send(moving, bytes(1030), end=False)
        assert not look(client, second)
    assert client.status(still)[0] == 4
    client.send(moving, bytes(65_000 - 61 * 1030))
    assert client.status(moving) == (0, "")


# ---- large requests

RATE = 256 << 10  # min_message_rate_bytes
LARGE_NBYTES = 20 << 20


@pytest.mark.parametrize(("rate", "kept"), [(RATE, True), (RATE // 2, False)])
def test_a_large_request_must_come_faster(rate: int, kept: bool) -> None:
    client = Client(Served())
    stream_id = client.open()
    client.send(stream_id, frame(bytes(LARGE_NBYTES))[:5], end=False)
    for second in range(61):
        client.send(stream_id, bytes(rate), end=False)
        assert not look(client, second)
    assert (stream_id not in client.headers) == kept
    if not kept:
        assert f"{RATE} bytes of it a second" in unquote(client.status(stream_id)[1])
    client.connection.close()


def test_its_least_rate_is_a_setting() -> None:
    client = Client(Served(min_message_rate=1000, min_rate=10))
    large, small = client.open(), client.open()
    client.send(large, frame(bytes(LARGE_NBYTES))[:5], end=False)
    client.send(small, frame(bytes(10_000))[:5], end=False)
    for second in range(130):
        client.send(large, bytes(1000), end=False)
        client.send(small, bytes(10), end=False)
        assert not look(client, second)
    assert not client.headers
    client.connection.close()


def test_a_large_request_that_is_whole_but_for_its_end_must_end() -> None:
    client = Client(Served())
    stream_id = client.open()
    client.send(stream_id, frame(bytes(1 << 20)), end=False)
    assert not look(client, 0)
    assert not look(client, 60)
    assert client.status(stream_id)[0] == 4


def test_what_waits_behind_a_message_that_nobody_takes_is_no_progress() -> None:
    client = Client(served := Served())
    stream_id = client.open(STREAM)
    client.send(stream_id, frame(b"taken") + frame(b"x"), end=False)
    [(call, _)] = served.started
    assert call.take_message() is not None
    for second in range(61):
        client.send(stream_id, frame(bytes(2000)), end=False)
        assert not look(client, second)
    assert client.status(stream_id)[0] == 4


def test_the_memory_of_a_stalled_request_is_free_though_its_end_cannot_leave() -> None:
    before = pool.in_use()
    client = Client(Served(echo))
    client.send(client.open(), frame(bytes(100_000))[:50_000], end=False)
    client.connection.pause_writing()
    look(client, 0)
    assert pool.in_use() > before
    look(client, 60)
    gc.collect()
    assert pool.in_use() - before < 512, "what its end says"
    client.connection.close()
    assert pool.in_use() == before


def test_a_request_that_is_being_answered_waits_for_us() -> None:
    client = Client(served := Served())
    stream_id = client.call(b"x")
    for now_s in (0, 100, 1000):
        assert not look(client, now_s)
    served.calls[0].reply(b"y")
    client.exchange()
    assert client.status(stream_id) == (0, "")


def test_one_look_ends_all_calls_that_stall_or_are_late() -> None:
    client = Client(served := Served())
    late = [client.open(INFER, ("grpc-timeout", "30S")) for _ in range(100)]
    stalled = [client.open() for _ in range(100)]
    client.exchange()
    assert not look(client, time.monotonic() + 31)
    assert served.server.calls == 100
    assert {client.status(stream_id)[0] for stream_id in late} == {4}
    assert not look(client, time.monotonic() + 1000)
    assert (served.server.calls, served.server.totals["stalled"]) == (0, 100)
    assert {client.status(stream_id)[0] for stream_id in stalled} == {4}


def test_headers_without_an_end_cost_the_connection() -> None:
    """No other frame may come before they end: the connection is of no more use."""
    served = Served()
    connection = in_memory(served.server, lambda written: None)
    client = Client(served)
    client.open(end=False)
    block = client.h2.data_to_send()[9:]
    connection.receive(PREFACE + EMPTY_SETTINGS + raw_frame(1, 0, 1, block[:10]))
    assert connection.calls == 1
    assert not connection.end_late_calls(0, -1, LIMIT_NS, LIMIT_NS)
    assert not connection.end_late_calls(LIMIT_NS - 1, -1, LIMIT_NS, LIMIT_NS)
    assert connection.end_late_calls(LIMIT_NS, -1, LIMIT_NS, LIMIT_NS)
    connection.close()
    assert served.server.calls == 0
    client.connection.close()


# ---- streams


def stream(client: Client) -> tuple[int, Http2Call, Waiting]:
    stream_id = client.open(STREAM)
    client.exchange()
    call, _ = client.served.started[-1]
    call.work = task = Waiting()
    return stream_id, call, task


def test_a_stream_may_be_silent() -> None:
    client = Client(Served())
    stream_id, call, task = stream(client)
    client.send(stream_id, frame(b"watch"), end=False)
    assert call.take_message() is not None
    call.write(b"status")
    client.exchange()
    for now_s in (0, 100, 1000):
        assert not look(client, now_s)
    assert (call.settled, task.cancelled) == (False, 0)
    call.end()
    client.exchange()
    assert client.status(stream_id) == (0, "")


@pytest.mark.parametrize("body", [b"\0", frame(bytes(100))[:50]])
def test_a_stream_that_stops_within_a_message(body: bytes) -> None:
    client = Client(Served())
    stream_id, call, task = stream(client)
    client.send(stream_id, body, end=False)
    look(client, 0)
    look(client, 60)
    code, text = client.status(stream_id)
    assert (code, task.cancelled, call.settled) == (4, 1, True)
    assert "stall_timeout_s" in unquote(text)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("extra", [frame(b"one more"), frame(b"more") + bytes(50_000)])
def test_messages_that_a_stream_does_not_take(extra: bytes, end: bool) -> None:
    """Such as those behind the one that a Watch reads."""
    before = pool.in_use()
    client = Client(served := Served())
    stream_id, call, task = stream(client)
    client.send(stream_id, frame(b"watch"), end=False)
    call.take_message()
    client.send(stream_id, extra, end=end)
    look(client, 0)
    look(client, 60)
    code, text = client.status(stream_id)
    assert (code, task.cancelled) == (4, 1)
    assert "not asked for" in unquote(text)
    served.started.clear()
    del call
    gc.collect()
    assert pool.in_use() == before


def test_the_memory_of_a_streams_messages_is_free_though_its_end_cannot_leave() -> None:
    before = pool.in_use()
    client = Client(Served())
    stream_id, call, _ = stream(client)
    client.send(stream_id, frame(b"one") + frame(bytes(50_000)), end=False)
    assert pool.in_use() - before > 50_000
    client.connection.pause_writing()
    look(client, 0)
    look(client, 60)
    assert (call.settled, call.message) == (True, None)
    assert pool.in_use() - before - TASK_NBYTES < 512, "what its end says"


# ---- answers that are not read


def test_an_answer_that_is_not_read() -> None:
    """The window of its stream is shut: that call is reset, and others go on."""
    client = Client(served := Served(echo))
    stop_reading(client, 1000)
    still = client.call(bytes(100_000))
    assert not look(client, 0)
    moving = client.call(bytes(100_000))
    for second in range(1, 60):
        client.h2.increment_flow_control_window(1100, moving)
        client.h2.increment_flow_control_window(1, still)
        client.h2.increment_flow_control_window(1101)
        assert not look(client, second)
    assert (served.server.calls, pool.in_use() >= 2 * 100_000) == (2, True)
    assert not look(client, 60)
    assert client.resets == {still: h2.errors.ErrorCodes.CANCEL}
    assert not look(client, 60.5)
    assert (served.server.calls, served.server.totals["stalled"]) == (1, 1)
    client.h2.increment_flow_control_window(100_000, moving)
    client.h2.increment_flow_control_window(100_000)
    client.exchange()
    assert messages(client.bodies[moving]) == [bytes(100_000)]


def test_the_memory_of_an_answer_that_is_not_read_is_free() -> None:
    before = pool.in_use()
    client = Client(Served(echo))
    stop_reading(client, 1000)
    client.call(bytes(100_000))
    client.connection.pause_writing()
    look(client, 0)
    look(client, 60)
    gc.collect()
    assert pool.in_use() == before
    client.connection.resume_writing()
    client.exchange()
    assert client.resets == {1: h2.errors.ErrorCodes.CANCEL}
    assert client.connection.calls == 0


def test_a_stream_whose_messages_are_not_read() -> None:
    client = Client(Served())
    stop_reading(client, 1000)
    stream_id, call, task = stream(client)
    call.write(bytes(5000))
    client.exchange()
    look(client, 0)
    look(client, 60)
    assert (call.settled, task.cancelled, client.resets) == (True, 1, {stream_id: h2.errors.ErrorCodes.CANCEL})
    call.write(b"too late")
    call.end()
    client.exchange()


def test_a_connection_whose_answers_are_not_read() -> None:
    """The window that all streams share is shut: no call of them is to blame."""
    client = Client(Served(echo))
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
    client.exchange()
    stop_reading(client)
    for _ in range(3):
        client.call(bytes(50_000))
    assert not look(client, 0)
    for second in range(1, 60):
        client.h2.increment_flow_control_window(1)
        client.h2.ping(b"12345678")
        assert not look(client, second)
    assert look(client, 60)


def test_a_connection_that_reads_at_the_least_rate() -> None:
    """Calls whose turn has not come wait for the connection; they do not stall."""
    client = Client(Served(echo))
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
    client.exchange()
    stop_reading(client)
    streams = [client.call(bytes(100_000)) for _ in range(3)]
    for second in range(240):
        client.h2.increment_flow_control_window(1024)
        client.exchange()
        assert not look(client, second)
    assert not client.resets
    client.h2.increment_flow_control_window(1 << 20)
    client.exchange()
    assert [messages(client.bodies[stream_id]) for stream_id in streams] == [[bytes(100_000)]] * 3


def test_opening_and_shutting_windows_in_turn_is_no_progress() -> None:
    client = Client(Served(echo))
    stop_reading(client, 1 << 20)
    for _ in range(3):
        client.call(bytes(50_000))
    cut = []
    for second in range(122):
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0 if second % 2 else 1 << 20})
        client.exchange()
        cut.append(look(client, second))
    assert True in cut


def test_a_transport_that_gets_rid_of_nothing() -> None:
    """What waits in it counts, too, whether calls are open or not."""
    client = Client(Served(echo))
    client.call(bytes(50_000))
    assert not look(client, 0, 10_000)
    assert not look(client, 50, 10_000)
    assert look(client, 60, 9_000)
    assert not look(client, 61, 0)
    assert not look(client, 62, 5_000)
    assert not look(client, 121, 5_000)
    assert look(client, 122, 5_000)


def test_a_transport_that_is_read_slowly() -> None:
    client = Client(Served(echo))
    for _ in range(200):
        client.call(bytes(5_000))
    client.connection.pause_writing()
    for second in range(300):
        assert not look(client, second, 500_000 - second * 1024)


def test_a_paused_transport_is_judged_by_what_it_holds() -> None:
    """nghttp2 is asked for nothing meanwhile: that its responses do not move says nothing."""
    client = Client(served := Served())
    client.call(b"x")
    client.connection.pause_writing()
    served.calls[0].reply(bytes(100_000))
    for second in range(100):
        assert not look(client, second, 300_000 - second * 1024)
    client.connection.close()


# ---- in a drain


def drained(client: Client) -> None:
    """The client does not hear of it: h2 would send nothing more."""
    client.served.server.stopping = True
    drain(client.connection)
    client.served.run_scheduled()


def drain_look(client: Client, now_s: float) -> bool:
    cut = client.connection.end_late_calls(int(now_s * S), -1, S, LIMIT_NS)
    client.served.run_scheduled()
    return cut


@pytest.mark.parametrize("path", [INFER, UNARY, STREAM])
def test_a_drain_waits_a_second_for_a_request(path: str) -> None:
    client = Client(served := Served())
    client.open(path)
    client.exchange()
    drained(client)
    assert not drain_look(client, 5)
    assert not drain_look(client, 5.9)
    assert not client.closed_by_server
    assert not drain_look(client, 6)
    assert client.closed_by_server
    [error] = served.errors
    assert isinstance(error, Unavailable)
    assert error.reason == "stalled"


def test_a_drain_waits_for_a_request_that_moves_and_for_its_answer() -> None:
    client = Client(served := Served())
    stream_id = client.open()
    client.exchange()
    drained(client)
    body = frame(bytes(20_000))
    for step in range(10):
        client.h2.send_data(stream_id, body[step * 2000 : step * 2000 + 2000])
        client.connection.receive(client.h2.data_to_send())
        assert not drain_look(client, step)
    client.h2.send_data(stream_id, body[20_000:], end_stream=True)
    client.connection.receive(client.h2.data_to_send())
    for now_s in (20, 30, 40):
        assert not drain_look(client, now_s)
    served.calls[0].reply(b"y")
    served.run_scheduled()
    assert client.closed_by_server
    assert not served.errors
