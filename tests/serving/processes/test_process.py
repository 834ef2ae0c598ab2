"""A server as a process: signals, what systemd gives and is told, the file with its number, and `inferd drain`."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from inferd.cli import drain
from inferd.config import Settings
from inferd.errors import InferdError
from inferd.protocol import health
from inferd.serving.processes import process, systemd
from inferd.serving.processes.systemd import inherited_sockets, notify
from inferd.system.descriptors import RESERVED
from tests import models
from tests.command import GRPC_ALONE, command, environment, full_pipe, run
from tests.http2_peer import EMPTY_SETTINGS, PREFACE
from tests.rest import Asker, infer_body
from tests.server_fixtures import LIMIT_S, TRANSPORTS, Program
from tests.wire import Caller, infer_request, rows, same

WATCH = "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = 1, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("life"), {"identity": models.identity()})


def wait_for(program: Program, words: str, count: int = 1) -> None:
    """Until the log has said so, so many times."""
    end = time.monotonic() + LIMIT_S
    while program.errors.count(words) < count:
        assert time.monotonic() < end, program.errors
        time.sleep(0.01)


# ---- runs that do not end


SOON_HUNG = "from inferd.engine.running import run_limit; run_limit.GRACE_NS = 10**8; from inferd.cli import main; main()"


def test_a_run_that_does_not_end_takes_its_model_out_of_service_and_no_other(tmp_path: Path) -> None:
    files = models.repository(tmp_path, {"identity": models.identity(), "unstoppable": models.unstoppable()})
    message = infer_request("unstoppable", {"x": np.array([1_000_000])})
    limits = ("--max-run-s", "1", "--drain-timeout-s", "1")
    with Program(files, *limits, entry=("-c", SOON_HUNG)) as program, Caller(program.address) as caller:
        watch = caller.channel.unary_stream(WATCH)(health.HealthCheckRequest(service="unstoppable").SerializeToString(), timeout=LIMIT_S)
        assert health.HealthCheckResponse.FromString(next(watch)).status == SERVING
        runs, waits = caller.start(message.SerializeToString()), caller.start(message.SerializeToString())
        assert health.HealthCheckResponse.FromString(next(watch)).status == NOT_SERVING
        assert "max_run_s, 1 s" in runs.exception(LIMIT_S).details()
        assert [call.exception(LIMIT_S).code().name for call in (runs, waits)] == ["ABORTED", "UNAVAILABLE"]
        assert caller.rejected(message)[0] == "UNAVAILABLE"
        same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        with urllib.request.urlopen(f"http://{program.addresses['metrics']}/metrics", timeout=LIMIT_S) as page:
            text = page.read().decode()
        labels = '{model="unstoppable",version="1"}'
        for sample in ("inferd_model_ready%s 0.0", "inferd_runs_ended_total%s 1.0", "inferd_instances_hung%s 1.0"):
            assert sample % labels in text
        watch.cancel()
        assert program.stop() == 0
    assert "its thread is left behind" in program.errors


# ---- leaving


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_lame_duck_says_so_and_goes_on_answering(files: Path, tmp_path: Path, transport: str) -> None:
    """A second signal ends it, and leaves no file behind."""
    arguments = ("--transport", transport, "--pid-file", tmp_path / "pid", "--listen", f"unix:{tmp_path}/socket")
    with Program(files, "--lame-duck-s", "1h", *arguments) as program, Caller(program.address) as caller:
        assert sorted(os.listdir(tmp_path)) == ["pid", "socket"]
        watch = caller.channel.unary_stream(WATCH)(b"", timeout=LIMIT_S)
        assert health.HealthCheckResponse.FromString(next(watch)).status == SERVING
        program.process.send_signal(signal.SIGTERM)
        assert health.HealthCheckResponse.FromString(next(watch)).status == NOT_SERVING
        assert not caller.ask("ServerReady").ready
        same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        with Caller(program.address) as newcomer:
            same(newcomer.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        watch.cancel()
        assert program.stop() == 128 + signal.SIGTERM
    assert "stopped at once, by a second signal" in program.errors
    assert os.listdir(tmp_path) == []


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    slow = models.repository(tmp_path, {"slow": models.slow(100)}, {"slow": "max_batch_size: 1"})
    with Program(slow, "--drain-timeout-s", "1h") as program, Caller(program.address) as caller:
        calls = [caller.start(infer_request("slow", {"x": rows(1, 64)}).SerializeToString()) for _ in range(200)]
        program.process.send_signal(signal.SIGTERM)
        wait_for(program, "stopping: serving")
        assert program.stop(signal.SIGINT) == 128 + signal.SIGINT
        assert any(call.exception(LIMIT_S) for call in calls)


def test_the_first_sigterm_after_a_drain_cuts_off_nothing(files: Path) -> None:
    with Program(files, "--lame-duck-s", "1h") as program:
        program.process.send_signal(signal.SIGUSR1)
        wait_for(program, "not ready: requests are served")
        program.process.send_signal(signal.SIGTERM)
        with Caller(program.address) as caller:
            same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        assert "second signal" not in program.errors
        assert program.stop() == 128 + signal.SIGTERM


def mask(pid: int, name: str) -> set[int]:
    """Signals that a process blocks (SigBlk), ignores (SigIgn) or takes (SigCgt)."""
    (text,) = re.findall(rf"^{name}:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return {number for number in range(1, 65) if int(text, 16) >> number - 1 & 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_that_comes_before_there_is_a_loop_waits(files: Path, number: signal.Signals) -> None:
    program = Program(files)
    try:
        end = time.monotonic() + LIMIT_S
        while mask(program.process.pid, "SigBlk") != {signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1}:  # all: it is being made
            assert time.monotonic() < end
        assert program.stop(number) == 0
    finally:
        program.__exit__()
    assert "stopped before the models were loaded" in program.errors


AND_THEN = """
import asyncio, os, signal
close = asyncio.Runner.close
asyncio.Runner.close = lambda self: (close(self), *(os.kill(os.getpid(), number) for number in (signal.SIGHUP, signal.SIGUSR1)))
from inferd.cli import main; main()
"""


def test_signals_that_are_harmless_are_to_the_last(files: Path) -> None:
    with Program(files, entry=("-c", AND_THEN)) as program:
        assert program.stop() == 0


# ---- settings that are read again


def test_sighup_takes_what_a_running_server_can_take(files: Path, tmp_path: Path) -> None:
    config = tmp_path / "inferd.toml"
    config.write_text('log_level = "warning"\n')
    with Program(files, "--config", config) as program:
        assert "ready on" not in program.errors
        config.write_text('log_level = "info"\nlame_duck_s = 3600\nmax_queue_requests = 5\nreuse_port = true\n')
        program.process.send_signal(signal.SIGHUP)
        wait_for(program, "settings were read again: ")
        taken = program.errors.partition("settings were read again: ")[2].partition("\n")[0]
        assert set(taken.split(", ")) == {"lame_duck_s=3600", "log_level=info", "max_queue_requests=5"}
        wait_for(program, "reuse_port: changed, and taken at the next start only")
        config.write_text("no toml")
        program.process.send_signal(signal.SIGHUP)
        wait_for(program, "settings were not read again: config: expected TOML")
        config.write_text('log_level = "info"\nlame_duck_s = 3600\nmax_queue_requests = 5\n')
        program.process.send_signal(signal.SIGHUP)
        wait_for(program, "settings were read again: nothing changed")
        with Caller(program.address) as caller:
            same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
            assert caller.ask("ModelConfig", name="identity").config.inferd.max_queue_requests == 5
        program.process.send_signal(signal.SIGTERM)
        wait_for(program, "not ready: requests are served for 3600 s more")
        assert program.stop() == 128 + signal.SIGTERM


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_before_ready_is_remembered(tmp_path: Path, workers: int) -> None:
    inputs = 'inputs { key: "x" value: { data_type: TYPE_FP32 dims: [64] random_data: true } }'
    warmup = f'model_warmup {{ name: "long" batch_size: 1 count: 8 {inputs} }}'
    models.repository(tmp_path / "m", {"slow": models.slow(30)}, {"slow": warmup})
    config = tmp_path / "inferd.toml"
    config.write_text("drain_timeout_s = 5")
    program = Program(tmp_path / "m", "--config", config, "--workers", str(workers))
    wait_for(program, "settings: ")
    config.write_text("drain_timeout_s = 7")
    program.process.send_signal(signal.SIGHUP)
    if workers > 1:
        for number in range(1, workers + 1):
            wait_for(program, f"worker {number} (process ")
            (worker,) = re.findall(rf"worker {number} \(process (\d+)\)", program.errors)
            os.kill(int(worker), signal.SIGHUP)
    wait_for(program, "loading /", workers)
    program.process.send_signal(signal.SIGHUP)
    with program:
        wait_for(program, "settings were read again: drain_timeout_s=7")
        assert program.stop() == 0


TLS = {"tls_cert": "c", "tls_key": "k", "tls_client_ca": "a"}


@pytest.mark.parametrize(
    ("old", "new", "fixed", "taken"),
    [
        (TLS | {"tls_allow": ("a", "b")}, TLS | {"tls_allow": ("a",)}, set(), {"tls_allow": ("a",)}),
        ({}, TLS | {"tls_allow": ("a",)}, set(), {}),
        (TLS | {"tls_allow": ("a",)}, {}, set(), {}),
        (TLS | {"tls_allow": ("a",)}, TLS, set(), {}),
        ({}, {"max_connections": 5, "keepalive_s": 9}, set(), {"max_connections": 5, "keepalive_s": 9}),
        ({}, {"max_connections": 5, "max_queue_bytes": 9}, {"max_connections"}, {"max_queue_bytes": 9}),
        ({}, {"grpc_port": 5}, set(), {}),
    ],
)
def test_what_is_taken_of_new_settings(
    old: dict[str, Any], new: dict[str, Any], fixed: set[str], taken: dict[str, Any],
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Names of clients only where the authorities stay as they are: the new ones are of others, who are asked at the next start. And only
    where there are some: none would let in all."""
    monkeypatch.setattr(process.logs, "set_up", lambda level, form: None)
    server = SimpleNamespace(settings=Settings(**old), fixed=frozenset(fixed))
    with caplog.at_level(logging.INFO, "inferd"):
        process._take(server, Settings(**new))  # type: ignore[arg-type]
    assert server.settings == Settings(**old | taken)
    waits = {name for name in {**old, **new} if getattr(server.settings, name) != getattr(Settings(**new), name)}
    said = [record.getMessage() for record in caplog.records if "at the next start only" in record.getMessage()]
    assert {name for line in said for name in line.partition(": changed")[0].split(", ")} == waits


