"""`inferd bench` as a user runs it, against real servers: what the report holds, what the exit code says, and what a refusal says."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd.bench import embedded, generator
from inferd.bench.hdr import decode
from inferd.cli.exit_codes import VERDICTS, ExitCode
from tests import models
from tests.command import EXAMPLES, FREE_PORTS, TIMEOUT_S, Serving, command, environment
from tests.echo_server import EchoServer
from tests.wire import Caller

SHORT = ("--duration", "0.2s", "--warm-up", "0.05s", "--quiet")
FEW = ("--requests", "120", "--warm-up", "0s", "--quiet")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    contents: dict[str, Any] = {
        "double": {1: models.doubled(), 2: models.identity(), 3: models.doubled()},
        "single": models.doubled(),
        "open": models.identity("INT64", ("length",)),
        "slow": models.slow(20),
        "brisk": models.slow(5),
        "fail": models.failing(),
    }
    configs = {"double": "version_policy { all {} }"}
    return models.repository(tmp_path_factory.mktemp("repository"), contents, configs)


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path = tmp_path_factory.mktemp("socket") / "s"
    listen = [f"unix:{path}", f"unix:@{path.parent}"]
    with Serving(tmp_path_factory.mktemp("serving"), repository, *FREE_PORTS, "--http-port", "0", "--listen", ",".join(listen)) as running:
        running.addresses |= dict(zip(("unix", "abstract"), listen, strict=True))
        yield running


@pytest.fixture
def bench(call: Callable[..., Any], server: Serving, tmp_path: Path) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Runs `inferd bench TARGET ...` with --json: what it did, and its report."""

    def measure(*arguments: str, target: str = "") -> tuple[Any, dict[str, Any]]:
        out = tmp_path / "report.json"
        done = call("bench", target or server.addresses["grpc"], *arguments, "--json", out)
        return done, json.loads(out.read_text()) if out.exists() else {}

    return measure


def test_a_closed_loop(bench, server: Serving) -> None:
    done, report = bench("double", "--connections", "2", "--concurrency", "3", "--metrics-url", server.addresses["metrics"], *SHORT)
    assert done.returncode == 0, done.stderr
    (measured,) = report["measurements"]
    assert measured["load"]["connections"] * measured["load"]["streams"] == 6
    assert report["requests"] == measured["requests"] > 10
    assert report["errors"] == {}
    assert report["requests_per_second"] == pytest.approx(report["requests"] / measured["duration_s"], rel=0.2)
    at = report["latency_us"]
    assert 0 < at["p50"] <= at["p90"] <= at["p99"] <= at["p999"] <= at["max"]
    assert at["mean"] > 0
    assert report["client_cpu_us_per_request"] > 0
    assert report["client_bound"] in (True, False)
    assert (report["target"], report["model"], report["settings"]["concurrency"]) == (report["target"], "double", 3)
    assert {"inferd", "python"} <= report["versions"].keys()
    assert sum(interval["requests"] for interval in measured["intervals"]) <= report["requests"]
    server_side = measured["server"]
    assert server_side["runs"] <= server_side["requests"] >= report["requests"]
    assert sum(int(rows) * runs for rows, runs in server_side["batch_sizes"].items()) == server_side["requests"]
    assert server_side["compute_infer_us"] > 0
    assert server_side["cpu_us_per_request"] > 0
    assert "responses/s" in done.stdout


def test_a_time_may_begin_with_its_point(bench) -> None:
    done, report = bench("double", "--duration", ".2s", "--warm-up", ".05s", "--quiet")
    assert (done.returncode, report["settings"]["duration"], report["settings"]["warm_up"]) == (0, 0.2, 0.05), done.stderr


def test_as_many_requests_as_asked_for(bench) -> None:
    done, report = bench("double", "--requests", "500", "--concurrency", "8", "--quiet")
    assert (done.returncode, report["requests"]) == (0, 500)


def test_an_open_loop_says_when_it_sent(bench, tmp_path: Path) -> None:
    samples = tmp_path / "samples.npy"
    done, report = bench("double", "--rate", "1000", "--arrivals", "poisson", "--samples", str(samples), *SHORT)
    assert done.returncode == 0, done.stderr
    rows = np.load(samples)
    assert rows.shape == (report["requests"], 4)
    assert (rows[:, 0] <= rows[:, 1]).all()
    assert (rows[:, 1] <= rows[:, 2]).all()
    assert report["latency_us"]["max"] == pytest.approx((rows[:, 2] - rows[:, 0]).max() / 1e3, rel=1e-3)
    assert report["measurements"][0]["lateness_us"]["max"] == pytest.approx((rows[:, 1] - rows[:, 0]).max() / 1e3, rel=1e-3)


