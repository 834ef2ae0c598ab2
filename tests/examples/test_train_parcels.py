"""The committed `parcels` model: it answers JSON records as its labels say, and as a pipeline that is trained again does."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from inferd.engine.embedded import Engine

EXAMPLES = Path(__file__).parents[2] / "examples"
ACCURACY = 0.80  # of the unseen parcels that are committed; chance would be right in half of them
MAX_NBYTES = 200_000


@pytest.fixture(scope="module")
def records() -> list[dict[str, str]]:
    with (EXAMPLES / "parcels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def as_json(record: dict[str, str], numbers: list[str]) -> bytes:
    values = {name: value or None for name, value in record.items() if name != "late"}
    return json.dumps({name: float(value) if value and name in numbers else value for name, value in values.items()}).encode()


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import train_parcels

        yield train_parcels
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def answers(records, script) -> dict[str, np.ndarray]:
    rows = np.empty((len(records), 1), dtype=object)
    rows[:, 0] = [as_json(record, script.NUMBERS) for record in records]
    with Engine(EXAMPLES / "raw" / "parcels") as engine:
        parts = [engine.infer("parcels", {"record": rows[start : start + 50]}) for start in range(0, len(rows), 50)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_unseen_parcels_are_told_right(answers, records) -> None:
    late = np.array([record["late"] == "True" for record in records])
    assert ((answers["label"] == b"late") == late).mean() >= ACCURACY
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, rtol=1e-5)


def test_answers_are_those_of_the_pipeline(answers, script) -> None:
    frame, late = script.parcels(script.ROWS, seed=0)
    known = script.ROWS * 4 // 5
    pipeline = script.fitted(frame[:known], late[:known])
    shown = frame[known:][: script.SHOWN_ROWS]
    assert answers["label"].astype(str).tolist() == pipeline.predict(shown).tolist()
    np.testing.assert_allclose(answers["probabilities"], pipeline.predict_proba(shown), atol=1e-5)


def test_it_is_small() -> None:
    files = [path for path in (EXAMPLES / "raw" / "parcels").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"config.toml", "labels.txt", "model.onnx"}
    assert sum(path.stat().st_size for path in [*files, EXAMPLES / "parcels.csv"]) < MAX_NBYTES
