"""The file of rollouts, and the audit log beside it."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inferd.engine.files import kept_file
from inferd.errors import ConfigError, FailedPrecondition, NotFound
from inferd.rollout.audit import Audit
from inferd.rollout.state import Evidence, Kind, Rollout, RolloutFile, RolloutState, Table, Verdict, begun, merged, running


def made(model: str = "m", number: int = 1, **fields: Any) -> Rollout:
    return msgspec.structs.replace(Rollout(id=f"{number:016x}", model=model, kind=Kind.SHADOW, stable=1, candidate=2), **fields)


def test_a_table_is_there_after_a_restart(tmp_path: Path) -> None:
    evidence = Evidence("flips", 10, 0.1, 0.0, 0.3, 0.01, Verdict.OPEN, "words")
    rollout = made(
        kind=Kind.CANARY, steps=(0.01, 1.0), dwell_s=0.0, share=0.01, counts={"seen": 3}, evidence=(evidence,), memory={"a": [1.5, "b"]}
    )
    file = RolloutFile(tmp_path / "new" / "rollouts.json")
    assert file.read() == {}
    with file.locked():
        file.write({"m": rollout})
    assert RolloutFile(tmp_path / "new" / "rollouts.json").read() == {"m": rollout}
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["rollouts.json"]


def test_a_file_without_the_times_of_steps_is_read(tmp_path: Path) -> None:
    """An earlier server has written it."""
    written = msgspec.to_builtins(made())
    del written["dwell_s"], written["patience_s"]
    (tmp_path / "rollouts.json").write_bytes(msgspec.json.encode({"m": written}))
    assert RolloutFile(tmp_path / "rollouts.json").read() == {"m": made()}


def test_without_a_folder_it_is_kept_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    file = RolloutFile(None)
    file.write({"m": made()})
    assert file.read() == {"m": made()}
    assert "rollouts are lost at a restart" in caplog.text


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"m": {}', b"\xff", b"[" * 100_000])
def test_a_file_that_holds_no_table_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rollouts.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"rollouts: '.*rollouts.json' cannot be read: .*; mend the file, or remove it"):
        RolloutFile(tmp_path / "rollouts.json").read()


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "x"},
        {"stable": 0},
        {"state": "GONE"},
        {"sample": 2},
        {"steps": [0]},
        {"share": -1},
        {"dwell_s": -1},
        {"memory": 1},
        {"evidence": [{}]},
    ],
)
def test_a_rollout_that_is_none_is_left_out(tmp_path: Path, wrong: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    written = msgspec.to_builtins(made("bad")) | wrong
    (tmp_path / "rollouts.json").write_bytes(msgspec.json.encode({"bad": written, "m": made()}))
    assert RolloutFile(tmp_path / "rollouts.json").read() == {"m": made()}
    assert "that of model 'bad' is left out" in caplog.text


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RolloutFile(tmp_path / "rollouts.json")
    file.write({"m": made()})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_file.os, "fsync", full)
    with pytest.raises(FailedPrecondition, match=r"the file of rollouts cannot be written \(No space left on device\)"):
        file.write({})
    assert file.read() == {"m": made()}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_model_has_one_rollout_at_a_time() -> None:
    table: Table = {}
    with pytest.raises(NotFound, match="rollout: model 'm' has none"):
        running(table, "m")
    table = begun(table, made())
    with pytest.raises(FailedPrecondition, match="model 'm' has one already: shadow of version 2, RUNNING; promote it, roll it back or"):
        begun(table, made(number=2))
    table = {"m": made(state=RolloutState.HOLD)}
    assert running(table, "m").state is RolloutState.HOLD
    table = {"m": made(state=RolloutState.ROLLED_BACK, reason="errors")}
    with pytest.raises(FailedPrecondition, match=r"the last one of model 'm' has ended: ROLLED_BACK, errors$"):
        running(table, "m")
    assert running(begun(table, made(number=2)), "m").runs
    table = {"m": made(state=RolloutState.PROMOTED, reason="good")}
    with pytest.raises(FailedPrecondition, match="PROMOTED, good; `inferd models HOST rollback m stable` goes back to version 1"):
        running(table, "m")


@pytest.mark.parametrize(
    ("there", "here", "is_taken"),
    [
        ({}, {"counts": {"seen": 3}}, True),
        ({}, {"state": RolloutState.ROLLED_BACK}, True),
        ({"state": RolloutState.ROLLED_BACK}, {}, False),
        ({"state": RolloutState.ROLLED_BACK}, {"state": RolloutState.PROMOTED}, False),
        ({"step": 1, "share": 0.5}, {"share": 0.1}, False),
        ({"step": 1, "share": 0.5}, {"state": RolloutState.STOPPED}, True),
        ({"step": 1, "share": 0.5}, {"step": 2, "share": 0.9}, True),
        ({"id": f"{2:016x}"}, {"step": 2}, False),
    ],
)
def test_what_a_process_knows_goes_into_the_table(there: dict[str, Any], here: dict[str, Any], is_taken: bool) -> None:
    table, known = {"m": made(**there), "n": made("n")}, {"m": made(**here), "other": made("other")}
    assert merged(table, known) == {"m": known["m"] if is_taken else table["m"], "n": made("n")}


def test_decisions_are_appended_with_their_evidence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    audit.append("started", made(memory={"secret": 1}), 1_700_000_000_123_456_789)
    Audit(tmp_path / "audit.jsonl").append("step", made(evidence=(Evidence("flips", 3),)), 1_700_000_001_000_000_000)
    first, second = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (first["time"], first["decision"], first["model"]) == ("2023-11-14T22:13:20.123+00:00", "started", "m")
    assert "memory" not in first
    assert second["evidence"][0]["count"] == 3
    with caplog.at_level(logging.ERROR):
        full = Audit(Path("/dev/full"))
        full.append("hold", made(), 0)
    assert full.failures == 1
    assert "the audit log '/dev/full' cannot be written: No space left on device; the decision: {" in caplog.text
    assert full.owes


def test_a_line_is_written_whole_or_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    audit.append("started", made(), 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before, write = path.read_bytes(), os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
        audit.append("step", made(), 1)
    assert path.read_bytes() == before
    assert "No space left on device; the decision: {" in caplog.text
    audit.append("rolled_back", made(), 2)
    assert [json.loads(line)["decision"] for line in path.read_text().splitlines()] == ["started", "step", "rolled_back"]
    assert (audit.owes, audit.failures) == (False, 1)


@pytest.mark.parametrize("wrong", [{"model": "other"}, {"counts": {"seen": -1}}, {"started_ns": -1}])
def test_an_odd_entry_costs_itself_alone_and_is_kept_aside(
    tmp_path: Path, wrong: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    file = RolloutFile(path := tmp_path / "rollouts.json")
    odd = json.loads(msgspec.json.encode({**msgspec.to_builtins(made("odd")), **wrong}))
    path.write_bytes(msgspec.json.encode({"odd": odd, "m": made()}))
    assert file.read() == {"m": made()}
    assert "rollouts.json': that of model 'odd' is left out" in caplog.text
    file.write({"m": made()})
    assert json.loads((tmp_path / "rollouts.json.left-out.jsonl").read_text()) == {"model": "odd", "entry": odd}
    assert file.read() == {"m": made()}
