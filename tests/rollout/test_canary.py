"""A canary in a server that serves: who gets which version, what rolls back, and what a restart finds."""

from __future__ import annotations

import json
import os
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import numpy as np
import pytest
from onnx import helper

from inferd.compare import statistics
from inferd.compare.outputs import Difference, compare
from inferd.config import Settings
from inferd.protocol import options
from inferd.rollout import child_process
from inferd.rollout import state as rollout_state
from inferd.rollout.canary import Canary
from inferd.rollout.messages import Found
from inferd.rollout.part import RolloutPart, make
from inferd.rollout.rpc import MAX_OUTCOMES
from tests import models
from tests.server_fixtures import ServerFixture, until
from tests.wire import Caller, infer_request

IDENTITY, DOUBLED, FAILING = models.identity(), models.doubled(), models.failing()
NEGATED = models.model([helper.make_node("Neg", ["x"], ["y"])], [("x", "FP32", ("N", 16))], [("y", "FP32", ("N", 16))])
NUDGE = np.zeros(16, np.float32)
NUDGE[-1] = -0.1
NUDGED = models.model([helper.make_node("Add", ["x", "c"], ["y"])], [("x", "FP32", ("N", 16))], [("y", "FP32", ("N", 16))], {"c": NUDGE})
LIMIT_S = 30
ROWS = np.full((1, 16), 3, np.float32)
RISING = np.arange(16, dtype=np.float32).reshape(1, 16)  # NEGATED has another decision; DOUBLED has another mean
KEYS = [f"user {i}" for i in range(60)]
QUIET: dict[str, Any] = {"dwell_s": 3600.0}  # takes no step


def rollouts(caller: Caller, method: str, request: Any, response: Any = options.RolloutStatus) -> Any:
    call = caller.channel.unary_unary(f"/inferd.v1.Rollouts/{method}", type(request).SerializeToString, response.FromString)
    return call(request, timeout=LIMIT_S)


def start(
    caller: Caller,
    model: str = "m",
    version: int = 2,
    steps: tuple[float, ...] = (0.5, 1.0),
    dwell_s: float | None = None,
    patience_s: float | None = None,
    sample: float = 0.0,
    unjudged: bool = True,
    **guards: float,
) -> Any:
    """unjudged: without a guard that compares responses, no process is there for it."""
    times = {"dwell_s": dwell_s, "patience_s": patience_s}
    request = options.StartRolloutRequest(
        model_name=model,
        kind=options.CANARY,
        candidate_version=version,
        steps=steps,
        sample=sample,
        guards=guards,
        promote_unjudged=unjudged,
        **times,
    )
    return rollouts(caller, "Start", request)


def status(caller: Caller, model: str = "m") -> Any:
    request = options.RolloutStatusRequest(model_name=model)
    return rollouts(caller, "Status", request, options.RolloutStatusResponse).rollouts[0]


def state(caller: Caller, model: str = "m") -> str:
    return str(options.RolloutState.Name(status(caller, model).state))


def end(caller: Caller, method: str, model: str = "m") -> Any:
    return rollouts(caller, method, options.RolloutRequest(model_name=model))


def versions(caller: Caller, keys: list[str] = KEYS, model: str = "m") -> list[str]:
    """The version that answers each key, sent as metadata."""
    request = infer_request(model, {"x": ROWS})
    return [caller.infer(request, metadata=(("inferd-key", key),)).model_version for key in keys]


def labels(folder: Path, model: str = "m") -> dict[str, int]:
    kept = json.loads((folder / ".inferd-labels.json").read_text())
    return {name: label["version"] for name, label in kept.get(model, {}).items()}


