"""Several processes on the same addresses: who gets which connection, what one's end costs, one page of metrics, and the end of all."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from inferd.config import Address, Settings
from inferd.errors import ConfigError, StartError
from inferd.protocol import health, options
from inferd.serving.processes.channel import Channel
from inferd.serving.processes.child import LONGEST_BACK_OFF_NS, MAX_FAILURES, Child, Restarts
from inferd.serving.processes.supervisor import Supervisor
from inferd.serving.processes.worker import LOOK_S, Worker, until_look_s
from inferd.serving.processes.workers import SILENT_LOOKS, Phase
from inferd.serving.server import Server
from tests import models
from tests.certificates import Certificates, Files
from tests.command import GRPC_ALONE, environment, run
from tests.http2_peer import EMPTY_SETTINGS, GOAWAY, PREFACE, frame_types
from tests.observe.test_metrics import exact
from tests.server_fixtures import LIMIT_S, Program, until
from tests.serving.processes.test_dispatcher import closed_at_end, fill, read_words, ready_child, supervisor_of
from tests.serving.processes.test_process import NOT_SERVING, SERVING, WATCH, activated, mask, wait_for
from tests.wire import INFER, Caller, infer_request, outputs_of, rows, same

X = {"x": rows(1)}
MiB = 1 << 20
PLAIN = Address("127.0.0.1", 8001)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("workers"), {"identity": models.identity()})


@pytest.fixture(scope="module")
def with_slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Besides, a model whose runs are seen: it takes long to load."""
    return models.repository(
        tmp_path_factory.mktemp("slow"), {"identity": models.identity(), "slow": models.slow(50)}, {"slow": "max_batch_size: 1"}
    )


class Pair(Program):
    """A server of two workers, both ready when the block begins."""

    def __init__(self, files: Path, *arguments: str | Path, entry: Sequence[str] = ("-m", "inferd"), **variables: str) -> None:
        super().__init__(files, "--workers", "2", "--drain-timeout-s", "20", *arguments, entry=entry, environment=variables)

    def worker(self, number: int) -> psutil.Process:
        """The newest process of that number."""
        return psutil.Process(int(re.findall(rf"worker {number} \(process (\d+)\) is started", self.errors)[-1]))

    def connections(self, number: int) -> int:
        return sum(each.status == "ESTABLISHED" for each in self.worker(number).net_connections("tcp"))

    def until_ready(self, process: psutil.Process) -> None:
        wait_for(self, f"(process {process.pid}) is ready")

    def samples(self) -> dict[str, float]:
        """Samples without labels, and those of the model identity by their name."""
        with urllib.request.urlopen(f"http://{self.addresses['metrics']}/metrics", timeout=LIMIT_S) as page:
            families = list(parse_text(page.read().decode()))
        return {
            exact(sample.name): sample.value
            for family in families
            for sample in family.samples
            if sample.labels.get("model", "identity") == "identity" and not {"le", "stage", "reason"} & set(sample.labels)
        }


SOON_HUNG = "from inferd.engine.running import run_limit; run_limit.GRACE_NS = 10**8"  # in each worker, as its interpreter starts


def test_a_worker_whose_run_does_not_end_is_replaced(tmp_path: Path) -> None:
    files = models.repository(tmp_path / "models", {"identity": models.identity(), "unstoppable": models.unstoppable()})
    (tmp_path / "sitecustomize.py").write_text(SOON_HUNG)
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    with Pair(files, "--max-run-s", "1", "--drain-timeout-s", "1", PYTHONPATH=path) as server, Caller(server.address) as caller:
        code, _ = caller.rejected(infer_request("unstoppable", {"x": np.array([1_000_000])}))
        assert code == "ABORTED"
        wait_for(server, "this worker drains, and another takes its place")
        wait_for(server, "is started", 3)
        server.until_ready(server.worker(int(re.findall(r"worker (\d) \(process \d+\) is started", server.errors)[-1])))
        with Caller(server.address) as newcomer:
            same(newcomer.answers("identity", X), {"y": rows(1)})
        assert server.samples()["inferd_worker_restarts_total"] == 1
        assert server.stop() == 0
    assert "ended by signal" not in server.errors


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd would hear of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(LIMIT_S)
        yield made


