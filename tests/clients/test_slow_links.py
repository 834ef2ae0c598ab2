"""Large requests and responses over a link of limited rate: clients built on grpc-core probe its bandwidth with PINGs while they read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests import models
from tests.relay import Relay
from tests.server_fixtures import ServerFixture
from tests.wire import Caller

MB = 10**6
RATE = 50 * MB  # bytes a second: each call of 60 MB takes 2.4 s, and the client sends more PINGs than PING_BURST
SIZES = 1 * MB, 60 * MB


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    files = models.repository(tmp_path_factory.mktemp("links"), {"identity": models.identity("FP32", ("n",))})
    with ServerFixture(files, max_message_bytes=80 * MB) as server:
        yield server


def test_large_messages_pass_a_slow_link_both_ways(served: ServerFixture) -> None:
    arrays = [np.arange(nbytes // 4, dtype=np.float32)[np.newaxis] for nbytes in SIZES]
    with Relay(served.address, RATE) as relay, Caller(relay.address) as caller:
        answers = [caller.answers("identity", {"x": array})["y"] for array in arrays]
    for array, answer in zip(arrays, answers, strict=True):
        np.testing.assert_array_equal(array, answer)
    counters = served.on_loop(served.server.edge._grpc.counters)
    assert (counters["connections_pinging_total"], counters["connections_flooding_total"]) == (0, 0)
