"""A part that no other module knows works on both transports and with two workers: tests/sample_part.py is one."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import grpc
import pytest

from inferd.protocol import health
from inferd.serving.parts.registry import PARTS
from tests import models
from tests.rest import Asker, infer_body
from tests.sample_part import METHOD, SamplePart
from tests.server_fixtures import TRANSPORTS, Program, ServerFixture, until
from tests.wire import LIMIT_S

ROOT = Path(__file__).parents[3]
ONES = infer_body("x", "FP32", [1, 16], [1.0] * 16)
HOOK = "from inferd.serving.parts.registry import PARTS\nfrom tests.sample_part import SamplePart\nPARTS.append(lambda _: SamplePart())\n"


def count(address: str, model: str) -> int:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(METHOD, health.HealthCheckRequest.SerializeToString, health.HealthCheckResponse.FromString)
        return int(ask(health.HealthCheckRequest(service=model), timeout=LIMIT_S).status)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_new_part(tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferd.serving.parts.registry.PARTS", [*PARTS, lambda _: SamplePart()])
    folder = models.repository(tmp_path, {"m": models.identity()})
    with ServerFixture(folder, transport=transport, http_port=0) as served, Asker(served.http) as asker:
        assert count(served.address, "m") == 0
        assert asker.post("/v2/models/m/infer", ONES).status == 200
        assert asker.get("/v2/models/m/sample").json == {"answered": 1}
        assert count(served.address, "m") == 1
        assert served.measured("sample_answered") == {(): 1}
        assert "/v2/models/{model}/sample" in asker.get("/openapi.json").json["paths"]
        assert asker.post("/v2/models/m/sample").status == 405


def test_a_new_part_in_two_workers(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    folder = models.repository(tmp_path / "models", {"m": models.identity()})
    paths = f"{tmp_path}:{ROOT}"
    with Program(folder, "--workers", "2", "--http-port", "0", environment={"PYTHONPATH": paths}) as program:
        for answered in range(1, 5):
            with Asker(program.addresses["http"]) as asker:  # the supervisor gives each connection to the worker with the fewest
                assert asker.post("/v2/models/m/infer", ONES).status == 200
            until(lambda answered=answered: scraped(program.addresses["metrics"]) == answered)


def scraped(address: str) -> int:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as page:
        (value,) = re.findall(r"^sample_answered_total (\d+)", page.read().decode(), re.MULTILINE)
    return int(value)
