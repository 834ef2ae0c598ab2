"""What all tests of rollouts need."""

from __future__ import annotations

import os

import pytest

from inferd.rollout import mirror


@pytest.fixture
def _idle_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate goes as fast as it may, though other tests keep the cores busy."""
    monkeypatch.setattr(mirror, "LEAST", mirror.MOST)
    monkeypatch.setattr(mirror, "POLICY", os.SCHED_OTHER)
