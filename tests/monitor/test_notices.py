"""Notices of changed findings: signed, tried again, cooled down, and lost by nobody but a receiver that is gone."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import sys
from pathlib import Path

import pytest

from inferd.errors import ConfigError
from inferd.monitor import notices
from inferd.monitor.notices import SIGNATURE, Notices, Ways, key_in
from tests.monitor.conftest import Receiver

TOLD = {"state": "FOUND", "verdict": "1 feature has moved."}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "PAUSES_S", (0.0, 0.0, 0.0))


def told(ways: Ways) -> Notices:
    made = Notices(ways)
    made.tell("m", 3, TOLD)
    made.send_due()
    return made


def test_a_post_is_signed(receiver: Receiver) -> None:
    made = told(Ways(receiver.url, b"key"))
    ((body, headers),) = receiver.got
    assert json.loads(body) == {"model": "m", "version": 3} | TOLD
    assert headers[SIGNATURE] == f"sha256={hmac.new(b'key', body, hashlib.sha256).hexdigest()}"
    assert headers["Content-Type"] == "application/json"
    assert made.counts == {"sent": 1, "failed": 0}
    told(Ways(receiver.url))
    assert SIGNATURE not in receiver.got[1][1]


def test_a_failed_one_is_tried_again(receiver: Receiver) -> None:
    receiver.statuses = [500, 503]
    assert told(Ways(receiver.url)).counts == {"sent": 1, "failed": 0}
    assert len(receiver.got) == 3


def test_one_that_always_fails_is_counted_and_its_url_not_told(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.statuses = [500] * 9
    assert told(Ways(receiver.url)).counts == {"sent": 0, "failed": 1}
    assert len(receiver.got) == 4
    assert "the server responded with 500" in caplog.text
    assert "secret" not in caplog.text


def test_no_redirect_is_followed(receiver: Receiver) -> None:
    receiver.statuses = [307] * 4
    assert told(Ways(receiver.url)).counts["failed"] == 1
    assert len(receiver.got) == 4


def test_one_that_hangs_and_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}/"
        assert told(Ways(url)).counts["failed"] == 1
    assert told(Ways(url)).counts["failed"] == 1
    assert told(Ways("http://no host/")).counts["failed"] == 1


def test_a_command_gets_it_on_stdin(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(out))
    assert told(Ways(command=command)).counts["sent"] == 1
    assert json.loads(out.read_text())["verdict"] == TOLD["verdict"]


@pytest.mark.parametrize("program", ["import sys; sys.exit(3)", "import time; time.sleep(600)", None])
def test_a_command_that_fails_or_hangs_is_counted(monkeypatch: pytest.MonkeyPatch, program: str | None) -> None:
    monkeypatch.setattr(notices, "COMMAND_S", 0.2)
    command = ("/no/such/program",) if program is None else (sys.executable, "-c", program)
    assert told(Ways(command=command)).counts == {"sent": 0, "failed": 1}


def test_a_version_cools_down_and_its_last_change_is_told_at_the_end(receiver: Receiver) -> None:
    now_s = 100.0
    made = Notices(Ways(receiver.url, cool_down_s=60.0), lambda: now_s)
    for at_s, version, verdict in ((100.0, 1, "a"), (110.0, 1, "b"), (120.0, 1, "c"), (120.0, 2, "other"), (159.0, 1, "d"), (161.0, 0, "")):
        now_s = at_s
        if version:
            made.tell("m", version, {"verdict": verdict})
        made.send_due()
    assert [body["verdict"] for body in receiver.bodies] == ["a", "other", "d"]
    assert made.counts["sent"] == 3


def test_it_ends_while_something_waits(receiver: Receiver) -> None:
    made = Notices(Ways(receiver.url, cool_down_s=1e9))
    made.start()
    made.tell("m", 1, TOLD)
    made.tell("m", 1, TOLD)
    made.stop()
    made._thread.join(20)
    assert not made._thread.is_alive()


def test_too_many_that_wait_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MOST_WAITING", 2)
    made = Notices(Ways("http://127.0.0.1:1/"))
    for version in (1, 2, 3, 1):
        made.tell("m", version, TOLD)
    assert made.counts["failed"] == 1


def test_a_key_is_a_file_with_content(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key\n")
    (tmp_path / "empty").write_text("\n")
    assert (key_in(None), key_in(tmp_path / "key")) == (b"", b"key")
    for name, why in (("none", "cannot be read"), ("empty", "got an empty file")):
        with pytest.raises(ConfigError, match=why):
            key_in(tmp_path / name)
