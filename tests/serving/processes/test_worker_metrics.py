"""One page of metrics for all workers."""

from __future__ import annotations

import os

import pytest

from inferd.serving.processes import worker_metrics
from inferd.serving.processes.channel import Channel
from inferd.serving.processes.child import QUIET_LOOKS
from tests.serving.processes.test_dispatcher import closed_at_end, ready_child, supervisor_of


async def test_no_scrape_waits_for_a_worker_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_metrics, "METRICS_TIMEOUT_S", 0)
    hung, good = children = ready_child(1, 0), ready_child(2, 0)
    hung.silent_looks = QUIET_LOOKS + 1
    supervisor = await supervisor_of(*children)
    with closed_at_end(*children):
        supervisor.metrics.page([])
        assert next(supervisor.metrics.tables()).rows == [((), (1,))]
        assert Channel(hung.theirs).receive() is None
        asked = Channel(good.theirs).receive()
        assert asked is not None
        os.close(asked.descriptor)
