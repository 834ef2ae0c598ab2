"""`inferd drift`: a verdict with its exit code, as text, JSON and a page, over gRPC and HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd.cli.drift import sparks
from inferd.monitor import watcher
from tests import models
from tests.monitor.profiles import requests, write_beside
from tests.server_fixtures import ServerFixture, until
from tests.wire import Caller, infer_request

ROWS = np.random.default_rng(0).normal(size=(2000, 20)).astype(np.float32)


def test_a_verdict(tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "LOOK_S", 0.02)
    monkeypatch.setattr(watcher, "IDLE_S", 0.02)
    file = models.write(tmp_path, "m", models.identity(dims=(20,)))
    write_beside(file, {"x": ROWS})
    with ServerFixture(file, http_port=0, drift_window_rows=500) as served, Caller(served.address) as caller:
        targets = (served.address, f"http://{served.http}")

        def reported(target: str = served.address) -> Any:
            return json.loads(call("drift", target, "m", "--json").stdout)["reports"][0]

        def send(rows: Any, count: int) -> None:
            for _ in range(2):
                before = len(reported()["windows"])
                for given in requests({"x": rows}):
                    caller.infer(infer_request("m", given, id="r-1"))
                until(lambda before=before: len(reported()["windows"]) > before)
            assert len(reported()["windows"]) == count

        done = call("drift", served.address, "m")
        assert (done.returncode, done.stdout.splitlines()[0]) == (4, "version 1: COUNTING")
        send(ROWS[:500], 2)
        done = call("drift", served.address, "m")
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "version 1: QUIET")
        moved = ROWS[:500].copy()
        moved[:, 3] += 2
        send(moved, 4)
        page = tmp_path / "drift.html"
        done = call("drift", served.address, "m", "--html", page)
        lines = done.stdout.splitlines()
        assert (done.returncode, lines[0]) == (1, "version 1: FOUND")
        assert lines[4].split() == ["feature", "effect", "windows", "findings"]
        assert re.match(r"  x\[3\]\s+0\.\d+  .* moved away from the reference", lines[5])
        assert lines[-1].endswith("such as request r-1")
        assert call("drift", served.address, "m", "--all").stdout.count("\n  x[") >= 19
        assert reported(targets[0]) == reported(targets[1])
        text = page.read_text()
        assert f"m at {served.address}" in text
        assert text.count('<article class="card found">') >= 2
        assert text.index("<h3>x[3]</h3>") < text.index("<h3>x[4]</h3>")
        assert "request r-1" in text
        assert "<script" not in text
        done = call("drift", served.address, "none")
        assert (done.returncode, "there is no model 'none'" in done.stderr) == (1, True)
        assert call("drift", served.address, "m", "--html", tmp_path / "none" / "p.html").returncode == 2


def test_sparks_go_from_0_to_1() -> None:
    found = sparks([0.0, 0.2, 0.5, 0.99, 1.0])
    assert len(found) == 5
    assert found[0] == " "
    assert found[-1] == found[-2]
    assert len(sparks([0.5] * 99)) == 20
