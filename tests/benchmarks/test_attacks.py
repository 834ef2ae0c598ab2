"""Attacks that hold others up by what they do at one moment, on a server of h2's or of ssl's in this process: what they send is what they
say, windows are kept, and they go on until they are stopped."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trustme

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import attacks
import hostile_peer

from inferd.protocol import inference, reflection_v1
from tests.server_fixtures import until
from tests.wire import LIMIT_S

INFER = "/inference.GRPCInferenceService/ModelInfer"


class Server:
    """serve(socket): a connection, in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.failures: list[BaseException] = []
        self.address = "{}:{}".format(*self._listener.getsockname())

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends accept()
        self._threads[0].join(LIMIT_S)
        self._listener.close()
        for thread in self._threads:
            thread.join(LIMIT_S)
        assert not self.failures
        assert not any(thread.is_alive() for thread in self._threads)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(LIMIT_S)
            self._threads.append(threading.Thread(target=self._serve_one, args=(client,)))
            self._threads[-1].start()

    def _serve_one(self, client: socket.socket) -> None:
        try:
            with client:
                self._serve(client)
        except ConnectionError:
            pass
        except BaseException as error:
            self.failures.append(error)


def within_limit(done: Callable[[], bool]) -> Callable[[], bool]:
    """Or when that takes too long."""
    until = time.monotonic() + LIMIT_S
    return lambda: done() or time.monotonic() > until


class Calls:
    """What h2's servers were asked, whose windows are the smallest there are. A call is answered once `at_once` of its connection are
    open and whole, or has come to `refused_at` bytes; whoever has asked for `enough`, all together, is told to stop."""

    def __init__(self, at_once: int, enough: int, refused_at: int = 1 << 30) -> None:
        self.at_once, self.enough, self.refused_at = at_once, enough, refused_at
        self.whole: list[tuple[str, bytes]] = []
        self.most_open = 0
        self.begun_at_end: list[list[int]] = []  # bytes of the open calls, the least first, whenever one is whole
        self._lock = threading.Lock()

    def serve(self, client: socket.socket) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        # From the first frame on: an attacker acknowledges nothing.
        connection.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1000}
        )
        connection.initiate_connection()
        bodies: dict[int, bytearray] = {}
        paths: dict[int, str] = {}
        ended: list[int] = []
        while True:
            client.sendall(connection.data_to_send())
            if not (came := client.recv(1 << 16)):
                return
            for event in connection.receive_data(came):
                match event:
                    case h2.events.RequestReceived(stream_id=int(stream), headers=headers):
                        paths[stream], bodies[stream] = dict(headers or ())[":path"], bytearray()
                        self.most_open = max(self.most_open, len(bodies))
                    case h2.events.DataReceived(stream_id=int(stream), data=content, flow_controlled_length=size):
                        connection.acknowledge_received_data(size or 0, stream)
                        if stream in bodies and stream not in ended:  # else it was on its way
                            bodies[stream] += content or b""
                            if len(bodies[stream]) >= self.refused_at:
                                ended.append(stream)
                    case h2.events.StreamEnded(stream_id=int(stream)):
                        ended.append(stream)
                        self.begun_at_end.append(sorted(map(len, bodies.values())))
            if len(ended) >= self.at_once:
                for stream in ended:
                    connection.send_headers(stream, [(":status", "200"), ("grpc-status", "0")], end_stream=True)
                    with self._lock:
                        self.whole.append((paths.pop(stream), bytes(bodies.pop(stream))))
                ended.clear()


def carried_out(attack: Callable[[str], hostile_peer.Words], calls: Calls, monkeypatch: pytest.MonkeyPatch) -> hostile_peer.Words:
    for module in (attacks, hostile_peer):
        monkeypatch.setattr(module, "stopped", within_limit(lambda: len(calls.whole) >= calls.enough))
    monkeypatch.setattr(attacks, "going", lambda: None)
    with Server(calls.serve) as server:
        return attack(server.address)


@pytest.mark.parametrize("attack", [attacks.typed_contents, attacks.typed_contents_in_gzip])
def test_typed_contents_are_whole_at_one_moment(attack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each without its last byte, until all of them are; and the same again when they are answered."""
    monkeypatch.setattr(attacks, "NUMBERS", 100_000)
    monkeypatch.setattr(attacks, "CALLS_AT_ONCE", 3)
    calls = Calls(at_once=3, enough=6)
    words = carried_out(attack, calls, monkeypatch)
    assert (words["calls"], words["connections"], len(calls.whole)) == (6, 1, 6)
    assert {path for path, _ in calls.whole} == {INFER}
    [body] = {body for _, body in calls.whole}
    compressed, size = struct.unpack_from(">BI", body)
    assert size == len(body) - 5
    asked = inference.ModelInferRequest.FromString(gzip.decompress(body[5:]) if compressed else body[5:])
    assert compressed == (attack is attacks.typed_contents_in_gzip)
    assert (asked.model_name, asked.inputs[0].datatype, asked.inputs[0].shape) == ("numbers", "INT32", [1, 100_000])
    assert asked.inputs[0].contents.int_contents == [1] * 100_000
    assert all(begun[0] >= len(body) - 1 for begun in calls.begun_at_end)


def test_typed_contents_go_on_where_they_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are whole: what the server has ended gets no more."""
    monkeypatch.setattr(attacks, "NUMBERS", 100_000)
    monkeypatch.setattr(attacks, "CALLS_AT_ONCE", 3)
    calls = Calls(at_once=1, enough=9, refused_at=100_000)
    words = carried_out(attacks.typed_contents, calls, monkeypatch)
    assert words["connections"] == 1
    assert words["calls"] >= 6  # those of the last time may have been stopped
    assert len(calls.whole) >= 9
    assert all(100_000 <= len(body) < 200_000 for _, body in calls.whole)


@pytest.mark.parametrize(("attack", "each"), [(attacks.bursts, 4), (attacks.calls_without_pause, 1)])
def test_bursts_come_from_all_connections(attack: Any, each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "BURST_CONNECTIONS", 5)
    monkeypatch.setattr(attacks, "BURST_CALLS", 4)
    monkeypatch.setattr(attacks, "BURST_S", 0.0)
    calls = Calls(at_once=each, enough=15 * each)
    words = carried_out(attack, calls, monkeypatch)
    assert words["left open"] == 5
    assert words["calls"] >= 14 * each, "the last may be told to stop while it is on its way"
    assert words["rounds"] >= 3
    assert {path for path, _ in calls.whole} == {"/no.Such/Method"}


def test_new_connections_ask_for_as_many_calls_as_go_in_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "NEW_CONNECTIONS", 2)
    monkeypatch.setattr(attacks, "NEW_NBYTES", 200)
    calls = Calls(at_once=1, enough=60)
    words = carried_out(attacks.new_connections, calls, monkeypatch)
    assert words["connections"] >= 4
    assert words["calls"] == 9 * words["connections"]
    assert set(calls.whole) == {("/a/b", b"")}


