"""What a soak asks, what it takes for wrong, and HTTP/2 by hand against a real server; the soak itself is left out."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import by_hand
import soak
from record import Report
from soak import Counts, Wrong

from tests import models
from tests.server_fixtures import LIMIT_S, ServerFixture
from tests.wire import infer_request

PAGE = """\
# TYPE inferd_streams gauge
inferd_streams 2.0
inferd_streams_opened_total 9.0
inferd_streams_abandoned_total 3.0
inferd_connections 1.0
inferd_message_bytes 4096.0
inferd_server_refusals_total{reason="invalid"} 5.0
inferd_server_refusals_total{reason="not_found"} 4.0
inferd_stage_duration_seconds_count{model="a",stage="request",version="1"} 7.0
inferd_stage_duration_seconds_count{model="a",stage="queue",version="1"} 100.0
inferd_stage_duration_seconds_count{model="b",stage="request",version="1"} 1.0
"""
ASKED = Counter({"good": 90, "tls": 5, "compressed": 5, "unknown": 4, "shape": 3, "garbage": 2, "expired": 6, "cancelled": 10})


def counts(**changed: Any) -> Counts:
    """What a server says that did well."""
    right = {"results": 101, "refusals": Counter({"not_found": 4, "invalid": 5}), "abandoned": 9}
    return Counts(**{**right, "streams": 0, "connections": 0, "message_nbytes": 0, **changed})


def test_counts_are_read_from_the_metrics() -> None:
    assert Counts.of(PAGE) == Counts(8, Counter({"invalid": 5, "not_found": 4}), 3, 2, 1, 4096)
    assert Counts.of(PAGE).since(Counts.of(PAGE)) == Counts(0, Counter(), 0, 2, 1, 4096)


def test_a_server_that_did_well() -> None:
    soak.check(ASKED, counts())
    soak.check(ASKED, counts(refusals=Counter({"not_found": 4, "invalid": 5, "deadline": 6})))


@pytest.mark.parametrize(
    "wrong",
    [
        {"results": 102},  # an expired one was answered with a result
        {"results": 100},
        {"abandoned": 11, "results": 99},
        {"refusals": Counter({"not_found": 4, "invalid": 4})},
        {"refusals": Counter({"not_found": 4, "invalid": 5, "other": 1})},
    ],
)
def test_a_count_that_is_off_is_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(Wrong):
        soak.check(ASKED, counts(**wrong))


@pytest.mark.parametrize("requests", [1_000, 1_000_000])
def test_shares_make_the_whole(requests: int) -> None:
    shares = soak.shares(requests)
    assert sum(shares.values()) == requests
    assert set(shares) == {"good", *soak.SHARES}
    assert shares["good"] > requests / 2


@pytest.mark.parametrize(("sizes", "kept"), [([100, 104, 103], {"yes"}), ([100, 106, 101], {"yes", "NO"})])
def test_memory_that_grows_is_a_failure(sizes: list[int], kept: set[str]) -> None:
    report = Report(3, 0.0)
    soak.judge(report, ASKED, [size * 10**6 for size in sizes], counts(), 1.0)
    assert {verdict for *_, verdict in report.rows if verdict} == kept


def test_requests_by_hand(tmp_path: Path) -> None:
    message = infer_request("identity", {"x": np.ones((1, 16), np.float32)}).SerializeToString()
    with ServerFixture(models.repository(tmp_path, {"identity": models.identity()})) as served:
        host, port = served.address.rsplit(":", 1)
        for sent, right in ((message, True), (b"no message", False)):
            with socket.create_connection((host, int(port)), LIMIT_S) as connection:
                connection.sendall(by_hand.hello() + by_hand.request(sent))
                if right:
                    by_hand.read_answer(connection)
                else:
                    with pytest.raises(ValueError, match="the answer is an error"):
                        by_hand.read_answer(connection)
        by_hand.cancel(served.address, message, 250)
        counters = served.server.edge._grpc.counters()
        assert counters["streams_opened_total"] == 252
        assert counters["streams"] == 0
        assert counters["streams_abandoned_total"] > 0
