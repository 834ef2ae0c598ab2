"""`inferd profile`: from a table, arrays or a record to a file beside the version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd.monitor.reference import read
from tests import models
from tests.server_fixtures import ServerFixture
from tests.wire import Caller, infer_request

EXAMPLES = Path(__file__).parents[2] / "examples"
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 2)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write(tmp_path, "m", models.identity(dims=(2,)))


def table(path: Path, rows: Any = ROWS) -> Path:
    np.savetxt(path, np.column_stack([rows, np.arange(len(rows))]), delimiter=",", header="age,income,id", comments="")
    return path


def test_a_table(call: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    done = call("profile", model, "--on", table(tmp_path / "t.csv"), "--columns", "income,age")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "m.onnx.reference.parquet")
    assert [feature.name for feature in found.features[:2]] == ["income", "age"]
    assert found.features[0].centre == pytest.approx(ROWS[:, 1].mean(), abs=1e-5)
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["income", *f"{ROWS[:, 1].min():.6g} to {ROWS[:, 1].max():.6g}".split(), "0.0%"]
    assert lines[-1].endswith("7 features of 300 rows. A server that loads this version watches them.")


def test_columns_of_a_model_that_reads_records(call: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    done = call("profile", EXAMPLES / "raw" / "parcels" / "1", "--on", EXAMPLES / "parcels.csv", "--out", out)
    assert done.returncode == 0, done.stderr
    names = [feature.name for feature in read(out).features]
    assert {"distance_km", "carrier", "service"} <= set(names)


def test_arrays_and_a_record(call: Callable[..., Any], tmp_path: Path, model: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=ROWS)
    assert call("profile", model, "--on", tmp_path / "rows.npz", "--first", "3", "--out", tmp_path / "a.parquet").returncode == 0
    with ServerFixture(model, record=str(tmp_path / "kept")) as served, Caller(served.address) as caller:
        for first in range(0, 300, 50):
            caller.infer(infer_request("m", {"x": ROWS[first : first + 50]}))
    done = call("profile", model, "--on", tmp_path / "kept", "--out", tmp_path / "b.parquet")
    assert done.returncode == 0, done.stderr
    one, other = read(tmp_path / "a.parquet"), read(tmp_path / "b.parquet")
    assert (one.rows, other.rows) == (192, 300)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("m.onnx", "--on", "none.csv"), 2, "--on none.csv: there is no such file or folder"),
        (("m.onnx", "--on", "t.csv"), 2, "the input 'x' has 2 elements in a row, and the file has 3 columns"),
        (("m.onnx", "--on", "t.csv", "--columns", "age,"), 2, "expected names with commas between them"),
        (("m.onnx", "--on", "few.csv", "--columns", "age,income"), 2, "expected at least 100 rows, got 5"),
        (("m.onnx", "--on", "t.txt"), 2, "the model takes tensors: x (FP32 [?, 2])"),
        (("m.onnx", "--on", "rows.npz", "--columns", "age"), 2, "--columns: rows.npz has no columns to choose from"),
        (("localhost:8001/m", "--on", "t.csv"), 2, "the profile is learned in this process"),
        (("m.onnx", "--on", "t.csv", "--columns", "age,income", "--out", "none/p.parquet"), 1, "cannot be written"),
    ],
)
def test_what_is_wrong_is_said(
    call: Callable[..., Any], model: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    table(tmp_path / "t.csv")
    table(tmp_path / "few.csv", ROWS[:5])
    np.savez(tmp_path / "rows.npz", x=ROWS)
    (tmp_path / "t.txt").write_text("some words\n")
    done = call("profile", *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
