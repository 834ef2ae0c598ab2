"""A shadow end to end: a server, a version that answers, and a candidate beside it that is good, or in some way bad."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from onnx import helper

from inferd.protocol import options
from inferd.rollout import child_process, mirror, shadow
from inferd.rollout.mirror import Mirror
from inferd.rollout.part import RolloutPart
from inferd.system import pace
from tests import models
from tests.server_fixtures import ServerFixture, until
from tests.wire import Caller, infer_request, outputs_of, status_of

pytestmark = pytest.mark.usefixtures("_idle_cores")

LIMIT_S = 60
ROWS = np.arange(16, dtype=np.float32).reshape(1, 16)
VECTOR = [("x", "FP32", ("N", 16))], [("y", "FP32", ("N", 16))]
NEGATED = models.model([helper.make_node("Neg", ["x"], ["y"])], *VECTOR)
SHORT_TABLE = models.model(  # models.failing with half a table: rows 2 and 3 are missing
    [helper.make_node("Gather", ["table", "x"], ["rows"], axis=0), helper.make_node("Squeeze", ["rows", "axes"], ["y"])],
    [("x", "INT64", ("N", 1))],
    [("y", "INT64", ("N", 4))],
    {"table": np.arange(8, dtype=np.int64).reshape(2, 4), "axes": np.array([1], np.int64)},
)
# The stable version, the candidate, and an input that the stable version can take.
CANDIDATES = {
    "good": (models.identity(), models.identity(), ROWS),
    "paced": (models.identity(), models.identity(), ROWS),
    "wrong": (models.identity(), NEGATED, ROWS),
    "crashes": (models.failing(), SHORT_TABLE, np.full((1, 1), 3, np.int64)),
    "hangs": (models.identity("INT64", (1,)), models.endless(), np.full((1, 1), 1 << 40, np.int64)),
    "slow": (models.identity("FP32", (64,)), models.slow(20), np.ones((1, 64), np.float32)),
    "shapes": (models.identity("FP32", (4,)), models.false_promise(), np.ones((2, 4), np.float32)),
}


def ask(caller: Caller, method: str, **fields: Any) -> Any:
    status = options.RolloutStatusRequest, options.RolloutStatusResponse
    kinds = {"Start": (options.StartRolloutRequest, options.RolloutStatus), "Status": status}
    request, response = kinds.get(method, (options.RolloutRequest, options.RolloutStatus))
    call = caller.channel.unary_unary(
        f"/inferd.v1.Rollouts/{method}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )
    return call(request(**fields), timeout=LIMIT_S)


def now(caller: Caller, name: str) -> dict[str, int]:
    return dict(ask(caller, "Status", model_name=name).rollouts[0].counts)


def verdicts(status: Any) -> dict[str, str]:
    return {each.guard: each.verdict for each in status.evidence}


def rejected(call: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return "{}: {}".format(*status_of(caught.value))


def infer_over_rest(served: ServerFixture, name: str, *, binary: bool) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": ROWS[0].tolist()}
    asked = {"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": binary}}]}
    with urlopen(f"http://{served.http}/v2/models/{name}/infer", json.dumps(asked).encode(), timeout=LIMIT_S) as answer:
        assert answer.status == 200


def metrics(served: ServerFixture) -> str:
    with urlopen(f"http://{served.metrics}/metrics", timeout=LIMIT_S) as page:
        return str(page.read(), "utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stable = {name: content for name, (content, *_) in CANDIDATES.items()} | {"other": models.identity()}
    return models.repository(tmp_path_factory.mktemp("shadow") / "models", stable)


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[ServerFixture]:
    settings: dict[str, Any] = {"model_control": "explicit", "load_model": ("*",), "state_dir": str(folder.parent / "state")}
    with ServerFixture(folder, http_port=0, **settings) as served:
        yield served


@pytest.fixture
def caller(served: ServerFixture) -> Iterator[Caller]:
    with Caller(served.address) as caller:
        yield caller


def mirror_of(served: ServerFixture, name: str) -> Mirror:
    found = served.server.parts.of(RolloutPart).rollouts.roster.live[name]._mirror  # type: ignore[attr-defined]
    assert isinstance(found, Mirror)
    return found


def mirrored(caller: Caller, name: str, count: int) -> None:
    """So many requests, each answered by the stable version, and right."""
    value = CANDIDATES[name][2]
    for number in range(count):
        response = caller.infer(infer_request(name, {"x": value}, id=f"r{number}"))
        assert response.model_version == "1"
        assert outputs_of(response)["y"].shape[0] == len(value)


def ended(caller: Caller, name: str) -> Any:
    """The shadow is stopped: each request that was mirrored was compared or dropped."""
    status = ask(caller, "Stop", model_name=name)
    counts = status.counts
    assert counts["mirrored"] == counts["compared"] + counts["dropped"]
    assert counts["waiting"] == 0
    parts = ("dropped_full", "dropped_lost", "dropped_skipped", "dropped_unanswered")
    assert counts["dropped"] == sum(counts[part] for part in parts)
    return status


def begin(folder: Path, caller: Caller, name: str, **fields: Any) -> None:
    models.repository(folder, {name: {2: CANDIDATES[name][1]}})
    ask(caller, "Start", model_name=name, kind=options.SHADOW, **fields)


def test_a_good_candidate_is_compared_and_promoted(folder: Path, served: ServerFixture, caller: Caller) -> None:
    begin(folder, caller, "good", guards={"flips": 0.3, "errors": 0.3, "shapes": 0.3})
    again = rejected(lambda: ask(caller, "Start", model_name="good", kind=options.SHADOW))
    assert again.startswith("FAILED_PRECONDITION: rollout: model 'good' has one already: shadow of version 2")
    mirrored(caller, "good", 90)
    for binary in (False, True):
        for _ in range(5):
            infer_over_rest(served, "good", binary=binary)
    known = {"errors": "ok", "flips": "ok", "shapes": "ok", "mean": "open"}
    until(lambda: verdicts(ask(caller, "Status", model_name="good").rollouts[0]) == known)
    until(lambda: now(caller, "good")["waiting"] == 0)
    counts = now(caller, "good")
    assert (counts["seen"], counts["mirrored"], counts["compared"], counts["dropped"]) == (100, 100, 100, 0)
    assert counts["failed"] == counts["changed"] == counts["mismatched"] == 0
    assert 'inferd_rollout_requests{kind="shadow",model="good",outcome="compared"} 100.0' in metrics(served)
    status = ask(caller, "Promote", model_name="good", reason="it is as good")
    assert (options.RolloutState.Name(status.state), status.reason) == ("PROMOTED", "it is as good")
    assert 'inferd_rollout_running{candidate="2",kind="shadow",model="good",stable="1"} 0.0' in metrics(served)
    assert caller.infer(infer_request("good", {"x": ROWS})).model_version == "2"
    told = "FAILED_PRECONDITION: rollout: the last one of model 'good' has ended: PROMOTED, it is as good; "
    told += "`inferd models HOST rollback good stable` goes back to version 1"
    assert rejected(lambda: ask(caller, "RollBack", model_name="good")) == told
    lines = map(json.loads, (folder.parent / "state" / "rollouts.audit.jsonl").read_text().splitlines())
    decided = [(line["decision"], line["counts"].get("compared", 0), len(line["evidence"])) for line in lines if line["model"] == "good"]
    assert decided == [("started", 0, 0), ("promoted", 100, 4)]


def test_a_candidate_gets_no_more_than_its_pace(
    folder: Path, served: ServerFixture, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On busy cores: after a request the thread rests, some wait, and the rest is dropped."""
    monkeypatch.setattr(mirror, "MOST", 1e-9)
    monkeypatch.setattr(mirror, "LEAST", 1e-9)
    monkeypatch.setattr(pace, "BURST_S", 1e-9)
    monkeypatch.setattr(shadow, "MAX_HELD", 4)
    begin(folder, caller, "paced")
    mirrored(caller, "paced", 12)
    until(lambda: now(caller, "paced")["compared"] > 0)
    assert mirror_of(served, "paced")._sent == 1
    counts = ended(caller, "paced").counts
    assert counts["mirrored"] == 12
    assert counts["compared"] == 1
    assert counts["dropped_full"] >= 12 - 1 - 4


