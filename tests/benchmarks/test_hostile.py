"""What counts as a failure of the server under attack, and that the attacks say in HTTP/2 what they mean; the server itself is left out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import hpack
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import attacks
import hostile
import hostile_peer
from record import Report

FOUND: dict[str, Any] = {
    "quiet_p99_us": 400.0,
    "beside_p99_us": 700.0,
    "before_mib": 90.0,
    "peak_mib": 200.0,
    "after_mib": 120.0,
    "grown_mib": 1.0,
    "failed": 0,
    "left": "",
    "words": {"GOAWAY ENHANCE_YOUR_CALM": 3},
}


@pytest.mark.parametrize(
    ("changed", "kept", "word"),
    [
        ({}, "yes", "3 GOAWAY ENHANCE_YOUR_CALM"),
        ({"beside_p99_us": 3600.0}, "NO", "p99 x 9.0"),
        ({"peak_mib": 90.0 + hostile.MOST_MIB + 1}, "NO", "peak"),
        ({"after_mib": 90.0 + hostile.MOST_LEFT_MIB + 1}, "NO", "after"),
        ({"grown_mib": hostile.MOST_GROWN_MIB + 1.0}, "NO", "more each time"),
        ({"failed": 1}, "NO", "1 calls failed"),
        ({"left": "inferd_streams 3"}, "NO", "held: inferd_streams 3"),
    ],
)
def test_every_demand_is_judged(changed: dict[str, Any], kept: str, word: str) -> None:
    report = Report(3, 4.0)
    hostile.judge(report, "an attack", FOUND | changed)
    [(_, _, measured, verdict)] = report.rows
    assert (verdict, word in measured) == (kept, True)


@pytest.mark.parametrize("nbytes", [0, 1, 126, 127, 128, 254, 255, 4000, 16_000, 70_000])
def test_lengths_are_those_of_hpack(nbytes: int) -> None:
    decoder = hpack.Decoder(max_header_list_size=1 << 20)
    assert decoder.decode(hostile_peer.literal(b"name", b"x" * nbytes), raw=True) == [(b"name", b"x" * nbytes)]


def test_a_request_is_one_that_a_library_reads() -> None:
    """h2's server; DATA in as many frames as it needs."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    server.initiate_connection()
    content = hostile_peer.PREFACE + hostile_peer.frame(hostile_peer.SETTINGS, 0, 0)
    content += hostile_peer.frame(hostile_peer.HEADERS, hostile_peer.END_HEADERS, 1, hostile_peer.BLOCK) + hostile_peer.data(
        1, bytes(40_000)
    )
    events = server.receive_data(content)
    [asked] = [event for event in events if isinstance(event, h2.events.RequestReceived)]
    assert dict(asked.headers)[":path"] == "/inference.GRPCInferenceService/ModelInfer"
    assert sum(event.flow_controlled_length for event in events if isinstance(event, h2.events.DataReceived)) == 40_000
    assert isinstance(events[-1], h2.events.StreamEnded)


def test_the_attacks_of_tls_are_among_the_attacks() -> None:
    assert set(attacks.ATTACKS) >= attacks.OF_TLS
    assert hostile_peer.client_hello().startswith(b"\x16\x03")
