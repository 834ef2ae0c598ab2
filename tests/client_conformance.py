"""Clients of other languages as programs: each makes the calls and prints what came, as JSON. What is right for all of them stands here.

Never in here: what only one of them is asked.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests import models

CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, UNIMPLEMENTED, UNAUTHENTICATED = 1, 3, 4, 5, 12, 16
LIMIT_S = 60


def repository(folder: Path) -> Path:
    """What they ask: a model of 16 numbers, one of 2 s (a run that nobody waits for is terminated) and one of 600 KB."""
    return models.repository(
        folder,
        {"identity": models.identity(), "slow": models.slow(2_000), "large": models.doubled("FP32", (150_000,))},
        {"slow": "max_batch_size: 1", "large": "max_batch_size: 4"},
    )


def told_by(*command: str, cwd: Path | None = None) -> dict[str, Any]:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def row(first: float) -> list[float]:
    return [first + index for index in range(16)]


class Calls:
    """The tests of every client. came: the fixture of its module, what it printed."""

    def test_answers(self, came: dict[str, Any]) -> None:
        assert came["live"] == {"live": True}
        assert came["values"] == row(1)
        assert came["large"] == 150_000

    def test_200_calls_at_once_get_their_own_rows(self, came: dict[str, Any]) -> None:
        assert came["many"] == [row(first) for first in range(200)]

    def test_errors_and_their_words(self, came: dict[str, Any]) -> None:
        """Letters beyond ASCII and '%' travel percent-encoded in grpc-message, and come back as they were."""
        assert came["unknown_model"]["code"] == NOT_FOUND
        assert "'größe 100% 模型'" in came["unknown_model"]["message"]
        assert came["wrong_shape"]["code"] == INVALID_ARGUMENT
        assert "axis 1 must be 16" in came["wrong_shape"]["message"]
        assert came["unknown_method"]["code"] == UNIMPLEMENTED
        assert came["late"]["code"] == DEADLINE_EXCEEDED

    def test_health(self, came: dict[str, Any]) -> None:
        assert came["check"] == {"status": "SERVING"}
        assert came["check_unknown"]["code"] == NOT_FOUND
