"""A server that watches versions with a profile: over gRPC and REST, in workers, and after a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from inferd.errors import ConfigError
from inferd.monitor import watcher
from inferd.monitor.part import MonitorPart
from inferd.protocol import options
from tests import models
from tests.monitor.conftest import Receiver
from tests.monitor.profiles import requests, write_beside
from tests.rest import Asker
from tests.server_fixtures import TRANSPORTS, Program, ServerFixture, until
from tests.wire import LIMIT_S, Caller, infer_request

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(2000, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = {"m": models.identity(dims=(4,)), "plain": models.identity()}
    found = models.repository(tmp_path / "models", made)
    write_beside(found / "m" / "1" / "model.onnx", {"x": ROWS})
    return found


@pytest.fixture(params=TRANSPORTS)
def served(folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerFixture]:
    monkeypatch.setattr(watcher, "LOOK_S", 0.02)
    monkeypatch.setattr(watcher, "IDLE_S", 0.02)
    with ServerFixture(folder, transport=request.param, http_port=0, drift_window_rows=500) as served:
        yield served


def drift(address: str, model: str = "m", version: int = 0) -> list[options.DriftReport]:
    request = options.DriftRequest(model_name=model, model_version=version)
    with grpc.insecure_channel(address) as channel:
        asked = channel.unary_unary("/inferd.v1.Monitor/Drift", type(request).SerializeToString, options.DriftResponse.FromString)
        return list(asked(request, timeout=LIMIT_S).reports)


def send(address: str, rows: Any) -> None:
    with Caller(address) as caller:
        for number, given in enumerate(requests({"x": rows})):
            caller.infer(infer_request("m", given, id=f"r{number}"))


def windows(address: str) -> int:
    (report,) = drift(address)
    return len(report.windows)


def test_drift_of_each_way(served: ServerFixture) -> None:
    (report,) = drift(served.address)
    assert (report.state, report.reference_rows, report.window_rows) == (options.DriftReport.COUNTING, 2000, 500)
    assert report.verdict == "Too few rows yet: 0 of the first 2 windows have ended, and 0 of 500 rows of the next one have come."
    for count in (1, 2):
        send(served.address, ROWS[:500])
        until(lambda count=count: windows(served.address) == count)
    (report,) = drift(served.address)
    assert (report.state, report.verdict) == (
        options.DriftReport.QUIET,
        "Nothing has moved away from the reference, in 11 features and 1,000 rows.",
    )
    moved = ROWS[:500].copy()
    moved[:, 2] = moved[:, 2] * 1000
    for count in (3, 4):
        send(served.address, moved)
        until(lambda count=count: windows(served.address) == count)
    (report,) = drift(served.address, version=1)
    assert report.state == options.DriftReport.FOUND
    assert report.verdict.endswith("predictions have moved, too. First of all: x[2] in other units, it seems: times 1000.")
    first = report.features[0]
    assert (first.name, first.is_output, [finding.kind for finding in first.findings]) == (
        "x[2]",
        False,
        ["units", "drift", "out of range"],
    )
    assert first.findings[0].request_id == "r0"
    assert len(first.effects) == len(report.windows) == 4
    assert len(first.bins) == len(first.shares) == len(first.reference_shares)
    assert {each.name for each in report.features if any(finding.kind == "drift" for finding in each.findings)} == {
        "x[2]",
        "y[2]",
        "class of y",
    }
    with Asker(served.http) as asker:
        (shown,) = asker.get("/v2/models/m/drift").json["reports"]
        assert (shown["verdict"], shown["state"]) == (report.verdict, "FOUND")
        assert asker.get("/v2/models/m/versions/1/drift").json["reports"][0]["model_version"] == 1
        assert {"/v2/models/{model}/drift"} <= set(asker.get("/openapi.json").json["paths"])
    assert served.measured("inferd_drift_rows")[("m", "1")] == 2000
    assert served.measured("inferd_drift_findings")[("m", "1", "units")] == 1
    assert served.measured("inferd_drift_effect")[("m", "1", "x[2]")] > 0.5


def test_what_is_not_there_is_said(served: ServerFixture) -> None:
    with Asker(served.http) as asker:
        for path, words in (
            ("none/drift", "model_name: there is no model 'none'"),
            ("plain/drift", "model_name: no version of model 'plain' has a reference profile: learn one with `inferd profile`, and load"),
            ("m/versions/7/drift", "model_name: version 7 of model 'm' has no reference profile"),
        ):
            response = asker.get(f"/v2/models/{path}")
            assert (response.status, words in response.error) == (404, True), response.error
    with pytest.raises(grpc.RpcError, match="model_version: expected 0 or more, got -1"):
        drift(served.address, version=-1)


def test_a_change_is_told_to_a_webhook(folder: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    monkeypatch.setattr(watcher, "LOOK_S", 0.02)
    monkeypatch.setattr(watcher, "IDLE_S", 0.02)
    with ServerFixture(folder, drift_window_rows=500, drift_webhook=receiver.url) as served:
        for count in (1, 2):
            send(served.address, ROWS[:500] + 3)
            until(lambda count=count: windows(served.address) == count)
        until(lambda: served.measured("inferd_drift_notices")[("sent",)] == 1)
    (body,) = receiver.bodies
    assert (body["model"], body["version"], body["state"]) == ("m", 1, "FOUND")
    assert body["findings"][0]["kind"] == "drift"
    assert body["findings"][0]["explanation"].startswith("moved away from the reference")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"drift_webhook": "ftp://x/"}, "drift_webhook: expected a URL that begins with http:// or https://"),
        ({"drift_webhook": "http://x/", "drift_webhook_key": "/no/such/file"}, "drift_webhook_key /no/such/file: cannot be read"),
    ],
)
def test_wrong_settings_end_the_start(folder: Path, settings: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why), ServerFixture(folder, **settings):
        pass


def test_without_the_setting_nothing_is_watched(folder: Path) -> None:
    with ServerFixture(folder, drift=False) as served:
        send(served.address, ROWS[:100])
        with pytest.raises(grpc.RpcError) as raised:
            drift(served.address)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_version_that_is_loaded_later_is_watched(folder: Path) -> None:
    (folder / "m").rename(folder.parent / "m")
    with ServerFixture(folder, http_port=0, model_control="explicit", load_model=("plain",)) as served, Asker(served.http) as asker:
        (folder.parent / "m").rename(folder / "m")
        assert asker.post("/v2/repository/models/m/load", {}).status == 200
        part = served.server.parts.of(MonitorPart)
        until(lambda: len(part.watcher.watches()) == 1)
        send(served.address, ROWS[:100])
        assert drift(served.address)[0].rows == 100


def test_the_counts_of_workers_are_sums_over_a_restart(folder: Path) -> None:
    sent = 0
    for workers in (2, 1):
        with Program(folder, "--workers", str(workers)) as program:
            for _ in range(4):
                send(program.address, ROWS[:128])
                sent += 128
            metrics = str(program.addresses["metrics"])
            until(lambda metrics=metrics, sent=sent: scraped(metrics) == sent)


def scraped(metrics: str) -> float:
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=LIMIT_S) as response:
            lines = response.read().decode().splitlines()
    except urllib.error.URLError:
        return -1.0
    return max((float(line.rpartition(" ")[2]) for line in lines if line.startswith("inferd_drift_rows_total{")), default=-1.0)
