"""`inferd performance`: figures as text and as JSON, over gRPC and HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests import models
from tests.feedback.test_part import report
from tests.server_fixtures import ServerFixture
from tests.wire import Caller, infer_request


def test_figures(tmp_path: Path, call: Callable[..., Any]) -> None:
    folder = models.repository(tmp_path / "models", {"m": models.identity(), "other": models.identity()})
    kept = {"feedback": str(tmp_path / "kept"), "feedback_slices": ("x",)}
    with ServerFixture(folder, http_port=0, **kept) as served, Caller(served.address) as caller:
        assert call("performance", served.address, "m").stdout == "labels: none\nno prediction of that time\n"
        caller.infer(infer_request("m", {"x": np.eye(10, 16, dtype=np.float32)}, id="r"))
        report(served.address, *(("r", row, str(row // 2 * 2)) for row in range(8)))
        lines = call("performance", served.address, "m", "--since", "1h").stdout.splitlines()
        assert lines[0] == "labels: 8 joined"
        assert lines[2].startswith("version 1: 8 of 10 rows have a label (80 %), 20")
        assert lines[3].split() == ["figure", "class", "value", "95", "%", "rows"]
        assert lines[4].split() == ["accuracy", "0.5", "0.2152", "to", "0.7848", "8"]
        over_grpc, over_http = (
            json.loads(call("performance", target, "m", "--json", "--buckets", "3", "--slice", "none").stdout)
            for target in (served.address, f"http://{served.http}")
        )
        assert over_grpc == over_http
        assert sum(each["labelled_rows"] for each in over_grpc["groups"]) == 8
        assert ", none \N{EM DASH}: 8 of 10 rows" in call("performance", served.address, "m", "--slice", "none").stdout
        done = call("performance", served.address, "missing")
        assert (done.returncode, "there is no model 'missing'" in done.stderr) == (1, True)
        assert call("performance", served.address, "m", "--buckets", "101").returncode == 2
