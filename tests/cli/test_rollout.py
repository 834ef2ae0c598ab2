"""`inferd rollout`: a server with a shadow, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd.cli import rollout
from inferd.cli.asking import Asked
from inferd.protocol import options
from tests import models
from tests.server_fixtures import ServerFixture, until
from tests.wire import Caller, infer_request

ROWS = np.full((1, 16), 3, np.float32)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServerFixture]:
    folder = models.repository(tmp_path / "models", {"m": models.identity()})
    with ServerFixture(folder, http_port=0, model_control="explicit", load_model=("m",)) as served:
        models.repository(folder, {"m": {2: models.identity()}})
        yield served


def test_a_shadow_is_begun_shown_and_promoted(served: ServerFixture, call: Callable[..., Any]) -> None:
    def said(action: str, *arguments: str, code: int = 0) -> str:
        done = call("rollout", action, served.address, *arguments)
        assert done.returncode == code, done
        return str(done.stdout if code == 0 else done.stderr)

    assert said("status") == "no rollout\n"
    assert "NOT_FOUND: rollout: model 'm' has none" in said("stop", "m", code=1)
    first = said("shadow", "m", "2", "--sample", "50%", "--guard", "flips=0.5%").splitlines()[0]
    assert first.startswith("m  shadow RUNNING  version 1 -> 2  50 % of requests  ")
    with Caller(served.address) as caller:
        for _ in range(40):
            caller.infer(infer_request("m", {"x": ROWS}))
    until(lambda: json.loads(said("status", "m", "--json"))[0]["evidence"] != [])
    (told,) = json.loads(said("status", "--json"))
    assert (told["kind"], told["state"], told["guards"]) == ("SHADOW", "RUNNING", {"flips": 0.005})
    assert told["counts"]["seen"] == 40
    lines = said("status", "m").splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["guard", "errors", "flips", "shapes"]
    assert lines[-1] == "  version 2 is not decided yet"
    lines = said("promote", "m", "--reason", "as good").splitlines()
    assert lines[0].startswith("m  shadow PROMOTED  version 1 -> 2  ")
    assert lines[-1] == "  as good"


def test_a_canary_over_http(served: ServerFixture, call: Callable[..., Any]) -> None:
    url = f"http://{served.http}"
    begun = call("rollout", "canary", url, "m", "2", "--steps", "50%", "--guard", "errors=5%").stdout
    assert begun.startswith("m  canary RUNNING  version 1 -> 2  50 % of requests, step 1 of 1  ")
    assert "nothing judges predictions, so the canary stays at its first step: start it with a guard, such as --guard flips=1%" in begun
    (over_http,), (over_grpc,) = (json.loads(call("rollout", "status", where, "m", "--json").stdout) for where in (url, served.address))
    assert over_http.keys() == over_grpc.keys()
    assert [over_http[name] == over_grpc[name] for name in ("id", "guards", "steps")] == [True] * 3
    assert call("rollout", "rollback", url, "m", "--reason", "slower").stdout.splitlines()[-1] == "  slower"
    begun = call("rollout", "canary", url, "m", "2", "--steps", "50%", "--promote-unjudged").stdout
    assert "nothing judges predictions" not in begun
    assert call("rollout", "rollback", url, "m", "--reason", "slower").stdout.splitlines()[-1] == "  slower"
    done = call("rollout", "stop", url, "m")
    assert (done.returncode, f"{url}: FAILED_PRECONDITION: rollout: the last one of model 'm' has ended" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shadow", "m", "--sample", "0"), "expected a share such as 10% or 0.1, above 0 and up to 100%, got '0'"),
        (("canary", "m", "--steps", "1%,x"), "expected a share such as 10% or 0.1, above 0 and up to 100%, got 'x'"),
        (("shadow", "m", "--guard", "flips"), "expected NAME=LIMIT, such as errors=2%, got 'flips'"),
        (("canary", "m", "--guard", "errors=nan"), "errors: expected a limit such as 2% or 0.02, got 'nan'"),
        (("shadow", "m", "0"), "0 is not in the range x>=1"),
        (("canary", "m", "--dwell", "soon"), "expected a time such as 10s, 250ms or 2m, got 'soon'"),
    ],
)
def test_wrong_words_are_told(call: Callable[..., Any], arguments: tuple[str, ...], words: str) -> None:
    done = call("rollout", arguments[0], "localhost:1", *arguments[1:])
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("flags", "sent"),
    [
        ((), {"sample": 1.0}),
        (("--dwell", "0s", "--patience", "2h"), {"sample": 1.0, "dwell_s": 0.0, "patience_s": 7200.0}),
        (("--sample", "10%", "--guard", "mean=0.2"), {"sample": 0.1, "guards": {"mean": 0.2}}),
    ],
)
def test_the_flags_of_a_canary_are_sent(flags: tuple[str, ...], sent: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(self: Asked, method: str, request: Any, response: Any) -> Any:
        asked.append(request)
        return options.RolloutStatus()

    monkeypatch.setattr(Asked, "call", ask)
    rollout.rollout.main(["canary", "localhost:1", "m", *flags], standalone_mode=False)
    assert asked == [options.StartRolloutRequest(model_name="m", kind=options.CANARY, **sent)]


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (["ok", "ok"], "version 2 is within all limits: begin a canary, or promote it"),
        (["ok", "bad"], "version 2 is beyond the limit of g1: stop it, or roll it back"),
        (["open", "ok"], "version 2 is not decided yet"),
        ([], "version 2 is not decided yet"),
    ],
)
def test_what_a_shadow_has_shown(verdicts: list[str], words: str) -> None:
    evidence = [options.RolloutEvidence(guard=f"g{place}", verdict=verdict) for place, verdict in enumerate(verdicts)]
    status = options.RolloutStatus(kind=options.SHADOW, state=options.RUNNING, candidate_version=2, evidence=evidence)
    assert rollout.conclusion(status) == words
    assert list(rollout.plain(status))[-1] == f"  {words}"


def test_counts_of_nothing_have_no_line() -> None:
    status = options.RolloutStatus(model_name="m", kind=options.CANARY, counts={"stable": 0, "canary": 0}, reason="started")
    assert len(list(rollout.plain(status))) == 2


def test_a_terminal_is_drawn_on_until_the_rollout_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    evidence = [options.RolloutEvidence(guard="flips", count=7, verdict="bad", explanation="worst: request 'a'")]
    made = {"model_name": "m", "kind": options.SHADOW, "candidate_version": 2, "evidence": evidence}
    states = [options.RUNNING, options.RUNNING, options.ROLLED_BACK]
    monkeypatch.setattr(rollout, "LOOK_S", 0.0)
    monkeypatch.setattr(rollout, "statuses", lambda *_: [options.RolloutStatus(state=states.pop(0), reason="flips", **made)])
    rollout._live(Asked.__new__(Asked), "m")
    drawn = capsys.readouterr().out
    assert not states
    assert "m  shadow ROLLED_BACK  version 0 -> 2" in drawn
    assert "worst: request 'a'" in drawn


def test_a_terminal_gets_no_control_character_of_the_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;OWNED\x07\x9b2J"
    evidence = [options.RolloutEvidence(guard=evil, verdict=evil, explanation=evil)]
    told = options.RolloutStatus(state=options.STOPPED, model_name=evil, counts={evil: 1}, evidence=evidence, reason=evil)
    monkeypatch.setattr(rollout, "statuses", lambda *_: [told])
    rollout._live(Asked.__new__(Asked), "m")
    drawn = capsys.readouterr().out
    assert drawn.count("OWNED") == 6
    assert {each for each in drawn if not each.isprintable()} == {"\n"}


def test_shares_are_told_as_percent_and_guards_in_words() -> None:
    evidence = [
        options.RolloutEvidence(guard="p99", count=1420, estimate=-0.001408, lower=-0.008114, upper=0.007913, limit=0.02, verdict="ok"),
        options.RolloutEvidence(guard="mean", count=1004, estimate=0.00043, lower=-0.02, upper=0.021, limit=0.1, verdict="ok"),
    ]
    assert rollout.rows(options.RolloutStatus(kind=options.CANARY, evidence=evidence)) == [
        ("slow requests (p99)", "1420", "-0.141 %", "-0.811 % to 0.791 %", "2 %", "ok", ""),
        ("mean, in spreads", "1004", "0.00043", "-0.02 to 0.021", "0.1", "ok", ""),
    ]
