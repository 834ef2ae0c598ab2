"""`inferd record`: what it says of a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.cli.record import Requests
from inferd.record.reader import Recorded
from tests.record.records import columns, record, tapped
from tests.server_fixtures import ServerFixture
from tests.wire import Caller, rows


def test_a_record_is_shown_exported_and_merged(call, tmp_path: Path) -> None:
    batches = columns(tapped("a", 1.5, 2), tapped("b", 2)), columns(tapped(model="other"))
    file = record(tmp_path / "recorded", *batches, changed={"z": "omit"})
    file.write_bytes(file.read_bytes()[:-8] + b"\xff\xff\xff\xff\x40\0\0\0half")

    def said(*arguments: str, code: int = 0, of: str = "stdout") -> str:
        done = call("record", *arguments)
        assert done.returncode == code, done
        fault = f"recorded/{file.name}: its end is missing; all batches before it are read\n"
        assert code or done.stderr == fault
        return str(getattr(done, of))

    shown = said("show", "recorded")
    assert shown.startswith("3 requests in 1 files, ")
    assert "double version 1\n  requests  2 in 0.0 s, 0 errors\n" in shown
    assert "  input     x  FP32[2, 4] and others\n  output    y  FP32[2, 4] and others\n" in shown
    assert "z: left out" in shown
    assert "< x FP32[2, 4]  1.5 1.5 1.5 1.5 1.5 1.5 1.5 1.5\n" in said("head", "recorded", "-n", "4")
    assert said("export", "recorded", "--model", "double", "--to", "t.csv") == "t.csv: 2 requests\n"
    assert said("merge", "recorded", "--to", "m.arrow") == "m.arrow: 3 requests\n"
    refused = said("head", "m.arrow", "--model", "third", code=2, of="stderr")
    assert "expected requests of the model 'third', got a record of: double (2), other (1)" in refused


def test_latencies_are_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferd.cli.record.SAMPLE", 1000)
    group = Requests()
    for number in range(20_000):
        group.add(Recorded("", "m", "1", "", number, {"total_ns": number}, 0, "", [], []))
    assert (group.requests, len(group.sample_ns), len(set(group.sample_ns))) == (20_000, 1000, 1000)
    assert np.quantile(group.sample_ns, [0.1, 0.5, 0.9]) == pytest.approx([2000, 10_000, 18_000], abs=1000)


def test_a_server_answers_its_own_record_again(call, model_files: Path, tmp_path: Path) -> None:
    with ServerFixture(model_files, record=str(tmp_path / "recorded")) as server, Caller(server.address) as caller:
        for number in range(120):
            caller.answers("identity", {"x": rows(1, first=number)})
    with ServerFixture(model_files) as server:
        options = ("--recorded", "recorded", "--arrivals", "trace:recorded", "--warm-up", "0s", "--quiet")
        done = call("bench", server.address, "identity", *options, "--json", "out.json")
        assert done.returncode == 0, done.stderr
        answered = server.server.repository.lookup("identity", "").statistics.request.count
    assert answered >= 120
