"""Clients as processes of their own that are killed in mid-message, or stopped while answers pile up: nothing of them stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import models
from tests._core.http2.test_session import raw_frame
from tests._core.http2_wire import DATA, END_HEADERS, END_STREAM, HEADERS, HOT_BLOCK, LAST_ID, SETTINGS, WINDOW_UPDATE, setting, u32
from tests.http2_peer import EMPTY_SETTINGS, PREFACE, framed
from tests.server_fixtures import ServerFixture
from tests.wire import Caller, Held, infer_request, rows, same

# Sends what stands on its stdin, says so, and reads nothing until it is killed, or forgotten.
CLIENT = """
import signal, socket, sys
signal.alarm(60)
host, _, port = sys.argv[1].rpartition(":")
peer = socket.create_connection((host, int(port)))
peer.sendall(sys.stdin.buffer.read())
print("sent", flush=True)
signal.pause()
"""


def call(stream: int, message: bytes) -> bytes:
    """HEADERS and DATA of a whole request."""
    body = framed(message)
    pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
    sent = [raw_frame(DATA, END_STREAM if piece is pieces[-1] else 0, stream, piece) for piece in pieces]
    return raw_frame(HEADERS, END_HEADERS, stream, HOT_BLOCK) + b"".join(sent)


@contextmanager
def client(address: str, content: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A client that has sent all of it; killed at the end of the block."""
    with subprocess.Popen([sys.executable, "-SE", "-c", CLIENT, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(content)
            process.stdin.close()
            assert process.stdout.readline() == b"sent\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    files = models.repository(tmp_path_factory.mktemp("models"), {"identity": models.identity()})
    with ServerFixture(files) as server:
        yield server


def test_clients_that_are_killed_in_mid_message(served: ServerFixture) -> None:
    """SIGKILL after each tenth of a conversation; somebody else is served between them."""
    request = infer_request("identity", {"x": rows(1, 64)}).SerializeToString()
    content = PREFACE + EMPTY_SETTINGS + call(1, request) + call(3, request)
    with Caller(served.address) as caller:
        caller.answers("identity", {"x": rows(1)})
        held = Held(served)
        for number in range(11):
            with client(served.address, content[: len(content) * number // 10]):
                same(caller.answers("identity", {"x": rows(1, first=number)}), {"y": rows(1, first=number)})
        held.check()


def test_a_client_that_is_stopped_while_answers_pile_up(served: ServerFixture) -> None:
    """Its windows are as wide as they can be: what its socket does not take waits in the server, and goes with it."""
    request = infer_request("identity", {"x": rows(64)}).SerializeToString()
    opening = PREFACE + raw_frame(SETTINGS, 0, 0, setting(4, LAST_ID)) + raw_frame(WINDOW_UPDATE, 0, 0, u32(1 << 30))
    with Caller(served.address) as caller:
        caller.answers("identity", {"x": rows(1)})
        held = Held(served)
        with client(served.address, opening + b"".join(call(stream, request) for stream in range(1, 1001, 2))) as stopped:
            stopped.send_signal(signal.SIGSTOP)
            same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
            assert served.on_loop(lambda: served.server.edge._grpc.counters()["connections"]) == 2
        held.check()
