"""A part that no other module knows works on both transports and with two workers: tests/sample_part is one."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import grpc
import pytest

from inferd.protocol import health
from inferd.serving.parts.registry import distinct
from tests import models
from tests.rest import Asker, infer_body
from tests.sample_part.part import METHOD
from tests.server_fixtures import Program, until
from tests.wire import LIMIT_S

ROOT = Path(__file__).parents[3]
ONES = infer_body("x", "FP32", [1, 16], [1.0] * 16)
LINE = "from inferd.parts import PARTS\nPARTS.append('tests.sample_part')\n"  # Python reads it as it starts


def count(address: str, model: str) -> int:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(METHOD, health.HealthCheckRequest.SerializeToString, health.HealthCheckResponse.FromString)
        return int(ask(health.HealthCheckRequest(service=model), timeout=LIMIT_S).status)


def scraped(address: str) -> int:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as page:
        (value,) = re.findall(r"^sample_responses_total (\d+)", page.read().decode(), re.MULTILINE)
    return int(value)


@pytest.mark.parametrize("options", [("--transport", "native"), ("--transport", "grpcio"), ("--workers", "2")], ids=" ".join)
def test_a_new_part(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "sitecustomize.py").write_text(LINE)
    folder = models.repository(tmp_path / "models", {"m": models.identity()})
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "INFERD_SAMPLE_NAME": "counted"}
    with Program(folder, *options, "--http-port", "0", environment=environment) as program:
        http, metrics = program.addresses["http"], program.addresses["metrics"]
        for responses in range(1, 5):
            with Asker(http) as asker:  # the supervisor gives each connection to the worker with the fewest
                assert asker.post("/v2/models/m/infer", ONES).status == 200
            until(lambda responses=responses: scraped(metrics) == responses)
        with Asker(http) as asker:
            assert asker.get("/v2/models/m/counted").json["responses"] > 0
            assert asker.post("/v2/models/m/counted").status == 405
            assert "/v2/models/{model}/counted" in asker.get("/openapi.json").json["paths"]
        assert (count(program.address, "m"), count(program.address, "n")) == (1, 0)


def test_a_part_that_raises_leaves_the_server_to_the_others(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LINE.replace("append('tests.sample_part')", "insert(0, 'tests.faulty_part')"))
    folder = models.repository(tmp_path / "models", {"m": models.identity()})
    with Program(folder, "--http-port", "0", environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as program:
        with Asker(program.addresses["http"]) as asker:
            assert asker.post("/v2/models/m/infer", ONES).status == 200
        with urllib.request.urlopen(f"http://{program.addresses['metrics']}/metrics", timeout=LIMIT_S) as page:
            assert b"inferd_build_info" in page.read()
        assert program.stop() == 0


def test_two_parts_of_one_name_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="two parts have b"):
        distinct([("a", 1), ("b", 2), ("b", 2)])