# ---- open files

FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300)); from inferd.cli import main; main()"


def samples(program: Program) -> dict[str, float]:
    """Those without labels."""
    with urllib.request.urlopen(f"http://{program.addresses['metrics']}/metrics", timeout=LIMIT_S) as page:
        families = list(parse_text(page.read().decode()))
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def taken(program: Program, clients: ExitStack) -> bool:
    """Whether the server answers on one more connection, which stays open."""
    host, _, port = program.address.rpartition(":")
    client = clients.enter_context(socket.create_connection((host, int(port)), LIMIT_S))
    try:
        client.sendall(PREFACE + EMPTY_SETTINGS)
        return client.recv(1) != b""
    except ConnectionError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_connections_than_the_limit_on_open_files_leaves(files: Path, workers: int) -> None:
    fit = (300 - RESERVED) * workers
    with Program(files, "--workers", str(workers), entry=("-c", FEW_FILES)) as program, ExitStack() as clients:
        assert psutil.Process(program.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (300, 300)
        said = f"do not fit into the open files that it may have: {fit // workers} are taken"
        wait_for(program, said)
        assert [taken(program, clients) for _ in range(fit + 10)] == [True] * fit + [False] * 10
        seen = samples(program)
        assert (seen["inferd_connections"], seen["inferd_connections_limit"]) == (fit, fit)
        assert program.errors.count(said) == 1
        assert seen["inferd_connections_refused_total"] == 10
        assert "no file descriptor is left" not in program.errors


# ---- a log that nobody reads


SHORT_QUEUE = "from inferd import log; log.MAX_QUEUED_BYTES = 512; from inferd.cli import main; main()"


@pytest.mark.parametrize(("workers", "form"), [(1, "json"), (2, "text")])
def test_a_reader_of_stderr_that_has_stopped_holds_up_nobody(tmp_path: Path, workers: int, form: str) -> None:
    """The pipe is full from the first line on: calls are answered, drops are counted, SIGTERM is heard."""
    folder = models.repository(tmp_path, {"failing": models.failing(), "identity": models.identity()})
    settings = ("--workers", workers, "--log-format", form, "--grpc-port", "0", "--http-port", "off", "--metrics-port", "0")
    with full_pipe() as (_, writes):
        program = [sys.executable, "-c", SHORT_QUEUE, "serve", str(folder), *map(str, settings)]
        server = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=writes, env=environment())
        watchdog = threading.Timer(LIMIT_S, server.kill)
        watchdog.start()
        try:
            assert server.stdout is not None
            addresses = json.loads(server.stdout.readline().removeprefix(b"ready "))
            for _ in range(workers):  # each has one connection
                with Caller(addresses["grpc"]) as caller:
                    for _ in range(3):
                        assert caller.rejected(infer_request("failing", {"x": np.array([[9]], np.int64)}))[0] == "INTERNAL"
                        same(caller.answers("identity", {"x": rows(2)}), {"y": rows(2)})
            with urllib.request.urlopen(f"http://{addresses['metrics']}/metrics", timeout=LIMIT_S) as page:
                (dropped,) = re.findall(rb"^inferd_log_dropped_total (.*)$", page.read(), re.MULTILINE)
            assert float(dropped) > 0
            server.send_signal(signal.SIGTERM)
            assert server.wait(LIMIT_S) == 0
        finally:
            watchdog.cancel()
            server.kill()
            server.communicate()


