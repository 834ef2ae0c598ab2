"""h2load, the load tester of nghttp2, on both transports. It looks at no answer: the server's counts and a client beside it do."""

from __future__ import annotations

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
    with ServerFixture(files, transport=request.param) as server:
        yield server


@pytest.mark.parametrize(("connections", "streams"), [(4, 16), (16, 1)])
def test_load(served: ServerFixture, tmp_path: Path, connections: int, streams: int) -> None:
    program = shutil.which("h2load")
    assert program, "h2load is missing: install Debian's nghttp2-client"
    count = REQUESTS[served.transport]
    body = tmp_path / "body"
    body.write_bytes(framed(infer_request("identity", {"x": rows(1)}).SerializeToString()))
    with Caller(served.address) as caller:
        same(caller.answers("identity", {"x": rows(3, first=1)}), {"y": rows(3, first=1)})
        held = Held(served)
        before = caller.statistics("identity")
        done = subprocess.run(
            [
                *(program, "-n", str(count), "-c", str(connections), "-m", str(streams), "-d", str(body)),
                *("-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{served.address}{INFER}"),
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
