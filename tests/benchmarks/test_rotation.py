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


def test_files_are_replaced_by_a_certificate_and_its_key(tmp_path: Path) -> None:
    certificate = rotation.Certificate(tmp_path / "certificates")
    before = certificate.chain.read_bytes(), certificate.key.read_bytes()
    certificate.replace()
    assert certificate.chain.read_bytes() != before[0]
    assert certificate.key.read_bytes() != before[1]
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.chain, certificate.key)
    assert sorted(path.name for path in certificate.chain.parent.iterdir()) == ["server.key", "server.pem"]


def test_each_rotation_waits_until_the_new_certificate_is_shown() -> None:
    steps: list[str] = []
    shown = iter(["a", "a", "b", "b", "c"])  # the server takes a moment at first

    def look(address: str) -> str:
        steps.append("look")
        return next(shown)

    certificate: Any = SimpleNamespace(shown_by=look, replace=lambda: steps.append("replace"))
    assert len(rotation.rotate(certificate, "host:1", 2, lambda: steps.append("pause"))) == 2
    assert steps == ["pause", "look", "replace", "look", "look", "pause", "look", "replace", "look", "pause"]


@pytest.mark.parametrize(("failures", "kept"), [([], {"yes"}), (["fresh: UNAVAILABLE: closed"], {"yes", "NO"})])
def test_a_failed_call_is_a_failure(failures: list[str], kept: set[str]) -> None:
    report = Report(1, 0.0)
    callers: Any = SimpleNamespace(calls=Counter({"lasting": 3, "fresh": 2}), failures=failures, latencies_s=[0.001] * 5)
    rotation.judge(report, callers, [1.0, 2.0], 10.0)
    assert {verdict for *_, verdict in report.rows if verdict} == kept
