"""Folders of what clients sent. That models are loaded from them: tests/serving/parts/test_model_control.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from inferd.engine.files.overlay import PREFIX, Overlay, remove_left_folders


def test_folders_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "other").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "other")
    (tmp_path / f"{PREFIX}killed" / "m" / "1").mkdir(parents=True)  # a lock ends with its process
    used = Overlay.of_files("m", "", {"1/model.onnx": b"x"})
    assert len(list(tmp_path.iterdir())) == 4
    remove_left_folders()
    assert set(tmp_path.iterdir()) == {tmp_path / "other", tmp_path / f"{PREFIX}link", Path(used.folder.name)}
    assert (used.place.files[1] / "model.onnx").read_bytes() == b"x"
    used.folder.cleanup()
    assert len(list(tmp_path.iterdir())) == 2