# ---- systemd


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(LIMIT_S)
        yield made


def test_systemd_is_told(files: Path, tmp_path: Path, listener: socket.socket) -> None:
    """Also that `inferd drain` ends it, which finds it by the number that it wrote."""
    path = tmp_path / "pid"
    with Program(files, "--pid-file", path, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as program:
        assert listener.recv(1000) == b"READY=1"
        assert int(path.read_text()) == program.process.pid
        program.process.send_signal(signal.SIGHUP)
        state, _, since = listener.recv(1000).partition(b"\n")
        assert state == b"RELOADING=1"
        assert int(since.removeprefix(b"MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        assert listener.recv(1000) == b"READY=1"
        done = run("drain", "--pid-file", path, folder=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert listener.recv(1000) == b"STOPPING=1"
        assert program.process.wait(LIMIT_S) == 0
    assert not path.exists()


def test_one_that_leaves_reads_nothing_again(files: Path, tmp_path: Path, listener: socket.socket) -> None:
    with Program(files, "--lame-duck-s", "1h", environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as program:
        program.process.send_signal(signal.SIGTERM)
        wait_for(program, "not ready: requests are served")
        program.process.send_signal(signal.SIGHUP)
        with Caller(program.address) as caller:
            for _ in range(2):  # the loop turns
                same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        assert program.stop() == 128 + signal.SIGTERM
    listener.setblocking(False)
    assert [listener.recv(1000) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]
    with pytest.raises(BlockingIOError):
        listener.recv(1000)


def fill(path: Path) -> int:
    """Until there is no room for what is told there. How many words that took."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect(str(path))
        for count in range(100_000):
            try:
                sender.send(b"X")
            except BlockingIOError:
                return count
    raise AssertionError("there is always room")


def test_who_does_not_read_holds_up_nothing_and_is_told_later(files: Path, tmp_path: Path, listener: socket.socket) -> None:
    path = tmp_path / "notify"
    full = fill(path)
    with Program(files, environment={"NOTIFY_SOCKET": str(path)}) as program, Caller(program.address) as caller:
        same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        assert [listener.recv(1000) for _ in range(full + 1)] == [b"X"] * full + [b"READY=1"]
        full = fill(path)
        program.process.send_signal(signal.SIGHUP)
        same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        told = [listener.recv(1000).partition(b"\n")[0] for _ in range(full + 2)]
        assert told == [b"X"] * full + [b"RELOADING=1", b"READY=1"]
        assert program.stop() == 0
        assert listener.recv(1000) == b"STOPPING=1"
    assert program.errors.count("NOTIFY_SOCKET: nobody reads there just now, and no room is left for READY=1") == 1
    assert program.errors.count("NOTIFY_SOCKET") == 1


def test_nobody_to_tell(tmp_path: Path, listener: socket.socket) -> None:
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "none")})
    notify("READY=1", {"NOTIFY_SOCKET": "relative"})
    notify("READY=1", {})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind("")  # the kernel chooses a name
        abstract.settimeout(LIMIT_S)
        notify("READY=1", {"NOTIFY_SOCKET": "@" + abstract.getsockname()[1:].decode()})
        assert abstract.recv(100) == b"READY=1"


AS_SYSTEMD = """
import os, sys
given = [int(word) for word in sys.argv[1].split(",")]
for place, descriptor in enumerate(given, 3):
    os.dup2(descriptor, place, inheritable=True)
told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": sys.argv[2]}
os.execve(sys.argv[3], sys.argv[3:], os.environ | told)
"""


def activated(
    files: Path, *sockets: socket.socket, names: str = "inferd.socket:inferd.socket", options: tuple[str, ...] = ("--http-port", "off")
) -> subprocess.Popen[str]:
    """The server as systemd starts it: with sockets from descriptor 3 on. A program places them: code of this process between fork and
    exec would run beside gRPC's threads, which it does not take well."""
    given = [os.dup(each.fileno()) for each in sockets]
    serve = [sys.executable, "-m", "inferd", "serve", str(files), "--metrics-port", "off", *options]
    program = subprocess.Popen(
        [sys.executable, "-c", AS_SYSTEMD, ",".join(map(str, given)), names, *serve],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=given,
    )
    for descriptor in given:
        os.close(descriptor)
    return program


def test_sockets_that_were_opened_before_and_that_others_reach(files: Path, tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("0.0.0.0", 0))
        unix.bind(str(tmp_path / "s"))
        for each in (tcp, unix):
            each.listen()
        with activated(files, tcp, unix) as program:
            assert program.stdout is not None
            line = program.stdout.readline()
            addresses = json.loads(line.removeprefix("ready "))
            port = tcp.getsockname()[1]
            assert addresses == {"grpc": f"0.0.0.0:{port}", "listen": [f"unix:{tmp_path}/s"]}
            for address in (f"127.0.0.1:{port}", *addresses["listen"]):
                with Caller(address) as caller:
                    same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
            program.terminate()
            _, errors = program.communicate(timeout=LIMIT_S)
            assert program.returncode == 0
            assert errors.count("without TLS and without a token") == 1
            assert f"0.0.0.0:{port} is open to other machines" in errors


@pytest.mark.parametrize(
    "options",
    [("--transport", "native"), ("--transport", "native", "--workers", "2"), ("--transport", "grpcio", "--grpc-port", "0")],
    ids=["native", "workers", "grpcio"],
)
def test_a_socket_that_is_named_http_speaks_rest(files: Path, options: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as grpc, socket.create_server(("127.0.0.1", 0)) as http:
        sockets, names = ((http,), "http") if "grpcio" in options else ((grpc, http), "inferd.socket:http")
        with activated(files, *sockets, names=names, options=options) as program:
            assert program.stdout is not None
            addresses = json.loads(program.stdout.readline().removeprefix("ready "))
            assert addresses["http"] == f"127.0.0.1:{http.getsockname()[1]}"
            with Asker(addresses["http"]) as asker, Caller(addresses["grpc"]) as caller:
                answer = asker.post("/v2/models/identity/infer", infer_body("x", "FP32", [1, 16], list(range(16))))
                assert answer.json["outputs"][0]["data"] == list(range(16))
                same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
            program.terminate()
            program.communicate(timeout=LIMIT_S)
            assert program.returncode == 0


def test_a_socket_for_rest_where_rest_is_off(files: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as http, activated(files, http, names="http") as program:
        _, errors = program.communicate(timeout=LIMIT_S)
        assert program.returncode == 3
        assert "LISTEN_FDNAMES: expected no socket named http, because REST is off: leave --http-port off out" in errors


def test_sockets_that_are_none(files: Path) -> None:
    with socket.socket() as closed, activated(files, closed) as program:
        _, errors = program.communicate(timeout=LIMIT_S)
        assert program.returncode == 3
        assert "LISTEN_FDS: descriptor 3 is no listening stream socket; give the unit's socket ListenStream=" in errors


def test_grpc_opens_its_own(files: Path) -> None:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        with activated(files, tcp, options=("--transport", "grpcio", "--http-port", "off")) as program:
            _, errors = program.communicate(timeout=LIMIT_S)
            assert program.returncode == 3
            assert "need --transport native" in errors


def test_no_child_inherits_what_was_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep the port open behind the server."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        descriptor = os.dup(opened.fileno())
        os.set_inheritable(descriptor, True)
        monkeypatch.setattr(systemd, "FIRST", descriptor)
        [(found, _)] = inherited_sockets({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
        with found:
            assert (found.fileno(), found.get_inheritable(), found.getblocking()) == (descriptor, False, False)


def test_variables_of_another_process() -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "x", "OTHER": "y"}
    assert inherited_sockets(environ) == []
    assert environ == {"OTHER": "y"}
    for count in ("", "many", "-1"):
        assert inherited_sockets({"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())}) == []


# ---- its number, and drain


def test_the_number_of_a_server_that_came_later_stays(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with Program(files, "--pid-file", path) as program:
        path.write_text(f"{os.getpid()}\n")
        assert program.stop() == 0
    assert path.read_text() == f"{os.getpid()}\n"


BY_A_SECOND = (128 + signal.SIGTERM, 128 + signal.SIGINT)  # of the two that come together


def test_who_leaves_already_is_only_waited_for(files: Path, tmp_path: Path) -> None:
    with Program(files, "--lame-duck-s", "1h") as program:
        for _ in range(2):
            done = run("drain", str(program.process.pid), "--timeout", "10ms", folder=tmp_path)
            assert (done.returncode, program.process.poll()) == (1, None)
            assert f"process {program.process.pid} has not ended within 0.01 s" in done.stderr
        same_number = str(program.process.pid)
        with subprocess.Popen(command("drain", same_number), stderr=subprocess.PIPE, text=True, env=environment()) as third:
            for number in (signal.SIGTERM, signal.SIGINT):  # of somebody else, who does not wait
                program.process.send_signal(number)
            _, errors = third.communicate(timeout=LIMIT_S)
        code = program.process.wait(LIMIT_S)
        assert third.returncode == 1
        assert code in BY_A_SECOND
    assert errors in (f"inferd: process {same_number} {how}\n" for how in (CUT_OFF.replace("143", str(code)), "has ended"))


CUT_OFF = "ended with code 143: not all requests got a response, or it had failed; see its log"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os._exit(0)", None),
        ("import os; os._exit(143)", CUT_OFF),
        (
            "import os; os.kill(os.getpid(), 9)",
            "ended by signal 9 (Killed): not all requests got a response, or it had failed; see its log",
        ),
    ],
)
def test_how_a_server_has_ended(code: str, says: str | None) -> None:
    with subprocess.Popen([sys.executable, "-c", code]) as program:
        handle = os.pidfd_open(program.pid)
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOWAIT)
        known = drain.status(program.pid, handle)
        program.wait()
        known_later = drain.status(program.pid, handle)
        os.close(handle)
    assert known is not None
    assert known_later in (known, None)  # an older kernel forgets it
    with ExitStack() as stack:
        if says is not None:
            stack.enter_context(pytest.raises(InferdError, match=f"^process {program.pid} {re.escape(says)}$"))
        drain.check_end(program.pid, known)


def test_drain_of_one_that_has_ended_and_whose_parent_has_not_asked(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as program:
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        done = run("drain", str(program.pid), folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"inferd: process {program.pid} has ended\n")


def test_a_program_that_started_a_server_gets_what_it_passes_on(files: Path, tmp_path: Path) -> None:
    """SIGUSR1 would end it and leave the server behind."""
    path = tmp_path / "pid"
    serve = ["timeout", "--foreground", "600", *command("serve", files, *GRPC_ALONE, "--pid-file", path)]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=environment()) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("ready ")
        assert int(path.read_text()) != program.pid
        done = run("drain", str(program.pid), folder=tmp_path)
        assert (done.returncode, program.wait(LIMIT_S)) == (0, 0)
    assert not path.exists()


def test_drain_takes_a_process_without_a_command_line_for_one_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes its memory back before its number."""
    monkeypatch.setattr(drain, "words_of", lambda pid: [b""])
    with subprocess.Popen(["sleep", "60"]) as ending:
        try:
            with pytest.raises(InferdError, match=f"process {ending.pid} has ended"):
                drain.drain.callback(ending.pid, None, 1.0)
            assert ending.poll() is None, "no signal reached it"
        finally:
            ending.kill()


def test_drain_ends_nobody_else(tmp_path: Path) -> None:
    done = run("drain", str(os.getpid()), folder=tmp_path)
    assert done.returncode == 2
    assert f"process {os.getpid()} is no `inferd serve`" in done.stderr
    (tmp_path / "pid").write_text("none")
    for arguments, code, says in (
        ((), 2, "expected PID or --pid-file, one of them"),
        (("1", "--pid-file", "x"), 2, "expected PID or --pid-file, one of them"),
        (("--pid-file", "none"), 1, "--pid-file none: there is none; the server has ended, or was started with another --pid-file"),
        (("--pid-file", "."), 2, "--pid-file .: cannot be read: Is a directory"),
        (("--pid-file", "pid"), 2, "--pid-file pid: expected the number of a process, got 'none'"),
        ((str((1 << 22) + 5),), 1, "there is no process 4194309: the server ended before, or the number is wrong"),
    ):
        done = run("drain", *arguments, folder=tmp_path)
        assert done.returncode == code, done.stderr
        assert says in done.stderr


def test_a_number_that_cannot_be_written(files: Path, tmp_path: Path) -> None:
    done = run("serve", files, *GRPC_ALONE, "--pid-file", tmp_path / "none" / "pid", folder=tmp_path)
    assert done.returncode == 3
    assert "pid_file: expected a file that can be written" in done.stderr
    assert "loading" not in done.stderr, "it says so first"