@pytest.fixture
def callers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def answer(caller: Caller) -> None:
    same(outputs_of(caller.infer(infer_request("identity", X), wait_for_ready=True)), {"y": rows(1)})


def connect(callers: ExitStack, address: str, number: int) -> list[Caller]:
    """So many connections, each of which was answered."""
    made = [callers.enter_context(Caller(address)) for _ in range(number)]
    for caller in made:
        answer(caller)
    return made


def start_slow(callers: list[Caller], each: int) -> list[grpc.Future]:
    message = infer_request("slow", {"x": rows(1, 64)}).SerializeToString()
    return [caller.start(message) for caller in callers for _ in range(each)]


def gone(*processes: psutil.Process) -> bool:
    _, alive = psutil.wait_procs(processes, LIMIT_S)
    return not alive


async def test_a_worker_that_is_started_again_skips_no_model_that_the_others_serve() -> None:
    workers = Supervisor(Settings(models=("m",)), 2, [], lambda: None).workers
    assert workers._worker_settings().on_model_error == "auto"
    workers.phase, workers._summaries = Phase.SERVING, [{"name": "a"}]
    assert workers._worker_settings().on_model_error == "exit"
    workers._summaries.append({"name": "b", "error": "it cannot be loaded"})
    assert workers._worker_settings().on_model_error == "auto"


# ---- connections, metrics


def test_connections_are_spread_evenly_and_counted_on_one_page(files: Path, tmp_path: Path, callers: ExitStack) -> None:
    made = Certificates()
    for name, content in (("server", made.server), ("key", made.server_key)):
        (tmp_path / name).write_bytes(content)
    tls = ("--tls-cert", tmp_path / "server", "--tls-key", tmp_path / "key")
    listen = ("--listen", "plaintext:127.0.0.1:0", "--listen", f"unix:{tmp_path}/s")
    with Pair(files, *tls, *listen, "--log-level", "debug") as program:
        plaintext, unix = program.addresses["listen"]
        connect(callers, plaintext, 6)
        assert [program.connections(number) for number in (1, 2)] == [3, 3]
        with grpc.secure_channel(program.address, grpc.ssl_channel_credentials(made.ca)) as channel:
            channel.unary_unary(INFER)(infer_request("identity", X).SerializeToString(), timeout=LIMIT_S)
            connect(callers, unix, 1)
            seen = program.samples()
        assert seen["nv_inference_request_success"] == seen["nv_inference_count"] == 8
        assert (seen["inferd_connections"], seen["inferd_connections_opened_total"]) == (8, 8)
        assert (seen["inferd_workers"], seen["inferd_worker_restarts_total"]) == (2, 0)
        assert (seen["inferd_model_ready"], seen["inferd_instances"]) == (1, 2)
        resident = [program.worker(number).memory_info().rss for number in (1, 2)]
        assert seen["process_resident_memory_bytes"] > sum(resident) * 0.9
        assert program.stop() == 0
    assert not (tmp_path / "s").exists()
    assert "shared by 2 workers" in program.errors


def test_versions_and_labels_reach_all_workers(tmp_path: Path, callers: ExitStack) -> None:
    """Each looks at the files by itself."""
    folder = models.repository(tmp_path, {"m": {1: models.identity()}})
    with Pair(folder, "--model-poll-s", "1") as server:
        both = [callers.enter_context(Caller(server.address)) for _ in range(2)]
        assert [caller.infer(infer_request("m", X)).model_version for caller in both] == ["1", "1"]
        assert [server.connections(number) for number in (1, 2)] == [1, 1]
        models.repository(folder, {"m": {2: models.doubled()}})
        for caller in both:
            until(lambda caller=caller: caller.infer(infer_request("m", X)).model_version == "2")
        set_label = both[0].channel.unary_unary("/inferd.v1.ModelControl/SetLabel", options.SetLabelRequest.SerializeToString)
        set_label(options.SetLabelRequest(model_name="m", label="stable", version=1), timeout=LIMIT_S)
        for caller in both:
            until(lambda caller=caller: "label.stable" in caller.ask("ModelMetadata", name="m", properties=True).properties)
            assert caller.infer(infer_request("m", X, version="stable")).model_version == "1"


