"""`inferd feedback`: a file of labels, CSV or Parquet, over gRPC and HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from inferd.cli import feedback
from tests import models
from tests.server_fixtures import ServerFixture
from tests.wire import Caller, infer_request

ROWS = np.eye(4, 16, dtype=np.float32)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServerFixture]:
    folder = models.repository(tmp_path / "models", {"m": models.identity()})
    with ServerFixture(folder, http_port=0, feedback=str(tmp_path / "kept")) as served, Caller(served.address) as caller:
        for number in range(3):
            caller.infer(infer_request("m", {"x": ROWS}, id=f"r{number}"))
        yield served


@pytest.fixture
def told(served: ServerFixture, call: Callable[..., Any], tmp_path: Path) -> Callable[..., list[str]]:
    """What the command says of a file, line by line, with one space between words."""

    def told(content: str, *, http: bool = False, code: int = 0, name: str = "labels.csv") -> list[str]:
        path = tmp_path / name
        if content:
            path.write_text(content)
        target = f"http://{served.http}" if http else served.address
        done = call("feedback", target, "m", "--file", path)
        assert done.returncode == code, done
        return [" ".join(line.split()) for line in (done.stdout if code == 0 else done.stderr).splitlines()]

    return told


def test_csv(told: Callable[..., list[str]]) -> None:
    content = 'label,request_id,row,other\n0,r0,0,x\n1,r0,1,\n0,r0,1,\n,r0,2,\n"2","r0",9,\n3,new,0,\n'
    assert told(content) == [
        "5 labels",
        "2 joined",
        "1 contradictory the row has another label, which stays",
        "1 misfit the request has no such row, or predicts a number and the label is none",
        "1 waiting there is no such prediction yet; unknown in ten minutes if none comes",
        "1 without a label these lines were left out",
    ]
    assert told("\ufeffrequest_id,label\nr1,0\nr2,1\n\nr0,0\n", http=True) == [
        "3 labels",
        "2 joined",
        "1 repeated the row has the same label already",
    ]


def test_more_than_one_message(told: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "BATCH", 2)
    assert told("request_id,label,row\n" + "".join(f"r0,{row},{row}\n" for row in range(4)))[:2] == ["4 labels", "4 joined"]


def test_parquet(told: Callable[..., list[str]], tmp_path: Path) -> None:
    columns = {"request_id": ["r0", "r0", "r1", "r2"], "label": [0.0, 1.0, None, np.nan], "row": [0, 1, None, 3]}
    parquet.write_table(pa.table(columns), tmp_path / "labels.parquet")
    assert told("", name="labels.parquet") == ["2 labels", "2 joined", "2 without a label these lines were left out"]
    parquet.write_table(pa.table({"request_id": ["r1"], "label": ["0"]}), tmp_path / "labels.parquet")
    assert told("", name="labels.parquet", http=True) == ["1 labels", "1 joined"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,label\nr,1\n", "expected the columns request_id and label, and maybe row, got id, label"),
        ("request_id,label\nr,1,2\n", "labels.csv, line 2: expected 2 values, as the header has, got 3"),
        ("request_id,label,row\nr,1,-1\n", "labels.csv, line 2: row: expected a whole number from 0, got '-1'"),
        ("request_id,label\n,1\n", "labels.csv, line 2: request_id: expected the id of a request, got none"),
        ('request_id,label\n"r,1\n', "expected UTF-8 text, values between commas"),
        ("", "labels.csv: expected"),
    ],
)
def test_a_wrong_file(told: Callable[..., list[str]], content: str, words: str) -> None:
    if not content:
        words = "No such file"
    assert any(words in line for line in told(content, code=2))


def test_a_wrong_parquet_file(told: Callable[..., list[str]]) -> None:
    assert any("cannot be read as Parquet" in line for line in told("no table", name="labels.parquet", code=2))


def test_an_error_says_what_was_taken_before(
    served: ServerFixture, call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "BATCH", 1)
    (tmp_path / "labels.csv").write_text(f"request_id,label\nr0,0\nr1,{'a' * 300}\n")
    done = call("feedback", served.address, "m", "--file", tmp_path / "labels.csv")
    assert done.returncode == 1
    assert "text: expected a class of 1 to 256 characters, got 300" in done.stderr
    assert done.stdout.split() == ["1", "labels", "1", "joined"]


def test_a_server_without_feedback(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "labels.csv").write_text("request_id,label\nr0,0\n")
    with ServerFixture(models.repository(tmp_path / "models", {"m": models.identity()})) as served:
        done = call("feedback", served.address, "m", "--file", os.fspath(tmp_path / "labels.csv"))
    assert (done.returncode, "UNIMPLEMENTED" in done.stderr) == (1, True), done
