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
REQUESTS = 20
AT_ONCE = 6  # candidates, each a process of its own
DECIDING = [name for name in kinds_of_models.KINDS if name != "regressor"]  # nothing in it decides
# A canary compares in the very process of a shadow: these are what no canary can have, and one of each kind of values.
SHADOWED = ["regressor", "text_labels", "top_k", "not_a_number"]
WITH_MEAN = ("embeddings", "half", "text_labels", "top_k", "not_a_number")


def groups(names: list[str]) -> list[tuple[str, ...]]:
    return [tuple(names[at : at + AT_ONCE]) for at in range(0, len(names), AT_ONCE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("identical") / "models"
    kinds_of_models.repository(folder)
    return folder


@pytest.fixture(scope="module")
def caller(folder: Path) -> Iterator[Caller]:
    settings: dict[str, Any] = {"model_control": "explicit", "load_model": ("*",), "state_dir": str(folder.parent / "state")}
    settings["max_rollouts"] = AT_ONCE
    with ServerFixture(folder, **settings) as served, Caller(served.address) as caller:
        for name in kinds_of_models.KINDS:
            rollouts_stable(caller, 1, name)
        yield caller


def answered(caller: Caller, name: str) -> None:
    """By the stable version, so that all are compared."""
    for number in range(REQUESTS):
        caller.infer(infer_request(name, {"x": ROWS[number : number + 1 + number % 3]}, version="1"))


def compared(caller: Caller, name: str) -> bool:
    """Whether the evidence is made of all requests, which comes later than the counts."""
    return any(each.count == REQUESTS for each in status(caller, name).evidence if each.guard in ("flips", "shapes"))


@pytest.mark.parametrize("names", groups(SHADOWED), ids=" ".join)
def test_a_shadow(caller: Caller, names: tuple[str, ...]) -> None:
    for name in names:
        ask(caller, "Start", model_name=name, kind=options.SHADOW, candidate_version=2)
        answered(caller, name)
    for name in names:
        until(lambda name=name: compared(caller, name))
        found = ask(caller, "Stop", model_name=name)
        counts = {key: found.counts[key] for key in ("compared", "failed", "changed", "flipped", "mismatched", "dropped")}
        assert counts == {"compared": REQUESTS, "failed": 0, "changed": 0, "flipped": 0, "mismatched": 0, "dropped": 0}, name
        assert all(each.estimate == 0 for each in found.evidence), name


@pytest.mark.parametrize("names", groups(DECIDING), ids=" ".join)
def test_a_canary(caller: Caller, names: tuple[str, ...]) -> None:
    """With a guard on flips, and on the mean where there is one, at limits that one difference in these requests would not pass."""
    for name in names:
        start(caller, name, 2, (0.5,), dwell_s=3600, sample=1.0, flips=0.01, **({"mean": 0.05} if name in WITH_MEAN else {}))
        answered(caller, name)
    for name in names:
        until(lambda name=name: compared(caller, name))
        found = ask(caller, "Stop", model_name=name)
        assert found.state != options.ROLLED_BACK, name
        estimates = {each.guard: each.estimate for each in found.evidence}
        assert (estimates["flips"], estimates.get("mean", 0.0)) == (0, 0), name
        assert "mean" in estimates or name not in WITH_MEAN, name


@pytest.mark.parametrize("name", kinds_of_models.KINDS)
def test_diff(folder: Path, name: str) -> None:
    requests = [Request(f"row {number}", {"x": ROWS[number : number + 1]}) for number in range(30)]
    with Source(str(folder / name / "1"), 60) as old, Source(str(folder / name / "2"), 60) as new:
        report = run(old, new, requests, "rows", seconds=0)
    assert report.verdict is not None
    assert report.verdict.word is Word.SAME, report.verdict
    assert (report.difference.flipped, report.difference.changed, report.worst) == (0, 0, [])
    assert np.all([each.transitions == [] for each in report.distributions.values()])
