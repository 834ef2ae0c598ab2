"""A candidate that is the stable version once more, with outputs of every kind: no comparison finds a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inferd.diff.report import Word
from inferd.diff.requests import Request
from inferd.diff.run import run
from inferd.diff.sources import Source
from inferd.protocol import options
from tests import kinds_of_models
from tests.rollout.test_canary import rollouts_stable, start, status
from tests.rollout.test_shadow import ask
from tests.server_fixtures import ServerFixture, until
from tests.wire import Caller, infer_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_idle_cores")

ROWS = kinds_of_models.X
REQUESTS = 40
WITH_MEAN = ("embeddings", "half", "text_labels", "top_k", "not_a_number")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("identical") / "models"
    kinds_of_models.repository(folder)
    return folder


@pytest.fixture(scope="module")
def caller(folder: Path) -> Iterator[Caller]:
    settings: dict[str, Any] = {"model_control": "explicit", "load_model": ("*",), "state_dir": str(folder.parent / "state")}
    with ServerFixture(folder, **settings) as served, Caller(served.address) as caller:
        for name in kinds_of_models.KINDS:
            rollouts_stable(caller, 1, name)
        yield caller


def answered(caller: Caller, name: str) -> None:
    for number in range(REQUESTS):
        caller.infer(infer_request(name, {"x": ROWS[number : number + 1 + number % 3]}, version="1"))


def judged(caller: Caller, name: str) -> int:
    """Requests that the evidence is made of, which comes later than the counts."""
    return max((each.count for each in status(caller, name).evidence if each.guard != "p99"), default=0)


@pytest.mark.parametrize("name", kinds_of_models.KINDS)
def test_a_shadow(caller: Caller, name: str) -> None:
    ask(caller, "Start", model_name=name, kind=options.SHADOW, candidate_version=2)
    answered(caller, name)
    until(lambda: judged(caller, name) == REQUESTS)
    status = ask(caller, "Stop", model_name=name)
    counts = {key: status.counts[key] for key in ("compared", "failed", "changed", "flipped", "mismatched", "dropped")}
    assert counts == {"compared": REQUESTS, "failed": 0, "changed": 0, "flipped": 0, "mismatched": 0, "dropped": 0}
    assert all(each.estimate == 0 for each in status.evidence)


@pytest.mark.parametrize("name", [name for name in kinds_of_models.KINDS if name != "regressor"])  # nothing in it decides
def test_a_canary(caller: Caller, name: str) -> None:
    """With a guard on flips, and on the mean where there is one, at limits that one difference in these requests would not pass."""
    floats = {"mean": 0.05} if name in WITH_MEAN else {}
    start(caller, name, 2, (0.5,), dwell_s=3600, sample=1.0, flips=0.01, **floats)
    answered(caller, name)
    until(lambda: judged(caller, name) >= REQUESTS // 8)
    found = ask(caller, "Stop", model_name=name)
    assert found.state != options.ROLLED_BACK
    assert [each.estimate for each in found.evidence if each.guard in ("flips", "mean")] == [0.0] * (1 + len(floats))


@pytest.mark.parametrize("name", kinds_of_models.KINDS)
def test_diff(folder: Path, name: str) -> None:
    requests = [Request(f"row {number}", {"x": ROWS[number : number + 1]}) for number in range(60)]
    with Source(str(folder / name / "1"), 60) as old, Source(str(folder / name / "2"), 60) as new:
        report = run(old, new, requests, "rows", seconds=0)
    assert report.verdict is not None
    assert report.verdict.word is Word.SAME, report.verdict
    assert (report.difference.flipped, report.difference.changed, report.worst) == (0, 0, [])
    assert np.all([each.transitions == [] for each in report.distributions.values()])