# ---- the end of one worker


def test_a_worker_that_crashes_costs_its_connections_and_comes_back(files: Path, callers: ExitStack) -> None:
    with Pair(files) as program:
        made = connect(callers, program.address, 4)
        assert program.samples()["nv_inference_request_success"] == 4
        killed, other = program.worker(1), program.worker(2)
        killed.kill()
        assert gone(killed)
        lost = [caller.start(infer_request("identity", X).SerializeToString()).exception(LIMIT_S) for caller in made]
        lost = [error for error in lost if error is not None]
        assert {error.code() for error in lost} <= {grpc.StatusCode.UNAVAILABLE}
        assert len(lost) <= 2
        made += connect(callers, program.address, 1)
        for caller in made:  # who lost a connection gets another, of who is there
            answer(caller)
        wait_for(program, "is started", 3)
        returned = program.worker(1)
        assert returned != killed
        program.until_ready(returned)
        connect(callers, program.address, 2)
        assert (program.connections(1), program.worker(2)) == (2, other)  # it has least, so it gets them
        seen = program.samples()
        assert seen["nv_inference_request_success"] == 4 + (4 - len(lost)) + 1 + 5 + 2
        assert (seen["inferd_workers"], seen["inferd_worker_restarts_total"]) == (2, 1)
        assert program.stop() == 0
    assert f"worker 1 (process {killed.pid}) ended by signal 9 (Killed); its connections are lost" in program.errors


def test_a_worker_without_descriptors_does_not_get_connection_after_connection(files: Path, callers: ExitStack) -> None:
    with Pair(files) as program:
        worker = program.worker(1)
        worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds() + 2, worker.rlimit(psutil.RLIMIT_NOFILE)[1]))
        host, _, port = program.address.rpartition(":")
        for _ in range(16):
            callers.enter_context(socket.create_connection((host, int(port)), LIMIT_S))
        wait_for(program, "a connection is lost: no file descriptor is left")
        connect(callers, program.address, 2)  # it has least, and would get all
        assert program.worker(1) == worker


def wait_for_running(callers: list[Caller]) -> None:
    """Until each worker has started on what its connection sent."""
    end = time.monotonic() + LIMIT_S
    for caller in callers:
        while not caller.statistics("slow").execution_count:
            assert time.monotonic() < end


# A server without a back-off that gives up after few starts: each takes a second of CPU.
FEW, CRASHES = 2, 3
LIMITS = f"from inferd.serving.processes import child; child.BACK_OFF_NS, child.MAX_CRASHES, child.MAX_FAILURES = 0, {CRASHES}, {FEW}"
AT_ONCE = ("-c", f"{LIMITS}; from inferd.cli import main; main()")
TOKEN = "a-token-of-the-tests"


def test_a_worker_that_cannot_be_started_again_costs_nobody_a_call(files: Path, tmp_path: Path, callers: ExitStack) -> None:
    tokens, allowed = tmp_path / "tokens", {"metadata": [("authorization", f"Bearer {TOKEN}")]}
    tokens.write_text(TOKEN)
    with Pair(files, "--token-file", tokens, entry=AT_ONCE) as program:
        killed, other = program.worker(1), program.worker(2)
        tokens.rename(tmp_path / "elsewhere")
        killed.kill()
        for failed in range(1, FEW + 2):
            wait_for(program, "before it was ready; 1 others are ready", failed)
        caller = callers.enter_context(Caller(program.address))
        same(outputs_of(caller.infer(infer_request("identity", X), **allowed)), {"y": rows(1)})
        seen = program.samples()
        assert seen["inferd_workers"] == 1
        assert seen["inferd_worker_starts_failed_total"] > FEW
        assert "cannot start: token_file: expected a file that can be read" in program.errors
        (tmp_path / "elsewhere").rename(tokens)
        wait_for(program, "is ready\n")
        assert (program.samples()["inferd_workers"], program.worker(2)) == (2, other)

        failed = program.errors.count("before it was ready")
        tokens.unlink()
        for number in (1, 2):
            program.worker(number).kill()
        for further in range(1, 2 * FEW):
            wait_for(program, "before it was ready", failed + further)
        assert program.process.wait(LIMIT_S) == 1
    assert program.errors.endswith(
        f"inferd: no worker can be started: {FEW} starts of each failed, at last with code 3; the log has more\n"
    )


