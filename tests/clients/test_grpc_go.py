"""grpc-go, a stack that shares no code with grpcio's or Node's, on both transports, in plaintext and by TLS with a token.

go/client.go makes the calls and prints what came; what is right is said here and in tests/client_conformance.py. `make test` builds it
(scripts/go-client).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Files
from tests.client_conformance import CANCELLED, UNAUTHENTICATED, Calls, repository, row, told_by
from tests.server_fixtures import ServerFixture

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTORS = ROOT / "inferd" / "protocol" / "descriptors.binpb"
TOKEN = "a-token-of-the-tests-own"


def program() -> str:
    found = shutil.which("go-client") or shutil.which("go-client", path=str(ROOT / ".tools" / "bin"))
    assert found, "the Go client is missing: scripts/go-client builds it, as make test does"
    return found


@pytest.fixture(scope="module", params=[("native", False), ("native", True), ("grpcio", True)])
def came(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("go")
    transport, secure = request.param
    settings: dict[str, str] = {}
    flags: list[str] = []
    if secure:
        (folder / "tokens").write_text(TOKEN)
        settings = Files.made(folder).settings() | {"token_file": str(folder / "tokens")}
        flags = [str(folder / "ca.pem"), TOKEN]
    with ServerFixture(repository(folder / "models"), transport=transport, compression="gzip", **settings) as served:
        found = told_by(program(), served.address, str(DESCRIPTORS), *flags)
    assert ("without_token" in found) == secure
    return found


class TestCalls(Calls):
    """Those of every client."""


def test_metadata(came: dict[str, Any]) -> None:
    assert came["metadata"]["versions"] == ["1"]
    assert came["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "16"]}]


def test_compressed_messages(came: dict[str, Any]) -> None:
    assert came["gzip"] == row(3)
    assert came["large_gzip"] == 150_000


def test_cancellation(came: dict[str, Any]) -> None:
    assert came["cancelled"]["code"] == CANCELLED


def test_watching_health(came: dict[str, Any]) -> None:
    assert came["watch"] == {"first": {"status": "SERVING"}, "end": CANCELLED}


def test_a_call_without_a_token_is_refused(came: dict[str, Any]) -> None:
    if "without_token" in came:
        assert came["without_token"]["code"] == UNAUTHENTICATED
