"""Small files of state: what is no file, and what a killed writer leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inferd.engine.checks.contract import Contract, Contracts
from inferd.engine.checks.probe import Rows
from inferd.engine.files import kept_file
from inferd.engine.models.labels import LabelFile
from inferd.errors import ConfigError
from inferd.rollout.audit import Audit
from inferd.rollout.state import Kind, Rollout, RolloutFile


@pytest.mark.parametrize("kind", [LabelFile, RolloutFile])
def test_a_fifo_is_an_error_at_once(tmp_path: Path, kind: type[LabelFile | RolloutFile]) -> None:
    os.mkfifo(path := tmp_path / "state.json")
    with pytest.raises(ConfigError, match=r"state.json' cannot be read: expected a regular file"):
        kind(path).read()


def test_a_fifo_that_nobody_reads_holds_up_no_writer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The results of checks, and the audit log."""
    os.mkfifo(path := tmp_path / "state")
    Contracts(path).keep("key", Contract(True, Rows.INDEPENDENT))
    audit = Audit(path)
    audit.append("stop", Rollout(id="0" * 16, model="m", kind=Kind.SHADOW, stable=1, candidate=2), 0)
    assert (audit.failures, audit.owes) == (1, True)
    assert "No such device or address; the decision:" in caplog.text


@pytest.mark.parametrize("kind", [LabelFile, RolloutFile])
def test_deep_nesting_is_an_error_with_the_files_name(tmp_path: Path, kind: type[LabelFile | RolloutFile]) -> None:
    (path := tmp_path / "state.json").write_bytes(b'{"m":' + b"[" * 100_000)
    with pytest.raises(ConfigError, match=r"state.json' cannot be read"):
        kind(path).read()


def test_temporary_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    path, others = tmp_path / "labels.json", [".labels.json.md", ".labels.json.abcd_123x", "labels.json.abcd_123"]
    for name in (".labels.json.abcd_123", *others):
        (tmp_path / name).touch()
    LabelFile(path).begin()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(others)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_file, "MAX_BYTES", 3)
    (tmp_path / "a").write_bytes(b"1234")
    with pytest.raises(OSError, match="expected at most"):
        kept_file.read(tmp_path / "a")