def test_a_worker_that_crashes_over_and_over_ends_the_server(files: Path) -> None:
    arguments = ["serve", str(files), *GRPC_ALONE, "--workers", "2"]
    errors, crashes, started = "", 0, 0
    with subprocess.Popen(
        [sys.executable, *AT_ONCE, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    ) as program:
        assert program.stderr is not None
        for line in program.stderr:
            errors += line
            if again := re.search(r"worker 1 \(process (\d+)\) is started", line):
                started = int(again[1])
            if "ready on 127.0.0.1" in line or f"(process {started}) is ready" in line:
                os.kill(started, signal.SIGKILL)
                crashes += 1
    assert program.returncode == 1
    assert crashes == CRASHES
    assert errors.endswith(f"inferd: worker 1 ended {CRASHES} times within a minute, at last by signal 9 (Killed); the log has more\n")


def test_a_worker_that_is_told_to_end_while_it_loads_is_replaced(files: Path) -> None:
    """A few times before the server is ready, and from then on however often: at once, or when it loads its models."""
    program = Pair(files, entry=AT_ONCE)
    few = FEW - 1
    for told in range(few):
        wait_for(program, ") is started", 2 + told)
        program.worker(1).terminate()
    with program:
        program.worker(1).terminate()  # drains
        for told in range(few, few + 2 * FEW):
            wait_for(program, ") is started", 3 + told)
            if told % 2 == 0:
                wait_for(program, "loading /", program.errors.count("loading /") + 1)
            program.worker(1).terminate()
        wait_for(program, ") is started", 4 + told)
        program.until_ready(program.worker(1))
        samples = program.samples()
        assert (samples["inferd_workers"], samples["inferd_worker_starts_failed_total"]) == (2, told + 1)
        assert program.errors.count("worker 1 ended by signal 15 (Terminated) before it was ready") == told + 1
        assert program.stop() == 0


@pytest.mark.parametrize(
    ("command", "starts", "says"),
    [
        ("exit 0", 1, "worker 1 ended with code 0 before it was ready; the log has more"),
        (
            "kill -TERM $$",
            MAX_FAILURES,
            "worker 1 cannot be started: 5 starts of it failed, at last by signal 15 (Terminated); the log has more",
        ),
    ],
)
async def test_a_worker_that_ends_each_time_while_it_loads_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, command: str, starts: int, says: str
) -> None:
    """With a code that says no failure, or by the signal that is forgiven."""
    started: list[subprocess.Popen[bytes]] = []

    def opened(channel: socket.socket) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sh", "-c", command]))
        return started[-1]

    monkeypatch.setattr("inferd.serving.processes.child._start", opened)
    monkeypatch.setattr("inferd.serving.processes.child.BACK_OFF_NS", 0)
    supervisor = Supervisor(Settings(grpc_port=0, http_port=-1), 1, (), lambda: None)
    with pytest.raises(StartError, match=f"^{re.escape(says)}$"):
        await supervisor.start()
    assert len(started) == starts
    assert all(process.poll() is not None for process in started)


async def test_a_start_that_fails_leaves_no_worker_to_be_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """One waits for its next start when another ends the server's."""
    commands = ["kill -TERM $$", "read line"]
    processes: list[subprocess.Popen[bytes]] = []

    def opened(channel: socket.socket) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(["sh", "-c", commands[len(processes)]], stdin=subprocess.PIPE))
        return processes[-1]

    monkeypatch.setattr("inferd.serving.processes.child._start", opened)
    supervisor = Supervisor(Settings(grpc_port=0, http_port=-1), 2, (), lambda: None)
    start = asyncio.ensure_future(supervisor.start())
    while not supervisor.workers._timers:
        await asyncio.sleep(0)
    for process in processes:
        process.communicate()  # the end of what it reads
    with pytest.raises(StartError, match="worker 2 ended with code 1 before it was ready"):
        await start
    assert all(timer.cancelled() for timer in supervisor.workers._timers.values())
    assert len(supervisor.workers._timers) == 1


