"""`inferd health`: an exit code of what the health service says, of nobody there and of nobody who answers."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests import models
from tests.command import GRPC_ALONE, Serving


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("models"), {"identity": models.identity()})


def test_health_is_an_exit_code(repository: Path, tmp_path: Path, call) -> None:
    path = tmp_path / "socket"
    flags = (*GRPC_ALONE, "--http-port", "0", "--lame-duck-s", "1h", "--listen", f"unix:{path},unix:@{path}")
    with Serving(tmp_path, repository, *flags) as server:
        target, url = server.addresses["grpc"], f"http://{server.addresses['http']}"
        for arguments in (
            (url,),
            (url, "identity/1"),
            (target,),
            (f"unix:{path}",),
            (f"unix:@{path}",),
            (target, "identity"),
            (target, "identity/1", "--timeout", "30s"),
        ):
            done = call("health", *arguments)
            assert (done.returncode, done.stdout, done.stderr) == (0, "SERVING\n", "")
        done = call("health", target, "other", "--timeout", "30s")
        assert (done.returncode, done.stdout) == (1, "")
        assert f'inferd: {target}: NOT_FOUND: service "other" is not served' in done.stderr
        done = call("health", url, "other", "--timeout", "30s")
        assert (done.returncode, done.stdout) == (1, "NOT_SERVING\n")
        server.process.send_signal(signal.SIGTERM)
        while (done := call("health", target, "--timeout", "30s")).stdout == "SERVING\n":
            pass
        assert (done.returncode, done.stdout, done.stderr) == (1, "NOT_SERVING\n", "")
        assert call("health", url, "--timeout", "30s").stdout == "NOT_SERVING\n"
        server.stop()


def test_nobody_there(call) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        target = f"127.0.0.1:{bound.getsockname()[1]}"
        done = call("health", target, "--timeout", "30s")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"inferd: {target}: UNAVAILABLE: " in done.stderr


def test_no_answer_in_time(call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        done = call("health", target, "--timeout", "50ms")
    assert done.returncode == 1
    assert f"inferd: {target}: DEADLINE_EXCEEDED: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("models.example",), "expected host:port with a port from 0 to 65535"),
        (("localhost:1", "--timeout", "soon"), "expected a time above 0 such as 10s, 250ms or 2m, got 'soon'"),
        (("localhost:1", "--timeout", "0s"), "expected a time above 0 such as 10s, 250ms or 2m, got '0s'"),
        ((), "Missing argument 'TARGET'"),
    ],
)
def test_usage(arguments: tuple[str, ...], says: str, call) -> None:
    done = call("health", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
