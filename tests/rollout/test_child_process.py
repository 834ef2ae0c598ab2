"""A candidate's process as the server starts it: its environment, its privileges, its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inferd.rollout import child_process
from inferd.rollout.child_process import MemoryWatch, environment_of

LIMIT_S = 30


def test_the_environment_holds_no_secret() -> None:
    kept = {"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"}
    kept |= {"NVIDIA_VISIBLE_DEVICES", "ORT_DISABLE_TELEMETRY"}
    others = {"AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "HF_TOKEN", "NVIDIA_API_KEY", "INFERD_TOKEN_FILE", "INFERD_MODELS", "HTTPS_PROXY"}
    others |= {"AZURE_STORAGE_CONNECTION_STRING", "NOTIFY_SOCKET", "LISTEN_FDS", "DATABASE_URL", "XPATH", "PATHS"}
    assert set(environment_of(dict.fromkeys(kept | others, "x"))) == kept


def started(monkeypatch: pytest.MonkeyPatch, code: str) -> subprocess.Popen[bytes]:
    """A process in the candidate's place, started as that is."""
    monkeypatch.setattr(child_process, "interpreter", lambda: [sys.executable, "-c", code])
    return child_process.start(0)


def test_the_process_starts_with_that_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_TOKEN", "of-the-server")
    child = started(monkeypatch, f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(' '.join(os.environ))")
    assert child.wait(LIMIT_S) == 0
    seen = (tmp_path / "seen").read_text().split()
    assert "PATH" in seen
    assert "A_TOKEN" not in seen


def test_it_gets_no_privilege() -> None:
    code = "from inferd.rollout.child_process import refuse_privileges as r; r(); print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert "NoNewPrivs:\t1\n" in done.stdout


def test_one_that_holds_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "memory_limit_bytes", lambda: 64 << 20)
    child = started(monkeypatch, "import signal; held = b'x' * (48 << 20); signal.pause()")
    watch = MemoryWatch(child)
    watch.start()
    assert child.wait(LIMIT_S) == -9
    watch.stop()
    assert "MiB, and was ended: expected at most 32 MiB, 50% of the memory that the server may use" in watch.why


def test_one_that_holds_little_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    child = started(monkeypatch, "import signal; signal.pause()")
    watch = MemoryWatch(child)
    watch.start()
    watch.stop()
    child.kill()
    child.wait(LIMIT_S)
    assert watch.why == ""