def test_restarts_wait_longer_each_time() -> None:
    restarts, second = Restarts(), 10**9
    assert [restarts.crashed(at * second) for at in (0, 1, 2, 3)] == [0, 1 * second, 2 * second, 4 * second]
    assert restarts.crashed(63 * second) == 0  # all others are a minute old
    assert [restarts.crashed(64 * second) for _ in range(4)][-1] is None


def test_starts_that_fail_are_tried_again_for_ever() -> None:
    restarts, second = Restarts(), 10**9
    assert [restarts.failed() for _ in range(4)] == [1 * second, 2 * second, 4 * second, 8 * second]
    assert not restarts.hopeless
    assert [restarts.failed() for _ in range(100)][1:] == [LONGEST_BACK_OFF_NS] * 99
    assert restarts.hopeless
    restarts.started()
    assert not restarts.hopeless
    assert restarts.failed() == second


# ---- the end of all


def test_who_leaves_loses_no_call_one_worker_or_all(with_slow: Path, tmp_path: Path, callers: ExitStack) -> None:
    path = tmp_path / "pid"
    with Pair(with_slow, "--pid-file", path) as program:
        made = connect(callers, program.address, 2)
        calls = start_slow(made, 3)
        wait_for_running(made)
        left = program.worker(2)
        assert run("drain", str(left.pid), folder=tmp_path).returncode == 2  # a worker is not the server
        left.terminate()
        assert [call.exception(LIMIT_S) for call in calls] == [None] * 6
        assert gone(left)
        wait_for(program, "is started", 3)
        program.until_ready(program.worker(2))
        assert program.samples()["nv_inference_request_success"] == 2  # of both, of whom one was never asked
        assert "ended by" not in program.errors

        made = connect(callers, program.address, 2)
        calls = start_slow(made, 3)
        wait_for_running(made)
        processes = [program.worker(number) for number in (1, 2)]
        assert int(path.read_text()) == program.process.pid
        done = run("drain", "--pid-file", path, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert [call.exception(LIMIT_S) for call in calls] == [None] * 6
        assert program.process.wait(LIMIT_S) == 0
        assert gone(*processes)
    assert not path.exists()


def test_connections_that_wait_to_be_accepted_are_served_when_all_leave(files: Path, callers: ExitStack) -> None:
    """More than are accepted at once, and than workers take at once. Left in a listening socket, they would see a reset."""
    with Pair(files) as program:
        host, _, port = program.address.rpartition(":")
        program.process.send_signal(signal.SIGSTOP)
        os.waitpid(program.process.pid, os.WUNTRACED)
        clients = [callers.enter_context(socket.create_connection((host, int(port)), LIMIT_S)) for _ in range(400)]
        for client in clients:
            client.sendall(PREFACE + EMPTY_SETTINGS)
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGCONT)
        for client in clients:
            assert GOAWAY in frame_types(read_all(client))
        assert program.process.wait(LIMIT_S) == 0


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1000), b""))


def test_a_lame_duck_answers_and_a_second_signal_ends_all(files: Path, callers: ExitStack) -> None:
    with Pair(files, "--lame-duck-s", "1h") as program:
        processes = [program.worker(number) for number in (1, 2)]
        made = connect(callers, program.address, 2)
        watches = [caller.channel.unary_stream(WATCH)(b"", timeout=LIMIT_S) for caller in made]
        assert [status(watch) for watch in watches] == [SERVING] * 2
        for process in processes:  # what the terminal sends to all in front of it, and the supervisor alone answers
            assert os.getpgid(process.pid) == process.pid
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGHUP)
        program.process.send_signal(signal.SIGTERM)
        assert [status(watch) for watch in watches] == [NOT_SERVING] * 2
        for caller in [*made, *connect(callers, program.address, 2)]:
            answer(caller)
        assert program.stop() == 128 + signal.SIGTERM
        assert gone(*processes)


