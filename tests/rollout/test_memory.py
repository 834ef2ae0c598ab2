"""Memory of a rollout that a file has: what no rollout has written costs that entry, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from inferd.compare.statistics import MeanShift
from inferd.rollout.memory import check_memory
from inferd.rollout.messages import Found
from inferd.rollout.policy import CanaryPlan, Counts, Guard, GuardKind, Policy
from inferd.rollout.shift import OutputShift
from inferd.rollout.state import Kind, Rollout, RolloutFile


def remembered() -> dict[str, Any]:
    """The memory of a canary that has seen something, with a shadow beside it."""
    policy = Policy(CanaryPlan(guards=(Guard(GuardKind.ERRORS, 0.01), Guard(GuardKind.MEAN, 0.1))))
    for _ in range(5):
        policy.count(Counts.of(50, 1, group=3), Counts.of(50, 2), 1.0)
    policy.seen.mean = MeanShift(0.01)
    policy.seen.mean.add(0.5)
    found = Found(compared=3, shifts={"y": OutputShift(0.01, [policy.seen.mean], spread=1.0)})
    return {"seen": msgspec.to_builtins(policy.seen), "found": msgspec.to_builtins(found)}


def kept(memory: dict[str, Any]) -> Rollout:
    return Rollout(id="0" * 16, model="m", kind=Kind.CANARY, stable=1, candidate=2, steps=(0.1, 1.0), memory=memory)


def test_the_own_memory_goes_on(tmp_path: Path) -> None:
    file = RolloutFile(tmp_path / "rollouts.json", check_memory)
    file.write({"m": kept(remembered())})
    assert file.read() == {"m": kept(remembered())}
    check_memory(kept({}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seen.step", -3),
        ("seen.step", 2),
        ("seen.step_s", -1.0),
        ("seen.flips", -1),
        ("seen", "text"),
        ("seen.excess.errors.groups", []),
        ("seen.excess.errors.sums", []),
        ("seen.excess.errors.open", []),
        ("seen.excess.errors.open", [[0.0] * 65] * 3),
        ("seen.excess.errors.log_capital", [1e308] * 8),
        ("seen.excess.errors.candidate_count", -1),
        ("seen.excess.errors.candidate_events", 10**6),
        ("seen.excess.errors.limit", 1e308),
        ("seen.mean.alpha", 0.0),
        ("seen.mean.bets", -1.0),
        ("seen.mean.total", 1e308),
        ("found.compared", -1),
        ("found.shifts.y.places", [{"alpha": 2.0}]),
        ("found.shifts.y.spread", -1.0),
        ("other.x", 1),
    ],
)
def test_what_no_rollout_has_written_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str, value: object) -> None:
    memory = inner = remembered()
    *folders, name = path.split(".")
    for folder in folders:
        inner = inner.setdefault(folder, {})
    inner[name] = value
    file = tmp_path / "rollouts.json"
    file.write_bytes(msgspec.json.encode({"m": kept(memory), "other": msgspec.structs.replace(kept({}), model="other")}))
    assert set(RolloutFile(file, check_memory).read()) == {"other"}
    assert "that of model 'm' is left out" in caplog.text
