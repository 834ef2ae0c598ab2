"""The error where the system starts no further thread."""

from __future__ import annotations

import resource
import threading
from pathlib import Path

import pytest

from inferd.errors import StartError
from inferd.system import cgroup
from inferd.threads import NoThread, limit_told, start_thread, why_no_thread


def grouped(root: Path, **groups: tuple[str, str]) -> Path:
    """The files of a machine of cgroup version 2: this process is in `outer/inner`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/outer/inner\n")
    for name, (used, most) in groups.items():
        folder = root / "sys/fs/cgroup" / {"outer": "outer", "inner": "outer/inner"}[name]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pids.current").write_text(f"{used}\n")
        (folder / "pids.max").write_text(f"{most}\n")
    return root


def test_the_group_with_the_least_room_counts(tmp_path: Path) -> None:
    assert cgroup.pids(grouped(tmp_path, outer=("90", "100"), inner=("20", "512"))) == (90, 100)


def test_a_group_of_version_1_counts(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:pids:/docker/abc\n")
    (tmp_path / "sys/fs/cgroup/pids").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/pids/pids.current").write_text("64\n")
    (tmp_path / "sys/fs/cgroup/pids/pids.max").write_text("64\n")
    assert cgroup.pids(tmp_path) == (64, 64)


def test_no_limit_is_none(tmp_path: Path) -> None:
    assert cgroup.pids(grouped(tmp_path, outer=("90", "max"))) is None


def test_the_limits_and_their_cure_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grouped(tmp_path, inner=("64", "64"))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (4096, 4096))
    assert why_no_thread(tmp_path).endswith(
        "the cgroup's pids.max is 64, of which 64 are used: raise it (Docker: --pids-limit); "
        "the user may have 4096 processes and threads (ulimit -u): raise it; or serve fewer models"
    )
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert "no limit on threads was found" in why_no_thread(tmp_path / "none")


def test_a_thread_that_the_system_does_not_start_is_an_error_for_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(NoThread, match="the system starts no further thread"):
        start_thread(threading.Thread())
    assert issubclass(NoThread, StartError)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="something else"), limit_told():
        raise RuntimeError("something else")