def test_a_lame_duck_ends_with_its_last_worker(files: Path, callers: ExitStack) -> None:
    """A worker that becomes ready in it is not ready for the clients; one that ends in it is not replaced."""
    with Pair(files, "--lame-duck-s", "1h") as program:
        program.worker(1).kill()
        wait_for(program, ") is started", 3)
        program.process.send_signal(signal.SIGTERM)
        wait_for(program, "not ready: requests are served")
        first, second = processes = [program.worker(number) for number in (1, 2)]
        program.until_ready(first)
        assert [caller.ask("ServerReady").ready for caller in connect(callers, program.address, 2)] == [False] * 2
        assert [program.connections(number) for number in (1, 2)] == [1, 1]
        first.kill()
        wait_for(program, f"worker 1 (process {first.pid}) ended by signal 9 (Killed); its connections are lost")
        for caller in connect(callers, program.address, 2):
            assert not caller.ask("ServerReady").ready
        second.kill()
        assert program.process.wait(LIMIT_S) == 1
        assert gone(*processes)
    assert program.errors.count(") is started") == 3
    says = f"worker 2 (process {second.pid}) ended by signal 9 (Killed)"
    assert program.errors.endswith(f"inferd: no worker is left, and none is started in a lame duck: {says}\n")


def test_a_lame_duck_is_over_when_all_workers_have_left_by_themselves(with_slow: Path, callers: ExitStack) -> None:
    """As where everything in a control group gets SIGTERM."""
    with Pair(with_slow, "--lame-duck-s", "1h") as program:
        made = connect(callers, program.address, 2)
        calls = start_slow(made, 10)
        wait_for_running(made)
        for number in (1, 2):
            program.worker(number).terminate()
        wait_for(program, "leaves, and another takes its place", 2)
        program.process.send_signal(signal.SIGTERM)
        assert [call.exception(LIMIT_S) for call in calls] == [None] * 20
        assert program.process.wait(LIMIT_S) == 0
    assert "ended" not in program.errors


def status(watch: Any) -> int:
    return int(health.HealthCheckResponse.FromString(next(watch)).status)