def test_wrong_responses_are_found_and_the_worst_are_named(folder: Path, caller: Caller) -> None:
    begin(folder, caller, "wrong")
    mirrored(caller, "wrong", 40)
    until(lambda: verdicts(ask(caller, "Status", model_name="wrong").rollouts[0]).get("flips") == "bad")
    until(lambda: now(caller, "wrong")["flipped"] == 40)  # `waiting` may be 0 before: the process says later what it found
    status = ended(caller, "wrong")
    assert status.counts["flipped"] == status.counts["changed"] == 40
    (flips,) = [each for each in status.evidence if each.guard == "flips"]
    assert flips.estimate == 1
    assert flips.explanation.startswith("worst: request 'r")
    assert "y: 1 of 1 decisions flipped; the old decision led by 15" in flips.explanation


def test_errors_of_a_candidate_are_its_own(folder: Path, served: ServerFixture, caller: Caller) -> None:
    """Its runs fail; then its process is killed."""
    begin(folder, caller, "crashes")
    mirrored(caller, "crashes", 30)
    until(lambda: verdicts(ask(caller, "Status", model_name="crashes").rollouts[0]).get("errors") == "bad")
    until(lambda: now(caller, "crashes")["failed"] == 30)
    assert now(caller, "crashes")["compared"] == 30
    assert "mean" not in verdicts(ask(caller, "Status", model_name="crashes").rollouts[0]), "its outputs are whole numbers"
    child = mirror_of(served, "crashes")._child
    assert child is not None
    child.kill()
    mirrored(caller, "crashes", 30)
    until(lambda: now(caller, "crashes")["restarts"] == 1)
    until(lambda: now(caller, "crashes")["waiting"] == 0)
    assert ended(caller, "crashes").counts["failed"] >= 30


