"""Files that are replaced, and what counts as a failure; servers are left out."""

from __future__ import annotations

import ssl
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import rotation
from record import Report


@pytest.mark.parametrize("mutual", [False, True])
def test_files_are_replaced_by_a_certificate_and_its_key(tmp_path: Path, mutual: bool) -> None:
    certificates = rotation.Certificates(tmp_path / "files", mutual=mutual)
    before = certificates.chain.read_bytes(), certificates.key.read_bytes()
    certificates.replace()
    assert certificates.chain.read_bytes() != before[0]
    assert certificates.key.read_bytes() != before[1]
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificates.chain, certificates.key)
    assert sorted(path.name for path in tmp_path.glob("files/*")) == [*(["clients.pem"] if mutual else []), "server.key", "server.pem"]


def test_authorities_of_clients_overlap(tmp_path: Path) -> None:
    certificates = rotation.Certificates(tmp_path / "files", mutual=True)
    before = _split(certificates.client_ca)
    certificates.replace()
    after = _split(certificates.client_ca)
    assert len(before) == len(after) == 2
    assert before[1] == after[0]
    assert after[1] not in before


def _split(pem: Path) -> list[str]:
    return pem.read_text().split("-----END CERTIFICATE-----\n")[:-1]


class Server:
    """Shows each new certificate, and refuses who is gone, after so many looks."""

    mutual = True

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._shown = iter(["a", "a", "ab", "b", "b", "bc", "c"])

    def shown_by(self, address: str, connections: int) -> set[str]:
        self.steps.append("look")
        return set(next(self._shown))

    def former_is_refused(self, address: str) -> bool:
        self.steps.append("ask")
        return True

    def replace(self) -> None:
        self.steps.append("replace")

    def take_up(self) -> None:
        self.steps.append("take up")


def test_each_rotation_waits_until_every_process_shows_the_new_certificate() -> None:
    server: Any = Server()
    took, refused = rotation.rotate(server, "host:1", 2, 4, lambda: server.steps.append("pause"))
    assert (len(took), refused) == (2, [True, True])
    assert server.steps == [
        *("pause", "look", "replace", "look", "look", "look", "ask", "take up"),
        *("pause", "look", "replace", "look", "look", "ask", "take up", "pause"),
    ]


@pytest.mark.parametrize(
    ("failures", "refused", "kept"),
    [
        ([], [], {"yes"}),
        ([], [True, True], {"yes"}),
        (["fresh: UNAVAILABLE: closed"], [], {"yes", "NO"}),
        ([], [True, False], {"yes", "NO"}),
    ],
)
def test_what_is_a_failure(failures: list[str], refused: list[bool], kept: set[str]) -> None:
    report = Report(1, 0.0)
    callers: Any = SimpleNamespace(calls=Counter({"lasting": 3, "fresh": 2}), failures=failures, latencies_s=[0.001] * 5)
    rotation.judge(report, "alone", callers, [1.0, 2.0], refused, 10.0)
    assert {verdict for *_, verdict in report.rows if verdict} == kept