def audited(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ".inferd-rollouts.audit.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback takes some 15 blocks of time."""
    monkeypatch.setattr(statistics, "BLOCK_S", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return models.repository(
        tmp_path / "models",
        {
            "m": {1: IDENTITY, 2: DOUBLED},
            "n": {1: IDENTITY, 2: NEGATED},
            "d": {1: IDENTITY, 2: NUDGED},
            "f": {1: FAILING, 2: models.failing(2)},
            "other": {1: IDENTITY, 2: FAILING},
        },
    )


@pytest.fixture
def served(folder: Path) -> Iterator[ServerFixture]:
    with serve(folder) as served:
        yield served


def serve(folder: Path, **settings: Any) -> ServerFixture:
    settings = {"model_poll_s": 3600, "http_port": 0} | settings
    return ServerFixture(folder, **settings)


@pytest.fixture
def caller(served: ServerFixture) -> Iterator[Caller]:
    with Caller(served.address) as caller:
        rollouts_stable(caller, 1)
        yield caller


def rollouts_stable(caller: Caller, version: int, model: str = "m", label: str = "stable") -> None:
    request = options.SetLabelRequest(model_name=model, label=label, version=version)
    call = caller.channel.unary_unary(
        "/inferd.v1.ModelControl/SetLabel", options.SetLabelRequest.SerializeToString, options.SetLabelResponse.FromString
    )
    call(request, timeout=LIMIT_S)


class TestWhoGetsWhat:
    def test_keys_stay_over_the_ramp_the_protocols_and_a_restart(self, folder: Path) -> None:
        with serve(folder) as served, Caller(served.address) as caller:
            rollouts_stable(caller, 1)
            start(caller, steps=(0.3, 0.9), **QUIET)
            before = versions(caller)
            assert set(before) == {"1", "2"}
            assert versions(caller) == before
            assert [rest(served, key) for key in KEYS] == before
            until(lambda: status(caller).share == 0.3)
        with serve(folder) as served, Caller(served.address) as caller:
            assert state(caller) == "RUNNING"
            assert versions(caller) == before, "a restart moves nobody"
            assert caller.infer(infer_request("m", {"x": ROWS}, version="1")).model_version == "1"
            served.on_loop(lambda: served.server.parts.of(RolloutPart).rollouts.roster.live["m"].follow(ramped(served)))
            after = versions(caller)
            assert all(later == "2" for earlier, later in zip(before, after, strict=True) if earlier == "2"), "nobody flips back"
            assert Counter(after)["2"] > Counter(before)["2"]

    def test_responses_name_the_arm_and_only_in_a_canary(self, caller: Caller) -> None:
        request = infer_request("m", {"x": ROWS})
        assert not caller.infer(request).parameters
        start(caller, **QUIET)
        arms = {
            (response.model_version, response.parameters["rollout_arm"].string_param)
            for response in (caller.infer(request) for _ in range(40))
        }
        assert arms == {("1", "stable"), ("2", "canary")}
        end(caller, "Stop")
        assert not caller.infer(request).parameters


def ramped(served: ServerFixture) -> Any:
    import msgspec

    return msgspec.structs.replace(served.server.parts.of(RolloutPart).rollouts.roster.table["m"], step=1, share=0.9)


def rest(served: ServerFixture, key: str) -> str:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [3.0] * 16}]}
    headers = {"Content-Type": "application/json", "Inferd-Key": key}
    sent = urllib.request.Request(f"http://{served.http}/v2/models/m/infer", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(sent, timeout=LIMIT_S) as response:
        return str(json.load(response)["model_version"])


class TestSeveralProcesses:
    def test_another_process_follows_at_once(self, folder: Path) -> None:
        """Two servers with one folder of state, as two workers are; neither looks at the files of models meanwhile."""
        with serve(folder) as one, serve(folder) as other, Caller(one.address) as first, Caller(other.address) as second:
            start(first, version=1, **QUIET)  # sets the label `stable`, too: the newest version is served
            until(lambda: versions(second) == versions(first) and state(second) == "RUNNING")
            assert set(versions(second)) == {"1", "2"}
            assert end(second, "Promote").state == options.PROMOTED
            until(lambda: set(versions(first)) == {"1"})
            assert state(first) == "PROMOTED"
            until(lambda: labels(folder) == {"stable": 1})

    def test_a_label_that_another_process_has_moved_stays(self, folder: Path) -> None:
        """One process is told of the label, and the other one to begin at once."""
        with serve(folder) as one, serve(folder) as other, Caller(one.address) as first, Caller(other.address) as second:
            rollouts_stable(second, 2)
            rollouts_stable(first, 1)
            found = start(second, version=0, **QUIET)
            assert (found.stable_version, found.candidate_version) == (1, 2)
            assert labels(folder) == {"stable": 1, "canary": 2}
            assert set(versions(second)) == {"1", "2"}

    @pytest.mark.parametrize(("workers", "processes"), [(0, 1), (1, 1), (3, 3)])
    async def test_a_worker_knows_how_many_decide(self, workers: int, processes: int) -> None:
        given: Any = SimpleNamespace(settings=Settings(workers=workers), repository=None, lifecycle=None, state_file=lambda name: None)
        made = make(given)
        assert isinstance(made, RolloutPart)
        assert made.rollouts.processes == processes

    def test_each_asks_for_stronger_evidence(self, caller: Caller, served: ServerFixture) -> None:
        """Three quarters of 1/20 are for errors: 1 : 26.7 in one process."""
        served.on_loop(lambda: setattr(served.server.parts.of(RolloutPart).rollouts, "processes", 3))
        start(caller, **QUIET)
        until(lambda: any("evidence that 1 of 80 versions at the limit" in each.explanation for each in status(caller).evidence))


class TestDecisions:
    def test_a_good_candidate_is_promoted_and_the_label_moves(self, caller: Caller, folder: Path) -> None:
        start(caller, steps=(0.5, 1.0), dwell_s=0, errors=1.0)
        assert labels(folder) == {"stable": 1, "canary": 2}
        until(lambda: bool(versions(caller)) and state(caller) == "PROMOTED")
        until(lambda: labels(folder) == {"stable": 2})
        assert set(versions(caller)) == {"2"}
        until(lambda: audited(folder)[-1]["decision"] == "promoted")
        assert audited(folder)[-1]["evidence"]

    def test_errors_roll_back_and_no_request_fails_after(self, caller: Caller, folder: Path) -> None:
        """Version 2 fails where the number is above 1."""
        rollouts_stable(caller, 1, "f")
        start(caller, "f", **QUIET)
        requests = [infer_request("f", {"x": np.full((1, 1), value, np.int64)}) for value in range(4)]
        failed = 0

        def is_rolled_back() -> bool:
            nonlocal failed
            for request in requests:
                try:
                    caller.infer(request)
                except grpc.RpcError:
                    failed += 1
            return state(caller, "f") == "ROLLED_BACK"

        until(is_rolled_back)
        assert failed
        assert status(caller, "f").reason.startswith("errors: ")
        assert {caller.infer(request).model_version for request in 10 * requests} == {"1"}
        until(lambda: labels(folder, "f") == {"stable": 1})

    def test_a_candidate_that_is_unloaded_takes_no_request_down(self, caller: Caller, served: ServerFixture) -> None:
        start(caller, **QUIET)
        served.on_loop(lambda: served.server.repository.swap("m", [], {2}))
        assert set(versions(caller)) == {"1"}
        until(lambda: state(caller) == "ROLLED_BACK")
        assert "version 2 takes no requests" in status(caller).reason

    def test_a_candidate_that_is_broken_at_a_restart(self, folder: Path) -> None:
        with serve(folder) as served, Caller(served.address) as caller:
            rollouts_stable(caller, 1)
            start(caller, **QUIET)
        os.truncate(folder / "m" / "2" / "model.onnx", 50)
        with serve(folder) as served, Caller(served.address) as caller:
            assert set(versions(caller)) == {"1"}
            until(lambda: state(caller) == "ROLLED_BACK")
            assert status(caller).reason.startswith("version 2 takes no requests: the last load failed: model 'm' cannot be loaded")

    def test_status_has_the_usual_steps_and_what_is_waited_for(self, caller: Caller) -> None:
        assert list(start(caller, steps=(), errors=1.0, p99=1.0, **QUIET).steps) == [0.01, 0.1, 0.5, 1.0]
        until(lambda: status(caller).reason == "no step yet: errors: no request was counted yet; p99: no request was counted yet")

    def test_no_decision_in_time_holds(self, caller: Caller, folder: Path) -> None:
        start(caller, patience_s=0)
        until(lambda: state(caller) == "HOLD")
        until(lambda: audited(folder)[-1]["decision"] == "hold")
        assert audited(folder)[-1]["patience_s"] == 0

    def test_a_person_decides(self, caller: Caller, folder: Path) -> None:
        start(caller, **QUIET)
        assert end(caller, "RollBack").state == options.ROLLED_BACK
        assert set(versions(caller)) == {"1"}
        start(caller, **QUIET)
        assert end(caller, "Promote").state == options.PROMOTED
        assert set(versions(caller)) == {"2"}
        until(lambda: labels(folder) == {"stable": 2})

    def test_a_rollback_waits_for_no_load(self, caller: Caller, served: ServerFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        """The loader's thread is busy with another model: the label `canary` goes later."""
        start(caller, **QUIET)
        monkeypatch.setattr(served.server.parts.of(RolloutPart).rollouts.lifecycle, "label", lambda *_: Future())
        assert end(caller, "RollBack").state == options.ROLLED_BACK
        assert set(versions(caller)) == {"1"}

    def test_reported_outcomes_roll_back(self, caller: Caller) -> None:
        """A client may report as soon as it has its response: the server knows the id."""
        start(caller, outcome=0.05, **QUIET)
        count = 0

        def is_rolled_back() -> bool:
            nonlocal count
            outcomes = []
            for _ in range(50):
                count += 1
                response = caller.infer(infer_request("m", {"x": ROWS}, id=f"request {count}"))
                outcomes.append(options.Outcome(request_id=f"request {count}", good=response.model_version == "1"))
            request = options.ReportOutcomesRequest(model_name="m", outcomes=outcomes)
            try:
                assert rollouts(caller, "Report", request, options.ReportOutcomesResponse).joined == 50
            except grpc.RpcError:
                assert state(caller) == "ROLLED_BACK"
            return state(caller) == "ROLLED_BACK"

        until(is_rolled_back)
        assert status(caller).reason.startswith("outcome: ")

    def test_outcomes_count_for_the_key_of_their_request(
        self, caller: Caller, served: ServerFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(statistics, "BLOCK_S", 1e9)  # no block is closed
        start(caller, outcome=0.05, **QUIET)
        for number, key in enumerate(("", "one", "one")):
            caller.infer(infer_request("m", {"x": ROWS}, id=f"r{number}"), metadata=(("inferd-key", key),) if key else ())
        outcomes = [options.Outcome(request_id=f"r{number}", good=False) for number in range(3)]
        request = options.ReportOutcomesRequest(model_name="m", outcomes=outcomes)
        assert rollouts(caller, "Report", request, options.ReportOutcomesResponse).joined == 3
        outcome = served.server.parts.of(RolloutPart).rollouts.roster.live["m"]._policy.seen.excess["outcome"]
        until(lambda: outcome.candidate_count + outcome.stable_count == 3)
        counted = np.asarray(outcome.open)[[0, 2]].sum(axis=0)
        assert sorted(counted[counted > 0]) == [1, 2]
        assert counted[-1] == 1, "without a key"

    def test_an_id_takes_the_same_memory_however_long_it_is(self, caller: Caller, served: ServerFixture) -> None:
        start(caller, outcome=0.05, **QUIET)
        request_id = 100_000 * "x"
        caller.infer(infer_request("m", {"x": ROWS}, id=request_id))
        live = served.server.parts.of(RolloutPart).rollouts.roster.live["m"]
        until(lambda: [len(each) for each in live._joined] == [16])
        request = options.ReportOutcomesRequest(model_name="m", outcomes=[options.Outcome(request_id=request_id, good=True)])
        assert rollouts(caller, "Report", request, options.ReportOutcomesResponse).joined == 1


@pytest.mark.usefixtures("_idle_cores")
class TestJudged:
    """Without a guard on predictions, responses are compared and nothing is promoted."""

    def test_the_start_says_it_and_what_is_compared_is_shown(self, caller: Caller) -> None:
        rollouts_stable(caller, 1, "n")
        begun = start(caller, "n", unjudged=False, dwell_s=0, errors=1.0, p99=1.0)
        assert begun.reason.startswith("started; nothing judges predictions, so the canary stays at its first step")
        assert not begun.promote_unjudged

        def is_shown() -> bool:
            TestPairs.asked(caller, "n", 10)
            return any(each.guard == "flips" and each.verdict == "bad" for each in status(caller, "n").evidence)

        until(is_shown)
        (flips,) = [each for each in status(caller, "n").evidence if each.guard == "flips"]
        assert flips.explanation.startswith("a report: no guard asks for it; worst: request 'r")
        assert state(caller, "n") in ("RUNNING", "HOLD")
        assert status(caller, "n").share == 0.5

    def test_a_mean_that_holds_promotes_no_other_decisions(self, caller: Caller) -> None:
        """The two largest outputs of 16 change places, and hardly move."""
        rollouts_stable(caller, 1, "d")
        start(caller, "d", unjudged=False, dwell_s=0, errors=1.0, p99=1.0, mean=0.99)
        rows = np.random.default_rng(1).normal(size=(50, 1, 16)).astype(np.float32)
        rows[..., -1], rows[..., -2] = 10.0, 9.95

        def holds() -> bool:
            for row in rows:
                caller.infer(infer_request("d", {"x": row}))
            return "no guard judges decisions" in status(caller, "d").reason

        until(holds)
        assert status(caller, "d").reason.startswith("flips: ")
        assert (state(caller, "d"), status(caller, "d").share) == ("HOLD", 0.5)

    def test_over_rest(self, caller: Caller, served: ServerFixture) -> None:
        for given, expected in (({}, False), ({"promote_unjudged": True}, True)):
            body = json.dumps({"kind": "CANARY", "candidate_version": 2, "steps": [0.5], **given}).encode()
            sent = urllib.request.Request(f"http://{served.http}/v2/models/m/rollout", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(sent, timeout=LIMIT_S) as response:
                begun = json.load(response)
            assert begun.get("promote_unjudged", False) is expected
            assert ("nothing judges predictions" in begun["reason"]) is not expected
            end(caller, "Stop")


def test_keys_are_units_of_evidence(caller: Caller, served: ServerFixture) -> None:
    """By the header of each transport."""
    start(caller, **QUIET)
    live = served.server.parts.of(RolloutPart).rollouts.roster.live["m"]
    versions(caller)
    rest(served, KEYS[0])
    arms = (live._stable.tally, live._candidate.tally)

    def answered_by_group() -> Any:
        return sum(np.frombuffer(tally.by_group(), np.int64).reshape(3, -1)[0] for tally in arms)

    until(lambda: answered_by_group().sum() == len(KEYS) + 1)
    answered = answered_by_group()
    assert answered[-1] == 0, "each has a key"
    assert (answered > 0).sum() > 25


@pytest.mark.usefixtures("_idle_cores")
class TestPairs:
    """Guards that compare responses to the same request."""

    @staticmethod
    def asked(caller: Caller, model: str, requests: int) -> None:
        for number in range(requests):
            caller.infer(infer_request(model, {"x": RISING}, id=f"r{number}"))

    def rolled_back(self, caller: Caller, model: str) -> bool:
        """After some more requests."""
        self.asked(caller, model, 10)
        return state(caller, model) == "ROLLED_BACK"

    @staticmethod
    def told(caller: Caller, guard: str, model: str = "m") -> Any:
        return next((each for each in status(caller, model).evidence if each.guard == guard), options.RolloutEvidence())

    @staticmethod
    def balanced(counts: Any) -> bool:
        return bool(counts["mirrored"] == counts["compared"] + counts["dropped"] + counts["waiting"])

    def test_flips_roll_back(self, caller: Caller, folder: Path) -> None:
        rollouts_stable(caller, 1, "n")
        start(caller, "n", flips=0.01, **QUIET)
        until(lambda: self.rolled_back(caller, "n"))
        assert status(caller, "n").reason.startswith("flips: ")
        until(lambda: labels(folder, "n") == {"stable": 1})
        until(lambda: audited(folder)[-1]["decision"] == "rolled_back")
        counts = status(caller, "n").counts
        assert self.balanced(counts)
        assert counts["waiting"] == 0
        assert counts["mirrored"] == counts["seen"] >= counts["stable"] > 0
        (flips,) = [each for each in audited(folder)[-1]["evidence"] if each["guard"] == "flips"]
        assert flips["verdict"] == "bad"
        assert flips["says"].startswith("worst: request 'r")

    def learns(self, caller: Caller) -> bool:
        """All that was mirrored is compared, and has taught the spread."""
        counts, says = status(caller).counts, self.told(caller, "mean").explanation
        return counts["waiting"] == 0 and says.startswith(f"{200 - counts['compared']} more requests tell")

    def test_a_mean_that_shifts_rolls_back_over_a_restart(self, folder: Path) -> None:
        with serve(folder) as served, Caller(served.address) as caller:
            rollouts_stable(caller, 1)
            start(caller, steps=(0.1, 1.0), mean=0.1, **QUIET)
            self.asked(caller, "m", 150)
            until(lambda: self.learns(caller))
        with serve(folder) as served, Caller(served.address) as caller:
            self.asked(caller, "m", 10)
            until(lambda: self.learns(caller))
            until(lambda: self.rolled_back(caller, "m"))
            found = status(caller)
            assert found.reason.startswith("mean: ")
            assert self.balanced(found.counts)
            assert self.told(caller, "mean").estimate > 0.5

    @pytest.mark.parametrize(("got", "passes"), [(9.0, False), (0.9, True)])
    def test_requests_without_a_decision_allow_no_step(self, got: float, passes: bool) -> None:
        """1000 responses beyond 0..1, or 1000 probabilities without a flip."""
        rollout = rollout_state.Rollout(
            id="0" * 16, model="m", kind=rollout_state.Kind.CANARY, stable=1, candidate=2, guards={"flips": 0.01}, dwell_s=0
        )
        site: Any = SimpleNamespace(processes=1)
        canary, total, one = Canary(rollout, site), Difference(), compare({"y": np.array([[got]])}, {"y": np.array([[got]])})
        for _ in range(1000):
            total.merge(one)
        canary._shadow = shadow = cast("Any", SimpleNamespace(found=Found(total=total), told=lambda rollout: rollout))
        canary._compare(shadow)
        (flips,) = [each for each in canary._told(rollout, canary._policy.decide()).evidence if each.guard == "flips"]
        assert (flips.count, flips.verdict) == ((1000, "ok") if passes else (0, "open"))
        assert flips.explanation.startswith("no response has a decision to compare: ") is not passes

    def test_a_process_that_cannot_load_allows_no_step(self, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(child_process, "interpreter", lambda: ["false"])
        start(caller, errors=1.0, p99=1.0, flips=0.5, dwell_s=0)
        until(lambda: "nothing can be compared" in status(caller).reason)
        assert status(caller).reason.endswith("version 2: its process ended while it loaded the model")
        until(lambda: "nothing can be compared" in self.told(caller, "flips").explanation)
        self.asked(caller, "m", 20)
        until(lambda: status(caller).counts["waiting"] == 0)
        assert self.balanced(status(caller).counts)
        assert state(caller) == "RUNNING"
        assert status(caller).share == 0.5
        assert end(caller, "Stop").counts["compared"] == 0


class TestBadInput:
    def rejected(self, caller: Caller, model: str = "m", **given: Any) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            start(caller, model, **given)
        return f"{caught.value.code().name}: {caught.value.details()}"

    def test_a_reason_that_could_change_a_terminal(self, caller: Caller) -> None:
        request = options.RolloutRequest(model_name="m", reason="slower\x1b]0;OWNED\x07")
        with pytest.raises(grpc.RpcError, match=r"reason: expected text without control characters, on one line, got '\\x1b' in it"):
            rollouts(caller, "Stop", request)

    def test_two_at_once(self, caller: Caller) -> None:
        start(caller, **QUIET)
        assert "has one already: canary of version 2" in self.rejected(caller)
        assert state(caller) == "RUNNING"

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"speed": 0.1}, "guards: expected some of errors, p99, flips, mean, outcome for a canary, got 'speed'"),
            ({"flips": 1.0}, "guards: flips: expected a number between 0 and 1, got 1"),
            ({"errors": 2.0}, "guards: errors: expected more than 0 and at most 1"),
            ({"dwell_s": -1.0}, "dwell_s: expected seconds from 0 to 31622400, which are 366 days, got -1"),
            ({"patience_s": 3.2e7}, "patience_s: expected seconds from 0 to 31622400, which are 366 days, got 3.2e+07"),
            ({"patience_s": float("nan")}, "patience_s: expected seconds"),
            ({"steps": (1.0,)}, "steps: expected a first share below 100%, so that both versions answer requests, got 100%; to switch at "),
            ({"sample": 0.5}, "sample: expected a guard that compares responses beside promote_unjudged, flips or mean, got 0.5 alone"),
        ],
    )
    def test_numbers_that_are_none(self, caller: Caller, given: dict[str, Any], words: str) -> None:
        assert words in self.rejected(caller, **given)
        assert versions(caller, KEYS[:1]) == ["1"]

    def test_outcomes_of_several_processes(self, caller: Caller, served: ServerFixture) -> None:
        served.on_loop(lambda: setattr(served.server.parts.of(RolloutPart).rollouts, "processes", 2))
        assert "guards: outcome: expected a server of one process, got 2" in self.rejected(caller, outcome=0.05)

    def test_a_mean_of_whole_numbers(self, caller: Caller, folder: Path) -> None:
        rollouts_stable(caller, 1, "f")
        assert "guards: mean: model 'f' has no output of floats; leave this guard out" in self.rejected(caller, "f", mean=0.1)
        assert labels(folder, "f") == {"stable": 1}

    def test_a_candidate_with_another_signature(self, caller: Caller, folder: Path) -> None:
        rollouts_stable(caller, 1, "other")
        said = self.rejected(caller, "other")
        assert "version 2 cannot take the place of version 1: input 'x' is INT64[?, 1], and was FP32[?, 16]" in said
        assert labels(folder, "other") == {"stable": 1}
        assert caller.infer(infer_request("other", {"x": ROWS})).model_version == "1"

    def test_a_start_that_fails_leaves_nothing(self, caller: Caller, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where it is rejected at once, and where it cannot be written."""
        rollouts_stable(caller, 1, label="canary")
        assert "steps: " in self.rejected(caller, steps=(1.0,))  # type: ignore[arg-type]
        assert labels(folder) == {"stable": 1, "canary": 1}

        def full(*_: object) -> None:
            assert labels(folder) == {"stable": 1, "canary": 2}
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(rollout_state, "replace", full)
        assert "the file of rollouts cannot be written (No space left on device)" in self.rejected(caller, **QUIET)
        assert labels(folder) == {"stable": 1, "canary": 1}
        assert set(versions(caller)) == {"1"}

    @pytest.mark.parametrize("kept", [{"stable": {"version": 1}}, {"stable": {"version": 2}, "canary": {"version": 2}}])
    def test_a_label_that_moves_while_no_server_runs_ends_it(self, folder: Path, kept: dict[str, Any]) -> None:
        with serve(folder) as served, Caller(served.address) as caller:
            rollouts_stable(caller, 1)
            start(caller, **QUIET)
        (folder / ".inferd-labels.json").write_text(json.dumps({"m": kept}))
        with serve(folder) as served, Caller(served.address) as caller:
            until(lambda: state(caller) == "STOPPED")
            assert "was moved from version" in status(caller).reason
            assert set(versions(caller)) == {str(kept["stable"]["version"])}
            until(lambda: labels(folder) == {"stable": kept["stable"]["version"]})

    @pytest.mark.parametrize("label", ["stable", "canary"])
    def test_a_label_that_moves_meanwhile_ends_it(self, caller: Caller, label: str) -> None:
        start(caller, **QUIET)
        rollouts_stable(caller, 2 if label == "stable" else 1, label=label)
        until(lambda: state(caller) == "STOPPED")
        assert f"the label '{label}' was moved" in status(caller).reason
        assert set(versions(caller)) == {"2" if label == "stable" else "1"}

    def test_outcomes_that_nobody_asked_for(self, caller: Caller) -> None:
        start(caller, **QUIET)
        request = options.ReportOutcomesRequest(model_name="m", outcomes=[options.Outcome(request_id="a", good=True)])
        with pytest.raises(grpc.RpcError, match="--guard outcome=5%"):
            rollouts(caller, "Report", request, options.ReportOutcomesResponse)
        flood = options.ReportOutcomesRequest(model_name="m", outcomes=[options.Outcome(request_id="a")] * (MAX_OUTCOMES + 1))
        with pytest.raises(grpc.RpcError, match=f"outcomes: expected at most {MAX_OUTCOMES}, got {MAX_OUTCOMES + 1}; send them in parts"):
            rollouts(caller, "Report", flood, options.ReportOutcomesResponse)
