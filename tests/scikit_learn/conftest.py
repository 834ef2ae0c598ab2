"""What every export of a pipeline needs of the machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib, which boosted histograms ask, warns where the machine does not say how many cores it has."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
