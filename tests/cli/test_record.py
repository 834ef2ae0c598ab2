"""`inferd record`: what it says of a record."""

from __future__ import annotations

from pathlib import Path

from tests.record.records import columns, record, tapped
from tests.server_fixtures import ServerFixture
from tests.wire import Caller, rows


def test_a_record_is_shown_exported_and_merged(call, tmp_path: Path) -> None:
    batches = columns(tapped("a", 1.5, 2), tapped("b", 2)), columns(tapped(model="other"))
    file = record(tmp_path / "recorded", *batches, changed={"z": "omit"})
    file.write_bytes(file.read_bytes() + b"\xff\xff\xff\xff\x40\0\0\0half")

    def said(*arguments: str, code: int = 0) -> str:
        done = call("record", *arguments)
        assert done.returncode == code, done
        return str(done.stdout if code == 0 else done.stderr)

    shown = said("show", "recorded")
    assert shown.startswith("3 requests in 1 files, ")
    assert "double version 1\n  requests  2 in 0.0 s, 0 errors\n" in shown
    assert "  input     x  FP32[2, 4] and others\n  output    y  FP32[2, 4] and others\n" in shown
    assert "z: left out" in shown
    assert "< x FP32[2, 4]  1.5 1.5 1.5 1.5 1.5 1.5 1.5 1.5\n" in said("head", "recorded", "-n", "1")
    assert said("export", "recorded", "--model", "double", "--to", "t.csv") == "t.csv: 2 requests\n"
    assert said("merge", "recorded", "--to", "m.arrow") == "m.arrow: 3 requests\n"
    refused = said("head", "m.arrow", "--model", "third", code=2)
    assert "expected requests of the model 'third', got a record of: double (2), other (1)" in refused


def test_a_server_answers_its_own_record_again(call, model_files: Path, tmp_path: Path) -> None:
    with ServerFixture(model_files, record=str(tmp_path / "recorded")) as server, Caller(server.address) as caller:
        for number in range(20):
            caller.answers("identity", {"x": rows(1, first=number)})
    with ServerFixture(model_files) as server:
        options = ("--recorded", "recorded", "--arrivals", "trace:recorded", "--warm-up", "0s", "--quiet")
        done = call("bench", server.address, "identity", *options, "--json", "out.json")
        assert done.returncode == 0, done.stderr
        answered = server.server.repository.lookup("identity", "").statistics.request.count
    assert answered >= 20