def test_several_processes_add_up(bench) -> None:
    done, report = bench("double", "--connections", "3", "--processes", "2", "--requests", "301", "--quiet")
    assert (done.returncode, report["requests"]) == (0, 301)


@pytest.mark.parametrize("kind", ["unix", "abstract"])
def test_a_unix_socket(kind: str, bench, server: Serving) -> None:
    done, report = bench("double", "--requests", "120", "--quiet", target=server.addresses[kind])
    assert (done.returncode, report["requests"]) == (0, 120)


def test_in_process(bench, repository: Path) -> None:
    done, report = bench("double", *FEW, target=f"embedded:{repository}")
    assert (done.returncode, report["requests"]) == (0, 120), done.stderr


def test_rounds_of_one_load_can_be_compared(bench) -> None:
    done, report = bench("double", "--rounds", "2", *FEW)
    assert (done.returncode, report["kind"], len(report["measurements"])) == (0, "rounds", 2), done.stderr


def test_settings_hold_zeros_and_what_was_resolved_but_no_secret(bench, tmp_path: Path) -> None:
    secret = ("--metadata", "authorization=Bearer SECRET", "--html", str(tmp_path / "r.html"))
    done, report = bench("double", "--rate", "2000", "--duration", "0.1s", "--warm-up", "0s", "--seed", "0", "--quiet", *secret)
    assert done.returncode == 0, done.stderr
    settings = report["settings"]
    assert (settings["warm_up"], settings["seed"], settings["duration"]) == (0, 0, pytest.approx(0.1))
    assert settings["spin"] in (True, False)
    assert settings["pairs"] == ["authorization=***"]
    assert "SECRET" not in json.dumps(report) + (tmp_path / "r.html").read_text() + done.stdout + done.stderr


def test_a_file_that_cannot_be_written_costs_neither_the_table_nor_the_other_files(call, server: Serving, tmp_path: Path) -> None:
    full = ("--json", "/dev/full", "--hdr", "/dev/full", "--csv", tmp_path / "r.csv")
    done = call("bench", server.addresses["grpc"], "double", *FEW, *full)
    assert done.returncode == 1
    assert "responses/s" in done.stdout
    assert done.stderr.count("/dev/full: cannot be written") == 2
    assert (tmp_path / "r.csv").read_text().startswith("measurement,")


def test_progress_that_nobody_can_read_is_no_reason_to_end(server: Serving, tmp_path: Path) -> None:
    words = command("bench", server.addresses["grpc"], "double", "--duration", "0.2s", "--warm-up", "0s")
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *words], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
    assert (done.returncode, "responses/s" in done.stdout) == (0, True)


def test_nothing_answered_and_nothing_verified_is_not_clean(bench, repository: Path) -> None:
    done, report = bench("double", "--rate", "0.01", "--duration", "0.2s", "--warm-up", "0.05s", "--quiet")
    assert (done.returncode, report["requests"]) == (1, 0)
    assert "no request was answered" in done.stdout
    reference = str(repository / "double" / "1" / "model.onnx")
    done, report = bench("double", "--requests", "5", "--verify", reference, "--verify-every", "1000000000", "--quiet")
    if report["measurements"][0]["verified"]["checked"] == 0:  # by lot
        assert done.returncode == 4
        assert "--verify checked no response" in done.stdout


