"""A server's life on both transports: start, ready, drain, stop; exit codes; what is answered on the way, and what a failed start says."""

from __future__ import annotations

import asyncio
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
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from inferd.config import Settings
from inferd.errors import ConfigError, StartError
from inferd.protocol import health, inference
from inferd.serving.parts.health.part import Health
from inferd.serving.server import Server
from tests import models
from tests.command import FREE_PORTS, GRPC_ALONE, Serving, environment, run
from tests.http2_peer import Peer, connected, framed
from tests.server_fixtures import LIMIT_S, TRANSPORTS, Program, ServerFixture
from tests.wire import Caller, infer_request, outputs_of, rows, same, status_of

WATCH = "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = 1, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(
        tmp_path_factory.mktemp("life"), {"identity": models.identity(), "slow": models.slow(50)}, {"slow": "max_batch_size: 1"}
    )


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def slow_request(first: float = 0) -> bytes:
    return infer_request("slow", {"x": rows(1, 64, first)}).SerializeToString()


def close_to(call: Any, first: float) -> None:
    (y,) = outputs_of(inference.ModelInferResponse.FromString(call.result(LIMIT_S))).values()
    np.testing.assert_allclose(y, rows(1, 64, first), rtol=0.01, atol=0.05)


def received(program: Program | ServerFixture, calls: int) -> None:
    """That many calls have reached the server: they are open there."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://{program.addresses['metrics']}/metrics", timeout=LIMIT_S) as page:
            found = re.search(r"^inferd_streams (\S+)$", page.read().decode(), re.MULTILINE)
        if found and float(found[1]) >= calls:
            return
    raise AssertionError(f"{calls} calls did not reach the server")


# ---- as a program


@pytest.mark.parametrize(("transport", "number"), [("native", signal.SIGTERM), ("grpcio", signal.SIGINT)])
def test_start_ready_stop(files: Path, transport: str, number: signal.Signals) -> None:
    """The log tells how long each phase of the start took."""
    before = time.monotonic()
    with Program(files, "--transport", transport) as program:
        most = time.monotonic() - before + 0.1  # the kernel tells the start to a hundredth of a second
        assert set(program.addresses) == {"grpc", "metrics"}
        with Caller(program.address) as caller:
            same(caller.answers("identity", {"x": rows(2)}), {"y": rows(2)})
            assert caller.ask("ServerReady").ready
        with urllib.request.urlopen(f"http://{program.addresses['metrics']}/metrics", timeout=LIMIT_S) as page:
            assert b'nv_inference_request_success{model="identity",version="1"' in page.read().replace(b'gpu_uuid="",', b"")
        assert program.stop(number) == 0, program.errors
        assert program.process.stdout is not None
        assert program.process.stdout.read() == ""  # the ready line was the last one
        with pytest.raises(OSError):
            connected(program.address)
    assert "Traceback" not in program.errors
    found = re.search(r"ready on .*: ([\d.]+) s to start Python, ([\d.]+) s to load models, ([\d.]+) s to open ports", program.errors)
    assert found, program.errors
    phases = [float(text) for text in found.groups()]
    assert phases[0] > 0
    assert sum(phases) <= most


def test_a_signal_while_models_are_loaded_ends_at_once(tmp_path: Path) -> None:
    inputs = 'inputs { key: "x" value: { data_type: TYPE_FP32 dims: [64] random_data: true } }'
    warmup = f'model_warmup {{ name: "long" batch_size: 1 count: 1000 {inputs} }}'  # half a minute of runs
    models.repository(tmp_path, {"slow": models.slow(30)}, {"slow": warmup})
    command = [sys.executable, "-m", "inferd", "serve", str(tmp_path), *GRPC_ALONE]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        for line in program.stderr:
            if "loading" in line:
                break
        program.terminate()
        assert program.wait(LIMIT_S / 4) == 0
        assert "stopped before" in program.stderr.read()


def test_what_is_queued_is_answered_before_the_end(files: Path, transport: str) -> None:
    """A watcher of health sees the drain."""
    with Program(files, "--transport", transport) as program, Caller(program.address) as caller:
        watch = caller.channel.unary_stream(WATCH)(health.HealthCheckRequest(service="identity").SerializeToString(), timeout=LIMIT_S)
        assert health.HealthCheckResponse.FromString(next(watch)).status == SERVING
        calls = [caller.start(slow_request(first)) for first in range(8)]  # one runs, seven wait
        received(program, 9)
        program.process.send_signal(signal.SIGTERM)
        assert health.HealthCheckResponse.FromString(next(watch)).status == NOT_SERVING
        for first, call in enumerate(calls):
            close_to(call, first)
        with pytest.raises((StopIteration, grpc.RpcError)):
            next(watch)
        assert program.process.wait(LIMIT_S) == 0, program.errors
    assert "Traceback" not in program.errors


def test_what_runs_longer_than_the_drain_timeout_is_rejected(files: Path, transport: str) -> None:
    with Program(files, "--transport", transport, "--drain-timeout-s", "0") as program, Caller(program.address) as caller:
        calls = [caller.start(slow_request(first)) for first in range(100)]  # five seconds of work
        received(program, 60)
        program.process.send_signal(signal.SIGTERM)
        rejected = [call.exception(LIMIT_S) for call in calls]
        assert len([error for error in rejected if error is not None]) > 50
        # On a busy machine a hundred of them can be too much for the time that each has, which is said as it comes.
        assert {status_of(error)[0] for error in rejected if error is not None} <= {"UNAVAILABLE", "CANCELLED", "RESOURCE_EXHAUSTED"}
        assert program.process.wait(LIMIT_S) == 0, program.errors
    assert "Traceback" not in program.errors


def test_the_native_drain_says_goaway_twice(files: Path) -> None:
    """First with the highest stream id, so that nothing on its way is lost, then with the last one that is answered."""
    with Program(files, "--transport", "native") as program, Peer(program.address) as peer:
        stream = peer.open()
        peer.data(stream, framed(slow_request(3)), end=True)
        peer.ping()
        program.process.send_signal(signal.SIGTERM)
        while not peer.goaways:
            assert not peer.closed
            peer.read()
        assert peer.goaways[0].last_stream_id == (1 << 31) - 1
        assert peer.goaways[0].error_code == 0
        answer = peer.wait(stream)
        assert answer.status == 0
        (y,) = outputs_of(inference.ModelInferResponse.FromString(answer.body[5:])).values()
        np.testing.assert_allclose(y, rows(1, 64, 3), rtol=0.01, atol=0.05)
        peer.wait_for_end()
        assert peer.goaways[-1].last_stream_id == stream
        peer.socket.close()  # else its close lingers
        assert program.process.wait(LIMIT_S) == 0, program.errors


def test_further_addresses_and_one_for_metrics(files: Path, transport: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    closed = socket.socket()  # it never listens, so that nobody else opens the port of the metrics on 127.0.0.1
    closed.bind(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    listen = ("--listen", f"unix:{path}", "--listen", "[::1]:0", "--metrics-host", "127.0.0.2", "--metrics-port", str(port))
    with closed, Program(files, "--transport", transport, *listen) as program:
        unix, ipv6 = program.addresses["listen"]
        assert unix == f"unix:{path}"
        assert ipv6.startswith("[::1]:")
        for address in (program.address, unix, ipv6):
            with Caller(address) as caller:
                same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        metrics = program.addresses["metrics"]
        assert metrics == f"127.0.0.2:{port}"
        assert program.address.startswith("127.0.0.1:")
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=LIMIT_S) as page:
            assert b"inferd_build" in page.read()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), LIMIT_S)
        assert program.stop() == 0, program.errors
    assert not path.exists()


# ---- starts that fail, as a program


def failed(*arguments: str | Path, folder: Path, code: int) -> str:
    """What stderr says."""
    done = run("serve", *arguments, folder=folder)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def free_ports(*arguments: str | Path) -> tuple[str | Path, ...]:
    return (*arguments, "--grpc-port", "0", "--http-port", "off", "--metrics-port", "0")


def test_a_run_of_a_load_has_a_limit_at_the_start_too(tmp_path: Path) -> None:
    """Else one model keeps all others from being served."""
    folder = models.repository(
        tmp_path,
        {"identity": models.identity(), "endless": models.slow(10**9, always=True)},
        {"endless": "inferd { max_run_s: 1 }"},
    )
    with ServerFixture(folder) as served, Caller(served.address) as caller:
        same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        assert "a run took longer than max_run_s, 1 s" in served.server.repository["endless"].skipped


def test_every_model_that_cannot_be_served_is_named_with_the_cure(tmp_path: Path) -> None:
    """A broken file, outputs that no request can carry, and configurations that disagree with the graph or ask for too much."""
    identity = models.identity()
    models.repository(
        tmp_path / "models",
        {
            "good": identity,
            "broken": b"this is no model",
            "cut": identity[: len(identity) // 2],
            "hollow": b"",
            "sequence": models.sequence_output(),
            "datatype": identity,
            "dims": identity,
            "inputs": identity,
            "batch": models.fixed_batch(),
            "ensemble": identity,
            "platform": identity,
            "unparsed": identity,
        },
        {
            "datatype": 'input { name: "x" data_type: TYPE_INT32 dims: [16] }',
            "dims": 'input { name: "x" data_type: TYPE_FP32 dims: [15] }',
            "inputs": 'input { name: "z" data_type: TYPE_FP32 dims: [16] }',
            "batch": "max_batch_size: 8",
            "ensemble": "sequence_batching { }",
            "platform": 'platform: "tensorrt_plan"',
            "unparsed": "max_batch_size: eight",
            "absent": "max_batch_size: 8",
        },
    )
    said = failed(*free_ports(tmp_path / "models"), "--on-model-error", "exit", folder=tmp_path, code=2)
    assert "12 of 13 models cannot be served" in said
    lines = {line.split("'")[1]: line for line in said.splitlines() if line.startswith("  - ")}
    expected = {
        "broken": ("complete ONNX model",),
        "cut": ("complete ONNX model",),
        "hollow": ("model",),
        "sequence": ("output 'y'", "seq(tensor(float))", "no request can carry"),
        "datatype": ("input 'x'", "TYPE_INT32", "the graph says TYPE_FP32"),
        "dims": ("input 'x'", "[15]", "the graph says [16]"),
        "inputs": ("input 'z'", "not in the graph", "'x'"),
        "batch": ("max_batch_size is 8", "no batch axis", "set max_batch_size to 0"),
        "ensemble": ("sequence_batching", "stateful sequences", "export its state"),
        "platform": ("platform", "tensorrt_plan", "export the model to ONNX"),
        "unparsed": ("line 1", "eight"),
        "absent": ("no version folder", "absent/1/model.onnx"),
    }
    wrong = {
        name: (words, lines.get(name))
        for name, words in expected.items()
        if name not in lines or any(word not in lines[name] for word in words)
    }
    assert not wrong, said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.onnx", ("nowhere.onnx", "no file or folder")),
        ("empty", ("empty", "nothing to serve", "name/1/model.onnx")),
        ("notes.txt", ("notes.txt", "not an .onnx file")),
    ],
)
def test_a_path_without_a_model(tmp_path: Path, name: str, words: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ConfigError) as caught:
        ServerFixture(tmp_path / name).__enter__()
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


@pytest.mark.parametrize(
    ("transport", "which"), [("native", "--grpc-port"), ("grpcio", "--grpc-port"), ("native", "--http-port"), ("native", "--metrics-port")]
)
def test_a_port_in_use_is_told_before_models_are_loaded(transport: str, which: str, tmp_path: Path) -> None:
    others = [word for flag in ("--grpc-port", "--http-port", "--metrics-port") if flag != which for word in (flag, "0")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = failed("absent.onnx", which, port, *others, "--transport", transport, folder=tmp_path, code=3)
    assert f"127.0.0.1:{port}" in said or port in said
    assert "port" in said
    assert "free" in said
    assert "no file or folder" not in said


# ---- in this process


def threads_of_models() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("slow/", "identity/"))]


def test_start_and_stop_twice(files: Path, transport: str) -> None:
    for _ in range(2):
        with ServerFixture(files, transport=transport) as served, Caller(served.address) as caller:
            same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
            caller.infer(infer_request("slow", {"x": -rows(1, 64)}))
            assert threads_of_models()
        assert threads_of_models() == []


def test_a_failed_start_leaves_nothing_behind(files: Path, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartError, match=str(taken.getsockname()[1])):
        ServerFixture(files, transport=transport, grpc_port=taken.getsockname()[1]).__enter__()
    assert threads_of_models() == []
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match="nowhere"):
        ServerFixture(files / "nowhere", transport=transport).__enter__()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_native_transport_needs_no_grpcio(files: Path, tmp_path: Path) -> None:
    (tmp_path / "grpc.py").write_text("raise ImportError")
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    with Serving(tmp_path, files, *FREE_PORTS, PYTHONPATH=path) as server:
        with Caller(server.addresses["grpc"]) as caller:
            same(caller.answers("identity", {"x": rows(1)}), {"y": rows(1)})
        done = run("health", server.addresses["grpc"], folder=tmp_path, PYTHONPATH=path)
    assert (done.returncode, done.stderr.count("pip install 'inferd[grpcio]'")) == (1, 1)


def test_the_grpcio_transport_says_how_to_get_it(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(StartError, match=r"pip install 'inferd\[grpcio\]'"):
        ServerFixture(files, transport="grpcio").__enter__()


def test_a_server_that_drains_is_live_and_not_ready(files: Path) -> None:
    """Looked at on a connection that was there before, while the native transport drains."""
    with ServerFixture(files, drain_timeout_s=int(LIMIT_S)) as served, Caller(served.address) as caller:
        running = [caller.start(slow_request(first)) for first in range(8)]
        received(served, 8)
        stopping = threading.Thread(target=served.__exit__, args=(None, None, None))
        stopping.start()
        while served.on_loop(lambda: served.server.ready):
            pass
        for first, call in enumerate(running):
            close_to(call, first)
        stopping.join(LIMIT_S)
        assert not stopping.is_alive()


async def test_one_that_is_turned_away_while_it_loads_is_never_ready(files: Path) -> None:
    """As a worker that is started anew when the server leaves already."""
    server = Server(Settings(models=(str(files),), grpc_port=0, http_port=-1, metrics_port=-1))
    start = asyncio.ensure_future(server.start())
    while not server.loading:
        await asyncio.sleep(0)
    server.set_not_ready()
    try:
        await start
        status = (await server.parts.of(Health).check(health.HealthCheckRequest())).status
        assert (server.ready, status) == (False, NOT_SERVING)
    finally:
        await server.stop()


def test_stop_is_idempotent(files: Path, transport: str) -> None:
    with ServerFixture(files, transport=transport) as served:
        served.on_loop(served.server.stop)
        served.on_loop(served.server.stop)
        with pytest.raises(OSError):
            connected(served.address)


def test_without_metrics(files: Path) -> None:
    with ServerFixture(files, metrics_port=-1) as served:
        assert "metrics" not in served.addresses


def test_one_file_is_a_model(tmp_path: Path, transport: str) -> None:
    path = models.write(tmp_path, "twice", models.doubled())
    with ServerFixture(path, transport=transport) as served, Caller(served.address) as caller:
        same(caller.answers("twice", {"x": rows(3)}), {"y": rows(3) * np.float32(2)})
        index = caller.ask("RepositoryIndex").models
        assert [(entry.name, entry.version, entry.state) for entry in index] == [("twice", "1", "READY")]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    assert threads_of_models() == []
