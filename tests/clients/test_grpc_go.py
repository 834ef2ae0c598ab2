"""grpc-go, a stack that shares no code with grpcio's or Node's, on both transports, in plaintext and by TLS with a token.

go/client.go makes the calls and prints what came; what is right is said here. `make test` builds it (scripts/go-client).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import models
from tests.certificates import Files
from tests.served import TRANSPORTS, Served

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTORS = ROOT / "inferd" / "protocol" / "descriptors.binpb"
TOKEN = "a-token-of-the-tests-own"
CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, UNIMPLEMENTED, UNAUTHENTICATED = 1, 3, 4, 5, 12, 16


def program() -> str:
    found = shutil.which("go-client") or shutil.which("go-client", path=str(ROOT / ".tools" / "bin"))
    assert found, "the Go client is missing: scripts/go-client builds it, as make test does"
    return found


@pytest.fixture(scope="module", params=[(transport, secure) for transport in TRANSPORTS for secure in (False, True)])
def came(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("go")
    files = models.repository(
        folder / "models",
        {"identity": models.identity(), "slow": models.slow(200), "large": models.doubled("FP32", (150_000,))},
        {"slow": "max_batch_size: 1", "large": "max_batch_size: 4"},
    )
    transport, secure = request.param
    settings: dict[str, str] = {}
    flags: list[str] = []
    if secure:
        (folder / "tokens").write_text(TOKEN)
        settings = Files.made(folder).settings() | {"token_file": str(folder / "tokens")}
        flags = [str(folder / "ca.pem"), TOKEN]
    with Served(files, transport=transport, compression="gzip", **settings) as served:
        done = subprocess.run([program(), served.address, str(DESCRIPTORS), *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert ("without_token" in found) == secure
    return found


def row(first: int) -> list[float]:
    return [first + index for index in range(16)]


def test_answers(came: dict[str, Any]) -> None:
    assert came["live"] == {"live": True}
    assert came["values"] == row(1)
    assert came["large"] == 150_000


def test_metadata(came: dict[str, Any]) -> None:
    assert came["metadata"]["versions"] == ["1"]
    assert came["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "16"]}]


def test_200_calls_at_once_get_their_own_rows(came: dict[str, Any]) -> None:
    assert came["many"] == [row(first) for first in range(200)]


def test_compressed_messages(came: dict[str, Any]) -> None:
    assert came["gzip"] == row(3)
    assert came["large_gzip"] == 150_000


def test_errors_and_their_words(came: dict[str, Any]) -> None:
    """Letters beyond ASCII and '%' travel percent-encoded in grpc-message, and come back as they were."""
    assert came["unknown_model"]["code"] == NOT_FOUND
    assert "'größe 100% 模型'" in came["unknown_model"]["message"]
    assert came["wrong_shape"]["code"] == INVALID_ARGUMENT
    assert "axis 1 must be 16" in came["wrong_shape"]["message"]
    assert came["unknown_method"]["code"] == UNIMPLEMENTED


def test_deadline_and_cancellation(came: dict[str, Any]) -> None:
    assert came["late"]["code"] == DEADLINE_EXCEEDED
    assert came["cancelled"]["code"] == CANCELLED


def test_health(came: dict[str, Any]) -> None:
    assert came["check"] == {"status": "SERVING"}
    assert came["check_unknown"]["code"] == NOT_FOUND
    assert came["watch"] == {"first": {"status": "SERVING"}, "end": CANCELLED}


def test_a_call_without_a_token_is_refused(came: dict[str, Any]) -> None:
    if "without_token" in came:
        assert came["without_token"]["code"] == UNAUTHENTICATED
