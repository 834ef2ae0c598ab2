"""Requests that are too large for a model with free axes are rejected before they run: by an estimate, and by limits of axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd import Engine
from inferd.engine.model import Model
from inferd.errors import ConfigError, InvalidArgument, ResourceExhausted
from tests import models

MIB = 1 << 20


def opened(folder: Path, config: str = "", content: bytes | None = None, **options: int) -> tuple[Engine, Model]:
    engine = Engine(models.repository(folder, {"m": content or models.self_similarity()}, {"m": config}), **options)
    return engine, engine._repository.lookup("m", "")


def tokens(count: int, rows: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.ones((rows, count, 1), np.float32)}


def test_a_request_whose_run_would_not_fit_is_rejected_before_it_runs(tmp_path: Path) -> None:
    """The trial runs say that memory grows by the square: 64 MiB for 4096 tokens, so 156 MiB for 6400."""
    engine, model = opened(tmp_path, max_run_bytes=100 * MIB)
    with engine:
        assert model.run_cost is not None
        assert model.run_cost.growth == pytest.approx(2, abs=0.05)
        engine.infer("m", tokens(4500))
        runs = model.statistics.runs
        with pytest.raises(
            ResourceExhausted,
            match=r"1 row and 25600 bytes of inputs, is estimated to take 1[567]\d{7} bytes of memory, and runs may take 104857600 ",
        ):
            engine.infer("m", tokens(6400))
        with pytest.raises(ResourceExhausted, match="4 rows and 64000 bytes"):
            engine.infer("m", tokens(4000, rows=4))
        engine.infer("m", tokens(1000, rows=16))  # as many bytes, and a fourth of the memory
        assert model.statistics.runs == runs + 1
        assert model.failures["REJECTED"] == 2


def test_what_grows_with_its_input_is_not_taken_for_more(tmp_path: Path) -> None:
    engine, model = opened(tmp_path, content=models.doubled(dims=("h", "w")), max_run_bytes=100 * MIB)
    with engine:
        assert model.run_cost is not None
        assert model.run_cost.growth == pytest.approx(1, abs=0.02)
        engine.infer("m", {"x": np.ones((1, 3000, 1000), np.float32)})


def test_nothing_is_learned_where_every_size_is_known(tmp_path: Path) -> None:
    engine, model = opened(tmp_path, content=models.doubled())
    with engine:
        assert model.run_cost is None


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ('{ key: "s" value: 100 }', 100),
        ('{ key: "x" value: 100 }', 100),
        ('{ key: "*" value: 100 }', 100),
        ('{ key: "*" value: 1000 } max_axis { key: "s" value: 10 }', 10),
    ],
    ids=["axis", "input", "all", "least"],
)
def test_max_axis(tmp_path: Path, limits: str, most: int) -> None:
    engine, _ = opened(tmp_path, f"inferd {{ max_axis {limits} }}")
    with engine:
        engine.infer("m", tokens(most, rows=64))
        with pytest.raises(
            InvalidArgument, match=rf"input 'x': expected at most {most} along axis 1 \(max_axis .* got {most + 1}: .* raised"
        ):
            engine.infer("m", tokens(most + 1))


def test_max_axis_that_names_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_axis has 'length', which names no free axis .*; known are '\*', 's', 'x'"):
        opened(tmp_path, 'inferd { max_axis { key: "length" value: 100 } }')