@pytest.mark.parametrize("where", ["", "embedded"])
def test_answers_that_were_to_be_checked_and_were_not_are_not_clean(
    bench, repository: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(embedded if where else generator, "MAX_KEPT_BYTES", 1)
    reference = str(repository / "double" / "3" / "model.onnx")
    options = ("--requests", "20", "--warm-up", "0s", "--verify", reference, "--verify-every", "1", "--quiet")
    done, report = bench("double", *options, target=f"embedded:{repository}" if where else "")
    verified = report["measurements"][0]["verified"]
    assert (done.returncode, verified["checked"], verified["unchecked"], verified["wrong"]) == (4, 1, 19, 0), done.stderr
    assert "larger --verify-every" in done.stdout


def test_every_file_that_can_be_written(bench, tmp_path: Path) -> None:
    files = {"--csv": "r.csv", "--hdr": "r.hlog", "--html": "r.html"}
    done, written = bench("double", *SHORT, *(word for flag, name in files.items() for word in (flag, str(tmp_path / name))))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.csv").read_text().startswith("measurement,")
    assert (tmp_path / "r-intervals.csv").exists()
    log = (tmp_path / "r.hlog").read_text()
    assert "#[Histogram log format version 1.3]" in log
    assert log.count("\nTag=0-4x1,") == len(written["measurements"][0]["intervals"]) > 1
    assert "<svg" in (tmp_path / "r.html").read_text()


TINY = ("--duration", "0.05s", "--warm-up", "0.02s", "--quiet")


def test_a_search(bench) -> None:
    done, report = bench("brisk", "--slo", "p99=2s,errors=50%", *TINY)
    found, measured = report["summary"], report["measurements"]
    # On a busy machine 0.05 s can show one thing and then another, until the steps are used up: then the exit code has to say so.
    assert (done.returncode, report["kind"]) == (0 if found["confirmed"] else 4, "search"), done.stderr
    assert found["rate"] > 0
    assert measured[report["headline"]]["load"]["rate"] == found["rate"] in [tried["rate"] for tried in found["tried"] if tried["kept"]]
    assert measured[0]["load"]["rate"] == 0, "one request at a time, to know where to start"
    assert f"/s {'keeps' if found['confirmed'] else 'kept'} p99 2 s, errors 0.5" in done.stdout


def test_a_search_that_nothing_keeps(bench) -> None:
    done, report = bench("brisk", "--slo", "p99=1us", *TINY)
    # 4: on a busy machine 0.05 s may show too little to be sure.
    assert done.returncode in (1, 4)
    assert (report["summary"]["rate"], len(report["measurements"])) == (0, 2)
    assert "no rate that was tried keeps p99 1 µs" in done.stdout


def test_a_stress(bench) -> None:
    # Counted, not timed: on a busy machine 0.2 s can be over before anything is answered.
    done, report = bench("slow", "--stress", "--requests", "20", "--warm-up", "0s", "--quiet")
    assert done.returncode in (0, 4), done.stderr  # a late generator leaves doubts
    assert report["kind"] == "stress"
    found, loads = report["summary"], [measured["load"] for measured in report["measurements"]]
    assert len(found["closed"]) == sum(not load["rate"] for load in loads) >= 3
    assert len(found["open"]) == sum(load["rate"] > 0 for load in loads) >= 6
    assert {load["deadline_ms"] for load in loads if load["rate"]} == {found["deadline_ms"]}
    assert found["saturation"] > 0
    assert f"with {found['in_flight']} in flight" in done.stdout


def test_a_soak(bench, server: Serving) -> None:
    options = ("--rate", "200", "--duration", "1s", "--warm-up", "0s", "--metrics-url", server.addresses["metrics"], "--quiet")
    done, report = bench("double", "--soak", *options)
    assert (done.returncode, report["kind"], len(report["measurements"])) == (4, "soak", 1), done.stderr
    assert report["requests"] == 200
    found = report["summary"]
    (words,) = found["words"]  # its last answers may come late
    assert found["drifts"] == []
    assert float(re.fullmatch(r"a soak of (\S+) s is too short to tell a drift; 60 s are needed", words)[1]) >= 1
    assert words in done.stdout


def test_steps_and_their_progress(bench) -> None:
    done, report = bench("double", "--steps", "1,4", "--duration", "0.2s", "--warm-up", "0s")
    assert [measured["load"]["streams"] for measured in report["measurements"]] == [1, 4]
    assert "step 1 of 2, 4x1" in done.stderr
    assert re.search(r"^    2/2  4x4  +[\d,.]+  ", done.stderr, re.MULTILINE)


def test_right_and_wrong_answers(bench, repository: Path) -> None:
    reference = ("--verify", str(repository / "double" / "1" / "model.onnx"), "--verify-every", "1")
    done, report = bench("double", "--model-version", "1", *reference, *FEW)
    assert done.returncode == 0, done.stderr
    assert report["measurements"][0]["verified"]["checked"] > 0
    done, report = bench("double", "--model-version", "2", *reference, *FEW)
    assert done.returncode == 1
    verified = report["measurements"][0]["verified"]
    assert verified["wrong"] == verified["checked"] > 0
    assert "wrong" in done.stdout


def test_errors_are_counted_by_code(bench, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x=np.array([[9]], np.int64))
    done, report = bench("fail", "--npz", str(tmp_path / "bad.npz"), "--requests", "50", "--quiet")
    assert done.returncode == 1
    assert report["errors"] == {"INTERNAL": 50}
    assert "the run failed" in report["measurements"][0]["error_messages"]["INTERNAL"]


def test_files_and_records_are_asked(bench) -> None:
    folder = f"embedded:{EXAMPLES / 'raw'}"
    done, report = bench("written_digits", "--image", str(EXAMPLES / "seven.png"), *FEW, target=folder)
    assert (done.returncode, report["errors"]) == (0, {}), done.stderr
    done, report = bench("parcels", "--csv-input", str(EXAMPLES / "parcels.csv"), "--rows", "8", *FEW, target=folder)
    assert (done.returncode, report["errors"]) == (0, {}), done.stderr
    assert all(int(rows) % 8 == 0 for rows in report["measurements"][0]["server"]["batch_sizes"])
    done, _ = bench("written_digits", *SHORT, target=folder)
    assert done.returncode == 2
    assert "the input 'picture' is what decode_image reads, and no random bytes are that; give --image FILE" in done.stderr


def test_versions_in_turn(bench) -> None:
    done, report = bench("double", "--versions", "1,3", "--rounds", "2", *SHORT)
    assert [measured["version"] for measured in report["measurements"]] == ["1", "3", "3", "1"]
    (comparison,) = report["summary"]["comparisons"]
    assert comparison["changes"]
    worse = any(change["verdict"] == "worse" for change in comparison["changes"])  # the machine was slower in one's turns
    inconclusive = report["verdict"]["word"] == "INCONCLUSIVE"
    assert done.returncode == (1 if worse else 4 if inconclusive else 0), done.stderr


def test_compare(bench, call, tmp_path: Path) -> None:
    for name in ("a", "b"):
        bench("double", *SHORT)
        (tmp_path / "report.json").rename(tmp_path / f"{name}.json")
    done = call("bench", "compare", tmp_path / "a.json", tmp_path / "b.json", "--threshold", "90%", "--markdown")
    assert done.returncode in (0, 4), done.stdout  # a busy machine leaves doubts
    assert done.stdout.count("|") > 20
    bench("double", "--rows", "2", *SHORT)
    done = call("bench", "compare", tmp_path / "a.json", tmp_path / "report.json")
    assert (done.returncode, "--rows" in done.stderr) == (2, True), "different requests"


def test_a_trace_is_asked_from_its_beginning(bench, tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("0\n0.05\n0.1\n")
    done, report = bench("double", "--arrivals", f"trace:{tmp_path / 'trace'}", "--quiet")
    assert (done.returncode, report["requests"]) == (4, 3), done.stderr


@pytest.mark.parametrize("target", ["", "embedded"])
def test_a_trace_that_comes_through_a_pipe_is_read_once(bench, repository: Path, tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("0\n0.05\n0.1\n",))
    writer.start()
    where = f"embedded:{repository}" if target else ""
    done, report = bench("double", "--arrivals", f"trace:{tmp_path / 'pipe'}", "--rounds", "2", "--quiet", target=where)
    writer.join()
    assert done.returncode == 4, done.stderr
    assert [measured["requests"] for measured in report["measurements"]] == [3, 3]


@pytest.mark.parametrize("load", [("--connections", "1000", "--concurrency", "2"), ("--connections", "1", "--steps", "1,2000")])
def test_in_process_so_many_in_flight_are_refused_before_anything_is_measured(call, repository: Path, load: tuple[str, ...]) -> None:
    done = call("bench", f"embedded:{repository}", "double", *load)
    assert (done.returncode, "1,024 requests in flight at most, got 2,000" in done.stderr) == (2, True)
    assert "/s" not in done.stdout


OVER_HTTP: dict[str, tuple[str, ...]] = {
    "bytes": ("double", "--rows", "3", "--connections", "2", "--concurrency", "3"),
    "json": ("double", "--as-json", "--cast"),
    "open loop": ("double", "--rate", "400", "--arrivals", "poisson", "--deadline", "10s"),
    "processes": ("double", "--connections", "3", "--processes", "2"),
    "versions": ("double", "--versions", "1,3", "--rounds", "1"),
    "steps": ("double", "--steps", "1,3"),
}


@pytest.mark.parametrize("what", OVER_HTTP)
def test_a_url_is_measured_over_http(bench, server: Serving, repository: Path, what: str) -> None:
    url = f"http://{server.addresses['http']}"
    verify = () if what == "versions" else ("--verify", str(repository), "--verify-every", "2")
    done, report = bench(*OVER_HTTP[what], *verify, *SHORT, target=url)
    assert done.returncode == VERDICTS[report["verdict"]["word"]] != ExitCode.FAILED, done.stderr + done.stdout
    assert (report["target"], report["errors"]) == (url, {})
    for measured in report["measurements"]:
        assert measured["requests"] > 5
        assert measured["server"]["runs"] <= measured["server"]["requests"] >= measured["requests"]
        assert measured["server"]["cpu_us_per_request"] > 0, "the metrics page is found by itself"
        assert not verify or measured["verified"]["checked"] > measured["verified"]["wrong"] == 0
    assert report["settings"]["connections"] == {"open loop": 64, "bytes": 2, "processes": 3}.get(what, 4)


def test_errors_over_http_are_those_of_grpc(bench, server: Serving) -> None:
    url = f"http://{server.addresses['http']}"
    reports = [bench("fail", *FEW, target=target)[1] for target in (url, "")]
    assert [report["errors"] for report in reports] == [{"INTERNAL": 120}] * 2
    assert reports[0]["measurements"][0]["error_messages"]["INTERNAL"].startswith("HTTP status 500: ")
    late, _ = bench("slow", "--deadline", "30ms", "--connections", "64", *FEW, target=url)
    assert "DEADLINE_EXCEEDED" in late.stdout


def test_reports_of_grpc_and_http_can_be_compared(bench, call, server: Serving, tmp_path: Path) -> None:
    for name, target in {"a": "", "b": f"http://{server.addresses['http']}"}.items():
        bench("double", "--rounds", "4", "--duration", "0.1s", "--warm-up", "0s", "--quiet", target=target)
        (tmp_path / "report.json").rename(tmp_path / f"{name}.json")
    done = call("bench", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert done.returncode in (0, 1, 4), done.stderr
    assert "requests/s" in done.stdout


def test_what_is_no_url_of_a_server(call, server: Serving) -> None:
    done = call("bench", "http://localhost:99999", "double", "--quiet")
    assert (done.returncode, "expected http://HOST:PORT" in done.stderr) == (2, True)
    done = call("bench", f"http://{server.addresses['metrics']}", "double", "--quiet")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    done = call("bench", server.addresses["grpc"], "double", "--as-json", "--quiet")
    assert (done.returncode, "--as-json is for a server over HTTP" in done.stderr) == (2, True)


def test_a_path_is_no_server(call, tmp_path: Path) -> None:
    done = call("bench", tmp_path, "double", "--quiet")
    assert (done.returncode, f"TARGET {tmp_path}: it is a path: give embedded:{tmp_path} to run it" in done.stderr) == (2, True)


def test_in_process_needs_a_file(call) -> None:
    done = call("bench", "embedded:localhost:8001", "double", "--quiet")
    assert (done.returncode, "there is no file or folder" in done.stderr) == (2, True)


SCENARIOS = {
    "SingleStream": ((), "1x1, MLPerf SingleStream  warming up", "ms in the 90th percentile"),
    "MultiStream": ((), "4x2, MLPerf MultiStream  warming up", "ms in the 99th percentile"),
    "Server": (("--rate", "800", "--slo", "p99=20s"), "800/s poisson, MLPerf Server  warming up", "samples a second"),
    "Offline": ((), "4x16, MLPerf Offline  warming up", "samples a second"),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_of_mlperf(bench, server: Serving, tmp_path: Path, scenario: str) -> None:
    flags, progress, metric = SCENARIOS[scenario]
    looks = ("--server-pid", str(server.process.pid), "--dollars-per-hour", "2", "--metrics-url", server.addresses["metrics"])
    files = ("--hdr", str(tmp_path / "r.hlog"), "--html", str(tmp_path / "r.html"))
    lasting = ("--duration", "0.5s", "--warm-up", "0.1s", "--seed", str(2**63 - 1))
    done, report = bench("double", "--scenario", scenario, *flags, *lasting, *looks, *files)
    if scenario != "Offline":  # its samples are counted before it begins
        assert report["summary"]["reasons"] == []
    assert all(reason.startswith("too short, ") and "--warm-up, or the --rate" in reason for reason in report["summary"]["reasons"])
    assert done.returncode == int(not report["summary"]["valid"]), done.stderr
    assert progress in done.stderr
    assert (report["kind"], report["summary"]["scenario"], report["summary"]["metric"]) == ("mlperf", scenario, metric)
    assert "MLPerf Results Summary" in report["summary"]["summary"]
    (measured,) = report["measurements"]
    assert measured["requests"] == report["requests"] > 0
    assert decode(measured["histogram"]).count == measured["requests"]
    assert measured["client_bound"] == bool(report["summary"]["client_bound"])
    assert (", client-bound: " in done.stdout) == measured["client_bound"]
    assert measured["server"]["cpu_us_per_request"] > 0
    assert measured["server"]["dollars_per_million"] > 0
    assert measured["server"]["requests"] >= measured["requests"]
    assert f",{measured['histogram']}" in (tmp_path / "r.hlog").read_text()
    assert "Latency by percentile" in (tmp_path / "r.html").read_text()


def test_a_scenario_that_is_not_valid_is_not_clean(bench) -> None:
    """The model takes longer than the limit."""
    done, report = bench("slow", "--scenario", "Server", "--rate", "1000", "--slo", "p99=1ms", *SHORT)
    assert done.returncode == 1
    assert report["summary"]["reasons"][0] == "latency is above the limit"
    assert "INVALID (latency is above the limit" in done.stdout


def test_deadlines(bench) -> None:
    """Who waits behind a run that takes longer is refused at once."""
    done, report = bench("slow", "--deadline", "2ms", "--requests", "5", "--quiet")
    assert (done.returncode, sum(report["errors"].values())) == (1, 5), report["errors"]
    assert report["errors"].keys() <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}


def test_conditions_of_a_ci_job(bench, call, tmp_path: Path) -> None:
    rate = ("double", "--rate", "200", *SHORT)
    done, report = bench(*rate, "--fail-if", "p99>1us", "--fail-if", "errors>1%", "--html", str(tmp_path / "r.html"))
    assert done.returncode == {"SLO MISSED": 1, "INCONCLUSIVE": 4}[report["verdict"]["word"]], done.stderr  # by the client, if it was late
    assert report["verdict"]["sentence"].startswith("p99 is ")
    first, *_, last = done.stdout.splitlines()
    assert first == last
    assert report["verdict"]["sentence"] in first
    assert report["command"].startswith(" ".join(["inferd", "bench", report["target"], *rate]))
    assert "fail if p99 &gt; 1 µs" in (tmp_path / "r.html").read_text()
    done, report = bench(*rate, "--fail-if", "p99>1000s,rate<1")
    assert (done.returncode, report["verdict"]["word"]) == (0, "SLO KEPT"), done.stdout
    again = call("bench", "report", tmp_path / "report.json", "--html", tmp_path / "again.html")
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    assert "SLO KEPT" in (tmp_path / "again.html").read_text()
    assert call("bench", "report", tmp_path / "report.json").stdout == done.stdout
    again = call("bench", "report", tmp_path / "r.html")
    assert (again.returncode, "expected a report that" in again.stderr) == (2, True)


class Foreign(EchoServer):
    """A server that does not list its models."""

    def methods(self) -> Any:
        return {name: method for name, method in super().methods().items() if not name.endswith("/RepositoryIndex")}


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[EchoServer]:
    echo = Foreign(tmp_path)
    yield echo
    echo.stop()


def test_a_server_that_does_not_list_its_models_needs_a_name(call, bench, foreign: EchoServer) -> None:
    done = call("bench", foreign.target, "--quiet")
    assert done.returncode == 2
    assert f"{foreign.target}: it does not list its models (RepositoryIndex): name MODEL after the address" in done.stderr
    given = ("--parameter", "priority=1", "--parameter", "share=.5", "--parameter", "name=x", "--parameter", "loud=true")
    done, _ = bench("echo", "--requests", "120", "--warm-up", "0s", "--shape", "x:1", "--quiet", *given, target=foreign.target)
    assert done.returncode == 0, done.stderr
    sent = foreign.request.parameters
    assert (sent["priority"].uint64_param, sent["share"].double_param, sent["name"].string_param, sent["loud"].bool_param) == (
        1,
        0.5,
        "x",
        True,
    )


def test_errors_that_a_condition_allows_are_clean(bench, tmp_path: Path) -> None:
    for name, value in {"bad": 9, "good": 0}.items():
        np.savez(tmp_path / f"{name}.npz", x=np.array([[value]], np.int64))
    both = ("--npz", str(tmp_path / "good.npz"), "--npz", str(tmp_path / "bad.npz"), "--requests", "200", "--warm-up", "0s", "--quiet")
    for condition, code in {"errors>90%": 0, "errors>10%": 1, "p99>1000s": 1}.items():
        done, report = bench("fail", *both, "--fail-if", condition)
        assert (done.returncode, report["errors"].keys()) == (code, {"INTERNAL"}), done.stdout


def test_a_verdict_that_says_nothing_can_fail_a_job(bench) -> None:
    few = ("double", "--requests", "5", "--warm-up", "0s", "--quiet")
    codes = [bench(*few, *flags)[0].returncode for flags in ((), ("--fail-on", "inconclusive"))]
    assert codes == [4, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nosuch",), 1, ["no model 'nosuch'"]),
        (("open", "--shape", "x:1,2,3"), 2, ["x"]),
        (("double", "--rate", "-1"), 2, ["--rate"]),
        (("double", "--arrivals", "poisson"), 2, ["--rate"]),
        (("double", "--rate", "10", "--arrivals", "sometimes"), 2, ["constant, poisson"]),
        (("double", "--rate", "10", "--arrivals", "trace:nowhere.csv"), 2, ["nowhere.csv"]),
        (("double", "--duration", "soon"), 2, ["10s"]),
        (("double", "--steps", "1", "--stress"), 2, ["--steps", "--stress"]),
        (("double", "--slo", "fast"), 2, ["p99=10ms"]),
        (("double", "--versions", "1"), 2, ["3,4"]),
        (("double", "--versions", "1,9"), 1, ["version 9"]),
        (("double", "--npz", "nowhere.npz"), 2, ["nowhere.npz"]),
        (("double", "--verify", "nowhere.onnx"), 2, ["nowhere.onnx"]),
        (("double", "--json", "/nowhere/r.json"), 2, ["/nowhere"]),
        (("double", "--metadata", "novalue"), 2, ["KEY=VALUE"]),
        (("double", "--metadata", "a b=1"), 2, ["KEY=VALUE"]),
        (("double", "--metadata", "x-bin=abc"), 2, ["x-bin", "bytes"]),
        (("double", "--metadata", "te=x"), 2, ["--metadata te", "themselves"]),
        (("double", "--metadata", "Content-Length=1"), 2, ["--metadata Content-Length", "themselves"]),
        (("double", "--metadata", "grpc-timeout=1n"), 2, ["--metadata grpc-timeout", "themselves"]),
        (("double", "--html", "one", "--csv", "./one"), 2, ["--html", "twice"]),
        (("double", "--csv", "x.csv", "--json", "x-intervals.csv"), 2, ["FILE-intervals.csv", "twice"]),
        (("double", "--scenario", "SingleStream", "--rate", "7"), 2, ["--rate", "SingleStream"]),
        (("double", "--scenario", "SingleStream", "--connections", "4"), 2, ["--connections is 1", "SingleStream"]),
        (("double", "--scenario", "Server", "--rate", "7", "--concurrency", "7"), 2, ["--concurrency", "Offline"]),
        (("double", "--seed", "-1"), 2, ["--seed", "-1"]),
        (("double", "--steps", "200000"), 2, ["--steps", "100,000", "200000"]),
        (("double", "--ramp", "1:10/5"), 2, ["--ramp", "3.25"]),
        (("double", "--deadline", "99999999999h"), 2, ["--deadline", "a year at most"]),
        (("double", "--rate", "10", "--warm-up", "99999999999h"), 2, ["--warm-up", "a year at most"]),
        (("double", "--npz", "junk.npz"), 2, ["--npz junk.npz", "numpy.savez"]),
        (("double", "--verify", "junk.npz"), 2, ["--verify junk.npz", "numpy.savez"]),
        (("double", "--json-input", "deep.json"), 2, ["--json-input deep.json", "nested too deep"]),
        (("double", "--scenario", "SingleStream", "--slo", "p99=1us"), 2, ["--slo", "--scenario Server"]),
        (("double", "--stress", "--rate", "7"), 2, ["--rate", "--stress"]),
        (("double", "--stress", "--concurrency", "7"), 2, ["--concurrency", "--stress"]),
        (("double", "--slo", "p99=1s", "--concurrency", "64"), 2, ["--concurrency", "--slo"]),
        (("double", "--steps", "1,2", "--concurrency", "64"), 2, ["--concurrency", "--steps"]),
        (("double", "--soak", "--rounds", "2"), 2, ["--rounds", "one load"]),
        (("double", "--metrics-url", "http://a:b@localhost:1/"), 2, ["--metrics-url", "user and password"]),
        (("double", "--rounds", "2", "--stress"), 2, ["--versions"]),
        (("double", "--rtol", "1"), 2, ["--verify"]),
        (("double", "--rate", "5", "--concurrency", "2"), 2, ["--concurrency"]),
        (("double", "--spin"), 2, ["--spin", "open loop"]),
        (("double", "--scenario", "Server", "--stress"), 2, ["--stress", "--scenario"]),
        (("double", "--fail-if", "p99=1ms"), 2, ["--fail-if p99=1ms", "p99>50ms"]),
        (("double", "--versions", "1,3", "--fail-if", "p99>1ms"), 2, ["--fail-if", "one load"]),
        (("double", "--parameter", "priority"), 2, ["--parameter priority", "priority=1"]),
        (("double", "--samples", "s.npy", "--steps", "1,2"), 2, ["--samples", "one load"]),
        (("double", "--connections", "2", "--processes", "3"), 2, ["--processes 3", "--connections"]),
        (("double", "--requests", "1", "--processes", "2"), 2, ["--processes 2", "--requests"]),
        (("double", "--duration", "0s"), 2, ["--duration"]),
        (("double", "--deadline", "0s"), 2, ["--deadline"]),
        ((), 2, ["several models", "double"]),
    ],
)
def test_what_cannot_be_asked(call, server: Serving, tmp_path: Path, arguments: tuple[str, ...], code: int, words: list[str]) -> None:
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04" + b"junk" * 50)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    done = call("bench", server.addresses["grpc"], *arguments, "--quiet")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_nobody_there_and_nobody_who_knows_the_protocol(call, server: Serving, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = call("bench", address, "double", "--quiet")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert address in done.stderr
    done = call("bench", server.addresses["metrics"], "double", "--quiet")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert server.addresses["metrics"] in done.stderr


@contextmanager
def measuring(address: str, model: str, folder: Path, *more: str, plain: str = "", terminal: str = "") -> Iterator[subprocess.Popen[str]]:
    """A bench of a minute in the midst of its measuring: the server has answered many requests of it. plain: where it says so, if not
    there. terminal: a session's of its own."""
    words = command("bench", address, model, "--duration", "60s", "--warm-up", "0s", "--json", "report.json", *more)
    if terminal:
        words = ["sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', terminal, *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Caller(plain or address) as caller:
        before = caller.statistics(model).inference_stats.success.count
        with subprocess.Popen(words, cwd=folder, env=environment(), start_new_session=True, **pipes) as process:
            until_answered(caller, model, before + 100)
            yield process


def until_answered(caller: Caller, model: str, count: int) -> None:
    limit_s, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while caller.statistics(model).inference_stats.success.count < count:
        assert time.monotonic() < limit_s
        pause.wait(0.01)  # the core is the program's, which starts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])  # and SIGTERM below
def test_ctrl_c_prints_what_was_measured(server: Serving, tmp_path: Path, number: signal.Signals) -> None:
    with measuring(server.addresses["grpc"], "single", tmp_path) as process:
        process.send_signal(number)
        out, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["measurements"][0]["ended"] == "interrupted"
    assert report["requests"] > 0
    assert "interrupted" in out


@pytest.mark.parametrize(("processes", "unbuffered"), [(1, "1"), (2, "")])
def test_a_terminal_that_goes_takes_nothing_that_was_measured(
    server: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, unbuffered: str
) -> None:
    """The system tells the first process, a shell all of them, and again; nobody can be told anything then, but the report is there."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    ours, theirs = os.openpty()
    load = ("--connections", "2", "--processes", str(processes))
    with measuring(server.addresses["grpc"], "single", tmp_path, *load, terminal=os.ttyname(theirs)) as process:
        os.close(theirs)
        os.close(ours)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)
        process.wait(TIMEOUT_S)
    assert process.returncode == 1, "stdout cannot be written"
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["measurements"][0]["ended"], report["requests"] > 0) == ("interrupted", True)


@pytest.mark.parametrize("load", [("--connections", "2", "--processes", "2"), ("--scenario", "SingleStream", "--duration", "15s")])
def test_sigterm_to_all_processes_takes_nothing_that_was_measured(server: Serving, tmp_path: Path, load: tuple[str, ...]) -> None:
    """As timeout(1) sends it: to its child, and to the group in which that is."""
    if "--scenario" in load:
        pytest.importorskip("mlperf_loadgen", reason="LoadGen is not installed here")
    with measuring(server.addresses["grpc"], "single", tmp_path, *load) as process:
        process.send_signal(signal.SIGTERM)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, errors
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["measurements"][0]["ended"], report["requests"] > 0) == ("interrupted", True)


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_ctrl_c_again_and_again_loses_nothing_even_where_the_server_hangs(server: Serving, tmp_path: Path, quiet: list[str]) -> None:
    with measuring(server.addresses["grpc"], "single", tmp_path, *quiet) as process:
        server.process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(TIMEOUT_S * 100):
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.01)
                    break
            out, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            server.process.send_signal(signal.SIGCONT)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "report.json").read_text())["measurements"][0]["ended"] == "interrupted"
    assert "interrupted" in out


def test_a_server_that_dies_half_way(tmp_path: Path) -> None:
    (tmp_path / "serving").mkdir()
    with (
        Serving(tmp_path / "serving", EXAMPLES / "models", *FREE_PORTS) as server,
        measuring(server.addresses["grpc"], "digits", tmp_path) as process,
    ):
        server.process.kill()
        out, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["requests"] > 0
    assert report["errors"]["connection"] > 0
    assert "was lost" in report["measurements"][0]["ended"]
    assert "was lost" in out


def test_more_in_flight_than_memory_has_room_for_is_refused(bench: Any) -> None:
    done, _ = bench("double", "--connections", "1000", "--concurrency", "1000")
    assert (done.returncode, "expected at most 100,000 requests in flight in all" in done.stderr) == (2, True)
