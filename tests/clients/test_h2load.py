"""h2load, the load tester of nghttp2, on both transports. It looks at no answer: the server's counts and a client beside it do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import models
from tests.http2_peer import framed
from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.wire import INFER, Caller, Held, infer_request, rows, same

REQUESTS = {"native": 20_000, "grpcio": 1_000}  # grpcio's Python server needs a hundred times the time for one


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    files = models.repository(tmp_path_factory.mktemp("h2load"), {"identity": models.identity()})
    with ServerFixture(files, transport=request.param, http_port=0) as server:
        yield server


GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
REST = ("-H", "content-type: application/json")


@pytest.mark.parametrize(
    ("connections", "streams", "options"),
    [(4, 16, GRPC), (16, 1, GRPC), (16, 1, ("--h1", *REST)), (4, 8, ("--h1", *REST)), (4, 16, REST)],
    ids=["grpc-4x16", "grpc-16x1", "http1-16x1", "http1-pipelined", "rest-by-http2"],
)
def test_load(served: ServerFixture, tmp_path: Path, connections: int, streams: int, options: tuple[str, ...]) -> None:
    program = shutil.which("h2load")
    assert program, "h2load is missing: install Debian's nghttp2-client"
    is_rest = options is not GRPC
    count = REQUESTS[served.transport] // (4 if is_rest else 1)
    body, target = tmp_path / "body", f"{served.address}{INFER}"
    body.write_bytes(framed(infer_request("identity", {"x": rows(1)}).SerializeToString()))
    if is_rest:
        body.write_text(json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": list(range(16))}]}))
        target = f"{served.http}/v2/models/identity/infer"
    with Caller(served.address) as caller:
        same(caller.answers("identity", {"x": rows(3, first=1)}), {"y": rows(3, first=1)})
        held = Held(served)
        before = caller.statistics("identity")
        done = subprocess.run(
            [
                *(program, "-n", str(count), "-c", str(connections), "-m", str(streams), "-d", str(body)),
                *(*options, f"http://{target}"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        after = caller.statistics("identity")
        same(caller.answers("identity", {"x": rows(3, first=2)}), {"y": rows(3, first=2)})
    requests = re.search(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    assert requests, done.stdout
    assert [int(number) for number in requests.groups()] == [count, count, 0, 0, 0]
    assert f"status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx" in done.stdout
    assert after.inference_stats.success.count - before.inference_stats.success.count == count
    assert after.inference_count - before.inference_count == count
    assert after.inference_stats.fail.count == before.inference_stats.fail.count
    held.check()