def test_a_candidate_gives_way_to_all_else(folder: Path, served: ServerFixture, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "POLICY", os.SCHED_IDLE)
    begin(folder, caller, "paced")
    child = mirror_of(served, "paced")._child
    assert child is not None
    assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE
    assert os.getsid(child.pid) == os.getsid(0), "Linux shares cores out by sessions first: idle priority counts only within one"
    assert os.getpgid(child.pid) == child.pid, "Ctrl-C at a terminal is for the server"
    ended(caller, "paced")


def test_a_candidate_without_a_core_does_not_hang(
    folder: Path, served: ServerFixture, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as its threads wait for one, it is not ended."""
    monkeypatch.setattr(mirror, "HUNG_S", 0.02)
    asked: list[int] = []

    def waiting_s(pid: int) -> float:
        asked.append(pid)
        return float(min(10, len(asked)))

    monkeypatch.setattr(mirror, "waited_s", waiting_s)
    begin(folder, caller, "hangs")
    mirrored(caller, "hangs", 1)
    until(lambda: now(caller, "hangs")["dropped_lost"] == 1)
    assert len(asked) >= 12
    ended(caller, "hangs")


def test_a_candidate_that_hangs_is_ended(folder: Path, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "HUNG_S", 0.3)
    begin(folder, caller, "hangs")
    mirrored(caller, "hangs", 30)
    until(lambda: now(caller, "hangs")["dropped_lost"] > 0)
    assert ended(caller, "hangs").counts["compared"] == 0


def test_a_slow_candidate_holds_nothing_up(folder: Path, served: ServerFixture, caller: Caller) -> None:
    begin(folder, caller, "slow", sample=0.5)
    mirrored(caller, "slow", 400)
    assert served.server.repository.lookup("slow", "").queues.depth == 0
    counts = ended(caller, "slow").counts
    assert 100 < counts["mirrored"] < 300
    assert counts["dropped_lost"] > 0


def test_responses_of_another_shape_are_found(folder: Path, caller: Caller) -> None:
    begin(folder, caller, "shapes")
    mirrored(caller, "shapes", 30)
    until(lambda: verdicts(ask(caller, "Status", model_name="shapes").rollouts[0]).get("shapes") == "bad")
    until(lambda: now(caller, "shapes")["mismatched"] == 30)
    status = ended(caller, "shapes")
    assert status.counts["mismatched"] == 30
    assert "y: shape [2, 4] became [1, 4]" in [each.explanation for each in status.evidence]


def test_what_cannot_be_a_shadow_is_rejected_and_changes_nothing(folder: Path, caller: Caller) -> None:
    models.repository(folder, {"other": {3: models.identity("FP32", (8,)), 4: b"half"}, "crashes": {2: SHORT_TABLE}})

    def start(**fields: Any) -> str:
        return rejected(lambda: ask(caller, "Start", **{"model_name": "other", "kind": options.SHADOW, **fields}))

    assert start(kind=0) == "INVALID_ARGUMENT: kind: expected SHADOW or CANARY, got 0"
    assert start(sample=2) == "INVALID_ARGUMENT: sample: expected a share above 0 and up to 1, got 2"
    assert start(steps=[0.1]).startswith("INVALID_ARGUMENT: steps: expected none for a shadow")
    assert start(dwell_s=1) == "INVALID_ARGUMENT: dwell_s: expected none for a shadow, which takes no steps, got 1"
    assert start(guards={"p99": 1}) == "INVALID_ARGUMENT: guards: expected some of errors, flips, shapes, mean for a shadow, got 'p99'"
    assert start(guards={"flips": 2}) == "INVALID_ARGUMENT: guards: flips: expected a number between 0 and 1, got 2"
    whole = start(model_name="crashes", candidate_version=0, guards={"mean": 0.1})
    assert whole == "INVALID_ARGUMENT: guards: mean: model 'crashes' has no output of floats; leave this guard out"
    assert start(guards={"flips": float("nan")}) == "INVALID_ARGUMENT: guards: flips: expected a number such as 0.02, got nan"
    many = start(guards={f"g{number}": 0.1 for number in range(17)})
    assert many == "INVALID_ARGUMENT: guards: expected at most 16, got 17; leave some out"
    assert start(candidate_version=-1).startswith("INVALID_ARGUMENT: candidate_version: expected a number from 1")
    assert (
        start(candidate_version=7) == "INVALID_ARGUMENT: candidate_version: expected one of 3, 4, got 7: model 'other' has no such version"
    )
    assert "got 1: requests get it already" in start(candidate_version=1)
    assert start(model_name="nothing").startswith("NOT_FOUND: ")
    unlike = "version 3 cannot take the place of version 1: input 'x' is FP32[?, 8], and was FP32[?, 16]"
    assert start(candidate_version=3) == f"FAILED_PRECONDITION: rollout: {unlike}"
    broken = start(candidate_version=4)
    assert broken.startswith("FAILED_PRECONDITION: rollout: the shadow of model 'other', version 4: model 'other' cannot be loaded")
    assert str(folder) not in broken
    assert "other" not in {each.model_name for each in ask(caller, "Status").rollouts}
    assert rejected(lambda: ask(caller, "Status", model_name="nothing")).startswith("NOT_FOUND: rollout: model 'nothing' has none")


def test_a_shadow_goes_on_after_a_restart_and_ends_when_its_label_moves(tmp_path: Path) -> None:
    folder = models.repository(tmp_path, {"m": {1: models.identity()}})

    def serve() -> ServerFixture:
        return ServerFixture(folder, model_control="poll")

    with serve() as served, Caller(served.address) as caller:
        models.repository(folder, {"m": {2: NEGATED}})
        ask(caller, "Start", model_name="m", kind=options.SHADOW)
        for _ in range(20):
            assert caller.infer(infer_request("m", {"x": ROWS})).model_version == "1"
        until(lambda: ask(caller, "Status", model_name="m").rollouts[0].counts["flipped"] == 20)
    with serve() as served, Caller(served.address) as caller:
        assert caller.infer(infer_request("m", {"x": ROWS})).model_version == "1"
        until(lambda: ask(caller, "Status", model_name="m").rollouts[0].counts["flipped"] == 21)
        (mean,) = [each for each in ask(caller, "Status", model_name="m").rollouts[0].evidence if each.guard == "mean"]
        assert mean.explanation == "179 more requests tell how widely output 'y' is spread"
        counts = now(caller, "m")
        assert (counts["seen"], counts["mirrored"]) == (21, 21)
        assert counts["compared"] + counts["dropped"] == 21
        request = options.SetLabelRequest(model_name="m", label="stable", version=2)
        caller.channel.unary_unary("/inferd.v1.ModelControl/SetLabel")(request.SerializeToString(), timeout=LIMIT_S)
        until(lambda: ask(caller, "Status", model_name="m").rollouts[0].state == options.STOPPED)
        reason = ask(caller, "Status", model_name="m").rollouts[0].reason
        assert reason == "the label 'stable' was moved from version 1 to 2 meanwhile"
        assert caller.infer(infer_request("m", {"x": ROWS})).model_version == "2"


def test_versions_stay_as_they_are_without_model_control(tmp_path: Path) -> None:
    folder = models.repository(tmp_path, {"m": {1: models.identity(), 2: models.identity()}})
    with ServerFixture(folder, model_control="none") as served, Caller(served.address) as caller:
        why = "FAILED_PRECONDITION: rollouts need versions that come and go: start the server with --model-control poll or explicit"
        assert rejected(lambda: ask(caller, "Start", model_name="m", kind=options.SHADOW)) == why


def test_a_candidate_without_secrets_and_privileges(
    folder: Path, served: ServerFixture, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "of-the-server")
    begin(folder, caller, "good")
    child = mirror_of(served, "good")._child
    assert child is not None
    assert b"PATH=" in Path(f"/proc/{child.pid}/environ").read_bytes()
    assert b"of-the-server" not in Path(f"/proc/{child.pid}/environ").read_bytes()
    assert "NoNewPrivs:\t1\n" in Path(f"/proc/{child.pid}/status").read_text()
    ended(caller, "good")


def test_a_candidate_that_holds_too_much_memory(folder: Path, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "memory_limit_bytes", lambda: 2 << 20)
    told = rejected(lambda: begin(folder, caller, "paced"))
    assert told.startswith("FAILED_PRECONDITION: rollout: the shadow of model 'paced', version 2: its process held ")
    assert "MiB, and was ended: expected at most 1 MiB, 50% of the memory that the server may use" in told


def test_a_candidate_that_comes_to_hold_too_much_is_stopped(
    folder: Path, served: ServerFixture, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_bytes = 1 << 50
    monkeypatch.setattr(child_process, "MEMORY_SHARE", 1)
    monkeypatch.setattr(child_process.MemoryWatch, "_limit_bytes", property(lambda _: limit_bytes, lambda *_: None), raising=False)
    begin(folder, caller, "paced")
    limit_bytes = 1 << 20
    until(lambda: ask(caller, "Status", model_name="paced").rollouts[0].state == options.STOPPED)
    status = ask(caller, "Status", model_name="paced").rollouts[0]
    assert "its process held " in status.reason
    assert status.counts["restarts"] == 0
