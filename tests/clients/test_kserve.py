"""KServe's REST client, unchanged, where benchmarks/peers has installed KServe. Nothing is installed here: KServe brings 28 packages, some
older than those that inferd's tests need.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import models
from tests.server_fixtures import LIMIT_S, TRANSPORTS, ServerFixture

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".peers" / "kserve" / "bin" / "python"


@pytest.mark.skipif(not PYTHON.exists(), reason="KServe is not installed: python benchmarks/peers --peers kserve --install-only")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_its_rest_client_works_unchanged(tmp_path: Path, transport: str) -> None:
    repository = models.repository(tmp_path, {"identity": models.identity()})
    with ServerFixture(repository, transport=transport, http_port=0) as server:
        command = [PYTHON, HERE / "kserve_rest.py", f"http://{server.http}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said.pop("error").startswith("model 'identity': input 'x' is missing; it takes 'x' FP32[-1,16], '400 Bad Request'")
    assert said == {"live": True, "ready": True, "model_ready": True, "unknown_ready": False, "json": True, "binary": True}