def test_health_checks_are_always_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "CHECKING", 2)
    monkeypatch.setattr(attacks, "CHECKS", 3)
    calls = Calls(at_once=3, enough=24)
    words = carried_out(attacks.health_checks, calls, monkeypatch)
    assert words["left open"] == 2
    assert words["grpc-status 0"] >= 18
    assert calls.most_open == 3
    assert set(calls.whole) == {("/grpc.health.v1.Health/Check", bytes(5))}


def test_questions_come_on_all_streams_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again on the same ones, without an end."""
    monkeypatch.setattr(attacks, "OPEN_STREAMS", 4)
    monkeypatch.setattr(attacks, "QUESTIONS", 3)
    _, question = attacks.cold_calls()[-1]
    questions = 3 * (struct.pack(">BI", 0, len(question)) + question)
    calls = Calls(at_once=1, enough=8, refused_at=2 * len(questions))
    words = carried_out(partial(attacks.questions_on_open_streams, connections=2), calls, monkeypatch)
    assert words["left open"] == 2
    assert words["questions"] >= 8 * 2 * 3
    assert {body for _, body in calls.whole} == {2 * questions}
    paths = Counter(path for path, _ in calls.whole)
    assert paths == {f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": 4 for version in ("v1", "v1alpha")}


def test_cold_methods_are_always_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "COLD_CALLS", 9)
    calls = Calls(at_once=9, enough=27)
    words = carried_out(attacks.cold_methods, calls, monkeypatch)
    assert calls.most_open == 9
    assert words["grpc-status 0"] >= 18
    found = Counter(path.rpartition("/")[2] for path, _ in calls.whole)
    assert set(found) == {"ModelStatistics", "ModelMetadata", "ServerReflectionInfo"}
    assert max(found.values()) - min(found.values()) == 0
    bodies = {path.rpartition("/")[2]: body[5:] for path, body in calls.whole}
    assert inference.ModelMetadataRequest.FromString(bodies["ModelMetadata"]).name == "identity"
    asked = reflection_v1.ServerReflectionRequest.FromString(bodies["ServerReflectionInfo"])
    assert asked.file_containing_symbol == "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.parametrize("name", [name for name in attacks.ATTACKS if name.endswith("that end at once")])
def test_connections_end_together(name: str, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there, all; and as many come again. What they have said by then is a greeting, or nothing."""
    settings = hostile_peer.frame(hostile_peer.SETTINGS, 0, 0)
    gone: list[bytes] = []

    def serve(client: socket.socket) -> None:
        said = b""
        with suppress(OSError), context.wrap_socket(client, server_side=True) if " TLS connections" in name else client as made:
            if said := made.recv(100):
                made.sendall(settings)
            while made.recv(100):
                pass
        gone.append(said)

    attack = attacks.ATTACKS[name]
    assert ("TLS" in name) == (name in attacks.OF_TLS)
    assert name.startswith(str(attack.keywords["most"]))
    monkeypatch.setitem(attack.keywords, "most", 3)
    monkeypatch.setitem(attack.keywords, "stand_s", 0.0)
    monkeypatch.setattr(attacks, "MEASURING_S", 0.0)
    monkeypatch.setattr(attacks, "stopped", within_limit(lambda: len(gone) >= 6))
    monkeypatch.setattr(attacks, "going", lambda: None)
    with Server(serve) as server:
        words = attack(server.address)
        until(lambda: len(gone) >= words["closed"])
    assert words["closed"] >= 6
    assert words["closed"] % 3 == 0
    silence, greeting = {b""}, {hostile_peer.PREFACE + settings}
    said = silence | greeting  # who ends with something unread may take back what it has sent
    assert set(gone) <= (silence if "silent" in name else said)


def test_connections_that_end_together_have_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, ended_s = [0.0], list[float]()

    class Ending:
        def close(self) -> None:
            ended_s.append(now_s[0])

    def pause(seconds: float) -> None:
        now_s[0] += seconds

    monkeypatch.setattr(attacks, "time", SimpleNamespace(monotonic=lambda: now_s[0], sleep=pause))
    monkeypatch.setattr(attacks, "stopped", lambda: len(ended_s) >= 4)
    monkeypatch.setattr(attacks, "going", lambda: None)
    attacks.closing_together("", lambda _: Ending(), 2, 0.5)  # type: ignore[arg-type, return-value]
    assert ended_s == pytest.approx([2.5, 2.5, 3.0, 3.0], abs=0.02)