def test_workers_are_reloaded_and_end_with_their_supervisor(
    files: Path, tmp_path: Path, listener: socket.socket, callers: ExitStack
) -> None:
    config = tmp_path / "inferd.toml"
    config.write_text('log_level = "error"\n')
    with Program(files, "--workers", "2", "--config", config, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as program:
        assert listener.recv(1000) == b"READY=1"
        found = psutil.Process(program.process.pid).children()
        assert len(found) == 2
        config.write_text('log_level = "info"\nlog_format = "json"\nmax_queue_requests = 5\nmax_connections = 7\n')
        program.process.send_signal(signal.SIGHUP)
        assert listener.recv(1000).startswith(b"RELOADING=1")
        assert listener.recv(1000) == b"READY=1"
        end = time.monotonic() + LIMIT_S
        one, other = connect(callers, program.address, 2)
        for caller in (one, other):
            while caller.ask("ModelConfig", name="identity").config.inferd.max_queue_requests != 5:
                assert time.monotonic() < end
        one.ask("LogSettings", settings={"log_info": {"bool_param": False}})
        while other.ask("LogSettings").settings["log_info"].bool_param:  # by way of the supervisor
            assert time.monotonic() < end
        program.process.kill()
        assert gone(*found)
    last = [json.loads(line) for line in program.errors.splitlines() if "is gone" in line]
    assert {line["worker"] for line in last} == {1, 2}
    assert {line["message"] for line in last} == {"ended at once: the supervisor is gone"}


# ---- starts


def test_sockets_that_were_opened_before(files: Path) -> None:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        with activated(files, tcp, options=("--workers", "2", "--http-port", "off")) as program:
            assert program.stdout is not None
            addresses = json.loads(program.stdout.readline().removeprefix("ready "))
            assert addresses == {"grpc": f"127.0.0.1:{tcp.getsockname()[1]}"}
            with Caller(addresses["grpc"]) as caller:
                answer(caller)
            program.terminate()
            assert program.wait(LIMIT_S) == 0


def test_a_signal_while_workers_load_leaves_no_file_behind(files: Path, tmp_path: Path) -> None:
    program = Pair(files, "--listen", f"unix:{tmp_path}/socket")
    try:
        wait_for(program, ") is started", 2)
        processes = [program.worker(number) for number in (1, 2)]
        assert os.listdir(tmp_path) == ["socket"]
        assert program.stop() == 0
        assert os.listdir(tmp_path) == []
        assert gone(*processes)
    finally:
        program.__exit__()


def test_what_one_worker_cannot_start_with_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    done = run("serve", "broken.onnx", *GRPC_ALONE, "--workers", "2", folder=tmp_path)
    assert done.returncode in (2, 3)
    assert done.stderr.count("inferd: ") == 1
    assert "Traceback" not in done.stderr


def test_workers_without_authorities_of_clients_are_for_nobody(files: Path, tmp_path: Path) -> None:
    secrets = Files.made(tmp_path / "tls")
    secrets.ca.write_bytes(b"")
    flags = ("--tls-cert", secrets.cert, "--tls-key", secrets.key, "--tls-client-ca", secrets.ca, "--workers", "2")
    done = run("serve", files, *flags, *GRPC_ALONE, folder=tmp_path)
    assert done.returncode == 2
    assert "tls_client_ca: expected certificates of authorities, PEM" in done.stderr


def test_several_are_no_matter_of_one_process() -> None:
    async def make() -> None:
        Server(Settings(workers=2))

    with pytest.raises(ConfigError, match="workers: expected 1 for a Server of one process, got 2"):
        asyncio.run(make())


# ---- who gets the next connection


@pytest.mark.parametrize("now_s", [0.0, 0.0249, 0.0251, 7.0499999, 86400.05])
def test_workers_look_at_the_same_moments(now_s: float) -> None:
    left_s = until_look_s(now_s)
    assert LOOK_S / 2 <= left_s <= 1.5 * LOOK_S
    assert (now_s + left_s) / LOOK_S == pytest.approx(round((now_s + left_s) / LOOK_S))


async def test_a_worker_reports_once_it_has_read_what_waits() -> None:
    ours, theirs = Channel.pair()
    with closing(ours), closing(Channel(theirs)) as channel:
        worker = Worker(Settings(), channel)
        worker._server.loading = False
        for _ in range(2):  # the second time with nothing new
            ours.send("not_ready")
            worker._receive()
            report = ours.receive()
            assert report is not None
            assert (report.kind, ours.receive()) == ("report", None)


@pytest.mark.parametrize("alone", [True, False])
async def test_who_does_not_read_is_told_to_leave_later(alone: bool) -> None:
    """alone: the worker was sent the signal, not the server."""
    child = ready_child(1, 0)
    child.process = SimpleNamespace(pid=0)  # type: ignore[assignment]
    supervisor = await supervisor_of(child)
    with closed_at_end(child):
        theirs = fill(child)
        if alone:
            theirs.send("leaving")
            supervisor.workers._hear(child)
        else:
            supervisor.workers.tell("stop")
        assert not read_words(theirs)
        for expected in (["stop"], []):
            supervisor.workers._look()
            assert supervisor.workers._look_timer is not None
            supervisor.workers._look_timer.cancel()
            assert read_words(theirs) == expected
        assert child.state == ("leaving" if alone else "ready")


async def test_who_cannot_be_told_of_settings_is_told_later(caplog: pytest.LogCaptureFixture) -> None:
    child = ready_child(1, 0)
    child.process = SimpleNamespace(pid=0)  # type: ignore[assignment]
    supervisor = await supervisor_of(child)
    with closed_at_end(child):
        theirs = fill(child)
        supervisor.settings = Settings(max_queue_requests=5)
        supervisor.reload()
        assert "worker 1 (process 0) was not told of the settings that were read again" in caplog.text
        kinds = set()
        while (message := theirs.receive()) is not None:
            kinds.add(message.kind)
        assert kinds == {"not_ready"}
        for _ in range(2):  # the second time there is nothing more to tell
            supervisor.workers._look()
            assert supervisor.workers._look_timer is not None
            supervisor.workers._look_timer.cancel()
        told = theirs.receive()
        assert told is not None
        assert (told.kind, told.fields["max_queue_requests"]) == ("reload", 5)
        assert theirs.receive() is None


MANY = ("kept.example", *(f"client{number}.some.long.example.org" for number in range(9000)))


def allowing(names: tuple[str, ...], folder: Path) -> Settings:
    secrets = Files.made(folder)
    return Settings(tls_cert=str(secrets.cert), tls_key=str(secrets.key), tls_client_ca=str(secrets.ca), tls_allow=names)


async def test_settings_of_any_length_reach_a_worker(tmp_path: Path) -> None:
    child = ready_child(1, 0)
    supervisor = await supervisor_of(child)
    supervisor.settings = allowing(MANY, tmp_path)
    with closed_at_end(child):
        for _ in range(100):  # more than a channel could hold
            supervisor.reload()
        told = Channel(child.theirs).receive()
        assert told is not None
        assert (told.kind, told.fields["tls_allow"]) == ("reload", list(MANY))


def test_workers_start_with_settings_of_any_length(files: Path, tmp_path: Path) -> None:
    """Metrics have an address of their own, and workers hold back no signal that is meant for them."""
    secrets, config = Files.made(tmp_path / "tls"), tmp_path / "inferd.toml"
    config.write_text(f"tls_allow = {json.dumps(MANY)}\n")
    tls = ("--tls-cert", secrets.cert, "--tls-key", secrets.key, "--tls-client-ca", secrets.ca)
    with Pair(files, "--config", config, *tls, "--metrics-host", "127.0.0.2") as program:
        assert program.addresses["metrics"].startswith("127.0.0.2:")
        assert program.samples()["inferd_workers"] == 2
        for number in (1, 2):
            assert mask(program.worker(number).pid, "SigBlk") == {signal.SIGHUP}, "which the supervisor answers"
        assert mask(program.process.pid, "SigBlk") == set()
        assert program.stop() == 0


@contextmanager
def without_descriptors() -> Iterator[None]:
    """This process can open nothing more."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


async def test_a_worker_without_a_descriptor_for_its_settings_takes_them_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    child = ready_child(1, 0)
    supervisor = await supervisor_of(child)
    supervisor.settings = allowing(MANY, tmp_path)
    with closed_at_end(child):
        worker = Worker(allowing(MANY[:2], tmp_path), Channel(child.theirs))
        worker._server.loading = False
        supervisor.reload()
        with without_descriptors():
            for _ in range(2):
                worker._receive()
                supervisor.workers._hear(child)
                supervisor.workers._look()
                assert supervisor.workers._look_timer is not None
                supervisor.workers._look_timer.cancel()
        assert worker._server.settings.tls_allow == MANY[:2]
        supervisor.workers._hear(child)
        supervisor.workers._look()
        supervisor.workers._look_timer.cancel()
        worker._receive()
        assert worker._server.settings.tls_allow == MANY
        assert not worker._missed
    assert caplog.text.count("settings that were read again are not taken yet") == 1


async def test_a_worker_that_says_nothing_is_killed() -> None:
    quiet, heard, loading = children = ready_child(1, 0), ready_child(2, 0), Child(3)
    killed: list[int] = []
    for child in children:
        child.process = SimpleNamespace(pid=0, kill=lambda number=child.number: killed.append(number))  # type: ignore[assignment]
    supervisor = await supervisor_of(*children)
    with closed_at_end(*children):
        for _ in range(SILENT_LOOKS):
            supervisor.workers._look()
        assert not killed
        Channel(heard.theirs).send("report", taken=0, ended=0, able=True, missed=False)
        supervisor.workers._hear(heard)
        supervisor.workers._look()
        assert killed == [quiet.number]
    assert loading.silent_looks > SILENT_LOOKS
